//! The real binary under test: started in a directory of its own, on ports of its own; and a plain client.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each suite uses a part of it; a test")]

use bytes::Bytes;
use klamm::crc32c;
use klamm_core::ids::Timestamp;
use klamm_core::record::Builder;
use klamm_core::wire::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, FetchPartition, FetchRequest, FetchTopic,
    PartitionProduceData, ProduceRequest, Records, Request, Response, TopicProduceData, decode_response,
    encode_request, error,
};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A directory of its own, empty, removed at the end of a test that passed.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !thread::panicking() {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}

/// `klamm` with these arguments, to its end.
pub fn klamm(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_klamm")).args(args).stdin(Stdio::null()).output().unwrap()
}

/// That it failed with this code, and one sentence that has these words.
pub fn fails(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    let sentences = said.lines().filter(|line| line.starts_with("klamm: ")).count();
    assert!(code == 2 || sentences == 1, "one sentence says it: {said}");
}

/// A running broker.
pub struct Broker {
    child: Child,
    pub address: String,
    /// What it said after the banner, line by line.
    said: mpsc::Receiver<String>,
    /// What it said up to the banner.
    pub banner: Vec<String>,
}

impl Broker {
    /// `klamm dev` on a free port with these further arguments.
    pub fn dev(data: &Path, args: &[&str]) -> Broker {
        let mut all = vec!["dev", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
        all.extend(args);
        Broker::start(Command::new(env!("CARGO_BIN_EXE_klamm")).args(all))
    }

    pub fn start(command: &mut Command) -> Broker {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut banner = Vec::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended without serving: {banner:#?}")).unwrap();
            banner.push(line);
            if let Some((_, rest)) = banner.last().unwrap().split_once("serves Kafka on ") {
                break rest.split(',').next().unwrap().to_owned();
            }
        };
        let (say, said) = mpsc::channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| say.send(line)));
        Broker { child, address, said, banner }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Its exit, which is to come within so many seconds.
    pub fn exit(&mut self, seconds: u64) -> ExitStatus {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it still runs after {seconds} s");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it in order.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.exit(20).code(), Some(0));
    }

    /// Waits for a line with these words.
    pub fn says(&self, words: &str) -> String {
        let mut before = Vec::new();
        loop {
            let line = self.said.recv_timeout(Duration::from_secs(20));
            let line = line.unwrap_or_else(|_| panic!("it did not say {words:?}, but {before:#?}"));
            if line.contains(words) {
                return line;
            }
            before.push(line);
        }
    }

    /// A line of `/proc/PID/status`, in KiB.
    pub fn memory_kib(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = status.lines().find_map(|l| l.strip_prefix(line)).unwrap();
        value.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One connection, one question at a time unless asked otherwise.
pub struct Client {
    pub stream: TcpStream,
    next: i32,
}

impl Client {
    pub fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Client { stream, next: 0 }
    }

    pub fn send(&mut self, version: i16, request: &Request) {
        self.next += 1;
        self.stream.write_all(&encode_request(version, self.next, Some("test"), request)).unwrap();
    }

    /// The next frame; an error when the connection ends first.
    pub fn frame(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }

    pub fn receive(&mut self, version: i16, request: &Request) -> io::Result<Response> {
        Ok(decode_response(request.key(), version, self.frame()?).unwrap().1)
    }

    pub fn ask(&mut self, version: i16, request: impl Into<Request>) -> Response {
        let request = request.into();
        self.send(version, &request);
        self.receive(version, &request).unwrap()
    }

    /// Whether the other side has ended the connection, without another byte.
    pub fn is_ended(&mut self) -> bool {
        match self.stream.read(&mut [0; 64]) {
            Ok(n) => n == 0,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
                true
            }
        }
    }

    pub fn create_topic(&mut self, name: &str, num_partitions: i32) {
        self.create_topic_with(name, num_partitions, &[]);
    }

    /// With configs: keys and values.
    pub fn create_topic_with(&mut self, name: &str, num_partitions: i32, configs: &[(&str, &str)]) {
        let config =
            |(key, value): &(&str, &str)| CreatableTopicConfig { name: (*key).into(), value: Some((*value).into()) };
        let configs = configs.iter().map(config).collect();
        let topic =
            CreatableTopic { name: name.into(), num_partitions, replication_factor: 1, configs, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        let Response::CreateTopics(answer) = self.ask(5, request) else { panic!() };
        assert_eq!(answer.topics[0].error_code, error::NONE);
    }

    pub fn produce(&mut self, topic: &str, partition: i32, values: &[&str]) -> i64 {
        let Response::Produce(answer) = self.ask(9, produce(topic, partition, values)) else { panic!() };
        let part = &answer.responses[0].partition_responses[0];
        assert_eq!(part.error_code, error::NONE);
        part.base_offset
    }
}

pub fn produce(topic: &str, index: i32, values: &[&str]) -> Request {
    let mut builder = Builder::new();
    values.iter().for_each(|value| builder.push(Timestamp(1_000), None, Some(value.as_bytes())));
    let data = PartitionProduceData { index, records: Some(builder.build(crc32c)) };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..TopicProduceData::default() };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() }.into()
}

pub fn fetch(topic: &str, partition: i32, fetch_offset: i64, max_wait_ms: i32) -> Request {
    let part = FetchPartition { partition, fetch_offset, partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let topic = FetchTopic { topic: topic.into(), partitions: vec![part], ..FetchTopic::default() };
    let topics = vec![topic];
    FetchRequest { max_wait_ms, min_bytes: 1, max_bytes: 1 << 20, topics, ..FetchRequest::default() }.into()
}

/// The bytes of the one partition that a fetch answered.
pub fn fetched(response: &Response) -> Bytes {
    let Response::Fetch(answer) = response else { panic!("{response:?}") };
    let part = &answer.responses[0].partitions[0];
    assert_eq!(part.error_code, error::NONE);
    let Records::Bytes(bytes) = &part.records else { panic!() };
    bytes.clone()
}

/// The address in the banner.
pub fn http(broker: &Broker) -> String {
    let banner = broker.banner.last().unwrap();
    let (_, rest) = banner.split_once("metrics on http://").unwrap_or_else(|| panic!("{banner}"));
    rest.split('/').next().unwrap().to_owned()
}

/// Status and body.
pub fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// By name and labels, as they stand.
pub fn metrics(address: &str) -> BTreeMap<String, f64> {
    let (status, body) = get(address, "/metrics");
    assert_eq!(status, 200, "{body}");
    assert!(body.ends_with("# EOF\n"), "whole");
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}
