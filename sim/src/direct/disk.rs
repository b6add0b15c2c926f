//! The model disk: per log a list of batches, of which a prefix is in the page cache and a shorter one on the device.
//!
//! Changes of a log end in order; appends that wait while others are under way are written, and synced, together. A
//! crash keeps a prefix, never a batch without those before it: recovery of the real store cuts there. A failed sync
//! proves nothing about what it covered, neither then nor when it is read again. Recovery makes durable all that it
//! reports. Knows no files: torn headers, directories and indexes are the `world` engine's.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use klamm_core::effect::{Effect, Input, Lookup, Query};
use klamm_core::ids::{LogId, Offset, Seq, ShardIndex, Timestamp};
use klamm_core::log::{Ballot, Checkpoint, Found, Segment};
use klamm_core::record::{self, Header};
use klamm_core::rng::mix;

use super::params::{Canary, Dice, Faults, MS, Params, SECOND};

/// A batch as stamped.
#[derive(Clone, Debug)]
struct Stored {
    header: Header,
    bytes: Bytes,
    /// Whether it opened a segment.
    opens: bool,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Open,
    Append { sync: bool },
    Flush,
    Trim(Offset),
    Persist(Ballot),
    Remove,
}

/// How far a name or a small file got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Nowhere,
    Cache,
    Device,
}

#[derive(Debug)]
struct Log {
    name: String,
    exists: Reach,
    /// All appended ones: beyond `written` they are in memory only.
    batches: Vec<Stored>,
    /// So many are in the page cache.
    written: usize,
    /// So many are on the device.
    durable: usize,
    /// In the page cache, and on the device.
    ballot: (Option<Ballot>, Option<Ballot>),
    /// Where it starts, on the device.
    start: Offset,
    /// A segment that a trim of everything began.
    begun: Option<Offset>,
    queue: VecDeque<(Seq, Change)>,
    /// The group that is under way; its first ones of `queue`.
    underway: usize,
    dead: Option<&'static str>,
    /// Stands for its name and the how manieth it is of that: with the operations so far the key of their draws.
    named: u64,
    operations: u64,
}

/// Counts of what the disk did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) sync_errors: u64,
    pub(super) write_errors: u64,
    /// Batches that whoever sent them waits for.
    pub(super) appends_failed: u64,
    /// Batches that a crash took.
    pub(super) lost: u64,
    /// Batches that survived a crash without having been synced.
    pub(super) survived: u64,
    pub(super) rolls: u64,
    /// The most appends that shared a sync.
    pub(super) largest_group: u64,
}

