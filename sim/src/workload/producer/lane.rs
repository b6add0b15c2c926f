//! What a producer does in one partition: its batches in the order of their sequences, and which may leave.
//!
//! A careful lane has one batch under way until the first is acknowledged, lets nothing new leave behind one that is sent
//! again, and after an error waits for all that is under way, as Kafka's own producer does. An eager one keeps to the
//! window of five, and to nothing else: a later batch of it may then come to a log that knows nothing of its producer.

use std::collections::VecDeque;

use bytes::Bytes;
use klamm_core::rng::Rng;

use crate::history::Partition;

/// Batches under way to a partition, as in every client (`max.in.flight.requests.per.connection`): a broker recognises
/// the last five of a producer.
const IN_FLIGHT: usize = 5;
/// Sequences of lanes that begin near the end wrap after so many, at most.
const NEAR: u64 = 40;

/// A batch that is not settled.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) sequence: i32,
    pub(super) values: Vec<u64>,
    pub(super) bytes: Bytes,
    pub(super) born: u64,
    /// Its checksum is wrong, on purpose.
    pub(super) bad: bool,
    /// It never left before.
    pub(super) first: bool,
    /// It is to be sent once more, or was.
    again: bool,
    /// Under way on the present connection, without an answer that asks for another attempt.
    sent: bool,
    /// Acknowledged before an earlier one: it still counts, because the broker knows the last five only.
    done: bool,
}

impl Batch {
    pub(super) fn new(sequence: i32, values: Vec<u64>, bytes: Bytes, born: u64, bad: bool) -> Batch {
        Batch { sequence, values, bytes, born, bad, first: true, again: false, sent: false, done: false }
    }

    fn waits(&self) -> bool {
        !self.sent && !self.done
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) at: Partition,
    eager: bool,
    first: i32,
    next: i32,
    /// Not acknowledged, in order.
    queue: VecDeque<Batch>,
    /// Something was acknowledged: before, the broker knows of no sequence, and would begin with a later batch.
    known: bool,
    /// Something went wrong: nothing leaves before all that is under way is answered, and not before this time.
    draining: bool,
    rests_until: u64,
}

