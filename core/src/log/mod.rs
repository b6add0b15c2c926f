//! What one log is, seen without its bytes.
//!
//! A log is `log_start_offset ≤ last_stable_offset ≤ high_watermark ≤ log_end_offset` and `flushed_offset ≤
//! log_end_offset`. All that follows from its batches is in [`Checkpoint`], whose only mutator is [`Checkpoint::fold`]:
//! a leader appending, a follower copying and recovery scanning give the same state. Positions in files and indexes are
//! the host's.

mod idle;
mod partition;
mod producers;

pub use partition::{Appended, Log, Rolls, TailMark, Terms};
pub use producers::{ProducerEntry, RECENT_BATCHES, RecentBatch, Verdict};

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::ids::{LeaderEpoch, Offset, ProducerId, Timestamp};
use crate::record::Header;

/// Who this voter voted for (KIP-595 `quorum-state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// The newest epoch seen.
    pub epoch: LeaderEpoch,
    /// The candidate voted for in it; -1 none.
    pub voted_for: i32,
}

/// A segment: what retention and rolls need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its first offset, and its files' name.
    pub base: Offset,
    /// Bytes of batches in it.
    pub bytes: u64,
    /// The largest timestamp of its first batch, which its age counts from; -1 without a batch, or where that has none.
    pub first_timestamp: Timestamp,
    /// The largest timestamp in it, or -1.
    pub max_timestamp: Timestamp,
}

impl Segment {
    /// One that holds nothing yet.
    #[must_use]
    pub const fn empty(base: Offset) -> Segment {
        Segment { base, bytes: 0, first_timestamp: Timestamp(-1), max_timestamp: Timestamp(-1) }
    }
}

/// A log's state at an offset, without its bytes: what folding all batch headers below it gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// State of everything below this offset.
    pub at: Offset,
    /// First readable offset.
    pub log_start_offset: Offset,
    /// Each leader epoch with its start offset, rising in both (KIP-101).
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// What idempotent producers did (KIP-98).
    pub producers: BTreeMap<ProducerId, ProducerEntry>,
    /// Segments, by base; the last one is the active one. Never empty once the log is open.
    pub segments: Vec<Segment>,
}

/// What recovery found: durable, every batch checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The state at the log's end (`at` is the log end offset).
    pub state: Checkpoint,
    /// The metadata log's ballot, if one was persisted.
    pub ballot: Option<Ballot>,
    /// Bytes cut from a torn tail.
    pub torn_bytes: u64,
}

impl Checkpoint {
    /// The state of a log that holds nothing.
    #[must_use]
    pub fn empty() -> Checkpoint {
        Checkpoint { segments: alloc::vec![Segment::empty(Offset(0))], ..Checkpoint::default() }
    }

    /// Takes in the batch that follows, its header as stamped in the file; `new_segment` when it opens one.
    ///
    /// # Panics
    /// When the batch does not start at `at`, or its epoch falls: callers check that first.
    pub fn fold(&mut self, header: &Header, new_segment: bool) {
        assert_eq!(header.base_offset, self.at, "batches are folded without gaps");
        let epoch = self.epochs.last().map_or(LeaderEpoch(-1), |e| e.0);
        assert!(
            header.leader_epoch >= epoch,
            "leader epoch falls from {epoch} to {} at {}",
            header.leader_epoch,
            self.at
        );
        if header.leader_epoch > epoch {
            self.epochs.push((header.leader_epoch, header.base_offset));
        }
        if new_segment || self.segments.is_empty() {
            self.segments.push(Segment::empty(header.base_offset));
        }
        let active = self.segments.last_mut().expect("pushed above");
        if active.bytes == 0 {
            active.first_timestamp = header.max_timestamp;
        }
        active.bytes += header.size() as u64;
        active.max_timestamp = active.max_timestamp.max(header.max_timestamp);
        if header.producer_id.0 >= 0 && !header.is_control() {
            producers::remember(&mut self.producers, header);
        }
        self.at = header.next_offset();
    }

    /// Moves the log's start up; segments wholly below it go, but never the active one.
    ///
    /// # Panics
    /// When that is past the end.
    pub fn trim(&mut self, to: Offset) {
        assert!(to <= self.at, "trimmed to {to}, past the end {}", self.at);
        self.log_start_offset = self.log_start_offset.max(to);
        let start = self.log_start_offset;
        let needless = self.segments.windows(2).take_while(|two| two[1].base <= start).count();
        self.segments.drain(..needless);
    }

