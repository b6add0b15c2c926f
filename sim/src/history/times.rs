//! Records by their time (KIP-79, KIP-734), against the model: `first-since`: the record that is given is as young as was
//! asked for, and has that time. What was committed, and as young, and stands before it, was passed over: then there must
//! be a reason for it to be gone. Of topics whose records may bear the broker's time nothing
//! is known.

use super::{History, Partition, violation};
use crate::report::Violation;

impl History {
    /// The first record at or after a time was asked for: it is `found`, offset and time, or there is none (-1).
    /// Everything below `end` was committed when that was asked.
    ///
    /// # Errors
    /// When another one is the first.
    pub fn first_since(&mut self, at: &Partition, time: i64, end: i64, found: (i64, i64)) -> Result<(), Violation> {
        self.is_of(at, found, |stamp| stamp >= time)?;
        let below = if found.0 < 0 { end } else { end.min(found.0) };
        let passed_over = self.stamps(at, below).filter(|(_, stamp)| *stamp >= time).last();
        passed_over.map_or(Ok(()), |(offset, _)| self.may_be_gone(at, offset))
    }

    /// The record with the largest time was asked for.
    ///
    /// # Errors
    /// When there is a younger one.
    pub fn newest(&mut self, at: &Partition, end: i64, found: (i64, i64)) -> Result<(), Violation> {
        self.is_of(at, found, |_| true)?;
        let passed_over = self.stamps(at, end).filter(|(_, stamp)| *stamp > found.1).last();
        passed_over.map_or(Ok(()), |(offset, _)| self.may_be_gone(at, offset))
    }

    /// Whether a trim or retention has, or is about to have, taken what is below an offset, that one included. Others may
    /// still be told of the old start: it is not theirs before it is durable.
    fn may_be_gone(&mut self, at: &Partition, offset: i64) -> Result<(), Violation> {
        self.justified(at, self.start(at), offset + 1)
    }

    /// What stands where a record was found has its time, and the right one.
    fn is_of(&self, at: &Partition, found: (i64, i64), right: impl Fn(i64) -> bool) -> Result<(), Violation> {
        match self.stamp(at, found.0).filter(|stamp| *stamp != found.1 || !right(*stamp)) {
            None => Ok(()),
            Some(stamp) => Err(violation(
                "first-since",
                at,
                format!("offset {} is of {stamp}", found.0),
                format!("asked for a record by its time, it says {found:?}"),
            )),
        }
    }

    /// The times of what is known to stand from the log's start on, as far as anybody was told, up to an offset.
    fn stamps(&self, at: &Partition, end: i64) -> impl Iterator<Item = (i64, i64)> {
        let start = self.start(at);
        let known =
            self.placed.get(at).filter(|_| !self.restamped(at)).map(|placed| placed.range(start..end.max(start)));
        let sends = self.sends.get(at);
        known.into_iter().flatten().filter_map(move |(offset, value)| Some((*offset, sends?.get(value)?.stamp)))
    }

    fn stamp(&self, at: &Partition, offset: i64) -> Option<i64> {
        let value = self.placed.get(at).filter(|_| !self.restamped(at))?.get(&offset)?;
        self.sends.get(at)?.get(value).map(|send| send.stamp)
    }

    fn restamped(&self, at: &Partition) -> bool {
        self.topic(&at.0).is_some_and(|topic| topic.restamped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Sent;

    #[test]
    fn the_first_one_and_the_newest_one() {
        let at: Partition = ("t".into(), 0);
        let mut h = History::default();
        for (n, stamp) in [(0, 10), (1, 30), (2, 20)] {
            h.sent(&at, 1, &[n], Sent { bytes: 1, time: stamp, stamp });
            h.acked(&at, n, n as i64).unwrap();
        }
        assert_eq!(h.first_since(&at, 11, 3, (1, 30)), Ok(()));
        let broken = |time, end, found| h.clone().first_since(&at, time, end, found).unwrap_err().property;
        assert_eq!((broken(11, 3, (2, 20)), broken(11, 3, (-1, -1))), ("kept-as-promised", "kept-as-promised"));
        assert_eq!((broken(11, 3, (1, 31)), broken(11, 3, (0, 10))), ("first-since", "first-since"));
        assert_eq!(h.first_since(&at, 11, 1, (-1, -1)), Ok(()), "what came after was not committed, perhaps");
        assert_eq!(h.first_since(&at, 31, 3, (-1, -1)), Ok(()));
        assert_eq!(h.newest(&at, 3, (1, 30)), Ok(()));
        assert_eq!(h.clone().newest(&at, 3, (2, 20)).unwrap_err().property, "kept-as-promised");
        h.trims(&at, Some(2));
        assert_eq!(h.first_since(&at, 11, 3, (2, 20)), Ok(()), "the other one is gone");
    }
}
