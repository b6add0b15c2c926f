//! A log in motion: what was appended, what of it is as durable as the topic asks, and what went wrong.
//!
//! Every change of the log goes through here and gets the next `seq` of its FIFO; each is ended by one Done or Failed,
//! in order. After a failure the log is offline: it takes nothing more in this life (kafka-10778).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::idle::Idle;
use super::producers::judge;
use super::{Ballot, Checkpoint, Found, Segment, Verdict};
use crate::effect::Effect;
use crate::ids::{Instant, LeaderEpoch, LogId, Now, Offset, ProducerId, Seq, Timestamp};
use crate::line::Line;
use crate::record::{Batch, Header};
use crate::rng::mix;

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
    /// The log exists.
    Made,
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

/// When a segment is closed and the next one begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rolls {
    /// With a batch that would make it larger than this.
    pub bytes: u32,
    /// With a batch that is so much younger than its first one, milliseconds.
    pub ms: i64,
    /// By how much that is shortened at most, milliseconds: logs that began together need not roll together.
    pub jitter_ms: i64,
}

impl Rolls {
    /// The age at which the segment that begins at `base` is closed: the same whenever it is asked for.
    fn ms_of(self, log: LogId, base: Offset) -> i64 {
        let most = self.jitter_ms.min(self.ms).unsigned_abs();
        if most == 0 {
            return self.ms;
        }
        let topic = u128::from_be_bytes(log.topic.0);
        let key = [topic as u64, (topic >> 64) as u64, log.partition as u64, base.0 as u64];
        let drawn = key.into_iter().fold(0, |hash, word| mix(hash ^ word)) % most;
        self.ms.saturating_sub_unsigned(drawn)
    }
}

/// On what terms a batch is appended.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// When.
    pub now: Now,
    /// By the leader of which epoch.
    pub leader_epoch: LeaderEpoch,
    /// With so many records that are not on the device yet it is synced, and they with it; then it counts as flushed only
    /// once the device has it. 1 for every batch.
    pub flush_messages: u64,
    /// When a new segment begins.
    pub rolls: Rolls,
}

/// One log of this shard.
#[derive(Clone, Debug)]
pub struct Log {
    id: LogId,
    state: Checkpoint,
    /// Whether it exists on the disk, durably.
    made: bool,
    /// Everything below is as durable as was asked for it.
    flushed_offset: Offset,
    /// Bytes ever appended, on the scale of [`TailMark::bytes`].
    end_bytes: u64,
    tail: Line<TailMark>,
    next_seq: Seq,
    pending: Line<Pending>,
    /// The highest start that was asked for; it is the log's once that is durable.
    trimmed_to: Offset,
    /// Records appended since the last batch that was, or is being, synced.
    unsynced: u64,
    /// When the first of them was.
    unsynced_since: Option<Instant>,
    /// When this life first appended to the active segment: its age counts from there where records have no timestamps.
    active_since: Option<Timestamp>,
    /// Since when its producers are silent.
    idle: Idle,
    offline: Option<Box<str>>,
    /// Whether recovery refused it: its files are there, and nothing of it is under way.
    refused: bool,
}

impl Log {
    /// A log that does not exist yet; the effect makes it.
    pub fn create(id: LogId, name: &str, out: &mut Vec<Effect>) -> Log {
        let mut log = Log { made: false, ..Log::with(id, Checkpoint::empty()) };
        let seq = log.change(Then::Made);
        out.push(Effect::Open { log: id, seq, name: String::from(name) });
        log
    }

    /// A log that was found on the disk at a time: all of it is durable.
    #[must_use]
    pub fn recovered(id: LogId, mut found: Found, now: Timestamp) -> Log {
        assert!(!found.state.segments.is_empty(), "{id}: a log has an active segment");
        assert!(found.state.log_start_offset <= found.state.at, "{id}: starts after its end");
        // There may be very many logs.
        found.state.segments.shrink_to_fit();
        found.state.epochs.shrink_to_fit();
        let idle = Idle::recovered(&found.state.producers, now);
        Log { idle, ..Log::with(id, found.state) }
    }

    /// A log that recovery refused: offline for this life, its files untouched.
    #[must_use]
    pub fn refused(id: LogId, reason: String) -> Log {
        Log { refused: true, ..Log::lost(id, reason) }
    }

    /// A log whose files are not there, and should be: offline for this life.
    #[must_use]
    pub fn lost(id: LogId, reason: String) -> Log {
        Log { offline: Some(reason.into()), ..Log::with(id, Checkpoint::empty()) }
    }

