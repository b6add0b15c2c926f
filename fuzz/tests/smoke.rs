//! The targets over random, generated and mutated inputs.

use bytes::Bytes;
use klamm_core::ids::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use klamm_core::record::Builder;
use klamm_core::rng::Rng;
use klamm_core::wire::{MetadataRecord, SUPPORTED, decode_request, decode_response, encode_request, encode_response};
use klamm_fuzz::generate::{self, mutate};
use klamm_fuzz::{batch, wire};
use proptest::prelude::*;

fn built_batch(rng: &mut Rng) -> Vec<u8> {
    let mut builder = Builder::new();
    if rng.one_in(2) {
        builder = builder.producer(ProducerId(7), ProducerEpoch(0), Sequence(rng.draw() as i32 & i32::MAX));
    }
    for _ in 0..=rng.below(4) {
        let value = vec![b'v'; rng.below(200) as usize];
        let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", None), (b"h", Some(b"x"))];
        let headers = &headers[..rng.below(3) as usize];
        let key = (!rng.one_in(3)).then_some(&b"key"[..]);
        builder.push_with_headers(Timestamp(rng.draw() as i64 >> 20), key, Some(&value), headers);
    }
    builder.build(batch::checksum).to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_api_and_version_gives_a_canonical_request_back(seed: u64) {
        let mut rng = Rng::new(seed);
        for api in SUPPORTED {
            for version in api.served..=api.max {
                let frame = Bytes::from(generate::request(api, version, &mut rng));
                let incoming = decode_request(frame.clone()).expect("a canonical request");
                prop_assert_eq!((incoming.key, incoming.version), (api.key, version));
                let client = incoming.client_id.as_deref();
                let back = encode_request(version, incoming.correlation, client, &incoming.request);
                prop_assert_eq!(&back[4..], &frame[..], "{:?} {}", api.key, version);
                prop_assert_eq!(decode_request(back.slice(4..)), Ok(incoming));
            }
        }
    }

    #[test]
    fn every_api_and_version_gives_a_canonical_response_back(seed: u64) {
        let mut rng = Rng::new(seed);
        for api in SUPPORTED {
            for version in api.served..=api.max {
                let frame = Bytes::from(generate::response(api, version, &mut rng));
                let (correlation, response) = decode_response(api.key, version, frame.clone()).expect("a canonical response");
                let back = encode_response(version, correlation, &response, &[]);
                prop_assert_eq!(&back.bytes[4..], &frame[..], "{:?} {}", api.key, version);
                prop_assert_eq!(decode_response(api.key, version, back.bytes.slice(4..)), Ok((correlation, response)));
            }
        }
    }

    #[test]
    fn a_frame_that_ends_early_is_refused(seed: u64) {
        let mut rng = Rng::new(seed);
        for api in SUPPORTED {
            for version in api.served..=api.max {
                let whole = Bytes::from(generate::request(api, version, &mut rng));
                let at = rng.below(whole.len() as u64) as usize;
                prop_assert!(decode_request(whole.slice(..at)).is_err(), "{:?} {version}: {at} bytes", api.key);
                let whole = Bytes::from(generate::response(api, version, &mut rng));
                let at = rng.below(whole.len() as u64) as usize;
                let cut = decode_response(api.key, version, whole.slice(..at));
                prop_assert!(cut.is_err(), "{:?} {version}: {at} bytes", api.key);
            }
        }
    }

    #[test]
    fn every_metadata_record_is_kept(seed: u64) {
        let mut rng = Rng::new(seed);
        for (key, newest, fields) in MetadataRecord::SCHEMAS {
            for version in 0..=*newest {
                let value = Bytes::from(generate::metadata_record(*key, version, fields, &mut rng));
                let record = MetadataRecord::decode(value.clone()).expect("a canonical record");
                if version == *newest {
                    prop_assert_eq!(record.encode(), value);
                } else {
                    prop_assert_eq!(MetadataRecord::decode(record.encode()), Ok(record));
                }
            }
        }
    }

    #[test]
    fn mutated_frames(seed: u64) {
        let mut rng = Rng::new(seed);
        for (index, api) in SUPPORTED.iter().enumerate() {
            let version = api.served + rng.below((api.max - api.served + 1) as u64) as i16;
            let mut frame = generate::request(api, version, &mut rng);
            mutate(&mut frame, &mut rng);
            wire::request(&frame);
            let mut frame = vec![index as u8, (version - api.served) as u8];
            let mut body = generate::response(api, version, &mut rng);
            mutate(&mut body, &mut rng);
            frame.extend_from_slice(&body);
            wire::response(&frame);
        }
        for (key, newest, fields) in MetadataRecord::SCHEMAS {
            let mut value = generate::metadata_record(*key, *newest, fields, &mut rng);
            mutate(&mut value, &mut rng);
            wire::metadata_record(&value);
        }
    }

    #[test]
    fn random_bytes(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        wire::wire(&data);
        batch::batch(&data);
    }

    #[test]
    fn mutated_batches(seed: u64) {
        let mut rng = Rng::new(seed);
        let mut bytes = built_batch(&mut rng);
        batch::batch(&bytes);
        if rng.one_in(2) {
            bytes.extend(built_batch(&mut rng));
        }
        mutate(&mut bytes, &mut rng);
        batch::batch(&bytes);
    }
}
