//! `klamm-sim campaign`: many seeds, on as many threads as wanted. A run knows nothing of others: what one thread does
//! changes no seed of another.

use super::{DIFFERENT, EngineName, USAGE};
use crate::report::{self, Engine, Report};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

#[derive(clap::Args)]
pub(super) struct Args {
    /// How many seeds.
    #[arg(long, value_name = "N")]
    seeds: u64,
    /// The first of them.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// The engine.
    #[arg(long, value_enum, default_value = "world")]
    engine: EngineName,
    /// Seeds that run at the same time; as many as there are cores if not given.
    #[arg(long, value_name = "J")]
    jobs: Option<usize>,
    /// Run every seed twice: both runs must be the same.
    #[arg(long)]
    twice: bool,
    /// Stop at the first seed that fails.
    #[arg(long)]
    until_failure: bool,
    /// Do not look for what the first failure comes down to.
    #[arg(long)]
    plain: bool,
}

/// So many seeds must reach every state that a campaign is to reach.
const LARGE: u64 = 1_000;

/// What is known of the seeds that have run.
#[derive(Default)]
struct Tally {
    seeds: u64,
    simulated_ns: u64,
    /// Of these, until faults ended.
    worked_ns: u64,
    counters: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, report::Tally>,
    /// Exit codes of the runs that failed.
    failures: Vec<u8>,
    /// What the first failure broke.
    first: Option<&'static str>,
    /// The first run that can be replayed by its decisions.
    to_shrink: Option<Report>,
}

pub(super) fn run(args: &Args) -> u8 {
    if args.seeds == 0 {
        eprintln!("klamm-sim campaign: no seeds");
        return USAGE;
    }
    let jobs = args.jobs.or_else(|| thread::available_parallelism().ok().map(usize::from)).unwrap_or(1).max(1);
    let Some(end) = args.from.checked_add(args.seeds) else {
        eprintln!("klamm-sim campaign: there are no {} seeds from {} on", args.seeds, args.from);
        return USAGE;
    };
    let (next, stop) = (AtomicU64::new(args.from), AtomicBool::new(false));
    let (reports, ran) = channel();
    let started = Instant::now();
    let mut tally = thread::scope(|scope| {
        for _ in 0..jobs {
            let (reports, next, stop) = (reports.clone(), &next, &stop);
            scope.spawn(move || work(args, next, end, stop, &reports));
        }
        drop(reports);
        gather(args, &ran, &stop, started)
    });
    tally.print(args, started);
    if let Some(report) = tally.to_shrink.take().filter(|_| !args.plain) {
        println!("\nThe first failure comes down to:\n");
        tally.failures.push(super::replay::fail(&report));
    }
    tally.exit_code(args)
}

/// Runs seeds until there are none left; with each its digest of the second time, if it differs.
fn work(args: &Args, next: &AtomicU64, end: u64, stop: &AtomicBool, reports: &Sender<(Report, Option<u64>)>) {
    while !stop.load(Ordering::Relaxed) {
        let more = |seed: u64| (seed < end).then(|| seed + 1);
        let Ok(seed) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) else { return };
        let report = args.engine.run(seed, false);
        let again = args.twice.then(|| args.engine.run(seed, false).digest).filter(|again| *again != report.digest);
        if reports.send((report, again)).is_err() {
            return;
        }
    }
}

fn gather(args: &Args, ran: &Receiver<(Report, Option<u64>)>, stop: &AtomicBool, started: Instant) -> Tally {
    let mut tally = Tally::default();
    let watched = stderr().is_terminal();
    for (report, again) in ran {
        if tally.add(&report, again) && args.until_failure {
            stop.store(true, Ordering::Relaxed);
            break;
        }
        if watched {
            let per_second = tally.seeds as f64 / started.elapsed().as_secs_f64();
            let failed = tally.failures.len();
            eprint!("\r{}/{} seeds, {failed} failed, {per_second:.1} a second ", tally.seeds, args.seeds);
            // A terminal that takes nothing has nobody watching.
            let _ = stderr().flush();
        }
    }
    if watched {
        eprintln!();
    }
    tally
}

