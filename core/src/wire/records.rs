//! Records of `__cluster_metadata` in Kafka's own schemas (KIP-631), and the message of a leader change (KIP-595).
//!
//! A metadata record's value is a frame version, an API key and a message version, all unsigned varints, and then the
//! message, always flexible. We write the newest version of each; older ones read with their defaults.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::codec::{Field, Form, Malformed, Reader, Writer};
use super::table::message;
use crate::ids::Uuid;

const FRAME_VERSION: u32 = 1;

message! {
    /// A topic exists.
    TopicRecord {
        name: String [0..];
        topic_id: Uuid [0..];
    }

    /// A topic is no more, nor are its partitions and configs.
    RemoveTopicRecord {
        topic_id: Uuid [0..];
    }

    /// A partition exists, and this is all of its state.
    PartitionRecord {
        partition_id: i32 [0..] = -1;
        topic_id: Uuid [0..];
        replicas: Vec<i32> [0..];
        isr: Vec<i32> [0..];
        removing_replicas: Vec<i32> [0..];
        adding_replicas: Vec<i32> [0..];
        leader: i32 [0..] = -1;
        leader_recovery_state: i8 [0..] tag 0;
        leader_epoch: i32 [0..] = -1;
        partition_epoch: i32 [0..] = -1;
        directories: Vec<Uuid> [1..];
        eligible_leader_replicas: Option<Vec<i32>> [2..] null [2..] tag 1;
        last_known_elr: Option<Vec<i32>> [2..] null [2..] tag 2;
    }

    /// A config was set, or with a null value deleted.
    ConfigRecord {
        resource_type: i8 [0..];
        resource_name: String [0..];
        name: String [0..];
        value: Option<String> [0..] null [0..];
    }

    /// What changed of a partition: null, -2 and -1 (`leader`, `leader_recovery_state`) say "nothing".
    PartitionChangeRecord {
        partition_id: i32 [0..] = -1;
        topic_id: Uuid [0..];
        isr: Option<Vec<i32>> [0..] null [0..] tag 0;
        leader: i32 [0..] tag 1 = -2;
        replicas: Option<Vec<i32>> [0..] null [0..] tag 2;
        removing_replicas: Option<Vec<i32>> [0..] null [0..] tag 3;
        adding_replicas: Option<Vec<i32>> [0..] null [0..] tag 4;
        leader_recovery_state: i8 [0..] tag 5 = -1;
        eligible_leader_replicas: Option<Vec<i32>> [2..] null [2..] tag 6;
        last_known_elr: Option<Vec<i32>> [2..] null [2..] tag 7;
        directories: Option<Vec<Uuid>> [1..] null [1..] tag 8;
    }

    /// A feature runs at a level.
    FeatureLevelRecord {
        name: String [0..];
        feature_level: i16 [0..];
    }

    /// A block of producer ids was given to a broker.
    ProducerIdsRecord {
        broker_id: i32 [0..];
        broker_epoch: i64 [0..] = -1;
        next_producer_id: i64 [0..];
    }

    /// What changed of a registration: `fenced` -1 unfenced, 1 fenced, 0 neither.
    BrokerRegistrationChangeRecord {
        broker_id: i32 [0..];
        broker_epoch: i64 [0..];
        fenced: i8 [0..] tag 0;
        in_controlled_shutdown: i8 [1..] tag 1;
        log_dirs: Vec<Uuid> [2..] tag 2;
        cordoned_log_dirs: Option<Vec<Uuid>> [3..] null [3..] tag 3;
    }

    /// A broker registered.
    RegisterBrokerRecord {
        broker_id: i32 [0..];
        is_migrating_zk_broker: bool [2..];
        incarnation_id: Uuid [0..];
        broker_epoch: i64 [0..];
        end_points: Vec<BrokerEndpoint> [0..];
        features: Vec<BrokerFeature> [0..];
        rack: Option<String> [0..] null [0..];
        fenced: bool [0..] = true;
        in_controlled_shutdown: bool [1..];
        log_dirs: Vec<Uuid> [3..] tag 0;
        cordoned_log_dirs: Option<Vec<Uuid>> [4..] null [4..] tag 1;
    }

    /// Where a broker listens.
    BrokerEndpoint {
        name: String [0..];
        host: String [0..];
        port: u16 [0..];
        security_protocol: i16 [0..];
    }

    /// The levels of a feature that a broker can run at.
    BrokerFeature {
        name: String [0..];
        min_supported_version: i16 [0..];
        max_supported_version: i16 [0..];
    }

    /// Nothing happened.
    NoOpRecord {}

    /// The value of a leader-change control record.
    LeaderChangeMessage {
        version: i16 [0..];
        leader_id: i32 [0..];
        voters: Vec<Voter> [0..];
        granting_voters: Vec<Voter> [0..];
    }

    /// A voter of the quorum.
    Voter {
        voter_id: i32 [0..];
        voter_directory_id: Uuid [1..];
    }
}

