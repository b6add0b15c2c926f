//! What is said of a run that failed, on one screen, and the files beside it: the decisions, to be replayed, and the
//! trace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::decisions::{DISK_FAULTS, Decisions, Fault, File, Kind, Sizes};
use crate::direct::harm;
use crate::properties::sentence;
use crate::report::{Report, Verdict};

/// Where the files of failures are, under the directory that the command runs in.
pub(super) const FOLDER: &str = "target/klamm-sim";
/// So many faults are named.
const NAMED: usize = 4;

/// The commit of the sources here, if that can be known.
pub(super) fn commit() -> String {
    let told = Command::new("git").args(["describe", "--always", "--dirty", "--exclude", "*"]).output();
    let told = told.ok().filter(|out| out.status.success());
    told.map_or_else(|| "unknown".to_owned(), |out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Fills in what a file says of the run that it is of.
pub(super) fn entitle(file: &mut File, report: &Report) {
    file.commit = commit();
    file.property = report.property().unwrap_or_default().to_owned();
    file.digest = format!("{:016x}", report.digest);
}

/// Writes a file of decisions, and the trace of its run beside it.
pub(super) fn write(name: &str, file: &File, trace: &[String]) -> io::Result<(PathBuf, PathBuf)> {
    fs::create_dir_all(FOLDER)?;
    let (decisions, traced) =
        (Path::new(FOLDER).join(format!("{name}.json")), Path::new(FOLDER).join(format!("{name}.trace")));
    fs::write(&decisions, file.text())?;
    fs::write(&traced, trace.join("\n") + "\n")?;
    Ok((decisions, traced))
}

/// Prints the screen.
pub(super) fn print(report: &Report, file: &File, files: &(PathBuf, PathBuf), took: Duration, same: bool) {
    match &report.verdict {
        Verdict::Unsafe(v) => {
            println!("VIOLATED  {}: {}", v.property, sentence(v.property));
            println!("  fact     {}", v.fact);
            println!("  against  {}", v.contradiction);
        }
        Verdict::Stuck(what) => println!("STUCK     {}\n  waits    {what}", sentence("stuck")),
        Verdict::Inconclusive(what) => println!("INCONCLUSIVE  {what}"),
        Verdict::Clean => println!("clean     it does not fail"),
    }
    let at = Duration::from_nanos(report.simulated_ns).as_secs_f64();
    let steps = report.counters.get("steps").copied().unwrap_or_default();
    let File { seed, engine, commit, of, decisions, .. } = file;
    println!(
        "  run      seed {seed}, engine {engine}, commit {commit}; ends at {at:.6} s, step {steps}, after {took:.1?}"
    );
    let parameters: Vec<String> = decisions.parameters.iter().map(|(name, value)| format!("{name} {value}")).collect();
    println!("  with     {}", cut(&parameters.join(", "), 200));
    let Sizes { faults, turns, fates } = decisions.sizes();
    let mut named = named(decisions);
    let more = named.len().saturating_sub(NAMED);
    named.truncate(NAMED);
    named.extend((more > 0).then(|| format!("{more} more")));
    println!("  faults   {faults} of {} kept: {}", of.faults, named.join("; "));
    println!(
        "  load     {turns} of {} turns of clients, {fates} of {} fates of messages and writes",
        of.turns, of.fates
    );
    println!("  replay   cargo run --release -p klamm-sim -- replay {}", files.0.display());
    println!("  trace    {}", files.1.display());
    println!("  digest   {:016x}, twice: {}", report.digest, if same { "identical" } else { "DIFFERENT" });
}

/// What goes wrong, those things with a time first.
fn named(decisions: &Decisions) -> Vec<String> {
    let mut named: Vec<String> = decisions.faults.iter().map(fault).collect();
    for site in DISK_FAULTS {
        let of = || decisions.fates.get(*site).into_iter().flatten();
        if site.ends_with("harm") {
            let harms = of().filter_map(|(_, drawn)| harm(site, *drawn));
            named.extend(harms.map(|kind| format!("{}, once all was read back", kind.name())));
        } else if of().next().is_some() {
            named.push(format!("{} of {site}", of().count()));
        }
    }
    named
}

fn fault(fault: &Fault) -> String {
    let at = Duration::from_nanos(fault.at).as_secs_f64();
    let down = Duration::from_nanos(fault.down).as_secs_f64();
    let Fault { target, amount, .. } = fault;
    match fault.kind {
        Kind::Kill => format!("killed at {at:.3} s, down {down:.3} s"),
        Kind::PowerLoss => format!("lost power at {at:.3} s, down {down:.3} s"),
        Kind::Cut if fault.down == 0 => format!("a connection cut at {at:.3} s"),
        Kind::Cut => format!("links cut at {at:.3} s for {down:.3} s"),
        Kind::Hold => format!("links held at {at:.3} s for {down:.3} s"),
        Kind::Stop => format!("told to stop at {at:.3} s"),
        Kind::Full => format!("room for {amount} bytes at {at:.3} s for {down:.3} s"),
        Kind::Room => format!("room again at {at:.3} s"),
        Kind::Evict => format!("pages evicted at {at:.3} s"),
        Kind::Rot => format!("bit {amount} of {target} flips at {at:.3} s"),
        Kind::Unreadable => format!("byte {amount} of {target} unreadable at {at:.3} s"),
        Kind::Pause => format!("stands still at {at:.3} s for {down:.3} s"),
        Kind::ClockStep if *amount == 0 => format!("wall clock set at {at:.3} s"),
        Kind::ClockStep => format!("wall clock {amount} ms off at {at:.3} s"),
        Kind::LoseWrite => format!("the next write to {target} lost, at {at:.3} s"),
        Kind::Misdirect => format!("the next write to {target} goes to {amount}, at {at:.3} s"),
        Kind::LoseFolder => format!("{target} removed at {at:.3} s"),
        Kind::Wipe => format!("disk wiped at {at:.3} s"),
        Kind::OldCopy => format!("an old copy comes back at {at:.3} s"),
        Kind::CutUp => format!("requests lost at {at:.3} s for {down:.3} s"),
        Kind::CutDown => format!("answers lost at {at:.3} s for {down:.3} s"),
        Kind::PauseClients => format!("clients stood still at {at:.3} s for {down:.3} s"),
        Kind::Slow => format!("disk slow at {at:.3} s for {down:.3} s"),
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harm_is_named_and_errors_are_counted() {
        let mut decisions = Decisions { faults: vec![Fault::new(5_000_000, 1, Kind::Stop)], ..Decisions::default() };
        let mut fates = |site: &str, of: &[(u64, u64)]| {
            decisions.fates.insert(site.to_owned(), of.iter().copied().collect());
        };
        fates("harm", &[(0, 1), (1, 9), (2, 5)]);
        fates("last harm", &[(0, 3)]);
        fates("sync error", &[(7, 1), (8, 1)]);
        let after = |what: &str| format!("{what}, once all was read back");
        let all =
            ["told to stop at 0.005 s", "2 of sync error", &after("rot"), &after("lost folder"), &after("old copy")];
        assert_eq!(named(&decisions), all);
    }
}
