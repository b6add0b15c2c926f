//! Between the shards of one broker: a lossless FIFO for each ordered pair. Values move, nothing is shared.
//!
//! Sending never blocks, since two full inboxes that wait for each other would never empty. What bounds an inbox: each
//! message stems from a client's request that holds its admission credit until it is answered, or from a metadata commit.

use super::report::Report;
use crate::disk::logs::Lease;
use klamm_core::effect::{Answer, Call};
use klamm_core::ids::{Correlation, Offset, ShardIndex};
use klamm_core::wire::MetadataRecord;
use std::io;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// What one shard's host hands to another's.
#[derive(Debug)]
pub enum Message<F> {
    /// A question, or news.
    Call {
        /// The sender.
        from: ShardIndex,
        /// The metadata offset (exclusive) that the sender acted on.
        image: Offset,
        /// Names the question.
        correlation: Correlation,
        /// What is asked.
        call: Call,
    },
    /// An answer.
    Answer {
        /// The question's name.
        correlation: Correlation,
        /// What is said.
        answer: Answer,
        /// The bytes of its ranges, in order; `Err` where they could not be read.
        leases: Vec<io::Result<Lease<F>>>,
    },
    /// Committed metadata, from shard 0.
    Committed {
        /// The offset after the last record.
        upto: Offset,
        /// The records.
        records: Vec<MetadataRecord>,
    },
    /// Somebody outside of the shards wants to know how this one is.
    Report {
        /// Whom to tell.
        to: oneshot::Sender<Report>,
    },
    /// The sender has recovered its logs, and knows which there should be.
    Recovered {
        /// Files of earlier lives' journals that have something of a log that it has refused or misses.
        needed_journals: Vec<String>,
    },
    /// The broker stops, and the sender has no connection left: it asks nothing any more.
    Drained,
}

/// One shard's end of the mesh.
#[derive(Debug)]
pub struct Mesh<F> {
    shard: ShardIndex,
    peers: Vec<UnboundedSender<Message<F>>>,
    inbox: UnboundedReceiver<Message<F>>,
}

impl<F> Mesh<F> {
    /// The ends of a mesh of `shards`, by shard index.
    #[must_use]
    pub fn of(shards: u16) -> Vec<Mesh<F>> {
        let (peers, inboxes): (Vec<_>, Vec<_>) = (0..shards).map(|_| unbounded_channel()).unzip();
        let ends = (0..shards).map(ShardIndex).zip(inboxes);
        ends.map(|(shard, inbox)| Mesh { shard, peers: peers.clone(), inbox }).collect()
    }

    /// A way to ask each shard of the mesh how it is.
    #[must_use]
    pub fn inquiry(&self) -> Inquiry<F> {
        Inquiry { shards: self.peers.clone() }
    }

    /// Which end this is.
    pub(super) fn shard(&self) -> ShardIndex {
        self.shard
    }

    /// The way to another shard.
    pub(super) fn peer(&self, to: ShardIndex) -> Peer<F> {
        assert!(to != self.shard, "shard {to} sends a message to itself");
        Peer(self.peers[usize::from(to.0)].clone())
    }

    /// How many others there are.
    pub(super) fn others(&self) -> usize {
        self.peers.len() - 1
    }

    /// Hands committed metadata to all others.
    pub(super) fn publish(&self, upto: Offset, records: &[MetadataRecord]) {
        self.tell_others(|| Message::Committed { upto, records: records.to_vec() });
    }

    /// Tells all others something.
    pub(super) fn tell_others(&self, message: impl Fn() -> Message<F>) {
        for shard in (0..).map(ShardIndex).take(self.peers.len()).filter(|shard| *shard != self.shard) {
            self.peer(shard).send(message());
        }
    }

    /// The next message, once there is one.
    pub(super) async fn receive(&mut self) -> Message<F> {
        self.inbox.recv().await.expect("a mesh holds a way to itself")
    }

    /// The next message, if there is one.
    pub(super) fn try_receive(&mut self) -> Option<Message<F>> {
        self.inbox.try_recv().ok()
    }
}

/// Asks shards how they are, from any thread.
#[derive(Clone, Debug)]
pub struct Inquiry<F> {
    shards: Vec<UnboundedSender<Message<F>>>,
}

impl<F> Inquiry<F> {
    /// A report of every shard; `None` when one has ended. It comes with their next turns: later than one cares to wait,
    /// perhaps, if a shard is stuck.
    pub async fn ask(&self) -> Option<Vec<Report>> {
        let mut asked = Vec::new();
        for shard in &self.shards {
            let (to, told) = oneshot::channel();
            shard.send(Message::Report { to }).ok()?;
            asked.push(told);
        }
        let mut reports = Vec::new();
        for told in asked {
            reports.push(told.await.ok()?);
        }
        Some(reports)
    }
}

/// The way to one shard.
pub(super) struct Peer<F>(UnboundedSender<Message<F>>);

impl<F> Peer<F> {
    /// Never blocks. A shard that has stopped hears nothing: the broker is stopping.
    pub(super) fn send(&self, message: Message<F>) {
        let _ = self.0.send(message);
    }
}