macro_rules! metadata_records {
    ($($(#[$doc:meta])* $variant:ident($record:ident) = $key:literal, 0..=$max:literal;)*) => {
        /// A record of the metadata log.
        #[derive(Clone, Debug, PartialEq)]
        pub enum MetadataRecord {
            $($(#[$doc])* $variant($record),)*
        }

        impl MetadataRecord {
            /// Kafka's key, newest version and table of each.
            pub const SCHEMAS: &'static [(u32, i16, &'static [super::schema::Field])] =
                &[$(($key, $max, $record::SCHEMA)),*];

            /// The value of the record, in its newest version.
            #[must_use]
            pub fn encode(&self) -> Bytes {
                let mut w = Writer::default();
                match self {
                    $(MetadataRecord::$variant(record) => {
                        w.unsigned(FRAME_VERSION);
                        w.unsigned($key);
                        w.unsigned($max);
                        record.encode(&mut w, flexible($max));
                    })*
                }
                Bytes::from(w.out)
            }

            /// From the value of a record.
            ///
            /// # Errors
            /// For a frame, record type or version that this list does not have, and for anything but one message.
            pub fn decode(value: Bytes) -> Result<MetadataRecord, Malformed> {
                let mut r = Reader::new(value);
                if r.unsigned()? != FRAME_VERSION {
                    return Err(Malformed("a metadata record of another frame version"));
                }
                let (key, version) = (r.unsigned()?, r.unsigned()?);
                let record = match (key, version) {
                    $(($key, 0..=$max) => {
                        MetadataRecord::$variant($record::decode(&mut r, flexible(version as i16))?)
                    })*
                    _ => return Err(Malformed("a metadata record of an unknown type or version")),
                };
                r.end()?;
                Ok(record)
            }
        }
    };
}

metadata_records! {
    /// A broker registered.
    RegisterBroker(RegisterBrokerRecord) = 0, 0..=4;
    /// A topic exists.
    Topic(TopicRecord) = 2, 0..=0;
    /// A partition exists.
    Partition(PartitionRecord) = 3, 0..=2;
    /// A config was set or deleted.
    Config(ConfigRecord) = 4, 0..=0;
    /// A partition changed.
    PartitionChange(PartitionChangeRecord) = 5, 0..=2;
    /// A topic is no more.
    RemoveTopic(RemoveTopicRecord) = 9, 0..=0;
    /// A feature runs at a level.
    FeatureLevel(FeatureLevelRecord) = 12, 0..=0;
    /// A block of producer ids was given.
    ProducerIds(ProducerIdsRecord) = 15, 0..=0;
    /// A registration changed.
    BrokerRegistrationChange(BrokerRegistrationChangeRecord) = 17, 0..=3;
    /// Nothing happened.
    NoOp(NoOpRecord) = 20, 0..=0;
}

fn flexible(version: i16) -> Form {
    Form { version, flexible: true, nullable: false }
}

impl LeaderChangeMessage {
    /// The value of the control record, in the version that it names.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::default();
        Field::encode(self, &mut w, flexible(self.version));
        Bytes::from(w.out)
    }

    /// From the value of a control record.
    ///
    /// # Errors
    /// For a version other than 0 and 1, and for anything but one message.
    pub fn decode(value: Bytes) -> Result<LeaderChangeMessage, Malformed> {
        let version = match value.get(..2) {
            Some(&[0, version @ (0 | 1)]) => i16::from(version),
            Some(_) => return Err(Malformed("a leader change of an unknown version")),
            None => return Err(Malformed("a leader change without a version")),
        };
        let mut r = Reader::new(value);
        let message = <LeaderChangeMessage as Field>::decode(&mut r, flexible(version))?;
        r.end()?;
        Ok(message)
    }
}
