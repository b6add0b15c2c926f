//! A small Kafka client: brokers found through any of them, versions agreed on with each, one request at a time.
//!
//! Works against Apache Kafka as well: nothing here knows which broker it talks to. Retries what a broker says was not
//! done and may be done soon; what it does not know the end of, it does not repeat.

mod codec;
mod connection;
mod records;

pub use codec::opened;
pub use connection::{Connection, Error};
pub use records::{Batches, Record};

use klamm_core::wire::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, MetadataRequest, MetadataRequestTopic,
    MetadataResponse, MetadataResponseTopic, Request, Response, error,
};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long a topic may take to be there, or to get a leader.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// A cluster, as a client knows it.
#[derive(Debug)]
pub struct Client {
    /// Whoever answered first: it knows the others.
    bootstrap: Connection,
    brokers: BTreeMap<i32, String>,
    controller: i32,
    connections: BTreeMap<i32, Connection>,
}

impl Client {
    /// By the first of these addresses (`HOST:PORT`) that answers.
    ///
    /// # Errors
    /// When none does.
    pub async fn connect(servers: &str) -> Result<Client, Error> {
        let mut last = Error::Unreachable(format!("{servers:?} names no broker"));
        for address in servers.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            match Connection::open(address).await {
                Ok(bootstrap) => {
                    let (brokers, connections) = (BTreeMap::new(), BTreeMap::new());
                    return Ok(Client { bootstrap, brokers, controller: -1, connections });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Who leads what: of these topics, or of all.
    ///
    /// # Errors
    /// When the cluster could not be asked.
    pub async fn metadata(&mut self, topics: Option<&[&str]>, create: bool) -> Result<MetadataResponse, Error> {
        let named =
            |name: &&str| MetadataRequestTopic { name: Some((*name).into()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: topics.map(|topics| topics.iter().map(named).collect()),
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        };
        let Response::Metadata(answer) = self.bootstrap.ask(request.into()).await? else { return Err(Error::odd()) };
        self.controller = answer.controller_id;
        self.brokers = answer.brokers.iter().map(|b| (b.node_id, format!("{}:{}", b.host, b.port))).collect();
        Ok(answer)
    }

    /// A topic's metadata once every partition of it has a leader. `create` lets the broker make it.
    ///
    /// # Errors
    /// When it is not there, is not allowed to be, or has no leaders for too long.
    pub async fn topic(&mut self, name: &str, create: bool) -> Result<MetadataResponseTopic, Error> {
        let begun = Instant::now();
        loop {
            let answer = self.metadata(Some(&[name]), create).await?;
            let topic = answer.topics.into_iter().next().ok_or_else(Error::odd)?;
            let codes = topic.partitions.iter().map(|partition| partition.error_code).chain([topic.error_code]);
            let Some(code) = codes.into_iter().find(|code| *code != error::NONE) else { return Ok(topic) };
            let soon = match code {
                error::UNKNOWN_TOPIC_OR_PARTITION => create,
                error::LEADER_NOT_AVAILABLE => true,
                // Who has no leader is named, and may be read of otherwise.
                error::REPLICA_NOT_AVAILABLE => return Ok(topic),
                _ => false,
            };
            if !soon || begun.elapsed() > PATIENCE {
                return Err(Error::code(code, None, format!("topic {name}")));
            }
            sleep(PAUSE).await;
        }
    }

    /// Asks the controller, or whoever forwards to it.
    ///
    /// # Errors
    /// When it could not be asked.
    pub async fn ask_controller(&mut self, request: impl Into<Request>) -> Result<Response, Error> {
        if self.brokers.is_empty() {
            self.metadata(Some(&[]), false).await?;
        }
        match self.controller {
            -1 => self.bootstrap.ask(request.into()).await,
            controller => self.broker(controller).await?.ask(request.into()).await,
        }
    }

    /// The connection to a broker; made if there is none.
    ///
    /// # Errors
    /// When there is no such broker, or it does not answer.
    pub async fn broker(&mut self, id: i32) -> Result<&mut Connection, Error> {
        let address = self.brokers.get(&id).ok_or_else(|| Error::Unreachable(format!("there is no broker {id}")))?;
        Ok(match self.connections.entry(id) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(Connection::open(address).await?),
        })
    }

    /// The offset of a time in milliseconds, or of one of the negative names (-1 the end, -2 the beginning), of each of a
    /// topic's partitions. A time that nothing is as late as gives -1.
    ///
    /// # Errors
    /// When one of them could not be asked.
    pub async fn offsets(
        &mut self,
        topic: &MetadataResponseTopic,
        timestamp: i64,
    ) -> Result<BTreeMap<i32, i64>, Error> {
        let mut by_leader: BTreeMap<i32, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for partition in &topic.partitions {
            let partition_index = partition.partition_index;
            let asked = ListOffsetsPartition { partition_index, timestamp, current_leader_epoch: -1 };
            by_leader.entry(partition.leader_id).or_default().push(asked);
        }
        let name = topic.name.clone().unwrap_or_default();
        let mut offsets = BTreeMap::new();
        for (leader, partitions) in by_leader {
            let topics = vec![ListOffsetsTopic { name: name.clone(), partitions }];
            let request = ListOffsetsRequest { topics, ..ListOffsetsRequest::default() };
            let answer = self.broker(leader).await?.ask(request.into()).await?;
            let Response::ListOffsets(answer) = answer else { return Err(Error::odd()) };
            for part in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                let what = || format!("{name} [{}]", part.partition_index);
                Error::check(part.error_code, None, what)?;
                offsets.insert(part.partition_index, part.offset);
            }
        }
        Ok(offsets)
    }
}
