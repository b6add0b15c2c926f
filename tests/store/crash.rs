//! A scripted life is recorded; power is lost after every prefix of its disk operations, in several ways each; and once
//! more in the middle of the recovery from that. What is acknowledged stays, what is shown was asked for, and what the
//! first recovery reported the second one does not take back. The model disk of the engine `direct` goes through all of
//! it, too, but for truncations, which one broker alone never asks for: what is found it could have left.

use super::model::{End, Model};
use super::world::{Store, device, journaled, live, small};
use bytes::Bytes;
use klamm::disk::logs::Options;
use klamm::host::Disk;
use klamm_core::effect::{Effect, Input};
use klamm_core::ids::{Instant, LeaderEpoch, LogId, Now, Offset, ShardIndex, Timestamp, Uuid};
use klamm_core::log::{Ballot, Found};
use klamm_core::rng::Rng;
use klamm_sim::direct::follow;
use klamm_sim::disk::{Crash, Device, Parameters, Recording, SimDisk};
use klamm_sim::world::Taped;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

const SEGMENT_BYTES: u64 = 2000;

/// What a script asked for, and when, counted in calls of the disk.
struct Tape {
    recording: Recording,
    models: Vec<Model>,
    /// For each log, when each change was asked for.
    asked: Vec<Vec<usize>>,
    /// For each log, when each change ended.
    ended: BTreeMap<LogId, Vec<usize>>,
    /// All of that, in order.
    steps: Vec<(usize, Taped)>,
    options: fn() -> Options,
}

/// A life that is being recorded.
struct Scribe {
    device: Device,
    models: Vec<Model>,
    asked: Vec<Vec<usize>>,
    steps: Rc<RefCell<Vec<(usize, Taped)>>>,
}

/// A shard was told something, or wanted something.
fn step(input: Input, effects: Vec<Effect>) -> Taped {
    let now = Now { monotonic: Instant(0), wall: Timestamp(0) };
    Taped::Step { shard: ShardIndex(0), now, input, effects }
}

impl Scribe {
    fn log(&mut self, topic: u64, partition: i32, name: &str) -> usize {
        let topic = if topic == 0 { Uuid::METADATA } else { Uuid::from_halves(1, topic) };
        self.models.push(Model::new(LogId { topic, partition }, name));
        self.asked.push(Vec::new());
        self.models.len() - 1
    }

    fn ask(&mut self, store: &Store<impl Disk>, log: usize, f: impl FnOnce(&mut Model) -> Effect) {
        let calls = self.device.disk().recording().unwrap().len();
        self.asked[log].push(calls);
        let effect = f(&mut self.models[log]);
        self.steps.borrow_mut().push((calls, step(Input::Tick, vec![effect.clone()])));
        store.logs.change(effect);
    }
}

fn record(
    seed: u64,
    options: fn() -> Options,
    script: impl AsyncFnOnce(&mut Scribe, &Store<klamm_sim::disk::SimDiskHandle>),
) -> Tape {
    let sector = if seed.is_multiple_of(2) { 512 } else { 4096 };
    let device = device(SimDisk::recorded(seed, Parameters { sector, ..Parameters::default() }));
    let ended: Rc<RefCell<BTreeMap<LogId, Vec<usize>>>> = Rc::default();
    let steps: Rc<RefCell<Vec<(usize, Taped)>>> = Rc::default();
    let mut scribe = Scribe { device: device.clone(), models: Vec::new(), asked: Vec::new(), steps: steps.clone() };
    live(&device, None, async |disk| {
        let (device, ended, steps) = (device.clone(), ended.clone(), steps.clone());
        let told = move |input: &Input| {
            let calls = device.disk().recording().unwrap().len();
            steps.borrow_mut().push((calls, step(input.clone(), Vec::new())));
            match input {
                Input::Done { log, seq } => {
                    ended.borrow_mut().entry(*log).or_default().resize(seq.0 as usize + 1, calls);
                }
                other => panic!("{other:?}"),
            }
        };
        let store = Store::start_with(disk, options(), Rc::new(told)).await.unwrap();
        script(&mut scribe, &store).await;
        for model in &mut scribe.models {
            store.settle(model).await;
        }
    });
    let recording = device.disk().recording().unwrap().clone();
    let (ended, steps) = (ended.take(), steps.take());
    Tape { recording, models: scribe.models, asked: scribe.asked, ended, steps, options }
}

type Seen = Vec<Option<(Found, Bytes)>>;

/// Recovers, and says what became of each log; `None` when `rounds` ran out first.
impl Tape {
    fn recover(&self, disk: &Device, rounds: Option<usize>) -> Option<Seen> {
        self.recover_telling(disk, rounds, Rc::new(|_: &Input| {}))
    }

