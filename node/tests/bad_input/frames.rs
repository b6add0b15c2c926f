//! Frames, headers and collections.

use crate::rig::{entry, flexible_header, framed, header};
use klamm_core::wire::{ApiVersionsRequest, Response, error};
use std::io::Read;

const METADATA: i16 = 3;

/// A Metadata request in the old encoding: its version 1 is an array of topic names.
fn old(body: &[&[u8]]) -> Vec<u8> {
    framed(&[&header(METADATA, 1), body.concat().as_slice()].concat())
}

/// A Metadata request in the flexible encoding, version 9: an array of names with tags, three booleans, tags.
fn flexible(body: &[&[u8]]) -> Vec<u8> {
    framed(&[&flexible_header(METADATA, 9), body.concat().as_slice()].concat())
}

/// That version 9 for no topics, up to the tags at its end.
const NOBODY: &[u8] = &[1, 0, 0, 0];

/// Named tests of bytes that close their connection.
macro_rules! closes {
    ($($(#[$doc:meta])* $name:ident: $bytes:expr;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            entry(stringify!($name), |rig| rig.closes(stringify!($name), &$bytes));
        }
    )*};
}

closes! {
    a_frame_of_no_bytes: [0; 4];
    a_frame_of_three_bytes: framed(&[0, 18, 0]);
    a_frame_of_a_negative_length: [0xff; 8];
    a_frame_of_more_than_100_mib: [6, 64, 0, 1, 0];
    an_http_request: *b"GET / HTTP/1.1\r\n\r\n";
    a_tls_hello: [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    an_unknown_key: framed(&header(999, 0));
    an_unknown_version: framed(&header(METADATA, 99));
    a_version_below_zero: framed(&header(METADATA, -1));
    a_header_that_is_cut: framed(&header(METADATA, 1)[..7]);
    a_client_id_past_the_end: framed(&[0, 18, 0, 0, 0, 0, 0, 7, 0x7f, 0xff]);
    a_client_id_of_a_length_below_minus_one: framed(&[0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xfe]);
    a_string_past_the_end: old(&[&[0, 0, 0, 1], &[0, 100], b"ab"]);
    an_array_past_the_end: old(&[&[0, 0, 3, 0xe8], &[0, 1, b'a'], &[0, 1, b'b']]);
    an_array_of_two_billion: old(&[&[0x7f, 0xff, 0xff, 0xff]]);
    /// Each of the thousand could be two bytes long: there are not that many.
    a_compact_array_past_the_end: flexible(&[&[0xe9, 7], &[2, b'a', 0], NOBODY]);
    a_tag_past_the_end: flexible(&[NOBODY, &[1, 5, 100], b"x"]);
    header_tags_past_the_end: framed(&[&header(METADATA, 9)[..], &[1, 5, 100, 0]].concat());
    a_null_where_there_must_be_a_name: old(&[&[0, 0, 0, 1], &[0xff, 0xff]]);
    a_null_where_there_must_be_an_array: framed(&[&header(19, 2)[..], &[0xff; 4], &[0, 0, 0, 1], &[0]].concat());
    a_varint_of_six_bytes: flexible(&[&[0xff, 0xff, 0xff, 0xff, 0xff, 1], NOBODY]);
    a_varint_that_is_cut: flexible(&[&[0xff]]);
    a_length_of_minus_two: old(&[&[0xff, 0xff, 0xff, 0xfe]]);
    two_billion_tags: flexible(&[NOBODY, &[0x80, 0x80, 0x80, 0x80, 8]]);
    repeated_tags: flexible(&[NOBODY, &[2, 5, 0, 5, 0]]);
    unsorted_tags: flexible(&[NOBODY, &[2, 6, 0, 5, 0]]);
    a_name_that_is_no_text: old(&[&[0, 0, 0, 1], &[0, 2, 0xc3, 0x28]]);
    a_boolean_of_seven: flexible(&[&[1, 7, 0, 0], &[0]]);
}

#[test]
fn a_brokers_api_on_a_clients_port() {
    // Requests that brokers and controllers send to each other.
    let keys = [4, 5, 6, 7, 52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73, 82];
    entry("broker-api", |rig| {
        for key in keys {
            rig.closes(&format!("key {key}"), &framed(&header(key, 0)));
        }
    });
}

/// Two bytes each, and a hundred in memory.
#[test]
fn a_million_elements_of_two_bytes() {
    let mut topics = vec![0xc1, 0x84, 0x3d];
    topics.extend([1, 0].repeat(1_000_000));
    let frame = flexible(&[&topics, &[0, 0, 0, 0]]);
    entry("million", |rig| rig.closes("a million", &frame));
}

#[test]
fn nothing_but_bad_frames_over_a_thousand_connections() {
    entry("thousand", |rig| {
        for at in 0u32..1_000 {
            let mut client = rig.connect();
            rig.send(&mut client, &[&at.wrapping_mul(2_654_435_761).to_be_bytes()[..], &[at as u8; 40]].concat());
        }
    });
}

#[test]
fn an_odd_software_name_is_an_invalid_request() {
    entry("software", |rig| {
        for odd in ["", " x", "a b", "-a", "a.", "ä"] {
            let request = ApiVersionsRequest {
                client_software_name: Some(odd.into()),
                client_software_version: Some("1".into()),
            };
            let Response::ApiVersions(answer) = rig.ask(3, request) else { panic!() };
            assert_eq!(answer.error_code, error::INVALID_REQUEST, "{odd:?}");
        }
    });
}

/// As in Kafka: librdkafka's Metadata for all topics has three bytes too many.
#[test]
fn bytes_after_the_last_field_are_not_read() {
    entry("after", |rig| {
        let mut client = rig.connect();
        rig.send(&mut client, &old(&[&[0, 0, 0, 0], &[1, 2, 3]]));
        rig.send(&mut client, &framed(&[&header(18, 0)[..], &[0; 100]].concat()));
        for _ in 0..2 {
            assert_eq!(client.frame().unwrap()[..4], [0, 0, 0, 7]);
        }
    });
}

#[test]
fn a_version_of_api_versions_to_come_is_answered_in_version_0() {
    entry("api-versions", |rig| {
        let mut client = rig.connect();
        // What its body is nobody knows.
        rig.send(&mut client, &framed(&[&flexible_header(18, 99)[..], &[0xff; 30]].concat()));
        let frame = client.frame().unwrap();
        assert_eq!(frame[..], [0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
        client.ask(3, ApiVersionsRequest::default());
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
    });
}
