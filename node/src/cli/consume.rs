//! `klamm consume`: records to lines, kcat's way. No group: it reads what it is told to, and remembers nothing.

use super::format::{Format, Place, unescaped};
use super::output::{Progress, written};
use super::{Cluster, Failure};
use crate::client::{Batches, Client, Error};
use klamm_core::wire::{FetchPartition, FetchRequest, FetchTopic, PartitionData, Records, Response, error};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

/// How long a broker waits for records.
const MAX_WAIT_MS: i32 = 500;
const MAX_BYTES: i32 = 50 << 20;
const PARTITION_BYTES: i32 = 1 << 20;
/// Only committed transactions.
const READ_COMMITTED: i8 = 1;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    cluster: Cluster,
    /// The topic.
    #[arg(short, long)]
    topic: String,
    /// The partition; all if not given.
    #[arg(short, long)]
    partition: Option<i32>,
    /// Where to begin: beginning, end, an offset, -N (N before the end) or s@MILLISECONDS (a time). A second one may say
    /// where to stop: e@MILLISECONDS, before the first record that is as late.
    #[arg(short, long = "offset", allow_hyphen_values = true, value_parser = Bound::parse)]
    offsets: Vec<Bound>,
    /// How many records, and then exit.
    #[arg(short = 'c', short_alias = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Exit at the end of what is there.
    #[arg(short, long)]
    exit: bool,
    /// %t topic, %p partition, %o offset, %k key, %s value, %h headers, %T timestamp, %K and %S lengths, %R the value's
    /// length in four bytes.
    #[arg(short, long, conflicts_with_all = ["key_delimiter", "delimiter"])]
    format: Option<String>,
    /// Print each record as a JSON object.
    #[arg(short = 'J', long, conflicts_with_all = ["format", "key_delimiter", "delimiter"])]
    json: bool,
    /// Print keys too, and this behind them.
    #[arg(short = 'K', long, value_name = "DELIMITER")]
    key_delimiter: Option<String>,
    /// What is printed behind each record.
    #[arg(short = 'D', long, value_name = "DELIMITER", default_value = "\\n")]
    delimiter: String,
    /// Print NULL for what is null.
    #[arg(short = 'Z', long)]
    null: bool,
    /// Print each record at once.
    #[arg(short, long)]
    unbuffered: bool,
    /// Do not say where a partition ends.
    #[arg(short, long)]
    quiet: bool,
}

/// An end of what is read.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Begin(Begin),
    /// A time, milliseconds.
    Stop(i64),
}

/// Where to begin.
#[derive(Clone, Copy, Debug)]
enum Begin {
    Beginning,
    End,
    At(i64),
    BeforeEnd(i64),
    Time(i64),
}

impl Bound {
    fn parse(text: &str) -> Result<Bound, String> {
        let bad = || format!("{text:?} is not beginning, end, an offset, -N, s@MILLISECONDS or e@MILLISECONDS");
        // Below 0 a time would be one of the names that ListOffsets has for offsets.
        let time = |time: &str| time.parse().ok().filter(|ms| *ms >= 0).ok_or_else(bad);
        if let Some(stop) = text.strip_prefix("e@") {
            return time(stop).map(Bound::Stop);
        }
        if let Some(begin) = text.strip_prefix("s@") {
            return time(begin).map(|ms| Bound::Begin(Begin::Time(ms)));
        }
        Ok(Bound::Begin(match text {
            "beginning" => Begin::Beginning,
            "end" => Begin::End,
            _ => match text.parse::<i64>().map_err(|_| bad())? {
                n if n >= 0 => Begin::At(n),
                n => Begin::BeforeEnd(n.saturating_neg()),
            },
        }))
    }
}

/// A partition that is read.
struct Reading {
    leader: i32,
    next: i64,
    /// The first offset that is not wanted any more.
    stop: i64,
    ended: bool,
}