impl Lane {
    /// Sequences begin at 0, or so that they wrap soon.
    pub(super) fn new(at: Partition, rng: &mut Rng) -> Lane {
        let first = if rng.one_in(4) { i32::MAX - rng.below(NEAR) as i32 } else { 0 };
        let eager = rng.one_in(2);
        let queue = VecDeque::new();
        Lane { at, eager, first, next: first, queue, known: false, draining: false, rests_until: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn oldest(&self) -> Option<&Batch> {
        self.queue.front()
    }

    /// Whether another batch may be made.
    pub(super) fn has_room(&self, idempotent: bool) -> bool {
        let Some(oldest) = self.queue.front() else { return true };
        let careful = idempotent && !self.eager;
        self.queue.len() < IN_FLIGHT && (!careful || (self.known && !oldest.again))
    }

    /// The next sequence, for so many records.
    pub(super) fn follow(&mut self, records: usize) -> i32 {
        let sequence = self.next;
        self.next = after(sequence, records);
        sequence
    }

    pub(super) fn push(&mut self, batch: Batch) {
        assert!(self.queue.len() < IN_FLIGHT, "{} batches are under way to {:?}", self.queue.len(), self.at);
        self.queue.push_back(batch);
    }

    /// When the next batch may leave, if one waits.
    pub(super) fn ready_at(&self) -> Option<u64> {
        (!self.draining && self.queue.iter().any(Batch::waits)).then_some(self.rests_until)
    }

    /// The batch that leaves now.
    pub(super) fn send(&mut self, now: u64) -> Option<&mut Batch> {
        self.ready_at().filter(|at| *at <= now)?;
        let batch = self.queue.iter_mut().find(|batch| batch.waits())?;
        batch.sent = true;
        Some(batch)
    }

    /// A batch is acknowledged.
    pub(super) fn acked(&mut self, sequence: i32) {
        self.known = true;
        if let Some(batch) = self.queue.iter_mut().find(|batch| batch.sequence == sequence) {
            (batch.done, batch.sent) = (true, false);
        }
        while self.queue.pop_front_if(|batch| batch.done).is_some() {}
        self.drained();
    }

    /// A batch is to be sent again, not before a time.
    pub(super) fn again(&mut self, sequence: i32, rests_until: u64) {
        if let Some(batch) = self.queue.iter_mut().find(|batch| batch.sequence == sequence) {
            (batch.sent, batch.again) = (false, true);
        }
        self.draining = !self.eager;
        self.rests_until = rests_until;
        self.drained();
    }

    fn drained(&mut self) {
        self.draining &= self.queue.iter().any(|batch| batch.sent);
    }

    /// A batch is given up, or nobody is told what becomes of it.
    pub(super) fn forget(&mut self, sequence: Option<i32>) {
        self.queue.retain(|batch| sequence != Some(batch.sequence));
    }

    /// The connection is gone: what was under way may be in the log.
    pub(super) fn lost(&mut self) {
        self.draining = false;
        for batch in &mut self.queue {
            (batch.sent, batch.again) = (false, batch.again || batch.sent);
        }
    }

    /// Whether all before a batch is acknowledged.
    pub(super) fn is_oldest(&self, sequence: i32) -> bool {
        self.queue.front().is_some_and(|batch| batch.sequence == sequence)
    }

    /// Whether a later batch may have come before this one to a log that knew nothing of its producer.
    pub(super) fn may_begin_later(&self, sequence: i32) -> bool {
        self.eager && sequence == self.first
    }
}

/// The sequence that is so many behind another one: 0 follows the last one.
pub(super) fn after(sequence: i32, count: usize) -> i32 {
    ((i64::from(sequence) + count as i64) % (1 << 31)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(eager: bool) -> Lane {
        let mut lane = Lane::new(("t".into(), 0), &mut Rng::new(1));
        (lane.eager, lane.first, lane.next) = (eager, 0, 0);
        lane
    }

    fn make(lane: &mut Lane) -> i32 {
        let sequence = lane.follow(1);
        lane.push(Batch::new(sequence, vec![1], Bytes::new(), 0, false));
        sequence
    }

    fn send(lane: &mut Lane, now: u64) -> Option<i32> {
        let batch = lane.send(now)?;
        batch.first = false;
        Some(batch.sequence)
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!((after(0, 3), after(i32::MAX, 1), after(i32::MAX - 1, 3)), (3, 0, 1));
    }

    #[test]
    fn a_careful_lane_is_known_before_it_goes_on() {
        let mut lane = lane(false);
        make(&mut lane);
        assert!(!lane.has_room(true) && lane.has_room(false));
        assert_eq!(send(&mut lane, 0), Some(0));
        assert!(!lane.has_room(true), "not acknowledged yet");
        lane.acked(0);
        make(&mut lane);
        assert!(lane.has_room(true));
        make(&mut lane);
        assert_eq!((send(&mut lane, 0), send(&mut lane, 0)), (Some(1), Some(2)));
        lane.again(1, 5);
        assert_eq!((send(&mut lane, 9), lane.has_room(true)), (None, false), "sequence 2 is still under way");
        lane.acked(2);
        assert_eq!((send(&mut lane, 4), send(&mut lane, 5)), (None, Some(1)));
        assert!(lane.is_oldest(1) && !lane.may_begin_later(1));
    }

    #[test]
    fn an_eager_lane_keeps_to_its_window() {
        let mut lane = lane(true);
        for sequence in 0..5 {
            assert!(lane.has_room(true));
            assert_eq!(make(&mut lane), sequence);
            assert_eq!(send(&mut lane, 0), Some(sequence));
        }
        assert!(!lane.has_room(true));
        lane.acked(1);
        assert!(!lane.has_room(true), "what was acknowledged before an earlier one counts");
        lane.again(0, 0);
        assert_eq!(send(&mut lane, 0), Some(0));
        assert!(lane.may_begin_later(0) && lane.is_oldest(0));
        lane.acked(0);
        assert_eq!(lane.len(), 3);
        lane.lost();
        assert_eq!((send(&mut lane, 0), send(&mut lane, 0)), (Some(2), Some(3)));
    }
}
