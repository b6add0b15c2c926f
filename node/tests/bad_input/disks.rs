//! Disks that fail under a running broker, and files that were changed while it was away.

use crate::common::{Broker, Client, Scratch, fails, fetch, fetched, produce};
use crate::rig::{Rig, entry};
use klamm::crc32c;
use klamm_core::record::batches;
use klamm_core::wire::{Records, Response, error};
use std::path::{Path, PathBuf};
use std::process::Command;

fn produced(client: &mut Client, topic: &str, value: &str) -> i16 {
    let Response::Produce(answer) = client.ask(9, produce(topic, 0, &[value])) else { panic!() };
    answer.responses[0].partition_responses[0].error_code
}

/// What a sync failed to make durable is not acknowledged, and nothing after it: the log is offline, the others are not.
#[test]
fn a_failed_sync_takes_its_log_offline_and_no_other() {
    entry("failed-sync", |rig: &mut Rig| {
        let mut client = rig.connect();
        client.create_topic("failing", 1);
        assert_eq!(produced(&mut client, "failing", "kept"), error::NONE);
        rig.fails.syncs();
        assert_eq!(produced(&mut client, "failing", "lost"), error::KAFKA_STORAGE_ERROR);
        for _ in 0..3 {
            assert_eq!(produced(&mut client, "failing", "more"), error::KAFKA_STORAGE_ERROR);
            let Response::Fetch(answer) = client.ask(11, fetch("failing", 0, 0, 0)) else { panic!() };
            assert_eq!(answer.responses[0].partitions[0].error_code, error::KAFKA_STORAGE_ERROR);
        }
        let mut failed = rig.fails.failed.lock().unwrap().clone();
        let times = failed.len();
        failed.sort();
        failed.dedup();
        assert!(times > 0 && failed.len() == times, "a failed sync is not tried again: {failed:?}");
        client.create_topic("other", 1);
        assert_eq!(produced(&mut client, "other", "fine"), error::NONE);
    });
}

/// Records of a flipped topic and a sound one.
const RECORDS: i64 = 70;
/// Segments of ten batches or so: the least that may be asked for.
const SEGMENTS: &[&str] = &["--override", "log.segment.bytes=1048576"];

/// A stopped broker's directory with two topics of many segments.
fn stopped(scratch: &Scratch) -> PathBuf {
    let data = scratch.join("data");
    let broker = Broker::dev(&data, SEGMENTS);
    let mut client = Client::connect(&broker.address);
    for topic in ["flipped", "sound"] {
        client.create_topic(topic, 1);
        for at in 0..RECORDS {
            assert_eq!(client.produce(topic, 0, &[&format!("value {at:3} {}", "x".repeat(100_000))]), at);
        }
    }
    broker.stop();
    data
}

/// Flips a bit of a batch of a segment, by the segment's place and the batch's; gives the batch's offset.
fn flip(data: &Path, segment: usize, batch: usize, byte: usize) -> i64 {
    let files = std::fs::read_dir(data.join("flipped-0")).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    logs.sort();
    assert!(logs.len() > 5, "{} segments", logs.len());
    let path = &logs[segment.min(logs.len() - 1)];
    let mut bytes = std::fs::read(path).unwrap();
    let sizes = batches(bytes.clone().into()).map(|batch| batch.unwrap().bytes().len());
    let at: usize = sizes.take(batch).sum();
    bytes[at + byte] ^= 1;
    std::fs::write(path, bytes).unwrap();
    path.file_stem().unwrap().to_str().unwrap().parse::<i64>().unwrap() + batch as i64
}

/// Reads a topic from an offset on: up to where it could, and the error there.
fn read(client: &mut Client, topic: &str, from: i64) -> (i64, i16) {
    let mut at = from;
    while at < RECORDS {
        let Response::Fetch(answer) = client.ask(11, fetch(topic, 0, at, 0)) else { panic!() };
        let part = &answer.responses[0].partitions[0];
        let Records::Bytes(bytes) = &part.records else { panic!() };
        let before = at;
        for batch in batches(bytes.clone()) {
            match batch {
                Ok(batch) if batch.crc_holds(crc32c) => at = batch.header.next_offset().0,
                Ok(_) | Err(_) => return (at, error::CORRUPT_MESSAGE),
            }
        }
        if part.error_code != error::NONE || at == before {
            return (at, part.error_code);
        }
    }
    (at, error::NONE)
}

