//! A replica of a log and its part in replication: who leads, what is committed, who waits for that.
//!
//! The high watermark never falls within a life, and rises only to what every in-sync replica holds as durably as the
//! topic asks (KIP-966's HW rule) or, on the metadata log, what a majority of voters does. A leader epoch is led at most
//! once: it only grows.

mod read;
mod retention;

pub use read::{Reading, refused};
pub use retention::Retention;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::effect::Effect;
use crate::ids::{BrokerId, Instant, LeaderEpoch, LogId, Now, Offset, ProducerId, Timestamp};
use crate::line::Line;
use crate::log::{Appended, Log, ProducerEntry, Rolls, Terms, Verdict};
use crate::record::{Batch, Times};
use crate::table::Key;
use crate::wire::{ProducerState, error};

/// Names an entry of the shard's table of waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitId(pub Key);

/// How a topic's log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// With so many records that are not on the device a batch is synced before it is acknowledged, and they with it.
    pub flush_messages: u64,
    /// How long a record may stay unsynced, milliseconds; `None` for as long as the operating system likes.
    pub flush_ms: Option<i64>,
    /// When a new segment begins.
    pub rolls: Rolls,
    /// After how long a silence an idempotent producer is forgotten, milliseconds.
    pub producer_expiration_ms: i64,
    /// The largest batch that is taken.
    pub max_message_bytes: u32,
    /// Whose time its records bear.
    pub times: Times,
    /// How long and how much it keeps.
    pub retention: Retention,
    /// How many replicas must be in sync for acks=-1.
    pub min_insync_replicas: usize,
}

impl Keeping {
    /// Of a log that no client writes to and nobody but its owner trims.
    #[must_use]
    pub fn internal(segment_bytes: u32) -> Keeping {
        Keeping {
            flush_messages: 1,
            flush_ms: None,
            rolls: Rolls { bytes: segment_bytes, ms: i64::MAX, jitter_ms: 0 },
            producer_expiration_ms: i64::MAX,
            max_message_bytes: u32::MAX,
            times: Times::Create { before_max_ms: i64::MAX, after_max_ms: i64::MAX },
            retention: Retention::default(),
            min_insync_replicas: 1,
        }
    }
}

/// A replica of this broker.
#[derive(Debug)]
pub struct Replica {
    log: Log,
    keeping: Keeping,
    /// Whether the metadata says where its log lies: nothing is acknowledged before.
    placed: bool,
    /// The epoch in which this replica leads, if it does.
    leading: Option<LeaderEpoch>,
    /// The log's end when it began to.
    led_from: Offset,
    /// The other in-sync replicas and how far each has flushed.
    followers: BTreeMap<BrokerId, Offset>,
    high_watermark: Offset,
    /// Produces that wait for the high watermark.
    on_committed: Queue,
    /// Produces that wait for this replica's own disk (acks=1).
    on_flushed: Queue,
    /// Deletions that wait for a start of the log.
    on_trimmed: Queue,
    /// Fetches that wait for bytes.
    readers: BTreeSet<WaitId>,
}

/// What an append attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// In the log (now, or as a duplicate from before): answer once this is committed.
    At(Appended),
    /// Refused with this error code.
    Refused(i16),
}

