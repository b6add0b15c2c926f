//! A producer as real ones are: some records a batch, several batches in flight, several partitions a request.
//!
//! An idempotent one sends a batch again, under the same sequence, until it is acknowledged or its delivery timeout has
//! passed; then it gives up, and begins anew under another producer id. A plain one never sends a batch twice. Whatever
//! was not acknowledged may be in the log, now or later, unless it was refused for what it is.

use super::ledger::{Ledger, Topic};
use super::parameters::{MS, Parameters, pick};
use super::turns::Turns;
use crate::client::{Connection, Lost, Stamp, batch, in_time};
use crate::clock::{EPOCH_MS, elapsed_ns};
use crate::direct::after;
use crate::history::{Partition, Sent, name_of};
use bytes::Bytes;
use klamm_core::ids::{ProducerEpoch, ProducerId, Sequence, Timestamp, Uuid};
use klamm_core::rng::Rng;
use klamm_core::wire::{
    InitProducerIdRequest, PartitionProduceData, ProduceRequest, ProduceResponse, Request, Response, TopicProduceData,
    error,
};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// As in Kafka: a broker recognises the last five batches of a producer.
const IN_FLIGHT: usize = 5;
/// How long an idempotent producer tries to deliver a batch.
const DELIVERY_MS: u64 = 4_000;
/// How long an answer may take, for those with patience; others give up while what they asked for is still under way,
/// and are back at once. When nothing goes wrong any more everybody has patience.
const ANSWER_MS: u64 = 1_500;
const PATIENCE_MS: [u64; 5] = [ANSWER_MS, ANSWER_MS, ANSWER_MS, 40, 8];

struct Batch {
    first: i32,
    values: Vec<u64>,
    bytes: Bytes,
    born: u64,
    /// In flight on the present connection.
    sent: bool,
    /// It was sent before, in vain as far as is known.
    again: bool,
    /// Its checksum is wrong, on purpose.
    bad: bool,
    /// It can never be delivered, and what follows it neither.
    hopeless: bool,
}

/// What this producer does in one partition.
struct Lane {
    at: Partition,
    topic: Uuid,
    next: i32,
    /// Not acknowledged, in order.
    queue: VecDeque<Batch>,
    /// Something was acknowledged: before, the broker knows of no sequence, and would begin with a later batch.
    known: bool,
    /// Something went wrong: nothing leaves before everything in flight is answered, and not before this time.
    draining: bool,
    rests_until: u64,
}

/// A request in flight.
struct Flight {
    correlation: i32,
    /// Lane and first sequence of each batch.
    parts: Vec<(usize, i32)>,
    deadline: u64,
}

/// One incarnation of a producer.
struct Producer<'a> {
    ledger: &'a Ledger,
    parameters: &'a Parameters,
    turns: &'a mut Turns,
    rng: Rng,
    /// Its name in the history.
    name: u64,
    /// Its producer id, if it is idempotent.
    id: Option<i64>,
    acks: i16,
    timeout_ms: i32,
    version: i16,
    pipeline: usize,
    /// How long it waits for an answer while there is work.
    patience_ms: u64,
    lanes: Vec<Lane>,
    flights: VecDeque<Flight>,
    /// When the next new batch may leave.
    thinks_until: u64,
}

/// Produces until the work is over, and then until everything is answered.
pub(super) async fn produce(ledger: Rc<Ledger>, parameters: Rc<Parameters>, mut turns: Turns) {
    while ledger.is_working() && ledger.topics(false).is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while let Some(mut rng) = turns.next(&ledger).await {
        let idempotent = !rng.one_in(3);
        let ended = async {
            let connection = ledger.wire.dial(rng.draw()).await?;
            if idempotent {
                incarnate(connection, &ledger, &parameters, &mut turns, &mut rng).await
            } else {
                plainly(connection, &ledger, &parameters, &mut turns, &mut rng).await
            }
        };
        if let Err(lost) = ended.await {
            ledger.lost(&lost);
        }
        pause(&mut rng, 100).await;
    }
}

/// Sleeps for up to so many milliseconds.
pub(super) async fn pause(rng: &mut Rng, most_ms: u64) {
    tokio::time::sleep(Duration::from_millis(1 + rng.below(most_ms))).await;
}

/// A plain producer lives as long as its connection.
async fn plainly(
    mut connection: Connection,
    ledger: &Ledger,
    parameters: &Parameters,
    turns: &mut Turns,
    rng: &mut Rng,
) -> Result<(), Lost> {
    let acks = pick(rng, &[-1, -1, 1, 0]);
    let mut producer = Producer::new(ledger, parameters, turns, rng, (None, acks));
    producer.serve(&mut connection).await
}

