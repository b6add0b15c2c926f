//! CreateTopics: every check that Kafka makes, then topic, config and partition records.
//!
//! A refusal of one topic leaves the others alone and writes nothing for it; `validate_only` writes nothing at all.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Refused;
use super::placement::{self, MAX_PARTITIONS, too_many};
use crate::ids::{BrokerId, Uuid};
use crate::machine::Cx;
use crate::metadata::configs::{Configs, Definition, Layers, check_topic, topics};
use crate::metadata::{Image, TOPIC_RESOURCE, valid_topic_name};
use crate::wire::{
    ConfigRecord, CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse, MetadataRecord, Response, TopicRecord, error,
};

/// Decides on a request.
pub(super) fn create(image: &Image, cx: &mut Cx<'_>, request: &CreateTopicsRequest) -> (Vec<MetadataRecord>, Response) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(&topic.name).or_default() += 1;
    }
    let mut names: BTreeMap<String, &str> = image.topics().map(|(name, _)| (collision_key(name), name)).collect();
    let mut records = Vec::new();
    let mut response = CreateTopicsResponse::default();
    let mut partitions_left = MAX_PARTITIONS;
    for topic in &request.topics {
        let twice = match times.get_mut(topic.name.as_str()) {
            // Answered the first time.
            Some(0) => continue,
            Some(n) => core::mem::take(n) > 1,
            None => false,
        };
        let outcome = if twice {
            Err((error::INVALID_REQUEST, "The topic is named more than once in the request.".to_string()))
        } else {
            check_name(image, &names, &topic.name).and_then(|()| plan(image, cx, topic, &mut partitions_left))
        };
        response.topics.push(result(image, cx, topic, outcome, request.validate_only, &mut records));
        names.entry(collision_key(&topic.name)).or_insert(&topic.name);
    }
    (records, response.into())
}

/// Names differ from all others even where `.` and `_` are one (metric names).
fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

fn check_name(image: &Image, names: &BTreeMap<String, &str>, name: &str) -> Result<(), Refused> {
    if !valid_topic_name(name) {
        let why = "A topic name is 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', and neither '.' nor '..'.";
        return Err((error::INVALID_TOPIC_EXCEPTION, why.to_string()));
    }
    if name == "__cluster_metadata" {
        return Err((error::INVALID_REQUEST, "__cluster_metadata is the cluster's own.".to_string()));
    }
    if image.topic(name).is_some() {
        return Err((error::TOPIC_ALREADY_EXISTS, format!("Topic '{name}' already exists.")));
    }
    match names.get(&collision_key(name)) {
        Some(other) => Err((
            error::INVALID_TOPIC_EXCEPTION,
            format!("Topic '{name}' collides with '{other}': '.' and '_' count as one."),
        )),
        None => Ok(()),
    }
}

/// The replicas of each partition.
fn plan(
    image: &Image,
    cx: &Cx<'_>,
    topic: &CreatableTopic,
    partitions_left: &mut usize,
) -> Result<Vec<Vec<BrokerId>>, Refused> {
    for config in &topic.configs {
        check_topic(&config.name, config.value.as_deref()).map_err(|e| (error::INVALID_CONFIG, e.0))?;
    }
    let assignment = if topic.assignments.is_empty() { spread(image, cx, topic)? } else { assigned(image, topic)? };
    if assignment.len() > *partitions_left {
        return Err(too_many());
    }
    *partitions_left -= assignment.len();
    Ok(assignment)
}

/// By count and factor, the broker's where the request has none.
fn spread(image: &Image, cx: &Cx<'_>, topic: &CreatableTopic) -> Result<Vec<Vec<BrokerId>>, Refused> {
    let defaults = Layers::of_file(cx.file);
    let count = if topic.num_partitions == -1 { defaults.num_partitions() } else { topic.num_partitions };
    let factor = match topic.replication_factor {
        -1 => defaults.default_replication_factor(),
        factor => factor,
    };
    let count = match usize::try_from(count) {
        Ok(n) if n > 0 => n,
        _ => return Err((error::INVALID_PARTITIONS, "The number of partitions must be above 0.".to_string())),
    };
    if count > MAX_PARTITIONS {
        return Err(too_many());
    }
    placement::spread(image, 0..count, i64::from(factor))
}

