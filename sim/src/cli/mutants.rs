//! `klamm-sim mutants`: is the simulator strong? A copy of the sources gets one planted bug (`sim/mutants/NAME.patch`), is
//! built, and campaigns must find it: both engines by turns, over fresh ranges of seeds, the same for every bug. All that
//! they use until then counts. One range may be lucky: the median of several is what is reported.
//!
//! The copy and what is built of it stay under `target/mutants`, so that the next bug costs one incremental build.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Seeds of one engine before it is the other one's turn.
const TURN: u64 = 25;
/// Hunts begin so many seeds apart.
const APART: u64 = 100_000;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The planted bugs to look for, by name; all of them if none is given.
    names: Vec<String>,
    /// A patch from elsewhere.
    #[arg(long, value_name = "FILE", conflicts_with = "names")]
    patch: Option<PathBuf>,
    /// Seeds of each engine to look with, at most.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    seeds: u64,
    /// How often to look, each time with other seeds.
    #[arg(long, value_name = "N", default_value_t = 3)]
    times: u64,
    /// Only see that every patch applies and compiles.
    #[arg(long)]
    check: bool,
}

/// A planted bug.
struct Mutant {
    name: String,
    patch: PathBuf,
}

pub(super) fn run(args: &Args) -> io::Result<u8> {
    let root = PathBuf::from(said(Command::new("git").args(["rev-parse", "--show-toplevel"]))?);
    let mutants = find(args, &root)?;
    let tree = Tree { root: root.clone(), copy: root.join("target/mutants/tree") };
    let mut missed = false;
    for mutant in &mutants {
        tree.restore()?;
        tree.apply(&mutant.patch)?;
        let outcome = if args.check {
            tree.cargo("check")?;
            "applies and compiles".to_owned()
        } else {
            tree.cargo("build")?;
            let hunts = (0..args.times).map(|n| tree.hunt(n * APART, args.seeds)).collect::<io::Result<Vec<_>>>()?;
            let (is_missed, told) = median(hunts);
            missed |= is_missed;
            told
        };
        println!("{:<28} {outcome}", mutant.name);
    }
    tree.restore()?;
    Ok(u8::from(missed))
}

fn find(args: &Args, root: &Path) -> io::Result<Vec<Mutant>> {
    let named = |patch: PathBuf| {
        let name = patch.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Mutant { name, patch }
    };
    if let Some(patch) = &args.patch {
        return Ok(vec![named(fs::canonicalize(patch)?)]);
    }
    let folder = root.join("sim/mutants");
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            all.push(named(path));
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(unknown) = args.names.iter().find(|name| all.iter().all(|mutant| mutant.name != **name)) {
        return Err(io::Error::other(format!("there is no {unknown}.patch in {}", folder.display())));
    }
    all.retain(|mutant| args.names.is_empty() || args.names.contains(&mutant.name));
    if all.is_empty() {
        return Err(io::Error::other(format!("there is no patch in {}", folder.display())));
    }
    Ok(all)
}

/// The sources, and a copy of them to plant bugs in.
struct Tree {
    root: PathBuf,
    copy: PathBuf,
}

impl Tree {
    /// Makes the copy equal to the sources. What is equal is not touched, so that it is not built anew.
    fn restore(&self) -> io::Result<()> {
        let listed = ["ls-files", "--cached", "--others", "--exclude-standard"];
        let tracked = said(Command::new("git").current_dir(&self.root).args(listed))?;
        let tracked: BTreeSet<PathBuf> =
            tracked.lines().map(PathBuf::from).filter(|path| self.root.join(path).is_file()).collect();
        for path in &tracked {
            let (from, to) = (self.root.join(path), self.copy.join(path));
            let bytes = fs::read(&from)?;
            if fs::read(&to).ok().as_ref() != Some(&bytes) {
                fs::create_dir_all(to.parent().expect("a file is in a directory"))?;
                fs::write(&to, bytes)?;
            }
        }
        self.sweep(&self.copy, &tracked)
    }

