//! What waits for the next turn of a shard, in order of arrival.
//!
//! Filled from the shard's own thread only: by its connections, its store and its look-ups. Never blocks. Its bound is
//! the sum of theirs: requests by admission ([`super::admission`]), completions by what the shard itself started.

use klamm_core::effect::Input;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use tokio::sync::Notify;

/// Room for so many inputs is always kept.
const KEPT: usize = 64;
/// Of more room, so many times as much as was needed last; recovery, which brings an input for each log, leaves most unused.
const UNUSED: usize = 8;

/// The queue of one shard.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    inputs: RefCell<VecDeque<Input>>,
    /// How many inputs there were at most since there was none.
    most: Cell<usize>,
    filled: Notify,
}

impl Mailbox {
    /// Adds an input behind all others.
    pub(super) fn put(&self, input: Input) {
        let mut inputs = self.inputs.borrow_mut();
        // Where something waits already the shard knows that.
        if inputs.is_empty() {
            self.filled.notify_one();
        }
        inputs.push_back(input);
        self.most.set(self.most.get().max(inputs.len()));
    }

    /// Takes the oldest input.
    pub(super) fn take(&self) -> Option<Input> {
        let mut inputs = self.inputs.borrow_mut();
        let oldest = inputs.pop_front();
        if oldest.is_none() {
            let most = self.most.take().max(KEPT);
            if inputs.capacity() > UNUSED * most {
                inputs.shrink_to(most);
            }
        }
        oldest
    }

    /// Whether there is nothing to take.
    pub(super) fn is_empty(&self) -> bool {
        self.inputs.borrow().is_empty()
    }

    /// Waits until there is something to take.
    pub(super) async fn filled(&self) {
        while self.is_empty() {
            self.filled.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_core::ids::ConnectionId;

    fn turn(mailbox: &Mailbox, inputs: u64) -> usize {
        (0..inputs).for_each(|n| mailbox.put(Input::Opened { conn: ConnectionId(n) }));
        assert_eq!(std::iter::from_fn(|| mailbox.take()).count() as u64, inputs);
        mailbox.inputs.borrow().capacity()
    }

    #[test]
    fn room_follows_what_is_needed() {
        let mailbox = Mailbox::default();
        let most = turn(&mailbox, 5_000);
        assert!(most >= 5_000 && turn(&mailbox, 5_000) == most, "a load finds its room again");
        assert!(turn(&mailbox, 3) <= KEPT, "a shard at rest does not keep it");
    }
}
