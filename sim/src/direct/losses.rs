//! Declared loss: after everything was read back, the disk comes to harm, of which it is first said what may be lost;
//! then the broker starts again, and all of it is inspected. The same as in `world`, with batches in place of bytes: at
//! rest, under a broker in use, or under producers at work.
//!
//! Properties, beside the history's: `only-what-was-harmed` (recovery refuses no broker but one whose own log is harmed),
//! and those that [`crate::workload::inspector`] names.

use klamm_core::ids::LogId;

use super::disk::{Harm, Image, Part};
use super::hired::Hired;
use super::params::{MS, SECOND};
use super::{Client, Event, PATIENCE, Phase, Sim};
use crate::atlas::{Loss, Lost};
use crate::decisions;
use crate::epochs::Epochs;
use crate::harmed::Harmed;
use crate::history::{History, Partition};
use crate::report::{Verdict, Violation};
use crate::workload::inspector::Inspector;
use crate::workload::is_mortal;
use crate::workload::producer::Producer;

/// Rounds of harm, at most, before the one that may be the end of all files.
const ROUNDS: u64 = 3;

/// Producers of a crowd, and how long they work under harm.
const CROWD: usize = 2;
const LOADS: [u64; 3] = [50 * MS, 500 * MS, 5 * SECOND];

/// Of these one comes in a round, by what was drawn for it, from 1 on; more is none.
const KINDS: [Kind; 5] = [Kind::Rot, Kind::Rot, Kind::Unreadable, Kind::LostWrite, Kind::LostFolder];

/// What a round of harm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rot,
    Unreadable,
    LostWrite,
    LostFolder,
    Wipe,
    OldCopy,
}

/// What was drawn for a round of harm comes to this fault, if to any.
pub(crate) fn harm(site: &str, drawn: u64) -> Option<decisions::Kind> {
    Kind::drawn(site, drawn).map(Kind::fault)
}

impl Kind {
    fn drawn(site: &str, drawn: u64) -> Option<Kind> {
        match (site, drawn) {
            ("harm", 1..) => KINDS.get(drawn as usize - 1).copied(),
            ("last harm", 1) => Some(Kind::Wipe),
            ("last harm", 2 | 3) => Some(Kind::OldCopy),
            _ => None,
        }
    }

    /// What it is counted as.
    fn fault(self) -> decisions::Kind {
        match self {
            Kind::Rot => decisions::Kind::Rot,
            Kind::Unreadable => decisions::Kind::Unreadable,
            Kind::LostWrite => decisions::Kind::LoseWrite,
            Kind::LostFolder => decisions::Kind::LoseFolder,
            Kind::Wipe => decisions::Kind::Wipe,
            Kind::OldCopy => decisions::Kind::OldCopy,
        }
    }
}

/// The files of a moment, and what was known then.
#[derive(Debug)]
pub(super) struct Copy {
    image: Image,
    history: Box<History>,
    epochs: Epochs,
}

impl Sim {
    /// The files are copied.
    pub(super) fn copy(&mut self) {
        let image = self.broker.disk.image();
        self.copy = Some(Copy { image, history: Box::new(self.history.clone()), epochs: self.epochs.clone() });
    }

    /// Some rounds of harm; the last may be the end of all files.
    pub(super) fn losses(&mut self) -> Result<(), Verdict> {
        self.phase = Phase::Losses;
        for round in 0..ROUNDS {
            let drawn = self.params.dice.more("harm", round, 2 * KINDS.len() as u64);
            if let Some(kind) = Kind::drawn("harm", drawn)
                && !self.round(kind, round)?
            {
                return Ok(());
            }
        }
        let last = Kind::drawn("last harm", self.params.dice.more("last harm", 0, 5));
        last.map_or(Ok(()), |kind| self.round(kind, ROUNDS).map(drop))
    }

    /// One round; tells whether the broker serves after it. What does harm tells whether something may be lost by it;
    /// `None`: there was nothing to harm.
    fn round(&mut self, kind: Kind, round: u64) -> Result<bool, Verdict> {
        self.count("harm drawn");
        let effective = match kind {
            Kind::Rot | Kind::Unreadable => self.spoil(kind, round)?,
            Kind::LostWrite => self.lose_write(round)?,
            Kind::LostFolder => self.lose_folder(round)?,
            Kind::Wipe => Some(self.wipe(round)?),
            Kind::OldCopy => self.turn_back(round)?,
        };
        self.count(if effective.is_some() { "harm applied" } else { "harm refused" });
        self.tallies.came(kind.fault(), effective);
        self.start_again(round)?;
        if !self.broker.is_up() {
            return self.refuses();
        }
        self.inspect(kind == Kind::Wipe)?;
        self.history.inspected();
        Ok(true)
    }

