//! Sparse indexes of one segment, in memory and in Kafka's two files.
//!
//! Every 4096 bytes or so an entry: the last offset of a batch and the position where that batch starts; and, where it
//! rose, the largest timestamp so far with the last offset of its batch. An index only says where to begin reading:
//! whoever uses it reads headers from there on. The files carry no checksum: one that is not what its segment could have
//! is thrown away and made anew from the batches.

use klamm_core::ids::{Offset, Timestamp};
use klamm_core::record::Header;

/// Bytes of batches between two entries.
const INTERVAL: u64 = 4096;
const OFFSET_ENTRY: usize = 8;
const TIME_ENTRY: usize = 12;

/// The two indexes of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    base: Offset,
    /// Last offset of a batch, from the base; and its position.
    offsets: Vec<(u32, u32)>,
    /// Largest timestamp so far, and the last offset of its batch, from the base.
    times: Vec<(i64, u32)>,
    /// Largest timestamp so far and the last offset of its batch: the entry to come.
    newest: Option<(i64, u32)>,
    /// Bytes since the last entry.
    since: u64,
}

impl Index {
    /// Of a segment without batches.
    pub(super) fn new(base: Offset) -> Index {
        Index { base, offsets: Vec::new(), times: Vec::new(), newest: None, since: 0 }
    }

    /// Takes in the batch that follows, at a position. What Kafka's fields have no room for is left out.
    pub(super) fn add(&mut self, header: &Header, position: u64) {
        let size = header.size() as u64;
        let relative = i32::try_from(header.last_offset().0 - self.base.0);
        let (Ok(relative), Ok(position)) = (relative, i32::try_from(position)) else { return };
        let (relative, position) = (relative.cast_unsigned(), position.cast_unsigned());
        if self.newest.is_none_or(|newest| header.max_timestamp.0 > newest.0) {
            self.newest = Some((header.max_timestamp.0, relative));
        }
        if self.since >= INTERVAL {
            self.offsets.push((relative, position));
            self.push_time();
            self.since = 0;
        }
        self.since += size;
    }

    fn push_time(&mut self) {
        let Some(newest) = self.newest else { return };
        if newest.0 >= 0 && self.times.last().is_none_or(|last| newest.0 > last.0) {
            self.times.push(newest);
        }
    }

    /// A position at or before that of the batch which holds an offset: a batch starts there.
    pub(super) fn floor(&self, offset: Offset) -> u64 {
        let after = self.offsets.partition_point(|e| self.base.0 + i64::from(e.0) <= offset.0);
        if after == 0 { 0 } else { u64::from(self.offsets[after - 1].1) }
    }

    /// The last known position, not after `position`, where a batch starts that ends below `upto`.
    pub(super) fn boundary(&self, position: u64, upto: Offset) -> Option<u64> {
        let fits = |e: &(u32, u32)| u64::from(e.1) <= position && self.base.0 + i64::from(e.0) < upto.0;
        let after = self.offsets.partition_point(fits);
        after.checked_sub(1).map(|i| u64::from(self.offsets[i].1))
    }

    /// An offset that the first batch with a timestamp at or after `at` is not below.
    pub(super) fn floor_of_time(&self, at: Timestamp) -> Offset {
        let after = self.times.partition_point(|e| e.0 < at.0);
        if after == 0 { self.base } else { Offset(self.base.0 + i64::from(self.times[after - 1].1)) }
    }

    /// Forgets the batches at and above an offset. `kept` are those below it from `floor` on, which [`Index::floor`] gave
    /// for the offset before it: they are taken in again.
    pub(super) fn cut(&mut self, to: Offset, floor: u64, kept: &[(Header, u64)]) {
        assert!(floor == 0 || !kept.is_empty(), "nothing is kept before {to}, but from {floor} on");
        let from = kept.first().map_or(to, |(header, _)| header.base_offset);
        let keep = self.offsets.partition_point(|e| u64::from(e.1) < floor);
        self.offsets.truncate(keep);
        let keep = self.times.partition_point(|e| self.base.0 + i64::from(e.1) < from.0);
        self.times.truncate(keep);
        self.newest = self.times.last().copied();
        self.since = if floor == 0 { 0 } else { INTERVAL };
        for (header, position) in kept {
            self.add(header, *position);
        }
    }

    /// The largest timestamp, or -1.
    pub(super) fn max_timestamp(&self) -> Timestamp {
        Timestamp(self.newest.map_or(-1, |newest| newest.0))
    }

    /// The contents of `.index` and `.timeindex`; the time index ends with the segment's largest timestamp.
    pub(super) fn files(&self) -> (Vec<u8>, Vec<u8>) {
        let mut index = Vec::with_capacity(self.offsets.len() * OFFSET_ENTRY);
        for (relative, position) in &self.offsets {
            index.extend(relative.to_be_bytes());
            index.extend(position.to_be_bytes());
        }
        let mut whole = self.clone();
        whole.push_time();
        let mut time = Vec::with_capacity(whole.times.len() * TIME_ENTRY);
        for (timestamp, relative) in &whole.times {
            time.extend(timestamp.to_be_bytes());
            time.extend(relative.to_be_bytes());
        }
        (index, time)
    }

