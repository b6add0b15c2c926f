//! What a seed makes of a run: sizes, speeds and faults, each on or off, each at a drawn rate (swarm testing, Groce
//! 2012).

use super::requests::partitions;
use crate::decisions::{Fault, Kind};
pub(super) use crate::dice::Dice;
use crate::workload::consumer;
use crate::workload::keeper::Habits;
use crate::workload::producer;

/// A millisecond.
pub(super) const MS: u64 = 1_000_000;
/// A second.
pub(super) const SECOND: u64 = 1_000 * MS;

/// A promise that the model disk breaks on purpose: each must be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Keeps every promise.
    None,
    /// A change is reported done while it is still under way.
    DoneBeforeSync,
    /// A failed sync is reported as done.
    FailureIgnored,
    /// Recovery reports what it read and did not make durable.
    RecoveredNotDurable,
    /// Recovery cuts a log where a batch is bad, whatever it knew to be on the device.
    CutSilently,
}

/// A topic of the workload.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) partitions: i32,
    /// Synced before it is acknowledged (`flush.messages` 1), or left to the page cache.
    pub(super) durable: bool,
    /// When someone creates it; `None`: by the first Metadata request that names it.
    pub(super) created_at: Option<u64>,
}

/// How often what goes wrong; 0 is never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// Mean nanoseconds between two faults of the broker or of a connection.
    pub(super) gap: u64,
    pub(super) kill: bool,
    pub(super) power: bool,
    pub(super) cut: bool,
    /// One in so many syncs fails.
    pub(super) sync_error: u64,
    /// One in so many writes fails.
    pub(super) write_error: u64,
    /// One in so many disk operations takes a second and more.
    pub(super) stall: u64,
    /// One in so many logs cannot be recovered this time.
    pub(super) recovery_error: u64,
    /// One in so many connections is given up without a word.
    pub(super) half_open: u64,
    pub(super) spells: Spells,
}

/// What goes wrong for a while, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spells {
    /// Mean nanoseconds between two.
    pub(super) gap: u64,
    pub(super) hold: bool,
    pub(super) cut_up: bool,
    pub(super) cut_down: bool,
    /// The longest time that the broker, or a client, stands still; 0: never.
    pub(super) pause: u64,
    pub(super) pause_clients: u64,
    pub(super) steps: bool,
    pub(super) full: bool,
    pub(super) slow: bool,
}

/// The parameters of one run.
#[derive(Clone, Debug)]
pub(super) struct Params {
    pub(super) dice: Dice,
    /// How long the workload runs; healing and reading back come after it.
    pub(super) duration: u64,
    pub(super) shards: u16,
    /// Whether a restart may change the number of shards.
    pub(super) resize: bool,
    pub(super) topics: Vec<Topic>,
    pub(super) default_partitions: i32,
    pub(super) segment_bytes: u32,
    pub(super) producers: u64,
    pub(super) consumers: u64,
    /// Clients that delete topics and make them again.
    pub(super) owners: u64,
    /// Producers without manners.
    pub(super) insistent: u64,
    /// What the one who looks after topics does; nothing: nobody does.
    pub(super) habits: Option<Habits>,
    /// The time between two looks for what is not kept, milliseconds.
    pub(super) retention_check_ms: u64,
    /// Mean nanoseconds between two batches of a producer.
    pub(super) think: u64,
    pub(super) mesh_delay: u64,
    pub(super) net_delay: u64,
    pub(super) disk_delay: u64,
    pub(super) request_timeout: u64,
    pub(super) delivery_timeout: u64,
    /// Whether the broker is told to end, now and then; and the mean nanoseconds between two times.
    pub(super) stops: bool,
    pub(super) stop_gap: u64,
    /// Nothing goes wrong at all: then everything is answered.
    pub(super) calm: bool,
    /// Whether the broker's clocks are wrong.
    pub(super) drifts: bool,
    /// Whether the disk comes to harm in the end, and when somebody copies it before.
    pub(super) harms: bool,
    pub(super) copies_at: Option<u64>,
    pub(super) faults: Faults,
    pub(super) canary: Canary,
}

/// The longest `retention.ms` that a topic gets, milliseconds.
pub(super) const LONGEST_KEPT_MS: u64 = 30_000;

/// What the keeper of topics does.
fn habits(dice: &Dice, topics: &[Topic], drifts: bool) -> Habits {
    let some = |what: &str, of: &[i64]| if dice.set_one_in(what, 0, 2) { of.to_vec() } else { Vec::new() };
    Habits {
        pace: dice.set_to("keeper's pace", &[300, 1_000, 4_000]) * MS,
        trims: dice.set_one_in("trims", 0, 2),
        grows: dice.set_one_in("grows", 0, 2),
        retention_ms: some("retention.ms", &[-1, 300, 5_000, LONGEST_KEPT_MS as i64]),
        retention_bytes: some("retention.bytes", &[-1, 0, 1_000, 20_000]),
        segment_bytes: some("segment.bytes", &[200, 1_000, 10_000]),
        message_bytes: if dice.set_one_in("max.message.bytes", 0, 4) { vec![200, 400, 1 << 20] } else { Vec::new() },
        // Then it is known what time that is.
        restamps: dice.set_one_in("timestamp.type", 0, 3) && !drifts,
        cached: topics.iter().filter(|topic| !topic.durable).map(|topic| topic.name.clone()).collect(),
    }
}

