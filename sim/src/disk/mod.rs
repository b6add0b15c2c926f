//! The simulated disk: operations take drawn times, fail at drawn rates, and a crash leaves what a real one may leave.
//!
//! It has no clock and no threads: whoever drives it says what time it is and asks when to come back. Nothing happens
//! between an operation's submission and its end but at its end; an operation that takes no time ends at once. What a
//! sync makes durable is exactly what the trait promises: writes that had ended when it was submitted (and its own).
//! Every draw is keyed by what is operated on and how often that was before, so that one operation more or less
//! elsewhere changes nothing here, and goes through a book of decisions: by default an operation takes the middle of its
//! time and does not fail, and a power loss takes all that it may. Writes and reads are never short: the trait says that a driver carries on what is, so
//! a failed write leaves a part and that is all that is seen of it. Not modelled: a background flush.

mod content;
mod handle;
mod harm;
mod recording;
#[cfg(test)]
mod tests;
mod tree;

pub use handle::{Device, SimDiskHandle};
pub use harm::{Harm, Hit, Image};
pub use recording::Recording;

use crate::dice::Dice;
use bytes::Bytes;
use content::Content;
use klamm::host::{Op, Outcome, in_blocks};
use klamm_core::rng;
use recording::Call;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use tree::{Inode, Tree};

/// The longest file (`EFBIG` beyond): a position out of nowhere shall not allocate.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Files without a name are looked for when so many more of them may be there than half the files.
const SWEEP_AFTER: usize = 16;

const MILLION: u64 = 1_000_000;

/// How a disk behaves.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// What a power loss keeps or loses as one, in bytes: 512 or 4096.
    pub sector: usize,
    /// What an unsynced write takes, nanoseconds.
    pub write_ns: RangeInclusive<u64>,
    /// What a sync takes, of a file or a directory; a synced write takes both.
    pub sync_ns: RangeInclusive<u64>,
    /// What a read takes.
    pub read_ns: RangeInclusive<u64>,
    /// What any other operation takes.
    pub other_ns: RangeInclusive<u64>,
    /// Syncs that fail, in a million. What one covers stays in the page cache, held for clean, and never comes to the device
    /// unless it is written again; the next sync succeeds. Names are not given up so: they are in a file system's journal,
    /// and one that loses that stops altogether; the next sync of the directory makes them durable.
    pub sync_errors: u64,
    /// Writes that fail, in a million, with a part written.
    pub write_errors: u64,
    /// Operations that stand still, in a million, and for how long.
    pub stalls: u64,
    /// See [`Parameters::stalls`].
    pub stall_ns: RangeInclusive<u64>,
    /// Bytes in named files before `ENOSPC`; `None` for as many as you like.
    pub capacity: Option<u64>,
}

impl Default for Parameters {
    /// A healthy disk; writes into the page cache take no time, as with the real drivers.
    fn default() -> Parameters {
        Parameters {
            sector: 512,
            write_ns: 0..=0,
            sync_ns: 100_000..=2_000_000,
            read_ns: 0..=200_000,
            other_ns: 10_000..=500_000,
            sync_errors: 0,
            write_errors: 0,
            stalls: 0,
            stall_ns: 0..=0,
            capacity: None,
        }
    }
}

/// An open file, of one life.
#[derive(Clone, Debug)]
pub struct SimFile {
    inode: Inode,
    life: u64,
    direct: bool,
    /// Tells the disk when the last clone is dropped.
    _open: Arc<()>,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies, the page cache survives.
    Kill,
    /// The page cache dies too.
    PowerLoss,
}

/// How often a fault came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Drawn, or asked for.
    pub drawn: u64,
    /// Applied: its operation was not overtaken by a crash.
    pub applied: u64,
    /// Effective: there was something to lose.
    pub effective: u64,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations submitted.
    pub ops: u64,
    /// Syncs that succeeded, of files and directories.
    pub syncs: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Failed syncs; effective with something unsynced.
    pub sync_errors: Faults,
    /// Failed writes; effective when not everything was written.
    pub write_errors: Faults,
    /// `ENOSPC`.
    pub full: u64,
    /// Operations that stood still; effective when another one was in flight at their end.
    pub stalls: Faults,
    /// Reads and writes of sectors that cannot be read: `EIO`.
    pub unreadable: u64,
    /// Process kills; effective with operations in flight.
    pub kills: Faults,
    /// Power losses; effective when a sector or a name was lost.
    pub power_losses: Faults,
    /// Operations that a crash left undone or cut short.
    pub cut_short: u64,
    /// Unsynced sectors that fell back to what the device had.
    pub sectors_lost: u64,
    /// Unsynced changes of names that were lost.
    pub names_lost: u64,
}

