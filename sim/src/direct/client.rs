//! What every client does: dial, ask, wait, give up, dial again. What it asks is its role's business.
//!
//! A client is a step function, like a shard: it hears something, or its timer, and says what it wants. Answers of one
//! connection come in the order of the requests (`answers-are-answers`); a request without an answer in time ends the
//! connection, as in every client of Kafka. `all-answered`: where nothing can have gone wrong, none is without an
//! answer.

use std::collections::{BTreeMap, VecDeque};

use klamm_core::ids::Timestamp;
use klamm_core::wire::{Request, Response};

use super::net::ToClient;
use super::params::{MS, Params, SECOND};
use crate::decisions::Turn;
use crate::harmed::Harmed;
use crate::history::{History, Partition};
use crate::report::Violation;

/// How long a client waits for a connection.
const DIAL: u64 = 2 * SECOND;
/// How long it waits for an answer that must come.
const MUST: u64 = 60 * SECOND;

/// What a client wants.
#[derive(Debug)]
pub(super) enum Do {
    Dial,
    Send { conn: u64, correlation: i32, request: Request },
    HangUp { conn: u64 },
    WakeAt(u64),
}

/// What all clients together know: for oracles, never for what a client does.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Where each partition started in the end, and what its log held.
    pub(super) read_back: BTreeMap<Partition, (i64, Vec<(i64, u64)>)>,
    /// What the disk came to.
    pub(super) harmed: Harmed,
    values: u64,
    counters: BTreeMap<&'static str, u64>,
}

impl Ledger {
    /// A value that nobody sent before.
    pub(super) fn value(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counters.entry(what).or_default() += 1;
    }

    pub(super) fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        self.counters.clone().into_iter()
    }
}

/// What a client may look at and write to in one step.
pub(super) struct Cx<'a> {
    pub(super) now: u64,
    pub(super) wall: Timestamp,
    pub(super) params: &'a Params,
    pub(super) history: &'a mut History,
    pub(super) ledger: &'a mut Ledger,
    /// The workload is over: what was begun is ended, nothing is begun.
    pub(super) stopping: bool,
    pub(super) out: Vec<Do>,
}

impl Cx<'_> {
    /// The next turn of a client that is ready for its `turns`-th; if it is not to be taken now, `next_at` says when.
    pub(super) fn turn(&self, client: u64, turns: &mut u64, next_at: &mut u64) -> Option<u64> {
        match self.params.dice.turn(client, *turns, self.now) {
            Turn::Now(turn) => {
                *turns = turn + 1;
                return Some(turn);
            }
            Turn::At(at) => *next_at = at,
            Turn::Never => *next_at = u64::MAX,
        }
        None
    }
}

/// A question, and what its role must know to understand the answer; `None` when none will come (acks=0).
pub(super) type Ask<A> = (Request, Option<A>);

