//! Lives of a store on a simulated disk, and on a real one.

use super::model::{Model, crc};
use bytes::{Bytes, BytesMut};
use klamm::disk::logs::{Lease, Logs, Options, Piece};
use klamm::host::Disk;
use klamm_core::effect::Input;
use klamm_core::ids::{LogId, ShardIndex};
use klamm_core::log::Found;
use klamm_sim::disk::{Device, SimDisk, SimDiskHandle};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use tokio::task::{LocalSet, yield_now};

/// Bounds so small that every one of them is met.
pub(crate) fn small() -> Options {
    Options {
        zero_fill: 4096,
        mark_every: 3000,
        log_tail_bytes: 700,
        shard_tail_bytes: 1000,
        open_files: 2,
        lease_segments: 1000,
        journal_bytes: 0,
        owed_bytes: 500,
        ..Options::new(crc)
    }
}

/// The same, with a journal that takes whatever may share it.
pub(crate) fn journaled() -> Options {
    Options { journal_bytes: 40 << 10, journal_least: 1, salt: 0x6b6c_616d_6d00, ..small() }
}

/// What ended of each log: its number, and why it failed if it did.
pub(crate) type Ended = BTreeMap<LogId, Vec<(u64, Option<String>)>>;

/// One life of a store.
pub(crate) struct Store<D: Disk> {
    pub(crate) disk: D,
    pub(crate) logs: Logs<D>,
    /// What recovery reported, in order.
    pub(crate) recovered: Vec<(LogId, String, Result<Found, String>)>,
    pub(crate) ended: Rc<RefCell<Ended>>,
}

impl<D: Disk> Store<D> {
    pub(crate) async fn start(disk: D, options: Options) -> io::Result<Store<D>> {
        Store::start_with(disk, options, Rc::new(|_: &Input| {})).await
    }

    /// `told` hears of every event first.
    pub(crate) async fn start_with(disk: D, options: Options, told: Rc<dyn Fn(&Input)>) -> io::Result<Store<D>> {
        let recovered = Rc::new(RefCell::new(Vec::new()));
        let ended: Rc<RefCell<Ended>> = Rc::default();
        let (found, over) = (recovered.clone(), ended.clone());
        let events = move |input: Input| {
            told(&input);
            match input {
                Input::Recovered { log, name, found: result } => {
                    found.borrow_mut().push((log, name, result.map(|found| *found)));
                }
                Input::Done { log, seq } => {
                    let mut over = over.borrow_mut();
                    let ended = over.entry(log).or_default();
                    let first = ended.len() as u64;
                    assert!(first <= seq.0, "{log}: {seq} ends twice");
                    ended.extend((first..=seq.0).map(|seq| (seq, None)));
                }
                Input::Failed { log, seq, error } => {
                    over.borrow_mut().entry(log).or_default().push((seq.0, Some(error)));
                }
                Input::Broken { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        let logs = Logs::recover(disk.clone(), options, ShardIndex(0), 1, Rc::new(events)).await?;
        let recovered = recovered.take();
        Ok(Store { disk, logs, recovered, ended })
    }

    pub(crate) fn ended(&self, log: LogId) -> usize {
        self.ended.borrow().get(&log).map_or(0, Vec::len)
    }

    /// Waits until all changes of a model ended, in order and well.
    pub(crate) async fn settle(&self, model: &mut Model) {
        let asked = model.durable.len() - model.before;
        let mut patience = 1_000_000;
        while self.ended(model.log) < asked {
            patience -= 1;
            assert!(patience > 0, "a change does not end");
            yield_now().await;
        }
        let ended = self.ended.borrow();
        for (i, (seq, error)) in ended.get(&model.log).into_iter().flatten().enumerate() {
            assert_eq!((*seq, error), (i as u64, &None), "changes end in order");
        }
        model.done = model.durable.len();
    }

    /// What was recovered of a log, with its bytes.
    pub(crate) async fn found(&self, log: LogId) -> Option<(Found, Bytes)> {
        let (_, _, found) = self.recovered.iter().find(|(id, ..)| *id == log)?;
        let found = found.as_ref().unwrap_or_else(|error| panic!("refused: {error}"));
        let (from, upto) = (found.state.log_start_offset, found.state.at);
        let lease = self.logs.lease(log, from, upto, u32::MAX).await.unwrap();
        Some((found.clone(), self.bytes(&lease).await))
    }

    pub(crate) async fn bytes(&self, lease: &Lease<D::File>) -> Bytes {
        let mut all = BytesMut::new();
        for piece in &lease.pieces {
            match piece {
                Piece::Bytes(bytes) => all.extend_from_slice(bytes),
                Piece::File { file, at, len } => {
                    let bytes = self.disk.read(file, *at, *len as usize).await.unwrap();
                    assert_eq!(bytes.len(), *len as usize, "a lease ends past its file");
                    all.extend_from_slice(&bytes);
                }
            }
        }
        assert_eq!(all.len(), lease.bytes as usize);
        all.freeze()
    }

    /// Appends a batch and waits for it.
    pub(crate) async fn append(&self, model: &mut Model, records: usize, bytes: usize, sync: bool, segment_bytes: u64) {
        self.logs.change(model.append(records, bytes, sync, segment_bytes));
        self.settle(model).await;
    }
}

/// Runs a life on a simulated disk, whose time jumps; `rounds` bounds how often operations end before it stops.
pub(crate) fn live<T>(disk: &Device, rounds: Option<usize>, life: impl AsyncFnOnce(SimDiskHandle) -> T) -> Option<T> {
    let clock = Rc::new(Cell::new(disk.next_due().unwrap_or(0)));
    let now = clock.clone();
    let handle = disk.open(Rc::new(move || now.get()));
    let left = Cell::new(rounds.unwrap_or(usize::MAX));
    let drive = handle.clone().drive(async |at: u64| {
        // Whoever can go on does, before time does.
        for _ in 0..10 {
            yield_now().await;
        }
        while left.get() == 0 {
            std::future::pending::<()>().await;
        }
        left.set(left.get() - 1);
        clock.set(at.max(clock.get()));
    });
    let stalled = async {
        while left.get() > 0 {
            yield_now().await;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            biased;
            result = life(handle) => Some(result),
            () = drive => None,
            () = stalled, if rounds.is_some() => None,
        }
    })
}

/// A device with what is on a disk.
pub(crate) fn device(disk: SimDisk) -> Device {
    Device::new(disk)
}

/// Runs a life on a real disk.
pub(crate) fn live_for_real<T>(life: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, life())
}
