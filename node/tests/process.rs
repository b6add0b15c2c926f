//! The real binary, killed with -9 again and again while clients write, some times before it serves: what it acknowledged,
//! and what it let anyone read, is there afterwards, once, in order and at the offset that it said. Offsets and producers
//! go on where they were: the last batch of each is known for a duplicate, and a batch too early is refused.
//!
//! With one shard, with three, and with another number and disk driver in each life. How many rounds by hand:
//! `KLAMM_KILLS=500 cargo test -p klamm --test process -- --ignored --nocapture`.
//!
//! A kill leaves the page cache alone, so this is about the process: torn groups, half-made logs, recovery, producer
//! state, retries. What a power loss may take is the simulator's.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use klamm::crc32c;
use klamm_core::ids::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use klamm_core::record::{Builder, batches, records};
use klamm_core::rng::Rng;
use klamm_core::wire::list_offsets::{EARLIEST, LATEST};
use klamm_core::wire::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, FetchPartition, FetchRequest, FetchTopic,
    InitProducerIdRequest, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, PartitionProduceData,
    ProduceRequest, Records, Request, Response, TopicProduceData, decode_response, encode_request, error,
};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const TOPIC: &str = "kept";
const PARTITIONS: i32 = 6;
const WRITERS: usize = 3;
/// As short as they may be, so that some roll.
const SEGMENT_BYTES: &str = "1048576";
/// Requests in flight on a connection: as many batches as a broker remembers of a producer.
const IN_FLIGHT: usize = 5;
/// Kills of a directory, so that reading all of it again after each stays quick.
const KILLS_OF_A_DIRECTORY: u32 = 25;

/// One life of the node.
#[derive(Clone, Copy, Debug)]
struct Life {
    shards: u16,
    disk: &'static str,
    /// How many acknowledgements it lives for.
    acknowledgements: u32,
    /// Milliseconds into the start before it that is killed, too, if one is.
    killed_early_ms: Option<u64>,
}

/// What lives there are with so many shards, or with others each time.
fn lives(kills: u32, shards: Option<u16>, rng: &mut Rng) -> Vec<Life> {
    let life = |rng: &mut Rng| Life {
        shards: shards.unwrap_or(1 + rng.below(4) as u16),
        disk: if rng.one_in(2) { "auto" } else { "blocking" },
        acknowledgements: 1 + [rng.below(60), rng.below(800)][usize::from(rng.one_in(4))] as u32,
        killed_early_ms: rng.one_in(4).then(|| rng.below(25)),
    };
    (0..kills).map(|_| life(rng)).collect()
}

/// A running node.
struct Node {
    child: Child,
    address: String,
}

