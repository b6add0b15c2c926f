//! ListOffsets (2): KIP-79, KIP-734 (largest timestamp), KIP-405 and KIP-1023 (tiers), KIP-320 (epochs).

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::codec::Malformed;
use super::error;
use super::table::{Message, message};

message! {
    /// Asks for offsets by timestamp.
    ListOffsetsRequest {
        replica_id: i32 [0..] = -1;
        isolation_level: i8 [2..];
        topics: Vec<ListOffsetsTopic> [0..];
        timeout_ms: i32 [10..];
    } + {
        /// The lowest special (negative) timestamp that the client's version has.
        lowest_timestamp: i64 = TIERED_UPLOAD;
    }

    /// What is asked of one topic.
    ListOffsetsTopic {
        name: String [0..];
        partitions: Vec<ListOffsetsPartition> [0..];
    }

    /// What is asked of one partition.
    ListOffsetsPartition {
        partition_index: i32 [0..];
        current_leader_epoch: i32 [4..] = -1;
        timestamp: i64 [0..];
    }

    /// Offsets.
    ListOffsetsResponse {
        throttle_time_ms: i32 [2..];
        topics: Vec<ListOffsetsTopicResponse> [0..];
    }

    /// Offsets of one topic.
    ListOffsetsTopicResponse {
        name: String [0..];
        partitions: Vec<ListOffsetsPartitionResponse> [0..];
    }

    /// The offset of one partition.
    ListOffsetsPartitionResponse {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        timestamp: i64 [1..] = -1;
        offset: i64 [1..] = -1;
        leader_epoch: i32 [4..] = -1;
    }
}

/// Asks for the end: high watermark, or last stable offset.
pub const LATEST: i64 = -1;
/// Asks for the log start offset.
pub const EARLIEST: i64 = -2;
/// Asks for the record with the largest timestamp.
pub const MAX_TIMESTAMP: i64 = -3;
/// Asks for the first offset on the local disk.
pub const EARLIEST_LOCAL: i64 = -4;
/// Asks for the last offset in remote storage.
pub const LATEST_TIERED: i64 = -5;
/// Asks for the first offset not yet in remote storage.
pub const TIERED_UPLOAD: i64 = -6;

impl Message for ListOffsetsRequest {
    fn normalise(&mut self, version: i16) -> Result<(), Malformed> {
        self.lowest_timestamp = match version {
            ..=6 => EARLIEST,
            7 => MAX_TIMESTAMP,
            8 => EARLIEST_LOCAL,
            9 | 10 => LATEST_TIERED,
            11.. => TIERED_UPLOAD,
        };
        Ok(())
    }
}

impl Message for ListOffsetsResponse {
    /// Before version 5 there is no OFFSET_NOT_AVAILABLE.
    fn in_terms_of(&self, version: i16) -> Cow<'_, Self> {
        let new = |p: &ListOffsetsPartitionResponse| p.error_code == error::OFFSET_NOT_AVAILABLE;
        if version >= 5 || !self.topics.iter().flat_map(|t| &t.partitions).any(new) {
            return Cow::Borrowed(self);
        }
        let mut message = self.clone();
        for partition in message.topics.iter_mut().flat_map(|t| &mut t.partitions).filter(|p| new(p)) {
            partition.error_code = error::LEADER_NOT_AVAILABLE;
        }
        Cow::Owned(message)
    }
}
