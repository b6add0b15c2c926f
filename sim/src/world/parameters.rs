//! What is drawn for a run, once, from its seed: each fault and each knob is on or off, with a drawn rate (swarm
//! testing: Groce 2012). A run in which everything happens at one rate finds less than runs that differ.

use crate::clock::{Drift, RIGHT};
use crate::dice::Dice;
use crate::disk;
use crate::workload::consumer;
use crate::workload::keeper::Habits;
use crate::workload::producer;
use klamm_core::rng::Rng;
use std::collections::BTreeSet;

/// One millisecond, in nanoseconds.
pub(super) const MS: u64 = 1_000_000;

/// One hour, in milliseconds: clocks are off by up to that.
pub(super) const HOUR_MS: u64 = 3_600_000;

/// How long producers wait for an answer: some give up while what they asked for is still under way.
const PATIENCE_MS: [u64; 5] = [1_500, 1_500, 1_500, 40, 8];

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
    pub(super) owed_bytes: u64,
    /// The disk when it is well.
    pub(super) disk: disk::Parameters,
    /// Errors of the disk while it is not, in a million.
    pub(super) sync_errors: u64,
    pub(super) write_errors: u64,
    pub(super) producers: u32,
    /// Producers without manners.
    pub(super) insistent: u32,
    pub(super) consumers: u32,
    /// Clients that delete topics and make them again.
    pub(super) owners: u32,
    /// What the one who looks after topics does; nothing: nobody does.
    pub(super) habits: Option<Habits>,
    /// The time between two looks for what is not kept.
    pub(super) retention_check_ms: u64,
    /// Milliseconds that a producer thinks between batches, at most.
    pub(super) think_ms: u64,
    /// How long a producer tries to deliver a batch.
    pub(super) delivery_ms: u64,
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
    /// When a copy of the disk is made that may come back, milliseconds after faults begin.
    pub(super) copied_ms: u64,
    /// What else goes wrong.
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
    /// The broker's process stands still, so long at most; and its wall clock is set.
    pub(super) pause_ms: u64,
    pub(super) steps: bool,
    /// Some clients stand still, so long at most.
    pub(super) pause_clients_ms: u64,
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
    pub(super) fn draw(dice: &Dice) -> Parameters {
        let to = |name: &str, of: &[u64]| dice.set_to(name, of);
        let drifts = dice.set_one_in("drifts", 0, 2);
        let work_ms = dice.set("work ms", 0, 1_500, 3_999);
        Parameters {
            shards: to("shards", &[1, 2, 2, 3]) as u16,
            reshards: dice.set_one_in("reshards", 0, 3),
            topics: topics(dice),
            later_topics: to("later topics", &[0, 0, 1, 3]) as u32,
            segment_bytes: to("segment bytes", &[300, 700, 2_000, 1 << 20]) as u32,
            zero_fill: to("zero fill", &[0, 0, 600, 5_000, 40_000]),
            mark_every: to("mark every", &[500, 4_000, 50_000, 16 << 20]),
            log_tail_bytes: to("log tail bytes", &[0, 1_000, 256 << 10]),
            open_files: to("open files", &[1, 4, 512]) as usize,
            disk: disk::Parameters {
                sector: to("sector", &[512, 4_096]) as usize,
                write_ns: 0..=to("write us", &[0, 0, 500, 3_000]) * 1_000,
                sync_ns: 100_000..=to("sync ms", &[1, 1, 4, 20]) * MS,
                read_ns: 0..=to("read ns", &[200_000, 3 * MS]),
                other_ns: 0..=to("other ns", &[500_000, 3 * MS]),
                ..disk::Parameters::default()
            },
            sync_errors: to("sync errors", &[0, 0, 1_000, 10_000, 50_000]),
            write_errors: to("write errors", &[0, 0, 1_000, 10_000]),
            producers: dice.set("producers", 0, 1, 3) as u32,
            insistent: to("insistent", &[0, 0, 1, 2]) as u32,
            consumers: dice.set("consumers", 0, 1, 2) as u32,
            owners: to("owners", &[0, 1, 1, 2]) as u32,
            habits: (!dice.set_one_in("no keeper", 0, 3)).then(|| habits(dice, drifts)),
            retention_check_ms: to("retention check ms", &[20, 200]),
            think_ms: to("think ms", &[1, 10, 40]),
            delivery_ms: to("delivery ms", &[300, 1_000, 4_000]),
            batch_records: to("batch records", &[1, 3, 20]),
            record_bytes: to("record bytes", &[8, 100, 700]),
            latency_ms: to("latency ms", &[0, 1, 4, 20]),
            work_ms,
            copied_ms: dice.set("copied ms", 0, 0, work_ms - 1),
            faults: Faults::draw(dice),
            drifts,
            more: More::draw(dice, drifts),
            journal_bytes: to("journal bytes", &[0, 16 << 10, 64 << 10, 512 << 10]),
            journal_least: to("journal least", &[1, 1, 2]) as usize,
            owed_bytes: to("owed bytes", &[500, 5_000, 256 << 10]),
        }
    }

    /// How consumers go about it.
    pub(super) fn reading(&self) -> consumer::Habits {
        consumer::Habits { waits_ms: vec![0, 5, 100, 500], rest: 30 * MS, expected: Vec::new() }
    }

    /// After so long all that is not kept must be gone.
    pub(super) fn quiet_ms(&self) -> u64 {
        LONGEST_KEPT_MS + 5 * self.retention_check_ms + 1_000
    }

    /// What producers do.
    pub(super) fn producer(&self) -> producer::Habits {
        let topics = (0..).zip(&self.topics);
        let partitions = |(n, (partitions, _)): (u32, &(i32, u32))| {
            (0..*partitions).map(move |partition| (format!("topic-{n}"), partition))
        };
        producer::Habits {
            pace: self.think_ms * MS / 2,
            values: self.batch_records,
            filler: self.record_bytes,
            delivery: self.delivery_ms * MS,
            rest: 60 * MS,
            patience: PATIENCE_MS.map(|ms| Some(ms * MS)).to_vec(),
            foretold: topics.flat_map(partitions).collect(),
        }
    }

    /// The disk while it is ill.
    pub(super) fn ill_disk(&self) -> disk::Parameters {
        let (sync_errors, write_errors) = (self.sync_errors, self.write_errors);
        let More { stalls, stall_ms, .. } = self.more;
        disk::Parameters { sync_errors, write_errors, stalls, stall_ns: 0..=stall_ms * MS, ..self.disk.clone() }
    }

    /// The clocks of one life: up to 10 % fast or slow, and off by up to an hour either way.
    pub(super) fn drift(&self, dice: &Dice, life: u64) -> Drift {
        if !self.drifts {
            return Drift { offset_ns: 0, rate: RIGHT, wall_ms: 0 };
        }
        let fate = |site: &str, right: u64, least: u64, width: u64| {
            dice.fate(site, life, right, || least + dice.below(site, life, width))
        };
        Drift {
            offset_ns: fate("clock's start", 0, 0, 1 << 40),
            rate: fate("clock's rate", RIGHT, RIGHT - RIGHT / 10, RIGHT / 5).max(1),
            wall_ms: fate("wall clock", HOUR_MS, 0, 2 * HOUR_MS) as i64 - HOUR_MS as i64,
        }
    }
}

