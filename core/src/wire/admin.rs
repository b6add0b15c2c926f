//! The requests that only the controller decides on, and how one is refused as a whole.

use alloc::string::{String, ToString};

use super::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse, CreatableTopicResult,
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult, CreateTopicsRequest,
    CreateTopicsResponse, DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, Response,
};

/// A request for the controller.
#[derive(Clone, Debug, PartialEq)]
pub enum AdminRequest {
    /// Create topics.
    CreateTopics(CreateTopicsRequest),
    /// Delete topics.
    DeleteTopics(DeleteTopicsRequest),
    /// Give topics more partitions.
    CreatePartitions(CreatePartitionsRequest),
    /// Set all configs of topics or brokers.
    AlterConfigs(AlterConfigsRequest),
    /// Change some configs of topics or brokers.
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
}

impl AdminRequest {
    /// Refuses all that is asked.
    #[must_use]
    pub fn refuse(&self, error_code: i16, why: &str) -> Response {
        let error_message: Option<String> = Some(why.to_string());
        let said = || error_message.clone();
        let unaltered = |resource_type, name: &String| AlterConfigsResourceResponse {
            error_code,
            error_message: said(),
            resource_type,
            resource_name: name.clone(),
        };
        match self {
            AdminRequest::CreateTopics(r) => {
                let refuse = |name: &String| CreatableTopicResult {
                    name: name.clone(),
                    error_code,
                    error_message: said(),
                    ..CreatableTopicResult::default()
                };
                let topics = r.topics.iter().map(|t| refuse(&t.name)).collect();
                CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }.into()
            }
            AdminRequest::DeleteTopics(r) => {
                let responses = r.topics.iter().map(|t| DeletableTopicResult {
                    name: t.name.clone(),
                    topic_id: t.topic_id,
                    error_code,
                    error_message: said(),
                });
                DeleteTopicsResponse { responses: responses.collect(), ..DeleteTopicsResponse::default() }.into()
            }
            AdminRequest::CreatePartitions(r) => {
                let results = r.topics.iter().map(|t| CreatePartitionsTopicResult {
                    name: t.name.clone(),
                    error_code,
                    error_message: said(),
                });
                CreatePartitionsResponse { results: results.collect(), ..CreatePartitionsResponse::default() }.into()
            }
            AdminRequest::AlterConfigs(r) => {
                let responses = r.resources.iter().map(|r| unaltered(r.resource_type, &r.resource_name)).collect();
                AlterConfigsResponse { responses, ..AlterConfigsResponse::default() }.into()
            }
            AdminRequest::IncrementalAlterConfigs(r) => {
                let responses = r.resources.iter().map(|r| unaltered(r.resource_type, &r.resource_name)).collect();
                IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }.into()
            }
        }
    }
}
