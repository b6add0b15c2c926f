//! DescribeConfigs (32): KIP-133, KIP-226 (synonyms), KIP-569 (documentation). AlterConfigs (33): KIP-133.
//! IncrementalAlterConfigs (44): KIP-339. ListConfigResources (74): KIP-1142.

use alloc::string::String;
use alloc::vec::Vec;

use super::table::{Message, message};

message! {
    /// Asks for configs.
    DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource> [0..];
        include_synonyms: bool [1..];
        include_documentation: bool [3..];
    }

    /// Which configs of what.
    DescribeConfigsResource {
        resource_type: i8 [0..];
        resource_name: String [0..];
        configuration_keys: Option<Vec<String>> [0..] null [0..];
    }

    /// Configs.
    DescribeConfigsResponse {
        throttle_time_ms: i32 [0..];
        results: Vec<DescribeConfigsResult> [0..];
    }

    /// Configs of one resource.
    DescribeConfigsResult {
        error_code: i16 [0..];
        error_message: Option<String> [0..] null [0..];
        resource_type: i8 [0..];
        resource_name: String [0..];
        configs: Vec<DescribeConfigsResourceResult> [0..];
    }

    /// A config.
    DescribeConfigsResourceResult {
        name: String [0..];
        value: Option<String> [0..] null [0..];
        read_only: bool [0..];
        config_source: i8 [1..] = -1;
        is_sensitive: bool [0..];
        synonyms: Vec<DescribeConfigsSynonym> [1..];
        config_type: i8 [3..];
        documentation: Option<String> [3..] null [0..];
    }

    /// A value that it would have from elsewhere.
    DescribeConfigsSynonym {
        name: String [1..];
        value: Option<String> [1..] null [0..];
        source: i8 [1..];
    }

    /// Sets all configs of resources: what is not named goes back to its default.
    AlterConfigsRequest {
        resources: Vec<AlterConfigsResource> [0..];
        validate_only: bool [0..];
    }

    /// What one resource is to have.
    AlterConfigsResource {
        resource_type: i8 [0..];
        resource_name: String [0..];
        configs: Vec<AlterableConfig> [0..];
    }

    /// A config to be set.
    AlterableConfig {
        name: String [0..];
        value: Option<String> [0..] null [0..];
    }

    /// What became of the resources.
    AlterConfigsResponse {
        throttle_time_ms: i32 [0..];
        responses: Vec<AlterConfigsResourceResponse> [0..];
    }

    /// What became of one resource, whichever way it was altered.
    AlterConfigsResourceResponse {
        error_code: i16 [0..];
        error_message: Option<String> [0..] null [0..];
        resource_type: i8 [0..];
        resource_name: String [0..];
    }

    /// Changes some configs of resources.
    IncrementalAlterConfigsRequest {
        resources: Vec<IncrementalAlterConfigsResource> [0..];
        validate_only: bool [0..];
    }

    /// What is changed of one resource.
    IncrementalAlterConfigsResource {
        resource_type: i8 [0..];
        resource_name: String [0..];
        configs: Vec<IncrementalAlterableConfig> [0..];
    }

    /// A config to be changed.
    IncrementalAlterableConfig {
        name: String [0..];
        config_operation: i8 [0..];
        value: Option<String> [0..] null [0..];
    }

    /// What became of the resources.
    IncrementalAlterConfigsResponse {
        throttle_time_ms: i32 [0..];
        responses: Vec<AlterConfigsResourceResponse> [0..];
    }

    /// Asks what has configs; no types are all types.
    ListConfigResourcesRequest {
        resource_types: Vec<i8> [1..];
    } + {
        /// Whether the version can ask for types other than client metrics.
        all_types: bool = true;
    }

    /// What has configs.
    ListConfigResourcesResponse {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        config_resources: Vec<ConfigResource> [0..];
    }

    /// Something that has configs.
    ConfigResource {
        resource_name: String [0..];
        resource_type: i8 [1..] = 16;
    }
}

impl Message for DescribeConfigsRequest {}
impl Message for DescribeConfigsResponse {}
impl Message for AlterConfigsRequest {}
impl Message for AlterConfigsResponse {}
impl Message for IncrementalAlterConfigsRequest {}
impl Message for IncrementalAlterConfigsResponse {}

impl Message for ListConfigResourcesRequest {
    fn normalise(&mut self, version: i16) -> Result<(), super::Malformed> {
        self.all_types = version >= 1;
        Ok(())
    }
}

impl Message for ListConfigResourcesResponse {}
