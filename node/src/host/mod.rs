//! The thin host of a shard: mailbox → step → dispatch, over three traits that the real world and the simulated one
//! implement alike. Decides nothing.
//!
//! All inputs that wait are stepped in one turn before anything else of this thread runs, so that what one turn wants
//! written to a log is written together, and what it answers to a client is sent together.
//!
//! Nothing here may differ between two runs of the same world: no clock but the node's, no random order (`select!` is
//! biased, maps are ordered), no thread.

mod admission;
mod connection;
mod disk;
mod frame;
mod lease;
mod limits;
mod mailbox;
mod mesh;
mod net;
mod report;
mod writer;

pub use admission::{BYTES_PER_CONNECTION, BYTES_PER_SHARD, REQUESTS_PER_CONNECTION, UNFINISHED_PER_SHARD};
pub use connection::{FRAME_DEADLINE_MS, HALF_CLOSED_DEADLINE_MS, HURRY_MS};
pub use disk::{BLOCK, Completion, Disk, Op, Outcome, in_blocks};
pub use frame::MAX_FRAME;
pub use limits::Limits;
pub use mesh::{Inquiry, Mesh, Message};
pub use net::{Clock, Net, Reader, Writer};
pub use report::{Report, Traffic};
pub use writer::{Sent, WRITE_DEADLINE_MS, send};

use crate::disk::logs::{Logs, Options};
use admission::Room;
use connection::{Link, Shared};
use klamm_core::effect::{Answer, Config, Effect, Input, Range};
use klamm_core::ids::{ConnectionId, Correlation, Instant, Now, ShardIndex};
use klamm_core::shard::Shard;
use lease::{Leases, Resolving};
use limits::Place;
use mailbox::Mailbox;
use report::Counters;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending, ready};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use tokio::task::{JoinError, JoinSet, yield_now};

/// Connections of one shard; more wait to be accepted.
pub const CONNECTIONS: usize = 65_536;
/// How long answers may take once the broker stops.
const DRAIN_MS: i64 = 5_000;
/// Inputs of one turn; the rest waits for the next.
const TURN: usize = 4_096;
/// After so many inputs of a turn the disk is asked what it has done meanwhile.
const STEPS_BETWEEN_LOOKS: usize = 16;
/// How long to wait after a connection could not be accepted (no descriptors left, say).
const ACCEPT_PAUSE_MS: i64 = 100;

/// One shard and the world it lives in.
pub struct Node<N, D: Disk, C> {
    /// Where its connections come from.
    pub net: N,
    /// The data directory.
    pub disk: D,
    /// The clocks.
    pub clock: C,
    /// What the shard is built with.
    pub config: Config,
    /// What its store is built with.
    pub options: Options,
    /// What its connections are held to; the shards of a broker share one.
    pub limits: Limits,
    /// Its way to the other shards.
    pub mesh: Mesh<D::File>,
    /// Called once, when the shard says that the broker serves.
    pub serving: Box<dyn FnOnce()>,
    /// When it completes no connection is accepted any more; what was asked is answered, within bounds, on this shard and
    /// the others, and the logs are closed.
    pub stop: Pin<Box<dyn Future<Output = ()>>>,
    /// Sees every step, after it.
    pub observer: Option<Observer>,
}

/// Sees a step: when, what was told, what was wanted.
pub type Observer = Box<dyn FnMut(Now, &Input, &[Effect])>;

