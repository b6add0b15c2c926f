//! The `direct` engine: the shards of one broker on one event heap, time jumping from event to event.
//!
//! A run is a function of its seed. No frames: clients hand requests to shards as values and get answers as values; the
//! disk is a list of batches for each log. What that hides (bytes on the wire, files, torn headers) is the `world`
//! engine's; what it buys is breadth: thousands of simulated seconds a second, and faults as fine as a nanosecond.
//!
//! A run works and breaks until its duration is over, then heals (no more faults, one last restart, all that clients
//! are owed is answered), then is read back; then, in every other run, its disk comes to declared harm, and all is looked
//! at again. Each of the phases behind the first ends when nothing is left to happen. `no-lease-leak`: then nobody holds
//! a lease on bytes any more.

mod admin;
mod broker;
mod client;
mod clocks;
mod digest;
mod disk;
mod durable;
mod faults;
mod heap;
mod hired;
#[cfg(test)]
mod lies;
mod losses;
mod net;
mod params;
mod reading;
mod replayed;
mod requests;
mod spells;
mod stop;
mod tallies;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use klamm_core::effect::Input;
use klamm_core::ids::LogId;
use klamm_core::wire::Response;

use crate::decisions::{Book, Fault};
use crate::epochs::Epochs;
use crate::history::History;
use crate::panics;
use crate::report::{Engine, Report, Verdict, Violation};
use crate::workload::consumer::Consumer;
use crate::workload::insistent::Insistent;
use crate::workload::keeper::Keeper;
use crate::workload::owner::Owner;
use crate::workload::producer::Producer;
use crate::workload::settler::Settler;
use admin::{Admin, Auditor, Watcher};
use broker::Broker;
use client::{Actor, Client, Cx, Do, Ledger};
use digest::Digest;
pub use disk::{Followed, follow};
use heap::Heap;
use hired::Hired;
use losses::Copy;
pub(crate) use losses::harm;
use net::{NEWS, Net, ToBroker, ToClient};
pub use params::Canary;
use params::{Dice, LONGEST_KEPT_MS, MS, Params, SECOND};
use spells::Still;
use tallies::Tallies;

/// States that a campaign must reach, by counter: else it tests too little.
pub const SOMETIMES: &[&str] = &[
    "acks",
    "alarms",
    "appends that failed",
    "batches lost",
    "batches rotten",
    "batches sent again",
    "batches too large",
    "batches unreadable",
    "brokers that refuse",
    "clean stops",
    "clients that stand still",
    "configs altered",
    "connections left half open",
    "connections that end with a bad read",
    "crashes during deletion",
    "cuts",
    "cuts downwards only",
    "cuts upwards only",
    "damage seen by clients",
    "disks wiped",
    "ends of epochs",
    "faults effective",
    "faults refused",
    "fetches in a session",
    "folders lost",
    "full disks",
    "halts",
    "harm refused",
    "harm under load",
    "kills",
    "leases",
    "lives with a producer id",
    "lives without a producer id",
    "links that stand still",
    "logs closed",
    "logs half recovered",
    "logs refused",
    "logs reported",
    "old copies",
    "partitions added",
    "partitions refused for a bad read",
    "partitions settled",
    "partitions taken out of a session",
    "pauses",
    "power losses",
    "producers reset",
    "reads below a start",
    "recoveries cut short",
    "requests of connections given up",
    "rolls",
    "sequences refused",
    "slow disks",
    "speeches said again",
    "speeches without an id",
    "steps of the wall clock",
    "stops cut short",
    "stops that leave questions",
    "sync errors",
    "timeouts",
    "topics deleted",
    "topics made again",
    "topics made again after a crash",
    "trims",
    "trims by retention",
    "trims without an end",
    "unsynced batches survived",
    "write errors",
    "writes lost",
    "writes that went elsewhere",
    "writes to a full disk",
];

