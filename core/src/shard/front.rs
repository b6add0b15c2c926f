//! Client requests: taken apart, sent to the shards that own the logs, put together again.

use alloc::vec::Vec;
use core::mem;

use super::{Origin, Shard, Step};
use crate::effect::{Answer, Call, DeletePart, DescribePart, Effect, EpochPart, FetchPart, Few, ListPart, ProducePart};
use crate::ids::{ConnectionId, Correlation, LogId, ShardIndex};
use crate::session::gather::{self, Gather, Kind, Parts, Place, Question};
use crate::session::logs;
use crate::session::{Ending, Slot, cluster, configs, metadata};
use crate::table::Key;
use crate::wire::{
    AdminRequest, DeleteRecordsRequest, DescribeLogDirsRequest, DescribeProducersRequest, FetchRequest, FetchResponse,
    InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest,
    ProduceRequest, Request, Response, error,
};

/// The block of producer ids that this shard gives out, and who waits for the next one.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    next: i64,
    left: i32,
    waiting: Vec<(ConnectionId, Slot)>,
    /// The question for the next block.
    asked: Option<Correlation>,
}

impl Shard {
    pub(super) fn request(&mut self, conn: ConnectionId, correlation: i32, request: Request, step: &mut Step<'_>) {
        let session = self.sessions.get_mut(&conn).expect("a request comes over an open connection");
        let slot = session.begin(correlation);
        match request {
            Request::ApiVersions(r) => {
                self.finish(conn, slot, Response::from(metadata::api_versions(&r, self.image_at)), step);
            }
            Request::UnsupportedApiVersions => {
                self.finish(conn, slot, Response::from(metadata::api_versions_unsupported()), step);
            }
            Request::Metadata(r) => self.metadata(conn, slot, r, step),
            Request::Produce(r) => self.produce_request(conn, slot, r, step),
            Request::Fetch(r) => self.fetch_request(conn, slot, *r, step),
            Request::ListOffsets(r) => self.list_request(conn, slot, r, step),
            Request::DeleteRecords(r) => self.delete_request(conn, slot, r, step),
            Request::OffsetForLeaderEpoch(r) => self.epochs_request(conn, slot, r, step),
            Request::DescribeLogDirs(r) => self.log_dirs_request(conn, slot, &r, step),
            Request::DescribeProducers(r) => self.producers_request(conn, slot, r, step),
            Request::InitProducerId(r) => self.init_producer_id(conn, slot, &r, step),
            Request::CreateTopics(r) => self.relay(conn, slot, AdminRequest::CreateTopics(r).into(), step),
            Request::DeleteTopics(r) => self.relay(conn, slot, AdminRequest::DeleteTopics(r).into(), step),
            Request::CreatePartitions(r) => self.relay(conn, slot, AdminRequest::CreatePartitions(r).into(), step),
            Request::AlterConfigs(r) => self.relay(conn, slot, AdminRequest::AlterConfigs(r).into(), step),
            Request::IncrementalAlterConfigs(r) => {
                self.relay(conn, slot, AdminRequest::IncrementalAlterConfigs(r).into(), step);
            }
            Request::DescribeQuorum(r) => self.relay(conn, slot, Call::DescribeQuorum(r), step),
            Request::DescribeConfigs(r) => {
                let answer = configs::describe(&self.image, &r, self.config.broker, &self.config.configs);
                self.finish(conn, slot, Response::from(answer), step);
            }
            Request::ListConfigResources(r) => {
                self.finish(conn, slot, Response::from(configs::resources(&self.image, &r)), step);
            }
            Request::DescribeCluster(r) => {
                let answer = cluster::describe(&self.image, &r, &self.config.cluster_id, self.config.broker);
                self.finish(conn, slot, Response::from(answer), step);
            }
            Request::DescribeTopicPartitions(r) => {
                self.finish(conn, slot, Response::from(cluster::partitions(&self.image, &r)), step);
            }
        }
    }

    /// Asks shard 0, whose one answer is the client's.
    fn relay(&mut self, conn: ConnectionId, slot: Slot, call: Call, step: &mut Step<'_>) {
        self.gather(conn, slot, Kind::Relay, [(ShardIndex(0), Few::new(), call)], step);
    }

    fn finish(&mut self, conn: ConnectionId, slot: Slot, ending: impl Into<Ending>, step: &mut Step<'_>) {
        match self.sessions.get_mut(&conn) {
            Some(session) => session.finish(slot, ending.into(), step.out),
            // The connection is gone, and with it whoever wanted this.
            None => {
                if let Ending::Reply { ranges, .. } = ending.into() {
                    Shard::drop_ranges(ranges, step);
                }
            }
        }
    }

