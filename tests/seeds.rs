//! Which seeds a campaign under `cargo test` runs: `KLAMM_SEED` names one alone, `KLAMM_SEEDS` says how many fixed ones;
//! fresh ones, that nobody has run before, are printed before they run.

use std::io::{Write, stderr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// The number that a variable of the environment holds, if there is one.
pub(crate) fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}: {text:?} is no number")))
}

/// So many seeds that nobody has run before.
#[allow(
    clippy::explicit_write,
    reason = "eprintln is kept back by the test harness: a seed that hangs must be known too"
)]
pub(crate) fn fresh(count: u64) -> Vec<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    writeln!(stderr(), "fresh seeds {now} to {}", now + count - 1).unwrap();
    (now..now + count).collect()
}

/// Runs seeds on all cores.
pub(crate) fn each(seeds: &[u64], run: impl Fn(u64) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            run(*seed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
}