/// Runs one shard, on the current thread, inside a [`tokio::task::LocalSet`] (best as one of its tasks): recovers its
/// logs, serves until `stop` completes, answers what was asked, and closes the logs.
///
/// # Errors
/// The disk's, during recovery and closing; the shard's reason to end the broker.
///
/// # Panics
/// When the shard, or a connection, panics. (The store has tasks of its own: their panics reach the process only.)
pub async fn run<N: Net, D: Disk, C: Clock>(node: Node<N, D, C>) -> io::Result<()> {
    let Node { net, disk, clock, config, options, limits, mesh, serving, stop, observer } = node;
    let shared = Rc::new(Shared {
        disk: disk.clone(),
        clock,
        mailbox: Mailbox::default(),
        spare: Rc::default(),
        room: Room::of_shard(),
        limits,
        counters: Counters::default(),
        logs: RefCell::default(),
    });
    let events = {
        let shared = Rc::clone(&shared);
        Rc::new(move |input| shared.mailbox.put(input))
    };
    let logs = Logs::recover(disk, options, config.shard, config.shards, events).await?;
    shared.logs.replace(logs.downgrade());
    shared.mailbox.put(Input::Started);
    let recovering = mesh.others() + 1;
    let mut host = Host {
        shard: Shard::new(config),
        logs,
        shared,
        mesh,
        leases: Leases::new(),
        connections: BTreeMap::new(),
        idle: BTreeSet::new(),
        opened: 0,
        drained: 0,
        recovering,
        needed_journals: Vec::new(),
        tasks: JoinSet::new(),
        effects: Vec::new(),
        serving: Some(serving),
        observer,
        halted: None,
    };
    host.serve(net, stop).await;
    host.drain().await;
    host.close().await
}

struct Host<D: Disk, C> {
    shard: Shard,
    logs: Logs<D>,
    shared: Rc<Shared<D, C>>,
    mesh: Mesh<D::File>,
    /// From other shards, for answers to come.
    leases: Leases<D::File>,
    connections: BTreeMap<ConnectionId, Rc<Link<D::File>>>,
    /// When each of them is looked at next, whether it is idle.
    idle: BTreeSet<(Instant, ConnectionId)>,
    /// Connections so far.
    opened: u64,
    /// Other shards that have none left, because the broker stops.
    drained: usize,
    /// Shards that have not said yet which of the earlier lives' journals they need.
    recovering: usize,
    /// Files of earlier lives' journals that have something of a log that a shard has refused or misses.
    needed_journals: Vec<String>,
    /// Connections, look-ups, leases on their way to another shard.
    tasks: JoinSet<()>,
    /// Emptied and filled by each step.
    effects: Vec<Effect>,
    /// Called, and gone, when the broker serves; no connection is accepted before.
    serving: Option<Box<dyn FnOnce()>>,
    observer: Option<Observer>,
    /// Why the shard wants the broker to end.
    halted: Option<String>,
}

impl<D: Disk, C: Clock> Host<D, C> {
    /// All logs are recovered, and it is known which there should be.
    fn recovered(&mut self) {
        let image = self.shard.image();
        let needed = self.logs.needed_journals(|log| image.partition(log).is_some());
        self.mesh.tell_others(|| Message::Recovered { needed_journals: needed.clone() });
        self.has_recovered(needed);
    }

    async fn serve<N: Net>(&mut self, net: N, mut stop: Pin<Box<dyn Future<Output = ()>>>) {
        let shared = Rc::clone(&self.shared);
        let mut accept = pin!(accept(&net, &shared.clock, &shared.limits));
        let mut alarm = Alarm { clock: &shared.clock, armed: None };
        loop {
            self.turn();
            if self.halted.is_some() {
                return;
            }
            if !shared.mailbox.is_empty() {
                yield_now().await; // It was a long turn: now the connections have theirs.
            }
            alarm.set(self.deadline());
            tokio::select! { biased;
                () = &mut stop => return,
                Some(done) = self.tasks.join_next() => reap(done),
                message = self.mesh.receive() => self.receive(message),
                accepted = &mut accept, if self.serving.is_none() && self.connections.len() < CONNECTIONS => {
                    self.open(accepted);
                    accept.set(self::accept(&net, &shared.clock, &shared.limits));
                }
                () = shared.mailbox.filled() => {}
                () = alarm.rings() => {}
            }
        }
    }

