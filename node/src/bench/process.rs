//! The measured servers: this same program as child processes, pinned to core 0; the load keeps core 1.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Sub;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::{FloorKind, Options};

/// Clock ticks of `/proc/PID/stat` a second, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A server under load; killed when dropped.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
    /// Where it has its metrics.
    metrics: Option<SocketAddr>,
}

/// Bytes that a server sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentBytes {
    by_sendfile: f64,
    copied: f64,
}

impl SentBytes {
    /// The share that left by `sendfile`.
    pub(super) fn share(self) -> f64 {
        self.by_sendfile / (self.by_sendfile + self.copied)
    }
}

impl Sub for SentBytes {
    type Output = SentBytes;

    fn sub(self, other: SentBytes) -> SentBytes {
        SentBytes { by_sendfile: self.by_sendfile - other.by_sendfile, copied: self.copied - other.copied }
    }
}

impl Server {
    /// A broker with new data.
    pub(super) fn broker(options: &Options) -> io::Result<Server> {
        let data = options.data.join("broker");
        let _ = std::fs::remove_dir_all(&data);
        Server::on(options, &data, "127.0.0.1:0".parse().expect("an address"))
    }

    /// A broker on a directory that may have data.
    pub(super) fn on(options: &Options, data: &Path, listen: SocketAddr) -> io::Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["dev", "--shards", "1", "--http", "127.0.0.1:0", "--disk", &options.disk]);
        command.arg("--listen").arg(listen.to_string()).arg("--data").arg(data);
        Server::start(command)
    }

    pub(super) fn floor(options: &Options, kind: FloorKind) -> io::Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bench-floor").arg(kind.name()).arg(options.data.join("floor"));
        Server::start(command)
    }

    /// Starts a server that says on standard error where it serves; what it says later is read and dropped.
    fn start(command: Command) -> io::Result<Server> {
        let mut child = pinned(command)?;
        let mut said = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let line = said.by_ref().map_while(Result::ok).find(|line| address_in(line).is_some());
        match line.as_deref().and_then(|line| Some((line, address_in(line)?))) {
            Some((line, address)) => {
                let metrics = line.split_once("http://").and_then(|(_, at)| at.split('/').next()?.parse().ok());
                std::thread::spawn(move || said.for_each(drop));
                Ok(Server { child, address, metrics })
            }
            None => Err(io::Error::other(format!("a server ended before it served: {}", child.wait()?))),
        }
    }

    /// Around a process that will serve at an address.
    pub(super) fn of(command: Command, address: SocketAddr) -> io::Result<Server> {
        let mut child = pinned(command)?;
        let said = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        std::thread::spawn(move || said.for_each(drop));
        Ok(Server { child, address, metrics: None })
    }

    /// Asks it to stop, and waits.
    pub(super) fn stop(mut self) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process has an id");
        kill_process(pid, Signal::TERM)?;
        self.child.wait().map(drop)
    }

    /// Bytes of memory that it occupies.
    pub(super) fn resident_bytes(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let kib: u64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_default();
        Ok(kib << 10)
    }

    /// What it has sent so far, if it has metrics.
    pub(super) fn sent_bytes(&self) -> io::Result<Option<SentBytes>> {
        let Some(at) = self.metrics else { return Ok(None) };
        let mut stream = TcpStream::connect(at)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let value = |way: &str| {
            let name = format!("klamm_sent_bytes_total{{way=\"{way}\"}}");
            let line = page.lines().find_map(|line| line.strip_prefix(&name));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
        };
        Ok(Some(SentBytes { by_sendfile: value("sendfile"), copied: value("copied") }))
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

/// Starts a process on core 0; this thread goes on on core 1, where there is one.
fn pinned(mut command: Command) -> io::Result<Child> {
    pin(0)?;
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    if let Err(Errno::INVAL) = pin(1) {
        tracing::warn!("one core for server and load: what is measured is both");
    }
    child
}

/// Pins this thread, and what it starts, to a core.
fn pin(core: usize) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)
}
