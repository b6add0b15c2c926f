//! DescribeConfigs (KIP-133, KIP-226, KIP-569) and ListConfigResources (KIP-1142): answered from the image.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::ids::BrokerId;
use crate::metadata::configs::{Configs, Definition, Kind, Layers, Setting, Source, broker_key, broker_keys, topics};
use crate::metadata::{BROKER_RESOURCE, Image, TOPIC_RESOURCE, valid_topic_name};
use crate::wire::{
    ConfigResource, DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym, ListConfigResourcesRequest,
    ListConfigResourcesResponse, error,
};

/// `ConfigResource.Type` of a broker's loggers (KIP-412).
const LOGGER_RESOURCE: i8 = 8;
/// `ConfigResource.Type` of client metrics (KIP-714).
const CLIENT_METRICS_RESOURCE: i8 = 16;
/// `ConfigResource.Type` of groups (KIP-1016).
const GROUP_RESOURCE: i8 = 32;
const RESOURCE_TYPES: [i8; 5] =
    [TOPIC_RESOURCE, BROKER_RESOURCE, LOGGER_RESOURCE, CLIENT_METRICS_RESOURCE, GROUP_RESOURCE];

/// What an answer has of each config.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    keys: Option<&'a [String]>,
    synonyms: bool,
    documentation: bool,
}

impl Wanted<'_> {
    fn has(&self, key: &str) -> bool {
        self.keys.is_none_or(|keys| keys.is_empty() || keys.iter().any(|k| k == key))
    }
}

/// Answers a DescribeConfigs request.
#[must_use]
pub fn describe(
    image: &Image,
    request: &DescribeConfigsRequest,
    broker: BrokerId,
    file: &Configs,
) -> DescribeConfigsResponse {
    let mut named = BTreeSet::new();
    let results = request.resources.iter().map(|resource| {
        let wanted = Wanted {
            keys: resource.configuration_keys.as_deref(),
            synonyms: request.include_synonyms,
            documentation: request.include_documentation,
        };
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..DescribeConfigsResult::default()
        };
        let again = !named.insert((resource.resource_type, &resource.resource_name));
        let described = if again { Err(named_before()) } else { one(image, resource, wanted, broker, file) };
        match described {
            Ok(configs) => result.configs = configs,
            Err((code, why)) => (result.error_code, result.error_message) = (code, Some(why)),
        }
        result
    });
    let results = results.collect();
    DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() }
}

/// Answers are long: one each.
fn named_before() -> (i16, String) {
    (error::INVALID_REQUEST, "The resource is named more than once in the request.".to_string())
}

fn one(
    image: &Image,
    resource: &DescribeConfigsResource,
    wanted: Wanted<'_>,
    broker: BrokerId,
    file: &Configs,
) -> Result<Vec<DescribeConfigsResourceResult>, (i16, String)> {
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC_RESOURCE => {
            let topic = image.topic(name).ok_or_else(|| {
                let valid = valid_topic_name(name);
                let code = if valid { error::UNKNOWN_TOPIC_OR_PARTITION } else { error::INVALID_TOPIC_EXCEPTION };
                (code, format!("There is no topic '{name}'."))
            })?;
            let layers = image.layers(Some(topic), broker, file);
            Ok(topics().filter(|d| wanted.has(d.name)).map(|d| of_topic(layers, d, wanted)).collect())
        }
        BROKER_RESOURCE if name.is_empty() => {
            let layers = Layers { broker: None, ..image.layers(None, broker, file) };
            let set = image.broker_configs("").into_iter().flatten().filter(|(key, _)| wanted.has(key));
            Ok(set.map(|(key, _)| of_broker(layers, key, wanted)).collect())
        }
        BROKER_RESOURCE if name == broker.to_string() => {
            let layers = image.layers(None, broker, file);
            let keys: BTreeSet<&str> = broker_keys().map(|k| k.name).chain(file.keys().map(String::as_str)).collect();
            Ok(keys.into_iter().filter(|key| wanted.has(key)).map(|key| of_broker(layers, key, wanted)).collect())
        }
        BROKER_RESOURCE => {
            let why = format!("'{name}' is neither this broker, {broker}, nor empty for what all brokers have.");
            Err((error::INVALID_REQUEST, why))
        }
        // None of theirs would have an effect here, so there are none; but the names are Kafka's.
        LOGGER_RESOURCE if name == broker.to_string() => Ok(Vec::new()),
        CLIENT_METRICS_RESOURCE | GROUP_RESOURCE if !name.is_empty() => Ok(Vec::new()),
        LOGGER_RESOURCE | CLIENT_METRICS_RESOURCE | GROUP_RESOURCE => Err((
            error::INVALID_REQUEST,
            format!("'{name}' is no name of a resource of type {}.", resource.resource_type),
        )),
        kind => Err((error::INVALID_REQUEST, format!("Resources of type {kind} have no configs."))),
    }
}

