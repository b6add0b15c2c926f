//! The broker as an operator meets it: signals, connections that come to an end, addresses and directories that it
//! cannot have, and bytes that are not Kafka's.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Broker, Client, Scratch, fails, fetch, fetched, klamm};
use klamm_core::wire::{
    ApiVersionsRequest, OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic, Request, Response,
    encode_request, error,
};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn sigterm_answers_what_was_asked_and_closes_the_logs() {
    let scratch = Scratch::new("sigterm");
    let data = scratch.join("data");
    let mut broker = Broker::dev(&data, &["--shards", "3"]);
    let mut client = Client::connect(&broker.address);
    client.create_topic("t", 6);
    // Over one connection, hence partly between shards.
    (0..6).for_each(|partition| assert_eq!(client.produce("t", partition, &["a", "b"]), 0));
    let mut idle = Client::connect(&broker.address);
    let parked: Vec<Request> = (0..6).map(|partition| fetch("t", partition, 2, 1_500)).collect();
    parked.iter().for_each(|request| client.send(11, request));
    thread::sleep(Duration::from_millis(200));
    broker.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(200));
    assert!(idle.is_ended(), "who waits for nothing is not waited for");
    assert!(TcpStream::connect(&broker.address).is_err(), "nobody else is let in");
    for request in &parked[..1] {
        assert!(fetched(&client.receive(11, request).unwrap()).is_empty());
    }
    assert_eq!(broker.exit(20).code(), Some(0));
    // A clean close leaves no zeros behind the batches.
    for partition in 0..6 {
        let log = std::fs::read(data.join(format!("t-{partition}/00000000000000000000.log"))).unwrap();
        assert!(log.len() < 100 && log.last() == Some(&0), "{} bytes", log.len());
    }
    let again = Broker::dev(&data, &[]);
    assert!(!fetched(&Client::connect(&again.address).ask(11, fetch("t", 5, 0, 0))).is_empty());
    again.stop();
}

/// One request with an epoch below -1 about a log without records ended the broker: the look-up went past the end of the
/// epochs that had written. Every epoch has an answer, before anything is written and after.
#[test]
fn epochs_that_nobody_wrote_in_have_an_end() {
    let scratch = Scratch::new("epochs");
    let broker = Broker::dev(&scratch.join("data"), &[]);
    let mut client = Client::connect(&broker.address);
    client.create_topic("t", 1);
    let mut ends = || {
        let ask = |leader_epoch| OffsetForLeaderPartition { leader_epoch, ..OffsetForLeaderPartition::default() };
        let partitions = [i32::MIN, -2, -1, 0, 1, i32::MAX].map(ask).to_vec();
        let topics = vec![OffsetForLeaderTopic { topic: "t".into(), partitions }];
        let request = OffsetForLeaderEpochRequest { topics, ..OffsetForLeaderEpochRequest::default() };
        let Response::OffsetForLeaderEpoch(answer) = client.ask(4, request) else { panic!() };
        let ends = answer.topics[0].partitions.iter().map(|p| (p.error_code, p.leader_epoch, p.end_offset));
        let ends = ends.collect::<Vec<_>>();
        client.produce("t", 0, &["a", "b"]);
        ends
    };
    let none = (0, -1, -1);
    assert_eq!(ends(), [none, none, none, (0, 0, 0), none, none], "epoch 0 leads, and has written nothing");
    assert_eq!(ends(), [none, none, none, (0, 0, 2), none, none]);
    // An epoch to come has no end to tell; an answer without one would have said that all is well.
    let Request::Fetch(mut ahead) = fetch("t", 0, 0, 0) else { panic!() };
    ahead.topics[0].partitions[0].last_fetched_epoch = 7;
    let Response::Fetch(answer) = client.ask(12, *ahead) else { panic!() };
    assert_eq!(answer.responses[0].partitions[0].error_code, error::OFFSET_OUT_OF_RANGE);
    broker.stop();
}

#[test]
fn a_second_signal_stops_at_once() {
    let scratch = Scratch::new("second-signal");
    let mut broker = Broker::dev(&scratch.join("data"), &[]);
    let mut client = Client::connect(&broker.address);
    client.create_topic("t", 1);
    client.send(11, &fetch("t", 0, 0, 60_000));
    thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    broker.signal(Signal::INT);
    thread::sleep(Duration::from_millis(500));
    broker.signal(Signal::TERM);
    assert_eq!(broker.exit(3).code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(3));
    broker.says("stopped before the logs were closed");
}

#[test]
fn a_drain_does_not_last_for_ever() {
    let scratch = Scratch::new("long-drain");
    let mut broker = Broker::dev(&scratch.join("data"), &["--shards", "2"]);
    let mut client = Client::connect(&broker.address);
    client.create_topic("t", 2);
    client.send(11, &fetch("t", 0, 0, 600_000));
    thread::sleep(Duration::from_millis(200));
    broker.signal(Signal::TERM);
    assert_eq!(broker.exit(15).code(), Some(0));
}

