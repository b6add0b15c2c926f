//! What the journals of earlier lives have of each log, and its way back into the segments.
//!
//! A journal that ends in the middle of a record is what a crash leaves: nobody was told of that record. A good record
//! behind a bad one is corruption, and then nothing is touched and we say where: what is bad may have been acknowledged.
//! To do it all once more is harmless, so a journal may be removed late, and another crash may come at any time.

use super::at;
use super::journal::{self, FIRST, HEADERS, Head, RECORD_BYTES, VOLUME_BYTES};
use super::logs::Logs;
use super::names::{self, LOG, Volume, path};
use super::segment::Marks;
use super::tail::PREFIX;
use crate::host::{BLOCK, Disk, Op};
use bytes::{Bytes, BytesMut};
use klamm_core::ids::{LogId, Offset};
use klamm_core::record::Batch;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Bytes looked through at once: whole blocks.
const STEP: usize = 1 << 20;

/// What the journals hold.
#[derive(Debug)]
pub(super) struct Redo<F> {
    groups: BTreeMap<LogId, Vec<Group<F>>>,
    /// The volumes that there are.
    pub(super) volumes: Vec<Volume>,
}

/// A group, still in its volume.
#[derive(Debug)]
struct Group<F> {
    volume: F,
    name: Volume,
    cuts: u32,
    /// Its place.
    base: Offset,
    at: u64,
    /// Its batches: first bytes, and where the rest is.
    batches: Vec<([u8; PREFIX], u64, usize)>,
    /// The offset after it.
    end: Offset,
}

/// A volume that is being read.
struct Reading<'a, F> {
    name: Volume,
    file: &'a F,
    path: &'a str,
    stamp: u64,
    length: u64,
}

impl<F> Default for Redo<F> {
    fn default() -> Redo<F> {
        Redo { groups: BTreeMap::new(), volumes: Vec::new() }
    }
}

impl<F> Redo<F> {
    /// The offset below which the journals say that all of a log was durable.
    pub(super) fn durable(&self, log: LogId, cuts: u32) -> Offset {
        self.counting(log, cuts).map(|group| group.end).max().unwrap_or_default()
    }

    /// Whether they speak of a cut that the log's marks do not know of: no crash leaves that.
    pub(super) fn is_ahead(&self, log: LogId, cuts: u32) -> bool {
        self.groups.get(&log).into_iter().flatten().any(|group| group.cuts > cuts)
    }

    /// For each log, the volumes that have something of it.
    pub(super) fn volumes_by_log(&self) -> BTreeMap<LogId, BTreeSet<Volume>> {
        let names = |groups: &Vec<Group<F>>| groups.iter().map(|group| group.name).collect();
        self.groups.iter().map(|(log, groups)| (*log, names(groups))).collect()
    }

    fn counting(&self, log: LogId, cuts: u32) -> impl Iterator<Item = &Group<F>> {
        self.groups.get(&log).into_iter().flatten().filter(move |group| group.cuts == cuts)
    }
}

impl<D: Disk> Logs<D> {
    /// Reads the journals in the data directory: what they have of logs that are `ours`.
    ///
    /// # Errors
    /// `InvalidData` for one that is damaged or newer than this binary; the disk's own.
    pub(super) async fn read_journals(
        &self,
        names: &[String],
        shards: u16,
        ours: impl Fn(&LogId) -> bool,
    ) -> io::Result<Redo<D::File>> {
        let mut redo = Redo::default();
        for volume in names.iter().filter_map(|name| names::volume(name)) {
            redo.volumes.push(volume);
            // With as many shards as then, the other shards' volumes have nothing of ours.
            if volume.shards != shards || volume.shard == self.volume_names()[0].shard {
                self.read_volume(volume, &ours, &mut redo.groups).await?;
            }
        }
        Ok(redo)
    }

    async fn read_volume(
        &self,
        name: Volume,
        ours: &impl Fn(&LogId) -> bool,
        groups: &mut BTreeMap<LogId, Vec<Group<D::File>>>,
    ) -> io::Result<()> {
        let path = &name.to_string();
        let file = self.disk().open(path, false).await.map_err(at(path))?;
        let length = self.disk().length(&file).await.map_err(at(path))?;
        let stamp = self.stamp_of(&file, path).await?;
        let reading = Reading { name, file: &file, path, stamp, length };
        let (mut next, mut number) = (FIRST, None);
        loop {
            let head = self.head(&reading, next).await?;
            let found = match &head {
                Some((head, list)) if number.is_none_or(|n| n == head.number) => {
                    self.batches_of(&reading, next, head, list).await?
                }
                Some(_) | None => None,
            };
            let (Some((head, _)), Some(found)) = (&head, found) else {
                let behind = head.map_or(BLOCK, |(head, _)| head.size());
                return self.nothing_behind(&reading, next, behind, number.unwrap_or_default()).await;
            };
            for (log, group) in found.into_iter().filter(|(log, _)| ours(log)) {
                groups.entry(log).or_default().push(group);
            }
            (next, number) = (next + head.size(), Some(head.number + 1));
        }
    }

