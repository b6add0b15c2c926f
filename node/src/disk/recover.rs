//! From files to logs after whatever happened: what is reported is on the device, or the log is refused.
//!
//! Below the newest `checkpoint` everything was made durable before that was written. Above it what the journals have is
//! put back, and every batch is read and checked; the first bad one ends the log. What is kept above the last mark is written *again* and synced: after a failed
//! sync, or a kill in the middle of one, the page cache may hold what the device does not (Rebello et al., ATC 2020).
//! Everything here may be cut short by another crash, and then begins anew.
//!
//! In a log of synced groups only the last group can be torn: a good batch further behind a bad one than a group is
//! long, or a bad one below what was marked as durable, is corruption. Then nothing is touched and we say where.

use super::at;
use super::below::Below;
use super::commit::GROUP_BYTES;
use super::index::Index;
use super::logs::{Logs, Options};
use super::names::{
    self, BALLOT, CLUSTER, Folder, INDEX, LOG, MARKS, METADATA, STATE, TIMEINDEX, UNFINISHED, Volume, path,
};
use super::redo::Redo;
use super::scan::Scan;
use super::segment::{Log, Marks, Segment};
use super::small;
use crate::host::{Disk, Op};
use bytes::Bytes;
use klamm_core::effect::Input;
use klamm_core::ids::{LogId, Offset, ShardIndex, Uuid};
use klamm_core::log::{Checkpoint, Found, Segment as Summary};
use klamm_core::record::{Batch, HEADER_BYTES, Header};
use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::rc::Rc;

/// Bytes read, and written again, at once.
const CHUNK: usize = 1 << 20;
/// Batches written again at once, at most: slices of one write.
const WRITTEN_AT_ONCE: usize = 512;
/// The first bytes of a batch, up to its checksum, which covers the others.
const UNCOVERED: usize = 21;
/// So often a log is read anew that changes while it is read: it loses what the device does not have.
const READ_ANEW: usize = 8;

/// A segment file, read to its last good batch.
struct Scanned<F> {
    /// The state below it.
    below: Checkpoint,
    file: F,
    /// The file's length.
    length: u64,
    /// Where the good batches end.
    bytes: u64,
    /// Where those end that were marked as durable.
    flushed: u64,
    /// What the heads of the batches behind that say, in short.
    heads: u32,
    index: Index,
    /// Bytes behind the good batches, without the zeros at the end.
    torn: u64,
}

impl<D: Disk> Logs<D> {
    /// Recovers the shard's logs, in the order of their folders' names: one `Recovered` each. `events` must not call back.
    ///
    /// # Errors
    /// When the data directory, or which log a folder is, cannot be read. Another log that cannot be is reported as
    /// refused.
    pub async fn recover(
        disk: D,
        options: Options,
        shard: ShardIndex,
        shards: u16,
        events: Rc<dyn Fn(Input)>,
    ) -> io::Result<Logs<D>> {
        // A folder that a kill left here, renamed but not synced, must not turn back later.
        disk.perform(Op::SyncDir { path: String::new() }).await?;
        let names = disk.list("").await?;
        let logs = Logs::new(disk, options, volumes(&names, shard, shards)?, events);
        let ours = |log: &LogId| log.owner(shards) == shard;
        let redo = logs.read_journals(&names, shards, ours).await?;
        for name in names {
            match names::folder(&name) {
                Some(Folder::Dead(log)) if ours(&log) => logs.remove_folder(&name).await?,
                Some(Folder::Live { topic, partition }) => {
                    let Some(id) = logs.topic_id(&name).await? else {
                        if shard == ShardIndex(0) {
                            tracing::warn!("{name}: a folder without {METADATA} is no log of ours, and left alone");
                        }
                        continue;
                    };
                    // Without its metadata a broker would begin anew, and take every log for a stray one.
                    if (topic == CLUSTER) != (id == Uuid::METADATA) {
                        return Err(corrupt(&format!("{name}/{METADATA}"), "damaged: the id of another topic"));
                    }
                    let log = LogId { topic: id, partition };
                    if ours(&log) {
                        logs.recover_log(log, topic, name, &redo).await;
                    }
                }
                // A volume that was not finished has never been used.
                None if shard == ShardIndex(0) && names::is_unborn_volume(&name) => {
                    logs.disk().perform(Op::Remove { path: name.clone() }).await.map_err(at(&name))?;
                }
                Some(Folder::Dead(_)) | None => {}
            }
        }
        logs.replayed(redo);
        Ok(logs)
    }

