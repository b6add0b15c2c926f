//! `klamm start` and `--override`: whose word counts, what is refused, and that what is set takes effect.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Broker, Client, Scratch, fails, klamm};
use klamm_core::wire::{ApiVersionsRequest, MetadataRequest, MetadataRequestTopic, Response};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

fn file(scratch: &Scratch, lines: &str) -> String {
    let path = scratch.join("server.properties");
    let text = format!("listeners=PLAINTEXT://127.0.0.1:0\nlog.dirs={}\n{lines}\n", scratch.join("data").display());
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn start(path: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klamm"));
    command.args(["start", "-c", path]);
    command
}

/// How many partitions a topic gets that is made by asking for it.
fn partitions(broker: &Broker, topic: &str) -> usize {
    let asked = MetadataRequestTopic { name: Some(topic.into()), ..MetadataRequestTopic::default() };
    let request = MetadataRequest { topics: Some(vec![asked]), ..MetadataRequest::default() };
    let mut client = Client::connect(&broker.address);
    for _ in 0..200 {
        let Response::Metadata(answer) = client.ask(9, request.clone()) else { panic!() };
        if answer.topics[0].error_code == 0 {
            return answer.topics[0].partitions.len();
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{topic} was not made")
}

#[test]
fn the_command_line_beats_the_environment_beats_the_file() {
    let scratch = Scratch::new("precedence");
    let path = file(&scratch, "num.partitions=2\nnum.io.threads=8\nnode.id=7");
    let broker = Broker::start(&mut start(&path));
    assert_eq!(partitions(&broker, "file"), 2);
    assert!(broker.banner.iter().any(|line| line.contains("no effect here: num.io.threads")), "{:?}", broker.banner);
    broker.stop();
    let broker = Broker::start(start(&path).env("KAFKA_NUM_PARTITIONS", "3").env("KAFKA_HEAP_OPTS", "-Xmx1G"));
    assert_eq!(partitions(&broker, "environment"), 3);
    broker.stop();
    let mut command = start(&path);
    command.env("KAFKA_NUM_PARTITIONS", "3").args(["--override", "num.partitions=4"]);
    let broker = Broker::start(&mut command);
    assert_eq!(partitions(&broker, "override"), 4);
    broker.stop();
    let meta = std::fs::read_to_string(scratch.join("data/meta.properties")).unwrap();
    assert!(meta.contains("node.id=7"), "{meta}");
    fails(&start(&path).env("KAFKA_NODE_ID", "8").output().unwrap(), 78, &["node 7"]);
    fails(&start(&path).env("CLUSTER_ID", "another").output().unwrap(), 78, &["another"]);
}

#[test]
fn a_file_that_is_wrong_says_where() {
    let scratch = Scratch::new("wrong-file");
    let with = |line: &str| start(&file(&scratch, line)).output().unwrap();
    fails(&with("num.partitoins=2"), 78, &["num.partitoins", "did you mean num.partitions?", "server.properties"]);
    fails(&with("ssl.keystore.location=x"), 78, &["ssl.keystore.location", "no TLS"]);
    fails(&with("default.replication.factor=zero"), 78, &["default.replication.factor"]);
    fails(&with("bad=\\u12"), 78, &["line 3"]);
    fails(&klamm(&["start", "-c", "/nowhere/at/all"]), 78, &["/nowhere/at/all"]);
    fails(&klamm(&["start", "--override", "nothing"]), 2, &["KEY=VALUE"]);
    fails(&klamm(&["dev", "--override", "num.partitions=many"]), 78, &["num.partitions", "command line"]);
    assert!(!scratch.join("data").exists(), "nothing was made");
}

fn dev(scratch: &Scratch, overrides: &[&str]) -> Broker {
    let args: Vec<&str> = overrides.iter().flat_map(|pair| ["--override", pair]).collect();
    Broker::dev(&scratch.join("data"), &args)
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let scratch = Scratch::new("idle");
    let broker = dev(&scratch, &["connections.max.idle.ms=400"]);
    let mut busy = Client::connect(&broker.address);
    busy.create_topic("t", 1);
    let request = common::fetch("t", 0, 0, 1_500);
    busy.send(11, &request);
    let begun = Instant::now();
    assert!(Client::connect(&broker.address).is_ended());
    assert!(begun.elapsed() >= Duration::from_millis(400) && begun.elapsed() < Duration::from_secs(10));
    busy.receive(11, &request).unwrap();
    assert!(busy.is_ended(), "idle in its turn");
    broker.stop();
}

#[test]
fn an_address_has_so_many_connections_and_no_more() {
    let scratch = Scratch::new("per-ip");
    let broker = dev(&scratch, &["max.connections.per.ip=2"]);
    let mut held = [Client::connect(&broker.address), Client::connect(&broker.address)];
    held.iter_mut().for_each(|client| drop(client.ask(3, ApiVersionsRequest::default())));
    assert!(Client::connect(&broker.address).is_ended());
    broker.says("max.connections.per.ip");
    drop(held);
    thread::sleep(Duration::from_millis(300));
    Client::connect(&broker.address).ask(3, ApiVersionsRequest::default());
    broker.stop();
}

#[test]
fn one_connection_too_many_waits_for_a_place() {
    let scratch = Scratch::new("max-connections");
    let broker = dev(&scratch, &["max.connections=1"]);
    let mut first = Client::connect(&broker.address);
    first.ask(3, ApiVersionsRequest::default());
    let mut second = Client::connect(&broker.address);
    second.send(3, &ApiVersionsRequest::default().into());
    second.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(second.frame().is_err(), "there is no place");
    drop(first);
    second.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    second.frame().unwrap();
    drop(second);
    broker.stop();
}

#[test]
fn a_frame_is_as_long_as_it_may_be() {
    let scratch = Scratch::new("request-bytes");
    let broker = dev(&scratch, &["socket.request.max.bytes=1000"]);
    let mut client = Client::connect(&broker.address);
    client.ask(3, ApiVersionsRequest::default());
    client.stream.write_all(&1_001u32.to_be_bytes()).unwrap();
    client.stream.write_all(&[0; 1_001]).unwrap();
    assert!(client.is_ended());
    broker.says("socket.request.max.bytes=1000");
    broker.stop();
}

#[test]
fn a_broker_may_be_told_where_it_is_found() {
    let scratch = Scratch::new("advertised");
    let path = file(&scratch, "advertised.listeners=PLAINTEXT://broker.example:1234");
    assert!(Path::new(&path).exists());
    let broker = Broker::start(&mut start(&path));
    let Response::Metadata(answer) = Client::connect(&broker.address).ask(9, MetadataRequest::default()) else {
        panic!()
    };
    assert_eq!((answer.brokers[0].host.as_str(), answer.brokers[0].port), ("broker.example", 1234));
    broker.stop();
}
