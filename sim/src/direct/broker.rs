//! One broker around real shards: steps them, does what they want, loses them in a crash.
//!
//! Plays the host by the rules of [`klamm_core::effect`]: recovery before anything else, Done in order, ranges turned
//! into bytes when an answer is dispatched, messages between shards lossless and in order (answers that carry bytes may
//! fall behind others). Decides nothing.

use std::collections::BTreeMap;
use std::mem;

use klamm_core::effect::{Answer, Config, Effect, Input, Range, cut};
use klamm_core::ids::{BrokerId, ConnectionId, Instant, Now, ShardIndex, Timestamp, Uuid};
use klamm_core::rng::mix;
use klamm_core::shard::Shard;
use klamm_core::wire::{Records, Response, error};

use super::clocks::Clocks;
use super::disk::{Begun, Disk, Lent, Part};
use super::net::{ToBroker, ToClient};
use super::params::{MS, Params, SECOND};
use super::stop::{Stage, Stop};
use super::{Event, Phase, Sim, durable, replayed};
use crate::report::Violation;
use crate::trace;

/// Wall time at the start, milliseconds since 1970.
pub(super) const EPOCH_MS: i64 = 1_700_000_000_000;
/// What two oracles hold a broker to.
const WELL: &str = "nothing was harmed that it could not do without, and now the disk is well";
/// Steps between two full audits.
const AUDIT_EVERY: u64 = 1_000;

/// One shard of the broker's present life.
#[derive(Debug)]
struct Node {
    /// `None` while it recovers.
    shard: Option<Shard>,
    ready_at: u64,
    /// The wake that counts.
    armed: u64,
    serving: bool,
    /// When the last message from each other shard arrives.
    heard: Vec<u64>,
}

/// The broker.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) life: u32,
    /// Empty while it is down.
    nodes: Vec<Node>,
    /// It was told to end.
    pub(super) stop: Option<Stop>,
    pub(super) disk: Disk,
    pub(super) clocks: Clocks,
    /// The fault by which the wall clock was set, and nobody has looked at it since.
    pub(super) clock_set: Option<u64>,
    /// Bytes on their way between shards: each is used once, or released, or lost with the life.
    pub(super) leases: BTreeMap<u64, Lent>,
    leased: u64,
    /// Sent so far, from one shard to another.
    messages: BTreeMap<(u16, u16), u64>,
    reads: u64,
    effects: Vec<Effect>,
}

impl Broker {
    pub(super) fn new(params: &Params) -> Broker {
        Broker {
            life: 0,
            nodes: Vec::new(),
            stop: None,
            disk: Disk::new(params),
            clocks: Clocks::of(0, params),
            clock_set: None,
            leases: BTreeMap::new(),
            leased: 0,
            messages: BTreeMap::new(),
            reads: 0,
            effects: Vec::new(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// Whether some shard has not recovered yet.
    pub(super) fn is_recovering(&self) -> bool {
        !self.is_closing() && self.nodes.iter().any(|n| n.shard.is_none())
    }

    /// Whether all of it serves.
    pub(super) fn is_serving(&self) -> bool {
        self.is_up() && self.stop.is_none() && self.nodes.iter().all(|n| n.serving)
    }

    /// Whether its shards have ended, in order, and its process has not.
    pub(super) fn is_closing(&self) -> bool {
        self.stop.is_some_and(|stop| stop.stage == Stage::Closes)
    }

    /// It accepts nobody any more.
    pub(super) fn serve_no_more(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.serving = false);
    }

    /// The process is gone: events that are under way die with its life.
    pub(super) fn is_gone(&mut self) {
        self.nodes.clear();
        self.stop = None;
        self.life += 1;
    }

    /// Leases granted so far, and those that nobody has used yet.
    pub(super) fn leases(&self) -> (u64, usize) {
        (self.leased, self.leases.len())
    }

    fn config(&self, params: &Params, shard: u16) -> Config {
        let life = u64::from(self.life);
        Config {
            broker: BrokerId(1),
            cluster_id: "direct".into(),
            directory: Uuid::from_halves(1, 1),
            incarnation: Uuid::from_halves(params.dice.bits("incarnation", life), life),
            shard: ShardIndex(shard),
            shards: self.nodes.len() as u16,
            advertised: ("klamm".into(), 9092),
            crc: checksum,
            open: klamm::codec::open,
            seed: params.dice.bits("shard seed", life),
            log_dir: "/direct".into(),
            configs: [
                ("num.partitions".into(), params.default_partitions.to_string()),
                ("log.segment.bytes".into(), params.segment_bytes.to_string()),
                // A run ends when nothing is left to happen: no timer may be armed for ever. Topics that are to lose
                // records say so, and say otherwise in the end.
                ("log.retention.ms".into(), "-1".into()),
                ("log.retention.check.interval.ms".into(), params.retention_check_ms.to_string()),
            ]
            .into(),
        }
    }

    /// The bytes of a range.
    fn resolve(&mut self, range: &Range) -> Option<Lent> {
        match range {
            Range::Local { log, from, upto, max_bytes } => Some(self.disk.read(*log, *from, *upto, *max_bytes)),
            Range::Leased { lease, .. } => self.leases.remove(lease),
        }
    }
}

/// Stands in for CRC-32C: a shard takes whatever function it is given.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let fold = |hash: u64, word: &[u8]| {
        let mut padded = [0; 8];
        padded[..word.len()].copy_from_slice(word);
        (hash ^ u64::from_le_bytes(padded)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    };
    mix(bytes.chunks(8).fold(bytes.len() as u64, fold)) as u32
}

impl Sim {
    /// The broker's process begins: each shard recovers its logs in its own time.
    pub(super) fn start(&mut self) {
        if self.broker.is_up() {
            return;
        }
        self.broker.life += 1;
        let life = self.broker.life;
        self.broker.clocks = Clocks::of(life, &self.params);
        self.broker.clock_set = None;
        let dice = self.params.dice.clone();
        let resized = self.params.resize && life > 1;
        let shards = if resized { dice.between("shards", u64::from(life), 1, 3) as u16 } else { self.params.shards };
        for shard in 0..shards {
            let key = u64::from(life) << 8 | u64::from(shard);
            let ready_at = self.now + dice.delay("recovery", key, 2 * self.params.disk_delay + 20 * MS);
            let heard = vec![ready_at; usize::from(shards)];
            self.broker.nodes.push(Node { shard: None, ready_at, armed: u64::MAX, serving: false, heard });
            self.heap.push(ready_at, Event::Recovered { life, shard });
        }
        self.count("starts");
    }