    /// The id in a folder's `partition.metadata`. A folder is made whole before it gets its name, so one without is not
    /// ours, and left alone.
    async fn topic_id(&self, folder: &str) -> io::Result<Option<Uuid>> {
        let path = format!("{folder}/{METADATA}");
        let file = match self.disk().open(&path, false).await {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(at(&path)(error)),
        };
        let text = self.disk().read(&file, 0, 4096).await.map_err(at(&path))?;
        names::topic_id(&text).map(Some).ok_or_else(|| corrupt(&path, "damaged: no topic id"))
    }

    async fn recover_log(&self, id: LogId, topic: String, folder: String, redo: &Redo<D::File>) {
        if self.log(id).is_some() {
            tracing::warn!("{folder}: another folder has this topic id: this one is left alone");
            return;
        }
        let mut found = self.found(id, &topic, &folder, redo).await;
        for _ in 0..READ_ANEW {
            let Ok(None) = found else { break };
            found = self.found(id, &topic, &folder, redo).await;
        }
        let restless = || corrupt(&folder, "is not what it was a moment ago, again and again");
        let (log, found) = match found.and_then(|found| found.ok_or_else(restless)) {
            Ok((log, found)) => (log, Ok(Box::new(found))),
            Err(error) => (Log::refused(id, topic.clone(), folder, error.to_string()), Err(error.to_string())),
        };
        self.keep(log);
        self.emit(Input::Recovered { log: id, name: topic, found });
    }

    /// `None` when what was read was gone before it was on the device.
    async fn found(
        &self,
        id: LogId,
        topic: &str,
        folder: &str,
        redo: &Redo<D::File>,
    ) -> io::Result<Option<(Log<D::File>, Found)>> {
        // What a kill left in the page cache is believed from here on, so it must stay.
        self.sync_dir(folder).await?;
        let marks: Marks = small::read(self.disk(), &format!("{folder}/{MARKS}")).await?.unwrap_or_default();
        let ballot = small::read(self.disk(), &format!("{folder}/{BALLOT}")).await?;
        let names = self.disk().list(folder).await.map_err(at(folder))?;
        for name in names.iter().filter(|n| n.ends_with(UNFINISHED)) {
            let path = format!("{folder}/{name}");
            self.disk().perform(Op::Remove { path: path.clone() }).await.map_err(at(&path))?;
        }
        let bases = |extension| names.iter().filter_map(move |n| names::base(n, extension)).collect::<BTreeSet<_>>();
        let kept = self.finish_cuts(folder, &marks, bases(LOG), &bases(STATE)).await?;
        let Below { number, mut state } = self.newest_state(folder, &marks, &kept, &bases(STATE)).await?;
        let mut log = Log::new(id, topic.to_owned());
        log.folder = folder.into();
        log.segments = self.closed(folder, &kept, &mut state, &marks).await?;
        log.trimmed = number.wrapping_sub(log.segments.len() as u64);
        if redo.is_ahead(id, marks.cuts) {
            return Err(corrupt(&format!("{folder}/{MARKS}"), "older than the journal, or gone"));
        }
        let redone = self.redo(redo, id, folder, &kept.range(state.at..).copied().collect(), &marks).await?;
        let durable = marks.flushed.max(redo.durable(id, marks.cuts));
        let scanned = self.scan_all(folder, &kept, &mut state, &marks, durable).await?;
        let torn_bytes = scanned.iter().map(|s| s.torn).sum();
        let closed = marks.closed.filter(|_| marks.flushed == state.at && marks.cut.is_none() && !redone);
        let first = scanned.first().map_or(state.at, |s| s.below.at);
        log.segments.reserve_exact(scanned.len()); // Mostly one, and there may be many logs.
        for (mut segment, summary) in scanned.into_iter().zip(&state.segments[log.segments.len()..]) {
            if segment.below.at > first {
                // Its roll was cut short; what is below it is durable by now.
                let below = Below { number: log.begun(), state: mem::take(&mut segment.below) };
                self.write_state(folder, &below).await?;
            }
            if !self.make_durable(folder, &segment, closed).await? {
                return Ok(None);
            }
            let index = (segment.bytes > 0).then(|| Box::new(segment.index));
            log.segments.push(Segment { index, ..Segment::closed(summary) });
        }
        let last = log.active().base;
        for base in kept.range(last..).filter(|base| **base > last) {
            self.remove_files(folder, *base, &[STATE, INDEX, TIMEINDEX, LOG]).await?;
        }
        self.sync_dir(folder).await?;
        (log.end, log.written, log.synced, log.durable) = (state.at, state.at, state.at, state.at);
        let closed = Some(log.active().bytes);
        let now = Marks { flushed: state.at, closed, cut: None, log_start_offset: state.log_start_offset, ..marks };
        if now != marks {
            small::write(self.disk(), folder, MARKS, &now).await?;
        }
        log.marks = now;
        Ok(Some((log, Found { state, ballot, torn_bytes })))
    }

