//! DescribeCluster (60): KIP-700, KIP-919 (endpoint types), KIP-1073 (fenced brokers).

use alloc::string::String;
use alloc::vec::Vec;

use super::metadata::OPERATIONS_NOT_ASKED;
use super::table::{Message, message};

/// `EndpointType.BROKER`.
pub const BROKER_ENDPOINTS: i8 = 1;
/// `EndpointType.CONTROLLER`.
pub const CONTROLLER_ENDPOINTS: i8 = 2;

message! {
    /// Asks who is there.
    DescribeClusterRequest {
        include_cluster_authorized_operations: bool [0..];
        endpoint_type: i8 [1..] = BROKER_ENDPOINTS;
        include_fenced_brokers: bool [2..];
    }

    /// Who is there.
    DescribeClusterResponse {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<String> [0..] null [0..];
        endpoint_type: i8 [1..] = BROKER_ENDPOINTS;
        cluster_id: String [0..];
        controller_id: i32 [0..] = -1;
        brokers: Vec<DescribeClusterBroker> [0..];
        cluster_authorized_operations: i32 [0..] = OPERATIONS_NOT_ASKED;
    }

    /// A broker.
    DescribeClusterBroker {
        broker_id: i32 [0..];
        host: String [0..];
        port: i32 [0..];
        rack: Option<String> [0..] null [0..];
        is_fenced: bool [2..];
    }
}

impl Message for DescribeClusterRequest {}
impl Message for DescribeClusterResponse {}
