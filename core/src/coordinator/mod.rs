//! Any [`Machine`] on any replicated log: load, decide, append, reply, owe.
//!
//! Keeps three rules. Replies and work of a decision leave only when its batch is committed. A command reaches the
//! machine only after everything committed was applied. Losing leadership answers every caller that waits, kept ones
//! included, [`Outcome::NotCoordinator`]; what the old leader decided and did not commit goes with its machine, so
//! nothing is ever rolled back. Emits no effects: the shard appends [`Turn::batch`] and says when it is committed.

#[cfg(test)]
mod barrier;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod markers;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

use crate::ids::{Instant, Offset, Timestamp};
use crate::machine::{Caller, Cx, Decision, Entry, Machine, Stored};
use crate::record::{self, Builder, ControlType};
use crate::wire::Malformed;

/// What a caller gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<R> {
    /// The machine's answer; its records are committed.
    Reply(R),
    /// This replica does not lead the log, or has not loaded it yet.
    NotCoordinator,
}

/// What became ready by one call.
#[derive(Debug)]
pub struct Turn<M: Machine> {
    /// A batch to append now, at the end that the call was told.
    pub batch: Option<Bytes>,
    /// Answers that may leave.
    pub replies: Vec<(Caller, Outcome<M::Reply>)>,
    /// Work that may begin.
    pub work: Vec<M::Work>,
}

impl<M: Machine> Default for Turn<M> {
    fn default() -> Self {
        Turn { batch: None, replies: Vec::new(), work: Vec::new() }
    }
}

/// What waits for the log to be committed up to an offset.
#[derive(Debug)]
struct Parked<M: Machine> {
    upto: Offset,
    replies: Vec<(Caller, M::Reply)>,
    work: Vec<M::Work>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not leading.
    Resigned,
    /// Leading; everything below `end` is applied before the first command.
    Loading { end: Offset },
    /// Deciding.
    Active,
}

/// Where the machine's log stands when a command is decided.
#[derive(Clone, Copy, Debug)]
pub struct LogEnds {
    /// Its log end offset.
    pub end: Offset,
    /// Committed below.
    pub committed: Offset,
}

/// A machine with its place in a log.
#[derive(Debug)]
pub struct Coordinator<M: Machine> {
    machine: M,
    soft: M::Soft,
    phase: Phase,
    /// Everything below is applied.
    applied: Offset,
    parked: VecDeque<Parked<M>>,
    /// Callers that were promised an answer.
    callers: BTreeSet<Caller>,
    crc: fn(&[u8]) -> u32,
}

impl<M: Machine> Coordinator<M> {
    /// A machine that knows nothing yet. `crc` is CRC-32C.
    #[must_use]
    pub fn new(crc: fn(&[u8]) -> u32) -> Coordinator<M> {
        Coordinator {
            machine: M::default(),
            soft: M::Soft::default(),
            phase: Phase::Resigned,
            applied: Offset(0),
            parked: VecDeque::new(),
            callers: BTreeSet::new(),
            crc,
        }
    }

    /// The machine, to look at.
    #[must_use]
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Whether commands are decided.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    /// What is still to load, `from` and `upto`, if anything.
    #[must_use]
    pub fn wants(&self) -> Option<(Offset, Offset)> {
        match self.phase {
            Phase::Loading { end } => Some((self.applied, end)),
            Phase::Active | Phase::Resigned => None,
        }
    }

    /// This replica leads, its log readable from `start` and committed up to `end`. Load by [`Coordinator::wants`] and
    /// [`Coordinator::loaded`].
    ///
    /// # Panics
    /// When it leads already.
    pub fn lead(&mut self, start: Offset, end: Offset) -> Turn<M> {
        assert_eq!(self.phase, Phase::Resigned, "a leader does not start to lead");
        self.machine = M::default();
        self.applied = start;
        self.phase = Phase::Loading { end };
        self.activate_when_loaded()
    }

    /// This replica leads no more.
    pub fn resign(&mut self) -> Turn<M> {
        self.phase = Phase::Resigned;
        self.soft = M::Soft::default();
        self.parked.clear();
        let callers = core::mem::take(&mut self.callers);
        let replies = callers.into_iter().map(|c| (c, Outcome::NotCoordinator)).collect();
        Turn { replies, ..Turn::default() }
    }

    /// Committed batches of the log, from where [`Coordinator::wants`] said; the last one may be cut.
    ///
    /// # Errors
    /// When a record is of no known schema, or a batch is odd: this log cannot be led.
    pub fn loaded(&mut self, batches: &Bytes) -> Result<Turn<M>, Malformed> {
        let Phase::Loading { end } = self.phase else { return Ok(Turn::default()) };
        for batch in record::batches(batches.clone()) {
            let batch = batch.map_err(|_| Malformed("a batch of an internal log"))?;
            if batch.header.base_offset >= self.applied && batch.header.base_offset < end {
                self.apply_batch(&batch)?;
            }
        }
        Ok(self.activate_when_loaded())
    }

