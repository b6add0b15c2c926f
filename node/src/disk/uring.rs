//! The io_uring driver of the `Disk` trait: a ring on the shard's own thread, its completions reaped by a local task
//! that an eventfd wakes.
//!
//! What goes where was measured: a buffered write through the ring costs a kernel worker's hand-over (89 µs against
//! 1.6 µs), so every write is a `pwritev` inside `submit` and only the `fdatasync` after it goes through the ring, as do
//! reads of pages that are not cached. Names and lengths are for storage threads. As in the thread driver, nothing
//! orders two operations but awaiting the first. What goes past the page cache goes through the ring whole: the kernel
//! hands it to the device at once.
//!
//! The kernel reads and writes memory behind the compiler's back: a flight owns its file and its memory, and the list of
//! its pieces, from submission to completion, whatever happens to the future that waits for it.

use super::MAX_THREADS;
use super::blocking::{Pool, directory, nanos, read};
use super::driver::sync_times;
use super::files::{self, File, Reading};
use super::past::Writing;
use crate::host::{Completion, Disk, Op, Outcome};
use crate::meter::{Counts, Histogram};
use io_uring::{IoUring, Probe, opcode, squeue, types};
use rustix::event::EventfdFlags;
use rustix::io::ReadWriteFlags;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

/// The most operations that the kernel holds at once. More wait in a queue of ours, which (as in the thread driver)
/// whoever bounds the operations under way bounds.
pub const QUEUE_DEPTH: u32 = 128;

/// The most bytes of one read in the ring; a longer one goes on after it.
const MAX_IO: usize = 1 << 30;

/// A data directory behind a ring.
#[derive(Clone)]
pub struct Uring(Rc<Driver>);

struct Driver {
    root: Arc<Path>,
    ring: Rc<RefCell<Ring>>,
    storage: Pool,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").field("root", &self.0.root).finish_non_exhaustive()
    }
}

impl Uring {
    /// Whether this machine has io_uring, and lets this process use it: sets up a ring and sends a flush and a read
    /// through it.
    ///
    /// # Errors
    /// Most often `EPERM` (a container's seccomp profile, `kernel.io_uring_disabled`), `ENOSYS` or `ENOMEM`.
    pub fn probe() -> io::Result<()> {
        let file = File::new(rustix::fs::memfd_create("klamm-probe", rustix::fs::MemfdFlags::CLOEXEC)?.into());
        files::write(&file, 0, &["probe".into()])?;
        let mut ring = Ring::new()?;
        let (synced, mut sync) = oneshot::channel();
        let (got, mut bytes) = oneshot::channel();
        ring.start(Flight { work: Work::Sync(file.clone(), Instant::now()), done: synced });
        ring.start(Flight { work: Work::Read(Reading::new(file, 0, 5)?), done: got });
        ring.drain()?;
        let unanswered = |_| io::Error::other("the ring lost an operation");
        sync.try_recv().map_err(unanswered)??;
        match bytes.try_recv().map_err(unanswered)?? {
            Outcome::Bytes(bytes) if bytes == "probe" => Ok(()),
            other => Err(io::Error::other(format!("the ring read something else: {other:?}"))),
        }
    }

    /// Over a directory that exists, with 1 to [`MAX_THREADS`] storage threads for names and lengths. The last clone
    /// dropped, its task ends with the last operation.
    ///
    /// # Errors
    /// When there is no such directory, or no ring (see [`Uring::probe`]), or a thread cannot be started.
    ///
    /// # Panics
    /// Outside of a `LocalSet` on a runtime with I/O.
    pub fn open(root: PathBuf, threads: usize) -> io::Result<Uring> {
        let root = directory(root)?;
        let storage = Pool::start("storage", threads.clamp(1, MAX_THREADS))?;
        let ring = Ring::new()?;
        // SAFETY: the eventfd is open, and stays so as long as the registration holds its share of it.
        let event = unsafe { AsyncFd::register_with_interest(ring.event.clone(), Interest::READABLE)? };
        let ring = Rc::new(RefCell::new(ring));
        tokio::task::spawn_local(reap(ring.clone(), event));
        Ok(Uring(Rc::new(Driver { root, ring, storage })))
    }

    fn start(&self, work: Work) -> Completion<File> {
        let (done, receiver) = oneshot::channel();
        self.0.ring.borrow_mut().start(Flight { work, done });
        Completion::Later(receiver)
    }

