//! `klamm bench`: see [`crate::bench`].

use super::Failure;
use crate::bench::{self, FloorKind, Options};
use std::path::PathBuf;
use std::time::Duration;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where data goes while it is measured: made, and removed afterwards. On the disk that is to be measured.
    #[arg(long, value_name = "DIR", default_value = "klamm-bench")]
    data: PathBuf,
    /// Pairs of rounds (broker and floor) a figure.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds a round.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How the broker drives its disk: auto, uring or blocking.
    #[arg(long, value_name = "DRIVER", default_value = "auto")]
    disk: String,
    /// Only figures whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Measures Apache Kafka too: a directory with its jars, as Maven copies them. Needs java.
    #[arg(long, value_name = "DIR")]
    kafka: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct FloorArgs {
    #[arg(value_parser = |name: &str| FloorKind::of(name).ok_or("no such floor"))]
    kind: FloorKind,
    file: PathBuf,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let Args { data, rounds, seconds, disk, only, kafka } = args;
    if data.exists() {
        return Err(Failure::usage(format!("{} is there already: name a directory to be made", data.display())));
    }
    bench::run(&Options { data, rounds, round: Duration::from_secs(seconds), disk, only, kafka })
        .map_err(|error| Failure::failed(format!("the measurement broke off: {error}")))
}

pub(super) fn serve_floor(args: &FloorArgs) -> Result<(), Failure> {
    bench::serve_floor(args.kind, &args.file).map_err(|error| Failure::failed(format!("the floor broke: {error}")))
}
