//! A producer without manners: it says everything at once, more of it than fits a window, some of it twice or in another
//! order; then all of it again, perhaps after a rest that is longer than every timeout, over whatever connection it has by
//! then (a zombie).
//!
//! Properties: the history's. However often and in whatever order a producer with an id says something, it stands in the
//! log once, in the order of its sequences, and every acknowledgement of it names the same offset (KIP-98); one without an
//! id gets what it says twice twice. `producer-ids-unique`, `no-odd-error`, `topics-stay`.

use bytes::Bytes;
use klamm_core::ids::{ProducerId, Sequence};
use klamm_core::rng::Rng;
use klamm_core::wire::{
    InitProducerIdRequest, PartitionProduceData, ProduceRequest, ProduceResponse, Response, TopicProduceData, error,
};

use super::{Ask, Cx, Role, batch, is_maybe, odd_answer, odd_error, vanished};
use crate::history::{Partition, Sent, name_of};
use crate::report::Violation;

/// Batches that it has to say, at most: more than twice what a broker remembers of a producer.
const MOST: u64 = 12;

/// A batch that it says.
#[derive(Clone, Debug)]
struct Said {
    values: Vec<u64>,
    bytes: Bytes,
}

/// What it is about.
#[derive(Debug)]
struct Speech {
    at: Partition,
    said: Vec<Said>,
    with_id: bool,
    /// It was said before.
    again: bool,
    /// So often it is still to be said.
    left: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Insistent {
    rng: Rng,
    pace: u64,
    rests: Vec<u64>,
    speech: Option<Speech>,
    next_at: u64,
    waiting: usize,
}

/// A question of it.
#[derive(Debug)]
pub enum Asked {
    /// For a producer id, for what is to be said there.
    ProducerId(Partition),
    /// To append these values; whether with an id.
    Produce(Partition, Vec<u64>, bool),
}

impl Insistent {
    /// One that begins a speech about every so many nanoseconds, and rests for some of these before it says everything
    /// again.
    #[must_use]
    pub fn new(seed: u64, pace: u64, rests: Vec<u64>) -> Insistent {
        Insistent { rng: Rng::new(seed), pace, rests, speech: None, next_at: 0, waiting: 0 }
    }

    /// Some partition that nobody will delete.
    fn place(&mut self, cx: &Cx<'_>) -> Option<Partition> {
        let alive: Vec<_> = cx.history.alive().filter(|(_, topic)| !topic.mortal).collect();
        let (life, topic) = alive.get(self.rng.below((alive.len() as u64).max(1)) as usize)?;
        Some(((*life).clone(), self.rng.below(topic.partitions as u64) as i32))
    }

    /// Thinks of what to say.
    fn think(&mut self, at: Partition, id: Option<ProducerId>, cx: &mut Cx<'_>) {
        let (name, mut next) = (cx.shared.number(), 0);
        let mut said = Vec::new();
        for _ in 0..=self.rng.below(MOST) {
            let values: Vec<u64> = (0..=self.rng.below(3)).map(|_| cx.shared.number()).collect();
            let bytes = batch(&values, id.map(|id| (id, Sequence(next))), cx);
            next += values.len() as i32;
            let sent = Sent { bytes: bytes.len() as u32, time: cx.least_time, stamp: cx.wall };
            cx.history.sent(&at, name, &values, sent);
            said.push(Said { values, bytes });
        }
        if id.is_some() && self.rng.one_in(3) {
            let (a, b) = (self.rng.below(said.len() as u64) as usize, self.rng.below(said.len() as u64) as usize);
            said.swap(a, b);
        }
        cx.shared.count(if id.is_some() { "speeches with an id" } else { "speeches without an id" });
        self.speech = Some(Speech { at, said, with_id: id.is_some(), again: false, left: 2 + self.rng.below(2) });
    }

