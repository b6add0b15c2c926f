//! A consumer of everything: long polls over all partitions from the beginning, jumps back now and then, asks for
//! offsets.
//!
//! `first-batch-given`: the first partition asked for that has anything gives a whole batch, whatever the limits
//! (KIP-74). `no-gaps`: what is read begins exactly where it was asked for. `below-start-is-out-of-range`: below what is
//! known to be a log's start nothing is served. `never-diverges`: the log never claims to have branched off before what
//! was read of it (KIP-595), since nothing that was read is ever cut.

use std::collections::BTreeMap;

use klamm_core::ids::Uuid;
use klamm_core::record;
use klamm_core::wire::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ListOffsetsPartition, ListOffsetsRequest,
    ListOffsetsTopic, PartitionData, Records, Response, error, list_offsets,
};

use super::admin::everything;
use super::broker::checksum;
use super::client::{Ask, Cx, Role, odd_answer, odd_error, vanished};
use super::params::{MS, Params};
use super::requests::{added, partitions, retriable};
use crate::history::{Partition, name_of};
use crate::report::Violation;
use crate::workload::owner::below_start;

/// A request for whole batches of some partitions, each from an offset; topics by id where one is known.
pub(super) fn fetch(parts: &[(&Partition, i64)], ids: &BTreeMap<String, Uuid>, max_bytes: i32) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for ((name, index), offset) in parts {
        let id = ids.get(name).copied();
        let (topic, topic_id) = id.map_or_else(|| (name_of(name).to_owned(), Uuid::ZERO), |id| (String::new(), id));
        let partition = FetchPartition {
            partition: *index,
            fetch_offset: *offset,
            partition_max_bytes: max_bytes,
            ..FetchPartition::default()
        };
        match topics.last_mut().filter(|t| t.topic == topic && t.topic_id == topic_id) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(FetchTopic { topic, topic_id, partitions: vec![partition] }),
        }
    }
    FetchRequest { topics, ..FetchRequest::default() }
}

/// The parts of an answer, in the request's order.
pub(super) fn fetched(response: &FetchResponse) -> impl Iterator<Item = &PartitionData> {
    response.responses.iter().flat_map(|t| &t.partitions)
}

/// Values that were read, each with its offset, and the leader epoch of the last one.
pub(super) type Values = (Vec<(i64, u64)>, i32);

/// The values of whole batches that were read at an offset; a batch may begin before it.
pub(super) fn values(partition: &Partition, at: i64, data: &PartitionData) -> Result<Values, Violation> {
    let Records::Bytes(bytes) = &data.records else { return Ok((Vec::new(), -1)) };
    let odd = |what: String| Violation {
        property: "no-gaps",
        fact: format!("{partition:?} is read at {at}"),
        contradiction: what,
    };
    let mut values = Vec::new();
    let (mut next, mut epoch) = (at, -1);
    for batch in record::batches(bytes.clone()) {
        let batch = batch.map_err(|c| odd(format!("{c:?}")))?;
        if !batch.crc_holds(checksum) {
            return Err(Violation {
                property: "whole-batches",
                fact: format!("{partition:?} is read at {at}"),
                contradiction: format!("the batch at {} does not match its checksum", batch.header.base_offset),
            });
        }
        let (base, end) = (batch.header.base_offset.0, batch.header.next_offset().0);
        if end <= next || base > next || (base < next && !values.is_empty()) {
            return Err(odd(format!("offsets {base} to {end} come where {next} was to come")));
        }
        if end > data.high_watermark {
            return Err(odd(format!("offsets {base} to {end} come, the high watermark is {}", data.high_watermark)));
        }
        for record in record::records(batch.bytes()) {
            let record = record.map_err(|c| odd(format!("{c:?}")))?;
            let value = record.value.and_then(|v| v.first_chunk()).ok_or_else(|| odd("a record of no value".into()))?;
            if record.offset.0 >= at {
                values.push((record.offset.0, u64::from_be_bytes(*value)));
            }
        }
        (next, epoch) = (end, batch.header.leader_epoch.0);
    }
    Ok((values, epoch))
}

/// Questions in flight: an answer that is ready may have to wait for the one before it.
const PIPELINED: usize = 2;

#[derive(Debug)]
struct Place {
    partition: Partition,
    position: i64,
    /// The leader epoch of the record before it, or -1.
    epoch: i32,
    /// The newest leader epoch that Metadata told, or -1.
    leader_epoch: i32,
}

/// The consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    id: u64,
    places: Vec<Place>,
    ids: BTreeMap<String, Uuid>,
    knows: bool,
    /// Questions in flight, at most [`PIPELINED`].
    waiting: usize,
    next_at: u64,
    turns: u64,
}

