//! The engine `world`: the real host, codec, connections, segment files and recovery, over turmoil's network and the
//! simulated disk. One broker, its clients, and everything that goes wrong, as a function of a seed.
//!
//! A run works under faults, then ends them with a last crash; from there on everything must be answered, every
//! partition must take a record, and all that was ever acknowledged or read must read back over the wire.
//!
//! What goes wrong, what clients begin and what the disk does is drawn by key, through a book of decisions, and so can be
//! replayed and shrunk. How long messages take is drawn by the millisecond in which they are sent, for both directions
//! together: turmoil draws for each message, from one stream of its own, in which leaving out one moves all later ones; but
//! it lets a link's latency be set from outside, and then draws nothing that counts.
//!
//! Properties, looked at all the time: `stays-up` (once the disk is well the broker does not end by itself) and
//! `nothing-refused` (and recovery refuses no log of which nothing was harmed): what a failing disk took away, a restart
//! brings back.

mod admin;
mod audit;
mod broker;
mod hired;
mod hostile;
mod ledger;
mod loss;
mod nemesis;
mod parameters;
mod plan;
mod reading;
mod recomputed;
mod remains;
mod still;
mod tape;
mod trace;
mod turns;

use crate::client::{BROKER, Wire};
use crate::clock::EPOCH_MS;
use crate::decisions::Book;
use crate::dice::Dice;
use crate::disk::{Device, Faults, SimDisk};
use crate::panics::{self, Watch};
use crate::report::{Engine, Report, Tally, Verdict, Violation};
use crate::workload::consumer::Consumer;
use crate::workload::insistent::Insistent;
use crate::workload::keeper::Keeper;
use crate::workload::owner::Owner;
use crate::workload::producer::Producer;
use broker::Site;
use klamm_core::rng;
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
use turns::Turns;

/// What may take so long, at most, in simulated milliseconds: topics that are created while nothing goes wrong, the end
/// of what is under way once nothing goes wrong any more, the audit.
const READY_MS: u64 = 20_000;
/// Work goes on so much longer while nothing was acknowledged.
const MORE_WORK_MS: u64 = 10_000;
const DRAIN_MS: u64 = 20_000;
const AUDIT_MS: u64 = 40_000;
/// Producers of a crowd, each another client whenever there is one.
const CROWD: u64 = 2;
/// How long producers without manners rest before they say everything again.
const RESTS: [u64; 4] = [10 * MS, 100 * MS, 700 * MS, 3_000 * MS];
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
    "clients that stand still",
    "sync errors",
    "write errors",
    "torn tails cut",
    "rolls",
    "trims",
    "trims without an end",
    "trims by retention",
    "trims of everything",
    "reads below a start",
    "records compared with files",
    "configs altered",
    "batches too large",
    "partitions added",
    "partitions settled",
    "partitions taken out of a session",
    "topics deleted",
    "topics made again",
    "topics made again after a crash",
    "crashes during deletion",
    "duplicates recognised",
    "ends of epochs",
    "fetches over two shards",
    "fetches in a session",
    "answers read late",
    "batches sent again",
    "brokers that refuse",
    "bytes rotten",
    "crashes while cut off",
    "cuts",
    "cuts downwards only",
    "cuts upwards only",
    "damage seen by clients",
    "disks wiped",
    "evictions of what was never written",
    "folders lost",
    "frames cut off",
    "harm refused",
    "harm under load",
    "harm to what is made anew",
    "holds",
    "logs reported",
    "old copies",
    "pauses",
    "pipelines longer than a window",
    "pipelines out of order",
    "sectors unreadable",
    "producers reset",
    "sequences refused",
    "speeches said again",
    "speeches without an id",
    "stalls",
    "steps of the wall clock",
    "writes astray",
    "writes to a full disk",
    "zombies",
];

struct World {
    sim: Sim<'static>,
    seed: u64,
    dice: Dice,
    /// Draws how long messages take.
    links: Dice,
    parameters: Rc<Parameters>,
    site: Rc<Site>,
    ledger: Rc<Ledger>,
    nemesis: Nemesis,
    watch: Watch,
    /// How much was acknowledged when faults ended, and when they did.
    healed: Option<(u64, u64)>,
}

/// Runs a seed. `trace`: the report has a line a step; else, of a run that failed, the last ones.
#[must_use]
pub fn run(seed: u64, trace: bool) -> Report {
    by(seed, trace, Rc::new(Book::Blank))
}

/// Runs a seed by a book.
#[must_use]
pub fn by(seed: u64, trace: bool, book: Rc<Book>) -> Report {
    run_by(seed, trace, book, Canary::None)
}