    /// Says all of it, once or twice over.
    fn say(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        let Some(mut speech) = self.speech.take() else { return Vec::new() };
        let times = if self.rng.one_in(3) { 2 } else { 1 };
        let mut asks = Vec::new();
        for _ in 0..times {
            for Said { values, bytes } in &speech.said {
                if speech.again && !speech.with_id {
                    cx.history.sent_again(&speech.at, values, bytes.len() as u32);
                }
                let asked = Asked::Produce(speech.at.clone(), values.clone(), speech.with_id);
                asks.push((request(&speech.at, bytes.clone()), asked));
            }
            if speech.again && speech.with_id {
                cx.shared.count("speeches said again");
            }
            speech.again = true;
        }
        let rest = self.rests[self.rng.below(self.rests.len() as u64) as usize];
        speech.left -= 1;
        self.next_at = cx.now + if speech.left > 0 { rest } else { self.rng.below(2 * self.pace) };
        self.speech = Some(speech).filter(|speech| speech.left > 0);
        self.waiting = asks.len();
        asks
    }
}

fn request(at: &Partition, records: Bytes) -> klamm_core::wire::Request {
    let data = PartitionProduceData { index: at.1, records: Some(records) };
    let topic =
        TopicProduceData { name: name_of(&at.0).to_owned(), partition_data: vec![data], ..TopicProduceData::default() };
    ProduceRequest { acks: -1, timeout_ms: 1_000, topic_data: vec![topic], ..ProduceRequest::default() }.into()
}

fn produced(
    at: &Partition,
    (values, with_id): (&[u64], bool),
    response: &ProduceResponse,
    cx: &mut Cx<'_>,
) -> Result<(), Violation> {
    let part = response.responses.first().and_then(|topic| topic.partition_responses.first());
    match part.map(|part| (part.error_code, part.base_offset)) {
        // A duplicate of what the broker knows no more of has no offset.
        Some((error::NONE, base)) if base >= 0 => {
            values.iter().zip(base..).try_for_each(|(value, offset)| cx.history.acked(at, *value, offset))
        }
        Some((error::OUT_OF_ORDER_SEQUENCE_NUMBER, _)) if with_id => {
            cx.shared.count("sequences refused");
            Ok(())
        }
        // It may be in the log, of another time that it was said.
        Some((error::MESSAGE_TOO_LARGE, _)) if cx.history.topic(&at.0).is_some_and(|topic| topic.limited) => Ok(()),
        Some((error::NONE | error::REQUEST_TIMED_OUT | error::KAFKA_STORAGE_ERROR, _)) | None => Ok(()),
        Some((error::UNKNOWN_TOPIC_OR_PARTITION, _)) => Err(vanished(at)),
        Some((code, _)) => Err(odd_error("a produce", code)),
    }
}

impl Role for Insistent {
    type Asked = Asked;

    fn reseed(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
    }

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        if !cx.working || self.waiting > 0 || cx.now < self.next_at {
            return Vec::new();
        }
        if self.speech.is_some() {
            return self.say(cx);
        }
        self.next_at = cx.now + 1 + self.rng.below(2 * self.pace);
        let Some(at) = self.place(cx) else { return Vec::new() };
        if self.rng.one_in(4) {
            self.think(at, None, cx);
            return self.say(cx);
        }
        self.waiting = 1;
        vec![(InitProducerIdRequest::default().into(), Asked::ProducerId(at))]
    }

    fn answered(&mut self, asked: Asked, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        self.waiting = self.waiting.saturating_sub(1);
        match (asked, response) {
            (Asked::ProducerId(at), Response::InitProducerId(r)) => {
                if r.error_code != error::NONE && !is_maybe(r.error_code) {
                    return Err(odd_error("InitProducerId", r.error_code));
                }
                if r.error_code == error::NONE {
                    cx.history.given(r.producer_id)?;
                    self.think(at, Some(ProducerId(r.producer_id)), cx);
                    self.next_at = cx.now;
                }
                Ok(())
            }
            (Asked::Produce(at, values, with_id), Response::Produce(r)) => produced(&at, (&values, with_id), &r, cx),
            (Asked::ProducerId(_) | Asked::Produce(..), other) => Err(odd_answer(&other)),
        }
    }

    fn lost(&mut self, _asked: Vec<Asked>, _cx: &mut Cx<'_>) {
        self.waiting = 0;
    }

    fn next(&self, working: bool) -> Option<u64> {
        (working && self.waiting == 0).then_some(self.next_at)
    }

    fn owes(&self) -> Option<String> {
        None
    }
}
