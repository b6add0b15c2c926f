//! Transcripts of `Shard::step`, to be read as a story: `tests/golden/*.txt`. `KLAMM_GOLDEN=rewrite` rewrites them.
//!
//! `>` is what a shard is told, `<` what it wants done. The disk of these stories does what it is told when the story
//! says so; nothing else stands between two lines.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use klamm_core::effect::{Config, Effect, Input};
use klamm_core::ids::{
    BrokerId, ConnectionId, Instant, LogId, Now, ProducerEpoch, ProducerId, Sequence, ShardIndex, Timestamp, Uuid,
};
use klamm_core::log::{Checkpoint, Found, Segment};
use klamm_core::metadata::configs::Configs;
use klamm_core::record::{Builder, Header};
use klamm_core::shard::Shard;
use klamm_core::wire::{
    CreatableTopic, CreatableTopicConfig, CreatePartitionsRequest, CreatePartitionsTopic, CreateTopicsRequest, Cursor,
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic, DeleteTopicState, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeConfigsResource, DescribeLogDirsRequest,
    DescribeProducersRequest, DescribeProducersTopic, DescribeQuorumPartition, DescribeQuorumRequest,
    DescribeQuorumTopic, DescribeTopicPartitionsRequest, FetchPartition, FetchRequest, FetchTopic,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource, IncrementalAlterableConfig, InitProducerIdRequest,
    ListConfigResourcesRequest, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, MetadataRequest,
    MetadataRequestTopic, Nullable, OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
    PartitionProduceData, ProduceRequest, Request, Response, TopicProduceData,
};
use klamm_sim::trace;

const CONN: ConnectionId = ConnectionId(1);
const T0: i64 = 1_700_000_000_000;

fn crc32c(bytes: &[u8]) -> u32 {
    u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes)).expect("32 bits")
}

/// A disk that keeps what it is told, in the terms of the seam.
#[derive(Default)]
struct Disk {
    logs: Vec<(LogId, String, Found, Vec<Bytes>)>,
}

impl Disk {
    fn log(&mut self, id: LogId) -> &mut (LogId, String, Found, Vec<Bytes>) {
        self.logs.iter_mut().find(|l| l.0 == id).expect("the log was opened")
    }

    /// Does a change; gives the input that ends it.
    fn change(&mut self, effect: &Effect) -> Option<Input> {
        match effect {
            Effect::Open { log, seq, name } => {
                let found = Found { state: Checkpoint::empty(), ..Found::default() };
                self.logs.push((*log, name.clone(), found, Vec::new()));
                Some(Input::Done { log: *log, seq: *seq })
            }
            Effect::Flush { log, seq } => Some(Input::Done { log: *log, seq: *seq }),
            Effect::Append { log, seq, offset, leader_epoch, batch, roll, .. } => {
                let (_, _, found, bytes) = self.log(*log);
                found.state.fold(&batch.stamped_header(*offset, *leader_epoch), roll.is_some());
                let (prefix, rest) = batch.stamp(*offset, *leader_epoch);
                bytes.push([&prefix[..], &rest[..]].concat().into());
                Some(Input::Done { log: *log, seq: *seq })
            }
            Effect::Trim { log, seq, to, roll } => {
                let state = &mut self.log(*log).2.state;
                if roll.is_some() {
                    state.segments.push(Segment::empty(state.at));
                }
                state.trim(*to);
                Some(Input::Done { log: *log, seq: *seq })
            }
            Effect::Persist { log, seq, ballot } => {
                self.log(*log).2.ballot = Some(*ballot);
                Some(Input::Done { log: *log, seq: *seq })
            }
            Effect::Read { ticket, log, query: klamm_core::effect::Query::Batches { from, upto, .. } } => {
                let (_, _, _, batches) = self.log(*log);
                let wanted = |b: &&Bytes| {
                    let header = Header::parse(b).expect("a batch that was appended");
                    header.next_offset() > *from && header.base_offset < *upto
                };
                let bytes: Vec<u8> = batches.iter().filter(wanted).flat_map(|b| b.to_vec()).collect();
                Some(Input::Read { ticket: *ticket, found: klamm_core::effect::Lookup::Batches(bytes.into()) })
            }
            Effect::Read { ticket, query: klamm_core::effect::Query::Room, .. } => {
                let room = klamm_core::effect::Room { total: 1000, usable: 400 };
                Some(Input::Read { ticket: *ticket, found: klamm_core::effect::Lookup::Room(room) })
            }
            Effect::Remove { log, seq } | Effect::SetAside { log, seq } => {
                self.logs.retain(|l| l.0 != *log);
                Some(Input::Done { log: *log, seq: *seq })
            }
            _ => None,
        }
    }
}

