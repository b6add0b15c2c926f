//! Fetch (1): KIP-227 (sessions), KIP-320 (epochs), KIP-595 (divergence), KIP-516 (topic ids from version 13).

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::Hole;
use super::codec::{Field, Form, Malformed, Reader, Writer};
use super::common::{LeaderIdAndEpoch, NodeEndpoint};
use super::schema::Type;
use super::table::{Message, message};
use crate::ids::Uuid;

message! {
    /// Asks for batches.
    FetchRequest {
        cluster_id: Option<String> [12..] null [12..] tag 0;
        replica_id: i32 [0..=14] = -1;
        replica_state: ReplicaState [15..] tag 1;
        max_wait_ms: i32 [0..];
        min_bytes: i32 [0..];
        max_bytes: i32 [3..] = i32::MAX;
        isolation_level: i8 [4..];
        session_id: i32 [7..];
        session_epoch: i32 [7..] = -1;
        topics: Vec<FetchTopic> [0..];
        forgotten_topics_data: Vec<ForgottenTopic> [7..];
        rack_id: String [11..];
    } + {
        /// Topics are named by their ids, not their names.
        topic_ids: bool = false;
    }

    /// The follower that asks. Its `replica_id` is the request's own field in every version: set and read that one.
    ReplicaState {
        replica_id: i32 [15..] = -1;
        replica_epoch: i64 [15..] = -1;
    }

    /// What is asked of one topic.
    FetchTopic {
        topic: String [0..=12];
        topic_id: Uuid [13..];
        partitions: Vec<FetchPartition> [0..];
    }

    /// What is asked of one partition.
    FetchPartition {
        partition: i32 [0..];
        current_leader_epoch: i32 [9..] = -1;
        fetch_offset: i64 [0..];
        last_fetched_epoch: i32 [12..] = -1;
        log_start_offset: i64 [5..] = -1;
        partition_max_bytes: i32 [0..];
        replica_directory_id: Uuid [17..] tag 0;
        high_watermark: i64 [18..] tag 1 = i64::MAX;
    }

    /// What leaves a session.
    ForgottenTopic {
        topic: String [7..=12];
        topic_id: Uuid [13..];
        partitions: Vec<i32> [7..];
    }

    /// Batches.
    FetchResponse {
        throttle_time_ms: i32 [1..];
        error_code: i16 [7..];
        session_id: i32 [7..];
        responses: Vec<FetchableTopicResponse> [0..];
        node_endpoints: Vec<NodeEndpoint> [16..] tag 0;
    }

    /// Batches of one topic.
    FetchableTopicResponse {
        topic: String [0..=12];
        topic_id: Uuid [13..];
        partitions: Vec<PartitionData> [0..];
    }

    /// Batches of one partition.
    PartitionData {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        high_watermark: i64 [0..];
        last_stable_offset: i64 [4..] = -1;
        log_start_offset: i64 [5..] = -1;
        diverging_epoch: EpochEndOffset [12..] tag 0;
        current_leader: LeaderIdAndEpoch [12..] tag 1;
        snapshot_id: SnapshotId [12..] tag 2;
        aborted_transactions: Option<Vec<AbortedTransaction>> [4..] null [4..];
        preferred_read_replica: i32 [11..] = -1;
        records: Records [0..] null [0..];
    }

    /// Where the asker's log diverges (KIP-595).
    EpochEndOffset {
        epoch: i32 [12..] = -1;
        end_offset: i64 [12..] = -1;
    }

    /// The snapshot to fetch in place of records (KIP-630).
    SnapshotId {
        end_offset: i64 [0..] = -1;
        epoch: i32 [0..] = -1;
    }

    /// A transaction whose records a reader of committed ones must skip.
    AbortedTransaction {
        producer_id: i64 [4..];
        first_offset: i64 [4..];
    }
}

/// The record batches of one partition in a fetch answer. Null, which other brokers send, reads as no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// These bytes.
    Bytes(Bytes),
    /// The reply's byte range of this index, whose length is known only when the answer is written.
    Range(u32),
}

impl Default for Records {
    fn default() -> Records {
        Records::Bytes(Bytes::new())
    }
}

impl Field for Records {
    const TYPE: Type = Type::Records;
    const LEAST: usize = 1;
    fn decode(r: &mut Reader, form: Form) -> Result<Self, Malformed> {
        Ok(Records::Bytes(Option::<Bytes>::decode(r, form)?.unwrap_or_default()))
    }
    fn encode(&self, w: &mut Writer, form: Form) {
        match self {
            Records::Bytes(bytes) => bytes.encode(w, form),
            Records::Range(range) => {
                let len = w.lengths[*range as usize];
                w.length(Some(len as usize), form, true);
                w.holes.push(Hole { at: w.out.len(), range: *range });
            }
        }
    }
}

impl Message for FetchRequest {
    fn normalise(&mut self, version: i16) -> Result<(), Malformed> {
        self.topic_ids = version >= 13;
        if version >= 15 {
            self.replica_id = self.replica_state.replica_id;
        } else {
            self.replica_state.replica_id = self.replica_id;
        }
        Ok(())
    }

    fn in_terms_of(&self, version: i16) -> Cow<'_, Self> {
        if version < 15 || self.replica_state.replica_id == self.replica_id {
            return Cow::Borrowed(self);
        }
        let mut message = self.clone();
        message.replica_state.replica_id = self.replica_id;
        Cow::Owned(message)
    }
}

impl Message for FetchResponse {}

impl FetchResponse {
    /// The bytes of a range cannot be had: its partition is answered with an error in place of anything else.
    pub fn refuse_range(&mut self, range: u32, code: i16) {
        let partitions = self.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
        for part in partitions.filter(|part| part.records == Records::Range(range)) {
            let partition_index = part.partition_index;
            *part = PartitionData { partition_index, error_code: code, high_watermark: -1, ..PartitionData::default() };
        }
    }
}
