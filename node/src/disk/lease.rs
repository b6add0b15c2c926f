//! Offsets to bytes: whole batches, out of the files and the tail, that stay right whatever happens to the log.
//!
//! A lease is open files and positions, or bytes. It needs no revocation: trimmed and removed files keep their bytes
//! while they are open, and a file is never cut in place below what was lent ([`super::segment`]). A truncation or removal
//! that begins while a lease is still being looked up makes it an empty one; so does a trim, of what it takes away.

use super::at;
use super::index::Index;
use super::logs::Logs;
use super::names::{INDEX, LOG, TIMEINDEX, path};
use super::scan::Scan;
use super::segment::{Ended, Extent, Log, LogRef};
use crate::host::Disk;
use bytes::Bytes;
use klamm_core::ids::{LogId, Offset};
use klamm_core::record::HEADER_BYTES;
use std::future::Future;
use std::io;

/// Bytes read at once where headers are looked for: an index interval and a header.
const STEP: usize = 4096 + 64;
/// Bytes read at once to make an index anew.
const STRIDE: usize = 256 * 1024;

/// Whole batches of a log, back to back.
#[derive(Clone, Debug)]
pub struct Lease<F> {
    /// Where the bytes are, in order.
    pub pieces: Vec<Piece<F>>,
    /// Their length.
    pub bytes: u32,
    /// The length of the first batch.
    pub first: u32,
}

/// Some bytes.
#[derive(Clone, Debug)]
pub enum Piece<F> {
    /// In memory.
    Bytes(Bytes),
    /// In a file's page cache or on the device, never to change.
    File {
        /// The file.
        file: F,
        /// Byte position.
        at: u64,
        /// Length.
        len: u32,
    },
}

/// A lease in the making.
struct Loan<F> {
    lease: Lease<F>,
    max_bytes: u32,
    /// Segments lent from, each with the position up to which.
    lent: Vec<(Offset, u64)>,
}

/// What one segment gives.
struct Span {
    start: u64,
    end: u64,
    /// The length of its first batch.
    first: u64,
    /// The offset after its last batch.
    next: Offset,
    /// The batch that follows, if its header was read: it has no room.
    after: Option<Extent>,
}

impl<F> Loan<F> {
    fn new(max_bytes: u32) -> Loan<F> {
        Loan { lease: Lease { pieces: Vec::new(), bytes: 0, first: 0 }, max_bytes, lent: Vec::new() }
    }

    fn room(&self) -> u64 {
        u64::from(self.max_bytes.saturating_sub(self.lease.bytes))
    }

    fn is_empty(&self) -> bool {
        self.lease.bytes == 0
    }

    /// Counts bytes that are lent; `first` is the length of their first batch.
    fn count(&mut self, bytes: u64, first: u64) {
        let narrow = |n| u32::try_from(n).expect("a lease is at most max_bytes or one batch");
        if self.is_empty() {
            self.lease.first = narrow(first);
        }
        self.lease.bytes = narrow(u64::from(self.lease.bytes) + bytes);
    }

    /// Lends from the tail; whether it has `from`.
    fn lend_tail(&mut self, log: &Log<F>, from: Offset, upto: Offset) -> bool {
        let Some(entries) = log.tail.from(from) else { return false };
        for entry in entries {
            let size = entry.batch.size();
            if entry.last >= upto || !(self.is_empty() || size <= self.room()) {
                break;
            }
            self.count(size, size);
            entry.batch.pieces(|bytes| self.lease.pieces.push(Piece::Bytes(bytes)));
        }
        true
    }

    fn lend_file(&mut self, base: Offset, file: F, span: &Span) {
        if span.end > span.start {
            self.count(span.end - span.start, span.first);
            let len = u32::try_from(span.end - span.start).expect("counted above");
            self.lease.pieces.push(Piece::File { file, at: span.start, len });
            self.lent.push((base, span.end));
        }
    }
}

impl<D: Disk> Logs<D> {
    /// Whole batches from the one that holds `from` to the last that ends below `upto`, at most `max_bytes` but at
    /// least one if there is one, and from a bounded number of segments. What the log is when this is called counts, not when the future is first polled.
    ///
    /// # Errors
    /// `NotFound` for a log that this shard does not have; the reason of one that was refused; the disk's own.
    pub fn lease(
        &self,
        log: LogId,
        from: Offset,
        upto: Offset,
        max_bytes: u32,
    ) -> impl Future<Output = io::Result<Lease<D::File>>> + use<D> {
        let logs = self.clone();
        let begun = self.begin(log, from, upto, max_bytes);
        async move {
            match begun? {
                Ok(lease) => Ok(lease),
                Err((log, then, upto)) => {
                    let lease = logs.look(&log, then, from, upto, max_bytes).await?;
                    log.borrow().is_alive().map(|()| lease)
                }
            }
        }
    }

