//! Committed, recomputed from the logs: a run of which nothing was declared lost ends with a stop in order, and then its
//! files are read, by their published layout. With one broker, at rest, all that a log holds is committed.
//!
//! `committed-is-stored`: what stands in them is what was read over the wire, to the record: nothing else, nothing less, a
//! folder for each partition that was acknowledged, and no journal beside them. (DESIGN: oracles believe nothing that a
//! broker reports; Raft's state machine safety: what one was given at an index is what the log holds there.)

use super::World;
use super::broker::State;
use crate::atlas::{Atlas, Folder};
use crate::client::values;
use crate::disk::SimDisk;
use crate::history::{History, Partition};
use crate::report::{Verdict, Violation};
use bytes::Bytes;
use klamm_core::ids::LogId;

/// A stop may take so long, simulated milliseconds.
const STOP_MS: u64 = 20_000;
/// Begins the names of what is gone after a stop in order.
const JOURNAL: &str = "journal.";

impl World {
    /// The broker is told to stop, and what it leaves is looked at.
    pub(super) fn ends_in_order(&mut self) -> Result<(), Verdict> {
        let site = self.site.clone();
        site.stop();
        if !self.steps_until(STOP_MS, false, |_, _| site.state.get() == State::Exited)? {
            return Err(Verdict::Stuck("the broker was told to stop, and does not".to_owned()));
        }
        let compared = agree(&self.site.device.disk(), &mut self.ledger.history.borrow_mut());
        self.ledger.count("records compared with files", compared.map_err(Verdict::Unsafe)?);
        Ok(())
    }
}

/// Holds every log against what was read of it; gives how many records there were.
///
/// # Errors
/// When they differ.
pub(super) fn agree(disk: &SimDisk, history: &mut History) -> Result<u64, Violation> {
    if let Some((journal, _)) = disk.list_all().into_iter().find(|(path, _)| path.starts_with(JOURNAL)) {
        let fact = "the broker has stopped in order: every log has what is its own".to_owned();
        return Err(broken(fact, format!("there is still {journal}")));
    }
    let atlas = Atlas::of(disk);
    have_folders(&atlas, history)?;
    let mut compared = 0;
    for folder in atlas.folders().iter().filter(|folder| folder.log != LogId::METADATA) {
        let alive = history.alive().find(|(_, topic)| topic.id == Some(folder.log.topic));
        let Some(at) = alive.map(|(life, _)| (life.clone(), folder.log.partition)) else { continue };
        let stored = stored(disk, folder, &at)?;
        compared += stored.len() as u64;
        same(&at, &stored, history)?;
    }
    Ok(compared)
}

/// Whoever was told of a topic that nobody deletes finds a folder of each of its partitions.
fn have_folders(atlas: &Atlas, history: &History) -> Result<(), Violation> {
    for (life, topic) in history.alive() {
        let Some(id) = topic.id else { continue };
        let has = |partition| atlas.folders().iter().any(|folder| folder.log == LogId { topic: id, partition });
        if let Some(partition) = (0..topic.partitions as i32).find(|partition| !has(*partition)) {
            let fact = format!("{life}-{partition} was acknowledged, and nobody has asked for its deletion");
            return Err(broken(fact, "it has no folder".to_owned()));
        }
    }
    Ok(())
}

/// All that stands in a log's segments.
fn stored(disk: &SimDisk, folder: &Folder, at: &Partition) -> Result<Vec<(i64, u64)>, Violation> {
    let mut all = Vec::new();
    for (path, end) in folder.files() {
        let bytes = disk.peek(path).and_then(|bytes| bytes.get(..usize::try_from(end).ok()?)).unwrap_or_default();
        let found = values(Bytes::copy_from_slice(bytes));
        let found = found.map_err(|what| broken(format!("{at:?} was read to its end"), format!("{path}: {what}")))?;
        all.extend(found.into_iter().map(|(offset, value)| (offset.0, value)));
    }
    Ok(all)
}

fn same(at: &Partition, stored: &[(i64, u64)], history: &mut History) -> Result<(), Violation> {
    let known = history.start(at);
    let read = history.between(at, known, i64::MAX);
    let end = read.last().map_or(known, |(offset, _)| offset + 1);
    // Retention may have gone on since.
    let start = stored.first().map_or(end, |(offset, _)| *offset).max(known);
    history.starts(at, known, start)?;
    let mut stored = stored.iter().filter(|(offset, _)| *offset >= start);
    let mut read = read.iter().filter(|(offset, _)| *offset >= start);
    loop {
        match (read.next(), stored.next()) {
            (None, None) => return Ok(()),
            (read, stored) if read == stored => {}
            (read, stored) => {
                let fact = format!("{at:?}: read over the wire, offset and value: {read:?}");
                return Err(broken(fact, format!("in its files: {stored:?}")));
            }
        }
    }
}

fn broken(fact: String, contradiction: String) -> Violation {
    Violation { property: "committed-is-stored", fact, contradiction }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;
    use crate::disk::Harm;
    use crate::history::Sent;
    use crate::panics;

    /// The first world that ends in order, and some partition of it that holds something.
    fn ended() -> (World, Partition) {
        let run = |seed| {
            let mut world = World::new(&Dice::blank(seed), seed, false, panics::watch());
            assert_eq!(world.drive(), Verdict::Clean, "seed {seed}");
            let compared = world.ledger.counters().get("records compared with files").copied().unwrap_or_default();
            (compared > 0).then_some(world)
        };
        let world = (0..20).find_map(run).expect("every other run declares no loss");
        let at = {
            let disk = world.site.device.disk();
            let history = world.ledger.history.borrow();
            let life = |folder: &Folder| Some((history.life(folder.log.topic)?.0.clone(), folder.log.partition));
            let held = |at: &Partition| !history.between(at, history.start(at), i64::MAX).is_empty();
            Atlas::of(&disk).folders().iter().filter_map(life).find(held).expect("somebody wrote something")
        };
        (world, at)
    }

    #[test]
    fn what_was_read_and_is_not_stored_is_found() {
        let (world, at) = ended();
        let disk = world.site.device.disk();
        let mut history = world.ledger.history.borrow().clone();
        assert!(agree(&disk, &mut history).is_ok());
        let (end, value) = (history.end(&at), u64::MAX);
        history.sent(&at, value, &[value], Sent { bytes: 99, time: 0, stamp: 0 });
        assert_eq!(history.read(&at, end, value), Ok(()), "the broker has said so");
        assert_eq!(agree(&disk, &mut history).unwrap_err().property, "committed-is-stored");
    }
    #[test]
    fn a_log_without_a_folder_is_found() {
        let (world, at) = ended();
        let mut disk = world.site.device.disk();
        let mut history = world.ledger.history.borrow().clone();
        let id = history.alive().find(|(life, _)| **life == at.0).and_then(|(_, topic)| topic.id);
        let log = LogId { topic: id.expect("it was told"), partition: at.1 };
        let folder =
            Atlas::of(&disk).folders().iter().find(|folder| folder.log == log).map(|folder| folder.name.clone());
        assert!(disk.harm(Harm::RemoveTree { path: folder.expect("it has one") }));
        let found = agree(&disk, &mut history).unwrap_err();
        assert_eq!((found.property, &*found.contradiction), ("committed-is-stored", "it has no folder"));
    }
}
