//! A broker in this process, over real sockets and a real disk: its shards' threads are counted by the allocator, its
//! clock may run ahead and its disk may fail. Beside it a polite client.

use crate::common::{Client, Scratch, fetch, fetched, produce};
use klamm::crc32c;
use klamm::disk::logs::Options;
use klamm::disk::{AnyDisk, Driver, File};
use klamm::host::{Clock, Completion, Disk, Limits, Mesh, Node, Op, run};
use klamm::net::{SystemClock, TcpNet, bind};
use klamm_core::effect::Config;
use klamm_core::ids::{BrokerId, Instant, Now, ShardIndex, Uuid};
use klamm_core::metadata::configs::Configs;
use klamm_core::record::{batches, records};
use klamm_core::wire::{ApiVersionsRequest, EXPANSION, Request, Response, encode_request};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};

/// What the broker may hold for each byte received that it closes a connection for: the frame, and its decoded elements.
const REFUSED: usize = 1 + EXPANSION;
/// The same for a byte that it answers: the answer's elements as well, as values and as bytes.
const ANSWERED: usize = 1 + 3 * EXPANSION;
/// What it may hold for whatever it is that was sent: blocks of its connections, the polite client's records.
const SLACK: usize = 768 << 10;
/// What it may hold for each connection.
const CONNECTION: usize = 8 << 10;
/// No round of the polite client may take longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Rounds that the polite client must have made after the bad input was sent.
const ROUNDS: usize = 3;
const TOPIC: &str = "polite";

thread_local! {
    /// Whether this thread is the broker's.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);
/// One broker at a time is counted.
static ALONE: Mutex<()> = Mutex::new(());

/// Counts what the broker's threads allocate and free.
pub struct Counting;

fn count(bytes: i64) {
    if COUNTED.try_with(Cell::get) == Ok(true) {
        let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if bytes > 0 {
            PEAK.fetch_max(live, Ordering::Relaxed);
        }
    }
}

// SAFETY: every call goes to the system's allocator unchanged; the counters allocate nothing.
#[allow(unsafe_code, reason = "an allocator is")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Runs ahead of the machine's clock by a factor.
#[derive(Clone)]
struct Ahead {
    clock: SystemClock,
    factor: u64,
}

impl Clock for Ahead {
    fn now(&self) -> Now {
        let now = self.clock.now();
        Now { monotonic: Instant(now.monotonic.0 * self.factor), ..now }
    }

    async fn sleep_until(&self, at: Instant) {
        self.clock.sleep_until(Instant(at.0.div_ceil(self.factor))).await;
    }
}

/// A disk that fails when told to.
#[derive(Clone)]
struct Failing {
    disk: AnyDisk,
    fails: Arc<Fails>,
}

/// Which operations fail from now on.
#[derive(Default)]
pub struct Fails {
    syncs: AtomicBool,
    /// The files of which one has failed, in order.
    pub failed: Mutex<Vec<String>>,
}

impl Fails {
    /// From now on syncs of the topic "failing" fail.
    pub fn syncs(&self) {
        self.syncs.store(true, Ordering::SeqCst);
    }
}

impl Disk for Failing {
    type File = File;

    fn submit(&self, op: Op<File>) -> Completion<File> {
        let sync = match &op {
            Op::Write { file, sync: true, .. } | Op::Sync { file } => Some(file),
            Op::Write { .. }
            | Op::Open { .. }
            | Op::Read { .. }
            | Op::Length { .. }
            | Op::SetLength { .. }
            | Op::Rename { .. }
            | Op::Remove { .. }
            | Op::MakeDir { .. }
            | Op::RemoveDir { .. }
            | Op::List { .. }
            | Op::SyncDir { .. }
            | Op::Room => None,
        };
        if let Some(file) = sync
            && self.fails.syncs.load(Ordering::SeqCst)
            && path(file).contains("/failing-")
        {
            self.fails.failed.lock().unwrap().push(path(file));
            return Completion::ready(Err(io::Error::other("the device is gone")));
        }
        self.disk.submit(op)
    }

    fn descriptor(file: &File) -> Option<BorrowedFd<'_>> {
        AnyDisk::descriptor(file)
    }

    fn is_cached(file: &File, at: u64, len: usize) -> bool {
        AnyDisk::is_cached(file, at, len)
    }
}

