//! A role of the workload as a client of this engine: its questions leave as frames of any version that can say them, on one
//! connection always the same.

use super::ledger::{Inspection, Ledger, Shift};
use super::parameters::{MS, Parameters};
use super::turns::{Turns, pause};
use crate::client::{Connection, Lost, in_time};
use crate::clock::{EPOCH_MS, elapsed_ns};
use crate::dice::Dice;
use crate::report::Violation;
use crate::workload::inspector::Inspector;
use crate::workload::producer::Producer;
use crate::workload::{Ask, Cx, Role, Shared, is_answered};
use klamm_core::ids::Uuid;
use klamm_core::rng::{self, Rng};
use klamm_core::wire::{ListOffsetsRequest, Request, list_offsets};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// How long an answer may take.
const ANSWER_NS: u64 = 3_000 * MS;
/// How long it may take at most where nothing goes wrong any more.
const MUST_NS: u64 = 15_000 * MS;
/// The session epoch of a fetch outside of any.
const NO_SESSION: i32 = -1;
/// How long a client without anything to do waits before it looks again, at most.
const LOOK_MS: u64 = 20;

impl Shared for &Ledger {
    fn number(&mut self) -> u64 {
        Ledger::number(self)
    }

    fn count(&mut self, what: &'static str) {
        Ledger::count(self, what, 1);
    }
}

/// One who plays a role.
struct Hired<'a, R> {
    ledger: &'a Ledger,
    shift: Shift,
    role: R,
    turns: Turns,
    /// Not before this time it takes its next turn.
    next_at: u64,
    rng: Rng,
}

/// A question that has no answer yet: until when one is waited for, and what it means.
type Waiting<R> = VecDeque<(u64, <R as Role>::Asked)>;

/// Works until the work is over and nothing is owed.
pub(super) async fn work<R: Role>(ledger: Rc<Ledger>, role: R, turns: Turns) {
    employ(&ledger, Shift::Day, role, turns).await;
}

/// Works in its shift, and until nothing is owed.
async fn employ<R: Role>(ledger: &Ledger, shift: Shift, role: R, turns: Turns) {
    let rng = Rng::new(turns.seed());
    let mut it = Hired { ledger, shift, role, turns, next_at: 0, rng };
    while it.works() || it.owes() {
        it.stands_still().await;
        let mut asked = Waiting::<R>::new();
        let ended = async {
            let key = it.rng.draw();
            let mut connection = ledger.wire.dial(key).await?;
            it.serve(&mut connection, key, &mut asked).await
        };
        if let Err(lost) = ended.await {
            ledger.lost(&lost);
        }
        let asked = asked.into_iter().map(|(_, meaning)| meaning).collect();
        with(ledger, it.works(), |cx| it.role.lost(asked, cx));
        // Who has no patience is back at once.
        let rest = it.role.patience().map_or(60, |ns| ns / MS);
        pause(&mut it.rng, rest.clamp(1, 60)).await;
    }
}

/// One of a crowd that produces whenever one is wanted, each time as another client.
pub(super) async fn throng(ledger: Rc<Ledger>, parameters: Rc<Parameters>, dice: Dice, clients: Range<u64>) {
    let mut last = None;
    for client in clients {
        let n = loop {
            match ledger.crowd.get().filter(|n| Some(*n) != last) {
                Some(n) => break n,
                None => tokio::time::sleep(Duration::from_millis(LOOK_MS)).await,
            }
        };
        last = Some(n);
        let turns = Turns::new(dice.clone(), client);
        let producer = Producer::new(turns.seed(), parameters.producer());
        employ(&ledger, Shift::Crowd(n), producer, turns).await;
    }
}

