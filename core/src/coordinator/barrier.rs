//! A barrier: callers arrive and are kept; the last of N, or a timer, releases them together. What JoinGroup needs.

use alloc::vec::Vec;
use bytes::Bytes;

use super::Outcome;
use super::harness::Harness;
use crate::ids::{Instant, Offset};
use crate::machine::{Caller, Cx, Decision, Entry, Machine, Stored};
use crate::wire::Malformed;

const SIZE: usize = 3;
const TIMEOUT_MS: i64 = 1000;

/// A round is over, with so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Round(u8);

impl Stored for Round {
    fn encode(&self) -> (Option<Bytes>, Option<Bytes>) {
        (None, Some(Bytes::copy_from_slice(&[self.0])))
    }

    fn decode(_key: Option<Bytes>, value: Option<Bytes>) -> Result<Round, Malformed> {
        value.and_then(|v| v.first().copied()).map(Round).ok_or(Malformed("a round"))
    }
}

#[derive(Debug, Default)]
struct Barrier {
    rounds: Vec<u8>,
}

#[derive(Debug, Default)]
struct Waiting {
    callers: Vec<Caller>,
    until: Option<Instant>,
}

impl Barrier {
    fn release(&self, soft: &mut Waiting) -> Decision<Barrier> {
        let callers = core::mem::take(&mut soft.callers);
        soft.until = None;
        let round = self.rounds.len();
        Decision {
            records: alloc::vec![Round(callers.len() as u8)],
            replies: callers.into_iter().map(|c| (c, round)).collect(),
            work: Vec::new(),
        }
    }
}

impl Machine for Barrier {
    type Command = ();
    type Event = ();
    type Record = Round;
    type Reply = usize;
    type Work = ();
    type Soft = Waiting;

    fn decide(&self, soft: &mut Waiting, cx: &mut Cx<'_>, caller: Caller, (): ()) -> Decision<Self> {
        soft.callers.push(caller);
        soft.until.get_or_insert(cx.now.monotonic.plus_ms(TIMEOUT_MS));
        if soft.callers.len() == SIZE { self.release(soft) } else { Decision::default() }
    }

    fn hear(&self, _soft: &mut Waiting, _cx: &mut Cx<'_>, (): ()) -> Decision<Self> {
        Decision::default()
    }

    fn apply(&mut self, _offset: Offset, entry: Entry<Round>) {
        if let Entry::Record(Round(n)) = entry {
            self.rounds.push(n);
        }
    }

    fn deadline(&self, soft: &Waiting) -> Option<Instant> {
        soft.until
    }

    fn expire(&self, soft: &mut Waiting, _cx: &mut Cx<'_>) -> Decision<Self> {
        self.release(soft)
    }

    fn owed(&self) -> Vec<()> {
        Vec::new()
    }
}

fn released(round: usize, callers: &[u64]) -> Vec<(Caller, Outcome<usize>)> {
    callers.iter().map(|c| (Caller(*c), Outcome::Reply(round))).collect()
}

#[test]
fn the_last_arrival_releases_all_once_its_round_is_committed() {
    let mut h = Harness::<Barrier>::new();
    (1..=3).for_each(|c| h.command(c, ()));
    assert!(h.replies.is_empty(), "the round is not committed yet");
    assert_eq!(h.deadline(), None, "the timer went with the round");
    h.commit();
    assert_eq!(h.replies, released(0, &[1, 2, 3]));
}

#[test]
fn the_timer_releases_whoever_is_there_and_a_caller_that_vanished_is_not_answered() {
    let mut h = Harness::<Barrier>::new();
    h.command(1, ());
    h.pass_ms(600);
    h.command(2, ());
    h.coordinator.forget(Caller(1));
    h.pass_ms(399);
    assert_eq!(h.coordinator.machine().rounds, [], "a millisecond too early");
    h.pass_ms(1);
    h.commit();
    assert_eq!(h.coordinator.machine().rounds, [2], "the machine learns of vanished callers by its own timers only");
    assert_eq!(h.replies, released(0, &[2]));
    h.command(3, ());
    assert_eq!(h.deadline().map(|at| at.0), Some(2_000_000_000), "a new round has a timer of its own");
}

#[test]
fn losing_leadership_in_the_middle_answers_everyone_kept_and_the_next_leader_starts_afresh() {
    let mut h = Harness::<Barrier>::new();
    (1..=3).for_each(|c| h.command(c, ()));
    h.commit();
    h.replies.clear();
    (4..=5).for_each(|c| h.command(c, ()));
    h.fail_over();
    let refused: Vec<_> = (4..=5).map(|c| (Caller(c), Outcome::NotCoordinator)).collect();
    assert_eq!(h.replies, refused);
    h.replies.clear();
    assert_eq!(h.coordinator.machine().rounds, [3], "replayed from the log");
    assert_eq!(h.deadline(), None, "the timer died with the leadership");
    (6..=8).for_each(|c| h.command(c, ()));
    h.commit();
    assert_eq!(h.replies, released(1, &[6, 7, 8]));
}

#[test]
fn a_release_that_was_not_committed_never_happened() {
    let mut h = Harness::<Barrier>::new();
    (1..=3).for_each(|c| h.command(c, ()));
    h.fail_over();
    let refused: Vec<_> = (1..=3).map(|c| (Caller(c), Outcome::NotCoordinator)).collect();
    assert_eq!(h.replies, refused);
    assert_eq!(h.coordinator.machine().rounds, []);
}