impl Node {
    fn launch(data: &Path, shards: u16, disk: &str) -> Child {
        Command::new(env!("CARGO_BIN_EXE_klamm"))
            .args(["dev", "--listen", "127.0.0.1:0", "--shards", &shards.to_string(), "--disk", disk, "--data"])
            .arg(data)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn start(data: &Path, shards: u16, disk: &str) -> Node {
        let mut child = Node::launch(data, shards, disk);
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = String::new();
        let address = loop {
            let line = said.next().unwrap_or_else(|| panic!("the node ended without serving: {before}")).unwrap();
            if let Some((_, rest)) = line.split_once("serves Kafka on ") {
                break rest.split(',').next().unwrap().to_owned();
            }
            before += &line;
        };
        // Whatever it says later must not fill the pipe.
        thread::spawn(move || said.for_each(|line| eprintln!("node: {}", line.unwrap_or_default())));
        Node { child, address }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One connection.
struct Client {
    stream: TcpStream,
    /// What was asked and not answered: correlation id, request and version.
    asked: VecDeque<(i32, Request, i16)>,
    next: i32,
}

impl Client {
    fn connect(address: &str) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Client { stream, asked: VecDeque::new(), next: 0 })
    }

    fn send(&mut self, version: i16, request: Request) -> io::Result<()> {
        self.next += 1;
        self.stream.write_all(&encode_request(version, self.next, Some("process"), &request))?;
        self.asked.push_back((self.next, request, version));
        Ok(())
    }

    /// The answer to the oldest question.
    fn receive(&mut self) -> io::Result<Response> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut frame)?;
        let (correlation, request, version) = self.asked.pop_front().expect("an answer without a question");
        let (answered, response) = decode_response(request.key(), version, Bytes::from(frame)).unwrap();
        assert_eq!(answered, correlation, "answers come in the order of the requests");
        Ok(response)
    }

    fn ask(&mut self, version: i16, request: Request) -> io::Result<Response> {
        self.send(version, request)?;
        self.receive()
    }

    fn create_topic(&mut self) {
        let topic = CreatableTopic {
            name: TOPIC.into(),
            num_partitions: PARTITIONS,
            replication_factor: 1,
            configs: vec![CreatableTopicConfig { name: "segment.bytes".into(), value: Some(SEGMENT_BYTES.into()) }],
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        let Response::CreateTopics(answer) = self.ask(5, Request::CreateTopics(request)).unwrap() else { panic!() };
        assert_eq!(answer.topics[0].error_code, error::NONE);
    }

    fn producer_id(&mut self) -> ProducerId {
        let request = Request::InitProducerId(InitProducerIdRequest::default());
        let Response::InitProducerId(answer) = self.ask(4, request).unwrap() else { panic!() };
        assert_eq!((answer.error_code, answer.producer_epoch), (error::NONE, 0));
        ProducerId(answer.producer_id)
    }

    /// Values of a partition from an offset on, as many as one answer holds.
    fn read(&mut self, partition: i32, from: usize, max_wait_ms: i32) -> io::Result<Vec<String>> {
        let wanted = FetchPartition {
            partition,
            fetch_offset: i64::try_from(from).unwrap(),
            partition_max_bytes: 1 << 20,
            ..FetchPartition::default()
        };
        let topic = FetchTopic { topic: TOPIC.into(), partitions: vec![wanted], ..FetchTopic::default() };
        let request = FetchRequest {
            max_wait_ms,
            min_bytes: 1,
            max_bytes: 1 << 20,
            topics: vec![topic],
            ..FetchRequest::default()
        };
        let Response::Fetch(answer) = self.ask(11, Request::from(request))? else { panic!() };
        let part = &answer.responses[0].partitions[0];
        assert_eq!(part.error_code, error::NONE, "fetch of {partition} from {from}: {}", error::name(part.error_code));
        let Records::Bytes(bytes) = &part.records else { panic!("an answer has bytes") };
        let mut values = Vec::new();
        for batch in batches(bytes.clone()) {
            // The last batch may be cut.
            let Ok(batch) = batch else { break };
            for record in records(batch.bytes()) {
                let record = record.unwrap();
                let at = usize::try_from(record.offset.0).unwrap();
                if at >= from {
                    assert_eq!(at, from + values.len(), "offsets of partition {partition} have no gaps");
                    values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
                }
            }
        }
        Ok(values)
    }

    /// The offset of a partition that a special timestamp stands for.
    fn offset(&mut self, partition_index: i32, timestamp: i64) -> i64 {
        let partitions = vec![ListOffsetsPartition { partition_index, timestamp, ..ListOffsetsPartition::default() }];
        let topics = vec![ListOffsetsTopic { name: TOPIC.into(), partitions }];
        let request = ListOffsetsRequest { topics, ..ListOffsetsRequest::default() };
        let Response::ListOffsets(answer) = self.ask(5, request.into()).unwrap() else { panic!() };
        let part = &answer.topics[0].partitions[0];
        assert_eq!(part.error_code, error::NONE);
        part.offset
    }

    /// What the node says to one batch of a writer: error and base offset.
    fn send_again(&mut self, writer: &Writer, sent: Sent) -> (i16, i64) {
        let Response::Produce(answer) = self.ask(9, writer.request([sent])).unwrap() else { panic!() };
        let part = &answer.responses[0].partition_responses[0];
        (part.error_code, part.base_offset)
    }

    /// All values of a partition.
    fn read_all(&mut self, partition: i32) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let more = self.read(partition, all.len(), 0).unwrap();
            if more.is_empty() {
                return all;
            }
            all.extend(more);
        }
    }
}

