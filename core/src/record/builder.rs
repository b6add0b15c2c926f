//! Makes one uncompressed batch: for logs that this broker writes itself, and for clients.

use alloc::vec::Vec;
use bytes::Bytes;

use super::{CHECKED_FROM, CONTROL_BIT, Crc, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC, MAGIC_AT, TRANSACTIONAL_BIT};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use crate::varint;

/// A batch in the making.
#[derive(Clone, Debug)]
pub struct Builder {
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    attributes: i16,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: Sequence,
    count: i32,
    /// Room for the header, and then the records.
    out: Vec<u8>,
    /// One record in the making: its length comes first.
    record: Vec<u8>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            base_offset: Offset(0),
            leader_epoch: LeaderEpoch(-1),
            attributes: 0,
            base_timestamp: Timestamp(-1),
            max_timestamp: Timestamp(-1),
            producer_id: ProducerId(-1),
            producer_epoch: ProducerEpoch(-1),
            base_sequence: Sequence(-1),
            count: 0,
            out: alloc::vec![0; HEADER_BYTES],
            record: Vec::new(),
        }
    }
}

impl Builder {
    /// An empty batch at offset 0, without producer and epoch.
    #[must_use]
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Sets where the batch stands in its log.
    #[must_use]
    pub fn stamped(mut self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Builder {
        (self.base_offset, self.leader_epoch) = (base_offset, leader_epoch);
        self
    }

    /// Sets the idempotent producer and the sequence number of the first record.
    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: Sequence) -> Builder {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
        self
    }

    /// Makes it a batch of control records.
    #[must_use]
    pub fn control(mut self) -> Builder {
        self.attributes |= CONTROL_BIT;
        self
    }

    /// Makes it part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Builder {
        self.attributes |= TRANSACTIONAL_BIT;
        self
    }

    /// Adds a record without headers.
    pub fn push(&mut self, timestamp: Timestamp, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.push_with_headers(timestamp, key, value, &[]);
    }

    /// Adds a record.
    ///
    /// # Panics
    /// When a length or the count of records leaves 31 bits.
    pub fn push_with_headers(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        if self.count == 0 {
            (self.base_timestamp, self.max_timestamp) = (timestamp, timestamp);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let record = &mut self.record;
        record.clear();
        record.push(0);
        varint::put_signed_long(record, timestamp.0.wrapping_sub(self.base_timestamp.0));
        varint::put_signed(record, self.count);
        put_nullable(record, key);
        put_nullable(record, value);
        varint::put_signed(record, length(headers.len()));
        for (key, value) in headers {
            put_nullable(record, Some(key));
            put_nullable(record, *value);
        }
        varint::put_signed(&mut self.out, length(record.len()));
        self.out.extend_from_slice(record);
        self.count = self.count.checked_add(1).expect("a batch has fewer than 2^31 records");
    }

    /// Records added.
    #[must_use]
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Bytes of the batch as it stands.
    #[must_use]
    pub fn size(&self) -> usize {
        self.out.len()
    }

    /// The batch.
    ///
    /// # Panics
    /// When it has no records: Kafka has no such batches but where compaction emptied them.
    #[must_use]
    pub fn build(mut self, crc: Crc) -> Bytes {
        assert!(self.count > 0, "a batch without records");
        let out = &mut self.out;
        let batch_length = length(out.len() - LENGTH_PREFIX_BYTES);
        put(out, 0, self.base_offset.0.to_be_bytes());
        put(out, 8, batch_length.to_be_bytes());
        put(out, 12, self.leader_epoch.0.to_be_bytes());
        put(out, MAGIC_AT, [MAGIC]);
        put(out, 21, self.attributes.to_be_bytes());
        put(out, 23, (self.count - 1).to_be_bytes());
        put(out, 27, self.base_timestamp.0.to_be_bytes());
        put(out, 35, self.max_timestamp.0.to_be_bytes());
        put(out, 43, self.producer_id.0.to_be_bytes());
        put(out, 51, self.producer_epoch.0.to_be_bytes());
        put(out, 53, self.base_sequence.0.to_be_bytes());
        put(out, 57, self.count.to_be_bytes());
        let crc = crc(&out[CHECKED_FROM..]);
        put(out, 17, crc.to_be_bytes());
        Bytes::from(self.out)
    }
}

fn put<const N: usize>(out: &mut [u8], at: usize, field: [u8; N]) {
    out[at..at + N].copy_from_slice(&field);
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            varint::put_signed(out, length(bytes.len()));
            out.extend_from_slice(bytes);
        }
        None => varint::put_signed(out, -1),
    }
}

fn length(len: usize) -> i32 {
    i32::try_from(len).expect("a batch is shorter than 2 GiB")
}