    fn with(id: LogId, state: Checkpoint) -> Log {
        let flushed_offset = state.at;
        let end_bytes = state.bytes();
        let trimmed_to = state.log_start_offset;
        Log {
            id,
            state,
            made: true,
            flushed_offset,
            end_bytes,
            tail: Line::default(),
            next_seq: Seq(0),
            pending: Line::default(),
            trimmed_to,
            unsynced: 0,
            unsynced_since: None,
            active_since: None,
            idle: Idle::default(),
            offline: None,
            refused: false,
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

    /// Whether it exists on the disk, durably.
    #[must_use]
    pub fn is_made(&self) -> bool {
        self.made && self.offline.is_none()
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

    /// What a producer's earlier batches say about this one. Producers that were silent for `expiration_ms` are
    /// forgotten first.
    pub fn judge(&mut self, batch: &Header, now: Timestamp, expiration_ms: i64) -> Verdict {
        self.idle.forget(&mut self.state.producers, batch.producer_id, now, expiration_ms);
        judge(&self.state.producers, batch)
    }

    /// Whether a producer was silent for so long that it is as good as forgotten.
    #[must_use]
    pub fn is_forgotten(&self, producer: ProducerId, now: Timestamp, expiration_ms: i64) -> bool {
        self.idle.is_over(producer, now, expiration_ms)
    }

    /// Appends a checked batch at the end; in a new segment, when the active one is full or old.
    ///
    /// # Panics
    /// When the log is offline, or the epoch falls.
    pub fn append(&mut self, batch: Batch, terms: Terms, out: &mut Vec<Effect>) -> Appended {
        assert!(self.offline.is_none(), "{}: append to an offline log", self.id);
        let Terms { now, leader_epoch, .. } = terms;
        let base = self.state.at;
        let size = batch.header.size() as u64;
        let rolls = self.is_due(&batch.header, terms);
        let roll = rolls.then(|| self.checkpoint());
        if rolls {
            self.active_since = None;
        }
        self.active_since.get_or_insert(now.wall);
        self.state.fold(&batch.stamped_header(base, leader_epoch), rolls);
        if batch.header.producer_id.0 >= 0 {
            self.idle.heard(batch.header.producer_id, now.wall);
        }
        let sync = self.is_synced(&batch.header, terms);
        self.mark_tail(TailMark { offset: base, bytes: self.end_bytes });
        self.end_bytes += size;
        let next = self.state.at;
        let seq = self.change(Then::Flushed(next));
        out.push(Effect::Append { log: self.id, seq, offset: base, leader_epoch, batch, sync, roll });
        Appended { base, next }
    }

    /// Whether a batch begins a new segment.
    fn is_due(&self, batch: &Header, terms: Terms) -> bool {
        let active = self.state.segments.last().expect("a log has an active segment");
        let age = if active.first_timestamp.0 >= 0 {
            batch.max_timestamp.0.saturating_sub(active.first_timestamp.0)
        } else {
            self.active_since.map_or(0, |since| terms.now.wall.0.saturating_sub(since.0))
        };
        let full = active.bytes + batch.size() as u64 > u64::from(terms.rolls.bytes);
        active.bytes > 0 && (full || age > terms.rolls.ms_of(self.id, active.base))
    }

    /// Whether a batch is to be synced; counts those that are not.
    fn is_synced(&mut self, batch: &Header, terms: Terms) -> bool {
        self.unsynced = self.unsynced.saturating_add(u64::from(batch.count.unsigned_abs()));
        let sync = self.unsynced >= terms.flush_messages;
        if sync {
            (self.unsynced, self.unsynced_since) = (0, None);
        } else {
            self.unsynced_since.get_or_insert(terms.now.monotonic);
        }
        sync
    }

    /// Since when there are records that were not synced, nor are being.
    #[must_use]
    pub fn unsynced_since(&self) -> Option<Instant> {
        self.unsynced_since
    }

    /// Makes everything appended so far durable.
    ///
    /// # Panics
    /// When the log is offline.
    pub fn flush(&mut self, out: &mut Vec<Effect>) {
        assert!(self.offline.is_none(), "{}: flush of an offline log", self.id);
        (self.unsynced, self.unsynced_since) = (0, None);
        let seq = self.change(Then::Nothing);
        out.push(Effect::Flush { log: self.id, seq });
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
            self.state.segments.push(Segment::empty(to));
            self.active_since = None;
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
                Then::Made => self.made = true,
                Then::Starts(start) => self.state.trim(start),
                Then::Nothing => {}
            }
        }
        assert_eq!(last, Some(seq), "{}: changes end in order, each once", self.id);
        self.holds();
    }

    /// Whether it can be removed or set aside: a log that failed in this life cannot, nor can one that is not there.
    #[must_use]
    pub fn is_removable(&self) -> bool {
        self.offline.is_none() || self.refused
    }

    /// The last change.
    fn last_change(&mut self) -> Seq {
        assert!(self.is_removable(), "{}: an offline log takes no change", self.id);
        (self.offline, self.refused) = (None, false);
        self.change(Then::Nothing)
    }

    /// Moves the log with its files out of the way: the last change.
    pub fn set_aside(&mut self, out: &mut Vec<Effect>) {
        let seq = self.last_change();
        out.push(Effect::SetAside { log: self.id, seq });
    }

    /// Deletes the log with its files: the last change.
    pub fn remove(&mut self, out: &mut Vec<Effect>) {
        let seq = self.last_change();
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
        self.offline.get_or_insert_with(|| Box::from(error));
    }

    /// Its files cannot be relied on any more.
    pub fn broken(&mut self, error: &str) {
        self.offline.get_or_insert_with(|| Box::from(error));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Uuid;
    use crate::record::Builder;

    const ROLLS: Rolls = Rolls { bytes: 1000, ms: 100, jitter_ms: 0 };

    fn log() -> Log {
        let id = LogId { topic: Uuid::from_halves(3, 4), partition: 0 };
        Log::create(id, "t", &mut Vec::new())
    }

    fn terms(at: u64, flush_messages: u64, rolls: Rolls) -> Terms {
        let now = Now { monotonic: Instant(at * 1_000_000), wall: Timestamp(at as i64) };
        Terms { now, leader_epoch: LeaderEpoch(0), flush_messages, rolls }
    }

    /// Appends a batch of these timestamps at a time; whether it was synced, and whether it began a segment.
    fn append(log: &mut Log, timestamps: &[i64], terms: Terms) -> (bool, bool) {
        let mut builder = Builder::new();
        timestamps.iter().for_each(|at| builder.push(Timestamp(*at), None, None));
        let batch = Batch::stored(builder.build(|_| 0), |_| 0).expect("a batch of our own");
        let mut out = Vec::new();
        log.append(batch, terms, &mut out);
        match &out[..] {
            [Effect::Append { sync, roll, .. }] => (*sync, roll.is_some()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_segment_is_as_old_as_the_newest_record_of_its_first_batch() {
        let mut log = log();
        let mut at = |timestamps: &[i64]| append(&mut log, timestamps, terms(0, 1, ROLLS)).1;
        assert!(!at(&[0, 50]));
        assert!(!at(&[150]), "exactly as old as allowed");
        assert!(at(&[10, 151]));
        assert!(!at(&[20]), "older records do not age it");
        assert!(at(&[252]));
        assert!(!at(&[-1]), "nor do those without a time");
    }

    #[test]
    fn a_segment_without_timestamps_ages_by_the_clock() {
        let mut log = log();
        let mut at = |now| append(&mut log, &[-1], terms(now, 1, ROLLS)).1;
        assert!(!at(1000));
        assert!(!at(1100));
        assert!(at(1101));
        assert!(!at(1201));
        assert!(at(1202));
    }

    #[test]
    fn jitter_shortens_an_age_by_a_draw_of_its_own_for_each_segment() {
        let rolls = Rolls { jitter_ms: 40, ..ROLLS };
        let id = log().id();
        let ages: Vec<i64> = (0..200).map(|base| rolls.ms_of(id, Offset(base))).collect();
        assert!(ages.iter().all(|ms| (61..=100).contains(ms)), "{ages:?}");
        assert!(ages.contains(&61) && ages.contains(&100), "all of it is drawn");
        assert_eq!(ages[7], rolls.ms_of(id, Offset(7)), "the same each time");
        let all = Rolls { jitter_ms: i64::MAX, ms: 100, ..ROLLS };
        assert!((0..200).all(|base| (1..=100).contains(&all.ms_of(id, Offset(base)))), "never by all of it");
    }

    #[test]
    fn every_so_many_records_are_synced() {
        let mut log = log();
        let mut at = |count: usize| append(&mut log, &[0; 9][..count], terms(5, 4, ROLLS)).0;
        assert_eq!([at(1), at(2), at(1), at(3), at(3), at(9)], [false, false, true, false, true, true]);
        assert_eq!(log.unsynced_since(), None);
        append(&mut log, &[0], terms(6, 4, ROLLS));
        append(&mut log, &[0], terms(7, 4, ROLLS));
        assert_eq!(log.unsynced_since(), Some(Instant(6_000_000)), "the oldest counts");
        let mut out = Vec::new();
        log.flush(&mut out);
        assert!(matches!(out[..], [Effect::Flush { .. }]));
        assert_eq!(log.unsynced_since(), None);
        assert!(!append(&mut log, &[0, 0, 0], terms(8, 4, ROLLS)).0, "it counts from there");
    }
}
