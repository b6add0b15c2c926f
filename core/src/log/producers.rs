//! Duplicate detection: the last five batches of each idempotent producer (KIP-98, KIP-360).
//!
//! A batch that repeats one of the five is a duplicate and is answered with the original's offset; else its sequence
//! must follow the last one, 0 after 2^31-1; a new epoch starts at 0. A producer that is not known may start anywhere.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::ids::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use crate::record::Header;
use crate::wire::error;

/// How many batches a producer may have in flight and still be recognised.
pub const RECENT_BATCHES: usize = 5;

/// A batch remembered for duplicate detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentBatch {
    /// First sequence.
    pub first: Sequence,
    /// Last sequence.
    pub last: Sequence,
    /// Base offset.
    pub offset: Offset,
    /// Last offset.
    pub last_offset: Offset,
}

/// What a log remembers of one idempotent producer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerEntry {
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// Its last batches of that epoch, oldest first, at most [`RECENT_BATCHES`], at least one.
    pub recent: Vec<RecentBatch>,
    /// The largest timestamp of its last batch.
    pub last_timestamp: Timestamp,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append it.
    Append,
    /// It is there already.
    Duplicate {
        /// The original's base offset.
        offset: Offset,
        /// The original's last offset.
        last_offset: Offset,
    },
    /// Refuse it with this error code.
    Refuse(i16),
}

/// Whether a batch may be appended after what its producer did.
pub(super) fn judge(producers: &BTreeMap<ProducerId, ProducerEntry>, batch: &Header) -> Verdict {
    if batch.producer_id.0 < 0 {
        return Verdict::Append;
    }
    let Some(entry) = producers.get(&batch.producer_id) else { return Verdict::Append };
    if batch.producer_epoch < entry.epoch {
        return Verdict::Refuse(error::INVALID_PRODUCER_EPOCH);
    }
    if batch.producer_epoch > entry.epoch {
        let fresh = batch.base_sequence == Sequence(0);
        return if fresh { Verdict::Append } else { Verdict::Refuse(error::OUT_OF_ORDER_SEQUENCE_NUMBER) };
    }
    let same = |b: &&RecentBatch| b.first == batch.base_sequence && b.last == batch.last_sequence();
    if let Some(original) = entry.recent.iter().find(same) {
        return Verdict::Duplicate { offset: original.offset, last_offset: original.last_offset };
    }
    match entry.recent.last() {
        Some(last) if batch.base_sequence != last.last.after() => Verdict::Refuse(error::OUT_OF_ORDER_SEQUENCE_NUMBER),
        _ => Verdict::Append,
    }
}

/// Takes in a batch that is in the log.
pub(super) fn remember(producers: &mut BTreeMap<ProducerId, ProducerEntry>, batch: &Header) {
    let fresh = ProducerEntry { epoch: batch.producer_epoch, recent: Vec::new(), last_timestamp: batch.max_timestamp };
    let entry = producers.entry(batch.producer_id).or_insert(fresh);
    if entry.epoch != batch.producer_epoch {
        entry.epoch = batch.producer_epoch;
        entry.recent.clear();
    }
    if entry.recent.len() == RECENT_BATCHES {
        entry.recent.remove(0);
    }
    entry.last_timestamp = batch.max_timestamp;
    entry.recent.push(RecentBatch {
        first: batch.base_sequence,
        last: batch.last_sequence(),
        offset: batch.base_offset,
        last_offset: batch.last_offset(),
    });
}

impl Sequence {
    /// The sequence that follows: 0 after 2^31-1.
    #[must_use]
    pub fn after(self) -> Sequence {
        Sequence(self.0.checked_add(1).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LeaderEpoch;
    use crate::record::Builder;

    fn batch(epoch: i16, first: i32, count: i32, offset: i64) -> Header {
        let mut builder = Builder::new().stamped(Offset(offset), LeaderEpoch(0)).producer(
            ProducerId(7),
            ProducerEpoch(epoch),
            Sequence(first),
        );
        (0..count).for_each(|_| builder.push(Timestamp(0), None, None));
        Header::parse(&builder.build(|_| 0)).expect("a batch of our own")
    }

    #[test]
    fn the_window_is_five_and_sequences_wrap() {
        let mut known = BTreeMap::new();
        assert_eq!(judge(&known, &batch(0, 99, 1, 0)), Verdict::Append, "an unknown producer starts anywhere");
        let start = i32::MAX - 4;
        for i in 0..6 {
            // Sequences MAX-4 .. MAX, then 0.
            let first = if i == 5 { 0 } else { start + i };
            let b = batch(0, first, 1, i64::from(i));
            assert_eq!(judge(&known, &b), Verdict::Append, "batch {i}");
            remember(&mut known, &b);
        }
        let again = |first| judge(&known, &batch(0, first, 1, 50));
        assert_eq!(again(0), Verdict::Duplicate { offset: Offset(5), last_offset: Offset(5) });
        assert_eq!(again(start + 1), Verdict::Duplicate { offset: Offset(1), last_offset: Offset(1) });
        assert_eq!(again(start), Verdict::Refuse(error::OUT_OF_ORDER_SEQUENCE_NUMBER), "the sixth is forgotten");
        assert_eq!(again(2), Verdict::Refuse(error::OUT_OF_ORDER_SEQUENCE_NUMBER), "a gap");
        assert_eq!(judge(&known, &batch(1, 1, 1, 50)), Verdict::Refuse(error::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(judge(&known, &batch(1, 0, 1, 50)), Verdict::Append);
        remember(&mut known, &batch(1, 0, 1, 6));
        assert_eq!(judge(&known, &batch(0, 1, 1, 50)), Verdict::Refuse(error::INVALID_PRODUCER_EPOCH));
    }

    #[test]
    fn a_batch_across_the_wrap_is_followed_by_what_follows_it() {
        let mut known = BTreeMap::new();
        let across = batch(0, i32::MAX - 1, 4, 0);
        remember(&mut known, &across);
        assert_eq!(judge(&known, &batch(0, 2, 1, 4)), Verdict::Append);
        assert_eq!(judge(&known, &across), Verdict::Duplicate { offset: Offset(0), last_offset: Offset(3) });
    }
}
