//! What decoding allocates: little for a large batch, and for any bytes at most [`EXPANSION`] times as much as arrived,
//! plus [`SLACK`].

use bytes::Bytes;
use klamm_core::rng::Rng;
use klamm_core::wire::schema::{Field, Type};
use klamm_core::wire::{
    Api, ApiKey, EXPANSION, MetadataRecord, PartitionProduceData, ProduceRequest, SLACK, SUPPORTED, TopicProduceData,
    decode_request, decode_response, encode_request,
};
use klamm_fuzz::generate::{self, mutate};
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

/// What reads a frame.
#[derive(Clone, Copy, Debug)]
enum As {
    Request,
    Response(ApiKey, i16),
    Record,
}

/// What decoding allocated, per byte of frame beyond the slack; fails above the bound.
fn strain(what: As, frame: Vec<u8>) -> f64 {
    let len = frame.len();
    let frame = Bytes::from(frame);
    let (_, bytes) = cost(|| match what {
        As::Request => drop(decode_request(frame)),
        As::Response(key, version) => drop(decode_response(key, version, frame)),
        As::Record => drop(MetadataRecord::decode(frame)),
    });
    assert!(bytes <= EXPANSION * len + SLACK, "{what:?}: {bytes} bytes for a frame of {len}");
    bytes.saturating_sub(SLACK) as f64 / len as f64
}

fn every_version() -> impl Iterator<Item = (&'static Api, i16)> {
    SUPPORTED.iter().flat_map(|api| (api.served..=api.max).map(move |version| (api, version)))
}

#[test]
fn no_frame_takes_more_than_its_bytes_justify() {
    let mut rng = Rng::new(1);
    for (api, version) in every_version() {
        for _ in 0..200 {
            // Right up to somewhere, then a large claim, then bytes that make short elements.
            let mut frame = generate::request(api, version, &mut rng);
            frame.truncate(10 + rng.below(frame.len() as u64) as usize);
            frame.extend_from_slice([&[0xff, 0xff, 0x03][..], &[0, 0, 0xff, 0xff]][rng.below(2) as usize]);
            let filling: &[u8] = [&[0][..], &[1], &[1, 0], &[0, 1], &[1, 1, 0]][rng.below(5) as usize];
            let repeats = rng.below(1 << 16) as usize;
            frame.extend(filling.iter().cycle().take(repeats * filling.len()));
            strain(As::Request, frame);
        }
    }
}

#[test]
fn mutated_frames_take_no_more_either() {
    let mut rng = Rng::new(2);
    let mut mutated = |mut frame: Vec<u8>, what| {
        mutate(&mut frame, &mut rng);
        strain(what, frame);
    };
    let mut seeds = Rng::new(3);
    for (api, version) in every_version() {
        for _ in 0..100 {
            mutated(generate::request(api, version, &mut seeds), As::Request);
            mutated(generate::response(api, version, &mut seeds), As::Response(api.key, version));
        }
    }
    for (key, newest, fields) in MetadataRecord::SCHEMAS {
        for _ in 0..100 {
            mutated(generate::metadata_record(*key, *newest, fields, &mut seeds), As::Record);
        }
    }
}

/// Writes the shortest message whose arrays have so many elements, by how deep they stand.
struct Shortest<'a> {
    version: i16,
    flexible: bool,
    elements: &'a [usize],
}

impl Shortest<'_> {
    fn fields(&self, fields: &[Field], depth: usize, out: &mut Vec<u8>) {
        let present = || fields.iter().filter(|field| (field.present)(self.version));
        for field in present().filter(|field| field.tag.is_none()) {
            self.value(&field.ty, depth, out);
        }
        if self.flexible {
            // Arrays among the tagged fields come along, in the order of their tags.
            let mut tagged: Vec<&Field> =
                present().filter(|f| f.tag.is_some() && matches!(f.ty, Type::Array(_))).collect();
            tagged.sort_by_key(|field| field.tag);
            self.varint(tagged.len(), out);
            for field in tagged {
                let mut body = Vec::new();
                self.value(&field.ty, depth, &mut body);
                self.varint(field.tag.expect("filtered") as usize, out);
                self.varint(body.len(), out);
                out.extend_from_slice(&body);
            }
        }
    }

    fn value(&self, ty: &Type, depth: usize, out: &mut Vec<u8>) {
        match ty {
            Type::Bool | Type::Int8 => out.push(0),
            Type::Int16 | Type::Uint16 => out.extend_from_slice(&[0; 2]),
            Type::Int32 => out.extend_from_slice(&[0; 4]),
            Type::Int64 => out.extend_from_slice(&[0; 8]),
            Type::Uuid => out.extend_from_slice(&[0; 16]),
            Type::String if self.flexible => out.push(1),
            Type::String => out.extend_from_slice(&[0; 2]),
            Type::Bytes | Type::Records => self.length(0, out),
            Type::Array(element) => {
                let len = self.elements.get(depth).copied().unwrap_or(0);
                self.length(len, out);
                (0..len).for_each(|_| self.value(element, depth + 1, out));
            }
            Type::Optional(_) => out.push(0xff),
            Type::Struct(fields) => self.fields(fields, depth, out),
        }
    }

    fn length(&self, len: usize, out: &mut Vec<u8>) {
        if self.flexible {
            self.varint(len + 1, out);
        } else {
            out.extend_from_slice(&(len as i32).to_be_bytes());
        }
    }

    fn varint(&self, mut value: usize, out: &mut Vec<u8>) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
}

/// Every array of every message, alone and within others, full of the shortest elements that there are. Once the names
/// of DeleteTopics 1 to 5 were made into topics after the budget had been asked for the names alone: 32 bytes a byte.
#[test]
fn no_array_of_the_shortest_elements_takes_more() {
    const N: usize = 60_000;
    let mut worst: (f64, String) = (0.0, String::new());
    for (api, version) in every_version() {
        let flexible = version >= api.first_flexible;
        for elements in [&[N][..], &[1, N], &[N, 1], &[250, 250], &[1, 1, N], &[N, 1, 1], &[1, N, 1], &[1, 1, 1, N]] {
            let shortest = Shortest { version, flexible, elements };
            let (mut request, mut response) = (Vec::new(), Vec::new());
            request.extend_from_slice(&(api.key as i16).to_be_bytes());
            request.extend_from_slice(&version.to_be_bytes());
            request.extend_from_slice(&[0, 0, 0, 7, 0xff, 0xff]);
            response.extend_from_slice(&[0, 0, 0, 7]);
            if flexible {
                request.push(0);
                if api.key != ApiKey::ApiVersions {
                    response.push(0);
                }
            }
            shortest.fields(api.request, 0, &mut request);
            shortest.fields(api.response, 0, &mut response);
            for (what, frame) in [(As::Request, request), (As::Response(api.key, version), response)] {
                let strained = strain(what, frame);
                if strained > worst.0 {
                    worst = (strained, format!("{:?} {version} {what:?} {elements:?}", api.key));
                }
            }
        }
    }
    println!("most a byte: {worst:?}");
    assert!(worst.0 > EXPANSION as f64 / 2.0, "only {} bytes a byte: a test of nothing", worst.0);
}

#[test]
fn a_claim_without_elements_takes_nothing() {
    // Metadata 9: two million topics, of which a hundred thousand are there.
    let mut frame = vec![0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 0x81, 0x89, 0x7a];
    frame.extend([1, 0].iter().cycle().take(200_000));
    assert!(strain(As::Request, frame) < 0.01);
}
