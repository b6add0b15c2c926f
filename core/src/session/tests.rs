//! Order of answers, and what the image alone answers.

use alloc::string::{String, ToString};
use alloc::vec;

use super::*;
use crate::ids::{BrokerId, Uuid};
use crate::metadata::configs::Configs;
use crate::metadata::{BROKER_RESOURCE, Image, TOPIC_RESOURCE};
use crate::wire::{
    ApiVersionsRequest, ApiVersionsResponse, ConfigRecord, Cursor, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeConfigsResource, DescribeConfigsResult, DescribeTopicPartitionsRequest, ListConfigResourcesRequest,
    MetadataRecord, Nullable, PartitionRecord, RegisterBrokerRecord, Response, TopicRecord, TopicRequest, error,
};

/// Broker 1 (unfenced) and 2 (fenced); topics `clicks` of 3 partitions and `orders` of 2, led by 1.
fn image() -> Image {
    let mut image = Image::default();
    for (broker_id, fenced) in [(1, false), (2, true)] {
        let register = RegisterBrokerRecord { broker_id, fenced, ..Default::default() };
        image.apply(&MetadataRecord::RegisterBroker(register));
    }
    for (n, name, partitions) in [(1, "clicks", 3), (2, "orders", 2)] {
        let topic_id = Uuid::from_halves(9, n);
        image.apply(&MetadataRecord::Topic(TopicRecord { name: name.into(), topic_id }));
        for partition_id in 0..partitions {
            image.apply(&MetadataRecord::Partition(PartitionRecord {
                partition_id,
                topic_id,
                replicas: vec![1, 2],
                isr: vec![1],
                leader: 1,
                leader_epoch: 0,
                partition_epoch: 0,
                ..Default::default()
            }));
        }
    }
    image
}

fn set(image: &mut Image, resource_type: i8, resource_name: &str, name: &str, value: &str) {
    image.apply(&MetadataRecord::Config(ConfigRecord {
        resource_type,
        resource_name: resource_name.into(),
        name: name.into(),
        value: Some(value.into()),
    }));
}

fn describe(image: &Image, file: &Configs, kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configuration_keys: keys.map(|keys| keys.iter().map(ToString::to_string).collect()),
    };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, include_documentation: true };
    configs::describe(image, &request, BrokerId(1), file).results.remove(0)
}

#[test]
fn all_configs_of_a_topic_are_described_or_those_that_are_named() {
    let (image, file) = (image(), Configs::new());
    for keys in [None, Some(&[][..])] {
        let all = describe(&image, &file, TOPIC_RESOURCE, "orders", keys);
        assert_eq!((all.error_code, all.configs.len()), (0, 33));
        assert!(all.configs.iter().all(|c| c.documentation.is_some() && c.config_type > 0 && c.config_source == 5));
    }
    let one = describe(&image, &file, TOPIC_RESOURCE, "orders", Some(&["retention.ms", "no.such.key"]));
    let names: Vec<&str> = one.configs.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["retention.ms"]);
}

#[test]
fn a_value_says_where_it_comes_from() {
    let mut image = image();
    let file = Configs::from([("log.segment.bytes".to_string(), "4000000".to_string())]);
    set(&mut image, TOPIC_RESOURCE, "orders", "segment.bytes", "1000000000");
    set(&mut image, BROKER_RESOURCE, "1", "log.segment.bytes", "2000000");
    set(&mut image, BROKER_RESOURCE, "", "log.segment.bytes", "3000000");
    let chain = |result: DescribeConfigsResult| -> (String, i8, Vec<(String, i8)>) {
        let config = &result.configs[0];
        let synonyms = config.synonyms.iter().map(|s| (s.value.clone().unwrap(), s.source)).collect();
        (config.value.clone().unwrap(), config.config_source, synonyms)
    };
    let entry = |value: &str, source| (value.to_string(), source);
    let broker = [entry("2000000", 2), entry("3000000", 3), entry("4000000", 4), entry("1073741824", 5)];
    let own = chain(describe(&image, &file, TOPIC_RESOURCE, "orders", Some(&["segment.bytes"])));
    let mut all = vec![entry("1000000000", 1)];
    all.extend(broker.clone());
    assert_eq!(own, ("1000000000".into(), 1, all));
    let other = chain(describe(&image, &file, TOPIC_RESOURCE, "clicks", Some(&["segment.bytes"])));
    assert_eq!(other, ("2000000".into(), 2, broker.to_vec()));
    let key = Some(&["log.segment.bytes"][..]);
    assert_eq!(chain(describe(&image, &file, BROKER_RESOURCE, "1", key)), ("2000000".into(), 2, broker.to_vec()));
    let cluster = chain(describe(&image, &file, BROKER_RESOURCE, "", key));
    assert_eq!((cluster.0.as_str(), cluster.1), ("3000000", 3));
    assert_eq!(describe(&image, &file, BROKER_RESOURCE, "", None).configs.len(), 1, "only what was set");
}

