//! DeleteTopics (20): KIP-516 (by id), KIP-599 (messages).

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::codec::{Field, Form, Malformed, Reader, Writer};
use super::error;
use super::schema::Type;
use super::table::{Message, message};
use crate::ids::Uuid;

message! {
    /// Asks for topics to be deleted. Before version 6 they stand in `topic_names` on the wire, and in `topics` here.
    DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> [6..];
        topic_names: Vec<NamedTopic> [0..=5];
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

/// A topic as it stands on the wire before version 6: its name. As large as what it becomes, so that the list can be made
/// into the other one where it lies.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTopic(DeleteTopicState);

impl Field for NamedTopic {
    const TYPE: Type = Type::String;
    const LEAST: usize = 1;
    fn decode(r: &mut Reader, form: Form) -> Result<NamedTopic, Malformed> {
        let name = Some(String::decode(r, form)?);
        Ok(NamedTopic(DeleteTopicState { name, ..DeleteTopicState::default() }))
    }
    fn encode(&self, w: &mut Writer, form: Form) {
        self.0.name.encode(w, form);
    }
}

impl Message for DeleteTopicsRequest {
    fn normalise(&mut self, version: i16) -> Result<(), Malformed> {
        if version < 6 {
            let names = core::mem::take(&mut self.topic_names);
            self.topics = names.into_iter().map(|NamedTopic(topic)| topic).collect();
        }
        Ok(())
    }

    fn in_terms_of(&self, version: i16) -> Cow<'_, Self> {
        if version >= 6 {
            return Cow::Borrowed(self);
        }
        let named = self.topics.iter().filter(|topic| topic.name.is_some());
        let topic_names = named.map(|topic| NamedTopic(topic.clone())).collect();
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
