//! One suite for every driver of the `Disk` trait: threads, the ring, the simulated disk. What a shard's files may rely
//! on is here; what differs between drivers (speed, what survives a crash) is not.

#![allow(clippy::unwrap_used, reason = "a test")]

mod drivers;
mod faults;
mod files;
mod model;

use bytes::Bytes;
use klamm::disk::Uring;
use klamm::host::{Disk, Op};
use klamm_sim::disk::{Device, Parameters, SimDisk, SimDiskHandle};
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

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
