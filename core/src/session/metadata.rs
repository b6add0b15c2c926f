//! Answers that come from the metadata image alone: Metadata (KIP-516, KIP-526) and ApiVersions (KIP-35, KIP-511).

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::ids::{BrokerId, Offset, Uuid};
use crate::metadata::{Image, Partition, Topic, valid_topic_name};
use crate::wire::{
    ApiKey, ApiVersion, ApiVersionsRequest, ApiVersionsResponse, CreatableTopic, CreateTopicsRequest,
    FinalizedFeatureKey, MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic, SUPPORTED, SupportedFeatureKey, error,
};

/// All operations on a topic that exist, as bits (KIP-430): READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE,
/// DESCRIBE_CONFIGS, ALTER_CONFIGS.
pub(super) const TOPIC_OPERATIONS: i32 = 3576;
/// All operations on a cluster that exist, as bits (KIP-430).
pub(super) const CLUSTER_OPERATIONS: i32 = 8096;

/// The topics that a request wants and that must be created first; empty when it may be answered.
#[must_use]
pub fn to_create(image: &Image, request: &MetadataRequest) -> Vec<CreatableTopic> {
    if !request.allow_auto_topic_creation {
        return Vec::new();
    }
    let asked = request.topics.iter().flatten().filter(|t| t.topic_id == Uuid::ZERO);
    let mut missing: Vec<&str> = asked.filter_map(|t| t.name.as_deref()).filter(|n| image.topic(n).is_none()).collect();
    missing.retain(|name| valid_topic_name(name));
    missing.sort_unstable();
    missing.dedup();
    let topic = |name: &str| CreatableTopic {
        name: name.to_string(),
        num_partitions: -1,
        replication_factor: -1,
        ..CreatableTopic::default()
    };
    missing.into_iter().map(topic).collect()
}

/// The request that creates them.
#[must_use]
pub fn creation(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest { topics, ..CreateTopicsRequest::default() }
}

