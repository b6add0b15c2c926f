//! The image: brokers, topics and partitions at one metadata offset. Its only mutator is [`Image::apply`].

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};

use smallvec::SmallVec;

use super::Partitions;
use super::configs::{Configs, Layers};
use crate::ids::{BrokerEpoch, BrokerId, LeaderEpoch, LogId, Uuid};
use crate::wire::{ConfigRecord, MetadataRecord};

/// No leader (`NO_LEADER` in partition records).
const NO_LEADER: i32 = -1;
/// "Leave as it is" in a partition change.
const NO_LEADER_CHANGE: i32 = -2;
/// `ConfigResource.Type.TOPIC`.
pub const TOPIC_RESOURCE: i8 = 2;
/// `ConfigResource.Type.BROKER`.
pub const BROKER_RESOURCE: i8 = 4;

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// Which life registered.
    pub incarnation: Uuid,
    /// Where clients find it.
    pub host: String,
    /// Where clients find it.
    pub port: u16,
    /// A fenced broker leads nothing and is not told to clients.
    pub fenced: bool,
}

/// Some brokers: mostly few, and then they need no room of their own.
pub type Brokers = SmallVec<[BrokerId; 4]>;

/// A partition's assignment and leadership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Assigned replicas, the preferred leader first.
    pub replicas: Brokers,
    /// In-sync replicas, never empty.
    pub isr: Brokers,
    /// Who leads, if anyone.
    pub leader: Option<BrokerId>,
    /// Counts leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts changes of this value.
    pub partition_epoch: i32,
    /// Where each replica lies, in their order; ZERO, or nothing, while nobody has said.
    pub directories: SmallVec<[Uuid; 1]>,
}

impl Partition {
    /// The directory that a broker's replica lies in, if that was written down.
    #[must_use]
    pub fn directory_of(&self, broker: BrokerId) -> Option<Uuid> {
        let at = self.replicas.iter().position(|b| *b == broker)?;
        self.directories.get(at).copied().filter(|directory| *directory != Uuid::ZERO)
    }
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: Uuid,
    /// By index.
    pub partitions: Partitions,
    /// What was set for it.
    pub configs: Configs,
}

/// Cluster metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    brokers: BTreeMap<BrokerId, Broker>,
    topics: BTreeMap<String, Topic>,
    names: BTreeMap<Uuid, String>,
    /// What was set for brokers while they ran, by broker id, or "" for all.
    broker_configs: BTreeMap<String, Configs>,
    next_producer_id: i64,
}

/// What a record changed: the delta that a shard acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A broker's registration.
    Broker(BrokerId),
    /// A partition.
    Partition(LogId),
    /// A topic is no more.
    RemovedTopic(Uuid),
    /// The configs of a topic.
    TopicConfigs(Uuid),
    /// The configs of a broker, or of all.
    BrokerConfigs,
    /// Nothing that a shard acts on at once.
    Nothing,
}

impl Image {
    /// A broker.
    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// All registered brokers, by id.
    pub fn brokers(&self) -> impl Iterator<Item = (BrokerId, &Broker)> {
        self.brokers.iter().map(|(id, b)| (*id, b))
    }

