//! When an idempotent producer is forgotten: `producer.id.expiration.ms` after its last batch (KIP-98), by this broker's
//! clock.
//!
//! Kafka counts from the timestamp of the producer's last record, so that one which copies old records is forgotten
//! between two retries. Here only what an earlier life saw is as old as its timestamps say, and nothing is forgotten in
//! the first minutes of a life: a retry that was under way when the broker died is still recognised. No timer: whoever
//! asks is told what holds at that time, and the others are swept out now and then, so that a log knows those producers
//! only that it must.

use alloc::collections::BTreeMap;

use super::ProducerEntry;
use crate::ids::{ProducerId, Timestamp};

/// The time between two sweeps: Kafka's `producer.id.expiration.check.interval.ms`.
const SWEEP_MS: i64 = 600_000;
/// For so long after a recovery nothing that it found is forgotten: longer than clients retry for.
const GRACE_MS: i64 = 900_000;

/// Since when the producers of a log are silent.
#[derive(Clone, Debug, Default)]
pub(super) struct Idle {
    since: BTreeMap<ProducerId, Timestamp>,
    /// When the log was recovered, if it was.
    recovered: Option<Timestamp>,
    swept: Timestamp,
}

impl Idle {
    /// Of the producers that were found at a time.
    pub(super) fn recovered(producers: &BTreeMap<ProducerId, ProducerEntry>, now: Timestamp) -> Idle {
        let since = producers.iter().map(|(id, entry)| (*id, entry.last_timestamp.min(now))).collect();
        Idle { since, recovered: Some(now), swept: now }
    }

    /// A producer's batch is appended.
    pub(super) fn heard(&mut self, producer: ProducerId, now: Timestamp) {
        self.since.insert(producer, now);
    }

    /// Whether a producer was silent for so long.
    pub(super) fn is_over(&self, producer: ProducerId, now: Timestamp, after_ms: i64) -> bool {
        self.since.get(&producer).is_some_and(|since| self.over(*since, now, after_ms))
    }

    fn over(&self, since: Timestamp, now: Timestamp, after_ms: i64) -> bool {
        let spared = self.recovered.is_some_and(|at| now.0.saturating_sub(at.0) < after_ms.min(GRACE_MS));
        !spared && now.0.saturating_sub(since.0) >= after_ms
    }

    /// Forgets this producer if it was silent for so long; now and then all that were.
    pub(super) fn forget(
        &mut self,
        producers: &mut BTreeMap<ProducerId, ProducerEntry>,
        producer: ProducerId,
        now: Timestamp,
        after_ms: i64,
    ) {
        if self.is_over(producer, now, after_ms) {
            producers.remove(&producer);
            self.since.remove(&producer);
        }
        if (0..SWEEP_MS).contains(&now.0.saturating_sub(self.swept.0)) {
            return;
        }
        self.swept = now;
        producers.retain(|id, _| !self.is_over(*id, now, after_ms));
        self.since.retain(|id, _| producers.contains_key(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ProducerEpoch;
    use alloc::vec::Vec;

    const DAY: i64 = 86_400_000;

    fn entry(last_timestamp: i64) -> ProducerEntry {
        ProducerEntry { epoch: ProducerEpoch(0), recent: Vec::new(), last_timestamp: Timestamp(last_timestamp) }
    }

    fn known(producers: &BTreeMap<ProducerId, ProducerEntry>) -> Vec<i64> {
        producers.keys().map(|id| id.0).collect()
    }

    #[test]
    fn a_producer_is_forgotten_after_its_silence_whatever_its_records_say() {
        let mut producers = BTreeMap::from([(ProducerId(1), entry(0)), (ProducerId(2), entry(i64::MAX))]);
        let mut idle = Idle::default();
        let start = Timestamp(50 * DAY);
        idle.heard(ProducerId(1), start);
        idle.heard(ProducerId(2), start);
        idle.forget(&mut producers, ProducerId(1), Timestamp(start.0 + DAY - 1), DAY);
        assert_eq!(known(&producers), [1, 2], "not yet");
        idle.heard(ProducerId(2), Timestamp(start.0 + DAY - 1));
        idle.forget(&mut producers, ProducerId(1), Timestamp(start.0 + DAY), DAY);
        assert_eq!(known(&producers), [2], "on the millisecond, though nobody sweeps then");
        idle.forget(&mut producers, ProducerId(-1), Timestamp(start.0 + 2 * DAY - 2), DAY);
        assert_eq!(known(&producers), [2]);
        idle.forget(&mut producers, ProducerId(-1), Timestamp(start.0 + 3 * DAY), DAY);
        assert_eq!(known(&producers), [], "a sweep, whoever appends");
        assert!(idle.since.is_empty(), "and nothing is kept of them");
    }

    #[test]
    fn what_is_recovered_is_as_old_as_its_records_but_spared_at_first() {
        let now = Timestamp(50 * DAY);
        let mut producers = BTreeMap::from([
            (ProducerId(1), entry(0)),
            (ProducerId(2), entry(now.0 - DAY / 2)),
            (ProducerId(3), entry(i64::MAX)),
        ]);
        let mut idle = Idle::recovered(&producers, now);
        let mut at = |ms: i64, producers: &mut BTreeMap<_, _>| {
            idle.forget(producers, ProducerId(-1), Timestamp(now.0 + ms), DAY);
            known(producers)
        };
        assert_eq!(at(SWEEP_MS, &mut producers), [1, 2, 3], "a retry may be on its way");
        assert_eq!(at(2 * SWEEP_MS, &mut producers), [2, 3]);
        assert_eq!(at(DAY / 2, &mut producers), [3]);
        assert_eq!(at(DAY, &mut producers), [], "a timestamp ahead of the clock keeps nothing for ever");
    }
}