/// An idempotent producer lives as long as its producer id.
async fn incarnate(
    mut connection: Connection,
    ledger: &Ledger,
    parameters: &Parameters,
    turns: &mut Turns,
    rng: &mut Rng,
) -> Result<(), Lost> {
    let version = rng.below(6) as i16;
    let request = InitProducerIdRequest { transaction_timeout_ms: 60_000, ..InitProducerIdRequest::default() };
    let id = match connection.ask(version, request, ANSWER_MS).await? {
        Response::InitProducerId(r) if r.error_code == error::NONE => r.producer_id,
        Response::InitProducerId(_) => return Ok(()),
        other => return Err(Lost::Nonsense(format!("{:?} to InitProducerId", other.key()))),
    };
    ledger.count("producer ids", 1);
    let acks = pick(rng, &[-1, -1, -1, 1]);
    let mut producer = Producer::new(ledger, parameters, turns, rng, (Some(id), acks));
    loop {
        match producer.serve(&mut connection).await {
            Ok(()) => return Ok(()),
            Err(lost) => ledger.lost(&lost),
        }
        producer.disconnected();
        connection = loop {
            if producer.given_up() {
                return Ok(());
            }
            pause(rng, producer.patience_ms.min(60)).await;
            match ledger.wire.dial(rng.draw()).await {
                Ok(connection) => break connection,
                Err(lost) => ledger.lost(&lost),
            }
        };
    }
}

impl<'a> Producer<'a> {
    fn new(
        ledger: &'a Ledger,
        parameters: &'a Parameters,
        turns: &'a mut Turns,
        rng: &mut Rng,
        (id, acks): (Option<i64>, i16),
    ) -> Self {
        let mut rng = Rng::new(rng.draw());
        let mut lanes = Vec::new();
        let topics = ledger.topics(false);
        let all: i32 = topics.iter().map(|topic| topic.partitions).sum();
        // One partition at least: a producer without any would idle for as long as its connection lasts.
        let mut chosen = rng.below(u64::from(all.unsigned_abs()));
        for Topic { life, id, partitions } in &topics {
            for partition in 0..*partitions {
                let taken = chosen == 0 || !rng.one_in(3);
                chosen = chosen.wrapping_sub(1);
                if taken {
                    let at = (life.clone(), partition);
                    lanes.push(Lane {
                        at,
                        topic: *id,
                        // From 0 on, or so that sequences wrap soon.
                        next: if rng.one_in(4) { i32::MAX - rng.below(40) as i32 } else { 0 },
                        queue: VecDeque::new(),
                        known: false,
                        draining: false,
                        rests_until: 0,
                    });
                }
            }
        }
        Producer {
            ledger,
            parameters,
            turns,
            name: ledger.number(),
            id,
            acks,
            timeout_ms: pick(&mut rng, &[1, 30, 1_000, 30_000]),
            version: 3 + rng.below(11) as i16,
            pipeline: 1 + rng.below(IN_FLIGHT as u64) as usize,
            patience_ms: pick(&mut rng, &PATIENCE_MS),
            lanes,
            flights: VecDeque::new(),
            thinks_until: 0,
            rng,
        }
    }

    /// Works over a connection until it is lost, or everything is done.
    async fn serve(&mut self, connection: &mut Connection) -> Result<(), Lost> {
        loop {
            while self.flights.len() < self.pipeline {
                let Some((request, parts)) = self.request() else { break };
                let answered = self.acks != 0;
                let correlation = connection.send(self.version, &request, answered).await?;
                if answered {
                    let patience_ms = if self.ledger.is_working() { self.patience_ms } else { ANSWER_MS };
                    let deadline = elapsed_ns() + patience_ms * MS;
                    self.flights.push_back(Flight { correlation, parts, deadline });
                } else {
                    parts.into_iter().for_each(|(lane, _)| drop(self.lanes[lane].queue.pop_front()));
                }
            }
            if self.given_up() || (self.flights.is_empty() && self.is_over()) {
                return Ok(());
            }
            let now = elapsed_ns();
            let ms = self.wake(now).saturating_sub(now) / MS + 1;
            let answer = in_time(ms, connection.receive()).await;
            match answer {
                Ok((correlation, Response::Produce(response))) => self.answered(correlation, &response)?,
                Ok((_, other)) => return Err(Lost::Nonsense(format!("{:?} to Produce", other.key()))),
                Err(Lost::Broken(error)) if error.kind() == io::ErrorKind::TimedOut => {
                    let overdue = self.flights.front().is_some_and(|flight| flight.deadline <= elapsed_ns());
                    if overdue {
                        return Err(error.into());
                    }
                }
                Err(lost) => return Err(lost),
            }
        }
    }

