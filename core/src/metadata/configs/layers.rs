//! What is in effect: the nearest of topic, broker, cluster, file and default.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::broker::{
    AUTO_CREATE_TOPICS, DELETE_TOPICS, INITIAL_TASK_DELAY, NUM_PARTITIONS, PRODUCER_EXPIRATION, REPLICATION_FACTOR,
    RETENTION_CHECK,
};
use super::{Configs, Definition, FOREVER_MS, INTERNAL_SEGMENT_BYTES, boolean, in_units, topic};

/// `ConfigSource`, as DescribeConfigs numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// Set for the topic.
    Topic = 1,
    /// Set for this broker while it ran.
    Broker = 2,
    /// Set for all brokers while they ran.
    Cluster = 3,
    /// Set in the broker's file.
    File = 4,
    /// Nobody set it.
    Default = 5,
}

/// A value that somebody set, or a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<'a> {
    /// Under which key.
    pub key: &'a str,
    /// As it was written.
    pub value: &'a str,
    /// By whom.
    pub source: Source,
}

/// `message.timestamp.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's time.
    CreateTime,
    /// The time of the append.
    LogAppendTime,
}

/// Where values are looked for, nearest first.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// What was set for the topic; `None` for a broker's own view.
    pub topic: Option<&'a Configs>,
    /// What was set for this broker while it ran.
    pub broker: Option<&'a Configs>,
    /// What was set for all brokers while they ran.
    pub cluster: Option<&'a Configs>,
    /// What the broker's file sets.
    pub file: &'a Configs,
}

