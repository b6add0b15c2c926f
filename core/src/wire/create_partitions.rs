//! CreatePartitions (37): KIP-195.

use alloc::string::String;
use alloc::vec::Vec;

use super::table::{Message, message};

message! {
    /// Asks for topics to get more partitions.
    CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic> [0..];
        timeout_ms: i32 [0..];
        validate_only: bool [0..];
    }

    /// A topic and how many partitions it is to have in all.
    CreatePartitionsTopic {
        name: String [0..];
        count: i32 [0..];
        assignments: Option<Vec<CreatePartitionsAssignment>> [0..] null [0..];
    }

    /// Where a new partition is to be placed.
    CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0..];
    }

    /// What became of the topics.
    CreatePartitionsResponse {
        throttle_time_ms: i32 [0..];
        results: Vec<CreatePartitionsTopicResult> [0..];
    }

    /// What became of one topic.
    CreatePartitionsTopicResult {
        name: String [0..];
        error_code: i16 [0..];
        error_message: Option<String> [0..] null [0..];
    }
}

impl Message for CreatePartitionsRequest {}
impl Message for CreatePartitionsResponse {}