    fn recover_telling(&self, disk: &Device, rounds: Option<usize>, told: Rc<dyn Fn(&Input)>) -> Option<Seen> {
        live(disk, rounds, async |disk| {
            let store = Store::start_with(disk, (self.options)(), told).await.unwrap();
            let mut seen = Vec::new();
            for model in &self.models {
                seen.push(store.found(model.log).await);
            }
            let known = |log: &LogId| self.models.iter().any(|m| m.log == *log);
            assert!(store.recovered.iter().all(|(log, ..)| known(log)));
            // As a host does when every shard has recovered; a crash may cut it short.
            store.logs.clone().forget_journals(&[]).await.unwrap();
            seen
        })
    }

    /// After how many changes each log is what was seen, when the life ended after so many calls.
    fn judge(&self, calls: usize, seen: &Seen, end: End, what: &str) -> Vec<usize> {
        let judge = |(i, found): (usize, &Option<(Found, Bytes)>)| {
            let model = &self.models[i];
            let ended = self.ended.get(&model.log).map_or(&[][..], Vec::as_slice);
            let done = ended.iter().filter(|t| **t <= calls).count();
            let most = self.asked[i].iter().filter(|t| **t < calls).count().max(done);
            model.find(found.as_ref(), done, most, end, &format!("{end:?} after {calls} calls, {what}"))
        };
        seen.iter().enumerate().map(judge).collect()
    }

    /// The model disk of `direct` could have left this, too.
    fn is_followed(&self, calls: usize, seen: &Seen, end: End, what: &str) {
        let truncates = |taped: &Taped| match taped {
            Taped::Step { effects, .. } => effects.iter().any(|e| matches!(e, Effect::Truncate { .. })),
            Taped::Begins(_) | Taped::Crash { .. } | Taped::Harmed => false,
        };
        let asks = |taped: &Taped| matches!(taped, Taped::Step { effects, .. } if !effects.is_empty());
        let happened = self.steps.iter().filter(|(at, taped)| *at < calls || (*at == calls && !asks(taped)));
        let mut tape: Vec<Taped> = happened.map(|(_, taped)| taped.clone()).collect();
        if tape.iter().any(truncates) {
            return;
        }
        tape.push(Taped::Crash { power: end == End::PowerLoss });
        for (model, found) in self.models.iter().zip(seen) {
            if let Some((found, _)) = found {
                let (log, name, found) = (model.log, model.name.clone(), Ok(Box::new(found.clone())));
                tape.push(step(Input::Recovered { log, name, found }, Vec::new()));
            }
        }
        tape.push(step(Input::Started, Vec::new()));
        follow(&tape).unwrap_or_else(|why| panic!("{end:?} after {calls} calls, {what}: {why}"));
    }

    /// Appends to what there is, and loses power once more.
    fn go_on(&self, disk: &Device, at: &[usize], seen: &Seen, seed: u64) {
        let mut models = self.models.clone();
        live(disk, None, async |disk| {
            let store = Store::start(disk, (self.options)()).await.unwrap();
            for ((model, changes), found) in models.iter_mut().zip(at).zip(seen) {
                model.recovered(*changes, found.as_ref());
                model.epoch = LeaderEpoch(9);
                if model.now().exists {
                    store.append(model, 2, 300, true, SEGMENT_BYTES).await;
                    store.append(model, 1, 100, true, SEGMENT_BYTES).await;
                }
            }
        })
        .unwrap();
        disk.crash(Crash::PowerLoss, seed);
        let seen = self.recover(disk, None).unwrap();
        for (model, found) in models.iter().zip(&seen) {
            let last = model.durable.len();
            model.find(found.as_ref(), last, last, End::PowerLoss, "after appending to what was recovered");
        }
    }

    /// What is seen after a crash is still there after a power loss.
    fn is_durable(&self, disk: &Device, seen: &Seen, seed: u64, what: &str) {
        disk.crash(Crash::PowerLoss, seed);
        let again = self.recover(disk, None).unwrap();
        for (first, second) in seen.iter().zip(&again) {
            let (Some(first), Some(second)) = (first, second) else {
                assert!(first.is_none() && second.is_none(), "{what}: a log comes and goes");
                continue;
            };
            assert_eq!((&first.0.state, &first.1), (&second.0.state, &second.1), "{what}");
            assert_eq!(second.0.torn_bytes, 0, "{what}: recovery leaves no torn tail");
        }
    }