struct Consumer<'a> {
    client: &'a mut Client,
    args: &'a Args,
    format: Format,
    reading: BTreeMap<i32, Reading>,
    left: u64,
    told: u64,
    progress: Progress,
    out: Vec<u8>,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    args.cluster.clone().run(async |client| consume(client, args).await)
}

async fn consume(client: &mut Client, args: &Args) -> Result<(), Failure> {
    let mut format = match (&args.format, &args.key_delimiter) {
        _ if args.json => Format::json(),
        (Some(format), _) => Format::parse(format).map_err(Failure::usage)?,
        (None, key) => {
            let key = key.as_deref().map(unescaped).transpose().map_err(Failure::usage)?;
            Format::plain(key.as_deref(), &unescaped(&args.delimiter).map_err(Failure::usage)?)
        }
    };
    format.escape = std::io::stdout().is_terminal();
    let reading = begin(client, args).await?;
    let left = args.count.unwrap_or(u64::MAX);
    let mut consumer =
        Consumer { client, args, format, reading, left, told: 0, progress: Progress::new(true), out: Vec::new() };
    while consumer.left > 0 && consumer.reading.values().any(|reading| !reading.ended) {
        consumer.turn().await?;
    }
    consumer.print()
}

/// Which partitions are read, and from where.
async fn begin(client: &mut Client, args: &Args) -> Result<BTreeMap<i32, Reading>, Failure> {
    let mut topic = client.topic(&args.topic, false).await?;
    topic.partitions.retain(|p| args.partition.is_none_or(|wanted| wanted == p.partition_index));
    if let (true, Some(wanted)) = (topic.partitions.is_empty(), args.partition) {
        return Err(Failure::not_found(format!("{} has no partition {wanted}", args.topic)));
    }
    let start = client.offsets(&topic, -2).await?;
    let end = client.offsets(&topic, -1).await?;
    let (wanted, stop) = bounds(args)?;
    let times = match wanted {
        Begin::Time(time) => client.offsets(&topic, time).await?,
        Begin::Beginning | Begin::End | Begin::At(_) | Begin::BeforeEnd(_) => BTreeMap::new(),
    };
    let stops = match stop {
        Some(time) => client.offsets(&topic, time).await?,
        None => BTreeMap::new(),
    };
    let mut reading = BTreeMap::new();
    for partition in &topic.partitions {
        let index = partition.partition_index;
        let of = |offsets: &BTreeMap<i32, i64>| offsets.get(&index).copied().unwrap_or(0);
        let (start, end) = (of(&start), of(&end));
        let next = match wanted {
            Begin::Beginning => start,
            Begin::End => end,
            Begin::BeforeEnd(n) => end.saturating_sub(n).max(start),
            Begin::Time(_) => Some(of(&times)).filter(|offset| *offset >= 0).unwrap_or(end),
            Begin::At(offset) if (start..=end).contains(&offset) => offset,
            Begin::At(offset) => {
                let what = format!("{} [{index}]", args.topic);
                return Err(Failure::refused(format!("offset {offset} is not within {start} to {end} of {what}")));
            }
        };
        // A time that is still to come stops nothing.
        let stop = stops.get(&index).copied().filter(|offset| *offset >= 0).unwrap_or(i64::MAX);
        // Whoever begins at the end of an empty stretch is there already.
        let ended = next >= stop || args.exit && next >= end;
        reading.insert(index, Reading { leader: partition.leader_id, next, stop, ended });
    }
    Ok(reading)
}

/// Where to begin, and the time to stop at.
fn bounds(args: &Args) -> Result<(Begin, Option<i64>), Failure> {
    let (mut begin, mut stop) = (None, None);
    for bound in &args.offsets {
        let twice = match bound {
            Bound::Begin(at) => begin.replace(*at).is_some(),
            Bound::Stop(at) => stop.replace(*at).is_some(),
        };
        if twice {
            return Err(Failure::usage("--offset says where to begin once, and where to stop once"));
        }
    }
    Ok((begin.unwrap_or(Begin::Beginning), stop))
}

