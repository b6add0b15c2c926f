//! The clocks of a simulated node: an offset and a rate over the simulation's own time, which runs on through crashes.

use klamm::host::Clock;
use klamm_core::ids::{Instant, Now, Timestamp};
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

/// Where every simulation's wall clock starts: 2026-01-01, in milliseconds since 1970.
pub const EPOCH_MS: i64 = 1_767_225_600_000;

/// The rate of a clock that is right.
pub const RIGHT: u64 = 1_000_000;

/// How a node's clocks are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drift {
    /// What the monotonic clock reads at the simulation's start, nanoseconds.
    pub offset_ns: u64,
    /// Nanoseconds that it counts in a true millisecond; [`RIGHT`] when it is right.
    pub rate: u64,
    /// How far the wall clock is off, milliseconds.
    pub wall_ms: i64,
}

/// The clocks of one life of a node.
#[derive(Clone, Debug)]
pub struct SimClock {
    drift: Drift,
    steps: Steps,
}

/// Whether the wall clock was set since: whoever keeps this sets it.
#[derive(Clone, Debug, Default)]
pub struct Steps(Rc<Cell<Option<i64>>>);

impl Steps {
    /// Somebody sets the wall clock: from now on it is off by so many milliseconds.
    pub fn set_wall(&self, ms: i64) {
        self.0.set(Some(ms));
    }
}

impl SimClock {
    /// Clocks that are wrong in this way.
    ///
    /// # Panics
    /// When they would stand still.
    #[must_use]
    pub fn new(drift: Drift, steps: Steps) -> SimClock {
        assert!(drift.rate > 0, "a clock moves");
        SimClock { drift, steps }
    }
}

/// True time since the simulation's start, nanoseconds.
///
/// # Panics
/// Outside a host of the simulation.
#[must_use]
pub fn elapsed_ns() -> u64 {
    let elapsed = turmoil::sim_elapsed().expect("clocks are read by hosts of the simulation");
    u64::try_from(elapsed.as_nanos()).expect("a simulation ends within 584 years")
}

impl Clock for SimClock {
    fn now(&self) -> Now {
        let elapsed = elapsed_ns();
        let counted = u64::try_from(u128::from(elapsed) * u128::from(self.drift.rate) / u128::from(RIGHT));
        let wall = self.steps.0.get();
        let monotonic = self.drift.offset_ns.saturating_add(counted.unwrap_or(u64::MAX));
        let elapsed_ms = i64::try_from(elapsed / 1_000_000).expect("below 2^63 when it is below 2^64 / 10^6");
        let wall = Timestamp(EPOCH_MS + wall.unwrap_or(self.drift.wall_ms) + elapsed_ms);
        Now { monotonic: Instant(monotonic), wall }
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        let clock = self.clone();
        async move {
            loop {
                let now = clock.now().monotonic;
                let Some(left) = at.0.checked_sub(now.0).filter(|left| *left > 0) else { return };
                let true_left = (u128::from(left) * u128::from(RIGHT)).div_ceil(u128::from(clock.drift.rate));
                tokio::time::sleep(Duration::from_nanos(u64::try_from(true_left).unwrap_or(u64::MAX))).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(sim: &mut turmoil::Sim<'_>, count: usize) {
        for _ in 0..count {
            sim.step().unwrap();
        }
    }

    #[test]
    fn a_sleep_ends_when_its_own_clock_says_so_and_time_runs_on_through_a_crash() {
        let slept = Rc::new(Cell::new(0));
        let mut sim = turmoil::Builder::new().tick_duration(Duration::from_millis(1)).build();
        let seen = slept.clone();
        sim.host("node", move || {
            let seen = seen.clone();
            async move {
                let clock = SimClock::new(Drift { offset_ns: 5, rate: 2_000_000, wall_ms: 0 }, Steps::default());
                clock.sleep_until(clock.now().monotonic.plus_ms(20)).await;
                seen.set(elapsed_ns() / 1_000_000);
                std::future::pending().await
            }
        });
        steps(&mut sim, 15);
        assert_eq!(slept.get(), 10, "twice as fast: half as long");
        sim.crash("node");
        steps(&mut sim, 10);
        sim.bounce("node");
        steps(&mut sim, 15);
        assert_eq!(slept.get(), 35, "25 ms had passed when it came back");
    }

    #[test]
    fn a_step_moves_the_wall_clock_alone() {
        let steps = Steps::default();
        let moved = steps.clone();
        let woke = Rc::new(Cell::new(None));
        let seen = woke.clone();
        let mut sim = turmoil::Builder::new().tick_duration(Duration::from_millis(1)).build();
        sim.host("node", move || {
            let (steps, seen) = (steps.clone(), seen.clone());
            async move {
                let clock = SimClock::new(Drift { offset_ns: 0, rate: RIGHT, wall_ms: 0 }, steps);
                clock.sleep_until(clock.now().monotonic.plus_ms(20)).await;
                seen.set(Some(clock.now()));
                std::future::pending().await
            }
        });
        self::steps(&mut sim, 5);
        moved.set_wall(-500);
        self::steps(&mut sim, 25);
        let now = woke.get().unwrap();
        assert_eq!(now.monotonic.0 / 1_000_000, 20);
        assert_eq!(now.wall.0, EPOCH_MS + 20 - 500);
    }
}
