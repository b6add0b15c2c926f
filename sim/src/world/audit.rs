//! The end of a run: every partition must take a record, and everything is read back over the wire.

use super::admin::look;
use super::hired;
use super::ledger::{Ledger, Phase};
use super::parameters::{MS, Parameters};
use super::reading::{Cursor, cursors, fetch, listed};
use super::turns::{Turns, pause};
use crate::client::{Connection, Lost, batch};
use crate::clock::{EPOCH_MS, elapsed_ns};
use crate::history::Sent;
use crate::workload::settler::Settler;
use klamm_core::ids::Timestamp;
use klamm_core::rng::Rng;
use klamm_core::wire::list_offsets::{EARLIEST, LATEST};
use klamm_core::wire::{PartitionProduceData, ProduceRequest, Response, TopicProduceData, error};
use std::rc::Rc;

/// How long an answer may take.
const ANSWER_MS: u64 = 5_000;
/// Bytes of one fetch. Of a log of hundreds of tiny segments on a slow disk a megabyte once took longer than a fetch
/// waits, for ever; since a lease ends after some segments no seed shows that any more.
const STEP_BYTES: i32 = 40_000;
/// Between two tries.
const PAUSE_MS: u64 = 50;

/// Waits for the audit to begin, does it, and says so.
pub(super) async fn audit(ledger: Rc<Ledger>, parameters: Rc<Parameters>, turns: Turns) {
    let mut rng = Rng::new(turns.seed());
    while ledger.phase.get() < Phase::Audit {
        pause(&mut rng, 5).await;
    }
    ledger.waits_for.replace("retention".to_owned());
    if parameters.habits.is_some() {
        let settler = Settler::new(parameters.quiet_ms() * MS, !parameters.drifts, false);
        hired::work(ledger.clone(), settler, turns).await;
    }
    for mut cursor in cursors(&ledger.topics(true)) {
        let place = format!("{}-{}", cursor.at.0, cursor.at.1);
        ledger.waits_for.replace(format!("{place} to acknowledge a record"));
        until(&ledger, &mut rng, async |connection| probe(connection, &ledger, &cursor).await).await;
        ledger.waits_for.replace(format!("{place} to be read back"));
        let mut log = Vec::new();
        until(&ledger, &mut rng, async |connection| read_back(connection, &ledger, &mut cursor, &mut log).await).await;
        let start = log.first().map_or(cursor.next, |(offset, _)| *offset);
        ledger.check(ledger.history.borrow_mut().finally(&cursor.at, start, &log));
    }
    ledger.waits_for.replace("Metadata".to_owned());
    let mut own = Rng::new(rng.draw());
    until(&ledger, &mut rng, async |connection| look(connection, &ledger, &mut own).await.map(|()| true)).await;
    ledger.phase.set(Phase::Done);
}

/// Tries over one connection after the other.
async fn until(ledger: &Ledger, rng: &mut Rng, mut work: impl AsyncFnMut(&mut Connection) -> Result<bool, Lost>) {
    loop {
        match ledger.wire.dial(rng.draw()).await {
            Ok(mut connection) => match work(&mut connection).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(lost) => ledger.lost(&lost),
            },
            Err(lost) => ledger.lost(&lost),
        }
        pause(rng, PAUSE_MS).await;
    }
}

/// Has a new value acknowledged.
async fn probe(connection: &mut Connection, ledger: &Ledger, cursor: &Cursor) -> Result<bool, Lost> {
    let (value, producer) = (ledger.number(), ledger.number());
    let wall = EPOCH_MS + (elapsed_ns() / MS) as i64;
    let bytes = batch(&[value], 0, Timestamp(wall), None);
    let sent = Sent { bytes: bytes.len() as u32, time: wall, stamp: wall };
    ledger.history.borrow_mut().sent(&cursor.at, producer, &[value], sent);
    let records = Some(bytes);
    let data = PartitionProduceData { index: cursor.at.1, records };
    let topic = TopicProduceData { topic_id: cursor.topic, partition_data: vec![data], ..TopicProduceData::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 3_000, topic_data: vec![topic], ..ProduceRequest::default() };
    let response = match connection.ask(13, request, ANSWER_MS).await? {
        Response::Produce(response) => response,
        other => return Err(Lost::Nonsense(format!("{:?} to Produce", other.key()))),
    };
    let Some(part) = response.responses.first().and_then(|topic| topic.partition_responses.first()) else {
        return Err(Lost::Nonsense("an answer to Produce without what was asked for".to_owned()));
    };
    if part.error_code != error::NONE {
        return Ok(false);
    }
    ledger.acked(&cursor.at, &[value], part.base_offset);
    Ok(true)
}

/// Reads a partition to its end.
async fn read_back(
    connection: &mut Connection,
    ledger: &Ledger,
    cursor: &mut Cursor,
    log: &mut Vec<(i64, u64)>,
) -> Result<bool, Lost> {
    let Ok(end) = listed(connection, ledger, LATEST, cursor).await? else { return Ok(false) };
    if log.is_empty() {
        let Ok(start) = listed(connection, ledger, EARLIEST, cursor).await? else { return Ok(false) };
        cursor.next = start;
    }
    while cursor.next < end {
        let Some(values) = fetch(connection, ledger, STEP_BYTES, cursor).await? else { return Ok(false) };
        log.extend(values);
    }
    Ok(true)
}
