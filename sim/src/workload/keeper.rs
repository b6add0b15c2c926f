//! One who looks after topics that last: trims their logs, alters their configs, gives them more partitions.
//!
//! One thing at a time. Properties, beside the history's: `trim-in-range` (what is committed can be trimmed, what is past
//! any end cannot), `configs-stay` (a config that was acknowledged is described so from then on), `all-or-nothing` (one
//! bad config leaves all of a request undone).

use std::collections::{BTreeMap, BTreeSet};

use klamm_core::metadata::configs::{FLUSH_NEVER, INTERNAL_SEGMENT_BYTES};
use klamm_core::rng::Rng;
use klamm_core::wire::{
    CreatePartitionsRequest, CreatePartitionsTopic, DeleteRecordsResponse, DescribeConfigsRequest,
    DescribeConfigsResource, DescribeConfigsResponse, Response, error,
};

use super::{Ask, Cx, Role, TOPIC, alteration, deletion, everything, floors, is_maybe, odd_answer, odd_error};
use crate::history::{Keeping, Moment, Partition};
use crate::report::Violation;

/// A topic gets no more partitions than these.
const MOST_PARTITIONS: usize = 5;
/// Past the end of any log.
const FAR: i64 = i64::MAX / 2;
/// Nothing is asked again sooner.
const AGAIN: u64 = 50_000_000;

