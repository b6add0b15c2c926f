//! Drawn changes, leases and restarts against the model, over a simulated disk and a real one.

use super::model::{End, Model};
use super::world::{Store, device, journaled, live, live_for_real, small};
use bytes::Bytes;
use klamm::disk::logs::Lease;
use klamm::disk::{AnyDisk, Driver};
use klamm::host::Disk;
use klamm_core::effect::{Lookup, Query};
use klamm_core::ids::{LeaderEpoch, LogId, Offset, Timestamp, Uuid};
use klamm_core::record::records;
use klamm_sim::disk::{Crash, Parameters, SimDisk};
use proptest::prelude::*;
use tokio::task::yield_now;

const SEGMENT_BYTES: u64 = 5000;

#[derive(Clone, Debug)]
enum Step {
    Append {
        records: usize,
        bytes: usize,
        sync: bool,
    },
    Truncate {
        pick: usize,
    },
    Trim {
        pick: usize,
    },
    Lease {
        from: usize,
        upto: usize,
        max_bytes: u32,
        keep: bool,
    },
    Since {
        at: i64,
        upto: usize,
    },
    Newest {
        upto: usize,
    },
    /// Others go on, and time with them.
    Pause {
        rounds: usize,
    },
    Flush,
    Settle,
    Epoch,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![4 => 1..400usize, 1 => 400..9000usize];
    prop_oneof![
        12 => (1..4usize, bytes, any::<bool>()).prop_map(|(records, bytes, sync)| Step::Append { records, bytes, sync }),
        1 => any::<usize>().prop_map(|pick| Step::Truncate { pick }),
        1 => any::<usize>().prop_map(|pick| Step::Trim { pick }),
        6 => (any::<usize>(), any::<usize>(), 0..12_000u32, any::<bool>())
            .prop_map(|(from, upto, max_bytes, keep)| Step::Lease { from, upto, max_bytes, keep }),
        1 => (900..1400i64, any::<usize>()).prop_map(|(at, upto)| Step::Since { at, upto }),
        1 => any::<usize>().prop_map(|upto| Step::Newest { upto }),
        1 => Just(Step::Flush),
        3 => Just(Step::Settle),
        3 => (1..120usize).prop_map(|rounds| Step::Pause { rounds }),
        1 => Just(Step::Epoch),
    ]
}

/// A life: steps, and how it ends.
fn lives() -> impl Strategy<Value = Vec<(Vec<Step>, End)>> {
    let end = prop_oneof![Just(End::Close), Just(End::Kill), Just(End::PowerLoss)];
    prop::collection::vec((prop::collection::vec(step(), 1..40), end), 1..4)
}

fn model() -> Model {
    Model::new(LogId { topic: Uuid::from_halves(1, 1), partition: 3 }, "played")
}

