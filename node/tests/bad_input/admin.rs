//! Requests about topics, partitions, configs and producers that cannot be granted: refused, and nothing is changed.

use crate::common::{Client, fetch, fetched};
use crate::rig::{Rig, entry};
use klamm_core::ids::Uuid;
use klamm_core::wire::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatePartitionsRequest, CreatePartitionsTopic,
    CreateTopicsRequest, DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic, DeleteTopicState,
    DeleteTopicsRequest, DescribeConfigsRequest, DescribeConfigsResource, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResource, IncrementalAlterableConfig, InitProducerIdRequest, ListConfigResourcesRequest,
    MetadataRequest, MetadataRequestTopic, Response, error,
};

const TOPIC: i8 = 2;

/// Names of the topics that there are.
fn topics(client: &mut Client) -> Vec<String> {
    let request = MetadataRequest { allow_auto_topic_creation: false, ..MetadataRequest::default() };
    let Response::Metadata(answer) = client.ask(9, request) else { panic!() };
    answer.topics.into_iter().filter_map(|topic| topic.name).collect()
}

fn topic(name: &str) -> CreatableTopic {
    CreatableTopic { name: name.into(), num_partitions: 1, replication_factor: 1, ..CreatableTopic::default() }
}

fn create(rig: &mut Rig, topics: Vec<CreatableTopic>) -> Vec<i16> {
    let request = CreateTopicsRequest { topics, ..CreateTopicsRequest::default() };
    let Response::CreateTopics(answer) = rig.ask(5, request) else { panic!() };
    answer.topics.iter().map(|topic| topic.error_code).collect()
}

/// Each of these is refused, and no topic is there that was not before.
fn uncreatable(name: &str, cases: Vec<(CreatableTopic, i16)>) {
    entry(name, |rig| {
        rig.connect().create_topic("a.b", 1);
        for (topic, code) in cases {
            let what = format!("{topic:?}");
            assert_eq!(create(rig, vec![topic]), [code], "{what}");
        }
        assert_eq!(topics(&mut rig.connect()), ["a.b", "polite"]);
    });
}

#[test]
fn the_clusters_own_topic() {
    uncreatable("own-topic", vec![(topic("__cluster_metadata"), error::INVALID_REQUEST)]);
}

#[test]
fn names_that_are_none() {
    let long = "x".repeat(250);
    let names = ["", ".", "..", "a/b", "../a", "a b", "ä", "a\0", &long];
    let mut cases: Vec<_> = names.map(|name| (topic(name), error::INVALID_TOPIC_EXCEPTION)).into();
    cases.push((topic("a_b"), error::INVALID_TOPIC_EXCEPTION));
    cases.push((topic("a.b"), error::TOPIC_ALREADY_EXISTS));
    uncreatable("names", cases);
}

#[test]
fn counts_of_partitions_that_cannot_be() {
    let of = |num_partitions| CreatableTopic { num_partitions, ..topic("t") };
    let mut cases: Vec<_> = [0, -2, i32::MIN].map(|count| (of(count), error::INVALID_PARTITIONS)).into();
    cases.extend([10_001, i32::MAX].map(|count| (of(count), error::POLICY_VIOLATION)));
    uncreatable("counts", cases);
}

#[test]
fn replication_factors_that_cannot_be() {
    let of = |replication_factor| CreatableTopic { replication_factor, ..topic("t") };
    let cases = [0, -2, 2, i16::MAX, i16::MIN].map(|factor| (of(factor), error::INVALID_REPLICATION_FACTOR));
    uncreatable("factors", cases.into());
}

#[test]
fn assignments_that_cannot_be() {
    let of = |assigned: &[(i32, &[i32])]| {
        let assignment = |(partition_index, broker_ids): &(i32, &[i32])| CreatableReplicaAssignment {
            partition_index: *partition_index,
            broker_ids: broker_ids.to_vec(),
        };
        let assignments = assigned.iter().map(assignment).collect();
        CreatableTopic { num_partitions: -1, replication_factor: -1, assignments, ..topic("t") }
    };
    let bad = [of(&[(0, &[])]), of(&[(0, &[9])]), of(&[(0, &[1, 1])]), of(&[(1, &[1])]), of(&[(0, &[1]), (0, &[1])])];
    let mut cases: Vec<_> = bad.map(|topic| (topic, error::INVALID_REPLICA_ASSIGNMENT)).into();
    let with_count = CreatableTopic { num_partitions: 1, ..of(&[(0, &[1])]) };
    cases.push((with_count, error::INVALID_REQUEST));
    uncreatable("assignments", cases);
}

