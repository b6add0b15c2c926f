//! AlterConfigs (KIP-133) and IncrementalAlterConfigs (KIP-339) of topics and brokers: each resource all or nothing.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Refused;
use crate::ids::BrokerId;
use crate::metadata::configs::{Configs, Kind, broker_key, check_topic, list, topic};
use crate::metadata::{BROKER_RESOURCE, Image, TOPIC_RESOURCE, valid_topic_name};
use crate::wire::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse, ConfigRecord,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, MetadataRecord, Response, error,
};

/// What one resource is to have of a key.
struct Alteration<'a> {
    key: &'a str,
    value: Option<&'a str>,
    op: Op,
}

/// `AlterConfigOp.OpType`.
#[derive(Clone, Copy, PartialEq)]
enum Op {
    Set,
    Delete,
    Append,
    Subtract,
    Unknown(i8),
}

impl Op {
    fn of(code: i8) -> Op {
        match code {
            0 => Op::Set,
            1 => Op::Delete,
            2 => Op::Append,
            3 => Op::Subtract,
            other => Op::Unknown(other),
        }
    }
}

/// A topic, a broker, or all brokers.
struct Resource<'a> {
    kind: i8,
    name: &'a str,
}

/// Sets all configs of resources: what is not named goes back to its default.
pub(super) fn alter(image: &Image, request: &AlterConfigsRequest) -> (Vec<MetadataRecord>, Response) {
    let resources = request.resources.iter().map(|r| {
        let resource = Resource { kind: r.resource_type, name: &r.resource_name };
        let named = r.configs.iter().map(|c| Alteration { key: &c.name, value: c.value.as_deref(), op: Op::Set });
        let mut alterations: Vec<Alteration<'_>> = named.collect();
        let others = existing(image, &resource).into_iter().flatten().map(|(key, _)| key.as_str());
        let gone = others.filter(|key| r.configs.iter().all(|c| c.name != *key));
        alterations.extend(gone.map(|key| Alteration { key, value: None, op: Op::Delete }));
        (resource, alterations)
    });
    let (records, responses) = alter_all(image, &resources.collect::<Vec<_>>(), request.validate_only);
    (records, AlterConfigsResponse { responses, ..Default::default() }.into())
}

/// Changes the configs that are named.
pub(super) fn alter_some(image: &Image, request: &IncrementalAlterConfigsRequest) -> (Vec<MetadataRecord>, Response) {
    let resources = request.resources.iter().map(|r| {
        let resource = Resource { kind: r.resource_type, name: &r.resource_name };
        let alterations = r.configs.iter().map(|c| Alteration {
            key: &c.name,
            value: c.value.as_deref(),
            op: Op::of(c.config_operation),
        });
        (resource, alterations.collect())
    });
    let (records, responses) = alter_all(image, &resources.collect::<Vec<_>>(), request.validate_only);
    (records, IncrementalAlterConfigsResponse { responses, ..Default::default() }.into())
}

fn alter_all(
    image: &Image,
    resources: &[(Resource<'_>, Vec<Alteration<'_>>)],
    validate_only: bool,
) -> (Vec<MetadataRecord>, Vec<AlterConfigsResourceResponse>) {
    let mut times: BTreeMap<(i8, &str), usize> = BTreeMap::new();
    for (resource, _) in resources {
        *times.entry((resource.kind, resource.name)).or_default() += 1;
    }
    let mut records = Vec::new();
    let mut responses = Vec::with_capacity(resources.len());
    for (resource, alterations) in resources {
        let twice = times.get(&(resource.kind, resource.name)).is_some_and(|n| *n > 1);
        let decided = if twice {
            Err((error::INVALID_REQUEST, "The resource is named more than once in the request.".to_string()))
        } else {
            find(image, resource).and_then(|()| alter_one(image, resource, alterations))
        };
        let (error_code, error_message) = match decided {
            Ok(altered) => {
                records.extend(altered.into_iter().filter(|_| !validate_only));
                (error::NONE, None)
            }
            Err((code, why)) => (code, Some(why)),
        };
        let (resource_type, resource_name) = (resource.kind, resource.name.to_string());
        responses.push(AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name });
    }
    (records, responses)
}

