//! The rarer changes of a log: making, cutting, trimming and removing it, ballots, the clean close.
//!
//! Each begins when everything before it in the log's FIFO has ended, and no chore runs beside it. Each may be cut short
//! by a crash at any operation: what it must not half do it announces first, in the marks, and recovery ends it. A trim
//! has ended once it is announced: thousands of files may be left to be removed, and nobody is to wait for that.

use super::at;
use super::commit::{Change, Kind};
use super::logs::Logs;
use super::names::{self, BALLOT, INDEX, LOG, METADATA, STATE, TIMEINDEX, UNFINISHED, path};
use super::scan::Scan;
use super::segment::{LogRef, Marks};
use super::small;
use crate::host::{Disk, Op};
use klamm_core::ids::Offset;
use klamm_core::log::Checkpoint;
use klamm_core::record::Header;
use std::io;
use tokio::sync::oneshot;

/// Bytes copied at once when a file is replaced, and read at once to find a batch.
const CHUNK: usize = 1 << 20;

/// A batch boundary in a segment.
struct Place {
    /// A position of its index, at or before it.
    floor: u64,
    /// The batches between.
    kept: Vec<(Header, u64)>,
    position: u64,
}

impl<D: Disk> Logs<D> {
    /// Makes a change and ends it.
    pub(super) async fn perform(&self, log: &LogRef<D::File>, change: Change) {
        if let Change::Settle { ended } = change {
            return self.settle(log, ended).await;
        }
        let result = match &change {
            Change::Append(_) | Change::Settle { .. } => unreachable!("appends go in groups, settling goes on beside"),
            Change::Open { .. } => self.make(log).await,
            Change::Flush { .. } => self.flush(log).await,
            Change::Truncate { to, .. } => self.truncate(log, *to).await,
            Change::Trim { to, roll, .. } => self.trim(log, *to, roll.as_deref()).await,
            Change::Remove { aside, .. } => self.unmake(log, *aside).await,
            Change::Persist { ballot, .. } => {
                let folder = log.borrow().folder.clone();
                small::write(self.disk(), &folder, BALLOT, ballot).await
            }
            // What came while the log was being removed has nothing left to do.
            Change::Close { .. } if self.log(log.borrow().id).is_none() => Ok(()),
            Change::Close { .. } => self.seal(log).await,
        };
        if let Err(error) = result.and_then(|()| log.borrow().is_alive()) {
            let error = error.to_string();
            log.borrow_mut().dead.get_or_insert(error.clone());
            return self.fail(log, change, &error);
        }
        let id = log.borrow().id;
        match change {
            Change::Append(_) | Change::Settle { .. } => {}
            Change::Open { seq } | Change::Flush { seq } | Change::Truncate { seq, .. } => self.done(id, seq),
            Change::Trim { seq, .. } | Change::Persist { seq, .. } | Change::Remove { seq, .. } => self.done(id, seq),
            // Whoever waits for it may have gone.
            Change::Close { closed } => drop(closed.send(Ok(()))),
        }
    }

    /// Makes the folder beside its place, whole, and moves it there.
    async fn make(&self, log: &LogRef<D::File>) -> io::Result<()> {
        let (id, topic) = (log.borrow().id, log.borrow().topic.clone());
        let unborn = names::unborn(&topic, id);
        self.disk().perform(Op::MakeDir { path: unborn.clone() }).await.map_err(at(&unborn))?;
        let text = names::metadata(id.topic).into_bytes();
        small::create(self.disk(), &format!("{unborn}/{METADATA}"), text).await?;
        let first = path(&unborn, Offset(0), LOG);
        let file = self.disk().open(&first, true).await.map_err(at(&first))?;
        self.sync_dir(&unborn).await?;
        let mut folder = names::live(&topic, id);
        let moved = self.disk().perform(Op::Rename { from: unborn.clone(), to: folder.clone() }).await;
        if let Err(taken) = moved {
            if self.disk().list(&folder).await.is_err() {
                return Err(at(&folder)(taken));
            }
            folder = names::live_by_id(&topic, id)?;
            self.disk().perform(Op::Rename { from: unborn, to: folder.clone() }).await.map_err(at(&folder))?;
        }
        self.sync_dir("").await?;
        let mut it = log.borrow_mut();
        it.folder = folder.into();
        self.hold(&mut it, Offset(0), file);
        Ok(())
    }