    /// Reads the files of a closed segment of `bytes` whose last offset is below `next`; `None` when they are odd.
    pub(super) fn load(base: Offset, bytes: u64, next: Offset, index: &[u8], time: &[u8]) -> Option<Index> {
        let (index, []) = index.as_chunks::<OFFSET_ENTRY>() else { return None };
        let (time, []) = time.as_chunks::<TIME_ENTRY>() else { return None };
        let offsets: Vec<(u32, u32)> = index
            .iter()
            .map(|[a, b, c, d, e, f, g, h]| {
                (u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h]))
            })
            .collect();
        let times: Vec<(i64, u32)> = time
            .iter()
            .map(|e| {
                let (timestamp, relative) = e.split_at(8);
                let timestamp = timestamp.try_into().map_or(-1, i64::from_be_bytes);
                (timestamp, relative.try_into().map_or(0, u32::from_be_bytes))
            })
            .collect();
        let inside = |relative: u32| base.0 + i64::from(relative) < next.0;
        let rising = offsets.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1)
            && times.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1);
        let legal = offsets.iter().all(|e| e.1 > 0 && u64::from(e.1) < bytes && inside(e.0))
            && times.iter().all(|e| e.0 >= 0 && inside(e.1));
        let newest = times.last().copied();
        (rising && legal).then_some(Index { base, offsets, times, newest, since: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_core::ids::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence};

    fn header(base: i64, size: i32, timestamp: i64) -> Header {
        Header {
            base_offset: Offset(base),
            batch_length: size - 12,
            leader_epoch: LeaderEpoch(0),
            crc: 0,
            attributes: 0,
            last_offset_delta: 9,
            base_timestamp: Timestamp(timestamp),
            max_timestamp: Timestamp(timestamp),
            producer_id: ProducerId(-1),
            producer_epoch: ProducerEpoch(-1),
            base_sequence: Sequence(-1),
            count: 10,
        }
    }

    /// 100 batches of 10 records and 1000 bytes, from offset 500 on; timestamps fall back every tenth.
    fn index() -> Index {
        let mut index = Index::new(Offset(500));
        for i in 0..100 {
            let timestamp = if i % 10 == 9 { 0 } else { 1000 + i };
            index.add(&header(500 + 10 * i, 1000, timestamp), 1000 * i as u64);
        }
        index
    }

    #[test]
    fn entries_are_kafkas() {
        let (index, time) = index().files();
        // The first entry falls due with the sixth batch (5000 bytes before it), and names its last offset.
        assert_eq!(&index[..8], &[0, 0, 0, 59, 0, 0, 0x13, 0x88]);
        assert_eq!(&time[..12], &[0, 0, 0, 0, 0, 0, 3, 0xed, 0, 0, 0, 59]);
        let last = &time[time.len() - 12..];
        assert_eq!(last, &[0, 0, 0, 0, 0, 0, 4, 0x4a, 0, 0, 3, 0xdd], "the largest timestamp, at batch 98");
    }

    #[test]
    fn a_floor_is_never_above_what_is_looked_for() {
        let index = index();
        for offset in 500..1500 {
            let floor = index.floor(Offset(offset));
            assert!(floor.is_multiple_of(1000) && 500 + floor as i64 / 100 <= offset);
            assert!(500 + floor as i64 / 100 > offset - 70, "and not far below");
        }
        for timestamp in 0..1200 {
            let first = (0..100).find(|i| i % 10 != 9 && 1000 + i >= timestamp).unwrap_or(100);
            assert!(index.floor_of_time(Timestamp(timestamp)).0 < 500 + 10 * first + 10);
        }
        assert_eq!(index.boundary(4999, Offset(1500)), None);
        assert_eq!(index.boundary(5000, Offset(1500)), Some(5000));
        assert_eq!(index.boundary(5000, Offset(559)), None, "its batch does not end below");
    }

    #[test]
    fn what_is_cut_and_added_again_is_as_before() {
        for batches in 0..100 {
            let mut index = index();
            let to = Offset(500 + 10 * batches);
            let floor = index.floor(Offset(to.0 - 1));
            let batch = |i: i64| {
                let timestamp = if i % 10 == 9 { 0 } else { 1000 + i };
                (header(500 + 10 * i, 1000, timestamp), 1000 * i as u64)
            };
            let kept: Vec<_> = (floor as i64 / 1000..batches).map(batch).collect();
            index.cut(to, floor, &kept);
            for i in batches..100 {
                let (header, position) = batch(i);
                index.add(&header, position);
            }
            assert_eq!(index, self::index(), "cut to {batches}");
        }
    }

    #[test]
    fn odd_files_are_refused() {
        let whole = index();
        let (index, time) = whole.files();
        let load = |index: &[u8], time: &[u8]| Index::load(Offset(500), 100_000, Offset(1500), index, time);
        assert_eq!(load(&index, &time).map(|i| i.offsets), Some(whole.offsets));
        assert!(load(&index[1..], &time).is_none());
        assert!(load(&[0; 8], &time).is_none(), "a sector of zeros");
        let mut torn = index.clone();
        torn[40..].fill(0);
        assert!(load(&torn, &time).is_none());
        let mut torn = time.clone();
        torn[36..].fill(0);
        assert!(load(&index, &torn).is_none());
        assert!(Index::load(Offset(500), 40_000, Offset(1500), &index, &time).is_none(), "beyond the segment");
    }
}