/// Clients that look for topics: the first ones after the one that makes them.
const WATCHERS: usize = 2;
/// How long producers without manners rest before they say everything again.
const RESTS: [u64; 4] = [10 * MS, 300 * MS, 3 * SECOND, 40 * SECOND];
/// Retention first looks so long after a start.
const RETENTION_DELAY: u64 = 30 * SECOND;
/// Healing and reading back each end within this, or the run is stuck.
const PATIENCE: u64 = 300 * SECOND;
/// Work goes on so much longer while nothing was acknowledged, and nothing new goes wrong.
const MORE_WORK: u64 = 60 * SECOND;
/// So many events are a livelock.
const MOST_EVENTS: u64 = 3_000_000;

/// What is to happen.
#[derive(Debug)]
enum Event {
    /// A shard is told something.
    Told {
        life: u32,
        shard: u16,
        input: Input,
    },
    /// A shard's deadline.
    Wake {
        life: u32,
        shard: u16,
        at: u64,
    },
    /// What is under way at a log ends.
    DiskEnd {
        life: u32,
        shard: u16,
        log: LogId,
    },
    /// A shard's logs are recovered.
    Recovered {
        life: u32,
        shard: u16,
    },
    /// Someone restarts a broker that raised an alarm, or ended itself.
    Operator {
        life: u32,
    },
    /// The broker's process begins, if it does not run.
    Start,
    ToBroker {
        conn: u64,
        number: u64,
        message: ToBroker,
    },
    ToClient {
        conn: u64,
        number: u64,
        message: ToClient,
    },
    /// A client's timer.
    Timer {
        client: usize,
        at: u64,
    },
    Fault(Fault),
    /// A broker that ends waits for no answer any more.
    Drained {
        life: u32,
    },
    /// Somebody copies the files.
    Copy,
    /// Who stood still goes on: a client, or the broker.
    GoOn {
        client: Option<usize>,
    },
    /// The workload's time is over.
    Heal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Work,
    Heal,
    /// Nothing is sent: retention does its work.
    Settle,
    ReadBack,
    /// The disk comes to harm.
    Losses,
}

/// What becomes of an answer on its way, where this world lies: which phase it is, the answer's correlation, the answer.
/// Tells whether it is sent at all.
type Lie = fn(Phase, &mut i32, &mut Response) -> bool;

struct Sim {
    params: Params,
    heap: Heap<Event>,
    now: u64,
    phase: Phase,
    phase_ends: u64,
    /// The last life that knew an ill disk.
    last_ill: u32,
    broker: Broker,
    net: Net,
    still: Still,
    actors: Vec<Box<dyn Actor>>,
    /// Those who work where the work is over, while the disk comes to harm.
    crowd: Range<usize>,
    /// Those who are gone with the machine that they worked on: whatever still comes nobody hears.
    gone: BTreeSet<usize>,
    /// The timer of each client that counts.
    timers: Vec<u64>,
    ledger: Ledger,
    history: History,
    epochs: Epochs,
    copy: Option<Copy>,
    /// How much was acknowledged when faults ended, and when they did.
    healed: Option<(u64, u64)>,
    violation: Option<Violation>,
    steps: u64,
    digest: Digest,
    counters: BTreeMap<&'static str, u64>,
    tallies: Tallies,
    /// A promise that this world breaks on purpose.
    lie: Option<Lie>,
    trace: Option<Vec<String>>,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, trace: bool) -> Report {
    by(seed, trace, Rc::new(Book::Blank))
}

/// Runs a seed by a book.
#[must_use]
pub fn by(seed: u64, trace: bool, book: Rc<Book>) -> Report {
    run_by(seed, trace, book, Canary::None)
}

/// Runs a seed by a book, in a world that may break its promise.
fn run_by(seed: u64, trace: bool, book: Rc<Book>, canary: Canary) -> Report {
    conclude(Sim::new(Params { canary, ..Params::of(&Dice::new(seed, book)) }, trace), seed)
}

