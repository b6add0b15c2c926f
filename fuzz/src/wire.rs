//! Any bytes as a request, a response, a metadata record: decoding never panics, and what was decoded is stable under
//! encoding and decoding.

use bytes::Bytes;
use klamm_core::wire::{
    LeaderChangeMessage, MetadataRecord, Request, SUPPORTED, decode_request, decode_response, encode_request,
    encode_response,
};

/// The first byte says what the others are taken for.
pub fn wire(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    match kind % 4 {
        0 => request(rest),
        1 => response(rest),
        2 => metadata_record(rest),
        _ => leader_change(rest),
    }
}

/// A request frame.
pub fn request(frame: &[u8]) {
    let Ok(first) = decode_request(Bytes::copy_from_slice(frame)) else { return };
    if first.request == Request::UnsupportedApiVersions {
        return;
    }
    let encoded = encode_request(first.version, first.correlation, first.client_id.as_deref(), &first.request);
    assert_length(&encoded);
    let second = decode_request(encoded.slice(4..)).expect("what we encode is a request");
    assert_eq!(second, first, "a request changed by being encoded");
}

/// A response: which API, which version, then the frame.
pub fn response(data: &[u8]) {
    let Some((&[api, version], frame)) = data.split_first_chunk() else { return };
    let api = &SUPPORTED[usize::from(api) % SUPPORTED.len()];
    let version = api.served + i16::from(version) % (api.max - api.served + 1);
    let Ok((correlation, first)) = decode_response(api.key, version, Bytes::copy_from_slice(frame)) else { return };
    // The first round may translate what the version does not have; then it stands.
    let first = encode_response(version, correlation, &first, &[]);
    assert_length(&first.bytes);
    let (_, second) = decode_response(api.key, version, first.bytes.slice(4..)).expect("what we encode is a response");
    assert_eq!(encode_response(version, correlation, &second, &[]), first, "a response changed by being encoded");
}

/// The value of a metadata record.
pub fn metadata_record(value: &[u8]) {
    let Ok(first) = MetadataRecord::decode(Bytes::copy_from_slice(value)) else { return };
    assert_eq!(MetadataRecord::decode(first.encode()), Ok(first), "a record changed by being encoded");
}

/// The value of a leader change.
pub fn leader_change(value: &[u8]) {
    let Ok(first) = LeaderChangeMessage::decode(Bytes::copy_from_slice(value)) else { return };
    assert_eq!(LeaderChangeMessage::decode(first.encode()), Ok(first), "a leader change changed by being encoded");
}

fn assert_length(frame: &[u8]) {
    let (length, rest) = frame.split_first_chunk().expect("a frame begins with its length");
    assert_eq!(u32::from_be_bytes(*length) as usize, rest.len(), "a frame of another length than it says");
}
