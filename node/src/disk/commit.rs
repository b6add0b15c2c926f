//! One log's FIFO: group commit, rolls, and the work that is kept out of a group's way.
//!
//! While a group is being written the next one gathers. A log has one group under way, at most [`GROUP_BYTES`] or one
//! batch, so after a crash only that one can be torn. A failed write or sync is final: it and everything behind it fails,
//! nothing is retried. A log at rest has no task.
//!
//! A *chore* is work beside the queue, one at a time: zeros ahead of the batches, marks, the end of a closed segment.

use super::at;
use super::logs::Logs;
use super::names::{INDEX, LOG, MARKS, STATE, TIMEINDEX, path};
use super::segment::{Log, LogRef, Marks, Segment};
use super::small;
use super::tail::PREFIX;
use crate::host::{Completion, Disk, Op};
use bytes::Bytes;
use klamm_core::effect::Input;
use klamm_core::ids::{LogId, Offset, Seq};
use klamm_core::log::{Ballot, Checkpoint};
use klamm_core::record::Header;
use std::future::Future;
use std::io;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};

/// Bytes written as one group, unless a single batch is larger. Recovery relies on it.
pub(super) const GROUP_BYTES: u64 = 4 << 20;
/// Batches written as one group: two slices each, and `IOV_MAX` is 1024.
const GROUP_BATCHES: usize = 512;
/// The least that is zero-filled ahead of a segment's batches.
const LEAST_FILL: u64 = 64 << 10;
/// So many groups like the last one are zero-filled ahead: their syncs then need not change the file's length, which
/// takes a journal commit each.
const GROUPS_AHEAD: u64 = 32;
/// Larger groups are not filled ahead of: writing every byte twice would cost more than the commits that it saves.
const MOST_FILLED: u64 = 32 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A change of a log that was not begun.
#[derive(Debug)]
pub(super) enum Change {
    Append(Append),
    Open {
        seq: Seq,
    },
    Truncate {
        seq: Seq,
        to: Offset,
    },
    Trim {
        seq: Seq,
        to: Offset,
        /// Begins a segment first.
        roll: Option<Box<Checkpoint>>,
    },
    Remove {
        seq: Seq,
    },
    Persist {
        seq: Seq,
        ballot: Ballot,
    },
    /// A clean close: no change of the core's.
    Close {
        closed: oneshot::Sender<io::Result<()>>,
    },
}

/// A batch to append.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) seq: Seq,
    /// As stamped.
    pub(super) header: Header,
    /// The stamped bytes.
    pub(super) prefix: [u8; PREFIX],
    pub(super) rest: Bytes,
    pub(super) sync: bool,
    pub(super) roll: Option<Box<Checkpoint>>,
}

/// What a chore does, for those who must not overtake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Writes zeros past the segment's end, and marks: in the way of a write that reaches there.
    Fill,
    /// Makes the closed segment durable: in the way of a sync, which promises everything below.
    Settle,
    /// Writes what can be made anew.
    Index,
}

/// Work beside the queue.
#[derive(Debug)]
pub(super) struct Chore {
    kind: Kind,
    task: JoinHandle<()>,
}

/// What the drain does next.
enum Work {
    Group(Vec<Append>),
    Alone(Change),
}

impl<D: Disk> Logs<D> {
    /// Puts a change behind the others; begins a task if there is none.
    pub(super) fn enqueue(&self, log: &LogRef<D::File>, change: Change) {
        let mut it = log.borrow_mut();
        it.queue.push_back(change);
        if !it.draining {
            it.draining = true;
            spawn_local(self.clone().drain(log.clone(), None));
        }
    }

    /// Appends; at once, without a task, where nobody waits for the device and nothing is in the way.
    pub(super) fn append(&self, log: &LogRef<D::File>, append: Append) {
        let mut it = log.borrow_mut();
        let (base, at) = (it.active().base, it.active().bytes);
        let end = at + append.header.size() as u64;
        let straight = !append.sync && append.roll.is_none() && !it.draining && it.dead.is_none() && !it.marks.strict;
        let file = if straight && !it.must_wait(end, false) { self.open_file(&mut it, base) } else { None };
        let Some(file) = file else {
            drop(it);
            return self.enqueue(log, Change::Append(append));
        };
        it.draining = true;
        drop(it);
        match self.write(file, at, std::slice::from_ref(&append), false) {
            Completion::Now(Some(result)) => {
                let path = || path(&log.borrow().folder, log.borrow().active().base, LOG);
                let result = result.map(drop).map_err(|error| at_path(&path(), error));
                log.borrow_mut().draining = false;
                self.ended(log, vec![append], result);
            }
            later => {
                spawn_local(self.clone().drain(log.clone(), Some((append, later))));
            }
        }
    }

