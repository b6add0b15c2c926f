//! Clients that real ones are on a bad day: connections that say nothing, or half of something; readers that do not read;
//! producers that say everything over two connections at once, in the wrong order, far more of it than fits a window, and
//! once more after a pause that is longer than every timeout. What one connection is enough for is [`Insistent`]'s.
//!
//! [`Insistent`]: crate::workload::insistent::Insistent
//!
//! Properties: the history's, for all that they send and see: however often and in whatever order a producer with an id
//! says something, it stands in the log once, in the order of its sequences, and every acknowledgement of it names the
//! same offset (KIP-98). A frame that was cut off is never carried out.

use super::ledger::{Ledger, Topic};
use super::parameters::{MS, Parameters, pick};
use super::turns::{Turns, pause};
use crate::client::{Connection, Lost, Stamp, batch, in_time};
use crate::clock::{EPOCH_MS, elapsed_ns};
use crate::history::{Partition, Sent};
use bytes::Bytes;
use klamm_core::ids::{ProducerEpoch, ProducerId, Sequence, Timestamp, Uuid};
use klamm_core::rng::Rng;
use klamm_core::wire::{
    FetchPartition, FetchRequest, FetchTopic, InitProducerIdRequest, PartitionProduceData, ProduceRequest, Records,
    Request, Response, TopicProduceData, error,
};
use std::rc::Rc;

/// How long an answer may take.
const ANSWER_MS: u64 = 1_500;

/// Where one of them is at work.
struct Place {
    at: Partition,
    topic: Uuid,
}

/// A batch that it sends.
struct Said {
    values: Vec<u64>,
    bytes: Bytes,
}

/// Does mischief until the work is over.
pub(super) async fn annoy(ledger: Rc<Ledger>, parameters: Rc<Parameters>, mut turns: Turns) {
    while let Some(mut rng) = turns.next(&ledger).await {
        pause(&mut rng, 150).await;
        let Some(place) = place(&ledger, &mut rng) else { continue };
        let done = match rng.below(8) {
            0 => says_nothing(&ledger, &mut rng).await,
            1 => dies_in_the_middle(&ledger, &place, &mut rng).await,
            2 => reads_late(&ledger, &place, &mut rng).await,
            _ => insists(&ledger, &place, &parameters, &mut rng).await,
        };
        if let Err(lost) = done {
            ledger.lost(&lost);
        }
    }
}

fn place(ledger: &Ledger, rng: &mut Rng) -> Option<Place> {
    let topics = ledger.topics(false);
    if topics.is_empty() {
        return None;
    }
    let Topic { life, id, partitions } = pick(rng, &topics);
    Some(Place { at: (life, rng.below(u64::from(partitions.unsigned_abs())) as i32), topic: id })
}

/// A connection without a word, or with something that is no frame.
async fn says_nothing(ledger: &Ledger, rng: &mut Rng) -> Result<(), Lost> {
    let mut connection = ledger.wire.dial(rng.draw()).await?;
    if rng.one_in(2) {
        let len = 1 + rng.below(60) as usize;
        let noise: Vec<u8> = std::iter::repeat_with(|| rng.draw() as u8).take(len).collect();
        connection.blurt(&noise).await?;
    }
    pause(rng, 2_000).await;
    Ok(())
}

/// Half a request, and then the end of the connection: at once, or much later.
async fn dies_in_the_middle(ledger: &Ledger, place: &Place, rng: &mut Rng) -> Result<(), Lost> {
    let mut connection = ledger.wire.dial(rng.draw()).await?;
    let said = say(ledger, place, ledger.number(), None, rng);
    let frame = connection.frame_of(13, &request(place, &said.bytes, -1));
    let upto = rng.below(frame.len() as u64) as usize;
    // What was cut off was never asked for.
    said.values.iter().for_each(|value| ledger.history.borrow_mut().refused(&place.at, *value));
    connection.blurt(&frame[..upto]).await?;
    ledger.count("frames cut off", 1);
    if rng.one_in(2) {
        pause(rng, 1_500).await;
    }
    Ok(())
}

