//! Looks at all partitions of a broker whose disk came to harm.
//!
//! Properties: `harm-is-reported` (a log that is not served says KAFKA_STORAGE_ERROR, and only one that was harmed does),
//! `not-cut-silently` (what was below the mark is not missing from a log that is served as if nothing were wrong),
//! `new-is-empty` (a broker without files knows no topic). A batch that does not match its checksum, or that cannot be
//! had, counts as reported where it was harmed, and is stepped over.

use super::admin::look;
use super::audit::probe;
use super::ledger::{Inspection, Ledger};
use super::reading::{Cursor, cursors, listed};
use super::turns::pause;
use crate::client::{Connection, Lost, values};
use crate::report::Violation;
use klamm_core::ids::LogId;
use klamm_core::rng::Rng;
use klamm_core::wire::list_offsets::{EARLIEST, LATEST};
use klamm_core::wire::{FetchRequest, MetadataRequest, Records, Response, error};
use std::rc::Rc;

/// How long an answer may take.
const ANSWER_MS: u64 = 5_000;
/// Bytes of one fetch.
const STEP_BYTES: i32 = 40_000;
/// Something that is harmed is tried so often.
const TRIES: u32 = 3;
/// Between two tries.
const PAUSE_MS: u64 = 20;

/// What a fetch from one offset came to.
enum Read {
    /// This is the next offset.
    Upto(i64),
    /// The batch there is not one that was sent.
    Damaged,
    /// There was no answer, or an error.
    Nothing,
    /// It is below the log's start by now.
    Gone,
    /// The disk failed: that of this batch alone, or the log is not served any more.
    Offline,
}

/// Inspects whenever it is asked to.
pub(super) async fn inspect(ledger: Rc<Ledger>, seed: u64) {
    let mut rng = Rng::new(seed);
    loop {
        match ledger.inspection.get() {
            Inspection::None => {
                pause(&mut rng, 5).await;
                continue;
            }
            Inspection::Empty => empty(&ledger, &mut rng).await,
            Inspection::Whole => {
                for cursor in cursors(&ledger.topics(true)) {
                    partition(&ledger, cursor, &mut rng).await;
                }
                ledger.waits_for.replace("Metadata".to_owned());
                let mut own = Rng::new(rng.draw());
                until(&ledger, &mut rng, async |c| look(c, &ledger, &mut own).await.map(Some)).await;
            }
        }
        ledger.inspection.set(Inspection::None);
        ledger.count("inspections", 1);
    }
}

/// Tries over one connection after the other.
async fn until<T>(
    ledger: &Ledger,
    rng: &mut Rng,
    mut work: impl AsyncFnMut(&mut Connection) -> Result<Option<T>, Lost>,
) -> T {
    loop {
        match ledger.wire.dial(rng.draw()).await {
            Ok(mut connection) => match work(&mut connection).await {
                Ok(Some(done)) => return done,
                Ok(None) => {}
                Err(lost) => ledger.lost(&lost),
            },
            Err(lost) => ledger.lost(&lost),
        }
        pause(rng, PAUSE_MS).await;
    }
}

/// A broker that has no files left.
async fn empty(ledger: &Ledger, rng: &mut Rng) {
    ledger.waits_for.replace("a new broker's Metadata".to_owned());
    let request = || MetadataRequest { topics: None, allow_auto_topic_creation: false, ..MetadataRequest::default() };
    let topics = until(ledger, rng, async |connection| match connection.ask(12, request(), ANSWER_MS).await? {
        Response::Metadata(response) => Ok(Some(response.topics)),
        other => Err(Lost::Nonsense(format!("{:?} to Metadata", other.key()))),
    });
    let topics = topics.await;
    if !topics.is_empty() {
        ledger.violated(Violation {
            property: "new-is-empty",
            fact: "nothing was left on the disk".to_owned(),
            contradiction: format!("the broker knows of {topics:?}"),
        });
    }
}

/// One partition: is it served, does it take a record, and what does it hold?
async fn partition(ledger: &Ledger, mut cursor: Cursor, rng: &mut Rng) {
    let place = format!("{}-{}", cursor.at.0, cursor.at.1);
    let log = LogId { topic: cursor.topic, partition: cursor.at.1 };
    ledger.waits_for.replace(format!("{place} to say where it ends"));
    let ends = until(ledger, rng, async |connection| ends(connection, ledger, &cursor).await).await;
    let Some((_, end)) = ends else { return not_served(ledger, &cursor, log) };
    let harmed = ledger.harmed.borrow().get(&log).cloned().unwrap_or_default();
    if harmed.known {
        for lost in harmed.lost.iter().filter(|lost| lost.marked) {
            ledger.check(ledger.history.borrow().goes_on(&cursor.at, &lost.offsets, end));
        }
    }
    ledger.waits_for.replace(format!("{place} to acknowledge a record"));
    // The write itself may meet a sector that cannot be read: from then on the log is not served.
    let served = until(ledger, rng, async |connection| {
        if probe(connection, ledger, &cursor).await? {
            return Ok(Some(true));
        }
        Ok(matches!(self::ends(connection, ledger, &cursor).await?, Some(None)).then_some(false))
    });
    if !served.await {
        return not_served(ledger, &cursor, log);
    }
    ledger.waits_for.replace(format!("{place} to be read back"));
    loop {
        let ends = until(ledger, rng, async |connection| self::ends(connection, ledger, &cursor).await).await;
        let Some((start, end)) = ends else { return not_served(ledger, &cursor, log) };
        cursor.next = start;
        if let Some(found) = read_back(ledger, &mut cursor, end, rng).await {
            ledger.read.borrow_mut().insert(cursor.at.clone());
            return ledger.check(ledger.history.borrow_mut().finally(&cursor.at, start, &found));
        }
    }
}

