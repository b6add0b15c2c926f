//! One client's connection: frames in, answers out, in the order of the requests.
//!
//! One task for both halves: when either ends, the connection ends, the shard is told once, and all that still belonged
//! to it (answers, leases, credits) is dropped with it. Knows no API.

use super::admission::{Admission, Credit};
use super::frame::{FrameError, Frames, SpareBlock};
use super::lease::Resolving;
use super::mailbox::Mailbox;
use super::writer::{self, Reply, Slot};
use super::{Clock, Disk, Reader, Writer};
use klamm_core::effect::Input;
use klamm_core::ids::ConnectionId;
use klamm_core::wire::{Refusal, Response, decode_request};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::sync::{Notify, Semaphore};

/// How long the rest of a frame may take once its first byte is there.
pub const FRAME_DEADLINE_MS: i64 = 60_000;

/// What the connections of one shard share.
pub(super) struct Shared<D, C> {
    pub(super) disk: D,
    pub(super) clock: C,
    pub(super) mailbox: Mailbox,
    pub(super) spare: Rc<SpareBlock>,
    pub(super) room: Rc<Semaphore>,
}

/// What the shard's loop and a connection's task share. Bounded by admission: each entry holds a credit.
pub(super) struct Link<F> {
    /// Requests that the shard has not answered yet.
    asked: RefCell<VecDeque<Asked>>,
    /// What is to be sent.
    slots: RefCell<VecDeque<Slot<F>>>,
    news: Notify,
}

/// What an answer needs to know of its request.
struct Asked {
    version: i16,
    correlation: i32,
    credit: Credit,
}

impl<F> Link<F> {
    pub(super) fn new() -> Link<F> {
        Link { asked: RefCell::default(), slots: RefCell::default(), news: Notify::new() }
    }

    /// Queues the answer to the oldest request.
    pub(super) fn reply(&self, correlation: i32, response: Response, ranges: Vec<Resolving<F>>, max_bytes: u32) {
        let Asked { version, credit, .. } = self.answered(correlation);
        self.put(Slot::Reply(Reply { version, correlation, response, ranges, max_bytes, credit }));
    }

    /// The oldest request wants no answer.
    pub(super) fn quiet(&self, correlation: i32) {
        drop(self.answered(correlation));
    }

    /// Ends the connection once what is queued has left.
    pub(super) fn close(&self, reason: &'static str) {
        self.put(Slot::Close(reason));
    }

    /// What is to be sent next.
    pub(super) fn next(&self) -> Option<Slot<F>> {
        self.slots.borrow_mut().pop_front()
    }

    /// Waits until there is something to send.
    pub(super) async fn news(&self) {
        while self.slots.borrow().is_empty() {
            self.news.notified().await;
        }
    }

    fn put(&self, slot: Slot<F>) {
        self.slots.borrow_mut().push_back(slot);
        self.news.notify_one();
    }

    fn answered(&self, correlation: i32) -> Asked {
        let asked = self.asked.borrow_mut().pop_front().expect("an answer has a request");
        assert!(asked.correlation == correlation, "answered {correlation} before {}", asked.correlation);
        asked
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The client left.
    Left,
    /// A socket or the disk failed.
    Failed(io::Error),
    /// The client sent what is not Kafka's protocol, or nothing that is spoken here.
    Refused(String),
    /// The shard said so.
    Told(&'static str),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => End::Left,
            _ => End::Failed(error),
        }
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> End {
        match error {
            FrameError::Io(error) => End::from(error),
            FrameError::Refused(reason) => End::Refused(reason),
        }
    }
}

/// Serves a connection until it ends, and then tells the shard.
pub(super) async fn serve<R, W, D, C>(
    (reader, mut writer, peer): (R, W, SocketAddr),
    conn: ConnectionId,
    link: Rc<Link<D::File>>,
    shared: Rc<Shared<D, C>>,
) where
    R: Reader,
    W: Writer,
    D: Disk,
    C: Clock,
{
    let frames = Frames::new(reader, Rc::clone(&shared.spare));
    let end = tokio::select! { biased;
        Err(end) = writer::answer(&mut writer, &link, &shared.disk, &shared.clock) => end,
        Err(end) = ask(frames, conn, &link, &shared) => end,
    };
    match end {
        End::Left => tracing::debug!(%peer, "a client left"),
        End::Failed(error) => {
            tracing::warn!(%peer, %error, "closing a connection that failed");
            writer.abort();
        }
        End::Refused(reason) => tracing::warn!(%peer, reason, "closing a connection that is not understood"),
        End::Told(reason) => tracing::warn!(%peer, reason, "closing a connection"),
    }
    shared.mailbox.put(Input::Closed { conn });
}

/// Hands the requests of a connection to the shard until it ends.
async fn ask<R, D, C>(
    mut frames: Frames<R>,
    conn: ConnectionId,
    link: &Link<D::File>,
    shared: &Shared<D, C>,
) -> Result<Infallible, End>
where
    R: Reader,
    D: Disk,
    C: Clock,
{
    let admission = Admission::of(&shared.room);
    while frames.wait().await? {
        let len = in_time(&shared.clock, FRAME_DEADLINE_MS, frames.length()).await?;
        let credit = admission.admit(len).await;
        let frame = in_time(&shared.clock, FRAME_DEADLINE_MS, frames.body(len)).await?;
        let incoming = decode_request(frame).map_err(|refusal| End::Refused(in_words(refusal)))?;
        let correlation = incoming.correlation;
        link.asked.borrow_mut().push_back(Asked { version: incoming.version, correlation, credit });
        shared.mailbox.put(Input::Request { conn, correlation, request: incoming.request });
    }
    Err(End::Left)
}

fn in_words(refusal: Refusal) -> String {
    match refusal {
        Refusal::Malformed(what) => format!("a malformed request: {what}"),
        Refusal::UnknownApi { key, version } => format!("version {version} of API {key} is not served"),
    }
}

/// `work`, unless it takes longer than `ms`.
pub(super) async fn in_time<C, T, E>(clock: &C, ms: i64, work: impl Future<Output = Result<T, E>>) -> Result<T, E>
where
    C: Clock,
    E: From<io::Error>,
{
    tokio::select! { biased;
        done = work => done,
        () = async { clock.sleep_until(clock.now().monotonic.plus_ms(ms)).await } => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("the peer stood still for {ms} ms")).into())
        }
    }
}
