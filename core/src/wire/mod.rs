//! Kafka's frames, turned into values and back. Versions live only here.
//!
//! [`SUPPORTED`] is the one list of what is spoken. A request leaves with its version's meaning in named fields; an
//! answer needs only the version to be written. Decoding never panics and is strict: what Kafka would overlook (bytes
//! left over, bad UTF-8, tags out of order) is [`Malformed`]. Knows no rule of any API.
//! Headers: KIP-482 (flexible versions), KIP-511 (ApiVersions).

mod admin;
mod api_versions;
mod codec;
mod common;
mod configs;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
pub mod error;
mod fetch;
mod frame;
mod init_producer_id;
pub mod list_offsets;
mod metadata;
mod offset_for_leader_epoch;
mod produce;
mod records;
pub mod schema;
mod table;
#[cfg(test)]
mod tests;

pub use admin::AdminRequest;
pub use api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey};
pub use codec::{EXPANSION, Malformed, Nullable, SLACK, Text};
pub use common::{LeaderIdAndEpoch, NodeEndpoint, TopicRef};
pub use configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse, AlterableConfig,
    ConfigResource, DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResource, IncrementalAlterConfigsResponse, IncrementalAlterableConfig,
    ListConfigResourcesRequest, ListConfigResourcesResponse,
};
pub use create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};
pub use create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicConfigs, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};
pub use delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopic, DeleteRecordsTopicResult,
};
pub use delete_topics::{DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
pub use describe_cluster::{
    BROKER_ENDPOINTS, CONTROLLER_ENDPOINTS, DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
pub use describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};
pub use describe_producers::{
    DescribeProducersPartition, DescribeProducersRequest, DescribeProducersResponse, DescribeProducersTopic,
    DescribeProducersTopicResult, ProducerState,
};
pub use describe_quorum::{
    DescribeQuorumNode, DescribeQuorumPartition, DescribeQuorumPartitionResponse, DescribeQuorumRequest,
    DescribeQuorumResponse, DescribeQuorumTopic, DescribeQuorumTopicResponse, QuorumListener, QuorumReplicaState,
};
pub use describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic, TopicRequest,
};
pub use fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
    FetchableTopicResponse, ForgottenTopic, PartitionData, Records, ReplicaState, SnapshotId,
};
pub use frame::{
    Api, ApiKey, Encoded, Hole, Incoming, Refusal, Request, Response, SUPPORTED, append_response, decode_request,
    decode_response, encode_request, encode_response,
};
pub use init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
pub use list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
    ListOffsetsTopicResponse,
};
pub use metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic, OPERATIONS_NOT_ASKED,
};
pub use offset_for_leader_epoch::{
    EpochEnd, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopic, OffsetForLeaderTopicResult,
};
pub use produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData, TopicProduceResponse,
};
pub use records::{
    BrokerEndpoint, BrokerFeature, BrokerRegistrationChangeRecord, ConfigRecord, FeatureLevelRecord,
    LeaderChangeMessage, MetadataRecord, NoOpRecord, PartitionChangeRecord, PartitionRecord, ProducerIdsRecord,
    RegisterBrokerRecord, RemoveTopicRecord, TopicRecord, Voter,
};
