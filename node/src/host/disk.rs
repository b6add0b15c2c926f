//! The disk as a host sees it: operations on the files of one data directory, submitted and completed.
//!
//! `submit` starts an operation at once; dropping its [`Completion`] cancels nothing. Operations run concurrently unless
//! one is submitted after another has completed: order is the caller's business. Nothing is durable before a `Sync` (or
//! a write with `sync`) that was submitted after it completed has itself completed with `Ok`; names are durable only
//! after `SyncDir` of their directory. An error of a sync is final: retrying proves nothing.

use crate::meter::Counts;
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// The longest name of a file or directory, in bytes: Linux's.
const LONGEST_NAME: usize = 255;

/// Bytes of a block: what a file past the page cache is written in.
pub const BLOCK: u64 = 4096;

/// One operation. Paths are relative to the data directory, with `/`; the directory itself is `""`. A path that could
/// lead out of it, or an operation that would change the directory itself, is refused ([`Op::check`]).
#[derive(Clone, Debug)]
pub enum Op<F> {
    /// Open a file for reading and writing; `create` makes it when it is absent. Gives [`Outcome::File`].
    Open {
        /// The file.
        path: String,
        /// Whether it may be created.
        create: bool,
        /// Past the page cache, where the file system can. It takes whole blocks only ([`in_blocks`]), and the sync of a
        /// write covers that write and no other.
        direct: bool,
    },
    /// Write all of `data`, back to back, at a position; then, with `sync`, `fdatasync` the file. Short writes are
    /// carried on inside; an error may leave any part written. Gives [`Outcome::Nothing`].
    Write {
        /// The file.
        file: F,
        /// Byte position.
        at: u64,
        /// What to write.
        data: Vec<Bytes>,
        /// Complete only once file and length are on the device.
        sync: bool,
    },
    /// Read up to `len` bytes; fewer only at the end of the file. Gives [`Outcome::Bytes`].
    Read {
        /// The file.
        file: F,
        /// Byte position.
        at: u64,
        /// Bytes wanted.
        len: usize,
    },
    /// `fdatasync`: data and length, not the name. Gives [`Outcome::Nothing`].
    Sync {
        /// The file.
        file: F,
    },
    /// The file's length in bytes. Gives [`Outcome::Length`].
    Length {
        /// The file.
        file: F,
    },
    /// Cut, or extend with zeros for which there is room from then on, where the file system can tell. An error may leave
    /// it extended by a part. Gives [`Outcome::Nothing`].
    SetLength {
        /// The file.
        file: F,
        /// The new length in bytes.
        len: u64,
    },
    /// Rename a file or directory, replacing a file. Gives [`Outcome::Nothing`].
    Rename {
        /// From.
        from: String,
        /// To.
        to: String,
    },
    /// Unlink a file. Gives [`Outcome::Nothing`].
    Remove {
        /// The file.
        path: String,
    },
    /// Make a directory; its parent exists, it itself may. Gives [`Outcome::Nothing`].
    MakeDir {
        /// The directory.
        path: String,
    },
    /// Remove an empty directory. Gives [`Outcome::Nothing`].
    RemoveDir {
        /// The directory.
        path: String,
    },
    /// The names in a directory, sorted. Gives [`Outcome::Names`].
    List {
        /// The directory.
        path: String,
    },
    /// Make the names in a directory durable. Gives [`Outcome::Nothing`].
    SyncDir {
        /// The directory.
        path: String,
    },
    /// What room there is where the data directory lies. Gives [`Outcome::Room`].
    Room,
}

impl<F> Op<F> {
    /// What every driver asks before anything else.
    ///
    /// # Errors
    /// `InvalidInput` for a path with an empty, `.` or `..` component or a NUL, and for opening, renaming or removing
    /// the data directory itself; `InvalidFilename` for a component of more than 255 bytes.
    pub fn check(&self) -> io::Result<()> {
        match self {
            Op::Open { path, .. } | Op::Remove { path } | Op::RemoveDir { path } => legal(path, false),
            Op::Rename { from, to } => legal(from, false).and_then(|()| legal(to, false)),
            Op::MakeDir { path } | Op::List { path } | Op::SyncDir { path } => legal(path, true),
            Op::Write { .. } | Op::Read { .. } | Op::Sync { .. } | Op::Length { .. } | Op::SetLength { .. } => Ok(()),
            Op::Room => Ok(()),
        }
    }
}

/// What every driver asks before it writes to a file that was opened `direct`.
///
/// # Errors
/// `InvalidInput` when the write does not begin and end at a multiple of [`BLOCK`].
pub fn in_blocks(at: u64, data: &[Bytes]) -> io::Result<()> {
    let len: usize = data.iter().map(Bytes::len).sum();
    if at.is_multiple_of(BLOCK) && (len as u64).is_multiple_of(BLOCK) {
        return Ok(());
    }
    let text = format!("{len} bytes at {at} are not whole blocks of {BLOCK} bytes");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

fn legal(path: &str, root: bool) -> io::Result<()> {
    if root && path.is_empty() {
        return Ok(());
    }
    let fine = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    if !path.split('/').all(fine) {
        let text = format!("not a path inside the data directory: {path:?}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if path.split('/').any(|name| name.len() > LONGEST_NAME) {
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, format!("a name of more than 255 bytes: {path:?}")));
    }
    Ok(())
}

