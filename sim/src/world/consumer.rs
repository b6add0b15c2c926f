//! A consumer: long polls over several partitions, from the beginning, the end or somewhere; what it gets is checked at
//! once against what everybody saw before.

use super::ledger::{Ledger, Topic};
use super::parameters::pick;
use super::producer::pause;
use crate::client::{Connection, Lost};
use crate::history::Partition;
use klamm_core::ids::Uuid;
use klamm_core::rng::Rng;
use klamm_core::wire::{
    FetchPartition, FetchRequest, FetchTopic, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
    PartitionData, Records, Response, error, list_offsets,
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

/// Consumes until the work is over.
pub(super) async fn consume(ledger: Rc<Ledger>, seed: u64) {
    let mut rng = Rng::new(seed);
    while ledger.is_working() {
        if let Err(lost) = poll(&ledger, &mut rng).await {
            ledger.lost(&lost);
        }
        pause(&mut rng, 80).await;
    }
}

/// Every partition of every topic.
pub(super) fn cursors(topics: &[Topic]) -> Vec<Cursor> {
    let of = |topic: &Topic| {
        let Topic { name, id, partitions } = topic.clone();
        (0..partitions).map(move |partition| Cursor { at: (name.clone(), partition), topic: id, next: 0 })
    };
    topics.iter().flat_map(of).collect()
}

/// Reads over one connection for a while.
async fn poll(ledger: &Ledger, rng: &mut Rng) -> Result<(), Lost> {
    let mut cursors = cursors(&ledger.topics.borrow());
    cursors.retain(|_| !rng.one_in(4));
    if cursors.is_empty() {
        return Ok(());
    }
    let mut connection = Connection::dial(rng.draw()).await?;
    let version = 4 + rng.below(15) as i16;
    for _ in 0..1 + rng.below(60) {
        if !ledger.is_working() {
            break;
        }
        if rng.one_in(10) {
            let cursor = rng.below(cursors.len() as u64) as usize;
            jump(&mut connection, ledger, &mut cursors[cursor], rng).await?;
        }
        let wait_ms = pick(rng, &[0, 5, 100, 500]);
        let min_bytes = pick(rng, &[0, 1, 1, 400, 5_000]);
        let max_bytes = pick(rng, &[1, 900, 50_000, 1 << 20]);
        let partition_max_bytes = pick(rng, &[1, 300, 20_000, 1 << 20]);
        let request = FetchRequest { max_wait_ms: wait_ms, min_bytes, max_bytes, ..FetchRequest::default() };
        fetch(&mut connection, ledger, version, request, partition_max_bytes, &mut cursors).await?;
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
        1 => rng.below(ledger.committed(&cursor.at) as u64 + 1) as i64,
        _ => end(connection, ledger, 1 + rng.below(11) as i16, cursor).await?.unwrap_or_default(),
    };
    Ok(())
}

/// Where a partition ends; `None` when the broker does not say.
pub(super) async fn end(
    connection: &mut Connection,
    ledger: &Ledger,
    version: i16,
    cursor: &Cursor,
) -> Result<Option<i64>, Lost> {
    let floor = ledger.committed(&cursor.at);
    let partition = ListOffsetsPartition {
        partition_index: cursor.at.1,
        timestamp: list_offsets::LATEST,
        current_leader_epoch: -1,
    };
    let topic = ListOffsetsTopic { name: cursor.at.0.clone(), partitions: vec![partition] };
    let request = ListOffsetsRequest { topics: vec![topic], ..ListOffsetsRequest::default() };
    let response = match connection.ask(version, request, ANSWER_MS).await? {
        Response::ListOffsets(response) => response,
        other => return Err(Lost::Nonsense(format!("{:?} to ListOffsets", other.key()))),
    };
    let Some(part) = response.topics.first().and_then(|topic| topic.partitions.first()) else {
        return Err(Lost::Nonsense("an answer to ListOffsets without what was asked for".to_owned()));
    };
    if part.error_code != error::NONE {
        return Ok(None);
    }
    ledger.commits(&cursor.at, floor, part.offset);
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
        let partition = FetchPartition {
            partition: cursor.at.1,
            fetch_offset: cursor.next,
            partition_max_bytes,
            ..FetchPartition::default()
        };
        match request.topics.iter_mut().find(|topic| topic.topic == cursor.at.0) {
            Some(topic) => topic.partitions.push(partition),
            None => request.topics.push(FetchTopic {
                topic: cursor.at.0.clone(),
                topic_id: cursor.topic,
                partitions: vec![partition],
            }),
        }
    }
    let floors: Vec<i64> = cursors.iter().map(|cursor| ledger.committed(&cursor.at)).collect();
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
        let topic = topics.find(|t| t.topic == cursor.at.0 || (t.topic.is_empty() && t.topic_id == cursor.topic));
        let part = topic.and_then(|t| t.partitions.iter().find(|p| p.partition_index == cursor.at.1));
        let Some(part) = part else {
            return Err(Lost::Nonsense(format!("no word of {}-{} in an answer to Fetch", cursor.at.0, cursor.at.1)));
        };
        served &= read(ledger, cursor, floor, part);
    }
    Ok(served)
}

/// Takes in what came of one partition.
fn read(ledger: &Ledger, cursor: &mut Cursor, floor: i64, part: &PartitionData) -> bool {
    if part.error_code == error::OFFSET_OUT_OF_RANGE && cursor.next <= floor {
        let fact = format!("everything below {floor} was committed before a fetch from {}", cursor.next);
        ledger.broken("end-never-falls", &cursor.at, &fact, "that is said to be out of range".to_owned());
    }
    if part.error_code != error::NONE {
        return false;
    }
    ledger.commits(&cursor.at, floor, part.high_watermark);
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
