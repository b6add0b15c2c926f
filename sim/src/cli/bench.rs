//! `klamm-sim bench`: how much simulated time a second of a core makes, under which load, in how much memory, and what
//! more threads bring. Seconds of the processor are counted, so that what else runs matters little. All oracles are on;
//! seeds are the first ones, so that figures can be compared.

use std::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use super::campaign::cpu_seconds;
use super::{EngineName, USAGE};
use crate::report::Report;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The engine; both if none is given.
    #[arg(long, value_enum)]
    engine: Option<EngineName>,
    /// Seeds of each engine.
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
}

/// What some seeds came to.
#[derive(Default)]
struct Sum {
    seeds: u64,
    simulated: f64,
    /// Of these, until faults ended.
    worked: f64,
    acks: u64,
    events: u64,
    steps: u64,
    /// The most that the process occupied, with one seed at a time, KiB.
    most_kib: u64,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        let count = |name: &str| report.counters.get(name).copied().unwrap_or_default();
        self.seeds += 1;
        self.simulated += report.simulated_ns as f64 / 1e9;
        self.worked += report.worked_ns as f64 / 1e9;
        self.acks += count("acks");
        self.events += count("events");
        self.steps += count("steps");
    }
}

pub(super) fn run(args: &Args) -> u8 {
    let engines = [(EngineName::World, 60), (EngineName::Direct, 300)];
    for (engine, usual) in engines.into_iter().filter(|(name, _)| args.engine.is_none_or(|wanted| wanted == *name)) {
        let seeds = args.seeds.unwrap_or(usual);
        if seeds == 0 {
            eprintln!("klamm-sim bench: no seeds");
            return USAGE;
        }
        bench(engine, seeds);
    }
    0
}

fn bench(engine: EngineName, seeds: u64) {
    let name = crate::report::Engine::from(engine);
    let (started, used) = (Instant::now(), cpu_seconds());
    let mut sum = Sum::default();
    // From here on the peak counts anew; where that is not allowed, it is the one since the start.
    let _ = fs::write("/proc/self/clear_refs", "5");
    for seed in 0..seeds {
        sum.add(&engine.run(seed, false));
    }
    sum.most_kib = memory("VmHWM:");
    let (took, used) = (started.elapsed().as_secs_f64(), cpu_seconds() - used);
    let a_second = |n: u64| n as f64 / sum.simulated;
    println!(
        "{name}: {} seeds, {:.0} s simulated in {used:.1} CPU-seconds, {took:.1} s, on one thread",
        sum.seeds, sum.simulated
    );
    println!("  {:>10.1} simulated seconds a CPU-second", sum.simulated / used);
    // Of acknowledgements those count that came while things went wrong.
    let acks = sum.acks as f64 / sum.worked;
    let mut load = format!("{acks:.1} acknowledgements, {:.1} steps", a_second(sum.steps));
    if engine == EngineName::Direct {
        // `world` has no heap of events to count.
        let _ = write!(load, ", {:.1} events", a_second(sum.events));
    }
    println!("  {load} a simulated second; {:.0} steps a CPU-second", sum.steps as f64 / used);
    println!("  {:>10.1} MiB at most, all of the process", sum.most_kib as f64 / 1024.0);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut jobs = 2;
    while jobs <= cores {
        let (next, started, before) = (AtomicU64::new(0), Instant::now(), cpu_seconds());
        thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds {
                            return;
                        }
                        engine.run(seed, false);
                    }
                });
            }
        });
        let (again, more) = (started.elapsed().as_secs_f64(), cpu_seconds() - before);
        println!("  {:>10.2} times as fast with {jobs} threads, in {more:.1} CPU-seconds", took / again);
        jobs *= 2;
    }
}

/// A line of what the kernel says of this process's memory, KiB.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
