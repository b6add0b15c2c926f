//! A log as a plain list of batches, remembered as it was after every change: what the store may show is one of these.

use bytes::Bytes;
use klamm_core::effect::Effect;
use klamm_core::ids::{LeaderEpoch, LogId, Offset, ProducerEpoch, ProducerId, Seq, Sequence, Timestamp};
use klamm_core::log::{Ballot, Checkpoint, Found};
use klamm_core::record::{Batch, Builder, Header};
use std::collections::BTreeSet;

pub(crate) fn crc(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// A log after some changes.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) exists: bool,
    pub(crate) start: Offset,
    /// Every batch, stamped, from offset 0 on: also those that were trimmed.
    pub(crate) batches: Vec<Bytes>,
    /// Base offsets of segments.
    pub(crate) bases: BTreeSet<Offset>,
    /// The first one that is still there: it goes with a trim or a recovery, not with the roll that makes it needless.
    pub(crate) first: Offset,
    pub(crate) ballot: Option<Ballot>,
}

impl State {
    fn nothing() -> State {
        let bases = BTreeSet::from([Offset(0)]);
        State { exists: false, start: Offset(0), first: Offset(0), batches: Vec::new(), bases, ballot: None }
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = Header> {
        self.batches.iter().map(|b| Header::parse(b).unwrap())
    }

    pub(crate) fn end(&self) -> Offset {
        self.batches.last().map_or(Offset(0), |b| Header::parse(b).unwrap().next_offset())
    }

    /// Every offset at which a batch begins, and the end.
    pub(crate) fn boundaries(&self) -> Vec<Offset> {
        self.headers().map(|h| h.base_offset).chain([self.end()]).collect()
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        let mut state = Checkpoint::empty();
        for header in self.headers() {
            let opens = header.base_offset != Offset(0) && self.bases.contains(&header.base_offset);
            state.fold(&header, opens);
        }
        let kept = state.segments.windows(2).take_while(|w| w[1].base <= self.start).count();
        state.segments.drain(..kept);
        state.log_start_offset = self.start;
        state
    }

    /// The batches from the one that holds `from` on that end below `upto`; at most so many bytes, but the first.
    pub(crate) fn read(&self, from: Offset, upto: Offset, max_bytes: u32) -> (Bytes, u32) {
        let (mut all, mut first) = (Vec::new(), 0);
        for (header, bytes) in self.headers().zip(&self.batches) {
            if header.last_offset() < from {
                continue;
            }
            let fits = all.is_empty() || all.len() + bytes.len() <= max_bytes as usize;
            if header.last_offset() >= upto || !fits {
                break;
            }
            if all.is_empty() {
                first = bytes.len() as u32;
            }
            all.extend_from_slice(bytes);
        }
        (all.into(), first)
    }

    /// Whether recovery may report this log so. A segment that was begun without a batch counts for nothing, nor does one
    /// below the log's start that is still there.
    pub(crate) fn is(&self, found: &Found, content: &Bytes) -> bool {
        let mut state = found.state.clone();
        if state.segments.len() > 1 && state.segments.last().unwrap().bytes == 0 {
            state.segments.pop();
        }
        let needless = state.segments.windows(2).take_while(|w| w[1].base <= self.start).count();
        state.segments.drain(..needless);
        let mut ours = self.checkpoint();
        if self.start >= self.end() {
            // Nothing is in any of them.
            ours.segments.clone_from(&state.segments);
        }
        self.exists
            && ours == state
            && self.ballot == found.ballot
            && self.read(self.start, self.end(), u32::MAX).0 == content
    }
}

/// A log, the changes that were asked for, and which of them ended.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) log: LogId,
    pub(crate) name: String,
    /// `history[n]`: after the first `n` changes.
    pub(crate) history: Vec<State>,
    /// Whether change `n`, and all batches before it, outlive a power loss once it is done.
    pub(crate) durable: Vec<bool>,
    /// Changes asked for before this life.
    pub(crate) before: usize,
    /// Changes that ended.
    pub(crate) done: usize,
    pub(crate) epoch: LeaderEpoch,
}

impl Model {
    pub(crate) fn new(log: LogId, name: &str) -> Model {
        Model {
            log,
            name: name.to_owned(),
            history: vec![State::nothing()],
            durable: Vec::new(),
            before: 0,
            done: 0,
            epoch: LeaderEpoch(0),
        }
    }

    pub(crate) fn now(&self) -> &State {
        self.history.last().unwrap()
    }

    fn next(&mut self, durable: bool, change: impl FnOnce(&mut State)) -> Seq {
        let mut state = self.now().clone();
        change(&mut state);
        self.history.push(state);
        self.durable.push(durable);
        Seq((self.durable.len() - 1 - self.before) as u64)
    }

    pub(crate) fn open(&mut self) -> Effect {
        let seq = self.next(true, |s| s.exists = true);
        Effect::Open { log: self.log, seq, name: self.name.clone() }
    }