#[test]
fn the_brokers_configs_are_read_only_unless_dynamic_and_secrets_are_not_told() {
    let pairs = [("num.partitions", "3"), ("ssl.keystore.password", "hunter2"), ("listeners", "PLAINTEXT://:9092")];
    let file: Configs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let all = describe(&image(), &file, BROKER_RESOURCE, "1", None).configs;
    assert!(all.is_sorted_by_key(|c| c.name.clone()));
    let find = |name: &str| all.iter().find(|c| c.name == name).cloned().expect(name);
    let (count, bytes) = (find("num.partitions"), find("message.max.bytes"));
    assert_eq!((count.value.as_deref(), count.config_source, count.read_only), (Some("3"), 4, true));
    assert_eq!((bytes.value.as_deref(), bytes.config_source, bytes.read_only), (Some("1048588"), 5, false));
    assert_eq!(find("listeners").value.as_deref(), Some("PLAINTEXT://:9092"));
    let secret = find("ssl.keystore.password");
    assert_eq!((secret.value, secret.is_sensitive, secret.config_type), (None, true, 9));
    assert!(secret.synonyms.is_empty());
}

#[test]
fn configs_of_what_is_not_there() {
    let (image, file) = (image(), Configs::new());
    for (kind, name, code) in [
        (TOPIC_RESOURCE, "nobody", error::UNKNOWN_TOPIC_OR_PARTITION),
        (TOPIC_RESOURCE, "a/b", error::INVALID_TOPIC_EXCEPTION),
        (BROKER_RESOURCE, "2", error::INVALID_REQUEST),
        (BROKER_RESOURCE, "one", error::INVALID_REQUEST),
        (8, "1", error::NONE),
        (8, "2", error::INVALID_REQUEST),
        (16, "any", error::NONE),
        (16, "", error::INVALID_REQUEST),
        (32, "any", error::NONE),
        (32, "", error::INVALID_REQUEST),
        (77, "x", error::INVALID_REQUEST),
    ] {
        let result = describe(&image, &file, kind, name, None);
        assert_eq!((result.error_code, result.configs.len()), (code, 0), "{kind} {name}");
    }
}

#[test]
fn what_has_configs() {
    let list = |resource_types: &[i8], all_types| {
        let request = ListConfigResourcesRequest { resource_types: resource_types.to_vec(), all_types };
        let response = configs::resources(&image(), &request);
        let names: Vec<String> = response.config_resources.into_iter().map(|c| c.resource_name).collect();
        (response.error_code, names.join(" "))
    };
    assert_eq!(list(&[], true), (0, "clicks orders 1 2 1 2".into()), "each broker's loggers too");
    assert_eq!(list(&[TOPIC_RESOURCE], true), (0, "clicks orders".into()));
    assert_eq!(list(&[16], true), (0, String::new()));
    assert_eq!(list(&[], false), (0, String::new()), "version 0 asks for client metrics");
    assert_eq!(list(&[2, 99], true), (error::UNSUPPORTED_VERSION, String::new()));
}

#[test]
fn the_cluster_is_described_to_brokers_clients() {
    let ask = |endpoint_type, include_fenced_brokers| {
        let request = DescribeClusterRequest { endpoint_type, include_fenced_brokers, ..Default::default() };
        let response = cluster::describe(&image(), &request, "a-cluster", BrokerId(1));
        let brokers: Vec<(i32, bool)> = response.brokers.iter().map(|b| (b.broker_id, b.is_fenced)).collect();
        (response.error_code, response.cluster_id, response.controller_id, brokers)
    };
    assert_eq!(ask(1, false), (0, "a-cluster".into(), 1, vec![(1, false)]));
    assert_eq!(ask(1, true).3, [(1, false), (2, true)]);
    assert_eq!(ask(2, false), (error::MISMATCHED_ENDPOINT_TYPE, String::new(), -1, vec![]));
    assert_eq!(ask(3, false).0, error::UNSUPPORTED_ENDPOINT_TYPE);
}

/// Topics with partitions, and where the next page begins.
type Page = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