    /// Puts on the device what is in the files: closed segments are, once no chore is left.
    async fn flush(&self, log: &LogRef<D::File>) -> io::Result<()> {
        self.rested(log).await?;
        self.sync_written(log).await
    }

    async fn sync_written(&self, log: &LogRef<D::File>) -> io::Result<()> {
        let (base, written) = {
            let it = log.borrow();
            if it.synced == it.written {
                return Ok(());
            }
            (it.active().base, it.written)
        };
        let file = self.file(log, base).await?;
        let path = path(&log.borrow().folder, base, LOG);
        self.disk().perform(Op::Sync { file }).await.map_err(at(&path))?;
        let mut it = log.borrow_mut();
        it.synced = written;
        it.durable = it.durable.max(written);
        Ok(())
    }

    /// Puts on the device what the journal had of the log, which is in its segment. Its next groups need not wait for
    /// that: the journal takes them.
    async fn settle(&self, log: &LogRef<D::File>, ended: oneshot::Sender<io::Result<()>>) {
        // Whoever waits for it may have gone; of a log that was removed nothing is left to do.
        if self.log(log.borrow().id).is_none() {
            return drop(ended.send(Ok(())));
        }
        if let Err(error) = self.mark_if_due(log).await {
            self.dies(log, &error.to_string());
            return drop(ended.send(Err(error)));
        }
        let (this, held) = (self.clone(), log.clone());
        self.chore(log, Kind::Sync, async move {
            let result = this.sync_written(&held).await;
            let told = match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            drop(ended.send(told));
            result
        });
    }

    /// Writes down how far the log was synced, when it is time.
    async fn mark_if_due(&self, log: &LogRef<D::File>) -> io::Result<()> {
        self.rested(log).await?;
        let due = self.due_marks(&log.borrow());
        match due {
            Some(marks) => self.mark(log, marks).await,
            None => Ok(()),
        }
    }

    /// Cuts the log. Segments that begin at or above `to` go, but for the first one.
    async fn truncate(&self, log: &LogRef<D::File>, to: Offset) -> io::Result<()> {
        // From the marks on the journal says nothing any more of what stays.
        self.flush(log).await?;
        let (old, kept) = {
            let it = log.borrow();
            let kept = it.segments.partition_point(|s| s.base < to).max(1);
            (it.marks, it.segments[kept - 1].base)
        };
        let place = self.place(log, kept, to).await?;
        let cuts = old.cuts + 1;
        let marks = Marks { flushed: old.flushed.min(to), cut: Some(to), closed: None, cuts, ..old };
        self.mark(log, marks).await?;
        let (folder, gone) = {
            let mut it = log.borrow_mut();
            let keep = it.segments.partition_point(|s| s.base <= kept);
            let mut gone = it.segments.split_off(keep);
            gone.iter_mut().for_each(|s| self.let_go(s));
            (it.folder.clone(), gone)
        };
        for segment in gone.iter().rev() {
            self.remove_files(&folder, segment.base, &[STATE, INDEX, TIMEINDEX, LOG]).await?;
        }
        self.remove_files(&folder, kept, &[INDEX, TIMEINDEX]).await?;
        self.cut(log, kept, &place, to).await?;
        self.sync_dir(&folder).await?;
        self.mark(log, Marks { cut: None, flushed: to, ..marks }).await
    }