    /// A shard's logs are recovered.
    pub(super) fn recovered(&mut self, shard: u16) {
        let shards = self.broker.nodes.len() as u16;
        let config = self.broker.config(&self.params, shard);
        let found = self.broker.disk.recover(self.now, ShardIndex(shard), shards);
        self.broker.nodes[usize::from(shard)].shard = Some(Shard::new(config));
        self.check(self.nothing_refused(&found));
        found.into_iter().for_each(|input| self.step(shard, input));
        self.step(shard, Input::Started);
    }

    /// Once the disk is well recovery refuses nothing, before harm is declared.
    fn nothing_refused(&self, found: &[Input]) -> Result<(), Violation> {
        let refused = found.iter().find_map(|input| match input {
            Input::Recovered { name, found: Err(why), .. } => Some(format!("recovery refuses {name}: {why}")),
            _ => None,
        });
        let well = !matches!(self.phase, Phase::Work | Phase::Losses);
        refused.filter(|_| well).map_or(Ok(()), |contradiction| {
            Err(Violation { property: "nothing-refused", fact: WELL.to_owned(), contradiction })
        })
    }

    /// Nor does a broker end by itself that was begun since.
    fn stays_up(&self) -> Result<(), Violation> {
        let well = !matches!(self.phase, Phase::Work | Phase::Losses);
        if !well || self.broker.life <= self.last_ill {
            return Ok(());
        }
        let contradiction = format!("life {} ends itself", self.broker.life);
        Err(Violation { property: "stays-up", fact: WELL.to_owned(), contradiction })
    }

    /// The broker is gone at once; with `power`, so is its page cache, and nobody is told. `key` is what this crash draws
    /// with.
    pub(super) fn crash(&mut self, power: bool, key: u64) {
        if !self.broker.is_up() {
            return;
        }
        self.count(if power { "power losses" } else { "kills" });
        if self.broker.stop.is_some() {
            self.count("stops cut short");
        }
        if self.broker.is_recovering() {
            self.count("recoveries cut short");
            let count = self.broker.nodes.len() as u16;
            for (shard, _) in (0..count).zip(&self.broker.nodes).filter(|(_, node)| node.shard.is_none()) {
                self.broker.disk.recover_some(ShardIndex(shard), count, key);
            }
        }
        self.shards_end(power, key);
        self.broker.disk.crash(power, key);
        self.say(|| format!("the broker is gone{}", if power { ", with its page cache" } else { "" }));
        self.broker.is_gone();
        self.goes_on(None);
    }

