//! When logs whose records are not synced one by one are to be on the device (`flush.ms`).
//!
//! One timer a log: it rings at the first time that counted when it was set, and is set again if that has moved.

use alloc::collections::{BTreeMap, BTreeSet};

use super::{Shard, Step};
use crate::ids::{Instant, LogId};
use crate::replica::Replica;

/// The timers.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    by_time: BTreeSet<(Instant, LogId)>,
    armed: BTreeMap<LogId, Instant>,
}

impl Flushes {
    /// Sees to it that a log's timer rings in time.
    pub(super) fn arm(&mut self, replica: &Replica) {
        let Some(due) = replica.flush_due() else { return };
        let log = replica.id();
        match self.armed.get(&log) {
            Some(armed) if *armed <= due => return,
            Some(armed) => {
                self.by_time.remove(&(*armed, log));
            }
            None => {}
        }
        self.armed.insert(log, due);
        self.by_time.insert((due, log));
    }

    /// When the first one rings.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The next one that rings by now.
    fn ring(&mut self, now: Instant) -> Option<LogId> {
        let (at, log) = self.by_time.first().copied().filter(|(at, _)| *at <= now)?;
        self.by_time.remove(&(at, log));
        self.armed.remove(&log);
        Some(log)
    }
}

impl Shard {
    /// Flushes what is due.
    pub(super) fn flush(&mut self, step: &mut Step<'_>) {
        while let Some(log) = self.flushes.ring(step.now.monotonic) {
            let Some(replica) = self.replicas.get_mut(&log) else { continue };
            if replica.flush_due().is_some_and(|due| due <= step.now.monotonic) {
                replica.log_mut().flush(step.out);
            }
            self.flushes.arm(replica);
        }
    }
}
