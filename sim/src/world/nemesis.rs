//! What goes wrong, done: the broker's process is killed or loses power, stops in order, its disk falls ill, its links
//! are cut or stand still, and what its disk holds comes to harm. Faults come from a [`Plan`], or from a book of
//! decisions that is replayed.
//!
//! Every subset of faults is a legal run: who is dead cannot be killed (but the machine around it can still lose power),
//! links that are cut cannot be cut, and the atlas is asked each time what harm may be done. Such a fault is refused.

use super::broker::{Site, State};
use super::ledger::Ledger;
use super::parameters::{MS, Parameters};
use super::plan::{Plan, is_fair};
use crate::atlas::{Atlas, Loss};
use crate::client::BROKER;
use crate::decisions::{Fault, Kind};
use crate::dice::Dice;
use crate::disk::{Crash, Harm, Image};
use crate::history::History;
use std::collections::VecDeque;
use std::rc::Rc;
use turmoil::Sim;

/// The clients' name in the simulation.
pub(super) const CLIENTS: &str = "clients";

/// Keys of crashes that are no faults of the plan: after an exit, at the end, in rounds of declared losses.
const EXITS: u64 = 1 << 40;
const LAST: u64 = 2 << 40;
pub(super) const ROUNDS: u64 = 3 << 40;

/// What is wrong with the links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    Fine,
    /// Messages are lost, until this time; which of them the kind of cut says.
    Cut(u64, Kind),
    /// Messages wait, until this time.
    Held(u64),
}

/// Where faults come from.
enum Source {
    Drawn(Box<Plan>),
    /// By time.
    Told(VecDeque<Fault>),
}

/// The disk has only so much room.
struct Full {
    until: u64,
    capacity: u64,
    /// Operations that had failed for that before.
    before: u64,
}

/// What a fault came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// It could not be, or was not allowed to.
    Refused,
    /// Nobody noticed.
    Applied,
    /// Something was under way, or something was lost.
    Effective,
}

impl Came {
    fn when(effective: bool) -> Came {
        if effective { Came::Effective } else { Came::Applied }
    }
}

pub(super) struct Nemesis {
    dice: Dice,
    parameters: Rc<Parameters>,
    site: Rc<Site>,
    ledger: Rc<Ledger>,
    source: Source,
    /// The broker is down until this time.
    down: Option<u64>,
    links: Links,
    /// The broker stands still until this time.
    still: Option<u64>,
    full: Option<Full>,
    /// It has room again sooner than it would have: until then nobody may have noticed yet.
    roomy: Option<Full>,
    /// No more faults.
    healed: bool,
    /// When a copy of the disk is made; and that, with what clients knew then.
    copies_at: u64,
    pub(super) copy: Option<(Box<Image>, Box<History>)>,
    /// Who loses power finds a bit of its log flipped: a promise that this world breaks on purpose.
    pub(super) rots_at_power_loss: bool,
}

impl Nemesis {
    pub(super) fn new(dice: Dice, parameters: Rc<Parameters>, site: Rc<Site>, ledger: Rc<Ledger>) -> Nemesis {
        let source = match dice.book().told() {
            Some(faults) => Source::Told(faults.into_iter().filter(|fault| !fault.declared).collect()),
            None => Source::Drawn(Box::new(Plan::new(dice.clone(), parameters.clone()))),
        };
        Nemesis {
            dice,
            parameters,
            site,
            ledger,
            source,
            down: None,
            links: Links::Fine,
            still: None,
            full: None,
            roomy: None,
            healed: false,
            copies_at: u64::MAX,
            copy: None,
            rots_at_power_loss: false,
        }
    }

    /// Faults begin after this.
    pub(super) fn begin(&mut self, now: u64) {
        if let Source::Drawn(plan) = &mut self.source {
            plan.begin(now);
        }
        self.copies_at = now + self.parameters.copied_ms * MS;
        self.behave();
    }

