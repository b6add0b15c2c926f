//! Frames by hand: bad ones, the meaning of versions, and metadata records that Kafka's own classes wrote.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

use super::*;
use crate::ids::Uuid;

const ORDERS: Uuid =
    Uuid([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0]);

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().map(|c| (c as char).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A request frame of parts: API and version, correlation 7, no client id, and then what follows.
fn frame(key: i16, version: i16, body: &[&[u8]]) -> Bytes {
    let mut out = Vec::new();
    out.extend_from_slice(&key.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 7, 0xff, 0xff]);
    body.iter().for_each(|part| out.extend_from_slice(part));
    Bytes::from(out)
}

fn refusal(key: i16, version: i16, body: &[&[u8]]) -> &'static str {
    match decode_request(frame(key, version, body)) {
        Err(Refusal::Malformed(what)) => what,
        other => panic!("taken: {other:?}"),
    }
}

fn again(version: i16, request: impl Into<Request>) -> Request {
    let bytes = encode_request(version, 1, Some("me"), &request.into());
    decode_request(bytes.slice(4..)).unwrap().request
}

fn answered(version: i16, response: impl Into<Response>) -> Response {
    let response = response.into();
    let encoded = encode_response(version, 1, &response, &[]);
    decode_response(response.key(), version, encoded.bytes.slice(4..)).unwrap().1
}

#[test]
fn headers_that_end_early_are_refused() {
    let whole = frame(18, 0, &[]);
    assert!(decode_request(whole.clone()).is_ok());
    for len in 0..whole.len() {
        assert!(matches!(decode_request(whole.slice(..len)), Err(Refusal::Malformed(_))), "{len} bytes");
    }
}

#[test]
fn what_is_not_served_is_named() {
    for (key, version) in
        [(0, 2), (0, 14), (1, 3), (2, 0), (3, -1), (18, -1), (19, 1), (22, 6), (8, 2), (-1, 0), (999, 0)]
    {
        assert_eq!(decode_request(frame(key, version, &[])), Err(Refusal::UnknownApi { key, version }));
    }
    let plain_text = Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n");
    assert!(matches!(decode_request(plain_text), Err(Refusal::UnknownApi { .. })));
}

#[test]
fn produce_is_advertised_from_0_and_served_from_3() {
    let api = ApiKey::Produce.api();
    assert_eq!((api.min, api.served, api.max), (0, 3, 13));
    assert!(SUPPORTED.iter().filter(|api| api.key != ApiKey::Produce).all(|api| api.min == api.served));
    assert!(SUPPORTED.iter().all(|api| ApiKey::of(api.key as i16) == Some(api.key)));
}

#[test]
fn api_versions_above_ours_is_answered_in_version_0() {
    let incoming = decode_request(frame(18, 5, &[&[0], b"whatever a later version says"])).unwrap();
    assert_eq!((incoming.version, incoming.correlation), (0, 7));
    assert_eq!(incoming.request, Request::UnsupportedApiVersions);
    let entry = ApiVersion { api_key: 18, min_version: 0, max_version: 4 };
    let answer =
        ApiVersionsResponse { error_code: error::UNSUPPORTED_VERSION, api_keys: vec![entry], ..Default::default() };
    let encoded = encode_response(incoming.version, 7, &answer.into(), &[]);
    assert_eq!(encoded.bytes, hex("0000001000000007002300000001001200000004"));
}

#[test]
fn api_versions_has_response_header_0_in_flexible_versions() {
    let encoded = encode_response(3, 7, &ApiVersionsResponse::default().into(), &[]);
    assert_eq!(encoded.bytes, hex("0000000c000000070000010000000000"), "no tags after the correlation id");
    let encoded = encode_response(9, 7, &MetadataResponse::default().into(), &[]);
    assert_eq!(encoded.bytes[8], 0, "elsewhere there are");
}

