//! Harm that a disk comes to, from outside of what is asked of it: rot, sectors that cannot be read, writes that are lost
//! or go elsewhere, pages that leave the cache, and what operators do to data directories that nobody uses.
//!
//! Knows neither logs nor offsets: whoever orders it says which file and which byte, and asks its atlas first what may be
//! lost by that.

use super::content::Astray;
use super::recording::Call;
use super::tree::{Entry, Inode, Tree};
use super::{Crash, File, MILLION, SimDisk};
use klamm_core::rng;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// What a disk comes to.
#[derive(Clone, Debug)]
pub enum Harm {
    /// Bits of one byte flip on the device, for good, until it is written again.
    Rot {
        /// The file.
        path: String,
        /// Byte position.
        at: u64,
        /// Which ones.
        bits: u8,
    },
    /// The sector of a byte cannot be read (`EIO`), until it is written again. Nothing happens where the page cache holds
    /// what the device does not.
    Unreadable {
        /// The file.
        path: String,
        /// Byte position.
        at: u64,
    },
    /// What the file's next sync is to write does not come to the device, and the sync says that it did.
    LoseWrite {
        /// The file.
        path: String,
    },
    /// It goes to other sectors of the file instead; those meant stay as they were.
    Misdirect {
        /// The file.
        path: String,
        /// A byte of the first sector that it goes to.
        to: u64,
    },
    /// Clean pages leave the cache, about every other one: what a failed sync left there, for one.
    Evict {
        /// Draws which.
        seed: u64,
    },
    /// A folder is removed with all that is in it. Only between two lives.
    RemoveTree {
        /// The folder.
        path: String,
    },
    /// Everything is gone. Only between two lives.
    Wipe,
    /// The files of an earlier moment come back in place of all that there are. Only between two lives.
    Restore(Box<Image>),
}

/// A write that went astray: the device does not hold what the page cache does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub(super) inode: Inode,
    /// The bytes of the file, in whole sectors.
    pub bytes: Range<usize>,
}

/// A copy of everything on a device.
#[derive(Clone, Debug)]
pub struct Image {
    tree: Tree,
    files: BTreeMap<Inode, File>,
}

impl SimDisk {
    /// A copy of what the device holds, as a power loss now would leave it; `seed` draws what of the rest is in it.
    #[must_use]
    pub fn image(&self, seed: u64) -> Image {
        let mut copy = SimDisk { recording: None, ..self.clone() };
        copy.crash(Crash::PowerLoss, seed);
        Image { tree: copy.tree, files: copy.files }
    }

    /// Does harm; tells whether there was anything to harm.
    ///
    /// # Panics
    /// When files are taken from a life that has operations in flight.
    pub fn harm(&mut self, harm: Harm) -> bool {
        self.record(|| Call::Harm(harm.clone()));
        match harm {
            Harm::Rot { path, at, bits } => self.at_file(&path, |file| file.content.rot(at as usize, bits)),
            Harm::Unreadable { path, at } => self.at_file(&path, |file| file.content.fail_reads(at as usize)),
            Harm::LoseWrite { path } => self.at_file(&path, |file| file.content.arm(Astray::Lost)),
            Harm::Misdirect { path, to } => self.at_file(&path, |file| file.content.arm(Astray::To(to as usize))),
            Harm::Evict { seed } => self.evict(seed) > 0,
            Harm::RemoveTree { path } => self.replace(|disk| disk.tree.uproot(&path)),
            Harm::Wipe => self.replace(|disk| {
                let held = !disk.files.is_empty();
                (disk.tree, disk.files) = (Tree::new(), BTreeMap::new());
                held
            }),
            Harm::Restore(image) => self.replace(|disk| {
                (disk.tree, disk.files) = (image.tree, image.files);
                disk.files.values_mut().for_each(|file| file.open = Arc::new(()));
                true
            }),
        }
    }

    /// Writes that went astray since this was last asked, with the names of their files.
    pub fn take_hits(&mut self) -> Vec<(String, Hit)> {
        if self.hits.is_empty() {
            return Vec::new();
        }
        let names: BTreeMap<Inode, String> = self.paths().into_iter().map(|(path, inode, _)| (inode, path)).collect();
        let hits = std::mem::take(&mut self.hits).into_iter();
        hits.filter_map(|hit| Some((names.get(&hit.inode)?.clone(), hit))).collect()
    }

    /// All files that have a name, with their lengths, in order.
    #[must_use]
    pub fn list_all(&self) -> Vec<(String, u64)> {
        self.paths().into_iter().map(|(path, _, len)| (path, len)).collect()
    }

    /// What reads of a file see, whether or not the device can read it; for who looks on.
    #[must_use]
    pub fn peek(&self, path: &str) -> Option<&[u8]> {
        match self.tree.find(path) {
            Ok(Entry::File(inode)) => Some(self.files.get(&inode)?.content.seen()),
            Ok(Entry::Dir(_)) | Err(_) => None,
        }
    }

    fn paths(&self) -> Vec<(String, Inode, u64)> {
        let mut all = Vec::new();
        let mut ahead = vec![String::new()];
        while let Some(dir) = ahead.pop() {
            for name in self.tree.names(&dir).unwrap_or_default() {
                let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
                match self.tree.find(&path) {
                    Ok(Entry::Dir(_)) => ahead.push(path),
                    Ok(Entry::File(inode)) => {
                        let len = self.files.get(&inode).map_or(0, |file| file.content.len() as u64);
                        all.push((path, inode, len));
                    }
                    Err(_) => {}
                }
            }
        }
        all.sort_unstable();
        all
    }

    fn at_file(&mut self, path: &str, harm: impl FnOnce(&mut File) -> bool) -> bool {
        let Ok(Entry::File(inode)) = self.tree.find(path) else { return false };
        self.files.get_mut(&inode).is_some_and(harm)
    }

    fn evict(&mut self, seed: u64) -> u64 {
        let dice = &self.dice;
        let evicted = self.files.values_mut().map(|file| {
            let key = file.key;
            // By default it stays.
            let drawn = |sector: u64| rng::draw(seed, "evicted", key ^ rng::mix(sector)) % MILLION % 2;
            file.content
                .evict(&|sector| dice.fate("evicted", rng::mix(seed ^ key ^ rng::mix(sector)), 1, || drawn(sector)))
        });
        evicted.sum()
    }

    /// Something is done to the files that no process uses.
    fn replace(&mut self, change: impl FnOnce(&mut SimDisk) -> bool) -> bool {
        assert!(self.flights.is_empty(), "files are taken from a life that uses them");
        self.life += 1;
        let applied = change(self);
        self.sweep();
        self.used = self.files.values().filter(|file| file.named).map(|file| file.content.len() as u64).sum();
        applied
    }
}