    /// Ends a truncation and a trim that the marks announce; gives the segments that are left.
    async fn finish_cuts(
        &self,
        folder: &str,
        marks: &Marks,
        bases: BTreeSet<Offset>,
        states: &BTreeSet<Offset>,
    ) -> io::Result<BTreeSet<Offset>> {
        let mut kept = bases.clone();
        if let Some(to) = marks.cut {
            let first = bases.first().copied();
            kept.retain(|base| *base < to || Some(*base) == first);
        }
        // The last segment that begins at or below the log's start holds it; but one without a state stands on those
        // before it.
        let newest = kept.intersection(states).last().or(kept.first());
        let start = newest.map_or(marks.log_start_offset, |base| marks.log_start_offset.min(*base));
        if let Some(first) = kept.range(..=start).next_back().copied() {
            kept = kept.split_off(&first);
        }
        for base in bases.difference(&kept) {
            self.remove_files(folder, *base, &[STATE, INDEX, TIMEINDEX, LOG]).await?;
        }
        Ok(kept)
    }

    /// The state below the newest segment that has one: everything below is durable.
    async fn newest_state(
        &self,
        folder: &str,
        marks: &Marks,
        kept: &BTreeSet<Offset>,
        states: &BTreeSet<Offset>,
    ) -> io::Result<Below> {
        let Some(first) = kept.first() else { return Err(corrupt(folder, "no segment is left")) };
        for base in states.difference(kept) {
            // A roll or a truncation was cut short; or the file is lost.
            if marks.cut.is_none() && *base < marks.flushed && base > first {
                return Err(corrupt(&path(folder, *base, LOG), "is gone"));
            }
            self.remove_files(folder, *base, &[STATE]).await?;
        }
        let Some(base) = states.intersection(kept).last() else {
            let state = Checkpoint { at: *first, log_start_offset: *first, ..Checkpoint::default() };
            return Ok(Below { number: 0, state });
        };
        self.read_state(folder, *base, *first).await
    }

    /// The segments below the state: they must be there, whole.
    async fn closed(
        &self,
        folder: &str,
        kept: &BTreeSet<Offset>,
        state: &mut Checkpoint,
        marks: &Marks,
    ) -> io::Result<Vec<Segment<D::File>>> {
        let first = *kept.first().expect("checked before");
        state.log_start_offset = state.log_start_offset.max(marks.log_start_offset);
        state.segments.retain(|s| s.base >= first);
        if state.segments.first().map_or(state.at, |s| s.base) > state.log_start_offset {
            return Err(corrupt(folder, "the first segment is gone"));
        }
        for summary in &state.segments {
            let path = path(folder, summary.base, LOG);
            let file = self.disk().open(&path, false).await.map_err(at(&path))?;
            let length = self.disk().length(&file).await.map_err(at(&path))?;
            if length != summary.bytes {
                return Err(corrupt(&path, &format!("has {length} bytes, but was closed with {}", summary.bytes)));
            }
        }
        Ok(state.segments.iter().map(Segment::closed).collect())
    }

