//! Configs of topics and producers on a running broker: that what is set takes effect.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Broker, Client, Scratch, http, metrics};
use klamm::crc32c;
use klamm_core::ids::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use klamm_core::record::Builder;
use klamm_core::wire::{PartitionProduceData, ProduceRequest, Response, TopicProduceData, error};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const NEVER: (&str, &str) = ("flush.messages", "9223372036854775807");

/// How many syncs the broker has asked for.
fn syncs(broker: &Broker) -> f64 {
    metrics(&http(broker))["klamm_fsync_seconds_count"]
}

/// Waits until no more syncs come: what making topics leaves behind.
fn rest(broker: &Broker) -> f64 {
    let mut before = syncs(broker);
    loop {
        thread::sleep(Duration::from_millis(100));
        let now = syncs(broker);
        if now == before {
            return now;
        }
        before = now;
    }
}

#[test]
fn unsynced_records_are_flushed_by_count_and_by_time() {
    let scratch = Scratch::new("flush");
    let broker = Broker::dev(&scratch.join("data"), &["--http", "127.0.0.1:0"]);
    let mut client = Client::connect(&broker.address);
    client.create_topic_with("never", 1, &[NEVER]);
    client.create_topic_with("soon", 1, &[NEVER, ("flush.ms", "400")]);
    client.create_topic_with("third", 1, &[("flush.messages", "3")]);
    for topic in ["never", "soon", "third"] {
        client.produce(topic, 0, &["first"]);
    }
    thread::sleep(Duration::from_millis(500));
    let quiet = rest(&broker);
    (0..20).for_each(|_| assert!(client.produce("never", 0, &["x"]) > 0));
    thread::sleep(Duration::from_millis(500));
    assert_eq!(syncs(&broker), quiet, "left to the page cache");
    client.produce("third", 0, &["second"]);
    assert_eq!(syncs(&broker), quiet, "two may be lost");
    client.produce("third", 0, &["third"]);
    assert_eq!(syncs(&broker), quiet + 1.0, "before the third is acknowledged");
    let begun = Instant::now();
    client.produce("soon", 0, &["x"]);
    client.produce("soon", 0, &["x"]);
    assert!(syncs(&broker) == quiet + 1.0 || begun.elapsed() > Duration::from_millis(300), "it has time");
    while syncs(&broker) == quiet + 1.0 {
        assert!(begun.elapsed() < Duration::from_secs(5), "it is not flushed");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(begun.elapsed() >= Duration::from_millis(390), "{:?} is too soon", begun.elapsed());
    thread::sleep(Duration::from_millis(600));
    assert_eq!(syncs(&broker), quiet + 2.0, "once for both, and then nothing is left to flush");
    broker.stop();
}

/// The segment files of a partition.
fn segments(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().ends_with(".log")).count()
}

#[test]
fn an_old_segment_takes_no_more() {
    let scratch = Scratch::new("segment-ms");
    let data = scratch.join("data");
    let broker = Broker::dev(&data, &[]);
    let mut client = Client::connect(&broker.address);
    let by_clock = ("message.timestamp.type", "LogAppendTime");
    client.create_topic_with("t", 1, &[by_clock, ("segment.ms", "600")]);
    client.create_topic_with("u", 1, &[by_clock, ("segment.ms", "3600000"), ("segment.jitter.ms", "100")]);
    for topic in ["t", "u"] {
        client.produce(topic, 0, &["a"]);
        client.produce(topic, 0, &["b"]);
    }
    let folders = [data.join("t-0"), data.join("u-0")];
    assert_eq!(folders.each_ref().map(|f| segments(f)), [1, 1]);
    // The age of a segment outlives the broker.
    broker.stop();
    thread::sleep(Duration::from_millis(700));
    let broker = Broker::dev(&data, &[]);
    let mut client = Client::connect(&broker.address);
    for topic in ["t", "u"] {
        assert_eq!(client.produce(topic, 0, &["c"]), 2);
    }
    assert_eq!(folders.each_ref().map(|f| segments(f)), [2, 1]);
    broker.stop();
}

/// A record of an idempotent producer; its error and offset.
fn produce(client: &mut Client, sequence: i32) -> (i16, i64) {
    let mut builder = Builder::new().producer(ProducerId(7), ProducerEpoch(0), Sequence(sequence));
    builder.push(Timestamp(1_000), None, Some(b"v"));
    let data = PartitionProduceData { index: 0, records: Some(builder.build(crc32c)) };
    let topic = TopicProduceData { name: "t".into(), partition_data: vec![data], ..TopicProduceData::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() };
    let Response::Produce(answer) = client.ask(9, request) else { panic!() };
    let part = &answer.responses[0].partition_responses[0];
    (part.error_code, part.base_offset)
}

#[test]
fn a_silent_producer_is_forgotten() {
    let scratch = Scratch::new("producer-expiration");
    let data = scratch.join("data");
    let broker = Broker::dev(&data, &["--override", "producer.id.expiration.ms=2000"]);
    let mut client = Client::connect(&broker.address);
    client.create_topic("t", 1);
    assert_eq!(produce(&mut client, 0), (error::NONE, 0));
    assert_eq!(produce(&mut client, 5).0, error::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(produce(&mut client, 0), (error::NONE, 0), "the same again");
    thread::sleep(Duration::from_millis(2_100));
    assert_eq!(produce(&mut client, 5), (error::NONE, 1));
    // A restart does not forget, however old the records are.
    broker.stop();
    let broker = Broker::dev(&data, &["--override", "producer.id.expiration.ms=60000"]);
    let mut client = Client::connect(&broker.address);
    assert_eq!(produce(&mut client, 5), (error::NONE, 1));
    assert_eq!(produce(&mut client, 7).0, error::OUT_OF_ORDER_SEQUENCE_NUMBER);
    broker.stop();
}
