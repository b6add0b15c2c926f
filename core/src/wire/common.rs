//! Structures that several answers share.

use alloc::string::String;

use super::table::message;
use crate::ids::Uuid;

message! {
    /// Who leads a partition, as a hint in an answer that refuses (KIP-951).
    LeaderIdAndEpoch {
        leader_id: i32 [0..] = -1;
        leader_epoch: i32 [0..] = -1;
    }

    /// Where a leader named in a hint is reached (KIP-951).
    NodeEndpoint {
        node_id: i32 [0..];
        host: String [0..];
        port: i32 [0..];
        rack: Option<String> [0..] null [0..];
    }
}

/// A topic as a request names it: by name, or by id in the versions that have ids (KIP-516).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// By name.
    Name(&'a str),
    /// By id.
    Id(Uuid),
}

impl<'a> TopicRef<'a> {
    /// A version has either names or ids: the other one is empty. No topic has an empty name or id 0, but they can be
    /// asked for: then the version counts.
    pub(crate) fn of(name: &'a str, id: Uuid, by_id: bool) -> TopicRef<'a> {
        if by_id || id != Uuid::ZERO { TopicRef::Id(id) } else { TopicRef::Name(name) }
    }
}
