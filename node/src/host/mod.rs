//! The thin host of a shard: mailbox → step → dispatch, over three traits that the real world and the simulated one
//! implement alike. Decides nothing.

mod disk;
mod net;

pub use disk::{Completion, Disk, Op, Outcome};
pub use net::{Clock, Net, Reader, Writer};
