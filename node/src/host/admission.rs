//! How much of its clients' requests a shard holds at once. A connection whose request finds no room is not read from
//! until there is: the client feels it as a full socket.
//!
//! A credit is taken before a frame's buffer is allocated and comes back when its answer has left (or needed none, or
//! the connection is gone). So these three numbers also bound mailboxes, inboxes between shards and outbound queues.
//!
//! Of its connection's room a request takes its bytes, but at least an equal share of what so many requests may have
//! together: one counter keeps both bounds.

use std::rc::Rc;
use tokio::sync::Semaphore;

/// Requests of one connection in flight.
pub const REQUESTS_PER_CONNECTION: usize = 128;
/// Bytes of requests of one connection in flight; a single larger frame counts as this much.
pub const BYTES_PER_CONNECTION: usize = 32 << 20;
/// Bytes of requests of one shard in flight.
pub const BYTES_PER_SHARD: usize = 512 << 20;

/// What a request takes at least of its connection's room.
const LEAST: usize = BYTES_PER_CONNECTION / REQUESTS_PER_CONNECTION;

/// The room left for one connection.
#[derive(Debug)]
pub(super) struct Admission {
    own: Semaphore,
    shard: Rc<Semaphore>,
}

impl Admission {
    /// The room of a whole shard, for [`Admission::of`].
    pub(super) fn shard() -> Rc<Semaphore> {
        Rc::new(Semaphore::new(BYTES_PER_SHARD))
    }

    /// The room of a new connection.
    pub(super) fn of(shard: &Rc<Semaphore>) -> Rc<Admission> {
        Rc::new(Admission { own: Semaphore::new(BYTES_PER_CONNECTION), shard: Rc::clone(shard) })
    }

    /// Whether every credit is back: nothing that came over this connection is still to be answered.
    pub(super) fn is_idle(&self) -> bool {
        self.own.available_permits() == BYTES_PER_CONNECTION
    }

    /// Waits until every credit is back. No request may be admitted any more.
    pub(super) async fn drained(&self) {
        let all = u32::try_from(BYTES_PER_CONNECTION).expect("a connection's bytes fit 32 bits");
        take(&self.own, all).await;
    }

    /// Waits for room for a frame of `len` bytes. What is shared is taken last: a wait that is given up holds none of it.
    pub(super) async fn admit(self: &Rc<Self>, len: usize) -> Credit {
        let bytes = u32::try_from(len.min(BYTES_PER_CONNECTION)).expect("a connection's bytes fit 32 bits");
        take(&self.own, share(bytes)).await;
        take(&self.shard, bytes).await;
        Credit { room: Rc::clone(self), bytes }
    }
}

/// Room taken for one request; given back when dropped.
#[derive(Debug)]
pub(super) struct Credit {
    room: Rc<Admission>,
    bytes: u32,
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.room.own.add_permits(share(self.bytes) as usize);
        self.room.shard.add_permits(self.bytes as usize);
    }
}

/// What a request of so many bytes takes of its connection's room.
fn share(bytes: u32) -> u32 {
    bytes.max(LEAST as u32)
}

async fn take(room: &Semaphore, permits: u32) {
    match room.try_acquire_many(permits) {
        Ok(taken) => taken.forget(),
        Err(_) => room.acquire_many(permits).await.expect("admission is never closed").forget(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_comes_back_and_one_connection_cannot_take_all_of_a_shard() {
        let shard = Admission::shard();
        let (one, other) = (Admission::of(&shard), Admission::of(&shard));
        let held = one.admit(100 << 20).await;
        assert_eq!(shard.available_permits(), BYTES_PER_SHARD - BYTES_PER_CONNECTION);
        tokio::select! { biased;
            _ = one.admit(1) => panic!("this connection has no room left"),
            _ = other.admit(1) => {}
        }
        drop(held);
        drop(one.admit(1).await);
        assert_eq!(shard.available_permits(), BYTES_PER_SHARD);
    }

    #[tokio::test]
    async fn requests_are_counted_too() {
        let admission = Admission::of(&Admission::shard());
        let mut held = Vec::new();
        for _ in 0..REQUESTS_PER_CONNECTION {
            held.push(admission.admit(1).await);
        }
        tokio::select! { biased;
            _ = admission.admit(1) => panic!("one request too many"),
            () = std::future::ready(()) => {}
        }
    }
}