impl Replica {
    /// Around a log whose records are all durable.
    #[must_use]
    pub fn new(log: Log, keeping: Keeping) -> Replica {
        Replica {
            high_watermark: log.log_start_offset(),
            placed: log.id() == LogId::METADATA,
            log,
            keeping,
            leading: None,
            led_from: Offset(0),
            followers: BTreeMap::new(),
            on_committed: Queue::default(),
            on_flushed: Queue::default(),
            on_trimmed: Queue::default(),
            readers: BTreeSet::new(),
        }
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its log, to end or begin changes.
    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// The epoch in which it leads.
    #[must_use]
    pub fn leading(&self) -> Option<LeaderEpoch> {
        self.leading
    }

    /// Everything below is committed.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// No transaction is ever open here, so everything committed is stable.
    #[must_use]
    pub fn last_stable_offset(&self) -> Offset {
        self.high_watermark
    }

    /// How the log is kept.
    #[must_use]
    pub fn keeping(&self) -> Keeping {
        self.keeping
    }

    /// The idempotent producers that its log knows (KIP-664).
    #[must_use]
    pub fn producers(&self, now: Timestamp) -> Vec<ProducerState> {
        let expiration_ms = self.keeping.producer_expiration_ms;
        let known = |(id, _): &(&ProducerId, &ProducerEntry)| !self.log.is_forgotten(**id, now, expiration_ms);
        let state = |(id, entry): (&ProducerId, &ProducerEntry)| ProducerState {
            producer_id: id.0,
            producer_epoch: i32::from(entry.epoch.0),
            last_sequence: entry.recent.last().map_or(-1, |batch| batch.last.0),
            last_timestamp: entry.last_timestamp.0,
            coordinator_epoch: -1,
            current_txn_start_offset: -1,
        };
        self.log.state().producers.iter().filter(known).map(state).collect()
    }

    /// Changes how the log is kept from the next append on.
    pub fn keep(&mut self, keeping: Keeping) {
        self.keeping = keeping;
    }

    /// Whether the metadata says where its log lies.
    #[must_use]
    pub fn is_placed(&self) -> bool {
        self.placed
    }

    /// The metadata says where its log lies, or does not.
    pub fn place(&mut self, placed: bool) {
        self.placed = placed;
    }

    /// What may be acknowledged as far as this replica is concerned.
    fn kept_offset(&self) -> Offset {
        if self.placed { self.log.flushed_offset() } else { self.log.log_start_offset() }
    }

    /// This replica leads from now on, with these others in sync.
    ///
    /// # Panics
    /// When it led the epoch before: an epoch is led at most once.
    pub fn lead(&mut self, epoch: LeaderEpoch, followers: impl Iterator<Item = BrokerId>) {
        assert!(self.leading.is_none_or(|e| e < epoch), "{}: epoch {epoch} is led twice", self.log.id());
        assert!(self.log.state().last_epoch() <= epoch, "{}: epoch {epoch} is older than the log", self.log.id());
        self.leading = Some(epoch);
        self.led_from = self.log.log_end_offset();
        self.followers = followers.map(|b| (b, Offset(0))).collect();
    }

    /// This replica leads no more; gives the waits that will not be fulfilled.
    pub fn resign(&mut self) -> Vec<WaitId> {
        self.leading = None;
        self.followers.clear();
        self.abandon()
    }

    /// The log is not what the metadata knows: offline for this life, its files untouched.
    pub fn refuse(&mut self, reason: String) {
        self.log = Log::refused(self.log.id(), reason);
        // What was committed is in those files, if anywhere.
        (self.led_from, self.high_watermark) = (self.log.log_end_offset(), self.log.log_start_offset());
    }

    /// Every wait on this replica, taken out.
    pub fn abandon(&mut self) -> Vec<WaitId> {
        let mut waits = Vec::new();
        for queue in [&mut self.on_committed, &mut self.on_flushed, &mut self.on_trimmed] {
            queue.pop_reached(Offset(i64::MAX), &mut waits);
        }
        waits.extend(core::mem::take(&mut self.readers));
        waits
    }

    /// Whether the high watermark says as much as any earlier leader's did (KIP-207): until then the end that consumers
    /// see would fall.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.high_watermark >= self.led_from
    }

    /// Whether requests may act on it: it is online and leads (in the epoch that the client knows, unless that is -1;
    /// KIP-320).
    ///
    /// # Errors
    /// Kafka's error code.
    pub fn serves(&self, client_epoch: LeaderEpoch) -> Result<LeaderEpoch, i16> {
        if self.log.offline().is_some() {
            return Err(error::KAFKA_STORAGE_ERROR);
        }
        let epoch = self.leading.ok_or(error::NOT_LEADER_OR_FOLLOWER)?;
        match client_epoch.0 {
            -1 => Ok(epoch),
            e if e < epoch.0 => Err(error::FENCED_LEADER_EPOCH),
            e if e > epoch.0 => Err(error::UNKNOWN_LEADER_EPOCH),
            _ => Ok(epoch),
        }
    }

    /// Whether enough replicas are in sync for a produce with acks=-1.
    #[must_use]
    pub fn is_in_sync_enough(&self) -> bool {
        self.followers.len() + 1 >= self.keeping.min_insync_replicas
    }