    fn metadata(&mut self, conn: ConnectionId, slot: Slot, mut request: MetadataRequest, step: &mut Step<'_>) {
        request.allow_auto_topic_creation &= self.configs(None).auto_create_topics();
        let missing = metadata::to_create(&self.image, &request);
        if missing.is_empty() {
            let answer = metadata::answer(&self.image, &request, &self.config.cluster_id, self.config.broker);
            return self.finish(conn, slot, Response::from(answer), step);
        }
        let call = Call::Admin(AdminRequest::CreateTopics(metadata::creation(missing)));
        request.allow_auto_topic_creation = false;
        self.gather(conn, slot, Kind::Metadata(request), [(ShardIndex(0), Few::new(), call)], step);
    }

    fn produce_request(&mut self, conn: ConnectionId, slot: Slot, request: ProduceRequest, step: &mut Step<'_>) {
        let (acks, timeout_ms, zstd) = (request.acks, request.timeout_ms, request.zstd);
        let (parts, response) = gather::produce(&self.image, request);
        let call = |parts| Call::Produce { acks, timeout_ms, zstd, parts };
        let calls = by_owner(parts, self.config.shards, |part: &ProducePart| part.log, call);
        self.gather(conn, slot, Kind::Produce { acks, response }, calls, step);
    }

    fn fetch_request(&mut self, conn: ConnectionId, slot: Slot, mut request: FetchRequest, step: &mut Step<'_>) {
        if let Some(code) = gather::check_fetch(&request) {
            return self.finish(conn, slot, Response::from(gather::refused_fetch(request, code)), step);
        }
        let session = match self.fetch_sessions.begin(conn, &mut request) {
            Ok(session) => session,
            Err(error_code) => {
                let refusal = FetchResponse { error_code, ..FetchResponse::default() };
                return self.finish(conn, slot, Response::from(refusal), step);
            }
        };
        let max_wait_ms = request.max_wait_ms;
        let (parts, fetch) = gather::fetch(&self.image, request, session);
        let min_bytes = fetch.min_bytes();
        let call = |parts| Call::Fetch { min_bytes, max_wait_ms, parts };
        let calls = by_owner(parts, self.config.shards, |part: &FetchPart| part.log, call);
        self.gather(conn, slot, Kind::Fetch(fetch), calls, step);
    }

    fn list_request(&mut self, conn: ConnectionId, slot: Slot, request: ListOffsetsRequest, step: &mut Step<'_>) {
        let (parts, response) = gather::list_offsets(&self.image, request);
        let call = |parts| Call::ListOffsets { parts };
        let calls = by_owner(parts, self.config.shards, |part: &ListPart| part.log, call);
        self.gather(conn, slot, Kind::ListOffsets(response), calls, step);
    }

    fn delete_request(&mut self, conn: ConnectionId, slot: Slot, request: DeleteRecordsRequest, step: &mut Step<'_>) {
        let timeout_ms = request.timeout_ms;
        let (parts, answer) = logs::delete_records(&self.image, request);
        let call = |parts| Call::DeleteRecords { timeout_ms, parts };
        let calls = by_owner(parts, self.config.shards, |part: &DeletePart| part.log, call);
        self.gather(conn, slot, Kind::Logs(answer), calls, step);
    }

    fn epochs_request(
        &mut self,
        conn: ConnectionId,
        slot: Slot,
        request: OffsetForLeaderEpochRequest,
        step: &mut Step<'_>,
    ) {
        let (parts, answer) = logs::epoch_ends(&self.image, request);
        let call = |parts| Call::EpochEnds { parts };
        let calls = by_owner(parts, self.config.shards, |part: &EpochPart| part.log, call);
        self.gather(conn, slot, Kind::Logs(answer), calls, step);
    }

    fn log_dirs_request(
        &mut self,
        conn: ConnectionId,
        slot: Slot,
        request: &DescribeLogDirsRequest,
        step: &mut Step<'_>,
    ) {
        let (parts, answer) = logs::log_dirs(&self.image, self.config.broker, &self.config.log_dir, request);
        let room = (self.config.shard, Few::new(), Call::Room);
        let calls = describe_calls(parts, self.config.shards).chain([room]);
        self.gather(conn, slot, Kind::Logs(answer), calls, step);
    }

    fn producers_request(
        &mut self,
        conn: ConnectionId,
        slot: Slot,
        request: DescribeProducersRequest,
        step: &mut Step<'_>,
    ) {
        let (parts, answer) = logs::producers(&self.image, request);
        let calls = describe_calls(parts, self.config.shards);
        self.gather(conn, slot, Kind::Logs(answer), calls, step);
    }

