//! The real network and the real clocks.

mod clock;
mod tcp;

pub use clock::SystemClock;
pub use tcp::{TcpNet, TcpWriter, bind};
