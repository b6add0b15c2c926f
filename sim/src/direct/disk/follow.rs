//! The model disk beside a real store: it takes what the shards of a `world` run wanted of their logs, when each of that
//! ended, and when the broker died; whatever the store then recovered must be one of the ways in which the model could
//! have lost and kept it. So `direct` does not drift from the real host.
//!
//! Where the store has decided, the model takes its word and goes on from there. A log that recovery cannot read or write
//! may be anything in between until a later life finds it. Followed until the disk comes to harm that no crash does.

use std::collections::{BTreeMap, BTreeSet};

use klamm_core::effect::{Effect, Input};
use klamm_core::ids::{LogId, Seq, ShardIndex};
use klamm_core::log::Found;

use super::Disk;
use super::log::{Change, Kept, Log, Reach};
use crate::direct::params::{Dice, Params};
use crate::world::Taped;

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Logs that a life found.
    pub found: u64,
    /// Of these, after a power loss.
    pub found_after_power_loss: u64,
    /// Of these, with changes that had not ended.
    pub found_in_doubt: u64,
    /// Of these, with fewer batches than were appended.
    pub found_shorter: u64,
    /// Of these, after a change had failed.
    pub found_after_failure: u64,
    /// Logs that a life did not find.
    pub gone: u64,
    /// Logs that a life could not read or write.
    pub refused: u64,
}

impl std::ops::Add for Followed {
    type Output = Followed;

    fn add(self, other: Followed) -> Followed {
        Followed {
            found: self.found + other.found,
            found_after_power_loss: self.found_after_power_loss + other.found_after_power_loss,
            found_in_doubt: self.found_in_doubt + other.found_in_doubt,
            found_shorter: self.found_shorter + other.found_shorter,
            found_after_failure: self.found_after_failure + other.found_after_failure,
            gone: self.gone + other.gone,
            refused: self.refused + other.refused,
        }
    }
}

struct Follower {
    disk: Disk,
    counts: Followed,
    shards: u16,
    /// Logs that the present life has not found, and whether power was lost since the last one that had them.
    unfound: BTreeMap<LogId, bool>,
    refused: BTreeSet<LogId>,
    /// Refused ones whose removal somebody asked for.
    removing: BTreeMap<LogId, Seq>,
}

/// Follows a run.
///
/// # Errors
/// Where the store recovered what the model could not have.
pub fn follow(tape: &[Taped]) -> Result<Followed, String> {
    let params = Params::of(&Dice::new(0, std::rc::Rc::new(crate::decisions::Book::Blank)));
    let mut it = Follower {
        disk: Disk::new(&params),
        counts: Followed::default(),
        shards: 1,
        unfound: BTreeMap::new(),
        refused: BTreeSet::new(),
        removing: BTreeMap::new(),
    };
    let whole = tape.iter().take_while(|taped| !matches!(taped, Taped::Harmed));
    for (n, taped) in whole.enumerate() {
        it.takes(taped).map_err(|what| format!("entry {n} of {}: {what}", tape.len()))?;
    }
    Ok(it.counts)
}

impl Follower {
    fn takes(&mut self, taped: &Taped) -> Result<(), String> {
        match taped {
            Taped::Begins(config) => {
                self.shards = config.shards;
                self.refused.clear();
                Ok(())
            }
            Taped::Crash { power } => {
                self.crash(*power);
                Ok(())
            }
            Taped::Step { shard, input, effects, .. } => {
                self.told(*shard, input)?;
                effects.iter().for_each(|effect| self.wants(effect));
                Ok(())
            }
            Taped::Harmed => Ok(()),
        }
    }

    fn crash(&mut self, power: bool) {
        for id in self.disk.logs.keys() {
            *self.unfound.entry(*id).or_default() |= power;
        }
    }

