//! Topic configs that take effect. What is not listed here is refused, never accepted and ignored.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

/// Why a config is refused: a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

/// The configs of one topic, by key; only keys that were set.
pub type TopicConfigs = BTreeMap<String, String>;

/// `flush.messages`: 1 syncs before every acknowledgement, group committed; this largest value leaves it to the page
/// cache.
pub const FLUSH_NEVER: i64 = i64::MAX;

/// The smallest `segment.bytes` that Kafka takes for a topic.
const MIN_SEGMENT_BYTES: i64 = 14;

/// Checks one setting.
///
/// # Errors
/// For an unknown key, or a value out of its range.
pub fn check_config(key: &str, value: &str) -> Result<(), ConfigError> {
    let number = || value.parse::<i64>().map_err(|_| ConfigError(format!("{key}: {value:?} is not a number")));
    match key {
        // In between, Kafka would flush every n records; here a record is synced before its acknowledgement or never.
        "flush.messages" => match number()? {
            1 | FLUSH_NEVER => Ok(()),
            n => Err(ConfigError(format!(
                "flush.messages: {n} is neither 1 (sync before acknowledging) nor {FLUSH_NEVER} (never)"
            ))),
        },
        "segment.bytes" => match number()? {
            MIN_SEGMENT_BYTES..=0x7fff_ffff => Ok(()),
            n => Err(ConfigError(format!("segment.bytes: {n} is not within {MIN_SEGMENT_BYTES} to {}", i32::MAX))),
        },
        _ => Err(ConfigError(format!("{key} is not a topic config that this broker knows"))),
    }
}

/// Whether the topic's records are on the device before they are acknowledged.
#[must_use]
pub fn durable(configs: &TopicConfigs) -> bool {
    configs.get("flush.messages").is_none_or(|v| v == "1")
}

/// The topic's `segment.bytes`, if it has its own.
#[must_use]
pub fn segment_bytes(configs: &TopicConfigs) -> Option<u32> {
    configs.get("segment.bytes").and_then(|v| v.parse().ok())
}
