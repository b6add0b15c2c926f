//! What is to be answered later: one table, one timer heap, one name a wait.
//!
//! A wait is a value. A produce waits for *all* its offsets, a fetch for *any* of its logs; each has a deadline.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::Origin;
use crate::effect::{FetchPart, Few, ListResult, ProduceResult};
use crate::ids::{Instant, LogId, Offset, Ticket};
use crate::replica::{Replica, WaitId};
use crate::table::Table;

/// A produce that is in its logs and not committed yet.
#[derive(Debug)]
pub(super) struct ProduceWait {
    pub(super) origin: Origin,
    pub(super) acks: i16,
    pub(super) results: Few<ProduceResult>,
    /// Which results are not final: position, log, offset after the batch.
    pub(super) open: Few<(usize, LogId, Offset)>,
}

/// A fetch that wants more bytes than there are.
#[derive(Debug)]
pub(super) struct FetchWait {
    pub(super) origin: Origin,
    pub(super) min_bytes: u32,
    pub(super) parts: Few<FetchPart>,
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

/// A delete-records whose starts are not durable yet.
#[derive(Debug)]
pub(super) struct DeleteWait {
    pub(super) origin: Origin,
    pub(super) results: Vec<Result<Offset, i16>>,
    /// Which results are not final: position, log, its start to be.
    pub(super) open: Vec<(usize, LogId, Offset)>,
}

/// Somebody who asks for the device's room, while the disk is asked.
#[derive(Debug)]
pub(super) struct RoomWait {
    pub(super) origin: Origin,
    pub(super) ticket: Ticket,
}

#[derive(Debug)]
pub(super) enum Wait {
    Produce(ProduceWait),
    Delete(DeleteWait),
    Fetch(FetchWait),
    List(ListWait),
    Room(RoomWait),
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Waits {
    table: Table<(Wait, Option<Instant>)>,
    timers: BTreeMap<Instant, Timer>,
    /// Fetches can be settled by whoever asked.
    fetches: BTreeMap<Origin, WaitId>,
    by_ticket: BTreeMap<Ticket, WaitId>,
}

/// The waits of one deadline: those of one turn and one timeout share it.
#[derive(Debug, Default)]
struct Timer {
    waits: VecDeque<WaitId>,
    /// How many of them are not over.
    live: usize,
}

impl Waits {
    /// The name of the next wait.
    pub(super) fn next_id(&self) -> WaitId {
        WaitId(self.table.next_key())
    }

    /// Parks a wait under [`Waits::next_id`].
    pub(super) fn park(&mut self, wait: Wait, deadline: Option<Instant>) {
        let id = self.next_id();
        match &wait {
            Wait::Produce(_) | Wait::Delete(_) => {}
            Wait::Fetch(fetch) => {
                self.fetches.insert(fetch.origin, id);
            }
            Wait::List(list) => self.by_ticket.extend(list.open.keys().map(|t| (*t, id))),
            Wait::Room(room) => {
                self.by_ticket.insert(room.ticket, id);
            }
        }
        if let Some(deadline) = deadline {
            let timer = self.timers.entry(deadline).or_default();
            timer.waits.push_back(id);
            timer.live += 1;
        }
        self.table.insert((wait, deadline));
    }

    /// A wait, to look at or change.
    pub(super) fn get_mut(&mut self, id: WaitId) -> Option<&mut Wait> {
        self.table.get_mut(id.0).map(|(wait, _)| wait)
    }

    /// A replica got further: what a produce waited for in it and is there now, it waits for no more.
    pub(super) fn reached(&mut self, id: WaitId, replica: &Replica) {
        if let Some(Wait::Produce(wait)) = self.get_mut(id) {
            let acks = wait.acks;
            wait.open.retain(|(_, log, next)| *log != replica.id() || !replica.reached(acks, *next));
        }
    }

    /// Takes a wait out: it is over.
    pub(super) fn end(&mut self, id: WaitId) -> Option<Wait> {
        let (wait, deadline) = self.table.remove(id.0)?;
        if let Some(deadline) = deadline
            && let Some(timer) = self.timers.get_mut(&deadline)
        {
            timer.live -= 1;
            if timer.live == 0 {
                self.timers.remove(&deadline);
            }
        }
        match &wait {
            Wait::Produce(_) | Wait::Delete(_) => {}
            Wait::Fetch(fetch) => {
                self.fetches.remove(&fetch.origin);
            }
            Wait::List(list) => {
                for ticket in list.open.keys() {
                    self.by_ticket.remove(ticket);
                }
            }
            Wait::Room(room) => {
                self.by_ticket.remove(&room.ticket);
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
        self.timers.first_key_value().map(|(at, _)| *at)
    }

    /// The oldest wait whose deadline has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<WaitId> {
        let mut timer = self.timers.first_entry().filter(|timer| *timer.key() <= now)?;
        let waits = &mut timer.get_mut().waits;
        while let Some(id) = waits.front().copied() {
            if self.table.get(id.0).is_some() {
                return Some(id);
            }
            waits.pop_front();
        }
        unreachable!("a deadline has a wait that is not over")
    }
}
