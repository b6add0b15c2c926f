//! Disks that fail: a failure is final for its log, and what a later life reports is durable although the page cache
//! showed it already.

use super::model::{End, Model};
use super::world::{Store, device, journaled, live, small};
use klamm::disk::logs::Options;
use klamm::host::{Completion, Disk, Op};
use klamm_core::effect::Input;
use klamm_core::ids::{LogId, Uuid};
use klamm_core::rng::Rng;
use klamm_sim::disk::{Crash, Parameters, SimDisk, SimDiskHandle, SimFile};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use tokio::task::yield_now;

const SEGMENT_BYTES: u64 = 3000;

/// One log, on a disk that fails now and then; gives how many lives saw a failure.
fn failing(seed: u64, parameters: &Parameters, sync: impl Fn(u64) -> bool) -> usize {
    let disk = device(SimDisk::new(seed, Parameters::default()));
    let mut model = Model::new(LogId { topic: Uuid::from_halves(1, 1), partition: 0 }, "t");
    let mut rng = Rng::new(seed);
    let (mut end, mut failures) = (End::Close, 0);
    for life in 0..6 {
        // The first life makes the log; the disk is sound while the others begin.
        disk.disk().set_parameters(Parameters::default());
        live(&disk, None, async |handle| {
            let store = Store::start(handle, small()).await.unwrap();
            let found = store.found(model.log).await;
            let changes =
                model.find(found.as_ref(), model.done, model.durable.len(), end, &format!("seed {seed}, life {life}"));
            model.recovered(changes, found.as_ref());
            if life == 0 {
                store.logs.change(model.open());
                store.settle(&mut model).await;
            }
            disk.disk().set_parameters(parameters.clone());
            for i in 0..rng.below(25) {
                store.logs.change(model.append(1 + i as usize % 3, rng.below(700) as usize, sync(i), SEGMENT_BYTES));
                if rng.one_in(4) {
                    wait(&store, &model).await;
                }
                // The core stops at the first failure that it hears of.
                if store.ended.borrow().get(&model.log).is_some_and(|e| e.iter().any(|(_, error)| error.is_some())) {
                    break;
                }
            }
            wait(&store, &model).await;
            let ended = store.ended.borrow();
            let ended = ended.get(&model.log).map_or(&[][..], Vec::as_slice);
            assert!(
                ended.iter().enumerate().all(|(i, (seq, _))| *seq == i as u64),
                "seed {seed}: changes end in order"
            );
            let done = ended.iter().take_while(|(_, error)| error.is_none()).count();
            assert!(ended[done..].iter().all(|(_, error)| error.is_some()), "seed {seed}: done after a failure");
            for (_, error) in &ended[done..] {
                assert!(error.as_ref().unwrap().contains("t-0"), "{error:?} does not say where");
            }
            failures += usize::from(done < ended.len());
            model.done = model.before + done;
        });
        end = if rng.one_in(2) { End::Kill } else { End::PowerLoss };
        disk.crash(if end == End::Kill { Crash::Kill } else { Crash::PowerLoss }, rng.draw());
    }
    failures
}

async fn wait(store: &Store<impl Disk>, model: &Model) {
    for _ in 0..100_000 {
        if store.ended(model.log) >= model.durable.len() - model.before {
            return;
        }
        yield_now().await;
    }
    panic!("a change does not end");
}

#[test]
fn a_failed_sync_is_final_and_takes_nothing_acknowledged_with_it() {
    let parameters = Parameters { sync_errors: 60_000, ..Parameters::default() };
    let failures: usize = (0..300).map(|seed| failing(seed, &parameters, |_| true)).sum();
    assert!(failures > 300, "only {failures} lives met a failure");
}

#[test]
fn a_failed_write_is_final_and_takes_nothing_acknowledged_with_it() {
    let parameters = Parameters { write_errors: 60_000, sync_errors: 20_000, ..Parameters::default() };
    let failures: usize = (0..300).map(|seed| failing(seed, &parameters, |i| i % 5 < 2)).sum();
    assert!(failures > 300, "only {failures} lives met a failure");
}

