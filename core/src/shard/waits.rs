//! What is to be answered later: one table, one timer heap, one name a wait.
//!
//! A wait is a value. A produce waits for *all* its offsets, a fetch for *any* of its logs; each has a deadline.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::Origin;
use crate::effect::{FetchPart, ListResult, ProduceResult};
use crate::ids::{Instant, LogId, Offset, Ticket};
use crate::replica::WaitId;

/// A produce that is in its logs and not committed yet.
#[derive(Debug)]
pub(super) struct ProduceWait {
    pub(super) origin: Origin,
    pub(super) acks: i16,
    pub(super) results: Vec<ProduceResult>,
    /// Which results are not final: position, log, offset after the batch.
    pub(super) open: Vec<(usize, LogId, Offset)>,
}

/// A fetch that wants more bytes than there are.
#[derive(Debug)]
pub(super) struct FetchWait {
    pub(super) origin: Origin,
    pub(super) min_bytes: u32,
    pub(super) parts: Vec<FetchPart>,
    /// Readable bytes that the asker knows of.
    pub(super) reported: u32,
}

/// A list-offsets that waits for the disk.
#[derive(Debug)]
pub(super) struct ListWait {
    pub(super) origin: Origin,
    pub(super) results: Vec<ListResult>,
    /// Which results are not final.
    pub(super) open: BTreeMap<Ticket, usize>,
}

#[derive(Debug)]
pub(super) enum Wait {
    Produce(ProduceWait),
    Fetch(FetchWait),
    List(ListWait),
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Waits {
    next: u64,
    table: BTreeMap<WaitId, (Wait, Option<Instant>)>,
    timers: BTreeSet<(Instant, WaitId)>,
    /// Fetches can be settled by whoever asked.
    fetches: BTreeMap<Origin, WaitId>,
    by_ticket: BTreeMap<Ticket, WaitId>,
}

impl Waits {
    /// The name of the next wait.
    pub(super) fn next_id(&self) -> WaitId {
        WaitId(self.next)
    }

    /// Parks a wait under [`Waits::next_id`].
    pub(super) fn park(&mut self, wait: Wait, deadline: Option<Instant>) {
        let id = self.next_id();
        self.next += 1;
        match &wait {
            Wait::Produce(_) => {}
            Wait::Fetch(fetch) => {
                self.fetches.insert(fetch.origin, id);
            }
            Wait::List(list) => self.by_ticket.extend(list.open.keys().map(|t| (*t, id))),
        }
        self.timers.extend(deadline.map(|at| (at, id)));
        self.table.insert(id, (wait, deadline));
    }

    /// A wait, to look at or change.
    pub(super) fn get_mut(&mut self, id: WaitId) -> Option<&mut Wait> {
        self.table.get_mut(&id).map(|(wait, _)| wait)
    }

    /// Takes a wait out: it is over.
    pub(super) fn end(&mut self, id: WaitId) -> Option<Wait> {
        let (wait, deadline) = self.table.remove(&id)?;
        self.timers.remove(&(deadline.unwrap_or_default(), id));
        match &wait {
            Wait::Produce(_) => {}
            Wait::Fetch(fetch) => {
                self.fetches.remove(&fetch.origin);
            }
            Wait::List(list) => {
                for ticket in list.open.keys() {
                    self.by_ticket.remove(ticket);
                }
            }
        }
        Some(wait)
    }

    /// The wait of an asker's fetch.
    pub(super) fn of_fetch(&self, origin: Origin) -> Option<WaitId> {
        self.fetches.get(&origin).copied()
    }

    /// The wait that a disk look-up belongs to.
    pub(super) fn of_ticket(&mut self, ticket: Ticket) -> Option<WaitId> {
        self.by_ticket.remove(&ticket)
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// A wait whose deadline has come.
    pub(super) fn due(&self, now: Instant) -> Option<WaitId> {
        self.timers.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }
}
