//! The command line. Data goes to stdout, talk to stderr; an error says what, why and what to do, in one sentence.

mod bench;
mod broker;
mod consume;
mod data_dir;
mod dev;
mod dump_log;
mod format;
mod output;
mod produce;
mod properties;
mod settings;
mod start;
mod topic;

use crate::client::{Client, Error};
use clap::{Parser, Subcommand};
use klamm_core::wire::error;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// A log that Kafka clients use unmodified.
#[derive(Parser)]
#[command(name = "klamm", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a broker of its own on this machine.
    Dev(dev::Args),
    /// Run a broker from Kafka's `server.properties`.
    Start(start::Args),
    /// Create, list, describe, change and delete topics of any cluster.
    #[command(subcommand)]
    Topic(topic::Command),
    /// Produce lines of stdin, or files, as records.
    Produce(produce::Args),
    /// Print the records of a topic.
    Consume(consume::Args),
    /// Print what is in files of a log: .log, .index, .timeindex.
    DumpLog(dump_log::Args),
    /// Measure this broker beside floors of the same client shape.
    Bench(bench::Args),
    /// A floor of `bench`, started by it.
    #[command(hide = true)]
    BenchFloor(bench::FloorArgs),
    /// Print the version.
    Version,
}

/// What went wrong, and the exit code that says so to scripts (`sysexits.h` from 64 on; 2 is clap's, usage).
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn failed(message: impl Into<String>) -> Failure {
        Failure { code: 1, message: message.into() }
    }

    fn usage(message: impl Into<String>) -> Failure {
        Failure { code: 2, message: message.into() }
    }

    fn not_found(message: impl Into<String>) -> Failure {
        Failure { code: 3, message: message.into() }
    }

    fn refused(message: impl Into<String>) -> Failure {
        Failure { code: 4, message: message.into() }
    }

    fn unreachable(message: impl Into<String>) -> Failure {
        Failure { code: 5, message: message.into() }
    }

    fn data_dir(message: impl Into<String>) -> Failure {
        Failure { code: 74, message: message.into() }
    }

    fn locked(message: impl Into<String>) -> Failure {
        Failure { code: 75, message: message.into() }
    }

    fn configuration(message: impl Into<String>) -> Failure {
        Failure { code: 78, message: message.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        match error {
            Error::Unreachable(_) => Failure::unreachable(message),
            Error::Unsupported(_) | Error::Malformed(_) => Failure::failed(message),
            Error::Code(code, _) => match code {
                error::UNKNOWN_TOPIC_OR_PARTITION | error::UNKNOWN_TOPIC_ID | error::RESOURCE_NOT_FOUND => {
                    Failure::not_found(message)
                }
                error::REQUEST_TIMED_OUT => Failure::unreachable(message),
                error::UNKNOWN_SERVER_ERROR | error::KAFKA_STORAGE_ERROR => Failure::failed(message),
                _ => Failure::refused(message),
            },
        }
    }
}

/// Which cluster a verb is about.
#[derive(Clone, clap::Args)]
struct Cluster {
    /// Brokers to ask first, as HOST:PORT, with commas between.
    #[arg(short, long, value_name = "SERVERS", default_value = "127.0.0.1:9092")]
    bootstrap_server: String,
}

impl Cluster {
    /// Does something with a client of it.
    fn run(&self, work: impl AsyncFnOnce(&mut Client) -> Result<(), Failure>) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
        runtime.block_on(async { work(&mut Client::connect(&self.bootstrap_server).await?).await })
    }
}

/// Runs the command that the process was started with. `give_back` returns to the system what memory the calling thread
/// and the process do not use.
#[must_use]
pub fn main(give_back: fn()) -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
    let done = match cli.command {
        Command::Dev(args) => dev::run(args, give_back),
        Command::Start(args) => start::run(&args, give_back),
        Command::Topic(command) => topic::run(command),
        Command::Produce(args) => produce::run(&args),
        Command::Consume(args) => consume::run(&args),
        Command::DumpLog(args) => dump_log::run(&args),
        Command::Bench(args) => bench::run(args),
        Command::BenchFloor(args) => bench::serve_floor(&args),
        Command::Version => {
            println!("klamm {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            eprintln!("klamm: {message}");
            ExitCode::from(code)
        }
    }
}
