//! DescribeQuorum (KIP-595, KIP-836, KIP-853): what the quorum's leader knows of its voters.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Quorum, Role};
use crate::ids::{Offset, Timestamp, Uuid};
use crate::wire::{
    DescribeQuorumPartitionResponse, DescribeQuorumRequest, DescribeQuorumResponse, DescribeQuorumTopicResponse,
    QuorumReplicaState, error,
};

/// What the leader knows besides its role.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Its own clock.
    pub now: Timestamp,
    /// Its directory.
    pub directory: Uuid,
    /// Everything below is committed.
    pub high_watermark: Offset,
    /// Its log's end.
    pub log_end_offset: Offset,
}

/// Answers a DescribeQuorum request; the nodes are left to whoever knows where they listen.
#[must_use]
pub fn describe(
    quorum: Option<&Quorum>,
    request: &DescribeQuorumRequest,
    standing: Standing,
) -> DescribeQuorumResponse {
    let Some((quorum, Role::Leader { flushed, .. })) = quorum.map(|q| (q, &q.role)) else {
        let why = Some("This voter does not lead the quorum.".to_string());
        let error_code = error::NOT_LEADER_OR_FOLLOWER;
        return DescribeQuorumResponse { error_code, error_message: why, ..DescribeQuorumResponse::default() };
    };
    let voter = |id: crate::ids::BrokerId| {
        let own = id == quorum.me;
        let at = if own { standing.now.0 } else { -1 };
        let end = if own { standing.log_end_offset } else { flushed.get(&id).copied().unwrap_or(Offset(-1)) };
        QuorumReplicaState {
            replica_id: id.0,
            replica_directory_id: if own { standing.directory } else { Uuid::ZERO },
            log_end_offset: end.0,
            last_fetch_timestamp: at,
            last_caught_up_timestamp: at,
        }
    };
    let partition = |topic: &str, partition_index: i32| {
        if topic != "__cluster_metadata" || partition_index != 0 {
            return DescribeQuorumPartitionResponse {
                partition_index,
                error_code: error::UNKNOWN_TOPIC_OR_PARTITION,
                error_message: Some(String::from("The quorum's log is partition 0 of __cluster_metadata.")),
                ..DescribeQuorumPartitionResponse::default()
            };
        }
        DescribeQuorumPartitionResponse {
            leader_id: quorum.me.0,
            leader_epoch: quorum.epoch().0,
            high_watermark: standing.high_watermark.0,
            current_voters: quorum.voters.iter().copied().map(voter).collect(),
            ..DescribeQuorumPartitionResponse::default()
        }
    };
    let topics = request.topics.iter().map(|t| {
        let partitions: Vec<_> = t.partitions.iter().map(|p| partition(&t.topic_name, p.partition_index)).collect();
        DescribeQuorumTopicResponse { topic_name: t.topic_name.clone(), partitions }
    });
    DescribeQuorumResponse { topics: topics.collect(), ..DescribeQuorumResponse::default() }
}
