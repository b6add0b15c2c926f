//! A client request that is answered from several places: its parts go to the shards that own the logs, its answer is
//! put together here, in the request's order.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::effect::{FetchPart, FetchResult, Few, ListPart, ListResult, ProducePart, ProduceResult, Range, Refused};
use crate::ids::{ConnectionId, LeaderEpoch, LogId, Offset, ShardIndex, Timestamp};
use crate::metadata::{Image, Topic};
use crate::session::fetch::{FetchSessions, InSession};
use crate::session::logs::LogsAnswer;
use crate::session::{Ending, Slot};
use crate::wire::{
    BatchIndexAndErrorMessage, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
    FetchableTopicResponse, ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest,
    ListOffsetsResponse, ListOffsetsTopicResponse, MetadataRequest, PartitionData, PartitionProduceData,
    PartitionProduceResponse, ProduceRequest, ProduceResponse, Records, TopicProduceData, TopicProduceResponse,
    TopicRef, error,
};

/// The most bytes that one fetch answers, as in Kafka (`fetch.max.bytes` of a broker).
const MAX_FETCH_BYTES: i32 = 57_671_680;
/// Bad records of a batch with a message of their own.
const WORDED_RECORDS: usize = 3;
/// `IsolationLevel`.
const READ_UNCOMMITTED: i8 = 0;
/// `IsolationLevel`.
const READ_COMMITTED: i8 = 1;

/// Where a part stands in the answer: topic and partition, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Position of the topic.
    pub topic: usize,
    /// Position of the partition within it.
    pub partition: usize,
}

/// What a request asks of logs.
#[derive(Debug)]
pub struct Parts<T> {
    /// Where the results go.
    pub places: Few<Place>,
    /// What is asked, for each place.
    pub asked: Few<T>,
}

impl<T> Default for Parts<T> {
    fn default() -> Parts<T> {
        Parts { places: Few::new(), asked: Few::new() }
    }
}

impl<T> Parts<T> {
    /// Adds one.
    pub fn push(&mut self, place: Place, asked: T) {
        self.places.push(place);
        self.asked.push(asked);
    }
}

/// A request that waits for answers.
#[derive(Debug)]
pub struct Gather {
    /// Who asked.
    pub conn: ConnectionId,
    /// Which of its requests.
    pub slot: Slot,
    /// What it asks; a question is named by its position here.
    pub questions: Few<Question>,
    /// The answer so far.
    pub kind: Kind,
}

/// What a request asks of one shard.
#[derive(Debug)]
pub struct Question {
    /// Who is asked.
    pub to: ShardIndex,
    /// Where its results go.
    pub places: Few<Place>,
    /// Whether it is not answered yet.
    pub open: bool,
}

impl Gather {
    /// The positions of the questions that are not answered yet.
    pub fn open(&self) -> impl Iterator<Item = usize> {
        self.questions.iter().enumerate().filter(|(_, question)| question.open).map(|(index, _)| index)
    }
}

/// What is put together.
#[derive(Debug)]
pub enum Kind {
    /// A produce.
    Produce {
        /// As asked.
        acks: i16,
        /// So far.
        response: ProduceResponse,
    },
    /// A fetch.
    Fetch(Box<FetchGather>),
    /// A list-offsets.
    ListOffsets(ListOffsetsResponse),
    /// A request about logs themselves.
    Logs(LogsAnswer),
    /// An admin request: the one answer is it.
    Relay,
    /// A metadata request whose topics are being created: presented again when they are.
    Metadata(MetadataRequest),
}

/// A fetch in the making.
#[derive(Debug)]
pub struct FetchGather {
    session: InSession,
    committed_only: bool,
    response: FetchResponse,
    ranges: Vec<(Place, Range)>,
    max_bytes: u32,
    min_bytes: u32,
    /// Bytes that each open question reported as readable.
    readable: Vec<(usize, u32)>,
}

/// A partition's log, or why there is none.
pub(super) fn find(image: &Image, topic: TopicRef<'_>, partition: i32) -> Result<LogId, i16> {
    topic_in(image, topic).and_then(|topic| log_of(topic, partition))
}