    /// Where in a segment the batch boundary at an offset is.
    async fn place(&self, log: &LogRef<D::File>, base: Offset, to: Offset) -> io::Result<Place> {
        let file = self.file(log, base).await?;
        self.indexed(log, base, &file).await?;
        let (bytes, floor, path) = {
            let it = log.borrow();
            let (segment, _) = it.holding(base).expect("only this task drops segments");
            // The batch before it: what is kept of the index ends with that one.
            let floor = segment.index.as_ref().map_or(0, |i| i.floor(Offset(to.0 - 1)));
            (segment.bytes, floor, path(&it.folder, base, LOG))
        };
        let mut scan = Scan::new(self.disk(), file, floor, bytes, CHUNK);
        let (mut kept, mut end) = (Vec::new(), base);
        while let Some(header) = scan.header().await.map_err(at(&path))? {
            end = header.base_offset;
            if end >= to {
                break;
            }
            kept.push((header, scan.at));
            scan.skip(header.size() as u64);
            end = header.next_offset();
        }
        if end != to {
            return Err(io::Error::other(format!("{path}: no batch begins or ends at {to}")));
        }
        Ok(Place { floor, kept, position: scan.at })
    }

    /// Cuts a segment's file, durably: in place where nobody can still be reading the bytes, else by replacing it.
    async fn cut(&self, log: &LogRef<D::File>, base: Offset, place: &Place, to: Offset) -> io::Result<()> {
        let path = path(&log.borrow().folder, base, LOG);
        let mut file = self.file(log, base).await?;
        self.indexed(log, base, &file).await?;
        let len = place.position;
        let in_place = log.borrow_mut().segment_mut(base).is_some_and(|s| len >= s.sent_upto);
        if in_place {
            self.disk().perform(Op::SetLength { file: file.clone(), len }).await.map_err(at(&path))?;
            self.disk().perform(Op::Sync { file: file.clone() }).await.map_err(at(&path))?;
        } else {
            file = self.replace(&path, &file, len).await.map_err(at(&path))?;
        }
        let mut it = log.borrow_mut();
        let segment = it.segment_mut(base).expect("only this task drops segments");
        (segment.bytes, segment.length) = (len, len);
        if !in_place {
            segment.sent_upto = 0;
        }
        if let Some(index) = &mut segment.index {
            index.cut(to, place.floor, &place.kept);
            segment.max_timestamp = index.max_timestamp();
        }
        self.hold(&mut it, base, file);
        it.beside = None;
        (it.written, it.synced, it.durable) = (to, to, to);
        Ok(())
    }

    /// A new file with the first `len` bytes of the old one, in its place.
    async fn replace(&self, path: &str, old: &D::File, len: u64) -> io::Result<D::File> {
        let new = format!("{path}{UNFINISHED}");
        let file = self.disk().open(&new, true).await?;
        self.disk().perform(Op::SetLength { file: file.clone(), len: 0 }).await?;
        let mut done = 0;
        while done < len {
            let step = usize::try_from(len - done).map_or(CHUNK, |left| left.min(CHUNK));
            let bytes = self.disk().read(old, done, step).await?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (from, read) = (done, bytes.len() as u64);
            self.disk().perform(Op::Write { file: file.clone(), at: from, data: vec![bytes], sync: false }).await?;
            done += read;
        }
        self.disk().perform(Op::Sync { file: file.clone() }).await?;
        self.disk().perform(Op::Rename { from: new, to: path.to_owned() }).await?;
        Ok(file)
    }

    /// Moves the log's start; whole segments below it go, but never the active one: `roll` begins another one first. Their
    /// files go afterwards.
    async fn trim(&self, log: &LogRef<D::File>, to: Offset, roll: Option<&Checkpoint>) -> io::Result<()> {
        if let Some(state) = roll {
            self.roll(log, state.clone(), true).await?;
        }
        self.rested(log).await?;
        if to > log.borrow().marks.log_start_offset {
            self.begin_at(log, to).await?;
        }
        let (folder, gone) = {
            let mut it = log.borrow_mut();
            let start = it.marks.log_start_offset;
            let needless = it.segments.windows(2).take_while(|w| w[1].base <= start).count();
            let mut gone: Vec<_> = it.segments.drain(..needless).collect();
            gone.iter_mut().for_each(|s| self.let_go(s));
            it.trimmed = it.trimmed.wrapping_add(gone.len() as u64);
            (it.folder.clone(), gone)
        };
        if gone.is_empty() {
            return Ok(());
        }
        let (this, bases) = (self.clone(), gone.into_iter().map(|segment| segment.base));
        self.chore(log, Kind::Trim, async move {
            for base in bases {
                this.remove_files(&folder, base, &[LOG, INDEX, TIMEINDEX, STATE]).await?;
            }
            this.sync_dir(&folder).await
        });
        Ok(())
    }

