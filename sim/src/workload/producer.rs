//! A producer as real ones are: some records a batch, several batches in flight, several partitions a request.
//!
//! It lives one life after another. In one with a producer id (KIP-98) it has at most five batches under way to a
//! partition and sends a batch again, with its sequence, over this connection or the next, until it is acknowledged or too
//! old; then it gives up, and begins anew with another id. In one without, it sends each batch once, and lives no longer
//! than its connection. Whatever was not acknowledged may be in the log, now or later, unless it was refused for what it
//! is. What it is not told for long it still takes in: an answer to an earlier life counts.
//!
//! Properties, beside the history's: `sequences-kept` (a batch that follows only acknowledged ones is never out of order),
//! `bad-batches-refused` (a batch with a wrong checksum is never acknowledged), `topics-stay`, `no-odd-error`.

mod lane;

use bytes::Bytes;
use klamm_core::ids::{ProducerId, Sequence, Uuid};
use klamm_core::rng::Rng;
use klamm_core::wire::{
    InitProducerIdRequest, PartitionProduceData, ProduceRequest, ProduceResponse, Request, Response, TopicProduceData,
    error,
};

use super::{Ask, Cx, Role, is_maybe, odd_answer, odd_error, padded, vanished};
use crate::history::{Partition, Sent, name_of};
use crate::report::Violation;
use lane::{Batch, Lane};

/// Requests under way, at most.
const PIPELINES: [usize; 4] = [1, 2, 5, 20];
/// Batches that are made at once, now and then.
const BURST: usize = 12;
/// How long the broker may take, milliseconds.
const TIMEOUTS_MS: [i32; 4] = [1, 50, 1_000, 30_000];
/// The header of a batch: what is behind it is the records'.
const HEADER: u64 = 61;

/// What a producer does, and how often. Times are nanoseconds.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Between two turns, on average.
    pub pace: u64,
    /// Records of a batch, and bytes of a record, at most.
    pub values: u64,
    /// Bytes of a record beyond its number.
    pub filler: u64,
    /// How long it tries to deliver a batch.
    pub delivery: u64,
    /// How long it rests before it sends a batch again, at most.
    pub rest: u64,
    /// How long it waits for an answer: one of these, `None` as long as others do. Some give up while what they asked for is
    /// still under way.
    pub patience: Vec<Option<u64>>,
    /// Partitions that there will be: it does not wait for their topics.
    pub foretold: Vec<Partition>,
}

/// What it is from its birth, or a new producer id, on.
#[derive(Debug)]
struct Life {
    /// In the history.
    name: u64,
    /// Without one it sends each batch once.
    id: Option<ProducerId>,
    lanes: Vec<Lane>,
    /// Whether it takes up partitions that are added.
    grows: bool,
    pipeline: usize,
    patience: Option<u64>,
    /// Turns that are left.
    left: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Producer {
    rng: Rng,
    habits: Habits,
    life: Option<Life>,
    /// It has asked for a producer id.
    asking: bool,
    /// Requests without an answer.
    flights: usize,
    next_at: u64,
}

/// A batch of a request.
#[derive(Clone, Debug)]
pub struct Part {
    at: Partition,
    sequence: i32,
    values: Vec<u64>,
    /// Its checksum is wrong.
    bad: bool,
    /// It has a producer's id and a sequence.
    sequenced: bool,
    /// It never left before.
    first: bool,
    /// Its topic was known to exist.
    known: bool,
}

/// A question of a producer.
#[derive(Debug)]
pub enum Asked {
    /// For a producer id.
    ProducerId,
    /// To append batches, in the life of a name.
    Produce(u64, Vec<Part>),
}

impl Producer {
    /// A producer with some habits.
    #[must_use]
    pub fn new(seed: u64, habits: Habits) -> Producer {
        Producer { rng: Rng::new(seed), habits, life: None, asking: false, flights: 0, next_at: 0 }
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.rng.below(of.len() as u64) as usize].clone()
    }

    /// A life begins: with a producer id, which is then to be asked for, or without.
    fn begin(&mut self, cx: &mut Cx<'_>) -> Option<Ask<Asked>> {
        if !self.rng.one_in(3) {
            self.asking = true;
            let request = InitProducerIdRequest { transaction_timeout_ms: 60_000, ..InitProducerIdRequest::default() };
            return Some((request.into(), Asked::ProducerId));
        }
        self.born(None, cx);
        None
    }

