//! What goes wrong: the broker's process is killed or loses power, stops in order, its disk falls ill, its links are cut
//! or stand still. One fault soon after another, and in the middle of recovery, is what finds things. After a storm
//! comes a lull, until something was acknowledged: what never was cannot be lost.

use super::broker::{Site, State};
use super::ledger::Ledger;
use super::parameters::{MS, Parameters, pick};
use crate::atlas::{Atlas, Loss};
use crate::client::BROKER;
use crate::disk::{Crash, Harm, Image};
use crate::history::History;
use klamm_core::rng::Rng;
use std::rc::Rc;
use turmoil::Sim;

/// The clients' name in the simulation.
pub(super) const CLIENTS: &str = "clients";

/// A lull is over after so many milliseconds, whatever happened.
const LULL_MS: u64 = 3_000;

/// What is wrong with the links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    Fine,
    /// Messages are lost, until this time.
    Cut(u64),
    /// Messages wait, until this time.
    Held(u64),
}

pub(super) struct Nemesis {
    rng: Rng,
    parameters: Rc<Parameters>,
    site: Rc<Site>,
    ledger: Rc<Ledger>,
    /// When the next fault is due.
    next: u64,
    /// The broker is down until this time.
    down: Option<u64>,
    links: Links,
    /// Starts until the next lull.
    storm: u64,
    lull: Option<Lull>,
    /// Draws what befalls the disk's content and the clocks: apart from all else, and when that is due.
    own: Rng,
    harm_at: u64,
    /// When a copy of the disk is made; and that, with what clients knew then.
    copies_at: u64,
    pub(super) copy: Option<(Box<Image>, Box<History>)>,
}

/// Nothing goes wrong for a while.
struct Lull {
    /// It is over by this time at the latest,
    until: u64,
    /// and once there are more acknowledgements than these.
    acknowledged: u64,
}

impl Nemesis {
    pub(super) fn new(rng: Rng, parameters: Rc<Parameters>, site: Rc<Site>, ledger: Rc<Ledger>) -> Nemesis {
        Nemesis {
            own: Rng::new(rng.clone().draw() ^ 1),
            harm_at: u64::MAX,
            rng,
            parameters,
            site,
            ledger,
            next: 0,
            down: None,
            links: Links::Fine,
            storm: 1,
            lull: None,
            copies_at: u64::MAX,
            copy: None,
        }
    }

    /// Does what is due.
    pub(super) fn act(&mut self, sim: &mut Sim<'_>, now: u64) {
        self.mend_links(sim, now, false);
        if self.copies_at <= now {
            self.copies_at = u64::MAX;
            let image = self.site.device.disk().image(now);
            self.copy = Some((Box::new(image), Box::new(self.ledger.history.borrow().clone())));
        }
        if self.harm_at <= now {
            self.harm_at = now + self.own.below(2 * self.parameters.more.harm_ms * MS);
            self.befall(now);
        }
        match self.down {
            Some(until) if until <= now => self.start(sim, now),
            Some(_) => {}
            None if self.site.state.get() == State::Exited => self.exited(sim, now),
            None if self.lull.is_some() => self.wait_out(now),
            None if self.next <= now => self.fault(sim, now),
            None => {}
        }
    }

    /// Faults begin after this.
    pub(super) fn begin(&mut self, now: u64) {
        self.next = now + self.apart();
        self.ail();
        self.harm_at = now;
        self.copies_at = now + self.rng.clone().below(self.parameters.work_ms * MS);
    }

    /// Ends the process at once, or the machine, with a disk that is well from then on.
    pub(super) fn stop_dead(&mut self, sim: &mut Sim<'_>, now: u64, crash: Crash) {
        self.crash(sim, now, crash);
        self.site.device.disk().set_parameters(self.parameters.disk.clone());
    }

    /// Starts it again, and nothing else.
    pub(super) fn start_well(&mut self, sim: &mut Sim<'_>, now: u64) {
        self.start(sim, now);
        self.site.device.disk().set_parameters(self.parameters.disk.clone());
    }