/// What an operation gives.
#[derive(Clone, Debug)]
pub enum Outcome<F> {
    /// An open file.
    File(F),
    /// Bytes read.
    Bytes(Bytes),
    /// A length in bytes.
    Length(u64),
    /// Sorted names.
    Names(Vec<String>),
    /// What the device holds and could take.
    Room {
        /// Bytes in all.
        total: u64,
        /// Bytes that are free, and that this process may use.
        usable: u64,
    },
    /// That it is done.
    Nothing,
}

/// An operation under way.
#[derive(Debug)]
pub enum Completion<F> {
    /// It ended while it was submitted.
    Now(Option<io::Result<Outcome<F>>>),
    /// It will end.
    Later(oneshot::Receiver<io::Result<Outcome<F>>>),
}

impl<F> Completion<F> {
    /// One that has ended.
    pub fn ready(result: io::Result<Outcome<F>>) -> Completion<F> {
        Completion::Now(Some(result))
    }

    /// The result, if it is there. Whoever waits for it still does.
    pub fn take(&mut self) -> Option<io::Result<Outcome<F>>> {
        match self {
            Completion::Now(result) => result.take(),
            Completion::Later(receiver) => match receiver.try_recv() {
                Ok(result) => Some(result),
                Err(oneshot::error::TryRecvError::Empty) => None,
                Err(oneshot::error::TryRecvError::Closed) => Some(Err(driver_gone())),
            },
        }
    }
}

fn driver_gone() -> io::Error {
    io::Error::other("the disk driver is gone")
}

impl<F: Unpin> Future for Completion<F> {
    type Output = io::Result<Outcome<F>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Completion::Now(result) => Poll::Ready(result.take().expect("a completion is awaited once")),
            Completion::Later(receiver) => {
                Pin::new(receiver).poll(cx).map(|r| r.unwrap_or_else(|_| Err(driver_gone())))
            }
        }
    }
}

/// A data directory. Three siblings: a thread pool, an io_uring ring, and the simulator's.
pub trait Disk: Clone + 'static {
    /// An open file; closed when the last clone is dropped.
    type File: Clone + Send + Unpin + std::fmt::Debug + 'static;

    /// Starts an operation.
    fn submit(&self, op: Op<Self::File>) -> Completion<Self::File>;

    /// The descriptor behind a file, for `sendfile`; `None` where there is none.
    fn descriptor(file: &Self::File) -> Option<BorrowedFd<'_>>;

    /// Whether bytes of a file are most likely in the page cache, so that `sendfile` does not wait for the device.
    fn is_cached(_file: &Self::File, _at: u64, _len: usize) -> bool {
        true
    }

    /// Takes in what has ended, so that its completions are ready; whether there may be such. Cheap: it is asked in the
    /// midst of work, where a task that waits would get its turn much later.
    fn reap(&self) -> bool {
        false
    }

    /// How long its syncs took, in nanoseconds, where somebody measures that.
    fn syncs(&self) -> Option<Counts> {
        None
    }

    /// [`Op::Open`].
    fn open(&self, path: &str, create: bool) -> impl Future<Output = io::Result<Self::File>> {
        opened(self.submit(Op::Open { path: path.to_owned(), create, direct: false }))
    }

    /// [`Op::Open`], `direct`.
    fn open_direct(&self, path: &str, create: bool) -> impl Future<Output = io::Result<Self::File>> {
        opened(self.submit(Op::Open { path: path.to_owned(), create, direct: true }))
    }

    /// [`Op::Read`].
    fn read(&self, file: &Self::File, at: u64, len: usize) -> impl Future<Output = io::Result<Bytes>> {
        let done = self.submit(Op::Read { file: file.clone(), at, len });
        async {
            match done.await? {
                Outcome::Bytes(bytes) => Ok(bytes),
                other => Err(unexpected(&other)),
            }
        }
    }

    /// [`Op::Length`].
    fn length(&self, file: &Self::File) -> impl Future<Output = io::Result<u64>> {
        let done = self.submit(Op::Length { file: file.clone() });
        async {
            match done.await? {
                Outcome::Length(len) => Ok(len),
                other => Err(unexpected(&other)),
            }
        }
    }

    /// [`Op::List`].
    fn list(&self, path: &str) -> impl Future<Output = io::Result<Vec<String>>> {
        let done = self.submit(Op::List { path: path.to_owned() });
        async {
            match done.await? {
                Outcome::Names(names) => Ok(names),
                other => Err(unexpected(&other)),
            }
        }
    }

    /// [`Op::Room`]: bytes in all, and usable ones.
    fn room(&self) -> impl Future<Output = io::Result<(u64, u64)>> {
        let done = self.submit(Op::Room);
        async {
            match done.await? {
                Outcome::Room { total, usable } => Ok((total, usable)),
                other => Err(unexpected(&other)),
            }
        }
    }

    /// Any operation that gives nothing.
    fn perform(&self, op: Op<Self::File>) -> impl Future<Output = io::Result<()>> {
        let done = self.submit(op);
        async {
            match done.await? {
                Outcome::Nothing => Ok(()),
                other => Err(unexpected(&other)),
            }
        }
    }
}

async fn opened<F: Unpin + std::fmt::Debug>(done: Completion<F>) -> io::Result<F> {
    match done.await? {
        Outcome::File(file) => Ok(file),
        other => Err(unexpected(&other)),
    }
}

fn unexpected<F: std::fmt::Debug>(outcome: &Outcome<F>) -> io::Error {
    io::Error::other(format!("the disk driver answered another question: {outcome:?}"))
}
