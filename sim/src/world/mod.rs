//! The engine `world`: the real host, codec, connections, segment files and recovery, over turmoil's network and the
//! simulated disk. One broker, its clients, and everything that goes wrong, as a function of a seed.
//!
//! A run works under faults, then ends them with a last crash; from there on everything must be answered, every
//! partition must take a record, and all that was ever acknowledged or read must read back over the wire.

mod admin;
mod audit;
mod broker;
mod consumer;
mod hired;
mod hostile;
mod inspector;
mod ledger;
mod loss;
mod nemesis;
mod parameters;
mod producer;
mod session;
mod tape;
mod trace;

use crate::client::BROKER;
use crate::clock::EPOCH_MS;
use crate::disk::{Device, SimDisk};
use crate::panics::{self, Watch};
use crate::report::{Engine, Report, Verdict, Violation};
use crate::workload::keeper::Keeper;
use crate::workload::owner::Owner;
use broker::Site;
use klamm_core::rng::{self, Rng};
use ledger::{Ledger, Phase};
use nemesis::{CLIENTS, Nemesis};
use parameters::{MS, Parameters};
use std::future::{Future, pending};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, SystemTime};
pub use tape::{Taped, steps_again, taped};
use tokio::task::spawn_local;
use turmoil::Sim;

/// What may take so long, at most, in simulated milliseconds: topics that are created while nothing goes wrong, the end
/// of what is under way once nothing goes wrong any more, the audit.
const READY_MS: u64 = 20_000;
/// Work goes on so much longer while nothing was acknowledged.
const MORE_WORK_MS: u64 = 10_000;
const DRAIN_MS: u64 = 20_000;
const AUDIT_MS: u64 = 40_000;
/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(3_600);
/// More connections than ever wait to be accepted: turmoil panics beyond.
const TCP_CAPACITY: usize = 4_096;

/// States that a campaign must reach, by counter: else it tests too little.
pub const SOMETIMES: &[&str] = &[
    "kills",
    "power losses with unsynced data",
    "crashes in recovery",
    "clean stops",
    "sync errors",
    "write errors",
    "torn tails cut",
    "rolls",
    "trims",
    "trims without an end",
    "trims by retention",
    "trims of everything",
    "reads below a start",
    "configs altered",
    "batches too large",
    "partitions added",
    "partitions settled",
    "topics deleted",
    "topics made again",
    "topics made again after a crash",
    "crashes during deletion",
    "duplicates recognised",
    "fetches over two shards",
    "fetches in a session",
    "answers read late",
    "batches said again without an id",
    "brokers that refuse",
    "bytes rotten",
    "damage seen by clients",
    "disks wiped",
    "evictions of what was never written",
    "folders lost",
    "frames cut off",
    "harm refused",
    "harm to what is made anew",
    "logs reported",
    "old copies",
    "pauses",
    "pipelines longer than a window",
    "pipelines out of order",
    "sectors unreadable",
    "sequences refused",
    "stalls",
    "steps of the wall clock",
    "writes astray",
    "writes to a full disk",
    "zombies",
];

struct World {
    sim: Sim<'static>,
    seed: u64,
    parameters: Rc<Parameters>,
    site: Rc<Site>,
    ledger: Rc<Ledger>,
    nemesis: Nemesis,
    watch: Watch,
}

/// Runs a seed. `trace`: the report has a line a step; else, of a run that failed, the last ones.
#[must_use]
pub fn run(seed: u64, trace: bool) -> Report {
    let watch = panics::watch();
    conclude(ManuallyDrop::new(World::new(seed, trace, watch)), trace)
}

fn conclude(mut world: ManuallyDrop<World>, trace: bool) -> Report {
    let ended = catch_unwind(AssertUnwindSafe(|| world.drive()));
    let verdict = match ended {
        Ok(verdict) => verdict,
        Err(_) => world.panicked().unwrap_or_else(|| Verdict::Inconclusive("a panic without a word".to_owned())),
    };
    let report = world.report(verdict, trace);
    if world.watch.first().is_none() {
        // After a panic anything may be half done: better leaked than dropped.
        drop(ManuallyDrop::into_inner(world));
    }
    report
}