    /// Makes a new start of the log durable.
    async fn begin_at(&self, log: &LogRef<D::File>, start: Offset) -> io::Result<()> {
        let (active, written, synced) = {
            let it = log.borrow();
            (it.active().base, it.written, it.synced)
        };
        let path = path(&log.borrow().folder, active, LOG);
        if start > written {
            return Err(io::Error::other(format!("{path}: trimmed to {start}, past its end {written}")));
        }
        // A log must not start after what a crash leaves of it.
        if start > synced {
            let file = self.file(log, active).await?;
            self.disk().perform(Op::Sync { file }).await.map_err(at(&path))?;
            let mut it = log.borrow_mut();
            (it.synced, it.durable) = (written, written);
        }
        let marks = log.borrow().marks;
        let flushed = log.borrow().synced;
        self.mark(log, Marks { log_start_offset: start, flushed, ..marks }).await
    }

    /// Moves the folder out of the way, which is what counts, and removes it, unless it is only to be set aside.
    async fn unmake(&self, log: &LogRef<D::File>, aside: bool) -> io::Result<()> {
        self.rested(log).await?;
        let (id, folder, doomed) = {
            let mut it = log.borrow_mut();
            it.begin_generation();
            let name = if aside { names::stray } else { names::doomed };
            (it.id, it.folder.clone(), name(&it.topic, it.id))
        };
        self.disk().perform(Op::Rename { from: folder.to_string(), to: doomed.clone() }).await.map_err(at(&folder))?;
        self.sync_dir("").await?;
        if !aside {
            self.remove_folder(&doomed).await?;
        }
        self.forget(id);
        Ok(())
    }

    /// Removes a folder and what is in it, durably.
    pub(super) async fn remove_folder(&self, folder: &str) -> io::Result<()> {
        for name in self.disk().list(folder).await.map_err(at(folder))? {
            let path = format!("{folder}/{name}");
            self.disk().perform(Op::Remove { path: path.clone() }).await.map_err(at(&path))?;
        }
        self.disk().perform(Op::RemoveDir { path: folder.to_owned() }).await.map_err(at(folder))?;
        self.sync_dir("").await
    }

    /// Removes a segment's files, those that there are.
    pub(super) async fn remove_files(&self, folder: &str, base: Offset, extensions: &[&str]) -> io::Result<()> {
        for extension in extensions {
            let path = path(folder, base, extension);
            match self.disk().perform(Op::Remove { path: path.clone() }).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    pub(super) async fn sync_dir(&self, folder: &str) -> io::Result<()> {
        self.disk().perform(Op::SyncDir { path: folder.to_owned() }).await.map_err(at(folder))
    }

    /// Leaves the log as Kafka's tools read it: no zeros behind the batches, indexes beside them.
    async fn seal(&self, log: &LogRef<D::File>) -> io::Result<()> {
        self.rested(log).await?;
        if !log.borrow().touched {
            return Ok(());
        }
        let active = log.borrow().active().base;
        self.trim_zeros(log, active).await?;
        self.save_index(log, active).await?;
        let marks = {
            let mut it = log.borrow_mut();
            it.synced = it.written;
            it.touched = false;
            Marks { flushed: it.written, closed: Some(it.active().bytes), ..it.marks }
        };
        self.mark(log, marks).await
    }
}
