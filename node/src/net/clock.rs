//! The machine's clocks.

use crate::host::Clock;
use klamm_core::ids::{Instant, Now, Timestamp};
use std::time::{Duration, SystemTime};

/// Monotonic from the moment it was made, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock that starts now. Shards of one broker share one.
    #[must_use]
    pub fn start() -> SystemClock {
        SystemClock { start: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let monotonic = u64::try_from(self.start.elapsed().as_nanos()).expect("584 years have not passed");
        // A wall clock set before 1970 reads 1970.
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now {
            monotonic: Instant(monotonic),
            wall: Timestamp(i64::try_from(wall.as_millis()).expect("the year is below 292 million")),
        }
    }

    async fn sleep_until(&self, at: Instant) {
        // An instant too far to name is never reached.
        match self.start.checked_add(Duration::from_nanos(at.0)) {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }
}