impl World {
    fn new(seed: u64, trace: bool, watch: Watch) -> World {
        let parameters = Rc::new(Parameters::draw(&mut Rng::new(rng::draw(seed, "parameters", 0))));
        let epoch = SystemTime::UNIX_EPOCH + Duration::from_millis(EPOCH_MS.unsigned_abs());
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(epoch)
            .tick_duration(Duration::from_millis(1))
            .simulation_duration(FOR_EVER)
            .min_message_latency(Duration::ZERO)
            .max_message_latency(Duration::from_millis(parameters.latency_ms))
            .tcp_capacity(TCP_CAPACITY)
            .build();
        let ledger = Ledger::new();
        let device = Device::new(SimDisk::new(rng::draw(seed, "disk", 0), parameters.disk.clone()));
        let site = Site::new(seed, Parameters::clone(&parameters), device, ledger.clone(), trace);
        let broker = site.clone();
        sim.host(BROKER, move || broker.clone().live());
        let clients = (ledger.clone(), parameters.clone());
        sim.host(CLIENTS, move || {
            let (ledger, parameters) = clients.clone();
            async move {
                begin(&ledger, &parameters, seed);
                pending().await
            }
        });
        let rng = Rng::new(rng::draw(seed, "nemesis", 0));
        let nemesis = Nemesis::new(rng, parameters.clone(), site.clone(), ledger.clone());
        World { sim, seed, parameters, site, ledger, nemesis, watch }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.sim.elapsed().as_nanos()).expect("runs are shorter than 584 years")
    }

    fn drive(&mut self) -> Verdict {
        match self.stages() {
            Ok(0) => Verdict::Inconclusive("nothing was acknowledged under faults".to_owned()),
            Ok(_) => Verdict::Clean,
            Err(verdict) => verdict,
        }
    }

    /// Gives how often something was acknowledged while things went wrong: afterwards it always is.
    fn stages(&mut self) -> Result<u64, Verdict> {
        if !self.steps_until(READY_MS, false, |ledger, _| ledger.ready.get())? {
            return Err(Verdict::Stuck("topics were not created, though nothing went wrong".to_owned()));
        }
        self.nemesis.begin(self.now());
        let least = self.now() + self.parameters.work_ms * MS;
        let most_ms = self.parameters.work_ms + MORE_WORK_MS;
        let acknowledged = |ledger: &Ledger| ledger.history.borrow().acknowledgements();
        self.steps_until(most_ms, true, |ledger, now| now >= least && acknowledged(ledger) > 0)?;
        let acknowledged = acknowledged(&self.ledger);
        self.ledger.phase.set(Phase::Drain);
        let now = self.now();
        self.nemesis.heal(&mut self.sim, now);
        if !self.steps_until(DRAIN_MS, false, |ledger, _| ledger.busy.get() == 0)? {
            let clients = self.ledger.busy.get();
            return Err(Verdict::Stuck(format!("{clients} clients still wait, long after the last fault")));
        }
        self.ledger.phase.set(Phase::Audit);
        if !self.steps_until(AUDIT_MS, false, |ledger, _| ledger.phase.get() == Phase::Done)? {
            return Err(Verdict::Stuck(format!("the audit waits for {}", self.ledger.waits_for.borrow())));
        }
        self.losses()?;
        Ok(acknowledged)
    }

    /// Steps until something is true, for so many milliseconds at most; tells whether it became true.
    fn steps_until(&mut self, ms: u64, faults: bool, done: impl Fn(&Ledger, u64) -> bool) -> Result<bool, Verdict> {
        let until = self.now() + ms * MS;
        while self.now() < until {
            if done(&self.ledger, self.now()) {
                return Ok(true);
            }
            if faults {
                let now = self.now();
                self.nemesis.act(&mut self.sim, now);
            }
            let stepped = self.sim.step();
            if let Some(verdict) = self.panicked().or_else(|| self.violated()) {
                return Err(verdict);
            }
            if let Err(error) = stepped {
                return Err(Verdict::Inconclusive(format!("the simulation itself failed: {error}")));
            }
        }
        Ok(false)
    }

    fn violated(&self) -> Option<Verdict> {
        let broken = |property: &'static str, contradiction: String| {
            let fact = "no byte of the disk ever rotted, and now it is well".to_owned();
            Some(Verdict::Unsafe(Violation { property, fact, contradiction }))
        };
        if self.ledger.phase.get() != Phase::Work {
            let (refused, harmed) = (self.site.refused.borrow(), self.ledger.harmed.borrow());
            let broker = self.ledger.broker_harmed.get();
            if let Some((_, why)) = refused.iter().find(|(log, _)| !broker && !harmed.contains_key(log)) {
                return broken("nothing-refused", format!("recovery refuses {why}"));
            }
            if let Some(why) = self.site.failed.borrow().as_ref().filter(|_| !self.ledger.declared.get()) {
                return broken("stays-up", format!("the broker ends: {why}"));
            }
        }
        self.ledger.violation().map(Verdict::Unsafe)
    }

    fn panicked(&self) -> Option<Verdict> {
        let contradiction = self.watch.first()?;
        let fact = "nothing of a run may panic".to_owned();
        Some(Verdict::Unsafe(Violation { property: "no-panic", fact, contradiction }))
    }

    fn report(&self, verdict: Verdict, trace: bool) -> Report {
        let ledger = &self.ledger;
        let acknowledged = ledger.history.try_borrow().map_or(0, |history| history.acknowledgements());
        ledger.count("acks", acknowledged);
        let mut counters = ledger.counters();
        let (mut digest, mut lines) = (ledger.digest(), Vec::new());
        // A panic may have left them borrowed.
        if let Ok(steps) = self.site.trace.try_borrow() {
            digest = rng::mix(digest ^ steps.digest());
            counters.insert("steps", steps.steps());
            if trace || verdict != Verdict::Clean {
                lines = steps.lines();
            }
        }
        let counts = *self.site.device.disk().counts();
        counters.insert("disk operations", counts.ops);
        counters.insert("sync errors", counts.sync_errors.effective);
        counters.insert("write errors", counts.write_errors.effective);
        counters.insert("stalls", counts.stalls.drawn);
        counters.insert("writes to a full disk", counts.full);
        counters.insert("reads and writes of unreadable sectors", counts.unreadable);
        counters.insert("sectors lost", counts.sectors_lost);
        counters.insert("names lost", counts.names_lost);
        let (engine, seed, simulated_ns) = (Engine::World, self.seed, self.now());
        Report { engine, seed, simulated_ns, verdict, counters, digest, trace: lines }
    }
}