    /// The shards are gone, and what was under way between them and their clients; with `power` nobody is told.
    pub(super) fn shards_end(&mut self, power: bool, key: u64) {
        let shards: Vec<Shard> = self.broker.nodes.iter_mut().filter_map(|node| node.shard.take()).collect();
        for shard in &shards {
            shard.audit();
            self.check(replayed::check(shard, &self.broker.disk));
        }
        self.broker.leases.clear();
        for conn in self.net.broker_gone(key) {
            if !power {
                self.tell(conn, ToClient::Closed);
            }
        }
    }

    pub(super) fn clock(&self) -> Now {
        self.broker.clocks.now(self.now)
    }

    /// What a client's clock shows: the true time, or what the broker's does, which is later.
    pub(super) fn clients_wall(&self) -> Timestamp {
        let right = Timestamp(EPOCH_MS + (self.now / MS) as i64);
        if self.params.drifts { right } else { self.clock().wall }
    }

    pub(super) fn step(&mut self, shard: u16, input: Input) {
        let now = self.clock();
        self.history.shows(now.wall.0);
        if let Some(fault) = self.broker.clock_set.take() {
            self.tallies.seen(fault);
        }
        self.steps += 1;
        self.digest.input(self.now, shard, &input);
        self.say(|| format!("shard {shard} < {}", trace::input(&input)));
        let ticks = matches!(input, Input::Tick);
        let mut effects = mem::take(&mut self.broker.effects);
        let node = &mut self.broker.nodes[usize::from(shard)];
        let it = node.shard.as_mut().expect("nothing reaches a shard before its recovery");
        it.step(now, input, &mut effects);
        if self.steps.is_multiple_of(AUDIT_EVERY) {
            it.audit();
        }
        if let Some(Instant(at)) = it.deadline()
            && at < node.armed
        {
            node.armed = at;
            let due = self.broker.clocks.at(Instant(at)).max(self.now);
            self.heap.push(due, Event::Wake { life: self.broker.life, shard, at });
        }
        for effect in effects.drain(..) {
            if ticks && matches!(effect, Effect::Trim { .. }) {
                self.count("trims by retention");
            }
            self.digest.effect(&effect);
            self.say(|| format!("shard {shard} > {}", trace::effect(&effect)));
            self.dispatch(shard, effect);
        }
        self.broker.effects = effects;
    }

    /// An armed deadline has come. One that was superseded by an earlier one is ignored.
    pub(super) fn wake(&mut self, shard: u16, at: u64) {
        let node = &mut self.broker.nodes[usize::from(shard)];
        if node.armed != at {
            return;
        }
        node.armed = u64::MAX;
        let now = self.broker.clocks.now(self.now).monotonic;
        match node.shard.as_ref().and_then(Shard::deadline) {
            Some(due) if due <= now => {
                self.step(shard, Input::Tick);
                let left = self.broker.nodes[usize::from(shard)].shard.as_ref().and_then(Shard::deadline);
                assert!(left.is_none_or(|d| d > now), "a tick leaves its deadline in place");
            }
            Some(Instant(due)) => {
                node.armed = due;
                let at = self.broker.clocks.at(Instant(due));
                self.heap.push(at, Event::Wake { life: self.broker.life, shard, at: due });
            }
            None => {}
        }
    }