    fn is_over(&self) -> bool {
        !self.ledger.is_working() && self.lanes.iter().all(|lane| lane.queue.is_empty())
    }

    /// When to look again even if nothing comes.
    fn wake(&self, now: u64) -> u64 {
        let answer = self.flights.front().map(|flight| flight.deadline);
        let think = (self.flights.len() < self.pipeline).then_some(self.thinks_until.max(now));
        [answer, think, Some(now + 50 * MS)].into_iter().flatten().min().unwrap_or(now)
    }

    /// Whether a batch was not delivered in time: the sequence is broken, and with it this incarnation.
    fn given_up(&self) -> bool {
        let now = elapsed_ns();
        let late = |batch: &Batch| batch.born + DELIVERY_MS * MS < now;
        self.lanes
            .iter()
            .any(|lane| lane.queue.front().is_some_and(late) || lane.queue.iter().any(|batch| batch.hopeless))
    }

    /// What leaves next: for some partitions, the oldest batch that is not in flight, or a new one.
    fn request(&mut self) -> Option<(Request, Vec<(usize, i32)>)> {
        let fresh = self.takes_turn();
        let mut parts = Vec::new();
        let mut topic_data: Vec<TopicProduceData> = Vec::new();
        for index in 0..self.lanes.len() {
            if self.lanes[index].rests() || !self.has_one(index, fresh) {
                continue;
            }
            let lane = &mut self.lanes[index];
            let batch = lane.queue.iter_mut().find(|batch| !batch.sent).expect("there is one");
            batch.sent = true;
            parts.push((index, batch.first));
            let data = PartitionProduceData { index: lane.at.1, records: Some(batch.bytes.clone()) };
            match topic_data.iter_mut().find(|topic| topic.topic_id == lane.topic) {
                Some(topic) => topic.partition_data.push(data),
                None => topic_data.push(TopicProduceData {
                    name: name_of(&lane.at.0).to_owned(),
                    topic_id: lane.topic,
                    partition_data: vec![data],
                }),
            }
        }
        if parts.is_empty() {
            return None;
        }
        if fresh {
            self.thinks_until = elapsed_ns() + self.rng.below(self.parameters.think_ms * MS);
        }
        let (acks, timeout_ms) = (self.acks, self.timeout_ms);
        Some((ProduceRequest { acks, timeout_ms, topic_data, ..ProduceRequest::default() }.into(), parts))
    }

    /// Whether new batches may be made now: that is a turn.
    fn takes_turn(&mut self) -> bool {
        let idempotent = self.id.is_some();
        let thinks = !self.ledger.is_working() || elapsed_ns() < self.thinks_until;
        if thinks || !self.lanes.iter_mut().any(|lane| !lane.rests() && lane.has_room(idempotent)) {
            return false;
        }
        match self.turns.take() {
            Ok(rng) => {
                self.rng = rng;
                true
            }
            Err(at) => {
                self.thinks_until = at;
                false
            }
        }
    }

    /// Whether a lane has a batch that is not in flight; perhaps makes one.
    fn has_one(&mut self, index: usize, fresh: bool) -> bool {
        let lane = &self.lanes[index];
        if lane.queue.iter().any(|batch| !batch.sent) {
            return true;
        }
        if !fresh || !lane.has_room(self.id.is_some()) || self.rng.one_in(2) {
            return false;
        }
        let values: Vec<u64> =
            (0..=self.rng.below(self.parameters.batch_records)).map(|_| self.ledger.number()).collect();
        let filler = self.rng.below(self.parameters.record_bytes) as usize;
        let bad = self.id.is_none() && self.rng.one_in(40);
        let lane = &mut self.lanes[index];
        let first = lane.next;
        lane.next = after(first, values.len());
        let stamp = self.id.map(|id| Stamp { id: ProducerId(id), epoch: ProducerEpoch(0), first: Sequence(first) });
        let now = elapsed_ns();
        let wall = EPOCH_MS + (now / MS) as i64;
        let mut bytes = batch(&values, filler, Timestamp(wall), stamp);
        let sent = Sent { bytes: bytes.len() as u32, time: wall, stamp: wall };
        self.ledger.history.borrow_mut().sent(&lane.at, self.name, &values, sent);
        if bad {
            let mut raw = bytes.to_vec();
            *raw.last_mut().expect("a batch has bytes") ^= 0x40;
            bytes = raw.into();
        }
        lane.queue.push_back(Batch {
            first,
            values,
            bytes,
            born: now,
            sent: false,
            again: false,
            bad,
            hopeless: false,
        });
        true
    }