    fn born(&mut self, id: Option<ProducerId>, cx: &mut Cx<'_>) {
        cx.shared.count(if id.is_some() { "lives with a producer id" } else { "lives without a producer id" });
        let patience = self.habits.patience.clone();
        let mut life = Life {
            name: cx.shared.number(),
            id,
            lanes: Vec::new(),
            grows: self.rng.one_in(2),
            pipeline: self.one(&PIPELINES),
            patience: self.one(&patience),
            left: 1 + self.rng.below(400),
        };
        let all = self.partitions(cx);
        if all.is_empty() {
            return;
        }
        // One at least: else it would have nothing to do.
        let sure = self.rng.below(all.len() as u64) as usize;
        for (n, at) in all.into_iter().enumerate() {
            if n == sure || life.grows || !self.rng.one_in(3) {
                life.lanes.push(Lane::new(at, &mut self.rng));
            }
        }
        self.life = Some(life);
    }

    /// All that there are, and that there will be.
    fn partitions(&self, cx: &Cx<'_>) -> Vec<Partition> {
        let alive = cx.history.alive().filter(|(_, topic)| !topic.mortal);
        let alive = alive.flat_map(|(life, topic)| (0..topic.partitions as i32).map(move |at| (life.clone(), at)));
        let mut all = self.habits.foretold.clone();
        all.extend(alive.filter(|at| !self.habits.foretold.contains(at)));
        all
    }

    /// What is under way may be in the log or not: it begins anew.
    fn gives_up(&mut self, cx: &mut Cx<'_>) {
        if self.life.take().is_some_and(|life| life.id.is_some()) {
            cx.shared.count("producers reset");
        }
    }

    /// A turn: a life begins, or some batches are made.
    fn turn(&mut self, cx: &mut Cx<'_>) -> Option<Ask<Asked>> {
        // Now and then it has nothing to say for long.
        let rest = if self.rng.one_in(16) { 8 * self.habits.pace } else { 2 * self.habits.pace };
        self.next_at = cx.now + 1 + self.rng.below(rest);
        let expired = |batch: &Batch| batch.born + self.habits.delivery <= cx.now;
        let over = self.life.as_ref().is_some_and(|life| life.left == 0 && life.lanes.iter().all(Lane::is_empty));
        if over {
            self.life = None;
        } else if self.life.iter().flat_map(|life| &life.lanes).any(|lane| lane.oldest().is_some_and(expired)) {
            self.gives_up(cx);
        }
        if self.life.is_none() {
            return self.begin(cx);
        }
        self.make(cx);
        None
    }

    /// Makes batches: one, one for each of several partitions, or many at once.
    fn make(&mut self, cx: &mut Cx<'_>) {
        let all = self.partitions(cx);
        let Some(mut life) = self.life.take() else { return };
        if life.left > 0 {
            life.left -= 1;
            if life.grows {
                let new = all.into_iter().filter(|at| life.lanes.iter().all(|lane| lane.at != *at)).collect::<Vec<_>>();
                life.lanes.extend(new.into_iter().map(|at| Lane::new(at, &mut self.rng)));
            }
            let count = life.lanes.len() as u64;
            let lanes: Vec<usize> = match self.rng.below(16) {
                0 => (0..BURST).map(|_| self.rng.below(count) as usize).collect(),
                1..6 => (0..life.lanes.len()).filter(|_| self.rng.one_in(2)).collect(),
                _ => vec![self.rng.below(count) as usize],
            };
            for lane in lanes {
                let lane = &mut life.lanes[lane];
                if lane.has_room(life.id.is_some()) {
                    self.batch(lane, (life.name, life.id), cx);
                }
            }
        }
        self.life = Some(life);
    }

    /// Makes a batch; now and then, without an id, a bad one.
    fn batch(&mut self, lane: &mut Lane, (name, id): (u64, Option<ProducerId>), cx: &mut Cx<'_>) {
        let values: Vec<u64> = (0..=self.rng.below(self.habits.values)).map(|_| cx.shared.number()).collect();
        let filler = self.rng.below(self.habits.filler + 1) as usize;
        let sequence = lane.follow(values.len());
        let mut bytes = padded(&values, filler, id.map(|id| (id, Sequence(sequence))), cx);
        let sent = Sent { bytes: bytes.len() as u32, time: cx.least_time, stamp: cx.wall };
        cx.history.sent(&lane.at, name, &values, sent);
        let bad = id.is_none() && self.rng.one_in(30);
        if bad {
            let mut broken = bytes.to_vec();
            let at = HEADER + self.rng.below(broken.len() as u64 - HEADER);
            broken[at as usize] ^= 1 << self.rng.below(8);
            bytes = Bytes::from(broken);
            // Whatever the answer is, if one comes: it must never be there.
            values.iter().for_each(|value| cx.history.refused(&lane.at, *value));
        }
        lane.push(Batch::new(sequence, values, bytes, cx.now, bad));
    }