struct Story {
    name: &'static str,
    text: String,
    shards: Vec<Shard>,
    disk: Disk,
    ms: u64,
    correlation: i32,
    /// Effects for the disk that wait for the story to let them happen.
    waiting: Vec<(usize, Effect)>,
}

impl Story {
    fn new(name: &'static str, shards: u16) -> Story {
        let mut story = Story {
            name,
            text: String::new(),
            shards: Vec::new(),
            disk: Disk::default(),
            ms: 0,
            correlation: 0,
            waiting: Vec::new(),
        };
        story.boot(shards, 1);
        story
    }

    fn boot(&mut self, shards: u16, life: u64) {
        self.waiting.clear();
        let config = |shard| Config {
            broker: BrokerId(1),
            cluster_id: "a-cluster".into(),
            directory: Uuid::from_halves(0, 7),
            incarnation: Uuid::from_halves(0, life),
            shard: ShardIndex(shard),
            shards,
            advertised: ("127.0.0.1".into(), 9092),
            crc: crc32c,
            open: klamm::codec::open,
            seed: 42,
            log_dir: "/data".into(),
            configs: Configs::new(),
        };
        self.shards = (0..shards).map(|s| Shard::new(config(s))).collect();
    }

    fn says(&mut self, prose: &str) {
        write!(self.text, "\n# {prose}\n").expect("writing to a string");
    }

    fn tell(&mut self, shard: usize, input: Input) {
        let who = if self.shards.len() > 1 { format!("{shard} ") } else { String::new() };
        writeln!(self.text, "{who}> {}", trace::input(&input)).expect("writing to a string");
        let now = Now { monotonic: Instant(self.ms * 1_000_000), wall: Timestamp(T0 + self.ms as i64) };
        let mut effects = Vec::new();
        self.shards[shard].step(now, input, &mut effects);
        self.shards[shard].audit();
        for effect in &effects {
            writeln!(self.text, "{who}<   {}", trace::effect(effect)).expect("writing to a string");
        }
        self.waiting.extend(effects.into_iter().map(|e| (shard, e)));
    }

    /// Lets the disk and the other shards do all that waits, and what comes of it.
    fn settle(&mut self) {
        while !self.waiting.is_empty() {
            let (shard, effect) = self.waiting.remove(0);
            self.perform(shard, effect);
        }
    }

    /// The same, but nothing is removed from the disk.
    fn settle_but_removals(&mut self) {
        self.settle_but(|effect| matches!(effect, Effect::Remove { .. }));
    }

    /// The same, but some things are left undone.
    fn settle_but(&mut self, undone: impl Fn(&Effect) -> bool) {
        while let Some(at) = self.waiting.iter().position(|(_, e)| !undone(e)) {
            let (shard, effect) = self.waiting.remove(at);
            self.perform(shard, effect);
        }
    }

    fn perform(&mut self, shard: usize, effect: Effect) {
        if let Some(input) = self.disk.change(&effect) {
            return self.tell(shard, input);
        }
        match effect {
            Effect::Call { to, image, correlation, call } => {
                let from = ShardIndex(shard as u16);
                self.tell(usize::from(to.0), Input::Call { from, image, correlation, call });
            }
            Effect::Answer { to, correlation, mut answer } => {
                lease(&mut answer);
                self.tell(usize::from(to.0), Input::Answer { correlation, answer });
            }
            Effect::Publish { upto, records } => {
                for other in (0..self.shards.len()).filter(|s| *s != shard) {
                    self.tell(other, Input::Committed { upto, records: records.clone() });
                }
            }
            _ => {}
        }
    }

    /// The first change that waits for the disk fails.
    fn fail(&mut self, error: &str) {
        let at = self
            .waiting
            .iter()
            .position(|(_, e)| matches!(e, Effect::Append { .. } | Effect::Trim { .. }))
            .expect("a change waits");
        let (shard, Effect::Append { log, seq, .. } | Effect::Trim { log, seq, .. }) = self.waiting.remove(at) else {
            unreachable!("found above")
        };
        self.tell(shard, Input::Failed { log, seq, error: error.into() });
    }

