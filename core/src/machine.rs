//! A replicated machine: decides on commands, evolves by records, owes nothing to a clock.
//!
//! `decide` takes `&self`: durable state changes only by records, through `apply`, which a leader calls at once and a
//! follower (or a new leader that loads) calls on what is committed. So live state equals replayed state. Machines know
//! neither logs nor connections: they return records, replies and work. (Shape: Kafka's coordinator runtime.)

use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt::Debug;

use crate::ids::{BrokerId, Instant, Now, Offset, ProducerEpoch, ProducerId};
use crate::metadata::configs::Configs;
use crate::rng::Rng;
use crate::wire::Malformed;

/// Names the asker of a command; answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Caller(pub u64);

/// What a decision may look at besides the machine.
#[derive(Debug)]
pub struct Cx<'a> {
    /// The clocks.
    pub now: Now,
    /// The offset that the first record of this decision gets.
    pub next_offset: Offset,
    /// The broker that decides.
    pub broker: BrokerId,
    /// What its file says where a request is silent.
    pub file: &'a Configs,
    /// Draws.
    pub rng: &'a mut Rng,
}

/// A record as it lies in the machine's log.
pub trait Stored: Sized {
    /// Key (null in `__cluster_metadata`) and value (null: a tombstone).
    fn encode(&self) -> (Option<Bytes>, Option<Bytes>);

    /// # Errors
    /// When key or value are not of a schema that this machine knows.
    fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<Self, Malformed>;
}

/// What a machine's log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<R> {
    /// A record of the machine.
    Record(R),
    /// The end of a producer's transaction on this log.
    Marker {
        /// Whose.
        producer: ProducerId,
        /// In which epoch.
        epoch: ProducerEpoch,
        /// Committed or aborted.
        committed: bool,
    },
}

/// What a machine decided. Its records are one batch; replies and work leave when that batch is committed, and with no
/// records, when everything before is.
#[derive(Debug)]
pub struct Decision<M: Machine> {
    /// To append.
    pub records: Vec<M::Record>,
    /// Answers to this command's caller or to kept ones.
    pub replies: Vec<(Caller, M::Reply)>,
    /// What is to be asked of others.
    pub work: Vec<M::Work>,
}

impl<M: Machine> Default for Decision<M> {
    fn default() -> Self {
        Decision { records: Vec::new(), replies: Vec::new(), work: Vec::new() }
    }
}

impl<M: Machine> Decision<M> {
    /// Nothing but an answer.
    #[must_use]
    pub fn reply(caller: Caller, reply: M::Reply) -> Self {
        Decision { replies: alloc::vec![(caller, reply)], ..Decision::default() }
    }

    /// Records, and an answer once they are committed.
    #[must_use]
    pub fn append(records: Vec<M::Record>, caller: Caller, reply: M::Reply) -> Self {
        Decision { records, replies: alloc::vec![(caller, reply)], work: Vec::new() }
    }
}

/// A state machine on a replicated log.
pub trait Machine: Default + Debug {
    /// What it is asked: someone waits for an answer.
    type Command: Debug;
    /// What it is told, and nobody waits: answers to its work, changes of metadata.
    type Event: Debug;
    /// What changes it.
    type Record: Stored + Debug;
    /// What it answers.
    type Reply: Debug;
    /// What it asks of others.
    type Work: Debug;
    /// What dies with leadership: timers, kept callers.
    type Soft: Default + Debug;

    /// Decides on a question. The caller may be kept in `soft` and answered by any later decision.
    fn decide(&self, soft: &mut Self::Soft, cx: &mut Cx<'_>, caller: Caller, command: Self::Command) -> Decision<Self>;

    /// Decides on news.
    fn hear(&self, soft: &mut Self::Soft, cx: &mut Cx<'_>, event: Self::Event) -> Decision<Self>;

    /// Takes in one entry of the log.
    fn apply(&mut self, offset: Offset, entry: Entry<Self::Record>);

    /// When [`Machine::expire`] wants to be called.
    fn deadline(&self, soft: &Self::Soft) -> Option<Instant>;

    /// Decides on what is due.
    fn expire(&self, soft: &mut Self::Soft, cx: &mut Cx<'_>) -> Decision<Self>;

    /// Work that the log says is unfinished: asked once after a load, so a failover loses none.
    fn owed(&self) -> Vec<Self::Work>;
}
