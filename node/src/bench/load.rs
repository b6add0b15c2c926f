//! The load: raw sockets, a fixed number of requests in flight on each, Kafka's frames prepared once.
//!
//! The same client serves broker and floor, and sends the same frame again and again. Of a produce load only the first
//! and the last answer are taken apart (a log that failed stays offline, so the last one tells); the others are counted
//! by their length. A fetch's must hold all whole batches that it asked for, which no error does.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use klamm_core::ids::Timestamp;
use klamm_core::record::Builder;
use klamm_core::wire::{
    ApiKey, ApiVersionsRequest, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, FetchPartition,
    FetchRequest, FetchTopic, PartitionProduceData, ProduceRequest, Request, Response, TopicProduceData,
    decode_response, encode_request, error,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The topic of every load.
const TOPIC: &str = "bench";
const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;
const CREATE_VERSION: i16 = 5;
/// Bytes that a fetch load writes first and then reads again and again: well within memory.
const WARM_BYTES: usize = 256 << 20;

/// A shape of load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    connections: usize,
    in_flight: usize,
    /// Partitions that it writes to in turn.
    partitions: usize,
    /// Records a batch, and bytes of each record's value.
    records: usize,
    value_bytes: usize,
    durable: bool,
    fetch_bytes: Option<u32>,
}

impl Load {
    const LONE: Load = Load {
        connections: 1,
        in_flight: 1,
        partitions: 1,
        records: 64,
        value_bytes: 1000,
        durable: false,
        fetch_bytes: None,
    };
    pub(super) const PRODUCE_64K: Load = Load { in_flight: 5, ..Load::LONE };
    pub(super) const DURABLE_1K: Load =
        Load { connections: 16, in_flight: 16, records: 1, value_bytes: 950, durable: true, ..Load::LONE };
    pub(super) const DURABLE_1K_100: Load = Load { partitions: 100, ..Load::DURABLE_1K };
    pub(super) const DURABLE_LONE: Load = Load { connections: 1, in_flight: 1, ..Load::DURABLE_1K };
    pub(super) const FETCH_64K: Load = Load { fetch_bytes: Some(64 << 10), ..Load::LONE };
    pub(super) const FETCH_1M: Load = Load { fetch_bytes: Some(1 << 20), ..Load::LONE };

    pub(super) fn is_fetch(&self) -> bool {
        self.fetch_bytes.is_some()
    }

    fn batch(&self) -> Bytes {
        let mut builder = Builder::new();
        let value: Vec<u8> = (0..self.value_bytes).map(|i| (i * 31 % 251) as u8).collect();
        (0..self.records).for_each(|_| builder.push(Timestamp(1_700_000_000_000), None, Some(&value)));
        builder.build(crate::crc32c)
    }
}

/// A load ready to run against one server.
pub(super) struct Prepared {
    load: Load,
    address: SocketAddr,
    /// A request to each partition in turn: all of a length.
    frames: Vec<Bytes>,
    batch_bytes: usize,
    /// Batches in the log that a fetch load reads.
    batches: i64,
}

/// What a round did.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) operations: u64,
    /// Batch bytes moved.
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// Makes the topic (of a broker), and for a fetch load its data.
pub(super) async fn prepare(load: &Load, address: SocketAddr, broker: bool) -> io::Result<Prepared> {
    if broker {
        create_topic(load, address).await?;
    }
    let batch = load.batch();
    let batches = (WARM_BYTES / batch.len()) as i64;
    let frames: Vec<Bytes> = (0..load.partitions).map(|partition| produce_frame(partition as i32, &batch)).collect();
    if broker {
        let mut stream = connect(address).await?;
        let times = if load.is_fetch() { batches } else { 1 };
        for frame in frames.iter().cycle().take(times as usize * load.partitions) {
            settled(&mut stream, frame).await?;
        }
    }
    Ok(Prepared { load: *load, address, frames, batch_bytes: batch.len(), batches })
}

/// Produces once; again for a while if it is refused: Kafka answers that it has made a topic before it serves it.
async fn settled(stream: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match check_produced(&exchange(stream, frame).await?) {
            Err(_) if begun.elapsed() < Duration::from_secs(5) => tokio::time::sleep(Duration::from_millis(20)).await,
            done => return done,
        }
    }
}

