//! One who owns a topic, deletes it and makes it again under its name, as long as that cannot be mixed up.
//!
//! Alone under its names, it knows which life of a name is the present one: whatever is asked by name goes to that life,
//! whatever is asked by id to the life of that id, whichever shard is asked, crashes or not. A request by name that was
//! not answered may still come when the name means another topic: such a name is not used again. Properties:
//! `deleted-stays-deleted` (nothing takes or gives records under a deleted id, nor under a name that means nothing), and
//! all of the history's, for each life apart: what was sent to one must not appear in another, and what an idempotent
//! producer did in one must not be held against it in another.

use klamm_core::ids::{ProducerId, Sequence, Uuid};
use klamm_core::metadata::configs::INTERNAL_SEGMENT_BYTES;
use klamm_core::record;
use klamm_core::rng::Rng;
use klamm_core::wire::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicState,
    DeleteTopicsRequest, FetchPartition, FetchRequest, FetchResponse, FetchTopic, InitProducerIdRequest,
    MetadataRequest, MetadataRequestTopic, PartitionProduceData, ProduceRequest, Records, Response, TopicProduceData,
    error, list_offsets,
};

use super::{Ask, Cx, MORTAL, Role, batch, deletion, everything, floors, is_maybe, listing, odd_answer, odd_error};
use crate::history::{Moment, Partition, Sent};
use crate::report::Violation;

/// A life ends after so many things were done in it, at most.
const LONGEST: u64 = 24;
/// Nothing is asked again sooner.
const AGAIN: u64 = 100_000_000;

/// A batch that is sent until it is acknowledged.
#[derive(Clone, Debug)]
struct Pending {
    values: Vec<u64>,
    first: i32,
    bytes: bytes::Bytes,
}

/// The present life of the topic.
#[derive(Debug)]
struct Life {
    /// In the history.
    label: String,
    id: Uuid,
    partitions: i32,
    /// Of each partition: the next sequence, and what is not acknowledged.
    lanes: Vec<(i32, Option<Pending>)>,
    /// Things left to do in it.
    left: u64,
    /// Where reading stands.
    read: Vec<i64>,
}

#[derive(Debug)]
enum State {
    /// There is no topic of the name.
    Absent,
    /// Its creation was asked for; whether it is known to exist, on every shard.
    Creating(bool),
    Alive(Life),
    /// Its deletion was asked for.
    Deleting(Life),
}

/// See the module.
#[derive(Debug)]
pub struct Owner {
    rng: Rng,
    number: u64,
    pace: u64,
    segment_bytes: Vec<i64>,
    /// Counts names, and lives of all of them.
    names: u64,
    lives: u64,
    /// A request by name has no answer: it may come late.
    tainted: bool,
    /// The last life of the name that was deleted.
    last: Option<(String, Uuid)>,
    state: State,
    producer: Option<ProducerId>,
    next_at: u64,
    waiting: usize,
    /// The connection broke since the deletion was asked for.
    broken: bool,
}

/// A question of an owner.
#[derive(Debug)]
pub enum Asked {
    /// For a producer id.
    ProducerId,
    /// To create the topic.
    Create,
    /// Which id the name has.
    Which,
    /// All topics.
    List(Moment),
    /// To append to partitions.
    Produce {
        /// In which life.
        label: String,
        /// Partition and first sequence of each batch.
        parts: Vec<(i32, i32)>,
        /// By name, not by id.
        named: bool,
    },
    /// To read a partition from an offset.
    Fetch {
        /// In which life.
        label: String,
        /// Which.
        partition: i32,
        /// From where.
        from: i64,
        /// The end and the start that were known.
        floors: (i64, i64),
    },
    /// Where partitions start or end.
    Ends {
        /// In which life.
        label: String,
        /// Start or end.
        which: i64,
        /// What was known of each.
        floors: Vec<(i64, i64)>,
    },
    /// To trim a partition.
    Trim {
        /// In which life.
        label: String,
        /// Which.
        partition: i32,
        /// To where.
        to: Option<i64>,
        /// The end and the start that were known.
        floors: (i64, i64),
    },
    /// To delete the topic.
    Delete {
        /// By name, not by id.
        named: bool,
    },
    /// Something of a life that is over.
    Ghost(&'static str),
}

impl Owner {
    /// The owner of some names; `number` tells it from others.
    #[must_use]
    pub fn new(seed: u64, number: u64, pace: u64, segment_bytes: Vec<i64>) -> Owner {
        Owner {
            rng: Rng::new(seed),
            number,
            pace,
            segment_bytes,
            names: 0,
            lives: 0,
            tainted: false,
            last: None,
            state: State::Absent,
            producer: None,
            next_at: 0,
            waiting: 0,
            broken: false,
        }
    }