#[test]
fn configs_that_are_none() {
    let of = |name: &str, value: Option<&str>| {
        let config = CreatableTopicConfig { name: name.into(), value: value.map(Into::into) };
        CreatableTopic { configs: vec![config], ..topic("t") }
    };
    let bad = [
        of("", Some("")),
        of("no.such.key", Some("1")),
        of("retention.ms", Some("soon")),
        of("retention.ms", Some("9223372036854775808")),
        of("retention.ms", None),
        of("max.message.bytes", Some("-1")),
        of("cleanup.policy", Some("neither")),
    ];
    uncreatable("configs", bad.map(|topic| (topic, error::INVALID_CONFIG)).into());
}

#[test]
fn a_topic_named_twice_is_answered_once() {
    entry("named-twice", |rig| {
        assert_eq!(create(rig, vec![topic("t"), topic("t"), topic("u")]), [error::INVALID_REQUEST, error::NONE]);
        assert_eq!(topics(&mut rig.connect()), ["polite", "u"]);
    });
}

/// The first of them fill what one request may create; the others are looked at all the same.
#[test]
fn thirty_thousand_topics_that_may_not_be() {
    entry("thirty-thousand", |rig| {
        let many =
            (0..30_000).map(|at| CreatableTopic { num_partitions: 10_001, ..topic(&format!("t{at}")) }).collect();
        assert_eq!(create(rig, many), [error::POLICY_VIOLATION; 30_000]);
    });
}

#[test]
fn topics_that_cannot_be_deleted() {
    entry("deleted", |rig| {
        rig.connect().create_topic("t", 1);
        let named = |name: &str| DeleteTopicState { name: Some(name.into()), topic_id: Uuid::ZERO };
        let cases = [
            (named("no-such"), error::UNKNOWN_TOPIC_OR_PARTITION),
            (named("__cluster_metadata"), error::UNKNOWN_TOPIC_OR_PARTITION),
            (DeleteTopicState { topic_id: Uuid::from_halves(9, 9), ..named("t") }, error::INVALID_REQUEST),
            (DeleteTopicState { name: None, topic_id: Uuid::ZERO }, error::INVALID_REQUEST),
            (DeleteTopicState { name: None, topic_id: Uuid::from_halves(9, 9) }, error::UNKNOWN_TOPIC_ID),
            (named("t"), error::INVALID_REQUEST),
        ];
        let (mut topics_asked, codes): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
        // Named twice and answered once.
        topics_asked.push(named("t"));
        let request = DeleteTopicsRequest { topics: topics_asked, ..DeleteTopicsRequest::default() };
        let Response::DeleteTopics(answer) = rig.ask(6, request) else { panic!() };
        assert_eq!(answer.responses.iter().map(|r| r.error_code).collect::<Vec<_>>(), codes);
        assert_eq!(topics(&mut rig.connect()), ["polite", "t"]);
    });
}

