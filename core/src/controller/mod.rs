//! The controller: a machine on `__cluster_metadata` (KIP-631). Registers brokers, creates topics, elects leaders, gives
//! out producer-id blocks.
//!
//! Its state is the metadata image with what it decided and is not committed yet. A registration ends the leader epochs
//! of the broker's earlier life: partitions it led have no leader until it is unfenced, then a new epoch.

mod configs;
mod deletion;
mod partitions;
mod placement;
#[cfg(test)]
mod tests;
mod topics;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;

use crate::ids::{BrokerEpoch, BrokerId, Instant, LogId, Offset, Uuid};
use crate::machine::{Caller, Cx, Decision, Entry, Machine, Stored};
use crate::metadata::Image;
use crate::metadata::configs::Layers;
use crate::wire::{
    AdminRequest, BrokerEndpoint, BrokerRegistrationChangeRecord, Malformed, MetadataRecord, PartitionChangeRecord,
    ProducerIdsRecord, RegisterBrokerRecord, Response, error,
};

/// Producer ids in a block, as in Kafka.
const PRODUCER_ID_BLOCK: i32 = 1000;

/// What the controller is asked.
#[derive(Clone, Debug)]
pub enum Command {
    /// A broker started.
    Register {
        /// Which.
        broker: BrokerId,
        /// Which life of it.
        incarnation: Uuid,
        /// Its data directory.
        directory: Uuid,
        /// Where clients find it.
        advertised: (String, u16),
    },
    /// A broker's image reached an offset.
    Heartbeat {
        /// Which.
        broker: BrokerId,
        /// Its registration.
        epoch: BrokerEpoch,
        /// Exclusive.
        image: Offset,
    },
    /// Logs of a broker lie in a directory, durably (KIP-858).
    Assign {
        /// Which broker.
        broker: BrokerId,
        /// Which directory.
        directory: Uuid,
        /// Which logs.
        logs: Vec<LogId>,
    },
    /// An admin client's request.
    Admin(AdminRequest),
    /// A broker needs producer ids.
    AllocateProducerIds {
        /// Which.
        broker: BrokerId,
    },
}

/// What the controller answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The registration.
    Registered(BrokerEpoch),
    /// Whether the broker is (still) fenced; an error code for a stale registration.
    Heartbeat(Result<bool, i16>),
    /// The directories are written down.
    Assigned,
    /// To `Admin`.
    Admin(Response),
    /// First id and count.
    ProducerIds(Result<(i64, i32), i16>),
}

/// The machine.
#[derive(Clone, Debug, Default)]
pub struct Controller {
    image: Image,
}

impl Stored for MetadataRecord {
    fn encode(&self) -> (Option<Bytes>, Option<Bytes>) {
        (None, Some(MetadataRecord::encode(self)))
    }

    fn decode(_key: Option<Bytes>, value: Option<Bytes>) -> Result<MetadataRecord, Malformed> {
        MetadataRecord::decode(value.ok_or(Malformed("a metadata record without a value"))?)
    }
}

