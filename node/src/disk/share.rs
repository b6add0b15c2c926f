//! Small synced groups of many logs, committed together: one write to the shard's journal and one sync for all of them.
//!
//! A sync costs the same whether it covers one record or a thousand, so logs that wait at the same time share one. Such
//! a group is durable, and ended, once its record is; it is *owed* to its segment, and paid there without a sync when
//! enough of it has come together, or before anything else is done with the log. A volume of the journal is used again
//! once every log in it has been settled: paid, and its segment synced.
//!
//! What is large, or alone, or stands on something that is not durable yet goes to its own segment ([`super::commit`]).
//! Whoever has appended waits here for the end of the turn: more may come for the same sync.

use super::at;
use super::commit::{Append, Change, ENOUGH, Head, more};
use super::journal::{self, Journal, Part, Place, Volume, Volumes};
use super::logs::Logs;
use super::names::{self, UNFINISHED};
use super::segment::LogRef;
use crate::host::{Completion, Disk, Op};
use klamm_core::ids::LogId;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::{io, mem};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

/// Larger groups are written once, to their own segment, and not twice.
const MOST_SHARED: u64 = 512 << 10;
/// So many batches are worth a record, of however few logs: the segment of a log that grows with each sync syncs slower
/// than the journal.
const MANY: usize = 16;
/// So many records take what there is, however few logs, after one with enough of them.
const SHARING: u32 = 16;
/// Who owes so many times as much as is to be paid could not be paid beside records.
const OVERDUE: u64 = 2;
/// Logs whose segments are synced at once when a volume is used up.
const SETTLED_AT_ONCE: usize = 8;

/// Logs with groups to commit, and the record that is being written.
#[derive(Debug)]
pub(super) struct Commits<F> {
    /// Each has a group at the head of its queue, and no task.
    ready: Vec<LogRef<F>>,
    /// There is a task.
    running: bool,
    flight: Option<Shared<F>>,
    /// Logs that owe much since the last record: paid once the next one is under way.
    unpaid: Vec<LogRef<F>>,
    /// So many batches are worth a record while more of them arrive.
    enough: usize,
    /// So many records more take what there is.
    sharing: u32,
    pub(super) journal: Journal<F>,
}

impl<F> Default for Commits<F> {
    fn default() -> Commits<F> {
        let (ready, unpaid) = (Vec::new(), Vec::new());
        Commits { ready, running: false, flight: None, unpaid, enough: 0, sharing: 0, journal: Journal::Absent }
    }
}

/// A record under way.
#[derive(Debug)]
struct Shared<F> {
    groups: Vec<(LogRef<F>, Vec<Append>)>,
    write: Completion<F>,
}

impl<F> Shared<F> {
    fn has(&self, log: &LogRef<F>) -> bool {
        self.groups.iter().any(|(other, _)| Rc::ptr_eq(other, log))
    }
}

/// A record's groups, and how its write ended.
type Landed<F> = (Vec<(LogRef<F>, Vec<Append>)>, io::Result<()>);

impl<F: Unpin> Commits<F> {
    fn poll_flight(&mut self, cx: &mut Context<'_>) -> Poll<Option<Landed<F>>> {
        let Some(flight) = &mut self.flight else { return Poll::Ready(None) };
        let result = ready!(Pin::new(&mut flight.write).poll(cx)).map(drop);
        Poll::Ready(self.flight.take().map(|flight| (flight.groups, result)))
    }
}

impl<D: Disk> Logs<D> {
    /// Takes a log whose queue has something at its head: committed at the end of the turn.
    pub(super) fn gather(&self, log: LogRef<D::File>) {
        let mut commits = self.commits().borrow_mut();
        commits.ready.push(log);
        if !commits.running {
            commits.running = true;
            spawn_local(self.clone().commit_ready());
        }
    }