    /// A batch of some records and bytes; a new segment for it when the active one has `segment_bytes`.
    pub(crate) fn append(&mut self, records: usize, bytes: usize, sync: bool, segment_bytes: u64) -> Effect {
        let (offset, leader_epoch) = (self.now().end(), self.epoch);
        let batch = batch(offset, records, bytes);
        let before = self.now().checkpoint();
        let active = before.segments.last().unwrap().bytes;
        let roll = (active > 0 && active + batch.header.size() as u64 > segment_bytes).then(|| Box::new(before));
        let (prefix, rest) = batch.stamp(offset, leader_epoch);
        let stamped = Bytes::from([&prefix[..], &rest[..]].concat());
        let rolls = roll.is_some();
        let seq = self.next(sync, |s| {
            if rolls {
                s.bases.insert(offset);
            }
            s.batches.push(stamped);
        });
        Effect::Append { log: self.log, seq, offset, leader_epoch, batch, sync, roll }
    }

    pub(crate) fn truncate(&mut self, to: Offset) -> Effect {
        let seq = self.next(true, |s| {
            let keep = s.headers().take_while(|h| h.base_offset < to).count();
            s.batches.truncate(keep);
            let first = s.first;
            s.bases.retain(|b| *b < to || *b == first);
        });
        Effect::Truncate { log: self.log, seq, to }
    }

    pub(crate) fn trim(&mut self, to: Offset) -> Effect {
        // As the core does: with nothing left in it, the active segment goes, too.
        let before = self.now().checkpoint();
        let emptied = to == before.at && to > before.log_start_offset && before.segments.last().unwrap().base < to;
        let roll = emptied.then(|| Box::new(before));
        let seq = self.next(false, |s| {
            s.start = s.start.max(to);
            // An emptied segment without a batch yet is in no checkpoint here.
            s.first = s.first.max(s.checkpoint().segments[0].base);
            if emptied {
                s.bases.insert(to);
                s.first = to;
            }
        });
        Effect::Trim { log: self.log, seq, to, roll }
    }

    pub(crate) fn flush(&mut self) -> Effect {
        let seq = self.next(true, |_| {});
        Effect::Flush { log: self.log, seq }
    }

    pub(crate) fn persist(&mut self, ballot: Ballot) -> Effect {
        let seq = self.next(true, |s| s.ballot = Some(ballot));
        Effect::Persist { log: self.log, seq, ballot }
    }

    pub(crate) fn remove(&mut self) -> Effect {
        let seq = self.next(true, |s| s.exists = false);
        Effect::Remove { log: self.log, seq }
    }

    /// Goes on from what a new life found, after so many changes.
    pub(crate) fn recovered(&mut self, changes: usize, found: Option<&(Found, Bytes)>) {
        self.history.truncate(changes + 1);
        self.durable.truncate(changes);
        self.durable.fill(true);
        (self.before, self.done) = (changes, changes);
        if let Some((found, _)) = found {
            // A segment may have been begun without a batch: the next one goes there.
            let last = found.state.segments.last().unwrap().base;
            let state = self.history.last_mut().unwrap();
            state.bases.insert(last);
            // Or a trim had not begun its segment yet.
            state.bases.retain(|base| *base <= last);
            state.start = found.state.log_start_offset;
            state.first = found.state.segments[0].base;
        }
    }

    /// After how many changes the log was what was found, when `done` had ended and `most` been asked for. A power loss
    /// takes back unsynced batches, but nothing else.
    ///
    /// # Panics
    /// When it never was.
    pub(crate) fn find(&self, found: Option<&(Found, Bytes)>, done: usize, most: usize, end: End, when: &str) -> usize {
        let least = match end {
            End::PowerLoss => self.durable[..done].iter().rposition(|d| *d).map_or(0, |i| i + 1),
            End::Close | End::Kill => done,
        };
        let starts: BTreeSet<_> = self.history[done..=most].iter().map(|s| s.start).collect();
        let is = |n: &usize| match found {
            Some((found, content)) => {
                let start = found.state.log_start_offset;
                assert!(start <= found.state.at, "{when}: {} starts after its end: {found:?}", self.name);
                starts.contains(&start) && State { start, ..self.history[*n].clone() }.is(found, content)
            }
            None => !self.history[*n].exists,
        };
        (least..=most).rev().find(is).unwrap_or_else(|| {
            let expected: Vec<_> =
                self.history[least..=most].iter().map(|s| (s.exists, s.checkpoint(), s.ballot)).collect();
            let found = found.map(|(found, content)| (found, content.len()));
            panic!(
                "{when}: {} is {found:#?}, which it was not after {least} to {most} changes: {expected:#?}",
                self.name
            )
        })
    }
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Close,
    Kill,
    PowerLoss,
}

/// An idempotent batch whose bytes tell its offset; timestamps go up and down.
fn batch(offset: Offset, records: usize, bytes: usize) -> Batch {
    let producer = ProducerId(offset.0 % 3);
    let mut builder = Builder::new().producer(producer, ProducerEpoch(0), Sequence(offset.0 as i32));
    for i in 0..records {
        let at = offset.0 + i as i64;
        let timestamp = Timestamp(1000 + at * 7 % 101 + at);
        let mut value = vec![at as u8; bytes / records + 1];
        value[0] = 0;
        builder.push(timestamp, Some(&at.to_be_bytes()), Some(&value));
    }
    Batch::stored(builder.build(crc), crc).unwrap()
}
