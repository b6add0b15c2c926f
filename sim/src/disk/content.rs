//! The bytes of one simulated file, twice: as the page cache holds them, which is what reads see, and as the device
//! does, which is what a power loss leaves.
//!
//! A sector whose sync failed, or whose write was lost or went elsewhere, is held for clean: the page cache has what was
//! written and the device never will. Pages that are clean may leave the cache at any time, and are then read as the
//! device has them. Rot is on the device, and so in whatever was not written since.
//!
//! Kept is the page cache whole, and of the device only where it may differ: for each unsynced sector (and for the
//! length) what the device holds instead. A sync drops these, and so costs only what it writes. While a sync is in
//! flight, a sector that changes again also keeps what that sync will put on the device.

use bytes::Bytes;
use rustix::io::Errno;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Something that the device may hold otherwise than the page cache.
#[derive(Clone, Debug)]
struct Unsynced<T> {
    /// What the device holds for certain.
    device: T,
    /// What it was after earlier changes, oldest first, as far as a sync in flight may put that on the device.
    between: Vec<(u64, T)>,
    /// The number of the last change, which only the page cache has.
    changed: u64,
    /// A sync failed: the kernel holds it for clean, and no later sync writes it.
    abandoned: bool,
}

impl<T> Unsynced<T> {
    fn new(device: T, changed: u64) -> Unsynced<T> {
        Unsynced { device, between: Vec::new(), changed, abandoned: false }
    }

    fn change(&mut self, number: u64, syncs: &BTreeMap<u64, u64>, before: impl FnOnce() -> T) {
        if !self.abandoned && syncs.values().any(|covered| *covered >= self.changed) {
            self.between.push((self.changed, before()));
        }
        self.changed = number;
        self.abandoned = false;
    }

    /// Every change up to a number is taken for written, and is not.
    fn lost(&mut self, covered: u64) {
        if self.is_covered(covered) {
            self.between.clear();
            self.abandoned = true;
        }
    }

    fn is_covered(&self, by: u64) -> bool {
        self.changed <= by && !self.abandoned
    }

    /// Every change up to a number is on the device; tells whether the page cache still differs.
    fn synced(&mut self, covered: u64) -> bool {
        if let Some(newest) = self.between.iter().rposition(|(number, _)| *number <= covered) {
            self.device = self.between.drain(..=newest).next_back().expect("one was found").1;
        }
        !self.is_covered(covered)
    }

    /// A sync of every change up to a number failed: either the device has it all the same or it never will.
    fn failed(&mut self, covered: u64, reached: bool) -> bool {
        if self.is_covered(covered) {
            self.between.clear();
            self.abandoned = true;
            return !reached;
        }
        true
    }

    /// What the device holds after a power loss, `drawn` among what it may; `None` for what the page cache held.
    fn survivor(self, drawn: u64) -> Option<T> {
        let older = if self.abandoned { 0 } else { self.between.len() };
        match usize::try_from(drawn % (older as u64 + 2)).expect("a small number") {
            _ if self.abandoned => Some(self.device),
            0 => Some(self.device),
            n if n <= older => self.between.into_iter().nth(n - 1).map(|(_, version)| version),
            _ => None,
        }
    }
}

/// A file's content. Changes are numbered; a sync covers those up to the number at which it was submitted.
#[derive(Clone, Debug)]
pub(super) struct Content {
    sector: usize,
    cached: Vec<u8>,
    /// The number of the last change.
    changes: u64,
    sectors: BTreeMap<usize, Unsynced<Box<[u8]>>>,
    length: Option<Unsynced<usize>>,
    /// By its operation's number, the last change that each sync in flight covers.
    syncs: BTreeMap<u64, u64>,
    /// Sectors that the device cannot read.
    bad: BTreeSet<usize>,
    /// What becomes of the sectors that the next sync is to write.
    astray: Option<Astray>,
}

/// A write that the device takes, and does not carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Astray {
    /// It goes nowhere.
    Lost,
    /// It goes to the sector that holds this position, and to those that follow.
    To(usize),
}

