//! A consumer of everything: long polls over all partitions from the beginning, jumps back now and then, asks for offsets.
//!
//! `gapless-reads`: what is read begins exactly where it was asked for. `ends-rise`: the high watermark and the latest
//! offset that one client is told never fall, crashes or not.

use std::collections::BTreeMap;

use klamm_core::ids::Uuid;
use klamm_core::record;
use klamm_core::wire::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ListOffsetsPartition, ListOffsetsRequest,
    ListOffsetsTopic, PartitionData, Records, Response, error, list_offsets,
};

use super::admin::named;
use super::client::{Ask, Cx, Role, odd_answer, odd_error};
use super::params::{MS, Params};
use super::producer::{partitions, retriable};
use crate::history::Partition;
use crate::report::Violation;

/// A request for whole batches of some partitions, each from an offset; topics by id where one is known.
pub(super) fn fetch(parts: &[(&Partition, i64)], ids: &BTreeMap<String, Uuid>, max_bytes: i32) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for ((name, index), offset) in parts {
        let id = ids.get(name).copied();
        let (topic, topic_id) = id.map_or_else(|| (name.clone(), Uuid::ZERO), |id| (String::new(), id));
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

/// The values of whole batches that were read at an offset, each with its own; a batch may begin before it.
pub(super) fn values(partition: &Partition, at: i64, data: &PartitionData) -> Result<Vec<(i64, u64)>, Violation> {
    let Records::Bytes(bytes) = &data.records else { return Ok(Vec::new()) };
    let odd = |what: String| Violation {
        property: "gapless-reads",
        fact: format!("{partition:?} is read at {at}"),
        contradiction: what,
    };
    let mut values = Vec::new();
    let mut next = at;
    for batch in record::batches(bytes.clone()) {
        let batch = batch.map_err(|c| odd(format!("{c:?}")))?;
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
        next = end;
    }
    Ok(values)
}

#[derive(Debug)]
struct Place {
    partition: Partition,
    position: i64,
    /// The highest end that this client was told of.
    end: i64,
}

/// The consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    id: u64,
    places: Vec<Place>,
    ids: BTreeMap<String, Uuid>,
    knows: bool,
    waiting: bool,
    next_at: u64,
    draws: u64,
}

/// A question of the consumer.
#[derive(Debug)]
pub(super) enum Asked {
    Metadata,
    /// Place and position of each part.
    Fetch(Vec<(usize, i64)>),
    /// The time asked for, at these places.
    List(i64, Vec<usize>),
}

impl Consumer {
    pub(super) fn new(id: u64, params: &Params) -> Consumer {
        let place = |partition| Place { partition, position: 0, end: 0 };
        let places = partitions(params).into_iter().map(place).collect();
        Consumer { id, places, ids: BTreeMap::new(), knows: false, waiting: false, next_at: 0, draws: 0 }
    }

    fn fetch(&mut self, key: u64, cx: &mut Cx<'_>) -> Ask<Asked> {
        let dice = cx.params.dice;
        if dice.one_in("jump back", key, 32) {
            let at = dice.below("who jumps", key, self.places.len() as u64) as usize;
            let place = &mut self.places[at];
            place.position = dice.below("jump to", key, place.position as u64 + 1) as i64;
        }
        let by_id = dice.one_in("by id", key, 2);
        // As real consumers do: another one is first each time.
        let mut order: Vec<usize> = (0..self.places.len()).collect();
        order.rotate_left(key as usize % self.places.len());
        let asked: Vec<(usize, i64)> = order.iter().map(|at| (*at, self.places[*at].position)).collect();
        let parts: Vec<(&Partition, i64)> =
            asked.iter().map(|(at, from)| (&self.places[*at].partition, *from)).collect();
        let none = BTreeMap::new();
        let mut request =
            fetch(&parts, if by_id { &self.ids } else { &none }, dice.pick("partition bytes", key, &[1, 500, 1 << 20]));
        request.max_bytes = dice.pick("fetch bytes", key, &[1, 1_000, 1 << 20]);
        request.min_bytes = dice.pick("least bytes", key, &[0, 1, 1, 1, 400, 100_000]);
        request.max_wait_ms = dice.pick("fetch wait", key, &[100, 500, 500, 900]);
        (request.into(), Some(Asked::Fetch(asked)))
    }

