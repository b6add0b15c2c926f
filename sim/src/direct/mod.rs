//! The `direct` engine: the shards of one broker on one event heap, time jumping from event to event.
//!
//! A run is a function of its seed. No frames: clients hand requests to shards as values and get answers as values; the
//! disk is a list of batches for each log. What that hides (bytes on the wire, files, torn headers) is the `world`
//! engine's; what it buys is breadth: thousands of simulated seconds a second, and faults as fine as a nanosecond.
//!
//! A run works and breaks until its duration is over, then heals (no more faults, one last restart, all that clients
//! are owed is answered), then is read back. Each of the two last phases ends when nothing at all is left to happen.

mod admin;
mod broker;
mod client;
mod consumer;
mod digest;
mod disk;
mod durable;
mod epochs;
mod heap;
mod hired;
mod net;
mod params;
mod producer;
mod replayed;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use klamm_core::effect::Input;
use klamm_core::ids::LogId;

use crate::decisions::{Book, Decisions, Fault, Kind};
use crate::history::History;
use crate::panics;
use crate::report::{Engine, Report, Verdict, Violation};
use crate::workload::keeper::Keeper;
use crate::workload::owner::Owner;
use crate::workload::settler::Settler;
use admin::{Admin, Auditor, Watcher};
use broker::Broker;
use client::{Actor, Client, Cx, Do, Ledger};
use consumer::Consumer;
use digest::Digest;
pub use disk::{Followed, follow};
use epochs::Epochs;
use heap::Heap;
use hired::Hired;
use net::{Net, ToBroker, ToClient};
pub use params::Canary;
use params::{Dice, LONGEST_KEPT_MS, MS, Params, SECOND};
pub(crate) use producer::after;
use producer::{Idempotent, Plain};

/// States that a campaign must reach, by counter: else it tests too little.
pub const SOMETIMES: &[&str] = &[
    "acks",
    "alarms",
    "appends that failed",
    "halts",
    "batches lost",
    "batches too large",
    "batches sent again",
    "configs altered",
    "crashes during deletion",
    "cuts",
    "faults effective",
    "faults refused",
    "kills",
    "leases",
    "partitions added",
    "partitions settled",
    "power losses",
    "producers reset",
    "reads below a start",
    "recoveries cut short",
    "rolls",
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
];

/// Clients that look for topics: the first ones after the one that makes them.
const WATCHERS: usize = 2;
/// Retention first looks so long after a start.
const RETENTION_DELAY: u64 = 30 * SECOND;
/// Healing and reading back each end within this, or the run is stuck.
const PATIENCE: u64 = 300 * SECOND;
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
}

struct Sim {
    params: Params,
    heap: Heap<Event>,
    now: u64,
    phase: Phase,
    phase_ends: u64,
    broker: Broker,
    net: Net,
    actors: Vec<Box<dyn Actor>>,
    /// The timer of each client that counts.
    timers: Vec<u64>,
    ledger: Ledger,
    history: History,
    epochs: Epochs,
    violation: Option<Violation>,
    steps: u64,
    digest: Digest,
    counters: BTreeMap<&'static str, u64>,
    trace: Option<Vec<String>>,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, trace: bool) -> Report {
    run_by(seed, trace, Rc::new(Book::Blank), Canary::None)
}

/// Runs a seed and keeps what was decided.
#[must_use]
pub fn record(seed: u64) -> (Report, Decisions) {
    let book = Rc::new(Book::writing());
    let report = run_by(seed, false, book.clone(), Canary::None);
    (report, book.used())
}

/// Runs what was decided; tells what of it was asked for, and how much was not, of how much.
#[must_use]
pub fn replay(seed: u64, decisions: &Decisions, trace: bool) -> (Report, Decisions, (usize, usize)) {
    let book = Rc::new(Book::reading(decisions.clone()));
    let report = run_by(seed, trace, book.clone(), Canary::None);
    (report, book.used(), book.unused())
}

