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
use super::log::{Log, Reach};
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
        // What cannot be read shows no rot.
        batch.harm = batch.harm.filter(|before| matches!(before, Harm::Unreadable(_))).or(Some(harm));
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
    /// The first batch of the newest segment whose roll is on the device, or, if that has none yet, came so far: everything
    /// below it is on the device, too.
    fn sealed(&self, empty: Reach) -> usize {
        match self.begins(self.end(self.durable)) {
            Some(reach) if reach >= empty => self.durable,
            _ => self.batches[..self.durable].iter().rposition(|batch| batch.opens).unwrap_or_default(),
        }
    }

    /// So many batches are known to be on the device: they may not be missing.
    fn marked(&self) -> usize {
        self.marked.max(self.sealed(Reach::Device)).min(self.durable)
    }

    /// The first batch of the segment that the log starts in.
    fn first_kept(&self) -> usize {
        let below = self.batches[..self.written].partition_point(|batch| batch.header.base_offset <= self.start.0);
        self.batches[..below].iter().rposition(|batch| batch.opens).unwrap_or_default()
    }

    /// Recovery reads the newest segment to its end: what is bad there is cut, or the log is refused.
    ///
    /// `always`: it is cut, whatever was known.
    ///
    /// # Errors
    /// When it is refused.
    pub(super) fn read_again(&mut self, always: bool) -> Result<(), String> {
        let first = self.sealed(Reach::Cache);
        let scanned = || self.batches[first..self.written].iter().map(|batch| batch.harm);
        // It looks for the file's last byte behind what is bad, too.
        if scanned().any(|harm| matches!(harm, Some(Harm::Unreadable(_)))) {
            return Err("input/output error".to_owned());
        }
        let Some(bad) = scanned().position(|harm| harm.is_some()).map(|index| first + index) else {
            return self.whole(self.written);
        };
        if !always {
            self.whole(bad)?;
        }
        // The segment that it opened stays, empty.
        let reach = if bad < self.durable { Reach::Device } else { Reach::Cache };
        self.begun = self.batches[bad].opens.then(|| (self.end(bad), reach));
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

#[cfg(test)]
mod tests {
    use klamm_core::ids::{Offset, Seq, Timestamp};
    use klamm_core::record::Header;

    use super::*;
    use crate::client::batch;
    use crate::decisions::Book;
    use crate::direct::disk::log::{Change, Kept, Stored};
    use crate::direct::params::{Dice, Params};

    /// Batches of a record each, all of them on the device; some open a segment.
    fn log(opens: &[bool]) -> Log {
        let mut log = Log::new("t".to_owned(), 0);
        for (n, opens) in opens.iter().enumerate() {
            let bytes = batch(&[n as u64], 10, Timestamp(5), None);
            let header = Header { base_offset: Offset(n as i64), ..Header::parse(&bytes).expect("a batch") };
            log.batches.push(Stored { header, bytes, opens: *opens, harm: None });
        }
        (log.written, log.durable) = (opens.len(), opens.len());
        log
    }

    fn kept(batches: usize, begun: bool) -> Kept {
        Kept { start: Offset(0), ballot: None, batches, begun }
    }

    /// What was in the page cache alone is on the device and marked: a power loss takes nothing of it, and what is bad of it
    /// is not cut. Of a log that was refused, or is being removed, nothing is touched.
    #[test]
    fn a_log_that_is_closed_is_on_the_device_and_marked() {
        let mut log = log(&[false; 3]);
        log.durable = 1;
        assert_eq!((log.is_to_close(), log.left(true).batches), (true, (1, 3)));
        log.queue.push_back((Seq(9), Change::Close));
        log.begin();
        log.land(log.is_synced(), false, 0);
        log.queue.clear();
        assert_eq!((log.is_to_close(), log.left(true).batches), (false, (3, 3)));
        log.batches[1].harm = Some(Harm::Rot(7));
        assert!(log.read_again(false).is_err());
        log.marked = 0;
        assert!(log.is_to_close());
        log.queue.push_back((Seq(10), Change::Remove));
        assert!(!log.is_to_close());
        log.queue.clear();
        log.refused = true;
        assert!(!log.is_to_close());
    }

    /// A batch rotted before one that could not be read: the log was cut there, and the other one gone without a word.
    #[test]
    fn what_cannot_be_read_behind_what_is_bad_refuses_the_log() {
        let mut log = log(&[false; 5]);
        log.batches[3].harm = Some(Harm::Unreadable(Part::Records));
        log.batches[1].harm = Some(Harm::Rot(7));
        assert!(log.read_again(false).is_err());
        assert_eq!((log.written, log.batches.len()), (5, 5), "nothing is touched");
        log.batches[3].harm = None;
        assert_eq!((log.read_again(false), log.written), (Ok(()), 1));
    }

    #[test]
    fn what_rots_too_still_cannot_be_read() {
        let params = Params::of(&Dice::new(0, std::rc::Rc::new(Book::Blank)));
        let mut disk = Disk::new(&params);
        disk.logs.insert(LogId::METADATA, log(&[false; 2]));
        for harm in [Harm::Rot(7), Harm::Unreadable(Part::Header), Harm::Rot(8)] {
            disk.harm(LogId::METADATA, 1, harm);
        }
        assert_eq!(disk.logs[&LogId::METADATA].batches[1].harm, Some(Harm::Unreadable(Part::Header)));
    }

    /// The write that was to open a segment went over the batch before it; then the machine died once more before recovery
    /// was over, and the empty segment was forgotten: what it seals was read, and cut.
    #[test]
    fn an_empty_segment_on_the_device_outlives_every_crash() {
        let mut log = log(&[false, true]);
        log.astray = Some(1);
        log.crashed(kept(1, false), true);
        log.batches[0].harm = Some(Harm::Rot(7));
        log.crashed(kept(1, false), true);
        log.crashed(kept(1, false), false);
        assert_eq!((log.begins(Offset(1)), log.marked()), (Some(Reach::Device), 1));
        assert_eq!((log.read_again(false), log.written), (Ok(()), 1));
    }

    /// One that only the page cache has: recovery believes it, and the next power loss takes it.
    #[test]
    fn an_empty_segment_in_the_page_cache_proves_nothing_yet() {
        let mut log = log(&[false, true]);
        log.durable = 1;
        log.crashed(kept(1, true), false);
        assert_eq!((log.begins(Offset(1)), log.marked()), (Some(Reach::Cache), 0));
        let mut recovered = log.clone();
        recovered.recovered();
        assert_eq!(recovered.begins(Offset(1)), Some(Reach::Device));
        log.crashed(kept(1, false), true);
        assert_eq!(log.begins(Offset(1)), None);
    }
}