    /// Whether a log's task should rather leave it to the journal: it could, and others are there.
    pub(super) fn joins_others(&self, log: &LogRef<D::File>) -> bool {
        let commits = self.commits().borrow();
        let (Journal::Open(volumes), it) = (&commits.journal, log.borrow()) else { return false };
        let Some(head) = it.head().filter(|_| it.may_share(self.most_shared())) else { return false };
        let enough = !commits.ready.is_empty() || commits.sharing > 0 || self.options().journal_least <= 1;
        // Without room it would come back at once.
        let room = || journal::size(1, head.batches, head.bytes) <= volumes.room();
        (commits.flight.is_some() || enough) && room()
    }

    /// The largest group that the journal takes, in bytes.
    fn most_shared(&self) -> u64 {
        MOST_SHARED.min(journal::most(self.options().journal_bytes))
    }

    async fn commit_ready(self) {
        loop {
            let landed = poll_fn(|cx| self.commits().borrow_mut().poll_flight(cx)).await;
            if let Some((groups, result)) = landed {
                self.shared(groups, result);
            }
            if self.waiting() > 0 && !more(self.enough(), || self.waiting()).await {
                self.no_more();
            }
            self.begin_groups();
            self.pay_unpaid();
            let mut commits = self.commits().borrow_mut();
            if commits.flight.is_none() && commits.ready.is_empty() {
                commits.running = false;
                return;
            }
        }
    }

    /// Ends a record that has been written, and begins the next one at once, before the task gets its turn.
    pub(super) fn land_shared(&self) {
        let landed = {
            let mut commits = self.commits().borrow_mut();
            // Not polled: the task is to be woken all the same.
            let result = commits.flight.as_mut().and_then(|flight| flight.write.take());
            result.and_then(|result| commits.flight.take().map(|flight| (flight.groups, result.map(drop))))
        };
        if let Some((groups, result)) = landed {
            self.shared(groups, result);
            if self.waiting() >= self.enough() {
                self.begin_groups();
                self.pay_unpaid();
            }
        }
    }

    /// Begins to pay the logs that owe much, now that the device has the next record. One that cannot be paid yet is looked
    /// at again when it owes more.
    fn pay_unpaid(&self) {
        let unpaid = mem::take(&mut self.commits().borrow_mut().unpaid);
        for log in unpaid {
            let (rests, owes) = (!log.borrow().draining, log.borrow().owes_much(self.options().owed_bytes));
            let commits = self.commits().borrow();
            let ready = || commits.ready.iter().any(|other| Rc::ptr_eq(other, &log));
            let under_way = || commits.flight.as_ref().is_some_and(|flight| flight.has(&log));
            // Else a task of its own pays.
            if owes && (rests || ready() || under_way()) {
                drop(commits);
                self.pay_beside(&log);
            }
        }
    }

    /// Batches of the logs that are ready.
    fn waiting(&self) -> usize {
        self.commits().borrow().ready.iter().map(|log| log.borrow().queue.len()).sum()
    }

    /// How many of them are worth a sync.
    fn enough(&self) -> usize {
        let commits = self.commits().borrow();
        commits.ready.iter().map(|log| log.borrow().enough).chain([commits.enough]).max().unwrap_or_default()
    }

    /// Not as many as before come any more.
    fn no_more(&self) {
        let mut commits = self.commits().borrow_mut();
        commits.enough = 0;
        commits.ready.iter().for_each(|log| log.borrow_mut().enough = 0);
    }

    /// Begins the groups that are ready: those that can in one record, if they are enough, the others on their own.
    fn begin_groups(&self) {
        let ready = mem::take(&mut self.commits().borrow_mut().ready);
        let most = self.most_shared();
        let (mut sharing, alone): (Vec<_>, Vec<_>) = ready.into_iter().partition(|log| log.borrow().may_share(most));
        let batches: usize = sharing.iter().map(|log| log.borrow().queue.len()).sum();
        if sharing.len() >= self.options().journal_least || batches >= MANY {
            self.commits().borrow_mut().sharing = SHARING;
        }
        let left = self.commits().borrow().sharing;
        if left > 0 && !sharing.is_empty() {
            self.commits().borrow_mut().sharing = left - 1;
            sharing = self.commit_shared(sharing);
        }
        for log in alone.into_iter().chain(sharing) {
            self.launch(&log);
            spawn_local(self.clone().drain(log));
        }
    }