    /// Answers what was asked, here and for the other shards' connections, until no shard has a connection left; but not
    /// for ever.
    async fn drain(&mut self) {
        if self.halted.is_some() {
            return;
        }
        let shared = Rc::clone(&self.shared);
        let end = shared.clock.now().monotonic.plus_ms(DRAIN_MS);
        let mut alarm = Alarm { clock: &shared.clock, armed: None };
        self.connections.values().for_each(|link| link.finish());
        let mut told = false;
        loop {
            self.turn();
            if self.connections.is_empty() && !told {
                told = true;
                self.mesh.tell_others(|| Message::Drained);
            }
            let done = told && self.drained == self.mesh.others();
            if done || self.halted.is_some() || shared.clock.now().monotonic >= end {
                return;
            }
            if !shared.mailbox.is_empty() {
                yield_now().await;
            }
            alarm.set(self.deadline().into_iter().chain([end]).min());
            tokio::select! { biased;
                Some(done) = self.tasks.join_next() => reap(done),
                message = self.mesh.receive() => self.receive(message),
                () = shared.mailbox.filled() => {}
                () = alarm.rings() => {}
            }
        }
    }

    /// When a turn is wanted at the latest.
    fn deadline(&self) -> Option<Instant> {
        let idle = self.idle.first().map(|(due, _)| *due);
        self.shard.deadline().into_iter().chain(idle).min()
    }

    /// Steps everything that waits, and the deadline if it has come: one turn, one time.
    fn turn(&mut self) {
        while let Some(done) = self.tasks.try_join_next() {
            reap(done);
        }
        while let Some(message) = self.mesh.try_receive() {
            self.receive(message);
        }
        let now = self.shared.clock.now();
        for n in 0..TURN {
            if n % STEPS_BETWEEN_LOOKS == 0 {
                self.shared.look();
            }
            let Some(input) = self.shared.mailbox.take() else { break };
            self.step(now, input);
        }
        if self.shard.deadline().is_some_and(|deadline| deadline <= now.monotonic) {
            self.step(now, Input::Tick);
        }
        self.close_idle(now.monotonic);
    }

    /// Closes the connections that have been idle for too long.
    fn close_idle(&mut self, now: Instant) {
        let idle_ms = self.shared.limits.idle_ms;
        while let Some((_, conn)) = self.idle.first().copied().filter(|(due, _)| *due <= now) {
            self.idle.pop_first();
            let link = Rc::clone(&self.connections[&conn]);
            match link.idle_since().unwrap_or(now).plus_ms(idle_ms) {
                due if due <= now => link.close_idle(),
                due => self.look_at(conn, &link, due),
            }
        }
    }

    /// Looks at a connection again at `due`.
    fn look_at(&mut self, conn: ConnectionId, link: &Link<D::File>, due: Instant) {
        if self.shared.limits.idle_ms > 0 {
            link.due.set(due);
            self.idle.insert((due, conn));
        }
    }

    /// A connection has ended, or is about to.
    fn forget(&mut self, conn: ConnectionId) -> Option<Rc<Link<D::File>>> {
        let link = self.connections.remove(&conn)?;
        self.idle.remove(&(link.due.get(), conn));
        Some(link)
    }

    fn step(&mut self, now: Now, input: Input) {
        if let Input::Request { conn, .. } = &input {
            let Some(link) = self.connections.get(conn) else {
                return; // It came after the shard had ended the connection.
            };
            link.heard(now.monotonic);
        }
        if let Input::Closed { conn } = &input {
            drop(self.forget(*conn));
        }
        self.shared.counters.told(&input);
        let mut effects = mem::take(&mut self.effects);
        match &mut self.observer {
            None => self.shard.step(now, input, &mut effects),
            Some(observer) => {
                self.shard.step(now, input.clone(), &mut effects);
                observer(now, &input, &effects);
            }
        }
        effects.drain(..).for_each(|effect| self.dispatch(effect));
        self.effects = effects;
    }

