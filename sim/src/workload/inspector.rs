//! Looks at all partitions of a broker whose disk came to harm: each over a connection of its own, by name or by topic id.
//! Is it served, does it take a record, and what does it hold?
//!
//! Properties, beside the history's and those of `workload::reading`: `harm-is-reported` (a log that is not served says
//! KAFKA_STORAGE_ERROR to whoever asks where it ends, and only one that was harmed does; of one that is served only what
//! was harmed cannot be had), `not-cut-silently` (what was below the mark is not missing from a log that is served as if
//! nothing were wrong), `new-is-empty` (a broker without files knows no topic), `topics-stay`, `no-odd-error`. A batch that
//! does not match its checksum, or that cannot be had, counts as reported where it was harmed, and is stepped over.

use std::collections::{BTreeMap, VecDeque};

use klamm_core::ids::{LogId, Uuid};
use klamm_core::rng::Rng;
use klamm_core::wire::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ListOffsetsResponse, MetadataResponse, PartitionData,
    PartitionProduceData, ProduceRequest, ProduceResponse, Records, Request, Response, TopicProduceData, error,
    list_offsets,
};

use super::reading::{Read, read};
use super::{
    Ask, Cx, Role, batch, everything, floors, is_maybe, is_mortal, listing, odd_answer, odd_error, vanished, wordless,
};
use crate::harmed::{Declared, Harmed};
use crate::history::{History, Moment, Partition, Sent, name_of};
use crate::report::Violation;

/// Bytes of one fetch.
const STEP_BYTES: usize = 40_000;
/// Something that is harmed is tried so often.
const TRIES: u32 = 3;
/// Between two tries, nanoseconds.
const PAUSE: u64 = 20_000_000;
/// How long the broker may take for a fetch, and for a produce.
const FETCH_MS: i32 = 100;
const PRODUCE_MS: i32 = 5_000;

/// What is to be known of a partition next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Whether it is served, and up to where.
    Serves,
    /// From where on.
    Begins,
    /// Whether it takes a record.
    Probe,
    /// What is to be read back: it starts there,
    Start,
    /// and ends there.
    End,
    Read,
}

/// Where the look at one partition stands.
#[derive(Debug)]
struct Look {
    at: Partition,
    log: LogId,
    by_id: bool,
    step: Step,
    start: i64,
    end: i64,
    next: i64,
    found: Vec<(i64, u64)>,
    /// So often in a row nothing was read.
    failed: u32,
    /// So many bytes are still read one batch at a time: one of them may be bad.
    careful: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Inspector {
    rng: Rng,
    harmed: BTreeMap<LogId, Declared>,
    /// Nothing is to be there.
    empty: bool,
    listed: bool,
    left: VecDeque<Look>,
    over: bool,
    waiting: bool,
    /// It wants another connection.
    leaves: bool,
    next_at: u64,
}

/// A question of the inspector.
#[derive(Debug)]
pub enum Asked {
    /// All topics.
    Metadata(Moment),
    /// Where a partition starts or ends; its end and its start, as far as was told.
    List((i64, i64)),
    /// To append this value.
    Probe(u64),
    /// Records; one batch alone; its end and its start, as far as was told.
    Fetch(bool, (i64, i64)),
}

impl Look {
    fn new(at: Partition, log: LogId, by_id: bool) -> Look {
        let step = Step::Serves;
        Look { at, log, by_id, step, start: 0, end: 0, next: 0, found: Vec::new(), failed: 0, careful: 0 }
    }

    fn place(&self) -> String {
        format!("{}-{}", self.at.0, self.at.1)
    }

    /// The topic as a request names it, and its answer.
    fn named(&self) -> (String, Uuid) {
        if self.by_id { (String::new(), self.log.topic) } else { (name_of(&self.at.0).to_owned(), Uuid::ZERO) }
    }

    fn list(&self, which: i64, cx: &Cx<'_>) -> Ask<Asked> {
        (listing(name_of(&self.at.0), [self.at.1], which).into(), Asked::List(floors(cx.history, &self.at)))
    }

    fn probe(&self, cx: &mut Cx<'_>) -> Ask<Asked> {
        let (producer, value) = (cx.shared.number(), cx.shared.number());
        let bytes = batch(&[value], None, cx);
        let sent = Sent { bytes: bytes.len() as u32, time: cx.least_time, stamp: cx.wall };
        cx.history.sent(&self.at, producer, &[value], sent);
        let partition_data = vec![PartitionProduceData { index: self.at.1, records: Some(bytes) }];
        let (name, topic_id) = self.named();
        let topic_data = vec![TopicProduceData { name, topic_id, partition_data }];
        let request = ProduceRequest { acks: -1, timeout_ms: PRODUCE_MS, topic_data, ..ProduceRequest::default() };
        (request.into(), Asked::Probe(value))
    }

