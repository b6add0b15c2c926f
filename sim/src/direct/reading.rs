//! Fetches of those who read everything back, by name.

use klamm_core::wire::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};

use crate::history::{Partition, name_of};

/// A request for whole batches of some partitions, each from an offset.
pub(super) fn fetch(parts: &[(&Partition, i64)], partition_max_bytes: i32) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for ((life, partition), fetch_offset) in parts {
        let (partition, fetch_offset) = (*partition, *fetch_offset);
        let asked = FetchPartition { partition, fetch_offset, partition_max_bytes, ..FetchPartition::default() };
        let name = name_of(life);
        match topics.last_mut().filter(|topic| topic.topic == name) {
            Some(topic) => topic.partitions.push(asked),
            None => {
                let (topic, partitions) = (name.to_owned(), vec![asked]);
                topics.push(FetchTopic { topic, partitions, ..FetchTopic::default() });
            }
        }
    }
    FetchRequest { topics, ..FetchRequest::default() }
}

/// The parts of an answer, in the request's order.
pub(super) fn fetched(response: &FetchResponse) -> impl Iterator<Item = &PartitionData> {
    response.responses.iter().flat_map(|t| &t.partitions)
}