    /// Answers come in the order of the requests.
    fn answered(&mut self, correlation: i32, response: &ProduceResponse) -> Result<(), Lost> {
        let Some(flight) = self.flights.pop_front().filter(|flight| flight.correlation == correlation) else {
            return Err(Lost::Nonsense(format!("{correlation} is answered out of turn")));
        };
        for (index, first) in flight.parts {
            let lane = &self.lanes[index];
            let mut topics = response.responses.iter();
            let topic = topics.find(|t| match t.name.is_empty() {
                true => t.topic_id == lane.topic,
                false => t.name == name_of(&lane.at.0),
            });
            let part = topic.and_then(|t| t.partition_responses.iter().find(|p| p.index == lane.at.1));
            let Some(part) = part else {
                return Err(Lost::Nonsense(format!("no word of {}-{} in an answer to Produce", lane.at.0, lane.at.1)));
            };
            self.ended(index, first, part.error_code, part.base_offset)?;
        }
        Ok(())
    }

    /// One batch was answered.
    fn ended(&mut self, index: usize, first: i32, code: i16, base: i64) -> Result<(), Lost> {
        let (ledger, retries) = (self.ledger, self.id.is_some());
        let lane = &mut self.lanes[index];
        let Some(position) = lane.queue.iter().position(|batch| batch.first == first) else { return Ok(()) };
        let batch = &mut lane.queue[position];
        if code == error::NONE {
            if batch.bad {
                let fact = format!("a batch of {:?} was sent with a wrong checksum", batch.values);
                ledger.broken("bad-batches-refused", &lane.at, &fact, format!("it was acknowledged at {base}"));
            }
            ledger.count("batches acknowledged", 1);
            ledger.acked(&lane.at, &batch.values, base);
            lane.queue.remove(position);
            lane.known = true;
            return Ok(());
        }
        ledger.count("produce errors", 1);
        let bad: &[i16] = if batch.bad { &[error::CORRUPT_MESSAGE, error::INVALID_RECORD] } else { &[] };
        let also = [error::REQUEST_TIMED_OUT, error::OUT_OF_ORDER_SEQUENCE_NUMBER, error::MESSAGE_TOO_LARGE];
        ledger.refused(&lane.at, "Produce", code, &[bad, &also].concat());
        if code == error::MESSAGE_TOO_LARGE {
            let limited = ledger.history.borrow().topic(&lane.at.0).is_some_and(|topic| topic.limited);
            if !limited {
                let fact = "nobody ever limited its batches".to_owned();
                ledger.broken("no-odd-error", &lane.at, &fact, "one is too large".to_owned());
            }
            ledger.count("batches too large", 1);
            // An earlier attempt may be in the log, from before it was too large.
            if !batch.again {
                batch.values.iter().for_each(|value| ledger.history.borrow_mut().refused(&lane.at, *value));
            }
            batch.hopeless = true;
        }
        if batch.bad && matches!(code, error::CORRUPT_MESSAGE | error::INVALID_RECORD) {
            batch.values.iter().for_each(|value| ledger.history.borrow_mut().refused(&lane.at, *value));
        }
        if !retries {
            lane.queue.remove(position);
            return Ok(());
        }
        (batch.sent, batch.again) = (false, true);
        lane.draining = true;
        lane.rests_until = elapsed_ns() + self.rng.below(60 * MS);
        if code == error::INVALID_PRODUCER_EPOCH || (code == error::OUT_OF_ORDER_SEQUENCE_NUMBER && position == 0) {
            let fact = format!("all before sequence {first} of producer id {:?} was acknowledged", self.id);
            ledger.broken("sequences-kept", &lane.at, &fact, format!("that is refused: {}", error::name(code)));
        }
        Ok(())
    }

    /// The connection is gone: what was in flight may be in the log.
    fn disconnected(&mut self) {
        self.flights.clear();
        for lane in &mut self.lanes {
            lane.draining = false;
            for batch in &mut lane.queue {
                (batch.sent, batch.again) = (false, batch.again || batch.sent);
            }
        }
    }
}

impl Lane {
    /// Whether another batch may be made. The broker recognises five: nothing new goes behind one that is sent again.
    fn has_room(&self, idempotent: bool) -> bool {
        let Some(oldest) = self.queue.front() else { return true };
        self.queue.len() < IN_FLIGHT && (!idempotent || (self.known && !oldest.again))
    }

    /// Whether nothing may leave now.
    fn rests(&mut self) -> bool {
        if self.draining && self.queue.iter().all(|batch| !batch.sent) {
            self.draining = false;
        }
        self.draining || elapsed_ns() < self.rests_until
    }
}
