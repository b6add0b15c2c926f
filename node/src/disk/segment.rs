//! What is known of one log's files: its segments, how far they are written and synced, and who was shown what.
//!
//! `start ≤ written ≤ end`: the file holds batches up to `written`, the tail all from there to `end`. Below `synced`
//! everything is on the device; below `marks.flushed` a crash may rely on it. From `written` to `durable`, if that is
//! further, the batches are *owed*: the shard's journal has them.
//!
//! `sendfile` passes pages by reference, so bytes that were "sent" are still read later. Below `sent_upto` a file is
//! therefore never cut in place: it is replaced, and whoever holds the old one keeps the old bytes.

use super::below::Below;
use super::beside::Beside;
use super::commit::{Append, Change, Chore, Flight, bytes_of};
use super::index::Index;
use super::tail::Tail;
use klamm_core::ids::{LogId, Offset, Timestamp};
use klamm_core::log::{Checkpoint, Segment as Summary};
use klamm_core::record::Header;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU32;
use std::rc::Rc;

/// A log, shared by the tasks that work on it.
pub(super) type LogRef<F> = Rc<RefCell<Log<F>>>;

/// What a crash may rely on; the small file `marks`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    /// First readable offset; segments wholly below it are gone, or going.
    pub(super) log_start_offset: Offset,
    /// Everything below is on the device.
    pub(super) flushed: Offset,
    /// From `flushed` on every batch was written by a synced group, one group after the other: only the last one can
    /// be torn.
    pub(super) strict: bool,
    /// The active segment's file had exactly so many bytes, on the device, when it was closed.
    pub(super) closed: Option<u64>,
    /// A truncation to here has begun: what is at and above it no longer counts.
    pub(super) cut: Option<Offset>,
    /// Truncations so far: what the journal has of an earlier count is void.
    pub(super) cuts: u32,
}

/// Batches that are durable in the shard's journal, and not in their segment yet.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Those that are not on their way there.
    batches: Vec<Append>,
    unpaid: u32,
    paying: u32,
}

impl Owed {
    pub(super) fn extend(&mut self, group: Vec<Append>) {
        self.unpaid += narrow(&group);
        if self.batches.is_empty() {
            self.batches = group;
        } else {
            self.batches.extend(group);
        }
    }

    /// Those that are written next; owed until they have landed.
    pub(super) fn take(&mut self) -> Vec<Append> {
        self.paying += std::mem::take(&mut self.unpaid);
        std::mem::take(&mut self.batches)
    }

    fn landed(&mut self, paid: &[Append]) {
        self.paying -= narrow(paid);
    }

    /// All of them, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.paying) + self.unpaid()
    }

    /// Those that are not on their way, in bytes.
    pub(super) fn unpaid(&self) -> u64 {
        u64::from(self.unpaid)
    }
}

fn narrow(batches: &[Append]) -> u32 {
    u32::try_from(bytes_of(batches)).expect("a journal is shorter than 4 GiB, and so is what it has of a log")
}

/// One segment.
#[derive(Debug)]
pub(super) struct Segment<F> {
    pub(super) base: Offset,
    /// Bytes of batches in the file.
    pub(super) bytes: u64,
    /// The largest timestamp of its first batch, or -1.
    pub(super) first_timestamp: Timestamp,
    /// The largest timestamp, or -1.
    pub(super) max_timestamp: Timestamp,
    /// The file's length: batches, then what reads as zeros.
    pub(super) length: u64,
    /// Up to here its pages may still be on their way to a reader.
    pub(super) sent_upto: u64,
    /// Made with the first batch; of a closed one, loaded when it is needed.
    pub(super) index: Option<Box<Index>>,
    /// Opened when it is needed.
    pub(super) file: Option<F>,
    /// The file's place among the shard's open ones.
    pub(super) used: u64,
}

impl<F> Segment<F> {
    /// A file that holds nothing yet.
    pub(super) fn new(base: Offset) -> Segment<F> {
        Segment {
            base,
            bytes: 0,
            first_timestamp: Timestamp(-1),
            max_timestamp: Timestamp(-1),
            length: 0,
            sent_upto: 0,
            index: None,
            file: None,
            used: 0,
        }
    }

    /// One that was closed.
    pub(super) fn closed(summary: &Summary) -> Segment<F> {
        Segment {
            bytes: summary.bytes,
            length: summary.bytes,
            first_timestamp: summary.first_timestamp,
            max_timestamp: summary.max_timestamp,
            index: None,
            ..Segment::new(summary.base)
        }
    }

    pub(super) fn summary(&self) -> Summary {
        let Segment { base, bytes, first_timestamp, max_timestamp, .. } = *self;
        Summary { base, bytes, first_timestamp, max_timestamp }
    }

