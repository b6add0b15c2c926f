//! Record batches that are none.

use crate::common::{fetch, fetched};
use crate::rig::{Rig, entry, produce_bytes};
use bytes::Bytes;
use klamm::crc32c;
use klamm_core::ids::Timestamp;
use klamm_core::record::{Builder, HEADER_BYTES, LENGTH_PREFIX_BYTES};
use klamm_core::wire::{PartitionProduceResponse, Request, Response, encode_request, error};
use std::time::{SystemTime, UNIX_EPOCH};

const TOPIC: &str = "t";

/// Three good records.
fn good() -> Vec<u8> {
    let mut builder = Builder::new();
    [b"one", b"two", b"six"].iter().for_each(|value| builder.push(Timestamp(1_000), Some(b"key"), Some(*value)));
    builder.build(crc32c).to_vec()
}

/// The length and the checksum made right again.
fn repaired(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = i32::try_from(bytes.len() - LENGTH_PREFIX_BYTES).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    summed(bytes)
}

/// The checksum made right again.
fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Three good records with other bytes at a position.
fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut all = good();
    all[at..at + bytes.len()].copy_from_slice(bytes);
    summed(all)
}

/// The same without a new checksum.
fn raw(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut all = good();
    all[at..at + bytes.len()].copy_from_slice(bytes);
    all
}

/// A header of one record and such bytes in its place.
fn record(bytes: &[u8]) -> Vec<u8> {
    let mut all = good();
    all.truncate(HEADER_BYTES);
    all[23..27].fill(0);
    all[57..61].copy_from_slice(&1i32.to_be_bytes());
    all.extend_from_slice(bytes);
    repaired(all)
}

/// Produces, expects this code, and that nothing was written; gives the answer.
fn refuses(rig: &mut Rig, version: i16, bytes: Option<Vec<u8>>, code: i16) -> PartitionProduceResponse {
    let request = produce_bytes(TOPIC, bytes.map(Bytes::from));
    let Response::Produce(answer) = rig.ask(version, request) else { panic!() };
    let part = answer.responses[0].partition_responses[0].clone();
    assert_eq!(error::name(part.error_code), error::name(code), "{part:?}");
    assert_eq!(part.base_offset, -1);
    assert!(fetched(&rig.ask(11, fetch(TOPIC, 0, 0, 0))).is_empty(), "something was written");
    part
}

/// Named tests of what is refused, with which code, in the oldest version and in new ones.
macro_rules! refused {
    ($($(#[$doc:meta])* $name:ident: $code:ident, $bytes:expr;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            entry(stringify!($name), |rig| {
                rig.connect().create_topic(TOPIC, 1);
                for version in [3, 7, 9, 12] {
                    let part = refuses(rig, version, $bytes, error::$code);
                    assert_eq!(part.error_message.is_some(), version >= 8, "{part:?}");
                }
            });
        }
    )*};
}

