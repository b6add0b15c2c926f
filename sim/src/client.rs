//! A client's side of the wire, over turmoil: one connection, requests pipelined, answers in order.
//!
//! Believes nothing: an answer that cannot be read, or to another question, is a broken promise and not just an error.

use crate::dice::Dice;
use crate::net::{PORT, Pieces, halves};
use crate::workload::reading::number;
use bytes::{Buf, Bytes, BytesMut};
use klamm_core::ids::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use klamm_core::record::{Builder, batches, records};
use klamm_core::rng;
use klamm_core::wire::{ApiKey, Request, Response, decode_response, encode_request};
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::TcpStream;
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The broker's name in the simulation.
pub const BROKER: &str = "broker";
/// How long dialling may take.
const DIAL_MS: u64 = 2_000;
/// How long a request may take to be taken by the socket.
const SEND_MS: u64 = 5_000;
/// No answer is longer: the limits that clients ask for are far below.
const MAX_ANSWER: usize = 64 << 20;

/// Why a connection is of no more use.
#[derive(Debug)]
pub enum Lost {
    /// It broke, or was silent for too long.
    Broken(io::Error),
    /// The broker answered what is no answer.
    Nonsense(String),
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Lost {
        Lost::Broken(error)
    }
}

#[derive(Debug)]
struct Asked {
    correlation: i32,
    key: ApiKey,
    version: i16,
}

/// Changes an answer.
pub(crate) type Lie = fn(&mut Response);

/// What all connections of a run share: draws, and how many requests have no answer yet.
#[derive(Clone, Debug)]
pub struct Wire {
    dice: Dice,
    waiting: Rc<Cell<usize>>,
    /// What becomes of answers: a promise that a world breaks on purpose.
    pub(crate) lie: Rc<Cell<Option<Lie>>>,
}

impl Wire {
    /// Nobody waits.
    #[must_use]
    pub fn new(dice: Dice) -> Wire {
        Wire { dice, waiting: Rc::default(), lie: Rc::default() }
    }

    /// Requests that have no answer yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// Dials the broker. The key is that of the connection's draws.
    ///
    /// # Errors
    /// When it refuses, or is silent.
    pub async fn dial(&self, key: u64) -> Result<Connection, Lost> {
        let dial = async { TcpStream::connect((BROKER, PORT)).await.map_err(Lost::from) };
        let stream = in_time(DIAL_MS, dial).await?;
        let (reader, writer) = halves(stream, key, &self.dice);
        let (received, asked) = (BytesMut::new(), VecDeque::new());
        Ok(Connection { reader, writer, received, asked, wire: self.clone(), next: 0 })
    }
}

/// A connection to the broker.
#[derive(Debug)]
pub struct Connection {
    reader: Pieces<OwnedReadHalf>,
    writer: Pieces<OwnedWriteHalf>,
    received: BytesMut,
    /// Not answered yet, oldest first.
    asked: VecDeque<Asked>,
    /// With the requests that the run waits for, these among them.
    wire: Wire,
    next: i32,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.wire.waiting.set(self.wire.waiting.get() - self.asked.len());
    }
}

impl Connection {
    /// Sends a request. `answered`: an answer is to come.
    ///
    /// # Errors
    /// When the connection breaks or stands still; part of the request may have left.
    pub async fn send(&mut self, version: i16, request: &Request, answered: bool) -> Result<i32, Lost> {
        let correlation = self.next;
        self.next = self.next.wrapping_add(1);
        let frame = encode_request(version, correlation, Some("klamm-sim"), request);
        if answered {
            self.asked.push_back(Asked { correlation, key: request.key(), version });
            self.wire.waiting.set(self.wire.waiting.get() + 1);
        }
        in_time(SEND_MS, async { self.writer.write_all(&frame).await.map_err(Lost::from) }).await?;
        Ok(correlation)
    }

