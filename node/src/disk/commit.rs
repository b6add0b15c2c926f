//! One log's FIFO: group commit, rolls, and the work that is kept out of a group's way.
//!
//! While a group is being written the next one gathers. A log has one group under way, at most [`GROUP_BYTES`] or one
//! batch, so after a crash only that one can be torn: what the log is owed, and gets in that write or in one of its own,
//! the journal has. A failed write or sync is final: it and everything behind it fails, nothing is retried. A log at rest
//! has no task.
//!
//! A *chore* is work beside the queue, one at a time: zeros ahead of the batches, marks, what the log is owed, a sync of
//! that, the end of a closed segment, the removal of those that were trimmed.

use super::at;
use super::below::Below;
use super::logs::Logs;
use super::names::{INDEX, LOG, MARKS, TIMEINDEX, path};
use super::segment::{Log, LogRef, Marks, Segment};
use super::small;
use super::tail::Stamped;
use crate::host::{Completion, Disk, Op};
use bytes::Bytes;
use klamm_core::effect::Input;
use klamm_core::ids::{LogId, Offset, Seq};
use klamm_core::log::{Ballot, Checkpoint};
use klamm_core::record::Header;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local, yield_now};

/// Bytes written as one group, unless a single batch is larger. Recovery relies on it.
pub(super) const GROUP_BYTES: u64 = 4 << 20;
/// Batches written as one group: two slices each at most, and `IOV_MAX` is 1024.
const GROUP_BATCHES: usize = 512;
/// The least that is zero-filled ahead of a segment's batches.
const LEAST_FILL: u64 = 64 << 10;
/// So many groups like the last one are zero-filled ahead: their syncs then need not change the file's length, which
/// takes a journal commit each.
const GROUPS_AHEAD: u64 = 32;
/// Larger groups are not filled ahead of: writing every byte twice would cost more than the commits that it saves.
const MOST_FILLED: u64 = 256 << 10;
/// So many groups in a row must have been synced since one was not, before a log counts as one whose groups all are.
pub(super) const STREAK: u32 = 16;
/// Whoever was answered comes again, but not all at once. A sync that began with the first of them would leave the
/// others for one more; so, of the batches that a sync covered and those that waited meanwhile, this share is waited
/// for. From then on one part is under way to the device while the other is served.
pub(super) const ENOUGH: usize = 4;
/// So often all that is at hand is served without another batch before no more is waited for: what one look brings is
/// appended in the next.
const LOOKS: u32 = 2;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A change of a log that was not begun.
#[derive(Debug)]
pub(super) enum Change {
    Append(Append),
    Open {
        seq: Seq,
    },
    Flush {
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
        /// Leave it where nothing looks for it.
        aside: bool,
    },
    Persist {
        seq: Seq,
        ballot: Ballot,
    },
    /// Everything into the segments, and those on the device: no change of the core's, but the journal's.
    Settle {
        ended: oneshot::Sender<io::Result<()>>,
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
    pub(super) batch: Stamped,
    pub(super) sync: bool,
    pub(super) roll: Option<Box<Checkpoint>>,
}

/// A group whose write is under way.
#[derive(Debug)]
pub(super) struct Flight<F> {
    batches: Batches,
    write: Completion<F>,
}

/// What one write brings into a segment.
#[derive(Debug)]
struct Batches {
    /// They ended before, and are in the shard's journal.
    paid: Vec<Append>,
    group: Vec<Append>,
}

impl Batches {
    fn both(&self) -> [&[Append]; 2] {
        [&self.paid, &self.group]
    }
}

/// A flight's batches, and how its write ended.
type Landed = (Batches, io::Result<()>);

/// The group at the head of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) batches: usize,
    pub(super) bytes: u64,
    sync: bool,
    rolls: bool,
}

/// What a chore does, for those who must not overtake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Writes zeros past the segment's end, and marks: in the way of a write that reaches there.
    Fill,
    /// Syncs a file of the log: in the way of another sync, since a failure is told to one of them only.
    Sync,
    /// Writes what can be made anew.
    Index,
    /// Removes segments that nothing names any more.
    Trim,
    /// Writes what was owed: in the way of every other write.
    Pay,
}

