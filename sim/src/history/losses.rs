//! What a run declares as lost: records that were durable in one place, and that place came to harm.
//!
//! Excused is what the atlas named before the harm was done, and nothing else: at those offsets what was acknowledged or
//! read need not be there any more, and something else may come to stand there. Properties: `not-cut-silently` (what was
//! known to be durable is missing only where the broker says so: a log that was damaged is none that a crash cut short,
//! Alagappan et al., FAST 2018), and beyond the excuse all of the history's own.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{History, Outcome, Partition, violation};
use crate::report::Violation;

/// Something that may be lost.
#[derive(Clone, Debug)]
pub(super) struct Stake {
    offsets: Range<i64>,
    /// It was known to be on the device.
    marked: bool,
    /// The next start may still lose it.
    open: bool,
    /// In this life it is not to be had.
    missed: bool,
}

impl History {
    /// Whether anything is known to stand at some offsets, from the log's start on.
    #[must_use]
    pub fn knows(&self, partition: &Partition, offsets: &Range<i64>) -> bool {
        let from = offsets.start.max(self.start(partition));
        let placed = self.placed.get(partition);
        from < offsets.end && placed.is_some_and(|placed| placed.range(from..offsets.end).next().is_some())
    }

    /// What stands at some offsets may be lost from now on. `marked`: it was known to be on the device, so that nothing
    /// cuts it for being bad.
    pub fn may_lose(&mut self, partition: &Partition, offsets: &Range<i64>, marked: bool) {
        self.forget(partition, offsets);
        let lost = self.lost.entry(partition.clone()).or_default();
        match lost.iter_mut().find(|stake| stake.offsets == *offsets && stake.marked == marked) {
            Some(stake) => stake.open = true,
            None => lost.push(Stake { offsets: offsets.clone(), marked, open: true, missed: false }),
        }
    }

    /// Nothing is known any more of what stands at some offsets.
    fn forget(&mut self, partition: &Partition, offsets: &Range<i64>) {
        let mut unplaced = BTreeSet::new();
        for map in [self.reads.get_mut(partition), self.placed.get_mut(partition)].into_iter().flatten() {
            unplaced.extend(map.extract_if(offsets.clone(), |_, _| true).map(|(_, value)| value));
        }
        for (value, send) in self.sends.get_mut(partition).into_iter().flatten() {
            // It may stand there as before: whoever adds up what stands anywhere must not leave it out.
            send.seen &= !unplaced.contains(value);
            if matches!(send.outcome, Outcome::Acked(at) if offsets.contains(&at)) {
                send.outcome = Outcome::Maybe;
            }
        }
        if let Some(end) = self.ends.get_mut(partition).filter(|end| **end <= offsets.end) {
            *end = offsets.start.min(*end);
        }
    }

    /// What may be missing with an offset is, for now.
    pub fn is_missed(&mut self, partition: &Partition, offset: i64) {
        let lost = self.lost.get_mut(partition).into_iter().flatten();
        let hit = lost.filter(|stake| stake.offsets.contains(&offset));
        let hit: Vec<Range<i64>> = hit.map(|stake| (stake.missed = true, stake.offsets.clone()).1).collect();
        hit.iter().for_each(|offsets| self.forget(partition, offsets));
    }

    /// The broker dies: whoever read what is at stake while it was still there knows nothing of it any more.
    pub fn dies(&mut self) {
        let stakes = self.lost.iter_mut().flat_map(|(at, lost)| lost.iter_mut().map(move |stake| (at, stake)));
        let open = stakes.filter(|(_, stake)| stake.open);
        let open: Vec<(Partition, Range<i64>)> = open
            .map(|(at, stake)| {
                stake.missed = false;
                (at.clone(), stake.offsets.clone())
            })
            .collect();
        open.iter().for_each(|(at, offsets)| self.forget(at, offsets));
        self.read_back.clear();
    }

