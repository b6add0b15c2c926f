//! Where logs start, and whether they may: an acknowledged or read record is missing only below a start that somebody
//! asked for (KIP-107) or that retention allows.
//!
//! Properties: `start-never-falls` (what was told of a log's start holds from then on, over restarts, too),
//! `kept-as-promised` (retention drops only what is older than `retention.ms`, or has `retention.bytes` behind it),
//! `trim-holds` (an acknowledged trim reaches what was asked for). Retention is computed here from what clients sent: a
//! record's time is the earliest that it can have, the bytes behind it are the most that there can be, and the broker's
//! clock has been at the latest where it ever was. Configs that were changed count for the time in which they may have
//! been in effect.

use std::collections::BTreeMap;

use super::{History, Outcome, Partition, Send, violation};
use crate::report::Violation;

/// How long and how much a topic keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// `retention.ms`; `None` for ever.
    pub ms: Option<i64>,
    /// `retention.bytes`; `None` without limit.
    pub bytes: Option<u64>,
}

/// What may be in effect for a topic.
#[derive(Clone, Debug, Default)]
struct Kept {
    settled: Keeping,
    /// Asked for, and not refused: in effect at any time from then on, or never.
    maybe: Vec<Keeping>,
}

/// Why a partition may start where it does.
#[derive(Clone, Debug)]
struct Start {
    /// The highest that anybody was told.
    told: i64,
    /// Somebody asked for this one.
    trimmed: i64,
    /// Trims to the high watermark, wherever that was, that have no answer.
    open: u32,
    /// Records of an earlier time were too old, once.
    old_before: i64,
    /// What is below had enough bytes behind it, once.
    surplus_below: i64,
    /// Limits in bytes that are over, each with the newest value that was sent by then: where that and others before it
    /// stand may be known only later.
    limits: Vec<(u64, u64)>,
}

impl Default for Start {
    fn default() -> Start {
        Start { told: 0, trimmed: 0, open: 0, old_before: i64::MIN, surplus_below: 0, limits: Vec::new() }
    }
}

/// All that is known of starts.
#[derive(Clone, Debug)]
pub(super) struct Starts {
    of: BTreeMap<Partition, Start>,
    kept: BTreeMap<String, Kept>,
    /// The latest time that the broker's clock has shown.
    wall: i64,
}

impl Default for Starts {
    fn default() -> Starts {
        Starts { of: BTreeMap::new(), kept: BTreeMap::new(), wall: i64::MIN }
    }
}

impl Starts {
    /// The broker's clock does not go back with its files.
    pub(super) fn shows_at_least(&mut self, other: &Starts) {
        self.wall = self.wall.max(other.wall);
    }
}

impl Kept {
    fn possible(&self) -> impl Iterator<Item = Keeping> {
        self.maybe.iter().copied().chain([self.settled])
    }
}

impl History {
    /// The broker's clock shows this time, milliseconds.
    pub fn shows(&mut self, wall: i64) {
        self.starts.wall = self.starts.wall.max(wall);
    }

    /// Somebody asks for a topic to be kept so; from here on it may be.
    pub fn keeping(&mut self, topic: &str, keeping: Keeping) {
        self.starts.kept.entry(topic.to_owned()).or_default().maybe.push(keeping);
    }

    /// It is kept so, and not as it was settled before.
    pub fn kept(&mut self, topic: &str, keeping: Keeping) {
        let partitions: Vec<Partition> = self.sends.keys().filter(|partition| partition.0 == topic).cloned().collect();
        partitions.iter().for_each(|partition| self.end_limit(partition));
        self.not_kept(topic, keeping);
        self.starts.kept.entry(topic.to_owned()).or_default().settled = keeping;
    }

    /// That was refused.
    pub fn not_kept(&mut self, topic: &str, keeping: Keeping) {
        let kept = self.starts.kept.entry(topic.to_owned()).or_default();
        if let Some(at) = kept.maybe.iter().position(|maybe| *maybe == keeping) {
            kept.maybe.remove(at);
        }
    }

    /// How a topic is kept, if nothing that was asked for and not answered may have changed that.
    #[must_use]
    pub fn settled(&self, topic: &str) -> Option<Keeping> {
        match self.starts.kept.get(topic) {
            None => Some(Keeping::default()),
            Some(kept) => kept.maybe.is_empty().then_some(kept.settled),
        }
    }

