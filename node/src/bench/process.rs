//! The measured servers: this same program as child processes, pinned to core 0; the load keeps core 1.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::thread::{CpuSet, sched_setaffinity};

use super::{FloorKind, Options};

/// Clock ticks of `/proc/PID/stat` a second, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A server under load; killed when dropped.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    pub(super) fn broker(options: &Options) -> io::Result<Server> {
        let data = options.data.join("broker");
        let _ = std::fs::remove_dir_all(&data);
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["dev", "--listen", "127.0.0.1:0", "--shards", "1", "--disk", &options.disk, "--data"]).arg(&data);
        Server::start(command)
    }

    pub(super) fn floor(options: &Options, kind: FloorKind) -> io::Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bench-floor").arg(kind.name()).arg(options.data.join("floor"));
        Server::start(command)
    }

    /// Starts a server that says on standard error where it serves; what it says later is read and dropped.
    fn start(mut command: Command) -> io::Result<Server> {
        pin(0)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        pin(1)?;
        let mut child = child?;
        let mut said = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let address = said.by_ref().map_while(Result::ok).find_map(|line| address_in(&line));
        match address {
            Some(address) => {
                std::thread::spawn(move || said.for_each(drop));
                Ok(Server { child, address })
            }
            None => Err(io::Error::other(format!("a server ended before it served: {}", child.wait()?))),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time of all its threads so far, io_uring's kernel workers included.
    pub(super) fn cpu_seconds(&self) -> io::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        // After the name: state is field 3, utime 14, stime 15.
        let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum();
        Ok(ticks / TICKS_PER_SECOND)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a line like "klamm serves Kafka on ADDRESS, data in ...".
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, after) = line.split_once(" serves ")?;
    after.split_whitespace().find_map(|word| word.trim_matches(',').parse().ok())
}

/// Pins this thread, and what it starts, to a core, where there are two.
fn pin(core: usize) -> io::Result<()> {
    if std::thread::available_parallelism()?.get() < 2 && core > 0 {
        return Ok(());
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}
