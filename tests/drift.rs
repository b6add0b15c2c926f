//! `direct` does not drift from `world`: what the shards of the real host were told, fresh shards are told again, and want
//! the same, to the end of a run; what they wanted of the disk, the model disk is asked for, too, dies with the broker, and
//! could have kept what the real store then recovered, until the disk comes to harm. `KLAMM_SEED` runs one seed alone;
//! `KLAMM_SEEDS` sets how many fixed ones are run, before a few that nobody has run before.

#![allow(clippy::unwrap_used, reason = "a test")]

mod seeds;

use klamm_sim::direct::{Followed, follow};
use klamm_sim::report::Verdict;
use klamm_sim::world::{Taped, steps_again, taped};
use std::sync::Mutex;

/// Seeds 0 up to this one.
const FIXED: u64 = 200;
/// Seeds that nobody has run before.
const FRESH: u64 = 16;

/// What was compared, over some seeds.
#[derive(Clone, Copy, Debug, Default)]
struct Compared {
    /// Steps that fresh shards took again.
    steps: u64,
    /// Of these, after the disk had come to harm.
    steps_after_harm: u64,
    followed: Followed,
}

fn compare(seed: u64) -> Compared {
    let (report, tape) = taped(seed);
    assert_eq!(report.verdict, Verdict::Clean, "seed {seed}: {report}");
    let steps = steps_again(&tape).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    let followed = follow(&tape).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    let harmed = tape.iter().skip_while(|taped| !matches!(taped, Taped::Harmed));
    let steps_after_harm = harmed.filter(|taped| matches!(taped, Taped::Step { .. })).count() as u64;
    Compared { steps, steps_after_harm, followed }
}

fn compare_all(seeds: &[u64]) -> Compared {
    let sums = Mutex::new(Compared::default());
    seeds::each(seeds, |seed| {
        let one = compare(seed);
        let mut sums = sums.lock().unwrap();
        sums.steps += one.steps;
        sums.steps_after_harm += one.steps_after_harm;
        sums.followed = sums.followed + one.followed;
    });
    let sums = sums.into_inner().unwrap();
    println!("{} seeds: {sums:?}", seeds.len());
    sums
}

#[test]
fn direct_does_not_drift_from_the_real_host() {
    if let Some(seed) = seeds::number("KLAMM_SEED") {
        compare_all(&[seed]);
        return;
    }
    let count = seeds::number("KLAMM_SEEDS").unwrap_or(FIXED);
    let Compared { steps_after_harm, followed, .. } = compare_all(&(0..count).collect::<Vec<_>>());
    if count >= FIXED {
        let Followed {
            found, found_after_power_loss, found_in_doubt, found_shorter, found_after_failure, gone, ..
        } = followed;
        let followed = [found, found_after_power_loss, found_in_doubt, found_shorter, found_after_failure, gone];
        assert!(steps_after_harm > 0 && followed.iter().all(|n| *n > 0), "{followed:?}");
    }
    compare_all(&seeds::fresh(FRESH));
}