#[test]
fn a_full_disk_fails_appends_and_loses_nothing() {
    let parameters = Parameters { capacity: Some(12_000), ..Parameters::default() };
    let failures: usize = (0..100).map(|seed| failing(seed, &parameters, |i| i % 2 == 0)).sum();
    assert!(failures > 50, "only {failures} lives met a failure");
}

/// Logs that share a journal, on a disk whose syncs fail now and then, until one of them hears of it; then the power goes.
fn sharing(seed: u64) {
    let disk = device(SimDisk::new(seed, Parameters::default()));
    let log = |n| Model::new(LogId { topic: Uuid::from_halves(1, n), partition: 0 }, &format!("t{n}"));
    let mut models: Vec<Model> = (0..4).map(log).collect();
    let options = || Options { journal_bytes: 64 << 10, ..journaled() };
    live(&disk, None, async |handle| {
        let store = Store::start(handle, options()).await.unwrap();
        for model in &mut models {
            store.logs.change(model.open());
            store.settle(model).await;
        }
        disk.disk().set_parameters(Parameters { sync_errors: 3_000, ..Parameters::default() });
        for _ in 0..150 {
            for model in &mut models {
                store.logs.change(model.append(1, 300, true, 1 << 20));
            }
            for model in &models {
                wait(&store, model).await;
            }
            if store.ended.borrow().values().flatten().any(|(_, error)| error.is_some()) {
                break;
            }
        }
        let ended = store.ended.borrow();
        for model in &mut models {
            model.done = ended[&model.log].iter().take_while(|(_, error)| error.is_none()).count();
        }
    });
    disk.crash(Crash::PowerLoss, seed);
    disk.disk().set_parameters(Parameters::default());
    live(&disk, None, async |handle| {
        let store = Store::start(handle, options()).await.unwrap();
        for model in &models {
            let (found, most) = (store.found(model.log).await, model.durable.len());
            model.find(found.as_ref(), model.done, most, End::PowerLoss, &format!("seed {seed}"));
        }
    });
}

/// A volume of the journal that was to be longer, and whose sync failed, was taken for longer with its next turn: the
/// length was what the page cache said, the next sync had nothing left to fail at, and records behind the old length were
/// gone with the power.
#[test]
fn a_volume_whose_sync_failed_takes_no_record() {
    (300..600).for_each(sharing);
}

/// A segment that there was not enough room to lengthen by as much as it should be got a part of that; the store did not
/// know of it, rolled the segment without cutting it to its batches, and refused the log when it next began.
#[test]
fn a_segment_that_was_lengthened_by_a_part_is_closed_as_long_as_its_batches() {
    let disk = device(SimDisk::new(1, Parameters::default()));
    let mut model = Model::new(LogId { topic: Uuid::from_halves(1, 1), partition: 0 }, "t");
    live(&disk, None, async |handle| {
        let store = Store::start(handle, Options { mark_every: 1 << 20, ..journaled() }).await.unwrap();
        store.logs.change(model.open());
        store.settle(&mut model).await;
        store.append(&mut model, 1, 600, true, 1 << 20).await;
        let is_there = |name: &str| disk.disk().list_all().iter().any(|(path, _)| path.ends_with(name));
        while !is_there("t-0/marks") || !is_there(".0of1.1") {
            yield_now().await;
        }
        // 64 KiB more are not.
        let capacity = Some(disk.disk().used() + 30_000);
        disk.disk().set_parameters(Parameters { capacity, ..Parameters::default() });
        for _ in 0..20 {
            store.append(&mut model, 1, 600, true, 1 << 20).await;
        }
        disk.disk().set_parameters(Parameters::default());
        // Past the block that the last payment ended with.
        store.append(&mut model, 1, 5000, false, 1 << 20).await;
        store.append(&mut model, 1, 100, true, 1).await;
        store.logs.close().await.unwrap();
    });
    live(&disk, None, async |handle| {
        let store = Store::start(handle, journaled()).await.unwrap();
        let found = store.found(model.log).await;
        model.find(found.as_ref(), model.durable.len(), model.durable.len(), End::Close, "after a close");
    });
}

