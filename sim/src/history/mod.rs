//! What clients saw, and whether it can be true: every value is unique, each send ends ok, fail or maybe, and at the end
//! the whole log is read back over the wire.
//!
//! Believes nothing that a broker reports but acknowledgements and reads. Properties, and where each is from:
//! `acked-not-lost` (an acknowledged value stands at its acknowledged offset, as long as the log does not start behind it:
//! Jepsen's `lost-write`; KIP-966), `no-phantom` (nothing is read that was not sent there, nor what was refused: Jepsen's
//! G1a), `idempotent` (a value stands in the log once: KIP-98), `in-order` (one producer's values stand in the order sent:
//! KIP-98), `dense-offsets` (the log is one sequence: Raft's log matching), `stable-reads` (an offset, once read, never
//! reads otherwise: Raft's state machine safety, Jepsen's `inconsistent-offsets`), `end-never-falls` (what was committed
//! when a question was asked is committed when it is answered: KIP-207).

mod losses;
mod producers;
mod starts;
mod times;
mod topics;

pub use starts::Keeping;
pub use topics::{Moment, Topic, name_of};

use std::collections::{BTreeMap, BTreeSet};

use crate::report::Violation;
use losses::Stake;
use producers::Given;
use starts::Starts;
use topics::Topics;

/// A partition of the workload, by topic and index. A topic that is deleted and made again under its name is another
/// one: here each life of it has a name of its own.
pub type Partition = (String, i32);

/// What is known of a batch that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Of the whole batch.
    pub bytes: u32,
    /// The earliest time that its records can have in the log, milliseconds; `i64::MIN` when nothing is known.
    pub time: i64,
    /// The time that its producer gave its records.
    pub stamp: i64,
}

/// How a send ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// No answer yet, or none that settles it: in the log at any later time, or never.
    Maybe,
    /// Acknowledged at an offset.
    Acked(i64),
    /// Refused before it was appended.
    Refused,
}

#[derive(Clone, Debug)]
struct Send {
    producer: u64,
    /// The n-th value of this producer for this partition.
    ordinal: u64,
    outcome: Outcome,
    /// Bytes of its batch, if it is the first of it, else 0.
    bytes: u32,
    time: i64,
    stamp: i64,
    /// It was read.
    seen: bool,
    /// It was sent so many times more, by one without an id: it may stand there as often.
    again: u64,
}

/// All that clients did and saw.
#[derive(Clone, Debug, Default)]
pub struct History {
    sends: BTreeMap<Partition, BTreeMap<u64, Send>>,
    /// What each offset read as.
    reads: BTreeMap<Partition, BTreeMap<i64, u64>>,
    /// What stands where, by acknowledgements and reads.
    placed: BTreeMap<Partition, BTreeMap<i64, u64>>,
    /// Everything below was said to be committed.
    ends: BTreeMap<Partition, i64>,
    ordinals: BTreeMap<(Partition, u64), u64>,
    acked: u64,
    /// Values that were sent once more, without an id.
    repeats: BTreeMap<Partition, usize>,
    /// What may be missing.
    lost: BTreeMap<Partition, Vec<Stake>>,
    /// What was read back in this life of the broker.
    read_back: BTreeSet<Partition>,
    starts: Starts,
    topics: Topics,
    given: Given,
}

impl History {
    /// A producer sends a batch of values that nobody sent before.
    pub fn sent(&mut self, partition: &Partition, producer: u64, values: &[u64], batch: Sent) {
        let ordinal = self.ordinals.entry((partition.clone(), producer)).or_default();
        let sends = self.sends.entry(partition.clone()).or_default();
        for (n, value) in values.iter().enumerate() {
            *ordinal += 1;
            let bytes = if n == 0 { batch.bytes } else { 0 };
            let outcome = Outcome::Maybe;
            let Sent { time, stamp, .. } = batch;
            let send = Send { producer, ordinal: *ordinal, outcome, bytes, time, stamp, seen: false, again: 0 };
            let before = sends.insert(*value, send);
            assert!(before.is_none(), "the workload sends {value} twice");
        }
    }

