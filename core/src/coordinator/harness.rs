//! A machine on a log that commits when the test says so, and loses what is not committed when its leader is lost.

use alloc::vec::Vec;
use bytes::Bytes;

use super::{Coordinator, LogEnds, Outcome, Turn};
use crate::ids::{BrokerId, Instant, LeaderEpoch, Now, Offset, Timestamp};
use crate::machine::{Caller, Cx, Machine};
use crate::metadata::configs::Configs;
use crate::record::Batch;
use crate::rng::Rng;

fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(7, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(*b)))
}

/// One replicated machine under test.
pub(super) struct Harness<M: Machine> {
    pub(super) coordinator: Coordinator<M>,
    log: Vec<Batch>,
    committed: Offset,
    now: Now,
    rng: Rng,
    /// Everything that left, in order.
    pub(super) replies: Vec<(Caller, Outcome<M::Reply>)>,
    pub(super) work: Vec<M::Work>,
}

impl<M: Machine> Harness<M> {
    pub(super) fn new() -> Harness<M> {
        let mut harness = Harness {
            coordinator: Coordinator::new(crc),
            log: Vec::new(),
            committed: Offset(0),
            now: Now::default(),
            rng: Rng::new(1),
            replies: Vec::new(),
            work: Vec::new(),
        };
        harness.lead();
        harness
    }

    fn ends(&self) -> LogEnds {
        LogEnds { end: self.end(), committed: self.committed }
    }

    fn end(&self) -> Offset {
        self.log.last().map_or(Offset(0), |b| b.header.next_offset())
    }

    fn take(&mut self, turn: Turn<M>) {
        if let Some(bytes) = turn.batch {
            let base = self.end();
            let (prefix, rest) = Batch::stored(bytes, crc).expect("a batch of our own").stamp(base, LeaderEpoch(0));
            let stamped: Bytes = [&prefix[..], &rest[..]].concat().into();
            self.log.push(Batch::stored(stamped, crc).expect("stamps are outside the checksum"));
        }
        self.replies.extend(turn.replies);
        self.work.extend(turn.work);
    }

    fn decide(&mut self, how: impl FnOnce(&mut Coordinator<M>, &mut Cx<'_>, LogEnds) -> Turn<M>) {
        let log = self.ends();
        let file = &Configs::new();
        let cx = &mut Cx { now: self.now, next_offset: log.end, broker: BrokerId(1), file, rng: &mut self.rng };
        let turn = how(&mut self.coordinator, cx, log);
        self.take(turn);
    }

    pub(super) fn command(&mut self, caller: u64, command: M::Command) {
        self.decide(|c, cx, log| c.command(cx, Caller(caller), command, log));
    }

    pub(super) fn tell(&mut self, event: M::Event) {
        self.decide(|c, cx, log| c.tell(cx, event, log));
    }

    /// Time passes; what is due happens.
    pub(super) fn pass_ms(&mut self, ms: i64) {
        self.now.monotonic = self.now.monotonic.plus_ms(ms);
        self.now.wall = Timestamp(self.now.wall.0 + ms);
        if self.coordinator.deadline().is_some_and(|at| at <= self.now.monotonic) {
            self.decide(Coordinator::expire);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.coordinator.deadline()
    }

    /// Everything appended is committed.
    pub(super) fn commit(&mut self) {
        self.committed = self.end();
        let turn = self.coordinator.committed(self.committed);
        self.take(turn);
    }

    /// Leadership is lost: callers are told, what is not committed is gone. Then a new life leads and loads.
    pub(super) fn fail_over(&mut self) {
        let turn = self.coordinator.resign();
        self.take(turn);
        self.crash();
    }

    /// The leader dies without a word; another one leads.
    pub(super) fn crash(&mut self) {
        self.log.retain(|b| b.header.next_offset() <= self.committed);
        self.coordinator = Coordinator::new(crc);
        self.lead();
    }

    fn lead(&mut self) {
        let turn = self.coordinator.lead(Offset(0), self.committed);
        self.take(turn);
        while let Some((from, _)) = self.coordinator.wants() {
            // One batch at a time: a load comes in pieces.
            let piece = self.log.iter().find(|b| b.header.base_offset == from).expect("a committed batch");
            let turn = self.coordinator.loaded(piece.bytes()).expect("our own records");
            self.take(turn);
        }
        assert!(self.coordinator.is_active());
    }
}