impl Controller {
    /// The metadata, with what is not committed yet.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    fn register(
        &self,
        cx: &Cx<'_>,
        broker: BrokerId,
        incarnation: Uuid,
        directory: Uuid,
        advertised: (String, u16),
    ) -> (Vec<MetadataRecord>, Reply) {
        if let Some(known) = self.image.broker(broker).filter(|b| b.incarnation == incarnation) {
            return (Vec::new(), Reply::Registered(known.epoch));
        }
        let epoch = BrokerEpoch(cx.next_offset.0);
        let (host, port) = advertised;
        let listener = BrokerEndpoint { name: "PLAINTEXT".to_string(), host, port, ..BrokerEndpoint::default() };
        let mut records = alloc::vec![MetadataRecord::RegisterBroker(RegisterBrokerRecord {
            broker_id: broker.0,
            incarnation_id: incarnation,
            broker_epoch: epoch.0,
            end_points: alloc::vec![listener],
            fenced: true,
            log_dirs: alloc::vec![directory],
            ..RegisterBrokerRecord::default()
        })];
        let led = self.image.partitions().filter(|(_, p)| p.leader == Some(broker));
        records.extend(led.map(|(log, _)| leader_change(log, -1)));
        (records, Reply::Registered(epoch))
    }

    fn heartbeat(&self, broker: BrokerId, epoch: BrokerEpoch, image: Offset) -> (Vec<MetadataRecord>, Reply) {
        let Some(known) = self.image.broker(broker).filter(|b| b.epoch == epoch) else {
            return (Vec::new(), Reply::Heartbeat(Err(error::STALE_BROKER_EPOCH)));
        };
        if !known.fenced || image.0 <= epoch.0 {
            return (Vec::new(), Reply::Heartbeat(Ok(known.fenced)));
        }
        let unfence = BrokerRegistrationChangeRecord {
            broker_id: broker.0,
            broker_epoch: epoch.0,
            fenced: -1,
            ..BrokerRegistrationChangeRecord::default()
        };
        let mut records = alloc::vec![MetadataRecord::BrokerRegistrationChange(unfence)];
        let leaderless = self.image.partitions().filter(|(_, p)| p.leader.is_none() && p.isr.contains(&broker));
        records.extend(leaderless.map(|(log, _)| leader_change(log, broker.0)));
        (records, Reply::Heartbeat(Ok(false)))
    }

    fn assign(&self, broker: BrokerId, directory: Uuid, logs: &[LogId]) -> Vec<MetadataRecord> {
        let assign = |log: &LogId| {
            let (_, partition) = self.image.partition(*log)?;
            let at = partition.replicas.iter().position(|b| *b == broker)?;
            if partition.directory_of(broker) == Some(directory) {
                return None;
            }
            let mut directories = partition.directories.to_vec();
            directories.resize(partition.replicas.len(), Uuid::ZERO);
            directories[at] = directory;
            Some(MetadataRecord::PartitionChange(PartitionChangeRecord {
                partition_id: log.partition,
                topic_id: log.topic,
                directories: Some(directories),
                ..PartitionChangeRecord::default()
            }))
        };
        logs.iter().filter_map(assign).collect()
    }

    fn administer(&self, cx: &mut Cx<'_>, request: &AdminRequest) -> (Vec<MetadataRecord>, Response) {
        match request {
            AdminRequest::CreateTopics(r) => topics::create(&self.image, cx, r),
            AdminRequest::DeleteTopics(r) => {
                if !Layers::of_file(cx.file).delete_topics() {
                    let why = "Topics cannot be deleted: delete.topic.enable is false.";
                    return (Vec::new(), request.refuse(error::TOPIC_DELETION_DISABLED, why));
                }
                deletion::delete(&self.image, r)
            }
            AdminRequest::CreatePartitions(r) => partitions::create(&self.image, r),
            AdminRequest::AlterConfigs(r) => configs::alter(&self.image, r),
            AdminRequest::IncrementalAlterConfigs(r) => configs::alter_some(&self.image, r),
        }
    }

    fn allocate(&self, broker: BrokerId) -> (Vec<MetadataRecord>, Reply) {
        let first = self.image.next_producer_id();
        let Some(next) = first.checked_add(i64::from(PRODUCER_ID_BLOCK)) else {
            return (Vec::new(), Reply::ProducerIds(Err(error::UNKNOWN_SERVER_ERROR)));
        };
        let broker_epoch = self.image.broker(broker).map_or(-1, |b| b.epoch.0);
        let record = ProducerIdsRecord { broker_id: broker.0, broker_epoch, next_producer_id: next };
        (alloc::vec![MetadataRecord::ProducerIds(record)], Reply::ProducerIds(Ok((first, PRODUCER_ID_BLOCK))))
    }
}

/// A refusal: Kafka's error code and a sentence.
type Refused = (i16, String);

fn leader_change(log: LogId, leader: i32) -> MetadataRecord {
    MetadataRecord::PartitionChange(PartitionChangeRecord {
        partition_id: log.partition,
        topic_id: log.topic,
        leader,
        ..PartitionChangeRecord::default()
    })
}

impl Machine for Controller {
    type Command = Command;
    type Event = core::convert::Infallible;
    type Record = MetadataRecord;
    type Reply = Reply;
    type Work = core::convert::Infallible;
    type Soft = ();

    fn decide(&self, _soft: &mut (), cx: &mut Cx<'_>, caller: Caller, command: Command) -> Decision<Self> {
        let (records, reply) = match command {
            Command::Register { broker, incarnation, directory, advertised } => {
                self.register(cx, broker, incarnation, directory, advertised)
            }
            Command::Heartbeat { broker, epoch, image } => self.heartbeat(broker, epoch, image),
            Command::Assign { broker, directory, logs } => (self.assign(broker, directory, &logs), Reply::Assigned),
            Command::Admin(request) => {
                let (records, response) = self.administer(cx, &request);
                (records, Reply::Admin(response))
            }
            Command::AllocateProducerIds { broker } => self.allocate(broker),
        };
        Decision::append(records, caller, reply)
    }

    fn hear(&self, _soft: &mut (), _cx: &mut Cx<'_>, event: Self::Event) -> Decision<Self> {
        match event {}
    }

    fn apply(&mut self, _offset: Offset, entry: Entry<MetadataRecord>) {
        match entry {
            Entry::Record(record) => {
                self.image.apply(&record);
            }
            // Transactions on the metadata log (KIP-868) are not written.
            Entry::Marker { .. } => {}
        }
    }

    fn deadline(&self, _soft: &()) -> Option<Instant> {
        None
    }

    fn expire(&self, _soft: &mut (), _cx: &mut Cx<'_>) -> Decision<Self> {
        Decision::default()
    }

    fn owed(&self) -> Vec<Self::Work> {
        Vec::new()
    }
}