    /// A topic by name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// A topic's name by its id.
    #[must_use]
    pub fn name(&self, id: Uuid) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.topics.iter().map(|(name, t)| (name.as_str(), t))
    }

    /// A topic and one of its partitions, by log.
    #[must_use]
    pub fn partition(&self, log: LogId) -> Option<(&Topic, &Partition)> {
        let topic = self.topics.get(self.names.get(&log.topic)?)?;
        topic.partitions.get(log.partition).map(|p| (topic, p))
    }

    /// All partitions.
    pub fn partitions(&self) -> impl Iterator<Item = (LogId, &Partition)> {
        self.topics
            .values()
            .flat_map(|t| t.partitions.iter().map(|(index, p)| (LogId { topic: t.id, partition: index }, p)))
    }

    /// What was set while they ran for a broker, by its id, or for all (`""`).
    #[must_use]
    pub fn broker_configs(&self, name: &str) -> Option<&Configs> {
        self.broker_configs.get(name)
    }

    /// Where the values of a topic's configs are looked for on a broker with this file.
    #[must_use]
    pub fn layers<'a>(&'a self, topic: Option<&'a Topic>, broker: BrokerId, file: &'a Configs) -> Layers<'a> {
        Layers {
            topic: topic.map(|t| &t.configs),
            broker: self.broker_configs.get(&broker.to_string()),
            cluster: self.broker_configs.get(""),
            file,
        }
    }

    /// The logs of a topic.
    pub fn logs_of(&self, id: Uuid) -> impl Iterator<Item = LogId> {
        let topic = self.names.get(&id).and_then(|name| self.topics.get(name));
        topic.into_iter().flat_map(|t| t.partitions.iter()).map(move |(index, _)| LogId { topic: id, partition: index })
    }

    /// The first producer id that no block was given out of.
    #[must_use]
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Takes in one record. A record about something that is not there changes nothing: the controller writes none.
    pub fn apply(&mut self, record: &MetadataRecord) -> Change {
        match record {
            MetadataRecord::RegisterBroker(r) => {
                let id = BrokerId(r.broker_id);
                let (host, port) = r.end_points.first().map_or((String::new(), 0), |e| (e.host.clone(), e.port));
                let epoch = BrokerEpoch(r.broker_epoch);
                self.brokers.insert(id, Broker { epoch, incarnation: r.incarnation_id, host, port, fenced: r.fenced });
                Change::Broker(id)
            }
            MetadataRecord::BrokerRegistrationChange(r) => {
                let id = BrokerId(r.broker_id);
                if let Some(broker) = self.brokers.get_mut(&id).filter(|b| b.epoch.0 == r.broker_epoch) {
                    match r.fenced {
                        -1 => broker.fenced = false,
                        1 => broker.fenced = true,
                        _ => {}
                    }
                }
                Change::Broker(id)
            }
            MetadataRecord::Topic(r) => {
                self.names.insert(r.topic_id, r.name.clone());
                self.topics.entry(r.name.clone()).or_default().id = r.topic_id;
                Change::Nothing
            }
            MetadataRecord::RemoveTopic(r) => {
                if let Some(name) = self.names.remove(&r.topic_id) {
                    self.topics.remove(&name);
                }
                Change::RemovedTopic(r.topic_id)
            }
            MetadataRecord::Partition(r) => {
                let log = LogId { topic: r.topic_id, partition: r.partition_id };
                let partition = Partition {
                    replicas: r.replicas.iter().copied().map(BrokerId).collect(),
                    isr: r.isr.iter().copied().map(BrokerId).collect(),
                    leader: (r.leader != NO_LEADER).then_some(BrokerId(r.leader)),
                    leader_epoch: LeaderEpoch(r.leader_epoch),
                    partition_epoch: r.partition_epoch,
                    directories: r.directories.iter().copied().collect(),
                };
                self.topic_of(log).map_or(Change::Nothing, |topic| {
                    topic.partitions.insert(log.partition, partition);
                    Change::Partition(log)
                })
            }
            MetadataRecord::PartitionChange(r) => {
                let log = LogId { topic: r.topic_id, partition: r.partition_id };
                let Some(p) = self.topic_of(log).and_then(|t| t.partitions.get_mut(log.partition)) else {
                    return Change::Nothing;
                };
                if let Some(isr) = &r.isr {
                    p.isr = isr.iter().copied().map(BrokerId).collect();
                }
                if r.leader != NO_LEADER_CHANGE {
                    p.leader = (r.leader != NO_LEADER).then_some(BrokerId(r.leader));
                    p.leader_epoch = p.leader_epoch.next();
                }
                if let Some(directories) = &r.directories {
                    p.directories = directories.iter().copied().collect();
                }
                p.partition_epoch += 1;
                Change::Partition(log)
            }
            MetadataRecord::Config(r) => self.configure(r),
            MetadataRecord::ProducerIds(r) => {
                self.next_producer_id = r.next_producer_id;
                Change::Nothing
            }
            MetadataRecord::FeatureLevel(_) | MetadataRecord::NoOp(_) => Change::Nothing,
        }
    }

    fn configure(&mut self, r: &ConfigRecord) -> Change {
        let (configs, change) = match r.resource_type {
            TOPIC_RESOURCE => match self.topics.get_mut(&r.resource_name) {
                Some(topic) => (&mut topic.configs, Change::TopicConfigs(topic.id)),
                None => return Change::Nothing,
            },
            BROKER_RESOURCE => (self.broker_configs.entry(r.resource_name.clone()).or_default(), Change::BrokerConfigs),
            _ => return Change::Nothing,
        };
        match &r.value {
            Some(value) => configs.insert(r.name.clone(), value.clone()),
            None => configs.remove(&r.name),
        };
        change
    }

    fn topic_of(&mut self, log: LogId) -> Option<&mut Topic> {
        self.topics.get_mut(self.names.get(&log.topic)?)
    }
}
