//! Producers. The idempotent one (KIP-98) keeps at most five batches in flight to a partition and sends a batch again,
//! with its sequence, until it is acknowledged or too old; then it starts anew with another id. The plain one sends
//! once.
//!
//! `sequences-kept`: a producer whose earlier batch was acknowledged is never told that its next one is out of order.

use std::collections::VecDeque;

use bytes::Bytes;
use klamm_core::ids::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use klamm_core::record::Builder;
use klamm_core::wire::{
    InitProducerIdRequest, PartitionProduceData, ProduceRequest, ProduceResponse, Response, TopicProduceData, error,
};

use super::broker::{EPOCH_MS, checksum};
use super::client::{Ask, Cx, Role, odd_answer, odd_error, vanished};
use super::params::{Dice, MS, Params};
use crate::history::{History, Partition, Sent, name_of};
use crate::report::Violation;

/// Batches in flight to a partition, as in every client (`max.in.flight.requests.per.connection`).
const IN_FLIGHT: usize = 5;
/// Most bytes of padding in a record.
const PADDING: u64 = 120;

/// A batch of values.
pub(super) fn batch(values: &[u64], producer: Option<(ProducerId, Sequence)>, cx: &Cx<'_>) -> Bytes {
    let mut builder = Builder::new();
    if let Some((id, sequence)) = producer {
        builder = builder.producer(id, ProducerEpoch(0), sequence);
    }
    for value in values {
        let mut record = [0; 8 + PADDING as usize];
        record[..8].copy_from_slice(&value.to_be_bytes());
        let padding = cx.params.dice.below("padding", *value, PADDING) as usize;
        builder.push(cx.wall, None, Some(&record[..8 + padding]));
    }
    builder.build(checksum)
}

/// What is known of a batch that is sent now: whoever stamps it, its time is the true one or later.
pub(super) fn sent(bytes: &Bytes, now: u64, stamp: Timestamp) -> Sent {
    Sent { bytes: bytes.len() as u32, time: EPOCH_MS + (now / MS) as i64, stamp: stamp.0 }
}

/// A request to append batches, one a partition.
pub(super) fn produce(acks: i16, timeout_ms: i32, parts: Vec<(&Partition, Bytes)>) -> ProduceRequest {
    let mut topic_data: Vec<TopicProduceData> = Vec::new();
    for ((name, index), records) in parts {
        let data = PartitionProduceData { index: *index, records: Some(records) };
        match topic_data.last_mut().filter(|t| t.name == name_of(name)) {
            Some(topic) => topic.partition_data.push(data),
            None => topic_data.push(TopicProduceData {
                name: name_of(name).to_owned(),
                partition_data: vec![data],
                ..TopicProduceData::default()
            }),
        }
    }
    ProduceRequest { acks, timeout_ms, topic_data, ..ProduceRequest::default() }
}

/// What became of each batch: error code and base offset.
pub(super) fn outcomes(response: &ProduceResponse) -> impl Iterator<Item = (i16, i64)> {
    response.responses.iter().flat_map(|t| &t.partition_responses).map(|p| (p.error_code, p.base_offset))
}

/// Every partition of the workload.
pub(super) fn partitions(params: &Params) -> Vec<Partition> {
    params.topics.iter().flat_map(|t| (0..t.partitions).map(|p| (t.name.clone(), p))).collect()
}

/// Whether an error says that another attempt may succeed. Here no leader ever moves: the one broker serves only once
/// it leads everything, and what it does not know yet it waits for. But where a crash came before the metadata said where
/// a log lies, what is in it is not committed before that is said: until then its end is not told (KIP-207).
pub(super) fn retriable(code: i16) -> bool {
    matches!(
        code,
        error::UNKNOWN_TOPIC_OR_PARTITION
            | error::UNKNOWN_TOPIC_ID
            | error::REQUEST_TIMED_OUT
            | error::KAFKA_STORAGE_ERROR
            | error::COORDINATOR_LOAD_IN_PROGRESS
            | error::NOT_CONTROLLER
            | error::OFFSET_NOT_AVAILABLE
    )
}