    fn start(&mut self) {
        let shards = self.shards.len() as u16;
        let found: Vec<_> =
            self.disk.logs.iter().map(|(log, name, found, _)| (*log, name.clone(), found.clone())).collect();
        for (log, name, found) in found {
            let owner = usize::from(log.owner(shards).0);
            self.tell(owner, Input::Recovered { log, name, found: Ok(Box::new(found)) });
        }
        for shard in 0..self.shards.len() {
            self.tell(shard, Input::Started);
        }
        self.settle();
    }

    fn request(&mut self, shard: usize, request: impl Into<Request>) {
        self.correlation += 1;
        let correlation = self.correlation;
        self.tell(shard, Input::Request { conn: CONN, correlation, request: request.into() });
    }

    /// The fetch session that the last answer named.
    fn session(&self) -> i32 {
        let named = self.waiting.iter().rev().find_map(|(_, effect)| match effect {
            Effect::Reply { response: Response::Fetch(r), .. } => Some(r.session_id),
            _ => None,
        });
        named.expect("a fetch was answered")
    }

    /// Compares with the file, or rewrites it.
    fn end(self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{}.txt", self.name));
        if std::env::var("KLAMM_GOLDEN").is_ok_and(|v| v == "rewrite") {
            return std::fs::write(&path, &self.text).expect("the golden folder is writable");
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        for (n, (new, old)) in self.text.lines().zip(golden.lines()).enumerate() {
            assert_eq!(new, old, "{} line {}: KLAMM_GOLDEN=rewrite if this is meant", path.display(), n + 1);
        }
        assert_eq!(self.text.lines().count(), golden.lines().count(), "{}: another length", path.display());
    }
}

/// What a host does to a fetch answer that crosses shards.
fn lease(answer: &mut klamm_core::effect::Answer) {
    if let klamm_core::effect::Answer::Fetch { results } = answer {
        for range in results.iter_mut().filter_map(|r| r.range.as_mut()) {
            *range = klamm_core::effect::Range::Leased { lease: 1, bytes: 69, first: 69 };
        }
    }
}

fn create(name: &str, num_partitions: i32) -> CreateTopicsRequest {
    let topic =
        CreatableTopic { name: name.into(), num_partitions, replication_factor: 1, ..CreatableTopic::default() };
    CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() }
}

fn produce(topic: &str, partitions: &[i32], producer: i64, sequence: i32) -> ProduceRequest {
    let mut builder = Builder::new().producer(
        ProducerId(producer),
        ProducerEpoch(if producer < 0 { -1 } else { 0 }),
        Sequence(sequence),
    );
    builder.push(Timestamp(T0), None, Some(b"v"));
    let records = builder.build(crc32c);
    let data = |index: &i32| PartitionProduceData { index: *index, records: Some(records.clone()) };
    let topic = TopicProduceData {
        name: topic.into(),
        partition_data: partitions.iter().map(data).collect(),
        ..TopicProduceData::default()
    };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() }
}

fn fetch(topic: &str, at: &[(i32, i64)], min_bytes: i32) -> FetchRequest {
    let part = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let topic = FetchTopic { topic: topic.into(), partitions: at.iter().map(part).collect(), ..FetchTopic::default() };
    FetchRequest { max_wait_ms: 500, min_bytes, max_bytes: 1 << 20, topics: vec![topic], ..FetchRequest::default() }
}

#[test]
fn create_produce_fetch() {
    let mut s = Story::new("create-produce-fetch", 1);
    s.says("A new broker: nothing on its disk. It votes for itself, durably, and leads a quorum of one.");
    s.start();
    s.says("A client creates a topic.");
    s.tell(0, Input::Opened { conn: CONN });
    s.request(0, create("orders", 1));
    s.settle();
    s.says("It asks for a producer id, and produces. The answer waits for the disk.");
    s.request(0, InitProducerIdRequest::default());
    s.settle();
    s.request(0, produce("orders", &[0], 0, 0));
    s.says("The same batch again, before the first is durable: it waits for the same offset.");
    s.request(0, produce("orders", &[0], 0, 0));
    s.says("Another one; then the disk is done.");
    s.request(0, produce("orders", &[0], 0, 1));
    s.settle();
    s.says("A sequence is left out.");
    s.request(0, produce("orders", &[0], 0, 9));
    s.says("A consumer reads from the start, then waits at the end, and gives up.");
    s.request(0, fetch("orders", &[(0, 0)], 1));
    s.request(0, fetch("orders", &[(0, 2)], 1));
    s.ms += 500;
    s.tell(0, Input::Tick);
    s.says("It waits again, and something comes.");
    s.request(0, fetch("orders", &[(0, 2)], 1));
    s.request(0, produce("orders", &[0], -1, -1));
    s.settle();
    s.end();
}