    /// Ends all faults with a last crash, after which everything must work.
    pub(super) fn heal(&mut self, sim: &mut Sim<'_>, now: u64) {
        self.harm_at = u64::MAX;
        self.mend_links(sim, now, true);
        if self.down.is_none() {
            let crash = pick(&mut self.rng, &[Crash::Kill, Crash::PowerLoss, Crash::PowerLoss]);
            self.crash(sim, now, crash);
        }
        self.site.device.disk().set_parameters(self.parameters.disk.clone());
        self.start(sim, now);
    }

    /// Whether something was acknowledged since the lull began, or it took too long.
    fn wait_out(&mut self, now: u64) {
        let acknowledged = self.ledger.history.borrow().acknowledgements();
        if self.lull.as_ref().is_some_and(|lull| lull.until <= now || lull.acknowledged < acknowledged) {
            self.lull = None;
            self.next = now + self.apart();
            self.ail();
        }
    }

    fn apart(&mut self) -> u64 {
        self.rng.below(2 * self.parameters.faults.every_ms * MS)
    }

    fn event(&self, now: u64, what: &str) {
        self.site.trace.borrow_mut().event(now, what.to_owned());
    }

    /// The disk falls ill, or gets well.
    fn ail(&mut self) {
        let mut parameters = if self.rng.one_in(2) { self.parameters.disk.clone() } else { self.parameters.ill_disk() };
        let mut disk = self.site.device.disk();
        // Full, or nearly, until it is well again or retention has made room.
        parameters.capacity = self.parameters.more.room.filter(|_| self.own.one_in(4)).map(|room| disk.used() + room);
        disk.set_parameters(parameters);
    }

    /// Something befalls what the disk holds, or the clocks: nothing that any record is lost by.
    fn befall(&mut self, now: u64) {
        let more = self.parameters.more;
        match self.own.below(8) {
            0 | 1 if more.evicts => {
                let seed = self.own.draw();
                let evicted = self.site.device.disk().harm(Harm::Evict { seed });
                self.ledger.count("evictions of what was never written", u64::from(evicted));
            }
            2..=4 if more.rots => self.spoil(now),
            5 if more.pause_ms > 0 && self.own.one_in(4) && self.down.is_none() => {
                let ms = 1 + self.own.below(more.pause_ms);
                self.event(now, &format!("stood still for {ms} ms"));
                self.ledger.count("pauses", 1);
                self.site.steps.borrow().pause(ms * MS);
            }
            6 if more.steps && self.own.one_in(4) && self.down.is_none() => {
                let ms = self.own.below(7_200_000) as i64 - 3_600_000;
                self.event(now, &format!("the wall clock is set, {ms} ms off"));
                self.ledger.count("steps of the wall clock", 1);
                self.site.steps.borrow().set_wall(ms);
            }
            _ => {}
        }
    }

    /// A byte rots, or its sector cannot be read, if nothing is lost by that.
    fn spoil(&mut self, now: u64) {
        let files = self.site.device.disk().list_all();
        // Mostly where it may be done: else nearly all of them would be refused.
        let any = self.own.one_in(4);
        let fair = |(path, len): &(String, u64)| *len > 0 && (any || path.ends_with(".index"));
        let files: Vec<_> = files.into_iter().filter(fair).filter(|(path, _)| !path.ends_with(".timeindex")).collect();
        if files.is_empty() {
            return;
        }
        let (path, len) = pick(&mut self.own, &files);
        let at = self.own.below(len);
        let sector = self.parameters.disk.sector as u64;
        let start = at - at % sector;
        let (bytes, harm) = match self.own.one_in(3) {
            true => (start..start + sector, Harm::Unreadable { path: path.clone(), at }),
            false => (at..at + 1, Harm::Rot { path: path.clone(), at, bits: 1 << self.own.below(8) }),
        };
        self.ledger.count("harm drawn", 1);
        let atlas = Atlas::of(&self.site.device.disk());
        let rots = matches!(harm, Harm::Rot { .. });
        let loss = if rots { atlas.loss(&path, bytes) } else { atlas.loss_unread(&path, bytes) };
        if loss != Loss::Nothing {
            return self.ledger.count("harm refused", 1);
        }
        self.event(now, &format!("{harm:?}"));
        let applied = self.site.device.disk().harm(harm);
        self.ledger.count("harm applied", 1);
        self.ledger.count("harm to what is made anew", u64::from(applied));
    }

