//! Serves the logs of this shard: produce, fetch, list-offsets, for its own connections and other shards alike.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

use super::waits::{FetchWait, ListWait, ProduceWait, RoomWait, Wait};
use super::{Origin, Shard, Step};
use crate::effect::{
    Answer, Config, Effect, FetchPart, FetchResult, Few, ListPart, ListResult, Lookup, ProducePart, ProduceResult,
    Query, Refused,
};
use crate::ids::{Correlation, LeaderEpoch, LogId, Offset, Ticket, Timestamp};
use crate::metadata::Image;
use crate::record::{Batch, Invalid, Limits, Times};
use crate::replica::{Attempt, Reading, Replica, WaitId, refused};
use crate::wire::{error, list_offsets};

impl Shard {
    pub(super) fn produce(
        &mut self,
        origin: Origin,
        acks: i16,
        timeout_ms: i32,
        zstd: bool,
        parts: Few<ProducePart>,
        step: &mut Step<'_>,
    ) {
        let wait = self.waits.next_id();
        let mut results = Few::with_capacity(parts.len());
        let mut open = Few::new();
        for ProducePart { log, records } in parts {
            let Some(replica) = self.replicas.get_mut(&log) else {
                results.push(not_produced(absent(&self.image, log)));
                continue;
            };
            let appended = append(replica, records, acks, zstd, &self.config, step);
            if let Ok((_, next)) = appended {
                self.flushes.arm(replica);
                if acks != 0 && !replica.reached(acks, next) {
                    replica.wake_at(acks, next, wait);
                    open.push((results.len(), log, next));
                }
            }
            results.push(appended.map_or_else(|refused| refused, |(result, _)| result));
        }
        if open.is_empty() {
            return self.answer(origin, Answer::Produce(results), step);
        }
        let deadline = step.now.monotonic.plus_ms(i64::from(timeout_ms));
        self.waits.park(Wait::Produce(ProduceWait { origin, acks, results, open }), Some(deadline));
    }

    pub(super) fn fetch(
        &mut self,
        origin: Origin,
        min_bytes: u32,
        max_wait_ms: i32,
        parts: Few<FetchPart>,
        step: &mut Step<'_>,
    ) {
        let readings = self.read_all(&parts);
        if enough(&readings, min_bytes) || max_wait_ms <= 0 {
            return self.answer(origin, fetched(readings), step);
        }
        let reported = total(&readings);
        let wait = self.waits.next_id();
        for part in &parts {
            if let Some(replica) = self.replicas.get_mut(&part.log) {
                replica.watch(wait);
            }
        }
        let deadline = step.now.monotonic.plus_ms(i64::from(max_wait_ms));
        self.waits.park(Wait::Fetch(FetchWait { origin, min_bytes, parts, reported }), Some(deadline));
        if reported > 0 {
            self.answer(origin, Answer::FetchProgress { bytes: reported }, step);
        }
    }

    fn read_all(&self, parts: &[FetchPart]) -> Vec<Reading> {
        let read = |part: &FetchPart| {
            self.replicas.get(&part.log).map_or_else(|| refused(absent(&self.image, part.log)), |r| r.read(part))
        };
        parts.iter().map(read).collect()
    }

    /// The asker wants its fetch answered with what is there.
    pub(super) fn settle(&mut self, asker: Origin, fetch: Correlation, step: &mut Step<'_>) {
        let origin = match asker {
            Origin::Here(_) => Origin::Here(fetch),
            Origin::Shard(shard, _) => Origin::Shard(shard, fetch),
        };
        if let Some(wait) = self.waits.of_fetch(origin) {
            self.end_fetch(wait, step);
        }
    }

    fn end_fetch(&mut self, id: WaitId, step: &mut Step<'_>) {
        let Some(Wait::Fetch(wait)) = self.waits.end(id) else { return };
        for part in &wait.parts {
            if let Some(replica) = self.replicas.get_mut(&part.log) {
                replica.unwatch(id);
            }
        }
        let readings = self.read_all(&wait.parts);
        self.answer(wait.origin, fetched(readings), step);
    }