fn topic_in<'a>(image: &'a Image, topic: TopicRef<'_>) -> Result<&'a Topic, i16> {
    let (name, unknown) = match topic {
        TopicRef::Name(name) => (Some(name), error::UNKNOWN_TOPIC_OR_PARTITION),
        TopicRef::Id(id) => (image.name(id), error::UNKNOWN_TOPIC_ID),
    };
    name.and_then(|name| image.topic(name)).ok_or(unknown)
}

fn log_of(topic: &Topic, partition: i32) -> Result<LogId, i16> {
    let known = topic.partitions.contains(partition);
    known.then_some(LogId { topic: topic.id, partition }).ok_or(error::UNKNOWN_TOPIC_OR_PARTITION)
}

/// Takes a produce request apart.
#[must_use]
pub fn produce(image: &Image, request: ProduceRequest) -> (Parts<ProducePart>, ProduceResponse) {
    let mut parts = Parts::default();
    let bad_acks = !(-1..=1).contains(&request.acks);
    let by_id = request.topic_ids;
    let topic = |(t, topic): (usize, TopicProduceData)| {
        let TopicProduceData { name, topic_id, partition_data } = topic;
        let found = topic_in(image, TopicRef::of(&name, topic_id, by_id));
        let partition = |(p, data): (usize, PartitionProduceData)| {
            let mut answer =
                PartitionProduceResponse { index: data.index, base_offset: -1, ..PartitionProduceResponse::default() };
            match found.and_then(|topic| log_of(topic, data.index)) {
                _ if bad_acks => answer.error_code = error::INVALID_REQUIRED_ACKS,
                Ok(log) => {
                    let records = data.records.unwrap_or_default();
                    parts.push(Place { topic: t, partition: p }, ProducePart { log, records });
                }
                Err(code) => answer.error_code = code,
            }
            answer
        };
        let partition_responses = partition_data.into_iter().enumerate().map(partition).collect();
        TopicProduceResponse { name, topic_id, partition_responses }
    };
    let responses = request.topic_data.into_iter().enumerate().map(topic).collect();
    (parts, ProduceResponse { responses, ..ProduceResponse::default() })
}

/// Puts one result of a produce in its place.
pub fn produced(response: &mut ProduceResponse, at: Place, result: ProduceResult) {
    let answer = &mut response.responses[at.topic].partition_responses[at.partition];
    answer.error_code = result.error;
    answer.base_offset = result.base_offset.0;
    answer.log_append_time_ms = result.log_append_time.0;
    answer.log_start_offset = result.log_start_offset.0;
    if let Some(refused) = result.refused {
        answer.record_errors = record_errors(&refused);
        answer.error_message = Some(refused.reason.into());
    }
}

/// Names every bad record (KIP-467), and of the first few what is wrong with them: of the others the answer's own message
/// says it.
fn record_errors(refused: &Refused) -> Vec<BatchIndexAndErrorMessage> {
    let error = |(at, batch_index): (usize, &i32)| BatchIndexAndErrorMessage {
        batch_index: *batch_index,
        batch_index_error_message: (at < WORDED_RECORDS).then(|| refused.reason.into()),
    };
    refused.bad_records.iter().enumerate().map(error).collect()
}

/// How a produce ends: with acks=0 only by silence or, after any error, by the connection's end.
#[must_use]
pub fn produce_ending(acks: i16, response: ProduceResponse) -> Ending {
    let refused =
        |r: &ProduceResponse| r.responses.iter().flat_map(|t| &t.partition_responses).any(|p| p.error_code != 0);
    match acks {
        0 if refused(&response) => Ending::Close("a produce with acks=0 was refused"),
        0 => Ending::Quiet,
        _ => Ending::from(crate::wire::Response::Produce(response)),
    }
}

/// What is wrong with a fetch as a whole, as a code: limits below 0, an isolation level that does not exist, or a
/// follower where there are none.
#[must_use]
pub fn check_fetch(request: &FetchRequest) -> Option<i16> {
    let mut parts = request.topics.iter().flat_map(|t| &t.partitions);
    let negative = request.max_wait_ms < 0
        || request.min_bytes < 0
        || request.max_bytes < 0
        || parts.any(|part| part.partition_max_bytes < 0);
    if negative || !matches!(request.isolation_level, READ_UNCOMMITTED | READ_COMMITTED) {
        return Some(error::INVALID_REQUEST);
    }
    (request.replica_id >= 0).then_some(error::NOT_LEADER_OR_FOLLOWER)
}

