//! When a client does what it does: each thing that it begins while there is work is a turn, the n-th, and draws what it
//! draws from a seed of its own. Of a book that is replayed, it takes the turns that are in there, not before their times.

use super::ledger::Ledger;
use crate::clock::elapsed_ns;
use crate::decisions::Turn;
use crate::dice::Dice;
use klamm_core::rng::{self, Rng};
use std::time::Duration;

/// Nothing is waited for longer than so many nanoseconds: the work may be over.
const STEP_NS: u64 = 20_000_000;

/// The turns of one client.
pub(super) struct Turns {
    dice: Dice,
    client: u64,
    taken: u64,
}

impl Turns {
    /// Of a client: no other one has its number.
    pub(super) fn new(dice: Dice, client: u64) -> Turns {
        Turns { dice, client, taken: 0 }
    }

    /// Whose they are.
    pub(super) fn client(&self) -> u64 {
        self.client
    }

    /// What the client draws apart from its turns.
    pub(super) fn seed(&self) -> u64 {
        self.dice.bits("client", self.client)
    }

    /// Its next turn, if it is to be taken now: what that draws from. Else when to ask again.
    pub(super) fn take(&mut self) -> Result<Rng, u64> {
        match self.dice.turn(self.client, self.taken, elapsed_ns()) {
            Turn::Now(turn) => {
                self.taken = turn + 1;
                Ok(Rng::new(rng::draw(self.seed(), "turn", turn)))
            }
            Turn::At(at) => Err(at),
            Turn::Never => Err(u64::MAX),
        }
    }

    /// Waits for the next turn, while there is work.
    pub(super) async fn next(&mut self, ledger: &Ledger) -> Option<Rng> {
        while ledger.is_working() {
            match self.take() {
                Ok(rng) => return Some(rng),
                Err(at) => {
                    let left = at.saturating_sub(elapsed_ns()).clamp(1, STEP_NS);
                    tokio::time::sleep(Duration::from_nanos(left)).await;
                }
            }
        }
        None
    }
}

/// Sleeps for up to so many milliseconds.
pub(super) async fn pause(rng: &mut Rng, most_ms: u64) {
    tokio::time::sleep(Duration::from_millis(1 + rng.below(most_ms))).await;
}