    /// The process is gone: at once, or in order; or the machine.
    fn stop_dead(&mut self, round: u64, turn: u64) -> Result<(), Verdict> {
        let (dice, key) = (self.params.dice.clone(), round << 8 | turn);
        let may_stop = self.params.stops && self.crowd.is_empty() && self.broker.is_serving();
        if may_stop && dice.mishap("stopped in order", key, 2) {
            self.phase_ends = self.now + PATIENCE;
            self.stop(1 << 23 | key, None);
            self.rest()?;
        }
        if self.broker.is_up() {
            self.stop_dead_by(!dice.mishap("stopped by a kill", key, 3), key);
        } else {
            self.history.dies();
        }
        Ok(())
    }

    fn stop_dead_by(&mut self, power: bool, key: u64) {
        let unsynced = if power { self.broker.disk.unsynced() } else { Vec::new() };
        for lost in unsynced {
            self.declare(&Loss::Records(lost));
        }
        self.crash(power, 1 << 23 | key);
        self.gone.extend(std::mem::take(&mut self.crowd));
        self.history.dies();
    }

    /// Starts the broker, perhaps more than once, and lets it come to rest.
    fn start_again(&mut self, round: u64) -> Result<(), Verdict> {
        let dice = self.params.dice.clone();
        self.phase_ends = self.now + PATIENCE;
        self.heap.push(self.now + MS, Event::Start);
        if dice.mishap("dies while it starts", round, 4) {
            self.rest_until(self.now + dice.pause("dies so soon", round, MS, SECOND))?;
            self.stop_dead(round, 9)?;
            self.heap.push(self.now + MS, Event::Start);
        }
        self.rest()
    }

    /// A batch rots, or cannot be read; on a disk at rest, or under a broker that serves.
    fn spoil(&mut self, kind: Kind, round: u64) -> Result<Option<bool>, Verdict> {
        let dice = self.params.dice.clone();
        let in_use = dice.mishap("harmed in use", round, 3);
        if !in_use {
            self.stop_dead(round, 1)?;
        }
        let harm = match kind {
            Kind::Rot => Harm::Rot(dice.bits("which bit", round)),
            _ if dice.mishap("header unreadable", round, 2) => Harm::Unreadable(Part::Header),
            _ => Harm::Unreadable(Part::Records),
        };
        let batches = self.broker.disk.batches_kept(in_use);
        if batches.is_empty() {
            return Ok(None);
        }
        let (log, index) = dice.pick("which batch", round, &batches);
        let loss = self.broker.disk.loss(log, index, harm);
        if !self.declare(&loss) {
            return Ok(None);
        }
        self.say(|| format!("batch {index} of {log}: {harm:?}: {loss:?}"));
        self.broker.disk.harm(log, index, harm);
        self.count(if kind == Kind::Rot { "batches rotten" } else { "batches unreadable" });
        if in_use {
            // What recovery would refuse is served as long as it runs; then it dies, and does.
            if !self.under_load(round)? {
                self.inspect(false)?;
            }
            self.stop_dead(round, 2)?;
        }
        Ok(Some(loss != Loss::Nothing))
    }

    /// The next write of some log is lost, or goes over what stands elsewhere, and is acknowledged; then power is lost, and
    /// with it the page cache, which has all as it should be.
    fn lose_write(&mut self, round: u64) -> Result<Option<bool>, Verdict> {
        let logs: Vec<LogId> = self.broker.disk.logs().filter(|log| *log != LogId::METADATA).collect();
        if logs.is_empty() {
            self.stop_dead(round, 3)?;
            return Ok(None);
        }
        let dice = self.params.dice.clone();
        let log = dice.pick("whose write is lost", round, &logs);
        let there = self.broker.disk.batches_on_device(log);
        let elsewhere = !there.is_empty() && dice.mishap("goes elsewhere", round, 2);
        let over = elsewhere.then(|| there.start + dice.more("goes where", round, there.len() as u64 - 1) as usize);
        let spoilt = Harm::Rot(dice.bits("which bit", round));
        self.broker.disk.lose_write(log);
        if !self.under_load(round)? {
            // Every partition takes a record: one of them is not where it should be.
            self.inspect(false)?;
        }
        let loss = self.broker.disk.lost_write(log);
        self.say(|| format!("a write of {log} was lost: {loss:?}"));
        let hit = loss.is_some();
        if let Some(loss) = &loss {
            self.declare(loss);
        }
        self.stop_dead_by(true, round << 8 | 4);
        // What it goes over is what the power has left there, below the mark that it has left.
        if let Some(index) = over.filter(|index| hit && self.broker.disk.batches_on_device(log).contains(index)) {
            let over_it = self.broker.disk.loss(log, index, spoilt);
            self.say(|| format!("it went over batch {index}: {over_it:?}"));
            self.declare(&over_it);
            self.broker.disk.harm(log, index, spoilt);
            self.count("writes that went elsewhere");
        } else if hit {
            self.count("writes lost");
        }
        Ok(Some(hit))
    }

