//! One client's connection: frames in, answers out, in the order of the requests.
//!
//! One task for both halves: when either ends, the connection ends, the shard is told once, and all that still belonged
//! to it (answers, leases, credits) is dropped with it. A client that has only stopped asking, as a half-closed socket
//! says, still gets its answers first. Knows no API.

use super::admission::{Admission, Arriving, Credit, Room};
use super::frame::{Arrived, FrameError, Frames, SpareBlock};
use super::lease::Resolving;
use super::limits::{Limits, Place};
use super::mailbox::Mailbox;
use super::report::Counters;
use super::writer::{self, Answers, Reply, Slot};
use super::{Clock, Disk, Reader, Writer};
use crate::disk::logs::WeakLogs;
use bytes::Bytes;
use klamm_core::effect::Input;
use klamm_core::ids::{ConnectionId, Instant};
use klamm_core::wire::{Refusal, Response, decode_request};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use tokio::sync::Notify;

/// How long the rest of a frame may take once its first byte is there.
pub const FRAME_DEADLINE_MS: i64 = 60_000;
/// How long the rest of a long frame may take that others wait for, because the shard's room for such frames is full.
pub const HURRY_MS: i64 = 10_000;
/// How long the answers to a client that has half-closed its connection, or left, may take.
pub const HALF_CLOSED_DEADLINE_MS: i64 = 30_000;

/// What the connections of one shard share.
pub(super) struct Shared<D: Disk, C> {
    pub(super) disk: D,
    pub(super) clock: C,
    pub(super) mailbox: Mailbox,
    pub(super) spare: Rc<SpareBlock>,
    pub(super) room: Rc<Room>,
    pub(super) limits: Limits,
    pub(super) counters: Counters,
    pub(super) logs: RefCell<WeakLogs<D>>,
}

impl<D: Disk, C> Shared<D, C> {
    /// Sees to the logs whose groups have been written meanwhile.
    pub(super) fn look(&self) {
        if self.disk.reap()
            && let Some(logs) = self.logs.borrow().upgrade()
        {
            logs.land();
        }
    }
}

/// What the shard's loop and a connection's task share. Bounded by admission: each entry holds a credit.
pub(super) struct Link<F> {
    /// Requests that the shard has not answered yet.
    asked: RefCell<VecDeque<Asked>>,
    /// What is to be sent.
    slots: RefCell<VecDeque<Slot<F>>>,
    news: Notify,
    admission: Rc<Admission>,
    /// When the last request came, or the connection did.
    heard: Cell<Instant>,
    /// No further request is wanted.
    finishing: Cell<bool>,
    /// When it is looked at next, whether it is idle.
    pub(super) due: Cell<Instant>,
    /// Held as long as the connection is there.
    _place: Option<Place>,
}

/// What an answer needs to know of its request.
struct Asked {
    version: i16,
    correlation: i32,
    credit: Credit,
}

impl<F> Link<F> {
    pub(super) fn new(room: &Rc<Room>, place: Option<Place>, now: Instant) -> Link<F> {
        Link {
            asked: RefCell::default(),
            slots: RefCell::default(),
            news: Notify::new(),
            admission: Admission::of(room),
            heard: Cell::new(now),
            finishing: Cell::new(false),
            due: Cell::default(),
            _place: place,
        }
    }

    /// A request came.
    pub(super) fn heard(&self, now: Instant) {
        self.heard.set(now);
    }

