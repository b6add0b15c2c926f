//! The broker of a run: the real host, one task a shard, over the simulated network, disk and clocks. Each life of it
//! finds what the last one left on the disk.

use super::ledger::Ledger;
use super::parameters::Parameters;
use super::still::Still;
use super::tape::{Tape, Taped};
use super::trace::Trace;
use crate::client::BROKER;
use crate::clock::{SimClock, Steps, elapsed_ns};
use crate::dice::Dice;
use crate::disk::{Device, SimFile};
use crate::epochs::Epochs;
use crate::net::{self, PORT, SimNet};
use crate::report::Violation;
use klamm::disk::logs::Options;
use klamm::host::{Limits, Mesh, Node, Observer};
use klamm_core::effect::{Call, Config, Effect, Input, Range};
use klamm_core::ids::{BrokerId, LogId, Now, ShardIndex, Uuid};
use klamm_core::record::Header;
use klamm_core::rng::mix;
use klamm_core::wire::{Request, Response};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_local};

/// What the broker's present life is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not every shard serves yet.
    Starting,
    /// Every shard serves.
    Serving,
    /// It was told to stop.
    Stopping,
    /// The process has ended by itself.
    Exited,
}

/// Where the broker's lives follow one another.
pub(super) struct Site {
    seed: u64,
    dice: Dice,
    parameters: Parameters,
    pub(super) device: Device,
    ledger: Rc<Ledger>,
    pub(super) trace: Rc<RefCell<Trace>>,
    /// If anybody wants one.
    pub(super) tape: RefCell<Option<Tape>>,
    pub(super) state: Cell<State>,
    lives: Cell<u64>,
    stops: RefCell<Vec<oneshot::Sender<()>>>,
    /// Why the present life has ended by itself.
    pub(super) failed: RefCell<Option<String>>,
    /// Logs that the present life refused at its start, and why.
    pub(super) refused: RefCell<Vec<(LogId, String)>>,
    /// Moves the present life's clocks.
    pub(super) steps: RefCell<Steps>,
    /// Has the present life stand still.
    pub(super) still: Still,
    /// Batches of idempotent producers that were appended in any life.
    appended: RefCell<BTreeSet<(i64, i16, i32, u32)>>,
    /// Which life appended in which epoch, until losses are declared.
    epochs: RefCell<Epochs>,
}

impl Site {
    pub(super) fn new(
        (seed, dice): (u64, Dice),
        parameters: Parameters,
        device: Device,
        ledger: Rc<Ledger>,
        whole: bool,
    ) -> Rc<Site> {
        Rc::new(Site {
            seed,
            dice,
            parameters,
            device,
            ledger,
            trace: Rc::new(RefCell::new(Trace::new(whole))),
            tape: RefCell::default(),
            state: Cell::new(State::Exited),
            lives: Cell::new(0),
            stops: RefCell::default(),
            failed: RefCell::default(),
            refused: RefCell::default(),
            steps: RefCell::default(),
            still: Still::default(),
            appended: RefCell::default(),
            epochs: RefCell::default(),
        })
    }

    /// How many lives there were.
    pub(super) fn lives(&self) -> u64 {
        self.lives.get()
    }

    /// Has the present life stop in order.
    pub(super) fn stop(&self) {
        self.state.set(State::Stopping);
        self.stops.borrow_mut().clear();
    }

    /// A life of the broker. It ends by a crash, or stands still once it has exited.
    pub(super) async fn live(self: Rc<Site>) -> turmoil::Result {
        self.lives.set(self.lives.get() + 1);
        self.state.set(State::Starting);
        self.refused.borrow_mut().clear();
        self.failed.take();
        let (life, usual) = (self.lives(), u64::from(self.parameters.shards));
        let drawn = || if self.parameters.reshards { self.dice.between("shards", life, 1, 3) } else { usual };
        let shards = self.dice.fate("shards of a life", life, usual, drawn).clamp(1, 3) as u16;
        self.event(format!("life {life} of {shards} shards"));
        let (nets, deal) = net::listen(shards, life, self.dice.clone()).await?;
        let now: Rc<dyn Fn() -> u64> = Rc::new(elapsed_ns);
        spawn_local(self.device.open(now).drive(sleep_until));
        let process = async {
            spawn_local(deal);
            self.clone().serve(shards, nets).await;
        };
        self.still.run(process).await;
        self.state.set(State::Exited);
        pending().await
    }

