//! CreateTopics (19): KIP-464 (defaults), KIP-525 (configs in the answer), KIP-516 (ids in the answer).

use alloc::string::String;
use alloc::vec::Vec;

use super::table::{Message, message};
use crate::ids::Uuid;

message! {
    /// Asks for topics to be created.
    CreateTopicsRequest {
        topics: Vec<CreatableTopic> [0..];
        timeout_ms: i32 [0..] = 60_000;
        validate_only: bool [1..];
    }

    /// A topic to be created.
    CreatableTopic {
        name: String [0..];
        num_partitions: i32 [0..];
        replication_factor: i16 [0..];
        assignments: Vec<CreatableReplicaAssignment> [0..];
        configs: Vec<CreatableTopicConfig> [0..];
    }

    /// Where a partition is to be placed.
    CreatableReplicaAssignment {
        partition_index: i32 [0..];
        broker_ids: Vec<i32> [0..];
    }

    /// A config to be set.
    CreatableTopicConfig {
        name: String [0..];
        value: Option<String> [0..] null [0..];
    }

    /// What became of the topics.
    CreateTopicsResponse {
        throttle_time_ms: i32 [2..];
        topics: Vec<CreatableTopicResult> [0..];
    }

    /// What became of one topic.
    CreatableTopicResult {
        name: String [0..];
        topic_id: Uuid [7..];
        error_code: i16 [0..];
        error_message: Option<String> [1..] null [0..];
        topic_config_error_code: i16 [5..] tag 0;
        num_partitions: i32 [5..] = -1;
        replication_factor: i16 [5..] = -1;
        configs: Option<Vec<CreatableTopicConfigs>> [5..] null [5..];
    }

    /// A config that the topic has.
    CreatableTopicConfigs {
        name: String [5..];
        value: Option<String> [5..] null [5..];
        read_only: bool [5..];
        config_source: i8 [5..] = -1;
        is_sensitive: bool [5..];
    }
}

impl Message for CreateTopicsRequest {}
impl Message for CreateTopicsResponse {}
