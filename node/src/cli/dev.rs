//! `klamm dev`: a broker of its own, on one machine, one thread a shard.

use super::Failure;
use super::data_dir::{DataDir, random_id};
use crate::disk::logs::Options;
use crate::disk::{AnyDisk, Driver, File};
use crate::host::{Limits, Mesh, Node, run as run_host};
use crate::net::{BACKLOG, SystemClock, TcpNet, bind, raise_open_files};
use clap::ValueEnum;
use klamm_core::effect::Config;
use klamm_core::ids::ShardIndex;
use klamm_core::metadata::configs::Configs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};

/// Shards of a broker at most.
const MAX_SHARDS: usize = 1_024;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the data lives; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "klamm-data")]
    data: PathBuf,
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9092")]
    listen: SocketAddr,
    /// What clients are told to connect to, if not the address listened on.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    advertise: Option<(String, u16)>,
    /// How many shards, each a thread; as many as there are cores if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    shards: Option<u16>,
    /// How the disk is driven.
    #[arg(long, value_name = "DRIVER", value_enum, default_value = "auto")]
    disk: DiskDriver,
}

#[derive(Clone, Copy, ValueEnum)]
enum DiskDriver {
    /// io_uring where the kernel allows it, else threads.
    Auto,
    /// io_uring.
    Uring,
    /// Threads.
    Blocking,
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("want HOST:PORT")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match port.parse() {
        Ok(port) if !host.is_empty() => Ok((host.to_owned(), port)),
        _ => Err("want HOST:PORT".to_owned()),
    }
}

/// What a shard's thread tells the main one.
enum News {
    /// It serves, with this disk driver.
    Serving(&'static str),
    /// It is over.
    Ended(io::Result<()>),
}

/// What a shard's thread starts with.
struct Seat {
    config: Config,
    data: PathBuf,
    driver: Driver,
    listener: TcpListener,
    clock: SystemClock,
    limits: Limits,
    mesh: Mesh<File>,
    stop: oneshot::Receiver<()>,
    news: mpsc::UnboundedSender<News>,
}

/// Runs a broker until it is told to stop.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    // A contradiction in what this process itself computed: nothing after it can be trusted.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    if args.listen.ip().is_unspecified() && args.advertise.is_none() {
        let say = "say with --advertise HOST:PORT what they are to connect to";
        return Err(Failure::usage(format!("clients cannot connect to {}: {say}", args.listen.ip())));
    }
    let cores = || thread::available_parallelism().map_or(1, usize::from).min(MAX_SHARDS);
    let shards = args.shards.unwrap_or_else(|| u16::try_from(cores()).expect("bounded above"));
    let dir = DataDir::open(&args.data)?;
    if let Err(error) = raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let listeners = bind(args.listen, shards, BACKLOG).map_err(|error| cannot_listen(args.listen, &error))?;
    let listen = listeners[0].local_addr().map_err(|error| Failure::failed(error.to_string()))?;
    let config = config(args, &dir, listen, shards)?;

    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
    let (news, mut heard) = mpsc::unbounded_channel();
    let mut stops = Vec::new();
    let clock = SystemClock::start();
    let limits = Limits::default();
    for ((listener, mesh), shard) in listeners.into_iter().zip(Mesh::of(shards)).zip(0..) {
        let (stop, stopped) = oneshot::channel();
        stops.push(stop);
        let config = Config { shard: ShardIndex(shard), ..config.clone() };
        let (data, driver, news) = (dir.path.clone(), args.disk.into(), news.clone());
        let limits = limits.clone();
        let seat = Seat { config, data, driver, listener, clock, limits, mesh, stop: stopped, news };
        let thread = thread::Builder::new().name(format!("shard-{shard}"));
        thread.spawn(move || sit(seat)).map_err(|error| Failure::failed(format!("no thread for a shard: {error}")))?;
    }
    let plural = if shards == 1 { "" } else { "s" };
    let banner = format!("klamm serves Kafka on {listen}, data in {}, {shards} shard{plural}", dir.path.display());
    runtime.block_on(watch(usize::from(shards), &mut heard, stops, &banner))
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => ": something else listens there; choose another port, or 0 for a free one",
        io::ErrorKind::AddrNotAvailable => ": no interface of this machine has that address",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need privileges",
        _ => "",
    };
    Failure::failed(format!("cannot listen on {address} ({error}){hint}"))
}

