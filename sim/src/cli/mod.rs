//! `klamm-sim`: runs of a seed, campaigns of many, and planted bugs that they must find.
//!
//! Exit codes: 0 clean, 1 a promise broken, 2 usage, 3 stuck after healing, 4 inconclusive, 5 a seed that ran differently
//! twice, 101 a panic.

mod bench;
mod campaign;
mod list;
mod mutants;
mod replay;
mod run;
mod screen;

use crate::decisions::{Book, Decisions, recorded, replayed};
use crate::report::{Engine, Report};
use clap::{Parser, Subcommand, ValueEnum};
use std::process::ExitCode;
use std::rc::Rc;

/// A seed that ran differently twice.
const DIFFERENT: u8 = 5;
/// What was asked for cannot be done.
const USAGE: u8 = 2;

/// Simulates whole brokers, and everything that goes wrong with them, from a seed.
#[derive(Parser)]
#[command(version, max_term_width = 120)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one seed and report.
    Run(run::Args),
    /// Run many seeds; each that fails is reported with the line that runs it again.
    Campaign(campaign::Args),
    /// Run a file of decisions again.
    Replay(replay::Replay),
    /// Leave out of a file of decisions what its failure does not need.
    Shrink(replay::Shrink),
    /// What a run may break, and what a campaign must reach.
    List,
    /// How much simulated time a second makes, and in how much memory.
    Bench(bench::Args),
    /// Plant bugs, one at a time, and see that a campaign finds each.
    Mutants(mutants::Args),
}

/// Which engine runs the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineName {
    /// The real host over simulated network and disk.
    World,
    /// Shards on one event heap, without frames and files.
    Direct,
}

impl EngineName {
    fn by(self, seed: u64, trace: bool, book: Rc<Book>) -> Report {
        match self {
            EngineName::World => crate::world::by(seed, trace, book),
            EngineName::Direct => crate::direct::by(seed, trace, book),
        }
    }

    fn run(self, seed: u64, trace: bool) -> Report {
        self.by(seed, trace, Rc::new(Book::Blank))
    }

    /// Runs a seed, and keeps what was decided.
    fn record(self, seed: u64) -> (Report, Decisions) {
        recorded(|book| self.by(seed, false, book))
    }

    /// Runs what was decided; tells what of it was asked for, and how much was not, of how much.
    fn replay(self, seed: u64, decisions: &Decisions, trace: bool) -> (Report, Decisions, (usize, usize)) {
        replayed(decisions, |book| self.by(seed, trace, book))
    }

    /// Runs of a failure that are tried to make it smaller, where nobody said how many.
    fn patience(self) -> u64 {
        match self {
            EngineName::World => 400,
            EngineName::Direct => 1_500,
        }
    }

    /// What a large campaign must reach.
    fn sometimes(self) -> &'static [&'static str] {
        match self {
            EngineName::World => crate::world::SOMETIMES,
            EngineName::Direct => crate::direct::SOMETIMES,
        }
    }
}

impl From<Engine> for EngineName {
    fn from(engine: Engine) -> EngineName {
        match engine {
            Engine::World => EngineName::World,
            Engine::Direct => EngineName::Direct,
        }
    }
}

impl From<EngineName> for Engine {
    fn from(name: EngineName) -> Engine {
        match name {
            EngineName::World => Engine::World,
            EngineName::Direct => Engine::Direct,
        }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let code = match Arguments::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Campaign(args) => campaign::run(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Shrink(args) => replay::shrink(&args),
        Command::List => list::run(),
        Command::Bench(args) => bench::run(&args),
        Command::Mutants(args) => mutants::run(&args).unwrap_or_else(|error| {
            eprintln!("klamm-sim mutants: {error}");
            USAGE
        }),
    };
    ExitCode::from(code)
}