#[derive(Debug)]
struct Batch {
    sequence: i32,
    values: Vec<u64>,
    bytes: Bytes,
    expires: u64,
    /// On the present connection, without an answer that asks for another attempt.
    sent: bool,
    /// Acknowledged before an earlier one: it still counts, because the broker knows the last five only.
    done: bool,
    again: bool,
    /// How often it was sent.
    times: u32,
    /// Sent when its topic was known to exist.
    known: bool,
}

#[derive(Debug)]
struct Lane {
    partition: Partition,
    /// The first one of this producer id.
    first_sequence: i32,
    next_sequence: i32,
    /// Not acknowledged, in order.
    outstanding: VecDeque<Batch>,
    retry_at: u64,
}

/// The idempotent producer.
#[derive(Debug)]
pub(super) struct Idempotent {
    id: u64,
    /// Counts producer ids: batches of an earlier one are given up, in whatever state they are.
    generation: u64,
    producer: Option<ProducerId>,
    asking: bool,
    lanes: Vec<Lane>,
    next_at: u64,
    turns: u64,
    /// Requests so far.
    requests: u64,
}

/// A question of the idempotent producer.
#[derive(Debug)]
pub(super) enum Asked {
    ProducerId,
    /// Lane and sequence of each batch.
    Produce {
        generation: u64,
        parts: Vec<(usize, i32)>,
    },
}

impl Lane {
    /// Sequences begin at 0, or so that they wrap soon.
    fn new(partition: Partition, producer: u64, dice: &Dice) -> Lane {
        let near = dice.one_in("sequences near the end", producer ^ partition.1 as u64, 4);
        let first_sequence = if near { i32::MAX - dice.below("how near", producer, 40) as i32 } else { 0 };
        Lane { partition, first_sequence, next_sequence: first_sequence, outstanding: VecDeque::new(), retry_at: 0 }
    }
}

/// The sequence that is so many behind another one: 0 follows the last one.
pub(crate) fn after(sequence: i32, count: usize) -> i32 {
    ((i64::from(sequence) + count as i64) % (1 << 31)) as i32
}

/// Whether batches may be too large for a partition.
fn limited(history: &History, partition: &Partition) -> bool {
    history.topic(&partition.0).is_some_and(|topic| topic.limited)
}

/// Partitions that were added since.
pub(super) fn added<'a>(
    history: &'a History,
    have: impl Fn(&Partition) -> bool + 'a,
) -> impl Iterator<Item = Partition> + 'a {
    let all = history.alive().filter(|(_, topic)| !topic.mortal);
    let all = all.flat_map(|(life, topic)| (0..topic.partitions as i32).map(move |index| (life.clone(), index)));
    all.filter(move |partition| !have(partition))
}

impl Idempotent {
    pub(super) fn new(id: u64, params: &Params) -> Idempotent {
        let lanes = partitions(params).into_iter().map(|partition| Lane::new(partition, id, &params.dice)).collect();
        Idempotent { id, generation: 0, producer: None, asking: false, lanes, next_at: 0, turns: 0, requests: 0 }
    }

    /// Gives up what is outstanding: it may be in the log or not. Starts anew.
    fn reset(&mut self, cx: &mut Cx<'_>) {
        cx.ledger.count("producers reset");
        self.generation += 1;
        self.producer = None;
        for lane in &mut self.lanes {
            *lane = Lane::new(lane.partition.clone(), self.id << 32 | self.generation, &cx.params.dice);
        }
    }

