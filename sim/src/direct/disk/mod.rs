//! The model disk: per log a list of batches, of which a prefix is in the page cache and a shorter one on the device.
//!
//! Changes of a log end in order; appends that wait while others are under way are written, and synced, together. A
//! crash keeps a prefix, never a batch without those before it: recovery of the real store cuts there. A failed sync
//! proves nothing about what it covered, neither then nor when it is read again. Recovery makes durable all that it
//! reports; one that a crash cuts short has done so with some logs, and with a part of one. A life that ends in order syncs
//! each log and marks all of it as durable: the next start writes nothing of it again. Knows no files: torn headers,
//! directories and indexes are the `world` engine's.

mod follow;
mod harm;
mod log;

pub use follow::{Followed, follow};
pub(super) use harm::{Harm, Image, Part};

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use klamm_core::effect::{Effect, Input, Lookup, Query, Room};
use klamm_core::ids::{LogId, Offset, Seq, ShardIndex, Timestamp};
use klamm_core::log::Checkpoint;
use klamm_core::record;
use klamm_core::rng::mix;
use log::{Change, Kept, Log, Reach, Stored};

use super::params::{Canary, Dice, Faults, MS, Params, SECOND};

/// So much longer everything takes on a slow disk.
const SLOWER: u64 = 20;
/// But no longer than this: a client waits twice as long for what must be answered.
const SLOWEST: u64 = 30 * SECOND;
/// What who asks is told of the device; nothing here is measured against it.
const ROOM: Room = Room { total: 1 << 40, usable: 1 << 39 };

/// Counts of what the disk did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) sync_errors: u64,
    pub(super) write_errors: u64,
    /// Changes that found no room.
    pub(super) full: u64,
    /// Operations that took very long, and those of them that ended.
    pub(super) stalls: u64,
    pub(super) stalls_sat_out: u64,
    /// Recoveries of a log that failed.
    pub(super) recovery_errors: u64,
    /// Logs that could not be recovered.
    pub(super) refused: u64,
    /// Logs whose recovery a crash cut short.
    pub(super) half_recovered: u64,
    /// Batches that whoever sent them waits for.
    pub(super) appends_failed: u64,
    /// Batches that a crash took.
    pub(super) lost: u64,
    /// Batches that survived a crash without having been synced.
    pub(super) survived: u64,
    pub(super) rolls: u64,
    /// Logs that were closed in order.
    pub(super) closed: u64,
    /// The most appends that shared a sync.
    pub(super) largest_group: u64,
}

/// The data directory of one broker.
#[derive(Debug)]
pub(super) struct Disk {
    dice: Dice,
    delay: u64,
    pub(super) faults: Faults,
    /// Until when there is hardly any room, and until when everything takes long; by which fault.
    pub(super) full_until: (u64, u64),
    pub(super) slow_until: (u64, u64),
    /// Faults for which an operation found no room, or took long.
    pub(super) seen: BTreeSet<u64>,
    canary: Canary,
    logs: BTreeMap<LogId, Log>,
    /// How many logs were made under each name.
    made: BTreeMap<(String, i32), u64>,
    pub(super) tally: Tally,
}

/// The key of a log: the n-th of its name.
fn key(name: &str, partition: i32, made: u64) -> u64 {
    let named = name.bytes().fold(made, |hash, byte| mix(hash ^ u64::from(byte)));
    mix(named ^ partition as u64) << 24
}

/// Whole batches, taken from a log.
#[derive(Clone, Debug)]
pub(super) struct Lent {
    pub(super) bytes: Bytes,
    /// The length of the first one.
    pub(super) first: u32,
    /// What of the batch that was to be taken first cannot be read.
    pub(super) unread: Option<Part>,
}

/// What a change came to at once.
#[derive(Debug)]
pub(super) enum Begun {
    /// It waits behind others.
    Queued,
    /// It is under way and ends after so many nanoseconds: call [`Disk::end`].
    Underway(LogId, u64),
    /// The log is dead.
    Failed(Input),
}

