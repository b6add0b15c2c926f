//! Harm that the model disk comes to: batches that rot or cannot be read, a write that is lost, or goes over another
//! batch, folders that are removed, files of an earlier moment. Of each it says first what may be lost, by what the real
//! recovery does: below the newest roll it reads no batch, below the mark it refuses a log that has a bad one, above it
//! cuts there.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use klamm_core::ids::LogId;
use klamm_core::record::HEADER_BYTES;

use super::Disk;
use super::log::Log;
use crate::atlas::{Loss, Lost};

/// What a batch comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::direct) enum Harm {
    /// One of the bits behind its header flips.
    Rot(u64),
    /// A part of it cannot be read.
    Unreadable(Part),
}

/// What of a batch cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::direct) enum Part {
    /// It is not found where it is looked for.
    Header,
    /// It is found, and cannot be sent.
    Records,
}

/// All logs of a moment.
#[derive(Debug)]
pub(in crate::direct) struct Image(BTreeMap<LogId, Log>);

impl Disk {
    /// Every batch that a trim has left; or, of these, those that are known to be on the device.
    pub(in crate::direct) fn batches_kept(&self, marked: bool) -> Vec<(LogId, usize)> {
        let kept = |(id, it): (&LogId, &Log)| {
            let (id, upto) = (*id, if marked { it.marked() } else { it.written });
            (it.first_kept()..upto).map(move |index| (id, index))
        };
        self.logs.iter().flat_map(kept).collect()
    }

    /// Those of a log that a trim has left and that are on the device.
    pub(in crate::direct) fn batches_on_device(&self, log: LogId) -> Range<usize> {
        self.logs.get(&log).map_or(0..0, |it| it.first_kept().min(it.durable)..it.durable)
    }

    /// What is not on the device, though nothing of it is under way: it was not to be.
    pub(in crate::direct) fn unsynced(&self) -> Vec<Lost> {
        let behind = self.logs.iter().filter(|(_, it)| it.durable < it.written);
        let lost = |(id, it): (&LogId, &Log)| Lost { log: *id, offsets: it.end(it.durable).0..i64::MAX, marked: false };
        behind.map(lost).collect()
    }

    /// What may be lost with a batch.
    pub(in crate::direct) fn loss(&self, log: LogId, index: usize, harm: Harm) -> Loss {
        let it = &self.logs[&log];
        let header = &it.batches[index].header;
        let batch: Range<i64> = header.base_offset.0..header.next_offset().0;
        let marked = index < it.marked() || (matches!(harm, Harm::Unreadable(_)) && index < it.durable);
        match (log, marked) {
            (LogId::METADATA, true) => Loss::Broker,
            // What the broker knows of topics, and nobody could tell.
            (LogId::METADATA, false) => Loss::Everything,
            (log, true) => Loss::Records(Lost { log, offsets: batch, marked: true }),
            // A batch that is not good is the end of a log, as far as anybody can tell.
            (log, false) => Loss::Records(Lost { log, offsets: batch.start..i64::MAX, marked: false }),
        }
    }

    /// Harms a batch, if there still is one.
    pub(in crate::direct) fn harm(&mut self, log: LogId, index: usize, harm: Harm) {
        let it = self.logs.get_mut(&log);
        let Some(batch) = it.and_then(|it| it.batches.get_mut(index)) else { return };
        batch.harm = Some(harm);
        if let Harm::Rot(bits) = harm {
            let mut bytes = batch.bytes.to_vec();
            let at = HEADER_BYTES + (bits >> 3) as usize % (bytes.len() - HEADER_BYTES);
            bytes[at] ^= 1 << (bits & 7);
            batch.bytes = Bytes::from(bytes);
        }
    }

    /// The next write of a log does not come to the device.
    pub(in crate::direct) fn lose_write(&mut self, log: LogId) {
        if let Some(it) = self.logs.get_mut(&log) {
            it.astray = Some(it.batches.len());
        }
    }

    /// What is lost with the write that was lost, if one was.
    pub(in crate::direct) fn lost_write(&mut self, log: LogId) -> Option<Loss> {
        let it = self.logs.get_mut(&log)?;
        let first = it.astray?;
        match it.batches.get(first) {
            Some(batch) => {
                let offsets = batch.header.base_offset.0..i64::MAX;
                Some(Loss::Records(Lost { log, offsets, marked: false }))
            }
            None => {
                it.astray = None;
                None
            }
        }
    }

    /// Somebody removes a log's files.
    pub(in crate::direct) fn lose_folder(&mut self, log: LogId) {
        self.logs.remove(&log);
    }

    /// Everything is gone.
    pub(in crate::direct) fn wipe(&mut self) {
        self.logs.clear();
    }

    /// A copy of all files.
    pub(in crate::direct) fn image(&self) -> Image {
        Image(self.logs.clone())
    }

    /// They come back as they were read: what was in the page cache alone is among them.
    pub(in crate::direct) fn restore(&mut self, image: Image, key: u64) {
        self.logs = image.0;
        self.crash(false, key << 40);
    }
}

impl Log {
    /// The first batch of the newest segment whose roll is on the device: everything below it is, too.
    fn sealed(&self) -> usize {
        match self.begun {
            Some(begun) if begun == self.end(self.durable) => self.durable,
            _ => self.batches[..self.durable].iter().rposition(|batch| batch.opens).unwrap_or_default(),
        }
    }

    /// So many batches are known to be on the device: they may not be missing.
    fn marked(&self) -> usize {
        self.marked.max(self.sealed()).min(self.durable)
    }

    /// The first batch of the segment that the log starts in.
    fn first_kept(&self) -> usize {
        let below = self.batches[..self.written].partition_point(|batch| batch.header.base_offset <= self.start.0);
        self.batches[..below].iter().rposition(|batch| batch.opens).unwrap_or_default()
    }

    /// Recovery reads the newest segment: what is bad there is cut, or the log is refused.
    ///
    /// `always`: it is cut, whatever was known.
    ///
    /// # Errors
    /// When it is refused.
    pub(super) fn read_again(&mut self, always: bool) -> Result<(), String> {
        let scanned = self.sealed()..self.written;
        let Some(bad) = scanned.clone().find(|index| self.batches[*index].harm.is_some()) else {
            return self.whole(self.written);
        };
        if matches!(self.batches[bad].harm, Some(Harm::Unreadable(_))) {
            return Err("input/output error".to_owned());
        }
        if !always {
            self.whole(bad)?;
        }
        // The segment that it opened stays, empty.
        self.begun = self.batches[bad].opens.then(|| self.end(bad));
        self.batches.truncate(bad);
        (self.written, self.durable) = (bad, self.durable.min(bad));
        Ok(())
    }

    /// Whether a log that ends after so many batches has all that is known to be on the device.
    fn whole(&self, batches: usize) -> Result<(), String> {
        if batches >= self.marked {
            return Ok(());
        }
        Err(format!("ends at {}, but was durable up to {} batches", self.end(batches), self.marked))
    }
}