/// Which operations fail.
type Pick = fn(&Op<SimFile>) -> bool;

/// A disk whose operations fail that a test picks.
#[derive(Clone)]
struct Picky {
    disk: SimDiskHandle,
    fails: Rc<Cell<Pick>>,
}

impl Disk for Picky {
    type File = SimFile;

    fn submit(&self, op: Op<SimFile>) -> Completion<SimFile> {
        if self.fails.get()(&op) { Completion::ready(Err(io::ErrorKind::Other.into())) } else { self.disk.submit(op) }
    }

    fn descriptor(_: &SimFile) -> Option<BorrowedFd<'_>> {
        None
    }

    fn reap(&self) -> bool {
        self.disk.reap()
    }
}

/// Logs that share a journal until something fails behind their backs: no change of theirs, but each must be said to be broken.
/// All that was acknowledged comes back.
fn behind_their_backs(fails: Pick) {
    let disk = device(SimDisk::new(1, Parameters::default()));
    let log = |n| Model::new(LogId { topic: Uuid::from_halves(1, n), partition: 0 }, &format!("t{n}"));
    let mut models: Vec<Model> = (0..3).map(log).collect();
    let options = || Options { zero_fill: 0, ..journaled() };
    live(&disk, None, async |handle| {
        let picky = Picky { disk: handle, fails: Rc::new(Cell::new(|_| false)) };
        let broken: Rc<RefCell<BTreeSet<LogId>>> = Rc::default();
        let told = broken.clone();
        let tell = move |input: &Input| {
            if let Input::Broken { log, .. } = input {
                told.borrow_mut().insert(*log);
            }
        };
        let store = Store::start_with(picky.clone(), options(), Rc::new(tell)).await.unwrap();
        for model in &mut models {
            store.logs.change(model.open());
            store.settle(model).await;
            store.append(model, 1, 300, true, 1 << 20).await;
        }
        // The journal is being made.
        while !disk.disk().list_all().iter().any(|(path, _)| path.ends_with(".0of1.1")) {
            yield_now().await;
        }
        picky.fails.set(fails);
        for _ in 0..400 {
            for model in models.iter_mut().filter(|model| !broken.borrow().contains(&model.log)) {
                store.logs.change(model.append(1, 300, true, 1 << 20));
            }
            for model in &models {
                wait(&store, model).await;
            }
        }
        let broken = broken.borrow();
        for model in &mut models {
            assert!(broken.contains(&model.log), "{} is served on", model.log);
            model.done = store.ended.borrow()[&model.log].iter().take_while(|(_, error)| error.is_none()).count();
        }
    });
    disk.crash(Crash::PowerLoss, 1);
    live(&disk, None, async |handle| {
        let store = Store::start(handle, options()).await.unwrap();
        for model in &models {
            let (found, most) = (store.found(model.log).await, model.durable.len());
            model.find(found.as_ref(), model.done, most, End::PowerLoss, "after what failed");
        }
    });
}

/// The journal's payment of a log to its segment failed, and nobody was told: the log was served on.
#[test]
fn a_log_whose_payment_fails_is_broken() {
    behind_their_backs(|op| matches!(op, Op::Write { sync: false, .. }));
}

/// The sync failed that was to put on the device what the journal had of a log. No change of the log's had failed, so it was
/// served on; then its pages left the cache, and a consumer was given zeros.
#[test]
fn a_log_whose_settling_fails_is_broken() {
    behind_their_backs(|op| matches!(op, Op::Sync { .. }));
}