impl More {
    fn draw(dice: &Dice, drifts: bool) -> More {
        let to = |name: &str, of: &[u64]| dice.set_to(name, of);
        More {
            stalls: to("stalls", &[0, 0, 2_000, 20_000]),
            stall_ms: to("stall ms", &[30, 700, 2_000]),
            room: (to("disks fill", &[0, 0, 1, 1, 1]) == 1).then(|| to("room", &[0, 500, 20_000])),
            harm_ms: to("harm ms", &[10, 60, 300]),
            evicts: dice.set_one_in("evicts", 0, 2),
            rots: dice.set_one_in("rots", 0, 2),
            pause_ms: to("pause ms", &[0, 0, 50, 1_000, 6_000]),
            steps: drifts && dice.set_one_in("steps", 0, 2),
            pause_clients_ms: to("pause clients ms", &[0, 0, 300, 6_000]),
            hostile: to("hostile", &[0, 0, 1, 1, 2]) as u32,
        }
    }
}

impl Faults {
    fn draw(dice: &Dice) -> Faults {
        let weight = |name: &str, usual: u64| if dice.set_one_in(name, 0, 3) { 0 } else { usual };
        let (kill, power_loss) = (weight("no kill", 4), weight("no power loss", 4));
        Faults {
            // Without a crash there is nothing to recover from.
            kill: kill + u64::from(power_loss == 0),
            power_loss,
            clean_stop: weight("no stop", 1),
            cut: weight("no cut", 1),
            hold: weight("no hold", 1),
            every_ms: dice.set_to("every ms", &[80, 250, 600]),
            again: dice.set_to("again", &[2, 4, 1_000]),
            storm: dice.set_to("storm", &[2, 6, 20]),
        }
    }

    /// All weights together.
    pub(super) fn total(&self) -> u64 {
        self.kill + self.power_loss + self.clean_stop + self.cut + self.hold
    }
}

/// What the keeper of topics does.
fn habits(dice: &Dice, drifts: bool) -> Habits {
    let some = |what: &str, of: &[i64]| if dice.set_one_in(what, 0, 2) { of.to_vec() } else { Vec::new() };
    Habits {
        pace: dice.set_to("keeper's pace", &[20, 80, 300]) * MS,
        trims: !dice.set_one_in("no trims", 0, 3),
        grows: dice.set_one_in("grows", 0, 2),
        retention_ms: some("retention.ms", &[-1, 50, 400, LONGEST_KEPT_MS as i64]),
        retention_bytes: some("retention.bytes", &[-1, 0, 2_000, 20_000]),
        segment_bytes: some("segment.bytes", &[300, 1_000, 10_000]),
        message_bytes: if dice.set_one_in("max.message.bytes", 0, 4) { vec![200, 2_000, 1 << 20] } else { Vec::new() },
        // Then it is known what time that is.
        restamps: !drifts && dice.set_one_in("timestamp.type", 0, 2),
        cached: BTreeSet::new(),
    }
}

/// Those that exist from the start.
fn topics(dice: &Dice) -> Vec<(i32, u32)> {
    let topic = |n| {
        let most = if dice.set_one_in("small segments", n, 2) { 2_000 } else { 16_000 };
        let segment = dice.set("segment of a topic", n, 1_000, most);
        (dice.set("partitions", n, 1, 3) as i32, segment as u32)
    };
    (0..dice.set("topics", 0, 1, 2)).map(topic).collect()
}

/// One of several.
pub(super) fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    from[usize::try_from(rng.below(from.len() as u64)).expect("below the length")].clone()
}