    pub(super) fn list_offsets(&mut self, origin: Origin, parts: Few<ListPart>, step: &mut Step<'_>) {
        let mut results = Vec::with_capacity(parts.len());
        let mut open = BTreeMap::new();
        for part in parts {
            let listing = match self.replicas.get(&part.log) {
                Some(replica) => list(replica, &part),
                None => Listing::At(unlisted(absent(&self.image, part.log))),
            };
            match listing {
                Listing::At(result) => results.push(result),
                Listing::Ask(query) => {
                    let ticket = self.fresh_ticket();
                    step.out.push(Effect::Read { ticket, log: part.log, query });
                    open.insert(ticket, results.len());
                    results.push(unlisted(error::NONE));
                }
            }
        }
        if open.is_empty() {
            return self.answer(origin, Answer::ListOffsets(results), step);
        }
        self.waits.park(Wait::List(ListWait { origin, results, open }), None);
    }

    /// A disk look-up came back.
    pub(super) fn looked_up(&mut self, ticket: Ticket, found: Lookup, step: &mut Step<'_>) {
        if self.control.as_ref().is_some_and(|c| c.loads_by(ticket)) {
            return self.metadata_loaded(found, step);
        }
        let id = self.waits.of_ticket(ticket).expect("a look-up is asked for by a wait");
        match self.waits.get_mut(id) {
            Some(Wait::List(wait)) => {
                let index = wait.open.remove(&ticket).expect("a wait knows its tickets");
                wait.results[index] = match found {
                    Lookup::Record(Some((offset, timestamp, leader_epoch))) => {
                        ListResult { error: error::NONE, timestamp, offset, leader_epoch }
                    }
                    Lookup::Record(None) => unlisted(error::NONE),
                    Lookup::Batches(_) | Lookup::Room(_) | Lookup::Failed(_) => unlisted(error::KAFKA_STORAGE_ERROR),
                };
                if !wait.open.is_empty() {
                    return;
                }
            }
            Some(Wait::Room(_)) => {}
            _ => return,
        }
        let room = if let Lookup::Room(room) = found { Some(room) } else { None };
        match self.waits.end(id) {
            Some(Wait::List(wait)) => self.answer(wait.origin, Answer::ListOffsets(wait.results), step),
            Some(Wait::Room(wait)) => self.answer(wait.origin, Answer::Room(room), step),
            _ => {}
        }
    }

    /// Asks the disk what room there is.
    pub(super) fn room(&mut self, origin: Origin, step: &mut Step<'_>) {
        let ticket = self.fresh_ticket();
        step.out.push(Effect::Read { ticket, log: LogId::METADATA, query: Query::Room });
        self.waits.park(Wait::Room(RoomWait { origin, ticket }), None);
    }

    pub(super) fn wake_all(&mut self, mut waits: Vec<WaitId>, step: &mut Step<'_>) {
        waits.sort_unstable();
        waits.dedup();
        for wait in waits {
            self.wake(wait, step);
        }
    }

    /// Something that a wait waits for has changed: it ends, or waits on.
    fn wake(&mut self, id: WaitId, step: &mut Step<'_>) {
        match self.waits.get_mut(id) {
            Some(Wait::Produce(wait)) => {
                let (replicas, image) = (&self.replicas, &self.image);
                let (acks, results) = (wait.acks, &mut wait.results);
                wait.open.retain(|(index, log, next)| {
                    let replica = replicas.get(log).ok_or_else(|| absent(image, *log));
                    let refusal = replica.and_then(|r| r.serves(LeaderEpoch(-1)).map(|_| r));
                    match refusal {
                        Ok(replica) => !replica.reached(acks, *next),
                        Err(code) => {
                            results[*index] = not_produced(code);
                            false
                        }
                    }
                });
                if wait.open.is_empty() {
                    self.end_produce(id, step);
                }
            }
            Some(Wait::Delete(_)) => self.wake_delete(id, step),
            Some(Wait::Fetch(_)) => self.wake_fetch(id, step),
            Some(Wait::List(_) | Wait::Room(_)) | None => {}
        }
    }

