//! `/metrics`, `/livez` and `/readyz`: that what is counted is what happened, and that two brokers get along.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Broker, Client, Scratch, fails, fetch, fetched, get, http, klamm, metrics};
use klamm_core::wire::{Request, Response};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

#[test]
fn what_is_counted_is_what_happened() {
    let scratch = Scratch::new("metrics");
    let broker = Broker::dev(&scratch.join("data"), &["--http", "127.0.0.1:0", "--shards", "2"]);
    let at = http(&broker);
    let before = metrics(&at);
    assert_eq!(before["klamm_connections"], 0.0);
    let mut client = Client::connect(&broker.address);
    client.create_topic("t", 4);
    let values: Vec<String> = (0..100).map(|i| format!("{i} {}", "x".repeat(1_000))).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    for partition in 0..4 {
        client.produce("t", partition, &values);
    }
    let bytes: usize = (0..4).map(|partition| fetched(&client.ask(11, fetch("t", partition, 0, 0))).len()).sum();
    let Response::Fetch(_) = client.ask(11, fetch("t", 9, 0, 0)) else { panic!() };
    let now = metrics(&at);
    let of = |name: &str| *now.get(name).unwrap_or_else(|| panic!("no {name} in {now:#?}"));
    assert_eq!(of("klamm_connections"), 1.0);
    assert_eq!(of("klamm_requests_total{api=\"Produce\"}"), 4.0);
    assert_eq!(of("klamm_requests_total{api=\"Fetch\"}"), 5.0);
    assert_eq!(of("klamm_errors_total{api=\"Fetch\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"}"), 1.0);
    for labels in ["", "{topic=\"t\"}"] {
        assert_eq!(of(&format!("kafka_server_brokertopicmetrics_messagesin_total{labels}")), 400.0);
        assert_eq!(of(&format!("kafka_server_brokertopicmetrics_bytesin_total{labels}")), bytes as f64);
        assert_eq!(of(&format!("kafka_server_brokertopicmetrics_bytesout_total{labels}")), bytes as f64);
    }
    assert!(of("klamm_received_bytes_total") > bytes as f64);
    let sent = of("klamm_sent_bytes_total{way=\"sendfile\"}") + of("klamm_sent_bytes_total{way=\"copied\"}");
    assert!(sent > bytes as f64 && sent < bytes as f64 + 4_096.0, "{sent} for {bytes}");
    assert_eq!(of("kafka_server_replicamanager_partitioncount"), 4.0);
    assert_eq!(of("kafka_server_replicamanager_leadercount"), 4.0);
    assert_eq!(of("kafka_server_replicamanager_underreplicatedpartitions"), 0.0);
    assert_eq!(of("kafka_controller_kafkacontroller_activecontrollercount"), 1.0);
    assert_eq!(of("kafka_controller_kafkacontroller_offlinepartitionscount"), 0.0);
    // At least the four produces, each durable before its answer.
    assert!(of("klamm_fsync_seconds_count") - before["klamm_fsync_seconds_count"] >= 4.0);
    assert!(of("klamm_fsync_seconds_sum") > 0.0 && of("klamm_fsync_seconds_bucket{le=\"+Inf\"}") >= 4.0);
    assert!(of("klamm_group_batches_sum") - before["klamm_group_batches_sum"] >= 4.0);
    broker.stop();
}

#[test]
fn long_old_answers_leave_by_sendfile() {
    let scratch = Scratch::new("metrics-sendfile");
    let data = scratch.join("data");
    let broker = Broker::dev(&data, &["--http", "off"]);
    assert!(!broker.banner.last().unwrap().contains("metrics on"));
    let mut client = Client::connect(&broker.address);
    client.create_topic("t", 1);
    let value = "x".repeat(100_000);
    for _ in 0..5 {
        client.produce("t", 0, &[&value]);
    }
    broker.stop();
    let broker = Broker::dev(&data, &["--http", "127.0.0.1:0"]);
    let bytes = fetched(&Client::connect(&broker.address).ask(11, fetch("t", 0, 0, 0))).len();
    assert!(bytes > 500_000);
    let now = metrics(&http(&broker));
    assert_eq!(now["klamm_sent_bytes_total{way=\"sendfile\"}"], bytes as f64);
    // What is not in the page cache is read by the disk, not by the thread that all connections share.
    let log = std::fs::File::open(data.join("t-0/00000000000000000000.log")).unwrap();
    rustix::fs::fsync(&log).unwrap();
    rustix::fs::fadvise(&log, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let copied = now["klamm_sent_bytes_total{way=\"copied\"}"];
    Client::connect(&broker.address).ask(11, fetch("t", 0, 0, 0));
    let cold = metrics(&http(&broker))["klamm_sent_bytes_total{way=\"copied\"}"];
    assert!(cold - copied > 200_000.0, "{} bytes copied of a cold file", cold - copied);
    broker.stop();
}

#[test]
fn two_brokers_have_metrics_each_and_a_taken_address_is_said() {
    let scratch = Scratch::new("metrics-two");
    let one = Broker::dev(&scratch.join("one"), &[]);
    let two = Broker::dev(&scratch.join("two"), &[]);
    assert_ne!(http(&one), http(&two));
    for broker in [&one, &two] {
        assert_eq!(get(&http(broker), "/livez").0, 200);
        assert!(http(broker).starts_with("127.0.0.1:"));
    }
    let data = scratch.join("three");
    let third = |at: &str| klamm(&["dev", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap(), "--http", at]);
    fails(&third(&http(&one)), 1, &["something else listens there"]);
    fails(&third("nonsense"), 2, &["off"]);
    one.stop();
    two.stop();
}

#[test]
fn a_broker_is_ready_until_it_stops() {
    let scratch = Scratch::new("metrics-ready");
    let mut broker = Broker::dev(&scratch.join("data"), &["--http", "127.0.0.1:0"]);
    let at = http(&broker);
    assert_eq!((get(&at, "/readyz").0, get(&at, "/livez").0, get(&at, "/nothing").0), (200, 200, 404));
    let mut client = Client::connect(&broker.address);
    client.create_topic("t", 1);
    let parked: Request = fetch("t", 0, 0, 1_500);
    client.send(11, &parked);
    thread::sleep(Duration::from_millis(200));
    broker.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(200));
    assert_eq!((get(&at, "/readyz").0, get(&at, "/livez").0), (503, 200), "while it drains");
    client.receive(11, &parked).unwrap();
    assert_eq!(broker.exit(20).code(), Some(0));
}

#[test]
fn nonsense_over_http_harms_nobody() {
    let scratch = Scratch::new("metrics-nonsense");
    let broker = Broker::dev(&scratch.join("data"), &["--http", "127.0.0.1:0"]);
    let at = http(&broker);
    for sent in [&b"\0\0\0\x08\0\x12"[..], b"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"GET"] {
        let mut stream = TcpStream::connect(&at).unwrap();
        stream.write_all(sent).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
    let long = "x".repeat(1 << 20);
    let mut stream = TcpStream::connect(&at).unwrap();
    drop(write!(stream, "GET /{long} HTTP/1.1\r\n\r\n"));
    assert_eq!(get(&at, "/livez").0, 200);
    broker.stop();
}