    fn apply_batch(&mut self, batch: &record::Batch) -> Result<(), Malformed> {
        let header = batch.header;
        if header.is_control() {
            if let Some(committed) = end_marker(batch) {
                let marker = Entry::Marker { producer: header.producer_id, epoch: header.producer_epoch, committed };
                self.machine.apply(header.base_offset, marker);
            }
        } else {
            for record in record::records(batch.bytes()) {
                let record = record.map_err(|_| Malformed("a record of an internal log"))?;
                let owned = |part: Option<&[u8]>| part.map(|p| batch.bytes().slice_ref(p));
                let value = M::Record::decode(owned(record.key), owned(record.value))?;
                self.machine.apply(record.offset, Entry::Record(value));
            }
        }
        self.applied = header.next_offset();
        Ok(())
    }

    fn activate_when_loaded(&mut self) -> Turn<M> {
        match self.phase {
            Phase::Loading { end } if self.applied >= end => {
                self.phase = Phase::Active;
                Turn { work: self.machine.owed(), ..Turn::default() }
            }
            Phase::Loading { .. } | Phase::Active | Phase::Resigned => Turn::default(),
        }
    }

    /// Someone asks.
    pub fn command(&mut self, cx: &mut Cx<'_>, caller: Caller, command: M::Command, log: LogEnds) -> Turn<M> {
        if self.phase != Phase::Active {
            return Turn { replies: alloc::vec![(caller, Outcome::NotCoordinator)], ..Turn::default() };
        }
        self.callers.insert(caller);
        let decision = self.machine.decide(&mut self.soft, cx, caller, command);
        self.take(decision, cx.now.wall, log)
    }

    /// News for the machine. A replica that does not lead has no use for them: the next leader asks again for what is
    /// owed.
    pub fn tell(&mut self, cx: &mut Cx<'_>, event: M::Event, log: LogEnds) -> Turn<M> {
        if self.phase != Phase::Active {
            return Turn::default();
        }
        let decision = self.machine.hear(&mut self.soft, cx, event);
        self.take(decision, cx.now.wall, log)
    }

    /// The deadline has come.
    pub fn expire(&mut self, cx: &mut Cx<'_>, log: LogEnds) -> Turn<M> {
        if self.phase != Phase::Active {
            return Turn::default();
        }
        let decision = self.machine.expire(&mut self.soft, cx);
        self.take(decision, cx.now.wall, log)
    }

    /// When [`Coordinator::expire`] wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.is_active() { self.machine.deadline(&self.soft) } else { None }
    }

    /// A caller is gone: an answer would reach nobody. The machine learns of it by its own timers only.
    pub fn forget(&mut self, caller: Caller) {
        self.callers.remove(&caller);
    }

    /// Applies a decision's records at the log's end and parks what must wait for them.
    fn take(&mut self, decision: Decision<M>, wall: Timestamp, log: LogEnds) -> Turn<M> {
        let Decision { records, replies, work } = decision;
        assert!(log.end >= self.applied, "the log ends at {}, applied up to {}", log.end, self.applied);
        let batch = (!records.is_empty()).then(|| self.build(&records, wall));
        let mut upto = log.end;
        for record in records {
            self.machine.apply(upto, Entry::Record(record));
            upto = upto.plus(1);
        }
        self.applied = upto;
        self.parked.push_back(Parked { upto, replies, work });
        Turn { batch, ..self.committed(log.committed) }
    }

    fn build(&self, records: &[M::Record], wall: Timestamp) -> Bytes {
        let mut builder = Builder::new();
        for record in records {
            let (key, value) = record.encode();
            builder.push(wall, key.as_deref(), value.as_deref());
        }
        builder.build(self.crc)
    }

    /// The log is committed up to an offset: what waited for it may leave.
    pub fn committed(&mut self, upto: Offset) -> Turn<M> {
        let mut turn = Turn::default();
        while self.parked.front().is_some_and(|p| p.upto <= upto) {
            let Some(parked) = self.parked.pop_front() else { break };
            for (caller, reply) in parked.replies {
                if self.callers.remove(&caller) {
                    turn.replies.push((caller, Outcome::Reply(reply)));
                }
            }
            turn.work.extend(parked.work);
        }
        turn
    }
}

/// Whether a control batch ends a transaction, and how.
fn end_marker(batch: &record::Batch) -> Option<bool> {
    match record::records(batch.bytes()).next()?.ok()?.control_type()? {
        ControlType::Commit => Some(true),
        ControlType::Abort => Some(false),
        ControlType::LeaderChange
        | ControlType::SnapshotHeader
        | ControlType::SnapshotFooter
        | ControlType::KraftVersion
        | ControlType::KraftVoters => None,
    }
}