    /// Reads the segments above the state, one after the other as long as they join.
    async fn scan_all(
        &self,
        folder: &str,
        kept: &BTreeSet<Offset>,
        state: &mut Checkpoint,
        marks: &Marks,
        durable: Offset,
    ) -> io::Result<Vec<Scanned<D::File>>> {
        let mut all: Vec<Scanned<D::File>> = Vec::new();
        let from = state.at;
        for base in kept.range(from..) {
            let path = path(folder, *base, LOG);
            let file = self.disk().open(&path, false).await.map_err(at(&path))?;
            let length = self.disk().length(&file).await.map_err(at(&path))?;
            if !all.is_empty() && *base != state.at {
                // The segment before it ends early; only unsynced ones may.
                if marks.strict && marks.cut.is_none() && self.last_byte(&file, 0, length).await.map_err(at(&path))? > 0
                {
                    return Err(corrupt(
                        &path,
                        &format!("begins at {base}, but the one before it ends at {}", state.at),
                    ));
                }
                break;
            }
            let scanned = self.scan(&path, file, length, state, marks).await?;
            if scanned.bytes == 0 && !all.is_empty() {
                // Its roll was cut short before anything was written.
                state.segments.pop();
                break;
            }
            all.push(scanned);
        }
        let durable = durable.max(state.log_start_offset);
        if state.at < durable {
            let text = format!("ends at {}, but was durable up to {durable}", state.at);
            return Err(corrupt(folder, &text));
        }
        Ok(all)
    }

    /// Reads one segment to its last good batch; refuses what no crash leaves behind.
    async fn scan(
        &self,
        path: &str,
        file: D::File,
        length: u64,
        state: &mut Checkpoint,
        marks: &Marks,
    ) -> io::Result<Scanned<D::File>> {
        let (base, below) = (state.at, state.clone());
        state.segments.reserve_exact(1); // Mostly the only one, and there may be many logs.
        state.segments.push(Summary::empty(base));
        let index = Index::new(base);
        let mut scanned = Scanned { below, file: file.clone(), length, bytes: 0, flushed: 0, heads: 0, index, torn: 0 };
        let mut scan = Scan::new(self.disk(), file.clone(), 0, length, CHUNK);
        while let Some(batch) = self.good(&mut scan).await.map_err(at(path))? {
            let header = batch.header;
            let cut = marks.cut.is_some_and(|to| header.next_offset() > to);
            if cut || header.base_offset != state.at || header.leader_epoch < state.last_epoch() {
                break;
            }
            scanned.index.add(&header, scan.at);
            state.fold(&header, false);
            scanned.heads = self.heads(scanned.heads, &mut scan).await.map_err(at(path))?;
            scan.skip(header.size() as u64);
            if state.at <= marks.flushed {
                (scanned.flushed, scanned.heads) = (scan.at, 0);
            }
        }
        scanned.bytes = scan.at;
        if marks.cut.is_none() {
            let end = self.last_byte(&file, scan.at, length).await.map_err(at(path))?;
            scanned.torn = end.saturating_sub(scan.at);
            if marks.strict
                && let Some(good) = self.good_behind(&file, scan.at, end, state.at).await.map_err(at(path))?
            {
                let text = format!("bad at position {}, but good again at {good}", scan.at);
                return Err(corrupt(path, &text));
            }
        }
        Ok(scanned)
    }

    /// The batch that starts here, if it is a good one.
    async fn good(&self, scan: &mut Scan<'_, D>) -> io::Result<Option<Batch>> {
        let header = match scan.header().await {
            Ok(Some(header)) => header,
            Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(error),
            Ok(None) | Err(_) => return Ok(None),
        };
        let bytes = scan.peek(header.size()).await?;
        Ok(Batch::stored(bytes, self.options().crc).ok())
    }

    /// Where the last byte that is not zero ends, or 0: looked for from a position on.
    async fn last_byte(&self, file: &D::File, from: u64, length: u64) -> io::Result<u64> {
        let (mut at, mut end) = (from, 0);
        while at < length {
            let bytes = self.disk().read(file, at, CHUNK).await?;
            if bytes.is_empty() {
                break;
            }
            if let Some(last) = bytes.iter().rposition(|b| *b != 0) {
                end = at + last as u64 + 1;
            }
            at += bytes.len() as u64;
        }
        Ok(end)
    }

