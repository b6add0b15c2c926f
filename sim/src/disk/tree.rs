//! The names of a simulated disk, twice: as processes see them, and as the device holds them.
//!
//! A change of names (create, rename, remove) is one edit, or the two of a rename that are kept or lost together. It is
//! durable once every directory in which it edits has been synced after it; until then a power loss keeps or loses it.
//! As in a journal, nothing is kept without an earlier change of the same name or of the same thing moved: a renamed file
//! has its old name or its new one, never none.

use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};

/// Names a file or a directory, whatever its path.
pub(super) type Inode = u64;

const ROOT: Inode = 0;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Dir(Inode),
    File(Inode),
}

impl Entry {
    fn inode(self) -> Inode {
        match self {
            Entry::Dir(inode) | Entry::File(inode) => inode,
        }
    }
}

type Names = BTreeMap<String, Entry>;

#[derive(Clone, Debug, Default)]
struct Dir {
    seen: Names,
    durable: Names,
}

/// In one directory, a name comes to stand for something else, or for nothing.
#[derive(Clone, Debug)]
struct Edit {
    dir: Inode,
    name: String,
    entry: Option<Entry>,
}

#[derive(Clone, Debug)]
struct Change {
    number: u64,
    /// The thing created, moved or removed.
    thing: Inode,
    edits: Vec<Edit>,
    /// Directories still to be synced.
    unsynced: BTreeSet<Inode>,
}

/// What ties a change to earlier ones.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Tie {
    Thing(Inode),
    Name(Inode, String),
}

impl Change {
    fn ties(&self) -> impl Iterator<Item = Tie> {
        let names = self.edits.iter().map(|edit| Tie::Name(edit.dir, edit.name.clone()));
        std::iter::once(Tie::Thing(self.thing)).chain(names)
    }

    /// What must be there before it: a move into a directory is not kept without the directory.
    fn needs(&self) -> impl Iterator<Item = Tie> {
        let from = self.edits[0].dir;
        let elsewhere = self.edits.iter().filter(move |edit| edit.dir != from);
        self.ties().chain(elsewhere.map(|edit| Tie::Thing(edit.dir)))
    }
}

