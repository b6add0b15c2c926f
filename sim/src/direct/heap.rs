//! What is still to happen, by time. Popping is the time jump.
//!
//! Events of one instant leave in the order in which they were pushed. The heap holds names of slots only, so that
//! moving its entries costs the same whatever an event carries.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Events to come.
#[derive(Debug)]
pub(super) struct Heap<E> {
    /// (nanoseconds, insertion number, slot).
    order: BinaryHeap<Reverse<(u64, u64, usize)>>,
    slab: Vec<Option<E>>,
    free: Vec<usize>,
    pushed: u64,
    /// The time of the last one popped.
    now: u64,
}

impl<E> Heap<E> {
    pub(super) fn new() -> Heap<E> {
        Heap { order: BinaryHeap::new(), slab: Vec::new(), free: Vec::new(), pushed: 0, now: 0 }
    }

    pub(super) fn push(&mut self, at: u64, event: E) {
        assert!(at >= self.now, "an event at {at} ns comes after {} ns", self.now);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            self.slab.len() - 1
        });
        self.slab[slot] = Some(event);
        self.order.push(Reverse((at, self.pushed, slot)));
        self.pushed += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(u64, E)> {
        let Reverse((at, _, slot)) = self.order.pop()?;
        self.free.push(slot);
        self.now = at;
        let event = self.slab[slot].take().expect("a slot in the heap holds its event");
        Some((at, event))
    }

    /// When the next one is to happen.
    pub(super) fn next(&self) -> Option<u64> {
        self.order.peek().map(|Reverse((at, ..))| *at)
    }

    /// Whether something is true of every event to come.
    pub(super) fn all(&self, is: impl Fn(&E) -> bool) -> bool {
        self.slab.iter().flatten().all(is)
    }

    /// Events pushed so far.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_time_and_then_in_the_order_pushed() {
        let mut heap = Heap::new();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b')] {
            heap.push(at, event);
        }
        assert_eq!(heap.pop(), Some((1, 'a')));
        heap.push(5, 'e');
        let rest: String = std::iter::from_fn(|| heap.pop()).map(|(_, event)| event).collect();
        assert_eq!(rest, "bcde");
    }
}
