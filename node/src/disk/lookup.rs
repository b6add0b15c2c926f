//! Questions to one log that need its bytes: batches for the core itself, and records by time.
//!
//! Compressed records are opened only for an answer that lies among them. Where that cannot be done the answer is exact to
//! the batch: its first record stands for the one looked for, which is never after what was asked, and the largest
//! timestamp is its last record's. Nothing is said of a batch that does not match its checksum but that.

use super::logs::{Logs, Piece};
use super::segment::LogRef;
use crate::host::Disk;
use bytes::{Bytes, BytesMut};
use klamm_core::effect::{Lookup, Query, Room};
use klamm_core::ids::{LeaderEpoch, LogId, Offset, Timestamp};
use klamm_core::record::{Batch, Codec, Corrupt, Flaw, Record, batches, records, stamps};
use std::future::Future;
use std::io;

/// Bytes looked through at once.
const CHUNK: u32 = 256 << 10;
/// A look that met a trim or a truncation is begun anew, so often at most.
const TRIES: usize = 16;

/// A record: its offset, timestamp and leader epoch.
type Found = (Offset, Timestamp, LeaderEpoch);

impl<D: Disk> Logs<D> {
    /// Answers a question.
    pub fn look_up(&self, log: LogId, query: Query) -> impl Future<Output = Lookup> + use<D> {
        let this = self.clone();
        async move {
            for _ in 0..TRIES {
                let generation = this.generation(log);
                let found = this.look_once(log, &query).await;
                if this.generation(log) == generation {
                    return found.unwrap_or_else(|error| Lookup::Failed(error.to_string()));
                }
                // A lease that met a cut or a trim gave too little: that says nothing of what the log holds.
            }
            Lookup::Failed("trimmed again and again while it was looked through".to_owned())
        }
    }

    async fn look_once(&self, log: LogId, query: &Query) -> io::Result<Lookup> {
        match *query {
            Query::Batches { from, upto, max_bytes } => {
                self.read(log, from, upto, max_bytes).await.map(Lookup::Batches)
            }
            Query::Timestamp { at, upto } => self.first_since(log, at, upto).await.map(Lookup::Record),
            Query::MaxTimestamp { upto } => self.newest(log, upto).await.map(Lookup::Record),
            Query::Room => self.disk().room().await.map(|(total, usable)| Lookup::Room(Room { total, usable })),
        }
    }

    /// Another one after each cut, and each trim that took something away.
    fn generation(&self, log: LogId) -> Option<(u32, u64)> {
        self.log(log).map(|log| (log.borrow().generation, log.borrow().trimmed))
    }