    /// Does what is due.
    pub(super) fn act(&mut self, sim: &mut Sim<'_>, now: u64) {
        self.mend_links(sim, now, false);
        self.go_on(now, false);
        self.make_room(now, false);
        self.use_room(now);
        if self.copies_at <= now {
            self.copies_at = u64::MAX;
            let image = self.site.device.disk().image(now);
            self.copy = Some((Box::new(image), Box::new(self.ledger.history.borrow().clone())));
        }
        match self.down {
            Some(until) if until <= now => self.start(sim, now),
            None if self.site.state.get() == State::Exited => self.exited(sim, now),
            Some(_) | None => {}
        }
        for fault in self.due(now) {
            let came = self.befall(sim, now, &fault);
            self.ledger.came(fault.kind, came);
        }
    }

    /// Ends all faults with a last crash, after which everything must work.
    pub(super) fn heal(&mut self, sim: &mut Sim<'_>, now: u64) {
        self.healed = true;
        self.ledger.go_on();
        self.mend_links(sim, now, true);
        self.make_room(now, true);
        if self.down.is_none() {
            let power = self.dice.fate("last is power", 0, 0, || self.dice.below("last is power", 0, 3));
            self.crash(sim, now, if power > 0 { Crash::PowerLoss } else { Crash::Kill }, (LAST, 0));
        }
        self.start(sim, now);
    }

    /// Ends the process at once, or the machine.
    pub(super) fn stop_dead(&mut self, sim: &mut Sim<'_>, now: u64, crash: Crash, key: u64) {
        self.crash(sim, now, crash, (ROUNDS | key, 0));
    }

    /// Starts it again.
    pub(super) fn start(&mut self, sim: &mut Sim<'_>, now: u64) {
        self.down = None;
        sim.bounce(BROKER);
        if let Source::Drawn(plan) = &mut self.source {
            plan.started(now, self.ledger.history.borrow().acknowledgements());
        }
        self.behave();
    }

    /// The faults whose time has come.
    fn due(&mut self, now: u64) -> Vec<Fault> {
        let down = self.down.is_some() || self.site.state.get() == State::Exited;
        let book = self.dice.book();
        match &mut self.source {
            Source::Drawn(plan) => {
                let ill = plan.ill;
                let due = plan.due(now, down, &self.site, self.ledger.history.borrow().acknowledgements());
                due.iter().for_each(|fault| book.drew(fault));
                if plan.ill != ill {
                    self.behave();
                }
                due
            }
            Source::Told(told) => {
                let upto = told.iter().take_while(|fault| fault.at <= now).count();
                let due: Vec<Fault> = told.drain(..upto).collect();
                due.iter().for_each(|fault| book.happened(fault));
                due
            }
        }
    }

