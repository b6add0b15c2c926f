//! How many connections a broker holds, and how long it keeps one that says nothing.
//!
//! Counted over all shards, when a connection comes and when it goes, never in between. As in Kafka: one too many for the
//! broker (`max.connections`) waits, accepted but unserved, and keeps those behind it waiting; one too many for its
//! address (`max.connections.per.ip`) is closed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

use super::frame::MAX_FRAME;

/// Kafka's `connections.max.idle.ms`.
const IDLE_MS: i64 = 600_000;

/// What a host holds its connections to. Clones share the count.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A connection that asked for nothing for so long, and waits for nothing, is closed; milliseconds
    /// (`connections.max.idle.ms`). Not positive: never.
    pub idle_ms: i64,
    /// The longest frame taken, in bytes (`socket.request.max.bytes`).
    pub max_frame: usize,
    census: Arc<Census>,
}

impl Default for Limits {
    /// Kafka's defaults: any number of connections.
    fn default() -> Limits {
        Limits::new(usize::MAX, usize::MAX)
    }
}

impl Limits {
    /// At most so many connections, and so many from one address.
    #[must_use]
    pub fn new(connections: usize, per_ip: usize) -> Limits {
        let room = Semaphore::new(connections.min(Semaphore::MAX_PERMITS));
        let census = Arc::new(Census { room, per_ip, by_ip: Mutex::default() });
        Limits { idle_ms: IDLE_MS, max_frame: MAX_FRAME, census }
    }

    /// A place for a connection, once there is one; `None` when its address has all that it may have.
    pub(super) async fn place(&self, ip: IpAddr) -> Option<Place> {
        {
            let mut by_ip = self.census.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
            let count = by_ip.entry(ip).or_default();
            if *count >= self.census.per_ip {
                return None;
            }
            *count += 1;
        }
        // From here on dropping it takes the count back, whether there was room yet or not.
        let mut place = Place { census: Arc::clone(&self.census), ip, has_room: false };
        self.census.room.acquire().await.expect("the census is never closed").forget();
        place.has_room = true;
        Some(place)
    }
}

#[derive(Debug)]
struct Census {
    room: Semaphore,
    per_ip: usize,
    by_ip: Mutex<BTreeMap<IpAddr, usize>>,
}

/// A connection's place among those that there may be; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    census: Arc<Census>,
    ip: IpAddr,
    has_room: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.has_room {
            self.census.room.add_permits(1);
        }
        let mut by_ip = self.census.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_ip.get_mut(&self.ip).expect("a place was counted");
        *count -= 1;
        if *count == 0 {
            by_ip.remove(&self.ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    #[tokio::test]
    async fn an_address_has_its_share_and_a_broker_its_fill() {
        let limits = Limits::new(3, 2);
        let held = [limits.place(ONE).await.unwrap(), limits.place(ONE).await.unwrap()];
        assert!(limits.place(ONE).await.is_none(), "two of one address, and no more");
        let third = limits.clone().place(OTHER).await.unwrap();
        tokio::select! { biased;
            _ = limits.place(OTHER) => panic!("three in all, and no more"),
            () = std::future::ready(()) => {}
        }
        drop(third);
        let [a, b] = [limits.place(OTHER).await.unwrap(), held.into_iter().next().unwrap()];
        drop((a, b));
        assert!(limits.census.by_ip.lock().unwrap().is_empty());
        assert_eq!(limits.census.room.available_permits(), 3);
    }
}
