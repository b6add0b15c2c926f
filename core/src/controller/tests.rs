//! What admin clients ask of the controller, and that a refusal changes nothing.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::ids::{Now, ProducerId};
use crate::metadata::configs::Configs;
use crate::rng::Rng;
use crate::wire::{
    AlterConfigsRequest, AlterConfigsResource, AlterableConfig, BrokerRegistrationChangeRecord,
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreatePartitionsAssignment,
    CreatePartitionsRequest, CreatePartitionsTopic, CreateTopicsRequest, DeleteTopicState, DeleteTopicsRequest,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource, IncrementalAlterableConfig,
};

/// A controller, the broker's file, and what was decided.
struct World {
    controller: Controller,
    file: Configs,
    offset: i64,
}

impl World {
    /// Brokers 1, 2 and 3; broker 3 is fenced.
    fn new() -> World {
        let mut world = World { controller: Controller::default(), file: Configs::new(), offset: 0 };
        for broker in 1..=3 {
            let register = RegisterBrokerRecord { broker_id: broker, broker_epoch: 7, ..Default::default() };
            world.apply(MetadataRecord::RegisterBroker(register));
            let fenced = if broker == 3 { 0 } else { -1 };
            let change =
                BrokerRegistrationChangeRecord { broker_id: broker, broker_epoch: 7, fenced, ..Default::default() };
            world.apply(MetadataRecord::BrokerRegistrationChange(change));
        }
        world
    }

    fn apply(&mut self, record: MetadataRecord) {
        self.controller.apply(Offset(self.offset), Entry::Record(record));
        self.offset += 1;
    }

    fn decide(&mut self, request: AdminRequest) -> (Vec<MetadataRecord>, Response) {
        let mut rng = Rng::new(self.offset as u64);
        let cx = &mut Cx {
            now: Now::default(),
            next_offset: Offset(self.offset),
            broker: BrokerId(1),
            file: &self.file,
            rng: &mut rng,
        };
        let mut decision = self.controller.decide(&mut (), cx, Caller(0), Command::Admin(request));
        let Some((_, Reply::Admin(response))) = decision.replies.pop() else { panic!("no answer") };
        (decision.records, response)
    }

    /// Asks, and takes in what was decided.
    fn ask(&mut self, request: AdminRequest) -> Response {
        let (records, response) = self.decide(request);
        records.into_iter().for_each(|record| self.apply(record));
        response
    }

    /// Asks; no record may come of it.
    fn refuses(&mut self, request: AdminRequest) -> Response {
        let (records, response) = self.decide(request);
        assert_eq!(records, [], "a refusal changes nothing");
        response
    }

    fn create(&mut self, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
        match self.ask(creation(topics)) {
            Response::CreateTopics(response) => response.topics,
            other => panic!("{other:?}"),
        }
    }

    fn create_code(&mut self, topic: CreatableTopic) -> i16 {
        match self.refuses(creation(vec![topic])) {
            Response::CreateTopics(response) => response.topics[0].error_code,
            other => panic!("{other:?}"),
        }
    }

    fn replicas(&self, topic: &str) -> Vec<Vec<i32>> {
        let topic = self.controller.image().topic(topic).expect("it was created");
        topic.partitions.iter().map(|(_, p)| p.replicas.iter().map(|b| b.0).collect()).collect()
    }
}

fn creation(topics: Vec<CreatableTopic>) -> AdminRequest {
    AdminRequest::CreateTopics(CreateTopicsRequest { topics, ..Default::default() })
}

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic { name: name.to_string(), num_partitions, replication_factor, ..Default::default() }
}

fn by_hand(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = assignments
        .iter()
        .map(|(partition_index, ids)| CreatableReplicaAssignment {
            partition_index: *partition_index,
            broker_ids: ids.to_vec(),
        })
        .collect();
    CreatableTopic { assignments, ..topic(name, -1, -1) }
}

fn named(name: &str) -> DeleteTopicState {
    DeleteTopicState { name: Some(name.to_string()), ..Default::default() }
}

fn by_id(topic_id: Uuid) -> DeleteTopicState {
    DeleteTopicState { topic_id, ..Default::default() }
}

fn deletion(topics: Vec<DeleteTopicState>) -> AdminRequest {
    AdminRequest::DeleteTopics(DeleteTopicsRequest { topics, ..Default::default() })
}

