//! Looks at all partitions of a broker whose disk came to harm.
//!
//! `harm-is-reported`: a log that is not served says KAFKA_STORAGE_ERROR, and only one that was harmed does.
//! `not-cut-silently`: what was below the mark is not missing from a log that is served as if nothing were wrong.
//! `new-is-empty`: a broker without files knows no topic. A batch that does not match its checksum, or that cannot be had,
//! counts as reported where it was harmed, and is stepped over; elsewhere it breaks `whole-batches`, or
//! `harm-is-reported`.

use std::collections::VecDeque;

use klamm_core::ids::LogId;
use klamm_core::wire::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, MetadataResponse, PartitionData, Response, error,
    list_offsets,
};

use super::admin::{everything, listed};
use super::broker::checksum;
use super::client::{Ask, Cx, Role, odd_answer};
use super::params::MS;
use super::reading::{fetch, fetched};
use super::requests::{batch, outcomes, produce, sent};
use crate::history::{Moment, Partition, name_of};
use crate::report::Violation;
use crate::workload::reading::{Read, read};

/// Bytes of one fetch.
const STEP_BYTES: i32 = 40_000;
/// Something that is harmed is tried so often.
const TRIES: u32 = 3;
/// Between two tries.
const PAUSE: u64 = 20 * MS;

/// What is to be known of a partition next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Whether it is served, and up to where.
    Serves,
    Probe,
    Start,
    End,
    Read,
}

/// Where the look at one partition stands.
#[derive(Debug)]
struct Look {
    at: Partition,
    log: LogId,
    step: Step,
    start: i64,
    end: i64,
    next: i64,
    found: Vec<(i64, u64)>,
    /// So often in a row nothing was read.
    failed: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Inspector {
    id: u64,
    /// That nothing is there.
    empty: bool,
    listed: bool,
    left: VecDeque<Look>,
    asking: bool,
    reading: bool,
    retry_at: u64,
    attempts: u64,
}

/// A question of the inspector.
#[derive(Debug)]
pub(super) enum Asked {
    Metadata(Moment),
    /// Start or end; the end and the start that were known then.
    List((i64, i64)),
    Probe(u64),
    /// Whether one batch alone was asked for.
    Fetch(bool),
}

impl Look {
    fn new(at: Partition, log: LogId) -> Look {
        Look { at, log, step: Step::Serves, start: 0, end: 0, next: 0, found: Vec::new(), failed: 0 }
    }
}

impl Inspector {
    pub(super) fn new(id: u64, empty: bool) -> Inspector {
        let left = VecDeque::new();
        Inspector { id, empty, listed: false, left, asking: false, reading: false, retry_at: 0, attempts: 0 }
    }

    fn list(&mut self, asked: Moment, response: &MetadataResponse, cx: &mut Cx<'_>) -> Result<(), Violation> {
        self.listed = true;
        if self.empty {
            return match response.topics.is_empty() {
                true => Ok(()),
                false => Err(Violation {
                    property: "new-is-empty",
                    fact: "nothing was left on the disk".to_owned(),
                    contradiction: format!("the broker knows of {:?}", response.topics),
                }),
            };
        }
        let all = listed(asked, response, cx.history)?;
        self.left.extend(all.into_iter().map(|(at, log)| Look::new(at, log)));
        Ok(())
    }

    fn question(&mut self, cx: &mut Cx<'_>) -> Option<Ask<Asked>> {
        let Some(look) = self.left.front() else {
            return (!self.listed).then(|| (everything().into(), Some(Asked::Metadata(cx.history.moment()))));
        };
        let at = &look.at;
        Some(match look.step {
            Step::Serves | Step::End => ends(at, list_offsets::LATEST, cx),
            Step::Start => ends(at, list_offsets::EARLIEST, cx),
            Step::Probe => {
                self.attempts += 1;
                let value = cx.ledger.value();
                let bytes = batch(value, cx);
                cx.history.sent(at, self.id << 32 | self.attempts, &[value], sent(&bytes, cx.now, cx.wall));
                (produce(5_000, vec![(at, bytes)]).into(), Some(Asked::Probe(value)))
            }
            // The whole log, or one batch?
            Step::Read if look.failed > TRIES => ends(at, list_offsets::LATEST, cx),
            Step::Read => {
                self.reading = true;
                // One batch at a time where one may be bad.
                let alone = look.failed > 0;
                let request = fetch(&[(at, look.next)], if alone { 1 } else { STEP_BYTES });
                (request.into(), Some(Asked::Fetch(alone)))
            }
        })
    }

    /// Where it starts or ends; or it is not served.
    fn ends(&mut self, floors: (i64, i64), code: i16, offset: i64, cx: &mut Cx<'_>) -> Result<(), Violation> {
        let Some(look) = self.left.front_mut() else { return Ok(()) };
        match code {
            error::NONE if look.step == Step::Read => return self.step_over(cx),
            error::NONE if look.step == Step::Start => {
                cx.history.starts(&look.at, floors.1, offset)?;
                (look.start, look.next, look.step) = (offset, offset, Step::End);
                look.found.clear();
            }
            error::NONE => {
                if look.step == Step::Serves {
                    let harmed = cx.ledger.harmed.logs.get(&look.log).filter(|harmed| harmed.known);
                    for lost in harmed.iter().flat_map(|harmed| &harmed.lost).filter(|lost| lost.marked) {
                        cx.history.goes_on(&look.at, &lost.offsets, offset)?;
                    }
                }
                cx.history.ends(&look.at, floors.0, offset)?;
                look.end = offset;
                look.step = if look.step == Step::End { Step::Read } else { Step::Probe };
                return self.over(cx);
            }
            error::KAFKA_STORAGE_ERROR => return self.not_served(cx),
            _ => self.retry_at = cx.now + PAUSE,
        }
        Ok(())
    }