/// Where a partition starts and ends; `None` if it is not served.
async fn ends(
    connection: &mut Connection,
    ledger: &Ledger,
    cursor: &Cursor,
) -> Result<Option<Option<(i64, i64)>>, Lost> {
    let end = match listed(connection, ledger, LATEST, cursor).await? {
        Ok(end) => end,
        Err(error::KAFKA_STORAGE_ERROR) => return Ok(Some(None)),
        Err(_) => return Ok(None),
    };
    let Ok(start) = listed(connection, ledger, EARLIEST, cursor).await? else { return Ok(None) };
    Ok(Some(Some((start, end))))
}

fn not_served(ledger: &Ledger, cursor: &Cursor, log: LogId) {
    ledger.count("logs reported", 1);
    if !ledger.harmed.borrow().contains_key(&log) {
        let fact = "no byte of it was harmed";
        ledger.broken("harm-is-reported", &cursor.at, fact, "it is not served: KAFKA_STORAGE_ERROR".to_owned());
    }
}

/// What a partition holds up to an offset, but for what was harmed; `None` when it is trimmed meanwhile, or seems to be
/// served no longer.
async fn read_back(ledger: &Ledger, cursor: &mut Cursor, end: i64, rng: &mut Rng) -> Option<Vec<(i64, u64)>> {
    let mut found = Vec::new();
    let (mut failed, mut careful) = (0, false);
    let mut connection = None;
    while cursor.next < end {
        let harmed = ledger.history.borrow().is_lost(&cursor.at, cursor.next);
        // One batch at a time up to where one may be bad.
        careful |= failed > 0;
        let bytes = if careful { 1 } else { STEP_BYTES };
        let read = read(&mut connection, ledger, cursor, bytes, &mut found, rng).await;
        let (damaged, offline) = (matches!(read, Ok(Read::Damaged)), matches!(read, Ok(Read::Offline)));
        match read {
            Ok(Read::Upto(next)) if next > cursor.next => (cursor.next, failed) = (next, 0),
            Ok(Read::Gone) => return None,
            Ok(Read::Upto(_) | Read::Nothing | Read::Damaged | Read::Offline) => failed += 1,
            Err(lost) => {
                ledger.lost(&lost);
                (connection, failed) = (None, failed + 1);
            }
        }
        if failed == 0 {
            continue;
        }
        match harmed {
            Some(upto) if failed > TRIES => {
                ledger.count("damage seen by clients", 1);
                // Nor can be found what was acknowledged behind it since.
                ledger.history.borrow_mut().is_missed(&cursor.at, cursor.next);
                (cursor.next, failed, careful) = (upto.min(end), 0, false);
            }
            None if damaged && bytes == 1 => {
                let fact = format!("nothing was harmed at offset {}", cursor.next);
                ledger.broken("whole-batches", &cursor.at, &fact, "what is served there is damaged".to_owned());
                return Some(found);
            }
            None if offline && failed > TRIES => return None,
            Some(_) | None => pause(rng, PAUSE_MS).await,
        }
    }
    Some(found)
}

async fn read(
    connection: &mut Option<Connection>,
    ledger: &Ledger,
    cursor: &Cursor,
    bytes: i32,
    found: &mut Vec<(i64, u64)>,
    rng: &mut Rng,
) -> Result<Read, Lost> {
    if connection.is_none() {
        *connection = Some(ledger.wire.dial(rng.draw()).await?);
    }
    let Some(connection) = connection else { return Ok(Read::Nothing) };
    let mut request = FetchRequest { max_wait_ms: 100, min_bytes: 1, topic_ids: true, ..FetchRequest::default() };
    cursor.ask(&mut request, bytes);
    request.max_bytes = bytes.max(1);
    let response = match connection.ask(13, request, ANSWER_MS).await? {
        Response::Fetch(response) => response,
        other => return Err(Lost::Nonsense(format!("{:?} to Fetch", other.key()))),
    };
    let part = response.responses.first().and_then(|topic| topic.partitions.first());
    let Some(part) = part else { return Ok(Read::Nothing) };
    match part.error_code {
        error::NONE => {}
        error::OFFSET_OUT_OF_RANGE => return Ok(Read::Gone),
        error::KAFKA_STORAGE_ERROR => return Ok(Read::Offline),
        _ => return Ok(Read::Nothing),
    }
    let Records::Bytes(bytes) = &part.records else { return Ok(Read::Nothing) };
    let Ok(all) = values(bytes.clone()) else { return Ok(Read::Damaged) };
    let mut next = cursor.next;
    for (offset, value) in all.into_iter().filter(|(offset, _)| offset.0 >= cursor.next) {
        if offset.0 != next {
            // A gap says as much as a wrong checksum.
            return Ok(if next > cursor.next { Read::Upto(next) } else { Read::Damaged });
        }
        ledger.check(ledger.history.borrow_mut().read(&cursor.at, offset.0, value));
        found.push((offset.0, value));
        next += 1;
    }
    Ok(Read::Upto(next))
}