fn of_topic(layers: Layers<'_>, definition: &'static Definition, wanted: Wanted<'_>) -> DescribeConfigsResourceResult {
    let settings = layers.of_topic(definition);
    DescribeConfigsResourceResult {
        name: definition.name.to_string(),
        value: Some(layers.value(definition).into_owned()),
        read_only: false,
        config_source: layers.source(definition) as i8,
        is_sensitive: false,
        synonyms: if wanted.synonyms { settings.iter().map(synonym).collect() } else { Vec::new() },
        config_type: definition.kind as i8,
        documentation: wanted.documentation.then(|| definition.documentation.to_string()),
    }
}

fn of_broker(layers: Layers<'_>, key: &str, wanted: Wanted<'_>) -> DescribeConfigsResourceResult {
    let known = broker_key(key);
    let mut settings: Vec<Setting<'_>> = layers.of_broker(key).collect();
    let default = known.and_then(|k| k.default);
    settings.extend(default.map(|value| Setting { key, value, source: Source::Default }));
    let is_sensitive = known.is_none() && looks_secret(key);
    if is_sensitive {
        settings.truncate(1);
    }
    let kind = if is_sensitive { Kind::Password } else { known.map_or(Kind::String, |k| k.kind) };
    DescribeConfigsResourceResult {
        name: key.to_string(),
        value: settings.first().filter(|_| !is_sensitive).map(|s| s.value.to_string()),
        read_only: known.is_none_or(|k| !k.dynamic),
        config_source: settings.first().map_or(Source::Default, |s| s.source) as i8,
        is_sensitive,
        synonyms: settings.iter().filter(|_| wanted.synonyms && !is_sensitive).map(synonym).collect(),
        config_type: kind as i8,
        documentation: wanted.documentation.then(|| known.map_or(String::new(), |k| k.documentation())),
    }
}

/// A key of the file that is not in our tables and whose value is nobody's business.
fn looks_secret(key: &str) -> bool {
    ["password", "secret", "jaas", "keystore.key"].iter().any(|part| key.contains(part))
}

fn synonym(setting: &Setting<'_>) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym {
        name: setting.key.to_string(),
        value: Some(setting.value.to_string()),
        source: setting.source as i8,
    }
}

fn brokers_as(image: &Image, resource_type: i8) -> impl Iterator<Item = ConfigResource> {
    image.brokers().map(move |(id, _)| ConfigResource { resource_name: id.to_string(), resource_type })
}

/// Answers a ListConfigResources request.
#[must_use]
pub fn resources(image: &Image, request: &ListConfigResourcesRequest) -> ListConfigResourcesResponse {
    if request.resource_types.iter().any(|kind| !RESOURCE_TYPES.contains(kind)) {
        let error_code = error::UNSUPPORTED_VERSION;
        return ListConfigResourcesResponse { error_code, ..ListConfigResourcesResponse::default() };
    }
    let asked =
        |kind| request.all_types && (request.resource_types.is_empty() || request.resource_types.contains(&kind));
    let mut config_resources = Vec::new();
    if asked(TOPIC_RESOURCE) {
        let resource = |(name, _)| ConfigResource { resource_name: String::from(name), resource_type: TOPIC_RESOURCE };
        config_resources.extend(image.topics().map(resource));
    }
    // In Kafka's order.
    for kind in [LOGGER_RESOURCE, BROKER_RESOURCE].into_iter().filter(|kind| asked(*kind)) {
        config_resources.extend(brokers_as(image, kind));
    }
    ListConfigResourcesResponse { config_resources, ..ListConfigResourcesResponse::default() }
}
