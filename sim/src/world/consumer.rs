//! A consumer: long polls over several partitions, from the beginning, the end or somewhere; what it gets is checked at
//! once against what everybody saw before.

use super::ledger::{Ledger, Topic};
use super::parameters::{MS, pick};
use super::session::Session;
use super::turns::{Turns, pause};
use crate::client::{Connection, Lost};
use crate::clock::{EPOCH_MS, elapsed_ns};
use crate::history::{Partition, name_of};
use crate::workload::owner::below_start;
use klamm_core::ids::Uuid;
use klamm_core::rng::Rng;
use klamm_core::wire::{
    FetchPartition, FetchRequest, FetchTopic, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
    PartitionData, Records, Response, error,
    list_offsets::{EARLIEST, LATEST, MAX_TIMESTAMP},
};
use std::rc::Rc;

/// How long an answer may take beyond what was asked for.
const ANSWER_MS: u64 = 2_000;

/// What is read of one partition.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    pub(super) at: Partition,
    pub(super) topic: Uuid,
    /// The next offset to ask for.
    pub(super) next: i64,
}

impl Cursor {
    /// Adds the partition to a request.
    pub(super) fn ask(&self, request: &mut FetchRequest, partition_max_bytes: i32) {
        let partition = FetchPartition {
            partition: self.at.1,
            fetch_offset: self.next,
            partition_max_bytes,
            ..FetchPartition::default()
        };
        match request.topics.iter_mut().find(|topic| topic.topic_id == self.topic) {
            Some(topic) => topic.partitions.push(partition),
            None => request.topics.push(FetchTopic {
                topic: name_of(&self.at.0).to_owned(),
                topic_id: self.topic,
                partitions: vec![partition],
            }),
        }
    }
}

/// Consumes until the work is over.
pub(super) async fn consume(ledger: Rc<Ledger>, mut turns: Turns) {
    while let Some(mut rng) = turns.next(&ledger).await {
        if let Err(lost) = poll(&ledger, &mut rng, &mut turns).await {
            ledger.lost(&lost);
        }
        pause(&mut rng, 80).await;
    }
}

/// Every partition of every topic.
pub(super) fn cursors(topics: &[Topic]) -> Vec<Cursor> {
    let of = |topic: &Topic| {
        let Topic { life, id, partitions } = topic.clone();
        (0..partitions).map(move |partition| Cursor { at: (life.clone(), partition), topic: id, next: 0 })
    };
    topics.iter().flat_map(of).collect()
}

/// Reads over one connection for a while.
async fn poll(ledger: &Ledger, rng: &mut Rng, turns: &mut Turns) -> Result<(), Lost> {
    let mut cursors = cursors(&ledger.topics(false));
    cursors.retain(|_| !rng.one_in(4));
    if cursors.is_empty() {
        return Ok(());
    }
    let mut connection = ledger.wire.dial(rng.draw()).await?;
    let version = 4 + rng.below(15) as i16;
    let mut session = (version >= 7 && rng.one_in(2)).then(Session::default);
    for _ in 0..1 + rng.below(60) {
        let Some(mut own) = turns.next(ledger).await else { break };
        let rng = &mut own;
        if rng.one_in(10) {
            let cursor = rng.below(cursors.len() as u64) as usize;
            jump(&mut connection, ledger, &mut cursors[cursor], rng).await?;
        }
        if rng.one_in(6) {
            let cursor = &cursors[rng.below(cursors.len() as u64) as usize];
            let now = EPOCH_MS + (elapsed_ns() / MS) as i64;
            let time = if rng.one_in(4) { MAX_TIMESTAMP } else { now - rng.below(4_000) as i64 };
            listed(&mut connection, ledger, 7 + rng.below(5) as i16, time, cursor).await?;
        }
        if cursors.len() > 1 && rng.one_in(20) {
            cursors.pop();
        }
        let wait_ms = pick(rng, &[0, 5, 100, 500]);
        let min_bytes = pick(rng, &[0, 1, 1, 400, 5_000]);
        let max_bytes = pick(rng, &[1, 900, 50_000, 1 << 20]);
        let partition_max_bytes = pick(rng, &[1, 300, 20_000, 1 << 20]);
        let topic_ids = version >= 13;
        let request = FetchRequest { max_wait_ms: wait_ms, min_bytes, max_bytes, topic_ids, ..FetchRequest::default() };
        match &mut session {
            Some(session) => {
                session.fetch(&mut connection, ledger, version, request, partition_max_bytes, &mut cursors).await?;
            }
            None => {
                fetch(&mut connection, ledger, version, request, partition_max_bytes, &mut cursors).await?;
            }
        }
        if rng.one_in(3) {
            pause(rng, 30).await;
        }
    }
    Ok(())
}

/// Goes to the beginning, the end, or somewhere in between.
async fn jump(connection: &mut Connection, ledger: &Ledger, cursor: &mut Cursor, rng: &mut Rng) -> Result<(), Lost> {
    cursor.next = match rng.below(3) {
        0 => 0,
        1 => rng.below(ledger.history.borrow().end(&cursor.at) as u64 + 1) as i64,
        _ => listed(connection, ledger, 1 + rng.below(11) as i16, LATEST, cursor).await?.unwrap_or_default(),
    };
    Ok(())
}

/// Whether a partition can be asked for an offset: an error's code.
pub(super) async fn code_of(connection: &mut Connection, cursor: &Cursor, timestamp: i64) -> Result<i16, Lost> {
    let partition = ListOffsetsPartition { partition_index: cursor.at.1, timestamp, current_leader_epoch: -1 };
    let topic = ListOffsetsTopic { name: name_of(&cursor.at.0).to_owned(), partitions: vec![partition] };
    let request = ListOffsetsRequest { topics: vec![topic], ..ListOffsetsRequest::default() };
    match connection.ask(5, request, ANSWER_MS).await? {
        Response::ListOffsets(response) => {
            let part = response.topics.first().and_then(|topic| topic.partitions.first());
            part.map(|part| part.error_code).ok_or_else(|| Lost::Nonsense("ListOffsets without an answer".to_owned()))
        }
        other => Err(Lost::Nonsense(format!("{:?} to ListOffsets", other.key()))),
    }
}

