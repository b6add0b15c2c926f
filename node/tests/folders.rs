//! Folders of partitions that are gone, damaged, or nobody's: what becomes of them, and what clients are told.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Broker, Client, Scratch, fetch, fetched};
use klamm_core::wire::{DeleteTopicState, DeleteTopicsRequest, Records, Request, Response, error};
use std::fs;
use std::path::Path;

/// What a produce is told.
fn refusal(client: &mut Client, topic: &str, partition: i32) -> i16 {
    let Response::Produce(answer) = client.ask(9, common::produce(topic, partition, &["x"])) else { panic!() };
    answer.responses[0].partition_responses[0].error_code
}

fn delete(client: &mut Client, topic: &str) {
    let topic = DeleteTopicState { name: Some(topic.into()), ..DeleteTopicState::default() };
    let request = DeleteTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..DeleteTopicsRequest::default() };
    let Response::DeleteTopics(answer) = client.ask(6, request) else { panic!() };
    assert_eq!(answer.responses[0].error_code, error::NONE);
}

/// Waits for a line with these words.
fn hear(broker: &Broker, words: &str) {
    if !said(broker, words) {
        broker.says(words);
    }
}

/// Whether a line of the start had these words.
fn said(broker: &Broker, words: &str) -> bool {
    broker.banner.iter().any(|line| line.contains(words))
}