    /// A producer without an id sends a batch once more: it may stand there once more.
    pub fn sent_again(&mut self, partition: &Partition, values: &[u64], bytes: u32) {
        let mut sends = self.sends.get_mut(partition);
        for (n, value) in values.iter().enumerate() {
            if let Some(send) = sends.as_mut().and_then(|sends| sends.get_mut(value)) {
                send.again += 1;
                send.bytes += if n == 0 { bytes } else { 0 };
            }
        }
        *self.repeats.entry(partition.clone()).or_default() += values.len();
    }

    /// It was acknowledged at an offset.
    ///
    /// # Errors
    /// When it was acknowledged elsewhere before, or refused, or that offset read as something else.
    pub fn acked(&mut self, partition: &Partition, value: u64, offset: i64) -> Result<(), Violation> {
        let send =
            self.sends.get_mut(partition).and_then(|s| s.get_mut(&value)).expect("only what was sent is acknowledged");
        match send.outcome {
            // Everybody who reads there from now on must find it.
            Outcome::Acked(other) if other != offset && send.again > 0 => {
                return self.read(partition, offset, value);
            }
            Outcome::Acked(other) if other != offset => {
                return Err(violation(
                    "idempotent",
                    partition,
                    format!("value {value} was acknowledged at {other}"),
                    format!("and again at {offset}"),
                ));
            }
            Outcome::Acked(_) => return Ok(()),
            Outcome::Refused => {
                return Err(violation(
                    "no-phantom",
                    partition,
                    format!("value {value} was refused"),
                    format!("and is acknowledged at {offset}"),
                ));
            }
            Outcome::Maybe => send.outcome = Outcome::Acked(offset),
        }
        self.acked += 1;
        match self.reads.get(partition).and_then(|r| r.get(&offset)) {
            Some(read) if *read != value => Err(violation(
                "stable-reads",
                partition,
                format!("offset {offset} read as {read}"),
                format!("value {value} is acknowledged there"),
            )),
            _ => self.place(partition, offset, value),
        }
    }

    /// A value is known to stand at an offset; if that is below the log's start, it must be so rightly.
    fn place(&mut self, partition: &Partition, offset: i64, value: u64) -> Result<(), Violation> {
        let before = self.placed.entry(partition.clone()).or_default().insert(offset, value);
        if before.is_none() && offset < self.start(partition) {
            return self.justified(partition, offset, offset + 1);
        }
        Ok(())
    }

    /// It was refused before it was appended: it never appears.
    pub fn refused(&mut self, partition: &Partition, value: u64) {
        if let Some(send) = self.sends.get_mut(partition).and_then(|s| s.get_mut(&value)) {
            send.outcome = Outcome::Refused;
        }
    }

    /// An offset was read.
    ///
    /// # Errors
    /// When it read as something else before, or as what nobody sent, or as what was refused.
    pub fn read(&mut self, partition: &Partition, offset: i64, value: u64) -> Result<(), Violation> {
        if let Some(before) = self.reads.entry(partition.clone()).or_default().insert(offset, value)
            && before != value
        {
            return Err(violation(
                "stable-reads",
                partition,
                format!("offset {offset} read as {before}"),
                format!("and later as {value}"),
            ));
        }
        let send = self.sends.get_mut(partition).and_then(|s| s.get_mut(&value));
        let outcome = send.map(|send| {
            send.seen = true;
            (send.outcome, send.again > 0)
        });
        match outcome {
            None => Err(violation(
                "no-phantom",
                partition,
                format!("offset {offset} reads as {value}"),
                "nobody sent that there".into(),
            )),
            Some((Outcome::Refused, _)) => Err(violation(
                "no-phantom",
                partition,
                format!("offset {offset} reads as {value}"),
                "it was refused".into(),
            )),
            Some((Outcome::Acked(at), false)) if at != offset => Err(violation(
                "idempotent",
                partition,
                format!("value {value} was acknowledged at {at}"),
                format!("offset {offset} reads as it"),
            )),
            Some((Outcome::Acked(_) | Outcome::Maybe, _)) => self.place(partition, offset, value),
        }
    }

