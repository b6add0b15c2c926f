//! Batches that Kafka's own client wrote, and what is done to them.

use alloc::vec::Vec;
use bytes::Bytes;

use super::{Batch, Builder, Codec, ControlType, Corrupt, Header, Invalid, Limits, Times, batches, records};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Three records of producer 4242, epoch 3, from sequence 2^31-2 on; written by Kafka 4.3.1.
const KAFKA: &str = "000000000000000000000053ffffffff02b91a1f3d0000000000020000018bcfe568000000018bcfe56807\
    000000000000109200037ffffffe0000000320000000026b047631040268027802680110000e0201047632000e001304026b0100";
/// One record, gzip; written by Kafka 4.3.1.
const KAFKA_GZIP: &str = "00000000000000000000004fffffffff028d0a3a760001000000000000018bcfe568000000018bcfe56800\
    ffffffffffffffffffffffffffff000000011f8b08000000000000ff1362606060ca662933640000f35ab87a0a000000";
/// A commit marker at offset 77, leader epoch 5; written by Kafka 4.3.1.
const KAFKA_MARKER: &str = "000000000000004d00000042000000050255aefb0a0030000000000000018bcfe568000000018bcfe56800\
    00000000000010920003ffffffff000000012000000008000000010c00000000000900";

const LIMITS: Limits = Limits { max_message_bytes: 1_048_588, zstd: true };