/// A promise that the world breaks on purpose: it must be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Keeps every promise.
    None,
    /// Who loses power finds a bit of its longest log flipped, and nobody was told.
    PowerLossRots,
}

/// Runs a seed by a book, in a world that may break its promise.
fn run_by(seed: u64, trace: bool, book: Rc<Book>, canary: Canary) -> Report {
    let watch = panics::watch();
    let mut world = ManuallyDrop::new(World::new(&Dice::new(seed, book), seed, trace, watch));
    world.nemesis.rots_at_power_loss = canary == Canary::PowerLossRots;
    conclude(world, trace)
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
    fn new(dice: &Dice, seed: u64, trace: bool, watch: Watch) -> World {
        let parameters = Rc::new(Parameters::draw(&dice.apart("parameters")));
        let epoch = SystemTime::UNIX_EPOCH + Duration::from_millis(EPOCH_MS.unsigned_abs());
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(epoch)
            .tick_duration(Duration::from_millis(1))
            .simulation_duration(FOR_EVER)
            .tcp_capacity(TCP_CAPACITY)
            .build();
        let ledger = Ledger::new(Wire::new(dice.apart("clients' connections")));
        let device = Device::new(SimDisk::by(dice.apart("disk"), parameters.disk.clone()));
        let own = (seed, dice.apart("lives"));
        let site = Site::new(own, Parameters::clone(&parameters), device, ledger.clone(), trace);
        let broker = site.clone();
        sim.host(BROKER, move || broker.clone().live());
        let clients = (ledger.clone(), parameters.clone(), dice.apart("clients"));
        sim.host(CLIENTS, move || {
            let (ledger, parameters, dice) = clients.clone();
            async move {
                begin(&ledger, &parameters, &dice);
                pending().await
            }
        });
        let nemesis = Nemesis::new(dice.apart("nemesis"), parameters.clone(), site.clone(), ledger.clone());
        let (links, dice) = (dice.apart("links"), dice.apart("losses"));
        World { sim, seed, dice, links, parameters, site, ledger, nemesis, watch, healed: None }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.sim.elapsed().as_nanos()).expect("runs are shorter than 584 years")
    }

    fn drive(&mut self) -> Verdict {
        match self.stages() {
            Ok(()) if self.worked().0 == 0 => {
                Verdict::Inconclusive("no producer was acknowledged before all faults had ended".to_owned())
            }
            Ok(()) => Verdict::Clean,
            Err(verdict) => verdict,
        }
    }

    /// What was acknowledged while things went wrong, and until when they did: afterwards something always is.
    fn worked(&self) -> (u64, u64) {
        let acknowledged = || self.ledger.history.try_borrow().map_or(0, |history| history.acknowledgements());
        self.healed.unwrap_or_else(|| (acknowledged(), self.now()))
    }

    fn stages(&mut self) -> Result<(), Verdict> {
        if !self.steps_until(READY_MS, false, |ledger, _| ledger.ready.get())? {
            return Err(Verdict::Stuck("topics were not created, though nothing went wrong".to_owned()));
        }
        self.nemesis.begin(self.now());
        let least = self.now() + self.parameters.work_ms * MS;
        let most_ms = self.parameters.work_ms + MORE_WORK_MS;
        let acknowledged = |ledger: &Ledger| ledger.history.borrow().acknowledgements();
        self.steps_until(most_ms, true, |ledger, now| now >= least && acknowledged(ledger) > 0)?;
        self.healed = Some(self.worked());
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
        remains::look(&self.site.device.disk(), &self.ledger.history.borrow()).map_err(Verdict::Unsafe)?;
        self.losses()
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
            self.delay_messages();
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

    /// What is sent in this millisecond takes so long: mostly little, seldom as long as it may.
    fn delay_messages(&self) {
        let (tick, most) = (self.now() / MS, self.parameters.latency_ms);
        let shrunk = self.links.bits("shorter", tick).trailing_zeros();
        let ms = self.links.below("latency", tick, most + 1).checked_shr(shrunk).unwrap_or_default();
        self.sim.set_link_latency(BROKER, CLIENTS, Duration::from_millis(ms));
    }

    fn violated(&self) -> Option<Verdict> {
        let broken = |property: &'static str, contradiction: String| {
            let fact = "nothing was harmed that it could not do without, and now the disk is well".to_owned();
            Some(Verdict::Unsafe(Violation { property, fact, contradiction }))
        };
        if self.ledger.phase.get() != Phase::Work {
            let (refused, harmed) = (self.site.refused.borrow(), self.ledger.harmed.borrow());
            let unharmed = |log| !harmed.broker && !harmed.logs.contains_key(log);
            if let Some((_, why)) = refused.iter().find(|(log, _)| unharmed(log)) {
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
        let (acks, worked_ns) = self.worked();
        ledger.count("acks", acks);
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
        let mut faults = ledger.tallies();
        let errors =
            [("write error", counts.write_errors), ("sync error", counts.sync_errors), ("disk stall", counts.stalls)];
        faults.extend(errors.map(|(name, Faults { drawn, applied, effective })| {
            // An operation that a crash overtook did not fail.
            (name, Tally { drawn, applied, refused: drawn - applied, effective })
        }));
        let (engine, seed, simulated_ns) = (Engine::World, self.seed, self.now());
        Report { engine, seed, simulated_ns, worked_ns, verdict, counters, faults, digest, trace: lines }
    }
}

/// Starts all clients. The number of each is the key of its turns.
fn begin(ledger: &Rc<Ledger>, parameters: &Rc<Parameters>, dice: &Dice) {
    let turns = |kind: u64, number: u32| Turns::new(dice.clone(), 100 * kind + u64::from(number));
    employ(ledger, admin::administer(ledger.clone(), parameters.clone(), turns(0, 0)));
    for number in 0..parameters.producers {
        let turns = turns(1, number);
        let producer = Producer::new(turns.seed(), parameters.producer());
        employ(ledger, hired::work(ledger.clone(), producer, turns));
    }
    for number in 0..parameters.insistent {
        let turns = turns(8, number);
        let insistent = Insistent::new(turns.seed(), parameters.producer().pace * 20, RESTS.to_vec());
        employ(ledger, hired::work(ledger.clone(), insistent, turns));
    }
    if let Some(habits) = parameters.habits.clone() {
        let turns = turns(2, 0);
        let keeper = Keeper::new(turns.seed(), habits);
        employ(ledger, hired::work(ledger.clone(), keeper, turns));
    }
    for number in 0..parameters.owners {
        let turns = turns(3, number);
        let owner = Owner::new(turns.seed(), u64::from(number), 40 * MS, vec![300, 2_000, 1 << 20]);
        employ(ledger, hired::work(ledger.clone(), owner, turns));
    }
    for number in 0..parameters.more.hostile {
        employ(ledger, hostile::annoy(ledger.clone(), parameters.clone(), turns(4, number)));
    }
    for number in 0..parameters.consumers {
        let turns = turns(5, number);
        let consumer = Consumer::new(turns.seed(), parameters.reading());
        employ(ledger, hired::work(ledger.clone(), consumer, turns));
    }
    spawn_local(hired::inspect(ledger.clone(), dice.clone(), 600..700));
    for number in 0..CROWD {
        let clients = 900 + 100 * number..1_000 + 100 * number;
        spawn_local(hired::throng(ledger.clone(), parameters.clone(), dice.clone(), clients));
    }
    spawn_local(audit::audit(ledger.clone(), parameters.clone(), turns(7, 0)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Lie;
    use crate::decisions::{Decisions, Fault, Kind, recorded, replayed};
    use crate::shrink::shrink;
    use klamm_core::ids::LogId;
    use klamm_core::wire::{MetadataResponseTopic, Response, error};

    #[test]
    fn what_was_decided_replays_to_the_same_run() {
        for seed in 0..12 {
            let (report, decisions) = recorded(|book| by(seed, false, book));
            assert_eq!(report.digest, run(seed, false).digest, "seed {seed}: recording changes nothing");
            let (again, used, (unused, of)) = replayed(&decisions, |book| by(seed, false, book));
            assert_eq!((report.digest, report.counters), (again.digest, again.counters), "seed {seed}");
            assert_eq!(report.faults, again.faults, "seed {seed}");
            assert!(of > 500, "seed {seed} decides only {of} things");
            // A turn that comes while another one waits may have to wait, too.
            assert!(unused * 50 < of, "seed {seed}: {unused} of {of} are not asked for");
            assert_eq!(replayed(&used, |book| by(seed, false, book)).0.digest, report.digest, "seed {seed}");
        }
    }

    #[test]
    fn every_subset_is_a_run_in_which_all_is_well() {
        for seed in 0..30 {
            let (_, decisions) = recorded(|book| by(seed, false, book));
            let some = decisions.items().enumerate().filter(|(n, _)| n % 3 != seed as usize % 3).map(|(_, item)| item);
            let (report, _, _) = replayed(&decisions.without(&some.collect()), |book| by(seed, false, book));
            assert!(matches!(report.verdict, Verdict::Clean | Verdict::Inconclusive(_)), "{report}");
        }
        let (_, decisions) = recorded(|book| by(0, false, book));
        let nothing = Decisions { parameters: decisions.parameters, ..Decisions::default() };
        let (report, _, _) = replayed(&nothing, |book| by(0, false, book));
        assert!(matches!(report.verdict, Verdict::Inconclusive(_)), "nobody does anything: {report}");
    }

    /// What the first seed breaks in which a lie is found out: an answer that is changed on its way to a client.
    fn found_out(lie: Lie) -> &'static str {
        let reports = (0..40).map(|seed| {
            let world = World::new(&Dice::blank(seed), seed, false, panics::watch());
            world.ledger.wire.lie.set(Some(lie));
            conclude(ManuallyDrop::new(world), false)
        });
        reports.filter_map(|report| report.property()).next().expect("the lie is found out")
    }

    #[test]
    fn a_read_above_the_high_watermark_is_found() {
        let lie = |response: &mut Response| {
            if let Response::Fetch(fetch) = response {
                fetch.responses.iter_mut().flat_map(|t| &mut t.partitions).for_each(|part| part.high_watermark = 0);
            }
        };
        assert_eq!(found_out(lie), "committed-reads");
    }

    #[test]
    fn a_session_that_is_refused_is_found() {
        let lie = |response: &mut Response| {
            if let Response::Fetch(fetch) = response
                && fetch.session_id != 0
            {
                fetch.session_id += 1_000;
            }
        };
        assert_eq!(found_out(lie), "session-kept");
    }

    #[test]
    fn a_new_broker_that_knows_a_topic_is_found() {
        let lie = |response: &mut Response| {
            if let Response::Metadata(known) = response
                && known.topics.is_empty()
            {
                let (error_code, none) = (error::UNKNOWN_TOPIC_OR_PARTITION, MetadataResponseTopic::default());
                known.topics.push(MetadataResponseTopic { error_code, ..none });
            }
        };
        assert_eq!(found_out(lie), "new-is-empty");
    }

    #[test]
    fn a_broker_that_ends_or_refuses_a_log_on_a_healthy_disk_is_found() {
        let world = World::new(&Dice::blank(0), 0, false, panics::watch());
        let property = || match world.violated() {
            Some(Verdict::Unsafe(violation)) => Some(violation.property),
            _ => None,
        };
        world.site.failed.replace(Some("it had enough".to_owned()));
        assert_eq!(property(), None, "its disk may be ill");
        world.ledger.phase.set(Phase::Drain);
        assert_eq!(property(), Some("stays-up"));
        world.site.refused.borrow_mut().push((LogId::METADATA, "it was ugly".to_owned()));
        assert_eq!(property(), Some("nothing-refused"));
    }

    /// All is acknowledged afterwards: that says nothing of faults.
    #[test]
    fn a_run_without_progress_is_inconclusive() {
        let (_, mut decisions) = recorded(|book| by(2, false, book));
        decisions.faults = vec![Fault { down: 3_600_000 * MS, ..Fault::new(0, 0, Kind::Hold) }];
        let (report, _, _) = replayed(&decisions, |book| by(2, false, book));
        assert!(matches!(report.verdict, Verdict::Inconclusive(_)), "{report}");
        let acks = report.counters.get("acks").copied();
        assert_eq!((acks, report.acks_a_second(), report.exit_code()), (Some(0), 0.0, 4), "{report}");
        assert!(report.worked_ns < report.simulated_ns);
    }

    #[test]
    fn a_broken_promise_comes_down_to_one_fault() {
        let canary = Canary::PowerLossRots;
        let property = |report: &Report| report.property().map(str::to_owned);
        let runs = (0..40).map(|seed| run_by(seed, false, Rc::new(Book::Blank), canary));
        let failed = runs.filter(|report| property(report).is_some()).map(|report| report.seed).next();
        let seed = failed.expect("it is found");
        let (report, before) = recorded(|book| run_by(seed, false, book, canary));
        let property_broken = property(&report).expect("it fails again");
        let mut run = |decisions: &Decisions| {
            let (report, used, _) = replayed(decisions, |book| run_by(seed, false, book, canary));
            (property(&report), used)
        };
        let shrunk = shrink(&before, &property_broken, 300, &mut run).expect("it replays");
        let (many, few) = (before.sizes(), shrunk.decisions.sizes());
        // A power loss, or a start and the last crash of a run.
        assert!(few.faults <= 1 && few.turns * 3 < many.turns, "{many:?} became {few:?} in {} runs", shrunk.runs);
    }
}
