//! A full device, a sync that fails, a file that may not be longer: whoever asked is told, by every driver.

use super::{fresh_directory, on_a_shard, remove, ring_is_there, simulated_with, write};
use bytes::Bytes;
use klamm::disk::{Blocking, Uring};
use klamm::host::{BLOCK, Disk, Op};
use klamm_sim::disk::Parameters;
use std::io::ErrorKind;
use std::path::Path;

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
    let only = ["--exact", "faults::writes_within_a_limit", "--include-ignored", "--nocapture"];
    let out = std::process::Command::new("sh").args(["-c", LIMITED]).arg(own).args(only).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("held to "), "{said}");
    on_a_shard(async {
        let capacity = 32 << 10;
        let small = Parameters { capacity: Some(capacity), ..Parameters::default() };
        a_write_that_does_not_fit_is_told(&simulated_with(3, small), capacity, ErrorKind::StorageFull).await;
    });
}