    fn fetch(&self, cx: &Cx<'_>) -> Ask<Asked> {
        let alone = self.careful > 0;
        let bytes = if alone { 1 } else { STEP_BYTES as i32 };
        let partition = FetchPartition {
            partition: self.at.1,
            fetch_offset: self.next,
            partition_max_bytes: bytes,
            ..FetchPartition::default()
        };
        let (topic, topic_id) = self.named();
        let request = Request::from(FetchRequest {
            max_wait_ms: FETCH_MS,
            min_bytes: 1,
            max_bytes: bytes,
            topic_ids: self.by_id,
            topics: vec![FetchTopic { topic, topic_id, partitions: vec![partition] }],
            ..FetchRequest::default()
        });
        (request, Asked::Fetch(alone, floors(cx.history, &self.at)))
    }

    /// What an answer says of it: error code and offset.
    fn in_list(&self, response: &ListOffsetsResponse) -> Result<(i16, i64), Violation> {
        let topic = response.topics.iter().find(|topic| topic.name == name_of(&self.at.0));
        let part = topic.and_then(|topic| topic.partitions.iter().find(|part| part.partition_index == self.at.1));
        part.map(|part| (part.error_code, part.offset)).ok_or_else(|| wordless(&self.place(), false))
    }

    /// As above.
    fn in_produced(&self, response: &ProduceResponse) -> Result<(i16, i64), Violation> {
        let is_it = |(name, id): (&String, Uuid)| (name.clone(), id) == self.named();
        let topic = response.responses.iter().find(|topic| is_it((&topic.name, topic.topic_id)));
        let part = topic.and_then(|topic| topic.partition_responses.iter().find(|part| part.index == self.at.1));
        part.map(|part| (part.error_code, part.base_offset)).ok_or_else(|| wordless(&self.place(), false))
    }

    /// What a fetch gives of it.
    fn in_fetched<'a>(&self, response: &'a FetchResponse) -> Result<&'a PartitionData, Violation> {
        let is_it = |(name, id): (&String, Uuid)| (name.clone(), id) == self.named();
        let topic = response.responses.iter().find(|topic| is_it((&topic.topic, topic.topic_id)));
        let part = topic.and_then(|topic| topic.partitions.iter().find(|part| part.partition_index == self.at.1));
        part.ok_or_else(|| wordless(&self.place(), false))
    }
}

impl Inspector {
    /// One who knows what was declared. `empty`: all files are gone.
    #[must_use]
    pub fn new(seed: u64, harmed: &Harmed, empty: bool) -> Inspector {
        Inspector {
            rng: Rng::new(seed),
            harmed: harmed.logs.clone(),
            empty,
            listed: false,
            left: VecDeque::new(),
            over: false,
            waiting: false,
            leaves: false,
            next_at: 0,
        }
    }

    fn question(&mut self, cx: &mut Cx<'_>) -> Ask<Asked> {
        let Some(look) = self.left.front() else {
            return (everything().into(), Asked::Metadata(cx.history.moment()));
        };
        match look.step {
            Step::Serves | Step::End => look.list(list_offsets::LATEST, cx),
            Step::Begins | Step::Start => look.list(list_offsets::EARLIEST, cx),
            Step::Probe => look.probe(cx),
            // The whole log, or one batch?
            Step::Read if look.failed > TRIES => look.list(list_offsets::LATEST, cx),
            Step::Read => look.fetch(cx),
        }
    }

    /// All topics, before and after everything is looked at.
    fn described(&mut self, asked: Moment, response: &MetadataResponse, cx: &mut Cx<'_>) -> Result<(), Violation> {
        if self.empty {
            self.over = true;
            return match response.topics.is_empty() {
                true => Ok(()),
                false => Err(Violation {
                    property: "new-is-empty",
                    fact: "nothing was left on the disk".to_owned(),
                    contradiction: format!("the broker knows of {:?}", response.topics),
                }),
            };
        }
        let all = partitions(asked, response, cx.history)?;
        if std::mem::replace(&mut self.listed, true) {
            self.over = true;
            return Ok(());
        }
        for (at, log) in all {
            let by_id = self.rng.one_in(2);
            self.left.push_back(Look::new(at, log, by_id));
        }
        Ok(())
    }

