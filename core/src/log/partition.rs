//! A log in motion: what was appended, what of it is as durable as the topic asks, and what went wrong.
//!
//! Every change of the log goes through here and gets the next `seq` of its FIFO; each is ended by one Done or Failed,
//! in order. After a failure the log is offline: it takes nothing more in this life (kafka-10778).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use super::producers::judge;
use super::{Ballot, Checkpoint, Found, Segment, Verdict};
use crate::effect::Effect;
use crate::ids::{LeaderEpoch, LogId, Offset, Seq, Timestamp};
use crate::record::{Batch, Header};

/// How many batch boundaries near the end are remembered, to count readable bytes exactly where consumers wait.
const TAIL_MARKS: usize = 64;

/// A batch boundary near the end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailMark {
    /// Offset at which a batch starts.
    pub offset: Offset,
    /// Bytes appended before it, counted from the log's first byte on.
    pub bytes: u64,
}

/// A change that the host has not ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    seq: Seq,
    then: Then,
}

/// What is true once a change is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Everything below is flushed.
    Flushed(Offset),
    /// The log starts there.
    Starts(Offset),
    /// Nothing of the log's own.
    Nothing,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its first offset.
    pub base: Offset,
    /// The offset after its last record.
    pub next: Offset,
}

/// One log of this shard.
#[derive(Clone, Debug)]
pub struct Log {
    id: LogId,
    state: Checkpoint,
    /// Everything below is as durable as was asked for it.
    flushed_offset: Offset,
    /// Bytes ever appended, on the scale of [`TailMark::bytes`].
    end_bytes: u64,
    tail: VecDeque<TailMark>,
    next_seq: Seq,
    pending: VecDeque<Pending>,
    /// The highest start that was asked for; it is the log's once that is durable.
    trimmed_to: Offset,
    offline: Option<String>,
}

impl Log {
    /// A log that does not exist yet; the effect makes it.
    pub fn create(id: LogId, name: &str, out: &mut Vec<Effect>) -> Log {
        let mut log = Log::with(id, Checkpoint::empty());
        let seq = log.change(Then::Nothing);
        out.push(Effect::Open { log: id, seq, name: String::from(name) });
        log
    }

    /// A log that was found on the disk: all of it is durable.
    #[must_use]
    pub fn recovered(id: LogId, found: Found) -> Log {
        assert!(!found.state.segments.is_empty(), "{id}: a log has an active segment");
        assert!(found.state.log_start_offset <= found.state.at, "{id}: starts after its end");
        Log::with(id, found.state)
    }

    /// A log that recovery refused: offline for this life, its files untouched.
    #[must_use]
    pub fn refused(id: LogId, reason: String) -> Log {
        Log { offline: Some(reason), ..Log::with(id, Checkpoint::empty()) }
    }

    fn with(id: LogId, state: Checkpoint) -> Log {
        let flushed_offset = state.at;
        let end_bytes = state.bytes();
        let trimmed_to = state.log_start_offset;
        Log {
            id,
            state,
            flushed_offset,
            end_bytes,
            tail: VecDeque::new(),
            next_seq: Seq(0),
            pending: VecDeque::new(),
            trimmed_to,
            offline: None,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.id
    }

    /// All that follows from its batches.
    #[must_use]
    pub fn state(&self) -> &Checkpoint {
        &self.state
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.state.at
    }

    /// First readable offset.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.state.log_start_offset
    }

    /// Everything below is as durable as was asked for it.
    #[must_use]
    pub fn flushed_offset(&self) -> Offset {
        self.flushed_offset
    }

    /// Why the log takes nothing more, if it does not.
    #[must_use]
    pub fn offline(&self) -> Option<&str> {
        self.offline.as_deref()
    }

    /// What a producer's earlier batches say about this one.
    #[must_use]
    pub fn judge(&self, batch: &Header) -> Verdict {
        judge(&self.state.producers, batch)
    }

    /// Appends a checked batch at the end. `sync`: it counts as flushed only once the device has it. A segment that
    /// would outgrow `segment_bytes` is rolled first.
    ///
    /// # Panics
    /// When the log is offline, or the epoch falls.
    pub fn append(
        &mut self,
        batch: Batch,
        leader_epoch: LeaderEpoch,
        sync: bool,
        segment_bytes: u32,
        out: &mut Vec<Effect>,
    ) -> Appended {
        assert!(self.offline.is_none(), "{}: append to an offline log", self.id);
        let base = self.state.at;
        let size = batch.header.size() as u64;
        let active = self.state.segments.last().expect("a log has an active segment");
        let full = active.bytes > 0 && active.bytes + size > u64::from(segment_bytes);
        let roll = full.then(|| self.checkpoint());
        self.state.fold(&batch.stamped_header(base, leader_epoch), full);
        self.mark_tail(TailMark { offset: base, bytes: self.end_bytes });
        self.end_bytes += size;
        let next = self.state.at;
        let seq = self.change(Then::Flushed(next));
        out.push(Effect::Append { log: self.id, seq, offset: base, leader_epoch, batch, sync, roll });
        Appended { base, next }
    }