    fn wake_fetch(&mut self, id: WaitId, step: &mut Step<'_>) {
        let Some(Wait::Fetch(wait)) = self.waits.get_mut(id) else { return };
        let (origin, min_bytes, reported, parts) = (wait.origin, wait.min_bytes, wait.reported, wait.parts.clone());
        let readings = self.read_all(&parts);
        if enough(&readings, min_bytes) {
            return self.end_fetch(id, step);
        }
        let bytes = total(&readings);
        if bytes > reported {
            if let Some(Wait::Fetch(wait)) = self.waits.get_mut(id) {
                wait.reported = bytes;
            }
            self.answer(origin, Answer::FetchProgress { bytes }, step);
        }
    }

    fn end_produce(&mut self, id: WaitId, step: &mut Step<'_>) {
        let Some(Wait::Produce(wait)) = self.waits.end(id) else { return };
        for (_, log, next) in &wait.open {
            if let Some(replica) = self.replicas.get_mut(log) {
                replica.unwake(wait.acks, *next, id);
            }
        }
        self.answer(wait.origin, Answer::Produce(wait.results), step);
    }

    /// A wait's deadline has come.
    pub(super) fn expired(&mut self, id: WaitId, step: &mut Step<'_>) {
        match self.waits.get_mut(id) {
            Some(Wait::Produce(wait)) => {
                for (index, _, _) in &wait.open {
                    wait.results[*index] = not_produced(error::REQUEST_TIMED_OUT);
                }
                self.end_produce(id, step);
            }
            Some(Wait::Delete(_)) => self.expire_delete(id, step),
            Some(Wait::Fetch(_)) => self.end_fetch(id, step),
            Some(Wait::List(_) | Wait::Room(_)) | None => {}
        }
    }
}

/// Appends what a client sent for one partition; gives its result, and what to wait for if it is in the log.
fn append(
    replica: &mut Replica,
    records: Bytes,
    acks: i16,
    zstd: bool,
    config: &Config,
    step: &mut Step<'_>,
) -> Result<(ProduceResult, Offset), ProduceResult> {
    let limits = Limits { max_message_bytes: replica.keeping().max_message_bytes, zstd };
    // What is refused for what the log has or takes, and not as a request, is told where the log begins.
    let log_start_offset = replica.log().log_start_offset();
    let refuse = |invalid| refusal(invalid, log_start_offset);
    let mut batch = Batch::check(records, config.crc, limits).map_err(refuse)?;
    batch.open(config.open).map_err(refuse)?;
    if batch.header.is_transactional() {
        let reason = "transactions are not served";
        let refused = Some(Box::new(Refused { reason, bad_records: Vec::new() }));
        return Err(ProduceResult { refused, ..not_produced(error::INVALID_TXN_STATE) });
    }
    if acks == -1 && !replica.is_in_sync_enough() {
        return Err(ProduceResult { log_start_offset, ..not_produced(error::NOT_ENOUGH_REPLICAS) });
    }
    let times = replica.keeping().times;
    batch.time(times, step.now.wall, config.crc).map_err(refuse)?;
    let end = replica.log().log_end_offset();
    match replica.append(batch, step.now, step.out) {
        Attempt::At(appended) => {
            // When a duplicate's original was appended is not remembered.
            let now = times == Times::Append && appended.base == end;
            let result = ProduceResult {
                error: error::NONE,
                base_offset: appended.base,
                log_append_time: if now { step.now.wall } else { Timestamp(-1) },
                log_start_offset,
                refused: None,
            };
            Ok((result, appended.next))
        }
        Attempt::Refused(code) => Err(ProduceResult { log_start_offset, ..not_produced(code) }),
    }
}