    fn list(&mut self, key: u64, cx: &mut Cx<'_>) -> Ask<Asked> {
        let named = [list_offsets::LATEST, list_offsets::EARLIEST, list_offsets::MAX_TIMESTAMP];
        let timestamp = match cx.params.dice.below("list what", key, 5) {
            n @ 0..3 => named[n as usize],
            _ => cx.wall.0 - cx.params.dice.below("list when", key, 5_000) as i64,
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
        (request.into(), Some(Asked::List(timestamp, (0..self.places.len()).collect())))
    }

    fn took(&mut self, asked: &[(usize, i64)], response: &FetchResponse, cx: &mut Cx<'_>) -> Result<(), Violation> {
        for ((at, from), data) in asked.iter().zip(fetched(response)) {
            let place = &mut self.places[*at];
            match data.error_code {
                error::NONE => {}
                code if retriable(code) => {
                    self.next_at = cx.now + 150 * MS;
                    self.knows &= code != error::UNKNOWN_TOPIC_ID && code != error::UNKNOWN_TOPIC_OR_PARTITION;
                    continue;
                }
                code => return Err(odd_error("a fetch", code)),
            }
            place.rises_to(data.high_watermark)?;
            for (offset, value) in values(&place.partition, *from, data)? {
                cx.history.read(&place.partition, offset, value)?;
                place.position = offset + 1;
            }
        }
        Ok(())
    }
}

impl Place {
    fn rises_to(&mut self, end: i64) -> Result<(), Violation> {
        if end < self.end {
            return Err(Violation {
                property: "ends-rise",
                fact: format!("{:?} ended at {}", self.partition, self.end),
                contradiction: format!("and now at {end}"),
            });
        }
        self.end = end;
        Ok(())
    }
}

impl Role for Consumer {
    type Asked = Asked;

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        if self.waiting || cx.stopping || cx.now < self.next_at {
            return Vec::new();
        }
        self.waiting = true;
        self.draws += 1;
        let key = self.id << 40 | self.draws;
        if !self.knows {
            let request = named(cx.params.topics.iter().filter(|t| t.created_at.is_none()).map(|t| &t.name));
            return vec![(request.into(), Some(Asked::Metadata))];
        }
        vec![if cx.params.dice.one_in("list", key, 16) { self.list(key, cx) } else { self.fetch(key, cx) }]
    }

    fn answered(&mut self, asked: Asked, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        self.waiting = false;
        match (asked, response) {
            (Asked::Metadata, Response::Metadata(r)) => {
                self.knows = true;
                let named = r.topics.into_iter().filter(|t| t.error_code == error::NONE);
                self.ids.extend(named.filter_map(|t| Some((t.name?, t.topic_id))));
                Ok(())
            }
            (Asked::Fetch(asked), Response::Fetch(r)) => self.took(&asked, &r, cx),
            (Asked::List(timestamp, places), Response::ListOffsets(r)) => {
                for (at, part) in places.iter().zip(r.topics.iter().flat_map(|t| &t.partitions)) {
                    match part.error_code {
                        error::NONE if timestamp == list_offsets::LATEST => self.places[*at].rises_to(part.offset)?,
                        error::NONE => {}
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
        self.waiting = false;
        self.knows = false;
    }

    fn next(&self, cx: &Cx<'_>) -> Option<u64> {
        (!cx.stopping && !self.waiting).then_some(self.next_at)
    }

    fn owes(&self) -> Option<String> {
        None
    }
}