    fn told(&mut self, shard: ShardIndex, input: &Input) -> Result<(), String> {
        match input {
            Input::Recovered { log, found: Ok(found), .. } => self.found(*log, found),
            // Nothing but an error that the disk gave is a reason: no crash leaves what recovery must refuse.
            Input::Recovered { log, found: Err(why), .. } if !why.contains("os error") => {
                Err(format!("{log} is refused: {why}"))
            }
            Input::Recovered { log, found: Err(_), .. } => {
                self.counts.refused += 1;
                self.refused.insert(*log);
                // Whatever it wrote again may have been lost with a failed sync.
                self.unfound.entry(*log).and_modify(|power| *power = true);
                Ok(())
            }
            Input::Started => self.started(shard),
            Input::Done { log, seq } => {
                self.done(*log, *seq);
                Ok(())
            }
            Input::Failed { log, .. } | Input::Broken { log, .. } => {
                if let Some(it) = self.disk.logs.get_mut(log) {
                    it.dead = Some("as the store");
                }
                Ok(())
            }
            Input::Opened { .. }
            | Input::Request { .. }
            | Input::Closed { .. }
            | Input::Call { .. }
            | Input::Answer { .. }
            | Input::Read { .. }
            | Input::Committed { .. }
            | Input::Tick => Ok(()),
        }
    }

    fn wants(&mut self, effect: &Effect) {
        match effect {
            Effect::Remove { log, seq } | Effect::SetAside { log, seq } if self.refused.contains(log) => {
                self.removing.insert(*log, *seq);
            }
            Effect::Open { .. }
            | Effect::Append { .. }
            | Effect::Flush { .. }
            | Effect::Trim { .. }
            | Effect::Remove { .. }
            | Effect::SetAside { .. }
            | Effect::Persist { .. } => drop(self.disk.take(effect.clone())),
            Effect::Truncate { .. }
            | Effect::Read { .. }
            | Effect::Reply { .. }
            | Effect::Quiet { .. }
            | Effect::Call { .. }
            | Effect::Answer { .. }
            | Effect::Publish { .. }
            | Effect::Release { .. }
            | Effect::Close { .. }
            | Effect::Ready
            | Effect::Halt { .. }
            | Effect::Alarm { .. } => {}
        }
    }

    /// A log's changes up to one ended well.
    fn done(&mut self, id: LogId, seq: Seq) {
        if self.removing.get(&id) == Some(&seq) {
            self.forget(id);
        }
        let Some(it) = self.disk.logs.get_mut(&id).filter(|_| !self.unfound.contains_key(&id)) else { return };
        while it.queue.front().is_some_and(|(of, _)| *of <= seq) {
            it.begin();
            it.underway = it.queue.iter().take(it.underway).take_while(|(of, _)| *of <= seq).count();
            land(it);
            if it.exists == Reach::Nowhere {
                return self.forget(id);
            }
        }
    }

    fn forget(&mut self, id: LogId) {
        self.disk.logs.remove(&id);
        self.unfound.remove(&id);
        self.removing.remove(&id);
    }

    /// A new life has found a log.
    fn found(&mut self, id: LogId, found: &Found) -> Result<(), String> {
        let Some(power) = self.unfound.remove(&id) else {
            let known = self.disk.logs.contains_key(&id);
            return Err(format!("{id} is found, and there was {}", if known { "no crash" } else { "none" }));
        };
        let before = &self.disk.logs[&id];
        self.counts.found += 1;
        self.counts.found_after_power_loss += u64::from(power);
        self.counts.found_in_doubt += u64::from(!before.queue.is_empty());
        self.counts.found_shorter += u64::from(before.end(before.batches.len()) > found.state.at);
        self.counts.found_after_failure += u64::from(before.dead.is_some());
        self.removing.remove(&id);
        let now = ways(before).find_map(|way| as_found(&way, power, found));
        let now = now.ok_or_else(|| {
            format!("{id} is found as {found:?}; power lost: {power}; that is none of the ways of {before:?}")
        })?;
        self.disk.logs.insert(id, now);
        Ok(())
    }

    /// All logs of a shard were found, or refused, or are gone.
    fn started(&mut self, shard: ShardIndex) -> Result<(), String> {
        let ours = |id: &LogId| id.owner(self.shards) == shard && !self.refused.contains(id);
        let gone: Vec<(LogId, bool)> = self.unfound.iter().filter(|(id, _)| ours(id)).map(|(i, p)| (*i, *p)).collect();
        for (id, power) in gone {
            let may_be = ways(&self.disk.logs[&id]).any(|way| way.left(power).gone);
            if !may_be && !self.removing.contains_key(&id) {
                return Err(format!("{id} is gone; power lost: {power}; it was {:?}", self.disk.logs[&id]));
            }
            self.forget(id);
            self.counts.gone += 1;
        }
        Ok(())
    }
}

