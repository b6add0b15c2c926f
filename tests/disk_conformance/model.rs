//! Operations at random: every driver is held to a naive model of a file tree.

use super::{fresh_directory, on_a_shard, simulated};
use bytes::Bytes;
use klamm::disk::{Blocking, Uring};
use klamm::host::{Disk, Op, Outcome};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

/// An operation of the random test; files are named by the number of the `Open` that gave them, modulo their count.
#[derive(Clone, Debug)]
enum Step {
    Open(&'static str, bool),
    Write(usize, u64, Vec<Vec<u8>>, bool),
    Read(usize, u64, usize),
    Sync(usize),
    Length(usize),
    SetLength(usize, u64),
    Rename(&'static str, &'static str),
    Remove(&'static str),
    MakeDir(&'static str),
    RemoveDir(&'static str),
    List(&'static str),
    SyncDir(&'static str),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let path = || prop::sample::select(vec!["a", "b", "d", "d/a", "d/b", "e", "e/a"]);
    let at = || 0..2500u64;
    let pieces = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..4);
    let step = prop_oneof![
        3 => (path(), prop::bool::weighted(0.8)).prop_map(|(path, create)| Step::Open(path, create)),
        4 => (any::<usize>(), at(), pieces, any::<bool>()).prop_map(|(f, at, data, s)| Step::Write(f, at, data, s)),
        4 => (any::<usize>(), at(), 0..3000usize).prop_map(|(f, at, len)| Step::Read(f, at, len)),
        1 => any::<usize>().prop_map(Step::Sync),
        1 => any::<usize>().prop_map(Step::Length),
        1 => (any::<usize>(), at()).prop_map(|(f, len)| Step::SetLength(f, len)),
        3 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => path().prop_map(Step::Remove),
        3 => path().prop_map(Step::MakeDir),
        1 => path().prop_map(Step::RemoveDir),
        2 => prop_oneof![path(), Just("")].prop_map(Step::List),
        1 => prop_oneof![path(), Just("")].prop_map(Step::SyncDir),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a step gives, for comparison.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Nothing,
    File,
    Bytes(Vec<u8>),
    Length(u64),
    Names(Vec<String>),
    Error(ErrorKind),
}

fn seen<F>(result: &io::Result<Outcome<F>>) -> Seen {
    match result {
        Ok(Outcome::Nothing) => Seen::Nothing,
        Ok(Outcome::File(_)) => Seen::File,
        Ok(Outcome::Bytes(bytes)) => Seen::Bytes(bytes.to_vec()),
        Ok(Outcome::Length(len)) => Seen::Length(*len),
        Ok(Outcome::Names(names)) => Seen::Names(names.clone()),
        Ok(Outcome::Room { .. }) => unreachable!("no step asks for it"),
        Err(error) => Seen::Error(error.kind()),
    }
}

/// What a disk says to each step; a step on a file while none was opened is left out.
async fn run<D: Disk>(disk: &D, steps: &[Step]) -> Vec<Seen> {
    let mut files: Vec<D::File> = Vec::new();
    let mut answers = Vec::new();
    for step in steps {
        let Some(op) = op(step.clone(), &files) else { continue };
        let result = disk.submit(op).await;
        answers.push(seen(&result));
        if let Ok(Outcome::File(file)) = result {
            files.push(file);
        }
    }
    answers
}

fn op<F: Clone>(step: Step, files: &[F]) -> Option<Op<F>> {
    let file = |n: usize| files.get(n.checked_rem(files.len())?).cloned();
    Some(match step {
        Step::Open(path, create) => Op::Open { path: path.into(), create, direct: false },
        Step::Write(f, at, data, sync) => {
            Op::Write { file: file(f)?, at, data: data.into_iter().map(Bytes::from).collect(), sync }
        }
        Step::Read(f, at, len) => Op::Read { file: file(f)?, at, len },
        Step::Sync(f) => Op::Sync { file: file(f)? },
        Step::Length(f) => Op::Length { file: file(f)? },
        Step::SetLength(f, len) => Op::SetLength { file: file(f)?, len },
        Step::Rename(from, to) => Op::Rename { from: from.into(), to: to.into() },
        Step::Remove(path) => Op::Remove { path: path.into() },
        Step::MakeDir(path) => Op::MakeDir { path: path.into() },
        Step::RemoveDir(path) => Op::RemoveDir { path: path.into() },
        Step::List(path) => Op::List { path: path.into() },
        Step::SyncDir(path) => Op::SyncDir { path: path.into() },
    })
}

/// A file tree as naive as can be: whole paths, and the order in which Linux looks for errors.
#[derive(Default)]
struct Model {
    /// A directory, or the number of a content.
    tree: BTreeMap<String, Option<usize>>,
    contents: Vec<Vec<u8>>,
    files: Vec<usize>,
}

impl Model {
    fn run(steps: &[Step]) -> Vec<Seen> {
        let mut model = Model::default();
        steps.iter().filter_map(|step| model.step(step)).map(|seen| seen.unwrap_or_else(Seen::Error)).collect()
    }

    fn step(&mut self, step: &Step) -> Option<Result<Seen, ErrorKind>> {
        let file = |n: usize| self.files.get(n.checked_rem(self.files.len())?).copied();
        Some(Ok(match step {
            Step::Write(f, at, data, _) => {
                let content = &mut self.contents[file(*f)?];
                let data = data.concat();
                let at = *at as usize;
                if !data.is_empty() {
                    content.resize(content.len().max(at + data.len()), 0);
                    content[at..at + data.len()].copy_from_slice(&data);
                }
                Seen::Nothing
            }
            Step::Read(f, at, len) => {
                let content = &self.contents[file(*f)?];
                let at = (*at as usize).min(content.len());
                Seen::Bytes(content[at..content.len().min(at + len)].to_vec())
            }
            Step::Sync(f) => file(*f).map(|_| Seen::Nothing)?,
            Step::Length(f) => Seen::Length(self.contents[file(*f)?].len() as u64),
            Step::SetLength(f, len) => {
                self.contents[file(*f)?].resize(*len as usize, 0);
                Seen::Nothing
            }
            Step::Open(path, create) => return Some(self.open(path, *create)),
            Step::Rename(from, to) => return Some(self.rename(from, to)),
            Step::Remove(path) => match self.find(path) {
                Ok(Some(_)) => self.forget(path),
                Ok(None) => return Some(Err(ErrorKind::IsADirectory)),
                Err(kind) => return Some(Err(kind)),
            },
            Step::MakeDir(path) => match self.find(path) {
                Err(ErrorKind::NotFound) if self.parent(path).is_ok() => {
                    self.tree.insert((*path).to_owned(), None);
                    Seen::Nothing
                }
                Ok(None) => Seen::Nothing,
                Ok(Some(_)) => return Some(Err(ErrorKind::AlreadyExists)),
                Err(kind) => return Some(Err(kind)),
            },
            Step::RemoveDir(path) => match self.names(path) {
                Ok(names) if names.is_empty() => self.forget(path),
                Ok(_) => return Some(Err(ErrorKind::DirectoryNotEmpty)),
                Err(kind) => return Some(Err(kind)),
            },
            Step::List(path) => return Some(self.names(path).map(Seen::Names)),
            Step::SyncDir(path) => return Some(self.names(path).map(|_| Seen::Nothing)),
        }))
    }

    fn parent(&self, path: &str) -> Result<(), ErrorKind> {
        let Some((parent, _)) = path.rsplit_once('/') else { return Ok(()) };
        match self.tree.get(parent) {
            Some(None) => Ok(()),
            Some(Some(_)) => Err(ErrorKind::NotADirectory),
            None => Err(ErrorKind::NotFound),
        }
    }

    fn find(&self, path: &str) -> Result<Option<usize>, ErrorKind> {
        self.parent(path)?;
        self.tree.get(path).copied().ok_or(ErrorKind::NotFound)
    }

    fn names(&self, path: &str) -> Result<Vec<String>, ErrorKind> {
        let prefix = if path.is_empty() {
            String::new()
        } else if self.find(path)?.is_some() {
            return Err(ErrorKind::NotADirectory);
        } else {
            format!("{path}/")
        };
        let below = self.tree.keys().filter_map(|path| path.strip_prefix(&prefix));
        Ok(below.filter(|rest| !rest.contains('/')).map(str::to_owned).collect())
    }

    fn forget(&mut self, path: &str) -> Seen {
        self.tree.remove(path);
        Seen::Nothing
    }

    fn open(&mut self, path: &str, create: bool) -> Result<Seen, ErrorKind> {
        let number = match self.find(path) {
            Ok(None) => return Err(ErrorKind::IsADirectory),
            Ok(Some(number)) => number,
            Err(ErrorKind::NotFound) if create && self.parent(path).is_ok() => {
                self.contents.push(Vec::new());
                self.tree.insert(path.to_owned(), Some(self.contents.len() - 1));
                self.contents.len() - 1
            }
            Err(kind) => return Err(kind),
        };
        self.files.push(number);
        Ok(Seen::File)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<Seen, ErrorKind> {
        self.parent(from)?;
        self.parent(to)?;
        let moved = self.find(from)?;
        if to.starts_with(&format!("{from}/")) {
            return Err(ErrorKind::InvalidInput);
        }
        if from.starts_with(&format!("{to}/")) {
            return Err(ErrorKind::DirectoryNotEmpty);
        }
        match (moved, self.find(to)) {
            (Some(_), Ok(None)) => return Err(ErrorKind::IsADirectory),
            (None, Ok(Some(_))) => return Err(ErrorKind::NotADirectory),
            (None, Ok(None)) if from != to && !self.names(to)?.is_empty() => {
                return Err(ErrorKind::DirectoryNotEmpty);
            }
            _ => {}
        }
        let below = |path: &String| path == from || path.starts_with(&format!("{from}/"));
        let moving: Vec<String> = self.tree.keys().filter(|path| below(path)).cloned().collect();
        for path in moving {
            let entry = self.tree.remove(&path).unwrap();
            self.tree.insert(format!("{to}{}", &path[from.len()..]), entry);
        }
        Ok(Seen::Nothing)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_driver_agrees_with_the_model(steps in steps(), seed: u64) {
        let expected = Model::run(&steps);
        let simulated = on_a_shard(async { run(&simulated(seed), &steps).await });
        prop_assert_eq!(&simulated, &expected);
        let directory = fresh_directory("model");
        let threads = on_a_shard(async { run(&Blocking::open(directory.clone(), 2).unwrap(), &steps).await });
        std::fs::remove_dir_all(&directory).unwrap();
        prop_assert_eq!(&threads, &expected);
        if Uring::probe().is_ok() {
            std::fs::create_dir(&directory).unwrap();
            let ring = on_a_shard(async { run(&Uring::open(directory.clone(), 1).unwrap(), &steps).await });
            std::fs::remove_dir_all(&directory).unwrap();
            prop_assert_eq!(&ring, &expected);
        }
    }
}
