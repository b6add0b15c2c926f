//! Apache Kafka as a server of a round: one process, broker and controller, from its jars, on the same core.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Options;
use super::load;
use super::process::Server;

/// Any id does; it is of the length that Kafka wants.
const CLUSTER_ID: &str = "a2xhbW0tYmVuY2gtMDAwMA";
/// As large as the baseline of other measurements.
const HEAP: &str = "-Xmx768m";
/// How long it may take to serve.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a directory has what Kafka is started from.
///
/// # Errors
/// When it has not, or cannot be read.
pub(super) fn has_jars(libs: &Path) -> io::Result<()> {
    let said = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", libs.display()));
    for entry in std::fs::read_dir(libs).map_err(said)? {
        if entry?.file_name().to_string_lossy().starts_with("kafka-server-") {
            return Ok(());
        }
    }
    Err(said(io::Error::new(io::ErrorKind::NotFound, "no jars of a Kafka broker")))
}

/// Starts Kafka with new data, and waits until it answers.
pub(super) fn start(options: &Options) -> io::Result<Server> {
    let libs = options.kafka.as_deref().expect("asked for with its jars only");
    let folder = options.data.join("kafka");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder)?;
    let (address, controller) = (free_port()?, free_port()?);
    let properties = folder.join("server.properties");
    std::fs::write(&properties, config(&folder, address, controller))?;
    let mut format = java(libs);
    format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(&properties);
    if !format.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
        return Err(io::Error::other("Kafka's data directory cannot be formatted"));
    }
    let mut command = java(libs);
    command.arg(HEAP).arg("kafka.Kafka").arg(&properties);
    let server = Server::of(command, address)?;
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    while runtime.block_on(load::idle_connection(address)).is_err() {
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::other("Kafka does not serve"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // It serves before its own metadata has settled.
    std::thread::sleep(Duration::from_secs(2));
    Ok(server)
}

fn java(libs: &Path) -> Command {
    let mut command = Command::new("java");
    command.arg("-cp").arg(libs.join("*"));
    command
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn config(folder: &Path, address: SocketAddr, controller: SocketAddr) -> String {
    [
        "process.roles=broker,controller".to_owned(),
        "node.id=1".to_owned(),
        format!("controller.quorum.voters=1@{controller}"),
        format!("listeners=PLAINTEXT://{address},CONTROLLER://{controller}"),
        "controller.listener.names=CONTROLLER".to_owned(),
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned(),
        format!("log.dirs={}", folder.join("data").display()),
        "offsets.topic.replication.factor=1".to_owned(),
    ]
    .join("\n")
}