#[test]
fn fetch_session() {
    let mut s = Story::new("fetch-session", 1);
    s.start();
    s.tell(0, Input::Opened { conn: CONN });
    s.request(0, create("orders", 3));
    s.settle();
    s.request(0, produce("orders", &[0], -1, -1));
    s.settle();
    s.says("A consumer begins a session with all that it wants. The answer names all of it.");
    let in_session = |id, epoch, at: &[(i32, i64)], min_bytes| FetchRequest {
        session_id: id,
        session_epoch: epoch,
        topics: if at.is_empty() { Vec::new() } else { fetch("orders", at, min_bytes).topics },
        ..fetch("orders", &[], min_bytes)
    };
    let id = {
        s.request(0, in_session(0, 0, &[(0, 0), (1, 0), (2, 0)], 1));
        s.session()
    };
    s.says("It goes on, names only what it has read, and waits. Something comes: the answer names only that.");
    s.request(0, in_session(id, 1, &[(0, 1)], 1));
    s.request(0, produce("orders", &[2], -1, -1));
    s.settle();
    s.says("What was served stands last now. Nothing is news, so nothing is named when the wait is over.");
    s.request(0, in_session(id, 2, &[(2, 1)], 1));
    s.ms += 500;
    s.tell(0, Input::Tick);
    s.says("An epoch twice, another's session, and the end of this one.");
    s.request(0, in_session(id, 2, &[], 1));
    s.request(0, in_session(77, 3, &[], 1));
    s.request(0, in_session(id, -1, &[(0, 0)], 1));
    s.request(0, in_session(id, 3, &[], 1));
    s.end();
}

fn delete_below(topic: &str, below: &[(i32, i64)], timeout_ms: i32) -> DeleteRecordsRequest {
    let part = |(partition_index, offset): &(i32, i64)| DeleteRecordsPartition {
        partition_index: *partition_index,
        offset: *offset,
    };
    let topic = DeleteRecordsTopic { name: topic.into(), partitions: below.iter().map(part).collect() };
    DeleteRecordsRequest { topics: vec![topic], timeout_ms }
}

#[test]
fn delete_records() {
    let mut s = Story::new("delete-records", 1);
    s.start();
    s.tell(0, Input::Opened { conn: CONN });
    s.request(0, create("orders", 2));
    s.settle();
    for sequence in 0..3 {
        s.request(0, produce("orders", &[0], 7, sequence));
        s.settle();
    }
    s.says("Everything below offset 2 is deleted. Until that is durable it can be read, and nobody is told.");
    s.request(0, delete_below("orders", &[(0, 2)], 1000));
    s.request(0, fetch("orders", &[(0, 0)], 1));
    s.settle();
    s.says("From then on the log starts there.");
    s.request(0, fetch("orders", &[(0, 1)], 1));
    s.request(0, fetch("orders", &[(0, 2)], 1));
    s.says("Below the start there is nothing to delete; above the high watermark nothing may be; a partition is not there.");
    s.request(0, delete_below("orders", &[(0, 1), (0, 4), (0, -2), (1, 0), (9, 0)], 1000));
    s.says(
        "Up to the high watermark: the active segment goes, too. A slow disk: the client is told that time is over.",
    );
    s.request(0, delete_below("orders", &[(0, -1)], 100));
    s.ms += 100;
    s.tell(0, Input::Tick);
    s.settle();
    s.says("Sizes, the room on the device, producers and epochs of what is left.");
    s.request(0, DescribeLogDirsRequest::default());
    s.settle();
    let known = DescribeProducersTopic { name: "orders".into(), partition_indexes: vec![0, 1, 9] };
    s.request(0, DescribeProducersRequest { topics: vec![known] });
    let asked = |leader_epoch| OffsetForLeaderPartition { leader_epoch, ..OffsetForLeaderPartition::default() };
    let fenced = OffsetForLeaderPartition { current_leader_epoch: 5, ..asked(0) };
    let topic = OffsetForLeaderTopic { topic: "orders".into(), partitions: vec![asked(0), asked(3), fenced] };
    s.request(0, OffsetForLeaderEpochRequest { topics: vec![topic], ..OffsetForLeaderEpochRequest::default() });
    s.says("A restart: the log starts where it did. Its next record stands in the new segment.");
    s.boot(1, 2);
    s.start();
    s.tell(0, Input::Opened { conn: CONN });
    s.request(0, fetch("orders", &[(0, 2)], 1));
    s.request(0, produce("orders", &[0], 7, 3));
    s.settle();
    s.says("A disk that fails: the log is offline, and the client hears it.");
    s.request(0, delete_below("orders", &[(0, -1)], 1000));
    s.fail("fdatasync: Input/output error (os error 5)");
    s.end();
}

