//! How much of its clients' requests a shard holds at once. A connection whose request finds no room is not read from
//! until there is: the client feels it as a full socket.
//!
//! A whole request takes credit of its connection and of the shard, which comes back when its answer has left (or needed
//! none, or the connection is gone). So these numbers also bound mailboxes, inboxes between shards and outbound queues.
//! Of its connection's room a request takes its bytes, but at least an equal share of what so many requests may have
//! together: one counter keeps both bounds.
//!
//! A frame that has not arrived in whole takes room of its connection by the length that it announces, which is nobody
//! else's business, and of the shard by the bytes that did arrive, out of a part of its own: announced bytes hold up
//! nobody, and bytes that stay half a frame hold up only other long frames. Those do not wait for each other for ever:
//! where that part is full, one frame at a time goes on without credit, in the order of asking, and is to hurry.

use std::mem;
use std::rc::Rc;
use tokio::sync::Semaphore;

/// Requests of one connection in flight.
pub const REQUESTS_PER_CONNECTION: usize = 128;
/// Bytes of requests of one connection in flight; a single larger frame counts as this much.
pub const BYTES_PER_CONNECTION: usize = 32 << 20;
/// Bytes of whole requests of one shard in flight.
pub const BYTES_PER_SHARD: usize = 512 << 20;
/// Bytes of long frames of one shard that have not arrived in whole, but for one of them.
pub const UNFINISHED_PER_SHARD: usize = 128 << 20;

/// What a request takes at least of its connection's room.
const LEAST: usize = BYTES_PER_CONNECTION / REQUESTS_PER_CONNECTION;

/// The room of a shard.
#[derive(Debug)]
pub(super) struct Room {
    whole: Semaphore,
    unfinished: Semaphore,
    /// Held by the one frame that goes on without credit.
    turn: Semaphore,
}

impl Room {
    pub(super) fn of_shard() -> Rc<Room> {
        Rc::new(Room {
            whole: Semaphore::new(BYTES_PER_SHARD),
            unfinished: Semaphore::new(UNFINISHED_PER_SHARD),
            turn: Semaphore::new(1),
        })
    }
}

/// The room left for one connection.
#[derive(Debug)]
pub(super) struct Admission {
    own: Semaphore,
    room: Rc<Room>,
}

impl Admission {
    /// The room of a new connection.
    pub(super) fn of(room: &Rc<Room>) -> Rc<Admission> {
        Rc::new(Admission { own: Semaphore::new(BYTES_PER_CONNECTION), room: Rc::clone(room) })
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

    /// Admits a frame of `len` bytes that has arrived, if there is room for it on this connection and on the shard.
    pub(super) fn try_admit(self: &Rc<Self>, len: usize) -> Option<Credit> {
        let (share, bytes) = Admission::takes(len);
        let own = self.own.try_acquire_many(share).ok()?;
        self.room.whole.try_acquire_many(bytes).ok()?.forget();
        own.forget();
        Some(Credit { admission: Rc::clone(self), share, bytes, is_whole: true })
    }

    /// What a frame of `len` bytes takes of its connection's room and of the shard's.
    fn takes(len: usize) -> (u32, u32) {
        let bytes = u32::try_from(len.min(BYTES_PER_CONNECTION)).expect("a connection's bytes fit 32 bits");
        (bytes.max(LEAST as u32), bytes)
    }

    /// Waits until this connection has room for a frame that announces `len` bytes. Of the shard's nothing is taken.
    pub(super) async fn announce(self: &Rc<Self>, len: usize) -> Credit {
        let (share, bytes) = Admission::takes(len);
        take(&self.own, share).await;
        Credit { admission: Rc::clone(self), share, bytes, is_whole: false }
    }
}

/// Room taken for one request, or for several; given back when dropped.
#[derive(Debug)]
pub(super) struct Credit {
    admission: Rc<Admission>,
    /// Of its connection.
    share: u32,
    bytes: u32,
    /// Of the shard, too.
    is_whole: bool,
}

impl Credit {
    /// What a frame is to hold of the shard's room while it arrives.
    pub(super) fn arriving(&self) -> Arriving {
        Arriving { room: Rc::clone(&self.admission.room), held: 0, has_turn: false }
    }

    /// Waits until the shard has room for the frame, which has arrived. Of what is whole something always ends: this
    /// waits for no other frame's arrival.
    pub(super) async fn admit(&mut self) {
        assert!(!self.is_whole, "a request is admitted once");
        take(&self.admission.room.whole, self.bytes).await;
        self.is_whole = true;
    }

    /// Takes in the room of another request of the same connection: both come back together.
    pub(super) fn join(&mut self, mut other: Credit) {
        assert!(Rc::ptr_eq(&self.admission, &other.admission), "credits of two connections");
        assert!(self.is_whole && other.is_whole, "a request that was not admitted");
        self.share += mem::take(&mut other.share);
        self.bytes += mem::take(&mut other.bytes);
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        if self.share > 0 {
            self.admission.own.add_permits(self.share as usize);
        }
        if self.is_whole && self.bytes > 0 {
            self.admission.room.whole.add_permits(self.bytes as usize);
        }
    }
}

/// What a long frame holds while it arrives; given back when dropped.
#[derive(Debug)]
pub(super) struct Arriving {
    room: Rc<Room>,
    held: u32,
    has_turn: bool,
}

impl Arriving {
    /// Takes credit for the bytes that have arrived so far, if there is.
    pub(super) fn try_hold(&mut self, arrived: usize) -> bool {
        let more = self.not_held(arrived);
        if more > 0 && !self.has_turn {
            let Ok(taken) = self.room.unfinished.try_acquire_many(more) else { return false };
            taken.forget();
            self.held += more;
        }
        true
    }