    fn not_served(&mut self, cx: &mut Cx<'_>) -> Result<(), Violation> {
        cx.ledger.count("logs reported");
        let Some(look) = self.left.pop_front() else { return Ok(()) };
        if cx.ledger.harmed.logs.contains_key(&look.log) {
            return Ok(());
        }
        Err(Violation {
            property: "harm-is-reported",
            fact: format!("{:?}: no byte of it was harmed", look.at),
            contradiction: "it is not served: KAFKA_STORAGE_ERROR".to_owned(),
        })
    }

    fn probed(&mut self, value: u64, (code, base): (i16, i64), cx: &mut Cx<'_>) -> Result<(), Violation> {
        let Some(look) = self.left.front_mut() else { return Ok(()) };
        match code {
            error::NONE => {
                look.step = Step::Start;
                cx.history.acked(&look.at, value, base)
            }
            error::KAFKA_STORAGE_ERROR => self.not_served(cx),
            _ => {
                self.retry_at = cx.now + PAUSE;
                Ok(())
            }
        }
    }

    fn took(&mut self, alone: bool, data: &PartitionData, cx: &mut Cx<'_>) -> Result<(), Violation> {
        let Some(look) = self.left.front_mut() else { return Ok(()) };
        match data.error_code {
            error::NONE => {}
            // It was trimmed meanwhile.
            error::OFFSET_OUT_OF_RANGE => {
                look.step = Step::Start;
                return Ok(());
            }
            // It may be one batch that cannot be read.
            _ => {
                self.nothing_read(cx);
                return Ok(());
            }
        }
        match read(&look.at, look.next, data, checksum) {
            Ok(Read { values, next, .. }) if !values.is_empty() => {
                for (offset, value) in &values {
                    cx.history.read(&look.at, *offset, *value)?;
                }
                (look.next, look.failed) = (next, 0);
                look.found.extend(values);
                self.over(cx)
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
            self.retry_at = cx.now + PAUSE;
        }
    }

    /// It was harmed, and tried often enough.
    fn step_over(&mut self, cx: &mut Cx<'_>) -> Result<(), Violation> {
        let Some(look) = self.left.front_mut() else { return Ok(()) };
        let Some(upto) = cx.history.is_lost(&look.at, look.next) else {
            return Err(Violation {
                property: "harm-is-reported",
                fact: format!("{:?} is served, and nothing of it was harmed at {}", look.at, look.next),
                contradiction: "what stands there cannot be had".to_owned(),
            });
        };
        cx.ledger.count("damage seen by clients");
        // Nor can be found what was acknowledged behind it since.
        cx.history.is_missed(&look.at, look.next);
        (look.next, look.failed) = (upto.min(look.end), 0);
        self.over(cx)
    }

    /// A partition is read back, if it is.
    fn over(&mut self, cx: &mut Cx<'_>) -> Result<(), Violation> {
        match self.left.pop_front_if(|look| look.step == Step::Read && look.next >= look.end) {
            Some(look) => {
                cx.ledger.harmed.read.insert(look.at.clone());
                cx.history.finally(&look.at, look.start, &look.found)
            }
            None => Ok(()),
        }
    }
}

/// Asks where a partition starts or ends.
fn ends((life, index): &Partition, which: i64, cx: &Cx<'_>) -> Ask<Asked> {
    let partition =
        ListOffsetsPartition { partition_index: *index, timestamp: which, ..ListOffsetsPartition::default() };
    let topics = vec![ListOffsetsTopic { name: name_of(life).to_owned(), partitions: vec![partition] }];
    let at = (life.clone(), *index);
    let asked = Asked::List((cx.history.end(&at), cx.history.start(&at)));
    (ListOffsetsRequest { topics, ..ListOffsetsRequest::default() }.into(), Some(asked))
}

impl Role for Inspector {
    type Asked = Asked;

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        if self.asking || cx.now < self.retry_at || self.owes().is_none() {
            return Vec::new();
        }
        let question = self.question(cx);
        self.asking = question.is_some();
        question.into_iter().collect()
    }

    fn answered(&mut self, asked: Asked, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        (self.asking, self.reading) = (false, false);
        match (asked, response) {
            (Asked::Metadata(asked), Response::Metadata(r)) => self.list(asked, &r, cx),
            (Asked::List(floors), Response::ListOffsets(r)) => {
                let part = r.topics.first().and_then(|topic| topic.partitions.first());
                part.map_or(Ok(()), |part| self.ends(floors, part.error_code, part.offset, cx))
            }
            (Asked::Probe(value), Response::Produce(r)) => {
                let outcome = outcomes(&r).next();
                outcome.map_or(Ok(()), |outcome| self.probed(value, outcome, cx))
            }
            (Asked::Fetch(alone), Response::Fetch(r)) => {
                let data = fetched(&r).next();
                data.map_or(Ok(()), |data| self.took(alone, data, cx))
            }
            (Asked::Metadata(_) | Asked::List(..) | Asked::Probe(_) | Asked::Fetch(_), other) => {
                Err(odd_answer(&other))
            }
        }
    }

    fn lost(&mut self, cx: &mut Cx<'_>) {
        self.asking = false;
        if std::mem::take(&mut self.reading) {
            // A batch whose records cannot be read ends the connection.
            self.nothing_read(cx);
        }
    }

    fn next(&self, _cx: &Cx<'_>) -> Option<u64> {
        (!self.asking).then_some(self.retry_at)
    }

    fn owes(&self) -> Option<String> {
        let at = self.left.front().map(|look| (&look.at, look.step, look.next, look.end));
        (!self.listed || at.is_some()).then(|| format!("has {} partitions to inspect, first {at:?}", self.left.len()))
    }
}
