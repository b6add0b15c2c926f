//! A two-log marker writer: prepare in the own log, a marker in another one, complete in the own log. What a
//! transaction's end needs (KIP-98): killed anywhere, it is finished by whoever leads next.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::Bytes;

use super::Outcome;
use super::harness::Harness;
use crate::ids::{Instant, Offset};
use crate::machine::{Caller, Cx, Decision, Entry, Machine, Stored};
use crate::wire::Malformed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Prepare(u8),
    Complete(u8),
}

impl Stored for Step {
    fn encode(&self) -> (Option<Bytes>, Option<Bytes>) {
        let (kind, txn) = match self {
            Step::Prepare(txn) => (0, *txn),
            Step::Complete(txn) => (1, *txn),
        };
        (Some(Bytes::copy_from_slice(&[txn])), Some(Bytes::copy_from_slice(&[kind])))
    }

    fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<Step, Malformed> {
        match (key.as_deref(), value.as_deref()) {
            (Some([txn]), Some([0])) => Ok(Step::Prepare(*txn)),
            (Some([txn]), Some([1])) => Ok(Step::Complete(*txn)),
            _ => Err(Malformed("a step")),
        }
    }
}

#[derive(Debug, Default)]
struct Writer {
    prepared: BTreeSet<u8>,
    complete: BTreeSet<u8>,
    /// How often each was completed in the log.
    completions: BTreeMap<u8, u32>,
}

/// The transaction whose marker is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WriteMarker(u8);

/// It is in the other log, committed.
#[derive(Clone, Copy, Debug)]
struct Written(u8);

impl Machine for Writer {
    type Command = u8;
    type Event = Written;
    type Record = Step;
    type Reply = &'static str;
    type Work = WriteMarker;
    /// Who asked for the end of what.
    type Soft = BTreeMap<u8, Vec<Caller>>;

    fn decide(&self, soft: &mut Self::Soft, _cx: &mut Cx<'_>, caller: Caller, txn: u8) -> Decision<Self> {
        if self.complete.contains(&txn) {
            return Decision::reply(caller, "ended");
        }
        soft.entry(txn).or_default().push(caller);
        if self.prepared.contains(&txn) {
            return Decision::default();
        }
        Decision { records: alloc::vec![Step::Prepare(txn)], work: alloc::vec![WriteMarker(txn)], replies: Vec::new() }
    }

    fn hear(&self, soft: &mut Self::Soft, _cx: &mut Cx<'_>, Written(txn): Written) -> Decision<Self> {
        if !self.prepared.contains(&txn) {
            // A late answer to work that was done twice.
            return Decision::default();
        }
        let callers = soft.remove(&txn).unwrap_or_default();
        Decision {
            records: alloc::vec![Step::Complete(txn)],
            replies: callers.into_iter().map(|c| (c, "ended")).collect(),
            work: Vec::new(),
        }
    }

    fn apply(&mut self, _offset: Offset, entry: Entry<Step>) {
        match entry {
            Entry::Record(Step::Prepare(txn)) => {
                self.prepared.insert(txn);
            }
            Entry::Record(Step::Complete(txn)) => {
                self.prepared.remove(&txn);
                self.complete.insert(txn);
                *self.completions.entry(txn).or_default() += 1;
            }
            Entry::Marker { .. } => {}
        }
    }

    fn deadline(&self, _soft: &Self::Soft) -> Option<Instant> {
        None
    }

    fn expire(&self, _soft: &mut Self::Soft, _cx: &mut Cx<'_>) -> Decision<Self> {
        Decision::default()
    }

    fn owed(&self) -> Vec<WriteMarker> {
        self.prepared.iter().copied().map(WriteMarker).collect()
    }
}

/// The machine, and the other log with its markers.
struct Two {
    h: Harness<Writer>,
    markers: Vec<u8>,
}

impl Two {
    /// Does the work that may begin, and brings the news of it.
    fn work(&mut self) {
        for WriteMarker(txn) in core::mem::take(&mut self.h.work) {
            self.markers.push(txn);
            self.h.tell(Written(txn));
        }
    }
}

#[test]
fn work_begins_only_when_its_prepare_is_committed() {
    let mut two = Two { h: Harness::new(), markers: Vec::new() };
    two.h.command(1, 7);
    assert!(two.h.work.is_empty());
    two.h.commit();
    assert_eq!(two.h.work, [WriteMarker(7)]);
    two.work();
    assert!(two.h.replies.is_empty(), "complete is not committed yet");
    two.h.commit();
    assert_eq!(two.h.replies, [(Caller(1), Outcome::Reply("ended"))]);
}

/// The steps of one end, each of which may be the leader's last.
const STEPS: [fn(&mut Two); 5] =
    [|t| t.h.command(1, 7), |t| t.h.commit(), |t| t.markers.push(7), Two::work, |t| t.h.commit()];

#[test]
fn killed_after_any_step_it_is_finished_by_the_next_leader() {
    for killed_after in 0..=STEPS.len() {
        let mut two = Two { h: Harness::new(), markers: Vec::new() };
        STEPS[..killed_after].iter().for_each(|step| step(&mut two));
        two.h.work.clear();
        two.h.crash();
        // The prepare is committed by the second step, the completion by the last.
        let owed = if (2..5).contains(&killed_after) { alloc::vec![WriteMarker(7)] } else { Vec::new() };
        assert_eq!(two.h.work, owed, "killed after step {killed_after}: what is prepared is owed");
        two.work();
        two.h.commit();
        // The client does not know, and asks again.
        two.h.command(2, 7);
        two.h.commit();
        two.work();
        two.h.commit();
        assert_eq!(
            two.h.replies.last(),
            Some(&(Caller(2), Outcome::Reply("ended"))),
            "killed after step {killed_after}"
        );
        assert!(two.markers.contains(&7), "killed after step {killed_after}: no marker");
        assert_eq!(two.h.coordinator.machine().completions.get(&7), Some(&1), "killed after step {killed_after}");
    }
}
