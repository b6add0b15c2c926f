//! The newest batches of a log, kept as they came: what is not in its file yet, and as much more as the bounds allow.
//!
//! So a batch is readable the moment it is dispatched, and a consumer at the end of the log costs no read. A batch is let
//! go only once its bytes are in the file.
//!
//! Small ones are copied behind one another, as a rule so that they stand in memory as they will in the file's blocks: the
//! device can take them from there ([`super::past`]).

use crate::host::BLOCK;
use bytes::{Buf, Bytes, BytesMut};
use klamm_core::ids::{Offset, Seq};
use std::collections::{BTreeMap, VecDeque};

/// A batch of up to so many bytes is copied: it came in one buffer with many others, and would keep that.
const COPIED: usize = 4 << 10;
/// Room is made for so many bytes of such batches at most.
const ROOM: usize = 64 << 10;
/// Room for fewer bytes is made anywhere in memory, and may be as much as there is in the tail; larger one is a quarter.
const SMALL_ROOM: usize = 16 << 10;

/// Bytes of a batch that hold what the broker stamps: base offset, length, leader epoch.
pub(super) const PREFIX: usize = 16;

/// The bytes of a batch, stamped.
#[derive(Clone, Debug)]
pub(super) enum Stamped {
    /// All of them.
    Whole(Bytes),
    /// The first ones, and the others as they came.
    Apart([u8; PREFIX], Bytes),
}

impl Stamped {
    pub(super) fn size(&self) -> u64 {
        match self {
            Stamped::Whole(bytes) => bytes.len() as u64,
            Stamped::Apart(_, rest) => (PREFIX + rest.len()) as u64,
        }
    }

    pub(super) fn prefix(&self) -> &[u8] {
        match self {
            Stamped::Whole(bytes) => &bytes[..PREFIX],
            Stamped::Apart(prefix, _) => prefix,
        }
    }

    /// What comes after the prefix.
    pub(super) fn rest(&self) -> Bytes {
        match self {
            Stamped::Whole(bytes) => bytes.slice(PREFIX..),
            Stamped::Apart(_, rest) => rest.clone(),
        }
    }

    /// All of it, in as few pieces as there are.
    pub(super) fn pieces(&self, mut take: impl FnMut(Bytes)) {
        match self {
            Stamped::Whole(bytes) => take(bytes.clone()),
            Stamped::Apart(prefix, rest) => {
                take(Bytes::copy_from_slice(prefix));
                take(rest.clone());
            }
        }
    }
}

/// A batch, and where it stands in the log.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) seq: Seq,
    pub(super) base: Offset,
    pub(super) last: Offset,
    pub(super) batch: Stamped,
}

/// The newest batches of one log, without gaps up to its end.
#[derive(Debug, Default)]
pub(super) struct Tail {
    entries: VecDeque<Entry>,
    bytes: u64,
    /// Every change below this one is in the file.
    landed: Seq,
    /// Its place in the shard's [`Recent`].
    pub(super) used: u64,
    /// Where the next small batch is copied to, behind those before it. A log with little in its tail has none.
    room: Option<Box<BytesMut>>,
}

impl Tail {
    /// A batch's bytes as they are to be remembered. `written`: the bytes of the file that it goes to.
    pub(super) fn keep(&mut self, prefix: [u8; PREFIX], rest: Bytes, written: u64) -> Stamped {
        let size = PREFIX + rest.len();
        if size > COPIED {
            return Stamped::Apart(prefix, rest);
        }
        if self.room.as_ref().is_none_or(|room| room.capacity() < size) {
            self.room = None;
            // Who holds little, takes little.
            let held = usize::try_from(self.bytes).unwrap_or(usize::MAX);
            let room = held.min(SMALL_ROOM).max(held / 4).min(ROOM);
            if room <= size {
                return Stamped::Whole([&prefix[..], &rest].concat().into());
            }
            self.room = Some(Box::new(make_room(room, || written + self.ahead())));
        }
        let room = self.room.as_mut().expect("made above");
        room.extend_from_slice(&prefix);
        room.extend_from_slice(&rest);
        Stamped::Whole(room.split().freeze())
    }

    /// Bytes that are not in the file yet.
    fn ahead(&self) -> u64 {
        self.entries.iter().rev().take_while(|entry| entry.seq >= self.landed).map(|entry| entry.batch.size()).sum()
    }

    pub(super) fn push(&mut self, entry: Entry) {
        assert!(self.entries.back().is_none_or(|b| b.last.plus(1) == entry.base), "a gap before {}", entry.base);
        self.bytes += entry.batch.size();
        self.entries.push_back(entry);
    }

