//! DeleteRecords (21): KIP-107.

use alloc::string::String;
use alloc::vec::Vec;

use super::table::{Message, message};

message! {
    /// Moves the starts of logs.
    DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic> [0..];
        timeout_ms: i32 [0..];
    }

    /// What is deleted of one topic.
    DeleteRecordsTopic {
        name: String [0..];
        partitions: Vec<DeleteRecordsPartition> [0..];
    }

    /// What is deleted of one partition: everything below an offset, or below the high watermark if that is -1.
    DeleteRecordsPartition {
        partition_index: i32 [0..];
        offset: i64 [0..];
    }

    /// Where the logs start now.
    DeleteRecordsResponse {
        throttle_time_ms: i32 [0..];
        topics: Vec<DeleteRecordsTopicResult> [0..];
    }

    /// Where the logs of one topic start now.
    DeleteRecordsTopicResult {
        name: String [0..];
        partitions: Vec<DeleteRecordsPartitionResult> [0..];
    }

    /// Where one log starts now.
    DeleteRecordsPartitionResult {
        partition_index: i32 [0..];
        low_watermark: i64 [0..];
        error_code: i16 [0..];
    }
}

impl Message for DeleteRecordsRequest {}

impl Message for DeleteRecordsResponse {}
