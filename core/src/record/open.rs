//! Compressed records, looked at and not kept: the host's codecs open them piece by piece, and a small buffer passes over.
//!
//! Bounded: a batch is opened to so many bytes as its length justifies and to no more, whatever its stream promises. Keys,
//! values and headers are stepped over.

use alloc::boxed::Box;
use alloc::vec;
use bytes::Bytes;

use super::batch::Span;
use super::{Batch, Codec, Corrupt, HEADER_BYTES, Header, Invalid, LOG_APPEND_TIME_BIT};
use crate::ids::{Offset, Timestamp};
use crate::varint;

/// Bytes opened at once.
const PIECE: usize = 8 << 10;
/// What any batch may be opened to.
const LEAST_BOUND: u64 = 16 << 20;
/// How many times larger than compressed a batch may be beyond that.
const RATIO: u64 = 64;
/// What no batch may be opened to.
const LARGEST_BOUND: u64 = 128 << 20;

/// A stream that is not what its codec says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Bytes that are being opened.
pub trait Inflate {
    /// Fills the front of `into`; gives how many bytes, 0 at the end.
    ///
    /// # Errors
    /// When the stream is broken.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Broken>;
}

/// Begins to open what a codec made.
pub type Open = for<'a> fn(Codec, &'a [u8]) -> Result<Box<dyn Inflate + 'a>, Broken>;

/// What is wrong with compressed records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The stream is broken.
    Broken,
    /// It opens to more than its length justifies.
    TooLarge,
    /// What it opens to is not the records that the batch says.
    Records(&'static str),
}

/// The bytes that compressed records of so many may be opened to.
#[must_use]
fn bound(compressed: usize) -> u64 {
    (LEAST_BOUND + RATIO * compressed as u64).min(LARGEST_BOUND)
}

/// What a record says of itself, relative to its batch.
struct Stamp {
    attributes: u8,
    timestamp_delta: i64,
    offset_delta: i32,
}

/// A place in a stream of records.
struct Walk<'a> {
    source: Box<dyn Inflate + 'a>,
    held: Box<[u8]>,
    /// In `held`: the next byte, and the end.
    at: usize,
    end: usize,
    /// Bytes taken so far.
    taken: u64,
    /// Bytes that may still be opened.
    left: u64,
}

const PAST: Flaw = Flaw::Records("a record ends past its batch");
const ODD: Flaw = Flaw::Records("a field of a record ends past it");

