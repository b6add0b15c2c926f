//! The outbound half of a connection: answers leave in the order of their requests, many small ones in one write.
//!
//! File bytes go by `sendfile` where the writer can, else by read and write. Bytes that cannot be found are an error of
//! their partition. A peer that takes nothing for [`WRITE_DEADLINE_MS`], or bytes that cannot be read once an answer has
//! begun to leave, end the connection: part of it may have left, and only a closed connection tells the peer so.

use super::admission::Credit;
use super::connection::{End, Link, Shared, in_time};
use super::lease::{Resolving, compose};
use super::report::Counters;
use super::{Clock, Disk, Writer};
use crate::disk::logs::{Lease, Piece};
use bytes::Buf;
use klamm_core::effect::cut;
use klamm_core::wire::{Response, append_response, encode_response, error};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use tokio::io::AsyncWriteExt;
use tokio::task::yield_now;

/// How long a peer may take nothing before it is given up.
pub const WRITE_DEADLINE_MS: i64 = 60_000;
/// Slices of one vectored write.
const SLICES: usize = 64;
/// Answers are gathered before they are written, up to so many pieces.
const GATHER: usize = SLICES;
/// Short answers stand back to back in one buffer, until it holds so many bytes.
const ANSWERS: usize = 64 << 10;
/// Room for so many bytes is made at first.
const FIRST: usize = 1 << 10;
/// File bytes are sent in steps of so many, between which other connections get their turn.
const SENDFILE_STEP: u32 = 1 << 20;
/// Fewer file bytes are read and written: cheaper than `sendfile`.
const SENDFILE_FROM: u32 = 16 << 10;
/// File bytes read at once where there is no `sendfile`.
const READ_STEP: u32 = 256 << 10;

/// An answer with bytes of logs that waits for its turn.
pub(super) struct Reply<F> {
    pub(super) version: i16,
    pub(super) correlation: i32,
    pub(super) response: Response,
    pub(super) ranges: Vec<Resolving<F>>,
    pub(super) max_bytes: u32,
    /// Comes back once the answer has left.
    pub(super) credit: Credit,
}

/// Answers without bytes of logs, as they leave.
pub(super) struct Answers {
    bytes: Vec<u8>,
    /// Of all of them.
    credit: Credit,
}

impl Answers {
    pub(super) fn of(version: i16, correlation: i32, response: &Response, credit: Credit) -> Answers {
        let mut bytes = Vec::with_capacity(FIRST);
        append_response(&mut bytes, version, correlation, response);
        Answers { bytes, credit }
    }

    /// Whether another one is put behind them.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() < ANSWERS
    }

    pub(super) fn add(&mut self, version: i16, correlation: i32, response: &Response, credit: Credit) {
        append_response(&mut self.bytes, version, correlation, response);
        self.credit.join(credit);
    }
}

/// What the outbound half is to do next.
pub(super) enum Slot<F> {
    /// Send answers.
    Answers(Answers),
    /// Send an answer.
    Reply(Box<Reply<F>>),
    /// End the connection, for this reason.
    Close(&'static str),
    /// End the connection, which is idle.
    Idle,
}

/// Sends the answers of a connection until it ends.
pub(super) async fn answer<W, D, C>(
    writer: &mut W,
    link: &Link<D::File>,
    shared: &Shared<D, C>,
) -> Result<Infallible, End>
where
    W: Writer,
    D: Disk,
    C: Clock,
{
    let mut pieces = VecDeque::new();
    let mut credits = Vec::new();
    loop {
        let slot = link.next();
        let room = match &slot {
            Some(Slot::Answers(_)) => pieces.len() < GATHER,
            // Earlier answers do not wait for this one's look-ups.
            Some(Slot::Reply(_) | Slot::Close(_) | Slot::Idle) | None => false,
        };
        if !room {
            let sent = send(writer, &shared.disk, &shared.clock, &mut pieces).await?;
            shared.counters.sent(sent.copied, sent.by_sendfile);
            credits.clear();
        }
        match slot {
            Some(Slot::Answers(Answers { bytes, credit })) => {
                pieces.push_back(Piece::Bytes(bytes.into()));
                credits.push(credit);
            }
            Some(Slot::Reply(reply)) => credits.push(encode(reply, &mut pieces, &shared.counters).await),
            Some(Slot::Close(reason)) => return Err(End::Told(reason)),
            Some(Slot::Idle) => return Err(End::Idle),
            None => link.news().await,
        }
    }
}

/// The bytes of a range cannot be had: its partition says so, as Kafka's would.
fn refuse<F>(response: &mut Response, range: u32, error: &io::Error) -> Lease<F> {
    tracing::warn!(%error, "a fetch cannot be given a partition's bytes");
    let code = match error.kind() {
        io::ErrorKind::InvalidData => error::CORRUPT_MESSAGE,
        _ => error::KAFKA_STORAGE_ERROR,
    };
    if let Response::Fetch(response) = response {
        response.refuse_range(range, code);
    }
    Lease { pieces: Vec::new(), bytes: 0, first: 0 }
}

/// Adds the bytes of an answer to what is to be sent.
async fn encode<F: Clone>(mut reply: Box<Reply<F>>, pieces: &mut VecDeque<Piece<F>>, counters: &Counters) -> Credit {
    let mut leases = Vec::with_capacity(reply.ranges.len());
    for (range, resolving) in (0..).zip(mem::take(&mut reply.ranges)) {
        leases.push(resolving.await.unwrap_or_else(|error| refuse(&mut reply.response, range, &error)));
    }
    let sizes: Vec<_> = leases.iter().map(|lease| (lease.bytes, lease.first)).collect();
    let lengths = cut(&sizes, reply.max_bytes);
    counters.fetched(&reply.response, &lengths);
    let encoded = encode_response(reply.version, reply.correlation, &reply.response, &lengths);
    pieces.extend(compose(&encoded, &leases, &lengths));
    reply.credit
}

/// How the bytes left.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Through this process's memory.
    pub copied: usize,
    /// By `sendfile`.
    pub by_sendfile: usize,
}

