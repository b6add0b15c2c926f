//! One who comes when nothing is sent and nothing goes wrong any more, waits, and sees what retention did.
//!
//! Property: `retention-works`: after a time that is long enough for the slowest look at the logs, nothing is left that
//! is older than `retention.ms`, and no more than `retention.bytes` and a segment. A topic whose configs are not known,
//! because a change of them was never answered, is left out.

use std::collections::{BTreeMap, VecDeque};

use klamm_core::wire::{Response, error, list_offsets};

use super::{Ask, Cx, Role, alteration, floors, is_maybe, listing, odd_answer, odd_error};
use crate::history::Partition;
use crate::report::Violation;

/// Bytes that a segment has beyond its size, at most: a batch.
const SLACK: u64 = 32_000;
/// Nothing is asked again sooner.
const AGAIN: u64 = 50_000_000;

#[derive(Clone, Debug)]
enum Step {
    Ask {
        topic: String,
        which: i64,
    },
    /// No retention any more.
    Lift {
        topic: String,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Settler {
    quiet: u64,
    /// Whether the broker's clock is right, so that what is old to us is old to it.
    ages: bool,
    /// Whether retention ends with the run.
    lifts: bool,
    began: Option<u64>,
    steps: Option<VecDeque<Step>>,
    starts: BTreeMap<Partition, i64>,
    next_at: u64,
    waiting: bool,
}

/// A question of the settler.
#[derive(Debug)]
pub struct Asked {
    step: Step,
    floors: Vec<(i64, i64)>,
}

impl Settler {
    /// Waits for so many nanoseconds. `ages`: the broker's clock is right; `lifts`: switches retention off afterwards, so that no clock runs for ever.
    #[must_use]
    pub fn new(quiet: u64, ages: bool, lifts: bool) -> Settler {
        Settler { quiet, ages, lifts, began: None, steps: None, starts: BTreeMap::new(), next_at: 0, waiting: false }
    }

    fn plan(&self, cx: &Cx<'_>) -> VecDeque<Step> {
        let mut steps = VecDeque::new();
        for (topic, _) in cx.history.alive().filter(|(_, topic)| !topic.mortal) {
            for which in [list_offsets::EARLIEST, list_offsets::LATEST] {
                steps.push_back(Step::Ask { topic: topic.clone(), which });
            }
            if self.lifts {
                steps.push_back(Step::Lift { topic: topic.clone() });
            }
        }
        steps
    }

    fn listed(
        &mut self,
        (topic, which): (String, i64),
        floors: Vec<(i64, i64)>,
        response: &klamm_core::wire::ListOffsetsResponse,
        cx: &mut Cx<'_>,
    ) -> Result<(), Violation> {
        let parts = response.topics.iter().flat_map(|t| &t.partitions);
        if parts.clone().any(|part| is_maybe(part.error_code)) {
            return Ok(());
        }
        for ((index, (end, start)), part) in (0..).zip(floors).zip(parts) {
            let at = (topic.clone(), index);
            match part.error_code {
                error::NONE if which == list_offsets::EARLIEST => {
                    cx.history.starts(&at, start, part.offset)?;
                    self.starts.insert(at, part.offset);
                }
                error::NONE => {
                    cx.history.ends(&at, end, part.offset)?;
                    self.settled(&at, part.offset, cx)?;
                }
                code => return Err(odd_error(&format!("a ListOffsets of {topic}"), code)),
            }
        }
        self.done();
        Ok(())
    }

    /// What may be left of a partition.
    fn settled(&self, at: &Partition, end: i64, cx: &mut Cx<'_>) -> Result<(), Violation> {
        let Some(keeping) = cx.history.settled(&at.0) else { return Ok(()) };
        let start = self.starts.get(at).copied().unwrap_or_default();
        let left = cx.history.bytes_from(at, start);
        let segment = cx.history.topic(&at.0).map_or(0, |topic| topic.segment_bytes);
        let too_old = self.ages && keeping.ms.is_some() && start < end;
        let too_much = keeping.bytes.is_some_and(|bytes| left > bytes + segment + SLACK);
        if keeping.ms.is_some() || keeping.bytes.is_some() {
            cx.shared.count("partitions settled");
        }
        if too_old || too_much {
            return Err(Violation {
                property: "retention-works",
                fact: format!(
                    "{at:?} is kept as {keeping:?}, in segments of {segment}, and nothing was sent since long"
                ),
                contradiction: format!("it is from {start} to {end}, {left} bytes at least"),
            });
        }
        Ok(())
    }

    fn done(&mut self) {
        if let Some(steps) = &mut self.steps {
            steps.pop_front();
        }
        self.next_at = 0;
    }
}

impl Role for Settler {
    type Asked = Asked;

    fn reseed(&mut self, _seed: u64) {}

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        let began = *self.began.get_or_insert(cx.now);
        if self.waiting || cx.now < self.next_at || cx.now < began + self.quiet {
            return Vec::new();
        }
        self.next_at = cx.now + AGAIN;
        if self.steps.is_none() {
            self.steps = Some(self.plan(cx));
        }
        let Some(step) = self.steps.as_ref().and_then(|steps| steps.front()).cloned() else { return Vec::new() };
        self.waiting = true;
        match &step {
            Step::Ask { topic, which } => {
                let partitions = cx.history.topic(topic).map_or(0, |t| t.partitions as i32);
                let floors = (0..partitions).map(|p| floors(cx.history, &(topic.clone(), p))).collect();
                vec![(listing(topic, 0..partitions, *which).into(), Asked { step, floors })]
            }
            Step::Lift { topic } => {
                let forever = [("retention.ms", Some("-1")), ("retention.bytes", Some("-1"))];
                vec![(alteration(topic, &forever).into(), Asked { step, floors: Vec::new() })]
            }
        }
    }

    fn answered(&mut self, asked: Asked, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        self.waiting = false;
        match (asked.step, response) {
            (Step::Ask { topic, which }, Response::ListOffsets(r)) => self.listed((topic, which), asked.floors, &r, cx),
            (Step::Lift { .. }, Response::IncrementalAlterConfigs(r)) => {
                match r.responses.first().map_or(error::NONE, |r| r.error_code) {
                    error::NONE => self.done(),
                    code if is_maybe(code) => {}
                    code => return Err(odd_error("an IncrementalAlterConfigs", code)),
                }
                Ok(())
            }
            (_, other) => Err(odd_answer(&other)),
        }
    }

    fn lost(&mut self, _asked: Vec<Asked>, _cx: &mut Cx<'_>) {
        self.waiting = false;
    }

    fn next(&self, _working: bool) -> Option<u64> {
        let from = self.began.map_or(0, |began| began + self.quiet);
        (!self.waiting && self.owes().is_some()).then(|| from.max(self.next_at))
    }

    fn owes(&self) -> Option<String> {
        let left = self.steps.as_ref().map(VecDeque::len);
        (left != Some(0)).then(|| format!("has to see what retention did, in {left:?} steps"))
    }
}
