//! What decoding allocates: little for a large batch, and never much more than the bytes that arrived.

use bytes::Bytes;
use klamm_core::rng::Rng;
use klamm_core::wire::{
    EXPANSION, PartitionProduceData, ProduceRequest, SLACK, SUPPORTED, TopicProduceData, decode_request, encode_request,
};
use klamm_fuzz::generate;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Counts what this thread allocates.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and bytes that a piece of work took.
fn cost(work: impl FnOnce()) -> (usize, usize) {
    let before = (COUNT.get(), BYTES.get());
    work();
    (COUNT.get() - before.0, BYTES.get() - before.1)
}

#[test]
fn a_produce_of_64_kib_takes_a_handful_of_small_allocations() {
    let part = PartitionProduceData { index: 0, records: Some(Bytes::from(vec![7; 64 * 1024])) };
    let topic = TopicProduceData { name: "orders".into(), partition_data: vec![part], ..Default::default() };
    let request = ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() };
    for version in 3..=13 {
        let frame = encode_request(version, 1, Some("producer"), &request.clone().into()).slice(4..);
        let (count, bytes) = cost(|| drop(decode_request(frame).expect("a request")));
        assert!(count <= 6 && bytes <= 512, "version {version}: {count} allocations, {bytes} bytes");
    }
}

/// What decoding allocated, per byte of frame beyond the slack; fails above the bound.
fn strain(what: &str, frame: Vec<u8>) -> f64 {
    let len = frame.len();
    let frame = Bytes::from(frame);
    let (_, bytes) = cost(|| drop(decode_request(frame)));
    assert!(bytes <= (EXPANSION + 1) * len + SLACK, "{what}: {bytes} bytes for a frame of {len}");
    bytes.saturating_sub(SLACK) as f64 / len as f64
}

#[test]
fn no_frame_takes_more_than_its_bytes_justify() {
    let mut rng = Rng::new(1);
    for api in SUPPORTED {
        for version in api.served..=api.max {
            for _ in 0..200 {
                // Right up to somewhere, then a large claim, then bytes that make short elements.
                let mut frame = generate::request(api, version, &mut rng);
                frame.truncate(10 + rng.below(frame.len() as u64) as usize);
                frame.extend_from_slice([&[0xff, 0xff, 0x03][..], &[0, 1, 0xff, 0xff]][rng.below(2) as usize]);
                let filling: &[u8] = [&[0][..], &[1], &[1, 0], &[0, 1], &[1, 1, 0]][rng.below(5) as usize];
                let repeats = rng.below(1 << 16) as usize;
                frame.extend(filling.iter().cycle().take(repeats * filling.len()));
                strain(&format!("{:?} version {version}", api.key), frame);
            }
        }
    }
}

#[test]
fn the_shortest_elements_come_up_to_the_bound_and_not_over() {
    // A topic of Metadata 9 is at least two bytes on the wire: an empty name, and no tags.
    let bomb = |claimed: u32, there: usize| {
        let mut frame = vec![0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0];
        for shift in [0, 7, 14] {
            frame.push(((claimed + 1) >> shift) as u8 | 0x80);
        }
        frame.push(((claimed + 1) >> 21) as u8);
        frame.extend([1, 0].iter().cycle().take(2 * there));
        frame.extend_from_slice(&[1, 0, 0, 0]);
        frame
    };
    let worst = (0..40).map(|k| strain("topics", bomb(100_000, 100_000 + 10_000 * k))).fold(0.0, f64::max);
    assert!(worst > EXPANSION as f64 / 2.0, "only {worst} bytes allocated per byte of frame: a test of nothing");
    assert!(strain("a claim without topics", bomb(2_000_000, 100_000)) < 0.01);
}