/// All names of a disk.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    dirs: BTreeMap<Inode, Dir>,
    /// What the device does not have yet, oldest first.
    changes: Vec<Change>,
    /// The number of the last change.
    number: u64,
    next: Inode,
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree { dirs: BTreeMap::from([(ROOT, Dir::default())]), changes: Vec::new(), number: 0, next: ROOT + 1 }
    }

    pub(super) fn find(&self, path: &str) -> Result<Entry, Errno> {
        let mut found = Entry::Dir(ROOT);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Entry::Dir(dir) = found else { return Err(Errno::NOTDIR) };
            found = *self.dirs[&dir].seen.get(name).ok_or(Errno::NOENT)?;
        }
        Ok(found)
    }

    /// The directory of a path.
    pub(super) fn dir(&self, path: &str) -> Result<Inode, Errno> {
        match self.find(path)? {
            Entry::Dir(dir) => Ok(dir),
            Entry::File(_) => Err(Errno::NOTDIR),
        }
    }

    fn file(&self, path: &str) -> Result<Inode, Errno> {
        match self.find(path)? {
            Entry::Dir(_) => Err(Errno::ISDIR),
            Entry::File(file) => Ok(file),
        }
    }

    fn edit(&self, path: &str, entry: Option<Entry>) -> Result<Edit, Errno> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(Edit { dir: self.dir(parent)?, name: name.to_owned(), entry })
    }

    pub(super) fn names(&self, path: &str) -> Result<Vec<String>, Errno> {
        Ok(self.dirs[&self.dir(path)?].seen.keys().cloned().collect())
    }

    /// Finds a file, or makes one; tells whether it did.
    pub(super) fn open(&mut self, path: &str, create: bool) -> Result<(Inode, bool), Errno> {
        match self.file(path) {
            Err(Errno::NOENT) if create => {
                let entry = Entry::File(self.next);
                let edit = self.edit(path, Some(entry))?;
                self.next += 1;
                self.change(entry.inode(), vec![edit]);
                Ok((entry.inode(), true))
            }
            found => found.map(|file| (file, false)),
        }
    }

    pub(super) fn make_dir(&mut self, path: &str) -> Result<(), Errno> {
        match self.find(path) {
            Ok(Entry::Dir(_)) => Ok(()),
            Ok(Entry::File(_)) => Err(Errno::EXIST),
            Err(Errno::NOENT) => {
                let entry = Entry::Dir(self.next);
                let edit = self.edit(path, Some(entry))?;
                self.next += 1;
                self.dirs.insert(entry.inode(), Dir::default());
                self.change(entry.inode(), vec![edit]);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the file that lost its name.
    pub(super) fn remove(&mut self, path: &str) -> Result<Inode, Errno> {
        let file = self.file(path)?;
        let edit = self.edit(path, None)?;
        self.change(file, vec![edit]);
        Ok(file)
    }

    pub(super) fn remove_dir(&mut self, path: &str) -> Result<(), Errno> {
        let dir = self.dir(path)?;
        if !self.dirs[&dir].seen.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        let edit = self.edit(path, None)?;
        self.change(dir, vec![edit]);
        Ok(())
    }

    /// Gives the file that lost its name, if one was replaced. Looks for errors in Linux's order.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<Option<Inode>, Errno> {
        let leave = self.edit(from, None)?;
        let mut arrive = self.edit(to, None)?;
        let moved = self.find(from)?;
        let is_below = |path: &str, dir: &str| path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
        if is_below(to, from) {
            return Err(Errno::INVAL);
        }
        if is_below(from, to) {
            return Err(Errno::NOTEMPTY);
        }
        let replaced = match (moved, self.find(to)) {
            (_, Ok(there)) if there == moved => return Ok(None),
            (Entry::File(_), Ok(Entry::Dir(_))) => return Err(Errno::ISDIR),
            (Entry::Dir(_), Ok(Entry::File(_))) => return Err(Errno::NOTDIR),
            (_, Ok(Entry::Dir(dir))) if !self.dirs[&dir].seen.is_empty() => return Err(Errno::NOTEMPTY),
            (_, Ok(Entry::File(file))) => Some(file),
            (_, Ok(Entry::Dir(_)) | Err(_)) => None,
        };
        arrive.entry = Some(moved);
        self.change(moved.inode(), vec![leave, arrive]);
        Ok(replaced)
    }

    fn change(&mut self, thing: Inode, edits: Vec<Edit>) {
        self.number += 1;
        for edit in &edits {
            let dir = self.dirs.get_mut(&edit.dir).expect("a directory that was found");
            apply(&mut dir.seen, edit);
        }
        let unsynced = edits.iter().map(|edit| edit.dir).collect();
        self.changes.push(Change { number: self.number, thing, edits, unsynced });
    }

    /// Changes that the device does not have.
    pub(super) fn unsynced(&self) -> u64 {
        self.changes.len() as u64
    }

    /// A sync of a directory that starts now covers changes up to this number.
    pub(super) fn mark(&self) -> u64 {
        self.number
    }

    /// The changes in a directory up to a number are on the device.
    pub(super) fn sync(&mut self, dir: Inode, covered: u64) {
        for change in self.changes.iter_mut().filter(|change| change.number <= covered) {
            change.unsynced.remove(&dir);
        }
        self.settle(|change| change.unsynced.is_empty());
    }

    /// How many changes in a directory, up to a number, are not on the device.
    pub(super) fn unsynced_in(&self, dir: Inode, covered: u64) -> u64 {
        let hit = |change: &&Change| change.number <= covered && change.unsynced.contains(&dir);
        self.changes.iter().filter(hit).count() as u64
    }

    /// Only the device's names are left, with such changes on it as `draw` (by number) kept. Tells how many it lost.
    pub(super) fn lose_power(&mut self, draw: &dyn Fn(&str, u64) -> u64) -> u64 {
        // All lost, all kept, or each on its own.
        let mood = draw("names' mood", 0) % 4;
        self.settle(|change| match mood {
            0 => false,
            1 => true,
            _ => draw("name", change.number).is_multiple_of(2),
        });
        let lost = self.changes.len() as u64;
        self.changes.clear();
        for dir in self.dirs.values_mut() {
            dir.seen = dir.durable.clone();
        }
        lost
    }

    /// Puts the chosen changes on the device, and what they cannot be there without.
    fn settle(&mut self, chosen: impl Fn(&Change) -> bool) {
        let mut needed = BTreeSet::new();
        let mut kept = BTreeSet::new();
        for change in self.changes.iter().rev() {
            if chosen(change) || change.ties().any(|tie| needed.contains(&tie)) {
                needed.extend(change.needs());
                kept.insert(change.number);
            }
        }
        for change in self.changes.extract_if(.., |change| kept.contains(&change.number)) {
            for edit in &change.edits {
                if let Some(dir) = self.dirs.get_mut(&edit.dir) {
                    apply(&mut dir.durable, edit);
                }
            }
        }
    }

    /// A name, and all below it, are gone, seen and durable, whatever was under way with them; tells whether there was one.
    pub(super) fn uproot(&mut self, path: &str) -> bool {
        let Ok(Edit { dir, name, .. }) = self.edit(path, None) else { return false };
        let Some(parent) = self.dirs.get_mut(&dir) else { return false };
        let was_durable = parent.durable.remove(&name).is_some();
        let was_seen = parent.seen.remove(&name).is_some();
        for change in &mut self.changes {
            change.edits.retain(|edit| edit.dir != dir || edit.name != name);
        }
        self.changes.retain(|change| !change.edits.is_empty());
        was_seen || was_durable
    }

    /// Forgets what no name can lead to any more, seen or durable, and gives the files that one can.
    pub(super) fn sweep(&mut self) -> BTreeSet<Inode> {
        let mut unsynced: BTreeMap<Inode, Vec<Entry>> = BTreeMap::new();
        for edit in self.changes.iter().flat_map(|change| &change.edits) {
            unsynced.entry(edit.dir).or_default().extend(edit.entry);
        }
        let mut dirs = BTreeSet::new();
        let mut files = BTreeSet::new();
        let mut ahead = vec![Entry::Dir(ROOT)];
        while let Some(entry) = ahead.pop() {
            match entry {
                Entry::Dir(dir) if dirs.insert(dir) => {
                    ahead.extend(self.dirs[&dir].seen.values().chain(self.dirs[&dir].durable.values()));
                    ahead.extend(unsynced.remove(&dir).unwrap_or_default());
                }
                Entry::Dir(_) => {}
                Entry::File(file) => drop(files.insert(file)),
            }
        }
        self.dirs.retain(|dir, _| dirs.contains(dir));
        self.changes.retain(|change| change.edits.iter().any(|edit| dirs.contains(&edit.dir)));
        files
    }
}

fn apply(names: &mut Names, edit: &Edit) {
    match edit.entry {
        Some(entry) => names.insert(edit.name.clone(), entry),
        None => names.remove(&edit.name),
    };
}
