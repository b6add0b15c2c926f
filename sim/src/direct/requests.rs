//! What clients of this engine say in the same words: batches and produces of those who look after a run rather than load
//! it, which partitions there are, and after which errors another attempt may succeed.

use bytes::Bytes;
use klamm_core::ids::Timestamp;
use klamm_core::record::Builder;
use klamm_core::wire::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData, error};

use super::broker::{EPOCH_MS, checksum};
use super::client::Cx;
use super::params::{MS, Params};
use crate::history::{Partition, Sent, name_of};

/// A batch of one value.
pub(super) fn batch(value: u64, cx: &Cx<'_>) -> Bytes {
    let mut builder = Builder::new();
    builder.push(cx.wall, None, Some(&value.to_be_bytes()));
    builder.build(checksum)
}

/// What is known of a batch that is sent now: whoever stamps it, its time is the true one or later.
pub(super) fn sent(bytes: &Bytes, now: u64, stamp: Timestamp) -> Sent {
    Sent { bytes: bytes.len() as u32, time: EPOCH_MS + (now / MS) as i64, stamp: stamp.0 }
}

/// A request to append batches, one a partition.
pub(super) fn produce(timeout_ms: i32, parts: Vec<(&Partition, Bytes)>) -> ProduceRequest {
    let mut topic_data: Vec<TopicProduceData> = Vec::new();
    for ((name, index), records) in parts {
        let data = PartitionProduceData { index: *index, records: Some(records) };
        match topic_data.last_mut().filter(|t| t.name == name_of(name)) {
            Some(topic) => topic.partition_data.push(data),
            None => topic_data.push(TopicProduceData {
                name: name_of(name).to_owned(),
                partition_data: vec![data],
                ..TopicProduceData::default()
            }),
        }
    }
    ProduceRequest { acks: -1, timeout_ms, topic_data, ..ProduceRequest::default() }
}

/// What became of each batch: error code and base offset.
pub(super) fn outcomes(response: &ProduceResponse) -> impl Iterator<Item = (i16, i64)> {
    response.responses.iter().flat_map(|t| &t.partition_responses).map(|p| (p.error_code, p.base_offset))
}

/// Every partition of the workload.
pub(super) fn partitions(params: &Params) -> Vec<Partition> {
    params.topics.iter().flat_map(|t| (0..t.partitions).map(|p| (t.name.clone(), p))).collect()
}

/// Whether an error says that another attempt may succeed. Here no leader ever moves: the one broker serves only once
/// it leads everything, and what it does not know yet it waits for. But where a crash came before the metadata said where
/// a log lies, what is in it is not committed before that is said: until then its end is not told (KIP-207).
pub(super) fn retriable(code: i16) -> bool {
    matches!(
        code,
        error::UNKNOWN_TOPIC_OR_PARTITION
            | error::UNKNOWN_TOPIC_ID
            | error::REQUEST_TIMED_OUT
            | error::KAFKA_STORAGE_ERROR
            | error::COORDINATOR_LOAD_IN_PROGRESS
            | error::NOT_CONTROLLER
            | error::OFFSET_NOT_AVAILABLE
    )
}