refused! {
    a_bad_checksum: CORRUPT_MESSAGE, Some(raw(70, &[0xff]));
    record_format_3: CORRUPT_MESSAGE, Some(with(16, &[3]));
    a_batch_length_below_a_headers: CORRUPT_MESSAGE, Some(raw(8, &48i32.to_be_bytes()));
    a_negative_batch_length: CORRUPT_MESSAGE, Some(raw(8, &[0xff; 4]));
    a_codec_of_five: CORRUPT_MESSAGE, Some(with(21, &[0, 5]));
    a_codec_of_six: CORRUPT_MESSAGE, Some(with(21, &[0, 6]));
    a_codec_of_seven: CORRUPT_MESSAGE, Some(with(21, &[0, 7]));
    /// Kafka hangs.
    null_records: INVALID_RECORD, None;
    no_batch: INVALID_RECORD, Some(Vec::new());
    two_batches: INVALID_RECORD, Some([good(), good()].concat());
    half_a_header: INVALID_RECORD, Some(good()[..40].to_vec());
    a_cut_batch: INVALID_RECORD, Some(good()[..good().len() - 1].to_vec());
    bytes_after_a_batch: INVALID_RECORD, Some([&good()[..], &[0]].concat());
    record_format_0: INVALID_RECORD, Some(with(16, &[0]));
    record_format_1: INVALID_RECORD, Some(with(16, &[1]));
    /// Kafka answers -1.
    a_batch_length_of_two_billion: INVALID_RECORD, Some(raw(8, &i32::MAX.to_be_bytes()));
    a_base_offset_other_than_0: INVALID_RECORD, Some(raw(0, &1i64.to_be_bytes()));
    a_negative_base_offset: INVALID_RECORD, Some(raw(0, &[0xff; 8]));
    a_count_above_the_records: INVALID_RECORD, Some(summed(raw(57, &4i32.to_be_bytes())));
    a_count_of_two_billion: INVALID_RECORD,
        Some(summed([&raw(57, &i32::MAX.to_be_bytes())[..23], &(i32::MAX - 1).to_be_bytes(),
            &raw(57, &i32::MAX.to_be_bytes())[27..]].concat()));
    a_count_of_none: INVALID_RECORD, Some(with(57, &[0; 4]));
    a_negative_count: INVALID_RECORD, Some(with(57, &[0xff; 4]));
    a_last_offset_delta_that_is_not_the_counts: INVALID_RECORD, Some(with(23, &7i32.to_be_bytes()));
    a_negative_last_offset_delta: INVALID_RECORD, Some(with(23, &[0xff; 4]));
    the_control_bit: INVALID_RECORD, Some(with(21, &[0, 0b10_0000]));
    an_attribute_bit_without_a_meaning: INVALID_RECORD, Some(with(21, &[1, 0]));
    the_delete_horizon_bit: INVALID_RECORD, Some(with(21, &[0, 0b100_0000]));
    the_transactional_bit_without_a_producer: INVALID_RECORD, Some(with(21, &[0, 0b1_0000]));
    the_log_append_time_bit: INVALID_TIMESTAMP, Some(with(21, &[0, 0b1000]));
    a_producer_id_without_a_sequence: INVALID_RECORD, Some(with(43, &7i64.to_be_bytes()));
    a_producer_id_below_minus_one: INVALID_RECORD, Some(with(43, &(-2i64).to_be_bytes()));
    bytes_after_the_last_record: INVALID_RECORD, Some(repaired([&good()[..], &[0]].concat()));
    a_record_past_its_batch: INVALID_RECORD, Some(record(&[100, 0, 0, 0, 1, 1, 0]));
    a_record_of_a_negative_length: INVALID_RECORD, Some(record(&[1, 0, 0, 0, 1, 1, 0]));
    a_record_of_two_gigabytes: INVALID_RECORD, Some(record(&[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 1, 0]));
    a_record_length_of_six_bytes: INVALID_RECORD, Some(record(&[0x8c, 0x80, 0x80, 0x80, 0x80, 0, 0, 0, 0, 1, 1, 0]));
    a_key_past_its_record: INVALID_RECORD, Some(record(&[12, 0, 0, 0, 100, 1, 0]));
    a_key_of_a_length_below_minus_one: INVALID_RECORD, Some(record(&[12, 0, 0, 0, 3, 1, 0]));
    a_value_past_its_record: INVALID_RECORD, Some(record(&[12, 0, 0, 0, 1, 100, 0]));
    two_billion_headers: INVALID_RECORD, Some(record(&[20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f]));
    a_negative_count_of_headers: INVALID_RECORD, Some(record(&[12, 0, 0, 0, 1, 1, 1]));
    a_header_without_a_key: INVALID_RECORD, Some(record(&[16, 0, 0, 0, 1, 1, 2, 1, 1]));
    a_record_longer_than_its_fields: INVALID_RECORD, Some(record(&[14, 0, 0, 0, 1, 1, 0, 0]));
    a_record_with_attributes: INVALID_RECORD, Some(record(&[12, 1, 0, 0, 1, 1, 0]));
    an_offset_delta_that_does_not_count_up: INVALID_RECORD, Some(record(&[12, 0, 0, 2, 1, 1, 0]));
    compressed_records_of_no_bytes: CORRUPT_MESSAGE, Some({
        let mut all = with(21, &[0, 1]);
        all.truncate(HEADER_BYTES);
        repaired(all)
    });
}

#[test]
fn zstd_in_a_version_that_does_not_have_it() {
    entry("zstd", |rig| {
        rig.connect().create_topic(TOPIC, 1);
        refuses(rig, 6, Some(with(21, &[0, 4])), error::UNSUPPORTED_COMPRESSION_TYPE);
    });
}

#[test]
fn a_batch_larger_than_the_topic_takes() {
    entry("large", |rig| {
        rig.connect().create_topic(TOPIC, 1);
        let mut builder = Builder::new();
        builder.push(Timestamp(1), None, Some(&vec![7; (1 << 20) + 13]));
        refuses(rig, 9, Some(builder.build(crc32c).to_vec()), error::MESSAGE_TOO_LARGE);
    });
}

#[test]
fn acks_of_two() {
    entry("acks", |rig| {
        rig.connect().create_topic(TOPIC, 1);
        for acks in [2, -2, i16::MAX, i16::MIN] {
            let mut request = produce_bytes(TOPIC, Bytes::from(good()));
            let Request::Produce(inner) = &mut request else { panic!() };
            inner.acks = acks;
            let Response::Produce(answer) = rig.ask(9, request) else { panic!() };
            assert_eq!(answer.responses[0].partition_responses[0].error_code, error::INVALID_REQUIRED_ACKS);
        }
    });
}

/// There is no answer that could carry the error.
#[test]
fn a_bad_batch_with_acks_0_closes_the_connection() {
    entry("acks-0", |rig| {
        rig.connect().create_topic(TOPIC, 1);
        let mut request = produce_bytes(TOPIC, Bytes::from(raw(70, &[0xff])));
        let Request::Produce(inner) = &mut request else { panic!() };
        inner.acks = 0;
        rig.closes("acks 0", &encode_request(9, 1, None, &request));
    });
}