    /// Writes a record of these logs' groups; gives back those that found no place.
    fn commit_shared(&self, logs: Vec<LogRef<D::File>>) -> Vec<LogRef<D::File>> {
        let mut commits = self.commits().borrow_mut();
        let volumes = match &mut commits.journal {
            Journal::Open(volumes) => volumes,
            Journal::Absent if self.options().journal_bytes > 0 => {
                commits.journal = Journal::Making;
                spawn_local(self.clone().make_journal());
                return logs;
            }
            Journal::Absent | Journal::Making | Journal::Over => return logs,
        };
        let mut fitting = fit(logs, journal::most(self.options().journal_bytes), volumes.room());
        let (mut later, without_room) = (mem::take(&mut fitting.later), mem::take(&mut fitting.without_room));
        if fitting.logs.is_empty() {
            return without_room;
        }
        let place = volumes.place(fitting.size(), fitting.ids()).expect("what fits has a place");
        if let Some(logs) = volumes.used_up() {
            spawn_local(self.clone().turn(logs));
        }
        let groups = fitting.take();
        let write = self.write_record(place, &groups);
        commits.flight = Some(Shared { groups, write });
        commits.ready.append(&mut later);
        without_room
    }

    fn write_record(&self, place: Place<D::File>, groups: &[(LogRef<D::File>, Vec<Append>)]) -> Completion<D::File> {
        let parts = groups.iter().map(|(log, group)| {
            let it = log.borrow();
            let at = it.active().bytes + it.owed.bytes();
            Part { log: it.id, cuts: it.marks.cuts, base: it.active().base, at, group }
        });
        let parts: Vec<_> = parts.collect();
        let data = journal::record(&place, &parts, self.options().crc);
        self.disk().submit(Op::Write { file: place.file, at: place.at, data, sync: true })
    }

    /// A record's write has ended: its groups with it.
    fn shared(&self, groups: Vec<(LogRef<D::File>, Vec<Append>)>, result: io::Result<()>) {
        let batches = groups.iter().map(|(_, group)| group.len()).sum();
        let error = result.err().map(|error| format!("the shard's journal: {error}"));
        match &error {
            None => self.count_group(batches),
            Some(error) => {
                tracing::error!(error, "the journal takes no more groups");
                self.commits().borrow_mut().journal = Journal::Over;
            }
        }
        for (log, group) in groups {
            let error = error.clone().or_else(|| log.borrow().dead.clone());
            match error {
                None => self.owe(&log, group),
                Some(error) => {
                    log.borrow_mut().dead.get_or_insert(error.clone());
                    group.into_iter().for_each(|append| self.fail(&log, Change::Append(append), &error));
                }
            }
            self.go_on(log);
        }
        let enough = (batches + self.waiting()) / ENOUGH;
        self.commits().borrow_mut().enough = enough;
    }

    /// A group is durable: ended, and owed to its segment.
    fn owe(&self, log: &LogRef<D::File>, group: Vec<Append>) {
        let last = group.last().expect("a group has a batch");
        let (id, seq, end) = (log.borrow().id, last.seq, last.header.next_offset());
        {
            let mut it = log.borrow_mut();
            it.durable = end;
            it.streak = it.streak.saturating_add(1);
            it.touched = true;
            it.owed.extend(group);
        }
        self.done(id, seq);
        if log.borrow().owes_much(self.options().owed_bytes) {
            self.commits().borrow_mut().unpaid.push(log.clone());
        }
    }

    /// After a record: the log rests, or waits for the next one, or has something else to do.
    fn go_on(&self, log: LogRef<D::File>) {
        let mut it = log.borrow_mut();
        let overdue = it.owes_much(OVERDUE * self.options().owed_bytes);
        if it.flight.is_none() && it.queue.is_empty() && !overdue {
            it.draining = false;
        } else if !overdue && it.may_share(self.most_shared()) {
            drop(it);
            self.commits().borrow_mut().ready.push(log);
        } else {
            drop(it);
            spawn_local(self.clone().drain(log));
        }
    }

