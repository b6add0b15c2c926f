//! All logs of one shard, as bytes: the shard's changes go in, completions come out, offsets become bytes.
//!
//! Knows no Kafka rule: what is appended, rolled, cut and trimmed is the core's decision. Runs over [`Disk`] alone, on one
//! thread, without clocks and randomness, so that the simulator runs the same code.

use super::at;
use super::commit::{Append, Change};
pub use super::lease::{Lease, Piece};
use super::names::{LOG, Volume, path};
use super::redo::Redo;
use super::segment::{Log, LogRef, Segment};
use super::share::Commits;
use super::tail::{Entry, Recent, Stamped};
use crate::host::Disk;
use crate::meter::{Counts, Histogram};
use klamm_core::effect::{Effect, Input};
use klamm_core::ids::{LogId, Offset};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::{Rc, Weak};
use tokio::sync::oneshot;

/// So many of the files that were not used the longest are looked at when one too many is open.
const EVICTION_LOOKS: usize = 16;

/// A log that nobody reads keeps so small a part of what it may keep in memory.
const UNREAD: u64 = 16;

/// How the bytes are kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// CRC-32C.
    pub crc: fn(&[u8]) -> u32,
    /// The most that an active segment of a synced log is zero-filled ahead, in bytes; 0 for not at all.
    pub zero_fill: u64,
    /// After so many synced bytes it is written down that they are: recovery writes what comes after them again.
    pub mark_every: u64,
    /// Newest bytes kept in memory for one log that is read.
    pub log_tail_bytes: u64,
    /// So many bytes that a log is owed, or half of them, are written into its segment without need: the larger a write,
    /// the less a byte costs. More may come together while they are.
    pub owed_bytes: u64,
    /// Newest bytes kept in memory for all logs of the shard, beside those that are not in files yet.
    pub shard_tail_bytes: u64,
    /// Segments kept open; one that is written past the page cache has a second descriptor.
    pub open_files: usize,
    /// The bound of each of the journal's two volumes, in bytes; 0 for no journal.
    pub journal_bytes: u64,
    /// Drawn anew for each life: bytes that a client sent are then never taken for records of the journal.
    pub salt: u64,
    /// So many logs must have a small group to commit at the same time for the journal to take them, unless those
    /// groups are not so small together.
    pub journal_least: usize,
    /// Segments that one lease takes from at most: there may be thousands of small ones, each to be opened.
    pub lease_segments: usize,
}

impl Options {
    /// What a broker uses, given CRC-32C.
    #[must_use]
    pub fn new(crc: fn(&[u8]) -> u32) -> Options {
        Options {
            crc,
            zero_fill: 1 << 20,
            mark_every: 16 << 20,
            log_tail_bytes: 4 << 20,
            owed_bytes: 256 << 10,
            shard_tail_bytes: 64 << 20,
            open_files: 512,
            journal_bytes: 64 << 20,
            salt: 0,
            journal_least: 3,
            lease_segments: 16,
        }
    }
}

/// The logs of one shard.
#[derive(Debug)]
pub struct Logs<D: Disk>(Rc<Shard<D>>);

/// The logs of one shard, kept by somebody else.
#[derive(Debug)]
pub struct WeakLogs<D: Disk>(Weak<Shard<D>>);

impl<D: Disk> WeakLogs<D> {
    /// The logs, if they are still there.
    #[must_use]
    pub fn upgrade(&self) -> Option<Logs<D>> {
        self.0.upgrade().map(Logs)
    }
}

impl<D: Disk> Default for WeakLogs<D> {
    fn default() -> WeakLogs<D> {
        WeakLogs(Weak::new())
    }
}

impl<D: Disk> Clone for Logs<D> {
    fn clone(&self) -> Logs<D> {
        Logs(self.0.clone())
    }
}

/// Earlier lives' journals, and for each log those that have something of it.
type Replayed = (Vec<Volume>, BTreeMap<LogId, BTreeSet<Volume>>);

struct Shard<D: Disk> {
    disk: D,
    options: Options,
    events: Rc<dyn Fn(Input)>,
    logs: RefCell<BTreeMap<LogId, LogRef<D::File>>>,
    /// Those with a group under way.
    flying: RefCell<BTreeSet<LogId>>,
    /// Open segment files.
    files: RefCell<Recent<(LogId, Offset)>>,
    /// Logs with something in their tail.
    tails: RefCell<Recent<LogId>>,
    tail_bytes: Cell<u64>,
    /// Groups that share a sync.
    commits: RefCell<Commits<D::File>>,
    /// The names of this life's journal.
    volumes: [Volume; 2],
    replayed: RefCell<Replayed>,
    /// How many batches one sync made durable.
    groups: Histogram,
}