    /// Since when nothing was asked and nothing is owed; `None` while something is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.admission.is_idle().then(|| self.heard.get())
    }

    /// Ends the connection, which is idle.
    pub(super) fn close_idle(&self) {
        self.put(Slot::Idle);
    }

    /// Ends the connection once what was asked is answered.
    pub(super) fn finish(&self) {
        self.finishing.set(true);
        // The connection is one task: whatever part of it is woken, all of it looks.
        self.news.notify_one();
    }

    async fn finishing(&self) {
        poll_fn(|_| if self.finishing.get() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Queues the answer to the oldest request.
    pub(super) fn reply(&self, correlation: i32, response: Response, ranges: Vec<Resolving<F>>, max_bytes: u32) {
        let Asked { version, credit, .. } = self.answered(correlation);
        if !ranges.is_empty() {
            return self.put(Slot::Reply(Box::new(Reply {
                version,
                correlation,
                response,
                ranges,
                max_bytes,
                credit,
            })));
        }
        if let Some(Slot::Answers(answers)) = self.slots.borrow_mut().back_mut()
            && answers.has_room()
        {
            return answers.add(version, correlation, &response, credit);
        }
        self.put(Slot::Answers(Answers::of(version, correlation, &response, credit)));
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
        let mut slots = self.slots.borrow_mut();
        // Where something waits already the connection knows that.
        if slots.is_empty() {
            self.news.notify_one();
        }
        slots.push_back(slot);
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
    /// It asked for nothing for too long.
    Idle,
    /// The broker stops.
    Finished,
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
        Err(end) = writer::answer(&mut writer, &link, &shared) => end,
        Err(end) = ask(frames, conn, &link, &shared) => end,
    };
    match end {
        End::Left => tracing::debug!(%peer, "a client left"),
        End::Idle => tracing::debug!(%peer, "closing an idle connection"),
        End::Finished => tracing::debug!(%peer, "closing a connection: the broker stops"),
        End::Failed(error) => {
            tracing::warn!(%peer, %error, "closing a connection that failed");
            writer.abort();
        }
        End::Refused(reason) => tracing::warn!(%peer, reason, "closing a connection that is not understood"),
        End::Told(reason) => tracing::warn!(%peer, reason, "closing a connection"),
    }
    shared.mailbox.put(Input::Closed { conn });
}

/// Hands the requests of a connection to the shard until it ends, or is to end, and what was asked is answered.
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
    let end = loop {
        // Short frames that are there, and for which there is room, wait for nothing.
        while !link.finishing.get()
            && let Some(len) = frames.at_hand().filter(|len| *len <= shared.limits.max_frame)
            && let Some(credit) = link.admission.try_admit(len)
        {
            take_in(frames.take(len), credit, conn, link, shared)?;
        }
        let more = tokio::select! { biased;
            () = link.finishing() => break End::Finished,
            more = frames.wait() => more?,
        };
        if !more {
            break End::Left;
        }
        let len = in_time(&shared.clock, FRAME_DEADLINE_MS, frames.length()).await?;
        if len > shared.limits.max_frame {
            let most = shared.limits.max_frame;
            return Err(End::Refused(format!("a frame of {len} bytes, more than socket.request.max.bytes={most}")));
        }
        let mut credit = link.admission.announce(len).await;
        let frame = if Frames::<R>::is_long(len) {
            // Boxed: a connection at rest has no room for it.
            Box::pin(arrive(&mut frames, len, credit.arriving(), &shared.clock)).await?
        } else {
            in_time(&shared.clock, FRAME_DEADLINE_MS, frames.short(len)).await?
        };
        credit.admit().await;
        take_in(frame, credit, conn, link, shared)?;
    };
    if !link.admission.is_idle() {
        let drained = async {
            link.admission.drained().await;
            Ok::<_, io::Error>(())
        };
        // Too late is as good as never: the peer is gone, or the broker is about to.
        drop(Box::pin(in_time(&shared.clock, HALF_CLOSED_DEADLINE_MS, drained)).await);
    }
    Err(end)
}

/// Hands a request to the shard.
fn take_in<D: Disk, C>(
    frame: Bytes,
    credit: Credit,
    conn: ConnectionId,
    link: &Link<D::File>,
    shared: &Shared<D, C>,
) -> Result<(), End> {
    shared.counters.received(frame.len());
    shared.look();
    let incoming = decode_request(frame).map_err(|refusal| End::Refused(in_words(refusal)))?;
    let correlation = incoming.correlation;
    link.asked.borrow_mut().push_back(Asked { version: incoming.version, correlation, credit });
    shared.mailbox.put(Input::Request { conn, correlation, request: incoming.request });
    Ok(())
}

/// The bytes of a long frame. Waiting for the shard's room is not the peer's fault.
async fn arrive<R, C>(frames: &mut Frames<R>, len: usize, mut arriving: Arriving, clock: &C) -> io::Result<Bytes>
where
    R: Reader,
    C: Clock,
{
    let mut end = clock.now().monotonic.plus_ms(FRAME_DEADLINE_MS);
    frames.long(len);
    loop {
        let more = frames.more(len, |arrived| arriving.try_hold(arrived));
        let arrived = match by(clock, || end, more).await? {
            Arrived::Whole(frame) => return Ok(frame),
            Arrived::Part(arrived) => arrived,
        };
        let from = clock.now().monotonic;
        arriving.hold(arrived).await;
        let now = clock.now().monotonic;
        end = if arriving.has_turn() { now.plus_ms(HURRY_MS) } else { Instant(end.0 + (now.0 - from.0)) };
    }
}

fn in_words(refusal: Refusal) -> String {
    match refusal {
        Refusal::Malformed(what) => format!("a malformed request: {what}"),
        Refusal::UnknownApi { key, version } => format!("version {version} of API {key} is not served"),
    }
}

