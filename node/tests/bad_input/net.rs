//! Clients that send slowly, take nothing, ask too much at once, or the same again.

use crate::common::{Client, fetch, fetched, produce};
use crate::rig::{self, Rig, Setup, drain, entry, produce_bytes, with};
use klamm::crc32c;
use klamm::host::{FRAME_DEADLINE_MS, HALF_CLOSED_DEADLINE_MS, HURRY_MS, UNFINISHED_PER_SHARD, WRITE_DEADLINE_MS};
use klamm_core::ids::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use klamm_core::record::{Builder, batches};
use klamm_core::wire::{
    ApiVersionsRequest, InitProducerIdRequest, MetadataRequest, Request, Response, encode_request, error,
};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

/// One shard, for which a minute is a second.
const HASTY: Setup = Setup { speed: 60, shards: 1, ..rig::SETUP };
const MIB: usize = 1 << 20;

/// How long deadlines are for a hasty broker.
fn hasty(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap() / HASTY.speed)
}

/// A produce of a million bytes, and what is answered within so long.
fn produces_a_long_batch(rig: &Rig, within: Duration) {
    let value = "x".repeat(1_000_000);
    let mut client = rig.connect();
    client.create_topic("long", 1);
    let begun = Instant::now();
    client.produce("long", 0, &[&value]);
    let took = begun.elapsed();
    assert!(took < within, "a long batch took {took:?}");
}

/// Connections that announce 100 MiB and send little; as many as would hold a shard's room many times over if
/// announcing were enough.
#[test]
fn announced_frames_do_not_delay_a_polite_client() {
    with("announcers", &Setup { shards: 1, ..rig::SETUP }, |rig| {
        let mut announcers: Vec<Client> = (0..200).map(|_| rig.connect()).collect();
        for client in &mut announcers {
            rig.send(client, &(100u32 << 20).to_be_bytes());
            rig.send(client, &[7; 1_000]);
        }
        thread::sleep(Duration::from_millis(200));
        let before = rig.polite_rounds();
        produces_a_long_batch(rig, Duration::from_secs(2));
        rig.counts(2 * MIB);
        thread::sleep(Duration::from_millis(200));
        assert!(rig.polite_rounds() > before + 2, "the polite client stands still");
        // 64 KiB of buffer each, whatever came.
        rig.counts(announcers.len() * (64 << 10));
    });
}

/// Half frames that were really sent, each more than its share of the room: all wait for more of it. One after the
/// other has the turn, does not hurry, is closed, and lets others go on.
#[test]
fn half_frames_hold_up_long_ones_for_a_while_and_short_ones_not_at_all() {
    with("half-frames", &HASTY, |rig| {
        let piece = vec![7; 60 * MIB];
        let count = 2 * UNFINISHED_PER_SHARD / piece.len();
        let mut halves: Vec<Client> = (0..count).map(|_| rig.connect()).collect();
        thread::scope(|scope| {
            for client in &mut halves {
                client.stream.write_all(&(100u32 << 20).to_be_bytes()).unwrap();
                // It is read no further than there is room.
                client.stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
                scope.spawn(|| drop(client.stream.write_all(&piece)));
            }
        });
        rig.counts(count * piece.len());
        produces_a_long_batch(rig, hasty(3 * HURRY_MS) + Duration::from_secs(1));
        let closed = |client: &mut Client| {
            client.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            !matches!(client.stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
        };
        assert!(halves.iter_mut().any(closed), "whoever had the turn did not hurry");
    });
}

/// A byte now and then, which is no reason to wait for ever: short frames and long ones.
#[test]
fn a_slow_sender_is_closed() {
    for (name, announced) in [("slow", 100u32), ("slow-long", 1 << 20)] {
        with(name, &HASTY, |rig| {
            let mut client = rig.connect();
            rig.send(&mut client, &announced.to_be_bytes());
            let begun = Instant::now();
            let deadline = hasty(FRAME_DEADLINE_MS);
            client.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            loop {
                rig.send(&mut client, &[0]);
                match client.stream.read(&mut [0]) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(0) | Err(_) => break,
                    Ok(_) => panic!("{name}: it answered"),
                }
                assert!(begun.elapsed() < 3 * deadline, "{name}: it waits for ever");
            }
            assert!(begun.elapsed() >= deadline, "{name}: closed after {:?}", begun.elapsed());
        });
    }
}

#[test]
fn an_unfinished_frame_is_closed() {
    with("unfinished", &HASTY, |rig| {
        let request = encode_request(9, 1, None, &MetadataRequest::default().into());
        for sent in [&request[..3], &request[..request.len() - 1], &(100u32 << 20).to_be_bytes()] {
            let mut client = rig.connect();
            rig.send(&mut client, sent);
            let begun = Instant::now();
            assert!(client.is_ended());
            assert!(begun.elapsed() >= hasty(FRAME_DEADLINE_MS) && begun.elapsed() < hasty(3 * FRAME_DEADLINE_MS));
        }
    });
}

/// A topic of one partition with so many batches of a million bytes.
fn fill(rig: &mut Rig, batches: usize) {
    let mut client = rig.connect();
    client.create_topic("big", 1);
    let value = "x".repeat(1_000_000);
    for _ in 0..batches {
        client.produce("big", 0, &[&value]);
    }
    rig.counts(batches * value.len());
}

