//! CreatePartitions (KIP-195): a topic gets as many as asked, or none.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::Refused;
use super::placement::{self, MAX_PARTITIONS, too_many};
use crate::ids::BrokerId;
use crate::metadata::{Image, Topic};
use crate::wire::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
    MetadataRecord, Response, error,
};

/// Decides on a request.
pub(super) fn create(image: &Image, request: &CreatePartitionsRequest) -> (Vec<MetadataRecord>, Response) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(&topic.name).or_default() += 1;
    }
    let mut records = Vec::new();
    let mut response = CreatePartitionsResponse::default();
    let mut left = MAX_PARTITIONS;
    for topic in &request.topics {
        let twice = match times.get_mut(topic.name.as_str()) {
            // Answered the first time.
            Some(0) => continue,
            Some(n) => core::mem::take(n) > 1,
            None => false,
        };
        let planned = match image.topic(&topic.name) {
            _ if twice => {
                Err((error::INVALID_REQUEST, "The topic is named more than once in the request.".to_string()))
            }
            Some(known) => plan(image, known, topic, &mut left).map(|added| (known, added)),
            None => Err((error::UNKNOWN_TOPIC_OR_PARTITION, format!("There is no topic '{}'.", topic.name))),
        };
        let mut result = CreatePartitionsTopicResult { name: topic.name.clone(), ..Default::default() };
        match planned {
            Ok((known, added)) if !request.validate_only => {
                let partitions = (known.partitions.len() as i32..).zip(&added);
                records
                    .extend(partitions.map(|(index, brokers)| placement::partition(image, known.id, index, brokers)));
            }
            Ok(_) => {}
            Err((code, why)) => (result.error_code, result.error_message) = (code, Some(why)),
        }
        response.results.push(result);
    }
    (records, response.into())
}

/// The replicas of each new partition.
fn plan(
    image: &Image,
    known: &Topic,
    asked: &CreatePartitionsTopic,
    left: &mut usize,
) -> Result<Vec<Vec<BrokerId>>, Refused> {
    let has = known.partitions.len();
    let count = usize::try_from(asked.count).ok().filter(|count| *count > has).ok_or_else(|| {
        let why = format!("The topic has {has} partitions, and {} are not more.", asked.count);
        (error::INVALID_PARTITIONS, why)
    })?;
    if count - has > *left {
        return Err(too_many());
    }
    let factor = known.partitions.iter().next().map_or(1, |(_, p)| p.replicas.len());
    let added = match &asked.assignments {
        None => placement::spread(image, has..count, factor as i64)?,
        Some(by_hand) => {
            let bad = |why| Err((error::INVALID_REPLICA_ASSIGNMENT, why));
            if by_hand.len() != count - has {
                return bad(format!("{} new partitions and {} assignments.", count - has, by_hand.len()));
            }
            let added: Vec<Vec<BrokerId>> =
                by_hand.iter().map(|a| placement::assigned(image, &a.broker_ids)).collect::<Result<_, _>>()?;
            if added.iter().any(|brokers| brokers.len() != factor) {
                return bad(format!("The topic's replication factor is {factor}, that of an assignment is not."));
            }
            added
        }
    };
    *left -= added.len();
    Ok(added)
}