    /// Everything below was committed when an earlier answer came: a floor for the answer to what is asked now.
    #[must_use]
    pub fn end(&self, partition: &Partition) -> i64 {
        self.ends.get(partition).copied().unwrap_or_default()
    }

    /// The broker says that everything below an offset is committed; `floor` is what it was when it was asked.
    ///
    /// # Errors
    /// When that fell, or is more than was ever sent there.
    pub fn ends(&mut self, partition: &Partition, floor: i64, end: i64) -> Result<(), Violation> {
        if end < floor {
            return Err(violation(
                "end-never-falls",
                partition,
                format!("everything below {floor} was committed before a request"),
                format!("its answer says {end}"),
            ));
        }
        let again = self.repeats.get(partition).copied().unwrap_or_default();
        let sent = self.sends.get(partition).map_or(0, BTreeMap::len) + again;
        if usize::try_from(end).is_ok_and(|end| end > sent) {
            return Err(violation(
                "no-phantom",
                partition,
                format!("{sent} values were sent there"),
                format!("everything below {end} is committed"),
            ));
        }
        let known = self.ends.entry(partition.clone()).or_default();
        *known = end.max(*known);
        Ok(())
    }

    /// What the offsets from one on, below another, read as; those that nobody read are left out.
    #[must_use]
    pub fn between(&self, partition: &Partition, from: i64, to: i64) -> Vec<(i64, u64)> {
        let reads = self.reads.get(partition).into_iter();
        reads.flat_map(|reads| reads.range(from..to.max(from))).map(|(offset, value)| (*offset, *value)).collect()
    }

    /// How many sends were acknowledged.
    #[must_use]
    pub fn acknowledgements(&self) -> u64 {
        self.acked
    }

    /// The end of a partition: all that it holds from its start on, in order, was read back. Where it started, it was
    /// asked before: it may have moved since.
    ///
    /// # Errors
    /// When that contradicts what clients saw before.
    pub fn finally(&mut self, partition: &Partition, start: i64, log: &[(i64, u64)]) -> Result<(), Violation> {
        let mut next = start;
        for (offset, value) in log {
            while next < *offset
                && let Some(end) = self.is_lost(partition, next)
            {
                next = end.min(*offset);
            }
            if next != *offset {
                return Err(violation(
                    "dense-offsets",
                    partition,
                    format!("{next} is to come"),
                    format!("the next one is {offset}"),
                ));
            }
            self.read(partition, *offset, *value)?;
            next += 1;
        }
        let end: BTreeMap<i64, u64> = log.iter().copied().collect();
        for (offset, value) in self.reads.get(partition).into_iter().flat_map(|reads| reads.range(start..)) {
            if end.get(offset) != Some(value) {
                return Err(violation(
                    "stable-reads",
                    partition,
                    format!("offset {offset} was read as {value}"),
                    format!("at the end it reads as {:?}", end.get(offset)),
                ));
            }
        }
        let Some(sends) = self.sends.get(partition) else { return Ok(()) };
        for (value, send) in sends {
            if let Outcome::Acked(offset) = send.outcome
                && offset >= start
                && end.get(&offset) != Some(value)
            {
                return Err(violation(
                    "acked-not-lost",
                    partition,
                    format!("value {value} was acknowledged at {offset}"),
                    format!("at the end that offset reads as {:?}", end.get(&offset)),
                ));
            }
        }
        in_order(partition, sends, log)
    }
}

fn in_order(partition: &Partition, sends: &BTreeMap<u64, Send>, log: &[(i64, u64)]) -> Result<(), Violation> {
    let mut last: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for (offset, value) in log {
        let Some(send) = sends.get(value).filter(|send| send.again == 0) else { continue };
        if let Some((ordinal, earlier)) = last.insert(send.producer, (send.ordinal, *value))
            && ordinal >= send.ordinal
        {
            let property = if ordinal == send.ordinal { "idempotent" } else { "in-order" };
            return Err(violation(
                property,
                partition,
                format!("value {earlier} stands before offset {offset}"),
                format!("{value} stands there and was not sent after it"),
            ));
        }
    }
    Ok(())
}

