//! DescribeProducers (61): KIP-664.

use alloc::string::String;
use alloc::vec::Vec;

use super::table::{Message, message};

message! {
    /// Asks which producers logs know.
    DescribeProducersRequest {
        topics: Vec<DescribeProducersTopic> [0..];
    }

    /// Partitions of one topic.
    DescribeProducersTopic {
        name: String [0..];
        partition_indexes: Vec<i32> [0..];
    }

    /// Producers.
    DescribeProducersResponse {
        throttle_time_ms: i32 [0..];
        topics: Vec<DescribeProducersTopicResult> [0..];
    }

    /// Producers of one topic.
    DescribeProducersTopicResult {
        name: String [0..];
        partitions: Vec<DescribeProducersPartition> [0..];
    }

    /// Producers of one partition.
    DescribeProducersPartition {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<String> [0..] null [0..];
        active_producers: Vec<ProducerState> [0..];
    }

    /// One producer.
    ProducerState {
        producer_id: i64 [0..];
        producer_epoch: i32 [0..];
        last_sequence: i32 [0..] = -1;
        last_timestamp: i64 [0..] = -1;
        coordinator_epoch: i32 [0..];
        current_txn_start_offset: i64 [0..] = -1;
    }
}

impl Message for DescribeProducersRequest {}

impl Message for DescribeProducersResponse {}
