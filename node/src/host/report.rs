//! What a shard has to tell about itself: counted on its own thread, without locks, and put together when asked.

use crate::meter::Counts;
use klamm_core::effect::{Effect, Input};
use klamm_core::ids::{LogId, ShardIndex, Uuid};
use klamm_core::record::Header;
use klamm_core::shard::Shard;
use klamm_core::wire::{ApiKey, Records, Response};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// What went into a topic's partitions, and out of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Records.
    pub messages: u64,
    /// Bytes of their batches.
    pub bytes: u64,
    /// Bytes of batches in fetch answers.
    pub fetched: u64,
}

/// One shard, at one moment. Counts are since its start.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Which.
    pub shard: ShardIndex,
    /// Whether the broker has said to it that it serves.
    pub serving: bool,
    /// Connections that are open.
    pub connections: u64,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Bytes of the requests that came.
    pub received_bytes: u64,
    /// Bytes that left by `sendfile`.
    pub sendfile_bytes: u64,
    /// Bytes that left through this process's memory.
    pub copied_bytes: u64,
    /// Bytes of batches in fetch answers.
    pub fetched_bytes: u64,
    /// Requests that came.
    pub requests: BTreeMap<ApiKey, u64>,
    /// Error codes in answers, of requests and of their parts.
    pub errors: BTreeMap<(ApiKey, i16), u64>,
    /// What was appended for clients and fetched by them, by topic.
    pub traffic: BTreeMap<String, Traffic>,
    /// How many batches one sync made durable.
    pub groups: Counts,
    /// How long syncs took, in nanoseconds.
    pub syncs: Counts,
    /// Replicas of partitions here.
    pub partitions: u64,
    /// Of these, led by this broker.
    pub leaders: u64,
    /// Of those, with replicas that are not in sync.
    pub under_replicated: u64,
    /// Partitions of the cluster without a leader (shard 0 alone says so), and logs here that are offline.
    pub offline: u64,
}

/// What a shard counts as it goes.
#[derive(Debug, Default)]
pub(super) struct Counters {
    accepted: Cell<u64>,
    received_bytes: Cell<u64>,
    sendfile_bytes: Cell<u64>,
    copied_bytes: Cell<u64>,
    fetched_bytes: Cell<u64>,
    requests: RefCell<BTreeMap<ApiKey, u64>>,
    errors: RefCell<BTreeMap<(ApiKey, i16), u64>>,
    traffic: RefCell<BTreeMap<Uuid, Traffic>>,
    /// Bytes by topic, which an answer has by id or by name: the other one is zero or empty.
    fetched: RefCell<BTreeMap<(Uuid, String), u64>>,
}

fn add(count: &Cell<u64>, n: usize) {
    count.set(count.get() + n as u64);
}

impl Counters {
    pub(super) fn accepted(&self) {
        add(&self.accepted, 1);
    }

    pub(super) fn received(&self, bytes: usize) {
        add(&self.received_bytes, bytes);
    }

    pub(super) fn sent(&self, copied: usize, by_sendfile: usize) {
        add(&self.copied_bytes, copied);
        add(&self.sendfile_bytes, by_sendfile);
    }

    /// An answer leaves with ranges of these lengths.
    pub(super) fn fetched(&self, response: &Response, lengths: &[u32]) {
        let Response::Fetch(response) = response else { return };
        add(&self.fetched_bytes, lengths.iter().map(|len| *len as usize).sum());
        for topic in &response.responses {
            let length = |records: &Records| match records {
                Records::Range(index) => lengths.get(*index as usize).map_or(0, |len| u64::from(*len)),
                Records::Bytes(_) => 0,
            };
            let bytes: u64 = topic.partitions.iter().map(|p| length(&p.records)).sum();
            // Only what is there has bytes, so that nobody fills this with names.
            if bytes > 0 {
                *self.fetched.borrow_mut().entry((topic.topic_id, topic.topic.clone())).or_default() += bytes;
            }
        }
    }

    pub(super) fn told(&self, input: &Input) {
        if let Input::Request { request, .. } = input {
            *self.requests.borrow_mut().entry(request.key()).or_default() += 1;
        }
    }

    pub(super) fn wanted(&self, effect: &Effect) {
        match effect {
            Effect::Append { log, batch, .. } if *log != LogId::METADATA => self.appended(log.topic, &batch.header),
            Effect::Reply { response, .. } => self.answered(response),
            _ => {}
        }
    }

    fn appended(&self, topic: Uuid, header: &Header) {
        if !header.is_control() {
            let mut traffic = self.traffic.borrow_mut();
            let traffic = traffic.entry(topic).or_default();
            traffic.messages += u64::from(header.count.unsigned_abs());
            traffic.bytes += header.size() as u64;
        }
    }

    fn answered(&self, response: &Response) {
        response.errors(&mut |code| {
            if code != 0 {
                *self.errors.borrow_mut().entry((response.key(), code)).or_default() += 1;
            }
        });
    }

    /// What it all comes to.
    pub(super) fn report(&self, shard: &Shard) -> Report {
        let image = shard.image();
        // Of a topic that is gone nothing is said any more.
        self.traffic.borrow_mut().retain(|topic, _| image.name(*topic).is_some());
        let traffic = self.traffic.borrow();
        let named = traffic.iter().filter_map(|(topic, traffic)| Some((image.name(*topic)?.to_owned(), *traffic)));
        let mut traffic: BTreeMap<String, Traffic> = named.collect();
        let name = |(id, name): &(Uuid, String)| match image.name(*id) {
            Some(name) => Some(name.to_owned()),
            None => image.topic(name).map(|_| name.clone()),
        };
        self.fetched.borrow_mut().retain(|topic, _| name(topic).is_some());
        for (topic, bytes) in &*self.fetched.borrow() {
            traffic.entry(name(topic).unwrap_or_default()).or_default().fetched += bytes;
        }
        let mut report = Report {
            accepted: self.accepted.get(),
            received_bytes: self.received_bytes.get(),
            sendfile_bytes: self.sendfile_bytes.get(),
            copied_bytes: self.copied_bytes.get(),
            fetched_bytes: self.fetched_bytes.get(),
            requests: self.requests.borrow().clone(),
            errors: self.errors.borrow().clone(),
            traffic,
            ..Report::default()
        };
        for replica in shard.replicas().filter(|replica| replica.id() != LogId::METADATA) {
            report.partitions += 1;
            report.offline += u64::from(replica.log().offline().is_some());
            if replica.leading().is_some() {
                report.leaders += 1;
                let partition = image.partition(replica.id()).map(|(_, partition)| partition);
                report.under_replicated += u64::from(partition.is_some_and(|p| p.isr.len() < p.replicas.len()));
            }
        }
        report
    }
}