/// Answers a Metadata request.
#[must_use]
pub fn answer(image: &Image, request: &MetadataRequest, cluster_id: &str, me: BrokerId) -> MetadataResponse {
    let unfenced = image.brokers().filter(|(_, b)| !b.fenced);
    let operations = request.include_topic_authorized_operations;
    let topics = match &request.topics {
        None => image.topics().map(|(name, topic)| describe(image, name, topic, operations)).collect(),
        Some(asked) => {
            let by_id = asked.iter().any(|t| t.topic_id != Uuid::ZERO);
            let mut answers: Vec<MetadataResponseTopic> = Vec::new();
            let mut answered = BTreeSet::new();
            for topic in asked {
                // With one id given, names alone are not looked at.
                if by_id && topic.topic_id == Uuid::ZERO {
                    continue;
                }
                let answer = one(image, topic, request.ids_allowed, operations);
                if answered.insert((answer.name.clone(), answer.topic_id)) {
                    answers.push(answer);
                }
            }
            answers
        }
    };
    let mut response = MetadataResponse {
        brokers: unfenced
            .map(|(id, b)| MetadataResponseBroker {
                node_id: id.0,
                host: b.host.clone(),
                port: i32::from(b.port),
                rack: None,
            })
            .collect(),
        cluster_id: Some(cluster_id.to_string()),
        controller_id: me.0,
        topics,
        ..MetadataResponse::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

fn one(image: &Image, asked: &MetadataRequestTopic, ids_allowed: bool, operations: bool) -> MetadataResponseTopic {
    let refused = |error_code, name: Option<String>, topic_id| MetadataResponseTopic {
        error_code,
        name,
        topic_id,
        ..MetadataResponseTopic::default()
    };
    let by_id = asked.topic_id != Uuid::ZERO;
    if !ids_allowed && (by_id || asked.name.is_none()) {
        return refused(error::INVALID_REQUEST, asked.name.clone().or(Some(String::new())), asked.topic_id);
    }
    let name = if by_id { image.name(asked.topic_id) } else { asked.name.as_deref() };
    match name.and_then(|n| image.topic(n).map(|t| (n, t))) {
        Some((name, topic)) => describe(image, name, topic, operations),
        None if by_id => refused(error::UNKNOWN_TOPIC_ID, None, asked.topic_id),
        None => {
            let valid = asked.name.as_deref().is_some_and(valid_topic_name);
            let code = if valid { error::UNKNOWN_TOPIC_OR_PARTITION } else { error::INVALID_TOPIC_EXCEPTION };
            refused(code, asked.name.clone(), Uuid::ZERO)
        }
    }
}

/// Whether the brokers themselves keep something in the topic.
pub(super) fn is_internal(name: &str) -> bool {
    name == "__consumer_offsets" || name == "__transaction_state"
}

fn describe(image: &Image, name: &str, topic: &Topic, operations: bool) -> MetadataResponseTopic {
    let mut answer = MetadataResponseTopic {
        name: Some(name.to_string()),
        topic_id: topic.id,
        is_internal: is_internal(name),
        partitions: topic.partitions.iter().map(|(index, p)| partition(image, index, p)).collect(),
        ..MetadataResponseTopic::default()
    };
    if operations {
        answer.topic_authorized_operations = TOPIC_OPERATIONS;
    }
    answer
}

pub(super) fn partition(image: &Image, partition_index: i32, p: &Partition) -> MetadataResponsePartition {
    let down = |b: &BrokerId| image.broker(*b).is_none_or(|b| b.fenced);
    let ids = |list: &[BrokerId]| list.iter().map(|b| b.0).collect();
    MetadataResponsePartition {
        error_code: if p.leader.is_some() { error::NONE } else { error::LEADER_NOT_AVAILABLE },
        partition_index,
        leader_id: p.leader.map_or(-1, |b| b.0),
        leader_epoch: p.leader_epoch.0,
        replica_nodes: ids(&p.replicas),
        isr_nodes: ids(&p.isr),
        offline_replicas: p.replicas.iter().filter(|b| down(b)).map(|b| b.0).collect(),
    }
}

/// The level of `metadata.version` whose records are written and read: 4.3-IV0. Voters are fixed, so `kraft.version` is
/// 0, and a feature at level 0 is not finalised.
const METADATA_VERSION: i16 = 30;

/// Answers an ApiVersions request; the finalised features are those of the metadata up to an offset.
#[must_use]
pub fn api_versions(request: &ApiVersionsRequest, image: Offset) -> ApiVersionsResponse {
    let odd = |field: &Option<String>| field.as_deref().is_some_and(|text| !valid_software(text));
    if odd(&request.client_software_name) || odd(&request.client_software_version) {
        return ApiVersionsResponse { error_code: error::INVALID_REQUEST, ..ApiVersionsResponse::default() };
    }
    let api_keys = SUPPORTED.iter().map(|api| entry(api.key)).collect();
    let supported =
        |name: &str, min_version, max_version| SupportedFeatureKey { name: name.to_string(), min_version, max_version };
    ApiVersionsResponse {
        api_keys,
        supported_features: alloc::vec![
            supported("kraft.version", 0, 0),
            supported("metadata.version", METADATA_VERSION, METADATA_VERSION),
        ],
        finalized_features_epoch: image.0,
        finalized_features: alloc::vec![FinalizedFeatureKey {
            name: "metadata.version".to_string(),
            max_version_level: METADATA_VERSION,
            min_version_level: METADATA_VERSION,
        }],
        ..ApiVersionsResponse::default()
    }
}

/// Answers an ApiVersions request of a version to come.
#[must_use]
pub fn api_versions_unsupported() -> ApiVersionsResponse {
    let api_keys = alloc::vec![entry(ApiKey::ApiVersions)];
    ApiVersionsResponse { error_code: error::UNSUPPORTED_VERSION, api_keys, ..ApiVersionsResponse::default() }
}

fn entry(key: ApiKey) -> ApiVersion {
    let api = key.api();
    ApiVersion { api_key: key as i16, min_version: api.min, max_version: api.max }
}

/// KIP-511: letters and digits, with `-` and `.` inside.
fn valid_software(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}