#[test]
fn partitions_that_cannot_be_added() {
    entry("added", |rig| {
        rig.connect().create_topic("t", 2);
        let of = |name: &str, count| CreatePartitionsTopic { name: name.into(), count, ..Default::default() };
        let cases = [
            (of("t", 2), error::INVALID_PARTITIONS),
            (of("t", 1), error::INVALID_PARTITIONS),
            (of("t", -1), error::INVALID_PARTITIONS),
            (of("t", i32::MIN), error::INVALID_PARTITIONS),
            (of("t", 10_003), error::POLICY_VIOLATION),
            // Kafka, asked for 20,000, answered -1 and made 10,000.
            (of("t", 20_000), error::POLICY_VIOLATION),
            (of("t", i32::MAX), error::POLICY_VIOLATION),
            (of("no-such", 3), error::UNKNOWN_TOPIC_OR_PARTITION),
            (CreatePartitionsTopic { assignments: Some(Vec::new()), ..of("t", 3) }, error::INVALID_REPLICA_ASSIGNMENT),
        ];
        for (topic, code) in cases {
            let what = format!("{topic:?}");
            let request = CreatePartitionsRequest { topics: vec![topic], ..CreatePartitionsRequest::default() };
            let Response::CreatePartitions(answer) = rig.ask(2, request) else { panic!() };
            assert_eq!(answer.results[0].error_code, code, "{what}");
        }
        let request = CreatePartitionsRequest { topics: vec![of("t", 3), of("t", 4)], ..Default::default() };
        let Response::CreatePartitions(answer) = rig.ask(2, request) else { panic!() };
        assert_eq!(answer.results.iter().map(|r| r.error_code).collect::<Vec<_>>(), [error::INVALID_REQUEST]);
        let Response::Fetch(answer) = rig.ask(11, fetch("t", 2, 0, 0)) else { panic!() };
        assert_eq!(answer.responses[0].partitions[0].error_code, error::UNKNOWN_TOPIC_OR_PARTITION);
    });
}

#[test]
fn records_that_cannot_be_deleted() {
    entry("delete-records", |rig| {
        let mut client = rig.connect();
        client.create_topic("t", 1);
        client.produce("t", 0, &["a", "b"]);
        let cases = [
            ("t", 0, 3, error::OFFSET_OUT_OF_RANGE),
            ("t", 0, i64::MAX, error::OFFSET_OUT_OF_RANGE),
            ("t", 0, -2, error::OFFSET_OUT_OF_RANGE),
            ("t", 1, 0, error::UNKNOWN_TOPIC_OR_PARTITION),
            ("no-such", 0, 0, error::UNKNOWN_TOPIC_OR_PARTITION),
        ];
        for (name, partition_index, offset, code) in cases {
            let partitions = vec![DeleteRecordsPartition { partition_index, offset }];
            let topics = vec![DeleteRecordsTopic { name: name.into(), partitions }];
            let request = DeleteRecordsRequest { topics, timeout_ms: 5_000 };
            let Response::DeleteRecords(answer) = rig.ask(2, request) else { panic!() };
            assert_eq!(answer.topics[0].partitions[0].error_code, code, "{name} {partition_index} {offset}");
        }
        assert!(!fetched(&rig.ask(11, fetch("t", 0, 0, 0))).is_empty());
    });
}

fn alter(rig: &mut Rig, kind: i8, name: &str, configs: &[(&str, i8, Option<&str>)]) -> i16 {
    let config = |(name, config_operation, value): &(&str, i8, Option<&str>)| IncrementalAlterableConfig {
        name: (*name).into(),
        config_operation: *config_operation,
        value: value.map(Into::into),
    };
    let resource = IncrementalAlterConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configs: configs.iter().map(config).collect(),
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let Response::IncrementalAlterConfigs(answer) = rig.ask(1, request) else { panic!() };
    answer.responses[0].error_code
}

#[test]
fn configs_that_cannot_be_altered() {
    entry("altered", |rig| {
        rig.connect().create_topic("t", 1);
        let good = ("retention.ms", 0, Some("1000"));
        assert_eq!(alter(rig, TOPIC, "t", &[("no.such", 0, Some("1"))]), error::INVALID_CONFIG);
        assert_eq!(alter(rig, TOPIC, "t", &[good, ("max.message.bytes", 0, Some("x"))]), error::INVALID_CONFIG);
        assert_eq!(alter(rig, TOPIC, "t", &[("retention.ms", 0, None)]), error::INVALID_REQUEST);
        assert_eq!(alter(rig, TOPIC, "t", &[good, good]), error::INVALID_REQUEST);
        assert_eq!(alter(rig, TOPIC, "t", &[("retention.ms", 2, Some("1"))]), error::INVALID_CONFIG);
        assert_eq!(alter(rig, TOPIC, "t", &[("retention.ms", 7, Some("1"))]), error::INVALID_REQUEST);
        assert_eq!(alter(rig, TOPIC, "no-such", &[good]), error::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(alter(rig, 99, "t", &[good]), error::INVALID_REQUEST);
        assert_eq!(alter(rig, 4, "01", &[("num.partitions", 0, Some("1"))]), error::INVALID_REQUEST);
        // All or nothing: the good one beside a bad one was not set.
        let resource = DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: "t".into(),
            configuration_keys: Some(vec!["retention.ms".into()]),
        };
        let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
        let Response::DescribeConfigs(answer) = rig.ask(4, request) else { panic!() };
        assert_eq!(answer.results[0].configs[0].value.as_deref(), Some("-1"));
    });
}

