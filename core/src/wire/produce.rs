//! Produce (0): KIP-98, KIP-467 (errors per record), KIP-951 (leader hints), KIP-516 (topic ids from version 13).

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::codec::Malformed;
use super::common::{LeaderIdAndEpoch, NodeEndpoint};
use super::table::{Message, message};
use crate::ids::Uuid;

message! {
    /// Asks to append batches.
    ProduceRequest {
        transactional_id: Option<String> [3..] null [3..];
        acks: i16 [0..];
        timeout_ms: i32 [0..];
        topic_data: Vec<TopicProduceData> [0..];
    } + {
        /// Whether the client may send zstd (KIP-110).
        zstd: bool = true;
        /// Topics are named by their ids, not their names (KIP-516).
        topic_ids: bool = false;
    }

    /// The batches of one topic.
    TopicProduceData {
        name: String [0..=12];
        topic_id: Uuid [13..];
        partition_data: Vec<PartitionProduceData> [0..];
    }

    /// The batch of one partition.
    PartitionProduceData {
        index: i32 [0..];
        records: Option<Bytes> [0..] null [0..];
    }

    /// What became of a Produce.
    ProduceResponse {
        responses: Vec<TopicProduceResponse> [0..];
        throttle_time_ms: i32 [1..];
        node_endpoints: Vec<NodeEndpoint> [10..] tag 0;
    }

    /// What became of one topic's batches.
    TopicProduceResponse {
        name: String [0..=12];
        topic_id: Uuid [13..];
        partition_responses: Vec<PartitionProduceResponse> [0..];
    }

    /// What became of one partition's batch.
    PartitionProduceResponse {
        index: i32 [0..];
        error_code: i16 [0..];
        base_offset: i64 [0..];
        log_append_time_ms: i64 [2..] = -1;
        log_start_offset: i64 [5..] = -1;
        record_errors: Vec<BatchIndexAndErrorMessage> [8..];
        error_message: Option<String> [8..] null [8..];
        current_leader: LeaderIdAndEpoch [10..] tag 0;
    }

    /// A record that made its batch be refused.
    BatchIndexAndErrorMessage {
        batch_index: i32 [8..];
        batch_index_error_message: Option<String> [8..] null [8..];
    }
}

impl Message for ProduceRequest {
    fn normalise(&mut self, version: i16) -> Result<(), Malformed> {
        self.zstd = version >= 7;
        self.topic_ids = version >= 13;
        Ok(())
    }
}

impl Message for ProduceResponse {}
