//! The topic configs of Kafka 4.3, by key.

use super::{Definition, Domain, Kind, Synonym};

/// `flush.messages` that leaves syncing to `flush.ms` and the operating system.
pub const FLUSH_NEVER: i64 = i64::MAX;
/// A time that does not come.
pub(super) const FOREVER_MS: i64 = i64::MAX;
/// `segment.bytes` without its lower bound, for tests; described nowhere (as in Kafka).
pub const INTERNAL_SEGMENT_BYTES: &str = "internal.segment.bytes";

const MOST: i64 = i64::MAX;
const FOREVER: &str = "9223372036854775807";
const MOST_INT: i64 = i32::MAX as i64;
const HOUR_MS: i64 = 3_600_000;

const fn synonym(key: &'static str, default: &'static str) -> Synonym {
    Synonym { key, unit: 1, default: Some(default) }
}

const fn config(
    name: &'static str,
    kind: Kind,
    domain: Domain,
    default: &'static str,
    synonyms: &'static [Synonym],
    documentation: &'static str,
) -> Definition {
    Definition { name, kind, domain, default, synonyms, built: None, documentation }
}

const fn number(
    name: &'static str,
    kind: Kind,
    least: i64,
    default: &'static str,
    synonyms: &'static [Synonym],
    documentation: &'static str,
) -> Definition {
    let most = if matches!(kind, Kind::Int) { MOST_INT } else { MOST };
    config(name, kind, Domain::Number(least, most), default, synonyms, documentation)
}

const fn boolean(name: &'static str, synonyms: &'static [Synonym], documentation: &'static str) -> Definition {
    config(name, Kind::Boolean, Domain::Boolean, "false", synonyms, documentation)
}