    /// Asks all that a request needs. All questions are open before the first is answered.
    fn gather(
        &mut self,
        conn: ConnectionId,
        slot: Slot,
        kind: Kind,
        asked: impl IntoIterator<Item = (ShardIndex, Few<Place>, Call)>,
        step: &mut Step<'_>,
    ) {
        let (mut questions, mut calls) = (Few::new(), Few::new());
        for (to, places, call) in asked {
            questions.push(Question { to, places, open: true });
            calls.push((to, call));
        }
        let id = self.gathers.insert(Gather { conn, slot, questions, kind });
        for (index, (to, call)) in calls.into_iter().enumerate() {
            self.ask(to, question(id, index), call, step);
        }
        self.end_when_gathered(id, step);
    }

    /// Asks a shard, perhaps this one.
    fn ask(&mut self, to: ShardIndex, correlation: Correlation, call: Call, step: &mut Step<'_>) {
        if to == self.config.shard {
            self.serve(Origin::Here(correlation), call, step);
        } else {
            step.out.push(Effect::Call { to, image: self.image_at, correlation, call });
        }
    }

    /// A question is answered, or (a fetch) reports progress.
    pub(super) fn answered(&mut self, correlation: Correlation, answer: Answer, step: &mut Step<'_>) {
        if self.producer_ids.asked == Some(correlation) {
            return self.producer_ids_came(&answer, step);
        }
        let (id, index) = (Key(correlation.request), usize::from(correlation.question));
        let gather = self.gathers.get_mut(id).expect("an answer names a request");
        let asked = &mut gather.questions[index];
        assert!(asked.open, "a question is answered once");
        match (&mut gather.kind, answer) {
            (Kind::Fetch(fetch), Answer::FetchProgress { bytes }) => {
                if fetch.progress(index, bytes) {
                    self.settle_all(id, step);
                }
                return;
            }
            (Kind::Fetch(fetch), Answer::Fetch { results }) => {
                asked.places.iter().zip(results).for_each(|(at, result)| fetch.fetched(*at, result));
            }
            (Kind::Produce { response, .. }, Answer::Produce(results)) => {
                asked.places.iter().zip(results).for_each(|(at, result)| gather::produced(response, *at, result));
            }
            (Kind::ListOffsets(response), Answer::ListOffsets(results)) => {
                asked.places.iter().zip(&results).for_each(|(at, result)| gather::listed(response, *at, result));
            }
            (Kind::Logs(logs), answer) => logs.put(&asked.places, answer),
            (Kind::Relay, Answer::Admin(response)) => {
                let (conn, slot) = (gather.conn, gather.slot);
                self.gathers.remove(id);
                return self.finish(conn, slot, response, step);
            }
            (Kind::Metadata(_), Answer::Admin(_)) => {}
            (kind, answer) => panic!("{answer:?} is no answer to {kind:?}"),
        }
        asked.open = false;
        if matches!(gather.kind, Kind::Fetch(_)) {
            // One owner has answered: the others answer with what they have.
            self.settle_all(id, step);
        }
        self.end_when_gathered(id, step);
    }

    /// Has the open parts of a fetch answered now.
    fn settle_all(&mut self, id: Key, step: &mut Step<'_>) {
        let mut next = 0;
        // An answer that comes at once may settle the others itself, and end the request.
        while let Some(gather) = self.gathers.get(id)
            && let Some(index) = { gather.open().find(|index| *index >= next) }
        {
            let (to, fetch) = (gather.questions[index].to, question(id, index));
            self.ask(to, fetch, Call::Settle { fetch }, step);
            next = index + 1;
        }
    }

    /// Answers a request all of whose questions are answered.
    fn end_when_gathered(&mut self, id: Key, step: &mut Step<'_>) {
        if self.gathers.get(id).is_none_or(|g| g.open().next().is_some()) {
            return;
        }
        let Some(Gather { conn, slot, kind, .. }) = self.gathers.remove(id) else { return };
        match kind {
            Kind::Produce { acks, response } => self.finish(conn, slot, gather::produce_ending(acks, response), step),
            Kind::Fetch(fetch) => {
                let ending = fetch.ending(conn, &mut self.fetch_sessions);
                self.finish(conn, slot, ending, step);
            }
            Kind::ListOffsets(response) => self.finish(conn, slot, Response::from(response), step),
            Kind::Logs(answer) => self.finish(conn, slot, Response::from(answer), step),
            // Presented again; what could not be created is answered as missing.
            Kind::Metadata(request) => self.metadata(conn, slot, request, step),
            Kind::Relay => unreachable!("a relayed answer ends its request"),
        }
    }

