//! Metadata (3): KIP-526 (auto-creation), KIP-430 (operations), KIP-516 (topic ids).

use alloc::string::String;
use alloc::vec::Vec;

use super::codec::Malformed;
use super::table::{Message, message};
use crate::ids::Uuid;

/// Authorized operations that were not asked for.
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

message! {
    /// Asks who leads what; `topics` is `None` for all.
    MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>> [0..] null [1..];
        allow_auto_topic_creation: bool [4..] = true;
        include_cluster_authorized_operations: bool [8..=10];
        include_topic_authorized_operations: bool [8..];
    } + {
        /// Whether topics may be named by id; where not, a null name or an id makes the request invalid.
        ids_allowed: bool = true;
    }

    /// A topic asked for.
    MetadataRequestTopic {
        topic_id: Uuid [10..];
        name: Option<String> [0..] null [10..];
    }

    /// Who leads what.
    MetadataResponse {
        throttle_time_ms: i32 [3..];
        brokers: Vec<MetadataResponseBroker> [0..];
        cluster_id: Option<String> [2..] null [2..];
        controller_id: i32 [1..] = -1;
        topics: Vec<MetadataResponseTopic> [0..];
        cluster_authorized_operations: i32 [8..=10] = OPERATIONS_NOT_ASKED;
        error_code: i16 [13..];
    }

    /// A broker.
    MetadataResponseBroker {
        node_id: i32 [0..];
        host: String [0..];
        port: i32 [0..];
        rack: Option<String> [1..] null [1..];
    }

    /// A topic.
    MetadataResponseTopic {
        error_code: i16 [0..];
        name: Option<String> [0..] null [12..];
        topic_id: Uuid [10..];
        is_internal: bool [1..];
        partitions: Vec<MetadataResponsePartition> [0..];
        topic_authorized_operations: i32 [8..] = OPERATIONS_NOT_ASKED;
    }

    /// A partition.
    MetadataResponsePartition {
        error_code: i16 [0..];
        partition_index: i32 [0..];
        leader_id: i32 [0..];
        leader_epoch: i32 [7..] = -1;
        replica_nodes: Vec<i32> [0..];
        isr_nodes: Vec<i32> [0..];
        offline_replicas: Vec<i32> [5..];
    }
}

impl Message for MetadataRequest {
    fn normalise(&mut self, version: i16) -> Result<(), Malformed> {
        self.ids_allowed = version >= 12;
        // Version 0 has no null: none named means all.
        if version == 0 && self.topics.as_ref().is_some_and(Vec::is_empty) {
            self.topics = None;
        }
        Ok(())
    }
}

impl Message for MetadataResponse {}
