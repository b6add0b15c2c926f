//! Bytes on disk: segments, indexes, group commit, recovery; and the two real drivers of the `Disk` trait.

mod blocking;
mod driver;
mod files;
mod uring;

pub use blocking::{Blocking, MAX_THREADS};
pub use driver::{AnyDisk, Driver, STORAGE_THREADS};
pub use files::File;
pub use uring::{QUEUE_DEPTH, Uring};
