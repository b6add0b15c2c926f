//! What README.md promises of one setting or one event each, against the real binary and through `kill -9`. What many
//! writers may rely on through many kills is in `process.rs`, what a power loss leaves in the store's tests.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Broker, Client, Scratch, fetch, fetched, produce};
use klamm_core::record::{batches, records};
use klamm_core::wire::list_offsets::{EARLIEST, LATEST};
use klamm_core::wire::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, DeleteRecordsPartition, DeleteRecordsRequest,
    DeleteRecordsTopic, DeleteTopicState, DeleteTopicsRequest, ListOffsetsPartition, ListOffsetsRequest,
    ListOffsetsTopic, Request, Response, error,
};
use std::path::Path;
use std::time::{Duration, Instant};

const TOPIC: &str = "promised";

fn start(data: &Path) -> (Broker, Client) {
    let broker = Broker::dev(data, &["--shards", "3"]);
    let client = Client::connect(&broker.address);
    (broker, client)
}

/// Ends the node as `kill -9` does.
fn kill(broker: Broker) {
    drop(broker);
}

fn create(client: &mut Client, configs: &[(&str, &str)]) {
    let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
    };
    let topic = CreatableTopic {
        name: TOPIC.into(),
        num_partitions: 3,
        replication_factor: 1,
        configs: configs.iter().map(config).collect(),
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    let Response::CreateTopics(answer) = client.ask(5, request) else { panic!() };
    assert_eq!(answer.topics[0].error_code, error::NONE, "{:?}", answer.topics[0].error_message);
}

/// A produce of one record.
fn one(partition: i32, value: &str, acks: i16) -> Request {
    let Request::Produce(mut request) = produce(TOPIC, partition, &[value]) else { panic!() };
    request.acks = acks;
    request.into()
}

/// Produces one record; gives error code and offset.
fn put(client: &mut Client, partition: i32, value: &str, acks: i16) -> (i16, i64) {
    let Response::Produce(answer) = client.ask(9, one(partition, value, acks)) else { panic!() };
    let part = &answer.responses[0].partition_responses[0];
    (part.error_code, part.base_offset)
}

/// All values of a partition from an offset on.
fn values(client: &mut Client, partition: i32, from: i64) -> Vec<String> {
    let bytes = fetched(&client.ask(11, fetch(TOPIC, partition, from, 0)));
    let all = batches(bytes).map(|batch| batch.unwrap()).collect::<Vec<_>>();
    let read = all.iter().flat_map(|batch| records(batch.bytes())).map(|record| record.unwrap());
    read.filter(|r| r.offset.0 >= from).map(|r| String::from_utf8(r.value.unwrap().to_vec()).unwrap()).collect()
}

fn offset(client: &mut Client, partition_index: i32, timestamp: i64) -> i64 {
    let partitions = vec![ListOffsetsPartition { partition_index, timestamp, ..ListOffsetsPartition::default() }];
    let topics = vec![ListOffsetsTopic { name: TOPIC.into(), partitions }];
    let request = ListOffsetsRequest { topics, ..ListOffsetsRequest::default() };
    let Response::ListOffsets(answer) = client.ask(5, request) else { panic!() };
    assert_eq!(answer.topics[0].partitions[0].error_code, error::NONE);
    answer.topics[0].partitions[0].offset
}

fn delete_below(client: &mut Client, partition_index: i32, offset: i64) -> i64 {
    let partitions = vec![DeleteRecordsPartition { partition_index, offset }];
    let topics = vec![DeleteRecordsTopic { name: TOPIC.into(), partitions }];
    let request = DeleteRecordsRequest { topics, timeout_ms: 30_000 };
    let Response::DeleteRecords(answer) = client.ask(2, request) else { panic!() };
    assert_eq!(answer.topics[0].partitions[0].error_code, error::NONE);
    answer.topics[0].partitions[0].low_watermark
}

fn delete_topic(client: &mut Client) {
    let topics = vec![DeleteTopicState { name: Some(TOPIC.into()), ..DeleteTopicState::default() }];
    let request = DeleteTopicsRequest { topics, timeout_ms: 30_000, ..DeleteTopicsRequest::default() };
    let Response::DeleteTopics(answer) = client.ask(6, request) else { panic!() };
    assert_eq!(answer.responses[0].error_code, error::NONE);
}

#[test]
fn acks_1_and_all_survive_a_kill() {
    let scratch = Scratch::new("acks");
    for acks in [1, -1] {
        let data = scratch.join(&format!("data{acks}"));
        let (broker, mut client) = start(&data);
        create(&mut client, &[]);
        for n in 0..40 {
            let said = put(&mut client, n % 3, &format!("{n}"), acks);
            assert_eq!(said, (error::NONE, i64::from(n / 3)), "acks={acks}, record {n}");
        }
        kill(broker);
        let (_broker, mut client) = start(&data);
        for partition in 0..3 {
            let wanted: Vec<String> = (0..40).filter(|n| n % 3 == partition).map(|n| n.to_string()).collect();
            assert_eq!(values(&mut client, partition, 0), wanted, "acks={acks}");
        }
    }
}

