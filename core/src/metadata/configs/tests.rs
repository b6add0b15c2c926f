//! The table against itself, and what is in effect when several set a value.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::*;

fn configs(pairs: &[(&str, &str)]) -> Configs {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

#[test]
fn the_table_is_sorted_and_has_kafkas_keys() {
    let names: Vec<&str> = topics().map(|d| d.name).collect();
    assert!(names.is_sorted());
    assert_eq!(names.len(), 33, "as many as Kafka 4.3 describes");
    assert!(names.iter().all(|name| topic(name).is_some_and(|d| d.name == *name)));
    assert!(topic(INTERNAL_SEGMENT_BYTES).is_some());
}

#[test]
fn defaults_can_be_set_and_are_those_of_the_brokers_keys() {
    for d in topics() {
        assert_eq!(check_topic(d.name, Some(d.default)), Ok(()), "{}", d.name);
        assert!(d.documentation.ends_with('.'), "{}", d.name);
        for s in d.synonyms {
            let Some(default) = s.default else { continue };
            assert_eq!(in_units(default, s.unit), d.default, "{} falls back to {}", d.name, s.key);
        }
    }
    for key in broker_keys() {
        if let Some(default) = key.default {
            assert_eq!(key.check(default), Ok(()), "{}", key.name);
        }
    }
}

#[test]
fn bad_values_and_what_is_not_built_are_refused() {
    let why = |key: &str, value: &str| check_topic(key, Some(value)).expect_err(key).0;
    assert_eq!(why("segment.bytes", "1048575"), "segment.bytes: \"1048575\" is not within 1048576 to 2147483647");
    assert_eq!(why("segment.bytes", "1e9"), "segment.bytes: \"1e9\" is not a whole number");
    assert_eq!(why("segment.bytes", ""), "segment.bytes: \"\" is not a whole number");
    assert_eq!(why("preallocate", "yes"), "preallocate: \"yes\" is not true or false");
    assert_eq!(why("cleanup.policy", "shred"), "cleanup.policy: \"shred\" is not a list of compact, delete");
    assert_eq!(
        why("cleanup.policy", "compact"),
        "cleanup.policy=compact would have no effect on this broker: it takes \"delete\" only"
    );
    assert_eq!(
        why("index.interval.bytes", "5"),
        "index.interval.bytes=5 would have no effect on this broker: it takes \"4096\" only"
    );
    assert_eq!(why("retention", "1"), "retention is not a topic config");
    assert_eq!(check_topic("retention.ms", None), Err(ConfigError("retention.ms has no value".into())));
    assert_eq!(check_topic("cleanup.policy", Some(" delete , ")), Ok(()), "as a list is written");
    assert_eq!(check_topic("preallocate", Some("FALSE")), Ok(()));
    assert_eq!(check_topic("index.interval.bytes", Some(" 4096 ")), Ok(()));
}

#[test]
fn the_brokers_keys_are_checked_in_their_own_units() {
    let check = |key: &str, value: &str| broker_key(key).expect(key).check(value).map_err(|e| e.0);
    assert_eq!(check("log.retention.hours", "168"), Ok(()));
    assert!(check("log.retention.hours", "never").is_err());
    assert!(check("log.retention.hours", "99999999999").is_err(), "an int");
    assert!(check("log.segment.bytes", "5").is_err());
    assert_eq!(check("num.partitions", "12"), Ok(()));
    assert!(check("num.partitions", "0").is_err());
    assert!(broker_key("log.segment.bytes").is_some_and(|k| k.dynamic));
    assert!(broker_key("log.retention.hours").is_some_and(|k| !k.dynamic));
    assert!(broker_key("num.partitions").is_some_and(|k| !k.dynamic));
}

#[test]
fn the_nearest_value_is_in_effect() {
    let (topic_set, broker) = (configs(&[("segment.bytes", "1")]), configs(&[("log.segment.bytes", "2")]));
    let (cluster, file) = (configs(&[("log.segment.bytes", "3")]), configs(&[("log.segment.bytes", "4")]));
    let none = Configs::new();
    let mut layers = Layers { topic: Some(&topic_set), broker: Some(&broker), cluster: Some(&cluster), file: &file };
    let definition = topic("segment.bytes").expect("a key");
    let chain: Vec<(&str, &str, Source)> =
        layers.of_topic(definition).iter().map(|s| (s.key, s.value, s.source)).collect();
    assert_eq!(
        chain,
        [
            ("segment.bytes", "1", Source::Topic),
            ("log.segment.bytes", "2", Source::Broker),
            ("log.segment.bytes", "3", Source::Cluster),
            ("log.segment.bytes", "4", Source::File),
            ("log.segment.bytes", "1073741824", Source::Default),
        ]
    );
    assert_eq!(layers.segment_bytes(), 1);
    layers.topic = Some(&none);
    assert_eq!(layers.segment_bytes(), 2);
    layers.broker = None;
    assert_eq!(layers.segment_bytes(), 3);
    layers.cluster = None;
    assert_eq!(layers.segment_bytes(), 4);
    layers.file = &none;
    assert_eq!(layers.segment_bytes(), 1 << 30);
}

#[test]
fn other_units_are_converted() {
    let none = Configs::new();
    let with = |file: &Configs| {
        let layers = Layers { topic: None, broker: None, cluster: None, file };
        (layers.retention_ms(), layers.segment_ms())
    };
    let week = 7 * 24 * 3_600_000;
    assert_eq!(with(&none), (Some(week), week));
    assert_eq!(with(&configs(&[("log.retention.hours", "2"), ("log.roll.hours", "1")])), (Some(7_200_000), 3_600_000));
    assert_eq!(with(&configs(&[("log.retention.hours", "2"), ("log.retention.minutes", "1")])).0, Some(60_000));
    assert_eq!(with(&configs(&[("log.retention.minutes", "1"), ("log.retention.ms", "5")])).0, Some(5));
    assert_eq!(with(&configs(&[("log.retention.hours", "-1")])).0, None, "for ever");
}

#[test]
fn defaults_are_read_by_every_getter() {
    let none = Configs::new();
    let layers = Layers { topic: Some(&none), broker: None, cluster: None, file: &none };
    assert!(layers.auto_create_topics() && layers.delete_topics());
    assert_eq!((layers.retention_bytes(), layers.max_message_bytes()), (None, 1_048_588));
    assert_eq!(layers.timestamp_type(), TimestampType::CreateTime);
    assert_eq!((layers.timestamp_before_max_ms(), layers.timestamp_after_max_ms()), (i64::MAX, 3_600_000));
    assert_eq!((layers.min_insync_replicas(), layers.flush_messages(), layers.flush_ms()), (1, 1, None));
    assert_eq!((layers.segment_jitter_ms(), layers.producer_expiration_ms()), (0, 86_400_000));
    assert_eq!(layers.compression_type(), "producer");
    assert_eq!((layers.num_partitions(), layers.default_replication_factor()), (1, 1));
}
