//! A run's fingerprint: a rolling hash over when, which shard, what it was told and what it wanted.
//!
//! Values are hashed by kind and by the numbers that name them, not by their text: that would cost more than the step.
//! Bytes need no hash: two runs that differ in them differ in sizes, offsets or draws soon after.

use klamm_core::effect::{Answer, Call, Effect, Input, Range};
use klamm_core::ids::LogId;
use klamm_core::rng::mix;
use klamm_core::wire::{AdminRequest, Request, Response};

/// The hash so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) fn value(self) -> u64 {
        self.0
    }

    pub(super) fn feed(&mut self, numbers: &[u64]) {
        for n in numbers {
            self.0 = mix(self.0 ^ n);
        }
    }

    pub(super) fn input(&mut self, now: u64, shard: u16, input: &Input) {
        self.feed(&[now, u64::from(shard)]);
        match input {
            Input::Recovered { log, found, .. } => {
                let end = found.as_ref().map_or(-1, |f| f.state.at.0);
                self.feed(&[1, name(log), end as u64]);
            }
            Input::Started => self.feed(&[2]),
            Input::Opened { conn } => self.feed(&[3, conn.0]),
            Input::Request { conn, correlation, request } => {
                self.feed(&[4, conn.0, *correlation as u64, size(request)]);
            }
            Input::Closed { conn } => self.feed(&[5, conn.0]),
            Input::Call { from, image, correlation, call } => {
                self.feed(&[
                    6,
                    u64::from(from.0),
                    image.0 as u64,
                    correlation.request,
                    u64::from(correlation.question),
                ]);
                self.call(call);
            }
            Input::Answer { correlation, answer } => {
                self.feed(&[7, correlation.request, u64::from(correlation.question)]);
                self.answer(answer);
            }
            Input::Done { log, seq } => self.feed(&[8, name(log), seq.0]),
            Input::Failed { log, seq, .. } => self.feed(&[9, name(log), seq.0]),
            Input::Broken { log, .. } => self.feed(&[13, name(log)]),
            Input::Read { ticket, .. } => self.feed(&[10, ticket.0]),
            Input::Committed { upto, records } => self.feed(&[11, upto.0 as u64, records.len() as u64]),
            Input::Tick => self.feed(&[12]),
        }
    }

    pub(super) fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Open { log, seq, .. } => self.feed(&[21, name(log), seq.0]),
            Effect::Append { log, seq, offset, leader_epoch, batch, .. } => {
                let (offset, epoch) = (offset.0 as u64, leader_epoch.0 as u64);
                self.feed(&[22, name(log), seq.0, offset, epoch, u64::from(batch.header.crc)]);
            }
            Effect::Flush { log, seq } => self.feed(&[38, name(log), seq.0]),
            Effect::Truncate { log, seq, to } => self.feed(&[23, name(log), seq.0, to.0 as u64]),
            Effect::Trim { log, seq, to, .. } => self.feed(&[24, name(log), seq.0, to.0 as u64]),
            Effect::Remove { log, seq } => self.feed(&[25, name(log), seq.0]),
            Effect::SetAside { log, seq } => self.feed(&[40, name(log), seq.0]),
            Effect::Persist { log, seq, ballot } => self.feed(&[26, name(log), seq.0, ballot.epoch.0 as u64]),
            Effect::Read { ticket, log, .. } => self.feed(&[27, ticket.0, name(log)]),
            Effect::Reply { conn, correlation, response, ranges, .. } => {
                self.feed(&[28, conn.0, *correlation as u64, outcome(response)]);
                ranges.iter().for_each(|r| self.range(r));
            }
            Effect::Quiet { conn, correlation } => self.feed(&[29, conn.0, *correlation as u64]),
            Effect::Call { to, image, correlation, call } => {
                self.feed(&[30, u64::from(to.0), image.0 as u64, correlation.request, u64::from(correlation.question)]);
                self.call(call);
            }
            Effect::Answer { to, correlation, answer } => {
                self.feed(&[31, u64::from(to.0), correlation.request, u64::from(correlation.question)]);
                self.answer(answer);
            }
            Effect::Publish { upto, .. } => self.feed(&[32, upto.0 as u64]),
            Effect::Release { lease } => self.feed(&[33, *lease]),
            Effect::Close { conn, .. } => self.feed(&[34, conn.0]),
            Effect::Ready => self.feed(&[35]),
            Effect::Halt { .. } => self.feed(&[36]),
            Effect::Alarm { log, .. } => self.feed(&[37, name(log)]),
        }
    }

    fn call(&mut self, call: &Call) {
        match call {
            Call::Produce { parts, .. } => {
                self.feed(&[41]);
                parts.iter().for_each(|p| self.feed(&[name(&p.log), p.records.len() as u64]));
            }
            Call::Fetch { parts, .. } => {
                self.feed(&[42]);
                parts.iter().for_each(|p| self.feed(&[name(&p.log), p.offset.0 as u64]));
            }
            Call::Settle { fetch } => self.feed(&[43, fetch.request, u64::from(fetch.question)]),
            Call::ListOffsets { parts } => self.feed(&[44, parts.len() as u64]),
            Call::DeleteRecords { parts, .. } => {
                self.feed(&[48]);
                parts.iter().for_each(|p| self.feed(&[name(&p.log), p.to.0 as u64]));
            }
            Call::EpochEnds { parts } => self.feed(&[49, parts.len() as u64]),
            Call::Describe { parts } => self.feed(&[50, parts.len() as u64]),
            Call::Admin(request) => self.feed(&[45, asked(request)]),
            Call::Room => self.feed(&[60]),
            Call::DescribeQuorum(_) => self.feed(&[48]),
            Call::AllocateProducerIds => self.feed(&[46]),
            Call::Placed { logs } => {
                self.feed(&[39]);
                logs.iter().for_each(|log| self.feed(&[name(log)]));
            }
            Call::ImageAt { upto } => self.feed(&[47, upto.0 as u64]),
        }
    }

    fn answer(&mut self, answer: &Answer) {
        match answer {
            Answer::Produce(results) => {
                self.feed(&[51]);
                results.iter().for_each(|r| self.feed(&[r.error as u64, r.base_offset.0 as u64]));
            }
            Answer::FetchProgress { bytes } => self.feed(&[52, u64::from(*bytes)]),
            Answer::Fetch { results } => {
                self.feed(&[53]);
                for r in results {
                    self.feed(&[r.error as u64, r.high_watermark.0 as u64]);
                    r.range.iter().for_each(|range| self.range(range));
                }
            }
            Answer::ListOffsets(results) => {
                self.feed(&[54]);
                results.iter().for_each(|r| self.feed(&[r.error as u64, r.offset.0 as u64]));
            }
            Answer::DeleteRecords(results) => {
                self.feed(&[57]);
                results.iter().for_each(|r| self.feed(&[r.map_or_else(|code| code as u64, |start| start.0 as u64)]));
            }
            Answer::EpochEnds(results) => self.feed(&[58, results.len() as u64]),
            Answer::Describe(results) => self.feed(&[59, results.len() as u64]),
            Answer::Room(room) => self.feed(&[61, room.map_or(0, |room| room.usable)]),
            Answer::Admin(response) => self.feed(&[55, outcome(response)]),
            Answer::ProducerIds(block) => self.feed(&[56, block.map_or(u64::MAX, |(first, _)| first as u64)]),
        }
    }

    fn range(&mut self, range: &Range) {
        match range {
            Range::Local { log, from, upto, .. } => self.feed(&[61, name(log), from.0 as u64, upto.0 as u64]),
            Range::Leased { lease, bytes, .. } => self.feed(&[62, *lease, u64::from(*bytes)]),
        }
    }
}