    /// Works on the queue until it is empty. `begun`: a batch whose write is under way.
    async fn drain(self, log: LogRef<D::File>, begun: Option<(Append, Completion<D::File>)>) {
        if let Some((append, completion)) = begun {
            let result = self.finish(&log, completion).await;
            self.ended(&log, vec![append], result);
        }
        while let Some(work) = self.next(&log) {
            match work {
                Work::Group(mut group) => {
                    let bytes = size_of(&group);
                    let result = self.commit(&log, &mut group).await;
                    self.ended(&log, group, result);
                    self.look_ahead(&log, bytes);
                }
                Work::Alone(change) => self.perform(&log, change).await,
            }
        }
    }

    /// Takes what comes next; fails it all when the log is dead. `None` ends the task.
    fn next(&self, log: &LogRef<D::File>) -> Option<Work> {
        let mut it = log.borrow_mut();
        if let Some(error) = it.dead.clone() {
            let queue = std::mem::take(&mut it.queue);
            it.draining = false;
            drop(it);
            for change in queue {
                self.fail(log, change, &error);
            }
            return None;
        }
        match it.queue.pop_front() {
            None => {
                it.draining = false;
                None
            }
            Some(Change::Append(first)) => {
                let (mut bytes, mut group) = (first.header.size() as u64, vec![first]);
                while group.len() < GROUP_BATCHES
                    && let Some(Change::Append(next)) = it.queue.front()
                    && next.roll.is_none()
                    && bytes + next.header.size() as u64 <= GROUP_BYTES
                    && let Some(Change::Append(next)) = it.queue.pop_front()
                {
                    bytes += next.header.size() as u64;
                    group.push(next);
                }
                Some(Work::Group(group))
            }
            Some(alone) => Some(Work::Alone(alone)),
        }
    }

    /// Writes a group; with one sync if any of it wants one.
    async fn commit(&self, log: &LogRef<D::File>, group: &mut [Append]) -> io::Result<()> {
        let sync = group.iter().any(|a| a.sync);
        if let Some(state) = group[0].roll.take() {
            self.roll(log, *state, sync).await?;
        }
        let end = log.borrow().active().bytes + size_of(group);
        if log.borrow().must_wait(end, sync) {
            self.rested(log).await?;
        }
        if !sync && log.borrow().marks.strict {
            self.rested(log).await?;
            let marks = Marks { strict: false, flushed: log.borrow().synced, ..log.borrow().marks };
            self.mark(log, marks).await?;
        }
        let (base, at) = (log.borrow().active().base, log.borrow().active().bytes);
        let file = self.file(log, base).await?;
        self.finish(log, self.write(file, at, group, sync)).await
    }

    fn write(&self, file: D::File, at: u64, group: &[Append], sync: bool) -> Completion<D::File> {
        let prefixes: Vec<u8> = group.iter().flat_map(|a| a.prefix).collect();
        let mut prefixes = Bytes::from(prefixes);
        let data = group.iter().flat_map(|a| [prefixes.split_to(PREFIX), a.rest.clone()]).collect();
        self.disk().submit(Op::Write { file, at, data, sync })
    }

    async fn finish(&self, log: &LogRef<D::File>, completion: Completion<D::File>) -> io::Result<()> {
        let result = completion.await;
        result.map(drop).map_err(|error| at_path(&path(&log.borrow().folder, log.borrow().active().base, LOG), error))
    }

    /// Ends a group: one Done, or Failed for each of it and the log is dead.
    fn ended(&self, log: &LogRef<D::File>, group: Vec<Append>, result: io::Result<()>) {
        let error = match result {
            Ok(()) => {
                let synced = group.iter().any(|a| a.sync);
                if synced {
                    self.count_group(group.len());
                }
                log.borrow_mut().land(group.iter().map(|a| (a.seq, a.header)), synced);
                self.evict_tails(log);
                let id = log.borrow().id;
                return self.done(id, group.last().expect("a group has a batch").seq);
            }
            Err(error) => error.to_string(),
        };
        log.borrow_mut().dead.get_or_insert(error.clone());
        for append in group {
            self.fail(log, Change::Append(append), &error);
        }
    }