/// Each answer is a thousand times its question: only the first is given.
#[test]
fn configs_of_one_topic_ten_thousand_times() {
    entry("described", |rig| {
        rig.connect().create_topic("t", 1);
        let resource =
            DescribeConfigsResource { resource_type: TOPIC, resource_name: "t".into(), configuration_keys: None };
        let resources = vec![resource; 10_000];
        let request = DescribeConfigsRequest { resources, include_synonyms: true, include_documentation: true };
        let Response::DescribeConfigs(answer) = rig.ask(4, request) else { panic!() };
        let codes: Vec<i16> = answer.results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes[..2], [error::NONE, error::INVALID_REQUEST]);
        assert_eq!(codes.len(), 10_000);
    });
}

#[test]
fn resources_of_a_type_that_does_not_exist() {
    entry("resource-type", |rig| {
        let request = ListConfigResourcesRequest { resource_types: vec![99], ..ListConfigResourcesRequest::default() };
        let Response::ListConfigResources(answer) = rig.ask(1, request) else { panic!() };
        assert_eq!(answer.error_code, error::UNSUPPORTED_VERSION);
    });
}

#[test]
fn metadata_of_a_hundred_thousand_topics_that_are_not_there() {
    entry("metadata-many", |rig| {
        let named = |at: u32| MetadataRequestTopic { name: Some(format!("t{at}")), ..MetadataRequestTopic::default() };
        let topics = Some((0..100_000).map(named).collect());
        let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..MetadataRequest::default() };
        let Response::Metadata(answer) = rig.ask(9, request) else { panic!() };
        assert_eq!(answer.topics.len(), 100_000);
        assert!(answer.topics.iter().all(|topic| topic.error_code == error::UNKNOWN_TOPIC_OR_PARTITION));
    });
}

#[test]
fn topics_that_are_not_made_by_asking_for_them() {
    entry("auto", |rig| {
        let names = ["", "..", "a/b", "__cluster_metadata"];
        let named = |name: &str| MetadataRequestTopic { name: Some(name.into()), ..MetadataRequestTopic::default() };
        let topics_asked = Some(names.map(named).into());
        let request = MetadataRequest { topics: topics_asked, ..MetadataRequest::default() };
        let Response::Metadata(answer) = rig.ask(9, request) else { panic!() };
        assert!(answer.topics.iter().all(|topic| topic.error_code != error::NONE), "{:?}", answer.topics);
        assert_eq!(topics(&mut rig.connect()), ["polite"]);
    });
}

#[test]
fn producers_that_cannot_be() {
    entry("producers", |rig| {
        let of = |transactional_id: Option<&str>, producer_id, producer_epoch| InitProducerIdRequest {
            transactional_id: transactional_id.map(Into::into),
            producer_id,
            producer_epoch,
            ..InitProducerIdRequest::default()
        };
        for (request, code) in [
            (of(Some(""), -1, -1), error::INVALID_REQUEST),
            (of(None, 7, -1), error::INVALID_REQUEST),
            (of(None, -1, 7), error::INVALID_REQUEST),
            (of(Some("nobody's"), -1, -1), error::COORDINATOR_NOT_AVAILABLE),
        ] {
            let Response::InitProducerId(answer) = rig.ask(4, request) else { panic!() };
            assert_eq!((answer.error_code, answer.producer_id), (code, -1));
        }
    });
}
