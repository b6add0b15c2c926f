//! `klamm-sim run`: one seed.

use super::EngineName;
use crate::report::Report;
use std::io::{self, Write};

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
    // A reader that has seen enough (`| head`) ends the printing, not the verdict.
    let _ = print(&report);
    if report.property().is_some() {
        println!();
        return super::replay::fail(&report);
    }
    report.exit_code()
}

fn print(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in &report.trace {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{report}")
}
