//! What a log no longer keeps: whole segments from the front, by age and by size (`retention.ms`, `retention.bytes`).
//!
//! A segment is as old as its newest record; one whose records have no timestamp has no age. Only what is committed goes.
//! The active segment goes like any other: a trim of everything begins a new one.

use super::Replica;
use crate::effect::Effect;
use crate::ids::{LeaderEpoch, Offset, Timestamp};

/// How long and how much a log keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// After its newest record, milliseconds; `None` for ever.
    pub ms: Option<i64>,
    /// Bytes; `None` without limit.
    pub bytes: Option<u64>,
}

impl Retention {
    /// Whether anything is ever dropped.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.ms.is_some() || self.bytes.is_some()
    }
}

impl Replica {
    /// Begins to drop what is too old or too much.
    pub fn retain(&mut self, now: Timestamp, out: &mut alloc::vec::Vec<Effect>) {
        if self.serves(LeaderEpoch(-1)).is_ok()
            && let Some(start) = self.kept_from(now)
        {
            self.log_mut().trim(start, out);
        }
    }

    /// Where the first segment begins that is kept, if any is not.
    fn kept_from(&self, now: Timestamp) -> Option<Offset> {
        let Retention { ms, bytes } = self.keeping().retention;
        let segments = &self.log().state().segments;
        let ends = segments.iter().skip(1).map(|s| s.base).chain([self.log().log_end_offset()]);
        let mut surplus = bytes.map_or(0, |most| self.log().state().bytes().saturating_sub(most));
        let mut start = None;
        for (segment, end) in segments.iter().zip(ends) {
            let age = now.0.saturating_sub(segment.max_timestamp.0);
            let old = segment.max_timestamp.0 >= 0 && ms.is_some_and(|ms| age > ms);
            let too_much = surplus >= segment.bytes && surplus > 0;
            if segment.bytes == 0 || end > self.high_watermark() || !(old || too_much) {
                break;
            }
            surplus = surplus.saturating_sub(segment.bytes);
            start = Some(end);
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LogId;
    use crate::log::{Checkpoint, Found, Log, Segment};
    use crate::replica::Keeping;
    use alloc::vec::Vec;

    /// Three segments of 100 bytes and 10 records, each a second younger than the one before.
    fn replica(retention: Retention, committed: i64) -> Replica {
        let segment = |n: i64| {
            let max_timestamp = Timestamp(1000 * (n + 1));
            Segment { bytes: 100, max_timestamp, ..Segment::empty(Offset(n * 10)) }
        };
        let state = Checkpoint { at: Offset(30), segments: (0..3).map(segment).collect(), ..Checkpoint::default() };
        let log = Log::recovered(LogId::METADATA, Found { state, ..Found::default() }, Timestamp(0));
        let mut replica = Replica::new(log, Keeping { retention, ..Keeping::internal(1000) });
        replica.lead(LeaderEpoch(1), core::iter::empty());
        replica.commit(Offset(committed));
        replica
    }

    fn trims(retention: Retention, committed: i64, now: i64) -> Option<(i64, bool)> {
        let mut out = Vec::new();
        replica(retention, committed).retain(Timestamp(now), &mut out);
        out.first().map(|effect| match effect {
            Effect::Trim { to, roll, .. } => (to.0, roll.is_some()),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn segments_go_by_the_age_of_their_newest_record() {
        let day = Retention { ms: Some(500), bytes: None };
        assert_eq!(trims(day, 30, 1500), None, "exactly as old as allowed");
        assert_eq!(trims(day, 30, 1501), Some((10, false)));
        assert_eq!(trims(day, 30, 2501), Some((20, false)));
        assert_eq!(trims(day, 30, 9999), Some((30, true)), "the active one, too");
        assert_eq!(trims(day, 29, 9999), Some((20, false)), "but nothing that is not committed");
        assert_eq!(trims(Retention::default(), 30, i64::MAX), None, "for ever");
    }

    #[test]
    fn segments_go_while_the_others_are_enough() {
        let most = |bytes| Retention { ms: None, bytes: Some(bytes) };
        assert_eq!(trims(most(300), 30, 0), None);
        assert_eq!(trims(most(201), 30, 0), None, "without the first one it would be less than is to be kept");
        assert_eq!(trims(most(200), 30, 0), Some((10, false)));
        assert_eq!(trims(most(0), 30, 0), Some((30, true)));
    }

    #[test]
    fn a_segment_without_timestamps_has_no_age() {
        let mut out = Vec::new();
        let segment = Segment { bytes: 100, ..Segment::empty(Offset(0)) };
        let state = Checkpoint { at: Offset(10), segments: alloc::vec![segment], ..Checkpoint::default() };
        let log = Log::recovered(LogId::METADATA, Found { state, ..Found::default() }, Timestamp(0));
        let retention = Retention { ms: Some(0), bytes: None };
        let mut replica = Replica::new(log, Keeping { retention, ..Keeping::internal(1000) });
        replica.lead(LeaderEpoch(1), core::iter::empty());
        replica.commit(Offset(10));
        replica.retain(Timestamp(i64::MAX), &mut out);
        assert!(out.is_empty());
    }
}