impl Tally {
    /// Takes in a run; tells whether it failed.
    fn add(&mut self, report: &Report, again: Option<u64>) -> bool {
        self.seeds += 1;
        self.simulated_ns += report.simulated_ns;
        self.worked_ns += report.worked_ns;
        for (name, n) in &report.counters {
            *self.counters.entry(name).or_default() += n;
        }
        for (name, tally) in &report.faults {
            self.faults.entry(name).or_default().add(*tally);
        }
        let code = if again.is_some() { DIFFERENT } else { report.exit_code() };
        if code == 0 {
            return false;
        }
        if let Some(again) = again {
            println!("DIFFERENT  digest {:016x}, and {again:016x} the second time", report.digest);
        }
        println!("{report}\n");
        self.failures.push(code);
        self.first = self.first.or(report.property());
        if self.to_shrink.is_none() && report.property().is_some() {
            self.to_shrink = Some(report.clone());
        }
        true
    }

    fn print(&self, args: &Args, started: Instant) {
        let width = self.counters.keys().map(|name| name.len()).max().unwrap_or_default();
        for (name, n) in &self.counters {
            println!("{name:<width$}  {n:>12}");
        }
        if !self.faults.is_empty() {
            println!("{:<24}{:>12}{:>12}{:>12}{:>12}", "\nfaults", "drawn", "applied", "refused", "effective");
        }
        for (name, report::Tally { drawn, applied, refused, effective }) in &self.faults {
            println!("{name:<23}{drawn:>12}{applied:>12}{refused:>12}{effective:>12}");
        }
        let (simulated, real) = (self.simulated_ns as f64 / 1e9, started.elapsed().as_secs_f64());
        let worked = self.worked_ns as f64 / 1e9;
        let acks = self.counters.get("acks").copied().unwrap_or_default() as f64 / worked.max(1e-9);
        println!(
            "{} seeds from {} in {}: {} failed; {simulated:.0} s simulated in {real:.1} s, {acks:.1} acks a simulated second, {:.1} CPU-seconds",
            self.seeds,
            args.from,
            Engine::from(args.engine),
            self.failures.len(),
            cpu_seconds(),
        );
        let missed: Vec<_> = self.missed(args).collect();
        if !missed.is_empty() {
            println!("NEVER REACHED  {}", missed.join(", "));
        }
        if let Some(property) = self.first {
            println!("found {property} after {} seeds, {:.1} CPU-seconds", self.seeds, cpu_seconds());
        }
    }

    /// What a campaign of this size must have reached and has not.
    fn missed<'a>(&'a self, args: &Args) -> impl Iterator<Item = &'static str> + use<'a> {
        let sometimes = if self.seeds >= LARGE { args.engine.sometimes() } else { &[] };
        sometimes.iter().copied().filter(|state| self.counters.get(state).is_none_or(|n| *n == 0))
    }

    /// The gravest of what happened: a broken promise, then what makes every verdict doubtful, then the rest. A campaign
    /// that tests too little is inconclusive.
    fn exit_code(&self, args: &Args) -> u8 {
        if self.failures.is_empty() && self.missed(args).next().is_some() {
            return 4;
        }
        let gravity = |code: &&u8| [101, 1, DIFFERENT, 3, 4].iter().position(|c| c == *code);
        self.failures.iter().min_by_key(gravity).copied().unwrap_or_default()
    }
}

/// What this process has used so far.
pub(super) fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::parse_from(format!("campaign {line}").split(' ')).args
    }

    #[test]
    fn the_gravest_failure_is_the_exit_code() {
        let of = |failures: &[u8]| {
            Tally { seeds: 9, failures: failures.to_vec(), ..Tally::default() }.exit_code(&args("--seeds 9"))
        };
        assert_eq!([of(&[]), of(&[4]), of(&[4, 3]), of(&[3, DIFFERENT])], [0, 4, 3, DIFFERENT]);
        assert_eq!([of(&[DIFFERENT, 1, 4]), of(&[1, 101, 3])], [1, 101]);
    }

    /// It is not clean, but inconclusive.
    #[test]
    fn a_large_campaign_must_reach_every_state() {
        let args = args("--seeds 1000 --engine direct");
        let mut tally = Tally { seeds: LARGE, ..Tally::default() };
        tally.counters.extend(args.engine.sometimes().iter().map(|state| (*state, 1)));
        assert_eq!(tally.exit_code(&args), 0);
        tally.counters.insert("kills", 0);
        assert_eq!((tally.missed(&args).collect::<Vec<_>>(), tally.exit_code(&args)), (vec!["kills"], 4));
        tally.seeds = LARGE - 1;
        assert_eq!(tally.exit_code(&args), 0);
        tally.seeds = LARGE;
        tally.failures.push(3);
        assert_eq!(tally.exit_code(&args), 3);
    }

    #[test]
    fn a_campaign_of_nothing_is_refused() {
        assert_eq!(run(&args("--seeds 0")), USAGE);
    }
}
