//! What goes wrong in a world of which nobody said what does: faults drawn when their time comes, each by its number.
//!
//! One soon after another, and in the middle of recovery, is what finds things. After a storm comes a lull, until
//! something was acknowledged: what never was cannot be lost. Knows when, what and where; not what it comes to.

use super::broker::Site;
use super::parameters::{HOUR_MS, MS, Parameters};
use crate::decisions::{Fault, Kind};
use crate::dice::Dice;
use std::rc::Rc;

/// A lull is over after so many milliseconds, whatever happened.
const LULL_MS: u64 = 3_000;

/// Draws faults.
pub(super) struct Plan {
    dice: Dice,
    parameters: Rc<Parameters>,
    /// Faults so far, and times that one was due.
    faults: u64,
    gaps: u64,
    /// When the next one is due.
    next: u64,
    /// Starts so far, and left until the next lull.
    starts: u64,
    storm: u64,
    lull: Option<Lull>,
    /// When something befalls what the disk holds, or the clocks.
    harm_at: u64,
    /// How often the disk fell ill or got well, whether it is, and whether it is about to be full.
    turns: u64,
    pub(super) ill: bool,
    fills: bool,
    /// Until when it is full.
    full_until: u64,
    /// Before this time nobody stands still again: else hardly anybody would ever move.
    moves_until: u64,
}

/// Nothing goes wrong for a while.
struct Lull {
    /// It is over by this time at the latest,
    until: u64,
    /// and once there are more acknowledgements than these.
    acknowledged: u64,
}

impl Plan {
    pub(super) fn new(dice: Dice, parameters: Rc<Parameters>) -> Plan {
        Plan {
            dice,
            parameters,
            faults: 0,
            gaps: 0,
            next: 0,
            starts: 0,
            storm: 1,
            lull: None,
            harm_at: u64::MAX,
            turns: 0,
            ill: false,
            fills: false,
            full_until: 0,
            moves_until: 0,
        }
    }

    /// Faults begin after this.
    pub(super) fn begin(&mut self, now: u64) {
        self.rest(now);
        self.ail();
        self.harm_at = now;
    }

    /// The broker has crashed: its disk is another one, more or less.
    pub(super) fn crashed(&mut self) {
        self.ail();
    }

    /// The broker starts, with so many acknowledgements behind it.
    pub(super) fn started(&mut self, now: u64, acknowledged: u64) {
        let (n, faults) = (self.starts, self.parameters.faults);
        self.starts += 1;
        if self.dice.one_in("again", n, faults.again) {
            self.next = now + self.dice.below("again after", n, 100 * MS);
        } else {
            self.rest(now);
        }
        self.storm -= 1;
        if self.storm == 0 {
            self.storm = 1 + self.dice.below("storm", n, faults.storm);
            self.lull = Some(Lull { until: now + LULL_MS * MS, acknowledged });
            self.ill = false;
        }
    }

    /// What goes wrong now. `down`: the broker does not run.
    pub(super) fn due(&mut self, now: u64, down: bool, site: &Site, acknowledged: u64) -> Vec<Fault> {
        let mut due = Vec::new();
        if self.harm_at <= now {
            let n = self.number();
            self.harm_at = now + self.dice.below("harm gap", n, 2 * self.parameters.more.harm_ms * MS);
            let harm = self.harm(now, n, down, site);
            if let Some(still) = harm.iter().find(|fault| matches!(fault.kind, Kind::Pause | Kind::PauseClients)) {
                self.moves_until = now + 3 * still.down;
            }
            due.extend(harm);
        }
        if std::mem::take(&mut self.fills) {
            due.extend(self.full(now));
        }
        if self.lull.is_some() && self.full_until > now {
            self.full_until = now;
            let n = self.number();
            due.push(Fault::new(now, n, Kind::Room));
        }
        if down {
            return due;
        }
        if let Some(lull) = &self.lull {
            if lull.until <= now || lull.acknowledged < acknowledged {
                self.lull = None;
                self.rest(now);
                self.ail();
            }
        } else if self.next <= now {
            self.rest(now);
            self.fault(now, &mut due);
        }
        due
    }

    fn number(&mut self) -> u64 {
        self.faults += 1;
        self.faults
    }

    /// Nothing is due for a while.
    fn rest(&mut self, now: u64) {
        self.gaps += 1;
        self.next = now + self.dice.below("fault gap", self.gaps, 2 * self.parameters.faults.every_ms * MS);
    }

    /// The disk falls ill, or gets well.
    fn ail(&mut self) {
        self.turns += 1;
        self.ill = self.dice.one_in("ill", self.turns, 2);
        self.fills = self.parameters.more.room.is_some() && self.dice.one_in("fills", self.turns, 4);
    }

