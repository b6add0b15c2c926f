//! OffsetForLeaderEpoch (23): KIP-101, KIP-279, KIP-320.

use alloc::string::String;
use alloc::vec::Vec;

use super::table::{Message, message};

message! {
    /// Asks where leader epochs end.
    OffsetForLeaderEpochRequest {
        replica_id: i32 [3..] = -2;
        topics: Vec<OffsetForLeaderTopic> [0..];
    }

    /// What is asked of one topic.
    OffsetForLeaderTopic {
        topic: String [0..];
        partitions: Vec<OffsetForLeaderPartition> [0..];
    }

    /// What is asked of one partition.
    OffsetForLeaderPartition {
        partition: i32 [0..];
        current_leader_epoch: i32 [2..] = -1;
        leader_epoch: i32 [0..];
    }

    /// Where leader epochs end.
    OffsetForLeaderEpochResponse {
        throttle_time_ms: i32 [2..];
        topics: Vec<OffsetForLeaderTopicResult> [0..];
    }

    /// Where epochs of one topic's partitions end.
    OffsetForLeaderTopicResult {
        topic: String [0..];
        partitions: Vec<EpochEnd> [0..];
    }

    /// Where an epoch of one partition ends.
    EpochEnd {
        error_code: i16 [0..];
        partition: i32 [0..];
        leader_epoch: i32 [1..] = -1;
        end_offset: i64 [0..] = -1;
    }
}

impl Message for OffsetForLeaderEpochRequest {}

impl Message for OffsetForLeaderEpochResponse {}
