//! What clients saw, and whether it can be true: every value is unique, each send ends ok, fail or maybe, and at the end
//! the whole log is read back over the wire.
//!
//! Believes nothing that a broker reports but acknowledgements and reads. Here the facts are kept, as they come; what may
//! not be true of them says each oracle in a file of its own, with its source.

mod acked_not_lost;
mod dense_offsets;
mod end_never_falls;
mod idempotent;
mod in_order;
mod losses;
mod no_phantom;
mod producers;
mod stable_reads;
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
                return Err(idempotent::acknowledged_again(partition, value, other, offset));
            }
            Outcome::Acked(_) => return Ok(()),
            Outcome::Refused => return Err(no_phantom::refused_is_acknowledged(partition, value, offset)),
            Outcome::Maybe => send.outcome = Outcome::Acked(offset),
        }
        self.acked += 1;
        let read = self.reads.get(partition).and_then(|reads| reads.get(&offset)).copied();
        stable_reads::acknowledged(partition, offset, value, read)?;
        self.place(partition, offset, value)
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
        let before = self.reads.entry(partition.clone()).or_default().insert(offset, value);
        stable_reads::read(partition, offset, value, before)?;
        let send = self.sends.get_mut(partition).and_then(|s| s.get_mut(&value));
        let (outcome, again) = match send {
            Some(send) => {
                send.seen = true;
                (Some(send.outcome), send.again > 0)
            }
            None => (None, false),
        };
        no_phantom::read(partition, offset, value, outcome)?;
        match outcome {
            Some(Outcome::Acked(at)) if at != offset && !again => {
                Err(idempotent::reads_elsewhere(partition, value, at, offset))
            }
            _ => self.place(partition, offset, value),
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
        end_never_falls::committed(partition, floor, end)?;
        let again = self.repeats.get(partition).copied().unwrap_or_default();
        let sent = self.sends.get(partition).map_or(0, BTreeMap::len) + again;
        no_phantom::committed(partition, sent, end)?;
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
        dense_offsets::at_the_end(partition, start, log, |offset| self.is_lost(partition, offset))?;
        for (offset, value) in log {
            self.read(partition, *offset, *value)?;
        }
        let end: BTreeMap<i64, u64> = log.iter().copied().collect();
        if let Some(reads) = self.reads.get(partition) {
            stable_reads::at_the_end(partition, reads, start, &end)?;
        }
        let Some(sends) = self.sends.get(partition) else { return Ok(()) };
        acked_not_lost::at_the_end(partition, sends, start, &end)?;
        in_order::at_the_end(partition, sends, log)
    }
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

    pub(in crate::history) fn at() -> Partition {
        ("t".into(), 0)
    }

    /// One producer has sent these, in this order.
    pub(in crate::history) fn sent(values: &[u64]) -> History {
        let mut h = History::default();
        h.sent(&at(), 9, values, Sent { bytes: 1, time: 0, stamp: 0 });
        h
    }

    /// Three were sent, two acknowledged.
    pub(in crate::history) fn three() -> History {
        let mut h = sent(&[1, 2, 3]);
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