impl Params {
    pub(super) fn of(dice: &Dice) -> Params {
        let param = |name: &str, of: &[u64]| dice.set_to(name, of);
        let some = |name: &str, times: u64| param(name, &[0, 1]) * times;
        let faults = Faults {
            gap: param("gap", &[3, 6, 12, 30]) * SECOND,
            kill: param("kill", &[0, 1]) == 1,
            power: param("power", &[0, 1]) == 1,
            cut: param("cut", &[0, 1]) == 1,
            sync_error: some("sync error", param("sync error rate", &[100, 1_000])),
            write_error: some("write error", param("write error rate", &[100, 1_000])),
            stall: some("stall", param("stall rate", &[20, 200])),
            recovery_error: some("recovery error", param("recovery error rate", &[8, 40])),
            half_open: some("half open", param("half open rate", &[1, 4])),
            spells: Spells::of(dice),
        };
        let calm = param("calm", &[1, 0, 0, 0, 0, 0]) == 1;
        let faults = if calm { faults.none() } else { faults };
        let harms = param("harms", &[0, 1]) == 1;
        let drifts = !calm && param("drifts", &[0, 0, 1]) == 1;
        let default_partitions = param("default partitions", &[1, 2, 5]) as i32;
        let duration = param("duration", &[30, 60, 120]) * SECOND;
        let topics = topics(dice, duration, default_partitions, &faults);
        Params {
            duration,
            shards: param("shards", &[1, 2, 2, 3]) as u16,
            resize: param("resize", &[0, 0, 1]) == 1,
            habits: (param("keeper", &[0, 1, 1]) == 1).then(|| habits(dice, &topics, drifts)),
            topics,
            default_partitions,
            segment_bytes: param("segment bytes", &[300, 2_000, 8_000, 1 << 20]) as u32,
            producers: param("producers", &[1, 2, 3, 4]),
            consumers: param("consumers", &[0, 1, 1, 2]),
            owners: param("owners", &[0, 0, 1, 2]),
            insistent: param("insistent", &[0, 0, 1, 2]),
            retention_check_ms: param("retention check", &[50, 1_000, 10_000]),
            think: param("think", &[20, 50, 200, 800]) * MS,
            mesh_delay: param("mesh delay", &[200, 20_000, MS, 30 * MS]),
            net_delay: param("net delay", &[50_000, 500_000, 20 * MS]),
            disk_delay: param("disk delay", &[20_000, 500_000, 5 * MS, 50 * MS]),
            request_timeout: param("request timeout", &[1, 3, 10]) * SECOND,
            delivery_timeout: param("delivery timeout", &[3, 20, 120]) * SECOND,
            stops: !calm && param("stops", &[0, 0, 1]) == 1,
            stop_gap: param("stop gap", &[5, 15, 40]) * SECOND,
            calm,
            drifts,
            harms,
            copies_at: harms.then(|| dice.set("copied", 0, 0, duration)),
            faults,
            canary: Canary::None,
            dice: dice.clone(),
        }
    }

    /// What producers do.
    pub(super) fn producer(&self) -> producer::Habits {
        producer::Habits {
            pace: self.think,
            values: 3,
            filler: 120,
            delivery: self.delivery_timeout,
            rest: 200 * MS,
            patience: vec![None, None, None, Some(4 * (self.net_delay + self.disk_delay))],
            foretold: partitions(self),
        }
    }

    /// How consumers go about it.
    pub(super) fn reading(&self) -> consumer::Habits {
        consumer::Habits { waits_ms: vec![5, 50, 100, 450, 450], rest: 150 * MS, expected: partitions(self) }
    }

