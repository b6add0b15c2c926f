//! Bytes on disk: segments, indexes, group commit, recovery; and the two real drivers of the `Disk` trait.

mod below;
mod beside;
mod blocking;
mod change;
mod commit;
mod driver;
mod files;
mod index;
mod journal;
mod lease;
pub mod logs;
mod lookup;
mod names;
mod past;
mod recover;
mod redo;
mod scan;
mod segment;
mod share;
mod small;
mod tail;
mod uring;

pub use blocking::{Blocking, MAX_THREADS};
pub use driver::{AnyDisk, Driver, STORAGE_THREADS};
pub use files::File;
pub use uring::{QUEUE_DEPTH, Uring};

/// Says in an error which file it is about.
fn at(path: &str) -> impl FnOnce(std::io::Error) -> std::io::Error {
    move |error| std::io::Error::new(error.kind(), format!("{path}: {error}"))
}
