//! DeleteTopics (20): KIP-516 (by id), KIP-599 (messages).

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::codec::Malformed;
use super::error;
use super::table::{Message, message};
use crate::ids::Uuid;

message! {
    /// Asks for topics to be deleted. Before version 6 they stand in `topic_names` on the wire, and in `topics` here.
    DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> [6..];
        topic_names: Vec<String> [0..=5];
        timeout_ms: i32 [0..];
    }

    /// A topic, by its name or its id.
    DeleteTopicState {
        name: Option<String> [6..] null [6..];
        topic_id: Uuid [6..];
    }

    /// What became of the topics.
    DeleteTopicsResponse {
        throttle_time_ms: i32 [1..];
        responses: Vec<DeletableTopicResult> [0..];
    }

    /// What became of one topic.
    DeletableTopicResult {
        name: Option<String> [0..] null [6..];
        topic_id: Uuid [6..];
        error_code: i16 [0..];
        error_message: Option<String> [5..] null [5..];
    }
}

impl Message for DeleteTopicsRequest {
    fn normalise(&mut self, version: i16) -> Result<(), Malformed> {
        if version < 6 {
            let named = |name| DeleteTopicState { name: Some(name), ..DeleteTopicState::default() };
            self.topics = core::mem::take(&mut self.topic_names).into_iter().map(named).collect();
        }
        Ok(())
    }

    fn in_terms_of(&self, version: i16) -> Cow<'_, Self> {
        if version >= 6 {
            return Cow::Borrowed(self);
        }
        let topic_names = self.topics.iter().filter_map(|t| t.name.clone()).collect();
        Cow::Owned(DeleteTopicsRequest { topics: Vec::new(), topic_names, ..self.clone() })
    }
}

impl Message for DeleteTopicsResponse {
    /// Before version 3 there is no TOPIC_DELETION_DISABLED.
    fn in_terms_of(&self, version: i16) -> Cow<'_, Self> {
        let new = |t: &DeletableTopicResult| t.error_code == error::TOPIC_DELETION_DISABLED;
        if version >= 3 || !self.responses.iter().any(new) {
            return Cow::Borrowed(self);
        }
        let mut message = self.clone();
        for topic in message.responses.iter_mut().filter(|t| new(t)) {
            topic.error_code = error::INVALID_REQUEST;
        }
        Cow::Owned(message)
    }
}
