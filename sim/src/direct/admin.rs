//! Those who look after topics: one creates them, one watches them, one audits the end.
//!
//! That a topic is in one shard's Metadata promises nothing of others: only an acknowledged creation does.

use std::collections::BTreeMap;

use klamm_core::wire::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse, InitProducerIdRequest,
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic, MetadataRequest,
    MetadataRequestTopic, MetadataResponse, ProduceResponse, Response, error, list_offsets,
};

use super::broker::checksum;
use super::client::{Ask, Cx, Role, odd_answer, odd_error};
use super::params::{MS, Params, SECOND, Topic};
use super::reading::{fetch, fetched};
use super::requests::{batch, outcomes, produce, retriable, sent};
use crate::history::{Moment, Partition, name_of};
use crate::report::Violation;
use crate::workload::everything;
use crate::workload::inspector::partitions;
use crate::workload::reading::{Read, read};

/// Creates topics at their times, each until it is told that it exists.
#[derive(Debug)]
pub(super) struct Admin {
    left: Vec<Topic>,
    asking: bool,
    retry_at: u64,
}

impl Admin {
    pub(super) fn new(params: &Params) -> Admin {
        let left = params.topics.iter().filter(|t| t.created_at.is_some()).cloned().collect();
        Admin { left, asking: false, retry_at: 0 }
    }

    fn created(&mut self, response: &CreateTopicsResponse, cx: &mut Cx<'_>) -> Result<(), Violation> {
        for result in &response.topics {
            let Some(at) = self.left.iter().position(|t| t.name == result.name) else { continue };
            let id = match result.error_code {
                error::NONE => Some(result.topic_id),
                error::TOPIC_ALREADY_EXISTS => None,
                code if retriable(code) => {
                    self.retry_at = cx.now + 100 * MS;
                    continue;
                }
                code => return Err(odd_error("a CreateTopics", code)),
            };
            let topic = self.left.remove(at);
            cx.history.created(&topic.name, &topic.name, id, topic.partitions as usize);
            if let Some(created) = cx.history.topic_mut(&topic.name) {
                created.segment_bytes = u64::from(cx.params.segment_bytes);
            }
        }
        Ok(())
    }
}

fn creation(topic: &Topic) -> CreatableTopic {
    let never = (!topic.durable).then(|| CreatableTopicConfig {
        name: "flush.messages".into(),
        value: Some(klamm_core::metadata::configs::FLUSH_NEVER.to_string()),
    });
    CreatableTopic {
        name: topic.name.clone(),
        num_partitions: topic.partitions,
        replication_factor: 1,
        configs: never.into_iter().collect(),
        ..CreatableTopic::default()
    }
}

impl Role for Admin {
    type Asked = ();

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<()>> {
        let due = |t: &&Topic| cx.stopping || t.created_at.is_some_and(|at| at <= cx.now);
        let topics: Vec<CreatableTopic> = self.left.iter().filter(due).map(creation).collect();
        if self.asking || cx.now < self.retry_at || topics.is_empty() {
            return Vec::new();
        }
        self.asking = true;
        vec![(CreateTopicsRequest { topics, ..CreateTopicsRequest::default() }.into(), Some(()))]
    }

    fn answered(&mut self, (): (), response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        self.asking = false;
        let Response::CreateTopics(response) = response else { return Err(odd_answer(&response)) };
        self.created(&response, cx)
    }

    fn lost(&mut self, _cx: &mut Cx<'_>) {
        self.asking = false;
    }

    fn next(&self, _cx: &Cx<'_>) -> Option<u64> {
        let first = self.left.iter().filter_map(|t| t.created_at).min()?;
        (!self.asking).then(|| first.max(self.retry_at))
    }

    fn owes(&self) -> Option<String> {
        (!self.left.is_empty()).then(|| format!("has {} topics to create", self.left.len()))
    }
}

/// Asks for all metadata, again and again, and at once when a topic is new: whichever shard answers, it must know of
/// it. First asks for the topics that are made by being asked for.
#[derive(Debug)]
pub(super) struct Watcher {
    id: u64,
    to_make: Vec<String>,
    asking: bool,
    asked: u64,
    next_at: u64,
    /// When it asked last.
    seen: Moment,
}

/// A question of the watcher.
#[derive(Debug)]
pub(super) enum Watched {
    /// Asked then: what was known must be in the answer, if it is one about all topics.
    Topics(Option<Moment>),
    ProducerId,
}

/// Some watchers once ask for so many producer ids at once: more than a block has.
const HOARD: usize = 1_100;
/// In place of this one of their questions.
const HOARD_AT: u64 = 7;