impl Content {
    pub(super) fn new(sector: usize) -> Content {
        Content {
            sector,
            cached: Vec::new(),
            changes: 0,
            sectors: BTreeMap::new(),
            length: None,
            syncs: BTreeMap::new(),
            bad: BTreeSet::new(),
            astray: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.cached.len()
    }

    /// What a read gives.
    pub(super) fn read(&self, at: u64, len: usize) -> Result<&[u8], Errno> {
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(self.cached.len());
        let range = at..at.saturating_add(len).min(self.cached.len());
        if !self.bad.is_empty() && !range.is_empty() && self.bad.range(self.sectors_of(&range)).next().is_some() {
            return Err(Errno::IO);
        }
        Ok(&self.cached[range])
    }

    /// Of the bytes from one position to another, those that a sector has which cannot be read, and is not about to be
    /// written whole: a write must read the rest of it first.
    pub(super) fn is_in_the_way(&self, range: &Range<usize>) -> bool {
        let whole = |sector: &usize| {
            let start = sector * self.sector;
            range.start <= start && range.end >= (start + self.sector).min(self.cached.len())
        };
        !range.is_empty() && self.bad.range(self.sectors_of(range)).any(|sector| !whole(sector))
    }

    /// The sectors that the device may hold otherwise; the length counts for one.
    pub(super) fn unsynced(&self) -> u64 {
        self.sectors.len() as u64 + u64::from(self.length.is_some())
    }

    /// Writes the first `upto` bytes of `data`, back to back.
    pub(super) fn write(&mut self, at: usize, data: &[Bytes], upto: usize) {
        if upto == 0 {
            return;
        }
        let range = at..at + upto;
        self.change(range.clone());
        self.resize(self.cached.len().max(range.end));
        let mut rest = &mut self.cached[range];
        for piece in data {
            let (here, after) = rest.split_at_mut(piece.len().min(rest.len()));
            here.copy_from_slice(&piece[..here.len()]);
            rest = after;
        }
    }

    pub(super) fn set_len(&mut self, len: usize) {
        // An extension adds zeros, which is also what the device holds where it holds nothing: no sector changes.
        self.change(len.min(self.cached.len())..self.cached.len());
        self.resize(len);
    }

    /// Numbers a change, and remembers what the sectors in its way hold now.
    fn change(&mut self, range: Range<usize>) {
        self.changes += 1;
        if range.is_empty() {
            return;
        }
        for sector in self.sectors_of(&range) {
            self.bad.remove(&sector);
            let start = (sector * self.sector).min(self.cached.len());
            let before = || self.cached[start..self.cached.len().min(start + self.sector)].into();
            match self.sectors.entry(sector) {
                Entry::Vacant(entry) => drop(entry.insert(Unsynced::new(before(), self.changes))),
                Entry::Occupied(entry) => entry.into_mut().change(self.changes, &self.syncs, before),
            }
        }
    }

    fn resize(&mut self, len: usize) {
        let before = self.cached.len();
        if len != before {
            match &mut self.length {
                None => self.length = Some(Unsynced::new(before, self.changes)),
                Some(length) => length.change(self.changes, &self.syncs, || before),
            }
            self.cached.resize(len, 0);
            self.bad.split_off(&len.div_ceil(self.sector));
        }
    }

    fn sectors_of(&self, range: &Range<usize>) -> Range<usize> {
        range.start / self.sector..range.end.div_ceil(self.sector)
    }

    /// A sync starts: it covers what has changed by now, or what its own operation writes alone.
    pub(super) fn begin_sync(&mut self, operation: u64, alone: bool) {
        self.syncs.insert(operation, if alone { 0 } else { self.changes });
    }

    /// It ends well: what it covers is on the device, and what its own operation wrote last. Gives what is not, against
    /// the device's word.
    pub(super) fn end_sync(&mut self, operation: u64, own: &Range<usize>) -> Vec<Range<usize>> {
        let (covered, own_sectors) = self.coverage(operation, own);
        let upto = |sector: &usize| if own_sectors.contains(sector) { u64::MAX } else { covered };
        let strays: Vec<usize> = match self.astray.take() {
            None => Vec::new(),
            Some(astray) => {
                let hit = self.sectors.iter_mut().filter(|(sector, unsynced)| unsynced.is_covered(upto(sector)));
                let hit = hit.map(|(sector, unsynced)| (unsynced.lost(u64::MAX), *sector).1).collect();
                self.lead_astray(astray, hit)
            }
        };
        self.sectors.retain(|sector, unsynced| unsynced.synced(upto(sector)));
        let covered = if own.is_empty() { covered } else { u64::MAX };
        self.length.take_if(|length| !length.synced(covered));
        strays.into_iter().map(|sector| sector * self.sector..(sector + 1) * self.sector).collect()
    }

    /// Some sectors were not written where they should have been; gives those that now differ from the page cache.
    fn lead_astray(&mut self, astray: Astray, mut hit: Vec<usize>) -> Vec<usize> {
        let (Astray::To(at), Some(first)) = (astray, hit.first().copied()) else { return hit };
        let sectors = self.cached.len().div_ceil(self.sector);
        let intended = hit.clone();
        for sector in intended {
            let victim = at / self.sector + sector - first;
            if victim == sector || victim >= sectors {
                continue;
            }
            let of = |sector: usize| (sector * self.sector).min(self.cached.len());
            let stray: Box<[u8]> = self.cached[of(sector)..of(sector + 1)].into();
            self.bad.remove(&victim);
            match self.sectors.entry(victim) {
                Entry::Vacant(entry) => {
                    let unsynced = entry.insert(Unsynced::new(stray, self.changes));
                    unsynced.abandoned = true;
                }
                Entry::Occupied(entry) => entry.into_mut().device = stray,
            }
            hit.push(victim);
        }
        hit
    }

    /// The write that the next sync waits for goes astray; tells whether none was about to already.
    pub(super) fn arm(&mut self, astray: Astray) -> bool {
        self.astray.replace(astray).is_none()
    }

    /// What reads see, readable or not.
    pub(super) fn seen(&self) -> &[u8] {
        &self.cached
    }

    /// Bits of the byte at a position flip on the device; tells whether it holds one.
    pub(super) fn rot(&mut self, at: usize, bits: u8) -> bool {
        let sector = at / self.sector;
        match self.sectors.get_mut(&sector) {
            Some(unsynced) => match unsynced.device.get_mut(at % self.sector) {
                Some(byte) => *byte ^= bits,
                None => return false,
            },
            None => match self.cached.get_mut(at) {
                Some(byte) => *byte ^= bits,
                None => return false,
            },
        }
        bits != 0
    }

    /// The sector at a position cannot be read any more; tells whether the page cache has not got it anyway.
    pub(super) fn fail_reads(&mut self, at: usize) -> bool {
        let sector = at / self.sector;
        at < self.cached.len() && !self.sectors.contains_key(&sector) && self.bad.insert(sector)
    }

    /// Clean pages leave the cache, as drawn by sector: what the device never got is gone. Gives how many differed.
    pub(super) fn evict(&mut self, draw: &dyn Fn(u64) -> u64) -> u64 {
        let leaves = |sector: &usize, unsynced: &mut Unsynced<Box<[u8]>>| {
            unsynced.abandoned && draw(*sector as u64).is_multiple_of(2)
        };
        let mut evicted = 0;
        for (sector, unsynced) in self.sectors.extract_if(.., leaves) {
            let start = (sector * self.sector).min(self.cached.len());
            let end = (start + self.sector).min(self.cached.len());
            for at in start..end {
                self.cached[at] = unsynced.device.get(at - start).copied().unwrap_or(0);
            }
            evicted += 1;
        }
        evicted
    }

    /// It fails: of what it covers some, as drawn by sector, is on the device, and the rest never comes there unless it
    /// changes again. Tells how many were abandoned.
    pub(super) fn fail_sync(&mut self, operation: u64, own: &Range<usize>, draw: &dyn Fn(u64) -> u64) -> u64 {
        let before = self.abandoned();
        let (covered, own_sectors) = self.coverage(operation, own);
        let reached = |n: u64| draw(n).is_multiple_of(4);
        self.sectors.retain(|sector, unsynced| {
            unsynced.failed(if own_sectors.contains(sector) { u64::MAX } else { covered }, reached(*sector as u64))
        });
        let covered = if own.is_empty() { covered } else { u64::MAX };
        self.length.take_if(|length| !length.failed(covered, reached(u64::MAX)));
        self.abandoned() - before
    }

    fn abandoned(&self) -> u64 {
        let sectors = self.sectors.values().filter(|unsynced| unsynced.abandoned).count() as u64;
        sectors + u64::from(self.length.as_ref().is_some_and(|length| length.abandoned))
    }

    fn coverage(&mut self, operation: u64, own: &Range<usize>) -> (u64, Range<usize>) {
        let covered = self.syncs.remove(&operation).expect("a sync ends once");
        (covered, if own.is_empty() { 0..0 } else { self.sectors_of(own) })
    }

    /// It does not come to that.
    pub(super) fn forget_sync(&mut self, operation: u64) {
        self.syncs.remove(&operation);
    }

    /// The process is gone, and its syncs with it.
    pub(super) fn forget_syncs(&mut self) {
        self.syncs.clear();
    }

    /// The page cache is gone. `draw` answers a question about a sector. Tells how many sectors fell back.
    pub(super) fn lose_power(&mut self, draw: &dyn Fn(&str, u64) -> u64) -> u64 {
        self.syncs.clear();
        self.astray = None;
        let cached = self.cached.len();
        if let Some(length) = self.length.take() {
            let certain = length.device;
            let drawn = length.survivor(draw("length", 0)).unwrap_or(cached);
            // Writes that extend may be carried out in part, and leave any length between.
            let part = draw("part", 0) % (2 * (drawn.saturating_sub(certain) as u64) + 1);
            let part = usize::try_from(part).expect("less than twice a length");
            self.cached.resize(if drawn > certain { drawn.min(certain + part) } else { drawn }, 0);
        }
        // All fell back, all survived, or each on its own.
        let mood = draw("mood", 0) % 4;
        let mut lost = 0;
        for (sector, unsynced) in std::mem::take(&mut self.sectors) {
            let start = sector * self.sector;
            let drawn = match mood {
                0 => 0,
                1 => unsynced.between.len() as u64 + 1,
                _ => draw("sector", sector as u64),
            };
            // A sector that was cut off did not survive: if the length fell back, then so did it.
            let old = if start >= cached { Some(unsynced.device) } else { unsynced.survivor(drawn) };
            let Some(old) = old else { continue };
            lost += 1;
            let end = (start + self.sector).min(self.cached.len());
            for (at, byte) in (start..end).enumerate().map(|(i, at)| (at, old.get(i).copied().unwrap_or(0))) {
                self.cached[at] = byte;
            }
        }
        self.bad.split_off(&self.cached.len().div_ceil(self.sector));
        lost
    }
}