    /// A lease that the tail alone gives; or what it takes to go through the files.
    #[allow(clippy::type_complexity, reason = "read once, right above")]
    fn begin(
        &self,
        id: LogId,
        from: Offset,
        upto: Offset,
        max_bytes: u32,
    ) -> io::Result<Result<Lease<D::File>, (LogRef<D::File>, (u32, u64), Offset)>> {
        let Some(found) = self.log(id) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{id}: no such log here")));
        };
        let mut log = found.borrow_mut();
        log.is_alive()?;
        log.audience.reads();
        let upto = upto.min(log.end);
        let mut loan = Loan::new(max_bytes);
        if from >= upto || loan.lend_tail(&log, from, upto) {
            return Ok(Ok(loan.lease));
        }
        let then = (log.generation, log.trimmed);
        drop(log);
        Ok(Err((found, then, upto)))
    }

    async fn look(
        &self,
        log: &LogRef<D::File>,
        (generation, trimmed): (u32, u64),
        from: Offset,
        upto: Offset,
        max_bytes: u32,
    ) -> io::Result<Lease<D::File>> {
        let mut loan = Loan::new(max_bytes);
        let result = self.through_files(log, &mut loan, generation, from, upto).await;
        let mut log = log.borrow_mut();
        if log.generation != generation {
            return Ok(Loan::new(0).lease);
        }
        // What stands before a place that cannot be read can be had all the same. A file that a trim takes may be gone.
        if loan.is_empty() && log.trimmed == trimmed {
            result?;
        }
        for (base, end) in &loan.lent {
            // One that was trimmed is not cut any more.
            if let Some(segment) = log.segment_mut(*base) {
                segment.sent_upto = segment.sent_upto.max(*end);
            }
        }
        Ok(loan.lease)
    }

    /// Segment by segment up to where the tail begins, then the tail. It may begin later with every step. Ends after some
    /// segments: whoever wants more asks again.
    async fn through_files(
        &self,
        log: &LogRef<D::File>,
        loan: &mut Loan<D::File>,
        generation: u32,
        mut from: Offset,
        upto: Offset,
    ) -> io::Result<()> {
        for _ in 0..self.options().lease_segments {
            if from >= upto {
                return Ok(());
            }
            let limit = {
                let log = log.borrow();
                if loan.lend_tail(&log, from, upto) {
                    return Ok(());
                }
                log.tail.first().unwrap_or(log.written).min(upto)
            };
            let Some((base, whole)) = log.borrow().holding(from).map(|(s, _)| (s.base, s.bytes)) else { return Ok(()) };
            let file = self.file(log, base).await?;
            self.indexed(log, base, &file).await?;
            let Some(span) = self.span(log, base, &file, from, limit, loan).await? else { return Ok(()) };
            loan.lend_file(base, file, &span);
            {
                let mut log = log.borrow_mut();
                if log.active().base == base {
                    log.audience.is_behind();
                }
                // In another generation it says nothing.
                if log.generation == generation {
                    log.ended = Ended { base, next: span.next, at: span.end, batch: span.after };
                }
            }
            if span.end < whole && span.next < limit {
                return Ok(());
            }
            from = span.next;
        }
        Ok(())
    }

    /// What a segment gives from the batch that holds `from` on; `None` when not even that one.
    async fn span(
        &self,
        log: &LogRef<D::File>,
        base: Offset,
        file: &D::File,
        from: Offset,
        limit: Offset,
        loan: &Loan<D::File>,
    ) -> io::Result<Option<Span>> {
        let (floor, known, bytes, next) = {
            let log = log.borrow();
            // Trimmed, perhaps, or gone with the log: then that gives nothing.
            let Some((segment, next)) = log.holding(base).filter(|(s, _)| s.base == base) else { return Ok(None) };
            let here = |ended: &Ended| (ended.base, ended.next) == (base, from);
            let (floor, known) = match &log.ended {
                ended if here(ended) => (ended.at, ended.batch.map(|batch| batch.at(from))),
                _ => (segment.index.as_ref().map_or(0, |i| i.floor(from)), None),
            };
            (floor, known, segment.bytes, next)
        };
        let path = || path(&log.borrow().folder, base, LOG);
        let mut scan = Scan::new(self.disk(), file.clone(), floor, bytes, STEP);
        let first = match known {
            Some(known) => Ok(Some(known)),
            None => first_batch(&mut scan, from).await,
        };
        let first = match first {
            // A floor that is wrong is the index's: it has no checksum.
            Err(error) if floor > 0 => {
                tracing::warn!("{}: {error}: looked for from its beginning, and the index made anew", path());
                self.distrust(log, base).await?;
                scan = Scan::new(self.disk(), file.clone(), 0, bytes, STEP);
                first_batch(&mut scan, from).await
            }
            found => found,
        };
        let Some(first) = first.map_err(|error| at(&path())(error))? else { return Ok(None) };
        let (start, (size, last)) = (scan.at, first);
        let fits = size <= loan.room() || loan.is_empty();
        if last >= next {
            let text = format!("position {start}: a batch up to {last}, where offsets end before {next}");
            return Err(at(&path())(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        if last >= limit || !fits {
            return Ok(None);
        }
        let most = start + loan.room().max(size);
        if next <= limit && bytes <= most {
            return Ok(Some(Span { start, end: bytes, first: size, next, after: None }));
        }
        scan.skip(size);
        scan.chunk = ahead(size);
        let boundary = log.borrow_mut().segment_mut(base).and_then(|s| s.index.as_ref()?.boundary(most, limit));
        scan.at = scan.at.max(boundary.unwrap_or(0));
        let (mut end, mut next) = (start + size, last.plus(1));
        let mut after = None;
        // Not a header further than `limit`: a truncation may be cutting there. Nor one whose batch has no room.
        while next < limit && end + HEADER_BYTES as u64 <= most {
            // What stands before a place that cannot be read can be had all the same.
            let Ok(Some(header)) = scan.header().await else { break };
            if header.base_offset < next {
                break;
            }
            (end, next) = (scan.at, header.base_offset);
            if header.last_offset() >= limit {
                break;
            }
            let size = header.size() as u64;
            if end + size > most {
                after = Extent::of(&header);
                break;
            }
            scan.skip(size);
            scan.chunk = ahead(size);
            (end, next) = (scan.at, header.next_offset());
        }
        Ok(Some(Span { start, end, first: size, next, after }))
    }

    /// Has a closed segment's index made anew when it is next needed.
    async fn distrust(&self, log: &LogRef<D::File>, base: Offset) -> io::Result<()> {
        let folder = {
            let mut it = log.borrow_mut();
            if it.active().base == base {
                return Ok(());
            }
            let Some(segment) = it.segment_mut(base) else { return Ok(()) };
            segment.index = None;
            it.folder.clone()
        };
        self.remove_files(&folder, base, &[INDEX, TIMEINDEX]).await
    }

    /// Sees to it that a segment's index is in memory.
    pub(super) async fn indexed(&self, log: &LogRef<D::File>, base: Offset, file: &D::File) -> io::Result<()> {
        let (folder, bytes, next) = {
            let log = log.borrow();
            let Some((segment, next)) = log.holding(base).filter(|(s, _)| s.base == base && s.index.is_none()) else {
                return Ok(());
            };
            (log.folder.clone(), segment.bytes, next)
        };
        let index = match self.load_index(&folder, base, bytes, next).await {
            Some(index) => index,
            None => build_index(self.disk(), file, base, bytes).await,
        };
        if let Some(segment) = log.borrow_mut().segment_mut(base) {
            segment.index.get_or_insert(Box::new(index));
        }
        Ok(())
    }

    /// A closed segment's index from Kafka's files; `None` when it must be made anew.
    async fn load_index(&self, folder: &str, base: Offset, bytes: u64, next: Offset) -> Option<Index> {
        let mut contents = Vec::new();
        for extension in [INDEX, TIMEINDEX] {
            let file = self.disk().open(&path(folder, base, extension), false).await.ok()?;
            let length = self.disk().length(&file).await.ok()?;
            contents.push(self.disk().read(&file, 0, usize::try_from(length).ok()?).await.ok()?);
        }
        Index::load(base, bytes, next, &contents[0], &contents[1])
    }
}

/// Bytes to be read at once behind a batch of this size: after a long one most likely comes another one, and of that
/// only the header is looked at.
fn ahead(size: u64) -> usize {
    if size > STEP as u64 { HEADER_BYTES } else { STEP }
}

/// The bytes and the last offset of the batch that holds an offset, from where the scan is; `None` at the end.
///
/// # Errors
/// When it is not there where it should be; the disk's own.
async fn first_batch<D: Disk>(scan: &mut Scan<'_, D>, from: Offset) -> io::Result<Option<(u64, Offset)>> {
    while let Some(header) = scan.header().await? {
        if header.base_offset > from {
            let text = format!("position {}: {from} should be here, and {} is", scan.at, header.base_offset);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if header.last_offset() >= from {
            return Ok(Some((header.size() as u64, header.last_offset())));
        }
        scan.skip(header.size() as u64);
    }
    Ok(None)
}

/// An index of the batches up to the first that cannot be read: what stands before that can be had all the same.
async fn build_index<D: Disk>(disk: &D, file: &D::File, base: Offset, bytes: u64) -> Index {
    let mut index = Index::new(base);
    let mut scan = Scan::new(disk, file.clone(), 0, bytes, STRIDE);
    while let Ok(Some(header)) = scan.header().await {
        index.add(&header, scan.at);
        scan.skip(header.size() as u64);
    }
    index
}
