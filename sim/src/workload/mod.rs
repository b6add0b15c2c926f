//! What clients do: they produce, consume, trim logs, change configs, add partitions, delete topics and make them again,
//! say things twice, see that retention did its work, and look at what harm has left.
//!
//! A role is a step function that wants requests sent and hears answers: it knows neither frames nor time, nor which
//! engine carries them. Each thing that it asks for ends ok, fail or, when no answer comes, maybe: then it may happen at
//! any later time. `no-odd-error`: an error is answered only if something in the workload causes it, as Kafka defines its
//! codes.

pub mod consumer;
pub mod insistent;
pub mod inspector;
pub mod keeper;
pub mod owner;
pub mod producer;
pub(crate) mod reading;
mod session;
pub mod settler;

use klamm_core::record::Builder;
use klamm_core::wire::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResource, IncrementalAlterableConfig, ListOffsetsPartition, ListOffsetsRequest,
    ListOffsetsTopic, MetadataRequest, Request, Response, error,
};

use crate::client::body;
use crate::history::{History, Partition};
use crate::report::Violation;

/// Resources of this type are topics, in requests about configs.
const TOPIC: i8 = 2;
/// Operations on a config (KIP-339).
const SET: i8 = 0;
const DELETE: i8 = 1;

/// What all clients of a run share beside the history.
pub trait Shared {
    /// A number that nobody had before.
    fn number(&mut self) -> u64;
    /// Something happened.
    fn count(&mut self, what: &'static str);
}

/// What a role may look at and write to in one step.
pub struct Cx<'a> {
    /// Nanoseconds from the start.
    pub now: u64,
    /// What a client's clock shows, milliseconds.
    pub wall: i64,
    /// No record that is sent now can have an earlier time in the log.
    pub least_time: i64,
    /// Whether new things are begun. If not, what was begun is gone on with, or ended.
    pub working: bool,
    /// What was seen.
    pub history: &'a mut History,
    /// What is shared.
    pub shared: &'a mut dyn Shared,
    /// The checksum of batches.
    pub crc: fn(&[u8]) -> u32,
}

/// A question, and what its role must know to understand the answer; if any comes: see [`is_answered`].
pub type Ask<A> = (Request, A);

/// Whether an answer comes to a question: to all but a produce that nobody is to acknowledge.
#[must_use]
pub fn is_answered(request: &Request) -> bool {
    !matches!(request, Request::Produce(produce) if produce.acks == 0)
}