/// Sorted by key.
static TOPIC: [Definition; 34] = [
    config(
        "cleanup.policy",
        Kind::List,
        Domain::Words(&["compact", "delete"]),
        "delete",
        &[synonym("log.cleanup.policy", "delete")],
        "What becomes of old segments: delete drops them by age and size, compact keeps the last record of each key.",
    )
    .only(&["delete"]),
    config(
        "compression.gzip.level",
        Kind::Int,
        Domain::Number(-1, 9),
        "-1",
        &[synonym("compression.gzip.level", "-1")],
        "The level of gzip when compression.type is gzip.",
    )
    .only(&["-1"]),
    config(
        "compression.lz4.level",
        Kind::Int,
        Domain::Number(1, 17),
        "9",
        &[synonym("compression.lz4.level", "9")],
        "The level of LZ4 when compression.type is lz4.",
    )
    .only(&["9"]),
    config(
        "compression.type",
        Kind::String,
        Domain::Word(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        "producer",
        &[synonym("compression.type", "producer")],
        "The codec that stored batches have; producer keeps each batch as its producer compressed it.",
    )
    .only(&["producer"]),
    config(
        "compression.zstd.level",
        Kind::Int,
        Domain::Number(-131_072, 22),
        "3",
        &[synonym("compression.zstd.level", "3")],
        "The level of Zstandard when compression.type is zstd.",
    )
    .only(&["3"]),
    number(
        "delete.retention.ms",
        Kind::Long,
        0,
        "86400000",
        &[synonym("log.cleaner.delete.retention.ms", "86400000")],
        "How long a compacted topic keeps the tombstone of a deleted key, in milliseconds.",
    )
    .only(&["86400000"]),
    number(
        "file.delete.delay.ms",
        Kind::Long,
        0,
        "60000",
        &[synonym("log.segment.delete.delay.ms", "60000")],
        "How long the files of a dropped segment stay on the disk, in milliseconds.",
    )
    .only(&["60000"]),
    number(
        "flush.messages",
        Kind::Long,
        1,
        "1",
        &[synonym("log.flush.interval.messages", "1")],
        "How many records may be acknowledged and not be on the device; the last of so many is synced first, and they \
         with it. 1: every record is on the device before it is acknowledged, many at once. 9223372036854775807: syncing \
         is left to flush.ms and the operating system.",
    ),
    number(
        "flush.ms",
        Kind::Long,
        0,
        FOREVER,
        &[Synonym { key: "log.flush.interval.ms", unit: 1, default: None }],
        "The longest time for which an acknowledged record may not be on the device where flush.messages allows that, in \
         milliseconds.",
    ),
    config(
        "follower.replication.throttled.replicas",
        Kind::List,
        Domain::Text,
        "",
        &[],
        "Followers whose copying is throttled, as partition:broker pairs, or * for all.",
    )
    .only(&[""]),
    number(
        "index.interval.bytes",
        Kind::Int,
        0,
        "4096",
        &[synonym("log.index.interval.bytes", "4096")],
        "About how many bytes of a log lie between two entries of its offset index.",
    )
    .only(&["4096"]),
    number(INTERNAL_SEGMENT_BYTES, Kind::Int, 14, "", &[], "segment.bytes without its lower bound, for tests."),
    config(
        "leader.replication.throttled.replicas",
        Kind::List,
        Domain::Text,
        "",
        &[],
        "Leaders whose copying is throttled, as partition:broker pairs, or * for all.",
    )
    .only(&[""]),
    number(
        "local.retention.bytes",
        Kind::Long,
        -2,
        "-2",
        &[synonym("log.local.retention.bytes", "-2")],
        "How many bytes of a tiered partition stay on the local disk; -2 is retention.bytes.",
    )
    .only(&["-2"]),
    number(
        "local.retention.ms",
        Kind::Long,
        -2,
        "-2",
        &[synonym("log.local.retention.ms", "-2")],
        "How long records of a tiered partition stay on the local disk, in milliseconds; -2 is retention.ms.",
    )
    .only(&["-2"]),
    number(
        "max.compaction.lag.ms",
        Kind::Long,
        1,
        FOREVER,
        &[synonym("log.cleaner.max.compaction.lag.ms", FOREVER)],
        "The longest time for which a record of a compacted topic may stay uncompacted, in milliseconds.",
    )
    .only(&[FOREVER]),
    number(
        "max.message.bytes",
        Kind::Int,
        0,
        "1048588",
        &[synonym("message.max.bytes", "1048588")],
        "The largest record batch that is taken, in bytes as its producer compressed it.",
    ),
    number(
        "message.timestamp.after.max.ms",
        Kind::Long,
        0,
        "3600000",
        &[synonym("log.message.timestamp.after.max.ms", "3600000")],
        "How far a record's timestamp may lie after this broker's clock when it is the producer's, in milliseconds.",
    ),
    number(
        "message.timestamp.before.max.ms",
        Kind::Long,
        0,
        FOREVER,
        &[synonym("log.message.timestamp.before.max.ms", FOREVER)],
        "How far a record's timestamp may lie before this broker's clock when it is the producer's, in milliseconds.",
    ),
    config(
        "message.timestamp.type",
        Kind::String,
        Domain::Word(&["CreateTime", "LogAppendTime"]),
        "CreateTime",
        &[synonym("log.message.timestamp.type", "CreateTime")],
        "Whose time a record's timestamp is: the producer's or that of the append.",
    ),
    config(
        "min.cleanable.dirty.ratio",
        Kind::Double,
        Domain::Text,
        "0.5",
        &[synonym("log.cleaner.min.cleanable.ratio", "0.5")],
        "The share of uncompacted bytes at which a log is compacted.",
    )
    .only(&["0.5"]),
    number(
        "min.compaction.lag.ms",
        Kind::Long,
        0,
        "0",
        &[synonym("log.cleaner.min.compaction.lag.ms", "0")],
        "The shortest time for which a record of a compacted topic stays uncompacted, in milliseconds.",
    )
    .only(&["0"]),
    number(
        "min.insync.replicas",
        Kind::Int,
        1,
        "1",
        &[synonym("min.insync.replicas", "1")],
        "How many replicas must hold a record before it is acknowledged with acks=all; never more than there are.",
    ),
    boolean(
        "preallocate",
        &[synonym("log.preallocate", "false")],
        "Whether a new segment takes all of its size on the disk at once.",
    )
    .only(&["false"]),
    boolean("remote.log.copy.disable", &[], "Whether nothing more of this topic is copied to remote storage.")
        .only(&["false"]),
    boolean("remote.log.delete.on.disable", &[], "Whether switching remote storage off drops what lies there.")
        .only(&["false"]),
    boolean("remote.storage.enable", &[], "Whether old segments are moved to remote storage.").only(&["false"]),
    number(
        "retention.bytes",
        Kind::Long,
        i64::MIN,
        "-1",
        &[synonym("log.retention.bytes", "-1")],
        "How many bytes a partition keeps before its oldest segments are dropped; below 0 there is no limit.",
    ),
    number(
        "retention.ms",
        Kind::Long,
        -1,
        "604800000",
        &[
            Synonym { key: "log.retention.ms", unit: 1, default: None },
            Synonym { key: "log.retention.minutes", unit: 60_000, default: None },
            Synonym { key: "log.retention.hours", unit: HOUR_MS, default: Some("168") },
        ],
        "How long a segment is kept after its newest record, in milliseconds; -1 is for ever.",
    ),
    number(
        "segment.bytes",
        Kind::Int,
        1 << 20,
        "1073741824",
        &[synonym("log.segment.bytes", "1073741824")],
        "The size at which a segment is closed and the next one begun, in bytes.",
    ),
    number(
        "segment.index.bytes",
        Kind::Int,
        4,
        "10485760",
        &[synonym("log.index.size.max.bytes", "10485760")],
        "The largest size of a segment's offset index, in bytes.",
    )
    .only(&["10485760"]),
    number(
        "segment.jitter.ms",
        Kind::Long,
        0,
        "0",
        &[
            Synonym { key: "log.roll.jitter.ms", unit: 1, default: None },
            Synonym { key: "log.roll.jitter.hours", unit: HOUR_MS, default: Some("0") },
        ],
        "By how much, drawn for each segment, segment.ms is shortened at most, in milliseconds.",
    ),
    number(
        "segment.ms",
        Kind::Long,
        1,
        "604800000",
        &[
            Synonym { key: "log.roll.ms", unit: 1, default: None },
            Synonym { key: "log.roll.hours", unit: HOUR_MS, default: Some("168") },
        ],
        "How much younger than the first record of its segment a record is at most, in milliseconds; the next one begins a \
         new segment.",
    ),
    boolean(
        "unclean.leader.election.enable",
        &[synonym("unclean.leader.election.enable", "false")],
        "Whether a replica that is not in sync may lead when no other can; what it lacks is lost.",
    )
    .only(&["false"]),
];

/// A topic config by key.
#[must_use]
pub fn topic(key: &str) -> Option<&'static Definition> {
    TOPIC.binary_search_by(|d| d.name.cmp(key)).ok().map(|at| &TOPIC[at])
}

/// Every topic config that is described, by key.
pub fn topics() -> impl Iterator<Item = &'static Definition> {
    TOPIC.iter().filter(|d| d.name != INTERNAL_SEGMENT_BYTES)
}
