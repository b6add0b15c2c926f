//! The thread driver of the `Disk` trait: whatever may sleep goes to storage threads, what the page cache can do at once
//! is done inside `submit`.
//!
//! Inside `submit`: writes without `sync` into the page cache (a `pwritev`, 1.6 µs against 43 µs for waking a thread),
//! reads of cached pages, lengths. On one flush thread: `Sync`, and writes with `sync` whole. On the storage threads: the
//! rest. So an operation that was submitted later may well be done earlier, even on the same file: whoever needs an
//! order awaits.
//!
//! The queues to the threads hold the operations under way and nothing else, so that whoever bounds those (a log has one
//! flush in flight, a connection its admission credits) bounds the queues.

use super::driver::sync_times;
use super::files::{self, File, Reading};
use crate::host::{Completion, Disk, Op, Outcome};
use crate::meter::{Counts, Histogram};
use rustix::io::ReadWriteFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;
use tokio::sync::oneshot;

/// The most storage threads that one driver starts, beside its flush thread.
pub const MAX_THREADS: usize = 16;

/// A data directory behind storage threads.
#[derive(Clone, Debug)]
pub struct Blocking {
    root: Arc<Path>,
    flush: Pool,
    storage: Pool,
    /// With the write before it, where there is one.
    syncs: Arc<Histogram>,
}

impl Blocking {
    /// Over a directory that exists, with 1 to [`MAX_THREADS`] storage threads. The threads end when the last clone is
    /// dropped, after everything submitted.
    ///
    /// # Errors
    /// When there is no such directory, or a thread cannot be started.
    pub fn open(root: PathBuf, threads: usize) -> io::Result<Blocking> {
        Ok(Blocking {
            root: directory(root)?,
            flush: Pool::start("flush", 1)?,
            storage: Pool::start("storage", threads.clamp(1, MAX_THREADS))?,
            syncs: Arc::new(sync_times()),
        })
    }
}

impl Disk for Blocking {
    type File = File;

    fn submit(&self, op: Op<File>) -> Completion<File> {
        if let Err(error) = op.check() {
            return Completion::ready(Err(error));
        }
        let pool = match op {
            Op::Write { file, at, data, sync: false } if !file.is_direct() => {
                return Completion::ready(files::write(&file, at, &data).map(|()| Outcome::Nothing));
            }
            Op::Length { file } => return Completion::ready(files::length(&file).map(Outcome::Length)),
            Op::Read { file, at, len } => {
                return read(file, at, len, |mut cold| {
                    self.storage.run(move || {
                        cold.run(ReadWriteFlags::empty())?;
                        Ok(cold.finish())
                    })
                });
            }
            Op::Write { sync: true, .. } | Op::Sync { .. } => {
                let (root, syncs) = (self.root.clone(), self.syncs.clone());
                return self.flush.run(move || {
                    let begun = Instant::now();
                    let done = files::perform(&root, op);
                    syncs.observe(nanos(begun));
                    done
                });
            }
            Op::Write { .. } | Op::Open { .. } | Op::SetLength { .. } | Op::Rename { .. } | Op::Remove { .. } => {
                &self.storage
            }
            Op::MakeDir { .. } | Op::RemoveDir { .. } | Op::List { .. } | Op::SyncDir { .. } | Op::Room => {
                &self.storage
            }
        };
        let root = self.root.clone();
        pool.run(move || files::perform(&root, op))
    }

    fn descriptor(file: &File) -> Option<BorrowedFd<'_>> {
        Some(file.as_fd())
    }

    fn is_cached(file: &File, at: u64, len: usize) -> bool {
        files::is_cached(file, at, len)
    }

    fn reap(&self) -> bool {
        self.flush.has_ended()
    }

    fn syncs(&self) -> Option<Counts> {
        Some(self.syncs.counts())
    }
}

/// Since then.
pub(super) fn nanos(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Checks that the data directory is one.
pub(super) fn directory(root: PathBuf) -> io::Result<Arc<Path>> {
    if std::fs::metadata(&root)?.is_dir() { Ok(root.into()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// Reads at once if every page is cached; otherwise `cold` goes on, with what is already there.
pub(super) fn read(
    file: File,
    at: u64,
    len: usize,
    cold: impl FnOnce(Reading) -> Completion<File>,
) -> Completion<File> {
    match Reading::new(file, at, len) {
        // A file system that does not know NOWAIT looks cold; a real error comes up again in the cold read.
        Ok(mut reading) => match reading.run(ReadWriteFlags::NOWAIT) {
            Ok(()) => Completion::ready(Ok(reading.finish())),
            Err(_) => cold(reading),
        },
        Err(error) => Completion::ready(Err(error)),
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads that share a queue; they end once it is empty and every clone of the pool is dropped.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    queue: mpsc::Sender<Job>,
    /// Whether a job has ended since somebody last asked.
    ended: Arc<AtomicBool>,
}

impl Pool {
    pub(super) fn start(name: &str, threads: usize) -> io::Result<Pool> {
        let (sender, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for n in 0..threads {
            let queue = queue.clone();
            let work = move || {
                loop {
                    // One thread waits in the queue, the others for its place there.
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    job();
                }
            };
            thread::Builder::new().name(format!("{name}-{n}")).spawn(work)?;
        }
        Ok(Pool { queue: sender, ended: Arc::default() })
    }

    pub(super) fn run(&self, work: impl FnOnce() -> io::Result<Outcome<File>> + Send + 'static) -> Completion<File> {
        let (done, receiver) = oneshot::channel();
        let ended = Arc::clone(&self.ended);
        let job = move || {
            // Nobody waiting any more is no reason not to do it.
            let _ = done.send(work());
            ended.store(true, Ordering::Release);
        };
        // A refused job drops `done`, which the receiver reports.
        let _ = self.queue.send(Box::new(job));
        Completion::Later(receiver)
    }

    /// Whether a job has ended since this was last asked.
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed) && self.ended.swap(false, Ordering::Acquire)
    }
}