/// Makes the topic of every load, with a partition, and produces to it once.
pub(super) async fn first_produce(address: SocketAddr) -> io::Result<()> {
    drop(prepare(&Load::DURABLE_LONE, address, true).await?);
    Ok(())
}

/// Produces to the topic that is there, once.
pub(super) async fn one_produce(address: SocketAddr) -> io::Result<()> {
    let mut stream = connect(address).await?;
    check_produced(&exchange(&mut stream, &produce_frame(0, &Load::DURABLE_LONE.batch())).await?)
}

/// Connects, and asks something, as a client does before it rests.
pub(super) async fn idle_connection(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = connect(address).await?;
    let request = Request::ApiVersions(ApiVersionsRequest::default());
    drop(exchange(&mut stream, &encode_request(0, 0, Some("bench"), &request)).await?);
    Ok(stream)
}

async fn create_topic(load: &Load, address: SocketAddr) -> io::Result<()> {
    create(TOPIC, load.partitions, load.durable, address).await
}

/// Makes a topic.
pub(super) async fn create(name: &str, partitions: usize, durable: bool, address: SocketAddr) -> io::Result<()> {
    let flush = if durable { "1".to_owned() } else { i64::MAX.to_string() };
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions as i32,
        replication_factor: 1,
        configs: vec![CreatableTopicConfig { name: "flush.messages".into(), value: Some(flush) }],
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 60_000, ..CreateTopicsRequest::default() };
    let request = Request::CreateTopics(request);
    let mut stream = connect(address).await?;
    let answer = exchange(&mut stream, &encode_request(CREATE_VERSION, 0, Some("bench"), &request)).await?;
    match decode_response(ApiKey::CreateTopics, CREATE_VERSION, answer) {
        Ok((_, Response::CreateTopics(r))) if r.topics.iter().all(|t| t.error_code == error::NONE) => Ok(()),
        other => Err(io::Error::other(format!("creating the topic gave {other:?}"))),
    }
}

fn produce_frame(partition: i32, batch: &Bytes) -> Bytes {
    let data = PartitionProduceData { index: partition, records: Some(batch.clone()) };
    let topic = TopicProduceData { name: TOPIC.into(), partition_data: vec![data], ..TopicProduceData::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() };
    encode_request(PRODUCE_VERSION, 0, Some("bench"), &Request::Produce(request))
}

fn fetch_frame(offset: i64, max_bytes: u32) -> Bytes {
    let max = i32::try_from(max_bytes).expect("a fetch of less than 2 GiB");
    let partition =
        FetchPartition { partition: 0, fetch_offset: offset, partition_max_bytes: max, ..FetchPartition::default() };
    let topic = FetchTopic { topic: TOPIC.into(), partitions: vec![partition], ..FetchTopic::default() };
    let request =
        FetchRequest { max_wait_ms: 500, min_bytes: 1, max_bytes: max, topics: vec![topic], ..FetchRequest::default() };
    encode_request(FETCH_VERSION, 0, Some("bench"), &Request::from(request))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One request, one answer (without its length).
async fn exchange(stream: &mut TcpStream, frame: &[u8]) -> io::Result<Bytes> {
    stream.write_all(frame).await?;
    let mut answer = Vec::new();
    read_frame(stream, &mut answer).await?;
    Ok(answer.into())
}

async fn read_frame(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    let len = stream.read_u32().await? as usize;
    buffer.resize(len, 0);
    stream.read_exact(buffer).await?;
    Ok(())
}

/// Runs a load for a while.
pub(super) async fn run(prepared: &Prepared, round: Duration) -> io::Result<Done> {
    let start = Instant::now();
    let until = start + round;
    let connections = (0..prepared.load.connections).map(|_| async move {
        let stream = connect(prepared.address).await?;
        match prepared.load.fetch_bytes {
            Some(max_bytes) => fetch(prepared, stream, max_bytes, until).await,
            None => produce(prepared, stream, until).await,
        }
    });
    let mut operations = 0;
    let mut bytes = 0;
    let mut latencies = Vec::new();
    for done in join_all(connections).await {
        let (ops, moved, mut took) = done?;
        operations += ops;
        bytes += moved;
        latencies.append(&mut took);
    }
    latencies.sort_unstable();
    let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).map_or(0.0, |ns| *ns as f64 / 1e9);
    Ok(Done { operations, bytes, seconds: start.elapsed().as_secs_f64(), p50: at(0.5), p99: at(0.99) })
}