    /// Where it starts or ends; or it is not served.
    fn told(
        &mut self,
        (end, start): (i64, i64),
        response: &ListOffsetsResponse,
        cx: &mut Cx<'_>,
    ) -> Result<(), Violation> {
        let Some(look) = self.left.front_mut() else { return Ok(()) };
        let offset = match look.in_list(response)? {
            (error::NONE, offset) => offset,
            (error::KAFKA_STORAGE_ERROR, _) => return self.not_served(cx),
            (code, _) => return self.refused("a ListOffsets", code, cx),
        };
        match look.step {
            Step::Serves => {
                let harmed = self.harmed.get(&look.log).filter(|harmed| harmed.known);
                for lost in harmed.iter().flat_map(|harmed| &harmed.lost).filter(|lost| lost.marked) {
                    cx.history.goes_on(&look.at, &lost.offsets, offset)?;
                }
                cx.history.ends(&look.at, end, offset)?;
                look.step = Step::Begins;
                Ok(())
            }
            Step::Begins => {
                look.step = Step::Probe;
                cx.history.starts(&look.at, start, offset)
            }
            Step::Probe => Ok(()),
            Step::Start => {
                (look.start, look.next, look.step) = (offset, offset, Step::End);
                (look.failed, look.careful) = (0, 0);
                look.found.clear();
                cx.history.starts(&look.at, start, offset)
            }
            Step::End => {
                (look.end, look.step) = (offset, Step::Read);
                cx.history.ends(&look.at, end, offset)?;
                self.is_read(cx)
            }
            Step::Read => {
                cx.history.ends(&look.at, end, offset)?;
                self.step_over(cx)
            }
        }
    }

    /// It does not serve: it must have been harmed.
    fn not_served(&mut self, cx: &mut Cx<'_>) -> Result<(), Violation> {
        let Some(look) = self.left.front() else { return Ok(()) };
        self.has_reason(look)?;
        cx.shared.count("logs reported");
        self.turns_away();
        Ok(())
    }

    /// Whether a log may say that it is not served.
    fn has_reason(&self, look: &Look) -> Result<(), Violation> {
        if self.harmed.contains_key(&look.log) {
            return Ok(());
        }
        Err(Violation {
            property: "harm-is-reported",
            fact: format!("{}: no byte of it was harmed", look.place()),
            contradiction: "it is not served: KAFKA_STORAGE_ERROR".to_owned(),
        })
    }

    /// To the next partition, over another connection.
    fn turns_away(&mut self) {
        self.left.pop_front();
        self.leaves = true;
    }

    /// An error that says nothing of the log: it is asked again.
    fn refused(&mut self, what: &str, code: i16, cx: &Cx<'_>) -> Result<(), Violation> {
        self.next_at = cx.now + PAUSE;
        let Some(look) = self.left.front() else { return Ok(()) };
        match code {
            error::UNKNOWN_TOPIC_OR_PARTITION | error::UNKNOWN_TOPIC_ID if is_there(&look.at, cx.history) => {
                Err(vanished(&look.at))
            }
            error::UNKNOWN_TOPIC_OR_PARTITION | error::UNKNOWN_TOPIC_ID => Ok(()),
            code if is_maybe(code) => Ok(()),
            code => Err(odd_error(what, code)),
        }
    }

    fn probed(&mut self, value: u64, response: &ProduceResponse, cx: &mut Cx<'_>) -> Result<(), Violation> {
        let Some(look) = self.left.front_mut() else { return Ok(()) };
        let (code, base) = look.in_produced(response)?;
        if code == error::NONE {
            look.step = Step::Start;
            return cx.history.acked(&look.at, value, base);
        }
        // The write itself may meet what cannot be read: from then on the log is not served, and says so.
        look.step = Step::Serves;
        if code == error::KAFKA_STORAGE_ERROR
            && let Some(look) = self.left.front()
        {
            self.has_reason(look)?;
        }
        self.refused("a probe", code, cx)
    }

    fn took(
        &mut self,
        alone: bool,
        (end, start): (i64, i64),
        response: &FetchResponse,
        cx: &mut Cx<'_>,
    ) -> Result<(), Violation> {
        let Some(look) = self.left.front_mut() else { return Ok(()) };
        let data = look.in_fetched(response)?;
        match data.error_code {
            error::NONE => {}
            // It was trimmed meanwhile.
            error::OFFSET_OUT_OF_RANGE => {
                look.step = Step::Start;
                return Ok(());
            }
            // It may be one batch that cannot be read.
            error::KAFKA_STORAGE_ERROR | error::CORRUPT_MESSAGE => {
                self.nothing_read(cx);
                return Ok(());
            }
            code => return self.refused("a fetch", code, cx),
        }
        match read(&look.at, look.next, data, cx.crc) {
            Ok(Read { values, next, .. }) if !values.is_empty() => {
                cx.history.ends(&look.at, end, data.high_watermark)?;
                if data.log_start_offset >= 0 {
                    cx.history.starts(&look.at, start, data.log_start_offset)?;
                }
                for (offset, value) in &values {
                    cx.history.read(&look.at, *offset, *value)?;
                }
                let bytes = if let Records::Bytes(bytes) = &data.records { bytes.len() } else { 0 };
                look.careful = look.careful.saturating_sub(bytes);
                (look.next, look.failed) = (next, 0);
                look.found.extend(values);
                self.is_read(cx)
            }
            Err(damaged) if alone && cx.history.is_lost(&look.at, look.next).is_none() => Err(damaged),
            Ok(_) | Err(_) => {
                self.nothing_read(cx);
                Ok(())
            }
        }
    }

