//! Declared loss: after everything was read back, the disk comes to harm, of which the atlas first says what may be lost;
//! then the broker starts again, and all of it is inspected. What a device does by itself it does at rest, under a broker
//! in use, or under producers at work; what operators do to a folder they do where no broker runs.
//!
//! Properties, beside the history's: `only-what-was-harmed` (recovery refuses no other log, and no other broker), and
//! those that [`crate::workload::inspector`] names. A broker whose own files are harmed refuses to start, with a reason; one
//! whose files are all gone starts as a new one and knows nothing; one that got the files of an earlier moment back
//! knows what it knew then.

use super::World;
use super::broker::State;
use super::ledger::Inspection;
use super::nemesis::{Came, harm, holds};
use super::plan::is_fair;
use crate::atlas::{Atlas, Loss};
use crate::decisions::{Fault, Kind};
use crate::disk::{Crash, Harm};
use crate::harmed::Harmed;
use crate::history::History;
use crate::report::{Verdict, Violation};
use klamm_core::ids::LogId;

/// An inspection, and a start, may take so long, simulated milliseconds.
const INSPECTION_MS: u64 = 40_000;
const START_MS: u64 = 10_000;

/// How long a crowd works under harm.
const LOADS_MS: [u64; 3] = [50, 300, 2_000];

/// The round after the others, which may be the end of all files.
const LAST: u64 = 9;

/// A round of harm.
#[derive(Clone, Debug)]
struct Round {
    /// Its number: the key of what it draws.
    n: u64,
    kind: Kind,
    /// What it hits, if that was told.
    told: Option<Fault>,
}

impl Round {
    /// The key of its i-th draw of a kind.
    fn key(&self, i: u64) -> u64 {
        self.n << 16 | i
    }
}