/// Inspects whenever that is wanted, each time as another client.
pub(super) async fn inspect(ledger: Rc<Ledger>, dice: Dice, clients: Range<u64>) {
    for client in clients {
        while ledger.inspection.get() == Inspection::None {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
        let turns = Turns::new(dice.clone(), client);
        let empty = ledger.inspection.get() == Inspection::Empty;
        let inspector = Inspector::new(turns.seed(), &ledger.harmed.borrow(), empty);
        work(ledger.clone(), inspector, turns).await;
        ledger.inspection.set(Inspection::None);
        ledger.count("inspections", 1);
    }
}

impl<R: Role> Hired<'_, R> {
    fn works(&self) -> bool {
        self.ledger.is_on(self.shift)
    }

    /// It is dead with its machine: whatever still comes nobody hears.
    fn is_gone(&self) -> bool {
        self.shift != Shift::Day && !self.works()
    }

    /// Whether the role owes anything; when the work is over that is what is waited for.
    fn owes(&self) -> bool {
        let owed = self.role.owes().filter(|_| !self.is_gone());
        if let Some(what) = owed.as_ref().filter(|_| !self.works()) {
            self.ledger.waits_for.replace(format!("client {}, who {what}", self.turns.client()));
        }
        owed.is_some()
    }

    /// Over one connection, until it breaks or there is nothing left to do. Versions are drawn by the key.
    async fn serve(&mut self, connection: &mut Connection, key: u64, asked: &mut Waiting<R>) -> Result<(), Lost> {
        let ledger = self.ledger;
        let safe = !self.works();
        while self.works() || self.owes() || !(asked.is_empty() || self.is_gone()) {
            self.stands_still().await;
            for (request, meaning) in self.asks() {
                let answered = is_answered(&request);
                if answered {
                    asked.push_back((elapsed_ns() + self.patience(safe), meaning));
                }
                connection.send(version(&request, key), &request, answered).await?;
                self.stands_still().await;
            }
            if asked.is_empty() && self.role.hangs_up() {
                break;
            }
            let left = self.look_at().saturating_sub(elapsed_ns()) / MS;
            let Some((until, _)) = asked.front() else {
                tokio::time::sleep(Duration::from_millis(left.clamp(1, LOOK_MS))).await;
                continue;
            };
            let until = *until;
            let left = left.min(until.saturating_sub(elapsed_ns()) / MS);
            match in_time(left.clamp(1, LOOK_MS), connection.receive()).await {
                Ok(_) if self.is_gone() => break,
                Ok((_, response)) => {
                    ledger.heard(&response);
                    if let Some((_, meaning)) = asked.pop_front() {
                        ledger.check(with(ledger, self.works(), |cx| self.role.answered(meaning, response, cx)));
                    }
                }
                Err(Lost::Broken(error)) if error.kind() == io::ErrorKind::TimedOut => {
                    if until <= elapsed_ns() {
                        ledger.check(if safe { Err(unanswered()) } else { Ok(()) });
                        return Err(error.into());
                    }
                }
                Err(lost) => return Err(lost),
            }
        }
        Ok(())
    }

    /// What the role asks now. While there is work it begins something only when it is its turn.
    fn asks(&mut self) -> Vec<Ask<R::Asked>> {
        let begins = self.begins();
        let goes_on = !self.works() || self.role.resumes().is_some_and(|at| at <= elapsed_ns());
        if begins || goes_on { with(self.ledger, begins, |cx| self.role.ask(cx)) } else { Vec::new() }
    }

    /// Whether the role begins something: that is a turn.
    fn begins(&mut self) -> bool {
        let now = elapsed_ns();
        let may = self.works() && self.next_at <= now;
        if !may || self.role.next(true).is_none_or(|at| at > now) {
            return false;
        }
        match self.turns.take() {
            Ok(mut rng) => {
                self.role.reseed(rng.draw());
                self.rng = rng;
                true
            }
            Err(at) => {
                self.next_at = at;
                false
            }
        }
    }

    /// When there is something to ask, as far as is known.
    fn look_at(&self) -> u64 {
        let working = self.works();
        let next = self.role.next(working);
        let next = if working { next.map(|at| at.max(self.next_at)) } else { next };
        next.into_iter().chain(self.role.resumes()).min().unwrap_or(u64::MAX)
    }

    fn patience(&self, safe: bool) -> u64 {
        let own = self.role.patience().filter(|_| self.works());
        if safe { MUST_NS } else { own.unwrap_or(ANSWER_NS) }
    }

    /// As long as its client stands still nothing happens: what it is told waits, and so does what it was about to say.
    async fn stands_still(&self) {
        let client = self.turns.client();
        while let Some(left) = self.ledger.still_for(client, elapsed_ns()) {
            tokio::time::sleep(Duration::from_nanos(left.clamp(MS, LOOK_MS * MS))).await;
        }
    }
}

/// Over a connection on which nothing goes wrong no answer came.
fn unanswered() -> Violation {
    Violation {
        property: "all-answered",
        fact: "a connection is whole, and nothing goes wrong any more".to_owned(),
        contradiction: format!("a request waits for its answer since {} s", MUST_NS / 1_000 / MS),
    }
}

/// What the role sees. `working`: whether it begins things.
fn with<T>(ledger: &Ledger, working: bool, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    let now = elapsed_ns();
    let wall = EPOCH_MS + (now / MS) as i64;
    let mut shared = ledger;
    act(&mut Cx {
        now,
        wall,
        // Records bear the broker's time only where that is right.
        least_time: wall,
        working,
        history: &mut ledger.history.borrow_mut(),
        shared: &mut shared,
        crc: klamm::crc32c,
    })
}

/// A version that can say what is asked.
fn version(request: &Request, key: u64) -> i16 {
    let (least, most) = match request {
        Request::Produce(r) if r.topic_data.iter().any(|t| t.topic_id != Uuid::ZERO) => (13, 13),
        Request::Produce(_) => (3, 12),
        Request::Fetch(r) if r.topic_ids => (13, 18),
        Request::Fetch(r) if (r.session_id, r.session_epoch) != (0, NO_SESSION) => (7, 12),
        Request::Fetch(_) => (4, 12),
        Request::ListOffsets(r) if asks_for(r, list_offsets::MAX_TIMESTAMP) => (7, 11),
        Request::ListOffsets(_) => (1, 11),
        Request::OffsetForLeaderEpoch(_) => (2, 4),
        Request::Metadata(_) => (10, 13),
        Request::CreateTopics(_) => (2, 7),
        Request::DeleteTopics(r) if r.topics.iter().any(|t| t.topic_id != Uuid::ZERO) => (6, 6),
        Request::DeleteTopics(_) => (1, 6),
        Request::DescribeConfigs(_) => (1, 4),
        Request::InitProducerId(_) => (0, 5),
        Request::DeleteRecords(_) => (0, 2),
        Request::CreatePartitions(_) => (0, 3),
        Request::IncrementalAlterConfigs(_) => (0, 1),
        other => unreachable!("no role asks {:?}", other.key()),
    };
    let mut rng = Rng::new(rng::draw(key, "version", request.key() as u64));
    least + rng.below((most - least + 1) as u64) as i16
}

fn asks_for(request: &ListOffsetsRequest, timestamp: i64) -> bool {
    request.topics.iter().flat_map(|t| &t.partitions).any(|p| p.timestamp == timestamp)
}