/// A question of the consumer.
#[derive(Debug)]
pub(super) enum Asked {
    Metadata,
    Fetch(Vec<Part>),
    /// The time asked for, and of each place the end and the start that were known then.
    List(i64, Vec<(i64, i64)>),
}

/// A part of a fetch.
#[derive(Debug)]
pub(super) struct Part {
    place: usize,
    from: i64,
    /// Its topic was known to exist.
    known: bool,
    /// The end and the start that were known then.
    end: i64,
    start: i64,
}

impl Consumer {
    pub(super) fn new(id: u64, params: &Params) -> Consumer {
        let places = partitions(params).into_iter().map(Place::new).collect();
        Consumer { id, places, ids: BTreeMap::new(), knows: false, waiting: 0, next_at: 0, turns: 0 }
    }

    fn fetch(&mut self, key: u64, cx: &mut Cx<'_>) -> Ask<Asked> {
        let dice = &cx.params.dice;
        let new: Vec<Partition> =
            added(cx.history, |new| self.places.iter().any(|place| place.partition == *new)).collect();
        self.places.extend(new.into_iter().map(Place::new));
        if dice.one_in("jump back", key, 32) {
            let at = dice.below("who jumps", key, self.places.len() as u64) as usize;
            let place = &mut self.places[at];
            place.position = dice.below("jump to", key, place.position as u64 + 1) as i64;
            place.epoch = -1;
        }
        let by_id = dice.one_in("by id", key, 2);
        // As real consumers do: another one is first each time.
        let mut order: Vec<usize> = (0..self.places.len()).collect();
        order.rotate_left(key as usize % self.places.len());
        let places: Vec<&Place> = order.iter().map(|at| &self.places[*at]).collect();
        let parts: Vec<(&Partition, i64)> = places.iter().map(|p| (&p.partition, p.position)).collect();
        let none = BTreeMap::new();
        let mut request =
            fetch(&parts, if by_id { &self.ids } else { &none }, dice.pick("partition bytes", key, &[1, 500, 1 << 20]));
        request.max_bytes = dice.pick("fetch bytes", key, &[1, 1_000, 1 << 20]);
        request.min_bytes = dice.pick("least bytes", key, &[0, 1, 1, 1, 400, 100_000]);
        request.max_wait_ms = dice.pick("fetch wait", key, &[50, 100, 450, 450]);
        let epochs = dice.one_in("with epochs", key, 2);
        let sent = request.topics.iter_mut().flat_map(|t| &mut t.partitions);
        for (part, place) in sent.zip(&places).filter(|_| epochs) {
            (part.current_leader_epoch, part.last_fetched_epoch) = (place.leader_epoch, place.epoch);
        }
        let part = |(at, p): (&usize, &&Place)| {
            let known = cx.history.has(&p.partition);
            let (end, start) = (cx.history.end(&p.partition), cx.history.start(&p.partition));
            Part { place: *at, from: p.position, known, end, start }
        };
        let asked = order.iter().zip(&places).map(part).collect();
        (request.into(), Some(Asked::Fetch(asked)))
    }

    fn list(&mut self, key: u64, cx: &mut Cx<'_>) -> Ask<Asked> {
        let named = [list_offsets::LATEST, list_offsets::EARLIEST, list_offsets::MAX_TIMESTAMP];
        let timestamp = match cx.params.dice.below("list what", key, 5) {
            n @ 0..3 => named[n as usize],
            _ => cx.wall.0 - cx.params.dice.below("list when", key, 30_000) as i64,
        };
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        for Place { partition: (name, index), .. } in &self.places {
            let partition =
                ListOffsetsPartition { partition_index: *index, timestamp, ..ListOffsetsPartition::default() };
            match topics.last_mut().filter(|t| t.name == *name) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(ListOffsetsTopic { name: name.clone(), partitions: vec![partition] }),
            }
        }
        let request = ListOffsetsRequest { topics, ..ListOffsetsRequest::default() };
        let floors = self.places.iter().map(|p| (cx.history.end(&p.partition), cx.history.start(&p.partition)));
        (request.into(), Some(Asked::List(timestamp, floors.collect())))
    }

    fn took(&mut self, asked: &[Part], response: &FetchResponse, cx: &mut Cx<'_>) -> Result<(), Violation> {
        let mut first = true;
        for (Part { place, from, known, end, start }, data) in asked.iter().zip(fetched(response)) {
            let place = &mut self.places[*place];
            match data.error_code {
                error::NONE if from < start => return Err(below_start(&place.partition, *from, *start)),
                error::NONE => {}
                // Then it starts behind that, and may.
                error::OFFSET_OUT_OF_RANGE => {
                    cx.ledger.count("reads below a start");
                    cx.history.starts_behind(&place.partition, *from)?;
                    (place.position, place.epoch) = (cx.history.start(&place.partition), -1);
                    continue;
                }
                error::UNKNOWN_TOPIC_OR_PARTITION | error::UNKNOWN_TOPIC_ID if *known => {
                    return Err(vanished(&place.partition));
                }
                // Asked before a restart was heard of: other metadata is wanted.
                error::FENCED_LEADER_EPOCH => self.knows = false,
                code if retriable(code) => {
                    self.knows &= code != error::UNKNOWN_TOPIC_ID && code != error::UNKNOWN_TOPIC_OR_PARTITION;
                }
                code => return Err(odd_error("a fetch", code)),
            }
            if data.error_code != error::NONE {
                self.next_at = cx.now + 150 * MS;
                continue;
            }
            if data.diverging_epoch.epoch >= 0 {
                return Err(Violation {
                    property: "never-diverges",
                    fact: format!("{:?} was read up to {from} in epoch {}", place.partition, place.epoch),
                    contradiction: format!("it says that it branched off: {:?}", data.diverging_epoch),
                });
            }
            cx.history.ends(&place.partition, *end, data.high_watermark)?;
            cx.history.starts(&place.partition, *start, data.log_start_offset)?;
            let (read, epoch) = values(&place.partition, *from, data)?;
            let has = data.high_watermark > *from;
            if has && first && read.is_empty() {
                return Err(Violation {
                    property: "first-batch-given",
                    fact: format!(
                        "{:?} is read at {from}, and committed up to {}",
                        place.partition, data.high_watermark
                    ),
                    contradiction: "nothing comes, of this or of any partition before it".into(),
                });
            }
            first &= !has;
            for (offset, value) in read {
                cx.history.read(&place.partition, offset, value)?;
                (place.position, place.epoch) = (offset + 1, epoch);
            }
        }
        Ok(())
    }
}

