//! What became of faults, by their kind. A fault is effective when what it hit could be seen: a crash as it comes, by what
//! was under way; what lasts for a while when the first message waits or is lost for it, the first event is kept back, the
//! first operation finds no room or takes longer; a clock that is set when a shard looks at it; an operation's error always,
//! since the shard is told and takes the log offline; harm when the atlas declares that something may be lost by it.

use std::collections::BTreeMap;

use super::Sim;
use crate::decisions::{Fault, Kind};
use crate::report::Tally;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    of: BTreeMap<&'static str, Tally>,
    /// Came about, and nobody has noticed yet: by the number of the fault.
    unseen: BTreeMap<u64, Kind>,
}

impl Tallies {
    /// A fault that was drawn came about, if it did, and at once to something, if it did.
    pub(super) fn came(&mut self, kind: Kind, effective: Option<bool>) {
        let tally = self.of.entry(kind.name()).or_default();
        tally.drawn += 1;
        tally.refused += u64::from(effective.is_none());
        tally.applied += u64::from(effective.is_some());
        tally.effective += u64::from(effective == Some(true));
    }

    /// Somebody may still notice it.
    fn is_unseen(&mut self, fault: &Fault) {
        self.unseen.insert(fault.n, fault.kind);
    }

    /// Somebody has noticed a fault.
    pub(super) fn seen(&mut self, n: u64) {
        if let Some(kind) = self.unseen.remove(&n) {
            self.of.entry(kind.name()).or_default().effective += 1;
        }
    }

    /// How many were refused, and how many effective.
    fn sums(&self) -> (u64, u64) {
        self.of.values().fold((0, 0), |(refused, effective), it| (refused + it.refused, effective + it.effective))
    }
}

impl Sim {
    /// What became of all faults, those of the disk's operations among them.
    pub(super) fn tallied(&mut self) -> BTreeMap<&'static str, Tally> {
        let seen = self.net.seen.iter().chain(&self.broker.disk.seen);
        seen.for_each(|n| self.tallies.seen(*n));
        let (refused, effective) = self.tallies.sums();
        self.counters.extend([("faults refused", refused), ("faults effective", effective)]);
        let disk = self.broker.disk.tally;
        let at_once = |n| Tally { drawn: n, applied: n, refused: 0, effective: n };
        // An operation that a crash overtook has taken no longer.
        let (drawn, sat_out) = (disk.stalls, disk.stalls_sat_out);
        let stalls = Tally { drawn, applied: sat_out, refused: drawn - sat_out, effective: sat_out };
        self.tallies.of.extend([
            ("write error", at_once(disk.write_errors)),
            ("sync error", at_once(disk.sync_errors)),
            ("recovery error", at_once(disk.recovery_errors)),
            ("disk stall", stalls),
        ]);
        std::mem::take(&mut self.tallies.of)
    }

    /// A fault that came about, and had no effect at once, may still have one.
    pub(super) fn came(&mut self, fault: &Fault, effective: Option<bool>) {
        self.tallies.came(fault.kind, effective);
        if effective == Some(false) {
            self.tallies.is_unseen(fault);
        }
    }
}