impl Watcher {
    pub(super) fn new(id: u64, params: &Params) -> Watcher {
        let made_by_metadata = params.topics.iter().filter(|t| t.created_at.is_none());
        let to_make = made_by_metadata.map(|t| t.name.clone()).collect();
        Watcher { id, to_make, asking: false, asked: 0, next_at: 0, seen: Moment::default() }
    }
}

/// These topics, made where they are missing.
fn named(names: &[String]) -> MetadataRequest {
    let topic = |name: &String| MetadataRequestTopic { name: Some(name.clone()), ..MetadataRequestTopic::default() };
    MetadataRequest { topics: Some(names.iter().map(topic).collect()), ..MetadataRequest::default() }
}

impl Role for Watcher {
    type Asked = Watched;

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Watched>> {
        let news = self.seen < cx.history.moment();
        if self.asking || (cx.now < self.next_at && !news) {
            return Vec::new();
        }
        self.asking = true;
        self.asked += 1;
        self.seen = cx.history.moment();
        self.next_at = cx.now + cx.params.dice.delay("watch", self.id << 32 | self.asked, SECOND);
        if self.asked == HOARD_AT && cx.params.dice.one_in("hoard", self.id, 8) {
            return (0..HOARD).map(|_| (InitProducerIdRequest::default().into(), Some(Watched::ProducerId))).collect();
        }
        if self.to_make.is_empty() {
            return vec![(everything().into(), Some(Watched::Topics(Some(self.seen))))];
        }
        vec![(named(&self.to_make).into(), Some(Watched::Topics(None)))]
    }

    fn answered(&mut self, asked: Watched, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        self.asking = false;
        match (asked, response) {
            (Watched::Topics(known), Response::Metadata(r)) => {
                known.map_or(Ok(()), |asked| cx.history.listed(asked, &r))?;
                let there = |name: &String| r.topics.iter().any(|t| t.name.as_ref() == Some(name) && t.error_code == 0);
                self.to_make.retain(|name| !there(name));
                Ok(())
            }
            (Watched::ProducerId, Response::InitProducerId(r)) if r.error_code == error::NONE => {
                cx.history.given(r.producer_id)
            }
            (Watched::ProducerId, Response::InitProducerId(r)) if retriable(r.error_code) => Ok(()),
            (Watched::ProducerId, Response::InitProducerId(r)) => Err(odd_error("InitProducerId", r.error_code)),
            (Watched::Topics(_) | Watched::ProducerId, other) => Err(odd_answer(&other)),
        }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>) {
        self.asking = false;
    }

    fn next(&self, _cx: &Cx<'_>) -> Option<u64> {
        (!self.asking).then_some(self.next_at)
    }

    fn owes(&self) -> Option<String> {
        (!self.to_make.is_empty()).then(|| format!("has {} topics to make", self.to_make.len()))
    }
}

/// Comes when all others rest: lists all topics, appends a value to every partition, reads every log back.
#[derive(Debug)]
pub(super) struct Auditor {
    id: u64,
    listed: bool,
    asking: bool,
    retry_at: u64,
    attempts: u64,
    /// Partitions whose start is not known.
    to_find: Vec<Partition>,
    /// Partitions without a value of its own yet.
    to_probe: Vec<Partition>,
    /// Where reading stands, and whether it is over.
    reading: BTreeMap<Partition, (i64, bool)>,
}

/// A question of the auditor.
#[derive(Debug)]
pub(super) enum Asked {
    Metadata(Moment),
    Starts(Vec<Partition>),
    Probe(Vec<(Partition, u64)>),
    Fetch(Vec<(Partition, i64)>),
}

impl Auditor {
    pub(super) fn new(id: u64) -> Auditor {
        Auditor {
            id,
            listed: false,
            asking: false,
            retry_at: 0,
            attempts: 0,
            to_find: Vec::new(),
            to_probe: Vec::new(),
            reading: BTreeMap::new(),
        }
    }

    fn list(&mut self, asked: Moment, response: &MetadataResponse, cx: &mut Cx<'_>) -> Result<(), Violation> {
        self.to_probe.extend(partitions(asked, response, cx.history)?.into_iter().map(|(at, _)| at));
        self.to_find = self.to_probe.clone();
        self.listed = true;
        Ok(())
    }