#[test]
fn request_header_tags_are_skipped() {
    let incoming = decode_request(frame(18, 3, &[&[1, 9, 2, 0xaa, 0xbb], &[2, b'a', 2, b'b', 0]])).unwrap();
    let names =
        ApiVersionsRequest { client_software_name: Some("a".into()), client_software_version: Some("b".into()) };
    assert_eq!(incoming.request, Request::ApiVersions(names));
}

#[test]
fn bytes_after_the_last_field_of_a_request_are_not_read() {
    assert!(decode_request(frame(18, 0, &[&[0]])).is_ok());
    // All topics as librdkafka up to 2.16 asks for them: a length of four bytes where one is meant, so that what it
    // says of auto-creation comes after the end. Kafka answers it.
    let asked = decode_request(frame(3, 13, &[&[0], &[0, 0, 0, 0], &[1, 0, 0]])).unwrap();
    let Request::Metadata(metadata) = asked.request else { panic!("another request") };
    assert_eq!(metadata.topics, None, "all of them");
    assert!(!metadata.allow_auto_topic_creation);
}

#[test]
fn bytes_after_the_last_field_of_a_response_are_refused() {
    let encoded = encode_response(0, 7, &ApiVersionsResponse::default().into(), &[]);
    let longer = [&encoded.bytes[4..], &[0]].concat();
    let refused = decode_response(ApiKey::ApiVersions, 0, longer.into());
    assert_eq!(refused.unwrap_err(), Malformed("bytes after the last field"));
}

#[test]
fn bad_collections_are_refused() {
    // Metadata 1: an array of topics. ListOffsets 1: a replica, then an array.
    assert_eq!(refusal(3, 1, &[&[0xff, 0xff, 0xff, 0xfe]]), "a length below -1");
    assert_eq!(refusal(3, 0, &[&[0xff; 4]]), "null where there must be a value");
    assert_eq!(refusal(2, 1, &[&[0; 4], &[0xff; 4]]), "null where there must be a value");
    let claim = "an array of more elements than the frame can hold";
    assert_eq!(refusal(3, 1, &[&i32::MAX.to_be_bytes()]), claim);
    assert_eq!(refusal(3, 1, &[&3i32.to_be_bytes(), &[0, 0]]), claim);
    assert_eq!(refusal(3, 9, &[&[0], &[0xff, 0xff, 0xff, 0xff, 0x0f]]), claim);
    assert_eq!(refusal(3, 9, &[&[0], &[0xff, 0xff, 0xff, 0xff, 0x1f]]), "a varint of more than 32 bits, or cut");
    assert_eq!(refusal(3, 9, &[&[0], &[0x80, 0x80, 0x80, 0x80, 0x80, 0]]), "a varint of more than 32 bits, or cut");
}

#[test]
fn elements_of_no_worth_exhaust_the_budget() {
    // A topic of Metadata 9 is two bytes on the wire and many more here.
    let count = 1 << 20;
    let mut body = vec![0];
    crate::varint::put_unsigned(&mut body, count + 1);
    body.extend((0..count).flat_map(|_| [1, 0]));
    body.extend([1, 0, 0, 0]);
    assert_eq!(refusal(3, 9, &[&body]), "more memory than the frame's bytes justify");
}

#[test]
fn bad_values_are_refused() {
    // InitProducerId 0: a nullable string and a number. Metadata 4: no topics, and a boolean.
    assert_eq!(refusal(22, 0, &[&[0, 5], b"abc"]), "a field ends past the frame");
    assert_eq!(refusal(22, 0, &[&[0, 2, 0xc3, 0x28], &[0; 4]]), "a string that is not UTF-8");
    assert_eq!(refusal(22, 0, &[&[0xff, 0xfe], &[0; 4]]), "a length below -1");
    assert_eq!(refusal(22, 0, &[&[0xff, 0xff], &[0; 3]]), "a field ends past the frame");
    assert_eq!(refusal(3, 4, &[&[0; 4], &[7]]), "a boolean other than 0 and 1");
    let long = vec![b'a'; 0x8000];
    assert_eq!(refusal(22, 2, &[&[0, 0x81, 0x80, 2], &long, &[0; 5]]), "a string of more than 32767 bytes");
}