    /// Ends a change that was not, and will not be, made.
    pub(super) fn fail(&self, log: &LogRef<D::File>, change: Change, error: &str) {
        let seq = match change {
            Change::Append(Append { seq, .. })
            | Change::Open { seq }
            | Change::Truncate { seq, .. }
            | Change::Trim { seq, .. }
            | Change::Remove { seq }
            | Change::Persist { seq, .. } => seq,
            // Whoever waits for a close may have gone.
            Change::Close { closed } => return drop(closed.send(Err(io::Error::other(error.to_owned())))),
        };
        let log = log.borrow().id;
        self.emit(Input::Failed { log, seq, error: error.to_owned() });
    }

    /// Begins a segment. With `sync` the old one is durable, and a crash knows of the new one, before this returns;
    /// else that is a chore.
    pub(super) async fn roll(&self, log: &LogRef<D::File>, state: Checkpoint, sync: bool) -> io::Result<()> {
        self.rested(log).await?;
        let (state, old, path) = {
            let it = log.borrow();
            (it.closing(state), it.active().base, path(&it.folder, it.written, LOG))
        };
        if old == state.at {
            // It was begun before a crash, and nothing was written.
            return Ok(());
        }
        let file = self.disk().open(&path, true).await.map_err(at(&path))?;
        {
            let mut it = log.borrow_mut();
            it.segments.push(Segment::new(state.at));
            self.hold(&mut it, state.at, file);
        }
        let (this, held) = (self.clone(), log.clone());
        if sync {
            self.settle(log, old, &state).await?;
            self.chore(log, Kind::Index, async move { this.save_index(&held, old).await });
        } else {
            self.chore(log, Kind::Settle, async move {
                this.settle(&held, old, &state).await?;
                this.save_index(&held, old).await
            });
        }
        Ok(())
    }

    /// Makes a closed segment durable, without zeros at its end, and then the state above it.
    async fn settle(&self, log: &LogRef<D::File>, old: Offset, state: &Checkpoint) -> io::Result<()> {
        self.trim_zeros(log, old).await?;
        let folder = log.borrow().folder.clone();
        small::write(self.disk(), &folder, &format!("{:020}.{STATE}", state.at.0), state).await?;
        let mut it = log.borrow_mut();
        it.synced = it.synced.max(state.at);
        it.marks.flushed = it.marks.flushed.max(state.at);
        it.unmarked = 0;
        Ok(())
    }

    /// Cuts a segment's file to its batches and syncs it.
    pub(super) async fn trim_zeros(&self, log: &LogRef<D::File>, base: Offset) -> io::Result<()> {
        let file = self.file(log, base).await?;
        let path = path(&log.borrow().folder, base, LOG);
        let longer = log.borrow_mut().segment_mut(base).filter(|s| s.length > s.bytes).map(|s| s.bytes);
        if let Some(len) = longer {
            self.disk().perform(Op::SetLength { file: file.clone(), len }).await.map_err(at(&path))?;
            if let Some(segment) = log.borrow_mut().segment_mut(base) {
                segment.length = len;
            }
        }
        self.disk().perform(Op::Sync { file }).await.map_err(at(&path))
    }

    /// Writes Kafka's index files of a segment that takes no more batches, and lets go of the index in memory with them.
    /// They need no sync: torn ones are made anew.
    pub(super) async fn save_index(&self, log: &LogRef<D::File>, base: Offset) -> io::Result<()> {
        let (folder, index) = {
            let mut it = log.borrow_mut();
            let Some(index) = it.segment_mut(base).and_then(|s| s.index.clone()) else { return Ok(()) };
            (it.folder.clone(), index)
        };
        // Into new files: what a crash leaves is a whole index, or none, or zeros.
        self.remove_files(&folder, base, &[INDEX, TIMEINDEX]).await?;
        let (offsets, times) = index.files();
        for (extension, bytes) in [(INDEX, offsets), (TIMEINDEX, times)] {
            let path = path(&folder, base, extension);
            let file = self.disk().open(&path, true).await.map_err(at(&path))?;
            let data = vec![Bytes::from(bytes)];
            self.disk().perform(Op::Write { file, at: 0, data, sync: false }).await.map_err(at(&path))?;
        }
        Ok(())
    }

