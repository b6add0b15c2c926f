//! Fetches and list-offsets that ask for what cannot be.

use crate::common::{Client, fetch, fetched};
use crate::rig::{self, Rig, Setup, entry, with};
use klamm_core::wire::{
    FetchRequest, FetchResponse, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, Request, Response, error,
};

const TOPIC: &str = "t";

/// A topic of one partition with three records.
fn begin(rig: &Rig) -> Client {
    let mut client = rig.connect();
    client.create_topic(TOPIC, 1);
    client.produce(TOPIC, 0, &["a", "b", "c"]);
    client
}

/// A fetch from the beginning, changed.
fn asking(change: impl FnOnce(&mut FetchRequest)) -> Request {
    let mut request = fetch(TOPIC, 0, 0, 100);
    let Request::Fetch(inner) = &mut request else { panic!() };
    change(inner);
    request
}

fn answer(rig: &mut Rig, version: i16, change: impl FnOnce(&mut FetchRequest)) -> FetchResponse {
    let Response::Fetch(answer) = rig.ask(version, asking(change)) else { panic!() };
    answer
}

/// The code of the one partition.
fn code(answer: &FetchResponse) -> i16 {
    answer.responses[0].partitions[0].error_code
}

#[test]
fn an_offset_outside_the_log() {
    entry("offset", |rig| {
        begin(rig);
        for offset in [-1, -2, i64::MIN, 4, i64::MAX] {
            for version in [4, 11] {
                let refused = answer(rig, version, |r| r.topics[0].partitions[0].fetch_offset = offset);
                assert_eq!(code(&refused), error::OFFSET_OUT_OF_RANGE, "{offset}");
            }
        }
        let at_the_end = answer(rig, 11, |r| r.topics[0].partitions[0].fetch_offset = 3);
        assert_eq!(code(&at_the_end), error::NONE);
    });
}

/// Old versions have no place for an error but their partitions.
fn invalid(name: &str, change: impl Fn(&mut FetchRequest)) {
    entry(name, |rig| {
        begin(rig);
        for version in [4, 7, 12] {
            let refused = answer(rig, version, &change);
            assert_eq!(code(&refused), error::INVALID_REQUEST);
            assert!(version < 7 || refused.error_code == error::INVALID_REQUEST);
        }
    });
}

#[test]
fn a_negative_wait() {
    invalid("wait", |r| r.max_wait_ms = -1);
}

#[test]
fn a_negative_least_of_bytes() {
    invalid("min-bytes", |r| r.min_bytes = i32::MIN);
}

#[test]
fn a_negative_most_of_bytes() {
    invalid("max-bytes", |r| r.max_bytes = -1);
}

#[test]
fn a_negative_most_of_a_partitions_bytes() {
    invalid("partition-bytes", |r| r.topics[0].partitions[0].partition_max_bytes = -1);
}

#[test]
fn an_isolation_level_of_seven() {
    invalid("isolation", |r| r.isolation_level = 7);
    invalid("isolation-below", |r| r.isolation_level = -1);
}

#[test]
fn a_spoofed_replica_id() {
    entry("replica", |rig| {
        begin(rig);
        for (version, replica) in [(4, 0), (11, 1), (12, i32::MAX)] {
            let refused = answer(rig, version, |r| r.replica_id = replica);
            assert_eq!(code(&refused), error::NOT_LEADER_OR_FOLLOWER, "replica {replica}");
        }
    });
}

#[test]
fn partitions_that_are_not_there() {
    entry("fetch-not-there", |rig| {
        begin(rig);
        for partition in [1, -1, i32::MAX] {
            let refused = answer(rig, 11, |r| r.topics[0].partitions[0].partition = partition);
            assert_eq!(code(&refused), error::UNKNOWN_TOPIC_OR_PARTITION);
        }
        for name in ["__cluster_metadata", "../t"] {
            let refused = answer(rig, 11, |r| r.topics[0].topic = name.into());
            assert_eq!(code(&refused), error::UNKNOWN_TOPIC_OR_PARTITION);
        }
    });
}

#[test]
fn an_empty_name_is_no_topic_and_an_empty_id_no_topics_id() {
    entry("fetch-empty-name", |rig| {
        begin(rig);
        for version in [4, 12] {
            let refused = answer(rig, version, |r| r.topics[0].topic = String::new());
            assert_eq!(code(&refused), error::UNKNOWN_TOPIC_OR_PARTITION, "version {version}");
        }
        assert_eq!(code(&answer(rig, 13, |_| {})), error::UNKNOWN_TOPIC_ID);
    });
}

#[test]
fn epochs_that_are_not_the_leaders() {
    entry("epochs", |rig| {
        begin(rig);
        let of =
            |rig: &mut Rig, epoch| code(&answer(rig, 11, |r| r.topics[0].partitions[0].current_leader_epoch = epoch));
        assert_eq!(of(rig, 1_000), error::UNKNOWN_LEADER_EPOCH);
        assert_eq!(of(rig, -1), error::NONE);
        let unheard_of = answer(rig, 12, |r| r.topics[0].partitions[0].last_fetched_epoch = 1_000);
        assert_eq!(code(&unheard_of), error::OFFSET_OUT_OF_RANGE);
    });
}

