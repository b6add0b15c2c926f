//! Folders of partitions that are gone, damaged, or nobody's: what becomes of them, and what clients are told.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Broker, Client, Scratch, fetch, fetched};
use klamm_core::wire::{DeleteTopicState, DeleteTopicsRequest, Response, error};
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
