//! The broker's own configs: those that topics fall back to, and a few of its own.

use alloc::format;
use alloc::string::{String, ToString};

use super::{ConfigError, Definition, Domain, Kind, in_units, topic::topics};

const fn own(
    name: &'static str,
    kind: Kind,
    domain: Domain,
    default: &'static str,
    documentation: &'static str,
) -> Definition {
    Definition { name, kind, domain, default, synonyms: &[], built: None, documentation }
}

const COUNT: Domain = Domain::Number(1, i32::MAX as i64);

pub(super) static AUTO_CREATE_TOPICS: Definition = own(
    "auto.create.topics.enable",
    Kind::Boolean,
    Domain::Boolean,
    "true",
    "Whether asking for the metadata of a topic that does not exist creates it.",
);
pub(super) static REPLICATION_FACTOR: Definition = own(
    "default.replication.factor",
    Kind::Int,
    Domain::Number(1, i16::MAX as i64),
    "1",
    "How many replicas a topic has that is created without a number.",
);
pub(super) static DELETE_TOPICS: Definition =
    own("delete.topic.enable", Kind::Boolean, Domain::Boolean, "true", "Whether topics can be deleted.");
pub(super) static NUM_PARTITIONS: Definition =
    own("num.partitions", Kind::Int, COUNT, "1", "How many partitions a topic has that is created without a number.");

pub(super) static RETENTION_CHECK: Definition = own(
    "log.retention.check.interval.ms",
    Kind::Long,
    Domain::Number(1, i64::MAX),
    "300000",
    "The time between two looks for segments that are too old or too many, in milliseconds.",
);

/// How long after a start retention first looks: described nowhere (as in Kafka), for tests.
pub(super) static INITIAL_TASK_DELAY: Definition = own(
    "log.initial.task.delay.ms",
    Kind::Long,
    Domain::Number(0, i64::MAX),
    "30000",
    "The time from the start to the first look for segments that are too old or too many, in milliseconds.",
);

pub(super) static PRODUCER_EXPIRATION: Definition = own(
    "producer.id.expiration.ms",
    Kind::Int,
    COUNT,
    "86400000",
    "How long after its last batch an idempotent producer is remembered by a partition, in milliseconds.",
);

/// Those of the broker's own.
static OWN: [&Definition; 6] =
    [&AUTO_CREATE_TOPICS, &REPLICATION_FACTOR, &DELETE_TOPICS, &RETENTION_CHECK, &NUM_PARTITIONS, &PRODUCER_EXPIRATION];

/// A key of the broker's.
#[derive(Clone, Copy, Debug)]
pub struct BrokerKey {
    /// The key.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What holds when nobody set it, if the key has a default of its own.
    pub default: Option<&'static str>,
    /// Whether it can be altered while the broker runs.
    pub dynamic: bool,
    /// The topic config that falls back to it, or its own definition.
    pub definition: &'static Definition,
    /// How many of the definition's units make one of the key's.
    pub unit: i64,
}

impl BrokerKey {
    /// A sentence or two on what it does.
    #[must_use]
    pub fn documentation(&self) -> String {
        let Definition { name, documentation, .. } = self.definition;
        if self.definition.synonyms.is_empty() {
            return documentation.to_string();
        }
        format!("{name} of topics that do not set it. {documentation}")
    }

    /// Checks a value.
    ///
    /// # Errors
    /// When it means nothing, or would have no effect.
    pub fn check(&self, value: &str) -> Result<(), ConfigError> {
        if self.unit != 1 && value.trim().parse::<i32>().is_err() {
            return Err(ConfigError(format!("{}: {value:?} is not a whole number", self.name)));
        }
        let named = Definition { name: self.name, ..*self.definition };
        named.check(&in_units(value, self.unit))
    }
}

/// Every key of the broker's that is described, in no order.
pub fn broker_keys() -> impl Iterator<Item = BrokerKey> {
    let fallback = |d: &'static Definition| {
        d.synonyms.iter().map(move |s| BrokerKey {
            name: s.key,
            kind: if s.unit == 1 { d.kind } else { Kind::Int },
            default: s.default,
            // As in Kafka: what is set in other units is for the file only.
            dynamic: s.unit == 1,
            definition: d,
            unit: s.unit,
        })
    };
    OWN.iter().copied().map(of_its_own).chain(topics().flat_map(fallback))
}

fn of_its_own(definition: &'static Definition) -> BrokerKey {
    BrokerKey {
        name: definition.name,
        kind: definition.kind,
        default: Some(definition.default),
        // As in Kafka: the others are set at start and constant for a life.
        dynamic: definition.name == PRODUCER_EXPIRATION.name,
        definition,
        unit: 1,
    }
}

/// A key of the broker's, described or not.
#[must_use]
pub fn broker_key(name: &str) -> Option<BrokerKey> {
    broker_keys().chain([of_its_own(&INITIAL_TASK_DELAY)]).find(|key| key.name == name)
}
