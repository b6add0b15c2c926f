//! Names for what must not be mixed up. Every id, offset, epoch and clock value is its own type.
//!
//! Knows nothing else of the house. Field widths are Kafka's.

use core::cmp::Ordering;
use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($repr:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $repr);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(/// Position of a record in a partition, counted in records from 0.
    Offset(i64));
number!(/// Counts the leaders of one log; a restart ends an epoch. Also Raft's term on the metadata log.
    LeaderEpoch(i32));
number!(/// `node.id` of a broker.
    BrokerId(i32));
number!(/// One registration of a broker: the offset of its registration record.
    BrokerEpoch(i64));
number!(/// Producer id (KIP-98).
    ProducerId(i64));
number!(/// Producer epoch (KIP-98).
    ProducerEpoch(i16));
number!(/// Sequence number of a record within (producer, epoch, partition); after 2^31-1 comes 0.
    Sequence(i32));
number!(/// The number of a change to one log, in that log's FIFO; ended by one Done or Failed.
    Seq(u64));
number!(/// A client's connection, unique within a shard and a life.
    ConnectionId(u64));
number!(/// Names a disk look-up.
    Ticket(u64));
number!(/// A shard of this broker.
    ShardIndex(u16));
number!(/// Monotonic time within one life of a shard, in nanoseconds.
    Instant(u64));
number!(/// Wall-clock time, milliseconds since 1970 (Kafka's timestamps); -1 means none.
    Timestamp(i64));

impl Offset {
    /// The offset `n` records on.
    ///
    /// # Panics
    /// When it leaves the i64 range: offsets of stored records never do.
    #[must_use]
    pub fn plus(self, n: i64) -> Offset {
        Offset(self.0.checked_add(n).expect("offsets stay below 2^63"))
    }
}

impl LeaderEpoch {
    /// The epoch after this one.
    ///
    /// # Panics
    /// After 2^31-1 elections of one log.
    #[must_use]
    pub fn next(self) -> LeaderEpoch {
        LeaderEpoch(self.0.checked_add(1).expect("leader epochs stay below 2^31"))
    }
}

impl Instant {
    /// This instant moved on by milliseconds; a negative count moves nothing, the far end saturates.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Instant {
        let ms = u64::try_from(ms).unwrap_or(0);
        Instant(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }
}

/// Names a question of a shard, to itself or another one. It is answered once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Correlation {
    /// The request that it is asked for, by the asker's name for it.
    pub request: u64,
    /// Which of that request's questions.
    pub question: u16,
}

impl fmt::Display for Correlation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.request, self.question)
    }
}

/// The two clocks that a step may look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// For deadlines within a life.
    pub monotonic: Instant,
    /// For whatever meets a stored timestamp.
    pub wall: Timestamp,
}

/// 128 bits, printed as Kafka does (base64url without padding, 22 characters).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Uuid(pub [u8; 16]);

/// In the order of their bytes: compared as one number, since a map of logs is searched many times for each produce.
impl Ord for Uuid {
    fn cmp(&self, other: &Uuid) -> Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl PartialOrd for Uuid {
    fn partial_cmp(&self, other: &Uuid) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    /// The id that means "none".
    pub const ZERO: Uuid = Uuid([0; 16]);
    /// The id of `__cluster_metadata` (KIP-631).
    pub const METADATA: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// From two drawn numbers.
    #[must_use]
    pub fn from_halves(high: u64, low: u64) -> Uuid {
        Uuid(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
    }

    /// From Kafka's 22 characters of base64url; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Uuid> {
        if text.len() != 22 {
            return None;
        }
        let mut bits = 0u128;
        for (i, c) in text.bytes().enumerate() {
            let v = BASE64URL.iter().position(|b| *b == c)? as u128;
            // 22 characters carry 132 bits: the last four must be zero.
            if i == 21 {
                if v & 0xf != 0 {
                    return None;
                }
                bits = (bits << 2) | (v >> 4);
            } else {
                bits = (bits << 6) | v;
            }
        }
        Some(Uuid(bits.to_be_bytes()))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        for i in 0..22u32 {
            let v = if i == 21 { (bits & 0x3) << 4 } else { (bits >> (122 - 6 * i)) & 0x3f };
            let c = BASE64URL[usize::try_from(v).expect("six bits")];
            fmt::Write::write_char(f, char::from(c))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One replicated log: a partition of a topic, by topic id, so that a re-created name is another log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// Topic id (KIP-516).
    pub topic: Uuid,
    /// Partition index.
    pub partition: i32,
}

impl LogId {
    /// The metadata quorum's log.
    pub const METADATA: LogId = LogId { topic: Uuid::METADATA, partition: 0 };

    /// The shard that owns this log among `shards` of one broker. Files never name a shard, so `shards` may change
    /// at a restart. The metadata log is always shard 0's.
    ///
    /// # Panics
    /// When `shards` is 0.
    #[must_use]
    pub fn owner(&self, shards: u16) -> ShardIndex {
        assert!(shards > 0, "a broker has at least one shard");
        if *self == LogId::METADATA {
            return ShardIndex(0);
        }
        let bits = u128::from_be_bytes(self.topic.0);
        let folded = (bits >> 64) as u64 ^ bits as u64 ^ (self.partition as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ShardIndex((crate::rng::mix(folded) % u64::from(shards)) as u16)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == LogId::METADATA {
            return f.write_str("__cluster_metadata-0");
        }
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn uuids_print_and_parse_as_kafka_prints_them() {
        assert_eq!(Uuid::METADATA.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        for id in [Uuid::ZERO, Uuid::METADATA, Uuid::from_halves(u64::MAX, 1 << 63)] {
            assert_eq!(Uuid::parse(&id.to_string()), Some(id));
        }
        assert_eq!(Uuid::parse("AAAAAAAAAAAAAAAAAAAAAB"), None, "bits past the 128th");
    }

    #[test]
    fn the_metadata_log_is_shard_zeros() {
        assert_eq!(LogId::METADATA.owner(7), ShardIndex(0));
    }
}