fn conclude(mut sim: Sim, seed: u64) -> Report {
    let watch = panics::watch();
    let verdict = catch_unwind(AssertUnwindSafe(|| sim.run())).unwrap_or_else(|_| {
        Verdict::Unsafe(Violation {
            property: "no-panic",
            fact: watch.first().unwrap_or_default(),
            contradiction: format!("in step {}", sim.steps),
        })
    });
    sim.report(seed, verdict)
}

impl Sim {
    fn new(params: Params, trace: bool) -> Sim {
        let mut sim = Sim {
            heap: Heap::new(),
            now: 0,
            phase: Phase::Work,
            phase_ends: params.duration,
            last_ill: 0,
            broker: Broker::new(&params),
            net: Net::new(params.dice.clone(), params.net_delay),
            still: Still::default(),
            actors: Vec::new(),
            crowd: 0..0,
            gone: BTreeSet::new(),
            timers: Vec::new(),
            ledger: Ledger::default(),
            history: History::default(),
            epochs: Epochs::default(),
            copy: None,
            healed: None,
            violation: None,
            steps: 0,
            digest: Digest::default(),
            counters: BTreeMap::new(),
            tallies: Tallies::default(),
            lie: None,
            trace: trace.then(Vec::new),
            params,
        };
        if sim.trace.is_some() {
            let parameters = format!("{:?}", sim.params);
            sim.say(|| parameters);
        }
        sim.heap.push(0, Event::Start);
        sim.heap.push(sim.params.duration, Event::Heal);
        if let Some(at) = sim.params.copies_at {
            sim.heap.push(at, Event::Copy);
        }
        for fault in sim.params.plan() {
            sim.heap.push(fault.at, Event::Fault(fault));
        }
        sim.hire(|id, params| Box::new(Client::new(id, Admin::new(params))));
        for _ in 0..WATCHERS {
            sim.hire(|id, params| Box::new(Client::new(id, Watcher::new(id, params))));
        }
        for number in 0..sim.params.producers {
            let seed = sim.params.dice.bits("producer", number);
            let habits = sim.params.producer();
            sim.hire(|id, _| Box::new(Client::new(id, Hired::new(id, seed, Producer::new(seed, habits)))));
        }
        for number in 0..sim.params.consumers {
            let seed = sim.params.dice.bits("consumer", number);
            let consumer = Consumer::new(seed, sim.params.reading());
            sim.hire(|id, _| Box::new(Client::new(id, Hired::new(id, seed, consumer))));
        }
        if let Some(habits) = sim.params.habits.clone() {
            let seed = sim.params.dice.bits("keeper", 0);
            sim.hire(|id, _| Box::new(Client::new(id, Hired::new(id, seed, Keeper::new(seed, habits)))));
        }
        for number in 0..sim.params.insistent {
            let seed = sim.params.dice.bits("insistent", number);
            let pace = sim.params.dice.pick("insistent's pace", number, &[500, 3_000]) * MS;
            sim.hire(|id, _| {
                Box::new(Client::new(id, Hired::new(id, seed, Insistent::new(seed, pace, RESTS.to_vec()))))
            });
        }
        for number in 0..sim.params.owners {
            let seed = sim.params.dice.bits("owner", number);
            let pace = sim.params.dice.pick("owner's pace", number, &[50, 300, 1_500]) * MS;
            let segment_bytes = vec![300, 2_000, 1 << 20];
            sim.hire(|id, _| {
                Box::new(Client::new(id, Hired::new(id, seed, Owner::new(seed, number, pace, segment_bytes))))
            });
        }
        sim
    }

    /// Adds a client; it begins at once.
    fn hire(&mut self, make: impl FnOnce(u64, &Params) -> Box<dyn Actor>) {
        let client = self.actors.len();
        self.actors.push(make(client as u64, &self.params));
        self.timers.push(self.now);
        self.heap.push(self.now, Event::Timer { client, at: self.now });
    }

    fn run(&mut self) -> Verdict {
        match self.stages() {
            Ok(()) if self.worked().0 == 0 => {
                Verdict::Inconclusive("no producer was acknowledged before all faults had ended".into())
            }
            Ok(()) => Verdict::Clean,
            Err(verdict) => verdict,
        }
    }