#[test]
fn a_client_that_half_closes_gets_its_answers() {
    let scratch = Scratch::new("half-close");
    let broker = Broker::dev(&scratch.join("data"), &[]);
    let mut client = Client::connect(&broker.address);
    client.create_topic("t", 1);
    let requests = [common::produce("t", 0, &["a"]), fetch("t", 0, 0, 100), fetch("t", 0, 1, 400)];
    for (request, version) in requests.iter().zip([9, 11, 11]) {
        client.send(version, request);
    }
    client.stream.shutdown(Shutdown::Write).unwrap();
    client.receive(9, &requests[0]).unwrap();
    assert!(!fetched(&client.receive(11, &requests[1]).unwrap()).is_empty());
    assert!(fetched(&client.receive(11, &requests[2]).unwrap()).is_empty());
    assert!(client.is_ended());
    broker.stop();
}

#[test]
fn an_address_that_is_none_is_a_usage_error() {
    for address in ["nonsense", "127.0.0.1", "127.0.0.1:99999", ""] {
        fails(&klamm(&["dev", "--listen", address]), 2, &["--listen"]);
    }
    fails(&klamm(&["dev", "--listen", "0.0.0.0:0"]), 2, &["--advertise"]);
    fails(&klamm(&["dev", "--advertise", "nowhere"]), 2, &["HOST:PORT"]);
    fails(&klamm(&["dev", "--shards", "0"]), 2, &["--shards"]);
    fails(&klamm(&["dev", "--nonsense"]), 2, &["--nonsense"]);
    fails(&klamm(&["nonsense"]), 2, &["nonsense"]);
}

#[test]
fn a_port_in_use_is_said() {
    let scratch = Scratch::new("port");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, data) = (taken.local_addr().unwrap().to_string(), scratch.join("data"));
    let output = klamm(&["dev", "--listen", &address, "--data", data.to_str().unwrap()]);
    fails(&output, 1, &[&address, "something else listens there"]);
    let output = klamm(&["dev", "--listen", "192.0.2.1:9092", "--data", data.to_str().unwrap()]);
    fails(&output, 1, &["no interface"]);
}

#[test]
fn two_brokers_do_not_share_a_port() {
    let scratch = Scratch::new("two");
    let broker = Broker::dev(&scratch.join("one"), &[]);
    let output = klamm(&["dev", "--listen", &broker.address, "--data", scratch.join("two").to_str().unwrap()]);
    fails(&output, 1, &["something else listens there"]);
}

#[test]
fn a_data_directory_that_is_not_ours_is_refused() {
    let scratch = Scratch::new("directory");
    let dev = |name: &str| klamm(&["dev", "--listen", "127.0.0.1:0", "--data", scratch.join(name).to_str().unwrap()]);
    let with = |name: &str, file: &str, text: &str| {
        std::fs::create_dir_all(scratch.join(name)).unwrap();
        std::fs::write(scratch.join(name).join(file), text).unwrap();
    };
    with("stranger", "letter", "dear");
    fails(&dev("stranger"), 78, &["letter", "meta.properties"]);
    with("newer", "meta.properties", "version=2\ncluster.id=a\nnode.id=1\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\n");
    fails(&dev("newer"), 78, &["version=2"]);
    with("older", "meta.properties", "version=0\ncluster.id=a\nbroker.id=1\n");
    fails(&dev("older"), 78, &["version=0"]);
    with("damaged", "meta.properties", "version=1\n");
    fails(&dev("damaged"), 78, &["node.id"]);
    std::fs::write(scratch.join("file"), "").unwrap();
    fails(&dev("file"), 74, &["file"]);
    let broker = Broker::dev(&scratch.join("held"), &[]);
    fails(&dev("held"), 75, &["in use by another process"]);
    broker.stop();
}

/// Sends each of these bytes and expects the connection to be closed, for a reason that has these words, without an
/// answer; and the broker to be there still.
fn closes(name: &str, cases: &[(Vec<u8>, &str)]) {
    let scratch = Scratch::new(name);
    let broker = Broker::dev(&scratch.join("data"), &[]);
    for (sent, words) in cases {
        let mut client = Client::connect(&broker.address);
        client.stream.write_all(sent).unwrap();
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert!(client.is_ended(), "{name}: it answered");
        broker.says(words);
        Client::connect(&broker.address).ask(3, ApiVersionsRequest::default());
    }
    broker.stop();
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length, body].concat()
}

/// A request header: key, version, correlation id 7, a null client id.
fn header(key: i16, version: i16) -> Vec<u8> {
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 7], &[0xff, 0xff]].concat()
}

