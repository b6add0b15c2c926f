//! What is drawn for a run, once, from its seed: each fault and each knob is on or off, with a drawn rate (swarm
//! testing: Groce 2012). A run in which everything happens at one rate finds less than runs that differ.

use crate::clock::{Drift, RIGHT};
use crate::disk;
use crate::workload::keeper::Habits;
use klamm_core::rng::Rng;
use std::collections::BTreeSet;

/// One millisecond, in nanoseconds.
pub(super) const MS: u64 = 1_000_000;

/// The longest `retention.ms` that a topic gets.
const LONGEST_KEPT_MS: u64 = 1_200;

/// What a run is made of.
#[derive(Clone, Debug)]
pub(super) struct Parameters {
    /// Shards of the broker's first life.
    pub(super) shards: u16,
    /// Whether later lives draw their number of shards anew.
    pub(super) reshards: bool,
    /// Partitions and `segment.bytes` of each topic that exists from the start.
    pub(super) topics: Vec<(i32, u32)>,
    /// Topics that are created while others are used.
    pub(super) later_topics: u32,
    /// The broker's own `segment.bytes`, for the metadata log.
    pub(super) segment_bytes: u32,
    /// How the store keeps its bytes: see its options.
    pub(super) zero_fill: u64,
    pub(super) mark_every: u64,
    pub(super) log_tail_bytes: u64,
    pub(super) open_files: usize,
    /// 0: there is none.
    pub(super) journal_bytes: u64,
    pub(super) journal_least: usize,
    /// The disk when it is well.
    pub(super) disk: disk::Parameters,
    /// Errors of the disk while it is not, in a million.
    pub(super) sync_errors: u64,
    pub(super) write_errors: u64,
    pub(super) producers: u32,
    pub(super) consumers: u32,
    /// Clients that delete topics and make them again.
    pub(super) owners: u32,
    /// What the one who looks after topics does; nothing: nobody does.
    pub(super) habits: Option<Habits>,
    /// The time between two looks for what is not kept.
    pub(super) retention_check_ms: u64,
    /// Milliseconds that a producer thinks between batches, at most.
    pub(super) think_ms: u64,
    /// Records of a batch, at most, and bytes of a record.
    pub(super) batch_records: u64,
    pub(super) record_bytes: u64,
    /// How long a message may take, milliseconds.
    pub(super) latency_ms: u64,
    /// How long faults and load go on.
    pub(super) work_ms: u64,
    pub(super) faults: Faults,
    /// Whether the broker's clocks are wrong.
    pub(super) drifts: bool,
    /// What else goes wrong; drawn after everything else, so that it moves no other draw.
    pub(super) more: More,
}

/// Faults of the disk and the clocks beside those of [`Faults`]; 0 and `false` are never.
#[derive(Clone, Copy, Debug)]
pub(super) struct More {
    /// Operations that stand still while the disk is ill, in a million, and for how long at most.
    pub(super) stalls: u64,
    pub(super) stall_ms: u64,
    /// Bytes that an ill disk has room for.
    pub(super) room: Option<u64>,
    /// Milliseconds between two things that befall what the disk holds, on average.
    pub(super) harm_ms: u64,
    /// Pages leave the cache.
    pub(super) evicts: bool,
    /// What can be made anew rots, or cannot be read.
    pub(super) rots: bool,
    /// The broker's machine stands still, so long at most; and its wall clock is set.
    pub(super) pause_ms: u64,
    pub(super) steps: bool,
    /// Clients that do mischief.
    pub(super) hostile: u32,
}

/// How often each fault is chosen when one is due; 0 is never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) kill: u64,
    pub(super) power_loss: u64,
    pub(super) clean_stop: u64,
    /// Links are cut: what is under way is lost.
    pub(super) cut: u64,
    /// Links stand still for a while.
    pub(super) hold: u64,
    /// Faults are this far apart on average.
    pub(super) every_ms: u64,
    /// A crash is soon followed by another one, once in so many times.
    pub(super) again: u64,
    /// Crashes between two lulls, at most.
    pub(super) storm: u64,
}