    fn dispatch(&mut self, effect: Effect) {
        self.shared.counters.wanted(&effect);
        match effect {
            Effect::Open { .. }
            | Effect::Append { .. }
            | Effect::Flush { .. }
            | Effect::Truncate { .. }
            | Effect::Trim { .. }
            | Effect::Remove { .. }
            | Effect::SetAside { .. }
            | Effect::Persist { .. } => self.logs.change(effect),
            Effect::Read { ticket, log, query } => {
                let found = self.logs.look_up(log, query);
                let shared = Rc::clone(&self.shared);
                self.tasks.spawn_local(async move {
                    let found = found.await;
                    shared.mailbox.put(Input::Read { ticket, found });
                });
            }
            Effect::Reply { conn, correlation, response, ranges, max_bytes } => {
                let ranges = ranges.iter().map(|range| self.resolve(range)).collect();
                if let Some(link) = self.connections.get(&conn) {
                    link.reply(correlation, response, ranges, max_bytes);
                }
            }
            Effect::Quiet { conn, correlation } => {
                if let Some(link) = self.connections.get(&conn) {
                    link.quiet(correlation);
                }
            }
            Effect::Release { lease } => drop(self.leases.take(lease)),
            Effect::Close { conn, reason } => {
                if let Some(link) = self.forget(conn) {
                    link.close(reason);
                }
            }
            Effect::Call { to, image, correlation, call } => {
                let from = self.mesh.shard();
                self.mesh.peer(to).send(Message::Call { from, image, correlation, call });
            }
            Effect::Answer { to, correlation, answer } => self.answer(to, correlation, answer),
            Effect::Publish { upto, records } => self.mesh.publish(upto, &records),
            Effect::Ready => {
                if let Some(serving) = self.serving.take() {
                    self.recovered();
                    serving();
                }
            }
            Effect::Halt { reason } => self.halted = Some(reason),
            Effect::Alarm { log, reason } => tracing::error!(%log, reason, "a log went offline"),
        }
    }

    /// Starts to turn a range into bytes: from here on no change of its log can reach them.
    fn resolve(&mut self, range: &Range) -> Resolving<D::File> {
        match *range {
            Range::Local { log, from, upto, max_bytes } => Box::pin(self.logs.lease(log, from, upto, max_bytes)),
            Range::Leased { lease, .. } => Box::pin(ready(self.leases.take(lease))),
        }
    }

    /// Sends an answer to another shard, with the bytes of its ranges. Answers with bytes may fall behind others.
    fn answer(&mut self, to: ShardIndex, correlation: Correlation, mut answer: Answer) {
        let resolving: Vec<_> = ranges_of(&mut answer).map(|range| self.resolve(range)).collect();
        let peer = self.mesh.peer(to);
        if resolving.is_empty() {
            peer.send(Message::Answer { correlation, answer, leases: Vec::new() });
            return;
        }
        self.tasks.spawn_local(async move {
            let mut leases = Vec::with_capacity(resolving.len());
            for lease in resolving {
                leases.push(lease.await);
            }
            peer.send(Message::Answer { correlation, answer, leases });
        });
    }

    /// Takes what another shard sent: its leases into the table, the rest to the shard.
    fn receive(&mut self, message: Message<D::File>) {
        let input = match message {
            Message::Call { from, image, correlation, call } => Input::Call { from, image, correlation, call },
            Message::Answer { correlation, mut answer, leases } => {
                for (range, lease) in ranges_of(&mut answer).zip(leases) {
                    let (lease, bytes, first) = self.leases.keep(lease);
                    *range = Range::Leased { lease, bytes, first };
                }
                Input::Answer { correlation, answer }
            }
            Message::Committed { upto, records } => Input::Committed { upto, records },
            Message::Report { to } => {
                // Whoever asked may have given up.
                return drop(to.send(self.report()));
            }
            Message::Recovered { needed_journals } => {
                return self.has_recovered(needed_journals);
            }
            Message::Drained => {
                self.drained += 1;
                return;
            }
        };
        self.shared.mailbox.put(input);
    }

    /// A shard has recovered. After all of them, the first one removes what they have recovered from.
    fn has_recovered(&mut self, needed: Vec<String>) {
        self.recovering -= 1;
        self.needed_journals.extend(needed);
        if self.mesh.shard() != ShardIndex(0) || self.recovering > 0 {
            return;
        }
        let (logs, needed) = (self.logs.clone(), mem::take(&mut self.needed_journals));
        self.tasks.spawn_local(async move {
            if let Err(error) = logs.forget_journals(&needed).await {
                tracing::warn!(%error, "an earlier life's journal is still there");
            }
        });
    }