/// In a value of an old segment, which a start does not read: the batch goes out as it is, and every client's own checksum
/// finds it. As in Kafka.
#[test]
fn a_bit_flipped_in_a_value_is_an_error_on_read() {
    let scratch = Scratch::new("flip-value");
    let data = stopped(&scratch);
    let bad = flip(&data, 2, 3, 100);
    let broker = Broker::dev(&data, SEGMENTS);
    let mut client = Client::connect(&broker.address);
    assert_eq!(read(&mut client, "sound", 0), (RECORDS, error::NONE));
    assert_eq!(read(&mut client, "flipped", 0), (bad, error::CORRUPT_MESSAGE));
    assert_eq!(read(&mut client, "flipped", bad + 1), (RECORDS, error::NONE), "what comes after can be read");
    assert_eq!(client.produce("flipped", 0, &["more"]), RECORDS);
    broker.stop();
}

/// In a length of an old segment, where the broker loses its way as well: an error, and what is in other segments is not
/// lost with it.
#[test]
fn a_bit_flipped_in_a_length_is_an_error_on_read() {
    let scratch = Scratch::new("flip-length");
    let data = stopped(&scratch);
    let bad = flip(&data, 2, 3, 11);
    let broker = Broker::dev(&data, SEGMENTS);
    let mut client = Client::connect(&broker.address);
    let (at, code) = read(&mut client, "flipped", 0);
    assert!(at <= bad && [error::CORRUPT_MESSAGE, error::KAFKA_STORAGE_ERROR].contains(&code), "{code} at {at}");
    let after = read(&mut client, "flipped", bad + 15);
    assert_eq!(after, (RECORDS, error::NONE), "what comes after can be read");
    assert_eq!(read(&mut client, "sound", 0), (RECORDS, error::NONE));
    broker.stop();
}

/// In the segment that was written last, which a start reads: the log is refused and says so, the others are served.
#[test]
fn a_bit_flipped_in_the_last_segment_takes_its_log_offline() {
    let scratch = Scratch::new("flip-last");
    let data = stopped(&scratch);
    flip(&data, usize::MAX, 1, 100);
    let broker = Broker::dev(&data, SEGMENTS);
    let mut client = Client::connect(&broker.address);
    assert!(broker.banner.iter().any(|line| line.contains("flipped-0")), "{:?}", broker.banner);
    assert_eq!(read(&mut client, "flipped", 0), (0, error::KAFKA_STORAGE_ERROR));
    assert_eq!(produced(&mut client, "flipped", "more"), error::KAFKA_STORAGE_ERROR);
    assert_eq!(read(&mut client, "sound", 0), (RECORDS, error::NONE));
    broker.stop();
}

#[test]
fn a_torn_tail_is_cut_after_a_kill() {
    let scratch = Scratch::new("torn");
    let mut broker = Broker::dev(&scratch.join("data"), &[]);
    let mut client = Client::connect(&broker.address);
    client.create_topic("torn", 1);
    (0..10).for_each(|at| assert_eq!(client.produce("torn", 0, &["value"]), at));
    broker.signal(rustix::process::Signal::KILL);
    broker.exit(10);
    let log = scratch.join("data/torn-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let whole = bytes.windows(5).rposition(|w| w == b"value").unwrap() + 6;
    let one = whole / 10;
    bytes.truncate(whole);
    // An eleventh batch of which half arrived.
    let torn = bytes[whole - one..whole - one / 2].to_vec();
    bytes.extend(torn);
    std::fs::write(&log, bytes).unwrap();
    let broker = Broker::dev(&scratch.join("data"), &[]);
    let mut client = Client::connect(&broker.address);
    assert_eq!(batches(fetched(&client.ask(11, fetch("torn", 0, 0, 0)))).count(), 10);
    assert_eq!(client.produce("torn", 0, &["next"]), 10);
    broker.stop();
}

#[test]
fn another_clusters_directory_refuses_to_start() {
    let scratch = Scratch::new("foreign");
    let broker = Broker::dev(&scratch.join("data"), &[]);
    broker.stop();
    let properties = scratch.join("server.properties");
    let data = scratch.join("data");
    let lines = format!("listeners=PLAINTEXT://127.0.0.1:0\nlog.dirs={}\n", data.display());
    std::fs::write(&properties, lines).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_klamm"));
    let output =
        command.args(["start", "-c", properties.to_str().unwrap()]).env("CLUSTER_ID", "foreign").output().unwrap();
    fails(&output, 78, &["foreign"]);
    // And nothing of it was touched: its own broker starts.
    Broker::dev(&data, &[]).stop();
}
