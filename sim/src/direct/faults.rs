//! What goes wrong at a moment: the broker dies and is started again, or is told to end, a connection breaks. Each is
//! counted as drawn, and as refused, applied, or applied with an effect.

use super::net::{NEWS, ToBroker, ToClient};
use super::params::{MS, SECOND};
use super::{Event, Phase, Sim, spells};
use crate::decisions::{Fault, Kind};

impl Sim {
    /// Something goes wrong.
    pub(super) fn fault(&mut self, fault: &Fault) {
        if self.phase != Phase::Work {
            return;
        }
        self.params.dice.book().happened(fault);
        let busy = || self.broker.is_recovering() || !self.broker.disk.rests() || self.net.is_busy();
        let unsynced = || !self.broker.disk.unsynced().is_empty();
        // Who is down cannot die, and what is not there cannot break. What is at rest hardly notices.
        let effect = match fault.kind {
            Kind::Kill => self.broker.is_up().then(busy),
            Kind::PowerLoss => self.broker.is_up().then(|| busy() || unsynced()),
            Kind::Stop => self.broker.is_serving().then(|| busy() || unsynced()),
            Kind::Cut => self.cut(fault.n),
            Kind::Hold
            | Kind::CutUp
            | Kind::CutDown
            | Kind::Pause
            | Kind::PauseClients
            | Kind::ClockStep
            | Kind::Full
            | Kind::Slow => self.spell(fault),
            // All others are not this engine's.
            _ => None,
        };
        self.came(fault, effect);
        match fault.kind {
            Kind::Kill => self.restart((false, fault.n), fault.down, fault.again),
            Kind::PowerLoss => self.restart((true, fault.n), fault.down, fault.again),
            Kind::Stop if effect.is_some() => self.stop(fault.n, Some(fault.down)),
            Kind::Cut | Kind::Stop => {}
            _ if effect.is_some() => {
                self.count(spells::counted(fault.kind));
                self.say(|| format!("{:?} for {} ms", fault.kind, fault.down / MS));
            }
            _ => {}
        }
    }

    /// The broker dies and comes back after `down`; sometimes it dies again so long after that, perhaps while it
    /// recovers.
    pub(super) fn restart(&mut self, (power, key): (bool, u64), down: u64, again: Option<u64>) {
        self.crash(power, key);
        self.heap.push(self.now + down, Event::Start);
        if let Some(after) = again.filter(|_| self.phase == Phase::Work) {
            self.heap.push(self.now + down + after, Event::Operator { life: self.broker.life + 1 });
        }
    }

    /// Somebody has it die, and comes to start it again.
    pub(super) fn operate(&mut self, life: u32) {
        if self.phase == Phase::Losses {
            // It has ended by itself, and nobody starts it.
            return self.crash(false, 1 << 20 | u64::from(life));
        }
        let down = self.params.dice.pause("operator takes", u64::from(life), 10 * MS, 4 * SECOND);
        self.restart((false, 1 << 20 | u64::from(life)), down, None);
    }

    /// A connection breaks, if there is one; tells whether anything was under way over it.
    fn cut(&mut self, n: u64) -> Option<bool> {
        let open: Vec<u64> = self.net.open().collect();
        if open.is_empty() {
            return None;
        }
        let conn = self.params.dice.pick("which to cut", n, &open);
        let busy = self.net.conns[&conn].is_busy();
        let (broker_hears, client_hears) = self.net.cut(conn, n);
        self.count("cuts");
        self.say(|| format!("connection {conn} breaks"));
        let (number, message) = (NEWS, ToBroker::Close);
        self.heap.push(self.now + broker_hears, Event::ToBroker { conn, number, message });
        if let Some(after) = client_hears {
            let message = ToClient::Closed;
            self.heap.push(self.now + after, Event::ToClient { conn, number, message });
        }
        Some(busy)
    }
}