/// What [`SimDisk::submit`] gives.
#[derive(Debug)]
pub enum Submitted {
    /// The operation has ended.
    Now(io::Result<Outcome<SimFile>>),
    /// It will, under this number.
    Later(u64),
}

#[derive(Clone, Debug)]
struct File {
    content: Content,
    /// Stands for it in draws: the key of the operation that created it.
    key: u64,
    named: bool,
    open: Arc<()>,
}

/// An operation in flight.
#[derive(Clone, Debug)]
struct Flight {
    number: u64,
    op: Op<SimFile>,
    /// Stands for it in draws.
    key: u64,
    fault: Option<Fault>,
    /// It stands still.
    stalls: bool,
    /// Of `SyncDir`: which directory, and the last change of names covered.
    dir: Option<(Inode, u64)>,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Write,
    Sync(Errno),
}

/// A disk. A clone is a copy of what is on it.
#[derive(Clone, Debug)]
pub struct SimDisk {
    dice: Dice,
    parameters: Parameters,
    life: u64,
    tree: Tree,
    files: BTreeMap<Inode, File>,
    /// Bytes in named files.
    used: u64,
    /// Files that lost their name since the last sweep.
    nameless: usize,
    flights: BTreeMap<u64, Flight>,
    due: BTreeSet<(u64, u64)>,
    next: u64,
    /// Operations so far, by what they operated on.
    turns: BTreeMap<u64, u64>,
    counts: Counts,
    /// Writes that went astray, and that nobody was told of yet.
    hits: Vec<Hit>,
    recording: Option<Recording>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64, parameters: Parameters) -> SimDisk {
        SimDisk::by(Dice::blank(seed), parameters)
    }

    /// An empty disk, whose draws go through a book.
    #[must_use]
    pub fn by(dice: Dice, parameters: Parameters) -> SimDisk {
        SimDisk {
            dice,
            parameters,
            life: 0,
            tree: Tree::new(),
            files: BTreeMap::new(),
            used: 0,
            nameless: 0,
            flights: BTreeMap::new(),
            due: BTreeSet::new(),
            next: 0,
            turns: BTreeMap::new(),
            counts: Counts::default(),
            hits: Vec::new(),
            recording: None,
        }
    }

    /// The same, and it keeps a [`Recording`].
    #[must_use]
    pub fn recorded(seed: u64, parameters: Parameters) -> SimDisk {
        let recording = Some(Recording::new(seed, parameters.clone()));
        SimDisk { recording, ..SimDisk::new(seed, parameters) }
    }

    /// What was recorded so far.
    #[must_use]
    pub fn recording(&self) -> Option<&Recording> {
        self.recording.as_ref()
    }

    /// The life that operations must belong to; a crash ends it.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.life
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Bytes in named files.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used
    }

    /// How much a power loss could take now: sectors, lengths and names that are not on the device.
    #[must_use]
    pub fn unsynced(&self) -> u64 {
        self.tree.unsynced() + self.files.values().map(|file| file.content.unsynced()).sum::<u64>()
    }

    /// Has the disk behave differently from now on. The size of its sectors stays.
    pub fn set_parameters(&mut self, parameters: Parameters) {
        self.record(|| Call::Behave(parameters.clone()));
        self.parameters = Parameters { sector: self.parameters.sector, ..parameters };
    }

    fn record(&mut self, call: impl FnOnce() -> Call) {
        if let Some(recording) = &mut self.recording {
            recording.push(call());
        }
    }

    /// Starts an operation of a life. One of another life than the present does nothing and never ends.
    pub fn submit(&mut self, life: u64, now: u64, op: Op<SimFile>) -> Submitted {
        let number = self.next;
        self.next += 1;
        self.record(|| Call::Submit { life, now, op: op.clone() });
        if life != self.life {
            return Submitted::Later(number);
        }
        self.counts.ops += 1;
        if let Err(error) = self.check(&op) {
            return Submitted::Now(Err(error));
        }
        let mut flight = self.prepare(number, op);
        let wait = self.latency(&mut flight);
        if wait == 0 {
            return Submitted::Now(self.land(&flight));
        }
        self.flights.insert(number, flight);
        self.due.insert((now.saturating_add(wait), number));
        Submitted::Later(number)
    }

    /// When the next operation ends.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Ends the operations whose time has come.
    pub fn take_due(&mut self, now: u64) -> Vec<(u64, io::Result<Outcome<SimFile>>)> {
        if self.next_due().is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.record(|| Call::TakeDue { now });
        let mut ended = Vec::new();
        while let Some(&(at, number)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            let flight = self.flights.remove(&number).expect("what is due is in flight");
            self.counts.stalls.applied += u64::from(flight.stalls);
            self.counts.stalls.effective += u64::from(flight.stalls && !self.flights.is_empty());
            ended.push((number, self.land(&flight)));
        }
        ended
    }

    /// Ends the present life. An operation in flight is done, not done, or (a write) done in part.
    pub fn crash(&mut self, crash: Crash, seed: u64) {
        self.record(|| Call::Crash { crash, seed });
        let faults = match crash {
            Crash::Kill => &mut self.counts.kills,
            Crash::PowerLoss => &mut self.counts.power_losses,
        };
        faults.drawn += 1;
        faults.applied += 1;
        if crash == Crash::Kill && !self.flights.is_empty() {
            faults.effective += 1;
        }
        self.due.clear();
        for flight in std::mem::take(&mut self.flights).into_values() {
            self.interrupt(&flight, seed);
        }
        self.life += 1;
        if crash == Crash::PowerLoss {
            self.lose_power(seed);
        }
        for file in self.files.values_mut() {
            file.content.forget_syncs();
            file.open = Arc::new(());
        }
        self.sweep();
        self.used = self.files.values().filter(|file| file.named).map(|file| file.content.len() as u64).sum();
    }

    fn interrupt(&mut self, flight: &Flight, seed: u64) {
        match outcome(&self.dice, seed, "in flight", flight.key) % 3 {
            0 => drop(self.land(flight)),
            1 => self.counts.cut_short += 1,
            _ => {
                self.counts.cut_short += 1;
                if let Op::Write { file, at, data, .. } = &flight.op {
                    let part = outcome(&self.dice, seed, "part", flight.key) % (bytes_in(data) as u64 + 1);
                    drop(self.write(file, *at, data, part));
                }
            }
        }
    }

    fn lose_power(&mut self, seed: u64) {
        let dice = &self.dice;
        let names = self.tree.lose_power(&|question, n| outcome(dice, seed, question, n));
        let kept = self.tree.sweep();
        self.files.retain(|inode, _| kept.contains(inode));
        let mut sectors = 0;
        for file in self.files.values_mut() {
            let key = file.key;
            file.named = true;
            sectors += file.content.lose_power(&|question, n| outcome(dice, seed, question, key ^ rng::mix(n)));
        }
        self.counts.names_lost += names;
        self.counts.sectors_lost += sectors;
        self.counts.power_losses.effective += u64::from(names + sectors > 0);
    }

    /// Forgets files that neither a name nor an open file leads to.
    fn sweep(&mut self) {
        self.nameless = 0;
        let kept = self.tree.sweep();
        let turns = &mut self.turns;
        self.files.retain(|inode, file| {
            let stays = kept.contains(inode) || Arc::strong_count(&file.open) > 1;
            if !stays {
                turns.remove(&file.key);
            }
            stays
        });
    }

    fn check(&self, op: &Op<SimFile>) -> io::Result<()> {
        op.check()?;
        if let Some(file) = file_of(op)
            && (file.life != self.life || !self.files.contains_key(&file.inode))
        {
            return Err(Errno::BADF.into());
        }
        let end = if let Op::Write { file, at, data, .. } = op {
            if file.direct {
                in_blocks(*at, data)?;
            }
            if bytes_in(data) == 0 { 0 } else { at.saturating_add(bytes_in(data) as u64) }
        } else if let Op::SetLength { len, .. } = op {
            *len
        } else {
            0
        };
        if end > MAX_FILE_BYTES { Err(Errno::FBIG.into()) } else { Ok(()) }
    }

    /// What is settled at submission: its fault, and what it covers if it syncs.
    fn prepare(&mut self, number: u64, op: Op<SimFile>) -> Flight {
        let thing = match file_of(&op) {
            Some(file) => self.files[&file.inode].key,
            None => rng::draw(0, path_of(&op), 0),
        };
        let turn = self.turns.entry(thing).or_default();
        *turn += 1;
        let key = rng::mix(thing ^ rng::mix(*turn));
        let fault = self.draw_fault(&op, key);
        let mut dir = None;
        if let Op::Sync { file } | Op::Write { file, sync: true, .. } = &op {
            let alone = file.direct && matches!(op, Op::Write { .. });
            self.file(file).content.begin_sync(number, alone);
        } else if let Op::SyncDir { path } = &op {
            dir = self.tree.dir(path).ok().map(|dir| (dir, self.tree.mark()));
        }
        Flight { number, op, key, fault, stalls: false, dir }
    }

    fn draw_fault(&mut self, op: &Op<SimFile>, key: u64) -> Option<Fault> {
        let dice = &self.dice;
        // A disk that is well asks nobody.
        let hit = |site: &str, rate: u64| {
            rate > 0 && dice.fate(site, key, 0, || u64::from(dice.bits(site, key) % MILLION < rate)) == 1
        };
        if matches!(op, Op::Write { .. }) && hit("write error", self.parameters.write_errors) {
            self.counts.write_errors.drawn += 1;
            return Some(Fault::Write);
        }
        let syncs = matches!(op, Op::Sync { .. } | Op::SyncDir { .. } | Op::Write { sync: true, .. });
        if syncs && hit("sync error", self.parameters.sync_errors) {
            self.counts.sync_errors.drawn += 1;
            return Some(Fault::Sync(if hit("full at sync", MILLION / 4) { Errno::NOSPC } else { Errno::IO }));
        }
        None
    }

    fn latency(&mut self, flight: &mut Flight) -> u64 {
        let (dice, key) = (&self.dice, flight.key);
        let draw = |site: &str, range: &RangeInclusive<u64>| {
            let width = range.end().saturating_sub(*range.start()).saturating_add(1);
            range.start() + dice.bits(site, key) % width
        };
        let time = |site: &str, range: &RangeInclusive<u64>| match range.start() == range.end() {
            true => *range.start(),
            false => dice.fate(site, key, u64::midpoint(*range.start(), *range.end()), || draw(site, range)),
        };
        let Parameters { write_ns, sync_ns, read_ns, other_ns, stalls, stall_ns, .. } = &self.parameters;
        let stands_still = || dice.bits("stall", key) % MILLION < *stalls;
        let drawn = || if stands_still() { draw("stall time", stall_ns).max(1) } else { 0 };
        let stall = if *stalls > 0 { dice.fate("disk stall", key, 0, drawn) } else { 0 };
        let usual = match flight.op {
            Op::Write { sync: false, .. } => time("write time", write_ns),
            Op::Write { sync: true, .. } => time("write time", write_ns).saturating_add(time("sync time", sync_ns)),
            Op::Sync { .. } | Op::SyncDir { .. } => time("sync time", sync_ns),
            Op::Read { .. } => time("read time", read_ns),
            Op::Length { .. } => 0,
            Op::Open { .. } | Op::SetLength { .. } | Op::Rename { .. } | Op::Remove { .. } => time("time", other_ns),
            Op::MakeDir { .. } | Op::RemoveDir { .. } | Op::List { .. } | Op::Room => time("time", other_ns),
        };
        flight.stalls = stall > 0;
        self.counts.stalls.drawn += u64::from(flight.stalls);
        usual.saturating_add(stall)
    }

    /// An operation takes effect, and ends.
    fn land(&mut self, flight: &Flight) -> io::Result<Outcome<SimFile>> {
        match &flight.op {
            Op::Open { path, create, direct } => return self.open(path, *create, *direct, flight.key),
            Op::Read { file, at, len } => {
                let read = self.file(file).content.read(*at, *len).map(Bytes::copy_from_slice);
                let bytes = read.map_err(|error| self.unreadable(error))?;
                self.counts.bytes_read += bytes.len() as u64;
                return Ok(Outcome::Bytes(bytes));
            }
            Op::Length { file } => return Ok(Outcome::Length(self.file(file).content.len() as u64)),
            Op::List { path } => return Ok(Outcome::Names(self.tree.names(path)?)),
            Op::Room => {
                let total = self.parameters.capacity.unwrap_or(u64::MAX);
                return Ok(Outcome::Room { total, usable: self.free() });
            }
            Op::Write { file, at, data, sync } => {
                let written = self.faulty_write(flight, file, *at, data);
                if !*sync {
                    written?;
                } else if let Err(error) = written {
                    self.file(file).content.forget_sync(flight.number);
                    return Err(error);
                } else {
                    self.sync(flight, file, *at as usize..*at as usize + bytes_in(data))?;
                }
            }
            Op::Sync { file } => self.sync(flight, file, 0..0)?,
            Op::SetLength { file, len } => self.set_len(file, *len)?,
            Op::Rename { from, to } => {
                let replaced = self.tree.rename(from, to)?;
                self.unname(replaced);
            }
            Op::Remove { path } => {
                let removed = self.tree.remove(path)?;
                self.unname(Some(removed));
            }
            Op::MakeDir { path } => self.tree.make_dir(path)?,
            Op::RemoveDir { path } => self.tree.remove_dir(path)?,
            Op::SyncDir { path } => self.sync_dir(flight, path)?,
        }
        Ok(Outcome::Nothing)
    }

    fn file(&mut self, file: &SimFile) -> &mut File {
        self.files.get_mut(&file.inode).expect("open files stay")
    }

    /// Bytes that named files may still grow by.
    fn free(&self) -> u64 {
        self.parameters.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used))
    }

    fn full(&mut self) -> io::Error {
        self.counts.full += 1;
        Errno::NOSPC.into()
    }

    fn unreadable(&mut self, error: Errno) -> io::Error {
        self.counts.unreadable += 1;
        error.into()
    }

    fn open(&mut self, path: &str, create: bool, direct: bool, key: u64) -> io::Result<Outcome<SimFile>> {
        if create && self.free() == 0 && self.tree.find(path) == Err(Errno::NOENT) {
            return Err(self.full());
        }
        let (inode, created) = self.tree.open(path, create)?;
        if created {
            let content = Content::new(self.parameters.sector);
            self.files.insert(inode, File { content, key, named: true, open: Arc::new(()) });
        }
        Ok(Outcome::File(SimFile { inode, life: self.life, direct, _open: self.files[&inode].open.clone() }))
    }

    fn faulty_write(&mut self, flight: &Flight, file: &SimFile, at: u64, data: &[Bytes]) -> io::Result<()> {
        let len = bytes_in(data) as u64;
        if matches!(flight.fault, Some(Fault::Write)) {
            let drawn = || self.dice.bits("written", flight.key) % (len + 1);
            let part = self.dice.fate("written", flight.key, 0, drawn).min(len);
            self.counts.write_errors.applied += 1;
            self.counts.write_errors.effective += u64::from(part < len);
            self.write(file, at, data, part)?;
            return Err(Errno::IO.into());
        }
        self.write(file, at, data, len)
    }

    /// Writes the first `upto` bytes of `data`, or as many as there is room for.
    fn write(&mut self, file: &SimFile, at: u64, data: &[Bytes], upto: u64) -> io::Result<()> {
        let room = self.free();
        let file = self.files.get_mut(&file.inode).expect("open files stay");
        let before = file.content.len() as u64;
        if file.content.is_in_the_way(&(at as usize..at as usize + upto as usize)) {
            return Err(self.unreadable(Errno::IO));
        }
        let fits = if file.named { before.saturating_add(room).saturating_sub(at).min(upto) } else { upto };
        file.content.write(at as usize, data, fits as usize);
        if file.named {
            self.used += file.content.len() as u64 - before;
        }
        self.counts.bytes_written += fits;
        if fits < upto { Err(self.full()) } else { Ok(()) }
    }

    fn set_len(&mut self, file: &SimFile, len: u64) -> io::Result<()> {
        let room = self.free();
        let file = self.files.get_mut(&file.inode).expect("open files stay");
        let before = file.content.len() as u64;
        // ext4 keeps what it could reserve.
        let got = if file.named { len.min(before.saturating_add(room)) } else { len };
        file.content.set_len(got as usize);
        if file.named {
            self.used = self.used - before + got;
        }
        if got < len { Err(self.full()) } else { Ok(()) }
    }

    /// Makes durable what was written before the sync was submitted, and what it wrote itself.
    fn sync(&mut self, flight: &Flight, file: &SimFile, own: Range<usize>) -> io::Result<()> {
        let dice = self.dice.clone();
        let content = &mut self.file(file).content;
        if let Some(Fault::Sync(error)) = flight.fault {
            // One in four does.
            let draw = |n: u64| {
                let key = flight.key ^ rng::mix(n);
                dice.fate("reached", key, 1, || (dice.bits("reached", key) % 4).min(1))
            };
            let abandoned = content.fail_sync(flight.number, &own, &draw);
            self.counts.sync_errors.applied += 1;
            self.counts.sync_errors.effective += u64::from(abandoned > 0);
            return Err(error.into());
        }
        let astray = content.end_sync(flight.number, &own);
        self.hits.extend(astray.into_iter().map(|bytes| Hit { inode: file.inode, bytes }));
        self.counts.syncs += 1;
        Ok(())
    }

    fn sync_dir(&mut self, flight: &Flight, path: &str) -> io::Result<()> {
        let Some((dir, covered)) = flight.dir else {
            return Err(self.tree.dir(path).err().unwrap_or(Errno::NOENT).into());
        };
        if let Some(Fault::Sync(error)) = flight.fault {
            let unsynced = self.tree.unsynced_in(dir, covered);
            self.counts.sync_errors.applied += 1;
            self.counts.sync_errors.effective += u64::from(unsynced > 0);
            return Err(error.into());
        }
        self.tree.sync(dir, covered);
        self.counts.syncs += 1;
        if self.nameless > SWEEP_AFTER + self.files.len() / 2 {
            self.sweep();
        }
        Ok(())
    }

    fn unname(&mut self, inode: Option<Inode>) {
        if let Some(file) = inode.and_then(|inode| self.files.get_mut(&inode)) {
            file.named = false;
            self.used -= file.content.len() as u64;
            self.nameless += 1;
        }
    }
}