/// Starts all clients.
fn begin(ledger: &Rc<Ledger>, parameters: &Rc<Parameters>, seed: u64) {
    let seed_of = |site: &str, number: u32| rng::draw(seed, site, u64::from(number));
    employ(ledger, admin::administer(ledger.clone(), parameters.clone(), seed_of("admin", 0)));
    for number in 0..parameters.producers {
        employ(ledger, producer::produce(ledger.clone(), parameters.clone(), seed_of("producer", number)));
    }
    if let Some(habits) = parameters.habits.clone() {
        let keeper = Keeper::new(seed_of("keeper", 0), habits);
        employ(ledger, hired::work(ledger.clone(), keeper, seed_of("keeper's connections", 0)));
    }
    for number in 0..parameters.owners {
        let owner = Owner::new(seed_of("owner", number), u64::from(number), 40 * MS, vec![300, 2_000, 1 << 20]);
        employ(ledger, hired::work(ledger.clone(), owner, seed_of("owner's connections", number)));
    }
    for number in 0..parameters.more.hostile {
        employ(ledger, hostile::annoy(ledger.clone(), parameters.clone(), seed_of("hostile", number)));
    }
    for number in 0..parameters.consumers {
        employ(ledger, consumer::consume(ledger.clone(), seed_of("consumer", number)));
    }
    spawn_local(inspector::inspect(ledger.clone(), seed_of("inspector", 0)));
    spawn_local(audit::audit(ledger.clone(), parameters.clone(), seed_of("audit", 0)));
}

/// Starts a client whose work is waited for.
fn employ(ledger: &Rc<Ledger>, work: impl Future<Output = ()> + 'static) {
    ledger.busy.set(ledger.busy.get() + 1);
    let ledger = ledger.clone();
    spawn_local(async move {
        work.await;
        ledger.busy.set(ledger.busy.get() - 1);
    });
}