/// Runs all of them on this thread.
async fn join_all<T: 'static>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.map(Box::pin).map(|f| (f, None)).collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (future, result) in running.iter_mut().filter(|(_, result)| result.is_none()) {
            match future.as_mut().poll(cx) {
                std::task::Poll::Ready(value) => *result = Some(value),
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, result)| result).collect()
}

type Moved = (u64, u64, Vec<u64>);

/// Keeps the window full: as many requests leave in one write as answers came in one read.
async fn produce(prepared: &Prepared, mut stream: TcpStream, until: Instant) -> io::Result<Moved> {
    let frames = &prepared.frames;
    let first = exchange(&mut stream, &frames[0]).await?;
    check_produced(&first)?;
    let answer_bytes = first.len() + 4;
    let in_flight = prepared.load.in_flight;
    // From any partition on, as many requests as may leave at once.
    let window: Vec<u8> = frames.iter().cycle().take(frames.len() + in_flight).flatten().copied().collect();
    let frame = frames[0].len();
    let mut at = 0;
    let mut next = |requests: usize| {
        let from = at;
        at = (at + requests) % frames.len();
        &window[from * frame..(from + requests) * frame]
    };
    let mut sent: std::collections::VecDeque<Instant> = std::collections::VecDeque::new();
    let mut latencies = Vec::new();
    let mut operations = 0u64;
    let mut pending = 0;
    let mut buffer = vec![0; 64 << 10];
    stream.write_all(next(in_flight)).await?;
    sent.extend(std::iter::repeat_n(Instant::now(), in_flight));
    while !sent.is_empty() {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        pending += n;
        let now = Instant::now();
        let answered = pending / answer_bytes;
        pending %= answer_bytes;
        for at in sent.drain(..answered) {
            latencies.push(now.duration_since(at).as_nanos() as u64);
        }
        operations += answered as u64;
        if now < until && answered > 0 {
            stream.write_all(next(answered)).await?;
            sent.extend(std::iter::repeat_n(now, answered));
        }
    }
    check_produced(&exchange(&mut stream, &frames[0]).await?)?;
    Ok((operations, operations * prepared.batch_bytes as u64, latencies))
}

fn check_produced(answer: &Bytes) -> io::Result<()> {
    match decode_response(ApiKey::Produce, PRODUCE_VERSION, answer.clone()) {
        Ok((_, Response::Produce(r)))
            if r.responses.iter().flat_map(|t| &t.partition_responses).all(|p| p.error_code == error::NONE) =>
        {
            Ok(())
        }
        other => Err(io::Error::other(format!("a produce was answered {other:?}"))),
    }
}

/// One fetch after another, through the log and from its start again.
async fn fetch(prepared: &Prepared, mut stream: TcpStream, max_bytes: u32, until: Instant) -> io::Result<Moved> {
    let batches_each = i64::from(max_bytes) / prepared.batch_bytes as i64;
    let frames: Vec<Bytes> = (0..prepared.batches / batches_each)
        .map(|i| fetch_frame(i * batches_each * prepared.load.records as i64, max_bytes))
        .collect();
    let least = batches_each as usize * prepared.batch_bytes;
    let mut buffer = Vec::new();
    let (mut operations, mut bytes) = (0, 0);
    let mut latencies = Vec::new();
    for frame in frames.iter().cycle() {
        let start = Instant::now();
        if start >= until {
            break;
        }
        stream.write_all(frame).await?;
        read_frame(&mut stream, &mut buffer).await?;
        if buffer.len() < least {
            return Err(io::Error::other(format!("a fetch brought {} bytes in place of {least}", buffer.len())));
        }
        latencies.push(start.elapsed().as_nanos() as u64);
        operations += 1;
        bytes += buffer.len() as u64;
    }
    Ok((operations, bytes, latencies))
}