    /// Replaces the marks.
    pub(super) async fn mark(&self, log: &LogRef<D::File>, marks: Marks) -> io::Result<()> {
        let folder = log.borrow().folder.clone();
        small::write(self.disk(), &folder, MARKS, &marks).await?;
        let mut it = log.borrow_mut();
        it.marks = marks;
        it.unmarked = 0;
        Ok(())
    }

    /// After a group of `bytes`: zeros ahead of the next ones, where groups are small and synced, and marks when due.
    fn look_ahead(&self, log: &LogRef<D::File>, bytes: u64) {
        let it = log.borrow();
        let synced = it.synced == it.written && it.dead.is_none();
        if !synced || it.chore.as_ref().is_some_and(|c| !c.task.is_finished()) {
            return;
        }
        let options = self.options();
        let segment = it.active();
        let step = (bytes * GROUPS_AHEAD).max(LEAST_FILL).min(options.zero_fill);
        let near = bytes <= MOST_FILLED && segment.length - segment.bytes < step / 4;
        let fill = near.then_some((segment.base, segment.length, step));
        let due = !it.marks.strict || it.unmarked >= options.mark_every;
        let marks = due.then_some(Marks { strict: true, flushed: it.synced, ..it.marks });
        drop(it);
        if fill.is_none() && marks.is_none() {
            return;
        }
        let (this, held) = (self.clone(), log.clone());
        self.chore(log, Kind::Fill, async move {
            if let Some((base, from, step)) = fill {
                this.fill(&held, base, from, step).await?;
            }
            match marks {
                Some(marks) => this.mark(&held, marks).await,
                None => Ok(()),
            }
        });
    }

    /// Extends a segment's file with zeros, so that most later syncs need not change its length. The next group's sync
    /// covers them: two syncs of one file at a time must not be, since a failure is told to one of them only, and the
    /// other would promise what the device does not have.
    async fn fill(&self, log: &LogRef<D::File>, base: Offset, from: u64, step: u64) -> io::Result<()> {
        let file = self.file(log, base).await?;
        let zeros = Bytes::from_static(&ZEROS);
        let mut data = Vec::new();
        let mut left = step;
        while left > 0 {
            let len = left.min(zeros.len() as u64);
            data.push(zeros.slice(..usize::try_from(len).expect("a slice of the zeros")));
            left -= len;
        }
        let path = path(&log.borrow().folder, base, LOG);
        self.disk().perform(Op::Write { file, at: from, data, sync: false }).await.map_err(at(&path))?;
        if let Some(segment) = log.borrow_mut().segment_mut(base) {
            segment.length = segment.length.max(from + step);
        }
        Ok(())
    }

    fn chore(&self, log: &LogRef<D::File>, kind: Kind, work: impl Future<Output = io::Result<()>> + 'static) {
        let held = log.clone();
        let task = spawn_local(async move {
            if let Err(error) = work.await {
                held.borrow_mut().dead.get_or_insert(error.to_string());
            }
        });
        log.borrow_mut().chore = Some(Chore { kind, task });
    }

    /// Waits until no chore is under way.
    pub(super) async fn rested(&self, log: &LogRef<D::File>) -> io::Result<()> {
        let chore = log.borrow_mut().chore.take();
        if let Some(chore) = chore {
            chore.task.await.map_err(io::Error::other)?;
        }
        match &log.borrow().dead {
            Some(error) => Err(io::Error::other(error.clone())),
            None => Ok(()),
        }
    }

    pub(super) fn done(&self, log: LogId, seq: Seq) {
        self.emit(Input::Done { log, seq });
    }
}

impl<F> Log<F> {
    /// Whether a write up to a position must wait for the chore.
    fn must_wait(&self, end: u64, sync: bool) -> bool {
        let Some(chore) = self.chore.as_ref().filter(|c| !c.task.is_finished()) else { return false };
        match chore.kind {
            // It may be about to promise that every batch is synced.
            Kind::Fill => !sync || end > self.active().length,
            Kind::Settle => sync,
            Kind::Index => false,
        }
    }
}

fn size_of(group: &[Append]) -> u64 {
    group.iter().map(|a| a.header.size() as u64).sum()
}

fn at_path(path: &str, error: io::Error) -> io::Error {
    at(path)(error)
}