/// What is drawn of a crash: 0 by default.
fn outcome(dice: &Dice, seed: u64, site: &str, key: u64) -> u64 {
    dice.fate(site, rng::mix(seed ^ rng::mix(key)), 0, || rng::draw(seed, site, key))
}

fn bytes_in(data: &[Bytes]) -> usize {
    data.iter().map(Bytes::len).sum()
}

fn file_of(op: &Op<SimFile>) -> Option<&SimFile> {
    match op {
        Op::Write { file, .. } | Op::Read { file, .. } | Op::SetLength { file, .. } => Some(file),
        Op::Sync { file } | Op::Length { file } => Some(file),
        Op::Open { .. } | Op::Rename { .. } | Op::Remove { .. } | Op::MakeDir { .. } => None,
        Op::RemoveDir { .. } | Op::List { .. } | Op::SyncDir { .. } | Op::Room => None,
    }
}

fn path_of(op: &Op<SimFile>) -> &str {
    match op {
        Op::Open { path, .. } | Op::Remove { path } | Op::MakeDir { path } | Op::RemoveDir { path } => path,
        Op::List { path } | Op::SyncDir { path } | Op::Rename { from: path, .. } => path,
        Op::Write { .. } | Op::Read { .. } | Op::Sync { .. } | Op::Length { .. } | Op::SetLength { .. } => "",
        Op::Room => "",
    }
}