/// Sends pieces, in order, and takes them off the list; gives how many bytes left which way.
///
/// # Errors
/// The socket's or the disk's, a file that is shorter than promised, or a peer that takes nothing: the connection cannot
/// go on.
pub async fn send<W, D, C>(
    writer: &mut W,
    disk: &D,
    clock: &C,
    pieces: &mut VecDeque<Piece<D::File>>,
) -> io::Result<Sent>
where
    W: Writer,
    D: Disk,
    C: Clock,
{
    if pieces.is_empty() {
        return Ok(Sent::default());
    }
    let mixed = pieces.len() > 1 && pieces.iter().any(|piece| matches!(piece, Piece::File { .. }));
    writer.hold(mixed);
    let mut all = Sent::default();
    while let Some(piece) = pieces.front() {
        match piece {
            Piece::Bytes(_) => {
                let sent = in_time(clock, WRITE_DEADLINE_MS, write(writer, pieces)).await?;
                all.copied += sent;
                advance(pieces, sent);
            }
            Piece::File { file, at, len } => {
                let step = SENDFILE_STEP.min(*len) as usize;
                // From the device `sendfile` would wait on this thread, for everybody: the disk reads that.
                let direct = W::SENDFILE && *len >= SENDFILE_FROM && D::is_cached(file, *at, step);
                let descriptor = if direct { D::descriptor(file) } else { None };
                // Boxed: a connection at rest has no room for these.
                if let Some(descriptor) = descriptor {
                    let sending = in_time(clock, WRITE_DEADLINE_MS, writer.send_file(descriptor, *at, step));
                    let sent = Box::pin(sending).await?;
                    if sent == 0 {
                        return Err(ends_early());
                    }
                    all.by_sendfile += sent;
                    let done = sent == *len as usize;
                    advance(pieces, sent);
                    if !done {
                        yield_now().await;
                    }
                } else {
                    let step = READ_STEP.min(*len) as usize;
                    let bytes = Box::pin(disk.read(file, *at, step)).await?;
                    if bytes.len() < step {
                        return Err(ends_early());
                    }
                    advance(pieces, step);
                    pieces.push_front(Piece::Bytes(bytes));
                }
            }
        }
    }
    if mixed {
        writer.push();
    }
    writer.flush().await?;
    Ok(all)
}

fn ends_early() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a log file ends before the bytes that were promised of it")
}

/// Writes what it can of the leading bytes; gives how many left.
async fn write<W: Writer, F>(writer: &mut W, pieces: &VecDeque<Piece<F>>) -> io::Result<usize> {
    if let (Some(Piece::Bytes(bytes)), None | Some(Piece::File { .. })) = (pieces.front(), pieces.get(1)) {
        return some(poll_fn(|cx| Pin::new(&mut *writer).poll_write(cx, bytes)).await?);
    }
    // The slices are made for each attempt: kept, they would be a kilobyte of every connection at rest.
    let sent = poll_fn(|cx| {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces.iter()) {
            match piece {
                Piece::Bytes(bytes) => *slice = IoSlice::new(bytes),
                Piece::File { .. } => break,
            }
            filled += 1;
        }
        Pin::new(&mut *writer).poll_write_vectored(cx, &slices[..filled])
    });
    some(sent.await?)
}

/// How many bytes left, which are some.
fn some(sent: usize) -> io::Result<usize> {
    if sent == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(sent) }
}

/// Takes `sent` bytes off the front.
fn advance<F>(pieces: &mut VecDeque<Piece<F>>, sent: usize) {
    let mut left = sent;
    while left > 0 {
        let rest = match pieces.front_mut().expect("no more was sent than there was") {
            Piece::Bytes(bytes) => {
                let step = left.min(bytes.len());
                bytes.advance(step);
                left -= step;
                bytes.len()
            }
            Piece::File { at, len, .. } => {
                let step = left.min(*len as usize);
                *at += step as u64;
                *len -= u32::try_from(step).expect("it is at most the length");
                left -= step;
                *len as usize
            }
        };
        if rest == 0 {
            pieces.pop_front();
        }
    }
}