impl World {
    /// Some rounds of harm; the last may be the end of all files. Without any the broker ends in order.
    pub(super) fn losses(&mut self) -> Result<(), Verdict> {
        let rounds = self.rounds();
        if rounds.is_empty() {
            return self.ends_in_order();
        }
        self.ledger.declared.set(!rounds.is_empty());
        for round in rounds {
            if !self.round(&round)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// As told, or as drawn.
    fn rounds(&self) -> Vec<Round> {
        let dice = &self.dice;
        if let Some(told) = dice.book().told() {
            let declared = told.into_iter().filter(|fault| fault.declared);
            return declared.map(|fault| Round { n: fault.n, kind: fault.kind, told: Some(fault) }).collect();
        }
        if !dice.one_in("losses", 0, 2) {
            return Vec::new();
        }
        let kinds = [Kind::Rot, Kind::Rot, Kind::Unreadable, Kind::LoseWrite, Kind::Misdirect, Kind::LoseFolder];
        let kind = |n| Round { n, kind: dice.pick("loss", n, &kinds), told: None };
        let mut rounds: Vec<Round> = (0..dice.between("rounds", 0, 1, 3)).map(kind).collect();
        match dice.below("last loss", 0, 4) {
            0 => rounds.push(Round { n: LAST, kind: Kind::Wipe, told: None }),
            1 | 2 => rounds.push(Round { n: LAST, kind: Kind::OldCopy, told: None }),
            _ => {}
        }
        rounds
    }

    /// One round; tells whether the broker serves after it.
    fn round(&mut self, round: &Round) -> Result<bool, Verdict> {
        self.ledger.count("harm drawn", 1);
        let came = match round.kind {
            Kind::LoseWrite | Kind::Misdirect => self.lead_astray(round)?,
            Kind::LoseFolder => self.lose_folder(round),
            Kind::Wipe => self.wipe(round),
            Kind::OldCopy => self.turn_back(round),
            // Of the others only these are ever declared.
            _ => self.spoil(round)?,
        };
        self.ledger.came(round.kind, came);
        self.ledger.count(if came == Came::Refused { "harm refused" } else { "harm applied" }, 1);
        self.start_again(round)?;
        if self.site.state.get() == State::Exited {
            return self.refuses();
        }
        self.inspect(if round.kind == Kind::Wipe { Inspection::Empty } else { Inspection::Whole })?;
        self.ledger.history.borrow_mut().inspected();
        Ok(true)
    }

    /// What is hit: as told, or drawn now (nothing, if there is nothing) and written down.
    fn aim(&self, round: &Round, drawn: impl FnOnce() -> Option<(String, i64)>) -> Fault {
        let book = self.dice.book();
        if let Some(told) = &round.told {
            book.happened(told);
            return told.clone();
        }
        let (target, amount) = drawn().unwrap_or_default();
        let fault = Fault { target, amount, declared: true, ..Fault::new(self.now(), round.n, round.kind) };
        book.drew(&fault);
        fault
    }

    fn event(&self, what: String) {
        self.site.trace.borrow_mut().event(self.now(), what);
    }

    /// The process is gone at once, or the machine.
    fn stop_dead(&mut self, key: u64) {
        let power = self.dice.fate("stopped by power", key, 0, || self.dice.below("stopped by power", key, 3));
        self.stop_dead_by(if power > 0 { Crash::PowerLoss } else { Crash::Kill }, key);
    }

    fn stop_dead_by(&mut self, crash: Crash, key: u64) {
        let now = self.now();
        self.nemesis.stop_dead(&mut self.sim, now, crash, key);
        self.ledger.crowd.set(None);
        self.ledger.history.borrow_mut().dies();
    }

    /// Starts the broker, perhaps more than once; waits until it serves or has given up.
    fn start_again(&mut self, round: &Round) -> Result<(), Verdict> {
        for key in (0..).map(|i| round.key(2 + i)) {
            if self.site.state.get() == State::Exited {
                let now = self.now();
                self.nemesis.start(&mut self.sim, now);
            }
            let again = self.dice.mishap("dies while it starts", key, 4);
            let patience = if again { self.dice.pause("dies after", key, 0, 59) } else { START_MS };
            let site = self.site.clone();
            let settled = self.steps_until(patience, false, |_, _| {
                matches!(site.state.get(), State::Serving) || site.failed.borrow().is_some()
            })?;
            if again {
                self.stop_dead(key);
                continue;
            }
            if !settled {
                break;
            }
            let site = self.site.clone();
            if site.failed.borrow().is_some() {
                self.steps_until(START_MS, false, |_, _| site.state.get() == State::Exited)?;
            }
            return Ok(());
        }
        Err(Verdict::Stuck("the broker neither serves nor ends after harm".to_owned()))
    }

    /// A byte of some file rots, or its sector cannot be read; on a disk at rest, or under a broker that serves.
    fn spoil(&mut self, round: &Round) -> Result<Came, Verdict> {
        let in_use = self.dice.mishap("harmed in use", round.n, 3);
        if !in_use {
            self.stop_dead(round.key(0));
        }
        let files: Vec<(String, u64)> = self.site.device.disk().list_all();
        let files: Vec<_> = files.into_iter().filter(|(path, len)| *len > 0 && is_fair(round.kind, path)).collect();
        let fault = self.aim(round, || {
            let dice = &self.dice;
            let (path, len) = (!files.is_empty()).then(|| dice.pick("file lost", round.n, &files))?;
            let byte = dice.below("byte lost", round.n, len) as i64;
            let bit = dice.below("bit lost", round.n, 8) as i64;
            Some((path, if round.kind == Kind::Rot { 8 * byte + bit } else { byte }))
        });
        let atlas = Atlas::of(&self.site.device.disk());
        let harm = harm(&fault, self.parameters.disk.sector as u64);
        let harm = harm.filter(|_| files.iter().any(|(path, len)| holds(&fault, path, *len)));
        let Some(harmed) = harm else { return Ok(Came::Refused) };
        let loss = harmed.loss(&atlas);
        if !self.declare(&loss) {
            return Ok(Came::Refused);
        }
        self.event(format!("{:?}: {loss:?}", harmed.harm));
        let applied = self.site.device.disk().harm(harmed.harm);
        let rots = round.kind == Kind::Rot;
        self.ledger.count(if rots { "bytes rotten" } else { "sectors unreadable" }, u64::from(applied));
        if in_use {
            // What recovery would refuse is served as long as it runs; then it dies, and does.
            if !self.under_load(round)? {
                self.inspect(Inspection::Whole)?;
            }
            self.stop_dead(round.key(1));
        }
        Ok(if !applied { Came::Refused } else { came(&loss) })
    }

    /// The next write of some log is lost, or goes elsewhere, and is acknowledged; then power is lost.
    fn lead_astray(&mut self, round: &Round) -> Result<Came, Verdict> {
        let atlas = Atlas::of(&self.site.device.disk());
        let folders = atlas.folders().iter().filter(|folder| folder.log != LogId::METADATA);
        let folders: Vec<_> = folders.filter_map(|folder| folder.files().next_back()).collect();
        let fault = self.aim(round, || {
            let (path, len) = (!folders.is_empty()).then(|| self.dice.pick("log led astray", round.n, &folders))?;
            let to = if round.kind == Kind::Misdirect { self.dice.below("where to", round.n, len.max(1)) } else { 0 };
            Some((path.to_owned(), to as i64))
        });
        if folders.iter().all(|(path, _)| *path != fault.target) {
            self.stop_dead(round.key(0));
            return Ok(Came::Refused);
        }
        let (path, to) = (fault.target, fault.amount.unsigned_abs());
        let harm = if round.kind == Kind::Misdirect { Harm::Misdirect { path, to } } else { Harm::LoseWrite { path } };
        self.event(format!("{harm:?}"));
        self.site.device.disk().harm(harm);
        if !self.under_load(round)? {
            // Every partition takes a record: one of them is not where it should be.
            self.inspect(Inspection::Whole)?;
        }
        let mut atlas = Atlas::of(&self.site.device.disk());
        self.stop_dead_by(Crash::PowerLoss, round.key(0));
        atlas.keep_marks_of(&Atlas::of(&self.site.device.disk()));
        let hit = self.went_astray(&atlas);
        self.ledger.count("writes astray", u64::from(hit));
        Ok(if hit { Came::Effective } else { Came::Applied })
    }

    /// Declares what went astray; tells whether anything did.
    fn went_astray(&mut self, atlas: &Atlas) -> bool {
        let hits = self.site.device.disk().take_hits();
        for (path, hit) in &hits {
            let loss = atlas.loss(path, hit.bytes.start as u64..hit.bytes.end as u64);
            self.event(format!("{path} {:?} went astray: {loss:?}", hit.bytes));
            self.declare(&loss);
        }
        !hits.is_empty()
    }

    /// Somebody removes a log's folder.
    fn lose_folder(&mut self, round: &Round) -> Came {
        self.stop_dead(round.key(0));
        let atlas = Atlas::of(&self.site.device.disk());
        let folders: Vec<_> = atlas.folders().iter().filter(|folder| folder.log != LogId::METADATA).collect();
        let fault = self.aim(round, || {
            let folder = (!folders.is_empty()).then(|| self.dice.pick("folder lost", round.n, &folders))?;
            Some((folder.name.clone(), 0))
        });
        let Some(folder) = folders.into_iter().find(|folder| folder.name == fault.target) else { return Came::Refused };
        self.declare(&Loss::Records(folder.whole()));
        self.ledger.count("folders lost", 1);
        self.event(format!("{} is gone", folder.name));
        let applied = self.site.device.disk().harm(Harm::RemoveTree { path: folder.name.clone() });
        if applied { Came::Effective } else { Came::Refused }
    }

    /// Everything is gone.
    fn wipe(&mut self, round: &Round) -> Came {
        self.stop_dead(round.key(0));
        self.aim(round, || None);
        self.ledger.count("disks wiped", 1);
        if self.site.device.disk().harm(Harm::Wipe) { Came::Effective } else { Came::Applied }
    }

    /// The files of an earlier moment come back.
    fn turn_back(&mut self, round: &Round) -> Came {
        self.stop_dead(round.key(0));
        self.aim(round, || None);
        let Some((image, then)) = self.nemesis.copy.take() else { return Came::Refused };
        self.event("an old copy comes back".to_owned());
        let back = self.ledger.history.borrow().back_at(&then);
        *self.ledger.history.borrow_mut() = back;
        // That disk was well.
        self.ledger.harmed.replace(Harmed::default());
        self.ledger.count("old copies", 1);
        self.site.device.disk().harm(Harm::Restore(image));
        Came::Effective
    }

    /// Now and then a crowd of producers works under the harm, until the machine is gone; tells whether it does.
    fn under_load(&mut self, round: &Round) -> Result<bool, Verdict> {
        if !self.dice.mishap("under load", round.n, 2) {
            return Ok(false);
        }
        self.ledger.count("harm under load", 1);
        self.ledger.crowd.set(Some(round.n));
        let ms = self.dice.pick("load lasts", round.n, &LOADS_MS);
        self.steps_until(ms, false, |_, _| false)?;
        Ok(true)
    }

    fn inspect(&mut self, what: Inspection) -> Result<(), Verdict> {
        self.ledger.inspection.set(what);
        if !self.steps_until(INSPECTION_MS, false, |ledger, _| ledger.inspection.get() == Inspection::None)? {
            return Err(Verdict::Stuck(format!("the inspection waits for {}", self.ledger.waits_for.borrow())));
        }
        Ok(())
    }

    /// What may be lost from now on; tells whether that may be done at all.
    fn declare(&mut self, loss: &Loss) -> bool {
        let partition =
            |log: LogId, history: &History| history.life(log.topic).map(|(life, _)| (life.clone(), log.partition));
        let (mut harmed, mut history) = (self.ledger.harmed.borrow_mut(), self.ledger.history.borrow_mut());
        harmed.declare(loss, partition, &mut history)
    }

    /// The broker has ended by itself: it must have a reason.
    fn refuses(&mut self) -> Result<bool, Verdict> {
        let why = self.site.failed.borrow().clone().unwrap_or_default();
        if self.ledger.harmed.borrow().broker && !why.is_empty() {
            self.ledger.count("brokers that refuse", 1);
            return Ok(false);
        }
        Err(Verdict::Unsafe(Violation {
            property: "only-what-was-harmed",
            fact: "nothing was harmed that the broker cannot do without".to_owned(),
            contradiction: format!("it does not start: {why}"),
        }))
    }
}

/// What harm comes to that was done.
fn came(loss: &Loss) -> Came {
    if *loss == Loss::Nothing { Came::Applied } else { Came::Effective }
}