    /// A connection is gone: its long polls are cut short, what they bring is dropped.
    pub(super) fn closed(&mut self, conn: ConnectionId, step: &mut Step<'_>) {
        let session = self.sessions.remove(&conn).expect("only an open connection closes");
        Shard::drop_ranges(session.into_ranges(), step);
        self.fetch_sessions.end(conn);
        self.producer_ids.waiting.retain(|(c, _)| *c != conn);
        let polls: Vec<Key> = self
            .gathers
            .iter()
            .filter(|(_, g)| g.conn == conn && matches!(g.kind, Kind::Fetch(_)))
            .map(|(id, _)| id)
            .collect();
        for id in polls {
            self.settle_all(id, step);
        }
    }

    /// A producer id of its own for an idempotent producer (KIP-98, KIP-360): each gets a new one, at epoch 0.
    fn init_producer_id(
        &mut self,
        conn: ConnectionId,
        slot: Slot,
        request: &InitProducerIdRequest,
        step: &mut Step<'_>,
    ) {
        let refusal = match request.transactional_id.as_deref() {
            None if (request.producer_id < 0) == (request.producer_epoch < 0) => None,
            None | Some("") => Some(error::INVALID_REQUEST),
            // No transaction coordinator is served: FindCoordinator is not advertised.
            Some(_) => Some(error::COORDINATOR_NOT_AVAILABLE),
        };
        if let Some(code) = refusal {
            return self.finish(conn, slot, producer_id(Err(code)), step);
        }
        self.give_producer_id(conn, slot, step);
    }

    fn give_producer_id(&mut self, conn: ConnectionId, slot: Slot, step: &mut Step<'_>) {
        if self.producer_ids.left > 0 {
            let id = self.producer_ids.take();
            return self.finish(conn, slot, producer_id(Ok(id)), step);
        }
        self.producer_ids.waiting.push((conn, slot));
        if self.producer_ids.asked.is_none() {
            let correlation = self.fresh_question();
            self.producer_ids.asked = Some(correlation);
            self.ask(ShardIndex(0), correlation, Call::AllocateProducerIds, step);
        }
    }

    fn producer_ids_came(&mut self, answer: &Answer, step: &mut Step<'_>) {
        let Answer::ProducerIds(block) = answer else { panic!("{answer:?} is no block of producer ids") };
        self.producer_ids.asked = None;
        let waiting = mem::take(&mut self.producer_ids.waiting);
        match block {
            Ok((first, count)) => {
                self.producer_ids.next = *first;
                self.producer_ids.left = *count;
                for (conn, slot) in waiting {
                    // More may wait than the block has: those ask again.
                    self.give_producer_id(conn, slot, step);
                }
            }
            Err(code) => {
                for (conn, slot) in waiting {
                    self.finish(conn, slot, producer_id(Err(*code)), step);
                }
            }
        }
    }
}

impl ProducerIds {
    fn take(&mut self) -> i64 {
        let id = self.next;
        self.next += 1;
        self.left -= 1;
        id
    }
}

/// Sorts parts by the shard that owns their logs, and calls each of these.
fn by_owner<T>(
    parts: Parts<T>,
    shards: u16,
    log: fn(&T) -> LogId,
    call: impl Fn(Few<T>) -> Call,
) -> impl Iterator<Item = (ShardIndex, Few<Place>, Call)> {
    let mut owners: Few<(ShardIndex, Parts<T>)> = Few::new();
    let mut all = parts.asked.iter().map(|part| log(part).owner(shards));
    if let Some(one) = all.next().filter(|first| all.all(|other| other == *first)) {
        owners.push((one, parts));
    } else {
        for (place, part) in parts.places.into_iter().zip(parts.asked) {
            let owner = log(&part).owner(shards);
            let at = owners.partition_point(|(other, _)| *other < owner);
            if owners.get(at).is_none_or(|(other, _)| *other != owner) {
                owners.insert(at, (owner, Parts::default()));
            }
            owners[at].1.push(place, part);
        }
    }
    owners.into_iter().map(move |(to, parts)| (to, parts.places, call(parts.asked)))
}

/// Asks the owners of logs what they know of them.
fn describe_calls(parts: Parts<DescribePart>, shards: u16) -> impl Iterator<Item = (ShardIndex, Few<Place>, Call)> {
    by_owner(parts, shards, |part: &DescribePart| part.log, |parts| Call::Describe { parts })
}

/// The name of a request's question.
fn question(request: Key, index: usize) -> Correlation {
    Correlation { request: request.0, question: u16::try_from(index).expect("one question a shard at most") }
}

fn producer_id(given: Result<i64, i16>) -> Response {
    Response::from(match given {
        Ok(producer_id) => {
            InitProducerIdResponse { producer_id, producer_epoch: 0, ..InitProducerIdResponse::default() }
        }
        Err(error_code) => {
            InitProducerIdResponse { error_code, producer_epoch: -1, ..InitProducerIdResponse::default() }
        }
    })
}