    /// What the process does until it ends.
    async fn serve(self: Rc<Site>, shards: u16, nets: Vec<SimNet>) {
        let mut hosts = self.clone().start(shards, nets);
        while let Some(ended) = hosts.join_next().await {
            match ended {
                Ok(Ok(())) => self.event("a shard has stopped".to_owned()),
                Ok(Err(error)) => {
                    self.event(format!("a shard has failed: {error}"));
                    self.failed.borrow_mut().get_or_insert(error.to_string());
                    self.ledger.count("lives ended by the disk", 1);
                    // As the binary does: one shard's end is the others' order to stop.
                    self.stop();
                }
                Err(_) => self.ledger.violated(Violation {
                    property: "no-panic",
                    fact: "the broker ran".to_owned(),
                    contradiction: "one of its shards panicked".to_owned(),
                }),
            }
        }
    }

    fn start(self: Rc<Site>, shards: u16, nets: Vec<SimNet>) -> JoinSet<io::Result<()>> {
        self.steps.take();
        let (dice, life) = (&self.dice, self.lives());
        let clock = SimClock::new(self.parameters.drift(dice, life), self.steps.borrow().clone());
        let incarnation = Uuid::from_halves(dice.bits("incarnation", life) | 1, life);
        let seed = dice.bits("broker", life);
        let now: Rc<dyn Fn() -> u64> = Rc::new(elapsed_ns);
        let disk = self.device.open(now);
        let unready = Rc::new(Cell::new(shards));
        let mut hosts = JoinSet::new();
        let mut stops = Vec::new();
        let limits = Limits::default();
        for ((net, mesh), shard) in nets.into_iter().zip(Mesh::<SimFile>::of(shards)).zip((0..).map(ShardIndex)) {
            let (stop, stopped) = oneshot::channel();
            stops.push(stop);
            let (site, unready) = (self.clone(), unready.clone());
            let config = self.config(shard, shards, incarnation, seed);
            self.tape(|| Taped::Begins(Box::new(config.clone())));
            let node = Node {
                net,
                disk: disk.clone(),
                clock: clock.clone(),
                config,
                options: self.options(),
                limits: limits.clone(),
                mesh,
                serving: Box::new(move || site.serves(&unready)),
                stop: Box::pin(async { drop(stopped.await) }),
                observer: Some(self.clone().observer(shard)),
            };
            hosts.spawn_local(klamm::host::run(node));
        }
        *self.stops.borrow_mut() = stops;
        hosts
    }

    fn serves(&self, unready: &Cell<u16>) {
        unready.set(unready.get() - 1);
        if unready.get() == 0 && self.state.get() == State::Starting {
            self.state.set(State::Serving);
            self.ledger.count("lives that served", 1);
        }
    }

    fn config(&self, shard: ShardIndex, shards: u16, incarnation: Uuid, seed: u64) -> Config {
        Config {
            broker: BrokerId(1),
            cluster_id: "simulated".to_owned(),
            directory: Uuid::from_halves(1, self.seed | 1),
            incarnation,
            shard,
            shards,
            advertised: (BROKER.to_owned(), PORT),
            crc: klamm::crc32c,
            open: klamm::codec::open,
            seed,
            log_dir: "/simulated".to_owned(),
            configs: [
                ("log.segment.bytes".to_owned(), self.parameters.segment_bytes.to_string()),
                ("log.retention.ms".to_owned(), "-1".to_owned()),
                ("log.retention.check.interval.ms".to_owned(), self.parameters.retention_check_ms.to_string()),
                ("log.initial.task.delay.ms".to_owned(), self.parameters.retention_check_ms.to_string()),
            ]
            .into(),
        }
    }

    fn options(&self) -> Options {
        Options {
            zero_fill: self.parameters.zero_fill,
            mark_every: self.parameters.mark_every,
            log_tail_bytes: self.parameters.log_tail_bytes,
            open_files: self.parameters.open_files,
            journal_bytes: self.parameters.journal_bytes,
            journal_least: self.parameters.journal_least,
            owed_bytes: self.parameters.owed_bytes,
            salt: mix(self.seed),
            ..Options::new(klamm::crc32c)
        }
    }