    fn dispatch(&mut self, shard: u16, effect: Effect) {
        let life = self.broker.life;
        if let Effect::Append { log, leader_epoch, .. } = &effect {
            let verdict = self.epochs.appended(*log, *leader_epoch, u64::from(life));
            self.check(verdict);
        }
        match effect {
            Effect::Open { .. }
            | Effect::Append { .. }
            | Effect::Truncate { .. }
            | Effect::Flush { .. }
            | Effect::Trim { .. }
            | Effect::Remove { .. }
            | Effect::SetAside { .. }
            | Effect::Persist { .. } => match self.broker.disk.change(self.now, effect) {
                Begun::Queued => {}
                Begun::Underway(log, delay) => self.heap.push(self.now + delay, Event::DiskEnd { life, shard, log }),
                Begun::Failed(input) => self.heap.push(self.now, Event::Told { life, shard, input }),
            },
            Effect::Read { ticket, log, query } => {
                self.broker.reads += 1;
                let found = self.broker.disk.look_up(log, &query);
                let delay = self.params.dice.delay("read delay", self.broker.reads, self.params.disk_delay);
                self.heap.push(self.now + delay, Event::Told { life, shard, input: Input::Read { ticket, found } });
            }
            Effect::Reply { conn, correlation, response, ranges, max_bytes } => {
                self.reply(conn, correlation, response, &ranges, max_bytes);
            }
            Effect::Quiet { conn, .. } => self.net.answered(conn.0),
            Effect::Release { lease } => {
                assert!(self.broker.leases.remove(&lease).is_some(), "lease {lease} is released and not held");
            }
            Effect::Close { conn: ConnectionId(conn), .. } => self.close(conn),
            Effect::Call { to, image, correlation, call } => {
                let input = Input::Call { from: ShardIndex(shard), image, correlation, call };
                self.mail(shard, to.0, input, 0);
            }
            Effect::Answer { to, correlation, answer } => {
                let (answer, delay) = self.lend(answer);
                self.mail(shard, to.0, Input::Answer { correlation, answer }, delay);
            }
            Effect::Publish { upto, records } => {
                let metadata = klamm_core::ids::LogId::METADATA;
                self.check(durable::seen(&self.broker.disk, metadata, upto, "published"));
                for to in (0..self.broker.nodes.len() as u16).filter(|to| *to != shard) {
                    self.mail(shard, to, Input::Committed { upto, records: records.clone() }, 0);
                }
            }
            Effect::Ready => self.broker.nodes[usize::from(shard)].serving = true,
            // The process ends, as soon as this step is over.
            Effect::Halt { .. } => {
                self.count("halts");
                self.check(self.stays_up());
                self.heap.push(self.now, Event::Operator { life });
            }
            Effect::Alarm { .. } => {
                self.count("alarms");
                // Nobody comes to what is inspected.
                if self.phase == Phase::Losses {
                    return;
                }
                let alarms = self.counters.get("alarms").copied().unwrap_or_default();
                let delay = self.params.dice.pause("operator", alarms, SECOND, 8 * SECOND);
                self.heap.push(self.now + delay, Event::Operator { life });
            }
        }
    }

    /// A message between shards. `extra` lets it fall behind those that are sent after it.
    fn mail(&mut self, from: u16, to: u16, input: Input, extra: u64) {
        let messages = self.broker.messages.entry((from, to)).or_default();
        *messages += 1;
        let key = u64::from(from) << 56 | u64::from(to) << 48 | *messages;
        let delay = self.params.dice.delay("mesh delay", key, self.params.mesh_delay);
        let node = &mut self.broker.nodes[usize::from(to)];
        let heard = &mut node.heard[usize::from(from)];
        let at = (self.now + delay + extra).max(*heard);
        if extra == 0 {
            *heard = at;
        }
        assert!(at >= node.ready_at, "a message waits for the recovery of its receiver");
        self.heap.push(at, Event::Told { life: self.broker.life, shard: to, input });
    }

    /// Turns the ranges of an answer into leases; gives how long that takes.
    fn lend(&mut self, mut answer: Answer) -> (Answer, u64) {
        let Answer::Fetch { results } = &mut answer else { return (answer, 0) };
        let mut extra = 0;
        for range in results.iter_mut().filter_map(|r| r.range.as_mut()) {
            self.check_range(range);
            let lent = self.broker.resolve(range).expect("an answer to another shard has ranges of its own logs");
            self.broker.leased += 1;
            let lease = self.broker.leased;
            *range = Range::Leased { lease, bytes: lent.bytes.len() as u32, first: lent.first };
            self.broker.leases.insert(lease, lent);
            extra = self.params.dice.delay("lease delay", lease, self.params.disk_delay / 8 + 1);
        }
        (answer, extra)
    }

    /// What is served of a topic that promises durability is on the device.
    fn check_range(&mut self, range: &Range) {
        if let Range::Local { log, upto, .. } = range
            && self.broker.disk.has(*log)
            && self.promises(self.broker.disk.topic(*log))
        {
            self.check(durable::seen(&self.broker.disk, *log, *upto, "served"));
        }
    }