/// Work beside the queue.
#[derive(Debug)]
pub(super) struct Chore {
    kind: Kind,
    task: JoinHandle<()>,
}

/// What the drain does next.
enum Work {
    /// What is owed has to be in the segment first.
    Pay,
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
            spawn_local(self.clone().drain(log.clone()));
        }
    }

    /// Appends; at once, without a task, where nobody waits for the device and nothing is in the way.
    pub(super) fn append(&self, log: &LogRef<D::File>, append: Append) {
        let sync = append.sync;
        let mut it = log.borrow_mut();
        it.queue.push_back(Change::Append(append));
        if it.draining {
            return;
        }
        it.draining = true;
        drop(it);
        if sync {
            return self.gather(log.clone());
        }
        if self.launch(log) {
            self.land_one(log);
            if log.borrow().flight.is_none() {
                log.borrow_mut().draining = false;
                return;
            }
        }
        spawn_local(self.clone().drain(log.clone()));
    }

    /// Works on the queue until it is empty, or the journal takes the log over.
    pub(super) async fn drain(self, log: LogRef<D::File>) {
        loop {
            if let Some((batches, result)) = poll_fn(|cx| log.borrow_mut().poll_flight(cx)).await {
                self.landed(&log, batches, result);
            }
            if log.borrow().owes_much(self.options().owed_bytes) {
                self.pay(&log).await;
                continue;
            }
            if self.joins_others(&log) {
                return self.gather(log);
            }
            self.until_enough(&log).await;
            if self.launch(&log) {
                continue;
            }
            match self.next(&log) {
                Some(Work::Pay) => self.pay(&log).await,
                Some(Work::Group(mut group)) => {
                    let result = self.commit(&log, &mut group).await;
                    self.landed(&log, Batches { paid: Vec::new(), group }, result);
                }
                Some(Work::Alone(change)) => self.perform(&log, change).await,
                None => return,
            }
        }
    }

    /// Ends the groups that have been written, and begins the next ones at once: on a busy thread it would be long
    /// before their tasks get a turn, and the device would be idle meanwhile.
    pub fn land(&self) {
        self.land_shared();
        for id in self.flying() {
            if let Some(log) = self.log(id) {
                self.land_one(&log);
            }
        }
    }

    fn land_one(&self, log: &LogRef<D::File>) {
        if self.end_flight(log) && !self.joins_others(log) && log.borrow().has_enough() {
            self.launch(log);
        }
    }

    /// Lets more arrive until the log's next group is worth a sync, as long as more do.
    async fn until_enough(&self, log: &LogRef<D::File>) {
        if log.borrow().has_enough() {
            return;
        }
        let enough = log.borrow().enough;
        if !more(enough, || log.borrow().queue.len()).await {
            log.borrow_mut().enough = 0;
        }
    }

    /// Ends a log's flight, if its write has ended.
    fn end_flight(&self, log: &LogRef<D::File>) -> bool {
        let landed = {
            let mut it = log.borrow_mut();
            // Not polled: the log's task is to be woken all the same.
            let result = it.flight.as_mut().and_then(|flight| flight.write.take());
            result.and_then(|result| it.flight.take().map(|flight| (flight.batches, result.map(drop))))
        };
        let Some((batches, result)) = landed else { return false };
        self.landed(log, batches, result);
        true
    }

    /// Begins to write the group at the head of the queue, if nothing is in its way. The log's task is there, to go on
    /// when it has ended.
    pub(super) fn launch(&self, log: &LogRef<D::File>) -> bool {
        let head = {
            let it = log.borrow();
            it.head().filter(|head| it.is_clear(head))
        };
        head.is_some_and(|head| self.take_off(log, head))
    }

    /// Begins to write what is owed and a group behind it, if the segment's file is open.
    fn take_off(&self, log: &LogRef<D::File>, head: Head) -> bool {
        let mut it = log.borrow_mut();
        let (base, at) = (it.active().base, it.active().bytes);
        let Some(file) = self.open_file(&mut it, base) else { return false };
        let batches = Batches { paid: it.owed.take(), group: it.take(head) };
        drop(it);
        let write = self.write(file, at, batches.both(), head.sync);
        let mut it = log.borrow_mut();
        assert!(it.flight.is_none(), "{}: two groups under way", it.id);
        it.flight = Some(Box::new(Flight { batches, write }));
        self.took_off(it.id);
        true
    }

    /// A write has ended.
    fn landed(&self, log: &LogRef<D::File>, batches: Batches, result: io::Result<()>) {
        self.has_landed(log.borrow().id);
        let bytes = bytes_of(&batches.group);
        self.ended(log, batches, result);
        self.look_ahead(log, bytes);
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
        if it.queue.is_empty() {
            it.draining = false;
            return None;
        }
        if it.owed.bytes() > 0 {
            return Some(Work::Pay);
        }
        match it.head() {
            Some(head) => Some(Work::Group(it.take(head))),
            None => it.queue.pop_front().map(Work::Alone),
        }
    }

    /// Writes a group; with one sync if any of it wants one.
    async fn commit(&self, log: &LogRef<D::File>, group: &mut [Append]) -> io::Result<()> {
        let sync = group.iter().any(|a| a.sync);
        if let Some(state) = group[0].roll.take() {
            self.roll(log, *state, sync).await?;
        }
        let end = log.borrow().active().bytes + bytes_of(group);
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
        self.write(file, at, [group, &[]], sync).await.map(drop)
    }

    fn write(&self, file: D::File, at: u64, batches: [&[Append]; 2], sync: bool) -> Completion<D::File> {
        let mut data = Vec::new();
        batches.into_iter().for_each(|some| slices(some, &mut data));
        self.disk().submit(Op::Write { file, at, data, sync })
    }

    /// What was owed is in the segment, or could not be written there.
    pub(super) fn paid(&self, log: &LogRef<D::File>, paid: Vec<Append>, result: io::Result<()>) {
        self.ended(log, Batches { paid, group: Vec::new() }, result);
    }

    /// Ends a group: one Done, or Failed for each of it and the log is dead.
    fn ended(&self, log: &LogRef<D::File>, batches: Batches, result: io::Result<()>) {
        let Batches { paid, group } = batches;
        let error = match result.and_then(|()| log.borrow().is_alive()) {
            Ok(()) => {
                let synced = group.iter().any(|a| a.sync);
                let mut it = log.borrow_mut();
                if synced {
                    self.count_group(group.len());
                    it.enough = (group.len() + it.queue.len()) / ENOUGH;
                }
                it.land(&paid, &group, synced);
                drop(it);
                self.evict_tails(log);
                let id = log.borrow().id;
                return group.last().map_or((), |last| self.done(id, last.seq));
            }
            Err(error) => {
                let it = log.borrow();
                at(&path(&it.folder, it.active().base, LOG))(error).to_string()
            }
        };
        if group.is_empty() {
            self.dies(log, &error);
        }
        log.borrow_mut().dead.get_or_insert(error.clone());
        for append in group {
            self.fail(log, Change::Append(append), &error);
        }
        if !paid.is_empty() {
            tracing::error!(error, "the log takes no more batches; what it is owed stays in the journal");
        }
    }

    /// Ends a change that was not, and will not be, made.
    pub(super) fn fail(&self, log: &LogRef<D::File>, change: Change, error: &str) {
        let seq = match change {
            Change::Append(Append { seq, .. })
            | Change::Open { seq }
            | Change::Flush { seq }
            | Change::Truncate { seq, .. }
            | Change::Trim { seq, .. }
            | Change::Remove { seq, .. }
            | Change::Persist { seq, .. } => seq,
            // Whoever waits may have gone.
            Change::Settle { ended: closed } | Change::Close { closed } => {
                return drop(closed.send(Err(io::Error::other(error.to_owned()))));
            }
        };
        let log = log.borrow().id;
        self.emit(Input::Failed { log, seq, error: error.to_owned() });
    }

    /// Begins a segment. With `sync` the old one is durable, and a crash knows of the new one, before this returns;
    /// else that is a chore.
    pub(super) async fn roll(&self, log: &LogRef<D::File>, state: Checkpoint, sync: bool) -> io::Result<()> {
        self.rested(log).await?;
        let (below, old, path) = {
            let it = log.borrow();
            (it.closing(state), it.active().base, path(&it.folder, it.written, LOG))
        };
        let begin = below.state.at;
        if old == begin {
            // It was begun before a crash, and nothing was written.
            return Ok(());
        }
        let file = self.disk().open(&path, true).await.map_err(at(&path))?;
        {
            let mut it = log.borrow_mut();
            it.segments.push(Segment::new(begin));
            self.hold(&mut it, begin, file);
        }
        let (this, held) = (self.clone(), log.clone());
        if sync {
            self.close_segment(log, old, &below).await?;
            self.chore(log, Kind::Index, async move { this.save_index(&held, old).await });
        } else {
            self.chore(log, Kind::Sync, async move {
                this.close_segment(&held, old, &below).await?;
                this.save_index(&held, old).await
            });
        }
        Ok(())
    }

    /// Makes a closed segment durable, without zeros at its end, and then the state above it.
    async fn close_segment(&self, log: &LogRef<D::File>, old: Offset, below: &Below) -> io::Result<()> {
        self.trim_zeros(log, old).await?;
        let folder = log.borrow().folder.clone();
        self.write_state(&folder, below).await?;
        let mut it = log.borrow_mut();
        it.synced = it.synced.max(below.state.at);
        it.marks.flushed = it.marks.flushed.max(below.state.at);
        it.durable = it.durable.max(it.synced);
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
            let Some(index) = it.segment_mut(base).and_then(|s| s.index_to_save()) else { return Ok(()) };
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

    /// The marks that are to be written by now, if they are: of a log whose groups are all synced.
    pub(super) fn due_marks(&self, it: &Log<D::File>) -> Option<Marks> {
        let due = it.streak >= STREAK && (!it.marks.strict || it.unmarked >= self.options().mark_every);
        due.then_some(Marks { strict: true, flushed: it.synced, ..it.marks })
    }

    /// After a group of `bytes`: zeros ahead of the next ones, where groups are small and synced, and marks when due.
    fn look_ahead(&self, log: &LogRef<D::File>, bytes: u64) {
        let it = log.borrow();
        let synced = it.synced == it.written && it.dead.is_none();
        // Both are for logs whose groups are all synced.
        let synced = synced && it.streak >= STREAK;
        if !synced || it.working().is_some() {
            return;
        }
        let options = self.options();
        let segment = it.active();
        let step = (bytes * GROUPS_AHEAD).max(LEAST_FILL).min(options.zero_fill);
        let near = (1..=MOST_FILLED).contains(&bytes) && segment.length - segment.bytes < step / 4;
        let fill = near.then_some((segment.base, segment.length, step));
        let marks = self.due_marks(&it);
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

    pub(super) fn chore(
        &self,
        log: &LogRef<D::File>,
        kind: Kind,
        work: impl Future<Output = io::Result<()>> + 'static,
    ) {
        let (this, held) = (self.clone(), log.clone());
        let task = spawn_local(async move {
            if let Err(error) = work.await {
                this.dies(&held, &error.to_string());
            }
        });
        log.borrow_mut().chore = Some(Chore { kind, task });
    }

    /// Work beside the log's changes failed: none of them is done from now on.
    pub(super) fn dies(&self, log: &LogRef<D::File>, error: &str) {
        let mut it = log.borrow_mut();
        if it.dead.is_none() {
            it.dead = Some(error.to_owned());
            self.emit(Input::Broken { log: it.id, error: error.to_owned() });
        }
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
    /// The group that the queue begins with, if it does.
    pub(super) fn head(&self) -> Option<Head> {
        let mut head: Option<Head> = None;
        for change in &self.queue {
            let Change::Append(next) = change else { break };
            let size = next.header.size() as u64;
            match &mut head {
                None => {
                    head = Some(Head { batches: 1, bytes: size, sync: next.sync, rolls: next.roll.is_some() });
                }
                Some(group) => {
                    let full = group.batches == GROUP_BATCHES || group.bytes + size > GROUP_BYTES;
                    if full || next.roll.is_some() {
                        break;
                    }
                    group.batches += 1;
                    group.bytes += size;
                    group.sync |= next.sync;
                }
            }
        }
        head
    }

    /// Takes a group off the queue.
    pub(super) fn take(&mut self, head: Head) -> Vec<Append> {
        let group = self.queue.drain(..head.batches).map(|change| match change {
            Change::Append(append) => append,
            other => panic!("{other:?} in a group"),
        });
        group.collect()
    }

    /// Whether nothing has to be done before a group is written.
    fn is_clear(&self, head: &Head) -> bool {
        let waits = head.rolls || self.dead.is_some() || (!head.sync && self.marks.strict);
        !waits && self.follows() && !self.must_wait(self.active().bytes + self.owed.bytes() + head.bytes, head.sync)
    }

    /// Whether the head of the queue comes behind all that is written or owed: what is before it may be in a record under
    /// way.
    fn follows(&self) -> bool {
        let end = self.written.max(self.durable);
        matches!(self.queue.front(), Some(Change::Append(first)) if first.header.base_offset == end)
    }

    /// Whether the journal may take the group at the head of the queue: it is synced, not large, and everything before
    /// it is durable.
    pub(super) fn may_share(&self, most: u64) -> bool {
        let small = |head: &Head| head.sync && !head.rolls && head.bytes <= most;
        let fits = self.flight.is_none() && self.dead.is_none() && self.head().as_ref().is_some_and(small);
        fits && matches!(self.queue.front(), Some(Change::Append(first)) if first.header.base_offset == self.durable)
    }

    /// Whether the group at the head of the queue need not wait for more of it.
    fn has_enough(&self) -> bool {
        let synced = matches!(self.queue.front(), Some(Change::Append(first)) if first.sync);
        !synced || self.queue.len() >= self.enough
    }

    /// Whether it is time to pay. Logs that are equally busy are not to be paid all at the same time.
    pub(super) fn owes_much(&self, bound: u64) -> bool {
        let sixteenths = u64::from((self.id.topic.0[15] ^ self.id.partition as u8) % 16);
        let due = bound / 2 + sixteenths * (bound / 32);
        self.owed.unpaid() >= due.max(1) && self.dead.is_none()
    }

    /// The group that was under way, once its write has ended; `None` when there is none.
    fn poll_flight(&mut self, cx: &mut Context<'_>) -> Poll<Option<Landed>>
    where
        F: Unpin,
    {
        let Some(flight) = &mut self.flight else { return Poll::Ready(None) };
        let result = ready!(Pin::new(&mut flight.write).poll(cx)).map(drop);
        Poll::Ready(self.flight.take().map(|flight| (flight.batches, result)))
    }

    /// The chore that is under way.
    pub(super) fn working(&self) -> Option<&Chore> {
        self.chore.as_ref().filter(|chore| !chore.task.is_finished())
    }

    /// Whether a write up to a position must wait for the chore.
    fn must_wait(&self, end: u64, sync: bool) -> bool {
        let Some(chore) = self.working() else { return false };
        match chore.kind {
            // It may be about to promise that every batch is synced.
            Kind::Fill => !sync || end > self.active().length,
            Kind::Sync => sync,
            Kind::Index | Kind::Trim => false,
            Kind::Pay => true,
        }
    }
}

/// Waits until there are enough, as long as more arrive: for what is at hand, never for a time. Whether there are.
pub(super) async fn more(enough: usize, waiting: impl Fn() -> usize) -> bool {
    let (mut had, mut looks) = (waiting(), 0);
    while had < enough && looks < LOOKS {
        yield_now().await;
        let has = waiting();
        looks = if has > had { 0 } else { looks + 1 };
        had = has;
    }
    had >= enough
}

/// Adds the bytes of batches.
pub(super) fn slices(batches: &[Append], data: &mut Vec<Bytes>) {
    data.reserve(batches.len() + 1);
    batches.iter().for_each(|append| append.batch.pieces(|piece| data.push(piece)));
}

pub(super) fn bytes_of(group: &[Append]) -> u64 {
    group.iter().map(|a| a.header.size() as u64).sum()
}