    fn name(&self) -> String {
        format!("{MORTAL}{}-{}", self.number, self.names)
    }

    fn create(&mut self) -> Ask<Asked> {
        self.state = State::Creating(false);
        let bytes = self.rng.below(self.segment_bytes.len() as u64) as usize;
        let config = |bytes: &i64| CreatableTopicConfig {
            name: INTERNAL_SEGMENT_BYTES.to_owned(),
            value: Some(bytes.to_string()),
        };
        let topic = CreatableTopic {
            name: self.name(),
            num_partitions: 1 + self.rng.below(3) as i32,
            replication_factor: 1,
            configs: self.segment_bytes.get(bytes).map(config).into_iter().collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        (request.into(), Asked::Create)
    }

    fn which(&self) -> Ask<Asked> {
        let topic = MetadataRequestTopic { name: Some(self.name()), ..MetadataRequestTopic::default() };
        let topics = Some(vec![topic]);
        let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..MetadataRequest::default() };
        (request.into(), Asked::Which)
    }

    /// A life begins.
    fn born(&mut self, id: Uuid, partitions: i32, cx: &mut Cx<'_>) -> Result<(), Violation> {
        if let Some((label, _)) = cx.history.life(id) {
            return Err(Violation {
                property: "deleted-stays-deleted",
                fact: format!("{id} is the id of {label}, which was deleted"),
                contradiction: format!("{} was created with it", self.name()),
            });
        }
        let again = self.last.is_some();
        let label = format!("{}#{}", self.name(), self.lives);
        self.lives += 1;
        cx.history.created(&label, &self.name(), Some(id), partitions as usize);
        cx.shared.count(if again { "topics made again" } else { "mortal topics" });
        if again && self.broken {
            cx.shared.count("topics made again after a crash");
        }
        self.broken = false;
        let lanes = vec![(0, None); partitions as usize];
        let left = 1 + self.rng.below(LONGEST);
        let read = vec![0; partitions as usize];
        self.state = State::Alive(Life { label, id, partitions, lanes, left, read });
        Ok(())
    }

    /// Something that must not find anything: by the id of a topic that was deleted.
    fn ghost(&mut self, cx: &mut Cx<'_>) -> Option<Ask<Asked>> {
        let (_, id) = self.last.clone()?;
        if self.rng.one_in(2) {
            let value = cx.shared.number();
            let request = production(Named::Id(id), vec![(0, batch(&[value], None, cx))], 1_000);
            return Some((request.into(), Asked::Ghost("a produce")));
        }
        Some((fetching(Named::Id(id), 0, 0, 1 << 20, 0).into(), Asked::Ghost("a fetch")))
    }

    fn produce(&mut self, all: bool, cx: &mut Cx<'_>) -> Option<Ask<Asked>> {
        let producer = self.producer?;
        let named = !all && self.rng.one_in(4);
        let name = self.name();
        let State::Alive(life) = &mut self.state else { return None };
        let mut parts = Vec::new();
        let mut asked = Vec::new();
        for partition in 0..life.partitions {
            let (next, pending) = &mut life.lanes[partition as usize];
            if !all && self.rng.one_in(2) {
                continue;
            }
            let batch = pending.get_or_insert_with(|| {
                let values: Vec<u64> = (0..=self.rng.below(3)).map(|_| cx.shared.number()).collect();
                let first = *next;
                *next += values.len() as i32;
                let bytes = batch(&values, Some((producer, Sequence(first))), cx);
                let sent = Sent { bytes: bytes.len() as u32, time: cx.least_time, stamp: cx.wall };
                cx.history.sent(&(life.label.clone(), partition), u64::MAX - self.number, &values, sent);
                Pending { values, first, bytes }
            });
            parts.push((partition, batch.bytes.clone()));
            asked.push((partition, batch.first));
        }
        if parts.is_empty() {
            return None;
        }
        let to = if named { Named::Name(name) } else { Named::Id(life.id) };
        Some((production(to, parts, 10_000).into(), Asked::Produce { label: life.label.clone(), parts: asked, named }))
    }