    /// The newest leader epoch that wrote here; -1 when none did.
    #[must_use]
    pub fn last_epoch(&self) -> LeaderEpoch {
        self.epochs.last().map_or(LeaderEpoch(-1), |e| e.0)
    }

    /// OffsetForLeaderEpoch (KIP-101, KIP-279): the largest epoch ≤ `epoch` that wrote here, and where it ends.
    /// `(-1, -1)` for an epoch newer than all and for none (below 0); the asked epoch and the first start for one older than all. Epochs that
    /// ended at or below the log's start are forgotten.
    #[must_use]
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        if epoch.0 < 0 || epoch > self.last_epoch() {
            return (LeaderEpoch(-1), Offset(-1));
        }
        if epoch == self.last_epoch() {
            return (epoch, self.at);
        }
        let first = self.epochs.partition_point(|e| e.1 <= self.log_start_offset).saturating_sub(1);
        let next = self.epochs.partition_point(|e| e.0 <= epoch).max(first);
        let end = self.epochs[next].1.max(self.log_start_offset);
        if next == first { (epoch, end) } else { (self.epochs[next - 1].0, end) }
    }

    /// The leader epoch that wrote an offset; -1 when none is known.
    #[must_use]
    pub fn epoch_of(&self, offset: Offset) -> LeaderEpoch {
        let next = self.epochs.partition_point(|e| e.1 <= offset);
        if next == 0 { LeaderEpoch(-1) } else { self.epochs[next - 1].0 }
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Offset;

    fn epochs(list: &[(i32, i64)], at: i64) -> Checkpoint {
        Checkpoint {
            at: Offset(at),
            epochs: list.iter().map(|e| (LeaderEpoch(e.0), Offset(e.1))).collect(),
            ..Checkpoint::default()
        }
    }

    #[test]
    fn epoch_ends_as_kip_279_answers_them() {
        let log = epochs(&[(1, 0), (4, 10), (5, 20)], 30);
        let end = |e| {
            let (epoch, end) = log.epoch_end(LeaderEpoch(e));
            (epoch.0, end.0)
        };
        assert_eq!(end(5), (5, 30), "the newest ends at the log's end");
        assert_eq!(end(4), (4, 20));
        assert_eq!(end(3), (1, 10), "the largest one not above");
        assert_eq!(end(6), (-1, -1), "newer than all");
        assert_eq!(end(0), (0, 0), "older than all");
        assert_eq!((end(-1), end(-2), end(i32::MIN)), ((-1, -1), (-1, -1), (-1, -1)), "none");
        assert_eq!(Checkpoint::default().epoch_end(LeaderEpoch(-2)), (LeaderEpoch(-1), Offset(-1)), "of nothing");
        assert_eq!(log.epoch_of(Offset(19)), LeaderEpoch(4));
    }

    #[test]
    fn epochs_below_the_start_are_forgotten() {
        let mut log = epochs(&[(1, 0), (4, 10), (5, 20)], 30);
        let end = |log: &Checkpoint, e| {
            let (epoch, end) = log.epoch_end(LeaderEpoch(e));
            (epoch.0, end.0)
        };
        log.trim(Offset(15));
        assert_eq!(end(&log, 4), (4, 20), "its end is still there");
        assert_eq!(end(&log, 3), (3, 15), "older than all that is left: the log's start");
        assert_eq!(end(&log, 1), (1, 15));
        log.trim(Offset(30));
        assert_eq!((end(&log, 4), end(&log, 5)), ((4, 30), (5, 30)), "nothing is left but the newest");
    }

    #[test]
    fn a_trim_takes_whole_segments_but_never_the_active_one() {
        let segment = |base| Segment { bytes: 10, ..Segment::empty(Offset(base)) };
        let mut log = Checkpoint { segments: [0, 10, 20].map(segment).to_vec(), ..epochs(&[], 30) };
        let mut bases = |to| {
            log.trim(Offset(to));
            (log.log_start_offset.0, log.segments.iter().map(|s| s.base.0).collect::<Vec<_>>())
        };
        assert_eq!(bases(9), (9, [0, 10, 20].to_vec()));
        assert_eq!(bases(10), (10, [10, 20].to_vec()));
        assert_eq!(bases(5), (10, [10, 20].to_vec()), "it never falls back");
        assert_eq!(bases(30), (30, [20].to_vec()));
    }
}
