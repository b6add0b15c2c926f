//! Where logs lie: the metadata says so of each before anything in it is acknowledged (KIP-858).
//!
//! A partition's folder is made when the metadata names the partition, and is not there yet when a broker dies in
//! between. So its absence alone says nothing. Once a folder is there, durably, its directory is written into the
//! partition's record; produces are acknowledged only after that. A folder that is missing although the record names
//! this directory is lost, with what was acknowledged: its log stays offline, and is not made anew, empty.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::control::Asker;
use super::{Shard, Step};
use crate::controller::Command;
use crate::effect::{Call, Effect};
use crate::ids::{LeaderEpoch, LogId, ShardIndex};
use crate::log::Log;
use crate::replica::Replica;

/// Logs whose folders are there and whose records do not say so yet.
#[derive(Debug, Default)]
pub(super) struct Placing {
    /// The controller was told.
    told: BTreeSet<LogId>,
    /// It is to be told, once it has written down the others: all at once.
    waiting: BTreeSet<LogId>,
}

impl Shard {
    /// A log's folder is there, durably, and its record does not say so.
    pub(super) fn place(&mut self, log: LogId, step: &mut Step<'_>) {
        if !self.placing.told.contains(&log) {
            self.placing.waiting.insert(log);
            self.tell_placed(step);
        }
    }

    /// A log's record says where it lies, or the log is no more.
    pub(super) fn placed(&mut self, log: LogId, step: &mut Step<'_>) {
        self.placing.waiting.remove(&log);
        if self.placing.told.remove(&log) {
            self.tell_placed(step);
        }
    }

    fn tell_placed(&mut self, step: &mut Step<'_>) {
        if !self.placing.told.is_empty() || self.placing.waiting.is_empty() {
            return;
        }
        self.placing.told = core::mem::take(&mut self.placing.waiting);
        let logs: Vec<LogId> = self.placing.told.iter().copied().collect();
        if self.control.is_some() {
            return self.assign(logs, step);
        }
        let (correlation, image) = (self.fresh_question(), self.image_at);
        step.out.push(Effect::Call { to: ShardIndex(0), image, correlation, call: Call::Placed { logs } });
    }

    /// The controller writes down where logs of this broker lie.
    pub(super) fn assign(&mut self, logs: Vec<LogId>, step: &mut Step<'_>) {
        let (broker, directory) = (self.config.broker, self.config.directory);
        self.command(Asker::Own, Command::Assign { broker, directory, logs }, step);
    }

    /// The log of a folder that was there and is not any more.
    pub(super) fn lost(&self, log: LogId, name: &str, step: &mut Step<'_>) -> Log {
        let index = log.partition;
        let reason = format!(
            "the folder of {name}-{index} is gone, with what was acknowledged: put it back and restart, or delete the topic"
        );
        step.out.push(Effect::Alarm { log, reason: reason.clone() });
        Log::lost(log, reason)
    }

    /// Moves the logs that were found and belong to no topic out of the way: they are another cluster's, or the metadata
    /// is not that which they were written under. Kafka does so, and calls them stray. A topic that was deleted is known
    /// as such: its logs are removed.
    pub(super) fn set_strays_aside(&mut self, step: &mut Step<'_>) {
        let is_stray = |r: &&Replica| r.id() != LogId::METADATA && self.image.partition(r.id()).is_none();
        let strays = self.replicas().filter(|r| r.log().is_removable()).filter(is_stray);
        for log in strays.map(Replica::id).collect::<Vec<LogId>>() {
            let Some(mut replica) = self.replicas.remove(&log) else { continue };
            let reason =
                format!("no topic of this cluster has the id {}: its folder is set aside, as -stray", log.topic);
            step.out.push(Effect::Alarm { log, reason });
            replica.log_mut().set_aside(step.out);
            let before = self.removing.insert(log, replica);
            assert!(before.is_none(), "{log} is removed and set aside");
        }
    }
}

/// Why a log cannot be led at an epoch: no checksum covers a batch's leader epoch, and the metadata may be an old copy.
pub(super) fn from_later(name: &str, log: LogId, has: LeaderEpoch, leads: LeaderEpoch) -> String {
    let index = log.partition;
    format!(
        "{name}-{index} has batches of leader epoch {has}, and the metadata says that epoch {leads} begins: \
         one of them is damaged, or an old copy; put it right and restart, or delete the topic"
    )
}