    fn fetch(&mut self, wait_ms: i32, cx: &mut Cx<'_>) -> Option<Ask<Asked>> {
        let name = self.name();
        let named = self.rng.one_in(2);
        let State::Alive(life) = &mut self.state else { return None };
        let partition = self.rng.below(life.partitions as u64) as i32;
        if self.rng.one_in(4) {
            life.read[partition as usize] = 0;
        }
        let from = life.read[partition as usize];
        let floors = floors(cx.history, &(life.label.clone(), partition));
        let to = if named { Named::Name(name) } else { Named::Id(life.id) };
        let request = fetching(to, partition, from, 1 << 20, wait_ms);
        Some((request.into(), Asked::Fetch { label: life.label.clone(), partition, from, floors }))
    }

    fn ends(&mut self, cx: &mut Cx<'_>) -> Option<Ask<Asked>> {
        let name = self.name();
        let State::Alive(life) = &self.state else { return None };
        let which = if self.rng.one_in(2) { list_offsets::LATEST } else { list_offsets::EARLIEST };
        let floors = (0..life.partitions).map(|p| floors(cx.history, &(life.label.clone(), p))).collect();
        let request = listing(&name, 0..life.partitions, which);
        Some((request.into(), Asked::Ends { label: life.label.clone(), which, floors }))
    }

    fn trim(&mut self, cx: &mut Cx<'_>) -> Option<Ask<Asked>> {
        let name = self.name();
        let State::Alive(life) = &self.state else { return None };
        let at = (life.label.clone(), self.rng.below(life.partitions as u64) as i32);
        let floors = floors(cx.history, &at);
        let to = (!self.rng.one_in(3)).then(|| self.rng.below(floors.0 as u64 + 1) as i64);
        cx.history.trims(&at, to);
        let request = deletion(&name, &[(at.1, to.unwrap_or(-1))], 5_000);
        Some((request.into(), Asked::Trim { label: at.0, partition: at.1, to, floors }))
    }

    /// Asks for the deletion; now and then right behind a produce and a fetch that waits.
    fn delete(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        let mut asks = Vec::new();
        if self.rng.one_in(2) {
            asks.extend(self.produce(true, cx));
            asks.extend(self.fetch(800, cx));
        }
        let (name, named) = (self.name(), self.rng.one_in(4));
        match std::mem::replace(&mut self.state, State::Absent) {
            State::Alive(life) | State::Deleting(life) => {
                cx.history.deleting(&life.label);
                let topic = if named {
                    DeleteTopicState { name: Some(name), ..DeleteTopicState::default() }
                } else {
                    DeleteTopicState { topic_id: life.id, ..DeleteTopicState::default() }
                };
                self.state = State::Deleting(life);
                let request = DeleteTopicsRequest { topics: vec![topic], ..DeleteTopicsRequest::default() };
                asks.push((request.into(), Asked::Delete { named }));
            }
            other => self.state = other,
        }
        asks
    }

    /// The topic is no more.
    fn died(&mut self, cx: &mut Cx<'_>) {
        if let State::Deleting(life) = std::mem::replace(&mut self.state, State::Absent) {
            cx.shared.count("topics deleted");
            cx.history.deleted(&life.label);
            self.last = Some((life.label, life.id));
        }
        if std::mem::take(&mut self.tainted) {
            (self.names, self.last) = (self.names + 1, None);
        }
    }

    fn is_of(&self, label: &str) -> bool {
        matches!(&self.state, State::Alive(life) | State::Deleting(life) if life.label == label)
    }

    fn is_dying(&self) -> bool {
        !matches!(self.state, State::Alive(_))
    }

    fn created(&mut self, response: &CreateTopicsResponse, cx: &mut Cx<'_>) -> Result<(), Violation> {
        let Some(topic) = response.topics.first() else { return Ok(()) };
        match topic.error_code {
            error::NONE if topic.topic_id != Uuid::ZERO => self.born(topic.topic_id, topic.num_partitions, cx),
            error::TOPIC_ALREADY_EXISTS if !self.tainted => Err(Violation {
                property: "deleted-stays-deleted",
                fact: format!("there is no {}: the last one was {:?}", self.name(), self.last),
                contradiction: "it cannot be created, for there is one".into(),
            }),
            error::NONE | error::TOPIC_ALREADY_EXISTS => {
                self.state = State::Creating(true);
                Ok(())
            }
            code if is_maybe(code) => {
                self.tainted = true;
                Ok(())
            }
            code => Err(odd_error("a CreateTopics", code)),
        }
    }