/// Where a partition starts or ends; `None` when the broker does not say.
pub(super) async fn listed(
    connection: &mut Connection,
    ledger: &Ledger,
    version: i16,
    timestamp: i64,
    cursor: &Cursor,
) -> Result<Option<i64>, Lost> {
    let (start, end) = (ledger.history.borrow().start(&cursor.at), ledger.history.borrow().end(&cursor.at));
    let partition = ListOffsetsPartition { partition_index: cursor.at.1, timestamp, current_leader_epoch: -1 };
    let topic = ListOffsetsTopic { name: name_of(&cursor.at.0).to_owned(), partitions: vec![partition] };
    let request = ListOffsetsRequest { topics: vec![topic], ..ListOffsetsRequest::default() };
    let response = match connection.ask(version, request, ANSWER_MS).await? {
        Response::ListOffsets(response) => response,
        other => return Err(Lost::Nonsense(format!("{:?} to ListOffsets", other.key()))),
    };
    let Some(part) = response.topics.first().and_then(|topic| topic.partitions.first()) else {
        return Err(Lost::Nonsense("an answer to ListOffsets without what was asked for".to_owned()));
    };
    if part.error_code != error::NONE {
        // Before the end is known again (KIP-207); those who speak older versions know no better word.
        let unknown = if version >= 5 { error::OFFSET_NOT_AVAILABLE } else { error::LEADER_NOT_AVAILABLE };
        ledger.refused(&cursor.at, "ListOffsets", part.error_code, &[unknown]);
        return Ok(None);
    }
    let mut history = ledger.history.borrow_mut();
    ledger.check(match timestamp {
        EARLIEST => history.starts(&cursor.at, start, part.offset),
        LATEST => history.ends(&cursor.at, end, part.offset),
        MAX_TIMESTAMP => history.newest(&cursor.at, end, (part.offset, part.timestamp)),
        time => history.first_since(&cursor.at, time, end, (part.offset, part.timestamp)),
    });
    Ok(Some(part.offset))
}

/// One fetch over all cursors; moves them. Tells whether every one was served.
pub(super) async fn fetch(
    connection: &mut Connection,
    ledger: &Ledger,
    version: i16,
    mut request: FetchRequest,
    partition_max_bytes: i32,
    cursors: &mut [Cursor],
) -> Result<bool, Lost> {
    for cursor in cursors.iter() {
        cursor.ask(&mut request, partition_max_bytes);
    }
    let floors = {
        let history = ledger.history.borrow();
        let floors = cursors.iter().map(|c| (history.end(&c.at), history.start(&c.at)));
        floors.collect::<Vec<(i64, i64)>>()
    };
    let ms = ANSWER_MS + u64::try_from(request.max_wait_ms).unwrap_or_default();
    let response = match connection.ask(version, request, ms).await? {
        Response::Fetch(response) => response,
        other => return Err(Lost::Nonsense(format!("{:?} to Fetch", other.key()))),
    };
    if response.error_code != error::NONE {
        return Ok(false);
    }
    let mut served = true;
    for (cursor, floor) in cursors.iter_mut().zip(floors) {
        let mut topics = response.responses.iter();
        let topic = topics.find(|t| match t.topic.is_empty() {
            true => t.topic_id == cursor.topic,
            false => t.topic == name_of(&cursor.at.0),
        });
        let part = topic.and_then(|t| t.partitions.iter().find(|p| p.partition_index == cursor.at.1));
        let Some(part) = part else {
            return Err(Lost::Nonsense(format!("no word of {}-{} in an answer to Fetch", cursor.at.0, cursor.at.1)));
        };
        served &= read(ledger, cursor, floor, part);
    }
    Ok(served)
}

/// Takes in what came of one partition.
pub(super) fn read(ledger: &Ledger, cursor: &mut Cursor, (end, start): (i64, i64), part: &PartitionData) -> bool {
    if part.error_code == error::OFFSET_OUT_OF_RANGE && cursor.next <= end {
        // Then it starts behind that, and may.
        let mut history = ledger.history.borrow_mut();
        ledger.check(history.starts_behind(&cursor.at, cursor.next));
        ledger.count("reads below a start", 1);
        cursor.next = history.start(&cursor.at);
    }
    if part.error_code != error::NONE {
        let also = [error::OFFSET_OUT_OF_RANGE, error::CORRUPT_MESSAGE];
        ledger.refused(&cursor.at, "Fetch", part.error_code, &also);
        return false;
    }
    if cursor.next < start {
        ledger.violated(below_start(&cursor.at, cursor.next, start));
    }
    let mut history = ledger.history.borrow_mut();
    ledger.check(history.ends(&cursor.at, end, part.high_watermark));
    if part.log_start_offset >= 0 {
        ledger.check(history.starts(&cursor.at, start, part.log_start_offset));
    }
    drop(history);
    let Records::Bytes(bytes) = &part.records else { return true };
    let next = ledger.fetched(&cursor.at, cursor.next, bytes.clone());
    if next > part.high_watermark {
        let fact = format!("a fetch gave everything below {next}");
        let contradiction = format!("and said that {} is the high watermark", part.high_watermark);
        ledger.broken("committed-reads", &cursor.at, &fact, contradiction);
    }
    ledger.count("records read", (next - cursor.next) as u64);
    cursor.next = next;
    true
}