    /// The index for its files, if it is in memory. One that holds nothing needs none until then.
    pub(super) fn index_to_save(&self) -> Option<Index> {
        let empty = || (self.bytes == 0).then(|| Index::new(self.base));
        self.index.as_deref().cloned().or_else(empty)
    }

    /// A batch was written at its end.
    pub(super) fn grow(&mut self, header: &Header) {
        if self.bytes == 0 {
            self.first_timestamp = header.max_timestamp;
            self.index.get_or_insert_with(|| Box::new(Index::new(self.base)));
        }
        if let Some(index) = &mut self.index {
            index.add(header, self.bytes);
        }
        self.bytes += header.size() as u64;
        self.length = self.length.max(self.bytes);
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }
}

/// How far a batch in a segment's file reaches. A log keeps one: it is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    bytes: NonZeroU32,
    last_offset_delta: i32,
}

impl Extent {
    /// `None`: of no bytes, which no batch is.
    pub(super) fn of(header: &Header) -> Option<Extent> {
        let bytes = u32::try_from(header.size()).ok().and_then(NonZeroU32::new)?;
        Some(Extent { bytes, last_offset_delta: header.last_offset_delta })
    }

    /// Its bytes, and the offset of its last record; `base`: of its first one.
    pub(super) fn at(self, base: Offset) -> (u64, Offset) {
        (u64::from(self.bytes.get()), base.plus(i64::from(self.last_offset_delta)))
    }
}

/// The end of a lease: the batch that begins with `next` stands at `at` of a segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) at: u64,
    /// That batch, if its header was read: it had no room in the lease.
    pub(super) batch: Option<Extent>,
}

impl Ended {
    /// No lease did.
    const NOWHERE: Ended = Ended { base: Offset(-1), next: Offset(-1), at: 0, batch: None };
}

/// Whether a log is being read, and from where: so many bytes have been written since it was.
#[derive(Debug)]
pub(super) struct Audience {
    since_read: u32,
    since_behind: u32,
}

impl Audience {
    /// Who has not read while so many times what a tail holds was written is not waited for any more.
    const PATIENCE: u64 = 4;
    const NONE: Audience = Audience { since_read: u32::MAX, since_behind: u32::MAX };

    pub(super) fn reads(&mut self) {
        self.since_read = 0;
    }

    /// It reads the active segment's file: what it wants is not in the tail any more.
    pub(super) fn is_behind(&mut self) {
        self.since_behind = 0;
    }

    /// Whether somebody was here lately, where a tail holds so many bytes.
    pub(super) fn is_there(&self, tail: u64) -> bool {
        u64::from(self.since_read) < tail.saturating_mul(Audience::PATIENCE)
    }

    /// Whether somebody has lately needed more than such a tail.
    pub(super) fn needs_files(&self, tail: u64) -> bool {
        u64::from(self.since_behind) < tail.saturating_mul(Audience::PATIENCE)
    }

    fn wrote(&mut self, bytes: u64) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.since_read = self.since_read.saturating_add(bytes);
        self.since_behind = self.since_behind.saturating_add(bytes);
    }
}

/// One log of this shard.
#[derive(Debug)]
pub(super) struct Log<F> {
    pub(super) id: LogId,
    pub(super) topic: Box<str>,
    /// Empty until it is made.
    pub(super) folder: Box<str>,
    /// By base; the last one is the active one. Empty only while the log is refused.
    pub(super) segments: Vec<Segment<F>>,
    /// Segments that were before these.
    pub(super) trimmed: u64,
    /// The offset after all changes taken in.
    pub(super) end: Offset,
    /// The offset after the last batch in the file.
    pub(super) written: Offset,
    /// Everything below is on the device, in its segment.
    pub(super) synced: Offset,
    /// Everything below is on the device, in its segment or in the shard's journal.
    pub(super) durable: Offset,
    /// The batches from `written` to `durable`.
    pub(super) owed: Owed,
    /// Bytes made durable since the last mark.
    pub(super) unmarked: u64,
    /// Groups synced in a row; of a log that had no other, beyond all bounds.
    pub(super) streak: u32,
    /// So many batches are worth a sync of its own while more of them arrive.
    pub(super) enough: usize,
    /// As on the disk.
    pub(super) marks: Marks,
    /// Whether there is something for a clean close to do.
    pub(super) touched: bool,
    pub(super) tail: Tail,
    /// Changes not begun. Bounded by the core's credits.
    pub(super) queue: VecDeque<Change>,
    /// A task works on the queue.
    pub(super) draining: bool,
    /// The group that is being written.
    pub(super) flight: Option<Box<Flight<F>>>,
    pub(super) chore: Option<Chore>,
    /// Why it takes no change any more.
    pub(super) dead: Option<String>,
    /// Where the last lease from files ended: a reader in sequence begins there.
    pub(super) ended: Ended,
    pub(super) audience: Audience,
    /// How its active segment is written past the page cache, if it was.
    pub(super) beside: Option<Box<Beside<F>>>,
    /// Counts truncations and the removal: a lease that meets another one than it began with gives nothing.
    pub(super) generation: u32,
}

