//! DeleteTopics: by name or by id, never both (KIP-516). One record a topic; its partitions and configs go with it.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Refused;
use crate::ids::Uuid;
use crate::metadata::Image;
use crate::wire::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse, MetadataRecord,
    RemoveTopicRecord, Response, error,
};

/// Decides on a request.
pub(super) fn delete(image: &Image, request: &DeleteTopicsRequest) -> (Vec<MetadataRecord>, Response) {
    let named: Vec<Result<(&str, Uuid), Refused>> = request.topics.iter().map(|t| find(image, t)).collect();
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<Uuid> = named.iter().flatten().map(|(_, id)| *id).filter(|id| !seen.insert(*id)).collect();
    let mut told = BTreeSet::new();
    let mut records = Vec::new();
    let mut response = DeleteTopicsResponse::default();
    for (topic, found) in request.topics.iter().zip(named) {
        let result = match found {
            Ok((name, id)) if twice.contains(&id) => {
                if told.insert(id) {
                    response.responses.push(repeated(image, request, topic, name, id));
                }
                continue;
            }
            Ok((name, topic_id)) => {
                records.push(MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id }));
                DeletableTopicResult { name: Some(name.to_string()), topic_id, ..DeletableTopicResult::default() }
            }
            Err((error_code, why)) => refused(topic, error_code, why),
        };
        response.responses.push(result);
    }
    (records, response.into())
}

/// Which topic is meant.
fn find<'a>(image: &'a Image, topic: &'a DeleteTopicState) -> Result<(&'a str, Uuid), Refused> {
    match (&topic.name, topic.topic_id) {
        (Some(name), Uuid::ZERO) => match image.topic(name) {
            Some(known) => Ok((name, known.id)),
            None => Err((error::UNKNOWN_TOPIC_OR_PARTITION, format!("There is no topic '{name}'."))),
        },
        (None, Uuid::ZERO) => Err((error::INVALID_REQUEST, "A topic has neither name nor id.".to_string())),
        (None, id) => match image.name(id) {
            Some(name) => Ok((name, id)),
            None => Err((error::UNKNOWN_TOPIC_ID, format!("There is no topic with id {id}."))),
        },
        (Some(_), _) => Err((error::INVALID_REQUEST, "A topic has a name and an id: one is enough.".to_string())),
    }
}

/// The one answer for a topic that is named more than once: as it was named, or by both when that was not always the same.
fn repeated(
    image: &Image,
    request: &DeleteTopicsRequest,
    first: &DeleteTopicState,
    name: &str,
    id: Uuid,
) -> DeletableTopicResult {
    let mut all = request.topics.iter().filter(|t| find(image, t).is_ok_and(|(_, other)| other == id));
    let why = "The topic is named more than once in the request.".to_string();
    let alike = all.all(|t| t == first);
    let answer = refused(first, error::INVALID_REQUEST, why);
    if alike { answer } else { DeletableTopicResult { name: Some(name.to_string()), topic_id: id, ..answer } }
}

fn refused(topic: &DeleteTopicState, error_code: i16, why: String) -> DeletableTopicResult {
    DeletableTopicResult { name: topic.name.clone(), topic_id: topic.topic_id, error_code, error_message: Some(why) }
}
