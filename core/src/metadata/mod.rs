//! Cluster metadata as committed records make it (KIP-631): data only, decides nothing.

pub mod configs;
mod image;
mod partitions;

pub use image::{BROKER_RESOURCE, Broker, Brokers, Change, Image, Partition, TOPIC_RESOURCE, Topic};
pub use partitions::Partitions;

/// The longest topic name, in bytes.
const MAX_TOPIC_NAME: usize = 249;

/// Whether a topic may be called so: 1 to 249 of `[A-Za-z0-9._-]`, but neither `.` nor `..`.
#[must_use]
pub fn valid_topic_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=MAX_TOPIC_NAME).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(legal)
}
