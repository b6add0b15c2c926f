//! DescribeTopicPartitions (75): KIP-966.

use alloc::string::String;
use alloc::vec::Vec;

use super::codec::Nullable;
use super::metadata::OPERATIONS_NOT_ASKED;
use super::table::{Message, message};
use crate::ids::Uuid;

message! {
    /// Asks for topics and their partitions, page by page; no topics are all.
    DescribeTopicPartitionsRequest {
        topics: Vec<TopicRequest> [0..];
        response_partition_limit: i32 [0..] = 2000;
        cursor: Nullable<Cursor> [0..];
    }

    /// A topic.
    TopicRequest {
        name: String [0..];
    }

    /// Where a page begins.
    Cursor {
        topic_name: String [0..];
        partition_index: i32 [0..];
    }

    /// A page.
    DescribeTopicPartitionsResponse {
        throttle_time_ms: i32 [0..];
        topics: Vec<DescribeTopicPartitionsResponseTopic> [0..];
        next_cursor: Nullable<Cursor> [0..];
    }

    /// A topic, or a part of it.
    DescribeTopicPartitionsResponseTopic {
        error_code: i16 [0..];
        name: Option<String> [0..] null [0..];
        topic_id: Uuid [0..];
        is_internal: bool [0..];
        partitions: Vec<DescribeTopicPartitionsResponsePartition> [0..];
        topic_authorized_operations: i32 [0..] = OPERATIONS_NOT_ASKED;
    }

    /// A partition.
    DescribeTopicPartitionsResponsePartition {
        error_code: i16 [0..];
        partition_index: i32 [0..];
        leader_id: i32 [0..];
        leader_epoch: i32 [0..] = -1;
        replica_nodes: Vec<i32> [0..];
        isr_nodes: Vec<i32> [0..];
        eligible_leader_replicas: Option<Vec<i32>> [0..] null [0..];
        last_known_elr: Option<Vec<i32>> [0..] null [0..];
        offline_replicas: Vec<i32> [0..];
    }
}

impl Message for DescribeTopicPartitionsRequest {}
impl Message for DescribeTopicPartitionsResponse {}