    /// What goes wrong with the broker and its connections, as far as no more than time decides it.
    pub(super) fn plan(&self) -> Vec<Fault> {
        let Faults { gap, kill, power, cut, .. } = self.faults;
        let kinds = [(kill, Kind::Kill), (power, Kind::PowerLoss), (cut, Kind::Cut)];
        let kinds: Vec<Kind> = kinds.iter().filter(|(on, _)| *on).map(|(_, kind)| *kind).collect();
        self.dice.book().faults(|| {
            let dice = &self.dice;
            let mut at = 0;
            let times = (0..).map(|n| {
                at += dice.around("fault gap", n, gap);
                (n, at)
            });
            let times = times.take_while(|(_, at)| *at < self.duration && !kinds.is_empty());
            let fault = |(n, at)| {
                let kind = dice.pick("fault", n, &kinds);
                let again = kind != Kind::Cut && dice.one_in("again", n, 4);
                Fault {
                    down: dice.between("down", n, 10 * MS, 4 * SECOND),
                    again: again.then(|| dice.below("again after", n, 2 * self.disk_delay + 60 * MS)),
                    ..Fault::new(at, n, kind)
                }
            };
            let mut all: Vec<Fault> = times.map(fault).collect();
            all.extend(self.spells());
            all.extend(self.stops());
            all.sort_by_key(|fault| fault.at);
            all
        })
    }

    /// When the broker is told to end.
    fn stops(&self) -> Vec<Fault> {
        let (dice, mut at, mut all) = (&self.dice, 0, Vec::new());
        if !self.stops {
            return all;
        }
        for n in STOPS.. {
            at += dice.around("stop gap", n, self.stop_gap);
            if at >= self.duration {
                break;
            }
            all.push(Fault { down: dice.between("down", n, 10 * MS, 4 * SECOND), ..Fault::new(at, n, Kind::Stop) });
        }
        all
    }

    /// What goes wrong for a while.
    fn spells(&self) -> Vec<Fault> {
        let Spells { gap, hold, cut_up, cut_down, pause, pause_clients, steps, full, slow } = self.faults.spells;
        let kinds = [
            (hold, Kind::Hold, 20 * SECOND),
            (cut_up, Kind::CutUp, 10 * SECOND),
            (cut_down, Kind::CutDown, 10 * SECOND),
            (pause > 0, Kind::Pause, pause),
            (pause_clients > 0, Kind::PauseClients, pause_clients),
            (steps && self.drifts, Kind::ClockStep, MS),
            (full, Kind::Full, 6 * SECOND),
            (slow, Kind::Slow, 10 * SECOND),
        ];
        let kinds: Vec<(Kind, u64)> =
            kinds.iter().filter(|(on, ..)| *on).map(|(_, kind, most)| (*kind, *most)).collect();
        if kinds.is_empty() {
            return Vec::new();
        }
        let (dice, mut at, mut all) = (&self.dice, 0, Vec::new());
        for n in SPELLS.. {
            at += dice.around("spell gap", n, gap);
            if at >= self.duration {
                break;
            }
            let (kind, most) = dice.pick("spell", n, &kinds);
            all.push(Fault { down: dice.between("lasts", n, MS, most), ..Fault::new(at, n, kind) });
        }
        all
    }
}

/// The number of the first spell, and of the first end in order: others have theirs.
const SPELLS: u64 = 1 << 22;
const STOPS: u64 = 3 << 22;

impl Spells {
    fn of(dice: &Dice) -> Spells {
        let on = |name: &str| dice.set_to(name, &[0, 1]) == 1;
        // In every other run there are none, so that what they hide shows there.
        if !on("spells") {
            return Spells::default();
        }
        Spells {
            gap: dice.set_to("spell gap", &[2, 5, 15]) * SECOND,
            hold: on("hold"),
            cut_up: on("cut up"),
            cut_down: on("cut down"),
            pause: dice.set_to("pause", &[0, 0, 500, 30_000]) * MS,
            pause_clients: dice.set_to("pause clients", &[0, 2_000, 40_000]) * MS,
            steps: on("clock step"),
            full: on("full"),
            slow: on("slow"),
        }
    }
}

impl Faults {
    pub(super) fn none(self) -> Faults {
        let (sync_error, write_error, stall, recovery_error, half_open) = (0, 0, 0, 0, 0);
        let (kill, power, cut, spells) = (false, false, false, Spells::default());
        Faults { gap: self.gap, kill, power, cut, sync_error, write_error, stall, recovery_error, half_open, spells }
    }
}

/// At least one topic from the start, some more later. What the page cache keeps is promised only where no device ever
/// loses it.
fn topics(dice: &Dice, duration: u64, default_partitions: i32, faults: &Faults) -> Vec<Topic> {
    let may_cache = !faults.power && faults.sync_error == 0 && faults.write_error == 0;
    let may_cache = may_cache && faults.recovery_error == 0 && !faults.spells.full;
    let topic = |n: u64| {
        let auto = n > 0 && dice.set_one_in("topic made by metadata", n, 3);
        Topic {
            name: format!("topic-{n}"),
            partitions: if auto { default_partitions } else { dice.set("partitions", n, 1, 4) as i32 },
            durable: auto || !may_cache || dice.set_one_in("topic durable", n, 2),
            created_at: (!auto).then(|| if n == 0 { 0 } else { dice.set("topic created at", n, 0, duration / 2) }),
        }
    };
    (0..dice.set("topics", 0, 1, 3)).map(topic).collect()
}