#[test]
fn a_foreign_session() {
    entry("foreign-session", |rig| {
        let mut client = begin(rig);
        let Response::Fetch(own) = client.ask(11, asking(|r| r.session_epoch = 0)) else { panic!() };
        assert!(own.session_id > 0);
        // Another connection's, and nobody's.
        for id in [own.session_id, 12_345, -1] {
            let refused = answer(rig, 11, |r| (r.session_id, r.session_epoch) = (id, 1));
            assert_eq!((refused.error_code, refused.session_id), (error::FETCH_SESSION_ID_NOT_FOUND, 0));
        }
        let next = asking(|r| (r.session_id, r.session_epoch) = (own.session_id, 7));
        let Response::Fetch(refused) = client.ask(11, next) else { panic!() };
        assert_eq!((refused.error_code, refused.session_id), (error::INVALID_FETCH_SESSION_EPOCH, 0));
    });
}

/// Kafka's bound is a thousand sessions; whoever comes later is answered without one.
#[test]
fn a_flood_of_sessions() {
    with("session-flood", &Setup { shards: 1, ..rig::SETUP }, |rig| {
        begin(rig);
        let mut clients = Vec::new();
        let mut given = 0;
        for at in 0..1_100 {
            let mut client = rig.connect();
            rig.counts(100);
            let Response::Fetch(answer) = client.ask(11, asking(|r| r.session_epoch = 0)) else { panic!() };
            assert_eq!(code(&answer), error::NONE, "every one is answered");
            assert_eq!(answer.session_id > 0, at < 1_000, "session {at}");
            given += usize::from(answer.session_id > 0);
            clients.push(client);
        }
        assert_eq!(given, 1_000);
        drop(clients);
        // Their places come back.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while answer(rig, 11, |r| r.session_epoch = 0).session_id == 0 {
            assert!(std::time::Instant::now() < until, "no place came back");
        }
    });
}

/// Each names the same bytes again; only the first is looked up.
#[test]
fn one_partition_fifty_thousand_times() {
    entry("repeated", |rig| {
        let mut client = begin(rig);
        client.produce(TOPIC, 0, &[&"x".repeat(500_000)]);
        for version in [4, 11] {
            let request = asking(|r| {
                let one = r.topics[0].partitions[0].clone();
                r.topics[0].partitions = vec![one; 50_000];
            });
            let Response::Fetch(answer) = rig.ask(version, request) else { panic!() };
            let codes: Vec<i16> = answer.responses[0].partitions.iter().map(|p| p.error_code).collect();
            assert_eq!(codes[..2], [error::NONE, error::INVALID_REQUEST]);
            assert_eq!(codes.len(), 50_000);
        }
    });
}

fn list(timestamps: &[(i32, i64)], isolation_level: i8) -> ListOffsetsRequest {
    let partition = |(partition_index, timestamp): &(i32, i64)| ListOffsetsPartition {
        partition_index: *partition_index,
        timestamp: *timestamp,
        current_leader_epoch: -1,
    };
    let partitions = timestamps.iter().map(partition).collect();
    let topics = vec![ListOffsetsTopic { name: TOPIC.into(), partitions }];
    ListOffsetsRequest { isolation_level, topics, ..ListOffsetsRequest::default() }
}

fn listed(rig: &mut Rig, version: i16, request: ListOffsetsRequest) -> Vec<i16> {
    let Response::ListOffsets(answer) = rig.ask(version, request) else { panic!() };
    answer.topics[0].partitions.iter().map(|partition| partition.error_code).collect()
}

#[test]
fn offsets_of_times_that_are_none() {
    entry("times", |rig| {
        begin(rig);
        for (version, timestamp) in [(1, -3), (7, -4), (8, -5), (10, -6), (11, -7), (11, i64::MIN)] {
            let codes = listed(rig, version, list(&[(0, timestamp)], 0));
            assert_eq!(codes, [error::UNSUPPORTED_VERSION], "{timestamp} in version {version}");
        }
        assert_eq!(listed(rig, 7, list(&[(0, i64::MAX)], 0)), [error::NONE]);
    });
}

#[test]
fn offsets_of_one_partition_twice() {
    entry("listed-twice", |rig| {
        begin(rig);
        let codes = listed(rig, 7, list(&[(0, -1), (0, -2)], 0));
        assert_eq!(codes, [error::INVALID_REQUEST; 2]);
    });
}

#[test]
fn offsets_of_an_isolation_level_of_seven() {
    entry("listed-isolation", |rig| {
        begin(rig);
        assert_eq!(listed(rig, 7, list(&[(0, -1)], 7)), [error::INVALID_REQUEST]);
    });
}

#[test]
fn offsets_of_fifty_thousand_partitions_that_are_not_there() {
    entry("listed-many", |rig| {
        begin(rig);
        let many: Vec<(i32, i64)> = (1..50_000).map(|partition| (partition, -1)).collect();
        assert!(listed(rig, 7, list(&many, 0)).iter().all(|code| *code == error::UNKNOWN_TOPIC_OR_PARTITION));
        assert!(!fetched(&rig.ask(11, fetch(TOPIC, 0, 0, 0))).is_empty());
    });
}