    /// The journal's other volume is used up: settles the logs in it, then begins its next turn.
    async fn turn(self, logs: BTreeSet<LogId>) {
        let logs: Vec<_> = logs.into_iter().collect();
        let wanted = journal::length(logs.len(), self.options().journal_bytes);
        for some in logs.chunks(SETTLED_AT_ONCE) {
            let settling: Vec<_> = some.iter().filter_map(|id| self.settling(*id)).collect();
            for (log, settled) in settling {
                // Whoever was asked and is gone was removed: nothing is owed to it any more.
                let over = settled.await.unwrap_or(Ok(()));
                if let (Err(error), true) = (over, self.log(log).is_some()) {
                    return tracing::warn!(%error, "a volume of the journal is kept for what is not in its segment");
                }
            }
        }
        let next = match &self.commits().borrow().journal {
            Journal::Open(volumes) => volumes.next_turn(),
            Journal::Absent | Journal::Making | Journal::Over => return,
        };
        let (file, before, turn) = next;
        let begun = self.begin_turn(file, turn, before, wanted).await;
        let mut commits = self.commits().borrow_mut();
        match (begun, &mut commits.journal) {
            (Ok(length), Journal::Open(volumes)) => volumes.turned(turn, length),
            (Err(error), journal) => {
                tracing::error!(%error, "the journal takes no more groups");
                *journal = Journal::Over;
            }
            (Ok(_), Journal::Absent | Journal::Making | Journal::Over) => {}
        }
    }

    /// Gives a volume that is not needed its next header, and the length that it should have by now, if there is room for
    /// that; tells its length.
    async fn begin_turn(&self, file: D::File, turn: u64, before: u64, wanted: u64) -> io::Result<u64> {
        let mut length = before;
        if wanted > before {
            match self.disk().perform(Op::SetLength { file: file.clone(), len: wanted }).await {
                Ok(()) => {
                    // Should it fail, the next one might have nothing left to fail at, and still be no longer.
                    self.disk().perform(Op::Sync { file: file.clone() }).await?;
                    length = wanted;
                }
                Err(error) => tracing::info!(%error, "a volume of the journal stays as small as it is"),
            }
        }
        let (at, header) = journal::header(turn, self.options().salt, self.options().crc);
        self.disk().perform(Op::Write { file, at, data: vec![header], sync: true }).await?;
        Ok(length)
    }

    fn settling(&self, id: LogId) -> Option<(LogId, oneshot::Receiver<io::Result<()>>)> {
        let log = self.log(id)?;
        if let Some(error) = log.borrow().dead.clone() {
            if log.borrow().synced >= log.borrow().durable {
                return None;
            }
            let (failed, settled) = oneshot::channel();
            let _ = failed.send(Err(io::Error::other(error)));
            return Some((id, settled));
        }
        let (ended, settled) = oneshot::channel();
        self.enqueue(&log, Change::Settle { ended });
        Some((id, settled))
    }

    async fn make_journal(self) {
        let error = match self.make_volumes().await {
            // Unless the store was closed meanwhile.
            Ok(volumes) if matches!(self.commits().borrow().journal, Journal::Making) => {
                self.commits().borrow_mut().journal = Journal::Open(volumes);
                return;
            }
            Ok(_) => None,
            Err(error) => Some(error),
        };
        self.commits().borrow_mut().journal = Journal::Over;
        // Where the disk is full, others need the room.
        let removed = self.remove_volumes(&self.volume_names()).await;
        if let Some(error) = error.or(removed.err()) {
            tracing::warn!(%error, "no journal could be made: each log syncs its own segment");
        }
    }