impl<D: Disk> std::fmt::Debug for Shard<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("options", &self.options).field("logs", &self.logs).finish_non_exhaustive()
    }
}

impl<D: Disk> Logs<D> {
    /// A shard without logs. `events` must not call back.
    pub(super) fn new(disk: D, options: Options, volumes: [Volume; 2], events: Rc<dyn Fn(Input)>) -> Logs<D> {
        Logs(Rc::new(Shard {
            disk,
            options,
            events,
            logs: RefCell::default(),
            flying: RefCell::default(),
            files: RefCell::new(Recent::new()),
            tails: RefCell::new(Recent::new()),
            tail_bytes: Cell::new(0),
            commits: RefCell::default(),
            volumes,
            replayed: RefCell::default(),
            groups: Histogram::new(1),
        }))
    }

    /// How many batches the groups had that were written with a sync.
    #[must_use]
    pub fn groups(&self) -> Counts {
        self.0.groups.counts()
    }

    /// The logs with a group under way.
    pub(super) fn flying(&self) -> Vec<LogId> {
        self.0.flying.borrow().iter().copied().collect()
    }

    /// A log has a group under way.
    pub(super) fn took_off(&self, log: LogId) {
        self.0.flying.borrow_mut().insert(log);
    }

    /// It has not any more.
    pub(super) fn has_landed(&self, log: LogId) {
        self.0.flying.borrow_mut().remove(&log);
    }

    /// These logs, as long as there is somebody who uses them.
    #[must_use]
    pub fn downgrade(&self) -> WeakLogs<D> {
        WeakLogs(Rc::downgrade(&self.0))
    }

    /// A group of so many batches is durable.
    pub(super) fn count_group(&self, batches: usize) {
        self.0.groups.observe(batches as u64);
    }

    /// Takes a change of a log into its FIFO; it ends in one Done or Failed. An appended batch can be leased at once.
    ///
    /// # Panics
    /// For an effect that changes no log, and for an append that does not begin at the log's end.
    pub fn change(&self, effect: Effect) {
        let (id, change) = match effect {
            Effect::Append { log, seq, offset, leader_epoch, batch, sync, roll } => {
                let header = batch.stamped_header(offset, leader_epoch);
                let (prefix, rest) = batch.stamp(offset, leader_epoch);
                let batch = Stamped::Apart(prefix, rest);
                (log, Change::Append(Append { seq, header, batch, sync, roll }))
            }
            Effect::Open { log, seq, name } => {
                if self.log(log).is_none() {
                    self.keep(Log::new(log, name));
                    (log, Change::Open { seq })
                } else {
                    return self.emit(Input::Failed { log, seq, error: format!("{name}: exists already") });
                }
            }
            Effect::Flush { log, seq } => (log, Change::Flush { seq }),
            Effect::Truncate { log, seq, to } => (log, Change::Truncate { seq, to }),
            Effect::Trim { log, seq, to, roll } => (log, Change::Trim { seq, to, roll }),
            Effect::Remove { log, seq } => (log, Change::Remove { seq, aside: false }),
            Effect::SetAside { log, seq } => (log, Change::Remove { seq, aside: true }),
            Effect::Persist { log, seq, ballot } => (log, Change::Persist { seq, ballot }),
            Effect::Read { .. }
            | Effect::Reply { .. }
            | Effect::Quiet { .. }
            | Effect::Release { .. }
            | Effect::Call { .. }
            | Effect::Answer { .. }
            | Effect::Publish { .. }
            | Effect::Close { .. }
            | Effect::Ready
            | Effect::Halt { .. }
            | Effect::Alarm { .. } => panic!("an effect that changes no log"),
        };
        let found = self.log(id).unwrap_or_else(|| panic!("{id}: changed before it was opened"));
        if let Change::Remove { .. } = change
            && found.borrow().segments.is_empty()
        {
            // Recovery refused it: this is all that may become of it.
            found.borrow_mut().dead = None;
        }
        let dead = found.borrow().dead.clone().filter(|_| !found.borrow().draining);
        if let Some(error) = dead {
            return self.fail(&found, change, &error);
        }
        match change {
            Change::Append(mut append) => {
                self.extend(&found, &mut append);
                self.append(&found, append);
            }
            Change::Truncate { to, .. } => {
                let mut log = found.borrow_mut();
                let before = log.tail.bytes();
                log.tail.truncate(to);
                log.end = log.end.min(to);
                // What was asked for before is not to be mixed with what is appended next.
                log.begin_generation();
                self.count_tail(before, log.tail.bytes());
                drop(log);
                self.enqueue(&found, change);
            }
            Change::Open { .. }
            | Change::Settle { .. }
            | Change::Flush { .. }
            | Change::Trim { .. }
            | Change::Remove { .. }
            | Change::Persist { .. }
            | Change::Close { .. } => self.enqueue(&found, change),
        }
    }

