//! Where the logs of this shard start, and what is told about them: delete-records, retention, epoch ends, descriptions.

use alloc::vec::Vec;

use super::owner::absent;
use super::waits::{DeleteWait, Wait};
use super::{Origin, Shard, Step};
use crate::effect::{Answer, DeletePart, DescribePart, Description, EpochPart, Few};
use crate::ids::{LeaderEpoch, Offset};
use crate::replica::WaitId;
use crate::wire::error;

impl Shard {
    /// Moves the starts of logs; answers when that is durable.
    pub(super) fn delete_records(
        &mut self,
        origin: Origin,
        timeout_ms: i32,
        parts: Few<DeletePart>,
        step: &mut Step<'_>,
    ) {
        let wait = self.waits.next_id();
        let mut results = Vec::with_capacity(parts.len());
        let mut open = Vec::new();
        for part in parts {
            let Some(replica) = self.replicas.get_mut(&part.log) else {
                results.push(Err(absent(&self.image, part.log)));
                continue;
            };
            let begun = replica.delete_below(part.to, step.out);
            let start = replica.log().log_start_offset();
            results.push(begun.map(|_| start));
            if let Some(to) = begun.ok().filter(|to| *to > start) {
                replica.wake_at_start(to, wait);
                open.push((results.len() - 1, part.log, to));
            }
        }
        if open.is_empty() {
            return self.answer(origin, Answer::DeleteRecords(results), step);
        }
        let deadline = step.now.monotonic.plus_ms(i64::from(timeout_ms));
        self.waits.park(Wait::Delete(DeleteWait { origin, results, open }), Some(deadline));
    }

    /// A log starts later, or is not served any more.
    pub(super) fn wake_delete(&mut self, id: WaitId, step: &mut Step<'_>) {
        let Some(Wait::Delete(wait)) = self.waits.get_mut(id) else { return };
        let (replicas, image) = (&self.replicas, &self.image);
        let results = &mut wait.results;
        wait.open.retain(|(index, log, to)| {
            let start = replicas.get(log).ok_or_else(|| absent(image, *log)).and_then(|r| {
                r.serves(LeaderEpoch(-1))?;
                Ok(r.log().log_start_offset())
            });
            results[*index] = start;
            start.is_ok_and(|start| start < *to)
        });
        if wait.open.is_empty() {
            self.end_delete(id, step);
        }
    }

    /// A deletion's time is over: it goes on, but nobody waits for it.
    pub(super) fn expire_delete(&mut self, id: WaitId, step: &mut Step<'_>) {
        let Some(Wait::Delete(wait)) = self.waits.get_mut(id) else { return };
        for (index, _, _) in &wait.open {
            wait.results[*index] = Err(error::REQUEST_TIMED_OUT);
        }
        self.end_delete(id, step);
    }

    fn end_delete(&mut self, id: WaitId, step: &mut Step<'_>) {
        let Some(Wait::Delete(wait)) = self.waits.end(id) else { return };
        for (_, log, to) in &wait.open {
            if let Some(replica) = self.replicas.get_mut(log) {
                replica.unwake_at_start(*to, id);
            }
        }
        self.answer(wait.origin, Answer::DeleteRecords(wait.results), step);
    }

    /// Where leader epochs end (KIP-101, KIP-279).
    pub(super) fn epoch_ends(&mut self, origin: Origin, parts: &[EpochPart], step: &mut Step<'_>) {
        let end = |part: &EpochPart| -> Result<(LeaderEpoch, Offset), i16> {
            let replica = self.replicas.get(&part.log).ok_or_else(|| absent(&self.image, part.log))?;
            let leader = replica.serves(part.current_leader_epoch)?;
            Ok(replica.epoch_end(leader, part.epoch))
        };
        let ends = parts.iter().map(end).collect();
        self.answer(origin, Answer::EpochEnds(ends), step);
    }

    /// What is known of logs.
    pub(super) fn describe(&mut self, origin: Origin, parts: &[DescribePart], step: &mut Step<'_>) {
        let describe = |part: &DescribePart| -> Result<Description, i16> {
            let replica = self.replicas.get(&part.log).ok_or_else(|| absent(&self.image, part.log))?;
            if part.producers {
                replica.serves(LeaderEpoch(-1))?;
            }
            let producers = if part.producers { replica.producers(step.now.wall) } else { Vec::new() };
            Ok(Description { bytes: replica.log().state().bytes(), producers })
        };
        let described = parts.iter().map(describe).collect();
        self.answer(origin, Answer::Describe(described), step);
    }

    /// Looks through the logs for what they no longer keep, when that is due.
    pub(super) fn retain(&mut self, step: &mut Step<'_>) {
        if self.retention_at.is_none_or(|at| at > step.now.monotonic) {
            return;
        }
        let limited = self.replicas.values_mut().filter(|r| r.keeping().retention.is_limited());
        let looked = limited.map(|replica| replica.retain(step.now.wall, step.out)).count();
        let next = step.now.monotonic.plus_ms(self.configs(None).retention_check_interval_ms());
        self.retention_at = (looked > 0).then_some(next);
    }
}