    /// What stands next could not be had.
    fn nothing_read(&mut self, cx: &Cx<'_>) {
        if let Some(look) = self.left.front_mut() {
            look.failed += 1;
            look.careful = STEP_BYTES;
            self.next_at = cx.now + PAUSE;
        }
    }

    /// It was harmed, and tried often enough.
    fn step_over(&mut self, cx: &mut Cx<'_>) -> Result<(), Violation> {
        let Some(look) = self.left.front_mut() else { return Ok(()) };
        let Some(upto) = cx.history.is_lost(&look.at, look.next) else {
            return Err(Violation {
                property: "harm-is-reported",
                fact: format!("{} is served, and nothing of it was harmed at {}", look.place(), look.next),
                contradiction: "what stands there cannot be had".to_owned(),
            });
        };
        cx.shared.count("damage seen by clients");
        // Nor can be found what was acknowledged behind it since.
        cx.history.is_missed(&look.at, look.next);
        (look.next, look.failed, look.careful) = (upto.min(look.end), 0, 0);
        self.is_read(cx)
    }

    /// All that a partition holds is read back, if it is.
    fn is_read(&mut self, cx: &mut Cx<'_>) -> Result<(), Violation> {
        let Some(look) = self.left.front().filter(|look| look.next >= look.end) else { return Ok(()) };
        cx.history.reads_back(&look.at);
        cx.history.finally(&look.at, look.start, &look.found)?;
        self.turns_away();
        Ok(())
    }
}

/// Whether a partition is known to exist, and nobody asked for its topic's deletion.
fn is_there(at: &Partition, history: &History) -> bool {
    history.has(at) && history.alive().any(|(life, _)| *life == at.0)
}

/// Checks an answer about all topics; gives the partitions that anybody has used, and their logs.
pub(crate) fn partitions(
    asked: Moment,
    response: &MetadataResponse,
    history: &History,
) -> Result<Vec<(Partition, LogId)>, Violation> {
    history.listed(asked, response)?;
    let mut all = Vec::new();
    for topic in &response.topics {
        let name = topic.name.clone().unwrap_or_default();
        let life = match history.life(topic.topic_id) {
            Some((life, _)) => life.clone(),
            // A topic that came of a request without an answer: nobody has used it.
            None if is_mortal(&name) => continue,
            None => name,
        };
        let indices = topic.partitions.iter().map(|partition| partition.partition_index);
        all.extend(indices.map(|index| ((life.clone(), index), LogId { topic: topic.topic_id, partition: index })));
    }
    Ok(all)
}

impl Role for Inspector {
    type Asked = Asked;

    fn reseed(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
    }

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        if self.next(cx.working).is_none_or(|at| at > cx.now) {
            return Vec::new();
        }
        self.waiting = true;
        vec![self.question(cx)]
    }

    fn answered(&mut self, asked: Asked, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        self.waiting = false;
        match (asked, response) {
            (Asked::Metadata(asked), Response::Metadata(r)) => self.described(asked, &r, cx),
            (Asked::List(floors), Response::ListOffsets(r)) => self.told(floors, &r, cx),
            (Asked::Probe(value), Response::Produce(r)) => self.probed(value, &r, cx),
            (Asked::Fetch(alone, floors), Response::Fetch(r)) => self.took(alone, floors, &r, cx),
            (Asked::Metadata(_) | Asked::List(_) | Asked::Probe(_) | Asked::Fetch(..), other) => {
                Err(odd_answer(&other))
            }
        }
    }

    fn lost(&mut self, asked: Vec<Asked>, cx: &mut Cx<'_>) {
        (self.waiting, self.leaves) = (false, false);
        if asked.iter().any(|asked| matches!(asked, Asked::Fetch(..))) {
            // A batch whose records cannot be read ends the connection.
            self.nothing_read(cx);
        }
    }

    fn hangs_up(&self) -> bool {
        self.leaves
    }

    fn next(&self, _working: bool) -> Option<u64> {
        (!self.waiting && !self.leaves && !self.over).then_some(self.next_at)
    }

    fn owes(&self) -> Option<String> {
        let at = self.left.front().map(|look| (&look.at, look.step, look.next, look.end));
        (!self.over).then(|| format!("has {} partitions to inspect, first {at:?}", self.left.len()))
    }
}
