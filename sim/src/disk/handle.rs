//! A simulated disk as the host sees one: the `Disk` trait over a disk that somebody else drives.

use super::{Crash, SimDisk, SimFile, Submitted};
use klamm::host::{Completion, Disk, Op, Outcome};
use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use tokio::sync::{Notify, oneshot};

type Waiter = oneshot::Sender<io::Result<Outcome<SimFile>>>;

/// A disk that outlives the processes which use it, and who waits for what on it.
#[derive(Clone, Debug)]
pub struct Device(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    disk: RefCell<SimDisk>,
    /// Operations in flight, at most; and those of ended lives, which are never told.
    waiting: RefCell<BTreeMap<u64, Waiter>>,
    submitted: Notify,
}

impl Device {
    /// Around a disk.
    #[must_use]
    pub fn new(disk: SimDisk) -> Device {
        let (disk, waiting) = (RefCell::new(disk), RefCell::default());
        Device(Rc::new(Shared { disk, waiting, submitted: Notify::new() }))
    }

    /// The disk itself.
    #[must_use]
    pub fn disk(&self) -> RefMut<'_, SimDisk> {
        self.0.disk.borrow_mut()
    }

    /// For the life that the disk is in. `now` gives the time in nanoseconds.
    #[must_use]
    pub fn open(&self, now: Rc<dyn Fn() -> u64>) -> SimDiskHandle {
        SimDiskHandle { device: self.clone(), life: self.disk().life(), now }
    }

    /// [`SimDisk::next_due`].
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.disk().next_due()
    }

    /// Ends the operations whose time has come, and tells who waits.
    pub fn take_due(&self, now: u64) {
        let ended = self.disk().take_due(now);
        let mut waiting = self.0.waiting.borrow_mut();
        for (number, result) in ended {
            if let Some(waiter) = waiting.remove(&number) {
                // It may have lost interest.
                drop(waiter.send(result));
            }
        }
    }

    /// Ends the present life: its handles do nothing any more, and what it waits for never comes.
    pub fn crash(&self, crash: Crash, seed: u64) {
        self.disk().crash(crash, seed);
        self.0.waiting.borrow_mut().retain(|_, waiter| !waiter.is_closed());
    }
}

/// What one life of a process has of a disk.
#[derive(Clone)]
pub struct SimDiskHandle {
    device: Device,
    life: u64,
    now: Rc<dyn Fn() -> u64>,
}

impl fmt::Debug for SimDiskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDiskHandle").field("life", &self.life).finish_non_exhaustive()
    }
}

impl SimDiskHandle {
    /// Ends operations as their time comes, until this life is over: the one task that drives the disk where nothing
    /// else does.
    pub async fn drive(self, sleep_until: impl AsyncFn(u64)) {
        while self.device.disk().life() == self.life {
            let submitted = self.device.0.submitted.notified();
            match self.device.next_due() {
                None => submitted.await,
                Some(at) => tokio::select! {
                    biased;
                    () = sleep_until(at) => self.device.take_due((self.now)()),
                    () = submitted => {}
                },
            }
        }
    }
}

impl Disk for SimDiskHandle {
    type File = SimFile;

    fn submit(&self, op: Op<SimFile>) -> Completion<SimFile> {
        let submitted = self.device.disk().submit(self.life, (self.now)(), op);
        match submitted {
            Submitted::Now(result) => Completion::ready(result),
            Submitted::Later(number) => {
                let (waiter, receiver) = oneshot::channel();
                self.device.0.waiting.borrow_mut().insert(number, waiter);
                self.device.0.submitted.notify_one();
                Completion::Later(receiver)
            }
        }
    }

    fn descriptor(_: &SimFile) -> Option<BorrowedFd<'_>> {
        None
    }

    fn reap(&self) -> bool {
        true // Whoever drives the disk may have ended any of them.
    }
}