    fn sync(&self, file: File) -> Completion<File> {
        let started = self.start(Work::Sync(file, Instant::now()));
        // The kernel's worker may have to share this core: it is to give the device something to do first, and not
        // only once this thread has nothing to do any more.
        rustix::thread::sched_yield();
        started
    }
}

impl Disk for Uring {
    type File = File;

    fn submit(&self, op: Op<File>) -> Completion<File> {
        if let Err(error) = op.check() {
            return Completion::ready(Err(error));
        }
        match op {
            Op::Write { file, at, data, sync } if file.is_direct() => match Writing::new(file, at, data) {
                Ok(writing) => self.start(Work::Write(writing, sync.then(Instant::now))),
                Err(refused) => Completion::ready(Err(refused)),
            },
            Op::Write { file, at, data, sync } => match files::write(&file, at, &data) {
                Ok(()) if sync => self.sync(file),
                result => Completion::ready(result.map(|()| Outcome::Nothing)),
            },
            Op::Sync { file } => self.sync(file),
            Op::Read { file, at, len } => read(file, at, len, |cold| self.start(Work::Read(cold))),
            Op::Length { file } => Completion::ready(files::length(&file).map(Outcome::Length)),
            Op::Open { .. }
            | Op::SetLength { .. }
            | Op::Rename { .. }
            | Op::Remove { .. }
            | Op::MakeDir { .. }
            | Op::RemoveDir { .. }
            | Op::List { .. }
            | Op::SyncDir { .. }
            | Op::Room => {
                let root = self.0.root.clone();
                self.0.storage.run(move || files::perform(&root, op))
            }
        }
    }

    fn descriptor(file: &File) -> Option<BorrowedFd<'_>> {
        Some(file.as_fd())
    }

    fn is_cached(file: &File, at: u64, len: usize) -> bool {
        files::is_cached(file, at, len)
    }

    fn reap(&self) -> bool {
        let mut ring = self.0.ring.borrow_mut();
        // The kernel signals right after it has completed: what is not signalled yet is for the next look. So whoever
        // traces system calls sees a completion before what follows from it.
        let ended = !ring.uring.completion().is_empty() && ring.signalled();
        if ended {
            ring.turn();
        }
        ended
    }

    fn syncs(&self) -> Option<Counts> {
        Some(self.0.ring.borrow().syncs.counts())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.ring.borrow().poke();
    }
}

/// Takes completions out of the ring until the driver is dropped and nothing is in flight.
async fn reap(ring: Rc<RefCell<Ring>>, event: AsyncFd<Rc<OwnedFd>>) {
    while Rc::strong_count(&ring) > 1 || !ring.borrow().flights.is_empty() {
        let Ok(mut ready) = event.readable().await else { return };
        ready.clear_ready();
        let mut ring = ring.borrow_mut();
        // If not, an earlier look took this round's completions along.
        if ring.signalled() {
            ring.turn();
        }
    }
}

enum Work {
    Sync(File, Instant),
    /// With the time at which it began, if it is synced.
    Write(Writing, Option<Instant>),
    Read(Reading),
}

struct Flight {
    work: Work,
    done: oneshot::Sender<io::Result<Outcome<File>>>,
}

impl Work {
    /// What the kernel is asked; `None` when there is nothing left to ask.
    fn entry(&mut self) -> Option<squeue::Entry> {
        match self {
            Work::Sync(file, _) => {
                let fsync = opcode::Fsync::new(types::Fd(file.as_fd().as_raw_fd()));
                Some(fsync.flags(types::FsyncFlags::DATASYNC).build())
            }
            Work::Write(writing, synced) => {
                let (file, at, pieces) = writing.rest()?;
                let flags = if synced.is_some() { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
                let fd = types::Fd(file.as_raw_fd());
                let write = opcode::Writev::new(fd, pieces.as_ptr().cast(), pieces.len() as u32);
                Some(write.offset(at).rw_flags(flags.bits().cast_signed()).build())
            }
            Work::Read(reading) => {
                let (file, at, rest) = reading.rest()?;
                let fd = types::Fd(file.as_raw_fd());
                Some(opcode::Read::new(fd, rest.as_mut_ptr(), rest.len().min(MAX_IO) as u32).offset(at).build())
            }
        }
    }
}

impl Flight {
    /// Takes in the kernel's result; gives itself back if there may be more to do.
    fn completed(mut self, result: i32) -> Option<Flight> {
        let error = io::Error::from_raw_os_error(-result);
        match &mut self.work {
            Work::Read(_) | Work::Write(..) if result < 0 && is_passing(&error) => return Some(self),
            Work::Read(reading) if result >= 0 => {
                reading.took(result.unsigned_abs() as usize);
                return Some(self);
            }
            Work::Write(writing, _) if result > 0 => {
                writing.took(result.unsigned_abs() as usize);
                return Some(self);
            }
            Work::Write(..) if result == 0 => {
                self.land(Err(io::ErrorKind::WriteZero.into()));
                return None;
            }
            Work::Read(_) | Work::Write(..) | Work::Sync(..) => {}
        }
        self.land(if result < 0 { Err(error) } else { Ok(()) });
        None
    }