#[test]
fn retention() {
    let mut s = Story::new("retention", 1);
    s.start();
    s.tell(0, Input::Opened { conn: CONN });
    s.says("A topic keeps records for a minute, by the time of their append.");
    let config = |name: &str, value: &str| CreatableTopicConfig { name: name.into(), value: Some(value.into()) };
    let mut request = create("orders", 1);
    request.topics[0].configs =
        vec![config("message.timestamp.type", "LogAppendTime"), config("retention.ms", "60000")];
    s.request(0, request);
    s.settle();
    s.ms += 5;
    s.request(0, produce("orders", &[0], -1, -1));
    s.settle();
    s.says("A first look: it is not old enough. A second one, minutes later: all of it goes, the active segment, too.");
    s.ms += 30_000;
    s.tell(0, Input::Tick);
    s.ms += 300_000;
    s.tell(0, Input::Tick);
    s.settle();
    s.request(0, fetch("orders", &[(0, 0)], 1));
    s.says("A topic that takes its producers' times, but none that are older than a second.");
    let mut request = create("clicks", 1);
    request.topics[0].configs = vec![config("message.timestamp.before.max.ms", "1000")];
    s.request(0, request);
    s.settle();
    s.request(0, produce("clicks", &[0], -1, -1));
    s.end();
}

#[test]
fn flush_and_roll() {
    let mut s = Story::new("flush-and-roll", 1);
    s.start();
    s.tell(0, Input::Opened { conn: CONN });
    s.says("Up to two records of this topic may be acknowledged and not be on the device, and none for more than a second.");
    let config = |name: &str, value: &str| CreatableTopicConfig { name: name.into(), value: Some(value.into()) };
    let mut request = create("orders", 1);
    request.topics[0].configs = vec![
        config("flush.messages", "3"),
        config("flush.ms", "1000"),
        config("segment.ms", "60000"),
        config("message.timestamp.type", "LogAppendTime"),
    ];
    s.request(0, request);
    s.settle();
    s.says("The third one is synced, and the first two with it.");
    for sequence in 0..3 {
        s.request(0, produce("orders", &[0], 7, sequence));
        s.settle();
    }
    s.says("The timer of the first one rings for nothing. The next record's second passes.");
    s.ms += 500;
    s.request(0, produce("orders", &[0], 7, 3));
    s.settle();
    s.ms += 500;
    s.tell(0, Input::Tick);
    s.ms += 499;
    s.tell(0, Input::Tick);
    s.ms += 1;
    s.tell(0, Input::Tick);
    s.settle();
    s.says("It is on the device now: nothing is left to flush.");
    s.ms += 5000;
    s.tell(0, Input::Tick);
    s.says("A minute after the segment's first record it is not too old. A millisecond later it is.");
    s.ms += 53_500;
    s.request(0, produce("orders", &[0], 7, 4));
    s.settle();
    s.ms += 1;
    s.request(0, produce("orders", &[0], 7, 5));
    s.settle();
    s.says("The producer left something out. A day of silence later nobody knows what it did before.");
    s.request(0, produce("orders", &[0], 7, 9));
    s.ms += 86_400_000;
    s.request(0, produce("orders", &[0], 7, 9));
    s.settle();
    s.end();
}