    /// What was acknowledged while things went wrong, and until when they did.
    fn worked(&self) -> (u64, u64) {
        self.healed.unwrap_or((self.history.acknowledgements(), self.now))
    }

    fn stages(&mut self) -> Result<(), Verdict> {
        self.rest()?;
        assert!(self.phase == Phase::Heal, "healing is always to come");
        self.nobody_owes()?;
        self.settle();
        self.rest()?;
        self.phase = Phase::ReadBack;
        self.phase_ends = self.now + PATIENCE;
        self.hire(|id, _| Box::new(Client::new(id, Auditor::new(id))));
        self.rest()?;
        self.verdict()?;
        if self.params.harms { self.losses() } else { Ok(()) }
    }

    /// Lets everything happen that is to happen.
    fn rest(&mut self) -> Result<(), Verdict> {
        self.rest_until(u64::MAX)
    }

    /// Lets everything happen that is to happen before a time.
    fn rest_until(&mut self, until: u64) -> Result<(), Verdict> {
        while self.heap.next().is_some_and(|at| at <= until)
            && let Some((at, event)) = self.heap.pop()
        {
            self.now = at;
            self.happen(event);
            self.goes_down();
            if let Some(violation) = self.violation.take() {
                return Err(Verdict::Unsafe(violation));
            }
            if self.phase != Phase::Work && self.now > self.phase_ends {
                return Err(Verdict::Stuck(format!("{:?} does not end: {}", self.phase, self.who_waits())));
            }
            // Where something is not kept for ever, shards look at their logs for ever.
            let ends = matches!(self.phase, Phase::Heal | Phase::Losses);
            if ends && self.heap.all(|event| matches!(event, Event::Wake { .. })) {
                break;
            }
            if self.heap.pushed() > MOST_EVENTS {
                let waits = self.who_waits();
                return Err(Verdict::Stuck(format!("{MOST_EVENTS} events, {:?}: {waits}", self.phase)));
            }
        }
        Ok(())
    }

    fn nobody_owes(&self) -> Result<(), Verdict> {
        match self.actors.iter().find_map(|actor| actor.owes()) {
            Some(who) => Err(Verdict::Stuck(format!("nothing is left to happen, and {who}"))),
            None => Ok(()),
        }
    }

    fn happen(&mut self, event: Event) {
        let Some(event) = self.keep_back(event) else { return };
        let alive = |life: u32| life == self.broker.life;
        let steps = |life: u32| alive(life) && !self.broker.is_closing();
        match event {
            Event::Told { life, shard, input } if steps(life) => self.step(shard, input),
            Event::Wake { life, shard, at } if steps(life) => self.wake(shard, at),
            Event::DiskEnd { life, shard, log } if alive(life) => self.disk_ended(shard, log),
            Event::Recovered { life, shard } if alive(life) => self.recovered(shard),
            Event::Operator { life } if alive(life) => self.operate(life),
            Event::Drained { life } if alive(life) => self.drained(),
            Event::Told { .. }
            | Event::Wake { .. }
            | Event::DiskEnd { .. }
            | Event::Recovered { .. }
            | Event::Operator { .. }
            | Event::Drained { .. } => {}
            Event::Start => self.start(),
            Event::ToBroker { conn, number, message } => self.arrives(conn, number, message),
            Event::ToClient { conn, number, message } => {
                let Some(it) = self.net.reaches_client(conn, number, &message) else { return };
                let client = it.client;
                if matches!(message, ToClient::Closed) {
                    it.client_open = false;
                    self.net.forget_if_over(conn);
                }
                self.act(client, Some(message));
            }
            Event::Timer { client, at } => {
                if self.timers[client] == at {
                    self.timers[client] = u64::MAX;
                    self.act(client, None);
                }
            }
            Event::Fault(fault) => self.fault(&fault),
            Event::Copy => self.copy(),
            Event::GoOn { client } => self.goes_on(client),
            Event::Heal => self.heal(),
        }
    }

