//! Requests about logs themselves: delete-records (KIP-107), epoch ends (KIP-101, KIP-320), log directories (KIP-113)
//! and producers (KIP-664). Taken apart by log, put together in the request's order.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use super::gather::{Parts, Place, find};
use crate::effect::{Answer, DeletePart, DescribePart, Description, EpochPart, Room};
use crate::ids::{BrokerId, LeaderEpoch, LogId, Offset};
use crate::metadata::Image;
use crate::wire::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic, DescribeProducersPartition, DescribeProducersRequest, DescribeProducersResponse,
    DescribeProducersTopicResult, EpochEnd, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult, Response, TopicRef, error,
};

/// An answer in the making.
#[derive(Debug)]
pub enum LogsAnswer {
    /// To delete-records.
    Deleted(DeleteRecordsResponse),
    /// To offset-for-leader-epoch.
    EpochEnds(OffsetForLeaderEpochResponse),
    /// To describe-log-dirs.
    LogDirs(DescribeLogDirsResponse),
    /// To describe-producers.
    Producers(DescribeProducersResponse),
}

/// Takes a delete-records request apart.
#[must_use]
pub fn delete_records(image: &Image, request: DeleteRecordsRequest) -> (Parts<DeletePart>, LogsAnswer) {
    let mut parts = Parts::default();
    let mut response = DeleteRecordsResponse::default();
    for (t, topic) in request.topics.into_iter().enumerate() {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (p, asked) in topic.partitions.iter().enumerate() {
            let partition_index = asked.partition_index;
            let mut answer =
                DeleteRecordsPartitionResult { partition_index, low_watermark: -1, error_code: error::NONE };
            match find(image, TopicRef::Name(&topic.name), partition_index) {
                Ok(log) => {
                    let part = DeletePart { log, to: Offset(asked.offset) };
                    parts.push(Place { topic: t, partition: p }, part);
                }
                Err(code) => answer.error_code = code,
            }
            partitions.push(answer);
        }
        response.topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
    }
    (parts, LogsAnswer::Deleted(response))
}

/// Takes an offset-for-leader-epoch request apart.
#[must_use]
pub fn epoch_ends(image: &Image, request: OffsetForLeaderEpochRequest) -> (Parts<EpochPart>, LogsAnswer) {
    let mut parts = Parts::default();
    let mut response = OffsetForLeaderEpochResponse::default();
    for (t, topic) in request.topics.into_iter().enumerate() {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (p, asked) in topic.partitions.iter().enumerate() {
            let mut answer = EpochEnd { partition: asked.partition, ..EpochEnd::default() };
            match find(image, TopicRef::Name(&topic.topic), asked.partition) {
                Ok(log) => {
                    let current_leader_epoch = LeaderEpoch(asked.current_leader_epoch);
                    let part = EpochPart { log, current_leader_epoch, epoch: LeaderEpoch(asked.leader_epoch) };
                    parts.push(Place { topic: t, partition: p }, part);
                }
                Err(code) => answer.error_code = code,
            }
            partitions.push(answer);
        }
        response.topics.push(OffsetForLeaderTopicResult { topic: topic.topic, partitions });
    }
    (parts, LogsAnswer::EpochEnds(response))
}

/// Takes a describe-log-dirs request apart: there is one directory, with all replicas of this broker. What is asked for
/// and not in it is left out.
#[must_use]
pub fn log_dirs(
    image: &Image,
    me: BrokerId,
    log_dir: &str,
    request: &DescribeLogDirsRequest,
) -> (Parts<DescribePart>, LogsAnswer) {
    let asked = |name: &str, index: i32| match &request.topics {
        None => true,
        Some(topics) => topics.iter().any(|t| t.topic == name && t.partitions.contains(&index)),
    };
    let named: Option<BTreeSet<&str>> = request.topics.as_ref().map(|t| t.iter().map(|t| t.topic.as_str()).collect());
    let mut parts = Parts::default();
    let mut topics = Vec::new();
    for (name, topic) in image.topics().filter(|(name, _)| named.as_ref().is_none_or(|n| n.contains(name))) {
        let mut partitions = Vec::new();
        let ours = topic.partitions.iter().filter(|(index, p)| p.replicas.contains(&me) && asked(name, *index));
        for (index, _) in ours {
            let place = Place { topic: topics.len(), partition: partitions.len() };
            let log = LogId { topic: topic.id, partition: index };
            parts.push(place, DescribePart { log, producers: false });
            partitions.push(DescribeLogDirsPartition { partition_index: index, ..DescribeLogDirsPartition::default() });
        }
        if !partitions.is_empty() {
            topics.push(DescribeLogDirsTopic { name: name.into(), partitions });
        }
    }
    let dir = DescribeLogDirsResult { log_dir: log_dir.into(), topics, ..DescribeLogDirsResult::default() };
    let results = alloc::vec![dir];
    (parts, LogsAnswer::LogDirs(DescribeLogDirsResponse { results, ..DescribeLogDirsResponse::default() }))
}