#[test]
fn lost_folder() {
    let mut s = Story::new("lost-folder", 1);
    s.start();
    s.tell(0, Input::Opened { conn: CONN });
    s.says("Where a partition lies is written down once its folder is there; until then nothing is acknowledged.");
    s.request(0, create("orders", 1));
    s.request(0, produce("orders", &[0], -1, -1));
    s.settle();
    s.says("Another topic is in the metadata, but the broker dies before its folder is there.");
    s.request(0, create("clicks", 1));
    s.settle_but(|effect| matches!(effect, Effect::Open { .. }));
    s.says("It starts again without the folder of the first one, too: that one was lost, the other never made.");
    s.disk.logs.retain(|log| log.1 != "orders");
    s.boot(1, 2);
    s.start();
    s.tell(0, Input::Opened { conn: CONN });
    s.request(0, produce("clicks", &[0], -1, -1));
    s.settle();
    s.request(0, produce("orders", &[0], -1, -1));
    s.request(0, fetch("orders", &[(0, 0)], 1));
    s.says("The topic can be deleted.");
    s.request(0, delete("orders"));
    s.settle();
    s.says("It starts again with a folder of nobody's, which it sets aside.");
    let found = Found { state: Checkpoint::empty(), ..Found::default() };
    s.disk.logs.push((LogId { topic: Uuid::from_halves(7, 7), partition: 3 }, "strange".into(), found, Vec::new()));
    s.boot(1, 3);
    s.start();
    s.end();
}

#[test]
fn list_offsets() {
    let mut s = Story::new("list-offsets", 1);
    s.start();
    s.tell(0, Input::Opened { conn: CONN });
    s.request(0, create("orders", 2));
    s.settle();
    s.request(0, produce("orders", &[0], -1, -1));
    s.settle();
    let ask = |at: &[(i32, i64)], isolation_level, lowest_timestamp| {
        let part = |(partition_index, timestamp): &(i32, i64)| ListOffsetsPartition {
            partition_index: *partition_index,
            timestamp: *timestamp,
            ..ListOffsetsPartition::default()
        };
        let topic = ListOffsetsTopic { name: "orders".into(), partitions: at.iter().map(part).collect() };
        ListOffsetsRequest { topics: vec![topic], isolation_level, lowest_timestamp, ..ListOffsetsRequest::default() }
    };
    s.says("The end, the start, the start on this disk, and what is tiered (nothing).");
    for timestamp in [-1, -2, -4, -5, -6, -7] {
        s.request(0, ask(&[(0, timestamp)], 1, -6));
    }
    s.says("A version that does not know the largest timestamp. A partition twice. An isolation that does not exist.");
    s.request(0, ask(&[(0, -3)], 0, -2));
    s.request(0, ask(&[(0, -1), (1, -1), (0, -2)], 0, -6));
    s.request(0, ask(&[(0, -1)], 7, -6));
    s.says("The newest record of one that has none; a record by time is looked up on the disk.");
    s.request(0, ask(&[(1, -3)], 0, -6));
    s.request(0, ask(&[(0, T0)], 0, -6));
    s.end();
}

#[test]
fn restart() {
    let mut s = Story::new("restart", 1);
    s.says("A broker with a topic and a record.");
    s.start();
    s.tell(0, Input::Opened { conn: CONN });
    s.request(0, create("orders", 1));
    s.settle();
    s.request(0, produce("orders", &[0], 5, 0));
    s.settle();
    s.says("It is killed, and starts again on what its disk holds: a new epoch of everything.");
    s.boot(1, 2);
    s.start();
    s.says("The producer did not hear the answer and sends again: it is recognised.");
    s.tell(0, Input::Opened { conn: CONN });
    s.request(0, produce("orders", &[0], 5, 0));
    s.says("A consumer that still believes in the earlier epoch.");
    let mut old = fetch("orders", &[(0, 0)], 1);
    old.topics[0].partitions[0].current_leader_epoch = 0;
    s.request(0, old);
    s.request(0, fetch("orders", &[(0, 0)], 1));
    s.end();
}

#[test]
fn rotten_metadata() {
    let mut s = Story::new("rotten-metadata", 1);
    s.says("A broker with a topic.");
    s.start();
    s.tell(0, Input::Opened { conn: CONN });
    s.request(0, create("orders", 1));
    s.settle();
    s.says("A bit of its metadata rots, below what recovery reads. It would rather not run than run on that.");
    let (_, _, _, batches) = s.disk.log(LogId::METADATA);
    let mut rotten = batches[3].to_vec();
    *rotten.last_mut().expect("a batch has bytes") ^= 1;
    batches[3] = rotten.into();
    s.boot(1, 2);
    s.start();
    s.says("Or a batch of it is missing.");
    s.disk.log(LogId::METADATA).3.remove(3);
    s.boot(1, 3);
    s.start();
    s.end();
}