    /// In this life of the broker all of a partition was served, and read.
    pub fn reads_back(&mut self, partition: &Partition) {
        self.read_back.insert(partition.clone());
    }

    /// After a start every partition was asked for. What recovery has cut of those that were read back is cut: what comes
    /// to stand there from now on is to stay. What it keeps although it is damaged stays so; and of a log that it refused
    /// it has cut nothing: a later start may.
    pub fn inspected(&mut self) {
        let read = std::mem::take(&mut self.read_back);
        for (at, lost) in &mut self.lost {
            lost.iter_mut().filter(|stake| stake.marked).for_each(|stake| stake.open = false);
            lost.retain(|stake| stake.marked || stake.missed || !read.contains(at));
        }
    }

    /// Whether an offset may be missing; gives where what may be missing with it ends.
    #[must_use]
    pub fn is_lost(&self, partition: &Partition, offset: i64) -> Option<i64> {
        let lost = self.lost.get(partition).into_iter().flatten();
        lost.filter(|stake| stake.offsets.contains(&offset)).map(|stake| stake.offsets.end).max()
    }

    /// A log that lost records below its mark is served as if it had not. `end` is where it ends now.
    ///
    /// # Errors
    /// When it ends where they stood.
    pub fn goes_on(&self, partition: &Partition, lost: &Range<i64>, end: i64) -> Result<(), Violation> {
        if end > lost.start {
            return Ok(());
        }
        Err(violation(
            "not-cut-silently",
            partition,
            format!("what stood from {} on was acknowledged, and known to be on the device", lost.start),
            format!("it is served without a word, and ends at {end}"),
        ))
    }