    fn produced(
        &mut self,
        label: &str,
        parts: Vec<(i32, i32)>,
        outcomes: Vec<(i16, i64)>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Violation> {
        let (mine, dying) = (self.is_of(label), self.is_dying());
        let (State::Alive(life) | State::Deleting(life)) = &mut self.state else { return Ok(()) };
        for ((partition, first), (code, base)) in parts.into_iter().zip(outcomes).filter(|_| mine) {
            let pending = &mut life.lanes[partition as usize].1;
            let Some(sent) = pending.as_ref().filter(|sent| sent.first == first) else { continue };
            match code {
                error::NONE => {
                    for (value, offset) in sent.values.iter().zip(base..) {
                        cx.history.acked(&(label.to_owned(), partition), *value, offset)?;
                    }
                    *pending = None;
                }
                error::UNKNOWN_TOPIC_OR_PARTITION | error::UNKNOWN_TOPIC_ID if dying => {}
                error::OUT_OF_ORDER_SEQUENCE_NUMBER => {
                    return Err(Violation {
                        property: "sequences-kept",
                        fact: format!("all before sequence {first} to {label}-{partition} is acknowledged"),
                        contradiction: "that sequence is refused as out of order".into(),
                    });
                }
                code if is_maybe(code) => {}
                code => return Err(odd_error(&format!("a produce to {label}"), code)),
            }
        }
        Ok(())
    }

    fn fetched(
        &mut self,
        at: &Partition,
        from: i64,
        (end, start): (i64, i64),
        response: &FetchResponse,
        cx: &mut Cx<'_>,
    ) -> Result<(), Violation> {
        let dying = self.is_dying() || !self.is_of(&at.0);
        let Some(part) = response.responses.first().and_then(|t| t.partitions.first()) else { return Ok(()) };
        let mut next = from;
        match part.error_code {
            error::NONE if from < start => {
                return Err(below_start(at, from, start));
            }
            error::NONE => {
                cx.history.ends(at, end, part.high_watermark)?;
                if part.log_start_offset >= 0 {
                    cx.history.starts(at, start, part.log_start_offset)?;
                }
                let Records::Bytes(bytes) = &part.records else { return Ok(()) };
                for (offset, value) in values(bytes).map_err(|what| odd_records(at, from, what))? {
                    if offset >= from {
                        cx.history.read(at, offset, value)?;
                        next = offset + 1;
                    }
                }
            }
            // Then it starts behind that, and may.
            error::OFFSET_OUT_OF_RANGE => {
                cx.history.starts_behind(at, from)?;
                next = cx.history.start(at);
            }
            error::UNKNOWN_TOPIC_OR_PARTITION | error::UNKNOWN_TOPIC_ID if dying => {}
            code if is_maybe(code) => {}
            code => return Err(odd_error(&format!("a fetch of {}", at.0), code)),
        }
        if let State::Alive(life) = &mut self.state
            && life.label == at.0
        {
            life.read[at.1 as usize] = next;
        }
        Ok(())
    }

    fn deleted(&mut self, named: bool, code: i16, cx: &mut Cx<'_>) -> Result<(), Violation> {
        match code {
            error::NONE => self.died(cx),
            // An earlier request, which was not answered, did it.
            error::UNKNOWN_TOPIC_ID | error::UNKNOWN_TOPIC_OR_PARTITION if self.broken => self.died(cx),
            code if is_maybe(code) => {
                (self.tainted, self.broken) = (self.tainted || named, true);
            }
            code => return Err(odd_error("a DeleteTopics", code)),
        }
        Ok(())
    }
}

/// How a topic is named in a request.
enum Named {
    Name(String),
    Id(Uuid),
}

fn production(to: Named, parts: Vec<(i32, bytes::Bytes)>, timeout_ms: i32) -> ProduceRequest {
    let part = |(index, records)| PartitionProduceData { index, records: Some(records) };
    let (name, topic_id) = both(to);
    let topic = TopicProduceData { name, topic_id, partition_data: parts.into_iter().map(part).collect() };
    ProduceRequest { acks: -1, timeout_ms, topic_data: vec![topic], ..ProduceRequest::default() }
}

fn fetching(to: Named, partition: i32, fetch_offset: i64, bytes: i32, max_wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition { partition, fetch_offset, partition_max_bytes: bytes, ..FetchPartition::default() };
    let topic_ids = matches!(to, Named::Id(_));
    let (topic, topic_id) = both(to);
    let topics = vec![FetchTopic { topic, topic_id, partitions: vec![partition] }];
    FetchRequest { topics, topic_ids, max_wait_ms, min_bytes: 1, ..FetchRequest::default() }
}

fn both(named: Named) -> (String, Uuid) {
    match named {
        Named::Name(name) => (name, Uuid::ZERO),
        Named::Id(id) => (String::new(), id),
    }
}

fn values(bytes: &bytes::Bytes) -> Result<Vec<(i64, u64)>, String> {
    let mut found = Vec::new();
    for batch in record::batches(bytes.clone()) {
        let batch = batch.map_err(|corrupt| corrupt.0.to_owned())?;
        for record in record::records(batch.bytes()) {
            let record = record.map_err(|corrupt| corrupt.0.to_owned())?;
            let value = record.value.and_then(|v| v.first_chunk()).ok_or("a record without a value")?;
            found.push((record.offset.0, u64::from_be_bytes(*value)));
        }
    }
    Ok(found)
}

fn odd_records(at: &Partition, from: i64, what: String) -> Violation {
    Violation { property: "whole-batches", fact: format!("{at:?} is read from {from}"), contradiction: what }
}

/// A fetch below a log's start was served.
pub(crate) fn below_start(at: &Partition, from: i64, start: i64) -> Violation {
    Violation {
        property: "below-start-is-out-of-range",
        fact: format!("{at:?} was known to start at {start} before a fetch from {from}"),
        contradiction: "that is served".into(),
    }
}

impl Role for Owner {
    type Asked = Asked;