#[test]
fn bad_tags_are_refused() {
    // InitProducerId 2: header tags, a null id, a timeout, and then the tags.
    let body: &[u8] = &[0, 0, 0, 0, 0, 0];
    let with = |tags: &[u8]| decode_request(frame(22, 2, &[body, tags]));
    assert!(with(&[0]).is_ok());
    assert!(with(&[2, 5, 1, 0xaa, 6, 0]).is_ok(), "unknown ones are skipped");
    let refused = |tags: &[u8]| refusal(22, 2, &[body, tags]);
    assert_eq!(refused(&[2, 5, 0, 5, 0]), "tags repeated or out of order");
    assert_eq!(refused(&[2, 5, 0, 4, 0]), "tags repeated or out of order");
    assert_eq!(refused(&[1, 5, 9, 0]), "a tagged field ends past the frame");
    assert_eq!(refused(&[0xff, 0xff, 0xff, 0xff, 0x0f]), "a varint of more than 32 bits, or cut");
    assert_eq!(refused(&[]), "a varint of more than 32 bits, or cut");
}

#[test]
fn a_known_tag_must_have_the_size_it_says() {
    // Fetch 12 ends with its tags; tag 0 is the cluster id.
    let mut request = encode_request(12, 7, None, &FetchRequest::default().into()).slice(4..).to_vec();
    assert_eq!(request.pop(), Some(0), "no tags");
    let with = |tags: &[u8]| decode_request([&request[..], tags].concat().into());
    match with(&[1, 0, 3, 3, b'a', b'b']).unwrap().request {
        Request::Fetch(fetch) => assert_eq!(fetch.cluster_id.as_deref(), Some("ab")),
        other => panic!("{other:?}"),
    }
    let size = Err(Refusal::Malformed("a tagged field of another size than it says"));
    assert_eq!(with(&[1, 0, 4, 3, b'a', b'b', 0]), size);
    assert_eq!(with(&[1, 0, 2, 3, b'a', b'b']), size);
}

#[test]
fn tags_at_their_default_are_not_written() {
    let part = PartitionProduceResponse { error_code: 6, ..Default::default() };
    let topic = TopicProduceResponse { partition_responses: vec![part], ..Default::default() };
    let mut answer = ProduceResponse { responses: vec![topic], ..Default::default() };
    let without = encode_response(10, 1, &answer.clone().into(), &[]).bytes.len();
    answer.responses[0].partition_responses[0].current_leader.leader_id = 0;
    let with = encode_response(10, 1, &answer.into(), &[]).bytes.len();
    assert_eq!(with - without, 2 + 9, "tag and size, and a leader of 9 bytes");
}

#[test]
fn absent_fields_have_kafkas_defaults() {
    let fetch = FetchRequest {
        max_bytes: 5,
        isolation_level: 1,
        session_id: 9,
        session_epoch: 9,
        rack_id: "r".into(),
        ..Default::default()
    };
    let Request::Fetch(old) = again(4, fetch) else { panic!() };
    assert_eq!((old.max_bytes, old.isolation_level), (5, 1));
    assert_eq!((old.session_id, old.session_epoch, old.rack_id.as_str()), (0, -1, ""));
    let Request::Metadata(old) = again(3, MetadataRequest { allow_auto_topic_creation: false, ..Default::default() })
    else {
        panic!()
    };
    assert!(old.allow_auto_topic_creation);
    let Response::Produce(old) =
        answered(3, one_partition(PartitionProduceResponse { log_start_offset: 4, ..Default::default() }))
    else {
        panic!()
    };
    assert_eq!(old.responses[0].partition_responses[0].log_start_offset, -1);
}