    /// One of them comes about.
    fn befall(&mut self, sim: &mut Sim<'_>, now: u64, fault: &Fault) -> Came {
        match fault.kind {
            Kind::Kill if self.is_down() => Came::Refused,
            Kind::PowerLoss if self.is_down() => Came::when(self.lose_cache(now, fault.n)),
            Kind::Kill => Came::when(self.crash(sim, now, Crash::Kill, (fault.n, fault.down))),
            Kind::PowerLoss => Came::when(self.crash(sim, now, Crash::PowerLoss, (fault.n, fault.down))),
            Kind::Stop => self.stop(now),
            Kind::Cut | Kind::CutUp | Kind::CutDown | Kind::Hold => self.break_links(sim, now, fault),
            Kind::Full => self.fill(now, fault),
            Kind::Room if self.full.is_none() => Came::Refused,
            // Whether anybody noticed is known when something stands there for which there was no room.
            Kind::Room => {
                self.roomy = self.make_room(now, true);
                Came::Applied
            }
            Kind::Evict => {
                let seed = self.dice.bits("evict", fault.n);
                let evicted = self.site.device.disk().harm(Harm::Evict { seed });
                self.ledger.count("evictions of what was never written", u64::from(evicted));
                Came::when(evicted)
            }
            Kind::Rot | Kind::Unreadable => self.spoil(now, fault),
            Kind::Pause if self.is_down() || self.still.is_some() => Came::Refused,
            // Whether anybody noticed is known when it goes on.
            Kind::Pause => {
                self.event(now, &format!("stands still for {} ms", fault.down / MS));
                self.ledger.count("pauses", 1);
                self.site.still.stand();
                self.still = Some(now + fault.down);
                Came::Applied
            }
            Kind::PauseClients => {
                self.event(now, &format!("clients stood still for {} ms", fault.down / MS));
                self.ledger.count("clients that stand still", 1);
                self.ledger.stand_still(now + fault.down, &self.dice, fault.n);
                Came::when(self.ledger.wire.waiting() > 0)
            }
            Kind::ClockStep if self.is_down() => Came::Refused,
            Kind::ClockStep => {
                self.event(now, &format!("the wall clock is set, {} ms off", fault.amount));
                self.ledger.count("steps of the wall clock", 1);
                self.site.steps.borrow().set_wall(fault.amount);
                Came::when(self.site.state.get() == State::Serving)
            }
            // Those cost records: they have their time once all was read back.
            Kind::LoseWrite | Kind::Misdirect | Kind::LoseFolder | Kind::Wipe | Kind::OldCopy => Came::Refused,
            // And this one is not this engine's.
            Kind::Slow => Came::Refused,
        }
    }

    fn is_down(&self) -> bool {
        self.down.is_some()
    }

    fn event(&self, now: u64, what: &str) {
        self.site.trace.borrow_mut().event(now, what.to_owned());
    }

    /// Has the disk be as ill, and as full, as it is. Where errors are told it is always ill: no other one comes about.
    fn behave(&self) {
        let ill = !self.healed
            && match &self.source {
                Source::Drawn(plan) => plan.ill,
                Source::Told(_) => true,
            };
        let mut parameters = if ill { self.parameters.ill_disk() } else { self.parameters.disk.clone() };
        parameters.capacity = self.full.as_ref().map(|full| full.capacity);
        self.site.device.disk().set_parameters(parameters);
    }

    /// The process has ended: by order, or since it could not go on. Somebody starts it again.
    fn exited(&mut self, sim: &mut Sim<'_>, now: u64) {
        let life = self.site.lives();
        let power = self.dice.mishap("power after an exit", life, 3);
        let ms = self.dice.fate("down after an exit", life, 20, || self.dice.pick("down", EXITS | life, &[1, 20, 200]));
        self.crash(sim, now, if power { Crash::PowerLoss } else { Crash::Kill }, (EXITS | life, ms * MS));
    }

    /// The process dies, or the machine; tells whether anything was under way, or lost.
    fn crash(&mut self, sim: &mut Sim<'_>, now: u64, crash: Crash, (key, down): (u64, u64)) -> bool {
        // A cut outlives it; what is held arrives.
        let cut = if let Links::Cut(_, kind) = self.links { Some(kind) } else { None };
        self.ledger.count("crashes while cut off", u64::from(cut.is_some()));
        if cut.is_none() {
            self.mend_links(sim, now, true);
        }
        self.go_on(now, true);
        self.event(now, if crash == Crash::Kill { "killed" } else { "lost power" });
        self.ledger.count(if crash == Crash::Kill { "kills" } else { "power losses" }, 1);
        self.ledger.count("crashes in recovery", u64::from(self.site.state.get() == State::Starting));
        let unsynced = self.site.device.disk().unsynced();
        self.ledger.count("power losses with unsynced data", u64::from(crash == Crash::PowerLoss && unsynced > 0));
        // What the process still does while it dies reaches neither disk nor, without power, its peers.
        let effective = self.end_life(crash, key);
        if crash == Crash::PowerLoss {
            sim.partition(BROKER, CLIENTS);
        }
        sim.crash(BROKER);
        if crash == Crash::PowerLoss {
            sim.repair(BROKER, CLIENTS);
            cut.into_iter().for_each(|kind| cut_links(sim, kind));
        }
        self.site.state.set(State::Exited);
        if let Source::Drawn(plan) = &mut self.source {
            plan.crashed();
        }
        self.behave();
        self.down = Some(now + down);
        effective
    }