/// Ends well what is under way.
fn land(it: &mut Log) {
    it.land(it.is_synced(), false, 0);
    if it.group().any(|change| matches!(change, Change::Remove)) {
        it.exists = Reach::Nowhere;
    }
    it.queue.drain(..it.underway);
    it.underway = 0;
}

/// A log when so many more of its changes had ended as the shard was told, and the next ones were under way: nobody knows
/// what of that did.
fn ways(log: &Log) -> impl Iterator<Item = Log> + use<> {
    let mut next = Some(log.clone());
    std::iter::from_fn(move || {
        let mut way = next.take()?;
        way.begin();
        if !way.queue.is_empty() {
            let mut after = way.clone();
            land(&mut after);
            next = Some(after);
        }
        Some(way)
    })
}

/// The log as it was found, if a crash may have left it so. Segments below the log's start may still be there.
fn as_found(way: &Log, power: bool, found: &Found) -> Option<Log> {
    let left = way.left(power);
    let start = found.state.log_start_offset;
    let batches = (0..=left.batches.1).find(|n| way.end(*n) == found.state.at)?;
    let may = left.there && left.starts.contains(&start) && left.ballots.contains(&found.ballot);
    if !may || batches < way.least(&left, start) {
        return None;
    }
    let mut state = found.state.clone();
    state.trim(start);
    [false, true].into_iter().filter(|begun| !begun || way.may_begin(&left, batches)).find_map(|begun| {
        let mut log = way.clone();
        log.crashed(Kept { start, ballot: found.ballot, batches, begun }, power);
        log.recovered();
        (log.folded() == state).then_some(log)
    })
}

#[cfg(test)]
mod tests {
    use klamm_core::ids::Offset;

    use super::*;

    fn taped(seed: u64) -> Vec<Taped> {
        let (report, tape) = crate::world::taped(seed);
        assert_eq!(report.exit_code(), 0, "{report}");
        tape
    }

    /// The first log found with something in it after a crash, changed.
    fn edited(mut tape: Vec<Taped>, edit: impl Fn(&mut Found)) -> Vec<Taped> {
        let found = tape.iter_mut().find_map(|taped| match taped {
            Taped::Step { input: Input::Recovered { log, found: Ok(found), .. }, .. }
                if *log != LogId::METADATA && found.state.producers.len() > 1 && found.state.at > Offset(1) =>
            {
                Some(found)
            }
            Taped::Begins(_) | Taped::Crash { .. } | Taped::Step { .. } | Taped::Harmed => None,
        });
        edit(found.expect("a log of idempotent producers is recovered"));
        tape
    }

    #[test]
    fn what_no_crash_leaves_is_found_out() {
        let tape = taped(3);
        let followed = follow(&tape).unwrap();
        assert!(followed.found > 5, "{followed:?}");
        let told = |edit: fn(&mut Found)| follow(&edited(tape.clone(), edit)).unwrap_err();
        assert!(told(|found| drop(found.state.producers.pop_first())).contains("none of the ways"));
        assert!(told(|found| found.state.epochs.clear()).contains("none of the ways"));
        assert!(told(|found| found.state.log_start_offset = found.state.at).contains("none of the ways"));
        assert!(told(|found| found.state.at = found.state.at.plus(1)).contains("none of the ways"));
    }

    #[test]
    fn a_log_refused_for_nothing_is_found_out() {
        let mut tape = taped(3);
        let found = tape.iter_mut().find_map(|taped| match taped {
            Taped::Step { input: Input::Recovered { found, .. }, .. } => Some(found),
            Taped::Begins(_) | Taped::Crash { .. } | Taped::Step { .. } | Taped::Harmed => None,
        });
        *found.expect("a log is recovered") = Err("a batch that does not hold".to_owned());
        assert!(follow(&tape).unwrap_err().contains("is refused: a batch"));
    }
}
