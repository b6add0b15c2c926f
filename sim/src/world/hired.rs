//! A role of the workload as a client of this engine: its questions leave as frames of any version that can say them.

use super::ledger::Ledger;
use super::parameters::MS;
use super::producer::pause;
use super::turns::Turns;
use crate::client::{Connection, Lost, in_time};
use crate::clock::{EPOCH_MS, elapsed_ns};
use crate::workload::{Cx, Role, Shared};
use klamm_core::ids::Uuid;
use klamm_core::rng::Rng;
use klamm_core::wire::Request;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// How long an answer may take.
const ANSWER_MS: u64 = 3_000;
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
    role: R,
    turns: Turns,
    /// Not before this time it takes its next turn.
    next_at: u64,
    rng: Rng,
}

/// Works until the work is over and nothing is owed.
pub(super) async fn work<R: Role>(ledger: Rc<Ledger>, role: R, turns: Turns) {
    let rng = Rng::new(turns.seed());
    let mut it = Hired { ledger: &ledger, role, turns, next_at: 0, rng };
    while ledger.is_working() || it.role.owes().is_some() {
        let mut asked = VecDeque::new();
        let ended = async {
            let mut connection = ledger.wire.dial(it.rng.draw()).await?;
            it.serve(&mut connection, &mut asked).await
        };
        if let Err(lost) = ended.await {
            ledger.lost(&lost);
        }
        with(&ledger, |cx| it.role.lost(asked.into(), cx));
        pause(&mut it.rng, 60).await;
    }
}

impl<R: Role> Hired<'_, R> {
    /// Over one connection, until it breaks or there is nothing left to do.
    async fn serve(&mut self, connection: &mut Connection, asked: &mut VecDeque<R::Asked>) -> Result<(), Lost> {
        let ledger = self.ledger;
        while ledger.is_working() || self.role.owes().is_some() || !asked.is_empty() {
            let asks = if self.may_ask() { with(ledger, |cx| self.role.ask(cx)) } else { Vec::new() };
            for (request, meaning) in asks {
                asked.push_back(meaning);
                connection.send(version(&request, &mut self.rng), &request, true).await?;
            }
            if asked.is_empty() {
                let next = self.role.next(ledger.is_working()).map(|at| at.max(self.next_at));
                let left = next.map_or(LOOK_MS, |at| at.saturating_sub(elapsed_ns()) / MS);
                tokio::time::sleep(Duration::from_millis(left.clamp(1, LOOK_MS))).await;
                continue;
            }
            let (_, response) = in_time(ANSWER_MS, connection.receive()).await?;
            if let Some(meaning) = asked.pop_front() {
                ledger.check(with(ledger, |cx| self.role.answered(meaning, response, cx)));
            }
        }
        Ok(())
    }

    /// Whether the role may ask now. While there is work each time is a turn; afterwards it ends what it began.
    fn may_ask(&mut self) -> bool {
        if !self.ledger.is_working() {
            return true;
        }
        let now = elapsed_ns();
        if self.next_at > now || self.role.next(true).is_none_or(|at| at > now) {
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
}

fn with<T>(ledger: &Ledger, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    let now = elapsed_ns();
    let wall = EPOCH_MS + (now / MS) as i64;
    let mut shared = ledger;
    act(&mut Cx {
        now,
        wall,
        // Records bear the broker's time only where that is right.
        least_time: wall,
        working: ledger.is_working(),
        history: &mut ledger.history.borrow_mut(),
        shared: &mut shared,
        crc: klamm::crc32c,
    })
}

/// A version that can say what is asked.
fn version(request: &Request, rng: &mut Rng) -> i16 {
    let (least, most) = match request {
        Request::Produce(r) if r.topic_data.iter().any(|t| t.topic_id != Uuid::ZERO) => (13, 13),
        Request::Produce(_) => (3, 12),
        // From version 5 on the start of the log is told.
        Request::Fetch(r) if r.topic_ids => (13, 18),
        Request::Fetch(_) => (5, 12),
        Request::ListOffsets(_) => (1, 11),
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
    least + rng.below((most - least + 1) as u64) as i16
}
