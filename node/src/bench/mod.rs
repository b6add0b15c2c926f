//! `klamm bench`: this broker beside a floor of the same client shape, in the same run, and Apache Kafka beside both.
//!
//! A floor does what no broker can leave out (receive, checksum, write, perhaps group commit, answer) and nothing else.
//! The servers run in turn as child processes pinned to one core, the load on another; the ratio of broker and floor of a
//! round is the figure, its median the result. Absolute numbers are of this machine and this minute. Page-cache and
//! durable figures are never compared with each other.

mod floor;
mod footprint;
mod kafka;
mod load;
mod process;
mod report;

pub use floor::{FloorKind, serve as serve_floor};

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use load::Load;
use process::Server;
use report::{Figure, Round, Sample};

/// The load runs for so long before it is measured: files are made, caches filled, code compiled (of Kafka).
const WARM_UP: Duration = Duration::from_millis(500);

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
    /// A directory with the jars of Apache Kafka, which is then measured too.
    pub kafka: Option<PathBuf>,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| name.contains(only))
    }
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
    Latency,
}

const PLANS: [Plan; 6] = [
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
    Plan {
        name: "durable-1k-100",
        unit: "records/s, 256 in flight over 100 partitions (of the floor: one file)",
        load: Load::DURABLE_1K_100,
        floor: FloorKind::GroupCommit,
        by: By::Rate,
    },
    Plan {
        name: "durable-lone",
        unit: "produces a second at the median latency, one in flight",
        load: Load::DURABLE_LONE,
        floor: FloorKind::Sync,
        by: By::Latency,
    },
    Plan { name: "warm-fetch-64k", unit: "GB/s", load: Load::FETCH_64K, floor: FloorKind::SendFile64K, by: By::Rate },
    Plan { name: "warm-fetch-1m", unit: "GB/s", load: Load::FETCH_1M, floor: FloorKind::SendFile1M, by: By::Rate },
];

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Broker,
    Floor,
    Kafka,
}

/// Measures, and prints a table.
///
/// # Errors
/// When a server cannot be started or spoken to.
pub fn run(options: &Options) -> io::Result<()> {
    if let Some(libs) = &options.kafka {
        kafka::has_jars(libs)?;
    }
    std::fs::create_dir(&options.data)?;
    let measured = figures(options);
    // Whatever came of it: the next one wants to make it anew.
    std::fs::remove_dir_all(&options.data).and(measured)
}

fn figures(options: &Options) -> io::Result<()> {
    report::heading(options);
    for plan in PLANS.iter().filter(|plan| options.wants(plan.name)) {
        let mut figure = Figure::new(plan.name, plan.unit);
        for round in 0..options.rounds {
            figure.add(one_round(plan, options, round)?);
        }
        figure.print();
    }
    if options.wants("start") {
        footprint::start(options)?;
    }
    if options.wants("memory") {
        footprint::memory(options)?;
    }
    Ok(())
}

/// Each contender once; who begins changes from round to round.
fn one_round(plan: &Plan, options: &Options, round: u32) -> io::Result<Round> {
    let mut order = vec![Contender::Broker, Contender::Floor];
    if round % 2 == 1 {
        order.reverse();
    }
    order.extend(options.kafka.is_some().then_some(Contender::Kafka));
    let mut samples = Vec::new();
    for contender in order {
        let server = match contender {
            Contender::Broker => Server::broker(options)?,
            Contender::Floor => Server::floor(options, plan.floor)?,
            Contender::Kafka => kafka::start(options)?,
        };
        samples.push((contender, measure(plan, &server, options, contender != Contender::Floor)?));
    }
    let of = |who| samples.iter().find(|(contender, _)| *contender == who).map(|(_, sample)| *sample);
    let both = of(Contender::Broker).zip(of(Contender::Floor));
    let (ours, floor) = both.expect("broker and floor are in every round");
    Ok(Round { ours, floor, kafka: of(Contender::Kafka) })
}

fn measure(plan: &Plan, server: &Server, options: &Options, broker: bool) -> io::Result<Sample> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let prepared = load::prepare(&plan.load, server.address(), broker).await?;
        load::run(&prepared, WARM_UP).await?;
        let before = server.cpu_seconds()?;
        let sent_before = server.sent_bytes()?;
        let done = load::run(&prepared, options.round).await?;
        let cpu = server.cpu_seconds()? - before;
        let gigabytes = done.bytes as f64 / 1e9;
        let rate = match plan.by {
            By::ServerCpu => gigabytes / cpu.max(0.01),
            By::Rate if plan.load.is_fetch() => gigabytes / done.seconds,
            By::Rate => done.operations as f64 / done.seconds,
            By::Latency => 1.0 / done.p50,
        };
        let sent = server.sent_bytes()?.zip(sent_before).map(|(after, before)| after - before);
        Ok(Sample {
            rate,
            cpu_per_gb: cpu / gigabytes,
            gb_per_second: gigabytes / done.seconds,
            p50: done.p50,
            p99: done.p99,
            by_sendfile: sent.filter(|_| plan.load.is_fetch()).map(|sent| sent.share()),
        })
    })
}
