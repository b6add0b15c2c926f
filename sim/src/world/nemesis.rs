//! What goes wrong: the broker's process is killed or loses power, stops in order, its disk falls ill, its links are cut
//! or stand still. One fault soon after another, and in the middle of recovery, is what finds things. After a storm
//! comes a lull, until something was acknowledged: what never was cannot be lost.

use super::broker::{Site, State};
use super::ledger::Ledger;
use super::parameters::{MS, Parameters, pick};
use crate::client::BROKER;
use crate::disk::Crash;
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
        Nemesis { rng, parameters, site, ledger, next: 0, down: None, links: Links::Fine, storm: 1, lull: None }
    }

    /// Does what is due.
    pub(super) fn act(&mut self, sim: &mut Sim<'_>, now: u64) {
        self.mend_links(sim, now, false);
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
    }

    /// Ends all faults with a last crash, after which everything must work.
    pub(super) fn heal(&mut self, sim: &mut Sim<'_>, now: u64) {
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
        let parameters = if self.rng.one_in(2) { self.parameters.disk.clone() } else { self.parameters.ill_disk() };
        self.site.device.disk().set_parameters(parameters);
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
