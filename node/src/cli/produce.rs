//! `klamm produce`: lines to records, kcat's way.

use super::format::unescaped;
use super::output::Progress;
use super::settings::key_value;
use super::topic::odd;
use super::{Cluster, Failure};
use crate::client::{Client, Error};
use bytes::Bytes;
use klamm_core::ids::Timestamp;
use klamm_core::record::Builder;
use klamm_core::wire::{PartitionProduceData, ProduceRequest, Response, TopicProduceData, error};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes of a batch at which it is sent.
const BATCH: usize = 512 << 10;
/// The longest record read.
const LONGEST: u64 = 64 << 20;
const TIMEOUT_MS: i32 = 30_000;
/// How long a partition may take to have a leader that takes a batch.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    cluster: Cluster,
    /// The topic.
    #[arg(short, long)]
    topic: String,
    /// The partition; by the key's hash, as Kafka's own client does, or in turn, if not given.
    #[arg(short, long)]
    partition: Option<i32>,
    /// What stands between key and value; records have no key if not given.
    #[arg(short = 'K', long, value_name = "DELIMITER")]
    key_delimiter: Option<String>,
    /// What stands between records.
    #[arg(short = 'D', long, value_name = "DELIMITER", default_value = "\\n")]
    delimiter: String,
    /// The key of every record.
    #[arg(short = 'k', long, conflicts_with = "key_delimiter")]
    key: Option<String>,
    /// A header of every record.
    #[arg(short = 'H', long = "header", value_name = "KEY=VALUE", value_parser = key_value)]
    headers: Vec<(String, String)>,
    /// An empty value or key is none (a tombstone).
    #[arg(short = 'Z', long)]
    null: bool,
    /// Files, each one record; lines of stdin if not given.
    files: Vec<PathBuf>,
}

/// Records on their way.
struct Producer<'a> {
    client: &'a mut Client,
    args: &'a Args,
    partitions: i32,
    leaders: BTreeMap<i32, i32>,
    batches: BTreeMap<i32, Builder>,
    /// Where records without a key go next.
    turn: i32,
    sent: u64,
    progress: Progress,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    args.cluster.clone().run(async |client| produce(client, args).await)
}

async fn produce(client: &mut Client, args: &Args) -> Result<(), Failure> {
    let delimiter = unescaped(&args.delimiter).map_err(Failure::usage)?;
    let key_delimiter = args.key_delimiter.as_deref().map(unescaped).transpose().map_err(Failure::usage)?;
    if delimiter.is_empty() || key_delimiter.as_ref().is_some_and(Vec::is_empty) {
        return Err(Failure::usage("a delimiter has at least one byte"));
    }
    let (batches, leaders) = (BTreeMap::new(), BTreeMap::new());
    let mut producer =
        Producer { client, args, partitions: 0, leaders, batches, turn: 0, sent: 0, progress: Progress::new(false) };
    producer.refresh().await?;
    if args.files.is_empty() {
        let mut input = BufReader::new(std::io::stdin());
        while let Some(record) = next(&mut input, &delimiter)? {
            let (key, value) = split(&record, key_delimiter.as_deref());
            producer.push(key, value).await?;
            // Nothing more is there yet: what is there goes.
            if input.buffer().is_empty() {
                producer.flush().await?;
            }
        }
    }
    for file in &args.files {
        let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", file.display()));
        let mut value = Vec::new();
        std::fs::File::open(file).and_then(|f| f.take(LONGEST).read_to_end(&mut value)).map_err(failed)?;
        producer.push(None, &value).await?;
    }
    producer.flush().await?;
    producer.progress.clear();
    eprintln!("{} records produced to {}", producer.sent, args.topic);
    Ok(())
}

/// The bytes up to the next delimiter, or to the end.
fn next(input: &mut impl BufRead, delimiter: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
    let mut record = Vec::new();
    let last = *delimiter.last().expect("it has a byte");
    loop {
        let room = LONGEST - record.len() as u64;
        let read = input.take(room).read_until(last, &mut record);
        let read = read.map_err(|error| Failure::failed(format!("stdin: {error}")))?;
        if record.ends_with(delimiter) {
            record.truncate(record.len() - delimiter.len());
            return Ok(Some(record));
        }
        if read == 0 && room == 0 {
            return Err(Failure::failed(format!("a record of more than {LONGEST} bytes")));
        }
        if read == 0 {
            return Ok((!record.is_empty()).then_some(record));
        }
    }
}

fn split<'a>(record: &'a [u8], delimiter: Option<&[u8]>) -> (Option<&'a [u8]>, &'a [u8]) {
    let at = delimiter.and_then(|d| record.windows(d.len()).position(|window| window == d).map(|at| (at, d.len())));
    at.map_or((None, record), |(at, len)| (Some(&record[..at]), &record[at + len..]))
}

