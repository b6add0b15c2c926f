//! Connections between clients and shards: one FIFO for each direction, no bytes.
//!
//! Inside a connection nothing is duplicated or reordered. A loss ends it: a drawn prefix of what is in flight still
//! arrives, perhaps after its client has redialled (the real source of duplicates), and each end hears of it in its own
//! time or never. Knows nothing of what is said.

use std::collections::{BTreeMap, BTreeSet};

use klamm_core::wire::{Request, Response};

use super::params::{Dice, SECOND};

/// The number of what nobody sent.
pub(super) const NEWS: u64 = u64::MAX;

/// What a client sends.
#[derive(Clone, Debug)]
pub(super) enum ToBroker {
    Open,
    Request { correlation: i32, request: Request },
    Close,
}

/// What a client hears.
#[derive(Clone, Debug)]
pub(super) enum ToClient {
    Opened,
    Response { correlation: i32, response: Response },
    Closed,
}

/// One direction.
#[derive(Clone, Copy, Debug, Default)]
struct Pipe {
    sent: u64,
    delivered: u64,
    last_at: u64,
    /// From this one on messages are lost.
    limit: Option<u64>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) client: usize,
    /// The key of its draws: whose it is, and the how manieth of theirs.
    pub(super) key: u64,
    /// Among how many shards it fell; the listener's choice.
    pub(super) spread: u64,
    /// The life and shard that accepted it, until that heard of its end.
    pub(super) accepted: Option<(u32, u16)>,
    /// The shard ended it: no request is taken any more.
    pub(super) ended: bool,
    /// Requests that the shard has taken and not ended.
    pub(super) owed: u32,
    /// One came that the shard did not take.
    pub(super) unread: bool,
    pub(super) client_open: bool,
    up: Pipe,
    down: Pipe,
}

impl Conn {
    /// Whether something is on its way over it, or is to be answered.
    pub(super) fn is_busy(&self) -> bool {
        self.owed > 0 || self.up.is_busy() || self.down.is_busy()
    }
}

/// All connections.
#[derive(Debug)]
pub(super) struct Net {
    dice: Dice,
    delay: u64,
    next: u64,
    /// How often each client has dialled.
    dials: BTreeMap<usize, u64>,
    /// Until when what a client sends (`true`), or is sent, is lost; and until when it waits; by which fault.
    lost: BTreeMap<(usize, bool), (u64, u64)>,
    held: BTreeMap<usize, (u64, u64)>,
    /// Faults for which a message was lost, or has waited.
    pub(super) seen: BTreeSet<u64>,
    pub(super) conns: BTreeMap<u64, Conn>,
}

impl Pipe {
    /// When a message arrives, never before the one before it, and its number.
    fn put(&mut self, now: u64, delay: u64) -> (u64, u64) {
        let number = self.sent;
        self.sent += 1;
        self.last_at = self.last_at.max(now + delay);
        (self.last_at, number)
    }

    /// Whether a message arrives. News that nobody sent has no number.
    fn take(&mut self, number: u64) -> bool {
        if number == NEWS || self.limit.is_some_and(|limit| number >= limit) {
            return false;
        }
        self.delivered = number + 1;
        true
    }

    /// Whether something arrives yet.
    fn is_busy(&self) -> bool {
        self.delivered < self.limit.map_or(self.sent, |limit| limit.min(self.sent))
    }

    fn cut(&mut self, dice: &Dice, site: &str, key: u64) {
        let limit = self.delivered + dice.more(site, key, self.sent - self.delivered);
        self.limit = Some(self.limit.map_or(limit, |l| l.min(limit)));
    }
}

impl Net {
    pub(super) fn new(dice: Dice, delay: u64) -> Net {
        let dials = BTreeMap::new();
        let (lost, held, conns) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Net { dice, delay, next: 0, dials, lost, held, seen: BTreeSet::new(), conns }
    }

    /// A new connection: its name.
    pub(super) fn dial(&mut self, client: usize) -> u64 {
        let name = self.next;
        self.next += 1;
        let dials = self.dials.entry(client).or_default();
        *dials += 1;
        let key = (client as u64) << 16 | *dials;
        let spread = self.dice.bits("accepting shard", key);
        let pipe = Pipe::default();
        let conn = Conn {
            client,
            key,
            spread,
            accepted: None,
            ended: false,
            owed: 0,
            unread: false,
            client_open: true,
            up: pipe,
            down: pipe,
        };
        self.conns.insert(name, conn);
        name
    }

    /// When and under which number a message to the broker arrives, if it does; `None` when the connection is forgotten.
    pub(super) fn upwards(&mut self, now: u64, name: u64) -> Option<(u64, u64)> {
        self.put(now, name, true)
    }

    /// When and under which number a message to the client arrives, if it does.
    pub(super) fn downwards(&mut self, now: u64, name: u64) -> Option<(u64, u64)> {
        self.put(now, name, false)
    }