    fn reply(
        &mut self,
        conn: ConnectionId,
        mut correlation: i32,
        mut response: Response,
        ranges: &[Range],
        max_bytes: u32,
    ) {
        ranges.iter().for_each(|range| self.check_range(range));
        let lent: Vec<Lent> = ranges
            .iter()
            .map(|range| self.broker.resolve(range).expect("a lease is used once, by the answer that it was made for"))
            .collect();
        // Part of the answer has left by then.
        if lent.iter().any(|lent| lent.unread == Some(Part::Records)) {
            self.count("connections that end with a bad read");
            return self.close(conn.0);
        }
        if let Response::Produce(produced) = &response {
            let verdict = durable::acknowledged(&self.broker.disk, produced, |topic| self.promises(topic));
            self.check(verdict);
        }
        if let Response::Fetch(fetched) = &mut response {
            for (range, _) in (0..).zip(&lent).filter(|(_, lent)| lent.unread == Some(Part::Header)) {
                self.count("partitions refused for a bad read");
                fetched.refuse_range(range, error::KAFKA_STORAGE_ERROR);
            }
            let sizes: Vec<(u32, u32)> = lent.iter().map(|lent| (lent.bytes.len() as u32, lent.first)).collect();
            let give = cut(&sizes, max_bytes);
            for part in fetched.responses.iter_mut().flat_map(|t| &mut t.partitions) {
                if let Records::Range(i) = part.records {
                    let i = i as usize;
                    part.records = Records::Bytes(lent[i].bytes.slice(..give[i] as usize));
                }
            }
        }
        self.net.answered(conn.0);
        if self.lie.is_some_and(|lie| !lie(self.phase, &mut correlation, &mut response)) {
            return;
        }
        self.tell(conn.0, ToClient::Response { correlation, response });
    }

    /// The shard ends a connection.
    fn close(&mut self, name: u64) {
        if let Some(conn) = self.net.conns.get_mut(&name) {
            conn.ended = true;
            self.count("closed by the shard");
            self.send(name, ToBroker::Close);
            self.tell(name, ToClient::Closed);
        }
    }

    /// The disk ended what was under way at a log.
    pub(super) fn disk_ended(&mut self, shard: u16, log: klamm_core::ids::LogId) {
        if self.broker.is_closing() {
            return self.closing_ended(log);
        }
        let (inputs, next) = self.broker.disk.end(self.now, log);
        if let Some(delay) = next {
            self.heap.push(self.now + delay, Event::DiskEnd { life: self.broker.life, shard, log });
        }
        inputs.into_iter().for_each(|input| self.step(shard, input));
    }

    /// A client's message arrives.
    pub(super) fn arrives(&mut self, name: u64, number: u64, message: ToBroker) {
        let Some(conn) = self.net.reaches_broker(name, number, &message) else { return };
        let (life, stops) = (self.broker.life, self.broker.stop.is_some());
        let late = !conn.client_open && matches!(message, ToBroker::Request { .. });
        match (message, conn.accepted) {
            (ToBroker::Open, _) => self.accept(name),
            // What it has not taken by then it leaves unread.
            (ToBroker::Request { .. }, Some(_)) if stops => conn.unread = true,
            (ToBroker::Request { correlation, request }, Some((_, shard))) if !conn.ended => {
                conn.owed += 1;
                if late {
                    self.count("requests of connections given up");
                }
                self.step(shard, Input::Request { conn: ConnectionId(name), correlation, request });
            }
            (ToBroker::Request { .. }, Some(_)) => {}
            // Whoever lives there now knows nothing of this connection.
            (ToBroker::Request { .. }, None) => {
                if self.broker.is_up() {
                    self.tell(name, ToClient::Closed);
                }
            }
            (ToBroker::Close, accepted) => {
                conn.accepted = None;
                if let Some((of, shard)) = accepted {
                    assert_eq!(of, life, "a connection ends with the life that accepted it");
                    self.step(shard, Input::Closed { conn: ConnectionId(name) });
                }
                self.net.forget_if_over(name);
            }
        }
    }

    fn accept(&mut self, name: u64) {
        let life = self.broker.life;
        let Some(conn) = self.net.conns.get_mut(&name) else { return };
        let serving: Vec<u16> = (0..).zip(&self.broker.nodes).filter(|(_, n)| n.serving).map(|(i, _)| i).collect();
        if serving.is_empty() {
            if !self.params.dice.mishap("refused in silence", conn.key, 4) {
                self.tell(name, ToClient::Closed);
            }
            return;
        }
        let shard = serving[(conn.spread % serving.len() as u64) as usize];
        conn.accepted = Some((life, shard));
        self.step(shard, Input::Opened { conn: ConnectionId(name) });
        self.tell(name, ToClient::Opened);
    }

    /// Checks everything that can be checked of a broker at rest.
    pub(super) fn check_at_rest(&mut self) {
        for node in &self.broker.nodes {
            if let Some(shard) = &node.shard {
                shard.audit();
                let verdict = replayed::check(shard, &self.broker.disk);
                self.violation = self.violation.take().or(verdict.err());
            }
        }
    }
}