/// What a client is for.
pub trait Role {
    /// What it remembers of a question.
    type Asked;
    /// What it draws from now on comes from this seed.
    fn reseed(&mut self, seed: u64);
    /// What it asks now, over an open connection.
    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Self::Asked>>;
    /// An answer: they come in the order of the questions.
    ///
    /// # Errors
    /// When it breaks a promise.
    fn answered(&mut self, asked: Self::Asked, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation>;
    /// No answer comes to these, whatever became of them. The connection is gone.
    fn lost(&mut self, asked: Vec<Self::Asked>, cx: &mut Cx<'_>);
    /// Whether it is done with its connection, and wants another one: it asks nothing until it has that.
    fn hangs_up(&self) -> bool {
        false
    }
    /// When it has something to ask, answers apart; `None`: it does not know of anything.
    fn next(&self, working: bool) -> Option<u64>;
    /// When it has to go on with what it began, if it has: that is no turn, and begins nothing.
    fn resumes(&self) -> Option<u64> {
        None
    }
    /// How long it waits for an answer while there is work, nanoseconds, if not as long as others.
    fn patience(&self) -> Option<u64> {
        None
    }
    /// What it still has to do before it may rest.
    fn owes(&self) -> Option<String>;
}

/// An answer of another kind than the question.
fn odd_answer(response: &Response) -> Violation {
    Violation {
        property: "answers-are-answers",
        fact: "an answer names its question".into(),
        contradiction: format!("{:?} is of another API", response.key()),
    }
}

/// An answer has no word of what was asked for, or one of what was not.
fn wordless(of: &str, too_much: bool) -> Violation {
    Violation {
        property: "answers-are-answers",
        fact: format!("{of} was {}asked for", if too_much { "not " } else { "" }),
        contradiction: format!("{} of it in the answer", if too_much { "there is a word" } else { "there is no word" }),
    }
}

/// An error that this workload gives no reason for.
fn odd_error(what: &str, code: i16) -> Violation {
    Violation {
        property: "no-odd-error",
        fact: format!("{what} is answered with {}", error::name(code)),
        contradiction: "nothing in this workload causes it".into(),
    }
}

/// A topic that is known to exist is not known to the broker.
fn vanished(partition: &Partition) -> Violation {
    Violation {
        property: "topics-stay",
        fact: format!("the creation of {} was acknowledged before it was used", partition.0),
        contradiction: format!("the broker does not know partition {}", partition.1),
    }
}

/// Topics of these names are an [`owner::Owner`]'s.
const MORTAL: &str = "mortal-";

/// Whether topics of this name are to be deleted.
pub(crate) fn is_mortal(name: &str) -> bool {
    name.starts_with(MORTAL)
}

/// Whether an error says nothing of what was asked for, so that it may have been done.
fn is_maybe(code: i16) -> bool {
    matches!(
        code,
        error::REQUEST_TIMED_OUT
            | error::KAFKA_STORAGE_ERROR
            | error::NOT_LEADER_OR_FOLLOWER
            | error::NOT_CONTROLLER
            | error::COORDINATOR_LOAD_IN_PROGRESS
            | error::OFFSET_NOT_AVAILABLE
            | error::LEADER_NOT_AVAILABLE
    )
}

/// A batch of values.
fn batch(
    values: &[u64],
    stamp: Option<(klamm_core::ids::ProducerId, klamm_core::ids::Sequence)>,
    cx: &Cx<'_>,
) -> bytes::Bytes {
    padded(values, 0, stamp, cx)
}

/// A batch of values, each followed by so many bytes that follow from it.
fn padded(
    values: &[u64],
    filler: usize,
    stamp: Option<(klamm_core::ids::ProducerId, klamm_core::ids::Sequence)>,
    cx: &Cx<'_>,
) -> bytes::Bytes {
    let mut builder = Builder::new();
    if let Some((id, sequence)) = stamp {
        builder = builder.producer(id, klamm_core::ids::ProducerEpoch(0), sequence);
    }
    for value in values {
        builder.push(klamm_core::ids::Timestamp(cx.wall), None, Some(&body(*value, filler)));
    }
    builder.build(cx.crc)
}

/// A request to set a topic's config, or to go back to the default.
fn alteration(name: &str, changes: &[(&str, Option<&str>)]) -> IncrementalAlterConfigsRequest {
    let change = |(key, value): &(&str, Option<&str>)| IncrementalAlterableConfig {
        name: (*key).to_owned(),
        config_operation: if value.is_some() { SET } else { DELETE },
        value: value.map(str::to_owned),
    };
    let resource = IncrementalAlterConfigsResource {
        resource_type: TOPIC,
        resource_name: name.to_owned(),
        configs: changes.iter().map(change).collect(),
    };
    IncrementalAlterConfigsRequest { resources: vec![resource], ..IncrementalAlterConfigsRequest::default() }
}

/// A request to delete what is below offsets of one topic.
fn deletion(name: &str, partitions: &[(i32, i64)], timeout_ms: i32) -> DeleteRecordsRequest {
    let partition = |(partition_index, offset): &(i32, i64)| DeleteRecordsPartition {
        partition_index: *partition_index,
        offset: *offset,
    };
    let partitions = partitions.iter().map(partition).collect();
    DeleteRecordsRequest { topics: vec![DeleteRecordsTopic { name: name.to_owned(), partitions }], timeout_ms }
}

/// A question for the same offset of several partitions.
pub(crate) fn listing(name: &str, partitions: impl IntoIterator<Item = i32>, timestamp: i64) -> ListOffsetsRequest {
    let partition =
        |partition_index| ListOffsetsPartition { partition_index, timestamp, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: name.to_owned(), partitions: partitions.into_iter().map(partition).collect() };
    ListOffsetsRequest { topics: vec![topic], ..ListOffsetsRequest::default() }
}

/// A question about all topics.
pub(crate) fn everything() -> MetadataRequest {
    MetadataRequest { topics: None, allow_auto_topic_creation: false, ..MetadataRequest::default() }
}

/// Where a partition starts and ends, as far as was told: floors for what is asked now.
pub(crate) fn floors(history: &History, partition: &Partition) -> (i64, i64) {
    (history.end(partition), history.start(partition))
}