    /// The broker's files are those of an earlier moment: what clients saw since then counts no more, what they sent since
    /// then may still be on its way.
    #[must_use]
    pub fn back_at(&self, then: &History) -> History {
        let mut back = then.clone();
        for (partition, sends) in &self.sends {
            let known = back.sends.entry(partition.clone()).or_default();
            for (value, send) in sends {
                let sent = || super::Send { outcome: Outcome::Maybe, seen: false, ..send.clone() };
                let known = known.entry(*value).or_insert_with(sent);
                (known.again, known.bytes) = (send.again, send.bytes);
            }
        }
        back.ordinals.clone_from(&self.ordinals);
        back.repeats.clone_from(&self.repeats);
        back.starts.shows_at_least(&self.starts);
        back
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Sent;

    fn at() -> Partition {
        ("t".into(), 0)
    }

    fn five() -> History {
        let mut h = History::default();
        h.sent(&at(), 9, &[1, 2, 3, 4, 5], Sent { bytes: 1, time: 0, stamp: 0 });
        for n in 0..5 {
            h.acked(&at(), n + 1, n as i64).unwrap();
        }
        h.ends(&at(), 0, 5).unwrap();
        h
    }

    #[test]
    fn only_what_was_declared_may_be_missing() {
        let mut h = five();
        h.may_lose(&at(), &(2..3), true);
        let whole = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)];
        assert_eq!(h.clone().finally(&at(), 0, &whole), Ok(()));
        assert_eq!(h.clone().finally(&at(), 0, &[(0, 1), (1, 2), (3, 4), (4, 5)]), Ok(()));
        let property = |log: &[(i64, u64)]| h.clone().finally(&at(), 0, log).unwrap_err().property;
        assert_eq!(property(&[(0, 1), (1, 2), (4, 5)]), "dense-offsets", "one more is missing");
        assert_eq!(property(&[(0, 1), (1, 2)]), "acked-not-lost", "and all behind it");
        assert_eq!(property(&[(0, 1), (1, 2), (2, 9), (3, 4), (4, 5)]), "no-phantom", "something else in its place");
        assert_eq!((h.is_lost(&at(), 2), h.is_lost(&at(), 3), h.end(&at())), (Some(3), None, 5));
    }

    #[test]
    fn a_cut_may_be_written_over() {
        let mut h = five();
        h.may_lose(&at(), &(3..i64::MAX), false);
        assert_eq!(h.end(&at()), 3);
        h.sent(&at(), 7, &[6], Sent { bytes: 1, time: 0, stamp: 0 });
        h.acked(&at(), 6, 3).unwrap();
        assert_eq!(h.clone().finally(&at(), 0, &[(0, 1), (1, 2), (2, 3), (3, 6)]), Ok(()));
        assert_eq!(h.clone().finally(&at(), 0, &[(0, 1), (1, 2), (2, 3)]).unwrap_err().property, "acked-not-lost");
        h.sent(&at(), 7, &[7], Sent { bytes: 1, time: 0, stamp: 0 });
        let gap = [(0, 1), (1, 2), (2, 3), (3, 6), (5, 7)];
        assert_eq!(h.clone().finally(&at(), 0, &gap), Ok(()));
        h.reads_back(&at());
        h.inspected();
        assert_eq!(h.finally(&at(), 0, &gap).unwrap_err().property, "dense-offsets");
    }

    /// A log was refused, and so nothing of it was cut; the next start cut it. And what was marked, of the same extent, is
    /// not settled with what was not.
    #[test]
    fn only_what_was_read_is_settled() {
        let mut h = five();
        h.may_lose(&at(), &(3..i64::MAX), false);
        h.inspected();
        assert_eq!(h.is_lost(&at(), 4), Some(i64::MAX), "it was refused");
        h.dies();
        h.is_missed(&at(), 3);
        h.reads_back(&at());
        h.inspected();
        assert_eq!(h.is_lost(&at(), 4), Some(i64::MAX), "it is served, and what was harmed still cannot be had");
        h.dies();
        h.may_lose(&at(), &(3..i64::MAX), true);
        h.reads_back(&at());
        h.inspected();
        assert_eq!(h.lost[&at()].len(), 1, "of the two what was marked is left");
        assert!(h.lost[&at()][0].marked);
    }

    #[test]
    fn what_was_marked_does_not_go_without_a_word() {
        let h = five();
        assert!(h.knows(&at(), &(4..5)) && !h.knows(&at(), &(5..9)));
        assert_eq!(h.goes_on(&at(), &(3..4), 5), Ok(()));
        assert_eq!(h.goes_on(&at(), &(3..4), 3).unwrap_err().property, "not-cut-silently");
    }

    /// The log of a sector that could not be read was trimmed by its size, with what stood in that sector: what had been
    /// read there, and was not known any more to stand there, was not added up.
    #[test]
    fn what_may_be_lost_may_stand_behind_what_is_surplus() {
        let mut h = History::default();
        for n in 0..5 {
            h.sent(&at(), 9, &[n], Sent { bytes: 100, time: 0, stamp: 0 });
            h.acked(&at(), n, n as i64).unwrap();
            h.read(&at(), n as i64, n).unwrap();
        }
        h.keeping("t", crate::history::Keeping { ms: None, bytes: Some(200) });
        h.may_lose(&at(), &(3..5), false);
        assert_eq!(h.clone().starts(&at(), 0, 3), Ok(()));
    }

    #[test]
    fn an_old_copy_has_what_it_had() {
        let then = five();
        let mut now = five();
        now.sent(&at(), 9, &[6], Sent { bytes: 1, time: 0, stamp: 0 });
        now.acked(&at(), 6, 5).unwrap();
        let back = now.back_at(&then);
        let five = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)];
        assert_eq!(back.clone().finally(&at(), 0, &five), Ok(()), "nobody was told of more by then");
        assert_eq!(back.clone().finally(&at(), 0, &[&five[..], &[(5, 6)]].concat()), Ok(()), "it was on its way");
        assert_eq!(back.clone().finally(&at(), 0, &five[..4]).unwrap_err().property, "acked-not-lost");
    }
}
