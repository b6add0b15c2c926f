//! What the shards of a run were told and what they wanted, and when their broker died: to be held against another disk,
//! and against other shards.

use super::broker::Site;
use super::{World, conclude};
use crate::dice::Dice;
use crate::disk::Counts;
use crate::panics;
use crate::report::Report;
use klamm_core::effect::{Config, Effect, Input};
use klamm_core::ids::{Now, ShardIndex};
use klamm_core::shard::Shard;
use std::mem::{self, ManuallyDrop};

/// Something that happened to the broker.
#[derive(Clone, Debug)]
pub enum Taped {
    /// A shard of a new life is built with this; the first one ends the life before.
    Begins(Box<Config>),
    /// A shard took a step.
    Step {
        /// Which.
        shard: ShardIndex,
        /// When, by its clocks.
        now: Now,
        /// What it was told.
        input: Input,
        /// What it wanted.
        effects: Vec<Effect>,
    },
    /// The process died since the last step; of two deaths between two steps the one that takes more.
    Crash {
        /// The page cache died, too.
        power: bool,
    },
    /// From here on the run declares what may be lost: the disk comes to harm.
    Harmed,
}

/// A tape that runs.
#[derive(Debug, Default)]
pub(super) struct Tape {
    taped: Vec<Taped>,
    /// What the disk had counted at the last step.
    counted: Counts,
    harmed: bool,
}

impl Tape {
    /// Something happens; the disk tells whether the process died before it, the run whether nothing is declared yet.
    fn push(&mut self, counts: Counts, whole: bool, taped: Taped) {
        let died = |now: u64, before: u64| now > before;
        let power = died(counts.power_losses.drawn, self.counted.power_losses.drawn);
        if power || died(counts.kills.drawn, self.counted.kills.drawn) {
            self.taped.push(Taped::Crash { power });
        }
        self.counted = counts;
        if !whole && !mem::replace(&mut self.harmed, true) {
            self.taped.push(Taped::Harmed);
        }
        self.taped.push(taped);
    }
}

impl Site {
    /// Has the tape, if one runs, keep something.
    pub(super) fn tape(&self, taped: impl FnOnce() -> Taped) {
        if let Some(tape) = &mut *self.tape.borrow_mut() {
            tape.push(*self.device.disk().counts(), self.is_whole(), taped());
        }
    }
}

/// Runs a seed with a tape.
#[must_use]
pub fn taped(seed: u64) -> (Report, Vec<Taped>) {
    let watch = panics::watch();
    let world = ManuallyDrop::new(World::new(&Dice::blank(seed), seed, false, watch));
    let site = world.site.clone();
    site.tape.replace(Some(Tape::default()));
    let report = conclude(world, false);
    let tape = site.tape.take().unwrap_or_default();
    (report, tape.taped)
}

/// Has fresh shards take every step of a tape; gives how many there were.
///
/// # Errors
/// Where one wants something else than on the tape.
pub fn steps_again(tape: &[Taped]) -> Result<u64, String> {
    let mut shards: Vec<Shard> = Vec::new();
    let (mut steps, mut wants) = (0, Vec::new());
    for taped in tape {
        match taped {
            Taped::Begins(config) => {
                shards.truncate(usize::from(config.shard.0));
                shards.push(Shard::new(Config::clone(config)));
            }
            Taped::Crash { .. } | Taped::Harmed => {}
            Taped::Step { shard, now, input, effects } => {
                wants.clear();
                shards[usize::from(shard.0)].step(*now, input.clone(), &mut wants);
                let (ours, theirs) = (format!("{wants:?}"), format!("{effects:?}"));
                if ours != theirs {
                    return Err(format!("shard {} at {now:?}, told {input:?}: {ours}, but {theirs}", shard.0));
                }
                steps += 1;
            }
        }
    }
    Ok(steps)
}