/// Takes a describe-producers request apart.
#[must_use]
pub fn producers(image: &Image, request: DescribeProducersRequest) -> (Parts<DescribePart>, LogsAnswer) {
    let mut parts = Parts::default();
    let mut response = DescribeProducersResponse::default();
    for (t, topic) in request.topics.into_iter().enumerate() {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for (p, partition_index) in topic.partition_indexes.into_iter().enumerate() {
            let mut answer = DescribeProducersPartition { partition_index, ..DescribeProducersPartition::default() };
            match find(image, TopicRef::Name(&topic.name), partition_index) {
                Ok(log) => parts.push(Place { topic: t, partition: p }, DescribePart { log, producers: true }),
                Err(code) => refuse(&mut answer, code),
            }
            partitions.push(answer);
        }
        response.topics.push(DescribeProducersTopicResult { name: topic.name, partitions });
    }
    (parts, LogsAnswer::Producers(response))
}

fn refuse(answer: &mut DescribeProducersPartition, code: i16) {
    answer.error_code = code;
    answer.error_message = Some(String::from(error::name(code)));
}

impl LogsAnswer {
    /// Puts the results of one shard in their places.
    ///
    /// # Panics
    /// For the answer to another question.
    pub fn put(&mut self, places: &[Place], answer: Answer) {
        match (self, answer) {
            (LogsAnswer::Deleted(response), Answer::DeleteRecords(results)) => {
                for (at, result) in places.iter().zip(results) {
                    let answer = &mut response.topics[at.topic].partitions[at.partition];
                    match result {
                        Ok(start) => answer.low_watermark = start.0,
                        Err(code) => answer.error_code = code,
                    }
                }
            }
            (LogsAnswer::EpochEnds(response), Answer::EpochEnds(results)) => {
                for (at, result) in places.iter().zip(results) {
                    let answer = &mut response.topics[at.topic].partitions[at.partition];
                    match result {
                        Ok((epoch, end)) => (answer.leader_epoch, answer.end_offset) = (epoch.0, end.0),
                        Err(code) => answer.error_code = code,
                    }
                }
            }
            (LogsAnswer::LogDirs(response), Answer::Describe(results)) => {
                for (at, result) in places.iter().zip(results) {
                    let answer = &mut response.results[0].topics[at.topic].partitions[at.partition];
                    let bytes = result.map_or(0, |described| described.bytes);
                    answer.partition_size = i64::try_from(bytes).unwrap_or(i64::MAX);
                }
            }
            (LogsAnswer::LogDirs(response), Answer::Room(room)) => {
                let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
                if let Some(Room { total, usable }) = room {
                    let dir = &mut response.results[0];
                    (dir.total_bytes, dir.usable_bytes) = (bytes(total), bytes(usable));
                }
            }
            (LogsAnswer::Producers(response), Answer::Describe(results)) => {
                for (at, result) in places.iter().zip(results) {
                    let answer = &mut response.topics[at.topic].partitions[at.partition];
                    match result {
                        Ok(Description { producers, .. }) => answer.active_producers = producers,
                        Err(code) => refuse(answer, code),
                    }
                }
            }
            (kind, answer) => panic!("{answer:?} is no answer to {kind:?}"),
        }
    }
}

impl From<LogsAnswer> for Response {
    fn from(answer: LogsAnswer) -> Response {
        match answer {
            LogsAnswer::Deleted(response) => response.into(),
            LogsAnswer::EpochEnds(response) => response.into(),
            LogsAnswer::LogDirs(response) => response.into(),
            LogsAnswer::Producers(response) => response.into(),
        }
    }
}