    fn reseed(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
    }

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        if self.waiting > 0 || cx.now < self.next_at || (!cx.working && self.owes().is_none()) {
            return Vec::new();
        }
        self.next_at = cx.now + if cx.working { self.pace / 2 + self.rng.below(self.pace) } else { AGAIN };
        let producer_id = || (InitProducerIdRequest::default().into(), Asked::ProducerId);
        let asks: Vec<Ask<Asked>> = match &mut self.state {
            _ if self.producer.is_none() && cx.working => vec![producer_id()],
            State::Absent if self.rng.one_in(3) => {
                vec![self.ghost(cx).unwrap_or_else(|| (everything().into(), Asked::List(cx.history.moment())))]
            }
            State::Absent => vec![self.create()],
            State::Creating(false) => vec![self.create()],
            State::Creating(true) => vec![self.which()],
            State::Deleting(_) => self.delete(cx),
            State::Alive(life) => {
                life.left = life.left.saturating_sub(1);
                if life.left == 0 && cx.working {
                    self.delete(cx)
                } else {
                    let ask = match self.rng.below(8) {
                        0..4 => self.produce(false, cx),
                        4 => self.ends(cx),
                        5 => self.trim(cx),
                        _ => self.fetch(200, cx),
                    };
                    ask.into_iter().collect()
                }
            }
        };
        self.waiting = asks.len();
        asks
    }

