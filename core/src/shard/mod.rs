//! Everything that one core of one broker decides: [`Shard::step`] is the one way in and out.
//!
//! Only routes: rules of Kafka live in the modules below. `front` takes client requests apart, `owner` serves the logs
//! of this shard to whoever asks (its own connections or another shard, in the same words), `retain` moves their starts and
//! describes them, `control` runs the metadata quorum and the controller on shard 0, `waits` holds what is to be answered
//! later, `flush` when logs are to be on the device, `place` where
//! they lie.

mod control;
mod flush;
mod front;
mod owner;
mod place;
mod retain;
mod waits;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::effect::{Answer, Call, Config, Effect, Input, Range};
use crate::ids::{ConnectionId, Correlation, Instant, LogId, Now, Offset, Seq, ShardIndex, Ticket, Uuid};
use crate::log::{Found, Log, Rolls};
use crate::metadata::configs::{Layers, TimestampType};
use crate::metadata::{Change, Image, Topic};
use crate::record::Times;
use crate::replica::{Keeping, Replica, Retention, WaitId};
use crate::rng::Rng;
use crate::session::Session;
use crate::session::fetch::FetchSessions;
use crate::session::gather::Gather;
use crate::table::Table;
use crate::wire::MetadataRecord;

use control::Control;
use flush::Flushes;
use front::ProducerIds;
use place::Placing;
use waits::Waits;

/// Who asked this shard for something about its logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// A connection of its own.
    Here(Correlation),
    /// Another shard.
    Shard(ShardIndex, Correlation),
}

/// One step in progress: when it happens and what it wants done.
struct Step<'a> {
    now: Now,
    out: &'a mut Vec<Effect>,
}

/// A call that waits for this shard's metadata image to catch up with its sender's.
#[derive(Debug)]
struct Held {
    image: Offset,
    correlation: Correlation,
    call: Call,
}

/// One shard of a broker.
#[derive(Debug)]
pub struct Shard {
    config: Config,
    rng: Rng,
    /// Committed metadata below `image_at`.
    image: Image,
    image_at: Offset,
    /// Whether this life of the broker is registered and unfenced in the image.
    in_service: bool,
    /// Boxed: the nodes of the map are half empty, and a replica is large.
    replicas: BTreeMap<LogId, Box<Replica>>,
    /// Those of topics that are no more, until the disk has let go of their logs.
    removing: BTreeMap<LogId, Box<Replica>>,
    sessions: BTreeMap<ConnectionId, Session>,
    fetch_sessions: FetchSessions,
    /// When logs are next looked through for what they no longer keep; none of them has a limit when there is no such
    /// time.
    retention_at: Option<Instant>,
    flushes: Flushes,
    placing: Placing,
    gathers: Table<Gather>,
    waits: Waits,
    /// Calls held back, by sender, in their order.
    held: BTreeMap<ShardIndex, VecDeque<Held>>,
    producer_ids: ProducerIds,
    /// Shard 0's: the metadata quorum and the controller.
    control: Option<Control>,
    /// The next number for tickets, and for questions that belong to no gathered request.
    next: u64,
}