/// A batch that was sent: the numbers of its first record and of the one after its last.
#[derive(Clone, Copy, Debug)]
struct Sent {
    partition: i32,
    first: i32,
    next: i32,
}

/// An idempotent producer, which outlives the node's lives.
struct Writer {
    name: usize,
    producer: ProducerId,
    /// The number of the next record, by partition; also its sequence number.
    next: BTreeMap<i32, i32>,
    /// Sent and not acknowledged, in order: to be sent again.
    unanswered: VecDeque<[Sent; 2]>,
    /// Acknowledged, each with its base offset.
    acknowledged: Vec<(Sent, i64)>,
}

/// The value of a record: no two are alike.
fn value(writer: usize, partition: i32, n: i32) -> String {
    let filler = "x".repeat(usize::try_from(n).unwrap() * 37 % 3_000);
    format!("{writer} {partition} {n} {filler}")
}

impl Writer {
    fn request(&self, sent: impl IntoIterator<Item = Sent>) -> Request {
        let part = |sent: Sent| {
            let mut builder = Builder::new().producer(self.producer, ProducerEpoch(0), Sequence(sent.first));
            for n in sent.first..sent.next {
                builder.push(Timestamp(1), None, Some(value(self.name, sent.partition, n).as_bytes()));
            }
            PartitionProduceData { index: sent.partition, records: Some(builder.build(crc32c)) }
        };
        let partition_data = sent.into_iter().map(part).collect();
        let topic = TopicProduceData { name: TOPIC.into(), partition_data, ..TopicProduceData::default() };
        let (acks, timeout_ms) = (-1, 30_000);
        Request::Produce(ProduceRequest { acks, timeout_ms, topic_data: vec![topic], ..ProduceRequest::default() })
    }

    /// The next request's batches: two partitions, which may be two shards'.
    fn draw(&mut self) -> [Sent; 2] {
        let turn = self.next.values().sum::<i32>();
        [turn % PARTITIONS, (turn + 1) % PARTITIONS].map(|partition| {
            let next = self.next.entry(partition).or_default();
            let first = *next;
            *next += 1 + first % 3;
            Sent { partition, first, next: *next }
        })
    }

