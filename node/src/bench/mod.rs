//! `klamm bench`: this broker beside a floor of the same client shape, in the same run.
//!
//! A floor does what no broker can leave out (receive, checksum, write, perhaps group commit, answer) and nothing else.
//! Broker and floor run in turn as child processes pinned to one core, the load on another; the ratio of each pair is the
//! figure, its median the result. Absolute numbers are of this machine and this minute. Page-cache and durable figures
//! are never compared with each other.

mod floor;
mod load;
mod process;
mod report;

pub use floor::{FloorKind, serve as serve_floor};

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use load::Load;
use process::Server;
use report::{Figure, Sample};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where data goes while it is measured: made, so it must not be there, and removed afterwards.
    pub data: PathBuf,
    /// Pairs of rounds a figure.
    pub rounds: u32,
    /// Length of a round.
    pub round: Duration,
    /// The broker's disk driver, as `klamm dev --disk` takes it.
    pub disk: String,
    /// Only figures whose name contains this.
    pub only: Option<String>,
}

/// A figure: a load, and the floor that bears it.
struct Plan {
    name: &'static str,
    unit: &'static str,
    load: Load,
    floor: FloorKind,
    /// What is compared: bytes a CPU-second of the server, or operations a second.
    by: By,
}

#[derive(Clone, Copy)]
enum By {
    ServerCpu,
    Rate,
}

const PLANS: [Plan; 3] = [
    Plan {
        name: "produce-64k",
        unit: "GB per server CPU-second",
        load: Load::PRODUCE_64K,
        floor: FloorKind::Write,
        by: By::ServerCpu,
    },
    Plan {
        name: "durable-1k",
        unit: "records/s, 256 in flight",
        load: Load::DURABLE_1K,
        floor: FloorKind::GroupCommit,
        by: By::Rate,
    },
    Plan { name: "warm-fetch-1m", unit: "GB/s", load: Load::FETCH_1M, floor: FloorKind::SendFile, by: By::Rate },
];

/// Measures, and prints a table.
///
/// # Errors
/// When a server cannot be started or spoken to.
pub fn run(options: &Options) -> io::Result<()> {
    std::fs::create_dir(&options.data)?;
    report::heading(options);
    for plan in &PLANS {
        if options.only.as_deref().is_some_and(|only| !plan.name.contains(only)) {
            continue;
        }
        let mut figure = Figure::new(plan.name, plan.unit);
        for round in 0..options.rounds {
            let order = if round % 2 == 0 { [true, false] } else { [false, true] };
            let mut pair = [None, None];
            for ours in order {
                let server = if ours { Server::broker(options)? } else { Server::floor(options, plan.floor)? };
                pair[usize::from(!ours)] = Some(measure(plan, &server, options, ours)?);
            }
            if let [Some(ours), Some(floor)] = pair {
                figure.add(ours, floor);
            }
        }
        figure.print();
    }
    std::fs::remove_dir_all(&options.data)
}

fn measure(plan: &Plan, server: &Server, options: &Options, broker: bool) -> io::Result<Sample> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let prepared = load::prepare(&plan.load, server.address(), broker).await?;
        let before = server.cpu_seconds()?;
        let done = load::run(&prepared, options.round).await?;
        let cpu = server.cpu_seconds()? - before;
        let gigabytes = done.bytes as f64 / 1e9;
        let rate = match plan.by {
            By::ServerCpu => gigabytes / cpu.max(0.01),
            By::Rate if plan.load.is_fetch() => gigabytes / done.seconds,
            By::Rate => done.operations as f64 / done.seconds,
        };
        Ok(Sample {
            rate,
            cpu_per_gb: cpu / gigabytes,
            gb_per_second: gigabytes / done.seconds,
            p50: done.p50,
            p99: done.p99,
        })
    })
}