    async fn make_volumes(&self) -> io::Result<Volumes<D::File>> {
        let [first, second] = self.volume_names();
        let (first, second) = (self.make_volume(first, 0).await?, self.make_volume(second, 1).await?);
        self.sync_dir("").await?;
        Ok(Volumes::new(first, second, self.options().salt))
    }

    /// Makes a volume whole before it gets its name.
    async fn make_volume(&self, name: names::Volume, turn: u64) -> io::Result<Volume<D::File>> {
        let (path, length) = (name.to_string(), journal::length(0, self.options().journal_bytes));
        let new = format!("{path}{UNFINISHED}");
        let file = self.disk().open_direct(&new, true).await.map_err(at(&new))?;
        self.disk().perform(Op::SetLength { file: file.clone(), len: length }).await.map_err(at(&new))?;
        self.disk().perform(Op::Sync { file: file.clone() }).await.map_err(at(&new))?;
        let (place, header) = journal::header(turn, self.options().salt, self.options().crc);
        let op = Op::Write { file: file.clone(), at: place, data: vec![header], sync: true };
        self.disk().perform(op).await.map_err(at(&new))?;
        self.disk().perform(Op::Rename { from: new, to: path.clone() }).await.map_err(at(&path))?;
        Ok(Volume::new(file, turn, length))
    }

    /// Every log is closed: the journal is not needed any more.
    pub(super) async fn end_journal(&self) -> io::Result<()> {
        let journal = mem::replace(&mut self.commits().borrow_mut().journal, Journal::Over);
        match journal {
            // Whoever is making it sees that it is over.
            Journal::Absent | Journal::Making => Ok(()),
            Journal::Open(_) | Journal::Over => self.remove_volumes(&self.volume_names()).await,
        }
    }

    /// Removes volumes that nothing is owed from, those that there are, finished or not.
    pub(super) async fn remove_volumes(&self, names: &[names::Volume]) -> io::Result<()> {
        let mut any = false;
        for path in names.iter().flat_map(|name| [name.to_string(), format!("{name}{UNFINISHED}")]) {
            match self.disk().perform(Op::Remove { path: path.clone() }).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
                result => any |= result.is_ok(),
            }
        }
        if any { self.sync_dir("").await } else { Ok(()) }
    }
}

/// Logs whose groups fit into one record, and the others.
struct Fitting<F> {
    logs: Vec<(LogRef<F>, Head)>,
    batches: usize,
    bytes: u64,
    /// For another record.
    later: Vec<LogRef<F>>,
    /// The journal has no place for them until a volume is free.
    without_room: Vec<LogRef<F>>,
}

impl<F> Fitting<F> {
    fn size(&self) -> u64 {
        journal::size(self.logs.len(), self.batches, self.bytes)
    }

    fn ids(&self) -> impl Iterator<Item = LogId> {
        self.logs.iter().map(|(log, _)| log.borrow().id)
    }

    fn take(self) -> Vec<(LogRef<F>, Vec<Append>)> {
        let take = |(log, head): (LogRef<F>, Head)| {
            let group = log.borrow_mut().take(head);
            (log, group)
        };
        self.logs.into_iter().map(take).collect()
    }
}

/// Those that fit into one record, of so many bytes of batches and so long at most.
fn fit<F>(logs: Vec<LogRef<F>>, most: u64, room: u64) -> Fitting<F> {
    let (later, without_room) = (Vec::new(), Vec::new());
    let mut fitting = Fitting { logs: Vec::with_capacity(logs.len()), batches: 0, bytes: 0, later, without_room };
    for log in logs {
        let head = log.borrow().head().expect("it has a group");
        let (batches, bytes) = (fitting.batches + head.batches, fitting.bytes + head.bytes);
        let size = journal::size(fitting.logs.len() + 1, batches, bytes);
        if size > room {
            fitting.without_room.push(log);
        } else if batches > journal::MOST_BATCHES || bytes > most {
            fitting.later.push(log);
        } else {
            (fitting.batches, fitting.bytes) = (batches, bytes);
            fitting.logs.push((log, head));
        }
    }
    fitting
}
