//! Our codec against the `kafka-protocol` crate, in both directions, for every API and version that it knows.
//!
//! A frame is made from our tables, not by our encoder. Both decode it, both must give its bytes back, and what both
//! read into fields of the same name must be the same: swapped fields would pass the bytes.
//!
//! What is left out, and why: versions that the crate does not know ([`foreign`]); error codes that old versions do not
//! have and features that version 3 of ApiVersions leaves out, since we translate them; null records, which we read as
//! none ([`null_records_are_none`]); bytes that are no message, since the crate aborts on some of them.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::leader_change_message::{LeaderChangeMessage, Voter};
use kafka_protocol::messages::{ApiKey, FetchResponse, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use klamm_core::rng::Rng;
use klamm_core::wire::{
    self, Api, Records, Request, Response, SUPPORTED, decode_request, decode_response, encode_request, encode_response,
};
use klamm_fuzz::generate;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The versions that the crate does not know.
fn foreign(api: &Api, version: i16) -> bool {
    use klamm_core::wire::ApiKey::{DescribeLogDirs, ListOffsets};
    matches!((api.key, version), (ListOffsets, 11) | (DescribeLogDirs, 5))
}

fn kafka_key(api: &Api) -> ApiKey {
    ApiKey::try_from(api.key as i16).expect("the crate knows our APIs")
}

/// Every number and boolean in a value's debug text, with the name of its field, in order. New types are looked
/// through; of enumerations only the fields inside are seen.
fn scalars(debug: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut name = String::new();
    let mut token = String::new();
    for c in debug.chars().chain([' ']) {
        if c.is_alphanumeric() || c == '_' || c == '-' {
            token.push(c);
            continue;
        }
        let word = std::mem::take(&mut token);
        match c {
            ':' => name = word,
            _ if word == "true" || word == "false" || word.parse::<i128>().is_ok() => {
                found.push((name.clone(), word));
            }
            _ => {}
        }
    }
    found
}

/// Only what both have: the crate knows fields of newer versions, we put what versions mean into fields.
fn same_scalars(ours: &str, theirs: &str) -> Result<(), TestCaseError> {
    let (mut ours, mut theirs) = (scalars(ours), scalars(theirs));
    let names = |scalars: &[(String, String)]| scalars.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
    let mut both: BTreeSet<String> = names(&ours).intersection(&names(&theirs)).cloned().collect();
    // Ids are printed as numbers by one side, byte strings as numbers by the other; the follower stands twice.
    for name in ["topic_id", "replica_directory_id", "records", "replica_id"] {
        both.remove(name);
    }
    ours.retain(|(name, _)| both.contains(name));
    theirs.retain(|(name, _)| both.contains(name));
    prop_assert_eq!(ours, theirs);
    Ok(())
}

fn check_request(api: &Api, version: i16, rng: &mut Rng) -> Result<(), TestCaseError> {
    let frame = Bytes::from(generate::request(api, version, rng));
    let ours = decode_request(frame.clone()).expect("we decode it");
    let back = encode_request(version, ours.correlation, ours.client_id.as_deref(), &ours.request);
    prop_assert_eq!(&back[4..], &frame[..]);

    let key = kafka_key(api);
    let mut rest = frame.clone();
    let header_version = key.request_header_version(version);
    let header = RequestHeader::decode(&mut rest, header_version).expect("they decode the header");
    let theirs = RequestKind::decode(key, &mut rest, version).expect("they decode the request");
    prop_assert!(rest.is_empty());
    prop_assert_eq!((header.correlation_id, header.request_api_version), (ours.correlation, version));
    prop_assert_eq!(header.client_id.as_deref(), ours.client_id.as_deref());
    let mut back = BytesMut::new();
    header.encode(&mut back, header_version).expect("they encode the header");
    theirs.encode(&mut back, version).expect("they encode the request");
    prop_assert_eq!(&back[..], &frame[..]);
    if let Request::UnsupportedApiVersions = ours.request {
        return Err(TestCaseError::fail("a version that we generate is not spoken"));
    }
    same_scalars(&format!("{:?}", ours.request), &format!("{theirs:?}"))
}

fn check_response(api: &Api, version: i16, rng: &mut Rng) -> Result<(), TestCaseError> {
    let frame = Bytes::from(generate::response(api, version, rng));
    let (correlation, ours): (i32, Response) = decode_response(api.key, version, frame.clone()).expect("we decode it");
    let back = encode_response(version, correlation, &ours, &[]);
    prop_assert_eq!(&back.bytes[4..], &frame[..]);

    let key = kafka_key(api);
    let mut rest = frame.clone();
    let header_version = key.response_header_version(version);
    let header = ResponseHeader::decode(&mut rest, header_version).expect("they decode the header");
    let theirs = ResponseKind::decode(key, &mut rest, version).expect("they decode the response");
    prop_assert!(rest.is_empty());
    prop_assert_eq!(header.correlation_id, correlation);
    let mut back = BytesMut::new();
    header.encode(&mut back, header_version).expect("they encode the header");
    theirs.encode(&mut back, version).expect("they encode the response");
    prop_assert_eq!(&back[..], &frame[..]);
    same_scalars(&format!("{ours:?}"), &format!("{theirs:?}"))
}

fn each(seed: u64, check: fn(&Api, i16, &mut Rng) -> Result<(), TestCaseError>) -> Result<(), TestCaseError> {
    let mut rng = Rng::new(seed);
    for api in SUPPORTED {
        for version in (api.served..=api.max).filter(|version| !foreign(api, *version)) {
            check(api, version, &mut rng)
                .map_err(|e| TestCaseError::fail(format!("{:?} version {version}: {e}", api.key)))?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn requests_are_those_of_kafka(seed: u64) {
        each(seed, check_request)?;
    }

    #[test]
    fn responses_are_those_of_kafka(seed: u64) {
        each(seed, check_response)?;
    }
}

#[test]
fn only_what_the_crate_does_not_know_is_left_out() {
    for api in SUPPORTED {
        let known = kafka_key(api).valid_versions();
        for version in api.served..=api.max {
            let is_known = (known.min..=known.max).contains(&version);
            assert_eq!(foreign(api, version), !is_known, "{:?} {version}", api.key);
        }
    }
}

#[test]
fn null_records_are_none() {
    for version in 4..=18 {
        let part = PartitionData::default().with_records(None);
        let topic = FetchableTopicResponse::default().with_partitions(vec![part]);
        let mut frame = BytesMut::new();
        let header_version = ApiKey::Fetch.response_header_version(version);
        ResponseHeader::default().encode(&mut frame, header_version).expect("they encode the header");
        FetchResponse::default().with_responses(vec![topic]).encode(&mut frame, version).expect("they encode it");
        let (_, ours) = decode_response(wire::ApiKey::Fetch, version, frame.freeze()).expect("we decode it");
        let Response::Fetch(ours) = ours else { panic!("{ours:?}") };
        assert_eq!(ours.responses[0].partitions[0].records, Records::Bytes(Bytes::new()), "version {version}");
    }
}

#[test]
fn a_leader_change_is_that_of_kafka() {
    let directories = [(0, "00000000-0000-0000-0000-000000000000", 0), (1, "07070707-0707-0707-0707-070707070707", 7)];
    for (version, directory, byte) in directories {
        let voter = |voter_id| wire::Voter { voter_id, voter_directory_id: klamm_core::ids::Uuid([byte; 16]) };
        let (voters, granting_voters) = (vec![voter(3), voter(4)], vec![voter(4)]);
        let ours = wire::LeaderChangeMessage { version, leader_id: 3, voters, granting_voters };
        let directory = directory.parse().expect("an id");
        let voter = |id: i32| Voter::default().with_voter_id(id).with_voter_directory_id(directory);
        let theirs = LeaderChangeMessage::default()
            .with_version(version)
            .with_leader_id(3.into())
            .with_voters(vec![voter(3), voter(4)])
            .with_granting_voters(vec![voter(4)]);
        let mut bytes = BytesMut::new();
        theirs.encode(&mut bytes, version).expect("they encode it");
        assert_eq!(ours.encode(), bytes, "version {version}");
        assert_eq!(wire::LeaderChangeMessage::decode(bytes.freeze()), Ok(ours));
    }
}

#[test]
fn scalars_are_seen_through_new_types() {
    let seen = scalars("A { acks: -1, topics: [B { id: BrokerId(5), ok: true, name: Some(\"x\"), ids: [1, 2] }] }");
    let seen: Vec<(&str, &str)> = seen.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(seen, [("acks", "-1"), ("id", "5"), ("ok", "true"), ("ids", "1"), ("ids", "2")]);
}