    /// The machine loses power while the broker is down.
    fn lose_cache(&self, now: u64, key: u64) -> bool {
        self.event(now, "then lost power");
        self.ledger.count("power losses", 1);
        self.end_life(Crash::PowerLoss, key)
    }

    /// What becomes of the disk; tells whether that made a difference.
    fn end_life(&self, crash: Crash, key: u64) -> bool {
        let effects = || {
            let counts = *self.site.device.disk().counts();
            counts.kills.effective + counts.power_losses.effective
        };
        let before = effects();
        self.site.device.crash(crash, self.dice.bits("crash", key));
        if crash == Crash::PowerLoss && self.rots_at_power_loss {
            let files = self.site.device.disk().list_all();
            let longest = files.into_iter().filter(|(path, _)| path.ends_with(".log")).max_by_key(|(_, len)| *len);
            if let Some((path, len)) = longest {
                self.site.device.disk().harm(Harm::Rot { path, at: len / 2, bits: 1 });
            }
        }
        effects() > before
    }

    fn stop(&self, now: u64) -> Came {
        if self.site.state.get() != State::Serving {
            return Came::Refused;
        }
        self.event(now, "told to stop");
        self.ledger.count("clean stops", 1);
        self.site.stop();
        Came::when(self.ledger.wire.waiting() > 0)
    }

    fn break_links(&mut self, sim: &mut Sim<'_>, now: u64, fault: &Fault) -> Came {
        if self.links != Links::Fine || self.is_down() {
            return Came::Refused;
        }
        let until = now + fault.down;
        let (event, counter) = match fault.kind {
            Kind::Cut => ("links cut", "cuts"),
            Kind::CutUp => ("links cut upwards", "cuts upwards only"),
            Kind::CutDown => ("links cut downwards", "cuts downwards only"),
            _ => ("links held", "holds"),
        };
        self.event(now, event);
        self.ledger.count(counter, 1);
        self.links = if fault.kind == Kind::Hold {
            sim.hold(BROKER, CLIENTS);
            Links::Held(until)
        } else {
            cut_links(sim, fault.kind);
            Links::Cut(until, fault.kind)
        };
        Came::when(self.ledger.wire.waiting() > 0)
    }

    /// Ends what is wrong with the links, if its time has come or `at_once`.
    fn mend_links(&mut self, sim: &mut Sim<'_>, now: u64, at_once: bool) {
        match self.links {
            Links::Cut(until, _) if at_once || until <= now => sim.repair(BROKER, CLIENTS),
            Links::Held(until) if at_once || until <= now => sim.release(BROKER, CLIENTS),
            Links::Fine | Links::Cut(..) | Links::Held(_) => return,
        }
        self.links = Links::Fine;
        self.event(now, "links mended");
    }

    /// The broker does not stand still any more, if its time has come or `at_once`, since it dies.
    fn go_on(&mut self, now: u64, at_once: bool) {
        if self.still.take_if(|until| at_once || *until <= now).is_some() {
            if !at_once {
                self.event(now, "goes on");
            }
            let missed = self.ledger.wire.waiting() > 0;
            self.ledger.tally(Kind::Pause.name(), |tally| tally.effective += u64::from(missed));
            self.site.still.go_on();
        }
    }

    /// Whether anybody noticed is known when there is room again.
    fn fill(&mut self, now: u64, fault: &Fault) -> Came {
        if self.full.is_some() {
            return Came::Refused;
        }
        let capacity = self.site.device.disk().used() + fault.amount.unsigned_abs();
        let before = self.site.device.disk().counts().full;
        self.full = Some(Full { until: now + fault.down, capacity, before });
        self.behave();
        Came::Applied
    }