impl Parameters {
    pub(super) fn draw(rng: &mut Rng) -> Parameters {
        let sector = pick(rng, &[512, 4_096]);
        let sync_ms = pick(rng, &[1, 1, 4, 20]);
        let write_us = pick(rng, &[0, 0, 500, 3_000]);
        let drifts = rng.one_in(2);
        Parameters {
            shards: pick(rng, &[1, 2, 2, 3]),
            reshards: rng.one_in(3),
            topics: (0..1 + rng.below(2)).map(|_| (1 + rng.below(3) as i32, segment_bytes(rng))).collect(),
            later_topics: pick(rng, &[0, 0, 1, 3]),
            segment_bytes: pick(rng, &[300, 700, 2_000, 1 << 20]),
            zero_fill: pick(rng, &[0, 0, 600, 5_000, 40_000]),
            mark_every: pick(rng, &[500, 4_000, 50_000, 16 << 20]),
            log_tail_bytes: pick(rng, &[0, 1_000, 256 << 10]),
            open_files: pick(rng, &[1, 4, 512]),
            disk: disk::Parameters {
                sector,
                write_ns: 0..=write_us * 1_000,
                sync_ns: 100_000..=sync_ms * MS,
                read_ns: 0..=pick(rng, &[200_000, 3 * MS]),
                other_ns: 0..=pick(rng, &[500_000, 3 * MS]),
                ..disk::Parameters::default()
            },
            sync_errors: pick(rng, &[0, 0, 1_000, 10_000, 50_000]),
            write_errors: pick(rng, &[0, 0, 1_000, 10_000]),
            producers: 1 + rng.below(3) as u32,
            consumers: 1 + rng.below(2) as u32,
            owners: pick(rng, &[0, 1, 1, 2]),
            habits: (!rng.one_in(3)).then(|| habits(rng, drifts)),
            retention_check_ms: pick(rng, &[20, 200]),
            think_ms: pick(rng, &[1, 10, 40]),
            batch_records: pick(rng, &[1, 3, 20]),
            record_bytes: pick(rng, &[8, 100, 700]),
            latency_ms: pick(rng, &[0, 1, 4, 20]),
            work_ms: 1_500 + rng.below(2_500),
            faults: Faults::draw(rng),
            drifts,
            more: More::draw(rng, drifts),
            journal_bytes: pick(rng, &[0, 10 << 10, 20 << 10, 200 << 10]),
            journal_least: pick(rng, &[1, 1, 2]),
        }
    }

    /// After so long all that is not kept must be gone.
    pub(super) fn quiet_ms(&self) -> u64 {
        LONGEST_KEPT_MS + 5 * self.retention_check_ms + 1_000
    }

    /// The disk while it is ill.
    pub(super) fn ill_disk(&self) -> disk::Parameters {
        let (sync_errors, write_errors) = (self.sync_errors, self.write_errors);
        let More { stalls, stall_ms, .. } = self.more;
        disk::Parameters { sync_errors, write_errors, stalls, stall_ns: 0..=stall_ms * MS, ..self.disk.clone() }
    }

    /// The clocks of one life: up to 10 % fast or slow, and off by up to an hour either way.
    pub(super) fn drift(&self, rng: &mut Rng) -> Drift {
        if !self.drifts {
            return Drift { offset_ns: 0, rate: RIGHT, wall_ms: 0 };
        }
        Drift {
            offset_ns: rng.below(1 << 40),
            rate: RIGHT - RIGHT / 10 + rng.below(RIGHT / 5),
            wall_ms: rng.below(7_200_000) as i64 - 3_600_000,
        }
    }
}

impl More {
    fn draw(rng: &mut Rng, drifts: bool) -> More {
        More {
            stalls: pick(rng, &[0, 0, 2_000, 20_000]),
            stall_ms: pick(rng, &[30, 700, 2_000]),
            room: pick(rng, &[None, None, Some(0), Some(500), Some(20_000)]),
            harm_ms: pick(rng, &[10, 60, 300]),
            evicts: rng.one_in(2),
            rots: rng.one_in(2),
            pause_ms: pick(rng, &[0, 0, 50, 4_000, 60_000]),
            steps: drifts && rng.one_in(2),
            hostile: pick(rng, &[0, 0, 1, 1, 2]),
        }
    }
}

impl Faults {
    fn draw(rng: &mut Rng) -> Faults {
        let mut weight = |usual: u64| if rng.one_in(3) { 0 } else { usual };
        let (kill, power_loss) = (weight(4), weight(4));
        let (clean_stop, cut, hold) = (weight(1), weight(1), weight(1));
        Faults {
            // Without a crash there is nothing to recover from.
            kill: kill + u64::from(power_loss == 0),
            power_loss,
            clean_stop,
            cut,
            hold,
            every_ms: pick(rng, &[80, 250, 600]),
            again: pick(rng, &[2, 4, 1_000]),
            storm: pick(rng, &[2, 6, 20]),
        }
    }

    /// All weights together.
    pub(super) fn total(&self) -> u64 {
        self.kill + self.power_loss + self.clean_stop + self.cut + self.hold
    }
}

/// What the keeper of topics does.
fn habits(rng: &mut Rng, drifts: bool) -> Habits {
    let mut some = |of: &[i64]| if rng.one_in(2) { of.to_vec() } else { Vec::new() };
    let retention_ms = some(&[-1, 50, 400, LONGEST_KEPT_MS as i64]);
    let retention_bytes = some(&[-1, 0, 2_000, 20_000]);
    let segment_bytes = some(&[300, 1_000, 10_000]);
    Habits {
        pace: pick(rng, &[20, 80, 300]) * MS,
        trims: !rng.one_in(3),
        grows: rng.one_in(2),
        retention_ms,
        retention_bytes,
        segment_bytes,
        message_bytes: if rng.one_in(4) { vec![200, 2_000, 1 << 20] } else { Vec::new() },
        // Then it is known what time that is.
        restamps: !drifts && rng.one_in(2),
        cached: BTreeSet::new(),
    }
}

/// Segments so small that rolls happen all the time.
pub(super) fn segment_bytes(rng: &mut Rng) -> u32 {
    let spread = pick(rng, &[1_000, 15_000]);
    1_000 + rng.below(spread) as u32
}

/// One of several.
pub(super) fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    from[usize::try_from(rng.below(from.len() as u64)).expect("below the length")].clone()
}