    /// Where a partition starts as far as anybody was told: a floor for the answer to what is asked now.
    #[must_use]
    pub fn start(&self, partition: &Partition) -> i64 {
        self.starts.of.get(partition).map_or(0, |start| start.told)
    }

    /// The broker says where a partition starts; `floor` is where it did when the question was asked.
    ///
    /// # Errors
    /// When it fell, or records are gone that were to be kept.
    pub fn starts(&mut self, partition: &Partition, floor: i64, start: i64) -> Result<(), Violation> {
        if start < floor {
            return Err(violation(
                "start-never-falls",
                partition,
                format!("it started at {floor} before a request"),
                format!("its answer says {start}"),
            ));
        }
        let before = self.start(partition);
        if start > before {
            self.starts.of.entry(partition.clone()).or_default().told = start;
            self.justified(partition, before, start)?;
        }
        Ok(())
    }

    /// An offset below the partition's end is out of range, so it starts behind that.
    ///
    /// # Errors
    /// As [`History::starts`].
    pub fn starts_behind(&mut self, partition: &Partition, offset: i64) -> Result<(), Violation> {
        self.starts(partition, 0, offset + 1)
    }

    /// Somebody asks for a partition to start at an offset, or where all of it is committed.
    pub fn trims(&mut self, partition: &Partition, to: Option<i64>) {
        let start = self.starts.of.entry(partition.clone()).or_default();
        match to {
            Some(to) => start.trimmed = start.trimmed.max(to),
            None => start.open += 1,
        }
    }

    /// It does. `least`: everything below was committed when that was asked; `floor`: it started there then.
    ///
    /// # Errors
    /// When it starts before what was asked for, or as [`History::starts`].
    pub fn trimmed(
        &mut self,
        partition: &Partition,
        to: Option<i64>,
        (least, floor): (i64, i64),
        start: i64,
    ) -> Result<(), Violation> {
        let asked = to.unwrap_or(least);
        if start < asked {
            return Err(violation(
                "trim-holds",
                partition,
                format!("everything below {asked} was to be deleted"),
                format!("it is, and the log starts at {start}"),
            ));
        }
        if to.is_none() {
            let known = self.starts.of.entry(partition.clone()).or_default();
            (known.trimmed, known.open) = (known.trimmed.max(start), known.open.saturating_sub(1));
        }
        self.starts(partition, floor, start)
    }

    /// A trim to the high watermark was refused.
    pub fn not_trimmed(&mut self, partition: &Partition, to: Option<i64>) {
        let start = self.starts.of.entry(partition.clone()).or_default();
        start.open -= u32::from(to.is_none());
    }

