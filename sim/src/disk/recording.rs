//! What was asked of a simulated disk, in order, so that the disk after *any* prefix of it can be built again and made to
//! lose power: a test of recovery crashes at every point, and at each in as many ways as it likes.

use super::{Crash, Harm, Parameters, SimDisk, SimFile};
use klamm::host::Op;

/// Everything that changed a disk from the outside.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Submit { life: u64, now: u64, op: Op<SimFile> },
    TakeDue { now: u64 },
    Crash { crash: Crash, seed: u64 },
    Behave(Parameters),
    Harm(Harm),
}

/// The calls of one disk, from its beginning.
#[derive(Clone, Debug)]
pub struct Recording {
    seed: u64,
    parameters: Parameters,
    calls: Vec<Call>,
}

impl Recording {
    pub(super) fn new(seed: u64, parameters: Parameters) -> Recording {
        Recording { seed, parameters, calls: Vec::new() }
    }

    pub(super) fn push(&mut self, call: Call) {
        self.calls.push(call);
    }

    /// How many calls there are: operations submitted, rounds of operations ended, crashes, harm, changed parameters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether nothing was asked yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The disk after the first calls.
    #[must_use]
    pub fn replay(&self, calls: usize) -> SimDisk {
        let mut disk = SimDisk::new(self.seed, self.parameters.clone());
        for call in self.calls.iter().take(calls).cloned() {
            match call {
                Call::Submit { life, now, op } => drop(disk.submit(life, now, op)),
                Call::TakeDue { now } => drop(disk.take_due(now)),
                Call::Crash { crash, seed } => disk.crash(crash, seed),
                Call::Behave(parameters) => disk.set_parameters(parameters),
                Call::Harm(harm) => drop(disk.harm(harm)),
            }
        }
        disk
    }

    /// The disk when power was lost after the first calls; `seed` draws what survived.
    #[must_use]
    pub fn state_after(&self, calls: usize, seed: u64) -> SimDisk {
        let mut disk = self.replay(calls);
        disk.crash(Crash::PowerLoss, seed);
        disk
    }
}
