//! How drivers are chosen, how they end, and what a host takes from them besides answers: results that it looks for, and
//! the descriptors of real files.

use super::{fresh_directory, on_a_shard, ring_is_there, simulated, write};
use bytes::Bytes;
use klamm::disk::{AnyDisk, Blocking, Driver, Uring};
use klamm::host::{Disk, Op};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

#[test]
fn a_driver_is_chosen() {
    let directory = fresh_directory("choice");
    on_a_shard(async {
        let name = |driver| AnyDisk::choose(directory.clone(), driver).map(|disk| disk.name());
        assert_eq!(name(Driver::Blocking).unwrap(), "blocking");
        assert_eq!(name(Driver::Auto).unwrap(), if ring_is_there() { "io_uring" } else { "blocking" });
        let missing = AnyDisk::choose(directory.join("missing"), Driver::Auto).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let disk = AnyDisk::choose(directory.clone(), Driver::Auto).unwrap();
        let file = disk.open("f", true).await.unwrap();
        write(&disk, &file, 0, &[b"through"], true).await.unwrap();
        assert_eq!(disk.read(&file, 0, 7).await.unwrap(), "through");
        assert!(AnyDisk::descriptor(&file).is_some());
    });
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_was_submitted_is_done_though_the_driver_is_dropped() {
    let directory = fresh_directory("drain");
    let burst = async |disk: AnyDisk| {
        let file = disk.open("f", true).await.unwrap();
        let op = |at| Op::Write { file: file.clone(), at, data: vec![Bytes::from_static(b"x")], sync: true };
        let under_way: Vec<_> = (0..300).map(|at| disk.submit(op(at))).collect();
        drop((disk, file));
        for completion in under_way {
            completion.await.unwrap();
        }
    };
    for driver in [Driver::Blocking, Driver::Auto] {
        on_a_shard(async { burst(AnyDisk::choose(directory.clone(), driver).unwrap()).await });
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_runtime_may_end_with_operations_in_the_ring() {
    if ring_is_there() {
        let directory = fresh_directory("end");
        let abandoned: Vec<_> = on_a_shard(async {
            let disk = Uring::open(directory.clone(), 1).unwrap();
            let file = disk.open("f", true).await.unwrap();
            let op = |at| Op::Write { file: file.clone(), at, data: vec![Bytes::from_static(b"x")], sync: true };
            (0..300).map(|at| disk.submit(op(at))).collect()
        });
        let results = on_a_shard(async {
            let mut results = Vec::new();
            for completion in abandoned {
                results.push(completion.await);
            }
            results
        });
        assert!(results.iter().all(Result::is_ok), "dropping the ring waits for what it holds");
        std::fs::remove_dir_all(directory).unwrap();
    }
}

/// Who looks in the midst of work, and no task gets a turn meanwhile, sees that synced writes have ended, each once; and
/// whoever waited for one is woken although another took its result.
async fn what_has_ended_can_be_taken<D: Disk>(disk: &D, pause: impl AsyncFn()) {
    let file = disk.open("taken", true).await.unwrap();
    let write = |at| Op::Write { file: file.clone(), at, data: vec!["x".into()], sync: true };
    let mut under_way: Vec<_> = (0..20).map(|at| disk.submit(write(at))).collect();
    let mut patience = 10_000;
    while !under_way.is_empty() {
        if disk.reap() {
            under_way.retain_mut(|completion| completion.take().map(Result::unwrap).is_none());
        }
        patience -= 1;
        assert!(patience > 0, "{} writes are never seen to end", under_way.len());
        pause().await;
    }

    let shared = Rc::new(RefCell::new(disk.submit(write(0))));
    let (held, woken) = (shared.clone(), Rc::new(Cell::new(0)));
    let count = woken.clone();
    let waits = tokio::task::spawn_local(poll_fn(move |cx| {
        count.set(count.get() + 1);
        // As a log's task does: it goes on when it finds the result gone.
        let mut completion = held.borrow_mut();
        if count.get() > 1 { Poll::Ready(()) } else { Pin::new(&mut *completion).poll(cx).map(drop) }
    }));
    while woken.get() == 0 {
        tokio::task::yield_now().await;
    }
    while !waits.is_finished() {
        if disk.reap() && shared.borrow_mut().take().is_some() {
            break;
        }
        pause().await;
    }
    waits.await.unwrap();
}

#[test]
fn what_has_ended_can_be_taken_from_each_driver() {
    let sleep = async || std::thread::sleep(std::time::Duration::from_millis(1));
    let directory = fresh_directory("taken");
    on_a_shard(async { what_has_ended_can_be_taken(&Blocking::open(directory.clone(), 1).unwrap(), sleep).await });
    if ring_is_there() {
        on_a_shard(async { what_has_ended_can_be_taken(&Uring::open(directory.clone(), 1).unwrap(), sleep).await });
    }
    std::fs::remove_dir_all(directory).unwrap();
    // Time moves there only when its task does.
    on_a_shard(async { what_has_ended_can_be_taken(&simulated(5), tokio::task::yield_now).await });
}

/// How many descriptors of this process lead to a file.
fn descriptors(path: &Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    links.filter(|link| std::fs::read_link(link.path()).is_ok_and(|to| to == path)).count()
}

/// What the host relies on with real files: a descriptor that gives the same bytes, closed with the last clone and not
/// before the last operation; a count of syncs.
async fn descriptors_conform<D: Disk>(disk: &D, directory: &Path) {
    let file = disk.open("held", true).await.unwrap();
    let path = directory.join("held").canonicalize().unwrap();
    let syncs = || disk.syncs().unwrap().buckets.iter().sum::<u64>();
    let before = syncs();
    for sync in [true, false, true] {
        write(disk, &file, 0, &[b"held"], sync).await.unwrap();
    }
    disk.perform(Op::Sync { file: file.clone() }).await.unwrap();
    assert_eq!(syncs() - before, 3);
    assert!(D::is_cached(&file, 0, 4), "just written");
    let mut bytes = [0; 4];
    rustix::io::pread(D::descriptor(&file).unwrap(), &mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"held");

    let clone = file.clone();
    assert_eq!(descriptors(&path), 1);
    drop(file);
    assert_eq!(disk.read(&clone, 0, 4).await.unwrap(), "held");
    let last = disk.submit(Op::Write { file: clone, at: 4, data: vec![" on".into()], sync: true });
    last.await.unwrap();
    for _ in 0..1000 {
        if descriptors(&path) == 0 {
            return assert_eq!(std::fs::read(&path).unwrap(), b"held on");
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
        tokio::task::yield_now().await;
    }
    panic!("a file stays open that nobody holds");
}

#[test]
fn descriptors_of_both_drivers_conform() {
    let directory = fresh_directory("descriptors");
    on_a_shard(async { descriptors_conform(&Blocking::open(directory.clone(), 2).unwrap(), &directory).await });
    if ring_is_there() {
        std::fs::remove_file(directory.join("held")).unwrap();
        on_a_shard(async { descriptors_conform(&Uring::open(directory.clone(), 1).unwrap(), &directory).await });
    }
    std::fs::remove_dir_all(directory).unwrap();
}
