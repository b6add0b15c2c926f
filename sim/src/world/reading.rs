//! How the audit reads a partition. What comes is held against what everybody saw before.

use super::ledger::{Ledger, Topic};
use crate::client::{Connection, Lost};
use crate::history::{Partition, name_of};
use crate::workload::reading::{Read, read};
use crate::workload::{floors, listing};
use klamm_core::ids::Uuid;
use klamm_core::wire::{FetchPartition, FetchRequest, FetchTopic, Response, error, list_offsets::EARLIEST};

/// How long an answer may take.
const ANSWER_MS: u64 = 2_100;
/// Versions of requests.
const FETCH: i16 = 13;
const LIST_OFFSETS: i16 = 5;

/// What is read of one partition.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    pub(super) at: Partition,
    pub(super) topic: Uuid,
    /// The next offset to ask for.
    pub(super) next: i64,
}

/// Every partition of every topic.
pub(super) fn cursors(topics: &[Topic]) -> Vec<Cursor> {
    let of = |topic: &Topic| {
        let Topic { life, id, partitions } = topic.clone();
        (0..partitions).map(move |partition| Cursor { at: (life.clone(), partition), topic: id, next: 0 })
    };
    topics.iter().flat_map(of).collect()
}

impl Cursor {
    /// Adds the partition to a request, by its topic's id.
    pub(super) fn ask(&self, request: &mut FetchRequest, partition_max_bytes: i32) {
        let partition = FetchPartition {
            partition: self.at.1,
            fetch_offset: self.next,
            partition_max_bytes,
            ..FetchPartition::default()
        };
        let (topic_id, partitions) = (self.topic, vec![partition]);
        request.topics.push(FetchTopic { topic_id, partitions, ..FetchTopic::default() });
    }
}

/// Where a partition starts or ends (`timestamp`), or the error that it is refused with.
pub(super) async fn listed(
    connection: &mut Connection,
    ledger: &Ledger,
    timestamp: i64,
    cursor: &Cursor,
) -> Result<Result<i64, i16>, Lost> {
    let (end, start) = floors(&ledger.history.borrow(), &cursor.at);
    let request = listing(name_of(&cursor.at.0), [cursor.at.1], timestamp);
    let response = match connection.ask(LIST_OFFSETS, request, ANSWER_MS).await? {
        Response::ListOffsets(response) => response,
        other => return Err(Lost::Nonsense(format!("{:?} to ListOffsets", other.key()))),
    };
    let Some(part) = response.topics.first().and_then(|topic| topic.partitions.first()) else {
        return Err(Lost::Nonsense("an answer to ListOffsets without what was asked for".to_owned()));
    };
    if part.error_code != error::NONE {
        // Before the end is known again (KIP-207).
        ledger.refused(&cursor.at, "ListOffsets", part.error_code, &[error::OFFSET_NOT_AVAILABLE]);
        return Ok(Err(part.error_code));
    }
    let mut history = ledger.history.borrow_mut();
    ledger.check(match timestamp {
        EARLIEST => history.starts(&cursor.at, start, part.offset),
        _ => history.ends(&cursor.at, end, part.offset),
    });
    Ok(Ok(part.offset))
}

/// What stands next in a partition; moves there. `None`: it is not served now, or nothing came.
pub(super) async fn fetch(
    connection: &mut Connection,
    ledger: &Ledger,
    bytes: i32,
    cursor: &mut Cursor,
) -> Result<Option<Vec<(i64, u64)>>, Lost> {
    let mut request = FetchRequest { max_wait_ms: 100, min_bytes: 1, topic_ids: true, ..FetchRequest::default() };
    cursor.ask(&mut request, bytes);
    let (end, start) = floors(&ledger.history.borrow(), &cursor.at);
    let response = match connection.ask(FETCH, request, ANSWER_MS).await? {
        Response::Fetch(response) => response,
        other => return Err(Lost::Nonsense(format!("{:?} to Fetch", other.key()))),
    };
    let Some(part) = response.responses.first().and_then(|topic| topic.partitions.first()) else {
        return Err(Lost::Nonsense("an answer to Fetch without what was asked for".to_owned()));
    };
    if part.error_code != error::NONE {
        ledger.refused(&cursor.at, "Fetch", part.error_code, &[error::OFFSET_OUT_OF_RANGE, error::CORRUPT_MESSAGE]);
        return Ok(None);
    }
    let mut history = ledger.history.borrow_mut();
    ledger.check(history.ends(&cursor.at, end, part.high_watermark));
    ledger.check(history.starts(&cursor.at, start, part.log_start_offset));
    let Read { values, next, .. } = match read(&cursor.at, cursor.next, part, klamm::crc32c) {
        Ok(read) => read,
        Err(violation) => {
            ledger.violated(violation);
            return Ok(None);
        }
    };
    for (offset, value) in &values {
        ledger.check(history.read(&cursor.at, *offset, *value));
    }
    cursor.next = next;
    Ok(Some(values).filter(|values| !values.is_empty()))
}
