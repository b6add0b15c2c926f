//! What the clients of a run share: what they saw, what is broken, and which part of the run it is.

use super::nemesis::Came;
use crate::client::{Lost, Wire, values};
use crate::decisions::Kind;
use crate::dice::Dice;
use crate::harmed::Harmed;
use crate::history::{self, History, Partition};
use crate::report::{Tally, Violation};
use bytes::Bytes;
use klamm_core::ids::Uuid;
use klamm_core::rng;
use klamm_core::wire::{self, Response, error};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The parts of a run, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Load and faults.
    Work,
    /// No new load, no faults: what is under way ends.
    Drain,
    /// Everything is probed and read back.
    Audit,
    /// Over.
    Done,
}

/// When a client works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    /// As long as there is load; then it ends what it began.
    Day,
    /// As long as this crowd, the n-th, is wanted; then its machine is gone, and so is it.
    Crowd(u64),
}

/// What is to be inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inspection {
    /// Nothing.
    None,
    /// All partitions, by what may be lost.
    Whole,
    /// That nothing is there.
    Empty,
}

/// A topic that the broker acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    /// Of its life, in the history.
    pub(super) life: String,
    pub(super) id: Uuid,
    pub(super) partitions: i32,
}

/// Shared by all of a run's clients and its driver.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) history: RefCell<History>,
    violation: RefCell<Option<Violation>>,
    counters: RefCell<BTreeMap<&'static str, u64>>,
    /// What became of faults.
    tallies: RefCell<BTreeMap<&'static str, Tally>>,
    /// What connections share.
    pub(super) wire: Wire,
    /// Whether the topics of the beginning are there.
    pub(super) ready: Cell<bool>,
    pub(super) phase: Cell<Phase>,
    /// Losses are declared: the broker may refuse what was harmed.
    pub(super) declared: Cell<bool>,
    /// What the disk came to.
    pub(super) harmed: RefCell<Harmed>,
    /// The crowd that is wanted, from 1 on.
    pub(super) crowd: Cell<Option<u64>>,
    /// What somebody wants inspected.
    pub(super) inspection: Cell<Inspection>,
    /// Clients whose work is not ended.
    pub(super) busy: Cell<u32>,
    /// Clients that stand still: until when, and by the draw of which fault.
    still: RefCell<Vec<(u64, Dice, u64)>>,
    /// The last thing that the audit waits for.
    pub(super) waits_for: RefCell<String>,
    numbers: Cell<u64>,
    /// Of what clients saw.
    digest: Cell<u64>,
}

impl Ledger {
    pub(super) fn new(wire: Wire) -> Rc<Ledger> {
        Rc::new(Ledger {
            history: RefCell::default(),
            violation: RefCell::default(),
            counters: RefCell::default(),
            tallies: RefCell::default(),
            wire,
            ready: Cell::new(false),
            phase: Cell::new(Phase::Work),
            declared: Cell::new(false),
            harmed: RefCell::default(),
            crowd: Cell::new(None),
            inspection: Cell::new(Inspection::None),
            busy: Cell::new(0),
            still: RefCell::default(),
            waits_for: RefCell::default(),
            numbers: Cell::new(0),
            digest: Cell::new(0),
        })
    }

    /// A number that nobody had before: for values, producers and connections.
    pub(super) fn number(&self) -> u64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    pub(super) fn count(&self, name: &'static str, times: u64) {
        *self.counters.borrow_mut().entry(name).or_default() += times;
    }

