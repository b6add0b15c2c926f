//! What a log is owed goes into its segment past the page cache, while the journal takes its next groups.
//!
//! Through the page cache the shard would pay for each byte with a copy and a part of a page, for nobody, where the
//! readers have what they want from the tail. Who has lately read the active segment's file wants the page cache, and
//! batches go through it; so do a few at a time, which are not worth the operations.
//!
//! Past it go whole blocks: where the last one is not full, zeros follow, and it is written again with the next batches.
//! Its bytes are remembered, for a block that nobody has read is not in memory.

use super::at;
use super::commit::{Append, Kind, bytes_of, slices};
use super::logs::Logs;
use super::names::{LOG, path};
use super::segment::LogRef;
use crate::host::{BLOCK, Disk, Op};
use bytes::{Bytes, BytesMut};
use klamm_core::ids::Offset;
use std::io;

/// A segment is lengthened by as much as it has at once, within these bounds: a write that changes its file's length waits
/// for the file system, and what is not used is room that others do not have.
const LEAST_AHEAD: u64 = 64 << 10;
const MOST_AHEAD: u64 = 4 << 20;
/// So small a part of what a log may be owed goes through the page cache.
const WORTH_BLOCKS: u64 = 4;
static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// An active segment, and where it was written to past the page cache.
#[derive(Debug)]
pub(super) struct Beside<F> {
    pub(super) base: Offset,
    file: F,
    /// The position behind the last batch.
    at: u64,
    /// What stands before it in its block.
    edge: Bytes,
}

impl<D: Disk> Logs<D> {
    /// Begins to pay what is owed, if nothing is in the way.
    pub(super) fn pay_beside(&self, log: &LogRef<D::File>) {
        let paid = {
            let mut it = log.borrow_mut();
            if it.dead.is_some() || it.flight.is_some() || it.working().is_some() {
                return;
            }
            it.owed.take()
        };
        let (this, held) = (self.clone(), log.clone());
        self.chore(log, Kind::Pay, async move {
            let result = this.put(&held, &paid).await;
            this.paid(&held, paid, result);
            Ok(())
        });
    }

    /// Pays all that is owed, whatever is in the way.
    pub(super) async fn pay(&self, log: &LogRef<D::File>) {
        if let Err(error) = self.rested(log).await {
            return self.dies(log, &error.to_string());
        }
        let paid = log.borrow_mut().owed.take();
        if !paid.is_empty() {
            let result = self.put(log, &paid).await;
            self.paid(log, paid, result);
        }
    }

    /// Writes batches behind the others of the active segment, without a sync: they are durable, and ended.
    async fn put(&self, log: &LogRef<D::File>, batches: &[Append]) -> io::Result<()> {
        let (base, from) = (log.borrow().active().base, log.borrow().active().bytes);
        let few = bytes_of(batches) < self.options().owed_bytes / WORTH_BLOCKS;
        if few || log.borrow().audience.needs_files(self.options().log_tail_bytes) {
            let (file, mut data) = (self.file(log, base).await?, Vec::new());
            slices(batches, &mut data);
            return self.disk().perform(Op::Write { file, at: from, data, sync: false }).await;
        }
        self.put_past(log, base, from, batches).await
    }

    async fn put_past(&self, log: &LogRef<D::File>, base: Offset, from: u64, batches: &[Append]) -> io::Result<()> {
        let start = from - from % BLOCK;
        let (file, edge) = self.beside(log, base, from).await?;
        let mut data = vec![edge];
        slices(batches, &mut data);
        let upto = start + data.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
        let edge = last(&data, upto % BLOCK);
        let end = upto.next_multiple_of(BLOCK);
        data.push(Bytes::from_static(&ZEROS[..(end - upto) as usize]));
        self.lengthen(log, base, end).await?;
        self.disk().perform(Op::Write { file: file.clone(), at: start, data, sync: false }).await?;
        let mut it = log.borrow_mut();
        let Some(segment) = it.segment_mut(base) else { return Ok(()) };
        segment.length = segment.length.max(end);
        // Closed together.
        if segment.file.is_some() {
            it.beside = Some(Box::new(Beside { base, file, at: upto, edge }));
        }
        Ok(())
    }

    /// The active segment's file past the page cache, and what stands before a position in its block.
    async fn beside(&self, log: &LogRef<D::File>, base: Offset, from: u64) -> io::Result<(D::File, Bytes)> {
        let known = log.borrow_mut().beside.take().filter(|known| known.base == base);
        let file = match &known {
            Some(known) => known.file.clone(),
            None => {
                let path = path(&log.borrow().folder, base, LOG);
                self.disk().open_direct(&path, false).await.map_err(at(&path))?
            }
        };
        let len = (from % BLOCK) as usize;
        let edge = match known {
            Some(known) if known.at == from => known.edge,
            // Others have written there, through the page cache.
            _ if len > 0 => self.disk().read(&self.file(log, base).await?, from - len as u64, len).await?,
            _ => Bytes::new(),
        };
        if edge.len() == len { Ok((file, edge)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Has a segment's file reach to a position. Where there is no room to lengthen it ahead, the write will tell.
    async fn lengthen(&self, log: &LogRef<D::File>, base: Offset, end: u64) -> io::Result<()> {
        if log.borrow().active().length >= end {
            return Ok(());
        }
        let (file, ahead) = (self.file(log, base).await?, end + end.clamp(LEAST_AHEAD, MOST_AHEAD));
        let length = match self.disk().perform(Op::SetLength { file: file.clone(), len: ahead }).await {
            Ok(()) => ahead,
            Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                self.disk().length(&file).await?
            }
            Err(error) => return Err(error),
        };
        if let Some(segment) = log.borrow_mut().segment_mut(base) {
            segment.length = length;
        }
        Ok(())
    }
}

/// The last `len` bytes of some.
fn last(data: &[Bytes], len: u64) -> Bytes {
    let mut left = len as usize;
    let mut parts = Vec::new();
    for bytes in data.iter().rev() {
        let taken = left.min(bytes.len());
        parts.push(&bytes[bytes.len() - taken..]);
        left -= taken;
        if left == 0 {
            break;
        }
    }
    let mut all = BytesMut::with_capacity(len as usize);
    parts.iter().rev().for_each(|part| all.extend_from_slice(part));
    all.freeze()
}