/// Whether the resource is there.
fn find(image: &Image, resource: &Resource<'_>) -> Result<(), Refused> {
    let name = resource.name;
    match resource.kind {
        TOPIC_RESOURCE if image.topic(name).is_some() => Ok(()),
        TOPIC_RESOURCE if name.is_empty() => {
            Err((error::INVALID_REQUEST, "There are no configs for all topics.".to_string()))
        }
        TOPIC_RESOURCE if !valid_topic_name(name) => {
            Err((error::INVALID_TOPIC_EXCEPTION, format!("'{name}' is no name of a topic.")))
        }
        TOPIC_RESOURCE => Err((error::UNKNOWN_TOPIC_OR_PARTITION, format!("There is no topic '{name}'."))),
        BROKER_RESOURCE if name.is_empty() => Ok(()),
        BROKER_RESOURCE => match name.parse::<i32>() {
            // As it is written: "01" is not broker 1.
            Ok(id) if id.to_string() != name => Err(no_broker_id(name)),
            Ok(id) if image.broker(BrokerId(id)).is_some() => Ok(()),
            Ok(id) => Err((error::INVALID_REQUEST, format!("No broker {id} is registered."))),
            Err(_) => Err(no_broker_id(name)),
        },
        kind => Err((error::INVALID_REQUEST, format!("Resources of type {kind} have no configs that can be altered."))),
    }
}

fn no_broker_id(name: &str) -> Refused {
    (error::INVALID_REQUEST, format!("'{name}' is no broker id."))
}

/// What was set for a resource.
fn existing<'a>(image: &'a Image, resource: &Resource<'_>) -> Option<&'a Configs> {
    match resource.kind {
        TOPIC_RESOURCE => image.topic(resource.name).map(|t| &t.configs),
        BROKER_RESOURCE => image.broker_configs(resource.name),
        _ => None,
    }
}

/// The records for one resource: only of what changes.
fn alter_one(
    image: &Image,
    resource: &Resource<'_>,
    alterations: &[Alteration<'_>],
) -> Result<Vec<MetadataRecord>, Refused> {
    let before = existing(image, resource);
    let mut records: BTreeMap<&str, Option<String>> = BTreeMap::new();
    for alteration in alterations {
        let key = alteration.key;
        let old = before.and_then(|configs| configs.get(key));
        if records.insert(key, new_value(resource, alteration, old)?).is_some() {
            return Err((error::INVALID_REQUEST, format!("{key} is named more than once for the resource.")));
        }
    }
    let changed = records.into_iter().filter(|(key, value)| before.and_then(|c| c.get(*key)) != value.as_ref());
    let record = |(key, value): (&str, Option<String>)| {
        MetadataRecord::Config(ConfigRecord {
            resource_type: resource.kind,
            resource_name: resource.name.to_string(),
            name: key.to_string(),
            value,
        })
    };
    Ok(changed.map(record).collect())
}

/// What a key has afterwards, checked; `None` when it is not set.
fn new_value(
    resource: &Resource<'_>,
    alteration: &Alteration<'_>,
    old: Option<&String>,
) -> Result<Option<String>, Refused> {
    let key = alteration.key;
    let read_only = resource.kind == BROKER_RESOURCE && broker_key(key).is_some_and(|k| !k.dynamic);
    if read_only {
        return Err((error::INVALID_REQUEST, format!("{key} cannot be altered while the broker runs.")));
    }
    let new = match (alteration.op, alteration.value) {
        (Op::Delete, _) => return Ok(None),
        (Op::Unknown(code), _) => return Err((error::INVALID_REQUEST, format!("{code} is no operation on a config."))),
        (_, None) => return Err((error::INVALID_REQUEST, format!("{key} has no value."))),
        (Op::Set, Some(value)) => value.to_string(),
        (Op::Append | Op::Subtract, Some(value)) => {
            let Some(default) = default_list(resource, key) else {
                return Err((error::INVALID_CONFIG, format!("{key} is not a list: it can only be set or deleted.")));
            };
            let old = list(old.map_or(default, String::as_str));
            let mut elements: Vec<&str> = if alteration.op == Op::Append {
                old.collect()
            } else {
                old.filter(|e| list(value).all(|v| v != *e)).collect()
            };
            if alteration.op == Op::Append {
                for element in list(value) {
                    if !elements.contains(&element) {
                        elements.push(element);
                    }
                }
            }
            elements.join(",")
        }
    };
    check(resource, key, &new)?;
    Ok(Some(new))
}

/// The default of a key that is a list.
fn default_list(resource: &Resource<'_>, key: &str) -> Option<&'static str> {
    let definition = if resource.kind == TOPIC_RESOURCE { topic(key)? } else { broker_key(key)?.definition };
    (definition.kind == Kind::List).then_some(definition.default)
}

fn check(resource: &Resource<'_>, key: &str, value: &str) -> Result<(), Refused> {
    let checked = if resource.kind == TOPIC_RESOURCE {
        check_topic(key, Some(value)).map_err(|e| e.0)
    } else {
        match broker_key(key) {
            Some(known) => known.check(value).map_err(|e| e.0),
            None => Err(format!("{key} is not a broker config.")),
        }
    };
    // Kafka's code for a broker's bad value is another one.
    let code = if resource.kind == TOPIC_RESOURCE { error::INVALID_CONFIG } else { error::INVALID_REQUEST };
    checked.map_err(|why| (code, why))
}
