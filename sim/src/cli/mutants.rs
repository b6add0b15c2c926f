//! `klamm-sim mutants`: is the simulator strong? A copy of the sources gets one planted bug (`sim/mutants/NAME.patch`), is
//! built, and a campaign must find it: one of the engine `world`, or one of `direct` if that does not.
//!
//! The copy and what is built of it stay under `target/mutants`, so that the next bug costs one incremental build.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
            let found = tree.campaign(args.seeds)?;
            missed |= found.is_none();
            found.unwrap_or_else(|| format!("NOT FOUND in {} seeds", args.seeds))
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

    /// What a campaign found, and after how long.
    fn campaign(&self, seeds: u64) -> io::Result<Option<String>> {
        for engine in ["world", "direct"] {
            let mut campaign = Command::new(self.target().join("debug/klamm-sim"));
            campaign.args(["campaign", "--engine", engine, "--jobs", "1", "--until-failure"]);
            let Output { stdout, .. } = campaign.args(["--seeds", &seeds.to_string()]).output()?;
            let text = String::from_utf8_lossy(&stdout);
            if let Some(found) = text.lines().find_map(|line| line.strip_prefix("found ")) {
                return Ok(Some(format!("{engine}: {found}")));
            }
        }
        Ok(None)
    }
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
