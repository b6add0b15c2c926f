//! `direct` does not drift from `world`: what the shards of the real host were told, fresh shards are told again, and want
//! the same; what they wanted of the disk, the model disk is asked for, too, dies with the broker, and could have kept
//! what the real store then recovered. `KLAMM_SEEDS` sets how many seeds are run.

#![allow(clippy::unwrap_used, reason = "a test")]

use klamm_sim::direct::{Followed, follow};
use klamm_sim::report::Verdict;
use klamm_sim::world::{steps_again, taped};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Seeds 0 up to this one.
const SEEDS: u64 = 60;

/// Everything that was compared, over all seeds.
fn compared(seeds: u64) -> (u64, Followed) {
    let (next, sums) = (AtomicU64::new(0), Mutex::new((0, Followed::default())));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let (report, tape) = taped(seed);
            assert_eq!(report.verdict, Verdict::Clean, "seed {seed}: {report}");
            let steps = steps_again(&tape).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
            let followed = follow(&tape).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
            let mut sums = sums.lock().unwrap();
            sums.0 += steps;
            sums.1 = sums.1 + followed;
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    sums.into_inner().unwrap()
}

#[test]
fn direct_does_not_drift_from_the_real_host() {
    let given = std::env::var("KLAMM_SEEDS").ok().map(|text| text.parse().unwrap());
    let seeds = given.unwrap_or(SEEDS);
    let (steps, followed) = compared(seeds);
    println!("{seeds} seeds: {steps} steps taken again, {followed:?}");
    if seeds >= SEEDS {
        let Followed {
            found, found_after_power_loss, found_in_doubt, found_shorter, found_after_failure, gone, ..
        } = followed;
        let reached = [found, found_after_power_loss, found_in_doubt, found_shorter, found_after_failure, gone];
        assert!(reached.iter().all(|n| *n > 0), "{followed:?}");
    }
}