    /// Makes some batches. Now and then many at once.
    fn make(&mut self, producer: ProducerId, cx: &mut Cx<'_>) {
        let dice = &cx.params.dice;
        let Some(turn) = cx.turn(self.id, &mut self.turns, &mut self.next_at) else { return };
        let new: Vec<Partition> =
            added(cx.history, |new| self.lanes.iter().any(|lane| lane.partition == *new)).collect();
        let name = self.id << 32 | self.generation;
        self.lanes.extend(new.into_iter().map(|partition| Lane::new(partition, name, dice)));
        let key = self.id << 40 | turn << 4;
        self.next_at = cx.now + dice.delay("think", key, cx.params.think);
        let count = if dice.one_in("burst", key, 16) { 12 } else { 1 };
        for key in (key..).take(count) {
            let history_id = self.id << 32 | self.generation;
            let at = dice.below("lane", key, self.lanes.len() as u64) as usize;
            let lane = &mut self.lanes[at];
            if lane.outstanding.len() >= IN_FLIGHT {
                continue;
            }
            let values: Vec<u64> = (0..dice.between("values", key, 1, 3)).map(|_| cx.ledger.value()).collect();
            let sequence = lane.next_sequence;
            lane.next_sequence = after(sequence, values.len());
            let bytes = batch(&values, Some((producer, Sequence(sequence))), cx);
            cx.history.sent(&lane.partition, history_id, &values, sent(&bytes, cx.now, cx.wall));
            let expires = cx.now + cx.params.delivery_timeout;
            lane.outstanding.push_back(Batch {
                sequence,
                values,
                bytes,
                expires,
                sent: false,
                done: false,
                again: false,
                times: 0,
                known: false,
            });
        }
    }

    /// The first batch of each lane that is to be sent now, as one request, if there are any.
    fn unsent(&mut self, cx: &mut Cx<'_>) -> Option<Ask<Asked>> {
        self.requests += 1;
        let key = self.id << 40 | self.requests;
        let alone = cx.params.dice.one_in("one batch a request", key, 2);
        let mut asked = Vec::new();
        let mut parts = Vec::new();
        for (at, lane) in self.lanes.iter_mut().enumerate().filter(|(_, lane)| lane.retry_at <= cx.now) {
            let Some(batch) = lane.outstanding.iter_mut().find(|b| !b.sent && !b.done) else { continue };
            if batch.again {
                cx.ledger.count("batches sent again");
            }
            (batch.sent, batch.again, batch.known) = (true, true, cx.knows(&lane.partition));
            batch.times += 1;
            asked.push((at, batch.sequence));
            parts.push((&lane.partition, batch.bytes.clone()));
            if alone {
                break;
            }
        }
        if parts.is_empty() {
            return None;
        }
        let timeout_ms = cx.params.dice.pick("produce timeout", key, &[50, 1_000, 30_000]);
        let request = produce(-1, timeout_ms, parts);
        Some((request.into(), Some(Asked::Produce { generation: self.generation, parts: asked })))
    }

