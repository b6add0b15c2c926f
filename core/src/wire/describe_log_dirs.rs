//! DescribeLogDirs (35): KIP-113, KIP-827 (the volume's size), KIP-1066 (cordoned directories).

use alloc::string::String;
use alloc::vec::Vec;

use super::table::{Message, message};

message! {
    /// Asks how large logs are.
    DescribeLogDirsRequest {
        topics: Option<Vec<DescribableLogDirTopic>> [0..] null [0..];
    }

    /// Partitions of one topic.
    DescribableLogDirTopic {
        topic: String [0..];
        partitions: Vec<i32> [0..];
    }

    /// How large logs are, by directory.
    DescribeLogDirsResponse {
        throttle_time_ms: i32 [0..];
        error_code: i16 [3..];
        results: Vec<DescribeLogDirsResult> [0..];
    }

    /// One directory.
    DescribeLogDirsResult {
        error_code: i16 [0..];
        log_dir: String [0..];
        topics: Vec<DescribeLogDirsTopic> [0..];
        total_bytes: i64 [4..] = -1;
        usable_bytes: i64 [4..] = -1;
        is_cordoned: bool [5..];
    }

    /// Logs of one topic.
    DescribeLogDirsTopic {
        name: String [0..];
        partitions: Vec<DescribeLogDirsPartition> [0..];
    }

    /// One log.
    DescribeLogDirsPartition {
        partition_index: i32 [0..];
        partition_size: i64 [0..];
        offset_lag: i64 [0..];
        is_future_key: bool [0..];
    }
}

impl Message for DescribeLogDirsRequest {}

impl Message for DescribeLogDirsResponse {}