    /// Waits for every change, then leaves the files as Kafka's tools read them. Nothing may be changed afterwards.
    ///
    /// # Errors
    /// The first log's that could not be closed; the others are closed all the same.
    pub async fn close(&self) -> io::Result<()> {
        let (all, dead): (Vec<_>, Vec<_>) =
            self.0.logs.borrow().values().cloned().partition(|log| log.borrow().dead.is_none());
        let mut result = Ok(());
        for log in all {
            let (closed, done) = oneshot::channel();
            self.enqueue(&log, Change::Close { closed });
            let one = done.await.unwrap_or_else(|_| Err(io::Error::other("closed in the middle of a close")));
            result = result.and(one);
        }
        result?;
        // A dead log may have in the journal what is nowhere else on the device.
        let needs = |log: &LogRef<D::File>| log.borrow().synced < log.borrow().durable;
        if dead.iter().any(needs) { Ok(()) } else { self.end_journal().await }
    }

    /// A batch is readable from now on.
    fn extend(&self, log: &LogRef<D::File>, append: &mut Append) {
        let mut log = log.borrow_mut();
        let written = log.segments.last().map_or(0, |segment| segment.bytes);
        if let Stamped::Apart(prefix, rest) = &append.batch {
            append.batch = log.tail.keep(*prefix, rest.clone(), written);
        }
        let (base, last) = (append.header.base_offset, append.header.last_offset());
        assert_eq!(base, log.end, "{}: appended at {base}, but the log ends at {}", log.id, log.end);
        log.end = append.header.next_offset();
        let entry = Entry { seq: append.seq, base, last, batch: append.batch.clone() };
        self.0.tail_bytes.set(self.0.tail_bytes.get() + entry.batch.size());
        log.tail.push(entry);
        // Where it has a place already, that is moved when it lands: until then nothing of it can go.
        if log.tail.used == 0 {
            self.comes_last(&mut log);
        }
    }

    /// Other tails are let go before this one.
    fn comes_last(&self, log: &mut Log<D::File>) {
        self.0.tails.borrow_mut().touch(&mut log.tail.used, log.id);
    }

    /// Brings this log's tail, then the longest unused ones, down to their bounds.
    pub(super) fn evict_tails(&self, log: &LogRef<D::File>) {
        let evict = |log: &LogRef<D::File>, bound: u64| {
            let mut log = log.borrow_mut();
            let bound = if log.audience.is_there(self.0.options.log_tail_bytes) { bound } else { bound / UNREAD };
            let before = log.tail.bytes();
            log.tail.evict(bound);
            self.count_tail(before, log.tail.bytes());
        };
        evict(log, self.0.options.log_tail_bytes);
        self.comes_last(&mut log.borrow_mut());
        // Each log is asked once: what is left then is not in files yet.
        let mut left = self.0.tails.borrow().len();
        while self.0.tail_bytes.get() > self.0.options.shard_tail_bytes && left > 0 {
            left -= 1;
            let Some(id) = self.0.tails.borrow_mut().oldest() else { return };
            let Some(log) = self.log(id) else { continue };
            log.borrow_mut().tail.used = 0;
            evict(&log, 0);
            let mut log = log.borrow_mut();
            if log.tail.bytes() > 0 {
                self.comes_last(&mut log);
            }
        }
    }

    fn count_tail(&self, before: u64, after: u64) {
        self.0.tail_bytes.set(self.0.tail_bytes.get() + after - before);
    }

    /// A segment's file, open.
    pub(super) async fn file(&self, log: &LogRef<D::File>, base: Offset) -> io::Result<D::File> {
        if let Some(file) = self.open_file(&mut log.borrow_mut(), base) {
            return Ok(file);
        }
        let path = path(&log.borrow().folder, base, LOG);
        let file = self.0.disk.open(&path, false).await.map_err(at(&path))?;
        let mut it = log.borrow_mut();
        // Another task may have been faster, or have put another file in its place: then that one counts.
        let faster = it.segment_mut(base).and_then(|s| s.file.clone());
        match faster {
            Some(file) => Ok(file),
            None => {
                self.hold(&mut it, base, file.clone());
                drop(it);
                self.evict_files();
                Ok(file)
            }
        }
    }

