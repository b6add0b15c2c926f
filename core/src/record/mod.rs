//! Record batches, format 2: the 61-byte header, and who may call a batch good.
//!
//! A batch is its parsed header and its bytes, which are never copied and never changed: base offset and leader epoch,
//! outside the checksum, are stamped beside it. CRC-32C is passed in as a function. Knows no codec: the host opens
//! compressed records, to be looked at, never to be kept. KIP-98 (format), KIP-101 (leader epoch), KIP-853 (control records).

mod batch;
mod builder;
mod open;
mod read;
#[cfg(test)]
mod tests;

pub use batch::{Batch, Batches, Crc, Invalid, Limits, Times, batches};
pub use builder::Builder;
pub use open::{Broken, Flaw, Inflate, Open, stamps};
pub use read::{Headers, Record, Records, records};

use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Bytes of a batch's header.
pub const HEADER_BYTES: usize = 61;
/// Bytes before what `batch_length` counts: base offset and the length itself.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// Where the bytes begin that the checksum covers.
const CHECKED_FROM: usize = 21;
/// Where the format's version stands.
const MAGIC_AT: usize = 16;
/// The format's version.
const MAGIC: u8 = 2;
/// The least that `batch_length` can be.
const LEAST_LENGTH: i32 = (HEADER_BYTES - LENGTH_PREFIX_BYTES) as i32;

const CODEC_BITS: i16 = 0b111;
const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;

/// Bytes that are no batch, and what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt(pub &'static str);

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// snappy, framed as xerial does.
    Snappy,
    /// An lz4 frame.
    Lz4,
    /// zstd (KIP-110).
    Zstd,
}

/// What a control record says; the type in its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum ControlType {
    /// A transaction was aborted.
    Abort = 0,
    /// A transaction was committed.
    Commit = 1,
    /// The metadata quorum has a new leader (KIP-595).
    LeaderChange = 2,
    /// A snapshot begins (KIP-630).
    SnapshotHeader = 3,
    /// A snapshot ends (KIP-630).
    SnapshotFooter = 4,
    /// The quorum's protocol version (KIP-853).
    KraftVersion = 5,
    /// The quorum's voters (KIP-853).
    KraftVoters = 6,
}

impl ControlType {
    /// The key of such a control record: version 0 and the type.
    #[must_use]
    pub fn key(self) -> [u8; 4] {
        let [high, low] = (self as i16).to_be_bytes();
        [0, 0, high, low]
    }

    /// From the key of a control record; `None` for a type or version that is not known.
    #[must_use]
    pub fn of_key(key: &[u8]) -> Option<ControlType> {
        let &[0, 0, 0, number] = key else { return None };
        match number {
            0 => Some(ControlType::Abort),
            1 => Some(ControlType::Commit),
            2 => Some(ControlType::LeaderChange),
            3 => Some(ControlType::SnapshotHeader),
            4 => Some(ControlType::SnapshotFooter),
            5 => Some(ControlType::KraftVersion),
            6 => Some(ControlType::KraftVoters),
            _ => None,
        }
    }
}

/// The header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Epoch of the leader that took the batch in.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C of everything from `attributes` on.
    pub crc: u32,
    /// Codec, timestamp type, transactional, control, delete horizon.
    pub attributes: i16,
    /// Offset of the last record, from the first. Compaction keeps it when it drops records.
    pub last_offset_delta: i32,
    /// What the records' timestamps count from.
    pub base_timestamp: Timestamp,
    /// The largest timestamp.
    pub max_timestamp: Timestamp,
    /// The idempotent producer, or -1.
    pub producer_id: ProducerId,
    /// Its epoch, or -1.
    pub producer_epoch: ProducerEpoch,
    /// Sequence number of the first record, or -1.
    pub base_sequence: Sequence,
    /// Records in the batch.
    pub count: i32,
}

impl Header {
    /// Reads the header at the front of `bytes`, which may go on or end after it.
    ///
    /// # Errors
    /// When there are fewer than 61 bytes, the format is not 2, or a length, count or offset cannot be.
    pub fn parse(bytes: &[u8]) -> Result<Header, Corrupt> {
        let Some(raw) = bytes.first_chunk() else { return Err(Corrupt("a batch shorter than its header")) };
        if raw[MAGIC_AT] != MAGIC {
            return Err(Corrupt("a batch of another format than 2"));
        }
        let header = Header::read(raw);
        if header.batch_length < LEAST_LENGTH {
            return Err(Corrupt("a batch length below that of a header"));
        }
        if header.last_offset_delta < 0 || header.count < 0 {
            return Err(Corrupt("a negative count of records"));
        }
        let end = header.base_offset.0.checked_add(i64::from(header.last_offset_delta) + 1);
        if header.base_offset.0 < 0 || end.is_none() {
            return Err(Corrupt("offsets outside 0 to 2^63"));
        }
        Ok(header)
    }

    /// Takes the fields as they stand.
    fn read(raw: &[u8; HEADER_BYTES]) -> Header {
        Header {
            base_offset: Offset(i64::from_be_bytes(part(raw, 0))),
            batch_length: i32::from_be_bytes(part(raw, 8)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(part(raw, 12))),
            crc: u32::from_be_bytes(part(raw, 17)),
            attributes: i16::from_be_bytes(part(raw, 21)),
            last_offset_delta: i32::from_be_bytes(part(raw, 23)),
            base_timestamp: Timestamp(i64::from_be_bytes(part(raw, 27))),
            max_timestamp: Timestamp(i64::from_be_bytes(part(raw, 35))),
            producer_id: ProducerId(i64::from_be_bytes(part(raw, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(part(raw, 51))),
            base_sequence: Sequence(i32::from_be_bytes(part(raw, 53))),
            count: i32::from_be_bytes(part(raw, 57)),
        }
    }

    /// Bytes of the whole batch.
    ///
    /// # Panics
    /// When `batch_length` is negative: a parsed header's is not.
    #[must_use]
    pub fn size(&self) -> usize {
        LENGTH_PREFIX_BYTES + usize::try_from(self.batch_length).expect("a batch has no negative length")
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// The offset after the last record.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta) + 1)
    }

    /// Sequence number of the last record: after 2^31-1 comes 0. -1 where there are none.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        if self.base_sequence.0 < 0 {
            return self.base_sequence;
        }
        Sequence(self.base_sequence.0.wrapping_add(self.last_offset_delta) & i32::MAX)
    }

    /// Whether its records' times are the broker's.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME_BIT != 0
    }

    /// Whether it holds control records.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Whether it belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// How its records are compressed; `None` for a codec that Kafka does not have.
    #[must_use]
    pub fn codec(&self) -> Option<Codec> {
        match self.attributes & CODEC_BITS {
            0 => Some(Codec::None),
            1 => Some(Codec::Gzip),
            2 => Some(Codec::Snappy),
            3 => Some(Codec::Lz4),
            4 => Some(Codec::Zstd),
            _ => None,
        }
    }
}

/// The bytes of a field.
fn part<const N: usize>(raw: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&raw[at..at + N]);
    field
}