    /// Writes until the node is gone. First again what was not acknowledged before.
    fn run(&mut self, address: &str, acknowledgements: &AtomicU32) -> io::Result<()> {
        let mut client = Client::connect(address)?;
        for sent in &self.unanswered {
            client.send(9, self.request(*sent))?;
        }
        loop {
            while client.asked.len() < IN_FLIGHT {
                let sent = self.draw();
                self.unanswered.push_back(sent);
                client.send(9, self.request(sent))?;
            }
            let Response::Produce(answer) = client.receive()? else { panic!() };
            let sent = self.unanswered.pop_front().expect("an answer without a request");
            for (sent, answer) in sent.into_iter().zip(&answer.responses[0].partition_responses) {
                assert_eq!(answer.index, sent.partition);
                let code = error::name(answer.error_code);
                assert_eq!(answer.error_code, error::NONE, "writer {} sent {sent:?}: {code}", self.name);
                self.acknowledged.push((sent, answer.base_offset));
            }
            acknowledgements.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads a partition as it grows, until the node is gone.
fn follow(address: &str, partition: i32, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut client = Client::connect(address)?;
    loop {
        let from = seen.lock().unwrap().len();
        let more = client.read(partition, from, 100)?;
        seen.lock().unwrap().extend(more);
    }
}

/// Holds what is in the logs against what was sent, acknowledged and read before.
fn check(found: &[Vec<String>], before: &[Vec<String>], writers: &[Writer]) {
    for (partition, (found, before)) in found.iter().zip(before).enumerate() {
        let same = found.iter().zip(before).take_while(|(f, b)| f == b).count();
        assert_eq!(same, before.len(), "partition {partition}: what was read at offset {same} is gone");
    }
    for writer in writers {
        for (sent, base) in &writer.acknowledged {
            for n in sent.first..sent.next {
                let at = usize::try_from(base + i64::from(n - sent.first)).unwrap();
                let there = found[usize::try_from(sent.partition).unwrap()].get(at);
                let said = || there.map_or("nothing", |v| v.split("x").next().unwrap_or(v));
                let wanted = value(writer.name, sent.partition, n);
                assert!(there == Some(&wanted), "acknowledged {sent:?} at {base}, but there is {}", said());
            }
        }
        for (partition, found) in (0i32..).zip(found) {
            let own = format!("{} ", writer.name);
            let mut n = 0;
            for there in found.iter().filter(|v| v.starts_with(&own)) {
                assert!(*there == value(writer.name, partition, n), "partition {partition}: record {n} is not next");
                n += 1;
            }
            let sent = writer.next.get(&partition).copied().unwrap_or_default();
            assert!(n <= sent, "partition {partition} has {n} records of writer {}, who sent {sent}", writer.name);
        }
    }
}

/// Holds what the node knows of producers against the logs: the last batch of each, sent again, is where it was, and one
/// that leaves a number out is refused. Offsets begin and end where the records do.
fn check_state(client: &mut Client, found: &[Vec<String>], writers: &[Writer]) {
    for (partition, found) in (0i32..).zip(found) {
        assert_eq!(client.offset(partition, EARLIEST), 0, "partition {partition}");
        assert_eq!(client.offset(partition, LATEST), i64::try_from(found.len()).unwrap(), "partition {partition}");
        for writer in writers {
            let own = format!("{} ", writer.name);
            let count = i32::try_from(found.iter().filter(|v| v.starts_with(&own)).count()).unwrap();
            let sent = writer.acknowledged.iter().map(|(sent, _)| sent).chain(writer.unanswered.iter().flatten());
            // As in Kafka, a log that knows nothing of a producer takes any number for its first.
            if count == 0 {
                continue;
            }
            let last = sent.copied().find(|sent| sent.partition == partition && sent.next == count);
            let last = last.unwrap_or_else(|| panic!("partition {partition}: a half batch of writer {}", writer.name));
            let value = value(writer.name, partition, last.first);
            let at = found.iter().position(|found| *found == value).unwrap();
            assert_eq!(client.send_again(writer, last), (error::NONE, i64::try_from(at).unwrap()), "{last:?}");
            let early = Sent { partition, first: count + 1, next: count + 2 };
            assert_eq!(client.send_again(writer, early).0, error::OUT_OF_ORDER_SEQUENCE_NUMBER, "{early:?}");
        }
    }
}

/// Everything that the node has.
fn read_everything(node: &Node) -> Vec<Vec<String>> {
    let mut client = Client::connect(&node.address).unwrap();
    (0..PARTITIONS).map(|partition| client.read_all(partition)).collect()
}

/// One life's work: writers write and a reader reads until it is killed.
fn live(node: Node, acknowledgements: u32, writers: &mut [Writer], before: &mut [Vec<String>], followed: i32) {
    let seen = Arc::new(Mutex::new(before[usize::try_from(followed).unwrap()].clone()));
    let count = AtomicU32::new(0);
    let address = node.address.clone();
    thread::scope(|scope| {
        for writer in writers.iter_mut() {
            scope.spawn(|| writer.run(&address, &count).expect_err("it writes until the node is gone"));
        }
        scope.spawn(|| follow(&address, followed, &seen).expect_err("it reads until the node is gone"));
        // A writer that failed lets nobody wait for ever: the node is killed, and its panic comes out of the scope.
        for _ in 0..3_000 {
            if count.load(Ordering::Relaxed) >= acknowledgements {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        node.kill();
    });
    let count = count.into_inner();
    assert!(count >= acknowledgements, "{count} acknowledgements in 30 s");
    before[usize::try_from(followed).unwrap()] = seen.lock().unwrap().clone();
}

/// A directory of its own, removed when the test has passed.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("process-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// What a run of kills came to.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    killed_early: usize,
    acknowledged: usize,
    sent_again: usize,
    records: usize,
}

/// One directory through these lives; each begins with a look at everything.
fn live_through(data: &Path, lives: &[Life], tally: &mut Tally) {
    let mut writers: Vec<Writer> = Vec::new();
    let mut before = vec![Vec::new(); usize::try_from(PARTITIONS).unwrap()];
    let last = Life { shards: 1, disk: "auto", acknowledgements: 0, killed_early_ms: None };
    for (round, life) in (0i32..).zip(lives.iter().chain([&last])) {
        if let Some(ms) = life.killed_early_ms {
            let mut child = Node::launch(data, life.shards, life.disk);
            thread::sleep(Duration::from_millis(ms));
            child.kill().unwrap();
            child.wait().unwrap();
            tally.killed_early += 1;
        }
        let node = Node::start(data, life.shards, life.disk);
        let mut client = Client::connect(&node.address).unwrap();
        if round == 0 {
            client.create_topic();
            writers.extend((0..WRITERS).map(|name| Writer {
                name,
                producer: client.producer_id(),
                next: BTreeMap::new(),
                unanswered: VecDeque::new(),
                acknowledged: Vec::new(),
            }));
        }
        let found = read_everything(&node);
        check(&found, &before, &writers);
        check_state(&mut client, &found, &writers);
        before = found;
        if life.acknowledgements > 0 {
            tally.sent_again += writers.iter().map(|w| w.unanswered.len()).sum::<usize>();
            live(node, life.acknowledgements, &mut writers, &mut before, round % PARTITIONS);
            tally.kills += 1;
        }
    }
    tally.acknowledged += writers.iter().map(|w| w.acknowledged.len()).sum::<usize>();
    tally.records += before.iter().map(Vec::len).sum::<usize>();
}

/// So many kills, in one directory after the other.
fn survives(name: &str, kills: u32, shards: Option<u16>, seed: u64) {
    let directory = directory(name);
    let mut rng = Rng::new(seed);
    let mut tally = Tally::default();
    let mut left = kills;
    while left > 0 {
        let data = directory.join(format!("{left}-left"));
        let here = left.min(KILLS_OF_A_DIRECTORY);
        live_through(&data, &lives(here, shards, &mut rng), &mut tally);
        std::fs::remove_dir_all(data).unwrap();
        left -= here;
    }
    println!("{name}, seed {seed}: {tally:?}");
    assert!(tally.sent_again > 0, "no kill came between a request and its answer");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_was_acknowledged_survives_kills_with_one_shard() {
    survives("one-shard", 12, Some(1), 1);
}

#[test]
fn what_was_acknowledged_survives_kills_with_three_shards() {
    survives("three-shards", 12, Some(3), 3);
}

#[test]
fn what_was_acknowledged_survives_kills_and_other_numbers_of_shards() {
    survives("any-shards", 12, None, 5);
}

/// `KLAMM_KILLS` kills with one shard, with three and with any number in each life, from a seed that is the time.
#[test]
#[ignore = "by hand: many minutes"]
fn what_was_acknowledged_survives_hundreds_of_kills() {
    let kills = std::env::var("KLAMM_KILLS").map_or(500, |n| n.parse().unwrap());
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for (name, shards) in [("many-one-shard", Some(1)), ("many-three-shards", Some(3)), ("many-any-shards", None)] {
        survives(name, kills, shards, seed);
    }
}

#[test]
fn a_data_directory_has_one_owner() {
    let directory = directory("owner");
    let node = Node::start(&directory, 1, "auto");
    let second = Command::new(env!("CARGO_BIN_EXE_klamm"))
        .args(["dev", "--listen", "127.0.0.1:0", "--data"])
        .arg(&directory)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(75), "{}", String::from_utf8_lossy(&second.stderr));
    // A kill gives it free.
    node.kill();
    drop(Node::start(&directory, 1, "auto"));
    std::fs::remove_dir_all(directory).unwrap();
}