/// Waits for the shards to end: by a signal, which they all are told of, or because one has failed.
async fn watch(
    shards: usize,
    heard: &mut mpsc::UnboundedReceiver<News>,
    stops: Vec<oneshot::Sender<()>>,
    banner: &str,
) -> Result<(), Failure> {
    let signals = || Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?));
    let (mut term, mut int) =
        signals().map_err(|error: io::Error| Failure::failed(format!("signals cannot be received: {error}")))?;
    let (mut serving, mut ended) = (0, 0);
    let mut stops = Some(stops);
    let mut result = Ok(());
    while ended < shards {
        let stop = tokio::select! {
            _ = term.recv() => true,
            _ = int.recv() => true,
            news = heard.recv() => match news.expect("this end holds a sender") {
                News::Serving(driver) => {
                    serving += 1;
                    if serving == shards {
                        eprintln!("{banner}, disk driver {driver}");
                    }
                    continue;
                }
                News::Ended(done) => {
                    ended += 1;
                    if let Err(error) = done {
                        result = result.and(Err(Failure::data_dir(format!("a shard failed: {error}"))));
                    }
                    false
                }
            },
        };
        match stops.take() {
            Some(stops) => drop(stops), // The other ends hear it.
            // The second signal.
            None if stop => {
                return Err(Failure::failed("stopped before the logs were closed: the next start recovers them"));
            }
            None => {}
        }
    }
    result
}

/// Runs one shard on this thread.
fn sit(seat: Seat) {
    let news = seat.news.clone();
    let done = Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        // As a task among its tasks: what they wake it for, it then does before the runtime polls the sockets again.
        LocalSet::new().block_on(&runtime, async { spawn_local(host(seat)).await.map_err(io::Error::other)? })
    });
    // The main thread is gone only when the process is.
    let _ = news.send(News::Ended(done));
}

async fn host(seat: Seat) -> io::Result<()> {
    let Seat { config, data, driver, listener, clock, limits, mesh, stop, news } = seat;
    let disk = AnyDisk::choose(data, driver)?;
    let driver = disk.name();
    let node = Node {
        net: TcpNet::new(listener)?,
        disk,
        clock,
        options: Options::new(config.crc),
        config,
        limits,
        mesh,
        serving: Box::new(move || drop(news.send(News::Serving(driver)))),
        stop: Box::pin(async { drop(stop.await) }),
        observer: None,
    };
    run_host(node).await
}

impl From<DiskDriver> for Driver {
    fn from(driver: DiskDriver) -> Driver {
        match driver {
            DiskDriver::Auto => Driver::Auto,
            DiskDriver::Uring => Driver::Uring,
            DiskDriver::Blocking => Driver::Blocking,
        }
    }
}

/// What every shard is built with, but for its index.
fn config(args: &Args, dir: &DataDir, listen: SocketAddr, shards: u16) -> Result<Config, Failure> {
    let drawn = || random_id().map_err(|error| Failure::failed(format!("no randomness: {error}")));
    let seed = u128::from_be_bytes(drawn()?.0) as u64;
    Ok(Config {
        broker: dir.meta.node,
        cluster_id: dir.meta.cluster.clone(),
        directory: dir.meta.directory,
        incarnation: drawn()?,
        shard: ShardIndex(0),
        shards,
        advertised: args.advertise.clone().unwrap_or_else(|| (listen.ip().to_string(), listen.port())),
        crc: crate::crc32c,
        seed,
        configs: Configs::new(),
    })
}
