//! Walks the batches of one segment file by their headers, reading ahead a chunk at a time.
//!
//! Believes nothing: a header that does not parse ends the walk with an error, and a chunk is never longer than the file.

use crate::host::Disk;
use bytes::Bytes;
use klamm_core::record::{HEADER_BYTES, Header};
use std::io;

/// A place in a segment file.
pub(super) struct Scan<'a, D: Disk> {
    disk: &'a D,
    file: D::File,
    /// The batch that comes next starts here.
    pub(super) at: u64,
    /// Nothing is read from here on.
    end: u64,
    /// Bytes read at once.
    pub(super) chunk: usize,
    held: Bytes,
    held_at: u64,
}

impl<'a, D: Disk> Scan<'a, D> {
    /// From a position to another, `chunk` bytes a read.
    pub(super) fn new(disk: &'a D, file: D::File, at: u64, end: u64, chunk: usize) -> Scan<'a, D> {
        assert!(chunk >= HEADER_BYTES, "a chunk of {chunk} bytes holds no header");
        Scan { disk, file, at, end, chunk, held: Bytes::new(), held_at: 0 }
    }

    /// Bytes up to the end of the walk.
    pub(super) fn left(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }

    /// Up to `len` bytes from here on; fewer only at the end of the walk or of the file.
    pub(super) async fn peek(&mut self, len: usize) -> io::Result<Bytes> {
        let len = usize::try_from(self.left()).map_or(len, |left| len.min(left));
        if let Some(held) = self.in_hand(len) {
            return Ok(held);
        }
        let left = usize::try_from(self.left()).unwrap_or(usize::MAX);
        let ahead = len.max(self.chunk).min(left);
        self.held = match self.disk.read(&self.file, self.at, ahead).await {
            // What cannot be read may be further on.
            Err(_) if ahead > len => self.disk.read(&self.file, self.at, len).await?,
            read => read?,
        };
        self.held_at = self.at;
        Ok(self.held.slice(..len.min(self.held.len())))
    }

    fn in_hand(&self, len: usize) -> Option<Bytes> {
        let from = usize::try_from(self.at.checked_sub(self.held_at)?).ok()?;
        let to = from.checked_add(len)?;
        (to <= self.held.len()).then(|| self.held.slice(from..to))
    }

    /// The header of the batch that starts here, `None` at the end.
    ///
    /// # Errors
    /// `InvalidData` when there is no whole batch; the disk's own.
    pub(super) async fn header(&mut self) -> io::Result<Option<Header>> {
        if self.left() == 0 {
            return Ok(None);
        }
        let bytes = self.peek(HEADER_BYTES).await?;
        let wrong = |text: &str| io::Error::new(io::ErrorKind::InvalidData, format!("position {}: {text}", self.at));
        let header = Header::parse(&bytes).map_err(|corrupt| wrong(corrupt.0))?;
        if header.size() as u64 > self.left() {
            return Err(wrong("a batch ends past its file"));
        }
        Ok(Some(header))
    }

    /// Steps over the batch that starts here, of so many bytes.
    pub(super) fn skip(&mut self, size: u64) {
        self.at += size;
    }
}
