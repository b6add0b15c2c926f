//! One suite for every driver of the `Disk` trait: threads, the ring, the simulated disk. What a shard's files may rely
//! on is here; what differs between drivers (speed, what survives a crash) is not.
//!
//! The last test draws operations at random and holds every driver to a naive model of a file tree.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use klamm::disk::{AnyDisk, Blocking, Driver, Uring};
use klamm::host::{BLOCK, Disk, Op, Outcome};
use klamm_sim::disk::{Device, Parameters, SimDisk, SimDiskHandle};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

/// A fresh directory under cargo's.
fn fresh_directory(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{name}-{count}"));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// Runs a future as a shard's host does: one thread, a `LocalSet`.
fn on_a_shard<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

fn ring_is_there() -> bool {
    match Uring::probe() {
        Ok(()) => true,
        Err(error) => {
            println!("skipped: no io_uring here: {error}");
            false
        }
    }
}

#[test]
fn threads_conform() {
    let directory = fresh_directory("threads");
    on_a_shard(async { conforms(&Blocking::open(directory.clone(), 3).unwrap()).await });
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_ring_conforms() {
    if ring_is_there() {
        let directory = fresh_directory("ring");
        on_a_shard(async { conforms(&Uring::open(directory.clone(), 1).unwrap()).await });
        std::fs::remove_dir_all(directory).unwrap();
    }
}

/// A simulated disk on which time jumps from one operation's end to the next.
fn simulated(seed: u64) -> SimDiskHandle {
    simulated_with(seed, Parameters { write_ns: 0..=100_000, ..Parameters::default() })
}

fn simulated_with(seed: u64, parameters: Parameters) -> SimDiskHandle {
    let device = Device::new(SimDisk::new(seed, parameters));
    let clock = Rc::new(Cell::new(0));
    let now = clock.clone();
    let disk = device.open(Rc::new(move || now.get()));
    tokio::task::spawn_local(disk.clone().drive(async move |at| {
        tokio::task::yield_now().await;
        clock.set(at);
    }));
    disk
}

#[test]
fn the_simulated_disk_conforms() {
    for seed in 0..4 {
        on_a_shard(async { conforms(&simulated(seed)).await });
    }
}

/// Slow, stalled, with large sectors, and with room for just what it takes: none of that is seen by who waits.
#[test]
fn the_simulated_disk_conforms_however_slow_it_is() {
    let slow = Parameters {
        sector: 4_096,
        write_ns: 0..=900_000,
        sync_ns: 0..=80_000_000,
        stalls: 200_000,
        stall_ns: 1_000_000..=5_000_000_000,
        capacity: Some(64 << 20),
        ..Parameters::default()
    };
    for seed in 0..4 {
        on_a_shard(async { conforms(&simulated_with(seed, slow.clone())).await });
    }
}

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

async fn conforms<D: Disk>(disk: &D) {
    bytes_come_back(disk).await;
    many_slices_and_a_large_write(disk).await;
    reads_stop_at_the_end(disk).await;
    room_is_told(disk).await;
    lengths_change(disk).await;
    names_change(disk).await;
    removed_files_stay_open(disk).await;
    errors_have_their_kind(disk).await;
    paths_stay_inside(disk).await;
    operations_run_concurrently(disk).await;
    what_was_read_stays(disk).await;
    nobody_need_wait(disk).await;
    names_have_a_length(disk).await;
    files_have_an_end(disk).await;
    whole_blocks_go_past_the_page_cache(disk).await;
}

async fn write<D: Disk>(disk: &D, file: &D::File, at: u64, data: &[&'static [u8]], sync: bool) -> io::Result<()> {
    let data = data.iter().map(|piece| Bytes::from_static(piece)).collect();
    disk.perform(Op::Write { file: file.clone(), at, data, sync }).await
}

async fn make_dir<D: Disk>(disk: &D, path: &str) {
    disk.perform(Op::MakeDir { path: path.to_owned() }).await.unwrap();
}

async fn remove<D: Disk>(disk: &D, path: &str) -> io::Result<()> {
    disk.perform(Op::Remove { path: path.to_owned() }).await
}

async fn rename<D: Disk>(disk: &D, from: &str, to: &str) -> io::Result<()> {
    disk.perform(Op::Rename { from: from.to_owned(), to: to.to_owned() }).await
}

async fn bytes_come_back<D: Disk>(disk: &D) {
    let file = disk.open("bytes", true).await.unwrap();
    assert_eq!(disk.length(&file).await.unwrap(), 0);
    write(disk, &file, 0, &[b"one ", b"", b"two"], false).await.unwrap();
    write(disk, &file, 4, &[b"2"], true).await.unwrap();
    assert_eq!(disk.read(&file, 0, 7).await.unwrap(), "one 2wo");
    // Nothing written is nothing changed, past the end too.
    write(disk, &file, 99, &[], true).await.unwrap();
    write(disk, &file, 99, &[b"", b""], false).await.unwrap();
    assert_eq!(disk.length(&file).await.unwrap(), 7);
    // A hole reads as zeros.
    write(disk, &file, 9000, &[b"far"], false).await.unwrap();
    let all = disk.read(&file, 0, 10_000).await.unwrap();
    assert_eq!((all.len(), &all[..8], &all[9000..]), (9003, &b"one 2wo\0"[..], &b"far"[..]));
    assert!(all[7..9000].iter().all(|b| *b == 0));
    disk.perform(Op::Sync { file: file.clone() }).await.unwrap();
    // Two opens of one name are one file.
    let again = disk.open("bytes", false).await.unwrap();
    write(disk, &again, 0, &[b"ONE"], false).await.unwrap();
    assert_eq!(disk.read(&file, 0, 3).await.unwrap(), "ONE");
}

async fn many_slices_and_a_large_write<D: Disk>(disk: &D) {
    let file = disk.open("slices", true).await.unwrap();
    let whole: Bytes = (0..5000u32).map(|i| (i * 7 % 251) as u8).collect();
    for (at, sync) in [(3, false), (10_000, true)] {
        let data = (0..2500).map(|i| whole.slice(2 * i..2 * i + 2)).collect();
        disk.perform(Op::Write { file: file.clone(), at, data, sync }).await.unwrap();
        assert_eq!(disk.read(&file, at, 5000).await.unwrap(), whole);
    }
    assert_eq!(disk.length(&file).await.unwrap(), 15_000);

    let large: Bytes = (0..9u32 << 20).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect();
    let data = vec![large.slice(..1), large.slice(1..4 << 20), large.slice(4 << 20..)];
    disk.perform(Op::Write { file: file.clone(), at: 1, data, sync: true }).await.unwrap();
    assert_eq!(disk.length(&file).await.unwrap(), (9 << 20) + 1);
    assert!(disk.read(&file, 1, 9 << 20).await.unwrap() == large);
    // And again from the device, where there is one: synced pages may be dropped.
    if let Some(descriptor) = D::descriptor(&file) {
        rustix::fs::fadvise(descriptor, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    assert!(disk.read(&file, 1, 9 << 20).await.unwrap() == large);
    assert_eq!(disk.read(&file, 9 << 20, 99).await.unwrap(), large[large.len() - 1..]);
}

async fn reads_stop_at_the_end<D: Disk>(disk: &D) {
    let file = disk.open("end", true).await.unwrap();
    assert!(disk.read(&file, 0, 10).await.unwrap().is_empty());
    write(disk, &file, 0, &[b"0123456789"], false).await.unwrap();
    assert_eq!(disk.read(&file, 7, 10).await.unwrap(), "789");
    assert_eq!(disk.read(&file, 7, usize::MAX).await.unwrap(), "789");
    assert!(disk.read(&file, 10, 1).await.unwrap().is_empty());
    assert!(disk.read(&file, u64::MAX, 1).await.unwrap().is_empty());
    assert!(disk.read(&file, 3, 0).await.unwrap().is_empty());
}

/// Whatever way a file is written, every way of reading it gives the same.
async fn whole_blocks_go_past_the_page_cache<D: Disk>(disk: &D) {
    let direct = disk.open_direct("direct", true).await.unwrap();
    let cached = disk.open("direct", false).await.unwrap();
    disk.perform(Op::SetLength { file: direct.clone(), len: 16 * BLOCK }).await.unwrap();
    disk.perform(Op::Sync { file: direct.clone() }).await.unwrap();
    assert!(disk.read(&cached, 0, 5).await.unwrap().iter().all(|b| *b == 0));
    let some: Bytes = (0..3 * BLOCK as u32).map(|i| (i ^ (i >> 8)) as u8).collect();
    for (sync, at) in [(true, 0), (false, 5 * BLOCK), (true, 14 * BLOCK)] {
        // In pieces of any length: only the whole must be blocks.
        let data = vec![some.slice(..1), some.slice(1..5000), some.slice(5000..)];
        disk.perform(Op::Write { file: direct.clone(), at, data, sync }).await.unwrap();
        assert_eq!(disk.read(&cached, at, some.len()).await.unwrap(), some);
    }
    assert_eq!(disk.length(&cached).await.unwrap(), 17 * BLOCK);
    let odd = async |at, len| {
        let data = vec![some.slice(..len)];
        let op = Op::Write { file: direct.clone(), at, data, sync: true };
        disk.perform(op).await.unwrap_err().kind()
    };
    assert_eq!(odd(1, BLOCK as usize).await, ErrorKind::InvalidInput);
    assert_eq!(odd(BLOCK, 1).await, ErrorKind::InvalidInput);
    assert_eq!(odd(512, 512).await, ErrorKind::InvalidInput);
    assert_eq!(disk.read(&cached, BLOCK, 2).await.unwrap(), some.slice(BLOCK as usize..BLOCK as usize + 2));
    let missing = Op::Open { path: "direct-missing".to_owned(), create: false, direct: true };
    assert_eq!(disk.perform(missing).await.unwrap_err().kind(), ErrorKind::NotFound);
    disk.write_back(&cached, 0, 17 * BLOCK);
    assert_eq!(disk.read(&cached, 0, 9).await.unwrap(), some.slice(..9));
}

async fn room_is_told<D: Disk>(disk: &D) {
    let (total, usable) = disk.room().await.unwrap();
    assert!(total > 0 && usable <= total, "{usable} of {total} bytes");
}

async fn lengths_change<D: Disk>(disk: &D) {
    let file = disk.open("length", true).await.unwrap();
    let set = async |len| disk.perform(Op::SetLength { file: file.clone(), len }).await.unwrap();
    write(disk, &file, 0, &[b"0123456789"], true).await.unwrap();
    set(4).await;
    assert_eq!(disk.read(&file, 0, 10).await.unwrap(), "0123");
    set(6).await;
    assert_eq!(disk.read(&file, 0, 10).await.unwrap(), "0123\0\0");
    set(0).await;
    set(5000).await;
    assert_eq!(disk.length(&file).await.unwrap(), 5000);
    assert!(disk.read(&file, 0, 5000).await.unwrap().iter().all(|b| *b == 0));
    disk.perform(Op::Sync { file }).await.unwrap();
}

async fn names_change<D: Disk>(disk: &D) {
    let sync = async |path: &str| disk.perform(Op::SyncDir { path: path.to_owned() }).await.unwrap();
    make_dir(disk, "names").await;
    make_dir(disk, "names").await;
    make_dir(disk, "").await;
    sync("").await;
    for name in ["b", "B", "a-2", "a-10"] {
        let file = disk.open(&format!("names/{name}"), true).await.unwrap();
        write(disk, &file, 0, &[name.as_bytes()], false).await.unwrap();
    }
    make_dir(disk, "names/c").await;
    assert_eq!(disk.list("names").await.unwrap(), ["B", "a-10", "a-2", "b", "c"]);
    assert!(disk.list("").await.unwrap().contains(&"names".to_owned()));

    // A rename replaces, and open files follow it.
    let moved = disk.open("names/b", false).await.unwrap();
    rename(disk, "names/b", "names/a-2").await.unwrap();
    assert_eq!(disk.list("names").await.unwrap(), ["B", "a-10", "a-2", "c"]);
    write(disk, &moved, 1, &[b"!"], false).await.unwrap();
    disk.perform(Op::Sync { file: moved }).await.unwrap();
    let replaced = disk.open("names/a-2", false).await.unwrap();
    assert_eq!(disk.read(&replaced, 0, 9).await.unwrap(), "b!");
    rename(disk, "names/B", "names/B").await.unwrap();
    // A directory moves with what is in it.
    disk.open("names/c/inside", true).await.unwrap();
    rename(disk, "names/c", "names/d").await.unwrap();
    assert_eq!(disk.list("names/d").await.unwrap(), ["inside"]);
    rename(disk, "names/d/inside", "names/outside").await.unwrap();
    disk.perform(Op::RemoveDir { path: "names/d".to_owned() }).await.unwrap();
    remove(disk, "names/B").await.unwrap();
    assert_eq!(disk.list("names").await.unwrap(), ["a-10", "a-2", "outside"]);
    sync("names").await;
}

async fn removed_files_stay_open<D: Disk>(disk: &D) {
    let file = disk.open("removed", true).await.unwrap();
    write(disk, &file, 0, &[b"still here"], false).await.unwrap();
    remove(disk, "removed").await.unwrap();
    disk.perform(Op::SyncDir { path: String::new() }).await.unwrap();
    let other = disk.open("removed", true).await.unwrap();
    write(disk, &file, 10, &[b", and more"], true).await.unwrap();
    assert_eq!(disk.read(&file, 0, 99).await.unwrap(), "still here, and more");
    assert_eq!(disk.length(&other).await.unwrap(), 0);
}

async fn errors_have_their_kind<D: Disk>(disk: &D) {
    let kind = async |op: Op<D::File>| disk.submit(op).await.unwrap_err().kind();
    let path = || "errors/dir".to_owned();
    let file = || "errors/file".to_owned();
    let missing = || "errors/missing".to_owned();
    make_dir(disk, "errors").await;
    make_dir(disk, "errors/dir").await;
    disk.open("errors/dir/inside", true).await.unwrap();
    disk.open("errors/file", true).await.unwrap();

    assert_eq!(kind(Op::Open { path: missing(), create: false, direct: false }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::Open { path: missing() + "/below", create: true, direct: false }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::Open { path: file() + "/below", create: true, direct: false }).await, ErrorKind::NotADirectory);
    assert_eq!(kind(Op::Open { path: path(), create: true, direct: false }).await, ErrorKind::IsADirectory);
    assert_eq!(kind(Op::Remove { path: missing() }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::Remove { path: path() }).await, ErrorKind::IsADirectory);
    assert_eq!(kind(Op::Rename { from: missing(), to: file() }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::Rename { from: file(), to: path() }).await, ErrorKind::IsADirectory);
    assert_eq!(kind(Op::Rename { from: path(), to: file() }).await, ErrorKind::NotADirectory);
    assert_eq!(kind(Op::Rename { from: path(), to: path() + "/below" }).await, ErrorKind::InvalidInput);
    assert_eq!(kind(Op::MakeDir { path: file() }).await, ErrorKind::AlreadyExists);
    assert_eq!(kind(Op::MakeDir { path: missing() + "/below" }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::RemoveDir { path: path() }).await, ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind(Op::RemoveDir { path: file() }).await, ErrorKind::NotADirectory);
    assert_eq!(kind(Op::RemoveDir { path: missing() }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::List { path: missing() }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::List { path: file() }).await, ErrorKind::NotADirectory);
    assert_eq!(kind(Op::SyncDir { path: missing() }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::SyncDir { path: file() }).await, ErrorKind::NotADirectory);
    assert_eq!(disk.list("errors").await.unwrap(), ["dir", "file"]);
}

async fn paths_stay_inside<D: Disk>(disk: &D) {
    for path in ["/etc/hostname", "..", "../outside", "a/../b", "a//b", "a/", "./a", ".", "a\0b", ""] {
        let path = || path.to_owned();
        let ops = [
            Op::Open { path: path(), create: true, direct: false },
            Op::Remove { path: path() },
            Op::RemoveDir { path: path() },
            Op::Rename { from: path(), to: "inside".to_owned() },
            Op::Rename { from: "inside".to_owned(), to: path() },
        ];
        let also = [Op::MakeDir { path: path() }, Op::List { path: path() }, Op::SyncDir { path: path() }];
        for op in ops.into_iter().chain(also.into_iter().filter(|_| !path().is_empty())) {
            assert_eq!(disk.submit(op).await.unwrap_err().kind(), ErrorKind::InvalidInput, "{:?}", path());
        }
    }
}

async fn operations_run_concurrently<D: Disk>(disk: &D) {
    let file = disk.open("concurrent", true).await.unwrap();
    let piece = |n: u64| Bytes::from(vec![n as u8; 100]);
    let write = |n| Op::Write { file: file.clone(), at: n * 100, data: vec![piece(n)], sync: n % 3 == 0 };
    let mut under_way: Vec<_> = (0..200).map(|n| disk.submit(write(n))).collect();
    under_way.extend((0..200).map(|_| disk.submit(Op::Sync { file: file.clone() })));
    under_way.extend(
        (0..20).map(|n| disk.submit(Op::Open { path: format!("concurrent-{n}"), create: true, direct: false })),
    );
    // Nobody waits for this one, and it is done all the same.
    drop(disk.submit(Op::Open { path: "concurrent-forgotten".to_owned(), create: true, direct: false }));
    for completion in under_way {
        completion.await.unwrap();
    }
    let reads: Vec<_> = (0..200).map(|n| disk.submit(Op::Read { file: file.clone(), at: n * 100, len: 100 })).collect();
    for (n, read) in (0..).zip(reads) {
        assert!(matches!(read.await.unwrap(), Outcome::Bytes(bytes) if bytes == piece(n)), "piece {n}");
    }
    while disk.open("concurrent-forgotten", false).await.is_err() {
        tokio::task::yield_now().await;
    }
}

async fn what_was_read_stays<D: Disk>(disk: &D) {
    let file = disk.open("snapshot", true).await.unwrap();
    write(disk, &file, 0, &[b"before"], true).await.unwrap();
    let before = disk.read(&file, 0, 6).await.unwrap();
    write(disk, &file, 0, &[b"after!"], false).await.unwrap();
    disk.perform(Op::SetLength { file: file.clone(), len: 3 }).await.unwrap();
    assert_eq!((before, disk.read(&file, 0, 6).await.unwrap()), ("before".into(), "aft".into()));
}

/// Whatever it is, it is done though its completion was dropped, and a file lives as long as it takes.
async fn nobody_need_wait<D: Disk>(disk: &D) {
    let file = disk.open("waited", true).await.unwrap();
    make_dir(disk, "unwaited").await;
    drop(disk.submit(Op::MakeDir { path: "unwaited/made".to_owned() }));
    drop(disk.submit(Op::Rename { from: "waited".to_owned(), to: "unwaited/renamed".to_owned() }));
    while disk.list("unwaited").await.unwrap() != ["made", "renamed"] {
        tokio::task::yield_now().await;
    }
    drop(disk.submit(Op::Write { file: file.clone(), at: 0, data: vec!["written".into()], sync: true }));
    drop(disk.submit(Op::Sync { file }));
    let file = disk.open("unwaited/renamed", false).await.unwrap();
    while disk.read(&file, 0, 9).await.unwrap() != "written" {
        tokio::task::yield_now().await;
    }
    drop(disk.submit(Op::SetLength { file: file.clone(), len: 2 }));
    while disk.length(&file).await.unwrap() != 2 {
        tokio::task::yield_now().await;
    }
    drop(disk.submit(Op::Remove { path: "unwaited/renamed".to_owned() }));
    drop(disk.submit(Op::RemoveDir { path: "unwaited/made".to_owned() }));
    while !disk.list("unwaited").await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

/// Topic names are up to 249 bytes long, and the names of their folders longer.
async fn names_have_a_length<D: Disk>(disk: &D) {
    let longest = "é".repeat(127) + "n";
    assert_eq!(longest.len(), 255);
    make_dir(disk, &longest).await;
    disk.open(&format!("{longest}/{longest}"), true).await.unwrap();
    assert_eq!(disk.list(&longest).await.unwrap(), [longest.as_str()]);
    let longer = || longest.clone() + "g";
    for op in [
        Op::Open { path: longer(), create: true, direct: false },
        Op::Open { path: longer() + "/below", create: true, direct: false },
        Op::MakeDir { path: longer() },
        Op::Rename { from: longest.clone(), to: longer() },
        Op::Remove { path: longer() },
    ] {
        assert_eq!(disk.submit(op).await.unwrap_err().kind(), ErrorKind::InvalidFilename);
    }
}

/// No file is that long; asking for it is an error and changes nothing.
async fn files_have_an_end<D: Disk>(disk: &D) {
    let file = disk.open("far", true).await.unwrap();
    write(disk, &file, 0, &[b"near"], true).await.unwrap();
    for at in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1] {
        for sync in [false, true] {
            write(disk, &file, at, &[b"far"], sync).await.unwrap_err();
        }
        assert!(disk.read(&file, at, 10).await.unwrap().is_empty());
    }
    for len in [u64::MAX, 1 << 63] {
        disk.perform(Op::SetLength { file: file.clone(), len }).await.unwrap_err();
    }
    assert_eq!(disk.length(&file).await.unwrap(), 4);
}

/// A write that finds no room says so, whether it was to be synced or not; others go on once there is room again.
async fn a_full_device_is_told<D: Disk>(disk: &D, full: &str, other: &str) {
    let file = disk.open(full, true).await.unwrap();
    for sync in [false, true] {
        let data = vec![Bytes::from(vec![1; 9000])];
        let error = disk.perform(Op::Write { file: file.clone(), at: 0, data, sync }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }
    remove(disk, full).await.unwrap();
    let other = disk.open(other, true).await.unwrap();
    write(disk, &other, 0, &[b"room"], true).await.unwrap();
    assert_eq!(disk.read(&other, 0, 9).await.unwrap(), "room");
}

/// A sync that fails is told to whoever asked for it, also where the write before it went well.
async fn a_failed_sync_is_told<D: Disk>(disk: &D, failing: &str) {
    let file = disk.open(failing, true).await.unwrap();
    write(disk, &file, 0, &[b"unsynced"], false).await.unwrap();
    disk.perform(Op::Sync { file: file.clone() }).await.unwrap_err();
    write(disk, &file, 0, &[b"synced?"], true).await.unwrap_err();
    let both = [
        disk.submit(Op::Write { file: file.clone(), at: 8, data: vec!["and".into()], sync: true }),
        disk.submit(Op::Sync { file }),
    ];
    for completion in both {
        completion.await.unwrap_err();
    }
}

/// Both, over devices of the kernel's that behave like that: one that is always full, one that takes everything and
/// cannot be synced.
async fn faults_are_told<D: Disk>(disk: &D, directory: &Path) {
    std::os::unix::fs::symlink("/dev/full", directory.join("full")).unwrap();
    std::os::unix::fs::symlink("/dev/null", directory.join("null")).unwrap();
    a_full_device_is_told(disk, "full", "room").await;
    a_failed_sync_is_told(disk, "null").await;
}

#[test]
fn threads_tell_faults() {
    let directory = fresh_directory("threads-faults");
    on_a_shard(async { faults_are_told(&Blocking::open(directory.clone(), 2).unwrap(), &directory).await });
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_ring_tells_faults() {
    if ring_is_there() {
        let directory = fresh_directory("ring-faults");
        on_a_shard(async { faults_are_told(&Uring::open(directory.clone(), 1).unwrap(), &directory).await });
        std::fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn the_simulated_disk_tells_faults() {
    on_a_shard(async {
        let full = Parameters { capacity: Some(8192), ..Parameters::default() };
        a_full_device_is_told(&simulated_with(1, full), "full", "room").await;
        let failing = Parameters { sync_errors: 1_000_000, ..Parameters::default() };
        a_failed_sync_is_told(&simulated_with(2, failing), "failing").await;
    });
}

/// A write of which the file can hold only a part, `room` bytes in all: it is told, whether the kernel took that part or
/// nothing, and no byte of it stands anywhere else than where it was to. Reads then end where the file does.
async fn a_write_that_does_not_fit_is_told<D: Disk>(disk: &D, room: u64, kind: ErrorKind) {
    let some = |from: u64, len: usize| -> Bytes { (from..).take(len).map(|i| (i ^ (i >> 8)) as u8).collect() };
    for (n, (direct, sync)) in [(false, false), (false, true), (true, false), (true, true)].into_iter().enumerate() {
        let path = format!("short-{n}");
        let file = if direct { disk.open_direct(&path, true).await } else { disk.open(&path, true).await }.unwrap();
        let cached = disk.open(&path, false).await.unwrap();
        let begun = if direct { BLOCK } else { 1_000 };
        let op = |at, data| Op::Write { file: file.clone(), at, data, sync };
        disk.perform(op(0, vec![some(0, begun as usize)])).await.unwrap();
        // In many pieces, of which one is cut.
        let piece = if direct { BLOCK } else { 700 };
        let pieces = (begun..2 * room).step_by(piece as usize).map(|at| some(at, piece as usize));
        let error = disk.perform(op(begun, pieces.collect())).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{path}: {error}");
        let length = disk.length(&cached).await.unwrap();
        assert!((begun..=room).contains(&length), "{path} has {length} bytes");
        assert_eq!(disk.read(&cached, 0, 4 * room as usize).await.unwrap(), some(0, length as usize), "{path}");
        for len in [1, 2, 16 << 10, 1 << 20] {
            assert_eq!(disk.read(&cached, length - 1, len).await.unwrap(), some(length - 1, 1), "{path}");
            assert!(disk.read(&cached, length, len).await.unwrap().is_empty(), "{path}");
        }
        // What fits does.
        disk.perform(op(0, vec![some(7, begun as usize)])).await.unwrap();
        assert_eq!(disk.read(&cached, 0, begun as usize).await.unwrap(), some(7, begun as usize), "{path}");
        remove(disk, &path).await.unwrap();
    }
}

/// A process whose files may not be longer than this, and who is not killed for trying: there the kernel takes a part of
/// a write, and says so.
const LIMITED: &str = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";

/// How long a file of this process may become; `None` when there is no limit.
fn longest_file() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file size")).unwrap();
    line.split_whitespace().next().unwrap().parse().ok()
}

#[test]
#[ignore = "is run by the next one, in a process of its own"]
fn writes_within_a_limit() {
    let Some(room) = longest_file() else { return println!("skipped: files may be of any length") };
    let directory = fresh_directory("limit");
    let file = std::fs::File::create(directory.join("partial")).unwrap();
    let taken = std::os::unix::fs::FileExt::write_at(&file, &vec![1; 2 * room as usize], 0).unwrap();
    assert_eq!(taken as u64, room, "the kernel takes what fits");
    let told = ErrorKind::FileTooLarge;
    on_a_shard(async {
        a_write_that_does_not_fit_is_told(&Blocking::open(directory.clone(), 2).unwrap(), room, told).await;
    });
    if ring_is_there() {
        on_a_shard(async {
            a_write_that_does_not_fit_is_told(&Uring::open(directory.clone(), 1).unwrap(), room, told).await;
        });
    }
    std::fs::remove_dir_all(directory).unwrap();
    println!("held to {room} bytes");
}

#[test]
fn a_write_that_the_kernel_takes_in_part_is_told_by_each_driver() {
    let own = std::env::current_exe().unwrap();
    let only = ["--exact", "writes_within_a_limit", "--include-ignored", "--nocapture"];
    let out = std::process::Command::new("sh").args(["-c", LIMITED]).arg(own).args(only).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("held to "), "{said}");
    on_a_shard(async {
        let capacity = 32 << 10;
        let small = Parameters { capacity: Some(capacity), ..Parameters::default() };
        a_write_that_does_not_fit_is_told(&simulated_with(3, small), capacity, ErrorKind::StorageFull).await;
    });
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

/// An operation of the random test; files are named by the number of the `Open` that gave them, modulo their count.
#[derive(Clone, Debug)]
enum Step {
    Open(&'static str, bool),
    Write(usize, u64, Vec<Vec<u8>>, bool),
    Read(usize, u64, usize),
    Sync(usize),
    Length(usize),
    SetLength(usize, u64),
    Rename(&'static str, &'static str),
    Remove(&'static str),
    MakeDir(&'static str),
    RemoveDir(&'static str),
    List(&'static str),
    SyncDir(&'static str),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let path = || prop::sample::select(vec!["a", "b", "d", "d/a", "d/b", "e", "e/a"]);
    let at = || 0..2500u64;
    let pieces = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..4);
    let step = prop_oneof![
        3 => (path(), prop::bool::weighted(0.8)).prop_map(|(path, create)| Step::Open(path, create)),
        4 => (any::<usize>(), at(), pieces, any::<bool>()).prop_map(|(f, at, data, s)| Step::Write(f, at, data, s)),
        4 => (any::<usize>(), at(), 0..3000usize).prop_map(|(f, at, len)| Step::Read(f, at, len)),
        1 => any::<usize>().prop_map(Step::Sync),
        1 => any::<usize>().prop_map(Step::Length),
        1 => (any::<usize>(), at()).prop_map(|(f, len)| Step::SetLength(f, len)),
        3 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => path().prop_map(Step::Remove),
        3 => path().prop_map(Step::MakeDir),
        1 => path().prop_map(Step::RemoveDir),
        2 => prop_oneof![path(), Just("")].prop_map(Step::List),
        1 => prop_oneof![path(), Just("")].prop_map(Step::SyncDir),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a step gives, for comparison.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Nothing,
    File,
    Bytes(Vec<u8>),
    Length(u64),
    Names(Vec<String>),
    Error(ErrorKind),
}

fn seen<F>(result: &io::Result<Outcome<F>>) -> Seen {
    match result {
        Ok(Outcome::Nothing) => Seen::Nothing,
        Ok(Outcome::File(_)) => Seen::File,
        Ok(Outcome::Bytes(bytes)) => Seen::Bytes(bytes.to_vec()),
        Ok(Outcome::Length(len)) => Seen::Length(*len),
        Ok(Outcome::Names(names)) => Seen::Names(names.clone()),
        Ok(Outcome::Room { .. }) => unreachable!("no step asks for it"),
        Err(error) => Seen::Error(error.kind()),
    }
}

/// What a disk says to each step; a step on a file while none was opened is left out.
async fn run<D: Disk>(disk: &D, steps: &[Step]) -> Vec<Seen> {
    let mut files: Vec<D::File> = Vec::new();
    let mut answers = Vec::new();
    for step in steps {
        let Some(op) = op(step.clone(), &files) else { continue };
        let result = disk.submit(op).await;
        answers.push(seen(&result));
        if let Ok(Outcome::File(file)) = result {
            files.push(file);
        }
    }
    answers
}

fn op<F: Clone>(step: Step, files: &[F]) -> Option<Op<F>> {
    let file = |n: usize| files.get(n.checked_rem(files.len())?).cloned();
    Some(match step {
        Step::Open(path, create) => Op::Open { path: path.into(), create, direct: false },
        Step::Write(f, at, data, sync) => {
            Op::Write { file: file(f)?, at, data: data.into_iter().map(Bytes::from).collect(), sync }
        }
        Step::Read(f, at, len) => Op::Read { file: file(f)?, at, len },
        Step::Sync(f) => Op::Sync { file: file(f)? },
        Step::Length(f) => Op::Length { file: file(f)? },
        Step::SetLength(f, len) => Op::SetLength { file: file(f)?, len },
        Step::Rename(from, to) => Op::Rename { from: from.into(), to: to.into() },
        Step::Remove(path) => Op::Remove { path: path.into() },
        Step::MakeDir(path) => Op::MakeDir { path: path.into() },
        Step::RemoveDir(path) => Op::RemoveDir { path: path.into() },
        Step::List(path) => Op::List { path: path.into() },
        Step::SyncDir(path) => Op::SyncDir { path: path.into() },
    })
}

/// A file tree as naive as can be: whole paths, and the order in which Linux looks for errors.
#[derive(Default)]
struct Model {
    /// A directory, or the number of a content.
    tree: BTreeMap<String, Option<usize>>,
    contents: Vec<Vec<u8>>,
    files: Vec<usize>,
}

impl Model {
    fn run(steps: &[Step]) -> Vec<Seen> {
        let mut model = Model::default();
        steps.iter().filter_map(|step| model.step(step)).map(|seen| seen.unwrap_or_else(Seen::Error)).collect()
    }

    fn step(&mut self, step: &Step) -> Option<Result<Seen, ErrorKind>> {
        let file = |n: usize| self.files.get(n.checked_rem(self.files.len())?).copied();
        Some(Ok(match step {
            Step::Write(f, at, data, _) => {
                let content = &mut self.contents[file(*f)?];
                let data = data.concat();
                let at = *at as usize;
                if !data.is_empty() {
                    content.resize(content.len().max(at + data.len()), 0);
                    content[at..at + data.len()].copy_from_slice(&data);
                }
                Seen::Nothing
            }
            Step::Read(f, at, len) => {
                let content = &self.contents[file(*f)?];
                let at = (*at as usize).min(content.len());
                Seen::Bytes(content[at..content.len().min(at + len)].to_vec())
            }
            Step::Sync(f) => file(*f).map(|_| Seen::Nothing)?,
            Step::Length(f) => Seen::Length(self.contents[file(*f)?].len() as u64),
            Step::SetLength(f, len) => {
                self.contents[file(*f)?].resize(*len as usize, 0);
                Seen::Nothing
            }
            Step::Open(path, create) => return Some(self.open(path, *create)),
            Step::Rename(from, to) => return Some(self.rename(from, to)),
            Step::Remove(path) => match self.find(path) {
                Ok(Some(_)) => self.forget(path),
                Ok(None) => return Some(Err(ErrorKind::IsADirectory)),
                Err(kind) => return Some(Err(kind)),
            },
            Step::MakeDir(path) => match self.find(path) {
                Err(ErrorKind::NotFound) if self.parent(path).is_ok() => {
                    self.tree.insert((*path).to_owned(), None);
                    Seen::Nothing
                }
                Ok(None) => Seen::Nothing,
                Ok(Some(_)) => return Some(Err(ErrorKind::AlreadyExists)),
                Err(kind) => return Some(Err(kind)),
            },
            Step::RemoveDir(path) => match self.names(path) {
                Ok(names) if names.is_empty() => self.forget(path),
                Ok(_) => return Some(Err(ErrorKind::DirectoryNotEmpty)),
                Err(kind) => return Some(Err(kind)),
            },
            Step::List(path) => return Some(self.names(path).map(Seen::Names)),
            Step::SyncDir(path) => return Some(self.names(path).map(|_| Seen::Nothing)),
        }))
    }

    fn parent(&self, path: &str) -> Result<(), ErrorKind> {
        let Some((parent, _)) = path.rsplit_once('/') else { return Ok(()) };
        match self.tree.get(parent) {
            Some(None) => Ok(()),
            Some(Some(_)) => Err(ErrorKind::NotADirectory),
            None => Err(ErrorKind::NotFound),
        }
    }

    fn find(&self, path: &str) -> Result<Option<usize>, ErrorKind> {
        self.parent(path)?;
        self.tree.get(path).copied().ok_or(ErrorKind::NotFound)
    }

    fn names(&self, path: &str) -> Result<Vec<String>, ErrorKind> {
        let prefix = if path.is_empty() {
            String::new()
        } else if self.find(path)?.is_some() {
            return Err(ErrorKind::NotADirectory);
        } else {
            format!("{path}/")
        };
        let below = self.tree.keys().filter_map(|path| path.strip_prefix(&prefix));
        Ok(below.filter(|rest| !rest.contains('/')).map(str::to_owned).collect())
    }

    fn forget(&mut self, path: &str) -> Seen {
        self.tree.remove(path);
        Seen::Nothing
    }

    fn open(&mut self, path: &str, create: bool) -> Result<Seen, ErrorKind> {
        let number = match self.find(path) {
            Ok(None) => return Err(ErrorKind::IsADirectory),
            Ok(Some(number)) => number,
            Err(ErrorKind::NotFound) if create && self.parent(path).is_ok() => {
                self.contents.push(Vec::new());
                self.tree.insert(path.to_owned(), Some(self.contents.len() - 1));
                self.contents.len() - 1
            }
            Err(kind) => return Err(kind),
        };
        self.files.push(number);
        Ok(Seen::File)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<Seen, ErrorKind> {
        self.parent(from)?;
        self.parent(to)?;
        let moved = self.find(from)?;
        if to.starts_with(&format!("{from}/")) {
            return Err(ErrorKind::InvalidInput);
        }
        if from.starts_with(&format!("{to}/")) {
            return Err(ErrorKind::DirectoryNotEmpty);
        }
        match (moved, self.find(to)) {
            (Some(_), Ok(None)) => return Err(ErrorKind::IsADirectory),
            (None, Ok(Some(_))) => return Err(ErrorKind::NotADirectory),
            (None, Ok(None)) if from != to && !self.names(to)?.is_empty() => {
                return Err(ErrorKind::DirectoryNotEmpty);
            }
            _ => {}
        }
        let below = |path: &String| path == from || path.starts_with(&format!("{from}/"));
        let moving: Vec<String> = self.tree.keys().filter(|path| below(path)).cloned().collect();
        for path in moving {
            let entry = self.tree.remove(&path).unwrap();
            self.tree.insert(format!("{to}{}", &path[from.len()..]), entry);
        }
        Ok(Seen::Nothing)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_driver_agrees_with_the_model(steps in steps(), seed: u64) {
        let expected = Model::run(&steps);
        let simulated = on_a_shard(async { run(&simulated(seed), &steps).await });
        prop_assert_eq!(&simulated, &expected);
        let directory = fresh_directory("model");
        let threads = on_a_shard(async { run(&Blocking::open(directory.clone(), 2).unwrap(), &steps).await });
        std::fs::remove_dir_all(&directory).unwrap();
        prop_assert_eq!(&threads, &expected);
        if Uring::probe().is_ok() {
            std::fs::create_dir(&directory).unwrap();
            let ring = on_a_shard(async { run(&Uring::open(directory.clone(), 1).unwrap(), &steps).await });
            std::fs::remove_dir_all(&directory).unwrap();
            prop_assert_eq!(&ring, &expected);
        }
    }
}
