//! What waits for the next turn of a shard, in order of arrival.
//!
//! Filled from the shard's own thread only: by its connections, its store and its look-ups. Never blocks. Its bound is
//! the sum of theirs: requests by admission ([`super::admission`]), completions by what the shard itself started.

use klamm_core::effect::Input;
use std::cell::RefCell;
use std::collections::VecDeque;
use tokio::sync::Notify;

/// Room for so many inputs is kept while there are none; recovery brings one for each log.
const KEPT: usize = 1_024;

/// The queue of one shard.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    inputs: RefCell<VecDeque<Input>>,
    filled: Notify,
}

impl Mailbox {
    /// Adds an input behind all others.
    pub(super) fn put(&self, input: Input) {
        self.inputs.borrow_mut().push_back(input);
        self.filled.notify_one();
    }

    /// Takes the oldest input.
    pub(super) fn take(&self) -> Option<Input> {
        let mut inputs = self.inputs.borrow_mut();
        let oldest = inputs.pop_front();
        if oldest.is_none() && inputs.capacity() > KEPT {
            inputs.shrink_to(KEPT);
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
