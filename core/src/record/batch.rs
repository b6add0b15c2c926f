//! A batch as it arrives, as it is stamped and as it is read back.
//!
//! [`Batch::check`] keeps Kafka's order of checks and its codes. Stricter than Kafka, with INVALID_RECORD: offset deltas
//! of uncompressed records, attributes of records, attribute bits without a meaning for clients, a transactional batch
//! without a producer id; with CORRUPT_MESSAGE: a codec that does not exist. Timestamps are the topic's business:
//! [`Batch::timed`] (KIP-32, KIP-937).

use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

use super::open::Flaw;
use super::read::{records, take_record};
use super::{
    CHECKED_FROM, Codec, Corrupt, HEADER_BYTES, Header, LEAST_LENGTH, LENGTH_PREFIX_BYTES, LOG_APPEND_TIME_BIT, MAGIC,
    MAGIC_AT,
};
use crate::ids::{LeaderEpoch, Offset, Timestamp};

/// CRC-32C (Castagnoli).
pub type Crc = fn(&[u8]) -> u32;

/// A record without a timestamp.
const NO_TIMESTAMP: Timestamp = Timestamp(-1);
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

/// Kafka's codes of what can be wrong with a batch.
const CORRUPT_MESSAGE: i16 = 2;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TIMESTAMP: i16 = 32;
const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
const INVALID_RECORD: i16 = 87;

/// The least `batch_length` of any format: below it not even the format's version is one.
const LEAST_LENGTH_OF_ANY_FORMAT: i32 = 14;
/// Attribute bits that a client may set besides the ones with a check of their own: codec, transactional.
const CLIENT_BITS: i16 = 0b1_0111;

/// Why a client's batch is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Kafka's error code.
    pub code: i16,
    /// For a person.
    pub reason: &'static str,
    /// The records that are to blame, by their index in the batch (KIP-467); none where it is the batch itself.
    pub records: Vec<i32>,
    /// Whether it was looked at as something to append, and not refused as a request or as damage: Kafka then tells
    /// where the log begins.
    pub by_log: bool,
}

/// What a topic and a request allow.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `max.message.bytes`: the whole batch, as compressed.
    pub max_message_bytes: u32,
    /// Whether the request's version may carry zstd.
    pub zstd: bool,
}

/// Whose time the records of a topic bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Their producer's, but not further from the broker's than this.
    Create {
        /// How far before, milliseconds.
        before_max_ms: i64,
        /// How far after, milliseconds.
        after_max_ms: i64,
    },
    /// That of the append.
    Append,
}

/// One batch, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its header, as it stands in the bytes.
    pub header: Header,
    bytes: Bytes,
    /// The oldest and the newest timestamp of its records; by the header, where those were not read.
    span: (Timestamp, Timestamp),
}

impl Batch {
    /// Checks what a client sent as the records of one partition.
    ///
    /// # Errors
    /// With Kafka's code when it is not exactly one good batch.
    pub fn check(bytes: Bytes, crc: Crc, limits: Limits) -> Result<Batch, Invalid> {
        let header = shape(&bytes)?;
        match header.codec() {
            None => return Err(corrupt("the codec does not exist")),
            Some(Codec::Zstd) if !limits.zstd => {
                let reason = "this version of the request cannot carry zstd";
                return Err(refused(UNSUPPORTED_COMPRESSION_TYPE, reason));
            }
            Some(Codec::None | Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd) => {}
        }
        if header.base_offset != Offset(0) {
            return Err(invalid("the base offset is not 0"));
        }
        if bytes.len() as u64 > u64::from(limits.max_message_bytes) {
            return Err(refused(MESSAGE_TOO_LARGE, "the batch is larger than max.message.bytes"));
        }
        let mut batch = Batch::of(header, bytes);
        if !batch.crc_holds(crc) {
            return Err(corrupt("the checksum does not match"));
        }
        batch.header.check_of_client()?;
        if let Some(span) = batch.check_records()? {
            batch.span = span;
        }
        Ok(batch)
    }

    /// A batch as it was stored or is served: header and checksum, with whatever stamps it bears.
    ///
    /// # Errors
    /// When it is not exactly one batch, or its checksum does not match.
    pub fn stored(bytes: Bytes, crc: Crc) -> Result<Batch, Corrupt> {
        let header = Header::parse(&bytes)?;
        if header.size() != bytes.len() {
            return Err(Corrupt("a batch of another length than it says"));
        }
        let batch = Batch::of(header, bytes);
        if batch.crc_holds(crc) { Ok(batch) } else { Err(Corrupt("the checksum does not match")) }
    }

    fn of(header: Header, bytes: Bytes) -> Batch {
        Batch { span: (header.base_timestamp, header.max_timestamp), header, bytes }
    }