/// By hand: partitions 0 to n-1.
fn assigned(image: &Image, topic: &CreatableTopic) -> Result<Vec<Vec<BrokerId>>, Refused> {
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        let why = "With an assignment, partition count and replication factor are -1.";
        return Err((error::INVALID_REQUEST, why.to_string()));
    }
    let mut by_index = BTreeMap::new();
    for a in &topic.assignments {
        if by_index.insert(a.partition_index, placement::assigned(image, &a.broker_ids)?).is_some() {
            return Err((error::INVALID_REPLICA_ASSIGNMENT, "A partition is assigned twice.".to_string()));
        }
    }
    if !by_index.keys().copied().eq(0..by_index.len() as i32) {
        let why = "Partitions are numbered from 0 without gaps.";
        return Err((error::INVALID_REPLICA_ASSIGNMENT, why.to_string()));
    }
    let replicas: Vec<Vec<BrokerId>> = by_index.into_values().collect();
    if replicas.windows(2).any(|pair| pair[0].len() != pair[1].len()) {
        let why = "Every partition of a topic has as many replicas.";
        return Err((error::INVALID_REPLICA_ASSIGNMENT, why.to_string()));
    }
    Ok(replicas)
}

/// The answer for one topic; appends its records unless they are only to be checked.
fn result(
    image: &Image,
    cx: &mut Cx<'_>,
    topic: &CreatableTopic,
    outcome: Result<Vec<Vec<BrokerId>>, Refused>,
    validate_only: bool,
    records: &mut Vec<MetadataRecord>,
) -> CreatableTopicResult {
    let assignment = match outcome {
        Ok(assignment) => assignment,
        Err((error_code, why)) => {
            return CreatableTopicResult {
                name: topic.name.clone(),
                error_code,
                error_message: Some(why),
                configs: Some(Vec::new()),
                ..CreatableTopicResult::default()
            };
        }
    };
    // Never ZERO: that means "no id".
    let topic_id = Uuid::from_halves(cx.rng.draw() | 1, cx.rng.draw());
    let answer = CreatableTopicResult {
        name: topic.name.clone(),
        topic_id,
        num_partitions: assignment.len() as i32,
        replication_factor: assignment.first().map_or(-1, |r| r.len() as i16),
        configs: Some(config_answers(image, cx, topic)),
        ..CreatableTopicResult::default()
    };
    if !validate_only {
        write(image, topic, topic_id, &assignment, records);
    }
    answer
}

/// Every config that the topic has from now on, and where from (KIP-525).
fn config_answers(image: &Image, cx: &Cx<'_>, topic: &CreatableTopic) -> Vec<CreatableTopicConfigs> {
    let own: Configs = topic.configs.iter().filter_map(|c| Some((c.name.clone(), c.value.clone()?))).collect();
    let layers = Layers { topic: Some(&own), ..image.layers(None, cx.broker, cx.file) };
    let answer = |definition: &'static Definition| CreatableTopicConfigs {
        name: definition.name.to_string(),
        value: Some(layers.value(definition).into_owned()),
        read_only: false,
        config_source: layers.source(definition) as i8,
        is_sensitive: false,
    };
    topics().map(answer).collect()
}

fn write(
    image: &Image,
    topic: &CreatableTopic,
    topic_id: Uuid,
    assignment: &[Vec<BrokerId>],
    records: &mut Vec<MetadataRecord>,
) {
    records.push(MetadataRecord::Topic(TopicRecord { name: topic.name.clone(), topic_id }));
    for config in &topic.configs {
        records.push(MetadataRecord::Config(ConfigRecord {
            resource_type: TOPIC_RESOURCE,
            resource_name: topic.name.clone(),
            name: config.name.clone(),
            value: config.value.clone(),
        }));
    }
    let partitions = (0..).zip(assignment);
    records.extend(partitions.map(|(index, replicas)| placement::partition(image, topic_id, index, replicas)));
}