    fn produced(
        &mut self,
        parts: &[(usize, i32)],
        response: &ProduceResponse,
        cx: &mut Cx<'_>,
    ) -> Result<(), Violation> {
        for ((at, sequence), (code, base)) in parts.iter().zip(outcomes(response)) {
            let lane = &mut self.lanes[*at];
            let Some(index) = lane.outstanding.iter().position(|b| b.sequence == *sequence) else { continue };
            match code {
                error::NONE => {
                    let batch = &mut lane.outstanding[index];
                    batch.done = true;
                    for (value, offset) in batch.values.iter().zip(base..) {
                        cx.history.acked(&lane.partition, *value, offset)?;
                    }
                    while lane.outstanding.pop_front_if(|b| b.done).is_some() {}
                    continue;
                }
                error::OUT_OF_ORDER_SEQUENCE_NUMBER if index == 0 && *sequence != lane.first_sequence => {
                    return Err(Violation {
                        property: "sequences-kept",
                        fact: format!("all before sequence {sequence} to {:?} is acknowledged", lane.partition),
                        contradiction: "that sequence is refused as out of order".into(),
                    });
                }
                // A later batch came first to a log that knew nothing of this producer: this one can never follow.
                error::OUT_OF_ORDER_SEQUENCE_NUMBER if index == 0 => {
                    self.reset(cx);
                    return Ok(());
                }
                error::OUT_OF_ORDER_SEQUENCE_NUMBER => {}
                // It can never be delivered, and what follows it neither.
                error::MESSAGE_TOO_LARGE if limited(cx.history, &lane.partition) => {
                    // An earlier attempt may be in the log, from before it was too large.
                    if lane.outstanding[index].times == 1 {
                        cx.refused(&lane.partition, &lane.outstanding[index].values);
                    }
                    cx.ledger.count("batches too large");
                    self.reset(cx);
                    return Ok(());
                }
                error::UNKNOWN_TOPIC_OR_PARTITION if lane.outstanding[index].known => {
                    return Err(vanished(&lane.partition));
                }
                code if retriable(code) => {}
                code => return Err(odd_error("an idempotent produce", code)),
            }
            lane.outstanding[index].sent = false;
            let key = self.id << 40 | u64::from(*sequence as u32);
            self.lanes[*at].retry_at = cx.now + cx.params.dice.pause("retry", key, 10 * MS, 200 * MS);
        }
        Ok(())
    }
}

impl Role for Idempotent {
    type Asked = Asked;

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        let expired = |lane: &Lane| lane.outstanding.front().is_some_and(|b| b.expires <= cx.now);
        // Healed, everything is delivered in the end.
        if !cx.stopping && self.lanes.iter().any(expired) {
            self.reset(cx);
        }
        let Some(producer) = self.producer else {
            if self.asking || cx.now < self.next_at || cx.stopping {
                return Vec::new();
            }
            self.asking = true;
            return vec![(InitProducerIdRequest::default().into(), Some(Asked::ProducerId))];
        };
        if !cx.stopping && self.next_at <= cx.now {
            self.make(producer, cx);
        }
        std::iter::from_fn(|| self.unsent(cx)).collect()
    }

    fn answered(&mut self, asked: Asked, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        match (asked, response) {
            (Asked::ProducerId, Response::InitProducerId(r)) => {
                self.asking = false;
                if r.error_code != error::NONE {
                    self.next_at = cx.now + 100 * MS;
                    return if retriable(r.error_code) {
                        Ok(())
                    } else {
                        Err(odd_error("InitProducerId", r.error_code))
                    };
                }
                self.producer = Some(ProducerId(r.producer_id));
                cx.given(r.producer_id)
            }
            (Asked::Produce { generation, parts }, Response::Produce(r)) => {
                if generation == self.generation {
                    self.produced(&parts, &r, cx)
                } else {
                    Ok(())
                }
            }
            (Asked::ProducerId | Asked::Produce { .. }, other) => Err(odd_answer(&other)),
        }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>) {
        self.asking = false;
        self.lanes.iter_mut().flat_map(|l| &mut l.outstanding).for_each(|b| b.sent = false);
    }

    fn next(&self, cx: &Cx<'_>) -> Option<u64> {
        let retries =
            self.lanes.iter().filter(|l| l.outstanding.iter().any(|b| !b.sent && !b.done)).map(|l| l.retry_at);
        let expiries = self.lanes.iter().filter_map(|l| l.outstanding.front()).map(|b| b.expires);
        let expiries = expiries.filter(|_| !cx.stopping);
        let make = (!cx.stopping && !self.asking).then_some(self.next_at);
        retries.chain(expiries).chain(make).min()
    }

    fn owes(&self) -> Option<String> {
        let left: usize = self.lanes.iter().map(|l| l.outstanding.len()).sum();
        (left > 0).then(|| format!("has {left} batches to deliver"))
    }
}