impl<'a> Layers<'a> {
    /// Only what the broker's file sets.
    #[must_use]
    pub fn of_file(file: &'a Configs) -> Layers<'a> {
        Layers { topic: None, broker: None, cluster: None, file }
    }

    /// Values of one of the broker's keys, nearest first; its default is not among them.
    pub fn of_broker<'k: 'a>(self, key: &'k str) -> impl Iterator<Item = Setting<'a>> {
        let layers = [(self.broker, Source::Broker), (self.cluster, Source::Cluster), (Some(self.file), Source::File)];
        layers
            .into_iter()
            .filter_map(move |(layer, source)| layer?.get(key).map(|value| Setting { key, value, source }))
    }

    /// Every value of a topic config, nearest first: its own, then those of the broker's keys, then their default.
    #[must_use]
    pub fn of_topic(self, definition: &'static Definition) -> Vec<Setting<'a>> {
        let key = definition.name;
        let own = self.topic.and_then(|t| t.get(key)).map(|value| Setting { key, value, source: Source::Topic });
        let mut settings: Vec<Setting<'a>> = own.into_iter().collect();
        for source in [Source::Broker, Source::Cluster, Source::File] {
            let synonyms = definition.synonyms.iter();
            settings.extend(synonyms.flat_map(|s| self.of_broker(s.key).filter(|set| set.source == source)));
        }
        // A default in other units is not told, as in Kafka: the config's own says the same.
        let told = |s: &&'static super::Synonym| s.unit == 1;
        let default =
            |s: &'static super::Synonym| s.default.map(|value| Setting { key: s.key, value, source: Source::Default });
        settings.extend(definition.synonyms.iter().filter(told).filter_map(default));
        settings
    }

    /// What is in effect of a topic config, in its units.
    #[must_use]
    pub fn value(self, definition: &'static Definition) -> Cow<'a, str> {
        let nearest = self.of_topic(definition).into_iter().next();
        nearest.map_or(definition.default.into(), |set| {
            let unit = definition.synonyms.iter().find(|s| s.key == set.key && set.source != Source::Topic);
            in_units(set.value, unit.map_or(1, |s| s.unit))
        })
    }

    /// Where that comes from.
    #[must_use]
    pub fn source(self, definition: &'static Definition) -> Source {
        self.of_topic(definition).first().map_or(Source::Default, |set| set.source)
    }

    fn text(self, key: &str) -> Cow<'a, str> {
        self.value(topic(key).expect("a key of the table"))
    }

    /// Values are checked before they are kept; one that an earlier version kept and this one cannot read is as if
    /// nobody had set it.
    fn number(self, key: &str) -> i64 {
        let definition = topic(key).expect("a key of the table");
        let read = |text: &str| text.trim().parse().ok();
        read(&self.value(definition)).or_else(|| read(definition.default)).unwrap_or_default()
    }

    fn own(self, definition: &'static Definition) -> &'a str {
        self.of_broker(definition.name).next().map_or(definition.default, |set| set.value)
    }

    /// With so many records that are not on the device a batch is synced before it is acknowledged (`flush.messages`).
    #[must_use]
    pub fn flush_messages(self) -> u64 {
        self.number("flush.messages").max(1).unsigned_abs()
    }

    /// Size at which a segment is rolled.
    #[must_use]
    pub fn segment_bytes(self) -> u32 {
        let internal = self.topic.and_then(|t| t.get(INTERNAL_SEGMENT_BYTES)).and_then(|v| v.trim().parse().ok());
        internal.unwrap_or_else(|| u32::try_from(self.number("segment.bytes")).unwrap_or(u32::MAX))
    }

    /// Age at which a segment is rolled, milliseconds.
    #[must_use]
    pub fn segment_ms(self) -> i64 {
        self.number("segment.ms")
    }

    /// By how much that is shortened at most, milliseconds.
    #[must_use]
    pub fn segment_jitter_ms(self) -> i64 {
        self.number("segment.jitter.ms")
    }

    /// After how long a silence an idempotent producer is forgotten, milliseconds.
    #[must_use]
    pub fn producer_expiration_ms(self) -> i64 {
        self.own(&PRODUCER_EXPIRATION).trim().parse().unwrap_or(86_400_000)
    }

    /// How long a segment is kept after its newest record, milliseconds; `None` for ever.
    #[must_use]
    pub fn retention_ms(self) -> Option<i64> {
        Some(self.number("retention.ms")).filter(|ms| *ms >= 0)
    }

    /// How many bytes a partition keeps; `None` without limit.
    #[must_use]
    pub fn retention_bytes(self) -> Option<u64> {
        u64::try_from(self.number("retention.bytes")).ok()
    }

    /// The largest batch that is taken.
    #[must_use]
    pub fn max_message_bytes(self) -> u32 {
        u32::try_from(self.number("max.message.bytes")).unwrap_or_default()
    }

    /// Whose time a record's timestamp is.
    #[must_use]
    pub fn timestamp_type(self) -> TimestampType {
        match self.text("message.timestamp.type").trim() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        }
    }

    /// How far a record's timestamp may lie before the broker's clock, milliseconds.
    #[must_use]
    pub fn timestamp_before_max_ms(self) -> i64 {
        self.number("message.timestamp.before.max.ms")
    }

    /// How far a record's timestamp may lie after the broker's clock, milliseconds.
    #[must_use]
    pub fn timestamp_after_max_ms(self) -> i64 {
        self.number("message.timestamp.after.max.ms")
    }

    /// How many replicas must hold a record before acks=all is answered; never more than there are.
    #[must_use]
    pub fn min_insync_replicas(self) -> i32 {
        i32::try_from(self.number("min.insync.replicas")).unwrap_or(i32::MAX)
    }

    /// The longest time for which a record is not synced, milliseconds; `None` without limit.
    #[must_use]
    pub fn flush_ms(self) -> Option<i64> {
        Some(self.number("flush.ms")).filter(|ms| *ms != FOREVER_MS)
    }

    /// The codec of stored batches, or `producer`.
    #[must_use]
    pub fn compression_type(self) -> Cow<'a, str> {
        self.text("compression.type")
    }

    /// Partitions of a topic created without a number.
    #[must_use]
    pub fn num_partitions(self) -> i32 {
        self.own(&NUM_PARTITIONS).trim().parse().unwrap_or(1)
    }

    /// Replicas of a topic created without a number.
    #[must_use]
    pub fn default_replication_factor(self) -> i16 {
        self.own(&REPLICATION_FACTOR).trim().parse().unwrap_or(1)
    }

    /// The time from the start to the first look for segments to drop, milliseconds.
    #[must_use]
    pub fn initial_task_delay_ms(self) -> i64 {
        self.own(&INITIAL_TASK_DELAY).trim().parse().unwrap_or(30_000)
    }

    /// The time between two looks for segments to drop, milliseconds.
    #[must_use]
    pub fn retention_check_interval_ms(self) -> i64 {
        self.own(&RETENTION_CHECK).trim().parse().unwrap_or(300_000)
    }

    /// Whether a Metadata request may create topics.
    #[must_use]
    pub fn auto_create_topics(self) -> bool {
        boolean(self.own(&AUTO_CREATE_TOPICS)) == Some(true)
    }

    /// Whether topics can be deleted.
    #[must_use]
    pub fn delete_topics(self) -> bool {
        boolean(self.own(&DELETE_TOPICS)) == Some(true)
    }
}