impl Consumer<'_> {
    /// One fetch from each leader.
    async fn turn(&mut self) -> Result<(), Failure> {
        let mut by_leader: BTreeMap<i32, Vec<FetchPartition>> = BTreeMap::new();
        for (partition, reading) in self.reading.iter().filter(|(_, reading)| !reading.ended) {
            by_leader.entry(reading.leader).or_default().push(FetchPartition {
                partition: *partition,
                fetch_offset: reading.next,
                partition_max_bytes: PARTITION_BYTES,
                ..FetchPartition::default()
            });
        }
        for (leader, partitions) in by_leader {
            let topic = FetchTopic { topic: self.args.topic.clone(), partitions, ..FetchTopic::default() };
            let request = FetchRequest {
                max_wait_ms: MAX_WAIT_MS,
                min_bytes: 1,
                max_bytes: MAX_BYTES,
                isolation_level: READ_COMMITTED,
                session_epoch: -1,
                topics: vec![topic],
                ..FetchRequest::default()
            };
            let answer = self.client.broker(leader).await?.ask(request.into()).await?;
            let Response::Fetch(answer) = answer else { return Err(super::topic::odd()) };
            Error::check(answer.error_code, None, || &self.args.topic)?;
            for part in answer.responses.iter().flat_map(|topic| &topic.partitions) {
                self.take(part).await?;
            }
            self.print()?;
        }
        self.progress.tell(|| format!("{} records of {}", self.told, self.args.topic));
        Ok(())
    }

    async fn take(&mut self, part: &PartitionData) -> Result<(), Failure> {
        let index = part.partition_index;
        match part.error_code {
            error::NOT_LEADER_OR_FOLLOWER | error::FENCED_LEADER_EPOCH | error::UNKNOWN_LEADER_EPOCH => {
                let topic = self.client.topic(&self.args.topic, false).await?;
                let leader = topic.partitions.iter().find(|p| p.partition_index == index).map(|p| p.leader_id);
                if let (Some(leader), Some(reading)) = (leader, self.reading.get_mut(&index)) {
                    reading.leader = leader;
                }
                return Ok(());
            }
            code => Error::check(code, None, || format!("{} [{index}]", self.args.topic))?,
        }
        let Some(reading) = self.reading.get_mut(&index) else { return Ok(()) };
        let Records::Bytes(bytes) = &part.records else { return Ok(()) };
        let aborted = part.aborted_transactions.as_deref().unwrap_or_default();
        let batches = Batches::read(bytes, reading.next, aborted)?;
        if batches.next == reading.next && !bytes.is_empty() {
            return Err(Failure::failed(format!("{} [{index}]: no batch at offset {}", self.args.topic, reading.next)));
        }
        reading.next = batches.next;
        let end = part.last_stable_offset.max(if part.last_stable_offset < 0 { part.high_watermark } else { 0 });
        reading.ended = reading.next >= reading.stop || self.args.exit && reading.next >= end;
        let ended = (self.args.exit && reading.next >= end).then_some(reading.next);
        let (args, stop) = (self.args, reading.stop);
        let place = Place { topic: &args.topic, partition: index, broker: reading.leader };
        let null: &[u8] = if self.args.null { b"NULL" } else { b"" };
        for record in batches.records.iter().take_while(|record| record.offset < stop) {
            if self.left == 0 {
                return Ok(());
            }
            self.left -= 1;
            self.told += 1;
            self.format.write(&place, record, null, &mut self.out);
            if self.args.unbuffered {
                self.print()?;
            }
        }
        if let Some(next) = ended.filter(|_| !self.args.quiet) {
            self.print()?;
            self.progress.clear();
            eprintln!("% Reached end of topic {} [{index}] at offset {next}", self.args.topic);
        }
        Ok(())
    }

    fn print(&mut self) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        written(stdout.write_all(&self.out).and_then(|()| stdout.flush()))?;
        self.out.clear();
        Ok(())
    }
}
