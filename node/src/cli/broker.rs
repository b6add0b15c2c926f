//! A broker from its settings: listeners, one thread a shard, signals. `dev` and `start` share it.

use super::Failure;
use super::data_dir::{DataDir, random_id};
use super::settings::{Http, Settings};
use crate::disk::logs::Options;
use crate::disk::{AnyDisk, Driver, File};
use crate::host::{Limits, Mesh, Node, run as run_host};
use crate::http::{self, About};
use crate::net::{SystemClock, TcpNet, bind, raise_open_files};
use klamm_core::effect::Config;
use klamm_core::ids::ShardIndex;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

/// So long after a start a shard gives back the memory that the start needed.
const SETTLED: Duration = Duration::from_millis(500);
/// Shards of a broker at most.
const MAX_SHARDS: usize = 1_024;

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
    give_back: fn(),
}

/// Runs a broker until it is told to stop.
pub(super) fn run(settings: &Settings, give_back: fn()) -> Result<(), Failure> {
    // A contradiction in what this process itself computed: nothing after it can be trusted.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    settings.check()?;
    settings.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let cores = || thread::available_parallelism().map_or(1, usize::from).min(MAX_SHARDS);
    let shards = settings.shards.unwrap_or_else(|| u16::try_from(cores()).expect("bounded above"));
    let dir = DataDir::open(&settings.data, settings.node, settings.cluster.as_deref())?;
    if let Err(error) = raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let address = settings.listen;
    let listeners = bind(address, shards, settings.backlog).map_err(|error| cannot_listen(address, &error))?;
    let listen = listeners[0].local_addr().map_err(|error| Failure::failed(error.to_string()))?;
    let config = config(settings, &dir, listen, shards)?;
    let http = listen_http(settings.http)?;
    let mut limits = Limits::new(settings.max_connections, settings.max_connections_per_ip);
    (limits.idle_ms, limits.max_frame) = (settings.idle_ms, settings.max_frame);

    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
    let (news, mut heard) = mpsc::unbounded_channel();
    let mut stops = Vec::new();
    let clock = SystemClock::start();
    let meshes = Mesh::of(shards);
    let inquiry = meshes[0].inquiry();
    for ((listener, mesh), shard) in listeners.into_iter().zip(meshes).zip(0..) {
        let (stop, stopped) = oneshot::channel();
        stops.push(stop);
        let config = Config { shard: ShardIndex(shard), ..config.clone() };
        let (data, driver, news) = (dir.path.clone(), settings.driver, news.clone());
        let limits = limits.clone();
        let seat = Seat { config, data, driver, listener, clock, limits, mesh, stop: stopped, news, give_back };
        let thread = thread::Builder::new().name(format!("shard-{shard}"));
        thread.spawn(move || sit(seat)).map_err(|error| Failure::failed(format!("no thread for a shard: {error}")))?;
    }
    let plural = if shards == 1 { "" } else { "s" };
    let banner = format!("klamm serves Kafka on {listen}, data in {}, {shards} shard{plural}", dir.path.display());
    let where_http = match http.as_ref().map(TcpListener::local_addr) {
        Some(Ok(at)) => format!(", metrics on http://{at}/metrics"),
        Some(Err(_)) | None => String::new(),
    };
    let about = About { version: env!("CARGO_PKG_VERSION"), ..About::default() };
    LocalSet::new().block_on(&runtime, async {
        if let Some(http) = http {
            spawn_local(http::serve(http, inquiry, about.clone()));
        }
        let say = |driver: &str| eprintln!("{banner}, disk driver {driver}{where_http}");
        watch(usize::from(shards), &mut heard, stops, &about, say).await
    })
}

fn listen_http(http: Http) -> Result<Option<TcpListener>, Failure> {
    let address = match http {
        Http::Off => return Ok(None),
        Http::Default => None,
        Http::At(address) => Some(address),
    };
    http::listen(address).map(Some).map_err(|error| cannot_listen(address.unwrap_or(http::DEFAULT), &error))
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
    about: &About,
    say: impl Fn(&str),
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
                        about.driver.get_or_init(|| driver);
                        about.ready.store(true, Ordering::Relaxed);
                        say(driver);
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
        about.ready.store(false, Ordering::Relaxed);
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
    let Seat { config, data, driver, listener, clock, limits, mesh, stop, news, give_back } = seat;
    let disk = AnyDisk::choose(data, driver)?;
    let salt = u128::from_be_bytes(random_id()?.0) as u64;
    let driver = disk.name();
    let node = Node {
        net: TcpNet::new(listener)?,
        disk,
        clock,
        options: Options { salt, ..Options::new(config.crc) },
        config,
        limits,
        mesh,
        serving: Box::new(move || {
            drop(news.send(News::Serving(driver)));
            // Recovery took more than what it leaves, and the start is not to wait for that.
            spawn_local(async move {
                sleep(SETTLED).await;
                give_back();
            });
        }),
        stop: Box::pin(async { drop(stop.await) }),
        observer: None,
    };
    run_host(node).await
}

/// What every shard is built with, but for its index.
fn config(settings: &Settings, dir: &DataDir, listen: SocketAddr, shards: u16) -> Result<Config, Failure> {
    let drawn = || random_id().map_err(|error| Failure::failed(format!("no randomness: {error}")));
    let seed = u128::from_be_bytes(drawn()?.0) as u64;
    Ok(Config {
        broker: dir.meta.node,
        cluster_id: dir.meta.cluster.clone(),
        directory: dir.meta.directory,
        incarnation: drawn()?,
        shard: ShardIndex(0),
        shards,
        advertised: settings.advertised.clone().unwrap_or_else(|| (listen.ip().to_string(), listen.port())),
        crc: crate::crc32c,
        open: crate::codec::open,
        seed,
        log_dir: std::path::absolute(&dir.path).unwrap_or_else(|_| dir.path.clone()).display().to_string(),
        configs: settings.configs.clone(),
    })
}