#[test]
fn failed_write() {
    let mut s = Story::new("failed-write", 1);
    s.says("A broker with a topic.");
    s.start();
    s.tell(0, Input::Opened { conn: CONN });
    s.request(0, create("orders", 1));
    s.settle();
    s.says("Two produces are on their way to the disk, a consumer waits.");
    s.request(0, produce("orders", &[0], -1, -1));
    s.request(0, fetch("orders", &[(0, 0)], 1));
    s.request(0, produce("orders", &[0], -1, -1));
    s.says("The first write fails. Nothing after it counts, nothing is retried.");
    s.fail("fdatasync: Input/output error (os error 5)");
    s.fail("an earlier change failed");
    s.says("The log takes nothing more in this life; other topics live on.");
    s.request(0, produce("orders", &[0], -1, -1));
    s.request(0, create("others", 1));
    s.settle();
    s.says("Without its metadata log the broker ends. Whoever waits is told to ask again; a new life will know what became of it.");
    s.request(0, create("third", 1));
    s.fail("fdatasync: Input/output error (os error 5)");
    s.end();
}

fn delete(name: &str) -> DeleteTopicsRequest {
    let topic = DeleteTopicState { name: Some(name.into()), ..DeleteTopicState::default() };
    DeleteTopicsRequest { topics: vec![topic], ..DeleteTopicsRequest::default() }
}

#[test]
fn delete_topic() {
    let mut s = Story::new("delete-topic", 1);
    s.says("A broker with a topic and a record.");
    s.start();
    s.tell(0, Input::Opened { conn: CONN });
    s.request(0, create("orders", 2));
    s.settle();
    s.request(0, produce("orders", &[0], -1, -1));
    s.settle();
    s.says("A consumer waits at the end, someone deletes the topic, and a produce waits for the disk.");
    s.request(0, fetch("orders", &[(0, 1)], 1));
    s.request(0, delete("orders"));
    s.request(0, produce("orders", &[1], -1, -1));
    s.settle();
    s.says("It is gone, and cannot be deleted twice.");
    s.request(0, delete("orders"));
    s.request(0, produce("orders", &[0], -1, -1));
    s.settle();
    s.says("A topic of the same name is another one: nothing of the first is in it.");
    s.request(0, create("orders", 1));
    s.settle();
    s.request(0, fetch("orders", &[(0, 0)], 0));
    s.says("It is deleted, but the broker is killed before the disk has removed it. The next life does, while it reads the metadata again.");
    s.request(0, delete("orders"));
    s.settle_but_removals();
    s.boot(1, 2);
    s.start();
    s.end();
}

#[test]
fn more_partitions() {
    let mut s = Story::new("more-partitions", 2);
    s.says("A broker of two shards, with a topic of one partition.");
    s.start();
    s.tell(1, Input::Opened { conn: CONN });
    s.request(1, create("orders", 1));
    s.settle();
    s.says("Three are wanted: first only whether that could be.");
    let more = |count, validate_only| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic { name: "orders".into(), count, assignments: None }],
        validate_only,
        ..CreatePartitionsRequest::default()
    };
    s.request(1, more(3, true));
    s.settle();
    s.request(1, more(3, false));
    s.settle();
    s.says("Not fewer, nor too many: a refusal changes nothing.");
    s.request(1, more(2, false));
    s.request(1, more(20_000, false));
    s.settle();
    s.request(1, produce("orders", &[0, 1, 2, 3], -1, -1));
    s.settle();
    s.end();
}

/// One change of one topic's or broker's configs: 0 set, 1 delete.
fn alter(kind: i8, name: &str, key: &str, operation: i8, value: &str) -> IncrementalAlterConfigsRequest {
    let config = IncrementalAlterableConfig {
        name: key.into(),
        config_operation: operation,
        value: (operation == 0).then(|| value.into()),
    };
    let resource =
        IncrementalAlterConfigsResource { resource_type: kind, resource_name: name.into(), configs: vec![config] };
    IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false }
}

fn describe(kind: i8, name: &str, keys: &[&str]) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configuration_keys: Some(keys.iter().map(ToString::to_string).collect()),
    };
    DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, ..DescribeConfigsRequest::default() }
}