/// What a keeper does, and how often.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Nanoseconds between two things, on average.
    pub pace: u64,
    /// Whether it trims.
    pub trims: bool,
    /// Whether topics get more partitions.
    pub grows: bool,
    /// What `retention.ms` may become; nothing: it is left alone.
    pub retention_ms: Vec<i64>,
    /// What `retention.bytes` may become.
    pub retention_bytes: Vec<i64>,
    /// What `internal.segment.bytes` may become.
    pub segment_bytes: Vec<i64>,
    /// What `max.message.bytes` may become.
    pub message_bytes: Vec<i64>,
    /// Whether records may come to bear the broker's time.
    pub restamps: bool,
    /// Topics that promise nothing about the device: `flush.messages` is altered.
    pub cached: BTreeSet<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    rng: Rng,
    habits: Habits,
    next_at: u64,
    waiting: bool,
    keepings: BTreeMap<String, Keeping>,
    /// What configs were acknowledged to be.
    settled: BTreeMap<(String, &'static str), Option<String>>,
    /// Those that may be anything that was ever asked for.
    open: BTreeSet<(String, &'static str)>,
    /// Topics whose batches are limited, until that is taken back.
    limited: BTreeSet<String>,
}

/// What becomes of one partition.
#[derive(Debug)]
pub struct Trim {
    partition: Partition,
    to: Option<i64>,
    /// Where it ended and started, as far as was told.
    floors: (i64, i64),
}

/// A question of a keeper.
#[derive(Debug)]
pub enum Asked {
    /// To delete records.
    Trim(Vec<Trim>),
    /// To set a config of a topic; a bad one goes with it.
    Alter {
        /// Whose.
        topic: String,
        /// Which.
        key: &'static str,
        /// The default if there is none.
        value: Option<String>,
        /// How the topic is kept then.
        keeping: Option<Keeping>,
        /// Refused, for what goes with it.
        bad: bool,
    },
    /// To have so many partitions.
    Grow {
        /// Which topic.
        topic: String,
        /// How many in all.
        count: usize,
    },
    /// What configs are.
    Describe {
        /// Of which topic.
        topic: String,
        /// What they must be.
        expected: Vec<(&'static str, Option<String>)>,
    },
    /// All topics.
    List(Moment),
}

impl Keeper {
    /// A keeper with some habits.
    #[must_use]
    pub fn new(seed: u64, habits: Habits) -> Keeper {
        Keeper {
            rng: Rng::new(seed),
            habits,
            next_at: 0,
            waiting: false,
            keepings: BTreeMap::new(),
            settled: BTreeMap::new(),
            open: BTreeSet::new(),
            limited: BTreeSet::new(),
        }
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        let at = self.rng.below(of.len() as u64);
        of.get(usize::try_from(at).ok()?).cloned()
    }

    fn trim(&mut self, topic: &str, partitions: usize, cx: &mut Cx<'_>) -> Ask<Asked> {
        let mut trims = Vec::new();
        for index in 0..partitions as i32 {
            if index > 0 && self.rng.one_in(2) {
                continue;
            }
            let partition = (topic.to_owned(), index);
            let floors = floors(cx.history, &partition);
            let to = match self.rng.below(8) {
                0 | 1 => None,
                2 => Some(floors.0),
                3 => Some(FAR),
                // A step, as a client that has worked something off does.
                4 | 5 => Some((floors.1 + self.rng.below(6) as i64).min(floors.0)),
                _ => Some(self.rng.below(floors.0 as u64 + 1) as i64),
            };
            if to != Some(FAR) {
                cx.history.trims(&partition, to);
            }
            trims.push(Trim { partition, to, floors });
        }
        let offsets: Vec<(i32, i64)> = trims.iter().map(|t| (t.partition.1, t.to.unwrap_or(-1))).collect();
        let timeout_ms = self.one(&[1, 1_000, 30_000]).unwrap_or_default();
        (deletion(topic, &offsets, timeout_ms).into(), Asked::Trim(trims))
    }

    fn alter(&mut self, topic: &str, cx: &mut Cx<'_>) -> Option<Ask<Asked>> {
        let habits = self.habits.clone();
        let text = |n: i64| n.to_string();
        let mut keeping = self.keepings.get(topic).copied().unwrap_or_default();
        let (key, value) = match self.rng.below(8) {
            0 | 1 => {
                let value = self.one(&habits.retention_ms)?;
                keeping.ms = (value >= 0).then_some(value);
                ("retention.ms", Some(text(value)))
            }
            2 => {
                let value = self.one(&habits.retention_bytes)?;
                keeping.bytes = u64::try_from(value).ok();
                ("retention.bytes", Some(text(value)))
            }
            3 => {
                let value = self.one(&habits.segment_bytes)?;
                (INTERNAL_SEGMENT_BYTES, Some(text(value)))
            }
            4 if !habits.message_bytes.is_empty() => {
                let value = self.one(&habits.message_bytes)?;
                ("max.message.bytes", self.rng.one_in(2).then(|| text(value)))
            }
            5 if habits.restamps => {
                let value = self.one(&["CreateTime", "LogAppendTime"])?;
                ("message.timestamp.type", Some(value.to_owned()))
            }
            6 if habits.cached.contains(topic) => {
                let value = self.one(&[1, FLUSH_NEVER])?;
                ("flush.messages", Some(text(value)))
            }
            // A single replica is always enough.
            7 => {
                let value = self.one(&[1, 2, 3])?;
                ("min.insync.replicas", Some(text(value)))
            }
            _ => return None,
        };
        let retains = key.starts_with("retention.");
        let bad = self.rng.one_in(8);
        Some(self.change(topic, key, value, retains.then_some(keeping), bad, cx))
    }

    /// Asks for a config to be changed: from here on it may be.
    fn change(
        &mut self,
        topic: &str,
        key: &'static str,
        value: Option<String>,
        keeping: Option<Keeping>,
        bad: bool,
        cx: &mut Cx<'_>,
    ) -> Ask<Asked> {
        let mut changes = vec![(key, value.as_deref())];
        if bad {
            changes.push(("retention.sometimes", Some("1")));
        } else {
            if let Some(keeping) = keeping {
                cx.history.keeping(topic, keeping);
            }
            if let (Some(known), Some(value)) = (cx.history.topic_mut(topic), &value) {
                let number = value.parse().unwrap_or_default();
                known.limited |= key == "max.message.bytes";
                known.restamped |= key == "message.timestamp.type";
                known.segment_bytes =
                    if key == INTERNAL_SEGMENT_BYTES { known.segment_bytes.max(number) } else { known.segment_bytes };
            }
            if key == "max.message.bytes" && value.is_some() {
                self.limited.insert(topic.to_owned());
            }
        }
        let request = alteration(topic, &changes);
        (request.into(), Asked::Alter { topic: topic.to_owned(), key, value, keeping, bad })
    }

    fn altered(
        &mut self,
        (topic, key, value): (String, &'static str, Option<String>),
        (keeping, bad): (Option<Keeping>, bool),
        code: i16,
        cx: &mut Cx<'_>,
    ) -> Result<(), Violation> {
        match code {
            error::NONE if bad => Err(Violation {
                property: "all-or-nothing",
                fact: format!("{key} of {topic} was altered along with a config that does not exist"),
                contradiction: "that is acknowledged".into(),
            }),
            error::NONE => {
                cx.shared.count("configs altered");
                if let Some(keeping) = keeping {
                    cx.history.kept(&topic, keeping);
                    self.keepings.insert(topic.clone(), keeping);
                }
                if key == "max.message.bytes" && value.is_none() {
                    self.limited.remove(&topic);
                }
                // What was asked for earlier and not answered may still come.
                self.settled.insert((topic, key), value);
                Ok(())
            }
            error::INVALID_CONFIG | error::INVALID_REQUEST if bad => Ok(()),
            code if is_maybe(code) => {
                self.open.insert((topic, key));
                Ok(())
            }
            code => Err(odd_error("an IncrementalAlterConfigs", code)),
        }
    }

    fn describe(&mut self, topic: &str) -> Ask<Asked> {
        let known = self.settled.iter().filter(|((of, key), _)| of == topic && *key != INTERNAL_SEGMENT_BYTES);
        let known = known.filter(|(name, _)| !self.open.contains(*name));
        let expected: Vec<_> = known.map(|((_, key), value)| (*key, value.clone())).collect();
        let resource =
            DescribeConfigsResource { resource_type: TOPIC, resource_name: topic.to_owned(), configuration_keys: None };
        let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
        (request.into(), Asked::Describe { topic: topic.to_owned(), expected })
    }

    fn grow(&mut self, topic: &str, partitions: usize, cx: &mut Cx<'_>) -> Option<Ask<Asked>> {
        let count = partitions + 1 - usize::from(self.rng.one_in(6));
        if count > MOST_PARTITIONS {
            return None;
        }
        cx.history.growing(topic, count);
        let asked = CreatePartitionsTopic { name: topic.to_owned(), count: count as i32, assignments: None };
        let request = CreatePartitionsRequest { topics: vec![asked], ..CreatePartitionsRequest::default() };
        Some((request.into(), Asked::Grow { topic: topic.to_owned(), count }))
    }

    /// What it takes back when the work is over.
    fn restore(&mut self, cx: &mut Cx<'_>) -> Option<Ask<Asked>> {
        let topic = self.limited.first()?.clone();
        Some(self.change(&topic, "max.message.bytes", None, None, false, cx))
    }
}

fn trimmed(trims: Vec<Trim>, response: &DeleteRecordsResponse, cx: &mut Cx<'_>) -> Result<(), Violation> {
    let parts = response.topics.iter().flat_map(|t| &t.partitions);
    for (Trim { partition, to, floors }, part) in trims.into_iter().zip(parts) {
        let broken = |contradiction: String| Violation {
            property: "trim-in-range",
            fact: format!("{partition:?} is committed up to {}, and to be trimmed to {to:?}", floors.0),
            contradiction,
        };
        match (part.error_code, to) {
            (error::NONE, Some(FAR)) => return Err(broken(format!("it starts at {}", part.low_watermark))),
            (error::NONE, _) => {
                cx.shared.count("trims");
                cx.history.trimmed(&partition, to, floors, part.low_watermark)?;
            }
            (error::OFFSET_OUT_OF_RANGE, Some(FAR)) => {}
            (error::OFFSET_OUT_OF_RANGE, _) => return Err(broken("that is out of range".into())),
            (error::UNKNOWN_TOPIC_OR_PARTITION, _) => {
                return Err(Violation {
                    property: "topics-stay",
                    fact: format!("the creation of {} was acknowledged", partition.0),
                    contradiction: format!("the broker does not know partition {}", partition.1),
                });
            }
            (code, _) if is_maybe(code) => cx.shared.count("trims without an end"),
            (code, _) => return Err(odd_error("a DeleteRecords", code)),
        }
    }
    Ok(())
}

fn described(
    topic: &str,
    expected: Vec<(&'static str, Option<String>)>,
    response: &DescribeConfigsResponse,
) -> Result<(), Violation> {
    for (key, value) in expected {
        let configs = response.results.iter().flat_map(|r| &r.configs);
        let found = configs.into_iter().find(|c| c.name == key);
        let right = match &value {
            Some(value) => found.is_some_and(|f| f.value.as_ref() == Some(value)),
            // Whatever the default is: it is not the topic's own.
            None => found.is_some_and(|f| f.config_source != 1),
        };
        if !right {
            return Err(Violation {
                property: "configs-stay",
                fact: format!("{key} of {topic} was acknowledged to be {value:?}"),
                contradiction: format!("it is described as {found:?}"),
            });
        }
    }
    Ok(())
}

impl Role for Keeper {
    type Asked = Asked;

    fn reseed(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
    }

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        if self.waiting || cx.now < self.next_at {
            return Vec::new();
        }
        let asked = if cx.working {
            self.next_at = cx.now + self.habits.pace / 2 + self.rng.below(self.habits.pace);
            let topics: Vec<(String, usize)> =
                cx.history.alive().filter(|(_, t)| !t.mortal).map(|(life, t)| (life.clone(), t.partitions)).collect();
            let Some((topic, partitions)) = self.one(&topics) else { return Vec::new() };
            match self.rng.below(12) {
                0..4 if self.habits.trims => Some(self.trim(&topic, partitions, cx)),
                4..8 => self.alter(&topic, cx),
                8 if self.habits.grows => self.grow(&topic, partitions, cx),
                9 => Some((everything().into(), Asked::List(cx.history.moment()))),
                _ => Some(self.describe(&topic)),
            }
        } else {
            self.next_at = cx.now + AGAIN;
            self.restore(cx)
        };
        self.waiting = asked.is_some();
        asked.into_iter().collect()
    }

    fn answered(&mut self, asked: Asked, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        self.waiting = false;
        match (asked, response) {
            (Asked::Trim(trims), Response::DeleteRecords(r)) => trimmed(trims, &r, cx),
            (Asked::Alter { topic, key, value, keeping, bad }, Response::IncrementalAlterConfigs(r)) => {
                let code = r.responses.first().map_or(error::UNKNOWN_SERVER_ERROR, |r| r.error_code);
                self.altered((topic, key, value), (keeping, bad), code, cx)
            }
            (Asked::Grow { topic, count }, Response::CreatePartitions(r)) => {
                match r.results.first().map_or(error::UNKNOWN_SERVER_ERROR, |r| r.error_code) {
                    error::NONE => {
                        cx.shared.count("partitions added");
                        cx.history.grown(&topic, count);
                        Ok(())
                    }
                    // It has as many already: by an earlier request that was not answered, perhaps.
                    error::INVALID_PARTITIONS => Ok(()),
                    code if is_maybe(code) => Ok(()),
                    code => Err(odd_error("a CreatePartitions", code)),
                }
            }
            (Asked::Describe { topic, expected }, Response::DescribeConfigs(r)) => described(&topic, expected, &r),
            (Asked::List(moment), Response::Metadata(r)) => cx.history.listed(moment, &r),
            (_, other) => Err(odd_answer(&other)),
        }
    }

    fn lost(&mut self, asked: Vec<Asked>, cx: &mut Cx<'_>) {
        self.waiting = false;
        for asked in asked {
            cx.shared.count("admin requests lost");
            if let Asked::Alter { topic, key, bad: false, .. } = asked {
                self.open.insert((topic, key));
            }
        }
    }

    fn next(&self, working: bool) -> Option<u64> {
        (!self.waiting && (working || !self.limited.is_empty())).then_some(self.next_at)
    }

    fn owes(&self) -> Option<String> {
        self.limited.first().map(|topic| format!("has to lift the limit on the batches of {topic}"))
    }
}