    /// The requests that leave now: each has, for some partitions, the oldest batch that is not under way.
    fn unsent(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        let Some(mut life) = self.life.take() else { return Vec::new() };
        let mut asks = Vec::new();
        while self.flights < life.pipeline {
            let parts = self.parts(&mut life, cx);
            if parts.is_empty() {
                break;
            }
            let acks = self.one(if life.id.is_some() { &[-1, -1, -1, 1] } else { &[-1, -1, 1, 0] });
            let request = self.request(acks, &parts, cx);
            let parts: Vec<Part> = parts.into_iter().map(|(part, _)| part).collect();
            if acks == 0 {
                let sent = |at: &Partition| parts.iter().find(|part| part.at == *at).map(|part| part.sequence);
                life.lanes.iter_mut().for_each(|lane| lane.forget(sent(&lane.at)));
            } else {
                self.flights += 1;
            }
            asks.push((request, Asked::Produce(life.name, parts)));
        }
        self.life = Some(life);
        asks
    }

    /// What one request is about.
    fn parts(&mut self, life: &mut Life, cx: &mut Cx<'_>) -> Vec<(Part, Bytes)> {
        let (alone, sequenced) = (self.rng.one_in(2), life.id.is_some());
        let mut parts = Vec::new();
        for lane in &mut life.lanes {
            let at = lane.at.clone();
            let Some(batch) = lane.send(cx.now) else { continue };
            if !batch.first {
                cx.shared.count("batches sent again");
            }
            let Batch { sequence, bad, first, .. } = *batch;
            let (known, values) = (cx.history.has(&at), batch.values.clone());
            parts.push((Part { at, sequence, values, bad, sequenced, first, known }, batch.bytes.clone()));
            batch.first = false;
            if alone {
                break;
            }
        }
        parts
    }

    fn request(&mut self, acks: i16, parts: &[(Part, Bytes)], cx: &Cx<'_>) -> Request {
        let id = |part: &Part| cx.history.topic(&part.at.0).and_then(|topic| topic.id).unwrap_or_default();
        let by_id = parts.iter().all(|(part, _)| id(part) != Uuid::ZERO) && self.rng.one_in(3);
        let mut topic_data: Vec<TopicProduceData> = Vec::new();
        for (part, bytes) in parts {
            let data = PartitionProduceData { index: part.at.1, records: Some(bytes.clone()) };
            let (name, topic_id) =
                if by_id { (String::new(), id(part)) } else { (name_of(&part.at.0).to_owned(), Uuid::ZERO) };
            match topic_data.iter_mut().find(|topic| topic.name == name && topic.topic_id == topic_id) {
                Some(topic) => topic.partition_data.push(data),
                None => topic_data.push(TopicProduceData { name, topic_id, partition_data: vec![data] }),
            }
        }
        let timeout_ms = self.one(&TIMEOUTS_MS);
        ProduceRequest { acks, timeout_ms, topic_data, ..ProduceRequest::default() }.into()
    }

    fn produced(
        &mut self,
        name: u64,
        parts: Vec<Part>,
        response: &ProduceResponse,
        cx: &mut Cx<'_>,
    ) -> Result<(), Violation> {
        for part in parts {
            let mut topics = response.responses.iter();
            let topic = topics.find(|topic| match topic.name.is_empty() {
                true => cx.history.topic(&part.at.0).is_some_and(|known| known.id == Some(topic.topic_id)),
                false => topic.name == name_of(&part.at.0),
            });
            let answer = topic.and_then(|topic| topic.partition_responses.iter().find(|p| p.index == part.at.1));
            let Some(answer) = answer else {
                return Err(Violation {
                    property: "answers-are-answers",
                    fact: format!("a produce had a batch for {:?}", part.at),
                    contradiction: format!("its answer has no word of that: {response:?}"),
                });
            };
            match answer.error_code {
                error::NONE => self.acked(name, &part, answer.base_offset, cx)?,
                code => self.refused(name, &part, code, cx)?,
            }
        }
        Ok(())
    }

    fn acked(&mut self, name: u64, part: &Part, base: i64, cx: &mut Cx<'_>) -> Result<(), Violation> {
        if part.bad {
            return Err(Violation {
                property: "bad-batches-refused",
                fact: format!("a batch to {:?} had a bit flipped after its checksum was made", part.at),
                contradiction: format!("it is acknowledged at {base}"),
            });
        }
        if base < 0 {
            return Err(Violation {
                property: "idempotent",
                fact: format!("no more than five batches to {:?} were under way", part.at),
                contradiction: format!("{:?} are acknowledged, and nobody says where", part.values),
            });
        }
        for (value, offset) in part.values.iter().zip(base..) {
            cx.history.acked(&part.at, *value, offset)?;
        }
        cx.shared.count("batches acknowledged");
        if let Some(lane) = self.lane(name, &part.at) {
            lane.acked(part.sequence);
        }
        Ok(())
    }