    /// Appends a checked batch as the leader, unless its producer repeats itself or left something out.
    pub fn append(&mut self, batch: Batch, now: Now, out: &mut Vec<Effect>) -> Attempt {
        let leader_epoch = match self.serves(LeaderEpoch(-1)) {
            Ok(epoch) => epoch,
            Err(code) => return Attempt::Refused(code),
        };
        let Keeping { flush_messages, rolls, producer_expiration_ms, .. } = self.keeping;
        match self.log.judge(&batch.header, now.wall, producer_expiration_ms) {
            Verdict::Append => {
                Attempt::At(self.log.append(batch, Terms { now, leader_epoch, flush_messages, rolls }, out))
            }
            Verdict::Duplicate { offset, last_offset } => {
                Attempt::At(Appended { base: offset, next: last_offset.plus(1) })
            }
            Verdict::Refuse(code) => Attempt::Refused(code),
        }
    }

    /// When what it holds is to be on the device at the latest, if it is not and has to be.
    #[must_use]
    pub fn flush_due(&self) -> Option<Instant> {
        if self.log.offline().is_some() {
            return None;
        }
        Some(self.log.unsynced_since()?.plus_ms(self.keeping.flush_ms?))
    }

    /// Begins to delete what is below an offset, -1 for the high watermark; gives where the log will start.
    ///
    /// # Errors
    /// Kafka's error code.
    pub fn delete_below(&mut self, to: Offset, out: &mut Vec<Effect>) -> Result<Offset, i16> {
        self.serves(LeaderEpoch(-1))?;
        let to = if to == Offset(-1) { self.high_watermark } else { to };
        if to < Offset(0) || to > self.high_watermark {
            return Err(error::OFFSET_OUT_OF_RANGE);
        }
        self.log.trim(to, out);
        Ok(to)
    }

    /// Wakes a deletion when the log starts there.
    pub fn wake_at_start(&mut self, start: Offset, wait: WaitId) {
        self.on_trimmed.insert(start, wait);
    }

    /// A deletion gave up waiting.
    pub fn unwake_at_start(&mut self, start: Offset, wait: WaitId) {
        self.on_trimmed.remove(start, wait);
    }

    /// The log's start may have moved: gives the waits that this may end. A fetch that waits below it has an error to
    /// hear.
    pub fn started_later(&mut self) -> Vec<WaitId> {
        let mut due = Vec::new();
        self.on_trimmed.pop_reached(self.log.log_start_offset(), &mut due);
        if !due.is_empty() {
            due.extend(self.readers.iter().copied());
        }
        due
    }

    /// What every in-sync replica holds as durably as asked.
    #[must_use]
    pub fn in_sync_offset(&self) -> Offset {
        self.followers.values().copied().fold(self.kept_offset(), Offset::min)
    }

    /// Its own disk got further: so may the high watermark; gives the waits that this may end.
    pub fn advance(&mut self) -> Vec<WaitId> {
        let due = self.commit(self.in_sync_offset());
        self.holds();
        due
    }

    /// Raises the high watermark; gives the waits that this may end.
    pub fn commit(&mut self, upto: Offset) -> Vec<WaitId> {
        let mut due = Vec::new();
        self.on_flushed.pop_reached(self.kept_offset(), &mut due);
        if upto > self.high_watermark && self.leading.is_some() {
            assert!(upto <= self.log.log_end_offset(), "{}: committed {upto} past the end", self.log.id());
            self.high_watermark = upto;
            self.on_committed.pop_reached(upto, &mut due);
            due.extend(self.readers.iter().copied());
        }
        due
    }

    /// Whether a produce with these acks is done up to an offset.
    #[must_use]
    pub fn reached(&self, acks: i16, next: Offset) -> bool {
        next <= if acks == 1 { self.kept_offset() } else { self.high_watermark }
    }

    /// Wakes a produce when [`Replica::reached`] becomes true.
    pub fn wake_at(&mut self, acks: i16, next: Offset, wait: WaitId) {
        let waits = if acks == 1 { &mut self.on_flushed } else { &mut self.on_committed };
        waits.insert(next, wait);
    }

    /// Wakes a fetch whenever more is committed.
    pub fn watch(&mut self, wait: WaitId) {
        self.readers.insert(wait);
    }

    /// A wait is over.
    pub fn unwatch(&mut self, wait: WaitId) {
        self.readers.remove(&wait);
    }