    /// Waits until there is credit for them, or it is this frame's turn to go on without, up to its end.
    pub(super) async fn hold(&mut self, arrived: usize) {
        let more = self.not_held(arrived);
        let room = Rc::clone(&self.room);
        tokio::select! { biased;
            () = take(&room.unfinished, more) => self.held += more,
            () = take(&room.turn, 1) => self.has_turn = true,
        }
    }

    /// Whether others wait for its end.
    pub(super) fn has_turn(&self) -> bool {
        self.has_turn
    }

    fn not_held(&self, arrived: usize) -> u32 {
        u32::try_from(arrived).expect("a frame's bytes fit 32 bits").saturating_sub(self.held)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.room.unfinished.add_permits(self.held as usize);
        self.room.turn.add_permits(usize::from(self.has_turn));
    }
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

    /// Whether a wait is not over yet.
    macro_rules! waits {
        ($wait:expr) => {
            tokio::select! { biased;
                _ = $wait => false,
                () = std::future::ready(()) => true,
            }
        };
    }

    async fn admitted(admission: &Rc<Admission>, len: usize) -> Credit {
        let mut credit = admission.announce(len).await;
        credit.admit().await;
        credit
    }

    #[tokio::test]
    async fn room_comes_back_and_one_connection_cannot_take_all_of_a_shard() {
        let room = Room::of_shard();
        let (one, other) = (Admission::of(&room), Admission::of(&room));
        let held = admitted(&one, 100 << 20).await;
        assert_eq!(room.whole.available_permits(), BYTES_PER_SHARD - BYTES_PER_CONNECTION);
        assert!(waits!(one.announce(1)), "this connection has no room left");
        drop(admitted(&other, 1).await);
        drop(held);
        drop(admitted(&one, 1).await);
        assert_eq!(room.whole.available_permits(), BYTES_PER_SHARD);
        assert!(one.is_idle());
    }

    #[tokio::test]
    async fn requests_are_counted_too() {
        let admission = Admission::of(&Room::of_shard());
        let mut held = Vec::new();
        for _ in 0..REQUESTS_PER_CONNECTION / 2 {
            held.push(admitted(&admission, 1).await);
            held.push(admission.try_admit(1).expect("there is room"));
        }
        assert!(admission.try_admit(1).is_none(), "one request too many");
        assert!(waits!(admission.announce(1)), "one request too many");
    }

    #[tokio::test]
    async fn room_of_several_requests_comes_back_together() {
        let room = Room::of_shard();
        let admission = Admission::of(&room);
        let mut one = admitted(&admission, 1).await;
        one.join(admitted(&admission, 1 << 20).await);
        assert_eq!(room.whole.available_permits(), BYTES_PER_SHARD - (1 << 20) - 1);
        assert_eq!(admission.own.available_permits(), BYTES_PER_CONNECTION - LEAST - (1 << 20));
        drop(one);
        assert_eq!(room.whole.available_permits(), BYTES_PER_SHARD);
        assert!(admission.is_idle());
    }

    #[tokio::test]
    async fn what_is_announced_takes_nothing_of_the_shard() {
        let room = Room::of_shard();
        let mut announced = Vec::new();
        for _ in 0..100 {
            announced.push(Admission::of(&room).announce(100 << 20).await);
        }
        assert_eq!(room.whole.available_permits(), BYTES_PER_SHARD);
        let mut arriving = announced[0].arriving();
        assert!(arriving.try_hold(1_000) && arriving.try_hold(5_000));
        assert_eq!(room.unfinished.available_permits(), UNFINISHED_PER_SHARD - 5_000);
        drop(arriving);
        assert_eq!(room.unfinished.available_permits(), UNFINISHED_PER_SHARD);
    }

    /// Half frames that fill the room, all of which wait for more of it: none has credit for its rest.
    #[tokio::test]
    async fn half_frames_do_not_wait_for_each_other_for_ever() {
        const FRAMES: usize = 4;
        let room = Room::of_shard();
        let mut arriving = Vec::new();
        for _ in 0..FRAMES {
            let mut one = Admission::of(&room).announce(64 << 20).await.arriving();
            assert!(one.try_hold(UNFINISHED_PER_SHARD / FRAMES));
            arriving.push(one);
        }
        for one in &mut arriving {
            assert!(!one.try_hold(UNFINISHED_PER_SHARD / FRAMES + 1), "the room is full");
        }
        let mut first = arriving.remove(0);
        first.hold(UNFINISHED_PER_SHARD / FRAMES + 1).await;
        assert!(first.has_turn() && first.try_hold(64 << 20), "to its end");
        let mut second = arriving.remove(0);
        assert!(waits!(second.hold(64 << 20)), "one at a time");
        drop(first);
        second.hold(64 << 20).await;
        assert!(!second.has_turn(), "the first one's room is enough");
        drop((second, arriving));
        assert_eq!(room.unfinished.available_permits(), UNFINISHED_PER_SHARD);
        assert_eq!(room.turn.available_permits(), 1);
    }
}