    /// Gives a checked batch the timestamps that its topic wants at this time. Kafka's way with a header that does not
    /// name the newest timestamp: it is made right.
    ///
    /// # Errors
    /// INVALID_TIMESTAMP when a record is too old or too far ahead. One without a timestamp (-1) is neither.
    pub fn time(&mut self, times: Times, now: Timestamp, crc: Crc) -> Result<(), Invalid> {
        let Times::Create { before_max_ms, after_max_ms } = times else {
            *self = self.restamped(now, LOG_APPEND_TIME_BIT, crc);
            return Ok(());
        };
        let (oldest, newest) = self.span;
        let too_old = |at: Timestamp| at != NO_TIMESTAMP && now.0.saturating_sub(at.0) > before_max_ms;
        let too_new = |at: Timestamp| at != NO_TIMESTAMP && at.0.saturating_sub(now.0) > after_max_ms;
        let refusal = |reason| {
            let records = self.records_with(|at| too_old(at) || too_new(at));
            Err(Invalid { records, ..refused(INVALID_TIMESTAMP, reason) })
        };
        if too_old(oldest) {
            return refusal("a record is older than message.timestamp.before.max.ms allows");
        }
        if too_new(newest) {
            return refusal("a record is further ahead than message.timestamp.after.max.ms allows");
        }
        if newest != self.header.max_timestamp {
            *self = self.restamped(newest, 0, crc);
        }
        Ok(())
    }

    /// The indexes of the records with such a timestamp; none where they are compressed.
    fn records_with(&self, bad: impl Fn(Timestamp) -> bool) -> Vec<i32> {
        let records = (0..).zip(records(&self.bytes).map_while(Result::ok));
        records.filter(|(_, record)| bad(record.timestamp)).map(|(index, _)| index).collect()
    }

