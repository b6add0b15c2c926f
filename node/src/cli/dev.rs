//! `klamm dev`: a broker of its own, on one machine, without a file.

use super::settings::{Http, Origin, Settings, host_and_port, key_value};
use super::{Failure, broker};
use crate::disk::Driver;
use clap::ValueEnum;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the data lives; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "klamm-data")]
    data: PathBuf,
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9092")]
    listen: SocketAddr,
    /// What clients are told to connect to, if not the address listened on.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    advertise: Option<(String, u16)>,
    /// How many shards, each a thread; as many as there are cores if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    shards: Option<u16>,
    /// How the disk is driven.
    #[arg(long, value_name = "DRIVER", value_enum, default_value = "auto")]
    disk: DiskDriver,
    /// Where /metrics, /livez and /readyz are: an address, or off. Port 9404 of this machine if not given; where another
    /// broker has that, a free port.
    #[arg(long, value_name = "ADDR")]
    http: Option<Http>,
    /// A broker config by Kafka's key, as it could stand in `server.properties`.
    #[arg(long = "override", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
}

#[derive(Clone, Copy, ValueEnum)]
enum DiskDriver {
    /// io_uring where the kernel allows it, else threads.
    Auto,
    /// io_uring.
    Uring,
    /// Threads.
    Blocking,
}

/// Runs a broker until it is told to stop.
pub(super) fn run(args: Args, give_back: fn()) -> Result<(), Failure> {
    let driver = match args.disk {
        DiskDriver::Auto => Driver::Auto,
        DiskDriver::Uring => Driver::Uring,
        DiskDriver::Blocking => Driver::Blocking,
    };
    let Args { data, listen, advertise: advertised, shards, http, overrides, .. } = args;
    let http = http.unwrap_or(Http::Default);
    let mut settings = Settings { data, listen, advertised, shards, driver, http, ..Settings::default() };
    for (key, value) in &overrides {
        settings.set(key, value, &Origin::CommandLine)?;
    }
    settings.finish()?;
    broker::run(&settings, give_back)
}