impl<'a> Walk<'a> {
    fn new(batch: &'a [u8], header: &Header, open: Open) -> Result<Walk<'a>, Flaw> {
        let body = batch.get(HEADER_BYTES..).unwrap_or_default();
        let codec = header.codec().ok_or(Flaw::Broken)?;
        let source = open(codec, body).map_err(|Broken| Flaw::Broken)?;
        Ok(Walk { source, held: vec![0; PIECE].into(), at: 0, end: 0, taken: 0, left: bound(body.len()) })
    }

    /// Sees to it that there is a byte; whether there is one.
    fn fill(&mut self) -> Result<bool, Flaw> {
        if self.at == self.end {
            let read = self.source.read(&mut self.held).map_err(|Broken| Flaw::Broken)?;
            self.left = self.left.checked_sub(read as u64).ok_or(Flaw::TooLarge)?;
            (self.at, self.end) = (0, read);
        }
        Ok(self.at < self.end)
    }

    fn byte(&mut self) -> Result<u8, Flaw> {
        if !self.fill()? {
            return Err(PAST);
        }
        let byte = self.held[self.at];
        self.at += 1;
        self.taken += 1;
        Ok(byte)
    }

    fn skip(&mut self, mut count: u64) -> Result<(), Flaw> {
        while count > 0 {
            if !self.fill()? {
                return Err(PAST);
            }
            let step = usize::try_from(count).map_or(self.end - self.at, |count| count.min(self.end - self.at));
            self.at += step;
            self.taken += step as u64;
            count -= step as u64;
        }
        Ok(())
    }

    /// A varint as `take` reads it.
    fn number<T>(&mut self, take: impl Fn(&mut &[u8]) -> Option<T>) -> Result<T, Flaw> {
        let mut raw = [0; 10];
        for len in 1..=raw.len() {
            raw[len - 1] = self.byte()?;
            if raw[len - 1] < 0x80 {
                return take(&mut &raw[..len]).ok_or(ODD);
            }
        }
        Err(ODD)
    }

    /// Steps over bytes with a length before them, within a record; whether they are null.
    fn nullable(&mut self, end: u64) -> Result<bool, Flaw> {
        match self.number(varint::signed)? {
            -1 => Ok(true),
            len => {
                let len = u64::try_from(len).ok().filter(|len| self.taken + len <= end).ok_or(ODD)?;
                self.skip(len)?;
                Ok(false)
            }
        }
    }

    fn record(&mut self) -> Result<Stamp, Flaw> {
        let len = self.number(varint::signed).map_err(|flaw| if flaw == ODD { PAST } else { flaw })?;
        let end = self.taken + u64::try_from(len).map_err(|_| PAST)?;
        let stamp = Stamp {
            attributes: self.byte()?,
            timestamp_delta: self.number(varint::signed_long)?,
            offset_delta: self.number(varint::signed)?,
        };
        self.nullable(end)?;
        self.nullable(end)?;
        let headers = self.number(varint::signed)?;
        for _ in 0..u32::try_from(headers).map_err(|_| ODD)? {
            if self.taken >= end || self.nullable(end)? {
                return Err(ODD);
            }
            self.nullable(end)?;
        }
        match self.taken {
            taken if taken > end => Err(ODD),
            taken if taken < end => Err(Flaw::Records("a record of another length than it says")),
            _ => Ok(stamp),
        }
    }
}

impl Batch {
    /// That the records of a checked batch, if they are compressed, are what its header says: so many, of rising offsets,
    /// to the last byte.
    ///
    /// # Errors
    /// CORRUPT_MESSAGE for a broken stream, MESSAGE_TOO_LARGE for one that opens to too much, INVALID_RECORD for other
    /// records.
    pub fn open(&mut self, open: Open) -> Result<(), Invalid> {
        if self.header.codec() == Some(Codec::None) {
            return Ok(());
        }
        let span = {
            let mut walk = Walk::new(self.bytes(), &self.header, open).map_err(Flaw::refusal)?;
            let mut span = Span::new(self.header.base_timestamp);
            for index in 0..self.header.count {
                let stamp = walk.record().map_err(|flaw| flaw.refusal_of(index))?;
                span.take(index, stamp.attributes, stamp.offset_delta, stamp.timestamp_delta)?;
            }
            if walk.fill().map_err(Flaw::refusal)? {
                return Err(Flaw::Records("bytes after the last record").refusal());
            }
            span
        };
        self.spans(span);
        Ok(())
    }
}

/// Offset and timestamp of each record of a batch, in order, compressed or not. Nothing follows an error.
pub fn stamps(batch: &Bytes, open: Open) -> impl Iterator<Item = Result<(Offset, Timestamp), Flaw>> {
    let header = Header::parse(batch).map_err(|Corrupt(what)| Flaw::Records(what));
    let mut walk = header.and_then(|header| Ok((header, Walk::new(batch, &header, open)?)));
    let mut left = header.map_or(1, |header| header.count);
    core::iter::from_fn(move || {
        left = left.checked_sub(1).filter(|left| *left >= 0)?;
        let next = walk.as_mut().map_err(|flaw| *flaw).and_then(|(header, walk)| {
            let stamp = walk.record()?;
            if !(0..=header.last_offset_delta).contains(&stamp.offset_delta) {
                return Err(Flaw::Records("a record outside its batch's offsets"));
            }
            let created = Timestamp(header.base_timestamp.0.wrapping_add(stamp.timestamp_delta));
            let appended = header.attributes & LOG_APPEND_TIME_BIT != 0;
            let timestamp = if appended { header.max_timestamp } else { created };
            Ok((header.base_offset.plus(i64::from(stamp.offset_delta)), timestamp))
        });
        if next.is_err() {
            left = 0;
        }
        Some(next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Builder, Limits};
    use alloc::vec::Vec;

    /// A codec that changes nothing and gives three bytes at a time; a body that begins with 0xff is broken.
    struct Same<'a>(&'a [u8]);

    impl Inflate for Same<'_> {
        fn read(&mut self, into: &mut [u8]) -> Result<usize, Broken> {
            match self.0.first() {
                Some(0xff) => Err(Broken),
                Some(_) | None => {
                    let (now, rest) = self.0.split_at(self.0.len().min(3).min(into.len()));
                    into[..now.len()].copy_from_slice(now);
                    self.0 = rest;
                    Ok(now.len())
                }
            }
        }
    }

    fn same<'a>(_: Codec, bytes: &'a [u8]) -> Result<Box<dyn Inflate + 'a>, Broken> {
        Ok(Box::new(Same(bytes)))
    }

    /// A record of nearly 2^31 bytes.
    struct Endless(bool);

    impl Inflate for Endless {
        fn read(&mut self, into: &mut [u8]) -> Result<usize, Broken> {
            into.fill(0);
            // Its length, attributes, deltas, a null key, and the length of its value.
            let head = [0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 0xc0, 0xff, 0xff, 0xff, 0x0f];
            if !core::mem::replace(&mut self.0, true) {
                into[..head.len()].copy_from_slice(&head);
            }
            Ok(into.len())
        }
    }

    fn endless<'a>(_: Codec, _: &'a [u8]) -> Result<Box<dyn Inflate + 'a>, Broken> {
        Ok(Box::new(Endless(false)))
    }

    const LIMITS: Limits = Limits { max_message_bytes: 1 << 20, zstd: true };

    fn plain() -> Vec<u8> {
        let mut builder = Builder::new();
        builder.push(Timestamp(1000), Some(b"key"), Some(b"value"));
        builder.push(Timestamp(900), None, Some(&[7; 300]));
        builder.push(Timestamp(1200), Some(b""), None);
        builder.build(|_| 0).to_vec()
    }

    /// The same, said to be compressed.
    fn closed(plain: &[u8]) -> Bytes {
        let mut bytes = plain.to_vec();
        bytes[22] |= 3;
        bytes.into()
    }

    fn check(bytes: Bytes) -> Result<Batch, Invalid> {
        let mut batch = Batch::check(bytes, |_| 0, LIMITS)?;
        batch.open(same).map(|()| batch)
    }

    #[test]
    fn compressed_records_are_held_to_what_plain_ones_are() {
        let plain = plain();
        assert!(check(plain.clone().into()).is_ok() && check(closed(&plain)).is_ok());
        let mut refused = 0;
        for at in HEADER_BYTES..plain.len() {
            for change in [1, 2, 0x10, 0x40, 0x80] {
                let mut bytes = plain.clone();
                bytes[at] ^= change;
                let code = |bytes: Bytes| check(bytes).map_or_else(|invalid| invalid.code, |_| 0);
                assert_eq!(code(bytes.clone().into()), code(closed(&bytes)), "byte {at}, {change:x}");
                refused += usize::from(code(closed(&bytes)) != 0);
            }
        }
        assert!(refused > 50, "{refused}");
        for cut in 1..200 {
            let mut bytes = plain[..plain.len() - cut].to_vec();
            let length = (bytes.len() - 12) as i32;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            assert!(check(bytes.clone().into()).is_err() && check(closed(&bytes)).is_err(), "{cut} bytes less");
        }
    }

    #[test]
    fn a_broken_stream_and_an_endless_one_have_codes_of_their_own() {
        let with = |first: u8| {
            let mut bytes = plain();
            bytes[HEADER_BYTES] = first;
            check(closed(&bytes)).map_err(|invalid| invalid.code).unwrap_err()
        };
        assert_eq!(with(0xff), 2);
        let mut batch = Batch::check(closed(&plain()), |_| 0, LIMITS).unwrap();
        assert_eq!(batch.open(endless).map_err(|invalid| invalid.code).unwrap_err(), 10);
        assert_eq!(bound(1 << 30), LARGEST_BOUND);
        assert_eq!(bound(100), LEAST_BOUND + 6400);
    }

    #[test]
    fn stamps_are_offsets_and_times() {
        let all = |bytes: &Bytes| stamps(bytes, same).map(|s| s.map(|(o, t)| (o.0, t.0))).collect::<Vec<_>>();
        let mut bytes = closed(&plain()).to_vec();
        bytes[7] = 50;
        assert_eq!(all(&bytes.clone().into()), [Ok((50, 1000)), Ok((51, 900)), Ok((52, 1200))]);
        bytes[22] |= 8;
        assert_eq!(all(&bytes.clone().into())[1], Ok((51, 1200)), "the time of the append is that of all");
        bytes[HEADER_BYTES] = 0xff;
        assert_eq!(all(&bytes.into()), [Err(Flaw::Broken)]);
        assert_eq!(all(&Bytes::new()).len(), 1, "an error, and then nothing");
    }
}