/// Runs a seed by a book, in a world that may break its promise.
fn run_by(seed: u64, trace: bool, book: Rc<Book>, canary: Canary) -> Report {
    let mut sim = Sim::new(Params { canary, ..Params::of(&Dice::new(seed, book)) }, trace);
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
            broker: Broker::new(&params),
            net: Net::new(params.dice.clone(), params.net_delay),
            actors: Vec::new(),
            timers: Vec::new(),
            ledger: Ledger::default(),
            history: History::default(),
            epochs: Epochs::default(),
            violation: None,
            steps: 0,
            digest: Digest::default(),
            counters: BTreeMap::new(),
            trace: trace.then(Vec::new),
            params,
        };
        if sim.trace.is_some() {
            let parameters = format!("{:?}", sim.params);
            sim.say(|| parameters);
        }
        sim.heap.push(0, Event::Start);
        sim.heap.push(sim.params.duration, Event::Heal);
        for fault in sim.params.plan() {
            sim.heap.push(fault.at, Event::Fault(fault));
        }
        sim.hire(|id, params| Box::new(Client::new(id, Admin::new(params))));
        for _ in 0..WATCHERS {
            sim.hire(|id, params| Box::new(Client::new(id, Watcher::new(id, params))));
        }
        for _ in 0..sim.params.idempotent {
            sim.hire(|id, params| Box::new(Client::new(id, Idempotent::new(id, params))));
        }
        for _ in 0..sim.params.plain {
            sim.hire(|id, params| Box::new(Client::new(id, Plain::new(id, params))));
        }
        for _ in 0..sim.params.consumers {
            sim.hire(|id, params| Box::new(Client::new(id, Consumer::new(id, params))));
        }
        if let Some(habits) = sim.params.habits.clone() {
            let seed = sim.params.dice.bits("keeper", 0);
            sim.hire(|id, _| Box::new(Client::new(id, Hired::new(id, seed, Keeper::new(seed, habits)))));
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
        loop {
            while let Some((at, event)) = self.heap.pop() {
                self.now = at;
                self.happen(event);
                if let Some(violation) = self.violation.take() {
                    return Verdict::Unsafe(violation);
                }
                if self.phase != Phase::Work && self.now > self.phase_ends {
                    return Verdict::Stuck(format!("{:?} does not end: {}", self.phase, self.who_waits()));
                }
                // Where something is not kept for ever, shards look at their logs for ever.
                if self.phase == Phase::Heal && self.heap.all(|event| matches!(event, Event::Wake { .. })) {
                    break;
                }
                if self.heap.pushed() > MOST_EVENTS {
                    return Verdict::Stuck(format!("{MOST_EVENTS} events, {:?}: {}", self.phase, self.who_waits()));
                }
            }
            match self.phase {
                Phase::Work => unreachable!("healing is always to come"),
                Phase::Heal => {
                    if let Some(who) = self.actors.iter().find_map(|a| a.owes()) {
                        return Verdict::Stuck(format!("nothing is left to happen, and {who}"));
                    }
                    self.counters.insert("acks", self.history.acknowledgements());
                    self.settle();
                }
                Phase::Settle => {
                    self.phase = Phase::ReadBack;
                    self.phase_ends = self.now + PATIENCE;
                    self.hire(|id, _| Box::new(Client::new(id, Auditor::new(id))));
                }
                Phase::ReadBack => return self.verdict(),
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let alive = |life: u32| life == self.broker.life;
        match event {
            Event::Told { life, shard, input } if alive(life) => self.step(shard, input),
            Event::Wake { life, shard, at } if alive(life) => self.wake(shard, at),
            Event::DiskEnd { life, shard, log } if alive(life) => self.disk_ended(shard, log),
            Event::Recovered { life, shard } if alive(life) => self.recovered(shard),
            Event::Operator { life } if alive(life) => self.operate(life),
            Event::Told { .. }
            | Event::Wake { .. }
            | Event::DiskEnd { .. }
            | Event::Recovered { .. }
            | Event::Operator { .. } => {}
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
            Event::Fault(fault) => self.fault(fault),
            Event::Heal => self.heal(),
        }
    }

    /// A client hears something, or its timer.
    fn act(&mut self, client: usize, heard: Option<ToClient>) {
        let moment = self.history.moment();
        let mut cx = Cx {
            now: self.now,
            wall: self.clock().wall,
            params: &self.params,
            history: &mut self.history,
            ledger: &mut self.ledger,
            stopping: self.phase != Phase::Work,
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
                Do::HangUp { conn } => {
                    self.send(conn, ToBroker::Close);
                    if let Some(it) = self.net.conns.get_mut(&conn) {
                        it.client_open = false;
                    }
                }
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

    /// Something goes wrong.
    fn fault(&mut self, fault: Fault) {
        if self.phase != Phase::Work {
            return;
        }
        self.params.dice.book().happened(fault);
        self.count("faults drawn");
        let effect = match fault.kind {
            Kind::Kill | Kind::PowerLoss => {
                self.broker.is_up().then(|| self.broker.disk.is_busy() || self.net.is_busy())
            }
            Kind::Cut => self.net.open().next().is_some().then(|| self.net.is_busy()),
        };
        // Who is down cannot die, and what is not there cannot break. What is at rest hardly notices.
        match effect {
            None => self.count("faults refused"),
            Some(false) => self.count("faults applied"),
            Some(true) => {
                self.count("faults applied");
                self.count("faults effective");
            }
        }
        match fault.kind {
            Kind::Kill => self.restart((false, fault.n), fault.down, fault.again),
            Kind::PowerLoss => self.restart((true, fault.n), fault.down, fault.again),
            Kind::Cut => self.cut(fault.n),
        }
    }

    /// The broker dies and comes back after `down`; sometimes it dies again so long after that, perhaps while it
    /// recovers.
    fn restart(&mut self, (power, key): (bool, u64), down: u64, again: Option<u64>) {
        self.crash(power, key);
        self.heap.push(self.now + down, Event::Start);
        if let Some(after) = again.filter(|_| self.phase == Phase::Work) {
            self.heap.push(self.now + down + after, Event::Operator { life: self.broker.life + 1 });
        }
    }

    /// Somebody has it die, and comes to start it again.
    fn operate(&mut self, life: u32) {
        let down = self.params.dice.pause("operator takes", u64::from(life), 10 * MS, 4 * SECOND);
        self.restart((false, 1 << 20 | u64::from(life)), down, None);
    }

    /// A connection breaks.
    fn cut(&mut self, n: u64) {
        let open: Vec<u64> = self.net.open().collect();
        if open.is_empty() {
            return;
        }
        let conn = self.params.dice.pick("which to cut", n, &open);
        let (broker_hears, client_hears) = self.net.cut(conn, n);
        self.count("cuts");
        self.say(|| format!("connection {conn} breaks"));
        let (number, message) = (u64::MAX, ToBroker::Close);
        self.heap.push(self.now + broker_hears, Event::ToBroker { conn, number, message });
        if let Some(after) = client_hears {
            let message = ToClient::Closed;
            self.heap.push(self.now + after, Event::ToClient { conn, number, message });
        }
    }

    /// No more faults; perhaps one last restart; every client ends what it began.
    fn heal(&mut self) {
        self.phase = Phase::Heal;
        self.phase_ends = self.now + PATIENCE;
        let (dice, faults) = (self.params.dice.clone(), self.params.faults);
        self.params.faults = faults.none();
        self.broker.disk.faults = self.params.faults;
        // Without one, what the work left behind must go away by itself.
        if dice.mishap("last restart", 0, 2) {
            let down = dice.pause("last restart takes", 0, 10 * MS, 4 * SECOND);
            let power = faults.power && dice.mishap("last is power", 0, 2);
            self.restart((power, 1 << 21), down, None);
        }
        (0..self.actors.len()).for_each(|client| self.act(client, None));
    }

    /// Somebody waits for retention to do its work, and ends it: else it would go on for ever.
    fn settle(&mut self) {
        self.phase = Phase::Settle;
        let check = self.params.retention_check_ms * MS;
        let quiet = LONGEST_KEPT_MS * MS + RETENTION_DELAY + 2 * check + 20 * SECOND;
        self.phase_ends = self.now + quiet + PATIENCE;
        self.hire(|id, _| Box::new(Client::new(id, Hired::new(id, 0, Settler::new(quiet, true, true)))));
    }

    /// All that was read back, against all that was seen before.
    fn verdict(&mut self) -> Verdict {
        self.check_at_rest();
        if let (granted, held @ 1..) = self.broker.leases() {
            self.check(Err(Violation {
                property: "no-lease-leak",
                fact: format!("{granted} leases were granted"),
                contradiction: format!("with nothing left to happen {held} are held"),
            }));
        }
        if let Some(who) = self.actors.iter().find_map(|a| a.owes()) {
            return Verdict::Stuck(format!("nothing is left to happen, and {who}"));
        }
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
        for partition in producer::partitions(&self.params) {
            let start = self.history.start(&partition);
            read_back.entry(partition).or_insert((start, Vec::new()));
        }
        for (partition, (start, log)) in read_back {
            let verdict = self.history.finally(&partition, start, &log);
            self.check(verdict);
        }
        match self.violation.take() {
            Some(violation) => Verdict::Unsafe(violation),
            None if self.counters.get("acks") == Some(&0) => {
                Verdict::Inconclusive("no producer was ever acknowledged".into())
            }
            None => Verdict::Clean,
        }
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
        self.counters.extend([
            ("steps", self.steps),
            ("events", self.heap.pushed()),
            ("leases", leases),
            ("sync errors", tally.sync_errors),
            ("write errors", tally.write_errors),
            ("appends that failed", tally.appends_failed),
            ("batches lost", tally.lost),
            ("unsynced batches survived", tally.survived),
            ("rolls", tally.rolls),
            ("largest group", tally.largest_group),
            ("simulated seconds", self.now / SECOND),
        ]);
        self.counters.extend(self.ledger.counters());
        Report {
            engine: Engine::Direct,
            seed,
            simulated_ns: self.now,
            verdict,
            counters: self.counters,
            digest: self.digest.value(),
            trace: self.trace.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shrink::shrink;

    #[test]
    fn a_seed_twice_is_the_same_run() {
        for seed in 0..10 {
            let (one, two) = (run(seed, false), run(seed, seed == 3));
            assert_eq!((one.digest, one.counters), (two.digest, two.counters), "seed {seed}");
        }
        assert_ne!(run(1, false).digest, run(2, false).digest);
    }

    #[test]
    fn what_was_decided_replays_to_the_same_run() {
        for seed in 0..10 {
            let (report, decisions) = record(seed);
            let (again, used, (unused, of)) = replay(seed, &decisions, false);
            assert_eq!((report.digest, report.counters), (again.digest, again.counters), "seed {seed}");
            assert!(of > 100, "seed {seed} decides only {of} things");
            // Of turns that nobody came to take, and faults that were still to come, some are left.
            assert!(unused * 50 < of, "seed {seed}: {unused} of {of} are not asked for");
            assert_eq!(replay(seed, &used, false).0.digest, report.digest, "seed {seed}");
        }
    }

    #[test]
    fn every_subset_is_a_run_in_which_all_is_well() {
        for seed in 0..20 {
            let (_, decisions) = record(seed);
            let some = decisions.items().enumerate().filter(|(n, _)| n % 3 != seed as usize % 3).map(|(_, item)| item);
            let (report, _, _) = replay(seed, &decisions.without(&some.collect()), false);
            assert!(matches!(report.verdict, Verdict::Clean | Verdict::Inconclusive(_)), "{report}");
            let nothing = Decisions { parameters: decisions.parameters.clone(), ..Decisions::default() };
            let (report, _, _) = replay(seed, &nothing, false);
            assert!(matches!(report.verdict, Verdict::Inconclusive(_)), "nobody does anything: {report}");
        }
    }

    #[test]
    fn a_broken_promise_comes_down_to_one_fault_and_a_few_turns() {
        let canary = Canary::RecoveredNotDurable;
        let property = |report: &Report| report.property().map(str::to_owned);
        let failing = (0..60).find(|seed| property(&run_by(*seed, false, Rc::new(Book::Blank), canary)).is_some());
        let seed = failing.expect("it is found");
        let book = Rc::new(Book::writing());
        let report = run_by(seed, false, book.clone(), canary);
        let mut run = |decisions: &Decisions| {
            let book = Rc::new(Book::reading(decisions.clone()));
            let report = run_by(seed, false, book.clone(), canary);
            (property(&report), book.used())
        };
        let before = book.used();
        let shrunk = shrink(&before, "durable-before-seen", 1_000, &mut run).expect("it replays");
        assert_eq!(property(&report).as_deref(), Some("durable-before-seen"));
        let (many, few) = (before.sizes(), shrunk.decisions.sizes());
        assert!(few.faults == 1 && few.turns * 5 < many.turns, "{many:?} became {few:?} in {} runs", shrunk.runs);
    }

    /// The first seed in which a broken promise of the disk is found out, and as what.
    fn found(canary: Canary) -> Violation {
        let reports = (0..60).map(|seed| run_by(seed, false, Rc::new(Book::Blank), canary));
        let unsafe_ones = reports.filter_map(|report| match report.verdict {
            Verdict::Unsafe(violation) => Some(violation),
            Verdict::Clean | Verdict::Stuck(_) | Verdict::Inconclusive(_) => None,
        });
        unsafe_ones.into_iter().next().unwrap_or_else(|| panic!("{canary:?} is not found"))
    }

    #[test]
    fn done_before_the_sync_is_found() {
        assert_eq!(found(Canary::DoneBeforeSync).property, "durable-before-seen");
    }

    #[test]
    fn an_ignored_failure_is_found() {
        assert_eq!(found(Canary::FailureIgnored).property, "durable-before-seen");
    }

    #[test]
    fn recovery_that_makes_nothing_durable_is_found() {
        assert_eq!(found(Canary::RecoveredNotDurable).property, "durable-before-seen");
    }
}