    /// Where it begins.
    pub(super) fn first(&self) -> Option<Offset> {
        self.entries.front().map(|e| e.base)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The batches from the one that holds `from` on; `None` when that one is not here.
    pub(super) fn from(&self, from: Offset) -> Option<impl Iterator<Item = &Entry>> {
        if self.first()? > from {
            return None;
        }
        Some(self.entries.range(self.entries.partition_point(|e| e.last < from)..))
    }

    /// Drops the batches at and above an offset.
    pub(super) fn truncate(&mut self, to: Offset) {
        while let Some(entry) = self.entries.pop_back_if(|e| e.base >= to) {
            self.bytes -= entry.batch.size();
        }
        self.give_back();
    }

    /// Everything up to a change is in the file now.
    pub(super) fn landed(&mut self, seq: Seq) {
        self.landed = Seq(seq.0 + 1);
    }

    /// Lets go of the oldest batches that are in the file, down to a bound.
    pub(super) fn evict(&mut self, bound: u64) {
        while self.bytes > bound
            && let Some(entry) = self.entries.pop_front_if(|e| e.seq < self.landed)
        {
            self.bytes -= entry.batch.size();
        }
        self.give_back();
    }

    /// Has no more room than batches.
    fn give_back(&mut self) {
        self.room.take_if(|room| room.capacity() as u64 > self.bytes);
    }
}

/// Room for at most so many bytes, which are to stand at `at` of a file.
fn make_room(bytes: usize, at: impl FnOnce() -> u64) -> BytesMut {
    let mut room = BytesMut::with_capacity(bytes);
    if bytes >= SMALL_ROOM {
        let before = at().wrapping_sub(room.as_ptr().addr() as u64) % BLOCK;
        room.resize(before as usize, 0);
        room.advance(before as usize);
    }
    room
}

/// Keys in the order of their last use.
#[derive(Debug)]
pub(super) struct Recent<K> {
    last: u64,
    by_use: BTreeMap<u64, K>,
}

impl<K> Recent<K> {
    pub(super) fn new() -> Recent<K> {
        Recent { last: 0, by_use: BTreeMap::new() }
    }

    /// Used now; `used` is the key's own place, 0 when it has none.
    pub(super) fn touch(&mut self, used: &mut u64, key: K) {
        if *used != 0 && *used == self.last {
            return;
        }
        self.forget(used);
        self.last += 1;
        *used = self.last;
        self.by_use.insert(self.last, key);
    }

    /// Gives up its place.
    pub(super) fn forget(&mut self, used: &mut u64) {
        self.by_use.remove(used);
        *used = 0;
    }

    /// Takes out the one whose last use is the longest ago.
    pub(super) fn oldest(&mut self) -> Option<K> {
        self.by_use.pop_first().map(|(_, key)| key)
    }

    pub(super) fn len(&self) -> usize {
        self.by_use.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the file before the first batch that is kept.
    const WRITTEN: u64 = 12_345;

    /// Batches of a log, as it keeps them.
    fn kept(tail: &mut Tail, sizes: &[usize]) -> Vec<(Bytes, Stamped)> {
        let mut all = Vec::new();
        for (at, size) in (0..).zip(sizes) {
            let bytes = Bytes::from(vec![at as u8; *size - PREFIX]);
            let batch = tail.keep([at as u8; PREFIX], bytes.clone(), WRITTEN);
            let base = Offset(at);
            tail.push(Entry { seq: Seq(at as u64), base, last: base, batch: batch.clone() });
            all.push((bytes, batch));
        }
        all
    }

    #[test]
    fn small_batches_are_copied_behind_one_another() {
        let mut tail = Tail::default();
        let all = kept(&mut tail, &[100; 300]);
        assert!(all.iter().all(|(bytes, batch)| *bytes == batch.rest() && batch.prefix() == [bytes[0]; PREFIX]));
        assert!(all.iter().all(|(bytes, batch)| bytes.as_ptr() != batch.rest().as_ptr()), "copies");
        let place = |batch: &Stamped| batch.prefix().as_ptr().addr();
        let joined = all.windows(2).filter(|w| place(&w[0].1) + 100 == place(&w[1].1)).count();
        assert!(joined > 280, "{joined} of 300");
    }

    #[test]
    fn they_stand_in_memory_as_in_the_blocks_of_the_file() {
        let mut tail = Tail::default();
        let all = kept(&mut tail, &[1000; 300]);
        let block = BLOCK as usize;
        let at = |i: usize| WRITTEN as usize + 1000 * i;
        let fits = |(i, (_, batch)): &(usize, (Bytes, Stamped))| (batch.prefix().as_ptr().addr() ^ at(*i)) % block == 0;
        let fitting = all.into_iter().enumerate().filter(fits).count();
        assert!(fitting >= 250, "{fitting} of 300");
    }

    #[test]
    fn a_log_makes_room_for_no_more_than_it_has() {
        let mut tail = Tail::default();
        let all = kept(&mut tail, &[1000, 1000, COPIED, COPIED + 1]);
        assert_eq!(all[3].0.as_ptr(), all[3].1.rest().as_ptr(), "a large one is not copied");
        let room = |tail: &Tail| tail.room.as_ref().map_or(0, |room| room.capacity());
        for more in [20, 1000, 20_000, 200_000] {
            let mut tail = Tail { bytes: more, ..Tail::default() };
            drop(tail.keep([0; PREFIX], Bytes::from_static(b"abc"), 0));
            assert!(room(&tail) as u64 <= more.min(ROOM as u64), "{} for {more}", room(&tail));
        }
    }

    #[test]
    fn a_log_without_a_tail_has_no_room() {
        let mut tail = Tail::default();
        kept(&mut tail, &[100; 10]);
        assert!(tail.room.is_some());
        tail.landed(Seq(9));
        tail.evict(0);
        assert!(tail.room.is_none() && tail.bytes() == 0);
    }
}