fn names(data: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_lost_folder_is_said_and_not_made_anew() {
    let scratch = Scratch::new("lost-folder");
    let data = scratch.join("data");
    let broker = Broker::dev(&data, &["--shards", "3"]);
    let mut client = Client::connect(&broker.address);
    client.create_topic("t", 4);
    (0..4).for_each(|partition| assert_eq!(client.produce("t", partition, &["a"]), 0));
    broker.stop();
    let kept = scratch.join("kept");
    fs::rename(data.join("t-2"), &kept).unwrap();
    for shards in ["3", "1"] {
        let broker = Broker::dev(&data, &["--shards", shards]);
        hear(&broker, "the folder of t-2 is gone");
        let mut client = Client::connect(&broker.address);
        assert_eq!(refusal(&mut client, "t", 2), error::KAFKA_STORAGE_ERROR);
        assert_eq!(refusal(&mut client, "t", 1), error::NONE);
        assert!(!data.join("t-2").exists());
        broker.stop();
    }
    // It is found again where it is put back.
    fs::rename(&kept, data.join("t-2")).unwrap();
    let broker = Broker::dev(&data, &[]);
    let mut client = Client::connect(&broker.address);
    assert!(!fetched(&client.ask(11, fetch("t", 2, 0, 0))).is_empty());
    assert_eq!(client.produce("t", 2, &["b"]), 1);
    broker.stop();
    // Or its topic goes, and a new one of its name is another one.
    fs::remove_dir_all(data.join("t-2")).unwrap();
    let broker = Broker::dev(&data, &[]);
    let mut client = Client::connect(&broker.address);
    delete(&mut client, "t");
    client.create_topic("t", 4);
    assert_eq!(client.produce("t", 2, &["c"]), 0);
    broker.stop();
    let broker = Broker::dev(&data, &[]);
    assert!(!said(&broker, "gone"), "{:#?}", broker.banner);
    assert_eq!(Client::connect(&broker.address).produce("t", 2, &["d"]), 1);
    broker.stop();
}

#[test]
fn a_damaged_log_goes_with_its_topic() {
    let scratch = Scratch::new("damaged-deleted");
    let data = scratch.join("data");
    let broker = Broker::dev(&data, &[]);
    let mut client = Client::connect(&broker.address);
    client.create_topic("t", 1);
    (0..3).for_each(|_| assert!(client.produce("t", 0, &["a"]) >= 0));
    broker.stop();
    let log = data.join("t-0/00000000000000000000.log");
    let mut bytes = fs::read(&log).unwrap();
    bytes[100] ^= 1;
    fs::write(&log, bytes).unwrap();
    let broker = Broker::dev(&data, &[]);
    hear(&broker, "a log went offline");
    let mut client = Client::connect(&broker.address);
    assert_eq!(refusal(&mut client, "t", 0), error::KAFKA_STORAGE_ERROR);
    delete(&mut client, "t");
    client.create_topic("t", 1);
    assert_eq!(client.produce("t", 0, &["b"]), 0);
    broker.stop();
    let folders = |words: &str| names(&data).into_iter().filter(|name| name.starts_with(words)).count();
    assert_eq!(folders("t-0"), 1, "{:?}", names(&data));
    let broker = Broker::dev(&data, &[]);
    assert_eq!(Client::connect(&broker.address).produce("t", 0, &["c"]), 1);
    broker.stop();
}

/// No checksum covers a batch's leader epoch: once, a broker with such a batch panicked at each start (world, seed 20573,
/// shrunk to a write astray and one flipped bit).
#[test]
fn a_log_of_a_later_epoch_than_the_metadata_knows_is_refused() {
    let scratch = Scratch::new("later-epoch");
    let data = scratch.join("data");
    let broker = Broker::dev(&data, &[]);
    let mut client = Client::connect(&broker.address);
    client.create_topic("t", 2);
    (0..2).for_each(|partition| assert_eq!(client.produce("t", partition, &["a"]), 0));
    broker.stop();
    let log = data.join("t-0/00000000000000000000.log");
    let bytes = fs::read(&log).unwrap();
    let mut damaged = bytes.clone();
    damaged[13] ^= 1; // Of the epoch's four bytes the second.
    fs::write(&log, damaged).unwrap();
    let broker = Broker::dev(&data, &[]);
    hear(&broker, "t-0 has batches of leader epoch 65536");
    let mut client = Client::connect(&broker.address);
    assert_eq!(refusal(&mut client, "t", 0), error::KAFKA_STORAGE_ERROR);
    assert_eq!(client.produce("t", 1, &["b"]), 1);
    broker.stop();
    fs::write(&log, bytes).unwrap();
    let broker = Broker::dev(&data, &[]);
    assert_eq!(Client::connect(&broker.address).produce("t", 0, &["b"]), 1);
    broker.stop();
}

/// A fetch of two topics, one of which cannot be read where it is asked for: it alone is refused.
#[test]
fn a_partition_that_cannot_be_read_is_refused_alone() {
    let scratch = Scratch::new("unreadable-batch");
    let data = scratch.join("data");
    let broker = Broker::dev(&data, &[]);
    let mut client = Client::connect(&broker.address);
    let big = "x".repeat(700_000);
    for topic in ["bad", "good"] {
        client.create_topic_with(topic, 1, &[("segment.bytes", "1048576")]);
        (0..2).for_each(|n| assert_eq!(client.produce(topic, 0, &[&big]), n));
    }
    broker.stop();
    // The offset of the closed segment's only batch.
    let log = data.join("bad-0/00000000000000000000.log");
    let mut bytes = fs::read(&log).unwrap();
    bytes[6] ^= 1;
    fs::write(&log, bytes).unwrap();
    let broker = Broker::dev(&data, &[]);
    let mut client = Client::connect(&broker.address);
    let (Request::Fetch(mut both), Request::Fetch(other)) = (fetch("bad", 0, 0, 0), fetch("good", 0, 0, 0)) else {
        panic!()
    };
    both.topics.extend(other.topics);
    both.max_bytes = 4 << 20;
    for offset in 0..2 {
        both.topics.iter_mut().for_each(|topic| topic.partitions[0].fetch_offset = offset);
        let Response::Fetch(answer) = client.ask(11, (*both).clone()) else { panic!() };
        let told: Vec<_> = answer.responses.iter().map(|topic| topic.partitions[0].error_code).collect();
        let bad = if offset == 0 { error::CORRUPT_MESSAGE } else { error::NONE };
        assert_eq!(told, [bad, error::NONE], "at {offset}");
        let read = |records: &Records| matches!(records, Records::Bytes(bytes) if bytes.len() > big.len());
        assert!(read(&answer.responses[1].partitions[0].records), "at {offset}");
    }
    hear(&broker, "a fetch cannot be given a partition's bytes");
    broker.stop();
}

#[test]
fn a_folder_of_nobodys_topic_is_set_aside_with_all_that_is_in_it() {
    let scratch = Scratch::new("nobodys");
    let (data, other) = (scratch.join("data"), scratch.join("other"));
    let broker = Broker::dev(&other, &[]);
    let mut client = Client::connect(&broker.address);
    client.create_topic("strange", 1);
    client.produce("strange", 0, &["kept"]);
    broker.stop();
    Broker::dev(&data, &[]).stop();
    fs::rename(other.join("strange-0"), data.join("strange-0")).unwrap();
    fs::create_dir(data.join("empty-7")).unwrap();
    let broker = Broker::dev(&data, &["--shards", "2"]);
    for words in ["set aside, as -stray", "empty-7: a folder without partition.metadata"] {
        hear(&broker, words);
    }
    let mut client = Client::connect(&broker.address);
    client.create_topic("strange", 1);
    assert_eq!(client.produce("strange", 0, &["another"]), 0);
    broker.stop();
    let stray = names(&data).into_iter().find(|name| name.ends_with("-stray")).unwrap();
    assert!(stray.starts_with("strange-0."), "{stray}");
    let log = fs::read(data.join(&stray).join("00000000000000000000.log")).unwrap();
    assert!(log.windows(4).any(|w| w == b"kept"));
    assert!(data.join("empty-7").exists());
    let broker = Broker::dev(&data, &[]);
    assert!(!said(&broker, "stray"), "once: {:#?}", broker.banner);
    assert!(data.join(&stray).exists(), "and never removed");
    broker.stop();
}
