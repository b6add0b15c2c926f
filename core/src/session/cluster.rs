//! DescribeCluster (KIP-700, KIP-919, KIP-1073) and DescribeTopicPartitions (KIP-966): answered from the image.

use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::metadata::{CLUSTER_OPERATIONS, TOPIC_OPERATIONS, is_internal, partition};
use crate::ids::BrokerId;
use crate::metadata::{Image, Partition, Topic, valid_topic_name};
use crate::wire::{
    BROKER_ENDPOINTS, CONTROLLER_ENDPOINTS, Cursor, DescribeClusterBroker, DescribeClusterRequest,
    DescribeClusterResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, Nullable, error,
};

/// The most partitions of one page, as in Kafka (`max.request.partition.size.limit`).
const MAX_PAGE: i32 = 2_000;

/// Answers a DescribeCluster request.
#[must_use]
pub fn describe(
    image: &Image,
    request: &DescribeClusterRequest,
    cluster_id: &str,
    me: BrokerId,
) -> DescribeClusterResponse {
    let mut response = DescribeClusterResponse::default();
    let refusal = match request.endpoint_type {
        BROKER_ENDPOINTS => None,
        CONTROLLER_ENDPOINTS => {
            Some((error::MISMATCHED_ENDPOINT_TYPE, "This is a broker's endpoint, not a controller's."))
        }
        _ => Some((error::UNSUPPORTED_ENDPOINT_TYPE, "There is no such type of endpoint.")),
    };
    if let Some((code, why)) = refusal {
        (response.error_code, response.error_message) = (code, Some(why.to_string()));
        return response;
    }
    let told = image.brokers().filter(|(_, b)| !b.fenced || request.include_fenced_brokers);
    let brokers = told.map(|(id, b)| DescribeClusterBroker {
        broker_id: id.0,
        host: b.host.clone(),
        port: i32::from(b.port),
        rack: None,
        is_fenced: b.fenced,
    });
    response.brokers = brokers.collect();
    response.cluster_id = cluster_id.to_string();
    response.controller_id = me.0;
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

/// Answers a DescribeTopicPartitions request: topics by name, from the cursor on, as many partitions as a page holds. A
/// cursor names one of the topics that are asked for.
#[must_use]
pub fn partitions(image: &Image, request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let (first, index) = match &request.cursor.0 {
        Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index),
        None => ("", 0),
    };
    let named = request.topics.is_empty() || first.is_empty() || request.topics.iter().any(|t| t.name == first);
    if !named || index < 0 {
        let topics = request.topics.iter().map(|t| refused(&t.name, error::INVALID_REQUEST)).collect();
        return DescribeTopicPartitionsResponse { topics, ..DescribeTopicPartitionsResponse::default() };
    }
    let names: BTreeSet<&str> = if request.topics.is_empty() {
        image.topics().map(|(name, _)| name).collect()
    } else {
        request.topics.iter().map(|t| t.name.as_str()).collect()
    };
    let mut left = request.response_partition_limit.clamp(1, MAX_PAGE) as usize;
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.into_iter().filter(|name| *name >= first) {
        let from = if name == first { index } else { 0 };
        if left == 0 {
            response.next_cursor = cursor(name, from);
            break;
        }
        let Some(topic) = image.topic(name) else {
            response.topics.push(unknown(name));
            continue;
        };
        let mut rest = topic.partitions.from(from);
        let page: Vec<(i32, &Partition)> = rest.by_ref().take(left).collect();
        left -= page.len();
        response.topics.push(known(image, name, topic, &page));
        if let Some((next, _)) = rest.next() {
            response.next_cursor = cursor(name, next);
            break;
        }
    }
    response
}

fn cursor(topic_name: &str, partition_index: i32) -> Nullable<Cursor> {
    Nullable(Some(Cursor { topic_name: topic_name.to_string(), partition_index }))
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let valid = valid_topic_name(name);
    let code = if valid { error::UNKNOWN_TOPIC_OR_PARTITION } else { error::INVALID_TOPIC_EXCEPTION };
    DescribeTopicPartitionsResponseTopic { topic_authorized_operations: TOPIC_OPERATIONS, ..refused(name, code) }
}

fn refused(name: &str, error_code: i16) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code,
        name: Some(name.to_string()),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn known(image: &Image, name: &str, topic: &Topic, page: &[(i32, &Partition)]) -> DescribeTopicPartitionsResponseTopic {
    let partitions = page.iter().map(|(index, p)| {
        let p = partition(image, *index, p);
        DescribeTopicPartitionsResponsePartition {
            error_code: p.error_code,
            partition_index: p.partition_index,
            leader_id: p.leader_id,
            leader_epoch: p.leader_epoch,
            replica_nodes: p.replica_nodes,
            isr_nodes: p.isr_nodes,
            eligible_leader_replicas: Some(vec![]),
            last_known_elr: Some(vec![]),
            offline_replicas: p.offline_replicas,
        }
    });
    DescribeTopicPartitionsResponseTopic {
        error_code: error::NONE,
        name: Some(name.to_string()),
        topic_id: topic.id,
        is_internal: is_internal(name),
        partitions: partitions.collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
    }
}
