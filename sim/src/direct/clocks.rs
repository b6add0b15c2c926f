//! The clocks of one life of the broker: a rate over true time, and a wall clock that somebody may set. Shards live by
//! them; the heap lives by true time.

use klamm_core::ids::{Instant, Now, Timestamp};

use super::broker::EPOCH_MS;
use super::params::{MS, Params};

/// Nanoseconds that a clock counts in a true millisecond when it is right.
const RIGHT: u64 = MS;
/// A wall clock is off by so many milliseconds at most: batches that are an hour ahead of it are refused.
const FARTHEST_MS: u64 = 3_500_000;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    rate: u64,
    wall_ms: i64,
}

impl Clocks {
    /// Those of a life. Where nothing drifts the wall clock is a little ahead, and never behind.
    pub(super) fn of(life: u32, params: &Params) -> Clocks {
        let (dice, key) = (&params.dice, u64::from(life));
        if !params.drifts {
            return Clocks { rate: RIGHT, wall_ms: dice.below("clock skew", key, 10_000) as i64 };
        }
        let rate = RIGHT - RIGHT / 10 + dice.more("clock rate", key, RIGHT / 5);
        Clocks { rate, wall_ms: farthest(dice.bits("wall clock", key)) }
    }

    /// Somebody sets the wall clock.
    pub(super) fn set(&mut self, bits: u64) {
        self.wall_ms = farthest(bits);
    }

    pub(super) fn now(&self, now: u64) -> Now {
        let counted = u128::from(now) * u128::from(self.rate) / u128::from(RIGHT);
        let wall = EPOCH_MS + (now / MS) as i64 + self.wall_ms;
        Now { monotonic: Instant(counted as u64), wall: Timestamp(wall) }
    }

    /// The true time at which they show something.
    pub(super) fn at(&self, at: Instant) -> u64 {
        (u128::from(at.0) * u128::from(RIGHT)).div_ceil(u128::from(self.rate)).min(u128::from(u64::MAX)) as u64
    }
}

fn farthest(bits: u64) -> i64 {
    (bits % (2 * FARTHEST_MS)) as i64 - FARTHEST_MS as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_come_when_its_true_time_has() {
        for rate in [RIGHT, 900_000, 1_100_000, 999_999, 1_000_001] {
            let clocks = Clocks { rate, wall_ms: 0 };
            for at in [0, 1, 7, 999, 12_345_678_901] {
                let due = clocks.at(Instant(at));
                assert!(clocks.now(due).monotonic >= Instant(at), "{rate} {at}");
                assert!(due == 0 || clocks.now(due - 1).monotonic < Instant(at), "{rate} {at}");
            }
        }
    }
}
