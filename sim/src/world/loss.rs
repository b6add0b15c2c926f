//! Declared loss: after everything was read back, the disk comes to harm, of which the atlas first says what may be lost;
//! then the broker starts again, and all of it is inspected.
//!
//! Properties, beside the history's: `only-what-was-harmed` (recovery refuses no other log, and no other broker), and
//! the two that [`super::inspector`] names. A broker whose own files are harmed refuses to start, with a reason; one
//! whose files are all gone starts as a new one and knows nothing; one that got the files of an earlier moment back
//! knows what it knew then.

use super::World;
use super::broker::State;
use super::ledger::Inspection;
use super::parameters::pick;
use crate::atlas::{Atlas, Loss, Lost};
use crate::disk::{Crash, Harm};
use crate::report::{Verdict, Violation};
use klamm_core::ids::LogId;
use klamm_core::rng::{self, Rng};

/// An inspection, and a start, may take so long, simulated milliseconds.
const INSPECTION_MS: u64 = 40_000;
const START_MS: u64 = 10_000;

/// What a round of harm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rot,
    Unreadable,
    LostWrite,
    Misdirected,
    LostFolder,
    Wipe,
    OldCopy,
}

impl World {
    /// Some rounds of harm; the last may be the end of all files.
    pub(super) fn losses(&mut self) -> Result<(), Verdict> {
        let mut rng = Rng::new(rng::draw(self.seed, "losses", 0));
        if !rng.one_in(2) {
            return Ok(());
        }
        self.ledger.declared.set(true);
        for _ in 0..1 + rng.below(3) {
            let kinds = [Kind::Rot, Kind::Rot, Kind::Unreadable, Kind::LostWrite, Kind::Misdirected, Kind::LostFolder];
            let kind = pick(&mut rng, &kinds);
            if !self.round(kind, &mut rng)? {
                return Ok(());
            }
        }
        match rng.below(4) {
            0 => self.round(Kind::Wipe, &mut rng).map(drop),
            1 | 2 => self.round(Kind::OldCopy, &mut rng).map(drop),
            _ => Ok(()),
        }
    }

    /// One round; tells whether the broker serves after it.
    fn round(&mut self, kind: Kind, rng: &mut Rng) -> Result<bool, Verdict> {
        let counted = |world: &World, what: &'static str| world.ledger.count(what, 1);
        counted(self, "harm drawn");
        let applied = match kind {
            Kind::Rot | Kind::Unreadable => self.spoil(kind, rng)?,
            Kind::LostWrite | Kind::Misdirected => self.lead_astray(kind, rng)?,
            Kind::LostFolder => self.lose_folder(rng),
            Kind::Wipe => {
                self.stop_dead(rng);
                self.ledger.count("disks wiped", 1);
                self.site.device.disk().harm(Harm::Wipe)
            }
            Kind::OldCopy => self.turn_back(rng),
        };
        counted(self, if applied { "harm applied" } else { "harm refused" });
        self.start_again(rng)?;
        if self.site.state.get() == State::Exited {
            return self.refuses();
        }
        self.inspect(if kind == Kind::Wipe { Inspection::Empty } else { Inspection::Whole })?;
        // What recovery has cut is cut; what it keeps although it is damaged stays so.
        for (at, offsets, marked) in self.ledger.at_stake.take() {
            if !marked {
                self.ledger.history.borrow_mut().is_settled(&at, &offsets);
            }
        }
        Ok(true)
    }

    /// The process is gone at once, or the machine.
    fn stop_dead(&mut self, rng: &mut Rng) {
        let crash = pick(rng, &[Crash::Kill, Crash::PowerLoss, Crash::PowerLoss]);
        self.stop_dead_by(crash);
    }

    fn stop_dead_by(&mut self, crash: Crash) {
        let now = self.now();
        self.nemesis.stop_dead(&mut self.sim, now, crash);
        // Whoever read it while it was still there knows of it again.
        for (at, offsets, _) in self.ledger.at_stake.borrow().iter() {
            self.ledger.history.borrow_mut().may_lose(at, offsets);
        }
    }

    /// Starts the broker, perhaps more than once; waits until it serves or has given up.
    fn start_again(&mut self, rng: &mut Rng) -> Result<(), Verdict> {
        loop {
            if self.site.state.get() == State::Exited {
                let now = self.now();
                self.nemesis.start_well(&mut self.sim, now);
            }
            let again = rng.one_in(4);
            let patience = if again { rng.below(60) } else { START_MS };
            let site = self.site.clone();
            let settled = self.steps_until(patience, false, |_, _| {
                matches!(site.state.get(), State::Serving) || site.failed.borrow().is_some()
            })?;
            if again {
                self.stop_dead(rng);
                continue;
            }
            if !settled {
                return Err(Verdict::Stuck("the broker neither serves nor ends after harm".to_owned()));
            }
            let site = self.site.clone();
            if site.failed.borrow().is_some() {
                self.steps_until(START_MS, false, |_, _| site.state.get() == State::Exited)?;
            }
            return Ok(());
        }
    }

