//! The real network and the real clocks.

mod clock;
mod tcp;

pub use clock::SystemClock;
pub use tcp::{BACKLOG, TcpNet, TcpWriter, bind, raise_open_files};
