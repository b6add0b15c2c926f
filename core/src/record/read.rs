//! Uncompressed records, read in place.
//!
//! Every length is checked against the bytes that are there; a record ends where its length says.

use super::{Codec, ControlType, Corrupt, HEADER_BYTES, Header, LOG_APPEND_TIME_BIT};
use crate::ids::{Offset, Timestamp};
use crate::varint;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; null is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order; keys may repeat.
    pub headers: Headers<'a>,
}

impl Record<'_> {
    /// What it says as a control record; `None` for a type that is not known.
    #[must_use]
    pub fn control_type(&self) -> Option<ControlType> {
        ControlType::of_key(self.key?)
    }
}

/// The headers of a record: keys and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: i32,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        take_header(&mut self.rest)
    }
}

/// A record as it stands, relative to its batch.
pub(super) struct Raw<'a> {
    pub(super) attributes: u8,
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

/// The records of a whole, uncompressed batch. Nothing follows an error; a batch that is no batch is one.
#[must_use]
pub fn records(batch: &[u8]) -> Records<'_> {
    let state = match Header::parse(batch) {
        Err(corrupt) => Err(corrupt),
        Ok(header) if header.size() != batch.len() => Err(Corrupt("a batch of another length than it says")),
        Ok(header) if header.codec() != Some(Codec::None) => Err(Corrupt("the records are compressed")),
        Ok(header) => Ok(header),
    };
    Records { state: Some(state), rest: batch.get(HEADER_BYTES..).unwrap_or_default(), left: None }
}

/// See [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    /// `None` when it is over.
    state: Option<Result<Header, Corrupt>>,
    rest: &'a [u8],
    /// Records to come; `None` before the first one.
    left: Option<i32>,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = match self.state? {
            Ok(header) => header,
            Err(corrupt) => {
                self.state = None;
                return Some(Err(corrupt));
            }
        };
        let left = self.left.unwrap_or(header.count);
        if left == 0 {
            self.state = None;
            return if self.rest.is_empty() { None } else { Some(Err(Corrupt("bytes after the last record"))) };
        }
        self.left = Some(left - 1);
        let record = take_record(&mut self.rest).and_then(|raw| raw.placed(&header));
        if record.is_err() {
            self.state = None;
        }
        Some(record)
    }
}

impl<'a> Raw<'a> {
    fn placed(self, header: &Header) -> Result<Record<'a>, Corrupt> {
        if !(0..=header.last_offset_delta).contains(&self.offset_delta) {
            return Err(Corrupt("a record outside its batch's offsets"));
        }
        let timestamp = if header.attributes & LOG_APPEND_TIME_BIT == 0 {
            Timestamp(header.base_timestamp.0.wrapping_add(self.timestamp_delta))
        } else {
            header.max_timestamp
        };
        Ok(Record {
            offset: header.base_offset.plus(i64::from(self.offset_delta)),
            timestamp,
            key: self.key,
            value: self.value,
            headers: self.headers,
        })
    }
}

/// Takes one record off the front of `rest`.
pub(super) fn take_record<'a>(rest: &mut &'a [u8]) -> Result<Raw<'a>, Corrupt> {
    let mut body = varint::signed(rest)
        .and_then(|len| usize::try_from(len).ok())
        .and_then(|len| take(rest, len))
        .ok_or(Corrupt("a record ends past its batch"))?;
    let record = take_fields(&mut body).ok_or(Corrupt("a field of a record ends past it"))?;
    if body.is_empty() { Ok(record) } else { Err(Corrupt("a record of another length than it says")) }
}

fn take_fields<'a>(body: &mut &'a [u8]) -> Option<Raw<'a>> {
    let attributes = take(body, 1)?[0];
    let timestamp_delta = varint::signed_long(body)?;
    let offset_delta = varint::signed(body)?;
    let key = take_nullable(body)?;
    let value = take_nullable(body)?;
    let count = varint::signed(body).filter(|count| *count >= 0)?;
    let headers = Headers { rest: body, left: count };
    for _ in 0..count {
        take_header(body)?;
    }
    Some(Raw { attributes, timestamp_delta, offset_delta, key, value, headers })
}

fn take_header<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    Some((take_nullable(rest)??, take_nullable(rest)?))
}

/// Bytes with a length before them, -1 for null. The outer `None` is for lengths that cannot be.
fn take_nullable<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match varint::signed(rest)? {
        -1 => Some(None),
        len => take(rest, usize::try_from(len).ok()?).map(Some),
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}