    fn start(&mut self, sim: &mut Sim<'_>, now: u64) {
        self.down = None;
        sim.bounce(BROKER);
        let soon = self.rng.one_in(self.parameters.faults.again);
        self.next = now + if soon { self.rng.below(100 * MS) } else { self.apart() };
        self.storm -= 1;
        if self.storm == 0 {
            self.storm = 1 + self.rng.below(self.parameters.faults.storm);
            self.lull =
                Some(Lull { until: now + LULL_MS * MS, acknowledged: self.ledger.history.borrow().acknowledgements() });
            self.site.device.disk().set_parameters(self.parameters.disk.clone());
        }
    }

    /// The process has ended: by order, or since it could not go on. Somebody starts it again.
    fn exited(&mut self, sim: &mut Sim<'_>, now: u64) {
        let crash = if self.rng.one_in(3) { Crash::PowerLoss } else { Crash::Kill };
        self.crash(sim, now, crash);
    }

    fn fault(&mut self, sim: &mut Sim<'_>, now: u64) {
        let faults = self.parameters.faults;
        let mut drawn = self.rng.below(faults.total());
        let mut is = |weight: u64| {
            let hit = drawn < weight;
            drawn = drawn.wrapping_sub(weight);
            hit
        };
        if is(faults.kill) {
            return self.crash(sim, now, Crash::Kill);
        }
        if is(faults.power_loss) {
            return self.crash(sim, now, Crash::PowerLoss);
        }
        if is(faults.clean_stop) {
            if self.site.state.get() == State::Serving {
                self.event(now, "told to stop");
                self.ledger.count("clean stops", 1);
                self.site.stop();
            }
        } else if self.links == Links::Fine {
            let until = now + (1 + self.rng.below(300)) * MS;
            if is(faults.cut) {
                self.event(now, "links cut");
                self.ledger.count("cuts", 1);
                sim.partition(BROKER, CLIENTS);
                self.links = Links::Cut(until);
            } else {
                self.event(now, "links held");
                self.ledger.count("holds", 1);
                sim.hold(BROKER, CLIENTS);
                self.links = Links::Held(until);
            }
        }
        self.next = now + self.apart();
    }

    fn crash(&mut self, sim: &mut Sim<'_>, now: u64, crash: Crash) {
        self.mend_links(sim, now, true);
        self.event(now, if crash == Crash::Kill { "killed" } else { "lost power" });
        self.ledger.count(if crash == Crash::Kill { "kills" } else { "power losses" }, 1);
        self.ledger.count("crashes in recovery", u64::from(self.site.state.get() == State::Starting));
        let unsynced = self.site.device.disk().unsynced();
        self.ledger.count("power losses with unsynced data", u64::from(crash == Crash::PowerLoss && unsynced > 0));
        // What the process still does while it dies reaches neither disk nor, without power, its peers.
        self.site.device.crash(crash, self.rng.draw());
        if crash == Crash::PowerLoss {
            sim.partition(BROKER, CLIENTS);
        }
        sim.crash(BROKER);
        if crash == Crash::PowerLoss {
            sim.repair(BROKER, CLIENTS);
        }
        if crash == Crash::Kill && self.rng.one_in(4) {
            self.event(now, "then lost power");
            self.ledger.count("power losses", 1);
            self.site.device.crash(Crash::PowerLoss, self.rng.draw());
        }
        self.site.state.set(State::Exited);
        self.ail();
        self.down = Some(now + pick(&mut self.rng, &[1, 20, 200]) * MS);
    }

    /// Ends what is wrong with the links, if its time has come or `at_once`.
    fn mend_links(&mut self, sim: &mut Sim<'_>, now: u64, at_once: bool) {
        match self.links {
            Links::Cut(until) if at_once || until <= now => sim.repair(BROKER, CLIENTS),
            Links::Held(until) if at_once || until <= now => sim.release(BROKER, CLIENTS),
            Links::Fine | Links::Cut(_) | Links::Held(_) => return,
        }
        self.links = Links::Fine;
        self.event(now, "links mended");
    }
}