    /// The bytes of a lease.
    async fn read(&self, log: LogId, from: Offset, upto: Offset, max_bytes: u32) -> io::Result<Bytes> {
        let lease = self.lease(log, from, upto, max_bytes).await?;
        let mut all = BytesMut::new();
        for piece in &lease.pieces {
            match piece {
                Piece::Bytes(bytes) => all.extend_from_slice(bytes),
                Piece::File { file, at, len } => {
                    let bytes = self.disk().read(file, *at, *len as usize).await?;
                    if bytes.len() < *len as usize {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    all.extend_from_slice(&bytes);
                }
            }
        }
        Ok(all.freeze())
    }

    /// The first batch in a range of offsets that is right.
    async fn first_batch(
        &self,
        log: LogId,
        mut from: Offset,
        upto: Offset,
        mut right: impl FnMut(&Batch) -> bool,
    ) -> io::Result<Option<Batch>> {
        while from < upto {
            let mut end = from;
            for batch in batches(self.read(log, from, upto, CHUNK).await?) {
                let batch = batch.map_err(odd)?;
                if !batch.crc_holds(self.options().crc) {
                    return Err(odd(Corrupt("the checksum does not match")));
                }
                if right(&batch) {
                    return Ok(Some(batch));
                }
                end = batch.header.next_offset();
            }
            if end == from {
                break;
            }
            from = end;
        }
        Ok(None)
    }

    /// The first record at or after a time.
    async fn first_since(&self, log: LogId, at: Timestamp, upto: Offset) -> io::Result<Option<Found>> {
        let Some(it) = self.log(log) else { return Err(io::ErrorKind::NotFound.into()) };
        let (start, base) = {
            let it = it.borrow();
            (it.marks.log_start_offset, it.segments.iter().find(|s| s.max_timestamp >= at).map(|s| s.base))
        };
        let from = match base {
            Some(base) => self.floor_of_time(&it, base, at).await?,
            None => it.borrow().written,
        };
        let batch = self.first_batch(log, from.max(start), upto, |b| first_since(b, at, start).is_some()).await?;
        Ok(batch.and_then(|b| first_since(&b, at, start)))
    }

    async fn floor_of_time(&self, log: &LogRef<D::File>, base: Offset, at: Timestamp) -> io::Result<Offset> {
        let file = self.file(log, base).await?;
        self.indexed(log, base, &file).await?;
        let mut it = log.borrow_mut();
        Ok(it.segment_mut(base).and_then(|s| s.index.as_ref()).map_or(base, |i| i.floor_of_time(at)))
    }

    /// The record with the largest timestamp; the first one of several.
    async fn newest(&self, log: LogId, upto: Offset) -> io::Result<Option<Found>> {
        let Some(it) = self.log(log) else { return Err(io::ErrorKind::NotFound.into()) };
        let (start, written, mut parts) = {
            let it = it.borrow();
            let ends = it.segments.iter().skip(1).map(|s| s.base).chain([it.written]);
            let parts: Vec<_> = it.segments.iter().zip(ends).map(|(s, end)| (s.max_timestamp, s.base, end)).collect();
            (it.marks.log_start_offset, it.written, parts)
        };
        let mut best = self.newest_in(log, written.max(start), upto, Timestamp(i64::MAX)).await?;
        parts.sort_by_key(|(max, base, _)| (std::cmp::Reverse(*max), *base));
        for (max, base, end) in parts {
            if best.is_some_and(|b| b.1 > max) {
                break;
            }
            let floor = self.floor_of_time(&it, base, max).await?;
            let end = end.min(upto);
            let mut found = self.newest_in(log, floor.max(start), end, max).await?;
            if found.is_none_or(|f| f.1 < max) {
                // That batch is not below `upto`, or not above the log's start.
                found = self.newest_in(log, base.max(start), end, max).await?;
            }
            let better = |f: &Found| best.is_none_or(|b| f.1 > b.1 || (f.1 == b.1 && f.0 < b.0));
            best = found.filter(better).or(best);
        }
        Ok(best)
    }

    /// The newest record of a range of offsets; the search ends at a timestamp that nothing there exceeds.
    async fn newest_in(&self, log: LogId, from: Offset, upto: Offset, most: Timestamp) -> io::Result<Option<Found>> {
        let mut best: Option<Batch> = None;
        self.first_batch(log, from, upto, |batch| {
            if best.as_ref().is_none_or(|b| batch.header.max_timestamp > b.header.max_timestamp) {
                best = Some(batch.clone());
            }
            batch.header.max_timestamp >= most
        })
        .await?;
        Ok(best.map(|b| newest(&b, from)))
    }
}

fn odd(Corrupt(text): Corrupt) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The first record of a batch at or after a time, not below the log's start.
fn first_since(batch: &Batch, at: Timestamp, start: Offset) -> Option<Found> {
    let header = &batch.header;
    if header.max_timestamp < at {
        return None;
    }
    let mut all = times(batch);
    let found = all.find(|r| r.is_err() || r.is_ok_and(|(offset, timestamp)| timestamp >= at && offset >= start))?;
    let (offset, timestamp) = found.unwrap_or_else(|_| {
        let timestamp = if header.base_timestamp >= at { header.base_timestamp } else { header.max_timestamp };
        (header.base_offset.max(start), timestamp)
    });
    Some((offset, timestamp, header.leader_epoch))
}

/// Offset and timestamp of each record of a batch, in order.
fn times(batch: &Batch) -> Box<dyn Iterator<Item = Result<(Offset, Timestamp), Flaw>> + '_> {
    if batch.header.codec() != Some(Codec::None) {
        return Box::new(stamps(batch.bytes(), crate::codec::open));
    }
    let time = |record: Result<Record<'_>, Corrupt>| {
        record.map(|r| (r.offset, r.timestamp)).map_err(|Corrupt(what)| Flaw::Records(what))
    };
    Box::new(records(batch.bytes()).map(time))
}

/// The newest record of a batch, not below an offset if there is such a one.
fn newest(batch: &Batch, start: Offset) -> Found {
    let header = &batch.header;
    let readable = times(batch).map_while(Result::ok).filter(|r| r.0 >= start);
    let newest = readable.fold(None, |best: Option<(Offset, Timestamp)>, r| match best {
        Some(b) if b.1 >= r.1 => best,
        Some(_) | None => Some(r),
    });
    let (offset, timestamp) = newest.unwrap_or((header.last_offset(), header.max_timestamp));
    (offset, timestamp, header.leader_epoch)
}
