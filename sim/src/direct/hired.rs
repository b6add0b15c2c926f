//! A role of the workload as a client of this engine: its questions and answers go over a connection as values.

use std::collections::VecDeque;

use klamm_core::rng;
use klamm_core::wire::Response;

use super::broker::{EPOCH_MS, checksum};
use super::client::{Ask, Cx, Ledger, Role};
use super::params::MS;
use crate::report::Violation;
use crate::workload::{self, Shared};

/// See the module.
pub(super) struct Hired<R: workload::Role> {
    id: u64,
    seed: u64,
    role: R,
    turns: u64,
    /// Not before this time it takes the next one.
    next_at: u64,
    /// What has no answer yet, in order.
    asked: VecDeque<R::Asked>,
}

impl<R: workload::Role> Hired<R> {
    pub(super) fn new(id: u64, seed: u64, role: R) -> Hired<R> {
        Hired { id, seed, role, turns: 0, next_at: 0, asked: VecDeque::new() }
    }

    /// Whether the role may begin something. While it works, each time is a turn, which draws what it draws from a seed of
    /// its own.
    fn begins(&mut self, cx: &Cx<'_>) -> bool {
        if cx.stopping || self.next_at > cx.now || self.role.next(true).is_none_or(|at| at > cx.now) {
            return false;
        }
        let Some(turn) = cx.turn(self.id, &mut self.turns, &mut self.next_at) else { return false };
        self.role.reseed(rng::draw(self.seed, "turn", turn));
        true
    }
}

impl Shared for Ledger {
    fn number(&mut self) -> u64 {
        self.value()
    }

    fn count(&mut self, what: &'static str) {
        Ledger::count(self, what);
    }
}

/// What the role sees.
fn cx<'a>(cx: &'a mut Cx<'_>) -> workload::Cx<'a> {
    workload::Cx {
        now: cx.now,
        wall: cx.wall.0,
        least_time: EPOCH_MS + (cx.now / MS) as i64,
        working: !cx.stopping,
        history: cx.history,
        shared: cx.ledger,
        crc: checksum,
    }
}

impl<R: workload::Role> Role for Hired<R> {
    type Asked = ();

    fn ask(&mut self, full: &mut Cx<'_>) -> Vec<Ask<()>> {
        let begins = self.begins(full);
        if !begins && !full.stopping && self.role.resumes().is_none_or(|at| at > full.now) {
            return Vec::new();
        }
        let asks = self.role.ask(&mut workload::Cx { working: begins, ..cx(full) });
        let mut questions = Vec::new();
        for (request, asked) in asks {
            let answered = workload::is_answered(&request);
            self.asked.extend(Some(asked).filter(|_| answered));
            questions.push((request, answered.then_some(())));
        }
        questions
    }

    fn answered(&mut self, (): (), response: Response, full: &mut Cx<'_>) -> Result<(), Violation> {
        let asked = self.asked.pop_front().expect("an answer has a question");
        self.role.answered(asked, response, &mut cx(full))
    }

    fn lost(&mut self, full: &mut Cx<'_>) {
        let asked = self.asked.drain(..).collect();
        self.role.lost(asked, &mut cx(full));
    }

    fn hangs_up(&self) -> bool {
        self.role.hangs_up()
    }

    fn next(&self, full: &Cx<'_>) -> Option<u64> {
        let begins = self.role.next(!full.stopping);
        let begins = if full.stopping { begins } else { begins.map(|at| at.max(self.next_at)) };
        begins.into_iter().chain(self.role.resumes()).min()
    }

    fn patience(&self) -> Option<u64> {
        self.role.patience()
    }

    fn owes(&self) -> Option<String> {
        self.role.owes()
    }
}
