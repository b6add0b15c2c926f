//! Any bytes as a produced batch: checking never panics, and a batch that passes reads, stamps and rebuilds.

use bytes::Bytes;
use klamm_core::ids::{LeaderEpoch, Offset};
use klamm_core::record::{Batch, Builder, Codec, HEADER_BYTES, Header, Limits, batches, records};

const LIMITS: Limits = Limits { max_message_bytes: 1 << 20, zstd: true };

/// Stands in for CRC-32C, so that a mutated batch can be given a checksum that holds.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

/// One batch, as it is and with its lengths and checksum made right; and as a run of batches.
pub fn batch(data: &[u8]) {
    one(data);
    let mut repaired = data.to_vec();
    if repaired.len() >= HEADER_BYTES {
        let length = (repaired.len() - 12) as u32;
        repaired[..8].fill(0);
        repaired[8..12].copy_from_slice(&length.to_be_bytes());
        repaired[16] = 2;
        let crc = checksum(&repaired[21..]);
        repaired[17..21].copy_from_slice(&crc.to_be_bytes());
        one(&repaired);
    }
    walk(data);
}

fn one(data: &[u8]) {
    // Reading in place must hold on bytes that nobody checked.
    let bytes = Bytes::copy_from_slice(data);
    let _ = records(data).map(|r| r.map_or(0, |r| r.headers.count())).sum::<usize>();
    let Ok(batch) = Batch::check(bytes.clone(), checksum, LIMITS) else { return };
    assert_eq!(batch.bytes(), &bytes, "a checked batch is the bytes that came");
    assert_eq!(Header::parse(&bytes), Ok(batch.header), "a checked batch parses");
    stamp(&batch);
    if batch.header.codec() == Some(Codec::None) {
        rebuild(&batch);
    }
}

fn stamp(batch: &Batch) {
    let (offset, epoch) = (Offset(77), LeaderEpoch(5));
    let (prefix, rest) = batch.stamp(offset, epoch);
    let stamped = Batch::stored([&prefix[..], &rest].concat().into(), checksum).expect("a stamp breaks no checksum");
    assert_eq!(stamped.header, batch.stamped_header(offset, epoch));
    assert_eq!(stamped.header.next_offset().0 - 77, i64::from(batch.header.count));
}

fn rebuild(batch: &Batch) {
    let read: Vec<_> = records(batch.bytes()).map(|r| r.expect("checked records read")).collect();
    assert_eq!(read.len() as i64, i64::from(batch.header.count));
    let mut builder = Builder::new();
    for record in &read {
        let headers: Vec<_> = record.headers.clone().collect();
        builder.push_with_headers(record.timestamp, record.key, record.value, &headers);
    }
    let rebuilt = Batch::check(builder.build(checksum), checksum, Limits { max_message_bytes: u32::MAX, zstd: false });
    let rebuilt = rebuilt.expect("what we build passes our checks");
    let again: Vec<_> = records(rebuilt.bytes()).map(|r| r.expect("built records read")).collect();
    assert_eq!(again.len(), read.len());
    for (a, b) in again.iter().zip(&read) {
        assert_eq!((a.offset, a.timestamp, a.key, a.value), (b.offset, b.timestamp, b.key, b.value));
        assert!(a.headers.clone().eq(b.headers.clone()), "headers changed by being built");
    }
}

fn walk(data: &[u8]) {
    let mut walk = batches(Bytes::copy_from_slice(data));
    let mut walked = 0;
    while let Some(Ok(batch)) = walk.next() {
        walked += batch.bytes().len();
    }
    assert!(walked + walk.rest().len() <= data.len(), "more bytes than there were");
}