fn name(log: &LogId) -> u64 {
    let topic = u128::from_be_bytes(log.topic.0);
    (topic >> 64) as u64 ^ topic as u64 ^ log.partition as u64
}

fn asked(request: &AdminRequest) -> u64 {
    let parts = match request {
        AdminRequest::CreateTopics(r) => r.topics.len(),
        AdminRequest::DeleteTopics(r) => r.topics.len(),
        AdminRequest::CreatePartitions(r) => r.topics.len(),
        AdminRequest::AlterConfigs(r) => r.resources.len(),
        AdminRequest::IncrementalAlterConfigs(r) => r.resources.len(),
    };
    parts as u64
}

fn size(request: &Request) -> u64 {
    let parts = match request {
        Request::Produce(r) => r.topic_data.iter().map(|t| t.partition_data.len()).sum(),
        Request::Fetch(r) => r.topics.iter().map(|t| t.partitions.len()).sum(),
        Request::ListOffsets(r) => r.topics.iter().map(|t| t.partitions.len()).sum(),
        Request::CreateTopics(r) => r.topics.len(),
        Request::DeleteTopics(r) => r.topics.len(),
        Request::CreatePartitions(r) => r.topics.len(),
        Request::AlterConfigs(r) => r.resources.len(),
        Request::IncrementalAlterConfigs(r) => r.resources.len(),
        Request::DescribeConfigs(r) => r.resources.len(),
        Request::DescribeTopicPartitions(r) => r.topics.len(),
        Request::ListConfigResources(_) | Request::DescribeCluster(_) | Request::DescribeQuorum(_) => 0,
        Request::Metadata(r) => r.topics.as_ref().map_or(0, Vec::len),
        Request::DeleteRecords(r) => r.topics.iter().map(|t| t.partitions.len()).sum(),
        Request::OffsetForLeaderEpoch(r) => r.topics.iter().map(|t| t.partitions.len()).sum(),
        Request::DescribeLogDirs(r) => r.topics.as_ref().map_or(0, Vec::len),
        Request::DescribeProducers(r) => r.topics.len(),
        Request::ApiVersions(_) | Request::UnsupportedApiVersions | Request::InitProducerId(_) => 0,
    };
    parts as u64 * 256 + request.key() as u64
}

