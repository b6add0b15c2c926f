//! What a run has declared as lost, by log: the oracles of both engines excuse that, and nothing else.

use std::collections::BTreeMap;

use klamm_core::ids::LogId;

use crate::atlas::{Loss, Lost};
use crate::history::{History, Partition};

/// What a log's files came to.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// What may be lost.
    pub lost: Vec<Lost>,
    /// Clients knew of something that was below the mark.
    pub known: bool,
}

/// All that was declared.
#[derive(Debug, Default)]
pub struct Harmed {
    /// Logs that were harmed.
    pub logs: BTreeMap<LogId, Declared>,
    /// So was what the broker cannot do without.
    pub broker: bool,
}

impl Harmed {
    /// What may be lost from now on, and of which partition, if clients know that; tells whether that may be done at all.
    pub fn declare(
        &mut self,
        loss: &Loss,
        partition: impl FnOnce(LogId, &History) -> Option<Partition>,
        history: &mut History,
    ) -> bool {
        match loss {
            Loss::Nothing => {}
            Loss::Everything => return false,
            Loss::Broker => self.broker = true,
            Loss::Log(log) => drop(self.logs.entry(*log).or_default()),
            Loss::Name(log) => {
                self.logs.entry(*log).or_default();
                self.broker = true;
            }
            Loss::Records(lost @ Lost { log, .. }) => {
                let it = self.logs.entry(*log).or_default();
                it.lost.push(lost.clone());
                if let Some(at) = partition(*log, history) {
                    it.known |= lost.marked && history.knows(&at, &lost.offsets);
                    history.may_lose(&at, &lost.offsets, lost.marked);
                }
            }
        }
        true
    }
}