    /// Somebody removes a log's folder.
    fn lose_folder(&mut self, round: u64) -> Result<Option<bool>, Verdict> {
        self.stop_dead(round, 5)?;
        let logs: Vec<LogId> = self.broker.disk.logs().filter(|log| *log != LogId::METADATA).collect();
        if logs.is_empty() {
            return Ok(None);
        }
        let log = self.params.dice.pick("whose folder is lost", round, &logs);
        self.declare(&Loss::Records(Lost { log, offsets: 0..i64::MAX, marked: true }));
        self.say(|| format!("the folder of {log} is gone"));
        self.broker.disk.lose_folder(log);
        self.count("folders lost");
        Ok(Some(true))
    }

    /// Everything is gone; tells whether there was anything.
    fn wipe(&mut self, round: u64) -> Result<bool, Verdict> {
        self.stop_dead(round, 0)?;
        let held = self.broker.disk.logs().next().is_some();
        self.broker.disk.wipe();
        self.epochs = Epochs::default();
        self.count("disks wiped");
        Ok(held)
    }

    /// The files of an earlier moment come back.
    fn turn_back(&mut self, round: u64) -> Result<Option<bool>, Verdict> {
        self.stop_dead(round, 6)?;
        let Some(Copy { image, history, epochs }) = self.copy.take() else { return Ok(None) };
        self.say(|| "an old copy comes back".to_owned());
        self.history = self.history.back_at(&history);
        self.epochs = epochs;
        // That disk was well.
        self.ledger.harmed = Harmed::default();
        self.broker.disk.restore(image, round);
        self.count("old copies");
        Ok(Some(true))
    }

    /// Now and then a crowd of producers works under the harm, until the machine is gone; tells whether it does.
    fn under_load(&mut self, round: u64) -> Result<bool, Verdict> {
        let dice = self.params.dice.clone();
        if !dice.mishap("under load", round, 2) {
            return Ok(false);
        }
        self.count("harm under load");
        let first = self.actors.len();
        self.crowd = first..first + CROWD;
        for _ in 0..CROWD {
            let (seed, habits) = (dice.bits("crowd", self.actors.len() as u64), self.params.producer());
            self.hire(|id, _| Box::new(Client::new(id, Hired::new(id, seed, Producer::new(seed, habits)))));
        }
        let lasts = dice.pick("load lasts", round, &LOADS);
        self.phase_ends = self.now + PATIENCE;
        self.rest_until(self.now + lasts)?;
        Ok(true)
    }

    /// Everybody is asked; what is asked must be answered.
    fn inspect(&mut self, empty: bool) -> Result<(), Verdict> {
        self.count("inspections");
        self.phase_ends = self.now + PATIENCE;
        let inspector = self.actors.len();
        let seed = self.params.dice.bits("inspector", inspector as u64);
        let role = Inspector::new(seed, &self.ledger.harmed, empty);
        self.hire(|id, _| Box::new(Client::new(id, Hired::new(id, seed, role))));
        self.rest()?;
        match self.actors[inspector].owes() {
            Some(who) => Err(Verdict::Stuck(format!("nothing is left to happen after harm, and {who}"))),
            None => Ok(()),
        }
    }

    /// What may be lost from now on; tells whether that may be done at all.
    fn declare(&mut self, loss: &Loss) -> bool {
        let disk = &self.broker.disk;
        self.ledger.harmed.declare(loss, |log, history| partition_of(disk.topic(log), log, history), &mut self.history)
    }

    /// The broker has ended by itself: it must have a reason.
    fn refuses(&mut self) -> Result<bool, Verdict> {
        if self.ledger.harmed.broker {
            self.count("brokers that refuse");
            return Ok(false);
        }
        Err(Verdict::Unsafe(Violation {
            property: "only-what-was-harmed",
            fact: "nothing was harmed that the broker cannot do without".to_owned(),
            contradiction: "it does not start".to_owned(),
        }))
    }
}

/// The partition that a log is of, as clients know it: some were never told its topic's id. `name`: its topic's.
fn partition_of(name: &str, log: LogId, history: &History) -> Option<Partition> {
    let is = |topic: &crate::history::Topic| topic.id.map_or(topic.name == name, |id| id == log.topic);
    let life = history.alive().find(|(_, topic)| is(topic)).map(|(life, _)| life.clone());
    // Nobody was told of a topic that a question about it has made.
    let life = life.or_else(|| (!name.is_empty() && !is_mortal(name)).then(|| name.to_owned()));
    life.map(|life| (life, log.partition))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::decisions::Book;
    use crate::direct::params::{Dice, Params};

    #[test]
    fn a_broker_that_ends_without_a_reason_is_found() {
        let mut sim = Sim::new(Params::of(&Dice::new(0, Rc::new(Book::Blank))), false);
        let Err(Verdict::Unsafe(violation)) = sim.refuses() else { panic!("it is found") };
        assert_eq!(violation.property, "only-what-was-harmed");
        assert!(sim.declare(&Loss::Broker));
        assert_eq!(sim.refuses(), Ok(false));
    }
}