    /// A recovery that is cut short, by power or by a kill, and then a whole one: what the first reported stays.
    fn cut_short(&self, disk: &Device, calls: usize, end: End, rng: &mut Rng) {
        let (rounds, seed) = (rng.below(40) as usize, rng.draw());
        let reported: Rc<RefCell<Vec<(LogId, Found)>>> = Rc::default();
        let told = reported.clone();
        let told = Rc::new(move |input: &Input| {
            if let Input::Recovered { log, found: Ok(found), .. } = input {
                told.borrow_mut().push((*log, (**found).clone()));
            }
        });
        if self.recover_telling(disk, Some(rounds), told).is_some() {
            return;
        }
        let kill = end == End::Kill && rng.one_in(2);
        disk.crash(if kill { Crash::Kill } else { Crash::PowerLoss }, seed);
        let seen = self.recover(disk, None).unwrap();
        let end = if kill { End::Kill } else { End::PowerLoss };
        self.judge(calls, &seen, end, &format!("again after {rounds} rounds, {kill}, {seed}"));
        for (log, found) in reported.borrow().iter() {
            let i = self.models.iter().position(|m| m.log == *log).unwrap();
            let now = seen[i].as_ref().map(|(found, _)| &found.state);
            assert_eq!(now, Some(&found.state), "{calls} calls, {rounds} rounds, seed {seed}: it was reported");
        }
    }

    /// Every prefix; a kill, and `ways` power losses, of each.
    fn crash_everywhere(&self, ways: u64) {
        let mut rng = Rng::new(ways);
        for calls in 0..=self.recording.len() {
            for way in 0..=ways {
                let seed = calls as u64 * 1000 + way;
                let (end, crash) =
                    if way == ways { (End::Kill, Crash::Kill) } else { (End::PowerLoss, Crash::PowerLoss) };
                let mut dead = self.recording.replay(calls);
                dead.crash(crash, seed);
                let disk = device(dead.clone());
                let seen = self.recover(&disk, None).unwrap();
                let at = self.judge(calls, &seen, end, &format!("seed {seed}"));
                self.is_followed(calls, &seen, end, &format!("seed {seed}"));
                self.is_durable(&disk, &seen, seed, &format!("{end:?} after {calls} calls, seed {seed}"));
                if way == 0 {
                    self.go_on(&disk, &at, &seen, seed);
                }
                // After a kill the page cache shows what the device may not have: more can go wrong.
                for _ in 0..if end == End::Kill { 4 } else { 1 } {
                    self.cut_short(&device(dead.clone()), calls, end, &mut rng);
                }
            }
        }
    }
}

#[test]
fn a_synced_log_survives_a_power_loss_after_any_operation() {
    for options in [small, journaled] {
        let tape = record(1, options, async |s, store| {
            let a = s.log(1, 0, "a");
            s.ask(store, a, Model::open);
            for i in 0..12 {
                s.ask(store, a, |m| m.append(1 + i % 3, 150 + 40 * i, true, SEGMENT_BYTES));
                if i % 3 == 0 {
                    store.settle(&mut s.models[a]).await;
                }
            }
            s.ask(store, a, |m| m.append(1, 3000, true, SEGMENT_BYTES));
            s.ask(store, a, |m| m.append(1, 10, true, SEGMENT_BYTES));
        });
        tape.crash_everywhere(3);
    }
}

#[test]
fn an_unsynced_log_shows_only_what_was_written_to_it() {
    for options in [small, journaled] {
        let tape = record(2, options, async |s, store| {
            let a = s.log(1, 0, "a");
            s.ask(store, a, Model::open);
            for i in 0..20 {
                let sync = i == 7 || i == 8 || i == 15;
                s.ask(store, a, |m| m.append(1 + i % 3, 150 + 40 * i, sync, SEGMENT_BYTES));
                if i % 4 == 0 {
                    store.settle(&mut s.models[a]).await;
                }
            }
        });
        tape.crash_everywhere(4);
    }
}

#[test]
fn what_was_flushed_survives_a_power_loss() {
    for options in [small, journaled] {
        let tape = record(6, options, async |s, store| {
            let a = s.log(1, 0, "a");
            s.ask(store, a, Model::open);
            for i in 0..18 {
                s.ask(store, a, |m| m.append(1 + i % 3, 150 + 60 * i, i == 13, SEGMENT_BYTES));
                if i % 4 == 2 {
                    s.ask(store, a, Model::flush);
                }
                if i % 5 == 0 {
                    store.settle(&mut s.models[a]).await;
                }
            }
            s.ask(store, a, Model::flush);
        });
        tape.crash_everywhere(4);
    }
}