    /// A byte of some file rots, or its sector cannot be read; on a disk at rest, or under a broker that serves.
    fn spoil(&mut self, kind: Kind, rng: &mut Rng) -> Result<bool, Verdict> {
        let at_rest = !rng.one_in(3);
        if at_rest {
            self.stop_dead(rng);
        }
        let atlas = Atlas::of(&self.site.device.disk());
        let files: Vec<(String, u64)> = self.site.device.disk().list_all();
        let files: Vec<_> = files.into_iter().filter(|(path, len)| *len > 0 && is_fair(path)).collect();
        if files.is_empty() {
            return Ok(false);
        }
        let (path, len) = pick(rng, &files);
        let at = rng.below(len);
        let (bytes, harm) = if kind == Kind::Rot {
            (at..at + 1, Harm::Rot { path: path.clone(), at, bits: 1 << rng.below(8) })
        } else {
            let sector = self.parameters.disk.sector as u64;
            let start = at - at % sector;
            (start..start + sector, Harm::Unreadable { path: path.clone(), at })
        };
        let loss = if kind == Kind::Rot { atlas.loss(&path, bytes) } else { atlas.loss_unread(&path, bytes) };
        if !self.declare(&loss) {
            return Ok(false);
        }
        self.site.trace.borrow_mut().event(self.now(), format!("{harm:?}: {loss:?}"));
        let applied = self.site.device.disk().harm(harm);
        self.ledger.count(if kind == Kind::Rot { "bytes rotten" } else { "sectors unreadable" }, u64::from(applied));
        if !at_rest {
            // What recovery would refuse is served as long as it runs; then it dies, and does.
            self.inspect(Inspection::Whole)?;
            self.stop_dead(rng);
        }
        Ok(applied)
    }

    /// The next write of some log is lost, or goes elsewhere, and is acknowledged; then power is lost.
    fn lead_astray(&mut self, kind: Kind, rng: &mut Rng) -> Result<bool, Verdict> {
        let atlas = Atlas::of(&self.site.device.disk());
        let folders = atlas.folders().iter().filter(|folder| folder.log != LogId::METADATA);
        let folders: Vec<_> = folders.filter_map(|folder| folder.files().next_back()).collect();
        if folders.is_empty() {
            self.stop_dead(rng);
            return Ok(false);
        }
        let (path, len) = pick(rng, &folders);
        let path = path.to_owned();
        let harm = match kind {
            Kind::Misdirected => Harm::Misdirect { path, to: rng.below(len.max(1)) },
            _ => Harm::LoseWrite { path },
        };
        self.site.trace.borrow_mut().event(self.now(), format!("{harm:?}"));
        self.site.device.disk().harm(harm);
        // Every partition takes a record: one of them is not where it should be.
        self.inspect(Inspection::Whole)?;
        let hits = self.site.device.disk().take_hits();
        let atlas = Atlas::of(&self.site.device.disk());
        for (path, hit) in &hits {
            let loss = atlas.loss(path, hit.bytes.start as u64..hit.bytes.end as u64);
            self.site.trace.borrow_mut().event(self.now(), format!("{path} {:?} went astray: {loss:?}", hit.bytes));
            self.declare(&loss);
        }
        self.stop_dead_by(Crash::PowerLoss);
        self.ledger.count("writes astray", u64::from(!hits.is_empty()));
        Ok(!hits.is_empty())
    }

    /// Somebody removes a log's folder.
    fn lose_folder(&mut self, rng: &mut Rng) -> bool {
        self.stop_dead(rng);
        let atlas = Atlas::of(&self.site.device.disk());
        let folders: Vec<_> = atlas.folders().iter().filter(|folder| folder.log != LogId::METADATA).collect();
        if folders.is_empty() {
            return false;
        }
        let folder = pick(rng, &folders);
        self.declare(&Loss::Records(folder.whole()));
        self.ledger.count("folders lost", 1);
        self.site.trace.borrow_mut().event(self.now(), format!("{} is gone", folder.name));
        self.site.device.disk().harm(Harm::RemoveTree { path: folder.name.clone() })
    }

    /// The files of an earlier moment come back.
    fn turn_back(&mut self, rng: &mut Rng) -> bool {
        self.stop_dead(rng);
        let Some((image, then)) = self.nemesis.copy.take() else { return false };
        self.site.trace.borrow_mut().event(self.now(), "an old copy comes back".to_owned());
        let back = self.ledger.history.borrow().back_at(&then);
        *self.ledger.history.borrow_mut() = back;
        // That disk was well.
        self.ledger.harmed.borrow_mut().clear();
        self.ledger.at_stake.take();
        self.ledger.count("old copies", 1);
        self.site.device.disk().harm(Harm::Restore(image))
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
        let mut harmed = self.ledger.harmed.borrow_mut();
        match loss {
            Loss::Nothing => {}
            Loss::Everything => return false,
            Loss::Broker => self.ledger.broker_harmed.set(true),
            Loss::Log(log) => drop(harmed.entry(*log).or_default()),
            Loss::Name(log) => {
                harmed.entry(*log).or_default();
                self.ledger.broker_harmed.set(true);
            }
            Loss::Records(lost @ Lost { log, .. }) => {
                let it = harmed.entry(*log).or_default();
                it.lost.push(lost.clone());
                let mut history = self.ledger.history.borrow_mut();
                let life = history.life(log.topic).map(|(life, _)| life.clone());
                if let Some(life) = life {
                    let at = (life, log.partition);
                    it.known |= lost.marked && history.knows(&at, &lost.offsets);
                    history.may_lose(&at, &lost.offsets);
                    self.ledger.at_stake.borrow_mut().push((at, lost.offsets.clone(), lost.marked));
                }
            }
        }
        true
    }

    /// The broker has ended by itself: it must have a reason.
    fn refuses(&mut self) -> Result<bool, Verdict> {
        let why = self.site.failed.borrow().clone().unwrap_or_default();
        if self.ledger.broker_harmed.get() && !why.is_empty() {
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

/// Whether anybody can tell what a file's harm does. A time index has no checksum (it is Kafka's format): an answer by
/// time may then be a wrong one.
fn is_fair(path: &str) -> bool {
    !path.ends_with(".timeindex")
}