/// The error of a log that is not here: its topic is no more, or another broker's.
pub(super) fn absent(image: &Image, log: LogId) -> i16 {
    let known = image.partition(log).is_some();
    if known { error::NOT_LEADER_OR_FOLLOWER } else { error::UNKNOWN_TOPIC_OR_PARTITION }
}

fn not_produced(error: i16) -> ProduceResult {
    let none = Offset(-1);
    let log_append_time = Timestamp(-1);
    ProduceResult { error, base_offset: none, log_append_time, log_start_offset: none, refused: None }
}

fn refusal(invalid: Invalid, log_start_offset: Offset) -> ProduceResult {
    let none = not_produced(invalid.code);
    let log_start_offset = if invalid.by_log { log_start_offset } else { none.log_start_offset };
    let refused = Refused { reason: invalid.reason, bad_records: invalid.records };
    ProduceResult { refused: Some(Box::new(refused)), log_start_offset, ..none }
}

fn total(readings: &[Reading]) -> u32 {
    readings.iter().fold(0, |sum, r| sum.saturating_add(r.bytes))
}

/// Whether a fetch is answered now: bytes enough, an error, or nothing asked.
fn enough(readings: &[Reading], min_bytes: u32) -> bool {
    readings.is_empty() || readings.iter().any(|r| r.urgent) || total(readings) >= min_bytes
}

fn fetched(readings: Vec<Reading>) -> Answer {
    let results: Vec<FetchResult> = readings.into_iter().map(|r| r.result).collect();
    Answer::Fetch { results }
}

enum Listing {
    At(ListResult),
    Ask(Query),
}

fn unlisted(error: i16) -> ListResult {
    ListResult { error, timestamp: Timestamp(-1), offset: Offset(-1), leader_epoch: LeaderEpoch(-1) }
}

/// What a list-offsets asks of one replica (KIP-79, KIP-734).
fn list(replica: &Replica, part: &ListPart) -> Listing {
    if let Err(code) = replica.serves(part.current_leader_epoch) {
        return Listing::At(unlisted(code));
    }
    let state = replica.log().state();
    let upto = if part.committed_only { replica.last_stable_offset() } else { replica.high_watermark() };
    let looks_at_end =
        part.timestamp.0 >= 0 || matches!(part.timestamp.0, list_offsets::LATEST | list_offsets::MAX_TIMESTAMP);
    if looks_at_end && !replica.is_settled() {
        return Listing::At(unlisted(error::OFFSET_NOT_AVAILABLE));
    }
    let at = |offset: Offset, leader_epoch| Listing::At(ListResult { offset, leader_epoch, ..unlisted(error::NONE) });
    match part.timestamp.0 {
        list_offsets::LATEST => at(upto, replica.leading().unwrap_or(LeaderEpoch(-1))),
        list_offsets::EARLIEST | list_offsets::EARLIEST_LOCAL => {
            let start = state.log_start_offset;
            // Where nothing is, the epoch that would write there.
            let empty = replica.leading().filter(|_| start == state.at);
            at(start, empty.unwrap_or_else(|| state.epoch_of(start)))
        }
        list_offsets::MAX_TIMESTAMP if upto == state.log_start_offset => Listing::At(unlisted(error::NONE)),
        list_offsets::MAX_TIMESTAMP => Listing::Ask(Query::MaxTimestamp { upto }),
        // Nothing is tiered.
        list_offsets::LATEST_TIERED | list_offsets::TIERED_UPLOAD => Listing::At(unlisted(error::NONE)),
        at if at >= 0 => Listing::Ask(Query::Timestamp { at: part.timestamp, upto }),
        _ => Listing::At(unlisted(error::UNSUPPORTED_VERSION)),
    }
}