    fn answered(&mut self, asked: Asked, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        self.waiting -= 1;
        match (asked, response) {
            (Asked::ProducerId, Response::InitProducerId(r)) => {
                self.producer = (r.error_code == error::NONE).then_some(ProducerId(r.producer_id));
                Ok(())
            }
            (Asked::Create, Response::CreateTopics(r)) => self.created(&r, cx),
            (Asked::Which, Response::Metadata(r)) => {
                match r.topics.first() {
                    Some(t) if t.error_code == error::NONE => {
                        self.born(t.topic_id, t.partitions.len() as i32, cx)?;
                    }
                    found => {
                        return Err(Violation {
                            property: "topics-stay",
                            fact: format!("{} was created, or said to exist", self.name()),
                            contradiction: format!("a later Metadata answer has {found:?}"),
                        });
                    }
                }
                Ok(())
            }
            (Asked::List(moment), Response::Metadata(r)) => cx.history.listed(moment, &r),
            (Asked::Produce { label, parts, .. }, Response::Produce(r)) => {
                let outcomes = r.responses.iter().flat_map(|t| &t.partition_responses);
                let outcomes = outcomes.map(|p| (p.error_code, p.base_offset)).collect();
                self.produced(&label, parts, outcomes, cx)
            }
            (Asked::Fetch { label, partition, from, floors }, Response::Fetch(r)) => {
                self.fetched(&(label, partition), from, floors, &r, cx)
            }
            (Asked::Ends { label, which, floors }, Response::ListOffsets(r)) => {
                let parts = r.topics.iter().flat_map(|t| &t.partitions);
                for ((partition, (end, start)), part) in (0..).zip(floors).zip(parts) {
                    let at = (label.clone(), partition);
                    match part.error_code {
                        error::NONE if which == list_offsets::LATEST => cx.history.ends(&at, end, part.offset)?,
                        error::NONE => cx.history.starts(&at, start, part.offset)?,
                        code if is_maybe(code) => {}
                        code => return Err(odd_error(&format!("a ListOffsets of {label}"), code)),
                    }
                }
                Ok(())
            }
            (Asked::Trim { label, partition, to, floors }, Response::DeleteRecords(r)) => {
                let part = r.topics.first().and_then(|t| t.partitions.first());
                match part.map(|part| (part.error_code, part.low_watermark)) {
                    Some((error::NONE, low)) => cx.history.trimmed(&(label, partition), to, floors, low),
                    Some((code, _)) if is_maybe(code) => Ok(()),
                    Some((code, _)) => Err(odd_error(&format!("a DeleteRecords of {label} to {to:?}"), code)),
                    None => Ok(()),
                }
            }
            (Asked::Delete { named }, Response::DeleteTopics(r)) => {
                let code = r.responses.first().map_or(error::UNKNOWN_SERVER_ERROR, |r| r.error_code);
                self.deleted(named, code, cx)
            }
            (Asked::Ghost(what), Response::Produce(r)) => {
                let code = r.responses.first().and_then(|t| t.partition_responses.first()).map(|p| p.error_code);
                self.gone(what, code)
            }
            (Asked::Ghost(what), Response::Fetch(r)) => {
                let code = r.responses.first().and_then(|t| t.partitions.first()).map(|p| p.error_code);
                self.gone(what, code)
            }
            (_, other) => Err(odd_answer(&other)),
        }
    }

    fn lost(&mut self, asked: Vec<Asked>, cx: &mut Cx<'_>) {
        self.waiting = 0;
        for asked in asked {
            match asked {
                Asked::Create | Asked::Trim { .. } | Asked::Produce { named: true, .. } => self.tainted = true,
                Asked::Delete { named } => {
                    cx.shared.count("crashes during deletion");
                    (self.tainted, self.broken) = (self.tainted || named, true);
                }
                Asked::ProducerId
                | Asked::Which
                | Asked::List(_)
                | Asked::Produce { .. }
                | Asked::Fetch { .. }
                | Asked::Ends { .. }
                | Asked::Ghost(_) => {}
            }
        }
        // Whatever happened, some of it happened in another life of the broker, perhaps.
        self.broken |= matches!(self.state, State::Absent) && self.last.is_some();
    }

    fn next(&self, working: bool) -> Option<u64> {
        (self.waiting == 0 && (working || self.owes().is_some())).then_some(self.next_at)
    }

    fn owes(&self) -> Option<String> {
        match &self.state {
            State::Absent | State::Alive(_) => None,
            State::Creating(_) => Some(format!("has to know whether {} exists", self.name())),
            State::Deleting(life) => Some(format!("has to delete {}", life.label)),
        }
    }
}

impl Owner {
    /// What was asked of a deleted topic must have been refused.
    fn gone(&self, what: &str, code: Option<i16>) -> Result<(), Violation> {
        match code {
            Some(error::NONE) => Err(Violation {
                property: "deleted-stays-deleted",
                fact: format!("the deletion of {:?} was acknowledged", self.last),
                contradiction: format!("{what} to its id is served"),
            }),
            _ => Ok(()),
        }
    }
}