    /// A client hears something, or its timer.
    fn act(&mut self, client: usize, heard: Option<ToClient>) {
        if self.gone.contains(&client) {
            return;
        }
        let moment = self.history.moment();
        let mut cx = Cx {
            now: self.now,
            wall: self.clients_wall(),
            params: &self.params,
            history: &mut self.history,
            ledger: &mut self.ledger,
            stopping: self.phase != Phase::Work && !self.crowd.contains(&client),
            out: Vec::new(),
        };
        let verdict = self.actors[client].step(heard, &mut cx);
        let wants = cx.out;
        self.check(verdict);
        if self.history.moment() > moment {
            self.watch();
        }
        for want in wants {
            match want {
                Do::Dial => {
                    let conn = self.net.dial(client);
                    self.actors[client].dialled(conn);
                    self.send(conn, ToBroker::Open);
                }
                Do::Send { conn, correlation, request } => self.send(conn, ToBroker::Request { correlation, request }),
                Do::HangUp { conn } => self.hang_up(conn),
                Do::WakeAt(at) => {
                    let at = at.max(self.now + 1);
                    if at < self.timers[client] {
                        self.timers[client] = at;
                        self.heap.push(at, Event::Timer { client, at });
                    }
                }
            }
        }
    }

    /// A client is done with a connection. Now and then nobody tells the broker, until it asks itself.
    fn hang_up(&mut self, conn: u64) {
        let Some(it) = self.net.conns.get_mut(&conn) else { return };
        it.client_open = false;
        let (dice, key) = (self.params.dice.clone(), it.key);
        if dice.mishap("half open", key, self.params.faults.half_open) {
            self.count("connections left half open");
            let at = self.now + dice.pause("half open for", key, 5 * SECOND, 60 * SECOND);
            self.heap.push(at, Event::ToBroker { conn, number: NEWS, message: ToBroker::Close });
        } else {
            self.send(conn, ToBroker::Close);
        }
    }

    /// A new topic is known: it is looked for at once.
    fn watch(&mut self) {
        for client in 1..=WATCHERS {
            self.timers[client] = self.now;
            self.heap.push(self.now, Event::Timer { client, at: self.now });
        }
    }

    fn send(&mut self, conn: u64, message: ToBroker) {
        if let Some((at, number)) = self.net.upwards(self.now, conn) {
            self.heap.push(at, Event::ToBroker { conn, number, message });
        }
    }

    fn tell(&mut self, conn: u64, message: ToClient) {
        if let Some((at, number)) = self.net.downwards(self.now, conn) {
            self.heap.push(at, Event::ToClient { conn, number, message });
        }
    }

    /// Whether anybody has anything to do: of a run that is replayed all of that may be left out.
    fn has_load(&self) -> bool {
        !self.heap.all(|event| matches!(event, Event::Wake { .. }))
    }

    /// No more faults; perhaps one last restart; every client ends what it began.
    fn heal(&mut self) {
        let late = self.params.duration + MORE_WORK;
        if self.history.acknowledgements() == 0 && self.now < late && self.has_load() {
            return self.heap.push(self.now + SECOND, Event::Heal);
        }
        self.healed = Some(self.worked());
        self.phase = Phase::Heal;
        self.last_ill = self.broker.life;
        self.phase_ends = self.now + PATIENCE;
        let (dice, faults) = (self.params.dice.clone(), self.params.faults);
        self.params.faults = faults.none();
        self.broker.disk.faults = self.params.faults;
        self.end_spells();
        // Without one, what the work left behind must go away by itself.
        if dice.mishap("last restart", 0, 2) {
            let down = dice.pause("last restart takes", 0, 10 * MS, 4 * SECOND);
            let power = faults.power && dice.mishap("last is power", 0, 2);
            // In order, if it may be: the work is over, but not yet answered.
            if self.params.stops && self.broker.is_serving() && dice.mishap("last is a stop", 0, 3) {
                self.stop(1 << 21, Some(down));
            } else {
                self.restart((power, 1 << 21), down, None);
            }
        }
        (0..self.actors.len()).for_each(|client| self.act(client, None));
    }

