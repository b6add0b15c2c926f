//! The newest batches of a log, kept as they came: what is not in its file yet, and as much more as the bounds allow.
//!
//! So a batch is readable the moment it is dispatched, and a consumer at the end of the log costs no read. A batch is let
//! go only once its bytes are in the file.

use bytes::Bytes;
use klamm_core::ids::{Offset, Seq};
use std::collections::{BTreeMap, VecDeque};

/// Bytes of a batch that hold what the broker stamps: base offset, length, leader epoch.
pub(super) const PREFIX: usize = 16;

/// A batch, stamped.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) seq: Seq,
    pub(super) base: Offset,
    pub(super) last: Offset,
    /// Its first bytes.
    pub(super) prefix: [u8; PREFIX],
    /// The others.
    pub(super) rest: Bytes,
}

impl Entry {
    pub(super) fn size(&self) -> u64 {
        (PREFIX + self.rest.len()) as u64
    }
}

/// The newest batches of one log, without gaps up to its end.
#[derive(Debug, Default)]
pub(super) struct Tail {
    entries: VecDeque<Entry>,
    bytes: u64,
    /// Everything up to this change is in the file.
    landed: Option<Seq>,
    /// Its place in the shard's [`Recent`].
    pub(super) used: u64,
}

impl Tail {
    pub(super) fn push(&mut self, entry: Entry) {
        assert!(self.entries.back().is_none_or(|b| b.last.plus(1) == entry.base), "a gap before {}", entry.base);
        self.bytes += entry.size();
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
            self.bytes -= entry.size();
        }
    }

    /// Everything up to a change is in the file now.
    pub(super) fn landed(&mut self, seq: Seq) {
        self.landed = Some(seq);
    }

    /// Lets go of the oldest batches that are in the file, down to a bound.
    pub(super) fn evict(&mut self, bound: u64) {
        while self.bytes > bound {
            let landed = self.landed;
            let Some(entry) = self.entries.pop_front_if(|e| Some(e.seq) <= landed) else { return };
            self.bytes -= entry.size();
        }
    }
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