    /// The bytes of a request that is not sent.
    #[must_use]
    pub fn frame_of(&self, version: i16, request: &Request) -> Vec<u8> {
        encode_request(version, self.next, Some("klamm-sim"), request).to_vec()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection breaks or stands still.
    pub async fn blurt(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        in_time(SEND_MS, async { self.writer.write_all(bytes).await.map_err(Lost::from) }).await
    }

    /// The answer to the oldest request. May be cancelled: nothing is lost.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is not that answer.
    pub async fn receive(&mut self) -> Result<(i32, Response), Lost> {
        let frame = loop {
            if let Some(frame) = self.frame()? {
                break frame;
            }
            if self.reader.read_buf(&mut self.received).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        };
        let Some(Asked { correlation, key, version }) = self.asked.pop_front() else {
            return Err(Lost::Nonsense("an answer to no question".to_owned()));
        };
        self.wire.waiting.set(self.wire.waiting.get() - 1);
        match decode_response(key, version, frame) {
            Ok((named, mut response)) if named == correlation => {
                if let Some(lie) = self.wire.lie.get() {
                    lie(&mut response);
                }
                Ok((correlation, response))
            }
            Ok((named, _)) => Err(Lost::Nonsense(format!("{key:?} {correlation} is answered under the name {named}"))),
            Err(malformed) => Err(Lost::Nonsense(format!("an answer to {key:?} version {version}: {}", malformed.0))),
        }
    }

    /// Asks and waits for the answer, with nothing else in flight.
    ///
    /// # Errors
    /// As [`Connection::send`] and [`Connection::receive`]; also when `ms` pass without an answer.
    pub async fn ask(&mut self, version: i16, request: impl Into<Request>, ms: u64) -> Result<Response, Lost> {
        assert!(self.asked.is_empty(), "asked while another question is open");
        self.send(version, &request.into(), true).await?;
        in_time(ms, self.receive()).await.map(|(_, response)| response)
    }

    fn frame(&mut self) -> Result<Option<Bytes>, Lost> {
        let Some(prefix) = self.received.first_chunk() else { return Ok(None) };
        let len = u32::from_be_bytes(*prefix) as usize;
        if len > MAX_ANSWER {
            return Err(Lost::Nonsense(format!("a frame of {len} bytes")));
        }
        if self.received.len() < 4 + len {
            return Ok(None);
        }
        self.received.advance(4);
        Ok(Some(self.received.split_to(len).freeze()))
    }
}

/// `work`, unless it takes longer than `ms`.
///
/// # Errors
/// Its own, or `TimedOut`.
pub async fn in_time<T>(ms: u64, work: impl Future<Output = Result<T, Lost>>) -> Result<T, Lost> {
    match tokio::time::timeout(Duration::from_millis(ms), work).await {
        Ok(done) => done,
        Err(_) => Err(Lost::Broken(io::ErrorKind::TimedOut.into())),
    }
}

/// An idempotent producer's name for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Who.
    pub id: ProducerId,
    /// In which epoch.
    pub epoch: ProducerEpoch,
    /// The sequence of the first record.
    pub first: Sequence,
}

/// A batch of one record a value, each followed by bytes that follow from it.
#[must_use]
pub fn batch(values: &[u64], filler: usize, at: Timestamp, stamp: Option<Stamp>) -> Bytes {
    let mut builder = Builder::new();
    if let Some(Stamp { id, epoch, first }) = stamp {
        builder = builder.producer(id, epoch, first);
    }
    for value in values {
        builder.push(at, None, Some(&body(*value, filler)));
    }
    builder.build(klamm::crc32c)
}

/// A record's value: a number, and bytes that follow from it.
#[must_use]
pub fn body(value: u64, filler: usize) -> Vec<u8> {
    let fill = rng::mix(value).to_be_bytes();
    value.to_be_bytes().into_iter().chain(fill.into_iter().cycle().take(filler)).collect()
}

/// The values in what a fetch gave: whole batches, the last one perhaps cut short.
///
/// # Errors
/// What is wrong with the bytes.
pub fn values(bytes: Bytes) -> Result<Vec<(Offset, u64)>, String> {
    let mut found = Vec::new();
    for batch in batches(bytes) {
        let batch = batch.map_err(|corrupt| corrupt.0.to_owned())?;
        if !batch.crc_holds(klamm::crc32c) {
            return Err(format!("the batch at {} does not match its checksum", batch.header.base_offset));
        }
        for record in records(batch.bytes()) {
            let record = record.map_err(|corrupt| corrupt.0)?;
            let Some(value) = record.value.and_then(number) else {
                return Err(format!("the record at {} is none that was ever sent", record.offset));
            };
            found.push((record.offset, value));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_reads_back_and_nothing_else_does() {
        let bytes = batch(&[7, 8, 9], 20, Timestamp(1), None);
        let found = values(bytes.clone()).unwrap();
        assert_eq!(found, [(Offset(0), 7), (Offset(1), 8), (Offset(2), 9)]);
        assert_eq!(values(bytes.slice(..bytes.len() - 1)), Ok(vec![]), "cut short");
        let mut strange = Builder::new();
        strange.push(Timestamp(1), None, Some(b"12345678?"));
        assert!(values(strange.build(klamm::crc32c)).is_err());
    }
}