impl Shard {
    /// A shard that was told nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Shard {
        assert!(config.shard.0 < config.shards, "shard {} of {}", config.shard, config.shards);
        Shard {
            rng: Rng::new(crate::rng::draw(config.seed, "shard", u64::from(config.shard.0))),
            image: Image::default(),
            image_at: Offset(0),
            in_service: false,
            replicas: BTreeMap::new(),
            removing: BTreeMap::new(),
            sessions: BTreeMap::new(),
            retention_at: None,
            fetch_sessions: FetchSessions::new(crate::rng::draw(
                config.seed,
                "fetch-session",
                u64::from(config.shard.0),
            )),
            flushes: Flushes::default(),
            placing: Placing::default(),
            gathers: Table::default(),
            waits: Waits::default(),
            held: BTreeMap::new(),
            producer_ids: ProducerIds::default(),
            control: (config.shard == ShardIndex(0)).then(|| Control::new(config.shards, config.crc)),
            next: 0,
            config,
        }
    }

    /// Decides on one input. The same state, time and input give the same next state and effects.
    ///
    /// # Panics
    /// On a contradiction in what this process itself computed, or a host that breaks the rules of [`crate::effect`].
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Effect>) {
        let step = &mut Step { now, out };
        match input {
            Input::Recovered { log, name, found } => self.recovered(log, &name, found.map(|f| *f), step),
            Input::Started => self.started(step),
            Input::Opened { conn } => {
                let before = self.sessions.insert(conn, Session::new(conn));
                assert!(before.is_none(), "connection {conn} opened twice");
            }
            Input::Request { conn, correlation, request } => self.request(conn, correlation, request, step),
            Input::Closed { conn } => self.closed(conn, step),
            Input::Call { from, image, correlation, call } => {
                self.called(from, Held { image, correlation, call }, step);
            }
            Input::Answer { correlation, answer } => self.answered(correlation, answer, step),
            Input::Done { log, seq } => self.done(log, seq, step),
            Input::Failed { log, seq, error } => self.failed(log, seq, &error, step),
            Input::Broken { log, error } => self.broken(log, &error, step),
            Input::Read { ticket, found } => self.looked_up(ticket, found, step),
            Input::Committed { upto, records } => self.committed(upto, &records, step),
            Input::Tick => self.tick(step),
        }
    }

    /// When the next [`Input::Tick`] is wanted.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let controller = self.control.as_ref().and_then(Control::deadline);
        [self.waits.deadline(), controller, self.retention_at, self.flushes.next()].into_iter().flatten().min()
    }

    /// Checks every invariant of every log, session and wait: for the simulator, now and then.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn audit(&self) {
        for replica in self.replicas.values() {
            replica.holds();
            assert!(replica.id().owner(self.config.shards) == self.config.shard, "{} is another shard's", replica.id());
        }
        for (_, gather) in self.gathers.iter() {
            assert!(gather.open().next().is_some(), "a request waits for nothing");
        }
    }

    /// The replicas of this shard, for tests and oracles.
    pub fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.values().map(|replica| &**replica)
    }

    /// The metadata that this shard acts on.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A question of its own: numbered downwards from the top, where no gathered request's key comes.
    fn fresh_question(&mut self) -> Correlation {
        Correlation { request: u64::MAX - self.fresh(), question: 0 }
    }

    fn fresh_ticket(&mut self) -> Ticket {
        Ticket(self.fresh())
    }

    fn recovered(&mut self, log: LogId, name: &str, found: Result<Found, String>, step: &mut Step<'_>) {
        assert_eq!(log.owner(self.config.shards), self.config.shard, "{name}: {log} is another shard's");
        let kept = match found {
            Ok(found) => {
                if let Some(control) = self.control.as_mut().filter(|_| log == LogId::METADATA) {
                    control.ballot_recovered(found.ballot.unwrap_or_default());
                }
                Log::recovered(log, found, step.now.wall)
            }
            Err(reason) => {
                step.out.push(Effect::Alarm { log, reason: reason.clone() });
                Log::refused(log, reason)
            }
        };
        let before = self.replicas.insert(log, Box::new(Replica::new(kept, self.keeping(log))));
        assert!(before.is_none(), "{log} was recovered twice");
    }

    /// How a log is kept by its topic's configs, or the defaults while the topic is not known.
    fn keeping(&self, log: LogId) -> Keeping {
        if log == LogId::METADATA {
            return Keeping::internal(self.configs(None).segment_bytes());
        }
        let partition = self.image.partition(log);
        let configs = self.configs(partition.map(|(topic, _)| topic));
        let replicas = partition.map_or(1, |(_, p)| p.replicas.len());
        Keeping {
            flush_messages: configs.flush_messages(),
            flush_ms: configs.flush_ms(),
            rolls: Rolls {
                bytes: configs.segment_bytes(),
                ms: configs.segment_ms(),
                jitter_ms: configs.segment_jitter_ms(),
            },
            producer_expiration_ms: configs.producer_expiration_ms(),
            max_message_bytes: configs.max_message_bytes(),
            times: match configs.timestamp_type() {
                TimestampType::LogAppendTime => Times::Append,
                TimestampType::CreateTime => Times::Create {
                    before_max_ms: configs.timestamp_before_max_ms(),
                    after_max_ms: configs.timestamp_after_max_ms(),
                },
            },
            retention: Retention { ms: configs.retention_ms(), bytes: configs.retention_bytes() },
            min_insync_replicas: usize::try_from(configs.min_insync_replicas()).map_or(1, |n| n.min(replicas)),
        }
    }

    /// What is in effect here, for a topic or for the broker.
    fn configs<'a>(&'a self, topic: Option<&'a Topic>) -> Layers<'a> {
        self.image.layers(topic, self.config.broker, &self.config.configs)
    }

    /// Takes in committed metadata and acts on what it changed.
    fn committed(&mut self, upto: Offset, records: &[MetadataRecord], step: &mut Step<'_>) {
        assert!(upto > self.image_at, "metadata goes back from {} to {upto}", self.image_at);
        let mut changed: Vec<LogId> = Vec::new();
        let mut removed: Vec<Uuid> = Vec::new();
        for record in records {
            match self.image.apply(record) {
                Change::Partition(log) => changed.push(log),
                Change::RemovedTopic(id) => removed.push(id),
                Change::TopicConfigs(id) => changed.extend(self.image.logs_of(id)),
                Change::BrokerConfigs => changed.extend(self.replicas.keys()),
                Change::Broker(_) | Change::Nothing => {}
            }
        }
        self.image_at = upto;
        for topic in removed {
            self.remove(topic, step);
        }
        if !self.in_service && self.is_registered() {
            self.in_service = true;
            step.out.push(Effect::Ready);
            changed = self.image.partitions().map(|(log, _)| log).collect();
            self.set_strays_aside(step);
        }
        changed.sort_unstable();
        changed.dedup();
        for log in changed {
            self.reconcile(log, step);
        }
        self.release_held(step);
        self.tell_image(step);
    }

    /// Metadata older than this life's registration is about an earlier one: it is not acted on.
    fn is_registered(&self) -> bool {
        let own = self.image.broker(self.config.broker);
        own.is_some_and(|b| b.incarnation == self.config.incarnation && !b.fenced)
    }

    /// Makes the replica of a log what the image says it is.
    fn reconcile(&mut self, log: LogId, step: &mut Step<'_>) {
        if !self.in_service || log.owner(self.config.shards) != self.config.shard {
            return;
        }
        let keeping = self.keeping(log);
        let first_look = step.now.monotonic.plus_ms(self.configs(None).initial_task_delay_ms());
        let me = self.config.broker;
        let Some((topic, partition)) = self.image.partition(log) else { return };
        if !partition.replicas.contains(&me) {
            return;
        }
        let name = self.image.name(topic.id).unwrap_or_default();
        let is_placed = partition.directory_of(me) == Some(self.config.directory);
        if !self.replicas.contains_key(&log) {
            let made = if is_placed { self.lost(log, name, step) } else { Log::create(log, name, step.out) };
            self.replicas.insert(log, Box::new(Replica::new(made, keeping)));
        }
        let replica = self.replicas.get_mut(&log).expect("made above");
        replica.keep(keeping);
        replica.place(is_placed);
        let is_to_be_placed = !is_placed && replica.log().is_made();
        self.flushes.arm(replica);
        if keeping.retention.is_limited() && self.retention_at.is_none() {
            self.retention_at = Some(first_look);
        }
        let leads = partition.leader == Some(me);
        let mut waits = Vec::new();
        if !leads {
            waits = replica.resign();
        } else if replica.log().offline().is_none() && replica.leading().is_none_or(|e| e < partition.leader_epoch) {
            waits = replica.resign();
            match replica.log().state().last_epoch() {
                later if later > partition.leader_epoch => {
                    let reason = place::from_later(name, log, later, partition.leader_epoch);
                    step.out.push(Effect::Alarm { log, reason: reason.clone() });
                    replica.refuse(reason);
                }
                _ => replica.lead(partition.leader_epoch, partition.isr.iter().copied().filter(|b| *b != me)),
            }
        }
        self.wake_all(waits, step);
        if leads {
            self.advance(log, step);
        }
        if is_placed {
            self.placed(log, step);
        } else if is_to_be_placed {
            self.place(log, step);
        }
    }

    /// Removes the logs of a topic that is no more, with their bytes. Ids are never given twice, so this may be done
    /// before this life is in service: what an earlier one left undone is done while the metadata is read again. A log
    /// that failed in this life takes no change: its files stay until the next one.
    fn remove(&mut self, topic: Uuid, step: &mut Step<'_>) {
        let (first, last) = (LogId { topic, partition: 0 }, LogId { topic, partition: i32::MAX });
        let logs: Vec<LogId> = self.replicas.range(first..=last).map(|(log, _)| *log).collect();
        for log in logs {
            let Some(mut replica) = self.replicas.remove(&log) else { continue };
            self.placed(log, step);
            let waits = replica.resign();
            if replica.log().is_removable() {
                replica.log_mut().remove(step.out);
                let before = self.removing.insert(log, replica);
                assert!(before.is_none(), "{log} is removed twice");
            }
            self.wake_all(waits, step);
        }
    }

    fn called(&mut self, from: ShardIndex, held: Held, step: &mut Step<'_>) {
        let queue = self.held.entry(from).or_default();
        if !queue.is_empty() || held.image > self.image_at {
            queue.push_back(held);
        } else {
            self.serve(Origin::Shard(from, held.correlation), held.call, step);
        }
    }

    /// Serves the calls that the image has caught up with.
    fn release_held(&mut self, step: &mut Step<'_>) {
        let senders: Vec<ShardIndex> = self.held.keys().copied().collect();
        for from in senders {
            let at = self.image_at;
            while let Some(held) = self.held.get_mut(&from).and_then(|q| q.pop_front_if(|h| h.image <= at)) {
                self.serve(Origin::Shard(from, held.correlation), held.call, step);
            }
        }
    }

    /// Serves a question about this shard's logs, or to the controller on shard 0.
    fn serve(&mut self, origin: Origin, call: Call, step: &mut Step<'_>) {
        match call {
            Call::Produce { acks, timeout_ms, zstd, parts } => {
                self.produce(origin, acks, timeout_ms, zstd, parts, step);
            }
            Call::Fetch { min_bytes, max_wait_ms, parts } => self.fetch(origin, min_bytes, max_wait_ms, parts, step),
            Call::Settle { fetch } => self.settle(origin, fetch, step),
            Call::ListOffsets { parts } => self.list_offsets(origin, parts, step),
            Call::DeleteRecords { timeout_ms, parts } => self.delete_records(origin, timeout_ms, parts, step),
            Call::EpochEnds { parts } => self.epoch_ends(origin, &parts, step),
            Call::Describe { parts } => self.describe(origin, &parts, step),
            Call::Room => self.room(origin, step),
            Call::DescribeQuorum(request) => self.describe_quorum(origin, &request, step),
            Call::Placed { logs } => self.assign(logs, step),
            Call::Admin(request) => self.ask_controller(origin, crate::controller::Command::Admin(request), step),
            Call::AllocateProducerIds => {
                let broker = self.config.broker;
                self.ask_controller(origin, crate::controller::Command::AllocateProducerIds { broker }, step);
            }
            Call::ImageAt { upto } => match origin {
                Origin::Shard(from, _) => self.image_reached(from, upto, step),
                Origin::Here(_) => self.image_reached(self.config.shard, upto, step),
            },
        }
    }

    /// Answers whoever asked.
    fn answer(&mut self, origin: Origin, answer: Answer, step: &mut Step<'_>) {
        match origin {
            Origin::Here(correlation) => self.answered(correlation, answer, step),
            Origin::Shard(to, correlation) => step.out.push(Effect::Answer { to, correlation, answer }),
        }
    }

    fn done(&mut self, log: LogId, seq: Seq, step: &mut Step<'_>) {
        if let Some(replica) = self.removing.get_mut(&log) {
            replica.log_mut().done(seq);
            if replica.log().is_quiet() {
                self.removing.remove(&log);
            }
            return;
        }
        let replica = self.replicas.get_mut(&log).expect("only a known log's change is done");
        replica.log_mut().done(seq);
        if log == LogId::METADATA {
            self.metadata_done(seq, step);
        } else {
            let is_to_be_placed = !replica.is_placed() && replica.log().is_made();
            let (committed, started) = (replica.advance(), replica.started_later());
            committed.iter().for_each(|wait| self.waits.reached(*wait, replica));
            self.wake_all(committed, step);
            self.wake_all(started, step);
            if is_to_be_placed {
                self.place(log, step);
            }
        }
    }

    fn failed(&mut self, log: LogId, seq: Seq, error: &str, step: &mut Step<'_>) {
        let removed = self.removing.get_mut(&log);
        let is_removed = removed.is_some();
        let replica = removed.or(self.replicas.get_mut(&log)).expect("only a known log's change fails");
        let first = replica.log().offline().is_none();
        replica.log_mut().failed(seq, error);
        if is_removed && replica.log().is_quiet() {
            self.removing.remove(&log);
            step.out.push(Effect::Alarm { log, reason: format!("not removed before the next start: {error}") });
            return;
        }
        let waits = replica.resign();
        self.goes_offline(log, first, error, waits, step);
    }

    /// A log that is being removed ends with that, or with its failure; one that was removed is of no interest.
    fn broken(&mut self, log: LogId, error: &str, step: &mut Step<'_>) {
        let Some(replica) = self.replicas.get_mut(&log) else { return };
        let first = replica.log().offline().is_none();
        replica.log_mut().broken(error);
        let waits = replica.resign();
        self.goes_offline(log, first, error, waits, step);
    }

    fn goes_offline(&mut self, log: LogId, first: bool, error: &str, waits: Vec<WaitId>, step: &mut Step<'_>) {
        let reason = format!("a write failed, offline until restart: {error}");
        if log == LogId::METADATA {
            if first {
                self.metadata_failed(reason, step);
            }
            return;
        }
        if first {
            step.out.push(Effect::Alarm { log, reason });
        }
        self.wake_all(waits, step);
    }

    /// A partition's own disk got further: so may its high watermark.
    fn advance(&mut self, log: LogId, step: &mut Step<'_>) {
        let committed = self.replicas.get_mut(&log).map(|replica| replica.advance()).unwrap_or_default();
        self.wake_all(committed, step);
    }

    fn tick(&mut self, step: &mut Step<'_>) {
        while let Some(wait) = self.waits.due(step.now.monotonic) {
            self.expired(wait, step);
        }
        self.expire_controller(step);
        self.retain(step);
        self.flush(step);
    }

    /// Gives bytes back that nobody wants any more.
    fn drop_ranges(ranges: impl IntoIterator<Item = Range>, step: &mut Step<'_>) {
        for range in ranges {
            match range {
                Range::Leased { lease, .. } => step.out.push(Effect::Release { lease }),
                Range::Local { .. } => {}
            }
        }
    }
}