    /// Whether nothing but crashes and errors has befallen the disk.
    pub(super) fn is_whole(&self) -> bool {
        !self.ledger.declared.get()
    }

    fn event(&self, what: String) {
        self.trace.borrow_mut().event(elapsed_ns(), what);
    }

    fn observer(self: Rc<Site>, shard: ShardIndex) -> Observer {
        Box::new(move |now: Now, input: &Input, effects: &[Effect]| {
            self.trace.borrow_mut().step(elapsed_ns(), shard.0, now, input, effects);
            self.tape(|| Taped::Step { shard, now, input: input.clone(), effects: effects.to_vec() });
            self.ledger.history.borrow_mut().shows(now.wall.0);
            self.look(input, effects);
        })
    }

    /// Counts the states that a campaign must reach, and looks at the epochs of what is appended.
    fn look(&self, input: &Input, effects: &[Effect]) {
        if let Input::Recovered { log, name, found } = input {
            match found {
                Ok(found) if found.torn_bytes > 0 => self.ledger.count("torn tails cut", 1),
                Ok(_) => {}
                Err(why) => {
                    self.ledger.count("logs refused", 1);
                    self.refused.borrow_mut().push((*log, format!("{name}: {why}")));
                }
            }
        }
        let repeats = self.repeats(input, effects);
        self.ledger.count("duplicates recognised", repeats);
        for effect in effects {
            if let Effect::Append { log, leader_epoch, batch, roll, .. } = effect {
                if self.is_whole() {
                    self.ledger.check(self.epochs.borrow_mut().appended(*log, *leader_epoch, self.lives()));
                }
                self.ledger.count("appends", 1);
                self.ledger.count("rolls", u64::from(roll.is_some()));
                self.appended.borrow_mut().extend(name(&batch.header));
            }
            if let Effect::Reply { response: Response::Fetch(_), ranges, .. } = effect {
                let leased = ranges.iter().filter(|range| matches!(range, Range::Leased { .. })).count();
                let two = leased > 0 && leased < ranges.len();
                self.ledger.count("fetches over two shards", u64::from(two));
            }
            let retained = matches!((input, effect), (Input::Tick, Effect::Trim { .. }));
            self.ledger.count("trims by retention", u64::from(retained));
            let whole = matches!(effect, Effect::Trim { roll: Some(_), .. });
            self.ledger.count("trims of everything", u64::from(whole));
            self.ledger.count("alarms", u64::from(matches!(effect, Effect::Alarm { .. })));
        }
    }

    /// Batches in a produce that were appended before and are not now: the owner of their log has recognised them.
    fn repeats(&self, input: &Input, effects: &[Effect]) -> u64 {
        let mut asked: Vec<&[u8]> = Vec::new();
        if let Input::Call { call: Call::Produce { parts, .. }, .. } = input {
            asked.extend(parts.iter().map(|part| &part.records[..]));
        }
        if let Input::Request { request: Request::Produce(produce), .. } = input {
            let parts = produce.topic_data.iter().flat_map(|topic| &topic.partition_data);
            asked.extend(parts.filter_map(|part| part.records.as_deref()));
        }
        let passed_on = |effect: &Effect| matches!(effect, Effect::Call { call: Call::Produce { .. }, .. });
        if effects.iter().any(passed_on) {
            return 0;
        }
        let mut appends = BTreeSet::new();
        for effect in effects {
            if let Effect::Append { batch, .. } = effect {
                appends.extend(name(&batch.header));
            }
        }
        let known = self.appended.borrow();
        let names = asked.into_iter().filter_map(|batch| Header::parse(batch).ok()).filter_map(|header| name(&header));
        names.filter(|name| known.contains(name) && !appends.contains(name)).count() as u64
    }
}

/// What tells a batch of an idempotent producer from all others.
fn name(header: &Header) -> Option<(i64, i16, i32, u32)> {
    let Header { producer_id, producer_epoch, base_sequence, crc, .. } = header;
    (producer_id.0 >= 0).then_some((producer_id.0, producer_epoch.0, base_sequence.0, *crc))
}

/// Sleeps until so many nanoseconds from the simulation's start.
pub(super) async fn sleep_until(at: u64) {
    while let Some(left) = at.checked_sub(elapsed_ns()).filter(|left| *left > 0) {
        tokio::time::sleep(Duration::from_nanos(left)).await;
    }
}