    fn put(&mut self, now: u64, name: u64, up: bool) -> Option<(u64, u64)> {
        let conn = self.conns.get_mut(&name)?;
        let pipe = if up { &mut conn.up } else { &mut conn.down };
        let delay = self.dice.delay("net delay", key(conn.key, pipe.sent, u64::from(!up)), self.delay);
        if let Some((_, fault)) = self.lost.get(&(conn.client, up)).filter(|(until, _)| now < *until) {
            self.seen.insert(*fault);
            // Nothing that is sent later over this connection arrives either: there would be a gap.
            pipe.limit = Some(pipe.limit.map_or(pipe.sent, |limit| limit.min(pipe.sent)));
        }
        let held = self.held.get(&conn.client).filter(|(until, _)| now + delay < *until);
        let held = held.map_or(0, |(until, fault)| {
            self.seen.insert(*fault);
            until - now
        });
        Some(pipe.put(now, delay.max(held)))
    }

    /// What some clients send, or are sent, is lost until a time.
    pub(super) fn lose(&mut self, clients: &[usize], up: bool, until: u64, fault: u64) {
        self.lost.extend(clients.iter().map(|client| ((*client, up), (until, fault))));
    }

    /// What goes between some clients and the broker waits until a time.
    pub(super) fn hold(&mut self, clients: &[usize], until: u64, fault: u64) {
        self.held.extend(clients.iter().map(|client| (*client, (until, fault))));
    }

    /// Everything arrives again.
    pub(super) fn heal(&mut self) {
        self.lost.clear();
        self.held.clear();
    }

    /// Whether a message reaches the broker. News of the end does, in the end.
    pub(super) fn reaches_broker(&mut self, name: u64, number: u64, message: &ToBroker) -> Option<&mut Conn> {
        let conn = self.conns.get_mut(&name)?;
        (conn.up.take(number) || matches!(message, ToBroker::Close)).then_some(conn)
    }

    /// Whether a message reaches the client.
    pub(super) fn reaches_client(&mut self, name: u64, number: u64, message: &ToClient) -> Option<&mut Conn> {
        let conn = self.conns.get_mut(&name)?;
        let arrives = conn.down.take(number) || matches!(message, ToClient::Closed);
        (arrives && conn.client_open).then_some(conn)
    }

    /// Connections that are open at both ends.
    pub(super) fn open(&self) -> impl Iterator<Item = u64> {
        self.conns.iter().filter(|(_, c)| c.client_open && c.accepted.is_some()).map(|(name, _)| *name)
    }

    /// Whether anything is under way that somebody waits for.
    pub(super) fn is_busy(&self) -> bool {
        self.conns.values().any(|conn| conn.client_open && conn.accepted.is_some() && conn.is_busy())
    }

    /// The connection breaks in the middle.
    pub(super) fn cut(&mut self, name: u64, fault: u64) -> (u64, Option<u64>) {
        let dice = &self.dice;
        if let Some(conn) = self.conns.get_mut(&name) {
            conn.up.cut(dice, "cut upwards", fault);
            conn.down.cut(dice, "cut downwards", fault);
        }
        let silent = dice.mishap("cut is silent", fault, 3);
        let told = dice.pause("client hears of cut", fault, 0, SECOND);
        (dice.pause("broker hears of cut", fault, 0, 3 * SECOND), (!silent).then_some(told))
    }

    /// Whether the broker has connections that it has not ended.
    pub(super) fn any_accepted(&self) -> bool {
        self.conns.values().any(|conn| conn.accepted.is_some() && !conn.ended)
    }

    /// One of them that it owes no answer, and the shard that has it.
    pub(super) fn owed_nothing(&self) -> Option<(u64, u16)> {
        let mut there = self.conns.iter().filter(|(_, conn)| conn.owed == 0 && !conn.ended);
        there.find_map(|(name, conn)| Some((*name, conn.accepted?.1)))
    }

    /// The shard has ended one of its requests.
    pub(super) fn answered(&mut self, name: u64) {
        if let Some(conn) = self.conns.get_mut(&name) {
            conn.owed -= 1;
        }
    }

    /// The broker ends a connection that it owes nothing. Where it has left something unread, the client's end of it is
    /// reset, and what is on its way there may be lost.
    pub(super) fn finish(&mut self, name: u64) {
        let dice = &self.dice;
        if let Some(conn) = self.conns.get_mut(&name) {
            conn.accepted = None;
            conn.up.limit = Some(0);
            if conn.unread {
                conn.down.cut(dice, "lost with the broker", key(conn.key, conn.up.sent, 3));
            }
        }
    }

    /// The broker is gone: what was on its way to it is lost, what was on its way from it may be. Gives the connections
    /// whose clients are open.
    pub(super) fn broker_gone(&mut self, crash: u64) -> Vec<u64> {
        let dice = &self.dice;
        self.conns.retain(|_, conn| conn.client_open);
        let mut names = Vec::new();
        for (name, conn) in self.conns.iter_mut().filter(|(_, conn)| conn.accepted.is_some()) {
            conn.accepted = None;
            conn.up.limit = Some(0);
            conn.down.cut(dice, "lost with the broker", key(conn.key, crash, 2));
            names.push(*name);
        }
        names
    }

    /// Forgets a connection that is over at both ends.
    pub(super) fn forget_if_over(&mut self, name: u64) {
        if self.conns.get(&name).is_some_and(|c| !c.client_open && c.accepted.is_none()) {
            self.conns.remove(&name);
        }
    }
}

fn key(conn: u64, number: u64, direction: u64) -> u64 {
    (conn << 24) ^ (number << 2) ^ direction
}
