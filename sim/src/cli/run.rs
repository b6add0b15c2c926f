//! `klamm-sim run`: one seed.

use super::EngineName;

#[derive(clap::Args)]
pub(super) struct Args {
    /// What the run is a function of.
    #[arg(long)]
    seed: u64,
    /// The engine.
    #[arg(long, value_enum, default_value = "world")]
    engine: EngineName,
    /// Print a line for each step of each shard.
    #[arg(long)]
    trace: bool,
}

pub(super) fn run(args: &Args) -> u8 {
    let report = args.engine.run(args.seed, args.trace);
    report.trace.iter().for_each(|line| println!("{line}"));
    println!("{report}");
    report.exit_code()
}