    /// A good batch of later offsets, further behind a bad one than a group is long.
    async fn good_behind(&self, file: &D::File, bad: u64, end: u64, expected: Offset) -> io::Result<Option<u64>> {
        let mut from = bad + GROUP_BYTES;
        while from + HEADER_BYTES as u64 <= end {
            let bytes = self.disk().read(file, from, CHUNK).await?;
            let plausible = |at: &usize| {
                let header = Header::parse(&bytes[*at..]).ok();
                header.is_some_and(|h| h.base_offset >= expected && from + (*at + h.size()) as u64 <= end)
            };
            for at in (0..bytes.len().saturating_sub(HEADER_BYTES - 1)).filter(plausible) {
                let position = from + at as u64;
                let mut scan = Scan::new(self.disk(), file.clone(), position, end, CHUNK);
                if self.good(&mut scan).await?.is_some() {
                    return Ok(Some(position));
                }
            }
            if bytes.len() < CHUNK {
                break;
            }
            from += (CHUNK - HEADER_BYTES + 1) as u64;
        }
        Ok(None)
    }

    /// What stands here, and what stood before it, in short. The rest of a batch its checksum covers.
    async fn heads(&self, before: u32, scan: &mut Scan<'_, D>) -> io::Result<u32> {
        let head = scan.peek(UNCOVERED).await?;
        Ok((self.options().crc)(&[&before.to_be_bytes(), &head[..]].concat()))
    }

    /// Writes again what may not be on the device, cuts the file behind it and syncs it. `closed` is the length with which
    /// that was done before, when nothing was written since. Pages whose sync failed count as clean, and may leave the
    /// cache at any time: says whether what was read is still what was written again.
    async fn make_durable(&self, folder: &str, segment: &Scanned<D::File>, closed: Option<u64>) -> io::Result<bool> {
        let path = path(folder, segment.below.at, LOG);
        if segment.bytes == segment.length && closed == Some(segment.bytes) {
            return Ok(true);
        }
        self.remove_files(folder, segment.below.at, &[INDEX, TIMEINDEX]).await?;
        let file = segment.file.clone();
        if !self.write_again(segment).await.map_err(at(&path))? {
            return Ok(false);
        }
        // A cut whose sync failed may not be on the device either, so a file that has this length gets it again.
        let longer = (segment.length == segment.bytes).then_some(segment.bytes + 1);
        for len in longer.into_iter().chain([segment.bytes]) {
            self.disk().perform(Op::SetLength { file: file.clone(), len }).await.map_err(at(&path))?;
        }
        self.disk().perform(Op::Sync { file }).await.map_err(at(&path))?;
        Ok(true)
    }

    /// Batch by batch, as long as they are good; whether they are those that were read.
    async fn write_again(&self, segment: &Scanned<D::File>) -> io::Result<bool> {
        let mut scan = Scan::new(self.disk(), segment.file.clone(), segment.flushed, segment.bytes, CHUNK);
        let (mut heads, mut from, mut data) = (0, scan.at, Vec::new());
        while let Some(batch) = self.good(&mut scan).await? {
            heads = self.heads(heads, &mut scan).await?;
            data.push(scan.peek(batch.header.size()).await?);
            scan.skip(batch.header.size() as u64);
            if data.len() == WRITTEN_AT_ONCE || scan.at - from >= CHUNK as u64 {
                self.again(&segment.file, mem::replace(&mut from, scan.at), mem::take(&mut data)).await?;
            }
        }
        if !data.is_empty() {
            self.again(&segment.file, from, data).await?;
        }
        Ok(scan.at == segment.bytes && heads == segment.heads)
    }

    async fn again(&self, file: &D::File, at: u64, data: Vec<Bytes>) -> io::Result<()> {
        self.disk().perform(Op::Write { file: file.clone(), at, data, sync: false }).await
    }
}

/// What this life's journal is called, when the data directory has these names.
fn volumes(names: &[String], shard: ShardIndex, shards: u16) -> io::Result<[Volume; 2]> {
    let last = names.iter().filter_map(|name| names::volume(name)).max_by_key(|volume| volume.life);
    let life = match last {
        Some(last) => {
            last.life.checked_add(1).ok_or_else(|| corrupt(&last.to_string(), "no life can come after this one"))?
        }
        None => 1,
    };
    Ok([0, 1].map(|index| Volume { life, shard: shard.0, shards, index }))
}

fn corrupt(path: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{path}: {text}"))
}
