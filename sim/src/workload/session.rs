//! A consumer's side of a fetch session (KIP-227): what was asked before is remembered by the broker, requests name what
//! changed, answers what is news.
//!
//! Properties: `session-kept` (who asks for a session gets one, and on its own connection it is never refused),
//! `none-left-out` (a partition that is known to have something to read is in the answers: that is news).

use std::collections::BTreeMap;

use klamm_core::wire::{FetchPartition, FetchResponse, error};

use crate::history::Partition;
use crate::report::Violation;

/// So many answers in a row may leave a partition out that has something to read.
const PATIENCE: usize = 3;

/// What the broker was told of a partition: the offset to read, and the leader epochs.
type Told = (i64, i32, i32);

/// One session, on one connection; its partitions go by their numbers among the consumer's.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// 0: there is none yet.
    id: i32,
    epoch: i32,
    told: BTreeMap<usize, Told>,
    /// How many answers in a row left a partition out that had something to read.
    missed: BTreeMap<usize, usize>,
}

impl Session {
    /// What the next request says of it: id and epoch.
    pub(super) fn names(&self) -> (i32, i32) {
        (self.id, self.epoch)
    }

    /// Whether answers name only what is news.
    pub(super) fn is_under_way(&self) -> bool {
        self.epoch > 0
    }

    /// Whether the broker has to be told what is asked of a partition now; from here on it knows.
    pub(super) fn tell(&mut self, place: usize, asked: &FetchPartition) -> bool {
        let told = (asked.fetch_offset, asked.current_leader_epoch, asked.last_fetched_epoch);
        self.told.insert(place, told) != Some(told)
    }

    /// Forgets all partitions but some; gives those that the broker has to forget.
    pub(super) fn forget_all_but(&mut self, places: &[usize]) -> Vec<usize> {
        let gone: Vec<usize> = self.told.keys().copied().filter(|place| !places.contains(place)).collect();
        for place in &gone {
            self.told.remove(place);
            self.missed.remove(place);
        }
        gone
    }

    /// It is answered.
    pub(super) fn answered(&mut self, response: &FetchResponse) -> Result<(), Violation> {
        let named = response.session_id;
        if response.error_code != error::NONE || named == 0 || (self.id != 0 && named != self.id) {
            let name = error::name(response.error_code);
            return Err(Violation {
                property: "session-kept",
                fact: format!("session {} was in its epoch {} on this connection", self.id, self.epoch),
                contradiction: format!("{name}, and session {named}"),
            });
        }
        (self.id, self.epoch) = (named, self.epoch + 1);
        Ok(())
    }

    /// An answer names a partition.
    pub(super) fn gave(&mut self, place: usize) {
        self.missed.remove(&place);
    }

    /// An answer leaves a partition out, that was read at an offset, and committed up to `end`.
    pub(super) fn left_out(&mut self, place: usize, at: &Partition, from: i64, end: i64) -> Result<(), Violation> {
        if from >= end {
            self.missed.remove(&place);
            return Ok(());
        }
        let missed = self.missed.entry(place).or_default();
        *missed += 1;
        if *missed <= PATIENCE {
            return Ok(());
        }
        Err(Violation {
            property: "none-left-out",
            fact: format!("{}-{} is read at {from}, and everything below {end} was committed", at.0, at.1),
            contradiction: format!("{missed} answers left it out"),
        })
    }
}