fn one_partition(part: PartitionProduceResponse) -> ProduceResponse {
    let topic = TopicProduceResponse { partition_responses: vec![part], ..Default::default() };
    ProduceResponse { responses: vec![topic], ..Default::default() }
}

#[test]
fn metadata_for_all_is_none_in_every_version() {
    for version in 0..=13 {
        let Request::Metadata(all) = again(version, MetadataRequest::default()) else { panic!() };
        assert_eq!((all.topics, all.ids_allowed), (None, version >= 12), "version {version}");
    }
    let Request::Metadata(none) = again(1, MetadataRequest { topics: Some(vec![]), ..Default::default() }) else {
        panic!()
    };
    assert_eq!(none.topics, Some(vec![]), "brokers only");
}

#[test]
fn the_follower_stands_in_one_field() {
    for version in [4, 14, 15, 18] {
        let Request::Fetch(fetch) = again(version, FetchRequest { replica_id: 3, ..Default::default() }) else {
            panic!()
        };
        assert_eq!(fetch.replica_id, 3, "version {version}");
        let Request::Fetch(consumer) = again(version, FetchRequest::default()) else { panic!() };
        assert_eq!(consumer.replica_id, -1, "version {version}");
    }
}

#[test]
fn special_timestamps_came_with_versions() {
    let lowest = |version| match again(version, ListOffsetsRequest::default()) {
        Request::ListOffsets(request) => request.lowest_timestamp,
        other => panic!("{other:?}"),
    };
    assert_eq!([1, 6, 7, 8, 9, 10, 11].map(lowest), [-2, -2, -3, -4, -5, -5, -6]);
}

#[test]
fn zstd_came_with_produce_7() {
    let zstd = |version| match again(version, ProduceRequest::default()) {
        Request::Produce(request) => request.zstd,
        other => panic!("{other:?}"),
    };
    assert_eq!([3, 6, 7, 13].map(zstd), [false, false, true, true]);
}

#[test]
fn topics_are_named_by_the_version() {
    let topic = FetchTopic { topic: "orders".into(), topic_id: ORDERS, ..Default::default() };
    let fetched = |version| match again(version, FetchRequest { topics: vec![topic.clone()], ..Default::default() }) {
        Request::Fetch(request) => (request.topic_ids, request.topics[0].topic.clone(), request.topics[0].topic_id),
        other => panic!("{other:?}"),
    };
    assert_eq!(fetched(12), (false, "orders".into(), Uuid::ZERO));
    assert_eq!(fetched(13), (true, String::new(), ORDERS));
    let produced = |version| match again(version, ProduceRequest::default()) {
        Request::Produce(request) => request.topic_ids,
        other => panic!("{other:?}"),
    };
    assert_eq!([3, 12, 13].map(produced), [false, false, true]);
    assert_eq!(TopicRef::of("", Uuid::ZERO, false), TopicRef::Name(""), "nothing says no id but the version");
}