    /// A produce gave up waiting.
    pub fn unwake(&mut self, acks: i16, next: Offset, wait: WaitId) {
        let waits = if acks == 1 { &mut self.on_flushed } else { &mut self.on_committed };
        waits.remove(next, wait);
    }

    /// What is true of every replica after every step.
    ///
    /// # Panics
    /// When it is not: a bug in this process.
    pub fn holds(&self) {
        self.log.holds();
        let (id, high, end) = (self.log.id(), self.high_watermark, self.log.log_end_offset());
        assert!(high <= end, "{id}: high watermark {high} past the end {end}");
        assert!(self.log.log_start_offset() <= high, "{id}: log start past the high watermark {high}");
        let overdue = self.on_committed.0.front().filter(|(next, _)| *next <= high);
        assert!(overdue.is_none(), "{id}: a produce waits for {overdue:?}, committed up to {high}");
    }

    /// The log that this is a replica of.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.log.id()
    }

    /// OffsetForLeaderEpoch (KIP-101, KIP-279), by one that leads in `leader`: that epoch has begun, whether or not
    /// anything was written in it. Else as the log has it.
    #[must_use]
    pub fn epoch_end(&self, leader: LeaderEpoch, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let (last, end) = (self.log.state().last_epoch(), self.log.log_end_offset());
        match epoch {
            _ if epoch <= last || epoch > leader => self.log.state().epoch_end(epoch),
            // Nobody wrote since the last one, so that there all later ones begin and end.
            _ if epoch == leader || last.0 < 0 => (epoch, end),
            _ => (last, end),
        }
    }

    /// Where the log of an asker that fetched up to `offset` in `epoch` diverges from this one (KIP-595): the largest
    /// epoch here that is not above, and its end; `(-1, -1)` when that is not known. `None` when it does not.
    #[must_use]
    pub fn divergence(&self, leader: LeaderEpoch, epoch: LeaderEpoch, offset: Offset) -> Option<(LeaderEpoch, Offset)> {
        if epoch.0 < 0 {
            return None;
        }
        let (own_epoch, end) = self.epoch_end(leader, epoch);
        (own_epoch < epoch || end < offset).then_some((own_epoch, end))
    }
}

/// Waits by the offset that they wait for, lowest first. Nearly all come in that order.
#[derive(Debug, Default)]
struct Queue(Line<(Offset, WaitId)>);

impl Queue {
    fn insert(&mut self, next: Offset, wait: WaitId) {
        let at = if self.0.back().is_none_or(|last| *last < (next, wait)) {
            self.0.len()
        } else {
            self.0.partition_point(|entry| *entry < (next, wait))
        };
        self.0.insert(at, (next, wait));
    }

    fn remove(&mut self, next: Offset, wait: WaitId) {
        if let Ok(at) = self.0.binary_search(&(next, wait)) {
            self.0.remove(at);
        }
    }

    fn pop_reached(&mut self, upto: Offset, waits: &mut Vec<WaitId>) {
        let reached = self.0.partition_point(|(next, _)| *next <= upto);
        if reached > 0 {
            waits.extend(self.0.drain(..reached).map(|(_, wait)| wait));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Uuid;
    use crate::log::{Checkpoint, Found};

    /// A partition at rest is to cost 2 KiB with all that is kept of it: here, in the store, and in two images.
    #[test]
    fn a_replica_is_small() {
        let bytes = size_of::<Replica>();
        assert!(bytes <= 512, "{bytes} bytes a replica");
    }

    /// A bit of the leader epoch, which no checksum covers, rotted in a log that had been trimmed: the log was refused, as of a
    /// later epoch, but the replica kept the watermark that it had begun with, past the end of what is left of a refused
    /// log, which ended the process.
    #[test]
    fn a_trimmed_log_can_be_refused() {
        let id = LogId { topic: Uuid::from_halves(3, 4), partition: 0 };
        let at = Offset(34);
        let state = Checkpoint {
            at,
            log_start_offset: at,
            epochs: alloc::vec![(LeaderEpoch(1 << 23), at)],
            ..Checkpoint::empty()
        };
        let mut replica = Replica::new(
            Log::recovered(id, Found { state, ballot: None, torn_bytes: 0 }, Timestamp(0)),
            Keeping::internal(1000),
        );
        assert_eq!(replica.high_watermark(), at);
        replica.refuse("of a later epoch".into());
        replica.holds();
        assert!(replica.log().offline().is_some());
    }
}
