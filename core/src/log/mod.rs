//! What one log is, seen without its bytes: the values that recovery hands over and checkpoints keep.
//!
//! A log is `log_start_offset ≤ last_stable_offset ≤ high_watermark ≤ log_end_offset` and `flushed_offset ≤
//! log_end_offset`. Positions in files and indexes are the host's.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
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
    /// The largest timestamp in it, or -1.
    pub max_timestamp: Timestamp,
}

/// A batch remembered for duplicate detection (KIP-98: the last five).
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
    /// Its id.
    pub id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// Its last batches of that epoch, oldest first, at most five.
    pub recent: Vec<RecentBatch>,
    /// The timestamp of its last batch.
    pub last_timestamp: Timestamp,
}

/// A log's state at an offset, without its bytes: what `fold`ing batch headers up to there gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// State of everything below this offset.
    pub at: Offset,
    /// First readable offset.
    pub log_start_offset: Offset,
    /// Each leader epoch with its start offset, rising in both.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// Producers, by id.
    pub producers: Vec<ProducerEntry>,
    /// Segments, by base; the last one is the active one.
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
    /// Takes in the batch that follows, as stamped in the file. `new_segment` when it opens one.
    ///
    /// # Panics
    /// When the batch does not start at `at`: callers check that first.
    pub fn fold(&mut self, header: &Header, new_segment: bool) {
        let _ = (header, new_segment);
        todo!("me")
    }
}
