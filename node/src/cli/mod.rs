//! The command line. Data goes to stdout, talk to stderr; an error says what, why and what to do, in one sentence.

mod bench;
mod broker;
mod data_dir;
mod dev;
mod properties;
mod settings;
mod start;

use clap::{Parser, Subcommand};
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

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
    let done = match cli.command {
        Command::Dev(args) => dev::run(args),
        Command::Start(args) => start::run(&args),
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