/// Plays one life's steps; every lease that was kept still has its bytes at the end.
async fn play<D: Disk>(store: &Store<D>, model: &mut Model, steps: &[Step]) {
    let mut kept: Vec<(Lease<D::File>, Bytes)> = Vec::new();
    if model.durable.is_empty() {
        store.logs.change(model.open());
        store.settle(model).await;
    }
    // Cuts that may not have begun: a lease that meets one may be empty.
    let mut cut_at = 0;
    for step in steps {
        let boundaries = model.now().boundaries();
        let start = model.now().start;
        let readable: Vec<_> = boundaries.iter().copied().filter(|b| *b >= start).collect();
        match *step {
            Step::Append { records, bytes, sync } => {
                store.logs.change(model.append(records, bytes, sync, SEGMENT_BYTES));
            }
            Step::Truncate { pick } => {
                // Near the end more often than not.
                let back = pick % 7 % readable.len().max(1);
                let Some(to) = readable.get(readable.len().saturating_sub(1 + back)) else { continue };
                store.logs.change(model.truncate(*to));
                cut_at = model.durable.len();
            }
            Step::Trim { pick } => {
                let back = pick % boundaries.len();
                store.logs.change(model.trim(boundaries[boundaries.len() - 1 - back]));
                cut_at = model.durable.len();
            }
            Step::Lease { from, upto, max_bytes, keep } => {
                let span = (model.now().end().0 - start.0) as usize + 1;
                let from = start.plus((from % span) as i64);
                let upto = if upto.is_multiple_of(3) { model.now().end() } else { start.plus((upto % span) as i64) };
                let (bytes, first) = model.now().read(from, upto, max_bytes);
                let cutting = store.ended(model.log) + model.before < cut_at;
                let lease = store.logs.lease(model.log, from, upto, max_bytes).await.unwrap();
                if cutting && lease.bytes == 0 {
                    continue;
                }
                let what = format!("{from} to {upto} of {readable:?}, {max_bytes} bytes");
                assert_eq!((lease.bytes, lease.first), (bytes.len() as u32, first), "{what}");
                assert!(store.bytes(&lease).await == bytes, "{what}");
                if keep {
                    kept.push((lease, bytes));
                }
            }
            Step::Since { at, upto } => {
                store.settle(model).await;
                let upto = boundaries[upto % boundaries.len()];
                let found = store.logs.look_up(model.log, Query::Timestamp { at: Timestamp(at), upto }).await;
                let expected = times(model, upto).into_iter().find(|(_, timestamp, _)| timestamp.0 >= at);
                assert_eq!(found, Lookup::Record(expected), "at {at}, below {upto}");
            }
            Step::Newest { upto } => {
                store.settle(model).await;
                let upto = boundaries[upto % boundaries.len()];
                let found = store.logs.look_up(model.log, Query::MaxTimestamp { upto }).await;
                let expected = times(model, upto).into_iter().min_by_key(|r| (-r.1.0, r.0));
                assert_eq!(found, Lookup::Record(expected), "newest below {upto}");
            }
            Step::Pause { rounds } => {
                for _ in 0..rounds {
                    yield_now().await;
                }
            }
            Step::Flush => store.logs.change(model.flush()),
            Step::Settle => store.settle(model).await,
            Step::Epoch => model.epoch = LeaderEpoch(model.epoch.0 + 1),
        }
    }
    for (lease, bytes) in &kept {
        assert!(store.bytes(lease).await == *bytes, "a lease changed");
    }
}

/// Every readable record below an offset.
fn times(model: &Model, upto: Offset) -> Vec<(Offset, Timestamp, LeaderEpoch)> {
    let state = model.now();
    let below = state.headers().zip(&state.batches).filter(|(h, _)| h.last_offset() < upto);
    let all = below
        .flat_map(|(h, b)| records(b).map(move |r| r.unwrap()).map(move |r| (r.offset, r.timestamp, h.leader_epoch)));
    all.filter(|r| r.0 >= state.start).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_the_model_whatever_ends_its_lives(lives in lives(), seed in 0..1000u64, shares: bool) {
        let options = if shares { journaled } else { small };
        let disk = device(SimDisk::new(seed, Parameters::default()));
        let mut model = model();
        let mut end = End::Close;
        for (steps, next_end) in &lives {
            live(&disk, None, async |handle| {
                let store = Store::start(handle, options()).await.unwrap();
                let found = store.found(model.log).await;
                let most = model.durable.len();
                let changes = model.find(found.as_ref(), model.done, most, end, &format!("after a {end:?}"));
                model.recovered(changes, found.as_ref());
                play(&store, &mut model, steps).await;
                match next_end {
                    End::Close => {
                        store.logs.close().await.unwrap();
                        store.settle(&mut model).await;
                    }
                    End::Kill | End::PowerLoss => model.done = model.before + store.ended(model.log),
                }
            });
            end = *next_end;
            disk.crash(if end == End::PowerLoss { Crash::PowerLoss } else { Crash::Kill }, seed);
        }
    }
}

fn directory(name: &str) -> std::path::PathBuf {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_real_disk_gives_the_same(lives in lives(), first: bool, shares: bool) {
        let options = if shares { journaled } else { small };
        let path = directory("store-played");
        let mut model = model();
        for (life, (steps, end)) in lives.iter().enumerate() {
            live_for_real(async || {
                // Each life has the other driver, where there are two.
                let driver = if first == (life % 2 == 0) { Driver::Auto } else { Driver::Blocking };
                let disk = AnyDisk::choose(path.clone(), driver).unwrap();
                let store = Store::start(disk, options()).await.unwrap();
                let found = store.found(model.log).await;
                let most = model.durable.len();
                model.find(found.as_ref(), most, most, End::Close, "another life");
                model.recovered(most, found.as_ref());
                play(&store, &mut model, steps).await;
                store.settle(&mut model).await;
                if *end == End::Close {
                    store.logs.close().await.unwrap();
                }
            });
        }
    }
}