    /// Whether what is gone from one offset up to another may be.
    pub(super) fn justified(&mut self, partition: &Partition, from: i64, to: i64) -> Result<(), Violation> {
        self.age(partition);
        let start = self.starts.of.entry(partition.clone()).or_default().clone();
        if start.open > 0 {
            return Ok(());
        }
        let (Some(placed), Some(sends)) = (self.placed.get(partition), self.sends.get(partition)) else {
            return Ok(());
        };
        let excused = start.trimmed.max(start.surplus_below);
        for (offset, value) in placed.range(from.max(excused)..to.max(from).max(excused)) {
            let time = sends.get(value).map_or(i64::MIN, |send| send.time);
            if time >= start.old_before && !self.was_surplus(partition, *offset, *value, &start.limits) {
                let wall = self.starts.wall;
                return Err(violation(
                    "kept-as-promised",
                    partition,
                    format!("offset {offset} is of {time} or later, and the broker's clock was never past {wall}"),
                    format!(
                        "the log starts at {}: trims reach {}, age what is before {}, size {}",
                        start.told, start.trimmed, start.old_before, start.surplus_below
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Whether a trim or retention may be about to take what stands at an offset.
    pub fn may_go(&mut self, partition: &Partition, offset: i64) -> bool {
        let start = self.starts.of.get(partition);
        let trimmed = start.is_some_and(|start| start.open > 0 || offset < start.trimmed);
        let limited = self.starts.kept.contains_key(&partition.0);
        trimmed || (limited && self.justified(partition, offset, offset + 1).is_ok())
    }

    /// What may have become too old, or too much, by now.
    fn age(&mut self, partition: &Partition) {
        let Some(kept) = self.starts.kept.get(&partition.0) else { return };
        let oldest = kept.possible().filter_map(|k| k.ms).min();
        let least = kept.possible().filter_map(|k| k.bytes).min();
        let surplus = least.map_or(0, |bytes| self.surplus_below(partition, bytes));
        let wall = self.starts.wall;
        let start = self.starts.of.entry(partition.clone()).or_default();
        if let Some(ms) = oldest {
            start.old_before = start.old_before.max(wall.saturating_sub(ms));
        }
        start.surplus_below = start.surplus_below.max(surplus);
    }

    /// How a partition was kept is over.
    fn end_limit(&mut self, partition: &Partition) {
        self.age(partition);
        let least = self.starts.kept.get(&partition.0).and_then(|kept| kept.possible().filter_map(|k| k.bytes).min());
        let newest = self.sends.get(partition).and_then(|sends| sends.last_key_value()).map(|(value, _)| *value);
        if let (Some(least), Some(newest)) = (least, newest) {
            self.starts.of.entry(partition.clone()).or_default().limits.push((least, newest));
        }
    }

    /// Whether what stands at an offset may have had enough behind it before some limit was over, by what had been sent
    /// until then. Values rise with time.
    fn was_surplus(&self, partition: &Partition, offset: i64, value: u64, limits: &[(u64, u64)]) -> bool {
        let (Some(placed), Some(sends)) = (self.placed.get(partition), self.sends.get(partition)) else { return false };
        limits.iter().filter(|(_, newest)| value <= *newest).any(|(bytes, newest)| {
            let behind = placed.range(offset + 1..).filter_map(|(_, value)| sends.get_key_value(value));
            let anywhere = sends.iter().filter(|(_, send)| send.outcome == Outcome::Maybe && !send.seen);
            let then = behind.chain(anywhere).filter(|(value, _)| *value <= newest);
            then.map(|(_, send)| u64::from(send.bytes)).sum::<u64>() >= *bytes
        })
    }

    /// Everything below has so many bytes behind it, at most.
    fn surplus_below(&self, partition: &Partition, bytes: u64) -> i64 {
        let (Some(placed), Some(sends)) = (self.placed.get(partition), self.sends.get(partition)) else { return 0 };
        // What was sent more than once may stand further on than where it is known to.
        let roams = |send: &&Send| send.again > 0 || (send.outcome == Outcome::Maybe && !send.seen);
        let mut behind: u64 = sends.values().filter(roams).map(|send| u64::from(send.bytes)).sum();
        for (offset, value) in placed.iter().rev() {
            if behind >= bytes {
                return offset + 1;
            }
            behind += sends.get(value).filter(|send| send.again == 0).map_or(0, |send| u64::from(send.bytes));
        }
        0
    }

    /// Bytes of the batches that certainly stand from an offset on, but for the one that it is in.
    #[must_use]
    pub fn bytes_from(&self, partition: &Partition, start: i64) -> u64 {
        let (Some(placed), Some(sends)) = (self.placed.get(partition), self.sends.get(partition)) else { return 0 };
        let stands = placed.range(start..).filter_map(|(_, value)| sends.get(value));
        stands.map(|send| u64::from(send.bytes) / (send.again + 1)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Sent;

    fn at() -> Partition {
        ("t".into(), 0)
    }

    /// Ten records of 100 bytes, each a second younger than the one before, and the broker's clock at 100 s.
    fn ten() -> History {
        let mut h = History::default();
        h.shows(100_000);
        for n in 0..10 {
            h.sent(&at(), 1, &[n as u64], Sent { bytes: 100, time: n * 1_000, stamp: 0 });
            h.acked(&at(), n as u64, n).unwrap();
        }
        h
    }

    fn broken(result: Result<(), Violation>) -> &'static str {
        result.unwrap_err().property
    }

    #[test]
    fn nothing_goes_without_a_reason() {
        assert_eq!(broken(ten().starts(&at(), 0, 1)), "kept-as-promised");
        let mut h = ten();
        h.trims(&at(), Some(4));
        assert_eq!(h.starts(&at(), 0, 4), Ok(()));
        assert_eq!(broken(h.starts(&at(), 4, 5)), "kept-as-promised", "further than was asked");
        assert_eq!(broken(h.starts(&at(), 4, 3)), "start-never-falls");
        assert_eq!(h.starts(&at(), 3, 3), Ok(()), "asked before the other was told");
    }

    #[test]
    fn a_trim_without_an_answer_excuses_everything_and_one_that_was_refused_nothing() {
        let mut h = ten();
        h.trims(&at(), None);
        assert_eq!(h.clone().starts(&at(), 0, 10), Ok(()));
        h.not_trimmed(&at(), None);
        assert_eq!(broken(h.starts(&at(), 0, 10)), "kept-as-promised");
        let mut h = ten();
        h.trims(&at(), None);
        assert_eq!(broken(h.trimmed(&at(), None, (10, 0), 9)), "trim-holds", "all of it was committed");
    }

    #[test]
    fn the_old_goes_and_what_is_younger_stays() {
        let mut h = ten();
        let keeping = Keeping { ms: Some(95_000), bytes: None };
        h.keeping("t", keeping);
        h.kept("t", keeping);
        assert_eq!(h.starts(&at(), 0, 5), Ok(()), "those of 0 to 4 s are older");
        assert_eq!(broken(h.clone().starts(&at(), 5, 6)), "kept-as-promised", "exactly as old as allowed");
        h.kept("t", Keeping::default());
        h.shows(900_000);
        assert_eq!(broken(h.starts(&at(), 5, 6)), "kept-as-promised", "the time in which that held is over");
    }

    #[test]
    fn what_has_enough_behind_it_goes() {
        let mut h = ten();
        h.keeping("t", Keeping { ms: None, bytes: Some(300) });
        assert_eq!(h.starts(&at(), 0, 7), Ok(()));
        assert_eq!(broken(h.clone().starts(&at(), 7, 8)), "kept-as-promised");
        h.sent(&at(), 1, &[77], Sent { bytes: 100, time: 0, stamp: 0 });
        assert_eq!(h.starts(&at(), 7, 8), Ok(()), "what was sent may stand behind it");
        assert_eq!(h.bytes_from(&at(), 8), 200);
    }

    #[test]
    fn what_was_said_twice_may_stand_behind_all() {
        let mut h = ten();
        h.keeping("t", Keeping { ms: None, bytes: Some(400) });
        assert_eq!(broken(h.clone().starts(&at(), 0, 7)), "kept-as-promised");
        let second = *h.placed[&at()].get(&1).unwrap();
        h.sent_again(&at(), &[second], 100);
        assert_eq!(h.bytes_from(&at(), 1), 900, "it stands there once, for certain");
        assert_eq!(h.starts(&at(), 0, 7), Ok(()), "three, and the second one at most twice");
    }

    #[test]
    fn what_was_under_way_while_a_limit_held_may_have_gone_by_it() {
        let mut h = ten();
        let nothing = Keeping { ms: None, bytes: Some(0) };
        h.keeping("t", nothing);
        h.kept("t", nothing);
        h.sent(&at(), 1, &[50], Sent { bytes: 100, time: 99_000, stamp: 0 });
        h.kept("t", Keeping::default());
        h.acked(&at(), 50, 10).unwrap();
        assert_eq!(h.starts(&at(), 0, 11), Ok(()));
        h.sent(&at(), 1, &[51], Sent { bytes: 100, time: 99_000, stamp: 0 });
        h.acked(&at(), 51, 11).unwrap();
        assert_eq!(broken(h.starts(&at(), 11, 12)), "kept-as-promised", "sent when the limit was over");
    }

    #[test]
    fn an_acknowledgement_that_comes_late_is_held_against_the_start_too() {
        let mut h = ten();
        h.sent(&at(), 1, &[50], Sent { bytes: 100, time: 99_000, stamp: 0 });
        h.trims(&at(), Some(10));
        h.starts(&at(), 0, 10).unwrap();
        h.starts(&at(), 0, 11).unwrap();
        assert_eq!(broken(h.acked(&at(), 50, 10)), "kept-as-promised");
    }
}