/// The data directory of one broker.
#[derive(Debug)]
pub(super) struct Disk {
    dice: Dice,
    delay: u64,
    pub(super) faults: Faults,
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
            canary,
            logs: BTreeMap::new(),
            made: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Takes an effect that changes a log.
    pub(super) fn change(&mut self, effect: Effect) -> Begun {
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
                it.batches.push(Stored { header, bytes, opens: roll.is_some() || it.begun == Some(offset) });
                (log, seq, Change::Append { sync })
            }
            Effect::Flush { log, seq } => (log, seq, Change::Flush),
            Effect::Trim { log, seq, to, roll } => {
                let it = self.logs.get_mut(&log).expect("a trim is one of a log that exists");
                assert!(to <= it.end(it.batches.len()), "{log}: trimmed to {to}, past its end");
                if let Some(state) = roll {
                    assert_eq!(state.at, it.end(it.batches.len()), "{log}: a roll begins at its end");
                    it.begun = Some(state.at);
                }
                (log, seq, Change::Trim(to))
            }
            Effect::Persist { log, seq, ballot } => (log, seq, Change::Persist(ballot)),
            Effect::Remove { log, seq } | Effect::SetAside { log, seq } => (log, seq, Change::Remove),
            other => panic!("no change that is made here: {other:?}"),
        };
        let it = self.logs.get_mut(&id).expect("a change is one of a log that exists");
        if let Some(error) = it.dead {
            return Begun::Failed(Input::Failed { log: id, seq, error: error.into() });
        }
        it.queue.push_back((seq, change));
        if it.underway > 0 { Begun::Queued } else { Begun::Underway(id, self.begin(id)) }
    }

    /// Begins what waits at a log: all appends at the front together, or one other change. Gives how long it takes.
    fn begin(&mut self, id: LogId) -> u64 {
        let it = self.logs.get_mut(&id).expect("a log with changes exists");
        let appends = it.queue.iter().take_while(|(_, c)| matches!(c, Change::Append { .. })).count();
        it.underway = appends.max(1);
        it.operations += 1;
        self.tally.largest_group = self.tally.largest_group.max(it.underway as u64);
        let key = it.key();
        let synced = it.group().any(|c| !matches!(c, Change::Append { sync: false }));
        let delay = if synced { self.dice.delay("sync delay", key, self.delay) } else { 10_000 };
        let stalls = self.dice.mishap("disk stall", key, self.faults.stall);
        delay + if stalls { self.dice.between("stall", key, 100 * MS, 5 * SECOND) } else { 0 }
    }

    /// What was under way at a log ends. Gives what the shard is told, and how long the next group takes, if there is
    /// one.
    pub(super) fn end(&mut self, id: LogId) -> (Vec<Input>, Option<u64>) {
        let (dice, faults, canary) = (&self.dice, self.faults, self.canary);
        let it = self.logs.get_mut(&id).expect("a log with changes exists");
        let key = it.key();
        let synced = it.group().any(|c| !matches!(c, Change::Append { sync: false }));
        let error = if dice.mishap("write error", key, faults.write_error) {
            self.tally.write_errors += 1;
            Some("no space left on device")
        } else if synced && dice.mishap("sync error", key, faults.sync_error) {
            self.tally.sync_errors += 1;
            Some("input/output error")
        } else {
            None
        };
        let appends = it.group().filter(|c| matches!(c, Change::Append { .. })).count() as u64;
        self.tally.appends_failed += if error.is_some() { appends } else { 0 };
        it.land(synced && error.is_none() && canary != Canary::DoneBeforeSync, error.is_some(), dice.bits("torn", key));
        let ended: Vec<(Seq, Change)> = it.queue.drain(..it.underway).collect();
        it.underway = 0;
        if let Some(error) = error.filter(|_| canary != Canary::FailureIgnored) {
            it.dead = Some(error);
            let failed = ended.into_iter().chain(it.queue.drain(..));
            return (failed.map(|(seq, _)| Input::Failed { log: id, seq, error: error.into() }).collect(), None);
        }
        if ended.iter().any(|(_, c)| matches!(c, Change::Remove)) {
            assert!(it.queue.is_empty(), "{id} is changed after it was removed");
            it.exists = Reach::Nowhere;
        }
        let (more, gone) = (!it.queue.is_empty(), it.exists == Reach::Nowhere);
        if gone {
            self.logs.remove(&id);
        }
        let done = ended.last().map(|(seq, _)| Input::Done { log: id, seq: *seq });
        (done.into_iter().collect(), more.then(|| self.begin(id)))
    }

    /// Whether something is under way, or in the page cache only.
    pub(super) fn is_busy(&self) -> bool {
        self.logs.values().any(|it| !it.queue.is_empty() || it.durable < it.written)
    }

    /// The broker is gone. With `power` the page cache is, too.
    pub(super) fn crash(&mut self, power: bool, crash: u64) {
        let dice = &self.dice;
        for it in self.logs.values_mut() {
            it.operations += 1;
            let key = it.named ^ crash;
            if it.group().any(|c| matches!(c, Change::Open)) && dice.mishap("opened", key, 2) {
                it.exists = Reach::Cache;
            }
            if it.group().any(|c| matches!(c, Change::Remove)) && dice.mishap("removed", key, 2) {
                it.exists = Reach::Nowhere;
            }
            if power && it.exists == Reach::Cache {
                it.exists = if dice.mishap("name kept", key, 2) { Reach::Device } else { Reach::Nowhere };
            }
            // A trim that is under way is made, or not; those behind it are not.
            if let Some(to) = it.trim_underway().filter(|_| dice.mishap("trimmed", key, 2)) {
                it.trim(to);
            }
            it.begun = it.begun.filter(|begun| *begun <= it.start);
            if let Some(ballot) = it.ballot_underway().filter(|_| dice.mishap("voted", key, 2)) {
                it.ballot.0 = Some(ballot);
            }
            if power {
                let kept = if dice.mishap("ballot kept", key, 2) { it.ballot.0 } else { it.ballot.1 };
                it.ballot = (kept, kept);
            }
            let appends = it.group().filter(|c| matches!(c, Change::Append { .. })).count();
            // A failed write may have left its pages or not, and they are clean: what is read again may be either.
            let least = if power || it.dead.is_some() { it.durable } else { it.written };
            let kept = least + dice.more("batches kept", key, (it.written + appends - least) as u64) as usize;
            self.tally.lost += (it.batches.len() - kept) as u64;
            self.tally.survived += (kept - it.durable.min(kept)) as u64;
            it.batches.truncate(kept);
            it.written = kept;
            if power {
                it.durable = kept;
            }
            (it.underway, it.dead) = (0, None);
            it.queue.clear();
        }
        self.logs.retain(|_, it| it.exists != Reach::Nowhere);
    }

    /// Recovers the logs of one shard: what it reports is durable from here on.
    pub(super) fn recover(&mut self, shard: ShardIndex, shards: u16) -> Vec<Input> {
        let durable = self.canary != Canary::RecoveredNotDurable;
        let owned = self.logs.iter_mut().filter(|(id, _)| id.owner(shards) == shard);
        let found = owned.map(|(id, it)| {
            assert!(it.queue.is_empty() && it.written == it.batches.len(), "{id} is recovered after a crash only");
            if durable {
                (it.exists, it.durable, it.ballot.1) = (Reach::Device, it.written, it.ballot.0);
            }
            let found = Found { state: it.folded(), ballot: it.ballot.0, torn_bytes: 0 };
            Input::Recovered { log: *id, name: it.name.clone(), found: Ok(Box::new(found)) }
        });
        found.collect()
    }

    /// Whole batches from the one that holds `from` to the last that ends below `upto`: at most `max_bytes`, but one at
    /// least. With the length of the first one.
    pub(super) fn read(&self, id: LogId, from: Offset, upto: Offset, max_bytes: u32) -> (Bytes, u32) {
        let mut all = BytesMut::new();
        let mut first = 0;
        for batch in self.batches(id, from, upto) {
            let size = batch.bytes.len();
            if !all.is_empty() && all.len() + size > max_bytes as usize {
                break;
            }
            if all.is_empty() {
                first = size as u32;
            }
            all.extend_from_slice(&batch.bytes);
        }
        (all.freeze(), first)
    }

    fn batches(&self, id: LogId, from: Offset, upto: Offset) -> impl Iterator<Item = &Stored> {
        let all = self.logs.get(&id).map_or(&[][..], |it| &it.batches);
        let start = all.partition_point(|b| b.header.next_offset() <= from);
        all[start..].iter().take_while(move |b| b.header.next_offset() <= upto)
    }

    /// Answers a look-up.
    pub(super) fn look_up(&self, id: LogId, query: &Query) -> Lookup {
        // The first record since a time, in the first batch that has any.
        let start = self.logs.get(&id).map_or(Offset(0), |it| it.start);
        let since = |at: Timestamp, upto: Offset| {
            self.batches(id, start, upto).find_map(|batch| {
                let mut records = record::records(&batch.bytes).map(|r| r.expect("as appended"));
                let found = records.find(|r| r.timestamp >= at && r.offset >= start)?;
                Some((found.offset, found.timestamp, batch.header.leader_epoch))
            })
        };
        match *query {
            Query::Batches { from, upto, max_bytes } => Lookup::Batches(self.read(id, from, upto, max_bytes).0),
            Query::Timestamp { at, upto } => Lookup::Record(since(at, upto)),
            Query::MaxTimestamp { upto } => {
                let readable = self.batches(id, start, upto).flat_map(|b| record::records(&b.bytes));
                let readable = readable.map(|r| r.expect("as appended")).filter(|r| r.offset >= start);
                let newest = readable.map(|r| r.timestamp).max();
                Lookup::Record(newest.and_then(|at| since(at, upto)))
            }
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

impl Log {
    fn new(name: String, named: u64) -> Log {
        Log {
            name,
            exists: Reach::Nowhere,
            batches: Vec::new(),
            written: 0,
            durable: 0,
            ballot: (None, None),
            start: Offset(0),
            begun: None,
            queue: VecDeque::new(),
            underway: 0,
            dead: None,
            named,
            operations: 0,
        }
    }

    fn key(&self) -> u64 {
        self.named ^ self.operations
    }

    fn group(&self) -> impl Iterator<Item = Change> {
        self.queue.iter().take(self.underway).map(|(_, change)| *change)
    }

    fn ballot_underway(&self) -> Option<Ballot> {
        self.group().find_map(|c| if let Change::Persist(ballot) = c { Some(ballot) } else { None })
    }

    fn trim_underway(&self) -> Option<Offset> {
        self.group().find_map(|c| if let Change::Trim(to) = c { Some(to) } else { None })
    }

    /// The offset after the first `n` batches.
    fn end(&self, n: usize) -> Offset {
        n.checked_sub(1).map_or(Offset(0), |last| self.batches[last].header.next_offset())
    }

    /// What was under way reaches the page cache, some of it where it failed, and the device where it was synced.
    fn land(&mut self, synced: bool, failed: bool, torn: u64) {
        let reach = if synced { Reach::Device } else { Reach::Cache };
        let half = failed && torn.is_multiple_of(2);
        let appends = self.group().filter(|c| matches!(c, Change::Append { .. })).count();
        let written = if half { torn as usize / 2 % (appends + 1) } else { appends };
        if self.group().any(|c| matches!(c, Change::Open)) && !half {
            self.exists = reach;
        }
        if let Some(ballot) = self.ballot_underway().filter(|_| !half) {
            self.ballot = (Some(ballot), if synced { Some(ballot) } else { self.ballot.1 });
        }
        if let Some(to) = self.trim_underway().filter(|_| !half) {
            self.trim(to);
        }
        self.written += written;
        if synced && (appends > 0 || self.group().any(|c| matches!(c, Change::Flush))) {
            self.durable = self.written;
        }
    }

    /// A log does not start after what a crash leaves of it.
    fn trim(&mut self, to: Offset) {
        self.start = self.start.max(to);
        let below = self.batches[..self.written].partition_point(|b| b.header.base_offset < self.start);
        self.durable = self.durable.max(below);
    }

    fn folded(&self) -> Checkpoint {
        let mut state = Checkpoint::empty();
        self.batches.iter().for_each(|b| state.fold(&b.header, b.opens));
        if self.begun == Some(state.at) && state.segments.last().is_some_and(|active| active.base < state.at) {
            state.segments.push(Segment::empty(state.at));
        }
        state.trim(self.start);
        state
    }
}