fn deleted(response: Response) -> Vec<i16> {
    match response {
        Response::DeleteTopics(response) => response.responses.iter().map(|t| t.error_code).collect(),
        other => panic!("{other:?}"),
    }
}

fn more(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assignments = assignments
        .map(|all| all.iter().map(|ids| CreatePartitionsAssignment { broker_ids: ids.to_vec() }).collect::<Vec<_>>());
    CreatePartitionsTopic { name: name.to_string(), count, assignments }
}

fn partitions(topics: Vec<CreatePartitionsTopic>) -> AdminRequest {
    AdminRequest::CreatePartitions(CreatePartitionsRequest { topics, ..Default::default() })
}

fn grown(response: Response) -> Vec<(String, i16)> {
    match response {
        Response::CreatePartitions(response) => response.results.into_iter().map(|t| (t.name, t.error_code)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_topic_is_deleted_by_name_or_by_id_and_can_be_created_again() {
    let mut world = World::new();
    let first = world.create(vec![topic("orders", 2, 1), topic("clicks", 1, 1)]);
    assert_eq!(deleted(world.ask(deletion(vec![named("orders"), by_id(first[1].topic_id)]))), [0, 0]);
    assert_eq!(world.controller.image().topics().count(), 0);
    assert_eq!(world.controller.image().name(first[0].topic_id), None);
    let second = world.create(vec![topic("orders", 1, 1)]);
    assert_eq!(second[0].error_code, error::NONE);
    assert_ne!(second[0].topic_id, first[0].topic_id, "another topic");
    assert_eq!(world.replicas("orders").len(), 1, "nothing is left of the first one");
}

#[test]
fn configs_go_with_their_topic() {
    let mut world = World::new();
    let config = CreatableTopicConfig { name: "segment.bytes".into(), value: Some("2000000".into()) };
    world.create(vec![CreatableTopic { configs: vec![config], ..topic("orders", 1, 1) }]);
    world.ask(deletion(vec![named("orders")]));
    world.create(vec![topic("orders", 1, 1)]);
    assert!(world.controller.image().topic("orders").is_some_and(|t| t.configs.is_empty()));
}

#[test]
fn deletions_that_are_refused() {
    let mut world = World::new();
    let id = world.create(vec![topic("orders", 1, 1)])[0].topic_id;
    let both = DeleteTopicState { topic_id: id, ..named("orders") };
    let unknown = Uuid::from_halves(1, 1);
    let refused = deleted(world.refuses(deletion(vec![named("clicks"), by_id(unknown), both, by_id(Uuid::ZERO)])));
    assert_eq!(
        refused,
        [error::UNKNOWN_TOPIC_OR_PARTITION, error::UNKNOWN_TOPIC_ID, error::INVALID_REQUEST, error::INVALID_REQUEST]
    );
    for twice in [vec![named("orders"), by_id(id)], vec![named("orders"), named("orders")]] {
        assert_eq!(deleted(world.refuses(deletion(twice))), [error::INVALID_REQUEST], "answered once");
    }
    world.file.insert("delete.topic.enable".into(), "false".into());
    assert_eq!(deleted(world.refuses(deletion(vec![named("orders")]))), [error::TOPIC_DELETION_DISABLED]);
}

#[test]
fn partitions_are_added_round_robin_or_by_hand() {
    let mut world = World::new();
    world.create(vec![topic("orders", 1, 2)]);
    assert_eq!(world.replicas("orders"), [[1, 2]]);
    let only = CreatePartitionsRequest { topics: vec![more("orders", 3, None)], validate_only: true, timeout_ms: 0 };
    assert_eq!(grown(world.refuses(AdminRequest::CreatePartitions(only))), [("orders".into(), 0)]);
    assert_eq!(grown(world.ask(partitions(vec![more("orders", 3, None)]))), [("orders".into(), 0)]);
    assert_eq!(world.replicas("orders"), [[1, 2], [2, 1], [1, 2]]);
    let hand: &[&[i32]] = &[&[3, 2], &[2, 1]];
    assert_eq!(grown(world.ask(partitions(vec![more("orders", 5, Some(hand))]))), [("orders".into(), 0)]);
    assert_eq!(world.replicas("orders")[3..], [[3, 2], [2, 1]]);
    let added = &world.controller.image().topic("orders").expect("created").partitions[3];
    assert_eq!((added.leader, added.isr.clone()), (Some(BrokerId(2)), vec![BrokerId(2)].into()), "3 is fenced");
}

#[test]
fn partitions_that_are_refused() {
    let mut world = World::new();
    world.create(vec![topic("orders", 2, 1)]);
    for (topic, code) in [
        (more("clicks", 2, None), error::UNKNOWN_TOPIC_OR_PARTITION),
        (more("orders", 2, None), error::INVALID_PARTITIONS),
        (more("orders", 1, None), error::INVALID_PARTITIONS),
        (more("orders", 0, None), error::INVALID_PARTITIONS),
        (more("orders", -1, None), error::INVALID_PARTITIONS),
        (more("orders", i32::MAX, None), error::POLICY_VIOLATION),
        (more("orders", 10_003, None), error::POLICY_VIOLATION),
        (more("orders", 3, Some(&[])), error::INVALID_REPLICA_ASSIGNMENT),
        (more("orders", 3, Some(&[&[1], &[2]])), error::INVALID_REPLICA_ASSIGNMENT),
        (more("orders", 3, Some(&[&[]])), error::INVALID_REPLICA_ASSIGNMENT),
        (more("orders", 3, Some(&[&[9]])), error::INVALID_REPLICA_ASSIGNMENT),
        (more("orders", 3, Some(&[&[1, 1]])), error::INVALID_REPLICA_ASSIGNMENT),
        (more("orders", 3, Some(&[&[1, 2]])), error::INVALID_REPLICA_ASSIGNMENT),
        (more("orders", 3, Some(&[&[3]])), error::INVALID_REPLICA_ASSIGNMENT),
        (more("orders", 4, Some(&[&[1], &[9]])), error::INVALID_REPLICA_ASSIGNMENT),
    ] {
        let name = topic.name.clone();
        assert_eq!(grown(world.refuses(partitions(vec![topic.clone()]))), [(name, code)], "{topic:?}");
    }
    let twice = vec![more("orders", 3, None), more("orders", 4, None)];
    assert_eq!(grown(world.refuses(partitions(twice))), [("orders".into(), error::INVALID_REQUEST)], "one answer");
    assert_eq!(grown(world.ask(partitions(vec![more("orders", 10_002, None)]))), [("orders".into(), 0)]);
}

#[test]
fn topics_that_are_refused() {
    let mut world = World::new();
    world.create(vec![topic("a.b", 1, 1)]);
    let long = "x".repeat(250);
    for (topic, code) in [
        (topic("a.b", 1, 1), error::TOPIC_ALREADY_EXISTS),
        (topic("a_b", 1, 1), error::INVALID_TOPIC_EXCEPTION),
        (topic("", 1, 1), error::INVALID_TOPIC_EXCEPTION),
        (topic("..", 1, 1), error::INVALID_TOPIC_EXCEPTION),
        (topic("a/b", 1, 1), error::INVALID_TOPIC_EXCEPTION),
        (topic(&long, 1, 1), error::INVALID_TOPIC_EXCEPTION),
        (topic("__cluster_metadata", 1, 1), error::INVALID_REQUEST),
        (topic("t", 0, 1), error::INVALID_PARTITIONS),
        (topic("t", -2, 1), error::INVALID_PARTITIONS),
        (topic("t", 10_001, 1), error::POLICY_VIOLATION),
        (topic("t", 1, 0), error::INVALID_REPLICATION_FACTOR),
        (topic("t", 1, 3), error::INVALID_REPLICATION_FACTOR),
        (topic("t", 1, i16::MAX), error::INVALID_REPLICATION_FACTOR),
        (CreatableTopic { num_partitions: 1, ..by_hand("t", &[(0, &[1])]) }, error::INVALID_REQUEST),
        (CreatableTopic { replication_factor: 1, ..by_hand("t", &[(0, &[1])]) }, error::INVALID_REQUEST),
        (by_hand("t", &[(1, &[1])]), error::INVALID_REPLICA_ASSIGNMENT),
        (by_hand("t", &[(0, &[1]), (0, &[2])]), error::INVALID_REPLICA_ASSIGNMENT),
        (by_hand("t", &[(0, &[1]), (2, &[2])]), error::INVALID_REPLICA_ASSIGNMENT),
        (by_hand("t", &[(0, &[])]), error::INVALID_REPLICA_ASSIGNMENT),
        (by_hand("t", &[(0, &[9])]), error::INVALID_REPLICA_ASSIGNMENT),
        (by_hand("t", &[(0, &[1, 1])]), error::INVALID_REPLICA_ASSIGNMENT),
        (by_hand("t", &[(0, &[3])]), error::INVALID_REPLICA_ASSIGNMENT),
        (by_hand("t", &[(0, &[1, 2]), (1, &[1])]), error::INVALID_REPLICA_ASSIGNMENT),
    ] {
        assert_eq!(world.create_code(topic.clone()), code, "{topic:?}");
    }
    for (name, value) in [
        ("cleanup.policy", Some("compact")),
        ("segment.bytes", Some("1")),
        ("no.such.key", Some("1")),
        ("segment.ms", None),
    ] {
        let config = CreatableTopicConfig { name: name.into(), value: value.map(ToString::to_string) };
        let with = CreatableTopic { configs: vec![config], ..topic("t", 1, 1) };
        assert_eq!(world.create_code(with), error::INVALID_CONFIG, "{name}");
    }
}

#[test]
fn a_refused_topic_leaves_the_others_of_its_request_alone() {
    let mut world = World::new();
    let results = world.create(vec![
        topic("x", 1, 1),
        topic("x", 2, 1),
        topic("bad", 0, 1),
        topic("c.d", 1, 1),
        topic("c_d", 1, 1),
        topic("good", -1, -1),
    ]);
    let codes: Vec<(&str, i16)> = results.iter().map(|t| (t.name.as_str(), t.error_code)).collect();
    assert_eq!(
        codes,
        [
            ("x", error::INVALID_REQUEST),
            ("bad", error::INVALID_PARTITIONS),
            ("c.d", error::NONE),
            ("c_d", error::INVALID_TOPIC_EXCEPTION),
            ("good", error::NONE)
        ]
    );
    let there: Vec<&str> = world.controller.image().topics().map(|(name, _)| name).collect();
    assert_eq!(there, ["c.d", "good"]);
}

#[test]
fn the_brokers_file_says_what_a_request_leaves_open() {
    let mut world = World::new();
    world.file.insert("num.partitions".into(), "3".into());
    world.file.insert("default.replication.factor".into(), "2".into());
    let results = world.create(vec![topic("orders", -1, -1)]);
    assert_eq!((results[0].num_partitions, results[0].replication_factor), (3, 2));
    assert_eq!(world.replicas("orders"), [[1, 2], [2, 1], [1, 2]]);
}

#[test]
fn what_is_only_checked_is_not_done() {
    let mut world = World::new();
    let request = CreateTopicsRequest { topics: vec![topic("t", 2, 1)], validate_only: true, ..Default::default() };
    let Response::CreateTopics(response) = world.refuses(AdminRequest::CreateTopics(request)) else { panic!() };
    let checked = &response.topics[0];
    assert_eq!((checked.error_code, checked.num_partitions), (0, 2));
    assert_ne!(checked.topic_id, Uuid::ZERO, "as in Kafka: one that nobody has");
}

#[test]
fn a_created_topic_is_told_with_all_its_configs() {
    let mut world = World::new();
    world.file.insert("message.max.bytes".into(), "5000".into());
    let config = CreatableTopicConfig { name: "segment.bytes".into(), value: Some("2000000".into()) };
    let results = world.create(vec![CreatableTopic { configs: vec![config], ..topic("orders", 1, 1) }]);
    let configs = results[0].configs.as_ref().expect("all of them");
    assert_eq!(configs.len(), 33);
    let find = |name: &str| configs.iter().find(|c| c.name == name).map(|c| (c.value.as_deref(), c.config_source));
    assert_eq!(find("segment.bytes"), Some((Some("2000000"), 1)));
    assert_eq!(find("max.message.bytes"), Some((Some("5000"), 4)));
    assert_eq!(find("retention.ms"), Some((Some("604800000"), 5)));
}

/// Changes to one resource: key, operation, value.
fn changes(kind: i8, name: &str, configs: &[(&str, i8, Option<&str>)]) -> IncrementalAlterConfigsResource {
    let configs = configs.iter().map(|(name, config_operation, value)| IncrementalAlterableConfig {
        name: name.to_string(),
        config_operation: *config_operation,
        value: value.map(ToString::to_string),
    });
    IncrementalAlterConfigsResource { resource_type: kind, resource_name: name.to_string(), configs: configs.collect() }
}

fn change(resources: Vec<IncrementalAlterConfigsResource>) -> AdminRequest {
    AdminRequest::IncrementalAlterConfigs(IncrementalAlterConfigsRequest { resources, validate_only: false })
}

fn altered(response: Response) -> Vec<i16> {
    let responses = match response {
        Response::IncrementalAlterConfigs(response) => response.responses,
        Response::AlterConfigs(response) => response.responses,
        other => panic!("{other:?}"),
    };
    responses.iter().map(|r| r.error_code).collect()
}

fn set_of(world: &World, topic: &str) -> Vec<(String, String)> {
    let topic = world.controller.image().topic(topic).expect("it was created");
    topic.configs.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

#[test]
fn configs_are_set_and_deleted_one_by_one() {
    let mut world = World::new();
    world.create(vec![topic("orders", 1, 1)]);
    let both = &[("segment.bytes", 0, Some("2000000")), ("max.message.bytes", 0, Some("77"))][..];
    assert_eq!(altered(world.ask(change(vec![changes(2, "orders", both)]))), [0]);
    let expected = [("max.message.bytes", "77"), ("segment.bytes", "2000000")];
    assert_eq!(set_of(&world, "orders"), expected.map(|(k, v)| (k.to_string(), v.to_string())));
    assert_eq!(altered(world.refuses(change(vec![changes(2, "orders", both)]))), [0], "nothing new: no record");
    let delete = &[("segment.bytes", 1, None), ("segment.ms", 1, Some("ignored"))][..];
    assert_eq!(altered(world.ask(change(vec![changes(2, "orders", delete)]))), [0]);
    assert_eq!(set_of(&world, "orders"), [("max.message.bytes".to_string(), "77".to_string())]);
    let only = IncrementalAlterConfigsRequest { resources: vec![changes(2, "orders", both)], validate_only: true };
    assert_eq!(altered(world.refuses(AdminRequest::IncrementalAlterConfigs(only))), [0]);
}

#[test]
fn lists_are_appended_to_and_subtracted_from() {
    let mut world = World::new();
    world.create(vec![topic("orders", 1, 1)]);
    let append = |op, value| change(vec![changes(2, "orders", &[("cleanup.policy", op, Some(value))])]);
    assert_eq!(altered(world.ask(append(2, "delete"))), [0], "a repeat is harmless");
    assert_eq!(set_of(&world, "orders"), [("cleanup.policy".to_string(), "delete".to_string())]);
    assert_eq!(altered(world.refuses(append(2, "compact"))), [error::INVALID_CONFIG], "not built");
    assert_eq!(altered(world.refuses(append(3, "compact"))), [0], "it was not there");
    assert_eq!(altered(world.refuses(append(3, "delete"))), [error::INVALID_CONFIG], "nothing left is not built");
}

#[test]
fn alterations_that_are_refused_change_nothing() {
    let mut world = World::new();
    world.create(vec![topic("orders", 1, 1)]);
    let good = ("segment.bytes", 0, Some("2000000"));
    for (resource, code) in [
        (changes(2, "nobody", &[good]), error::UNKNOWN_TOPIC_OR_PARTITION),
        (changes(2, "orders", &[good, ("no.such.key", 0, Some("1"))]), error::INVALID_CONFIG),
        (changes(2, "orders", &[good, ("segment.ms", 0, Some("soon"))]), error::INVALID_CONFIG),
        (changes(2, "orders", &[good, ("compression.type", 0, Some("gzip"))]), error::INVALID_CONFIG),
        (changes(2, "orders", &[good, ("segment.ms", 2, Some("1"))]), error::INVALID_CONFIG),
        (changes(2, "orders", &[good, ("no.such.key", 3, Some("1"))]), error::INVALID_CONFIG),
        (changes(2, "orders", &[good, good]), error::INVALID_REQUEST),
        (changes(2, "orders", &[good, ("segment.ms", 0, None)]), error::INVALID_REQUEST),
        (changes(2, "orders", &[good, ("cleanup.policy", 2, None)]), error::INVALID_REQUEST),
        (changes(2, "orders", &[good, ("segment.ms", 4, Some("1"))]), error::INVALID_REQUEST),
        (changes(4, "9", &[]), error::INVALID_REQUEST),
        (changes(4, "one", &[]), error::INVALID_REQUEST),
        (changes(4, "01", &[]), error::INVALID_REQUEST),
        (changes(4, "", &[("num.partitions", 0, Some("3"))]), error::INVALID_REQUEST),
        (changes(4, "1", &[("log.retention.hours", 1, None)]), error::INVALID_REQUEST),
        (changes(4, "1", &[("log.segment.bytes", 0, Some("1"))]), error::INVALID_REQUEST),
        (changes(4, "1", &[("no.such.key", 0, Some("1"))]), error::INVALID_REQUEST),
        (changes(2, "", &[good]), error::INVALID_REQUEST),
        (changes(2, "a b", &[good]), error::INVALID_TOPIC_EXCEPTION),
        (changes(8, "1", &[]), error::INVALID_REQUEST),
        (changes(99, "x", &[]), error::INVALID_REQUEST),
    ] {
        assert_eq!(altered(world.refuses(change(vec![resource.clone()]))), [code], "{resource:?}");
    }
    let twice = vec![changes(2, "orders", &[good]), changes(2, "orders", &[])];
    assert_eq!(altered(world.refuses(change(twice))), [error::INVALID_REQUEST; 2]);
    let mixed = vec![changes(2, "nobody", &[good]), changes(2, "orders", &[good])];
    assert_eq!(altered(world.ask(change(mixed))), [error::UNKNOWN_TOPIC_OR_PARTITION, 0], "each on its own");
}

#[test]
fn brokers_are_altered_alone_or_together() {
    let mut world = World::new();
    let bytes = |value| [("log.segment.bytes", 0, Some(value))];
    let requests = vec![changes(4, "", &bytes("2000000")), changes(4, "1", &bytes("3000000"))];
    assert_eq!(altered(world.ask(change(requests))), [0, 0]);
    let at = |broker| world.controller.image().layers(None, BrokerId(broker), &world.file).segment_bytes();
    assert_eq!((at(1), at(2)), (3_000_000, 2_000_000));
}

#[test]
fn what_is_not_named_goes_back_to_its_default() {
    let mut world = World::new();
    world.create(vec![topic("orders", 1, 1)]);
    let both = &[("segment.bytes", 0, Some("2000000")), ("max.message.bytes", 0, Some("77"))][..];
    world.ask(change(vec![changes(2, "orders", both)]));
    let replace = |configs: &[(&str, Option<&str>)]| {
        let configs = configs
            .iter()
            .map(|(name, value)| AlterableConfig { name: name.to_string(), value: value.map(ToString::to_string) });
        let resource =
            AlterConfigsResource { resource_type: 2, resource_name: "orders".into(), configs: configs.collect() };
        AdminRequest::AlterConfigs(AlterConfigsRequest { resources: vec![resource], validate_only: false })
    };
    assert_eq!(altered(world.refuses(replace(&[("segment.bytes", None)]))), [error::INVALID_REQUEST]);
    assert_eq!(altered(world.refuses(replace(&[("segment.bytes", Some("1"))]))), [error::INVALID_CONFIG]);
    assert_eq!(altered(world.ask(replace(&[("max.message.bytes", Some("78"))]))), [0]);
    assert_eq!(set_of(&world, "orders"), [("max.message.bytes".to_string(), "78".to_string())]);
}

#[test]
fn without_a_controller_all_that_is_asked_is_refused() {
    let code = error::NOT_CONTROLLER;
    let refused = change(vec![changes(2, "orders", &[]), changes(4, "", &[])]).refuse(code, "none");
    assert_eq!(altered(refused), [code; 2]);
    assert_eq!(deleted(deletion(vec![named("orders")]).refuse(code, "none")), [code]);
    assert_eq!(grown(partitions(vec![more("orders", 2, None)]).refuse(code, "none")), [("orders".into(), code)]);
}

#[test]
fn producer_ids_are_given_out_once() {
    let world = World::new();
    let (records, reply) = world.controller.allocate(BrokerId(1));
    assert_eq!(reply, Reply::ProducerIds(Ok((0, PRODUCER_ID_BLOCK))));
    let MetadataRecord::ProducerIds(record) = &records[0] else { panic!() };
    assert_eq!(ProducerId(record.next_producer_id), ProducerId(1000));
}