impl Producer<'_> {
    async fn refresh(&mut self) -> Result<(), Failure> {
        let topic = self.client.topic(&self.args.topic, true).await?;
        self.partitions = i32::try_from(topic.partitions.len()).map_err(|_| odd())?;
        self.leaders = topic.partitions.iter().map(|p| (p.partition_index, p.leader_id)).collect();
        match self.args.partition {
            Some(wanted) if !self.leaders.contains_key(&wanted) => {
                let Args { topic, .. } = self.args;
                Err(Failure::not_found(format!("{topic} has {} partitions and no partition {wanted}", self.partitions)))
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn push(&mut self, key: Option<&[u8]>, value: &[u8]) -> Result<(), Failure> {
        let key = key.or(self.args.key.as_deref().map(str::as_bytes));
        let some = |bytes: &[u8]| !(self.args.null && bytes.is_empty());
        let (key, value) = (key.filter(|k| some(k)), Some(value).filter(|v| some(v)));
        let partition = match (self.args.partition, key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => (murmur2(key) & i32::MAX) % self.partitions,
            (None, None) => self.turn % self.partitions,
        };
        let headers: Vec<_> =
            self.args.headers.iter().map(|(key, value)| (key.as_bytes(), Some(value.as_bytes()))).collect();
        let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let batch = self.batches.entry(partition).or_default();
        if batch.count() > 0 && batch.size() + size > BATCH {
            self.flush().await?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = Timestamp(i64::try_from(now).unwrap_or(i64::MAX));
        self.batches.entry(partition).or_default().push_with_headers(now, key, value, &headers);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        for (partition, batch) in std::mem::take(&mut self.batches) {
            let count = batch.count();
            if count > 0 {
                self.send(partition, batch.build(crate::crc32c)).await?;
                self.sent += u64::from(count.unsigned_abs());
                self.progress.tell(|| format!("{} records produced to {}", self.sent, self.args.topic));
            }
        }
        self.turn = self.turn.wrapping_add(1) & i32::MAX;
        Ok(())
    }

    /// Sends a batch; again, if it was certainly not appended and may soon be.
    async fn send(&mut self, partition: i32, batch: Bytes) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let leader = self.leaders.get(&partition).copied().ok_or_else(odd)?;
            let data = PartitionProduceData { index: partition, records: Some(batch.clone()) };
            let name = self.args.topic.clone();
            let topic = TopicProduceData { name, partition_data: vec![data], ..TopicProduceData::default() };
            let topic_data = vec![topic];
            let request = ProduceRequest { acks: -1, timeout_ms: TIMEOUT_MS, topic_data, ..ProduceRequest::default() };
            let answer = self.client.broker(leader).await?.ask(request.into()).await?;
            let Response::Produce(answer) = answer else { return Err(odd()) };
            let result = answer.responses.first().and_then(|t| t.partition_responses.first()).ok_or_else(odd)?;
            match result.error_code {
                error::NOT_LEADER_OR_FOLLOWER | error::LEADER_NOT_AVAILABLE | error::UNKNOWN_TOPIC_OR_PARTITION
                    if begun.elapsed() < PATIENCE =>
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    self.refresh().await?;
                }
                code => {
                    let what = || format!("{} [{partition}]", self.args.topic);
                    return Ok(Error::check(code, result.error_message.as_deref(), what)?);
                }
            }
        }
    }
}

/// Kafka's hash of keys (`Utils.murmur2`), so that a key is where the Java client puts it.
fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c ^ u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = chunk.iter().rev().fold(0u32, |k, byte| k << 8 | u32::from(*byte)).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        h ^= rest.iter().rev().fold(0u32, |k, byte| k << 8 | u32::from(*byte));
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    (h ^ (h >> 15)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_in_kafka() {
        // Of Kafka's own UtilsTest.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn records_end_where_their_delimiter_stands() {
        let all = |text: &str, delimiter: &str| {
            let mut input = text.as_bytes();
            let mut out = Vec::new();
            while let Some(record) = next(&mut input, delimiter.as_bytes()).ok().unwrap() {
                out.push(String::from_utf8(record).unwrap());
            }
            out
        };
        assert_eq!(all("a\n\nb", "\n"), ["a", "", "b"]);
        assert_eq!(all("a;-;b-;-c;-", ";-"), ["a", ";b-", "c"]);
        assert_eq!(all("", "\n"), [""; 0]);
        assert_eq!(split(b"k::v::w", Some(b"::")), (Some(&b"k"[..]), &b"v::w"[..]));
        assert_eq!(split(b"kv", Some(b"::")), (None, &b"kv"[..]));
    }
}