impl<F> Log<F> {
    /// An empty log.
    pub(super) fn new(id: LogId, topic: String) -> Log<F> {
        Log {
            id,
            topic: topic.into(),
            folder: Box::default(),
            segments: vec![Segment::new(Offset(0))],
            trimmed: 0,
            end: Offset(0),
            written: Offset(0),
            synced: Offset(0),
            durable: Offset(0),
            owed: Owed::default(),
            unmarked: 0,
            streak: u32::MAX,
            enough: 0,
            marks: Marks::default(),
            touched: false,
            tail: Tail::default(),
            queue: VecDeque::new(),
            draining: false,
            flight: None,
            chore: None,
            dead: None,
            ended: Ended::NOWHERE,
            audience: Audience::NONE,
            beside: None,
            generation: 0,
        }
    }

    /// A log that recovery refused.
    pub(super) fn refused(id: LogId, topic: String, folder: String, why: String) -> Log<F> {
        Log { folder: folder.into(), segments: Vec::new(), dead: Some(why), ..Log::new(id, topic) }
    }

    /// That its files are what they were written as: what a failed sync has left is in the page cache alone, and may be
    /// gone from there at any time.
    ///
    /// # Errors
    /// When they may not be, or were refused: why it takes no change any more.
    pub(super) fn is_alive(&self) -> io::Result<()> {
        match &self.dead {
            Some(why) => Err(io::Error::other(format!("{}: {why}", self.id))),
            None => Ok(()),
        }
    }

    pub(super) fn active(&self) -> &Segment<F> {
        self.segments.last().expect("a log that takes changes has an active segment")
    }

    pub(super) fn active_mut(&mut self) -> &mut Segment<F> {
        self.segments.last_mut().expect("a log that takes changes has an active segment")
    }

    pub(super) fn segment_mut(&mut self, base: Offset) -> Option<&mut Segment<F>> {
        self.segments.iter_mut().rfind(|s| s.base == base)
    }

    /// What was lent, and where that ended, says nothing any more.
    pub(super) fn begin_generation(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.ended = Ended::NOWHERE;
    }

    /// The segment that holds an offset, and the first offset after it.
    pub(super) fn holding(&self, offset: Offset) -> Option<(&Segment<F>, Offset)> {
        let after = self.segments.partition_point(|s| s.base <= offset);
        let next = self.segments.get(after).map_or(self.written, |s| s.base);
        self.segments.get(after.checked_sub(1)?).map(|s| (s, next))
    }

    /// Whether a segment's file has bytes that the device may not have, or is about to get some.
    pub(super) fn is_unsynced(&self, base: Offset) -> bool {
        let after = self.segments.partition_point(|s| s.base <= base);
        match self.segments.get(after) {
            Some(next) => next.base > self.synced,
            None => self.written > self.synced || self.draining || self.working().is_some(),
        }
    }

    /// What is below a new segment, with the segments as they are in files.
    pub(super) fn closing(&self, mut state: Checkpoint) -> Below {
        assert_eq!(state.at, self.written, "{}: a roll begins where the files end", self.id);
        state.segments = self.segments.iter().map(Segment::summary).collect();
        state.log_start_offset = state.log_start_offset.max(self.marks.log_start_offset);
        Below { number: self.begun(), state }
    }

    /// So many segments have been begun, those that were trimmed with them.
    pub(super) fn begun(&self) -> u64 {
        self.trimmed.wrapping_add(self.segments.len() as u64)
    }

    /// What was owed, and a group behind it, are in the file.
    pub(super) fn land(&mut self, paid: &[Append], group: &[Append], synced: bool) {
        for append in paid.iter().chain(group) {
            let header = &append.header;
            assert_eq!(header.base_offset, self.written, "{}: batches are written without gaps", self.id);
            self.active_mut().grow(header);
            self.written = header.next_offset();
            self.tail.landed(append.seq);
        }
        self.touched = true;
        self.owed.landed(paid);
        self.audience.wrote(bytes_of(paid) + bytes_of(group));
        self.unmarked += bytes_of(paid);
        if synced {
            self.unmarked += bytes_of(group);
            (self.synced, self.durable) = (self.written, self.written);
        }
        if !group.is_empty() {
            self.streak = if synced { self.streak.saturating_add(1) } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::File;
    use std::cell::RefCell;

    /// There may be very many partitions, and each has a log with at least a segment.
    #[test]
    fn a_log_is_small() {
        let (log, segment) = (size_of::<RefCell<Log<File>>>(), size_of::<Segment<File>>());
        assert!(log <= 432 && segment <= 72, "{log} bytes a log, {segment} a segment");
    }
}