#[test]
fn cuts_are_whole_or_not_at_all() {
    for seed in [3, 4] {
        for options in [small, journaled] {
            let tape = record(seed, options, async |s, store| {
                let a = s.log(1, 0, "a");
                s.ask(store, a, Model::open);
                for i in 0..14 {
                    s.ask(store, a, |m| m.append(2, 500, seed == 3 || i % 3 == 0, SEGMENT_BYTES));
                }
                store.settle(&mut s.models[a]).await;
                if seed == 4 {
                    // What was lent is not cut in place.
                    store.logs.lease(s.models[a].log, Offset(0), Offset(100), u32::MAX).await.unwrap();
                }
                // Inside the active segment, then into one that is closed; with appends before and behind in the queue.
                s.ask(store, a, |m| m.truncate(Offset(26)));
                s.ask(store, a, |m| m.append(1, 200, true, SEGMENT_BYTES));
                s.ask(store, a, |m| m.truncate(Offset(8)));
                s.ask(store, a, |m| m.append(1, 200, true, SEGMENT_BYTES));
                s.ask(store, a, |m| m.append(2, 2000, true, SEGMENT_BYTES));
                store.settle(&mut s.models[a]).await;
                s.ask(store, a, |m| m.trim(Offset(9)));
                s.ask(store, a, |m| m.append(2, 1500, seed == 3, SEGMENT_BYTES));
                s.ask(store, a, |m| m.trim(Offset(13)));
                s.ask(store, a, |m| m.truncate(Offset(13)));
                s.ask(store, a, |m| m.append(2, 1500, true, SEGMENT_BYTES));
            });
            tape.crash_everywhere(3);
        }
    }
}

#[test]
fn logs_are_made_and_removed_whole() {
    for options in [small, journaled] {
        let tape = record(5, options, async |s, store| {
            let quorum = s.log(0, 0, "__cluster_metadata");
            s.ask(store, quorum, Model::open);
            s.ask(store, quorum, |m| m.persist(Ballot { epoch: LeaderEpoch(1), voted_for: 1 }));
            let old = s.log(1, 0, "t");
            s.ask(store, old, Model::open);
            s.ask(store, old, |m| m.append(1, 100, true, SEGMENT_BYTES));
            store.settle(&mut s.models[old]).await;
            s.ask(store, quorum, |m| m.persist(Ballot { epoch: LeaderEpoch(2), voted_for: -1 }));
            // The same name again, while the old one is still there.
            let new = s.log(2, 0, "t");
            s.ask(store, new, Model::open);
            s.ask(store, new, |m| m.append(1, 200, true, SEGMENT_BYTES));
            s.ask(store, old, Model::remove);
            let other = s.log(2, 1, "t");
            s.ask(store, other, Model::open);
            store.settle(&mut s.models[old]).await;
            let third = s.log(3, 0, "t");
            s.ask(store, third, Model::open);
            s.ask(store, third, |m| m.append(3, 300, true, SEGMENT_BYTES));
        });
        tape.crash_everywhere(5);
    }
}

#[test]
fn what_shares_a_sync_survives_a_power_loss_after_any_operation() {
    for seed in [7, 8] {
        let tape = record(seed, journaled, async |s, store| {
            let logs = [1, 2, 3, 4].map(|topic| s.log(topic, 0, &format!("t{topic}")));
            for log in logs {
                s.ask(store, log, Model::open);
                store.settle(&mut s.models[log]).await;
            }
            for round in 0..16 {
                for (i, log) in logs.into_iter().enumerate().filter(|(i, _)| round < 8 || *i != 3) {
                    s.ask(store, log, |m| m.append(1 + i % 2, 80 + 60 * i, true, SEGMENT_BYTES));
                }
                match round {
                    // What is cut, trimmed or removed here is in the journal, and what follows is, too.
                    5 => s.ask(store, logs[0], |m| m.truncate(Offset(4))),
                    6 => s.ask(store, logs[1], |m| m.trim(Offset(7))),
                    7 => s.ask(store, logs[3], Model::remove),
                    8 => s.ask(store, logs[2], |m| m.append(1, 50, false, SEGMENT_BYTES)),
                    _ => {}
                }
                if seed == 7 || round % 3 == 0 {
                    for log in logs {
                        store.settle(&mut s.models[log]).await;
                    }
                }
            }
            // A volume was used up, and has begun its next turn: it says so in its second header.
            let file = store.disk.open("journal.0000000001.0of1.0", false).await.unwrap();
            let header = store.disk.read(&file, 4096, 14).await.unwrap();
            assert_eq!(header[6..], 2u64.to_be_bytes(), "seed {seed}: the journal was not used enough");
        });
        tape.crash_everywhere(2);
    }
}