impl Disk {
    pub(super) fn new(params: &Params) -> Disk {
        let Params { disk_delay, faults, canary, .. } = *params;
        Disk {
            dice: params.dice.clone(),
            delay: disk_delay,
            faults,
            full_until: (0, 0),
            slow_until: (0, 0),
            seen: BTreeSet::new(),
            canary,
            logs: BTreeMap::new(),
            made: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Takes an effect that changes a log, and begins it if it can.
    pub(super) fn change(&mut self, now: u64, effect: Effect) -> Begun {
        match self.take(effect) {
            Err(failed) => Begun::Failed(*failed),
            Ok(id) if self.logs[&id].underway > 0 => Begun::Queued,
            Ok(id) => Begun::Underway(id, self.begin(now, id)),
        }
    }

    /// Puts what an effect wants of a log behind what it wanted before.
    fn take(&mut self, effect: Effect) -> Result<LogId, Box<Input>> {
        let (id, seq, change) = match effect {
            Effect::Open { log, seq, name } => {
                let made = self.made.entry((name.clone(), log.partition)).or_default();
                *made += 1;
                let key = key(&name, log.partition, *made);
                let before = self.logs.insert(log, Log::new(name, key));
                assert!(before.is_none(), "{log} is opened and exists");
                (log, seq, Change::Open)
            }
            Effect::Append { log, seq, offset, leader_epoch, batch, sync, roll } => {
                let (prefix, rest) = batch.stamp(offset, leader_epoch);
                let bytes = Bytes::from([&prefix[..], &rest[..]].concat());
                let header = batch.stamped_header(offset, leader_epoch);
                let it = self.logs.get_mut(&log).expect("an append goes to a log that exists");
                assert_eq!(it.end(it.batches.len()), offset, "{log}: an append goes to its end");
                self.tally.rolls += u64::from(roll.is_some());
                let opens = roll.is_some() || it.begins(offset).is_some();
                it.batches.push(Stored { header, bytes, opens, harm: None });
                (log, seq, Change::Append { sync })
            }
            Effect::Flush { log, seq } => (log, seq, Change::Flush),
            Effect::Trim { log, seq, to, roll } => {
                let it = self.logs.get_mut(&log).expect("a trim is one of a log that exists");
                assert!(to <= it.end(it.batches.len()), "{log}: trimmed to {to}, past its end");
                if let Some(state) = roll {
                    assert_eq!(state.at, it.end(it.batches.len()), "{log}: a roll begins at its end");
                    it.begun = Some((state.at, Reach::Cache));
                }
                (log, seq, Change::Trim(to))
            }
            Effect::Persist { log, seq, ballot } => (log, seq, Change::Persist(ballot)),
            Effect::Remove { log, seq } | Effect::SetAside { log, seq } => (log, seq, Change::Remove),
            other => panic!("no change that is made here: {other:?}"),
        };
        let it = self.logs.get_mut(&id).expect("a change is one of a log that exists");
        if let Some(error) = it.dead {
            return Err(Box::new(Input::Failed { log: id, seq, error: error.into() }));
        }
        it.queue.push_back((seq, change));
        Ok(id)
    }

    /// Begins what waits at a log: all appends at the front together, or one other change. Gives how long it takes.
    fn begin(&mut self, now: u64, id: LogId) -> u64 {
        let it = self.logs.get_mut(&id).expect("a log with changes exists");
        it.begin();
        it.operations += 1;
        self.tally.largest_group = self.tally.largest_group.max(it.underway as u64);
        let key = it.key();
        let synced = it.is_synced();
        let delay = if synced { self.dice.delay("sync delay", key, self.delay) } else { 10_000 };
        let stalls = self.dice.mishap("disk stall", key, self.faults.stall);
        let (until, fault) = self.slow_until;
        let slow = now < until;
        self.seen.extend(slow.then_some(fault));
        let delay = if slow { (SLOWER * delay).min(SLOWEST) } else { delay };
        it.stalled = stalls;
        self.tally.stalls += u64::from(stalls);
        delay + if stalls { self.dice.between("stall", key, 100 * MS, 5 * SECOND) } else { 0 }
    }

    /// What was under way at a log ends. Gives what the shard is told, and how long the next group takes, if there is
    /// one.
    pub(super) fn end(&mut self, now: u64, id: LogId) -> (Vec<Input>, Option<u64>) {
        let (dice, faults, canary) = (&self.dice, self.faults, self.canary);
        let it = self.logs.get_mut(&id).expect("a log with changes exists");
        let key = it.key();
        let synced = it.is_synced();
        let (until, fault) = self.full_until;
        self.tally.stalls_sat_out += u64::from(std::mem::take(&mut it.stalled));
        let full = now < until && !matches!(it.group().next(), Some(Change::Flush | Change::Remove));
        let error = if full && dice.mishap("no room", key, 2) {
            self.tally.full += 1;
            self.seen.insert(fault);
            Some("no space left on device")
        } else if dice.mishap("write error", key, faults.write_error) {
            self.tally.write_errors += 1;
            Some("input/output error of a write")
        } else if synced && dice.mishap("sync error", key, faults.sync_error) {
            self.tally.sync_errors += 1;
            Some("input/output error")
        } else {
            None
        };
        self.tally.appends_failed += if error.is_some() { it.appends() as u64 } else { 0 };
        it.land(synced && error.is_none() && canary != Canary::DoneBeforeSync, error.is_some(), dice.bits("torn", key));
        let ended: Vec<(Seq, Change)> = it.queue.drain(..it.underway).collect();
        it.underway = 0;
        if let Some(error) = error.filter(|_| canary != Canary::FailureIgnored) {
            it.dead = Some(error);
            let failed = ended.into_iter().chain(it.queue.drain(..));
            return (failed.map(|(seq, _)| Input::Failed { log: id, seq, error: error.into() }).collect(), None);
        }
        self.tally.closed += u64::from(ended.iter().any(|(_, c)| matches!(c, Change::Close)));
        if ended.iter().any(|(_, c)| matches!(c, Change::Remove)) {
            assert!(it.queue.is_empty(), "{id} is changed after it was removed");
            it.exists = Reach::Nowhere;
        }
        let (more, gone) = (!it.queue.is_empty(), it.exists == Reach::Nowhere);
        if gone {
            self.logs.remove(&id);
        }
        let done = ended.last().map(|(seq, _)| Input::Done { log: id, seq: *seq });
        (done.into_iter().collect(), more.then(|| self.begin(now, id)))
    }

    /// The broker ends in order: every log takes one last change, which leaves all of it marked as durable. Gives those
    /// that begin it now, and how long it takes; the others have something under way. Nothing may be changed afterwards.
    pub(super) fn close(&mut self, now: u64) -> Vec<(LogId, u64)> {
        let to_close = self.logs.iter_mut().filter(|(_, it)| it.is_to_close());
        let resting: Vec<(LogId, bool)> = to_close
            .map(|(id, it)| {
                it.queue.push_back((Seq(u64::MAX), Change::Close));
                (*id, it.underway == 0)
            })
            .collect();
        let resting = resting.into_iter().filter(|(_, rests)| *rests);
        resting.map(|(id, _)| (id, self.begin(now, id))).collect()
    }

    /// Whether nothing is under way.
    pub(super) fn rests(&self) -> bool {
        self.logs.values().all(|it| it.queue.is_empty())
    }

    /// The broker is gone. With `power` the page cache is, too.
    pub(super) fn crash(&mut self, power: bool, crash: u64) {
        for it in self.logs.values_mut() {
            it.operations += 1;
            let Some(kept) = kept(it, power, &self.dice, it.named ^ crash) else {
                it.exists = Reach::Nowhere;
                continue;
            };
            self.tally.lost += (it.batches.len() - kept.batches) as u64;
            self.tally.survived += kept.batches.saturating_sub(it.durable) as u64;
            it.exists = if power { Reach::Device } else { it.exists.max(Reach::Cache) };
            it.crashed(kept, power);
        }
        self.logs.retain(|_, it| it.exists != Reach::Nowhere);
    }

    /// A shard dies while it recovers its logs: some it has, and one it was at, cut and partly written again. Nobody was
    /// told of any.
    pub(super) fn recover_some(&mut self, shard: ShardIndex, shards: u16, crash: u64) {
        let (canary, dice) = (self.canary, self.dice.clone());
        let durable = canary != Canary::RecoveredNotDurable;
        let key = crash << 8 | u64::from(shard.0);
        let owned = || self.logs.keys().filter(|id| id.owner(shards) == shard);
        let recovered = dice.more("logs recovered", key, owned().count() as u64) as usize;
        let owned: Vec<LogId> = owned().take(recovered + 1).copied().collect();
        for (n, id) in owned.into_iter().enumerate() {
            let it = self.logs.get_mut(&id).expect("listed above");
            it.operations += 1;
            let (over, at) = (n < recovered, it.key());
            if !(over || dice.mishap("read before it died", at, 2))
                || it.read_again(canary == Canary::CutSilently).is_err()
            {
                continue;
            }
            if over && durable {
                it.recovered();
            } else if !over {
                it.durable += dice.more("written before it died", at, (it.written - it.durable) as u64) as usize;
                self.tally.half_recovered += 1;
            }
        }
    }

    /// Recovers the logs of one shard: what it reports is durable from here on. A log that cannot be, this time, is
    /// refused; what of it was written again may be lost.
    pub(super) fn recover(&mut self, now: u64, shard: ShardIndex, shards: u16) -> Vec<Input> {
        let canary = self.canary;
        let durable = canary != Canary::RecoveredNotDurable;
        let (dice, tally) = (&self.dice, &mut self.tally);
        // Without room nothing can be written again.
        let (until, fault) = self.full_until;
        let full = now < until;
        let rate = if full { 2 } else { self.faults.recovery_error };
        let seen = &mut self.seen;
        let owned = self.logs.iter_mut().filter(|(id, _)| id.owner(shards) == shard);
        let found = owned.map(|(id, it)| {
            assert!(it.queue.is_empty() && it.written == it.batches.len(), "{id} is recovered after a crash only");
            it.operations += 1;
            // What it writes again when that fails may be lost. Where it cannot read it has not come so far.
            let fails = dice.mishap("recovery error", it.key(), rate);
            it.doubtful |= fails;
            seen.extend((fails && full).then_some(fault));
            tally.recovery_errors += u64::from(fails && !full);
            let whole = match fails {
                true => Err("input/output error".to_owned()),
                false => it.read_again(canary == Canary::CutSilently),
            };
            it.refused = whole.is_err();
            if it.refused {
                tally.refused += 1;
            } else if durable {
                it.recovered();
            }
            let found = whole.map(|()| Box::new(it.found()));
            Input::Recovered { log: *id, name: it.name.clone(), found }
        });
        found.collect()
    }

    /// Whole batches from the one that holds `from` to the last that ends below `upto`: at most `max_bytes`, but one at
    /// least. A batch that cannot be read ends it.
    pub(super) fn read(&self, id: LogId, from: Offset, upto: Offset, max_bytes: u32) -> Lent {
        let mut all = BytesMut::new();
        let (mut first, mut unread) = (0, None);
        for batch in self.batches(id, from, upto) {
            let size = batch.bytes.len();
            if let Some(Harm::Unreadable(part)) = batch.harm {
                unread = all.is_empty().then_some(part);
                break;
            }
            if !all.is_empty() && all.len() + size > max_bytes as usize {
                break;
            }
            if all.is_empty() {
                first = size as u32;
            }
            all.extend_from_slice(&batch.bytes);
        }
        Lent { bytes: all.freeze(), first, unread }
    }

    fn batches(&self, id: LogId, from: Offset, upto: Offset) -> impl Iterator<Item = &Stored> {
        let all = self.logs.get(&id).map_or(&[][..], |it| &it.batches);
        let start = all.partition_point(|b| b.header.next_offset() <= from);
        all[start..].iter().take_while(move |b| b.header.next_offset() <= upto)
    }

    /// Answers a look-up.
    pub(super) fn look_up(&self, id: LogId, query: &Query) -> Lookup {
        let (from, upto) = match query {
            Query::Batches { from, upto, .. } => (*from, *upto),
            Query::Timestamp { upto, .. } | Query::MaxTimestamp { upto } => (Offset(0), *upto),
            Query::Room => return Lookup::Room(ROOM),
        };
        if self.batches(id, from, upto).any(|batch| batch.harm.is_some()) {
            return Lookup::Failed("a batch that is not whole".to_owned());
        }
        // The first record since a time, in the first batch that has any.
        let start = self.logs.get(&id).map_or(Offset(0), |it| it.start.0);
        let since = |at: Timestamp, upto: Offset| {
            self.batches(id, start, upto).find_map(|batch| {
                let mut records = record::records(&batch.bytes).map(|r| r.expect("as appended"));
                let found = records.find(|r| r.timestamp >= at && r.offset >= start)?;
                Some((found.offset, found.timestamp, batch.header.leader_epoch))
            })
        };
        match *query {
            Query::Batches { from, upto, max_bytes } => Lookup::Batches(self.read(id, from, upto, max_bytes).bytes),
            Query::Timestamp { at, upto } => Lookup::Record(since(at, upto)),
            Query::MaxTimestamp { upto } => {
                let readable = self.batches(id, start, upto).flat_map(|b| record::records(&b.bytes));
                let readable = readable.map(|r| r.expect("as appended")).filter(|r| r.offset >= start);
                let newest = readable.map(|r| r.timestamp).max();
                Lookup::Record(newest.and_then(|at| since(at, upto)))
            }
            Query::Room => Lookup::Room(ROOM),
        }
    }

    /// The logs of a topic's partition: of a deleted topic's name there may be more than one.
    pub(super) fn logs_of(&self, topic: &str, partition: i32) -> impl Iterator<Item = LogId> {
        self.logs.iter().filter(move |(id, it)| it.name == topic && id.partition == partition).map(|(id, _)| *id)
    }

    /// All logs that there are and that take changes: what became of the others, the next life decides.
    pub(super) fn logs(&self) -> impl Iterator<Item = LogId> {
        self.logs.iter().filter(|(_, it)| it.dead.is_none()).map(|(id, _)| *id)
    }

    /// Whether there is such a log, not removed yet.
    pub(super) fn has(&self, id: LogId) -> bool {
        self.logs.contains_key(&id)
    }

    /// Everything below is on the device.
    pub(super) fn durable_offset(&self, id: LogId) -> Offset {
        self.logs.get(&id).map_or(Offset(0), |it| it.end(it.durable))
    }

    /// The offset after the batch that begins at `base`, if one does.
    pub(super) fn batch_end(&self, id: LogId, base: Offset) -> Option<Offset> {
        let batch = self.batches(id, base, Offset(i64::MAX)).next()?;
        (batch.header.base_offset == base).then(|| batch.header.next_offset())
    }

    /// The name of a log's topic.
    pub(super) fn topic(&self, id: LogId) -> &str {
        self.logs.get(&id).map_or("", |it| &it.name)
    }

    /// What recovery would find of a log with all that was appended.
    pub(super) fn folded(&self, id: LogId) -> Option<Checkpoint> {
        self.logs.get(&id).map(Log::folded)
    }
}

/// What a crash leaves of a log, drawn; `None`: nothing.
fn kept(it: &Log, power: bool, dice: &Dice, key: u64) -> Option<Kept> {
    let left = it.left(power);
    let was = it.exists != Reach::Nowhere;
    let either = left.there && left.gone;
    if !(left.there && (!either || dice.mishap(if was { "removed" } else { "opened" }, key, 2) != was)) {
        return None;
    }
    let start = left.starts[dice.more("trimmed", key, left.starts.len() as u64 - 1) as usize];
    let ballot = left.ballots[dice.more("ballot kept", key, left.ballots.len() as u64 - 1) as usize];
    let least = it.least(&left, start);
    let batches = least + dice.more("batches kept", key, (left.batches.1 - least) as u64) as usize;
    let begun = it.may_begin(&left, batches) && dice.mishap("segment begun", key, 2);
    Some(Kept { start, ballot, batches, begun })
}