/// The answer to a fetch that is refused as a whole: old versions have no place for that but its partitions.
#[must_use]
pub fn refused_fetch(request: FetchRequest, error_code: i16) -> FetchResponse {
    let refused = |asked: &FetchPartition| PartitionData {
        partition_index: asked.partition,
        error_code,
        high_watermark: -1,
        ..PartitionData::default()
    };
    let topic = |topic: FetchTopic| FetchableTopicResponse {
        partitions: topic.partitions.iter().map(refused).collect(),
        topic: topic.topic,
        topic_id: topic.topic_id,
    };
    let responses = request.topics.into_iter().map(topic).collect();
    FetchResponse { error_code, responses, ..FetchResponse::default() }
}

/// Takes a fetch request apart: what it asks for itself, or what its session does.
#[must_use]
pub fn fetch(image: &Image, request: FetchRequest, session: InSession) -> (Parts<FetchPart>, Box<FetchGather>) {
    let mut parts = Parts::default();
    let mut response = FetchResponse::default();
    // What a session holds is named once.
    let mut named = (!session.incremental).then(BTreeSet::new);
    for (t, topic) in request.topics.into_iter().enumerate() {
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for (p, asked) in topic.partitions.iter().enumerate() {
            let mut answer = PartitionData { partition_index: asked.partition, ..PartitionData::default() };
            let by = TopicRef::of(&topic.topic, topic.topic_id, request.topic_ids);
            let found = find(image, by, asked.partition);
            match found.and_then(|log| once(&mut named, log)) {
                Ok(log) => parts.push(Place { topic: t, partition: p }, fetch_part(log, asked)),
                Err(code) => {
                    answer.error_code = code;
                    answer.high_watermark = -1;
                    answer.aborted_transactions = Some(Vec::new());
                }
            }
            answers.push(answer);
        }
        response.responses.push(FetchableTopicResponse {
            topic: topic.topic,
            topic_id: topic.topic_id,
            partitions: answers,
        });
    }
    let refused = response.responses.iter().flat_map(|t| &t.partitions).any(|p| p.error_code != 0);
    let gather = FetchGather {
        session,
        committed_only: request.isolation_level == READ_COMMITTED,
        response,
        ranges: Vec::new(),
        max_bytes: request.max_bytes.clamp(0, MAX_FETCH_BYTES) as u32,
        // An error is answered at once.
        min_bytes: if refused { 0 } else { request.min_bytes.max(0) as u32 },
        readable: Vec::new(),
    };
    (parts, Box::new(gather))
}

/// A log, unless it was named before.
fn once(named: &mut Option<BTreeSet<LogId>>, log: LogId) -> Result<LogId, i16> {
    let again = named.as_mut().is_some_and(|named| !named.insert(log));
    if again { Err(error::INVALID_REQUEST) } else { Ok(log) }
}

fn fetch_part(log: LogId, asked: &FetchPartition) -> FetchPart {
    FetchPart {
        log,
        offset: Offset(asked.fetch_offset),
        current_leader_epoch: LeaderEpoch(asked.current_leader_epoch),
        last_fetched_epoch: LeaderEpoch(asked.last_fetched_epoch),
        max_bytes: asked.partition_max_bytes.max(0) as u32,
    }
}

impl FetchGather {
    /// How many bytes make an answer worth while.
    #[must_use]
    pub fn min_bytes(&self) -> u32 {
        self.min_bytes
    }

    /// A question reports bytes; true when all of them together are enough.
    pub fn progress(&mut self, question: usize, bytes: u32) -> bool {
        self.readable.retain(|(c, _)| *c != question);
        self.readable.push((question, bytes));
        self.readable.iter().map(|(_, b)| u64::from(*b)).sum::<u64>() >= u64::from(self.min_bytes)
    }

    /// Puts one result in its place.
    pub fn fetched(&mut self, at: Place, result: FetchResult) {
        let answer = &mut self.response.responses[at.topic].partitions[at.partition];
        answer.error_code = result.error;
        // Null where nobody asked for committed records alone.
        answer.aborted_transactions = (self.committed_only && result.error == error::NONE).then(Vec::new);
        answer.high_watermark = result.high_watermark.0;
        answer.last_stable_offset = result.last_stable_offset.0;
        answer.log_start_offset = result.log_start_offset.0;
        if let Some((epoch, end)) = result.diverging {
            answer.diverging_epoch = EpochEndOffset { epoch: epoch.0, end_offset: end.0 };
        }
        if let Some(range) = result.range {
            self.ranges.push((at, range));
        }
    }