/// Error codes and offsets of an answer.
fn outcome(response: &Response) -> u64 {
    let fold = |numbers: &mut dyn Iterator<Item = u64>| numbers.fold(0, |hash, n| mix(hash ^ n));
    match response {
        Response::Produce(r) => fold(
            &mut r
                .responses
                .iter()
                .flat_map(|t| &t.partition_responses)
                .map(|p| p.base_offset as u64 ^ code(p.error_code)),
        ),
        Response::Fetch(r) => fold(
            &mut r.responses.iter().flat_map(|t| &t.partitions).map(|p| p.high_watermark as u64 ^ code(p.error_code)),
        ),
        Response::ListOffsets(r) => {
            fold(&mut r.topics.iter().flat_map(|t| &t.partitions).map(|p| p.offset as u64 ^ code(p.error_code)))
        }
        Response::DeleteRecords(r) => {
            fold(&mut r.topics.iter().flat_map(|t| &t.partitions).map(|p| p.low_watermark as u64 ^ code(p.error_code)))
        }
        Response::OffsetForLeaderEpoch(r) => {
            fold(&mut r.topics.iter().flat_map(|t| &t.partitions).map(|p| p.end_offset as u64 ^ code(p.error_code)))
        }
        Response::DescribeLogDirs(r) => r.results.len() as u64,
        Response::DescribeProducers(r) => r.topics.len() as u64,
        Response::CreateTopics(r) => fold(&mut r.topics.iter().map(|t| code(t.error_code))),
        Response::DeleteTopics(r) => fold(&mut r.responses.iter().map(|t| code(t.error_code))),
        Response::AlterConfigs(r) => fold(&mut r.responses.iter().map(|t| code(t.error_code))),
        Response::IncrementalAlterConfigs(r) => fold(&mut r.responses.iter().map(|t| code(t.error_code))),
        Response::DescribeConfigs(r) => {
            fold(&mut r.results.iter().map(|t| t.configs.len() as u64 ^ code(t.error_code)))
        }
        Response::DescribeTopicPartitions(r) => {
            fold(&mut r.topics.iter().map(|t| t.partitions.len() as u64 ^ code(t.error_code)))
        }
        Response::ListConfigResources(r) => r.config_resources.len() as u64 ^ code(r.error_code),
        Response::DescribeCluster(r) => r.brokers.len() as u64 ^ code(r.error_code),
        Response::DescribeQuorum(r) => r.topics.len() as u64 ^ code(r.error_code),
        Response::CreatePartitions(r) => fold(&mut r.results.iter().map(|t| code(t.error_code))),
        Response::Metadata(r) => fold(&mut r.topics.iter().map(|t| t.partitions.len() as u64 ^ code(t.error_code))),
        Response::InitProducerId(r) => r.producer_id as u64,
        Response::ApiVersions(r) => code(r.error_code),
    }
}

fn code(error: i16) -> u64 {
    (error as u64) << 48
}
