//! What goes wrong for a while: links that lose or hold back what goes one way, a machine or clients that stand still,
//! clocks that are set, a disk that is full or slow.
//!
//! Whoever stands still is told everything later, in order, at once: what was on its way to it, and its timers. The world
//! and its disk go on meanwhile.

use std::collections::{BTreeMap, VecDeque};

use super::{Event, Sim};
use crate::decisions::{Fault, Kind};

/// Who stands still, and what it is to be told.
#[derive(Debug, Default)]
pub(super) struct Still {
    broker: Option<Kept>,
    clients: BTreeMap<usize, Kept>,
}

/// What is kept back, and for which fault.
#[derive(Debug)]
struct Kept {
    fault: u64,
    events: VecDeque<Event>,
}

impl Kept {
    fn new(fault: u64) -> Kept {
        Kept { fault, events: VecDeque::new() }
    }
}

/// Whose an event is.
enum Whose {
    Broker,
    Client(usize),
    Nobody,
}

/// What a kind of spell is counted as.
pub(super) fn counted(kind: Kind) -> &'static str {
    match kind {
        Kind::Hold => "links that stand still",
        Kind::CutUp => "cuts upwards only",
        Kind::CutDown => "cuts downwards only",
        Kind::Pause => "pauses",
        Kind::PauseClients => "clients that stand still",
        Kind::ClockStep => "steps of the wall clock",
        Kind::Full => "full disks",
        Kind::Slow => "slow disks",
        _ => "crashes and cuts",
    }
}

impl Sim {
    /// A spell begins: somebody may notice it. `None`: it cannot be.
    pub(super) fn spell(&mut self, fault: &Fault) -> Option<bool> {
        let until = self.now + fault.down;
        let some = self.some_clients(fault.n);
        let up = self.broker.is_up();
        match fault.kind {
            Kind::Hold => {
                self.net.hold(&some, until, fault.n);
                Some(false)
            }
            Kind::CutUp | Kind::CutDown => {
                self.net.lose(&some, fault.kind == Kind::CutUp, until, fault.n);
                Some(false)
            }
            Kind::Pause => {
                let begins = up && self.still.broker.is_none();
                if begins {
                    self.still.broker = Some(Kept::new(fault.n));
                    self.heap.push(until, Event::GoOn { client: None });
                }
                begins.then_some(false)
            }
            Kind::PauseClients => {
                let new: Vec<usize> = some.into_iter().filter(|c| !self.still.clients.contains_key(c)).collect();
                for client in &new {
                    self.still.clients.insert(*client, Kept::new(fault.n));
                    self.heap.push(until, Event::GoOn { client: Some(*client) });
                }
                (!new.is_empty()).then_some(false)
            }
            Kind::ClockStep => {
                self.broker.clocks.set(self.params.dice.bits("wall clock is set", fault.n));
                self.broker.clock_set = up.then_some(fault.n);
                up.then_some(false)
            }
            Kind::Full | Kind::Slow => {
                let disk = &mut self.broker.disk;
                let until_then = if fault.kind == Kind::Full { &mut disk.full_until } else { &mut disk.slow_until };
                *until_then = (*until_then).max((until, fault.n));
                Some(false)
            }
            _ => None,
        }
    }

    /// Ends all that goes wrong for a while.
    pub(super) fn end_spells(&mut self) {
        self.net.heal();
        (self.broker.disk.full_until, self.broker.disk.slow_until) = ((0, 0), (0, 0));
        let clients: Vec<usize> = self.still.clients.keys().copied().collect();
        clients.into_iter().for_each(|client| self.goes_on(Some(client)));
        self.goes_on(None);
    }

    /// About every other client, and one at least.
    fn some_clients(&self, n: u64) -> Vec<usize> {
        let bits = self.params.dice.bits("who", n);
        let count = self.actors.len();
        let sure = (bits >> 32) as usize % count;
        (0..count).filter(|client| *client == sure || bits >> (client % 32) & 1 == 1).collect()
    }

    /// Whether the machine stands still.
    pub(super) fn broker_stands_still(&self) -> bool {
        self.still.broker.is_some()
    }

    /// Keeps an event back if it is for somebody who stands still; gives it back if not.
    pub(super) fn keep_back(&mut self, event: Event) -> Option<Event> {
        let held = match self.whose(&event) {
            Whose::Broker => self.still.broker.as_mut(),
            Whose::Client(client) => self.still.clients.get_mut(&client),
            Whose::Nobody => None,
        };
        match held {
            Some(held) => {
                held.events.push_back(event);
                self.tallies.seen(held.fault);
                None
            }
            None => Some(event),
        }
    }

    fn whose(&self, event: &Event) -> Whose {
        match event {
            Event::Told { .. }
            | Event::Wake { .. }
            | Event::DiskEnd { .. }
            | Event::Recovered { .. }
            | Event::Drained { .. }
            | Event::ToBroker { .. } => Whose::Broker,
            Event::ToClient { conn, .. } => self.net.conns.get(conn).map_or(Whose::Nobody, |c| Whose::Client(c.client)),
            Event::Timer { client, .. } => Whose::Client(*client),
            Event::Operator { .. }
            | Event::Start
            | Event::Fault(_)
            | Event::GoOn { .. }
            | Event::Copy
            | Event::Heal => Whose::Nobody,
        }
    }

    /// Somebody goes on: a client, or the broker.
    pub(super) fn goes_on(&mut self, client: Option<usize>) {
        let held = match client {
            Some(client) => self.still.clients.remove(&client),
            None => self.still.broker.take(),
        };
        for event in held.into_iter().flat_map(|kept| kept.events) {
            self.happen(event);
        }
    }
}