#[test]
fn an_empty_name_is_no_topic_and_an_empty_id_no_topics_id() {
    entry("produce-empty-name", |rig| {
        rig.connect().create_topic(TOPIC, 1);
        let unknown = error::UNKNOWN_TOPIC_OR_PARTITION;
        for (version, code) in [(3, unknown), (12, unknown), (13, error::UNKNOWN_TOPIC_ID)] {
            let Response::Produce(answer) = rig.ask(version, produce_bytes("", Bytes::from(good()))) else { panic!() };
            assert_eq!(answer.responses[0].partition_responses[0].error_code, code, "version {version}");
        }
    });
}

/// Kafka tells where the log begins when the log refuses a batch, and not when the request is at fault or the bytes are
/// damaged.
#[test]
fn a_refusal_by_the_log_tells_where_it_begins() {
    entry("refused-from-start", |rig| {
        rig.connect().create_topic(TOPIC, 1);
        let control = |mut bytes: Vec<u8>| {
            bytes[22] |= 0x20;
            summed(bytes)
        };
        let mut damaged = good();
        *damaged.last_mut().unwrap() ^= 1;
        let two = [good(), good()].concat();
        for (bytes, code, start) in [
            (control(good()), error::INVALID_RECORD, 0),
            (damaged, error::CORRUPT_MESSAGE, -1),
            (two, error::INVALID_RECORD, -1),
            (good()[..40].to_vec(), error::INVALID_RECORD, -1),
        ] {
            assert_eq!(refuses(rig, 9, Some(bytes), code).log_start_offset, start, "{code}");
        }
    });
}

/// Partitions that are not there, by names and numbers of all kinds.
#[test]
fn partitions_that_are_not_there() {
    entry("not-there", |rig| {
        rig.connect().create_topic(TOPIC, 1);
        for (topic, index) in [(TOPIC, 1), (TOPIC, -1), (TOPIC, i32::MAX), ("__cluster_metadata", 0), ("ä/..", 0)] {
            let mut request = produce_bytes(topic, Bytes::from(good()));
            let Request::Produce(inner) = &mut request else { panic!() };
            inner.topic_data[0].partition_data[0].index = index;
            let Response::Produce(answer) = rig.ask(9, request) else { panic!() };
            let code = answer.responses[0].partition_responses[0].error_code;
            assert_eq!(code, error::UNKNOWN_TOPIC_OR_PARTITION, "{topic} {index}");
        }
    });
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// KIP-467: the records that are to blame are named, from version 8 on.
#[test]
fn timestamps_outside_a_topics_bounds_are_named_by_record() {
    entry("timestamps", |rig| {
        rig.connect().create_topic(TOPIC, 1);
        let (now, ahead) = (now_ms(), now_ms() + 2 * 3_600_000);
        let mut builder = Builder::new();
        for at in [now, ahead, now, ahead, -1, ahead, ahead] {
            builder.push(Timestamp(at), None, Some(b"x"));
        }
        let bytes = builder.build(crc32c).to_vec();
        let part = refuses(rig, 9, Some(bytes.clone()), error::INVALID_TIMESTAMP);
        let named: Vec<i32> = part.record_errors.iter().map(|record| record.batch_index).collect();
        assert_eq!(named, [1, 3, 5, 6]);
        let words = "further ahead than message.timestamp.after.max.ms";
        assert!(part.error_message.is_some_and(|message| message.contains(words)));
        let first = &part.record_errors[0].batch_index_error_message;
        assert!(first.as_ref().is_some_and(|message| message.contains(words)), "{first:?}");
        assert!(refuses(rig, 7, Some(bytes), error::INVALID_TIMESTAMP).record_errors.is_empty());
    });
}

#[test]
fn a_record_that_makes_its_batch_be_refused_is_named() {
    entry("named", |rig| {
        rig.connect().create_topic(TOPIC, 1);
        // The second record's offset delta becomes 2.
        let mut bytes = good();
        let second = HEADER_BYTES + 1 + usize::from(bytes[HEADER_BYTES] / 2);
        bytes[second + 3] = 4;
        let part = refuses(rig, 9, Some(summed(bytes)), error::INVALID_RECORD);
        assert_eq!(part.record_errors.len(), 1);
        assert_eq!(part.record_errors[0].batch_index, 1);
        assert_eq!(part.record_errors[0].batch_index_error_message, part.error_message);
    });
}

/// As many bad records as a batch can have: the answer stays in proportion.
#[test]
fn a_hundred_thousand_bad_records() {
    entry("bad-records", |rig| {
        rig.connect().create_topic(TOPIC, 1);
        let ahead = Timestamp(now_ms() + 2 * 3_600_000);
        let mut builder = Builder::new();
        (0..100_000).for_each(|_| builder.push(ahead, None, None));
        let part = refuses(rig, 9, Some(builder.build(crc32c).to_vec()), error::INVALID_TIMESTAMP);
        assert_eq!(part.record_errors.len(), 100_000);
    });
}