    /// The stamp of a volume's turn.
    async fn stamp_of(&self, file: &D::File, path: &str) -> io::Result<u64> {
        let mut newest = None;
        for place in HEADERS {
            let bytes = self.disk().read(file, place, VOLUME_BYTES).await.map_err(at(path))?;
            newest = newest.max(journal::turn_of(&bytes, self.options().crc));
        }
        match newest {
            Some((_, stamp, journal::VERSION)) => Ok(stamp),
            Some((_, _, other)) => {
                Err(corrupt(path, &format!("version {other}, and this binary knows {}", journal::VERSION)))
            }
            None => Err(corrupt(path, "both its headers are damaged")),
        }
    }

    /// The record that begins here, up to its data, if that is as it was written in this turn.
    async fn head(&self, reading: &Reading<'_, D::File>, position: u64) -> io::Result<Option<(Head, Bytes)>> {
        let Reading { file, path, stamp, length, .. } = *reading;
        let bytes = self.disk().read(file, position, RECORD_BYTES).await.map_err(at(path))?;
        let Some(head) = Head::parse(&bytes).filter(|head| head.stamp == stamp) else { return Ok(None) };
        let fits = position + head.size() <= length;
        let Some(len) = usize::try_from(head.upto_data()).ok().filter(|_| fits) else { return Ok(None) };
        let bytes = self.disk().read(file, position, len).await.map_err(at(path))?;
        Ok(head.holds(&bytes, self.options().crc).then(|| (head, bytes.slice(RECORD_BYTES..))))
    }

    /// The groups of a record, if all its batches are good.
    async fn batches_of(
        &self,
        reading: &Reading<'_, D::File>,
        position: u64,
        head: &Head,
        list: &[u8],
    ) -> io::Result<Option<Vec<(LogId, Group<D::File>)>>> {
        let Reading { name, file, path, .. } = *reading;
        let mut data_at = position + head.upto_data();
        let end = position + head.upto_end();
        let Some(listed) = journal::list(list) else { return Ok(None) };
        let data = self.disk().read(file, data_at, head.data as usize).await.map_err(at(path))?;
        let mut rest = data;
        let mut all = Vec::new();
        for part in listed {
            let mut group = Group {
                volume: file.clone(),
                name,
                cuts: part.cuts,
                base: part.base,
                at: part.at,
                batches: Vec::new(),
                end: part.base,
            };
            for prefix in part.prefixes {
                let Some(batch) = self.batch(prefix, &mut rest) else { return Ok(None) };
                let size = batch.header.size() - PREFIX;
                group.batches.push((prefix, data_at, size));
                group.end = batch.header.next_offset();
                data_at += size as u64;
            }
            all.push((part.log, group));
        }
        Ok((data_at == end).then_some(all))
    }

    /// The batch that a record's data go on with.
    fn batch(&self, prefix: [u8; PREFIX], rest: &mut Bytes) -> Option<Batch> {
        let [.., l0, l1, l2, l3, _, _, _, _] = prefix;
        // The length counts from its own end, 12 bytes into the batch.
        let size = usize::try_from(i32::from_be_bytes([l0, l1, l2, l3])).ok()?.checked_sub(PREFIX - 12)?;
        if size > rest.len() {
            return None;
        }
        let mut bytes = BytesMut::with_capacity(PREFIX + size);
        bytes.extend_from_slice(&prefix);
        bytes.extend_from_slice(&rest.split_to(size));
        Batch::stored(bytes.freeze(), self.options().crc).ok()
    }

    /// That behind a bad record, which takes so many bytes at least, no good one of this turn follows: it would have
    /// been begun only when the bad one was durable, and acknowledged.
    async fn nothing_behind(
        &self,
        reading: &Reading<'_, D::File>,
        bad: u64,
        behind: u64,
        number: u64,
    ) -> io::Result<()> {
        let Reading { file, path, stamp, length, .. } = *reading;
        let mut from = bad + behind;
        while from < length {
            let bytes = self.disk().read(file, from, STEP).await.map_err(at(path))?;
            for (position, block) in (from..).step_by(BLOCK as usize).zip(bytes.chunks(BLOCK as usize)) {
                if Head::parse(block).is_some_and(|head| head.stamp == stamp)
                    && let Some((head, list)) = self.head(reading, position).await?
                    && head.number > number
                    && self.batches_of(reading, position, &head, &list).await?.is_some()
                {
                    return Err(corrupt(path, &format!("bad at position {bad}, but good again at {position}")));
                }
            }
            from += STEP as u64;
        }
        Ok(())
    }

    /// Writes a log's groups again where they stand, in its open segments; whether there were any.
    pub(super) async fn redo(
        &self,
        redo: &Redo<D::File>,
        log: LogId,
        folder: &str,
        open: &BTreeSet<Offset>,
        marks: &Marks,
    ) -> io::Result<bool> {
        let missing = |group: &&Group<D::File>| open.contains(&group.base) && group.end > marks.flushed;
        let mut any = false;
        for group in redo.counting(log, marks.cuts).filter(missing) {
            let path = path(folder, group.base, LOG);
            let file = self.disk().open(&path, false).await.map_err(at(&path))?;
            let mut position = group.at;
            for (prefix, rest_at, size) in &group.batches {
                let rest = self.disk().read(&group.volume, *rest_at, *size).await?;
                let data = vec![Bytes::copy_from_slice(prefix), rest];
                let op = Op::Write { file: file.clone(), at: position, data, sync: false };
                self.disk().perform(op).await.map_err(at(&path))?;
                position += (PREFIX + size) as u64;
            }
            any = true;
        }
        Ok(any)
    }
}

fn corrupt(path: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{path}: {text}"))
}