#[test]
fn configs() {
    let (topic, broker) = (2, 4);
    let mut s = Story::new("configs", 1);
    s.says("A broker with a topic: its configs are the defaults.");
    s.start();
    s.tell(0, Input::Opened { conn: CONN });
    s.request(0, create("orders", 1));
    s.settle();
    s.request(0, describe(topic, "orders", &[]));
    s.request(0, describe(topic, "orders", &["max.message.bytes"]));
    s.says("A smaller limit for all topics of the cluster, then a still smaller one for this topic.");
    s.request(0, alter(broker, "", "message.max.bytes", 0, "70"));
    s.settle();
    s.request(0, alter(topic, "orders", "max.message.bytes", 0, "60"));
    s.settle();
    s.request(0, describe(topic, "orders", &["max.message.bytes"]));
    s.request(0, describe(broker, "", &[]));
    s.says(
        "They take effect at once: a batch of 69 bytes is too large, and is not when the topic's own limit is deleted.",
    );
    s.request(0, produce("orders", &[0], -1, -1));
    s.request(0, alter(topic, "orders", "max.message.bytes", 1, ""));
    s.settle();
    s.request(0, produce("orders", &[0], -1, -1));
    s.settle();
    s.says("From the page cache: no sync.");
    s.request(0, alter(topic, "orders", "flush.messages", 0, "9223372036854775807"));
    s.settle();
    s.request(0, produce("orders", &[0], -1, -1));
    s.settle();
    s.says("What would have no effect is refused, and what cannot change while the broker runs.");
    s.request(0, alter(topic, "orders", "cleanup.policy", 0, "compact"));
    s.request(0, alter(topic, "orders", "no.such.key", 0, "1"));
    s.request(0, alter(broker, "1", "num.partitions", 0, "3"));
    s.settle();
    s.request(0, describe(topic, "nobody", &[]));
    s.request(0, ListConfigResourcesRequest::default());
    s.says("A restart keeps what was set.");
    s.boot(1, 2);
    s.start();
    s.tell(0, Input::Opened { conn: CONN });
    s.request(0, describe(topic, "orders", &["flush.messages", "max.message.bytes"]));
    s.end();
}

#[test]
fn descriptions() {
    let mut s = Story::new("descriptions", 2);
    s.says("A broker of two shards, and topics.");
    s.start();
    s.tell(1, Input::Opened { conn: CONN });
    s.request(1, create("clicks", 3));
    s.settle();
    s.request(1, create("orders", 2));
    s.settle();
    s.says("Who is there, and who leads the metadata quorum: shard 0 knows that.");
    s.request(1, DescribeClusterRequest::default());
    s.request(1, DescribeClusterRequest { endpoint_type: 2, ..DescribeClusterRequest::default() });
    let quorum = |topic_name: &str| {
        let partitions = vec![DescribeQuorumPartition { partition_index: 0 }];
        let topic = DescribeQuorumTopic { topic_name: topic_name.into(), partitions };
        DescribeQuorumRequest { topics: vec![topic] }
    };
    s.request(1, quorum("__cluster_metadata"));
    s.request(1, quorum("orders"));
    s.settle();
    s.says("Partitions, two a page.");
    let page = |cursor: Option<(&str, i32)>| DescribeTopicPartitionsRequest {
        response_partition_limit: 2,
        cursor: Nullable(cursor.map(|(name, partition_index)| Cursor { topic_name: name.into(), partition_index })),
        ..DescribeTopicPartitionsRequest::default()
    };
    s.request(1, page(None));
    s.request(1, page(Some(("clicks", 2))));
    s.request(1, page(Some(("orders", 1))));
    s.end();
}

#[test]
fn two_shards() {
    let mut s = Story::new("two-shards", 2);
    s.says("A broker of two shards.");
    s.start();
    s.tell(1, Input::Opened { conn: CONN });
    s.says("A client of shard 1 asks for a topic that does not exist: it is created first, then the question is looked at again.");
    let topic = MetadataRequestTopic { name: Some("clicks".into()), ..MetadataRequestTopic::default() };
    s.request(1, MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() });
    s.settle();
    s.request(1, create("orders", 4));
    s.settle();
    s.says("A produce to partitions of both shards: one answer, when both are durable.");
    s.request(1, produce("orders", &[0, 1, 2, 3], -1, -1));
    s.settle();
    s.says("A long poll over partitions of both. Nothing is there; then shard 0 gets a record, and shard 1 is asked to settle.");
    s.request(1, fetch("orders", &[(0, 1), (1, 1), (2, 1), (3, 1)], 1));
    s.settle();
    s.request(1, produce("orders", &[0], -1, -1));
    s.settle();
    s.request(1, produce("orders", &[1, 2, 3], -1, -1));
    s.settle();
    s.end();
}