/// Nothing is said of an acks=0, but what comes after it on its connection stands after it in the log; and when it is
/// refused, the connection ends, which is all that a client can be told.
#[test]
fn acks_0_keeps_its_place_and_ends_the_connection_when_refused() {
    let scratch = Scratch::new("acks-0");
    let (broker, mut client) = start(&scratch.join("data"));
    create(&mut client, &[]);
    for n in 0..20 {
        client.send(9, &one(0, &format!("{n}"), 0));
    }
    assert_eq!(put(&mut client, 0, "last", -1), (error::NONE, 20), "the answer is that of the last one");
    kill(broker);
    let (_broker, mut client) = start(&scratch.join("data"));
    let wanted: Vec<String> = (0..20).map(|n| n.to_string()).chain(["last".to_owned()]).collect();
    assert_eq!(values(&mut client, 0, 0), wanted);
    client.send(9, &one(99, "nowhere", 0));
    assert!(client.is_ended());
}

/// As in Kafka: the leader alone is all of one replica. (Kafka's `Partition.effectiveMinIsr`.)
#[test]
fn min_insync_replicas_asks_for_no_more_than_there_are() {
    let scratch = Scratch::new("min-isr");
    let (_broker, mut client) = start(&scratch.join("data"));
    create(&mut client, &[("min.insync.replicas", "3")]);
    for acks in [-1, 1] {
        assert_eq!(put(&mut client, 0, "alone", acks).0, error::NONE, "acks={acks}");
    }
}

/// Left to the page cache, which a kill leaves alone. (Of a power loss: the store's
/// `an_unsynced_log_shows_only_what_was_written_to_it`.)
#[test]
fn a_topic_that_opts_out_of_flushing_survives_a_kill() {
    let scratch = Scratch::new("opts-out");
    let (broker, mut client) = start(&scratch.join("data"));
    create(&mut client, &[("flush.messages", "9223372036854775807")]);
    for n in 0..300 {
        assert_eq!(put(&mut client, 0, &format!("{n}"), -1), (error::NONE, n));
    }
    kill(broker);
    let (_broker, mut client) = start(&scratch.join("data"));
    assert_eq!(values(&mut client, 0, 0), (0..300).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_trimmed_log_stays_trimmed_through_a_kill() {
    let scratch = Scratch::new("trimmed");
    let (broker, mut client) = start(&scratch.join("data"));
    create(&mut client, &[]);
    for n in 0..10 {
        put(&mut client, 1, &format!("{n}"), -1);
    }
    assert_eq!(delete_below(&mut client, 1, 7), 7);
    kill(broker);
    let (broker, mut client) = start(&scratch.join("data"));
    assert_eq!((offset(&mut client, 1, EARLIEST), offset(&mut client, 1, LATEST)), (7, 10));
    let Response::Fetch(below) = client.ask(11, fetch(TOPIC, 1, 6, 0)) else { panic!() };
    assert_eq!(below.responses[0].partitions[0].error_code, error::OFFSET_OUT_OF_RANGE);
    assert_eq!(values(&mut client, 1, 7), ["7", "8", "9"]);
    // All of it, too: offsets go on and are not given out again.
    assert_eq!(delete_below(&mut client, 1, -1), 10);
    kill(broker);
    let (_broker, mut client) = start(&scratch.join("data"));
    assert_eq!(put(&mut client, 1, "next", -1), (error::NONE, 10));
}

#[test]
fn a_topic_made_again_has_nothing_of_the_old_one() {
    let scratch = Scratch::new("again");
    let data = scratch.join("data");
    let (mut broker, mut client) = start(&data);
    for life in 0..4 {
        create(&mut client, &[]);
        for partition in 0..3 {
            assert_eq!(offset(&mut client, partition, LATEST), 0, "life {life}");
            for n in 0..5 {
                assert_eq!(put(&mut client, partition, &format!("{life} {n}"), -1), (error::NONE, n));
            }
        }
        if life % 2 == 0 {
            kill(broker);
            (broker, client) = start(&data);
        }
        for partition in 0..3 {
            let wanted: Vec<String> = (0..5).map(|n| format!("{life} {n}")).collect();
            assert_eq!(values(&mut client, partition, 0), wanted);
        }
        delete_topic(&mut client);
        if life % 2 == 1 {
            kill(broker);
            (broker, client) = start(&data);
        }
    }
    // Its files go, too.
    let left = || {
        let names = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(TOPIC)).collect::<Vec<_>>()
    };
    let begun = Instant::now();
    while !left().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "left: {:?}", left());
        std::thread::sleep(Duration::from_millis(20));
    }
}
