//! `klamm-sim replay` runs a file of decisions, `klamm-sim shrink` leaves out of it what its failure does not need. So
//! does what `run` and `campaign` say of a seed that failed.

use std::fs;
use std::io::{self, IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;

use super::screen;
use super::{DIFFERENT, EngineName, USAGE};
use crate::decisions::{Decisions, File};
use crate::report::Report;
use crate::shrink;

#[derive(clap::Args)]
pub(super) struct Replay {
    /// A file of decisions.
    file: PathBuf,
    /// Print a line for each step of each shard.
    #[arg(long)]
    trace: bool,
}

#[derive(clap::Args)]
pub(super) struct Shrink {
    /// A file of decisions.
    file: PathBuf,
    /// Runs to try, at most.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    runs: u64,
}

fn read(path: &Path) -> Result<(EngineName, File), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let file = File::parse(&text)?;
    match EngineName::from_str(&file.engine, false) {
        Ok(engine) => Ok((engine, file)),
        Err(_) => Err(format!("there is no engine {:?}", file.engine)),
    }
}

fn refused(path: &Path, why: &str) -> u8 {
    eprintln!("klamm-sim: {}: {why}", path.display());
    USAGE
}

pub(super) fn replay(args: &Replay) -> u8 {
    let (engine, file) = match read(&args.file) {
        Ok(read) => read,
        Err(why) => return refused(&args.file, &why),
    };
    let (report, _, (unused, of)) = engine.replay(file.seed, &file.decisions, args.trace);
    let (again, _, _) = engine.replay(file.seed, &file.decisions, false);
    // A reader that has seen enough (`| head`) ends the printing, not the verdict.
    let _ = print(&report, &args.file);
    if unused > 0 {
        println!("  {unused} of {of} decisions were not asked for: the code has changed since, or the file");
    }
    let digest = format!("{:016x}", report.digest);
    if digest != file.digest {
        println!("  recorded at commit {}: {}, digest {}", file.commit, file.property, file.digest);
    }
    if again.digest != report.digest {
        println!("DIFFERENT  digest {digest}, and {:016x} the second time", again.digest);
        return DIFFERENT;
    }
    report.exit_code()
}

/// What came of a file: the line that runs it again names the file, not the seed.
fn print(report: &Report, file: &Path) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let text = report.to_string();
    for line in report.trace.iter().map(String::as_str).chain(text.lines().filter(|line| !line.contains("replay:"))) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "  replay: cargo run --release -p klamm-sim -- replay {}", file.display())
}

pub(super) fn shrink(args: &Shrink) -> u8 {
    let (engine, file) = match read(&args.file) {
        Ok(read) => read,
        Err(why) => return refused(&args.file, &why),
    };
    let name = args.file.file_stem().map_or_else(|| "shrunk".into(), |stem| stem.to_string_lossy().into_owned());
    let (report, _, _) = engine.replay(file.seed, &file.decisions, false);
    if report.property().is_none() {
        println!("{report}");
        return refused(&args.file, "it does not fail, so there is nothing to shrink");
    }
    smaller(&name, (engine, file), &report, args.runs)
}

/// Says on one screen what a failed run comes down to, and leaves its decisions and its trace in files.
/// Gives the exit code.
pub(super) fn fail(report: &Report) -> u8 {
    let engine = EngineName::from(report.engine);
    let (again, decisions) = engine.record(report.seed);
    if again.digest != report.digest {
        println!("DIFFERENT  digest {:016x}, and {:016x} the second time\n{report}", report.digest, again.digest);
        return DIFFERENT;
    }
    let name = format!("{}-{}", report.engine, report.seed);
    let file = File::new(&report.engine.to_string(), report.seed, decisions);
    smaller(&name, (engine, file), report, engine.patience())
}

fn smaller(name: &str, (engine, mut file): (EngineName, File), report: &Report, runs: u64) -> u8 {
    let started = Instant::now();
    let property = report.property().expect("a run that failed");
    let watched = stderr().is_terminal();
    let mut ran = 0;
    let mut run = |decisions: &Decisions| {
        ran += 1;
        if watched {
            eprint!("\rshrinking: run {ran}, {} decisions ", decisions.items().count());
            // A terminal that takes nothing has nobody watching.
            let _ = stderr().flush();
        }
        let (report, used, _) = engine.replay(file.seed, decisions, false);
        (report.property().map(str::to_owned), used)
    };
    let shrunk = shrink::shrink(&file.decisions, property, runs, &mut run);
    if watched {
        eprintln!();
    }
    let Some(shrunk) = shrunk else {
        println!("DIFFERENT  what was decided, replayed, does not fail in the same way\n{report}");
        return DIFFERENT;
    };
    file.decisions = shrunk.decisions;
    let (smaller, _, _) = engine.replay(file.seed, &file.decisions, true);
    let (again, _, _) = engine.replay(file.seed, &file.decisions, false);
    screen::entitle(&mut file, &smaller);
    match screen::write(name, &file, &smaller.trace) {
        Ok(files) => screen::print(&smaller, &file, &files, started.elapsed(), again.digest == smaller.digest),
        Err(error) => eprintln!("klamm-sim: {}: {error}\n{smaller}", screen::FOLDER),
    }
    if again.digest == smaller.digest { smaller.exit_code() } else { DIFFERENT }
}