    fn land(self, result: io::Result<()>) {
        let outcome = result.map(|()| match self.work {
            Work::Sync(..) | Work::Write(..) => Outcome::Nothing,
            Work::Read(reading) => reading.finish(),
        });
        // Nobody may be waiting any more.
        drop(self.done.send(outcome));
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

struct Ring {
    uring: IoUring,
    /// Signalled by the kernel at each completion.
    event: Rc<OwnedFd>,
    /// What the kernel holds, by the name it gives back: at most [`QUEUE_DEPTH`].
    flights: BTreeMap<u64, Flight>,
    waiting: VecDeque<Flight>,
    next: u64,
    syncs: Histogram,
}

impl Ring {
    fn new() -> io::Result<Ring> {
        let uring = IoUring::new(QUEUE_DEPTH)?;
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        if ![opcode::Fsync::CODE, opcode::Read::CODE, opcode::Writev::CODE].iter().all(|code| probe.is_supported(*code))
        {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let event = Rc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        uring.submitter().register_eventfd(event.as_raw_fd())?;
        Ok(Ring { uring, event, flights: BTreeMap::new(), waiting: VecDeque::new(), next: 0, syncs: sync_times() })
    }

    fn start(&mut self, flight: Flight) {
        self.waiting.push_back(flight);
        self.launch();
    }

    /// Gives the kernel what it has room for.
    fn launch(&mut self) {
        while self.flights.len() < QUEUE_DEPTH as usize
            && let Some(mut flight) = self.waiting.pop_front()
        {
            let Some(entry) = flight.work.entry() else {
                flight.land(Ok(()));
                continue;
            };
            let name = self.next;
            self.next += 1;
            self.flights.insert(name, flight);
            // SAFETY: the descriptor, the memory in the entry and the list of its pieces belong to the flight, which stays
            // in `flights` until its completion is reaped; what is read or written of that memory nobody changes meanwhile.
            let pushed = unsafe { self.uring.submission().push(&entry.user_data(name)) };
            pushed.expect("the submission queue is as long as there may be flights");
        }
        while !self.uring.submission().is_empty() {
            match self.uring.submit() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel is short of memory for now. The entries stay in the queue, for the next turn.
                Err(_) => return self.poke(),
            }
        }
    }

    /// Takes the signal that something has completed, if there is one.
    fn signalled(&self) -> bool {
        rustix::io::read(&self.event, &mut [0; 8]).is_ok()
    }

    /// Takes in what has completed, and launches what waited for room.
    fn turn(&mut self) {
        loop {
            let Some(completed) = self.uring.completion().next() else { break };
            let flight = self.flights.remove(&completed.user_data()).expect("the kernel completes each flight once");
            if let Work::Sync(_, begun) | Work::Write(_, Some(begun)) = flight.work {
                self.syncs.observe(nanos(begun));
            }
            if let Some(unfinished) = flight.completed(completed.result()) {
                self.waiting.push_front(unfinished);
            }
        }
        self.launch();
    }

    /// Waits until nothing is in flight.
    fn drain(&mut self) -> io::Result<()> {
        while !self.flights.is_empty() {
            match self.uring.submit_and_wait(1) {
                Ok(_) => self.turn(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Has the reaping task take a turn.
    fn poke(&self) {
        // It fails only when the counter is full, and then the task is woken anyway.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.drain().is_err() {
            // The kernel may still write to their buffers.
            std::mem::forget(std::mem::take(&mut self.flights));
        }
    }
}