/// The plain producer: no id, no second attempt.
#[derive(Debug)]
pub(super) struct Plain {
    id: u64,
    /// Counts connections: what an earlier one carries may still arrive, out of order with the next one's.
    generation: u64,
    lanes: Vec<Partition>,
    next_at: u64,
    waiting: usize,
    turns: u64,
}

/// A question of the plain producer.
#[derive(Debug)]
pub(super) struct Tried {
    lane: usize,
    values: Vec<u64>,
    corrupt: bool,
    /// Its topic was known to exist.
    known: bool,
}

impl Plain {
    pub(super) fn new(id: u64, params: &Params) -> Plain {
        Plain { id, generation: 0, lanes: partitions(params), next_at: 0, waiting: 0, turns: 0 }
    }
}

impl Role for Plain {
    type Asked = Tried;

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Tried>> {
        if cx.stopping || cx.now < self.next_at || self.waiting >= IN_FLIGHT {
            return Vec::new();
        }
        let dice = &cx.params.dice;
        let Some(turn) = cx.turn(self.id, &mut self.turns, &mut self.next_at) else { return Vec::new() };
        let key = self.id << 40 | turn;
        self.next_at = cx.now + dice.delay("think", key, cx.params.think);
        let new: Vec<Partition> = added(cx.history, |new| self.lanes.contains(new)).collect();
        self.lanes.extend(new);
        let lane = dice.below("lane", key, self.lanes.len() as u64) as usize;
        let partition = &self.lanes[lane];
        let values: Vec<u64> = (0..dice.between("values", key, 1, 3)).map(|_| cx.ledger.value()).collect();
        let corrupt = dice.one_in("corrupt batch", key, 20);
        let mut bytes = batch(&values, None, cx);
        cx.history.sent(partition, self.id << 32 | self.generation, &values, sent(&bytes, cx.now, cx.wall));
        if corrupt {
            let mut broken = bytes.to_vec();
            let at = dice.between("corrupt byte", key, 61, broken.len() as u64 - 1) as usize;
            broken[at] ^= 1 << dice.below("corrupt bit", key, 8);
            bytes = broken.into();
        }
        let acks = dice.pick("acks", key, &[-1, -1, 1, 0]);
        let request = produce(acks, 1_000, vec![(partition, bytes)]);
        let asked = (acks != 0).then_some(Tried { lane, values, corrupt, known: cx.knows(partition) });
        self.waiting += usize::from(asked.is_some());
        vec![(request.into(), asked)]
    }

    fn answered(&mut self, asked: Tried, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        self.waiting -= 1;
        let Response::Produce(response) = response else { return Err(odd_answer(&response)) };
        let partition = &self.lanes[asked.lane];
        for (code, base) in outcomes(&response) {
            match code {
                error::NONE if asked.corrupt => {
                    return Err(Violation {
                        property: "bad-batches-refused",
                        fact: format!("a batch to {partition:?} had a bit flipped after its checksum was made"),
                        contradiction: format!("it is acknowledged at {base}"),
                    });
                }
                error::NONE => {
                    for (value, offset) in asked.values.iter().zip(base..) {
                        cx.history.acked(partition, *value, offset)?;
                    }
                }
                error::UNKNOWN_TOPIC_OR_PARTITION if asked.known => return Err(vanished(partition)),
                error::UNKNOWN_TOPIC_OR_PARTITION => cx.refused(partition, &asked.values),
                error::CORRUPT_MESSAGE if asked.corrupt => cx.refused(partition, &asked.values),
                error::MESSAGE_TOO_LARGE if limited(cx.history, partition) => cx.refused(partition, &asked.values),
                // It may be in the log.
                code if retriable(code) => {}
                code => return Err(odd_error("a produce", code)),
            }
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>) {
        self.generation += 1;
        self.waiting = 0;
    }

    fn next(&self, cx: &Cx<'_>) -> Option<u64> {
        (!cx.stopping && self.waiting < IN_FLIGHT).then_some(self.next_at)
    }

    fn owes(&self) -> Option<String> {
        None
    }
}
