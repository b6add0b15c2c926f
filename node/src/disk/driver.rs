//! Which driver of the `Disk` trait this process uses: chosen once, at start.

use super::{Blocking, File, Uring};
use crate::host::{Completion, Disk, Op};
use crate::meter::{Counts, Histogram};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

/// Storage threads of one shard's driver.
pub const STORAGE_THREADS: usize = 4;

/// Of how long syncs take: the first bucket goes up to 64 µs.
pub(super) fn sync_times() -> Histogram {
    Histogram::new(64_000)
}

/// What an operator may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// The ring where the kernel allows it, else threads.
    #[default]
    Auto,
    /// Threads.
    Blocking,
    /// The ring, or nothing.
    Uring,
}

/// A data directory behind one of the real drivers.
#[derive(Clone, Debug)]
pub enum AnyDisk {
    /// Threads.
    Blocking(Blocking),
    /// A ring.
    Uring(Uring),
}

impl AnyDisk {
    /// Over a directory that exists.
    ///
    /// # Errors
    /// When the driver asked for cannot be had; with [`Driver::Auto`], when none can.
    ///
    /// # Panics
    /// Outside of a `LocalSet` on a runtime with I/O, which the ring needs.
    pub fn choose(root: PathBuf, driver: Driver) -> io::Result<AnyDisk> {
        let uring = match driver {
            Driver::Blocking => false,
            Driver::Uring => true,
            Driver::Auto => match Uring::probe() {
                Ok(()) => true,
                Err(error) => {
                    tracing::info!(%error, "io_uring is not available: the disk is driven by threads");
                    false
                }
            },
        };
        if uring {
            Uring::open(root, STORAGE_THREADS).map(AnyDisk::Uring)
        } else {
            Blocking::open(root, STORAGE_THREADS).map(AnyDisk::Blocking)
        }
    }

    /// The driver's name, for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            AnyDisk::Blocking(_) => "blocking",
            AnyDisk::Uring(_) => "io_uring",
        }
    }
}

impl Disk for AnyDisk {
    type File = File;

    fn submit(&self, op: Op<File>) -> Completion<File> {
        match self {
            AnyDisk::Blocking(disk) => disk.submit(op),
            AnyDisk::Uring(disk) => disk.submit(op),
        }
    }

    fn descriptor(file: &File) -> Option<BorrowedFd<'_>> {
        Blocking::descriptor(file)
    }

    fn is_cached(file: &File, at: u64, len: usize) -> bool {
        Blocking::is_cached(file, at, len)
    }

    fn reap(&self) -> bool {
        match self {
            AnyDisk::Blocking(disk) => disk.reap(),
            AnyDisk::Uring(disk) => disk.reap(),
        }
    }

    fn syncs(&self) -> Option<Counts> {
        match self {
            AnyDisk::Blocking(disk) => disk.syncs(),
            AnyDisk::Uring(disk) => disk.syncs(),
        }
    }
}
