//! What a fetch gave of one partition, read.
//!
//! Properties: `whole-batches` (what is given parses, matches its checksums, and holds only bytes that were sent: a record
//! is a value and bytes that follow from it), `no-gaps` (what is read begins exactly where it was asked for, and goes on
//! without a gap), `committed-reads` (nothing is given above the high watermark that is named).

use klamm_core::record::{self, Batch};
use klamm_core::rng;
use klamm_core::wire::{PartitionData, Records};

use crate::history::Partition;
use crate::report::Violation;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// Each with its offset.
    pub(crate) values: Vec<(i64, u64)>,
    /// Where to go on.
    pub(crate) next: i64,
    /// The leader epoch of the last batch; -1 for none.
    pub(crate) epoch: i32,
}

/// The number that a record's value is of; `None` if nobody sends such a one.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    let (raw, rest) = text.split_first_chunk()?;
    let value = u64::from_be_bytes(*raw);
    let fill = rng::mix(value).to_be_bytes();
    rest.chunks(8).all(|some| some == &fill[..some.len()]).then_some(value)
}

/// What a fetch from an offset gave; its first batch may begin before that.
///
/// # Errors
/// When that cannot be what stands there.
pub(crate) fn read(at: &Partition, from: i64, data: &PartitionData, crc: fn(&[u8]) -> u32) -> Result<Read, Violation> {
    let reader = Reader { at, from, high_watermark: data.high_watermark, crc };
    let mut read = Read { values: Vec::new(), next: from, epoch: -1 };
    let Records::Bytes(bytes) = &data.records else { return Ok(read) };
    for batch in record::batches(bytes.clone()) {
        let batch = batch.map_err(|corrupt| reader.broken("whole-batches", corrupt.0.to_owned()))?;
        reader.batch(&batch, &mut read)?;
    }
    Ok(read)
}

struct Reader<'a> {
    at: &'a Partition,
    from: i64,
    high_watermark: i64,
    crc: fn(&[u8]) -> u32,
}

impl Reader<'_> {
    fn broken(&self, property: &'static str, contradiction: String) -> Violation {
        let (topic, index) = self.at;
        let fact = format!("{topic}-{index}: a fetch from {} was answered", self.from);
        Violation { property, fact, contradiction }
    }

    fn batch(&self, batch: &Batch, read: &mut Read) -> Result<(), Violation> {
        let (base, end, next) = (batch.header.base_offset.0, batch.header.next_offset().0, read.next);
        if !batch.crc_holds(self.crc) {
            return Err(self.broken("whole-batches", format!("the batch at {base} does not match its checksum")));
        }
        // Only the first one may begin before what is wanted: it holds that.
        if end <= next || base > next || (base < next && !read.values.is_empty()) {
            return Err(self.broken("no-gaps", format!("offsets {base} to {end} come where {next} was to come")));
        }
        if end > self.high_watermark {
            let what = format!("it gives {base} to {end}, and says that {} is the high watermark", self.high_watermark);
            return Err(self.broken("committed-reads", what));
        }
        let mut offset = base;
        for record in record::records(batch.bytes()) {
            let record = record.map_err(|corrupt| self.broken("whole-batches", corrupt.0.to_owned()))?;
            let Some(value) = record.value.and_then(number) else {
                let what = format!("the record at {} is none that was ever sent", record.offset);
                return Err(self.broken("whole-batches", what));
            };
            if record.offset.0 != offset {
                let what = format!("a record at {} comes where {offset} was to come", record.offset);
                return Err(self.broken("no-gaps", what));
            }
            if offset >= next {
                read.values.push((offset, value));
            }
            offset += 1;
        }
        if offset != end {
            return Err(self.broken("no-gaps", format!("the batch from {base} to {end} has records up to {offset}")));
        }
        (read.next, read.epoch) = (end, batch.header.leader_epoch.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::body;
    use bytes::Bytes;
    use klamm_core::ids::Timestamp;
    use klamm_core::record::Builder;

    fn crc(bytes: &[u8]) -> u32 {
        bytes.len() as u32
    }

    fn batch(values: &[Vec<u8>]) -> Bytes {
        let mut builder = Builder::new();
        values.iter().for_each(|value| builder.push(Timestamp(1), None, Some(value)));
        builder.build(crc)
    }

    fn read_at(from: i64, high_watermark: i64, bytes: Bytes) -> Result<Vec<(i64, u64)>, &'static str> {
        let data = PartitionData { high_watermark, records: Records::Bytes(bytes), ..PartitionData::default() };
        let read = read(&("t".to_owned(), 0), from, &data, crc);
        read.map(|read| read.values).map_err(|violation| violation.property)
    }

    #[test]
    fn what_was_sent_reads_back_and_nothing_else_does() {
        let sent = batch(&[body(7, 20), body(8, 0), body(9, 3)]);
        assert_eq!(read_at(0, 3, sent.clone()).unwrap(), [(0, 7), (1, 8), (2, 9)]);
        assert_eq!(read_at(1, 3, sent.clone()).unwrap(), [(1, 8), (2, 9)], "from its middle");
        assert_eq!(read_at(0, 3, sent.slice(..sent.len() - 1)), Ok(vec![]), "cut short");
        assert_eq!(read_at(0, 2, sent.clone()), Err("committed-reads"));
        assert_eq!(read_at(3, 9, sent.clone()), Err("no-gaps"), "all of it is below");
        let twice: Bytes = [sent.clone(), sent.clone()].concat().into();
        assert_eq!(read_at(0, 9, twice), Err("no-gaps"));
        assert_eq!(read_at(0, 1, batch(&[b"12345678?".to_vec()])), Err("whole-batches"));
        let mut rotten = sent.to_vec();
        rotten[17] ^= 1;
        assert_eq!(read_at(0, 3, rotten.into()), Err("whole-batches"), "its checksum");
    }
}