fn page(topics: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> Page {
    let cursor = cursor.map(|(name, partition_index)| Cursor { topic_name: name.into(), partition_index });
    let request = DescribeTopicPartitionsRequest {
        topics: topics.iter().map(|name| TopicRequest { name: name.to_string() }).collect(),
        response_partition_limit: limit,
        cursor: Nullable(cursor),
    };
    let response = cluster::partitions(&image(), &request);
    let topics = response.topics.into_iter().map(|t| {
        let indexes = t.partitions.iter().map(|p| p.partition_index).collect();
        (t.name.unwrap_or_default(), t.error_code, indexes)
    });
    (topics.collect(), response.next_cursor.0.map(|c| (c.topic_name, c.partition_index)))
}

#[test]
fn partitions_come_page_by_page_and_each_once() {
    let all = page(&[], 2_000, None);
    assert_eq!(all, (vec![("clicks".into(), 0, vec![0, 1, 2]), ("orders".into(), 0, vec![0, 1])], None));
    for limit in [1, 2, 3, 4, 5, -7, i32::MAX] {
        let mut seen: Vec<(String, i32)> = Vec::new();
        let mut cursor: Option<(String, i32)> = None;
        for _ in 0..10 {
            let (topics, next) = page(&[], limit, cursor.as_ref().map(|(name, index)| (name.as_str(), *index)));
            let count: usize = topics.iter().map(|t| t.2.len()).sum();
            assert!(count >= 1 && (limit < 1 || count <= limit as usize), "{count} of {limit}");
            seen.extend(topics.into_iter().flat_map(|(name, _, all)| all.into_iter().map(move |p| (name.clone(), p))));
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        let whole = [("clicks", 0), ("clicks", 1), ("clicks", 2), ("orders", 0), ("orders", 1)];
        assert_eq!(seen, whole.map(|(name, p)| (name.to_string(), p)), "limit {limit}");
    }
}

#[test]
fn pages_of_named_topics() {
    assert_eq!(page(&["orders", "orders"], 9, None).0, [("orders".into(), 0, vec![0, 1])]);
    let unknown = page(&["nobody", "a/b"], 9, None).0;
    assert_eq!(
        unknown,
        [
            ("a/b".into(), error::INVALID_TOPIC_EXCEPTION, vec![]),
            ("nobody".into(), error::UNKNOWN_TOPIC_OR_PARTITION, vec![])
        ]
    );
    let orders = [("orders".into(), 0, vec![0, 1])];
    assert_eq!(page(&["clicks", "orders"], 9, Some(("orders", 0))).0, orders, "from the cursor");
    let refused = ["clicks", "orders"].map(|name| (name.into(), error::INVALID_REQUEST, vec![]));
    assert_eq!(page(&["clicks", "orders"], 9, Some(("d", 0))).0, refused, "nobody asked for d");
    assert_eq!(page(&["clicks", "orders"], 9, Some(("orders", -5))).0, refused);
    assert_eq!(page(&[], 9, Some(("d", 0))).0, orders);
    assert_eq!(page(&[], 9, Some(("zebra", 0))), (vec![], None));
}

#[test]
fn the_finalised_features_are_those_of_the_metadata() {
    let response = metadata::api_versions(&ApiVersionsRequest::default(), crate::ids::Offset(17));
    assert_eq!(response.finalized_features_epoch, 17);
    let finalized: Vec<(&str, i16)> =
        response.finalized_features.iter().map(|f| (f.name.as_str(), f.max_version_level)).collect();
    assert_eq!(finalized, [("metadata.version", 30)]);
}

#[test]
fn a_connection_that_goes_gives_back_what_its_waiting_answers_hold() {
    let mut session = Session::new(ConnectionId(1));
    let mut out = Vec::new();
    let slots: Vec<Slot> = (0..2).map(|c| session.begin(c)).collect();
    let held = Range::Leased { lease: 7, bytes: 1, first: 1 };
    let response = Response::ApiVersions(ApiVersionsResponse::default());
    let ending = Ending::Reply { response, ranges: alloc::vec![held.clone()], max_bytes: 1 };
    session.finish(slots[1], ending, &mut out);
    assert!(out.is_empty());
    assert_eq!(session.into_ranges(), [held]);
}

#[test]
fn answers_leave_in_the_order_of_the_requests() {
    let mut session = Session::new(ConnectionId(1));
    let mut out = Vec::new();
    let slots: Vec<Slot> = (10..13).map(|c| session.begin(c)).collect();
    let answer = || Ending::from(Response::ApiVersions(ApiVersionsResponse::default()));
    session.finish(slots[1], Ending::Quiet, &mut out);
    session.finish(slots[2], answer(), &mut out);
    assert!(out.is_empty(), "the first is not answered yet");
    session.finish(slots[0], answer(), &mut out);
    let order: Vec<i32> = out
        .iter()
        .map(|e| match e {
            Effect::Reply { correlation, .. } | Effect::Quiet { correlation, .. } => *correlation,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, [10, 11, 12]);
    assert_eq!(session.in_flight(), 0);
}