    /// The lane of a batch, if its life is the present one.
    fn lane(&mut self, name: u64, at: &Partition) -> Option<&mut Lane> {
        let life = self.life.as_mut().filter(|life| life.name == name)?;
        life.lanes.iter_mut().find(|lane| lane.at == *at)
    }

    /// A batch was not acknowledged: it is sent again, or given up, and perhaps known never to have been appended.
    fn refused(&mut self, name: u64, part: &Part, code: i16, cx: &mut Cx<'_>) -> Result<(), Violation> {
        cx.shared.count("produce errors");
        let limited = cx.history.topic(&part.at.0).is_some_and(|topic| topic.limited);
        let (mut hopeless, mut never) = (false, false);
        match code {
            error::MESSAGE_TOO_LARGE if limited => {
                cx.shared.count("batches too large");
                // It can never be delivered, and what follows it neither. An earlier attempt may be in the log, from before
                // it was too large.
                (hopeless, never) = (true, part.first);
            }
            error::CORRUPT_MESSAGE if part.bad => {}
            error::UNKNOWN_TOPIC_OR_PARTITION | error::UNKNOWN_TOPIC_ID if part.known => {
                return Err(vanished(&part.at));
            }
            // Nobody makes it any more once the work is over.
            error::UNKNOWN_TOPIC_OR_PARTITION => (hopeless, never) = (!cx.working, !part.sequenced),
            error::OUT_OF_ORDER_SEQUENCE_NUMBER if part.sequenced => hopeless = self.out_of_order(name, part)?,
            // It may be in the log.
            error::REQUEST_TIMED_OUT | error::KAFKA_STORAGE_ERROR => {}
            code => return Err(odd_error("a produce", code)),
        }
        if never {
            part.values.iter().for_each(|value| cx.history.refused(&part.at, *value));
        }
        let rest = cx.now + self.rng.below(self.habits.rest);
        match self.lane(name, &part.at) {
            Some(_) if hopeless && part.sequenced => self.gives_up(cx),
            Some(lane) if part.sequenced => lane.again(part.sequence, rest),
            Some(lane) => lane.forget(Some(part.sequence)),
            None => {}
        }
        Ok(())
    }

    /// A sequence is refused. Tells whether it can never be taken any more.
    fn out_of_order(&mut self, name: u64, part: &Part) -> Result<bool, Violation> {
        let Some(lane) = self.lane(name, &part.at) else { return Ok(false) };
        if !lane.is_oldest(part.sequence) {
            return Ok(false);
        }
        if lane.may_begin_later(part.sequence) {
            return Ok(true);
        }
        Err(Violation {
            property: "sequences-kept",
            fact: format!("all before sequence {} to {:?} is acknowledged", part.sequence, part.at),
            contradiction: "that sequence is refused as out of order".into(),
        })
    }
}

impl Role for Producer {
    type Asked = Asked;

    fn reseed(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
    }

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        let begun = if cx.working && !self.asking && self.next_at <= cx.now { self.turn(cx) } else { None };
        let mut asks = self.unsent(cx);
        asks.extend(begun);
        asks
    }

    fn answered(&mut self, asked: Asked, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        match (asked, response) {
            (Asked::ProducerId, Response::InitProducerId(r)) => {
                self.asking = false;
                match r.error_code {
                    error::NONE => {
                        cx.history.given(r.producer_id)?;
                        self.born(Some(ProducerId(r.producer_id)), cx);
                        Ok(())
                    }
                    code if is_maybe(code) => Ok(()),
                    code => Err(odd_error("InitProducerId", code)),
                }
            }
            (Asked::Produce(name, parts), Response::Produce(r)) => {
                self.flights = self.flights.saturating_sub(1);
                self.produced(name, parts, &r, cx)
            }
            (Asked::ProducerId | Asked::Produce(..), other) => Err(odd_answer(&other)),
        }
    }

    fn lost(&mut self, _asked: Vec<Asked>, _cx: &mut Cx<'_>) {
        (self.asking, self.flights) = (false, 0);
        // What an earlier connection carries may arrive after what the next one does.
        self.life.take_if(|life| life.id.is_none());
        self.life.iter_mut().flat_map(|life| &mut life.lanes).for_each(Lane::lost);
    }

    fn next(&self, working: bool) -> Option<u64> {
        (working && !self.asking).then_some(self.next_at)
    }

    fn resumes(&self) -> Option<u64> {
        let life = self.life.as_ref().filter(|life| self.flights < life.pipeline)?;
        life.lanes.iter().filter_map(Lane::ready_at).min()
    }

    fn patience(&self) -> Option<u64> {
        self.life.as_ref()?.patience
    }

    fn owes(&self) -> Option<String> {
        let life = self.life.as_ref().filter(|life| life.id.is_some())?;
        let left: usize = life.lanes.iter().map(Lane::len).sum();
        (left > 0).then(|| format!("has {left} batches to deliver"))
    }
}