    /// Full, or nearly, for a while, or until retention has made room.
    fn full(&mut self, now: u64) -> Option<Fault> {
        let n = self.number();
        let amount = self.parameters.more.room? as i64;
        let down = self.dice.pick("full for", n, &[50, 300, 1_500]) * MS;
        self.full_until = self.full_until.max(now + down);
        Some(Fault { amount, down, ..Fault::new(now, n, Kind::Full) })
    }

    /// Something befalls what the disk holds, or the clocks: nothing that any record is lost by.
    fn harm(&self, now: u64, n: u64, down: bool, site: &Site) -> Option<Fault> {
        let (more, dice) = (self.parameters.more, &self.dice);
        let fault = |kind| Fault::new(now, n, kind);
        match dice.below("harm", n, 8) {
            0 | 1 if more.evicts => Some(fault(Kind::Evict)),
            2..=4 if more.rots => self.spoil(now, n, site),
            5 if more.pause_ms > 0 && !down && self.moves_until <= now && dice.one_in("pauses", n, 4) => {
                Some(Fault { down: (1 + dice.below("pause", n, more.pause_ms)) * MS, ..fault(Kind::Pause) })
            }
            6 if more.steps && !down && dice.one_in("steps", n, 4) => {
                let amount = dice.below("step", n, 2 * HOUR_MS) as i64 - HOUR_MS as i64;
                Some(Fault { amount, ..fault(Kind::ClockStep) })
            }
            7 if more.pause_clients_ms > 0 && self.moves_until <= now && dice.one_in("pauses of clients", n, 4) => {
                let down = (1 + dice.below("pause of clients", n, more.pause_clients_ms)) * MS;
                Some(Fault { down, ..fault(Kind::PauseClients) })
            }
            _ => None,
        }
    }

    /// A bit rots, or its sector cannot be read.
    fn spoil(&self, now: u64, n: u64, site: &Site) -> Option<Fault> {
        let dice = &self.dice;
        let files = site.device.disk().list_all();
        // Mostly where it may be done: else nearly all of them would be refused.
        let any = dice.one_in("any file", n, 4);
        let fair = |(path, len): &(String, u64)| *len > 0 && (any || path.ends_with("index"));
        let kind = if dice.one_in("unreadable", n, 3) { Kind::Unreadable } else { Kind::Rot };
        let files: Vec<_> = files.into_iter().filter(fair).filter(|(path, _)| is_fair(kind, path)).collect();
        if files.is_empty() {
            return None;
        }
        let (target, len) = dice.pick("which file", n, &files);
        let byte = dice.below("which byte", n, len) as i64;
        let amount = if kind == Kind::Rot { 8 * byte + dice.below("which bit", n, 8) as i64 } else { byte };
        Some(Fault { target, amount, ..Fault::new(now, n, kind) })
    }

    fn fault(&mut self, now: u64, due: &mut Vec<Fault>) {
        let n = self.number();
        let (faults, dice) = (self.parameters.faults, &self.dice);
        let mut drawn = dice.below("fault", n, faults.total());
        let weights = [
            (faults.kill, Kind::Kill),
            (faults.power_loss, Kind::PowerLoss),
            (faults.clean_stop, Kind::Stop),
            (faults.cut, Kind::Cut),
            (faults.hold, Kind::Hold),
        ];
        let hit = weights.into_iter().find(|(weight, _)| {
            let hit = drawn < *weight;
            drawn = drawn.wrapping_sub(*weight);
            hit
        });
        let kind = match hit.map_or(Kind::Kill, |(_, kind)| kind) {
            Kind::Cut => dice.pick("which way", n, &[Kind::Cut, Kind::Cut, Kind::CutUp, Kind::CutDown]),
            other => other,
        };
        let down = match kind {
            Kind::Kill | Kind::PowerLoss => dice.pick("down", n, &[1, 20, 200]) * MS,
            Kind::Cut | Kind::CutUp | Kind::CutDown | Kind::Hold => (1 + dice.below("links", n, 300)) * MS,
            _ => 0,
        };
        due.push(Fault { down, ..Fault::new(now, n, kind) });
        if kind == Kind::Kill && dice.one_in("then power", n, 4) {
            let n = self.number();
            due.push(Fault::new(now, n, Kind::PowerLoss));
        }
    }
}

/// Whether anybody can tell what a file's harm does. A time index has no checksum (it is Kafka's format): with a wrong bit
/// in it an answer by time may be a wrong one.
pub(super) fn is_fair(kind: Kind, path: &str) -> bool {
    kind != Kind::Rot || !path.ends_with(".timeindex")
}
