//! What a run says of itself: verdict, the two facts that contradict, counters, digest.
//!
//! `stuck` is the one property of liveness (Alpern and Schneider 1985), and has a verdict of its own: each engine says so
//! where something is still owed and nothing is left to happen, or patience is over.

use std::collections::BTreeMap;
use std::fmt;

use crate::properties::sentence;

/// Which engine ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The real host over simulated network and disk (turmoil).
    World,
    /// Shards on one event heap.
    Direct,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every property held, and something was acknowledged while things went wrong.
    Clean,
    /// A promise was broken.
    Unsafe(Violation),
    /// Nothing was broken, but what had to happen after healing did not.
    Stuck(String),
    /// Too little happened to say anything.
    Inconclusive(String),
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property, as in `docs/`.
    pub property: &'static str,
    /// The first fact.
    pub fact: String,
    /// The fact that contradicts it.
    pub contradiction: String,
}

/// What became of faults of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// They came up.
    pub drawn: u64,
    /// They came about.
    pub applied: u64,
    /// They could not, or were not allowed to.
    pub refused: u64,
    /// They made a difference: something was under way, or something was lost.
    pub effective: u64,
}

impl Tally {
    /// Takes in another one.
    pub fn add(&mut self, other: Tally) {
        self.drawn += other.drawn;
        self.applied += other.applied;
        self.refused += other.refused;
        self.effective += other.effective;
    }
}

/// A run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which engine.
    pub engine: Engine,
    /// The run is a function of this.
    pub seed: u64,
    /// Simulated nanoseconds.
    pub simulated_ns: u64,
    /// Of these, until faults ended: what is acknowledged then says nothing of them.
    pub worked_ns: u64,
    /// How it ended.
    pub verdict: Verdict,
    /// What happened how often, by name: acknowledgements, states reached.
    pub counters: BTreeMap<&'static str, u64>,
    /// What became of faults, by their kind.
    pub faults: BTreeMap<&'static str, Tally>,
    /// Hash of every (time, node, input, effects).
    pub digest: u64,
    /// One line a step, if a trace was asked for.
    pub trace: Vec<String>,
}

impl Report {
    /// Acknowledgements a simulated second, as long as things went wrong: without any, nothing was tested.
    #[must_use]
    pub fn acks_a_second(&self) -> f64 {
        let acks = self.counters.get("acks").copied().unwrap_or_default();
        acks as f64 / (self.worked_ns as f64 / 1e9).max(1e-9)
    }

    /// The property that was broken, if one was.
    #[must_use]
    pub fn property(&self) -> Option<&'static str> {
        match &self.verdict {
            Verdict::Unsafe(violation) => Some(violation.property),
            Verdict::Stuck(_) => Some("stuck"),
            Verdict::Clean | Verdict::Inconclusive(_) => None,
        }
    }

    /// The process's exit code: 0 clean, 1 safety, 3 liveness, 4 inconclusive, 101 a panic.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Clean => 0,
            Verdict::Unsafe(Violation { property: "no-panic", .. }) => 101,
            Verdict::Unsafe(_) => 1,
            Verdict::Stuck(_) => 3,
            Verdict::Inconclusive(_) => 4,
        }
    }

    /// The command that runs it again.
    #[must_use]
    pub fn replay_line(&self) -> String {
        format!("cargo run --release -p klamm-sim -- run --engine {} --seed {} --trace", self.engine, self.seed)
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::World => "world",
            Engine::Direct => "direct",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Clean => writeln!(f, "clean")?,
            Verdict::Unsafe(v) => {
                writeln!(f, "VIOLATED  {}: {}", v.property, sentence(v.property))?;
                writeln!(f, "  fact     {}", v.fact)?;
                writeln!(f, "  against  {}", v.contradiction)?;
            }
            Verdict::Stuck(what) => writeln!(f, "STUCK     {what}")?,
            Verdict::Inconclusive(what) => writeln!(f, "INCONCLUSIVE  {what}")?,
        }
        let ms = self.simulated_ns / 1_000_000;
        writeln!(
            f,
            "  engine {}  seed {}  simulated {}.{:03} s  {:.1} acks a simulated second  digest {:016x}",
            self.engine,
            self.seed,
            ms / 1000,
            ms % 1000,
            self.acks_a_second(),
            self.digest
        )?;
        let counters: Vec<String> = self.counters.iter().map(|(name, n)| format!("{name} {n}")).collect();
        writeln!(f, "  {}", counters.join(", "))?;
        let faults = self.faults.iter().map(|(name, Tally { drawn, applied, refused, effective })| {
            format!("{name} {drawn} {applied} {refused} {effective}")
        });
        let faults: Vec<String> = faults.collect();
        if !faults.is_empty() {
            writeln!(f, "  faults drawn, applied, refused, effective: {}", faults.join(", "))?;
        }
        write!(f, "  replay: {}", self.replay_line())
    }
}