    /// A segment's file, if it is open.
    pub(super) fn open_file(&self, log: &mut Log<D::File>, base: Offset) -> Option<D::File> {
        let id = log.id;
        let segment = log.segment_mut(base)?;
        let file = segment.file.clone()?;
        self.0.files.borrow_mut().touch(&mut segment.used, (id, base));
        Some(file)
    }

    /// Keeps a segment's file open.
    pub(super) fn hold(&self, log: &mut Log<D::File>, base: Offset, file: D::File) {
        let id = log.id;
        // Of the file that was here, or of a segment that is closed.
        log.beside.take_if(|beside| beside.base <= base);
        if let Some(segment) = log.segment_mut(base) {
            segment.file = Some(file);
            self.0.files.borrow_mut().touch(&mut segment.used, (id, base));
        }
    }

    /// Closes the files that were not used the longest. Whoever is using one has it. One with bytes that are not synced
    /// stays open: that they could not be written is told to the files that are open then, and later ones hear of it only
    /// as long as the kernel remembers the file at all (errseq).
    fn evict_files(&self) {
        let mut looks = EVICTION_LOOKS;
        while self.0.files.borrow().len() > self.0.options.open_files && looks > 0 {
            looks -= 1;
            let Some((id, base)) = self.0.files.borrow_mut().oldest() else { return };
            let Some(log) = self.log(id) else { continue };
            let mut log = log.borrow_mut();
            if log.is_unsynced(base) {
                if let Some(segment) = log.segment_mut(base) {
                    segment.used = 0;
                    self.0.files.borrow_mut().touch(&mut segment.used, (id, base));
                }
                continue;
            }
            let closed = log.active().base != base;
            if let Some(segment) = log.segment_mut(base) {
                (segment.file, segment.used) = (None, 0);
                if closed {
                    segment.index = None;
                } else {
                    log.beside = None;
                }
            }
        }
    }

    /// A segment's file is not needed any more.
    pub(super) fn let_go(&self, segment: &mut Segment<D::File>) {
        segment.file = None;
        self.0.files.borrow_mut().forget(&mut segment.used);
    }

    pub(super) fn log(&self, id: LogId) -> Option<LogRef<D::File>> {
        self.0.logs.borrow().get(&id).cloned()
    }

    pub(super) fn keep(&self, log: Log<D::File>) {
        let id = log.id;
        let before = self.0.logs.borrow_mut().insert(id, Rc::new(RefCell::new(log)));
        assert!(before.is_none(), "{id}: kept twice");
    }

    /// A log is gone.
    pub(super) fn forget(&self, id: LogId) {
        let Some(log) = self.0.logs.borrow_mut().remove(&id) else { return };
        let mut log = log.borrow_mut();
        log.segments.iter_mut().for_each(|s| self.let_go(s));
        let before = log.tail.bytes();
        log.tail.truncate(Offset(0));
        self.count_tail(before, 0);
        self.0.tails.borrow_mut().forget(&mut log.tail.used);
    }

    pub(super) fn emit(&self, event: Input) {
        (self.0.events)(event);
    }

    pub(super) fn disk(&self) -> &D {
        &self.0.disk
    }

    pub(super) fn commits(&self) -> &RefCell<Commits<D::File>> {
        &self.0.commits
    }

    /// The journals of earlier lives were put back into the logs.
    pub(super) fn replayed(&self, redo: Redo<D::File>) {
        let logs = redo.volumes_by_log();
        self.0.replayed.replace((redo.volumes, logs));
    }

    /// The files of earlier lives' journals that have something of a log that was refused, or that is not here although
    /// it should be: its folder may come back.
    #[must_use]
    pub fn needed_journals(&self, should_be: impl Fn(LogId) -> bool) -> Vec<String> {
        let needs = |id: &LogId| match self.log(*id) {
            Some(log) => log.borrow().segments.is_empty(),
            None => should_be(*id),
        };
        let replayed = self.0.replayed.borrow();
        let needed = replayed.1.iter().filter(|(id, _)| needs(id)).flat_map(|(_, volumes)| volumes);
        needed.map(Volume::to_string).collect()
    }

    /// Removes the journals of earlier lives, but for those that a shard needs: every shard has said what it does.
    ///
    /// # Errors
    /// The disk's. They do no harm where they are.
    pub async fn forget_journals(self, needed: &[String]) -> io::Result<()> {
        let (mut volumes, _) = self.0.replayed.take();
        volumes.retain(|volume| !needed.contains(&volume.to_string()));
        self.remove_volumes(&volumes).await
    }

    /// What the volumes of this life's journal are called.
    pub(super) fn volume_names(&self) -> [Volume; 2] {
        self.0.volumes
    }

    pub(super) fn options(&self) -> &Options {
        &self.0.options
    }
}
