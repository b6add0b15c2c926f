//! One client connection: requests are pipelined, answers leave in the order in which the requests came.

pub mod cluster;
pub mod configs;
pub mod fetch;
pub mod gather;
pub mod logs;
pub mod metadata;
#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::effect::{Effect, Range};
use crate::ids::ConnectionId;
use crate::wire::Response;

/// Names a request of a connection: how many came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub u64);

/// How a request ends.
#[derive(Clone, Debug)]
pub enum Ending {
    /// With an answer.
    Reply {
        /// The answer.
        response: Response,
        /// What `Records::Range` in it stands for.
        ranges: Vec<Range>,
        /// A bound on all ranges together.
        max_bytes: u32,
    },
    /// Without one, as asked (acks=0).
    Quiet,
    /// With the connection.
    Close(&'static str),
}

impl From<Response> for Ending {
    fn from(response: Response) -> Ending {
        Ending::Reply { response, ranges: Vec::new(), max_bytes: 0 }
    }
}

#[derive(Debug)]
struct Pending {
    correlation: i32,
    ending: Option<Ending>,
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    conn: ConnectionId,
    /// Requests not answered yet, oldest first.
    pending: VecDeque<Pending>,
    /// The slot of the oldest.
    oldest: Slot,
}

impl Session {
    /// A connection that just opened.
    #[must_use]
    pub fn new(conn: ConnectionId) -> Session {
        Session { conn, pending: VecDeque::new(), oldest: Slot(0) }
    }

    /// A request came.
    pub fn begin(&mut self, correlation: i32) -> Slot {
        let slot = Slot(self.oldest.0 + self.pending.len() as u64);
        self.pending.push_back(Pending { correlation, ending: None });
        slot
    }

    /// A request ends; all that may leave now, leaves.
    ///
    /// # Panics
    /// When it ended before.
    pub fn finish(&mut self, slot: Slot, ending: Ending, out: &mut Vec<Effect>) {
        let index = slot.0.checked_sub(self.oldest.0).expect("a request ends once");
        let pending = self.pending.get_mut(index as usize).expect("a request ends after it came");
        assert!(pending.ending.is_none(), "a request ends once");
        pending.ending = Some(ending);
        while let Some(Pending { correlation, ending: Some(ending) }) =
            self.pending.pop_front_if(|p| p.ending.is_some())
        {
            self.oldest.0 += 1;
            let conn = self.conn;
            out.push(match ending {
                Ending::Reply { response, ranges, max_bytes } => {
                    Effect::Reply { conn, correlation, response, ranges, max_bytes }
                }
                Ending::Quiet => Effect::Quiet { conn, correlation },
                Ending::Close(reason) => Effect::Close { conn, reason },
            });
        }
    }

    /// The connection is gone: gives the bytes of answers that waited for an earlier one and reach nobody now.
    #[must_use]
    pub fn into_ranges(self) -> Vec<Range> {
        let endings = self.pending.into_iter().filter_map(|p| p.ending);
        endings
            .flat_map(|ending| match ending {
                Ending::Reply { ranges, .. } => ranges,
                Ending::Quiet | Ending::Close(_) => Vec::new(),
            })
            .collect()
    }

    /// How many requests are not answered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.pending.len()
    }
}