    fn report(&self) -> Report {
        let report = self.shared.counters.report(&self.shard);
        let headless = |shard: &Shard| shard.image().partitions().filter(|(_, p)| p.leader.is_none()).count() as u64;
        let headless = if self.mesh.shard() == ShardIndex(0) { headless(&self.shard) } else { 0 };
        Report {
            shard: self.mesh.shard(),
            serving: self.serving.is_none(),
            connections: self.connections.len() as u64,
            groups: self.logs.groups(),
            syncs: self.shared.disk.syncs().unwrap_or_default(),
            offline: report.offline + headless,
            ..report
        }
    }

    fn open<R: Reader, W: Writer>(&mut self, (accepted, place): Accepted<R, W>) {
        let conn = ConnectionId(self.opened);
        self.opened += 1;
        self.shared.counters.accepted();
        let now = self.shared.clock.now().monotonic;
        let link = Rc::new(Link::new(&self.shared.room, Some(place), now));
        self.look_at(conn, &link, now.plus_ms(self.shared.limits.idle_ms));
        self.connections.insert(conn, Rc::clone(&link));
        self.shared.mailbox.put(Input::Opened { conn });
        self.tasks.spawn_local(connection::serve(accepted, conn, link, Rc::clone(&self.shared)));
    }

    /// Drops the connections and closes the logs.
    async fn close(mut self) -> io::Result<()> {
        self.tasks.shutdown().await;
        let closed = self.logs.close().await;
        self.halted.map_or(closed, |reason| Err(io::Error::other(reason)))
    }
}

/// The ranges of an answer, in order.
fn ranges_of(answer: &mut Answer) -> impl Iterator<Item = &mut Range> {
    let results = match answer {
        Answer::Fetch { results } => results.as_mut_slice(),
        Answer::Produce(_)
        | Answer::FetchProgress { .. }
        | Answer::ListOffsets(_)
        | Answer::DeleteRecords(_)
        | Answer::EpochEnds(_)
        | Answer::Describe(_)
        | Answer::Room(_)
        | Answer::Admin(_)
        | Answer::ProducerIds(_) => &mut [],
    };
    results.iter_mut().filter_map(|result| result.range.as_mut())
}

/// A connection and its place among those that there may be.
type Accepted<R, W> = ((R, W, SocketAddr), Place);

/// The next connection, however long it takes.
async fn accept<N: Net, C: Clock>(net: &N, clock: &C, limits: &Limits) -> Accepted<N::Reader, N::Writer> {
    loop {
        match net.accept().await {
            Ok(accepted) => match limits.place(accepted.2.ip()).await {
                Some(place) => return (accepted, place),
                None => tracing::warn!(peer = %accepted.2, "closing a connection: max.connections.per.ip is reached"),
            },
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                clock.sleep_until(clock.now().monotonic.plus_ms(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

/// Wakes the loop by a deadline. Deadlines mostly move back, and setting a timer costs a system call or two: an alarm
/// that rings too early is cheaper than one that is set anew in every turn.
struct Alarm<'a, C> {
    clock: &'a C,
    armed: Option<Armed<'a>>,
}

/// When it rings, and the sleep until then.
type Armed<'a> = (Instant, Pin<Box<dyn Future<Output = ()> + 'a>>);

impl<C: Clock> Alarm<'_, C> {
    /// Sees to it that it rings at `deadline` at the latest.
    fn set(&mut self, deadline: Option<Instant>) {
        if let Some(deadline) = deadline
            && self.armed.as_ref().is_none_or(|(armed, _)| deadline < *armed)
        {
            self.armed = Some((deadline, Box::pin(self.clock.sleep_until(deadline))));
        }
    }

    async fn rings(&mut self) {
        match &mut self.armed {
            Some((_, sleep)) => sleep.await,
            None => pending().await,
        }
        self.armed = None;
    }
}

/// Lets a task's panic through.
fn reap(done: Result<(), JoinError>) {
    if let Err(error) = done {
        std::panic::resume_unwind(error.into_panic());
    }
}