    /// Somebody waits for retention to do its work, and ends it: else it would go on for ever.
    fn settle(&mut self) {
        self.phase = Phase::Settle;
        let check = self.params.retention_check_ms * MS;
        let ages = !self.params.drifts;
        let quiet = LONGEST_KEPT_MS * MS + RETENTION_DELAY + 2 * check + 20 * SECOND;
        self.phase_ends = self.now + quiet + PATIENCE;
        self.hire(|id, _| Box::new(Client::new(id, Hired::new(id, 0, Settler::new(quiet, ages, true)))));
    }

    /// All that was read back, against all that was seen before.
    fn verdict(&mut self) -> Result<(), Verdict> {
        self.check_at_rest();
        if let (granted, held @ 1..) = self.broker.leases() {
            self.check(Err(Violation {
                property: "no-lease-leak",
                fact: format!("{granted} leases were granted"),
                contradiction: format!("with nothing left to happen {held} are held"),
            }));
        }
        self.nobody_owes()?;
        let left = self.broker.disk.logs().find_map(|log| Some((log, self.history.dead(log.topic)?.clone())));
        if let Some((log, life)) = left {
            self.check(Err(Violation {
                property: "nothing-left-behind",
                fact: format!("the deletion of {life} was acknowledged"),
                contradiction: format!("with nothing left to happen its log {log} is still there"),
            }));
        }
        // A partition that nobody could read back held nothing, or what it held is lost.
        let mut read_back = std::mem::take(&mut self.ledger.read_back);
        for partition in requests::partitions(&self.params) {
            let start = self.history.start(&partition);
            read_back.entry(partition).or_insert((start, Vec::new()));
        }
        for (partition, (start, log)) in read_back {
            let verdict = self.history.finally(&partition, start, &log);
            self.check(verdict);
        }
        self.violation.take().map_or(Ok(()), |violation| Err(Verdict::Unsafe(violation)))
    }

    fn who_waits(&self) -> String {
        let owing: Vec<String> = self.actors.iter().filter_map(|a| a.owes()).collect();
        format!("{} events so far; {}", self.heap.pushed(), owing.join("; "))
    }

    /// Keeps the first violation.
    fn check(&mut self, verdict: Result<(), Violation>) {
        if let (None, Err(violation)) = (&self.violation, verdict) {
            self.violation = Some(violation);
        }
    }

    /// Whether a topic's records are on the device before they are acknowledged.
    fn promises(&self, topic: &str) -> bool {
        self.params.topics.iter().find(|t| t.name == topic).is_none_or(|t| t.durable)
    }

    fn count(&mut self, what: &'static str) {
        *self.counters.entry(what).or_default() += 1;
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9}.{:06} ms  {}", self.now / MS, self.now % MS, line()));
        }
    }

    fn report(mut self, seed: u64, verdict: Verdict) -> Report {
        let (leases, _) = self.broker.leases();
        let tally = self.broker.disk.tally;
        let (acks, worked_ns) = self.worked();
        self.counters.extend([
            ("acks", acks),
            ("steps", self.steps),
            ("events", self.heap.pushed()),
            ("leases", leases),
            ("sync errors", tally.sync_errors),
            ("write errors", tally.write_errors),
            ("writes to a full disk", tally.full),
            ("logs refused", tally.refused),
            ("logs half recovered", tally.half_recovered),
            ("logs closed", tally.closed),
            ("appends that failed", tally.appends_failed),
            ("batches lost", tally.lost),
            ("unsynced batches survived", tally.survived),
            ("rolls", tally.rolls),
            ("largest group", tally.largest_group),
            ("simulated seconds", self.now / SECOND),
        ]);
        self.counters.extend(self.ledger.counters());
        let faults = self.tallied();
        Report {
            engine: Engine::Direct,
            seed,
            simulated_ns: self.now,
            worked_ns,
            verdict,
            counters: self.counters,
            faults,
            digest: self.digest.value(),
            trace: self.trace.unwrap_or_default(),
        }
    }
}