    /// Asks where all partitions start.
    fn find(&self) -> Ask<Asked> {
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        for (life, index) in &self.to_find {
            let name = name_of(life);
            let partition = ListOffsetsPartition {
                partition_index: *index,
                timestamp: list_offsets::EARLIEST,
                ..ListOffsetsPartition::default()
            };
            match topics.last_mut().filter(|t| t.name == name) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(ListOffsetsTopic { name: name.to_owned(), partitions: vec![partition] }),
            }
        }
        let request = ListOffsetsRequest { topics, ..ListOffsetsRequest::default() };
        (request.into(), Some(Asked::Starts(self.to_find.clone())))
    }

    fn found(&mut self, asked: Vec<Partition>, r: &ListOffsetsResponse, cx: &mut Cx<'_>) -> Result<(), Violation> {
        for (partition, part) in asked.into_iter().zip(r.topics.iter().flat_map(|t| &t.partitions)) {
            match part.error_code {
                error::NONE => {
                    let floor = cx.history.start(&partition);
                    cx.history.starts(&partition, floor, part.offset)?;
                    self.to_find.retain(|p| *p != partition);
                    self.reading.insert(partition.clone(), (part.offset, false));
                    cx.ledger.read_back.insert(partition, (part.offset, Vec::new()));
                }
                code if retriable(code) => self.retry_at = cx.now + 100 * MS,
                code => return Err(odd_error("a list-offsets", code)),
            }
        }
        Ok(())
    }

    fn probe(&mut self, cx: &mut Cx<'_>) -> Ask<Asked> {
        self.attempts += 1;
        let mut asked = Vec::new();
        let mut parts = Vec::new();
        for partition in &self.to_probe {
            let value = cx.ledger.value();
            let bytes = batch(value, cx);
            cx.history.sent(partition, self.id << 32 | self.attempts, &[value], sent(&bytes, cx.now, cx.wall));
            parts.push((partition, bytes));
            asked.push((partition.clone(), value));
        }
        (produce(5_000, parts).into(), Some(Asked::Probe(asked)))
    }

    fn probed(&mut self, asked: Vec<(Partition, u64)>, r: &ProduceResponse, cx: &mut Cx<'_>) -> Result<(), Violation> {
        for ((partition, value), (code, base)) in asked.into_iter().zip(outcomes(r)) {
            match code {
                error::NONE => {
                    cx.history.acked(&partition, value, base)?;
                    self.to_probe.retain(|p| *p != partition);
                }
                code if retriable(code) => self.retry_at = cx.now + 100 * MS,
                code => return Err(odd_error("a probe", code)),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Ask<Asked> {
        let left = self.reading.iter().filter(|(_, (_, over))| !over);
        let asked: Vec<(Partition, i64)> = left.map(|(p, (at, _))| (p.clone(), *at)).collect();
        let parts: Vec<(&Partition, i64)> = asked.iter().map(|(p, at)| (p, *at)).collect();
        (fetch(&parts, 1 << 20).into(), Some(Asked::Fetch(asked)))
    }

    fn took(&mut self, asked: &[(Partition, i64)], response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        let Response::Fetch(response) = response else { return Err(odd_answer(&response)) };
        for ((partition, from), data) in asked.iter().zip(fetched(&response)) {
            match data.error_code {
                error::NONE => {}
                code if retriable(code) => {
                    self.retry_at = cx.now + 100 * MS;
                    continue;
                }
                code => return Err(odd_error("a fetch", code)),
            }
            let Read { values, next, .. } = read(partition, *from, data, checksum)?;
            cx.ledger.read_back.entry(partition.clone()).or_default().1.extend(values);
            self.reading.insert(partition.clone(), (next, next >= data.high_watermark));
        }
        Ok(())
    }
}

impl Role for Auditor {
    type Asked = Asked;

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        if self.asking || cx.now < self.retry_at || self.owes().is_none() {
            return Vec::new();
        }
        self.asking = true;
        vec![if !self.listed {
            (everything().into(), Some(Asked::Metadata(cx.history.moment())))
        } else if !self.to_find.is_empty() {
            self.find()
        } else if !self.to_probe.is_empty() {
            self.probe(cx)
        } else {
            self.read()
        }]
    }

    fn answered(&mut self, asked: Asked, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        self.asking = false;
        match (asked, response) {
            (Asked::Metadata(asked), Response::Metadata(r)) => self.list(asked, &r, cx),
            (Asked::Starts(asked), Response::ListOffsets(r)) => self.found(asked, &r, cx),
            (Asked::Probe(asked), Response::Produce(r)) => self.probed(asked, &r, cx),
            (Asked::Fetch(asked), response) => self.took(&asked, response, cx),
            (Asked::Metadata(_) | Asked::Starts(_) | Asked::Probe(_), other) => Err(odd_answer(&other)),
        }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>) {
        self.asking = false;
    }

    fn next(&self, _cx: &Cx<'_>) -> Option<u64> {
        (!self.asking).then_some(self.retry_at)
    }

    fn owes(&self) -> Option<String> {
        let unread = self.reading.values().filter(|(_, over)| !over).count();
        let over = self.listed && self.to_find.is_empty() && self.to_probe.is_empty() && unread == 0;
        (!over).then(|| format!("has {} partitions to probe and {unread} to read back", self.to_probe.len()))
    }
}