    /// Removes what the sources do not have.
    fn sweep(&self, folder: &Path, tracked: &BTreeSet<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.sweep(&path, tracked)?;
            } else if !tracked.contains(path.strip_prefix(&self.copy).expect("below the copy")) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn apply(&self, patch: &Path) -> io::Result<()> {
        // Were the repository around the copy found, paths would be taken to be relative to it.
        let mut git = Command::new("git");
        git.current_dir(&self.copy).env("GIT_CEILING_DIRECTORIES", self.copy.parent().expect("below the root"));
        said(git.arg("apply").arg(patch)).map(drop)
    }

    fn cargo(&self, verb: &str) -> io::Result<()> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.copy).env("CARGO_TARGET_DIR", self.target());
        said(cargo.args([verb, "--quiet", "--package", "klamm-sim", "--bin", "klamm-sim"])).map(drop)
    }

    fn target(&self) -> PathBuf {
        self.copy.with_file_name("build")
    }

    /// Campaigns from a seed on, until one finds something.
    fn hunt(&self, from: u64, seeds: u64) -> io::Result<Hunt> {
        let mut hunt = Hunt { found: None, seeds: 0, cpu_seconds: 0.0 };
        for first in (from..from + seeds).step_by(TURN as usize) {
            for engine in ["world", "direct"] {
                let mut campaign = Command::new(self.target().join("debug/klamm-sim"));
                campaign.args(["campaign", "--engine", engine, "--jobs", "1", "--until-failure", "--plain"]);
                campaign.args(["--from", &first.to_string(), "--seeds", &TURN.min(from + seeds - first).to_string()]);
                let Output { stdout, .. } = campaign.output()?;
                hunt.add(engine, &String::from_utf8_lossy(&stdout));
                if hunt.found.is_some() {
                    return Ok(hunt);
                }
            }
        }
        Ok(hunt)
    }
}

/// What campaigns came to.
struct Hunt {
    /// The engine, and what it found.
    found: Option<String>,
    /// Of both engines.
    seeds: u64,
    cpu_seconds: f64,
}

impl Hunt {
    /// Takes in what a campaign said.
    fn add(&mut self, engine: &str, said: &str) {
        let number = |line: &str, after: &str| {
            let words: Vec<&str> = line.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
            let at = words.windows(2).find(|two| two[1] == after).map(|two| two[0]);
            at.and_then(|word| word.parse::<f64>().ok()).unwrap_or_default()
        };
        let found = said.lines().find_map(|line| line.strip_prefix("found "));
        let last = found.or(said.lines().last()).unwrap_or_default();
        self.seeds += number(last, "seeds") as u64;
        self.cpu_seconds += number(last, "CPU-seconds");
        let property = found.and_then(|line| line.split(" after ").next());
        self.found = property.map(|property| format!("{engine}: {property}"));
    }
}

/// Whether the median of several hunts found nothing, and what it came to.
fn median(mut hunts: Vec<Hunt>) -> (bool, String) {
    hunts.sort_by(|a, b| {
        (a.found.is_none(), a.cpu_seconds).partial_cmp(&(b.found.is_none(), b.cpu_seconds)).expect("numbers")
    });
    let times = hunts.len();
    let missed = hunts.iter().filter(|hunt| hunt.found.is_none()).count();
    let Some(Hunt { found, seeds, cpu_seconds }) = hunts.into_iter().nth(times.saturating_sub(1) / 2) else {
        return (true, "was not looked for".to_owned());
    };
    let what = found.as_deref().unwrap_or("NOT FOUND");
    let told = format!("{what} after {seeds} seeds, {cpu_seconds:.1} CPU-seconds, the median of {times}");
    (found.is_none(), if missed > 0 { format!("{told}, missed {missed} times") } else { told })
}

/// What a command says, without the last line's end.
fn said(command: &mut Command) -> io::Result<String> {
    let Output { status, stdout, stderr } = command.output()?;
    if !status.success() {
        let why = String::from_utf8_lossy(&stderr);
        return Err(io::Error::other(format!("{command:?} failed: {}", why.trim_end())));
    }
    Ok(String::from_utf8_lossy(&stdout).trim_end().to_owned())
}