/// Asks for much, and reads none of it for a long time.
async fn reads_late(ledger: &Ledger, place: &Place, rng: &mut Rng) -> Result<(), Lost> {
    let mut connection = ledger.wire.dial(rng.draw()).await?;
    let from = ledger.history.borrow().start(&place.at);
    let partition = FetchPartition {
        partition: place.at.1,
        fetch_offset: from,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let topic = FetchTopic { topic_id: place.topic, partitions: vec![partition], ..FetchTopic::default() };
    let asked = 1 + rng.below(12);
    for _ in 0..asked {
        let request = FetchRequest {
            max_wait_ms: pick(rng, &[0, 300]),
            min_bytes: pick(rng, &[0, 1, 100_000]),
            max_bytes: 1 << 20,
            topic_ids: true,
            topics: vec![topic.clone()],
            ..FetchRequest::default()
        };
        connection.send(13, &request.into(), true).await?;
    }
    pause(rng, 3_000).await;
    if rng.one_in(4) {
        return Ok(());
    }
    for _ in 0..asked {
        let Response::Fetch(response) = in_time(ANSWER_MS, connection.receive()).await?.1 else {
            return Err(Lost::Nonsense("another answer than that to Fetch".to_owned()));
        };
        let part = response.responses.first().and_then(|topic| topic.partitions.first());
        let Some(part) = part.filter(|part| part.error_code == error::NONE) else { continue };
        if let Records::Bytes(bytes) = &part.records {
            ledger.fetched(&place.at, from, bytes.clone());
            ledger.count("answers read late", 1);
        }
    }
    Ok(())
}

/// With an id, everything is said over one or two connections, in any order, and all of it again after a while.
async fn insists(ledger: &Ledger, place: &Place, parameters: &Parameters, rng: &mut Rng) -> Result<(), Lost> {
    let mut first = ledger.wire.dial(rng.draw()).await?;
    let asked = InitProducerIdRequest { transaction_timeout_ms: 60_000, ..InitProducerIdRequest::default() };
    let id = match first.ask(rng.below(6) as i16, asked, ANSWER_MS).await? {
        Response::InitProducerId(r) if r.error_code == error::NONE => r.producer_id,
        Response::InitProducerId(_) => return Ok(()),
        other => return Err(Lost::Nonsense(format!("{:?} to InitProducerId", other.key()))),
    };
    ledger.check(ledger.history.borrow_mut().given(id));
    let (name, mut next) = (ledger.number(), 0);
    let mut said = Vec::new();
    for _ in 0..1 + rng.below(12) {
        let stamp = Stamp { id: ProducerId(id), epoch: ProducerEpoch(0), first: Sequence(next) };
        said.push(say(ledger, place, name, Some(stamp), rng));
        next += said.last().map_or(0, |said| said.values.len() as i32);
    }
    let mut connections = vec![first];
    if rng.one_in(2) {
        connections.push(ledger.wire.dial(rng.draw()).await?);
    }
    if rng.one_in(3) {
        let (a, b) = (rng.below(said.len() as u64) as usize, rng.below(said.len() as u64) as usize);
        said.swap(a, b);
        ledger.count("pipelines out of order", u64::from(a != b));
    }
    for Said { bytes, .. } in &said {
        for connection in &mut connections {
            connection.send(13, &request(place, bytes, -1), true).await?;
        }
    }
    ledger.count("pipelines longer than a window", u64::from(said.len() > 5));
    if rng.one_in(4) {
        drop(connections); // Whatever the answers are, it did not hear them.
    } else {
        for mut connection in connections {
            if let Err(lost) = hear(ledger, place, &mut connection, &said).await {
                ledger.lost(&lost);
            }
        }
    }
    // As one that was stopped past all timeouts, and goes on where it was.
    let rest = pick(rng, &[parameters.think_ms, 300, 3_000]);
    pause(rng, rest).await;
    let mut connection = ledger.wire.dial(rng.draw()).await?;
    for Said { bytes, .. } in &said {
        connection.send(13, &request(place, bytes, -1), true).await?;
    }
    ledger.count("zombies", 1);
    hear(ledger, place, &mut connection, &said).await
}

/// Takes the answers to all that was said over a connection.
async fn hear(ledger: &Ledger, place: &Place, connection: &mut Connection, said: &[Said]) -> Result<(), Lost> {
    for Said { values, .. } in said {
        let Response::Produce(response) = in_time(ANSWER_MS, connection.receive()).await?.1 else {
            return Err(Lost::Nonsense("another answer than that to Produce".to_owned()));
        };
        let Some(part) = response.responses.first().and_then(|topic| topic.partition_responses.first()) else {
            return Err(Lost::Nonsense("an answer to Produce without what was asked for".to_owned()));
        };
        match part.error_code {
            // A duplicate of what it knows no more of has no offset.
            error::NONE if part.base_offset >= 0 => ledger.acked(&place.at, values, part.base_offset),
            error::OUT_OF_ORDER_SEQUENCE_NUMBER => ledger.count("sequences refused", 1),
            code => {
                ledger.count("produce errors", 1);
                ledger.refused(&place.at, "Produce", code, &[error::REQUEST_TIMED_OUT, error::MESSAGE_TOO_LARGE]);
            }
        }
    }
    Ok(())
}

/// A batch of new values, about to be sent.
fn say(ledger: &Ledger, place: &Place, name: u64, stamp: Option<Stamp>, rng: &mut Rng) -> Said {
    let values: Vec<u64> = (0..=rng.below(3)).map(|_| ledger.number()).collect();
    let wall = EPOCH_MS + (elapsed_ns() / MS) as i64;
    let bytes = batch(&values, rng.below(100) as usize, Timestamp(wall), stamp);
    let sent = Sent { bytes: bytes.len() as u32, time: wall, stamp: wall };
    ledger.history.borrow_mut().sent(&place.at, name, &values, sent);
    Said { values, bytes }
}

fn request(place: &Place, bytes: &Bytes, acks: i16) -> Request {
    let data = PartitionProduceData { index: place.at.1, records: Some(bytes.clone()) };
    let topic = TopicProduceData { topic_id: place.topic, partition_data: vec![data], ..TopicProduceData::default() };
    ProduceRequest { acks, timeout_ms: 1_000, topic_data: vec![topic], ..ProduceRequest::default() }.into()
}
