//! Compressed batches on a running broker: what is refused, and that a look-up by time finds the record.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use bytes::Bytes;
use common::{Broker, Client, Scratch};
use klamm::crc32c;
use klamm_core::ids::Timestamp;
use klamm_core::record::{Builder, HEADER_BYTES};
use klamm_core::wire::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, PartitionProduceData, ProduceRequest, Response,
    TopicProduceData, error,
};
use std::io::Write;

/// Records of the timestamps 1000, 1010, 1020, ... but for the last one, which is the oldest.
fn records(count: i64) -> Bytes {
    let mut builder = Builder::new();
    (0..count - 1).for_each(|i| builder.push(Timestamp(1000 + 10 * i), Some(b"k"), Some(&[b'v'; 50])));
    builder.push(Timestamp(900), None, None);
    builder.build(crc32c)
}

fn packed(codec: u8, body: &[u8]) -> Vec<u8> {
    match codec {
        1 => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(body).unwrap();
            gzip.finish().unwrap()
        }
        2 => {
            // Two blocks, as Java frames them.
            let mut out = vec![0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
            for half in [&body[..body.len() / 2], &body[body.len() / 2..]] {
                let block = snap::raw::Encoder::new().compress_vec(half).unwrap();
                out.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
                out.extend(block);
            }
            out
        }
        3 => {
            let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
            lz4.write_all(body).unwrap();
            lz4.finish().unwrap()
        }
        _ => zstd::stream::encode_all(body, 1).unwrap(),
    }
}

/// A batch with this header and other records, its lengths and checksum made to fit.
fn batch(header: &[u8], codec: u8, body: &[u8]) -> Bytes {
    let mut out = header[..HEADER_BYTES].to_vec();
    out.extend(body);
    let length = u32::try_from(out.len() - 12).unwrap();
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out[22] |= codec;
    let crc = crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out.into()
}

fn produce(client: &mut Client, records: Bytes) -> (i16, i64) {
    let data = PartitionProduceData { index: 0, records: Some(records) };
    let topic = TopicProduceData { name: "t".into(), partition_data: vec![data], ..TopicProduceData::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() };
    let Response::Produce(answer) = client.ask(9, request) else { panic!() };
    let part = &answer.responses[0].partition_responses[0];
    (part.error_code, part.base_offset)
}

/// The offset and timestamp of the first record since a time, or of the newest (-3).
fn since(client: &mut Client, timestamp: i64) -> (i64, i64) {
    let part = ListOffsetsPartition { timestamp, current_leader_epoch: -1, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![part] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
    let Response::ListOffsets(answer) = client.ask(7, request) else { panic!() };
    let part = &answer.topics[0].partitions[0];
    assert_eq!(part.error_code, error::NONE);
    (part.offset, part.timestamp)
}

#[test]
fn a_record_inside_a_compressed_batch_is_found_by_its_time() {
    for codec in 0..=4 {
        let scratch = Scratch::new(&format!("compressed-{codec}"));
        let broker = Broker::dev(&scratch.join("data"), &["--http", "off"]);
        let mut client = Client::connect(&broker.address);
        client.create_topic("t", 1);
        let plain = records(20);
        let closed =
            if codec == 0 { plain.clone() } else { batch(&plain, codec, &packed(codec, &plain[HEADER_BYTES..])) };
        assert_eq!(produce(&mut client, closed.clone()), (error::NONE, 0), "codec {codec}");
        assert_eq!(produce(&mut client, closed), (error::NONE, 20));
        assert_eq!(since(&mut client, 1055), (6, 1060), "codec {codec}");
        assert_eq!(since(&mut client, 0), (0, 1000));
        assert_eq!(since(&mut client, 1180), (18, 1180));
        assert_eq!(since(&mut client, 1181), (-1, -1));
        assert_eq!(since(&mut client, -3), (18, 1180), "the newest is not the last");
        broker.stop();
    }
}

#[test]
fn compressed_records_that_are_none_are_refused() {
    let scratch = Scratch::new("compressed-bad");
    let broker = Broker::dev(&scratch.join("data"), &["--http", "off"]);
    let mut client = Client::connect(&broker.address);
    client.create_topic("t", 1);
    let plain = records(20);
    let body = &plain[HEADER_BYTES..];
    for codec in 1..=4 {
        let good = packed(codec, body);
        let mut code = |body: &[u8]| produce(&mut client, batch(&plain, codec, body)).0;
        assert_eq!(code(b"nonsense that no codec made"), error::CORRUPT_MESSAGE, "codec {codec}");
        let cut = code(&good[..good.len() / 2]);
        assert!([error::CORRUPT_MESSAGE, error::INVALID_RECORD].contains(&cut), "codec {codec} cut: {cut}");
        assert_eq!(code(&packed(codec, &body[..body.len() - 3])), error::INVALID_RECORD, "a record is cut");
        assert_eq!(code(&packed(codec, &[body, b"x"].concat())), error::INVALID_RECORD, "bytes left over");
        assert_eq!(code(&packed(codec, &records(19)[HEADER_BYTES..])), error::INVALID_RECORD, "one is missing");
    }
    // One record of 200 MB of zeros, in some KB.
    let mut builder = Builder::new();
    builder.push(Timestamp(1000), None, Some(&vec![0; 200_000_000]));
    let large = builder.build(crc32c);
    let before = broker.memory_kib("VmHWM");
    for codec in [1, 4] {
        let bomb = batch(&large, codec, &packed(codec, &large[HEADER_BYTES..]));
        assert!(bomb.len() < 1 << 20);
        assert_eq!(produce(&mut client, bomb).0, error::MESSAGE_TOO_LARGE, "codec {codec}");
    }
    let grown = broker.memory_kib("VmHWM") - before;
    assert!(grown < 32 << 10, "{grown} KiB more for bombs");
    assert_eq!(produce(&mut client, plain.clone()), (error::NONE, 0), "and goes on");
    broker.stop();
}