    /// Moves the log's start up, durably: it is [`Log::log_start_offset`] once that is done. When nothing is left, a new
    /// segment begins, so that the active one can go, too.
    ///
    /// # Panics
    /// When the log is offline, or does not reach there.
    pub fn trim(&mut self, to: Offset, out: &mut Vec<Effect>) {
        assert!(self.offline.is_none(), "{}: trim of an offline log", self.id);
        assert!(to <= self.state.at, "{}: trimmed to {to}, past the end {}", self.id, self.state.at);
        if to <= self.trimmed_to {
            return;
        }
        self.trimmed_to = to;
        let emptied = to == self.state.at && self.state.segments.last().is_some_and(|active| active.bytes > 0);
        let roll = emptied.then(|| self.checkpoint());
        if emptied {
            self.state.segments.push(Segment { base: to, bytes: 0, max_timestamp: Timestamp(-1) });
        }
        let seq = self.change(Then::Starts(to));
        out.push(Effect::Trim { log: self.id, seq, to, roll });
    }

    /// The state here, for a roll. Segments are left out: the host knows those that it has.
    fn checkpoint(&self) -> Box<Checkpoint> {
        let Checkpoint { at, log_start_offset, epochs, producers, segments: _ } = &self.state;
        Box::new(Checkpoint {
            at: *at,
            log_start_offset: *log_start_offset,
            epochs: epochs.clone(),
            producers: producers.clone(),
            segments: Vec::new(),
        })
    }

    /// Makes a ballot durable; the returned `seq` is ended like any other change.
    pub fn persist(&mut self, ballot: Ballot, out: &mut Vec<Effect>) -> Seq {
        assert!(self.offline.is_none(), "{}: ballot to an offline log", self.id);
        let seq = self.change(Then::Nothing);
        out.push(Effect::Persist { log: self.id, seq, ballot });
        seq
    }

    /// Every change up to this one is done. Changes end in order.
    ///
    /// # Panics
    /// When the host ends another change than the oldest.
    pub fn done(&mut self, seq: Seq) {
        assert!(self.offline.is_none(), "{}: {seq} done after a failure", self.id);
        let mut last = None;
        while let Some(change) = self.pending.pop_front_if(|change| change.seq <= seq) {
            last = Some(change.seq);
            match change.then {
                Then::Flushed(end) => {
                    assert!(end > self.flushed_offset, "{}: flushed {end} after {}", self.id, self.flushed_offset);
                    self.flushed_offset = end;
                }
                Then::Starts(start) => self.state.trim(start),
                Then::Nothing => {}
            }
        }
        assert_eq!(last, Some(seq), "{}: changes end in order, each once", self.id);
        self.holds();
    }

    /// Deletes the log with its files: the last change.
    pub fn remove(&mut self, out: &mut Vec<Effect>) {
        assert!(self.offline.is_none(), "{}: an offline log takes no change", self.id);
        let seq = self.change(Then::Nothing);
        out.push(Effect::Remove { log: self.id, seq });
    }

    /// Whether every change has ended.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.pending.is_empty()
    }

    /// A change failed: the log is offline from now on.
    pub fn failed(&mut self, seq: Seq, error: &str) {
        let oldest = self.pending.pop_front().expect("only a pending change fails");
        assert_eq!(oldest.seq, seq, "{}: changes end in order", self.id);
        self.offline.get_or_insert_with(|| String::from(error));
    }

    /// Bytes readable from an offset up to another: exact near the end, where consumers wait; interpolated further back.
    #[must_use]
    pub fn readable_bytes(&self, from: Offset, upto: Offset) -> u64 {
        if from >= upto {
            return 0;
        }
        self.position(upto).saturating_sub(self.position(from)).max(1)
    }

    /// Bytes appended before the batch that holds an offset, on the scale of [`TailMark::bytes`].
    fn position(&self, offset: Offset) -> u64 {
        if offset >= self.state.at {
            return self.end_bytes;
        }
        let next = self.tail.partition_point(|m| m.offset <= offset);
        if next > 0 {
            return self.tail[next - 1].bytes;
        }
        let (mut end, mut next_base) = (self.end_bytes, self.state.at);
        for segment in self.state.segments.iter().rev() {
            if segment.base <= offset {
                let (records, before) = (next_base.0 - segment.base.0, next_base.0 - offset.0);
                let share = u128::from(segment.bytes) * before as u128 / (records.max(1) as u128);
                return end.saturating_sub(share as u64);
            }
            end = end.saturating_sub(segment.bytes);
            next_base = segment.base;
        }
        end
    }

    fn mark_tail(&mut self, mark: TailMark) {
        if self.tail.len() == TAIL_MARKS {
            self.tail.pop_front();
        }
        self.tail.push_back(mark);
    }

    fn change(&mut self, then: Then) -> Seq {
        let seq = self.next_seq;
        self.next_seq = Seq(seq.0 + 1);
        self.pending.push_back(Pending { seq, then });
        seq
    }

    /// What is true of every log after every step.
    ///
    /// # Panics
    /// When it is not: a bug in this process.
    pub fn holds(&self) {
        let (start, end, flushed) = (self.state.log_start_offset, self.state.at, self.flushed_offset);
        assert!(start <= end, "{}: log start {start} after its end {end}", self.id);
        assert!(flushed <= end, "{}: flushed {flushed} after the end {end}", self.id);
        assert!(
            self.offline.is_some() || !self.pending.is_empty() || flushed == end,
            "{}: nothing pending, yet {flushed} < {end}",
            self.id
        );
    }
}