fn path(file: &File) -> String {
    let descriptor = AnyDisk::descriptor(file).unwrap().as_raw_fd();
    let path = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// How the broker is.
pub struct Setup {
    /// How many times faster than the machine's its clock runs.
    pub speed: u64,
    pub shards: u16,
    pub configs: &'static [(&'static str, &'static str)],
}

/// A broker of two shards. The records of tests are of 1970.
pub const SETUP: Setup = Setup { speed: 1, shards: 2, configs: &[("log.retention.ms", "-1")] };

/// A broker, a polite client, and what was sent by the others.
pub struct Rig {
    pub address: String,
    pub fails: Arc<Fails>,
    /// Bytes of bad input.
    sent: usize,
    /// Whether some of it was answered.
    answered: bool,
    /// Connections that were made to send it.
    connections: Cell<usize>,
    /// What was live when the bad input began.
    before: i64,
    stops: Vec<oneshot::Sender<()>>,
    shards: Vec<JoinHandle<io::Result<()>>>,
    polite: Option<Polite>,
    _scratch: Scratch,
    _alone: MutexGuard<'static, ()>,
}

/// Runs an entry and judges what it did to the broker and the polite client.
pub fn entry(name: &str, act: impl FnOnce(&mut Rig)) {
    with(name, &SETUP, act);
}

/// The same with a broker of its own kind.
pub fn with(name: &str, setup: &Setup, act: impl FnOnce(&mut Rig)) {
    let mut rig = Rig::start(name, setup);
    act(&mut rig);
    rig.judge();
}

impl Rig {
    fn start(name: &str, setup: &Setup) -> Rig {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        LIVE.store(0, Ordering::SeqCst);
        let scratch = Scratch::new(&format!("bad-{name}"));
        let listeners = bind("127.0.0.1:0".parse().unwrap(), setup.shards, 1_024).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let own = setup.configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let config = Config {
            broker: BrokerId(1),
            cluster_id: "bad-input".to_owned(),
            directory: Uuid::from_halves(1, 2),
            incarnation: Uuid::from_halves(3, 4),
            shard: ShardIndex(0),
            shards: setup.shards,
            advertised: (address.ip().to_string(), address.port()),
            crc: crc32c,
            open: klamm::codec::open,
            seed: 1,
            log_dir: scratch.0.display().to_string(),
            configs: own.collect::<Configs>(),
        };
        let clock = Ahead { clock: SystemClock::start(), factor: setup.speed };
        let (limits, fails) = (Limits::default(), Arc::new(Fails::default()));
        let (serving, served) = mpsc::channel();
        let (mut stops, mut shards) = (Vec::new(), Vec::new());
        for ((listener, mesh), shard) in listeners.into_iter().zip(Mesh::of(setup.shards)).zip(0..) {
            let config = Config { shard: ShardIndex(shard), ..config.clone() };
            let (stop, stopped) = oneshot::channel();
            stops.push(stop);
            let (data, clock, limits, serving) = (scratch.0.clone(), clock.clone(), limits.clone(), serving.clone());
            let fails = Arc::clone(&fails);
            let host = async move || {
                let disk = Failing { disk: AnyDisk::choose(data, Driver::Auto)?, fails };
                let (net, options) = (TcpNet::new(listener)?, Options::new(crc32c));
                let serving = Box::new(move || serving.send(()).unwrap());
                let stop = Box::pin(async { drop(stopped.await) });
                run(Node { net, disk, clock, config, options, limits, mesh, serving, stop, observer: None }).await
            };
            shards.push(thread::spawn(move || {
                COUNTED.set(true);
                let runtime = Builder::new_current_thread().enable_all().build()?;
                LocalSet::new().block_on(&runtime, async { spawn_local(host()).await.map_err(io::Error::other)? })
            }));
        }
        (0..setup.shards).for_each(|_| served.recv_timeout(Duration::from_secs(20)).unwrap());
        let address = address.to_string();
        let polite = Some(Polite::start(&address));
        let before = LIVE.load(Ordering::SeqCst);
        PEAK.store(before, Ordering::SeqCst);
        Rig {
            address,
            fails,
            sent: 0,
            answered: false,
            connections: Cell::new(0),
            before,
            stops,
            shards,
            polite,
            _scratch: scratch,
            _alone: alone,
        }
    }

    /// A connection of a client that is not polite.
    pub fn connect(&self) -> Client {
        self.connections.set(self.connections.get() + 1);
        Client::connect(&self.address)
    }

    /// Sends bytes over a connection, and counts them.
    pub fn send(&mut self, client: &mut Client, bytes: &[u8]) {
        self.sent += bytes.len();
        // A broker that does not like the first of them may have closed the connection already.
        drop(client.stream.write_all(bytes));
    }

    /// Counts bytes that a request will take.
    pub fn counts(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// These bytes close their connection, and nothing is answered.
    pub fn closes(&mut self, name: &str, bytes: &[u8]) {
        let mut client = self.connect();
        self.send(&mut client, bytes);
        assert!(client.is_ended(), "{name}: it answered");
    }

    /// The answer to a request over a connection of its own, which goes on.
    pub fn ask(&mut self, version: i16, request: impl Into<Request>) -> Response {
        let request = request.into();
        let mut client = self.connect();
        self.sent += encode_request(version, 1, Some("test"), &request).len();
        self.answered = true;
        let answer = client.ask(version, request);
        client.ask(3, ApiVersionsRequest::default());
        answer
    }

    /// How many bytes the broker holds more than before, now.
    pub fn held(&self) -> usize {
        usize::try_from(LIVE.load(Ordering::SeqCst) - self.before).unwrap_or(0)
    }

    /// Rounds of the polite client so far.
    pub fn polite_rounds(&self) -> usize {
        self.polite.as_ref().unwrap().rounds.load(Ordering::SeqCst)
    }

    fn judge(mut self) {
        self.polite.take().unwrap().stop();
        let took = usize::try_from(PEAK.load(Ordering::SeqCst) - self.before).unwrap();
        let each = if self.answered { ANSWERED } else { REFUSED };
        let allowed = each * self.sent + CONNECTION * self.connections.get() + SLACK;
        assert!(took <= allowed, "the broker held {took} bytes for {} received", self.sent);
        self.stops.clear();
        for shard in self.shards.drain(..) {
            shard.join().expect("a shard has panicked").unwrap();
        }
    }
}

/// A client that produces and fetches what it produced, again and again.
struct Polite {
    rounds: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Polite {
    fn start(address: &str) -> Polite {
        let mut client = Client::connect(address);
        client.create_topic(TOPIC, 2);
        let mut other = Client::connect(address);
        round(&mut client, &mut other, 0);
        let (rounds, stop) = (Arc::new(AtomicUsize::new(1)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (rounds, stop) = (Arc::clone(&rounds), Arc::clone(&stop));
            thread::spawn(move || {
                let mut slowest = Duration::ZERO;
                while !stop.load(Ordering::SeqCst) {
                    let begun = std::time::Instant::now();
                    round(&mut client, &mut other, rounds.load(Ordering::SeqCst));
                    slowest = slowest.max(begun.elapsed());
                    rounds.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(2));
                }
                let rounds = rounds.load(Ordering::SeqCst);
                (0..2).for_each(|partition| assert_eq!(all(&mut client, partition), expected(partition, rounds)));
                slowest
            })
        };
        Polite { rounds, stop, thread }
    }

    /// Lets it make its last rounds and judges all of them.
    fn stop(self) {
        let until = self.rounds.load(Ordering::SeqCst) + ROUNDS;
        while self.rounds.load(Ordering::SeqCst) < until && !self.thread.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        self.stop.store(true, Ordering::SeqCst);
        let slowest = self.thread.join().expect("the polite client was disturbed");
        assert!(slowest < PATIENCE, "a round of the polite client took {slowest:?}");
    }
}

fn value(round: usize) -> String {
    format!("round {round}")
}

/// Produces over one connection and fetches over another.
fn round(client: &mut Client, other: &mut Client, round: usize) {
    let (partition, at) = ((round % 2) as i32, (round / 2) as i64);
    assert_eq!(client.produce(TOPIC, partition, &[&value(round)]), at);
    let bytes = fetched(&other.ask(11, fetch(TOPIC, partition, at, 1_000)));
    let batch = batches(bytes).next().unwrap().unwrap();
    let record = records(batch.bytes()).next().unwrap().unwrap();
    assert_eq!((record.offset.0, record.value), (at, Some(value(round).as_bytes())));
}

fn expected(partition: i32, rounds: usize) -> Vec<String> {
    (0..rounds).filter(|round| round % 2 == partition as usize).map(value).collect()
}

/// Every value of a partition.
fn all(client: &mut Client, partition: i32) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let bytes = fetched(&client.ask(11, fetch(TOPIC, partition, all.len() as i64, 0)));
        if bytes.is_empty() {
            return all;
        }
        for batch in batches(bytes) {
            for record in records(batch.unwrap().bytes()) {
                all.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
        }
    }
}

/// A frame of these bytes.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length, body].concat()
}

/// A request header 1: key, version, correlation id 7, a null client id.
pub fn header(key: i16, version: i16) -> Vec<u8> {
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 7], &[0xff, 0xff]].concat()
}

/// The same as header 2, without tags.
pub fn flexible_header(key: i16, version: i16) -> Vec<u8> {
    [header(key, version), vec![0]].concat()
}

/// Reads a connection to its end, or until it stands still; gives how many bytes came.
pub fn drain(stream: &mut TcpStream) -> usize {
    let (mut buffer, mut all) = (vec![0; 64 << 10], 0);
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        all += n;
    }
    all
}

/// A produce of these bytes as the records of partition 0 of a topic.
pub fn produce_bytes(topic: &str, bytes: impl Into<Option<bytes::Bytes>>) -> Request {
    let mut request = produce(topic, 0, &["x"]);
    let Request::Produce(inner) = &mut request else { panic!() };
    inner.topic_data[0].partition_data[0].records = bytes.into();
    request
}