    /// The bytes that it holds, to be given back when nobody wants the answer any more.
    #[must_use]
    pub fn into_ranges(self) -> Vec<Range> {
        self.ranges.into_iter().map(|(_, range)| range).collect()
    }

    /// The answer: ranges in the request's order, so that the limit cuts from the back.
    #[must_use]
    pub fn ending(mut self, conn: ConnectionId, sessions: &mut FetchSessions) -> Ending {
        self.ranges.sort_by_key(|(at, _)| (at.topic, at.partition));
        let mut ranges = Vec::with_capacity(self.ranges.len());
        for (at, range) in self.ranges {
            let index = ranges.len() as u32;
            self.response.responses[at.topic].partitions[at.partition].records = Records::Range(index);
            ranges.push(range);
        }
        sessions.tell(conn, self.session, reach(&ranges, self.max_bytes), &mut self.response);
        Ending::Reply { response: self.response.into(), ranges, max_bytes: self.max_bytes }
    }
}

/// How many ranges leave whole, whatever their logs hold: the first one always gives something.
fn reach(ranges: &[Range], max_bytes: u32) -> u32 {
    let most = |range: &Range| match range {
        Range::Local { max_bytes, .. } => *max_bytes,
        Range::Leased { bytes, .. } => *bytes,
    };
    let mut left = max_bytes;
    let fit = |range: &&Range| left.checked_sub(most(range)).inspect(|rest| left = *rest).is_some();
    (ranges.iter().take_while(fit).count() as u32).max(1)
}

/// Takes a list-offsets request apart.
#[must_use]
pub fn list_offsets(image: &Image, request: ListOffsetsRequest) -> (Parts<ListPart>, ListOffsetsResponse) {
    let mut parts = Parts::default();
    let mut response = ListOffsetsResponse::default();
    let named = request.topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.name.clone(), p.partition_index)));
    let mut times: BTreeMap<(String, i32), usize> = BTreeMap::new();
    named.for_each(|partition| *times.entry(partition).or_default() += 1);
    let level = request.isolation_level;
    for (t, topic) in request.topics.into_iter().enumerate() {
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for (p, asked) in topic.partitions.iter().enumerate() {
            let mut answer = no_offset(asked.partition_index);
            let once = times.get(&(topic.name.clone(), asked.partition_index)) == Some(&1);
            match check_list(image, &topic.name, once, asked, request.lowest_timestamp, level) {
                Ok(part) => parts.push(Place { topic: t, partition: p }, part),
                Err(code) => answer.error_code = code,
            }
            answers.push(answer);
        }
        response.topics.push(ListOffsetsTopicResponse { name: topic.name, partitions: answers });
    }
    (parts, response)
}

fn check_list(
    image: &Image,
    topic: &str,
    once: bool,
    asked: &ListOffsetsPartition,
    lowest: i64,
    isolation_level: i8,
) -> Result<ListPart, i16> {
    if !once || !matches!(isolation_level, READ_UNCOMMITTED | READ_COMMITTED) {
        return Err(error::INVALID_REQUEST);
    }
    if asked.timestamp < lowest {
        return Err(error::UNSUPPORTED_VERSION);
    }
    Ok(ListPart {
        log: find(image, TopicRef::Name(topic), asked.partition_index)?,
        current_leader_epoch: LeaderEpoch(asked.current_leader_epoch),
        committed_only: isolation_level == READ_COMMITTED,
        timestamp: Timestamp(asked.timestamp),
    })
}

fn no_offset(partition_index: i32) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse { partition_index, ..ListOffsetsPartitionResponse::default() }
}

/// Puts one result of a list-offsets in its place.
pub fn listed(response: &mut ListOffsetsResponse, at: Place, result: &ListResult) {
    let answer = &mut response.topics[at.topic].partitions[at.partition];
    answer.error_code = result.error;
    answer.timestamp = result.timestamp.0;
    answer.offset = result.offset.0;
    answer.leader_epoch = result.leader_epoch.0;
}