impl Place {
    fn new(partition: Partition) -> Place {
        Place { partition, position: 0, epoch: -1, leader_epoch: -1 }
    }
}

impl Role for Consumer {
    type Asked = Asked;

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        if self.waiting >= PIPELINED || cx.stopping || cx.now < self.next_at {
            return Vec::new();
        }
        let Some(turn) = cx.turn(self.id, &mut self.turns, &mut self.next_at) else { return Vec::new() };
        self.waiting += 1;
        let key = self.id << 40 | turn;
        if !self.knows {
            return vec![(everything().into(), Some(Asked::Metadata))];
        }
        vec![if cx.params.dice.one_in("list", key, 16) { self.list(key, cx) } else { self.fetch(key, cx) }]
    }

    fn answered(&mut self, asked: Asked, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        self.waiting -= 1;
        match (asked, response) {
            (Asked::Metadata, Response::Metadata(r)) => {
                self.knows = true;
                let named = r.topics.into_iter().filter(|t| t.error_code == error::NONE);
                for topic in named {
                    let name = topic.name.unwrap_or_default();
                    for part in topic.partitions {
                        let partition = (name.clone(), part.partition_index);
                        if let Some(place) = self.places.iter_mut().find(|p| p.partition == partition) {
                            place.leader_epoch = part.leader_epoch;
                        }
                    }
                    self.ids.insert(name, topic.topic_id);
                }
                Ok(())
            }
            (Asked::Fetch(asked), Response::Fetch(r)) => self.took(&asked, &r, cx),
            (Asked::List(timestamp, ends), Response::ListOffsets(r)) => {
                let parts = r.topics.iter().flat_map(|t| &t.partitions);
                for ((place, (end, start)), part) in self.places.iter().zip(ends).zip(parts) {
                    match part.error_code {
                        error::NONE if timestamp == list_offsets::LATEST => {
                            cx.history.ends(&place.partition, end, part.offset)?;
                        }
                        error::NONE if timestamp == list_offsets::EARLIEST => {
                            cx.history.starts(&place.partition, start, part.offset)?;
                        }
                        error::NONE if timestamp == list_offsets::MAX_TIMESTAMP => {
                            cx.history.newest(&place.partition, end, (part.offset, part.timestamp))?;
                        }
                        error::NONE => {
                            cx.history.first_since(&place.partition, timestamp, end, (part.offset, part.timestamp))?;
                        }
                        code if retriable(code) => self.next_at = cx.now + 150 * MS,
                        code => return Err(odd_error("a list-offsets", code)),
                    }
                }
                Ok(())
            }
            (Asked::Metadata | Asked::Fetch(_) | Asked::List(..), other) => Err(odd_answer(&other)),
        }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>) {
        self.waiting = 0;
        self.knows = false;
    }

    fn next(&self, cx: &Cx<'_>) -> Option<u64> {
        (!cx.stopping && self.waiting < PIPELINED).then_some(self.next_at)
    }

    fn owes(&self) -> Option<String> {
        None
    }
}