    /// A copy with another largest timestamp and more attributes, and the checksum of that.
    fn restamped(&self, max_timestamp: Timestamp, attributes: i16, crc: Crc) -> Batch {
        let mut bytes = self.bytes.to_vec();
        let attributes = self.header.attributes | attributes;
        bytes[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
        bytes[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&max_timestamp.0.to_be_bytes());
        let crc = crc(&bytes[CHECKED_FROM..]);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
        Batch::of(Header { max_timestamp, attributes, crc, ..self.header }, bytes.into())
    }

    /// Whether the checksum matches.
    #[must_use]
    pub fn crc_holds(&self, crc: Crc) -> bool {
        crc(&self.bytes[CHECKED_FROM..]) == self.header.crc
    }

    /// The whole batch.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The batch as it is written: its first 16 bytes, stamped, and the others as they came. Both stamps are outside
    /// the checksum.
    #[must_use]
    pub fn stamp(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> ([u8; 16], Bytes) {
        let mut prefix = [0; 16];
        prefix[..8].copy_from_slice(&base_offset.0.to_be_bytes());
        prefix[8..12].copy_from_slice(&self.header.batch_length.to_be_bytes());
        prefix[12..].copy_from_slice(&leader_epoch.0.to_be_bytes());
        (prefix, self.bytes.slice(16..))
    }

    /// The header as [`Batch::stamp`] writes it.
    #[must_use]
    pub fn stamped_header(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Header {
        Header { base_offset, leader_epoch, ..self.header }
    }

    /// That uncompressed records fill the batch exactly and count up from 0; gives their oldest and newest timestamp.
    fn check_records(&self) -> Result<Option<(Timestamp, Timestamp)>, Invalid> {
        let mut rest = &self.bytes[HEADER_BYTES..];
        if self.header.codec() != Some(Codec::None) {
            return if rest.is_empty() { Err(corrupt("compressed records of no bytes")) } else { Ok(None) };
        }
        let mut span = Span::new(self.header.base_timestamp);
        for index in 0..self.header.count {
            let record = take_record(&mut rest).map_err(|Corrupt(reason)| bad(index, reason))?;
            span.take(index, record.attributes, record.offset_delta, record.timestamp_delta)?;
        }
        if rest.is_empty() { Ok(Some(span.ends())) } else { Err(invalid("bytes after the last record")) }
    }

    /// Its records were read, after all.
    pub(super) fn spans(&mut self, span: Span) {
        self.span = span.ends();
    }
}

/// The timestamps of the records of a client's batch, read one after the other.
pub(super) struct Span {
    base: Timestamp,
    oldest: Option<i64>,
    newest: i64,
}

impl Span {
    pub(super) fn new(base: Timestamp) -> Span {
        Span { base, oldest: None, newest: NO_TIMESTAMP.0 }
    }

    /// Takes in the record that follows.
    pub(super) fn take(&mut self, index: i32, attributes: u8, offset: i32, timestamp: i64) -> Result<(), Invalid> {
        if attributes != 0 {
            return Err(bad(index, "a record has attributes"));
        }
        if offset != index {
            return Err(bad(index, "the records' offset deltas do not count up from 0"));
        }
        let timestamp = self.base.0.wrapping_add(timestamp);
        if timestamp != NO_TIMESTAMP.0 {
            self.oldest = Some(self.oldest.map_or(timestamp, |old| old.min(timestamp)));
        }
        self.newest = self.newest.max(timestamp);
        Ok(())
    }

    /// The oldest and the newest one.
    fn ends(self) -> (Timestamp, Timestamp) {
        (self.oldest.map_or(NO_TIMESTAMP, Timestamp), Timestamp(self.newest))
    }
}

/// A record that is not right.
fn bad(index: i32, reason: &'static str) -> Invalid {
    Invalid { records: vec![index], ..invalid(reason) }
}

impl Flaw {
    /// What a client is told of it in a record.
    pub(super) fn refusal_of(self, index: i32) -> Invalid {
        match self {
            Flaw::Records(reason) => bad(index, reason),
            Flaw::Broken | Flaw::TooLarge => self.refusal(),
        }
    }

    /// What a client is told.
    pub(super) fn refusal(self) -> Invalid {
        match self {
            Flaw::Broken => corrupt("the compressed records are a broken stream"),
            Flaw::TooLarge => {
                let reason = "the compressed records open to more than a batch of this length may";
                refused(MESSAGE_TOO_LARGE, reason)
            }
            Flaw::Records(reason) => invalid(reason),
        }
    }
}

impl Header {
    /// What a client's batch may say in its header, beyond what makes it a batch.
    fn check_of_client(&self) -> Result<(), Invalid> {
        if self.last_offset_delta < 0 || i64::from(self.count) != i64::from(self.last_offset_delta) + 1 {
            return Err(invalid("the last offset delta is not the count of records less 1"));
        }
        if self.is_control() {
            return Err(invalid("clients do not write control records"));
        }
        if self.attributes & LOG_APPEND_TIME_BIT != 0 {
            return Err(refused(INVALID_TIMESTAMP, "clients do not set the log append time"));
        }
        if self.attributes & !CLIENT_BITS != 0 {
            return Err(invalid("an attribute bit that clients do not set"));
        }
        let (id, epoch, sequence) = (self.producer_id.0, self.producer_epoch.0, self.base_sequence.0);
        if id < -1 {
            return Err(invalid("a producer id below -1"));
        }
        if id >= 0 && (epoch < 0 || sequence < 0) {
            return Err(invalid("a producer id without epoch and sequence"));
        }
        if id == -1 && self.is_transactional() {
            return Err(malformed("a transactional batch without a producer id"));
        }
        Ok(())
    }
}

/// That the bytes are one batch of format 2, by their lengths.
fn shape(bytes: &[u8]) -> Result<Header, Invalid> {
    let (Some(raw_length), Some(&magic)) = (bytes.get(8..LENGTH_PREFIX_BYTES), bytes.get(MAGIC_AT)) else {
        return Err(malformed("not one whole batch"));
    };
    let mut length = [0; 4];
    length.copy_from_slice(raw_length);
    let length = i32::from_be_bytes(length);
    if length < LEAST_LENGTH_OF_ANY_FORMAT {
        return Err(corrupt("a batch length below that of a header"));
    }
    match magic {
        0 | 1 => return Err(malformed("record format 0 or 1; only 2 is taken")),
        MAGIC => {}
        _ => return Err(corrupt("an unknown record format")),
    }
    if length < LEAST_LENGTH {
        return Err(corrupt("a batch length below that of a header"));
    }
    let whole = i64::from(length) + LENGTH_PREFIX_BYTES as i64 == bytes.len() as i64;
    match bytes.first_chunk() {
        Some(raw) if whole => Ok(Header::read(raw)),
        Some(_) | None => Err(malformed("not exactly one whole batch")),
    }
}

/// Not one batch at all, or one that no request may bring.
fn malformed(reason: &'static str) -> Invalid {
    Invalid { by_log: false, ..invalid(reason) }
}

fn invalid(reason: &'static str) -> Invalid {
    refused(INVALID_RECORD, reason)
}

fn corrupt(reason: &'static str) -> Invalid {
    refused(CORRUPT_MESSAGE, reason)
}

fn refused(code: i16, reason: &'static str) -> Invalid {
    let by_log = matches!(code, INVALID_RECORD | INVALID_TIMESTAMP);
    Invalid { code, reason, records: Vec::new(), by_log }
}

/// Walks batches that stand back to back, as a fetch answer or a segment has them. The last one may be cut: it is left
/// out. Checksums are not looked at; nothing follows an error.
#[must_use]
pub fn batches(bytes: Bytes) -> Batches {
    Batches { rest: bytes }
}

/// See [`batches`].
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// The bytes not walked yet; after the last batch, what was cut.
    #[must_use]
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < HEADER_BYTES {
            return None;
        }
        match Header::parse(&self.rest) {
            Ok(header) if header.size() > self.rest.len() => None,
            Ok(header) => Some(Ok(Batch::of(header, self.rest.split_to(header.size())))),
            Err(corrupt) => {
                self.rest.clear();
                Some(Err(corrupt))
            }
        }
    }
}
