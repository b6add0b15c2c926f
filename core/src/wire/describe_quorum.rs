//! DescribeQuorum (55): KIP-595, KIP-836 (times), KIP-853 (directories and nodes).

use alloc::string::String;
use alloc::vec::Vec;

use super::table::{Message, message};
use crate::ids::Uuid;

message! {
    /// Asks for the state of the metadata quorum.
    DescribeQuorumRequest {
        topics: Vec<DescribeQuorumTopic> [0..];
    }

    /// Always `__cluster_metadata`.
    DescribeQuorumTopic {
        topic_name: String [0..];
        partitions: Vec<DescribeQuorumPartition> [0..];
    }

    /// Always 0.
    DescribeQuorumPartition {
        partition_index: i32 [0..];
    }

    /// The state of the metadata quorum.
    DescribeQuorumResponse {
        error_code: i16 [0..];
        error_message: Option<String> [2..] null [2..];
        topics: Vec<DescribeQuorumTopicResponse> [0..];
        nodes: Vec<DescribeQuorumNode> [2..];
    }

    /// As asked.
    DescribeQuorumTopicResponse {
        topic_name: String [0..];
        partitions: Vec<DescribeQuorumPartitionResponse> [0..];
    }

    /// Who leads, who votes, who only copies.
    DescribeQuorumPartitionResponse {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<String> [2..] null [2..];
        leader_id: i32 [0..];
        leader_epoch: i32 [0..];
        high_watermark: i64 [0..];
        current_voters: Vec<QuorumReplicaState> [0..];
        observers: Vec<QuorumReplicaState> [0..];
    }

    /// How far a replica is.
    QuorumReplicaState {
        replica_id: i32 [0..];
        replica_directory_id: Uuid [2..];
        log_end_offset: i64 [0..];
        last_fetch_timestamp: i64 [1..] = -1;
        last_caught_up_timestamp: i64 [1..] = -1;
    }

    /// Where a voter listens.
    DescribeQuorumNode {
        node_id: i32 [2..];
        listeners: Vec<QuorumListener> [2..];
    }

    /// A listener.
    QuorumListener {
        name: String [2..];
        host: String [2..];
        port: u16 [2..];
    }
}

impl Message for DescribeQuorumRequest {}
impl Message for DescribeQuorumResponse {}