/// What a client is for.
pub(super) trait Role {
    /// What it remembers of a question.
    type Asked;
    /// What it asks now, over an open connection.
    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Self::Asked>>;
    /// An answer.
    fn answered(&mut self, asked: Self::Asked, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation>;
    /// The connection ended, and with it every answer that had not come.
    fn lost(&mut self, cx: &mut Cx<'_>);
    /// Whether it is done with this connection, and wants another one.
    fn hangs_up(&self) -> bool {
        false
    }
    /// When it has something to ask again, answers apart; `None`: it does not know of anything.
    fn next(&self, cx: &Cx<'_>) -> Option<u64>;
    /// How long it waits for an answer while there is work, if not as long as others.
    fn patience(&self) -> Option<u64> {
        None
    }
    /// What it still has to do before it may rest.
    fn owes(&self) -> Option<String>;
}

/// A client of any role.
pub(super) trait Actor {
    fn step(&mut self, heard: Option<ToClient>, cx: &mut Cx<'_>) -> Result<(), Violation>;
    /// The name of the connection that it dials.
    fn dialled(&mut self, conn: u64);
    fn owes(&self) -> Option<String>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not connected; dials again at this time.
    Idle(u64),
    Dialling(u64),
    Open,
}

/// One client: a role and its connection.
pub(super) struct Client<R: Role> {
    id: u64,
    role: R,
    state: State,
    conn: u64,
    correlation: i32,
    /// Questions not answered yet: correlation, deadline, meaning.
    waiting: VecDeque<(i32, u64, R::Asked)>,
    dials: u64,
    /// Nothing goes wrong while this connection lasts.
    safe: bool,
}

impl<R: Role> Client<R> {
    pub(super) fn new(id: u64, role: R) -> Client<R> {
        let waiting = VecDeque::new();
        Client { id, role, state: State::Idle(0), conn: 0, correlation: 0, waiting, dials: 0, safe: false }
    }

    fn lose(&mut self, cx: &mut Cx<'_>) {
        self.waiting.clear();
        self.role.lost(cx);
        let key = self.id << 32 | self.dials;
        self.state = State::Idle(cx.now + cx.params.dice.pause("redial", key, MS, 300 * MS));
    }

    /// When waiting for the broker takes too long.
    fn deadline(&self) -> Option<u64> {
        match self.state {
            State::Idle(_) => None,
            State::Dialling(until) => Some(until),
            State::Open => self.waiting.front().map(|(_, until, _)| *until),
        }
    }

    fn hear(&mut self, heard: ToClient, cx: &mut Cx<'_>) -> Result<(), Violation> {
        match heard {
            ToClient::Opened => self.state = State::Open,
            ToClient::Closed => self.lose(cx),
            ToClient::Response { correlation, response } => match self.waiting.pop_front() {
                Some((expected, _, asked)) if expected == correlation => {
                    return self.role.answered(asked, response, cx);
                }
                other => {
                    return Err(Violation {
                        property: "answers-are-answers",
                        fact: format!("connection {} waits for {:?}", self.conn, other.map(|(c, _, _)| c)),
                        contradiction: format!("and is answered {correlation}"),
                    });
                }
            },
        }
        Ok(())
    }

    fn ask(&mut self, cx: &mut Cx<'_>) {
        for (request, asked) in self.role.ask(cx) {
            self.correlation += 1;
            if let Some(asked) = asked {
                let own = self.role.patience().filter(|_| !cx.stopping);
                let patience = if self.safe { MUST } else { own.unwrap_or(cx.params.request_timeout) };
                self.waiting.push_back((self.correlation, cx.now + patience, asked));
            }
            cx.out.push(Do::Send { conn: self.conn, correlation: self.correlation, request });
        }
    }

    /// Whether there is anything to keep a connection for.
    fn rests(&self, cx: &Cx<'_>) -> bool {
        cx.stopping && self.role.owes().is_none()
    }
}

impl<R: Role> Actor for Client<R> {
    fn step(&mut self, heard: Option<ToClient>, cx: &mut Cx<'_>) -> Result<(), Violation> {
        if let Some(heard) = heard {
            self.hear(heard, cx)?;
        }
        if self.deadline().is_some_and(|until| until <= cx.now) {
            if self.safe && self.state == State::Open {
                return Err(Violation {
                    property: "all-answered",
                    fact: format!("connection {} is whole, and nothing goes wrong", self.conn),
                    contradiction: format!(
                        "request {:?} waits since {} s",
                        self.waiting.front().map(|w| w.0),
                        MUST / SECOND
                    ),
                });
            }
            cx.ledger.count("timeouts");
            cx.out.push(Do::HangUp { conn: self.conn });
            self.lose(cx);
        }
        let connected = matches!(self.state, State::Dialling(_) | State::Open);
        if self.rests(cx) {
            if connected {
                cx.out.push(Do::HangUp { conn: self.conn });
                self.lose(cx);
            }
            return Ok(());
        }
        match self.state {
            State::Idle(at) if at <= cx.now => {
                self.dials += 1;
                self.safe = cx.stopping || cx.params.calm;
                self.state = State::Dialling(cx.now + DIAL);
                cx.out.push(Do::Dial);
            }
            State::Idle(_) | State::Dialling(_) => {}
            State::Open => self.ask(cx),
        }
        if self.state == State::Open && self.waiting.is_empty() && self.role.hangs_up() {
            cx.out.push(Do::HangUp { conn: self.conn });
            self.lose(cx);
        }
        let role = if self.state == State::Open { self.role.next(cx) } else { None };
        let redial = if let State::Idle(at) = self.state { Some(at) } else { None };
        cx.out.extend([self.deadline(), role, redial].into_iter().flatten().min().map(Do::WakeAt));
        Ok(())
    }

    fn dialled(&mut self, conn: u64) {
        self.conn = conn;
    }

    fn owes(&self) -> Option<String> {
        self.role
            .owes()
            .map(|what| format!("client {} {what} ({:?}, {} unanswered)", self.id, self.state, self.waiting.len()))
    }
}

/// An answer of another kind than the question.
pub(super) fn odd_answer(response: &Response) -> Violation {
    Violation {
        property: "answers-are-answers",
        fact: "an answer names its question".into(),
        contradiction: format!("{response:?} is of another API"),
    }
}

/// An error that this workload gives no reason for.
pub(super) fn odd_error(what: &str, code: i16) -> Violation {
    Violation {
        property: "no-odd-error",
        fact: format!("{what} is answered with {}", klamm_core::wire::error::name(code)),
        contradiction: "nothing in this workload causes it".into(),
    }
}
