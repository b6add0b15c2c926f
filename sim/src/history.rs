//! What clients saw, and whether it can be true: every value is unique, each send ends ok, fail or maybe, and at the end
//! the whole log is read back over the wire.
//!
//! Believes nothing that a broker reports but acknowledgements and reads. Properties: `acked-not-lost` (an acknowledged
//! value stands at its acknowledged offset, for ever), `no-phantom` (nothing is read that was not sent, nor what was
//! refused), `idempotent` (a value stands in the log once), `in-order` (one producer's values stand in the order sent),
//! `dense-offsets`, `stable-reads` (an offset, once read, never reads otherwise).

use std::collections::BTreeMap;

use crate::report::Violation;

/// A partition of the workload, by topic name and index.
pub type Partition = (String, i32);

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
}

/// All that clients did and saw.
#[derive(Clone, Debug, Default)]
pub struct History {
    sends: BTreeMap<Partition, BTreeMap<u64, Send>>,
    /// What each offset read as.
    reads: BTreeMap<Partition, BTreeMap<i64, u64>>,
    ordinals: BTreeMap<(Partition, u64), u64>,
    acked: u64,
}

impl History {
    /// A producer sends a value that nobody sent before.
    pub fn sent(&mut self, partition: &Partition, producer: u64, value: u64) {
        let ordinal = self.ordinals.entry((partition.clone(), producer)).or_default();
        *ordinal += 1;
        let send = Send { producer, ordinal: *ordinal, outcome: Outcome::Maybe };
        let before = self.sends.entry(partition.clone()).or_default().insert(value, send);
        assert!(before.is_none(), "the workload sends {value} twice");
    }

    /// It was acknowledged at an offset.
    ///
    /// # Errors
    /// When it was acknowledged elsewhere before, or refused, or that offset read as something else.
    pub fn acked(&mut self, partition: &Partition, value: u64, offset: i64) -> Result<(), Violation> {
        let send =
            self.sends.get_mut(partition).and_then(|s| s.get_mut(&value)).expect("only what was sent is acknowledged");
        match send.outcome {
            Outcome::Acked(other) if other != offset => {
                return Err(violation(
                    "idempotent",
                    partition,
                    format!("value {value} was acknowledged at {other}"),
                    format!("and again at {offset}"),
                ));
            }
            Outcome::Acked(_) => return Ok(()),
            Outcome::Maybe | Outcome::Refused => send.outcome = Outcome::Acked(offset),
        }
        self.acked += 1;
        match self.reads.get(partition).and_then(|r| r.get(&offset)) {
            Some(read) if *read != value => Err(violation(
                "stable-reads",
                partition,
                format!("offset {offset} read as {read}"),
                format!("value {value} is acknowledged there"),
            )),
            _ => Ok(()),
        }
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
        match self.sends.get(partition).and_then(|s| s.get(&value)).map(|s| s.outcome) {
            None => Err(violation(
                "no-phantom",
                partition,
                format!("offset {offset} reads as {value}"),
                "nobody sent that there".into(),
            )),
            Some(Outcome::Refused) => Err(violation(
                "no-phantom",
                partition,
                format!("offset {offset} reads as {value}"),
                "it was refused".into(),
            )),
            Some(Outcome::Acked(at)) if at != offset => Err(violation(
                "idempotent",
                partition,
                format!("value {value} was acknowledged at {at}"),
                format!("offset {offset} reads as it"),
            )),
            Some(Outcome::Acked(_) | Outcome::Maybe) => Ok(()),
        }
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

    /// The end of a partition: all that it holds, in order, was read back.
    ///
    /// # Errors
    /// When that contradicts what clients saw before.
    pub fn finally(&mut self, partition: &Partition, log: &[(i64, u64)]) -> Result<(), Violation> {
        for (i, (offset, value)) in log.iter().enumerate() {
            if i > 0 && log[i - 1].0 + 1 != *offset {
                return Err(violation(
                    "dense-offsets",
                    partition,
                    format!("offset {} is there", log[i - 1].0),
                    format!("the next one is {offset}"),
                ));
            }
            self.read(partition, *offset, *value)?;
        }
        let end: BTreeMap<i64, u64> = log.iter().copied().collect();
        for (offset, value) in self.reads.get(partition).into_iter().flatten() {
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
        let Some(send) = sends.get(value) else { continue };
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
        for value in 1..=3 {
            h.sent(&at(), 9, value);
        }
        h.acked(&at(), 1, 0).unwrap();
        h.acked(&at(), 2, 1).unwrap();
        h
    }

    #[test]
    fn a_maybe_may_be_there_or_not() {
        assert_eq!(three().finally(&at(), &[(0, 1), (1, 2)]), Ok(()));
        assert_eq!(three().finally(&at(), &[(0, 1), (1, 2), (2, 3)]), Ok(()));
    }

    #[test]
    fn every_property_trips() {
        let property = |h: &mut History, log: &[(i64, u64)]| h.finally(&at(), log).unwrap_err().property;
        assert_eq!(property(&mut three(), &[(0, 1)]), "acked-not-lost");
        assert_eq!(property(&mut three(), &[(0, 1), (2, 3)]), "dense-offsets");
        assert_eq!(property(&mut three(), &[(0, 1), (1, 2), (2, 7)]), "no-phantom");
        assert_eq!(property(&mut three(), &[(0, 1), (1, 2), (2, 3), (3, 3)]), "idempotent");
        assert_eq!(property(&mut three(), &[(0, 1), (1, 2), (2, 1)]), "idempotent");
        let mut h = three();
        h.refused(&at(), 3);
        assert_eq!(property(&mut h, &[(0, 1), (1, 2), (2, 3)]), "no-phantom");
        let mut h = three();
        h.read(&at(), 2, 3).unwrap();
        assert_eq!(property(&mut h, &[(0, 1), (1, 2)]), "stable-reads");
        let mut h = History::default();
        (1..=2).for_each(|v| h.sent(&at(), 9, v));
        assert_eq!(property(&mut h, &[(0, 2), (1, 1)]), "in-order");
    }
}