#[test]
fn old_versions_get_the_codes_they_know() {
    let offsets = |version| {
        let part = ListOffsetsPartitionResponse { error_code: error::OFFSET_NOT_AVAILABLE, ..Default::default() };
        let topic = ListOffsetsTopicResponse { name: String::new(), partitions: vec![part] };
        match answered(version, ListOffsetsResponse { topics: vec![topic], ..Default::default() }) {
            Response::ListOffsets(response) => response.topics[0].partitions[0].error_code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((offsets(4), offsets(5)), (error::LEADER_NOT_AVAILABLE, error::OFFSET_NOT_AVAILABLE));
    let fenced = |version| match answered(
        version,
        InitProducerIdResponse { error_code: error::PRODUCER_FENCED, ..Default::default() },
    ) {
        Response::InitProducerId(response) => response.error_code,
        other => panic!("{other:?}"),
    };
    assert_eq!((fenced(3), fenced(4)), (error::INVALID_PRODUCER_EPOCH, error::PRODUCER_FENCED));
    let features = |version| {
        let feature = |min_version| SupportedFeatureKey { name: "f".into(), min_version, max_version: 1 };
        match answered(
            version,
            ApiVersionsResponse { supported_features: vec![feature(0), feature(1)], ..Default::default() },
        ) {
            Response::ApiVersions(response) => response.supported_features.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((features(2), features(3), features(4)), (0, 1, 2));
}

#[test]
fn a_structure_that_may_be_null_has_a_byte_before_it() {
    // DescribeTopicPartitions 0: header tags, no topics, a limit, the cursor, and tags.
    let with = |cursor: &[u8]| decode_request(frame(75, 0, &[&[0, 1, 0, 0, 7, 208], cursor, &[0]]));
    let read = |cursor: &[u8]| match with(cursor).unwrap().request {
        Request::DescribeTopicPartitions(request) => request.cursor.0,
        other => panic!("{other:?}"),
    };
    assert_eq!(read(&[0xff]), None);
    let cursor = Cursor { topic_name: "ab".into(), partition_index: 5 };
    assert_eq!(read(&[1, 3, b'a', b'b', 0, 0, 0, 5, 0]), Some(cursor));
    for bad in [0, 2, 0x80, 0xfe] {
        assert_eq!(
            with(&[bad, 3, b'a', b'b', 0, 0, 0, 5, 0]),
            Err(Refusal::Malformed("a structure that is neither there nor null"))
        );
    }
}

#[test]
fn config_resources_of_version_0_are_client_metrics() {
    let all = |version| match again(version, ListConfigResourcesRequest::default()) {
        Request::ListConfigResources(request) => request.all_types,
        other => panic!("{other:?}"),
    };
    assert_eq!((all(0), all(1)), (false, true));
}

#[test]
fn topics_to_delete_are_names_before_version_6() {
    let named = DeleteTopicState { name: Some("orders".into()), topic_id: Uuid::ZERO };
    let request = DeleteTopicsRequest { topics: vec![named.clone()], ..Default::default() };
    for version in 1..=6 {
        let Request::DeleteTopics(same) = again(version, request.clone()) else { panic!() };
        assert_eq!((same.topics, same.topic_names), (vec![named.clone()], vec![]), "version {version}");
    }
    let disabled = |version| {
        let topic = DeletableTopicResult { error_code: error::TOPIC_DELETION_DISABLED, ..Default::default() };
        match answered(version, DeleteTopicsResponse { responses: vec![topic], ..Default::default() }) {
            Response::DeleteTopics(response) => response.responses[0].error_code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((disabled(2), disabled(3)), (error::INVALID_REQUEST, error::TOPIC_DELETION_DISABLED));
}

#[test]
fn ranges_leave_holes_that_the_lengths_count() {
    for version in [4, 12, 18] {
        let part = |records| PartitionData { records, ..Default::default() };
        let answer = |first, second| {
            let partitions = vec![part(first), part(Records::Bytes(Bytes::from_static(b"xyz"))), part(second)];
            let topic = FetchableTopicResponse { partitions, ..Default::default() };
            Response::from(FetchResponse { responses: vec![topic], ..Default::default() })
        };
        let ranges: [&[u8]; 2] = [b"four", &[9; 300]];
        let lengths = ranges.map(|range| range.len() as u32);
        // The second range stands before the first one.
        let encoded = encode_response(version, 1, &answer(Records::Range(1), Records::Range(0)), &lengths);
        assert_eq!(encoded.holes.iter().map(|hole| hole.range).collect::<Vec<_>>(), [1, 0]);
        let mut sent = Vec::new();
        let mut from = 0;
        for hole in &encoded.holes {
            sent.extend_from_slice(&encoded.bytes[from..hole.at]);
            sent.extend_from_slice(ranges[hole.range as usize]);
            from = hole.at;
        }
        sent.extend_from_slice(&encoded.bytes[from..]);
        let whole = answer(Records::Bytes(Bytes::from_static(&[9; 300])), Records::Bytes(Bytes::from_static(b"four")));
        assert_eq!(encode_response(version, 1, &whole, &[]).bytes, sent, "version {version}");
    }
}

#[test]
fn answers_stand_behind_one_another_as_each_would_alone() {
    let answers: [(i16, Response); 3] = [
        (9, MetadataResponse::default().into()),
        (3, ApiVersionsResponse::default().into()),
        (12, FetchResponse::default().into()),
    ];
    let mut all = Vec::new();
    let mut alone = Vec::new();
    for (correlation, (version, answer)) in (7..).zip(&answers) {
        append_response(&mut all, *version, correlation, answer);
        alone.extend_from_slice(&encode_response(*version, correlation, answer, &[]).bytes);
    }
    assert_eq!(all, alone);
}

#[test]
fn produced_bytes_are_slices_of_the_frame() {
    let part = PartitionProduceData { index: 0, records: Some(Bytes::from(vec![1; 1000])) };
    let topic = TopicProduceData { name: "t".into(), partition_data: vec![part], ..Default::default() };
    let frame =
        encode_request(9, 1, None, &ProduceRequest { topic_data: vec![topic], ..Default::default() }.into()).slice(4..);
    let Request::Produce(produce) = decode_request(frame.clone()).unwrap().request else { panic!() };
    let records = produce.topic_data[0].partition_data[0].records.as_ref().unwrap();
    assert!(frame.as_ptr_range().contains(&records.as_ptr()));
}

#[test]
fn a_text_longer_than_its_field_is_clipped() {
    let long: String = core::iter::repeat_n('é', 20_000).collect();
    let answer = |version| {
        answered(
            version,
            one_partition(PartitionProduceResponse { error_message: Some(long.clone()), ..Default::default() }),
        )
    };
    for version in [8, 9] {
        let Response::Produce(response) = answer(version) else { panic!() };
        let message = response.responses[0].partition_responses[0].error_message.as_ref().unwrap();
        assert_eq!(message.len(), 32_766, "whole characters");
    }
}

#[test]
fn metadata_records_are_those_of_kafka() {
    let topic = TopicRecord { name: "orders".into(), topic_id: ORDERS };
    let partition = PartitionRecord {
        partition_id: 2,
        topic_id: ORDERS,
        replicas: vec![1, 2],
        isr: vec![1],
        leader: 1,
        leader_recovery_state: 1,
        leader_epoch: 3,
        partition_epoch: 4,
        directories: vec![ORDERS, ORDERS],
        eligible_leader_replicas: Some(vec![2]),
        ..Default::default()
    };
    let change = PartitionChangeRecord {
        partition_id: 2,
        topic_id: ORDERS,
        isr: Some(vec![1, 2]),
        leader: 2,
        leader_recovery_state: 0,
        eligible_leader_replicas: Some(vec![]),
        directories: Some(vec![ORDERS]),
        ..Default::default()
    };
    let config = ConfigRecord {
        resource_type: 2,
        resource_name: "orders".into(),
        name: "flush.messages".into(),
        value: Some("1".into()),
    };
    for (record, kafkas) in [
        (MetadataRecord::Topic(topic), "010200076f7264657273112233445566778899aabbccddeeff0000"),
        (
            MetadataRecord::Partition(partition),
            "01030200000002112233445566778899aabbccddeeff000300000001000000020200000001010100000001000000030000000403\
             112233445566778899aabbccddeeff00112233445566778899aabbccddeeff000200010101050200000002",
        ),
        (
            MetadataRecord::PartitionChange(change),
            "01050200000002112233445566778899aabbccddeeff00050009030000000100000002010400000002050100060101081102\
             112233445566778899aabbccddeeff00",
        ),
        (
            MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: ORDERS }),
            "010900112233445566778899aabbccddeeff0000",
        ),
        (MetadataRecord::Config(config), "01040002076f72646572730f666c7573682e6d65737361676573023100"),
    ] {
        assert_eq!(record.encode(), hex(kafkas), "{record:?}");
        assert_eq!(MetadataRecord::decode(hex(kafkas)), Ok(record));
    }
}

#[test]
fn broker_records_are_those_of_kafka() {
    let feature = FeatureLevelRecord { name: "metadata.version".into(), feature_level: 30 };
    let ids = ProducerIdsRecord { broker_id: 1, broker_epoch: 9, next_producer_id: 1000 };
    let change = BrokerRegistrationChangeRecord { broker_id: 1, broker_epoch: 9, fenced: -1, ..Default::default() };
    let register = RegisterBrokerRecord {
        broker_id: 1,
        incarnation_id: ORDERS,
        broker_epoch: 9,
        end_points: vec![BrokerEndpoint {
            name: "PLAINTEXT".into(),
            host: "localhost".into(),
            port: 49092,
            security_protocol: 0,
        }],
        features: vec![BrokerFeature {
            name: "metadata.version".into(),
            min_supported_version: 7,
            max_supported_version: 30,
        }],
        log_dirs: vec![ORDERS],
        ..Default::default()
    };
    for (record, kafkas) in [
        (MetadataRecord::FeatureLevel(feature), "010c00116d657461646174612e76657273696f6e001e00"),
        (MetadataRecord::ProducerIds(ids), "010f0000000001000000000000000900000000000003e800"),
        (MetadataRecord::BrokerRegistrationChange(change), "011103000000010000000000000009010001ff"),
        (
            MetadataRecord::RegisterBroker(register),
            "0100040000000100112233445566778899aabbccddeeff000000000000000009020a504c41494e544558540a6c6f63616c686f7374\
             bfc400000002116d657461646174612e76657273696f6e0007001e0000010001001102112233445566778899aabbccddeeff00",
        ),
        (MetadataRecord::NoOp(NoOpRecord {}), "01140000"),
    ] {
        assert_eq!(record.encode(), hex(kafkas), "{record:?}");
        assert_eq!(MetadataRecord::decode(hex(kafkas)), Ok(record));
    }
}

#[test]
fn metadata_records_that_are_none_are_refused() {
    for (value, why) in [
        ("", "nothing"),
        ("02140000", "another frame version"),
        ("01630000", "an unknown type"),
        ("01140100", "an unknown version"),
        ("0114000000", "bytes left over"),
        ("011400", "no tags"),
        ("0114ffffffff0f00", "a version that no i16 holds"),
    ] {
        assert!(MetadataRecord::decode(hex(value)).is_err(), "{why}");
    }
}

#[test]
fn a_leader_change_is_that_of_kafka() {
    let voter = |voter_id| Voter { voter_id, voter_directory_id: Uuid::ZERO };
    let change = LeaderChangeMessage {
        version: 0,
        leader_id: 1,
        voters: vec![voter(1), voter(2)],
        granting_voters: vec![voter(1)],
    };
    let kafkas = hex("000000000001030000000100000000020002000000010000");
    assert_eq!(change.encode(), kafkas);
    assert_eq!(LeaderChangeMessage::decode(kafkas), Ok(change.clone()));
    let newer = LeaderChangeMessage { version: 1, ..change };
    assert_eq!(LeaderChangeMessage::decode(newer.encode()), Ok(newer));
    for bad in ["", "00", "0002000000010101", "ffff000000010101"] {
        assert!(LeaderChangeMessage::decode(hex(bad)).is_err(), "{bad}");
    }
}

#[test]
fn error_codes_have_kafkas_names() {
    assert_eq!(error::name(error::NOT_LEADER_OR_FOLLOWER), "NOT_LEADER_OR_FOLLOWER");
    assert_eq!((error::NOT_LEADER_OR_FOLLOWER, error::UNKNOWN_TOPIC_ID, error::INVALID_RECORD), (6, 100, 87));
    assert_eq!(error::name(0), "NONE");
    assert_eq!(error::name(i16::MAX), "?");
}