fn crc(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().map(|c| (c as char).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The checks' verdict on Kafka's batch after a change, with the checksum made right again.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Batch, Invalid> {
    let mut bytes = hex(KAFKA);
    change(&mut bytes);
    let sum = crc(&bytes[21..]);
    bytes[17..21].copy_from_slice(&sum.to_be_bytes());
    Batch::check(bytes.into(), crc, LIMITS)
}

fn code(change: impl FnOnce(&mut Vec<u8>)) -> i16 {
    changed(change).map_or_else(|invalid| invalid.code, |_| 0)
}

fn verdict(bytes: Vec<u8>) -> i16 {
    Batch::check(bytes.into(), crc, LIMITS).map_or_else(|invalid| invalid.code, |_| 0)
}

#[test]
fn a_batch_of_kafkas_is_read() {
    let batch = Batch::check(hex(KAFKA).into(), crc, LIMITS).unwrap();
    let header = batch.header;
    assert_eq!(header.size(), hex(KAFKA).len());
    assert_eq!((header.last_offset(), header.next_offset()), (Offset(2), Offset(3)));
    assert_eq!(
        (header.base_timestamp, header.max_timestamp),
        (Timestamp(1_700_000_000_000), Timestamp(1_700_000_000_007))
    );
    assert_eq!((header.producer_id, header.producer_epoch), (ProducerId(4242), ProducerEpoch(3)));
    assert_eq!(header.base_sequence, Sequence(i32::MAX - 1));
    assert_eq!(header.last_sequence(), Sequence(0), "after 2^31-1 comes 0");
    assert_eq!((header.codec(), header.count, header.leader_epoch), (Some(Codec::None), 3, LeaderEpoch(-1)));
    assert!(!header.is_control() && !header.is_transactional());

    let read: Vec<_> = records(batch.bytes()).map(Result::unwrap).collect();
    let seen: Vec<_> = read.iter().map(|r| (r.offset.0, r.timestamp.0 - 1_700_000_000_000, r.key, r.value)).collect();
    assert_eq!(seen[0], (0, 0, Some(&b"k"[..]), Some(&b"v1"[..])));
    assert_eq!(seen[1], (1, 7, None, Some(&b"v2"[..])));
    assert_eq!(seen[2], (2, -10, Some(&b"k"[..]), None));
    let headers: Vec<_> = read[0].headers.clone().collect();
    assert_eq!(headers, [(&b"h"[..], Some(&b"x"[..])), (&b"h"[..], None)]);
}

#[test]
fn the_builder_writes_what_kafka_writes() {
    let time = |ms: i64| Timestamp(1_700_000_000_000 + ms);
    let mut builder = Builder::new().producer(ProducerId(4242), ProducerEpoch(3), Sequence(i32::MAX - 1));
    builder.push_with_headers(time(0), Some(b"k"), Some(b"v1"), &[(b"h", Some(b"x")), (b"h", None)]);
    builder.push(time(7), None, Some(b"v2"));
    builder.push(time(-10), Some(b"k"), None);
    assert_eq!((builder.count(), builder.size()), (3, hex(KAFKA).len()));
    assert_eq!(builder.build(crc), hex(KAFKA));

    let mut marker = Builder::new().stamped(Offset(77), LeaderEpoch(5)).control().transactional();
    marker = marker.producer(ProducerId(4242), ProducerEpoch(3), Sequence(-1));
    marker.push(time(0), Some(&ControlType::Commit.key()), Some(&[0, 0, 0, 0, 0, 9]));
    assert_eq!(marker.build(crc), hex(KAFKA_MARKER));
}

#[test]
fn a_stored_control_batch_is_read() {
    let batch = Batch::stored(hex(KAFKA_MARKER).into(), crc).unwrap();
    assert!(batch.header.is_control() && batch.header.is_transactional());
    assert_eq!(batch.header.last_sequence(), Sequence(-1));
    let record = records(batch.bytes()).next().unwrap().unwrap();
    assert_eq!((record.offset, record.control_type()), (Offset(77), Some(ControlType::Commit)));
    assert_eq!(verdict(hex(KAFKA_MARKER)), 87, "its base offset is not 0");
}

#[test]
fn a_compressed_batch_stays_closed() {
    let batch = Batch::check(hex(KAFKA_GZIP).into(), crc, LIMITS).unwrap();
    assert_eq!(batch.header.codec(), Some(Codec::Gzip));
    let mut read = records(batch.bytes());
    assert_eq!(read.next(), Some(Err(Corrupt("the records are compressed"))));
    assert_eq!(read.next(), None);
}

#[test]
fn every_bit_flip_is_refused() {
    let good = hex(KAFKA);
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let in_epoch = (12..16).contains(&(bit / 8));
        assert_eq!(verdict(bytes) == 0, in_epoch, "bit {bit}: only the leader epoch is nobody's business");
    }
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    let good = hex(KAFKA);
    for len in 0..good.len() {
        assert_eq!(verdict(good[..len].to_vec()), 87, "cut to {len}");
    }
    assert_eq!(verdict([&good[..], &[0]].concat()), 87, "a byte more");
    assert_eq!(verdict([&good[..], &good].concat()), 87, "two batches");
}

#[test]
fn lengths_and_formats_have_kafkas_codes() {
    let length = |length: i32| code(|b| b[8..12].copy_from_slice(&length.to_be_bytes()));
    assert_eq!((length(48), length(13), length(-1), length(i32::MIN)), (2, 2, 2, 2), "too short for a header");
    assert_eq!((length(49), length(i32::MAX)), (87, 87), "not what is there");
    let magic = |magic: u8| code(|b| b[16] = magic);
    assert_eq!((magic(0), magic(1), magic(3), magic(255)), (87, 87, 2, 2));
}

#[test]
fn limits_have_kafkas_codes() {
    let with = |max_message_bytes: usize, zstd, bytes: Vec<u8>| {
        let limits = Limits { max_message_bytes: max_message_bytes as u32, zstd };
        Batch::check(bytes.into(), crc, limits).map_or_else(|invalid| invalid.code, |_| 0)
    };
    let len = hex(KAFKA).len();
    assert_eq!((with(len, true, hex(KAFKA)), with(len - 1, true, hex(KAFKA))), (0, 10), "equal passes");
    let mut zstd = hex(KAFKA_GZIP);
    zstd[22] = 4;
    let sum = crc(&zstd[21..]);
    zstd[17..21].copy_from_slice(&sum.to_be_bytes());
    assert_eq!((with(1000, true, zstd.clone()), with(1000, false, zstd)), (0, 76));
    assert_eq!(code(|b| b[22] = 5), 2, "a codec that does not exist");
}

#[test]
fn the_header_of_a_client_is_held_to_its_rules() {
    assert_eq!(code(|_| {}), 0);
    assert_eq!(code(|b| b[7] = 1), 87, "base offset");
    assert_eq!(code(|b| b[26] = 3), 87, "last offset delta");
    assert_eq!(code(|b| b[60] = 2), 87, "count");
    assert_eq!(code(|b| b[23..27].fill(0xff)), 87, "negative last offset delta");
    let none = |b: &mut Vec<u8>| {
        b[23..27].fill(0xff);
        b[57..].fill(0);
    };
    assert_eq!(code(none), 87, "no records");
    assert_eq!(code(|b| b[22] = 0x20), 87, "control");
    assert_eq!(code(|b| b[22] = 0x08), 32, "log append time");
    assert_eq!(code(|b| b[22] = 0x40), 87, "delete horizon");
    assert_eq!(code(|b| b[21] = 0x01), 87, "an attribute without a meaning");
    assert_eq!(code(|b| b[22] = 0x10), 0, "transactional, with a producer id");
}

#[test]
fn producer_fields_go_together() {
    let producer = |id: i64, epoch: i16, sequence: i32, attributes: u8| {
        code(|b| {
            b[22] = attributes;
            b[43..51].copy_from_slice(&id.to_be_bytes());
            b[51..53].copy_from_slice(&epoch.to_be_bytes());
            b[53..57].copy_from_slice(&sequence.to_be_bytes());
        })
    };
    assert_eq!((producer(-1, -1, -1, 0), producer(0, 0, 0, 0)), (0, 0));
    assert_eq!((producer(0, 0, -1, 0), producer(0, -1, 0, 0)), (87, 87));
    assert_eq!((producer(-2, 0, 0, 0), producer(-1, -1, -1, 0x10)), (87, 87));
}

#[test]
fn records_must_fill_their_batch_and_count_up() {
    // The first record: length at 61, attributes 62, timestamp delta 63, offset delta 64, key length 65.
    assert_eq!(code(|b| b[62] = 1), 87, "a record's attributes");
    assert_eq!(code(|b| b[64] = 2), 87, "an offset delta");
    assert_eq!(code(|b| b[65] = 3), 87, "a key length of -2");
    assert_eq!(code(|b| b[65] = 0x7e), 87, "a key past its record");
    assert_eq!(code(|b| b[61] += 2), 87, "a record longer than its fields");
    assert_eq!(code(|b| b[61] -= 2), 87, "a record shorter than its fields");
    let more = |b: &mut Vec<u8>| {
        b.push(0);
        b[11] += 1;
    };
    assert_eq!(code(more), 87, "bytes after the last record");
    let inside = |b: &mut Vec<u8>| {
        // The first record ends before the second one's length, at 61 + 1 + 0x26 / 2.
        b.insert(61 + 1 + 19, 0);
        b[61] += 2;
        b[11] += 1;
    };
    assert_eq!(changed(inside).unwrap_err().reason, "a record of another length than it says");
    let fewer = |b: &mut Vec<u8>| {
        b[26] = 1;
        b[60] = 2;
    };
    assert_eq!(code(fewer), 87, "a record more than is said");
}

#[test]
fn a_count_that_the_bytes_cannot_hold_ends_early() {
    let many = |b: &mut Vec<u8>| {
        b[23..27].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
        b[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    };
    assert_eq!(changed(many).unwrap_err().reason, "a record ends past its batch");
}

#[test]
fn a_stamp_is_beside_the_bytes_and_outside_the_checksum() {
    let batch = Batch::check(hex(KAFKA).into(), crc, LIMITS).unwrap();
    let (prefix, rest) = batch.stamp(Offset(1 << 40), LeaderEpoch(9));
    assert_eq!(rest.as_ptr(), batch.bytes()[16..].as_ptr(), "not copied");
    let stored = Batch::stored([&prefix[..], &rest].concat().into(), crc).unwrap();
    assert_eq!(stored.header, batch.stamped_header(Offset(1 << 40), LeaderEpoch(9)));
    assert_eq!(stored.header.next_offset(), Offset((1 << 40) + 3));
    assert_eq!(stored.bytes()[16..], batch.bytes()[16..]);
}

#[test]
fn headers_that_cannot_be_are_corrupt() {
    let parse = |change: fn(&mut Vec<u8>)| {
        let mut bytes = hex(KAFKA);
        change(&mut bytes);
        Header::parse(&bytes).map(|h| h.count)
    };
    assert_eq!(parse(|_| {}), Ok(3));
    assert!(parse(|b| b.truncate(60)).is_err(), "60 bytes");
    assert!(parse(|b| b[16] = 1).is_err(), "format 1");
    assert!(parse(|b| b[8..12].fill(0)).is_err(), "no length");
    assert!(parse(|b| b[57] = 0x80).is_err(), "a negative count");
    assert!(parse(|b| b[23] = 0x80).is_err(), "a negative delta");
    assert!(parse(|b| b[0] = 0x80).is_err(), "a negative offset");
    assert!(parse(|b| b[..8].copy_from_slice(&i64::MAX.to_be_bytes())).is_err(), "the next offset overflows");
    assert_eq!(parse(|b| b[57..61].fill(0)), Ok(0), "compaction leaves empty batches");
}

#[test]
fn batches_are_walked_up_to_the_cut_one() {
    let (one, two) = (hex(KAFKA), hex(KAFKA_MARKER));
    let run: Vec<u8> = [&one[..], &two, &one].concat();
    let mut walk = batches(Bytes::from(run[..run.len() - 1].to_vec()));
    let sizes: Vec<usize> = walk.by_ref().map(|b| b.unwrap().bytes().len()).collect();
    assert_eq!(sizes, [one.len(), two.len()]);
    assert_eq!(walk.rest()[..], one[..one.len() - 1]);
    assert_eq!(batches(run.into()).count(), 3);

    let mut torn = [&one[..], &two].concat();
    torn[one.len() + 16] = 0;
    let mut walk = batches(torn.into());
    assert!(walk.next().unwrap().is_ok());
    assert!(walk.next().unwrap().is_err());
    assert!(walk.next().is_none());
}

#[test]
fn control_types_have_their_keys() {
    for number in 0..=6u8 {
        let kind = ControlType::of_key(&[0, 0, 0, number]).unwrap();
        assert_eq!(kind.key(), [0, 0, 0, number]);
    }
    for key in [&[0, 0, 0, 7][..], &[0, 1, 0, 0], &[0, 0, 0], &[]] {
        assert_eq!(ControlType::of_key(key), None);
    }
}

#[test]
fn timestamps_are_the_producers_within_bounds_or_those_of_the_append() {
    let built = || {
        let mut builder = Builder::new();
        [100, -1, 300, 200].into_iter().for_each(|at| builder.push(Timestamp(at), None, None));
        Batch::check(builder.build(crc), crc, LIMITS).unwrap()
    };
    let create = |before_max_ms, after_max_ms| Times::Create { before_max_ms, after_max_ms };
    let timed = |times, now| {
        let mut batch = built();
        batch.time(times, Timestamp(now), crc).map(|()| batch)
    };
    let code = |times, now| timed(times, now).map_err(|invalid| invalid.code).map(|b| b.header);
    assert_eq!(code(create(150, 50), 250), Ok(built().header), "100 is 150 before, 300 is 50 after, -1 is no time");
    assert_eq!(code(create(149, 50), 250), Err(32));
    assert_eq!(code(create(150, 49), 250), Err(32));

    let appended = timed(Times::Append, 7).unwrap();
    let again = Batch::stored(appended.bytes().clone(), crc).expect("the checksum was made anew");
    assert_eq!((again.header, again.header.max_timestamp), (appended.header, Timestamp(7)));
    let read: Vec<i64> = records(again.bytes()).map(|r| r.unwrap().timestamp.0).collect();
    assert_eq!(read, [7; 4], "every record bears it");
}

#[test]
fn a_header_that_does_not_name_the_newest_timestamp_is_made_right() {
    let mut right = changed(|b| b[35..43].copy_from_slice(&5i64.to_be_bytes())).unwrap();
    let bound = Times::Create { before_max_ms: i64::MAX, after_max_ms: i64::MAX };
    right.time(bound, Timestamp(0), crc).unwrap();
    assert_eq!(right.header.max_timestamp, Header::parse(&hex(KAFKA)).unwrap().max_timestamp);
    assert!(Batch::stored(right.bytes().clone(), crc).is_ok());
}
