//! What a broker costs before anybody asks for anything: the time to its first acknowledged produce, and memory.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::process::Server;
use super::report::median;
use super::{Options, load};

/// Starts measured.
const STARTS: usize = 11;
/// Connections that rest.
const CONNECTIONS: usize = 2_000;
/// Partitions that rest, and how many a topic has.
const PARTITIONS: usize = 2_000;
const PARTITIONS_PER_TOPIC: usize = 500;
/// After so long a process is at rest.
const REST: Duration = Duration::from_secs(2);

/// From exec to the first produce that is acknowledged, synced, to a topic that was there.
pub(super) fn start(options: &Options) -> io::Result<()> {
    let data = options.data.join("start");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let first = Server::on(options, &data, free_address()?)?;
    runtime.block_on(load::first_produce(first.address()))?;
    first.stop()?;
    let mut took = Vec::new();
    for _ in 0..STARTS {
        let address = free_address()?;
        let begun = Instant::now();
        let starting = std::thread::spawn({
            let (options, data) = (options.clone(), data.clone());
            move || Server::on(&options, &data, address)
        });
        while runtime.block_on(load::one_produce(address)).is_err() {
            if starting.is_finished() && begun.elapsed() > Duration::from_secs(10) {
                return Err(io::Error::other("the broker does not acknowledge a produce"));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        took.push(1e3 * begun.elapsed().as_secs_f64());
        starting.join().map_err(|_| io::Error::other("the start panicked"))??.stop()?;
    }
    let least = took.iter().copied().fold(f64::INFINITY, f64::min);
    let most = took.iter().copied().fold(0.0, f64::max);
    println!(
        "start          {:.1} ms from exec to the first acknowledged produce ({least:.1}..{most:.1})",
        median(took)
    );
    Ok(())
}

/// Resident bytes at rest: of a broker, of a connection, of a partition.
pub(super) fn memory(options: &Options) -> io::Result<()> {
    let data = options.data.join("memory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server = Server::on(options, &data, free_address()?)?;
    runtime.block_on(load::first_produce(server.address()))?;
    std::thread::sleep(REST);
    let idle = server.resident_bytes()?;
    let connections = runtime.block_on(async {
        let mut connections = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            connections.push(load::idle_connection(server.address()).await?);
        }
        Ok::<_, io::Error>(connections)
    })?;
    std::thread::sleep(REST);
    let connected = server.resident_bytes()?;
    drop(connections);
    runtime.block_on(async {
        for topic in 0..PARTITIONS / PARTITIONS_PER_TOPIC {
            load::create(&format!("idle-{topic}"), PARTITIONS_PER_TOPIC, true, server.address()).await?;
        }
        Ok::<_, io::Error>(())
    })?;
    server.stop()?;
    let without = at_rest(options, "without")?;
    let server = Server::on(options, &data, free_address()?)?;
    std::thread::sleep(REST);
    let with = server.resident_bytes()?;
    let each = |more: u64, less: u64, of: usize| more.saturating_sub(less) as f64 / of as f64;
    println!(
        "memory         {:.1} MB at rest, {:.0} bytes a resting connection ({CONNECTIONS} of them), {:.0} bytes a resting partition ({PARTITIONS})",
        idle as f64 / 1e6,
        each(connected, idle, CONNECTIONS),
        each(with, without, PARTITIONS)
    );
    server.stop()
}

/// Resident bytes of a broker that was started again with one partition.
fn at_rest(options: &Options, name: &str) -> io::Result<u64> {
    let data = options.data.join(name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server = Server::on(options, &data, free_address()?)?;
    runtime.block_on(load::first_produce(server.address()))?;
    server.stop()?;
    let server = Server::on(options, &data, free_address()?)?;
    std::thread::sleep(REST);
    let bytes = server.resident_bytes()?;
    server.stop()?;
    Ok(bytes)
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