/// `work`, unless it takes longer than `ms`.
pub(super) fn in_time<C, T, E>(
    clock: &C,
    ms: i64,
    work: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>>
where
    C: Clock,
    E: From<io::Error>,
{
    by(clock, move || clock.now().monotonic.plus_ms(ms), work)
}

/// `work`, unless it is not done by then.
async fn by<C, T, E>(clock: &C, end: impl FnOnce() -> Instant, work: impl Future<Output = Result<T, E>>) -> Result<T, E>
where
    C: Clock,
    E: From<io::Error>,
{
    tokio::select! { biased;
        done = work => done,
        // Begun, and given room, only if the work has to wait.
        () = async { Box::pin(clock.sleep_until(end())).await } => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the peer stood still for too long").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Completion, Op, REQUESTS_PER_CONNECTION};
    use bytes::Bytes;
    use klamm_core::ids::{Instant, Now};
    use klamm_core::wire::{ApiVersionsRequest, ApiVersionsResponse, Request, encode_request};
    use std::cell::Cell;
    use std::os::fd::BorrowedFd;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
    use tokio::task::yield_now;

    /// No test here comes to the disk.
    #[derive(Clone)]
    struct NoDisk;

    impl Disk for NoDisk {
        type File = ();

        fn submit(&self, op: Op<()>) -> Completion<()> {
            panic!("{op:?}")
        }

        fn descriptor((): &()) -> Option<BorrowedFd<'_>> {
            None
        }
    }

    /// Stands still, or has every deadline pass as soon as it is waited for.
    #[derive(Clone)]
    struct TestClock {
        hurries: bool,
    }

    impl Clock for TestClock {
        fn now(&self) -> Now {
            Now::default()
        }

        async fn sleep_until(&self, _: Instant) {
            if !self.hurries {
                std::future::pending::<()>().await;
            }
        }
    }

    struct TestWriter {
        half: WriteHalf<DuplexStream>,
        aborted: Rc<Cell<bool>>,
    }

    impl Writer for TestWriter {
        const SENDFILE: bool = false;

        async fn send_file(&mut self, _: BorrowedFd<'_>, _: u64, _: usize) -> io::Result<usize> {
            unreachable!("there is no sendfile")
        }

        fn abort(&mut self) {
            self.aborted.set(true);
        }
    }

    impl AsyncWrite for TestWriter {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.half).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.half).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.half).poll_shutdown(cx)
        }
    }

    /// A connection over a pipe that holds `bytes`.
    struct Rig {
        client: DuplexStream,
        server: (ReadHalf<DuplexStream>, TestWriter, SocketAddr),
        link: Rc<Link<()>>,
        shared: Rc<Shared<NoDisk, TestClock>>,
        aborted: Rc<Cell<bool>>,
    }

    fn rig(hurries: bool, bytes: usize) -> Rig {
        let (client, server) = duplex(bytes);
        let (reader, half) = split(server);
        let aborted = Rc::new(Cell::new(false));
        let writer = TestWriter { half, aborted: Rc::clone(&aborted) };
        let shared = Shared {
            disk: NoDisk,
            clock: TestClock { hurries },
            mailbox: Mailbox::default(),
            spare: Rc::default(),
            room: Room::of_shard(),
            limits: Limits::default(),
            counters: Counters::default(),
            logs: RefCell::default(),
        };
        let link = Rc::new(Link::new(&shared.room, None, Instant(0)));
        let server = (reader, writer, SocketAddr::from(([127, 0, 0, 1], 1)));
        Rig { client, server, link, shared: Rc::new(shared), aborted }
    }

    fn request(correlation: i32) -> Bytes {
        encode_request(0, correlation, None, &Request::ApiVersions(ApiVersionsRequest::default()))
    }

    fn reply(link: &Link<()>, correlation: i32) {
        link.reply(correlation, Response::ApiVersions(ApiVersionsResponse::default()), Vec::new(), 0);
    }

    async fn settle() {
        for _ in 0..100 {
            yield_now().await;
        }
    }

    /// The correlation ids of the requests that wait in the mailbox.
    fn arrived(mailbox: &Mailbox) -> Vec<i32> {
        let inputs = std::iter::from_fn(|| mailbox.take());
        inputs
            .map(|input| match input {
                Input::Request { correlation, .. } => correlation,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[tokio::test]
    async fn answers_leave_in_order_and_make_room_for_more_requests() {
        let Rig { mut client, server, link, shared, .. } = rig(false, 1 << 20);
        let most = i32::try_from(REQUESTS_PER_CONNECTION).unwrap();
        let script = async {
            for correlation in 0..2 * most {
                client.write_all(&request(correlation)).await.unwrap();
            }
            settle().await;
            assert_eq!(arrived(&shared.mailbox), (0..most).collect::<Vec<_>>(), "so many and no more");
            (0..most).for_each(|correlation| reply(&link, correlation));
            settle().await;
            assert_eq!(arrived(&shared.mailbox), (most..2 * most).collect::<Vec<_>>(), "room came back");
            (most..2 * most).for_each(|correlation| reply(&link, correlation));
            for correlation in 0..2 * most {
                let len = client.read_i32().await.unwrap();
                assert_eq!(client.read_i32().await.unwrap(), correlation);
                client.read_exact(&mut vec![0; usize::try_from(len).unwrap() - 4]).await.unwrap();
            }
            drop(client);
        };
        tokio::join!(serve(server, ConnectionId(1), Rc::clone(&link), Rc::clone(&shared)), script);
        assert!(matches!(shared.mailbox.take(), Some(Input::Closed { .. })));
        assert!(shared.mailbox.take().is_none(), "closed once");
    }

    #[tokio::test]
    async fn however_it_ends_the_shard_is_told_once() {
        let half = || request(1).slice(..9);
        let ends: [(&str, bool, Bytes); 5] = [
            ("the client leaves, and its answer does not come", true, request(1)),
            ("inside a frame", false, half()),
            ("no frame", false, Bytes::from_static(b"GET /")),
            ("no request", false, Bytes::from_static(&[0, 0, 0, 4, 99, 99, 99, 99])),
            ("the rest of a frame does not come", true, half()),
        ];
        for (name, stalls, sent) in ends {
            let Rig { mut client, server, link, shared, aborted } = rig(stalls, 1 << 10);
            client.write_all(&sent).await.unwrap();
            let kept = (name == "the rest of a frame does not come").then_some(client);
            serve(server, ConnectionId(1), link, Rc::clone(&shared)).await;
            let inputs: Vec<_> = std::iter::from_fn(|| shared.mailbox.take()).collect();
            let closed = inputs.iter().filter(|input| matches!(input, Input::Closed { .. })).count();
            assert!(closed == 1 && matches!(inputs.last(), Some(Input::Closed { .. })), "{name}: {inputs:?}");
            assert_eq!(aborted.get(), kept.is_some() || name == "inside a frame", "{name}");
            drop(kept);
        }
    }

    #[tokio::test]
    async fn a_client_that_asks_no_more_still_gets_its_answers() {
        let Rig { mut client, server, link, shared, .. } = rig(false, 1 << 10);
        client.write_all(&request(7)).await.unwrap();
        let script = async {
            settle().await;
            client.shutdown().await.unwrap();
            settle().await;
            assert_eq!(arrived(&shared.mailbox), [7], "and no Closed before the answer");
            reply(&link, 7);
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            assert_eq!(got[4..8], 7i32.to_be_bytes());
        };
        tokio::join!(serve(server, ConnectionId(1), Rc::clone(&link), Rc::clone(&shared)), script);
        assert!(matches!(shared.mailbox.take(), Some(Input::Closed { .. })));
    }

    #[tokio::test]
    async fn a_broker_that_stops_answers_what_was_asked_and_asks_for_no_more() {
        let Rig { mut client, server, link, shared, .. } = rig(false, 1 << 10);
        client.write_all(&request(7)).await.unwrap();
        let script = async {
            settle().await;
            link.finish();
            settle().await;
            client.write_all(&request(8)).await.unwrap();
            settle().await;
            assert_eq!(arrived(&shared.mailbox), [7]);
            reply(&link, 7);
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            assert_eq!(got[4..8], 7i32.to_be_bytes());
        };
        tokio::join!(serve(server, ConnectionId(1), Rc::clone(&link), Rc::clone(&shared)), script);
    }

    fn future_bytes<A, B, C, D, F: Future>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// Ten thousand idle connections are to cost 20 MB, with all that the shard and the runtime keep of them.
    #[test]
    fn a_connection_is_small() {
        let bytes = future_bytes(serve::<ReadHalf<DuplexStream>, TestWriter, NoDisk, TestClock>);
        assert!(bytes <= 1_200, "{bytes} bytes a connection");
    }

    #[tokio::test]
    async fn a_close_leaves_after_the_answers_before_it() {
        let Rig { mut client, server, link, shared, .. } = rig(false, 1 << 10);
        client.write_all(&request(7)).await.unwrap();
        let script = async {
            settle().await;
            reply(&link, 7);
            link.close("because");
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            assert_eq!(got[4..8], 7i32.to_be_bytes());
        };
        tokio::join!(serve(server, ConnectionId(1), Rc::clone(&link), Rc::clone(&shared)), script);
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let Rig { mut client, server, link, shared, aborted } = rig(true, 16);
        let script = async {
            // One answer fits into the pipe, two do not.
            for correlation in [7, 8] {
                client.write_all(&request(correlation)).await.unwrap();
                settle().await;
                reply(&link, correlation);
                settle().await;
            }
            client
        };
        let (client, ()) = tokio::join!(script, serve(server, ConnectionId(1), Rc::clone(&link), Rc::clone(&shared)));
        assert!(aborted.get());
        drop(client);
    }
}