    pub(super) fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.counters.borrow().clone()
    }

    /// Counts faults of a kind.
    pub(super) fn tally(&self, name: &'static str, count: impl FnOnce(&mut Tally)) {
        count(self.tallies.borrow_mut().entry(name).or_default());
    }

    /// A fault was drawn, and came to something.
    pub(super) fn came(&self, kind: Kind, came: Came) {
        self.tally(kind.name(), |tally| {
            tally.drawn += 1;
            tally.refused += u64::from(came == Came::Refused);
            tally.applied += u64::from(came != Came::Refused);
            tally.effective += u64::from(came == Came::Effective);
        });
    }

    pub(super) fn tallies(&self) -> BTreeMap<&'static str, Tally> {
        self.tallies.borrow().clone()
    }

    pub(super) fn is_working(&self) -> bool {
        self.phase.get() == Phase::Work
    }

    pub(super) fn is_on(&self, shift: Shift) -> bool {
        match shift {
            Shift::Day => self.is_working(),
            Shift::Crowd(n) => self.crowd.get() == Some(n),
        }
    }

    /// About every other client stands still until a time, by the draw of a fault.
    pub(super) fn stand_still(&self, until: u64, dice: &Dice, n: u64) {
        self.still.borrow_mut().push((until, dice.clone(), n));
    }

    /// How long a client still stands still, if it does.
    pub(super) fn still_for(&self, client: u64, now: u64) -> Option<u64> {
        let mut still = self.still.borrow_mut();
        still.retain(|(until, ..)| *until > now);
        let its = still.iter().filter(|(_, dice, n)| dice.bits("who", *n) >> (client % 61) & 1 == 1);
        its.map(|(until, ..)| until - now).max()
    }

    /// Everybody goes on.
    pub(super) fn go_on(&self) {
        self.still.borrow_mut().clear();
    }

    /// The topics that there are now; with `mortal`, those that somebody will delete, too.
    pub(super) fn topics(&self, mortal: bool) -> Vec<Topic> {
        let history = self.history.borrow();
        let alive = history.alive().filter(|(_, topic)| mortal || !topic.mortal);
        let topic = |(life, topic): (&String, &history::Topic)| Topic {
            life: life.clone(),
            id: topic.id.unwrap_or_default(),
            partitions: topic.partitions as i32,
        };
        alive.map(topic).collect()
    }

    /// A promise was broken. The first one counts.
    pub(super) fn violated(&self, violation: Violation) {
        self.violation.borrow_mut().get_or_insert(violation);
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        self.violation.borrow().clone()
    }

    /// Takes an oracle's word.
    pub(super) fn check(&self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.violated(violation);
        }
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest.get()
    }

    fn fold(&self, kind: u64, at: i64, value: u64) {
        let next = self.digest.get() ^ kind ^ rng::mix(at as u64) ^ value.rotate_left(32);
        self.digest.set(rng::mix(next));
    }

    /// Values were acknowledged from an offset on.
    pub(super) fn acked(&self, partition: &Partition, values: &[u64], base: i64) {
        for (value, offset) in values.iter().zip(base..) {
            self.fold(1, offset, *value);
            self.check(self.history.borrow_mut().acked(partition, *value, offset));
        }
    }

    /// A role was answered: what came of its records.
    pub(super) fn heard(&self, response: &Response) {
        let Response::Fetch(fetched) = response else { return };
        for part in fetched.responses.iter().flat_map(|topic| &topic.partitions) {
            if let wire::Records::Bytes(bytes) = &part.records {
                self.fold(2, part.high_watermark, u64::from(klamm::crc32c(bytes)));
            }
        }
    }

    /// What a consumer got for a fetch from an offset: it is checked, and the next offset to ask for is given.
    pub(super) fn fetched(&self, partition: &Partition, from: i64, bytes: Bytes) -> i64 {
        let found = match values(bytes) {
            Ok(found) => found,
            Err(what) => {
                self.broken("whole-batches", partition, &format!("a fetch from {from} was answered"), what);
                return from;
            }
        };
        let mut next = from;
        for (offset, value) in found.into_iter().filter(|(offset, _)| offset.0 >= from) {
            if offset.0 != next {
                let fact = format!("a fetch from {from} gave all below {next}");
                self.broken("no-gaps", partition, &fact, format!("and then {offset}"));
            }
            self.fold(2, offset.0, value);
            self.check(self.history.borrow_mut().read(partition, offset.0, value));
            next = offset.0 + 1;
        }
        next
    }

    /// A partition's answer has an error: one that what clients and nemesis do gives a reason for, or one of `also`, for
    /// which this request gives one.
    pub(super) fn refused(&self, partition: &Partition, api: &str, code: i16, also: &[i16]) {
        let usual = [
            error::UNKNOWN_TOPIC_OR_PARTITION,
            error::UNKNOWN_TOPIC_ID,
            error::NOT_LEADER_OR_FOLLOWER,
            error::KAFKA_STORAGE_ERROR,
        ];
        if !usual.contains(&code) && !also.contains(&code) {
            let fact = format!("nothing gives {api} a reason to be refused so");
            self.broken("no-odd-error", partition, &fact, error::name(code).to_owned());
        }
    }

    /// A broken promise about a partition.
    pub(super) fn broken(&self, property: &'static str, partition: &Partition, fact: &str, contradiction: String) {
        let fact = format!("{}-{}: {fact}", partition.0, partition.1);
        self.violated(Violation { property, fact, contradiction });
    }

    /// A connection is of no more use: its end may be a broken promise.
    pub(super) fn lost(&self, lost: &Lost) {
        match lost {
            Lost::Broken(_) => self.count("connections lost", 1),
            Lost::Nonsense(what) => self.violated(Violation {
                property: "answers-are-answers",
                fact: "the broker answered a request".to_owned(),
                contradiction: what.clone(),
            }),
        }
    }
}