#[test]
fn a_frame_of_no_bytes() {
    closes("no-bytes", &[(vec![0; 4], "a frame of 0 bytes")]);
}

#[test]
fn a_frame_of_a_negative_length() {
    let cases = [(vec![0xff; 8], "a frame of -1 bytes"), (vec![0x80, 0, 0, 0, 1], "a frame of -2147483648 bytes")];
    closes("negative", &cases);
}

#[test]
fn a_frame_longer_than_any() {
    let longest = vec![0x7f, 0xff, 0xff, 0xff, 1, 2, 3];
    closes("longer", &[(longest, "a frame of 2147483647 bytes"), (vec![6, 64, 0, 1, 1], "a frame of 104857601 bytes")]);
}

#[test]
fn a_frame_that_ends_early() {
    let early = framed(&header(18, 0))[..9].to_vec();
    closes("early", &[(early, "a connection that failed"), (vec![0, 0], "a connection that failed")]);
}

#[test]
fn a_header_that_is_cut() {
    let cut = |len| (framed(&header(3, 0)[..len]), "a malformed request");
    closes("cut", &(1..10).map(cut).collect::<Vec<_>>());
}

#[test]
fn an_unknown_api() {
    let of = |key| framed(&header(key, 0));
    closes("unknown", &[(of(999), "version 0 of API 999 is not served"), (of(-1), "version 0 of API -1")]);
}

#[test]
fn a_version_that_is_not_served() {
    let of = |key, version| framed(&header(key, version));
    let newer = (of(3, 99), "version 99 of API 3 is not served");
    closes("version", &[newer, (of(3, -1), "version -1 of API 3"), (of(1, 3), "version 3 of API 1")]);
}

/// As in Kafka: librdkafka's Metadata for all topics has three bytes too many.
#[test]
fn bytes_after_a_request_are_not_read() {
    let scratch = Scratch::new("after");
    let broker = Broker::dev(&scratch.join("data"), &[]);
    let mut client = Client::connect(&broker.address);
    let request = ApiVersionsRequest::default().into();
    let whole = encode_request(0, 7, None, &request);
    client.stream.write_all(&framed(&[&whole[4..], &[0; 3]].concat())).unwrap();
    assert!(matches!(client.receive(0, &request), Ok(Response::ApiVersions(_))));
    client.ask(3, ApiVersionsRequest::default());
    broker.stop();
}

#[test]
fn a_client_id_that_is_no_text() {
    closes("text", &[(framed(&[0, 18, 0, 0, 0, 0, 0, 7, 0, 2, 0xc3, 0x28]), "a malformed request")]);
}

#[test]
fn a_client_id_longer_than_its_frame() {
    closes("client-id", &[(framed(&[0, 18, 0, 0, 0, 0, 0, 7, 0x7f, 0xff]), "a malformed request")]);
}

#[test]
fn an_array_longer_than_its_frame() {
    // Metadata of 2^31-1 topics.
    let array = framed(&[&header(3, 1)[..], &[0x7f, 0xff, 0xff, 0xff]].concat());
    closes("array", &[(array, "a malformed request")]);
}

#[test]
fn another_protocol() {
    let tls = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    closes("protocol", &[(b"GET / HTTP/1.1\r\n\r\n".to_vec(), "speaks HTTP"), (tls, "TLS handshake")]);
}

#[test]
fn announced_lengths_take_no_memory() {
    let scratch = Scratch::new("announced");
    let broker = Broker::dev(&scratch.join("data"), &[]);
    let before = broker.memory_kib("VmRSS");
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(&broker.address)).collect();
    for client in &mut clients {
        client.stream.write_all(&(100u32 << 20).to_be_bytes()).unwrap();
        client.stream.write_all(&[7; 100]).unwrap();
    }
    thread::sleep(Duration::from_millis(500));
    let after = broker.memory_kib("VmRSS");
    assert!(after < before + 32_768, "{before} KiB before, {after} KiB with 800 MB announced");
    let mut other = Client::connect(&broker.address);
    other.ask(3, ApiVersionsRequest::default());
    drop(clients);
    broker.stop();
}

#[test]
fn an_unknown_version_of_api_versions_is_answered() {
    let scratch = Scratch::new("api-versions");
    let broker = Broker::dev(&scratch.join("data"), &[]);
    let mut client = Client::connect(&broker.address);
    client.stream.write_all(&framed(&[&header(18, 99)[..], &[0]].concat())).unwrap();
    let frame = client.frame().unwrap();
    assert_eq!(frame[..6], [0, 0, 0, 7, 0, 35]);
    let mut rest = Vec::new();
    client.stream.shutdown(Shutdown::Write).unwrap();
    client.stream.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    broker.stop();
}