    /// There is room again, if its time has come or `at_once`; gives what there was instead.
    fn make_room(&mut self, now: u64, at_once: bool) -> Option<Full> {
        let full = self.full.take_if(|full| at_once || full.until <= now)?;
        let refused = self.site.device.disk().counts().full > full.before;
        self.ledger.tally(Kind::Full.name(), |tally| tally.effective += u64::from(refused));
        self.behave();
        Some(full)
    }

    /// Looks whether anybody has used the room that there is sooner than there would have been.
    fn use_room(&mut self, now: u64) {
        let Some(full) = self.roomy.take_if(|full| full.until <= now || full.capacity < self.site.device.disk().used())
        else {
            return;
        };
        let used = full.until > now;
        self.ledger.tally(Kind::Room.name(), |tally| tally.effective += u64::from(used));
    }

    /// A bit rots, or its sector cannot be read, if nothing is lost by that.
    fn spoil(&self, now: u64, fault: &Fault) -> Came {
        self.ledger.count("harm drawn", 1);
        let harm = harm(fault, self.parameters.disk.sector as u64);
        let atlas = Atlas::of(&self.site.device.disk());
        let is_there = self.site.device.disk().list_all().iter().any(|(path, len)| holds(fault, path, *len));
        let loss = harm.as_ref().map(|harmed| harmed.loss(&atlas)).filter(|_| is_there);
        let (Some(Harmed { harm, .. }), Some(Loss::Nothing)) = (harm, loss) else {
            self.ledger.count("harm refused", 1);
            return Came::Refused;
        };
        self.event(now, &format!("{harm:?}"));
        let applied = self.site.device.disk().harm(harm);
        self.ledger.count("harm applied", 1);
        self.ledger.count("harm to what is made anew", u64::from(applied));
        Came::when(applied)
    }
}

/// From now on messages are lost: of clients, of the broker, or all.
fn cut_links(sim: &Sim<'_>, kind: Kind) {
    match kind {
        Kind::CutUp => sim.partition_oneway(CLIENTS, BROKER),
        Kind::CutDown => sim.partition_oneway(BROKER, CLIENTS),
        _ => sim.partition(BROKER, CLIENTS),
    }
}

/// Harm to a file, and the bytes that it concerns.
pub(super) struct Harmed {
    pub(super) harm: Harm,
    path: String,
    bytes: std::ops::Range<u64>,
}

impl Harmed {
    /// What it costs.
    pub(super) fn loss(&self, atlas: &Atlas) -> Loss {
        match self.harm {
            Harm::Unreadable { .. } => atlas.loss_unread(&self.path, self.bytes.clone()),
            _ => atlas.loss(&self.path, self.bytes.clone()),
        }
    }
}

/// What a fault does to a file; `None` if it is none that does.
pub(super) fn harm(fault: &Fault, sector: u64) -> Option<Harmed> {
    let (path, amount) = (fault.target.clone(), fault.amount.unsigned_abs());
    match fault.kind {
        Kind::Rot => {
            let (at, bits) = (amount / 8, 1 << (amount % 8));
            Some(Harmed { harm: Harm::Rot { path: path.clone(), at, bits }, path, bytes: at..at + 1 })
        }
        Kind::Unreadable => {
            let start = amount - amount % sector;
            let harm = Harm::Unreadable { path: path.clone(), at: amount };
            Some(Harmed { harm, path, bytes: start..start + sector })
        }
        _ => None,
    }
}

/// Whether a fault of a file hits one that is so long.
pub(super) fn holds(fault: &Fault, path: &str, len: u64) -> bool {
    let amount = fault.amount.unsigned_abs();
    let byte = if fault.kind == Kind::Rot { amount / 8 } else { amount };
    path == fault.target && byte < len && is_fair(fault.kind, path)
}