fn violation(
    property: &'static str,
    partition: &Partition,
    fact: impl std::fmt::Display,
    contradiction: String,
) -> Violation {
    Violation { property, fact: format!("{}-{}: {fact}", partition.0, partition.1), contradiction }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Partition {
        ("t".into(), 0)
    }

    fn three() -> History {
        let mut h = History::default();
        h.sent(&at(), 9, &[1, 2, 3], Sent { bytes: 1, time: 0, stamp: 0 });
        h.acked(&at(), 1, 0).unwrap();
        h.acked(&at(), 2, 1).unwrap();
        h
    }

    #[test]
    fn a_maybe_may_be_there_or_not() {
        assert_eq!(three().finally(&at(), 0, &[(0, 1), (1, 2)]), Ok(()));
        assert_eq!(three().finally(&at(), 0, &[(0, 1), (1, 2), (2, 3)]), Ok(()));
    }

    #[test]
    fn every_property_trips() {
        let property = |h: &mut History, log: &[(i64, u64)]| h.finally(&at(), 0, log).unwrap_err().property;
        assert_eq!(property(&mut three(), &[(0, 1)]), "acked-not-lost");
        assert_eq!(property(&mut three(), &[(0, 1), (2, 3)]), "dense-offsets");
        assert_eq!(property(&mut three(), &[(0, 1), (1, 2), (2, 7)]), "no-phantom");
        assert_eq!(property(&mut three(), &[(0, 1), (1, 2), (2, 3), (3, 3)]), "idempotent");
        assert_eq!(property(&mut three(), &[(0, 1), (1, 2), (2, 1)]), "idempotent");
        let mut h = three();
        h.refused(&at(), 3);
        assert_eq!(property(&mut h, &[(0, 1), (1, 2), (2, 3)]), "no-phantom");
        assert_eq!(h.acked(&at(), 3, 2).unwrap_err().property, "no-phantom");
        let mut h = three();
        h.read(&at(), 2, 3).unwrap();
        assert_eq!(property(&mut h, &[(0, 1), (1, 2)]), "stable-reads");
        let mut h = History::default();
        h.sent(&at(), 9, &[1, 2], Sent { bytes: 1, time: 0, stamp: 0 });
        assert_eq!(property(&mut h, &[(0, 2), (1, 1)]), "in-order");
        let mut h = three();
        assert_eq!(h.ends(&at(), 0, 3), Ok(()));
        assert_eq!(h.ends(&at(), 3, 2).unwrap_err().property, "end-never-falls");
        assert_eq!(h.ends(&at(), 3, 4).unwrap_err().property, "no-phantom");
    }

    #[test]
    fn what_is_sent_twice_without_an_id_may_stand_twice() {
        let mut h = three();
        let twice = [(0, 1), (1, 2), (2, 1), (3, 2)];
        assert_eq!(h.clone().finally(&at(), 0, &twice).unwrap_err().property, "idempotent");
        h.sent_again(&at(), &[1, 2], 1);
        assert_eq!(h.clone().finally(&at(), 0, &twice), Ok(()));
        assert_eq!(h.clone().finally(&at(), 0, &twice[..2]), Ok(()), "and may not");
        assert_eq!(h.ends(&at(), 0, 5), Ok(()));
        assert_eq!(h.ends(&at(), 0, 6).unwrap_err().property, "no-phantom");
        assert_eq!(h.acked(&at(), 1, 2), Ok(()));
        assert_eq!(h.finally(&at(), 0, &twice[..2]).unwrap_err().property, "stable-reads", "acknowledged, and lost");
    }

    #[test]
    fn what_was_deleted_is_not_missed() {
        let mut h = three();
        h.trims(&at(), Some(1));
        assert_eq!(h.clone().finally(&at(), 1, &[(1, 2)]), Ok(()));
        assert_eq!(h.clone().finally(&at(), 1, &[(2, 3)]).unwrap_err().property, "dense-offsets");
        assert_eq!(h.finally(&at(), 1, &[]).unwrap_err().property, "acked-not-lost");
    }
}