/// Its answers are leases, not bytes; after a while it is given up.
#[test]
fn a_stopped_reader_is_closed_and_costs_no_memory() {
    with("stopped", &HASTY, |rig| {
        fill(rig, 8);
        let before = rig.held();
        let mut client = rig.connect();
        client.stream.set_read_timeout(Some(3 * hasty(WRITE_DEADLINE_MS))).unwrap();
        (0..100).for_each(|at| client.send(11, &fetch("big", 0, at % 8, 0)));
        thread::sleep(Duration::from_millis(500));
        assert!(rig.held() < before + 3 * MIB, "{} bytes held for who takes nothing", rig.held() - before);
        thread::sleep(2 * hasty(WRITE_DEADLINE_MS));
        let came = drain(&mut client.stream);
        assert!(came < 90_000_000, "{came} bytes came: it was not closed");
        assert!(client.is_ended());
    });
}

#[test]
fn a_slow_reader_gets_all_and_holds_up_nobody() {
    entry("slow-reader", |rig| {
        fill(rig, 8);
        let mut client = rig.connect();
        let requests: Vec<Request> = (0..8).map(|at| fetch("big", 0, at, 0)).collect();
        requests.iter().for_each(|request| client.send(11, request));
        let before = rig.polite_rounds();
        for (at, request) in (0..).zip(&requests) {
            thread::sleep(Duration::from_millis(100));
            let bytes = fetched(&client.receive(11, request).unwrap());
            let batch = batches(bytes).next().unwrap().unwrap();
            assert!(batch.crc_holds(crc32c) && batch.header.base_offset.0 == at);
        }
        assert!(rig.polite_rounds() > before + 20, "the polite client was held up");
    });
}

/// Far more than a connection may have in flight, behind one that waits.
#[test]
fn requests_pipelined_beyond_the_bound_are_answered_in_order() {
    entry("pipelined", |rig| {
        fill(rig, 1);
        let mut client = rig.connect();
        client.send(11, &fetch("big", 0, 1, 500));
        let count = 20_000;
        let requests: Vec<u8> = (0..count)
            .flat_map(|at| encode_request(0, at, Some("many"), &ApiVersionsRequest::default().into()).to_vec())
            .collect();
        rig.counts(requests.len());
        let mut stream = client.stream.try_clone().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || stream.write_all(&requests).unwrap());
            assert!(fetched(&client.receive(11, &fetch("big", 0, 1, 500)).unwrap()).is_empty());
            for at in 0..count {
                let frame = client.frame().unwrap();
                assert_eq!(frame[..4], at.to_be_bytes());
            }
        });
    });
}

#[test]
fn a_duplicated_request_is_answered_again_and_written_once() {
    entry("duplicated", |rig| {
        let mut client = rig.connect();
        client.create_topic("once", 1);
        let Response::InitProducerId(given) = client.ask(4, InitProducerIdRequest::default()) else { panic!() };
        let mut builder = Builder::new().producer(ProducerId(given.producer_id), ProducerEpoch(0), Sequence(0));
        builder.push(Timestamp(1), None, Some(b"a"));
        let request = produce_bytes("once", builder.build(crc32c));
        // Byte for byte the same frame, and once more over another connection.
        let frame = encode_request(9, 7, None, &request);
        let mut other = rig.connect();
        rig.send(&mut client, &[&frame[..], &frame[..]].concat());
        rig.send(&mut other, &frame);
        for client in [&mut client, &mut other] {
            let Response::Produce(answer) = client.receive(9, &request).unwrap() else { panic!() };
            let part = &answer.responses[0].partition_responses[0];
            assert_eq!((part.error_code, part.base_offset), (error::NONE, 0));
        }
        let Response::Produce(_) = client.receive(9, &request).unwrap() else { panic!() };
        let bytes = fetched(&client.ask(11, fetch("once", 0, 0, 0)));
        assert_eq!(batches(bytes).count(), 1);
    });
}

#[test]
fn a_half_closed_connection_is_answered_and_then_closed() {
    entry("half-closed", |rig| {
        let mut client = rig.connect();
        client.create_topic("t", 1);
        let requests = [produce("t", 0, &["a"]), fetch("t", 0, 1, 300)];
        client.send(9, &requests[0]);
        client.send(11, &requests[1]);
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.receive(9, &requests[0]).unwrap();
        assert!(fetched(&client.receive(11, &requests[1]).unwrap()).is_empty());
        assert!(client.is_ended());
    });
}

/// With a request under way, and answers that nobody takes.
#[test]
fn connections_that_are_cut_at_any_point_leave_nothing_behind() {
    with("cut", &HASTY, |rig| {
        rig.connect().create_topic("t", 1);
        let before = rig.held();
        let long_poll = encode_request(11, 1, None, &fetch("t", 0, 0, 60_000));
        let write = encode_request(9, 1, None, &produce("t", 0, &["a"]));
        for at in 0..300 {
            let mut client = rig.connect();
            let whole = [&write[..], &long_poll, &write].concat();
            rig.send(&mut client, &whole[..at * whole.len() / 300]);
        }
        // Who has left cannot be told from who has only stopped asking.
        let until = Instant::now() + 3 * hasty(HALF_CLOSED_DEADLINE_MS);
        while rig.held() > before + (256 << 10) {
            assert!(Instant::now() < until, "{} bytes are still held", rig.held() - before);
            thread::sleep(Duration::from_millis(10));
        }
    });
}
