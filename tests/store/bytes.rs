//! What is in the files, and what is asked of the disk for it; and what no crash leaves behind, which is refused.

use super::model::{Model, crc};
use super::world::{Store, device, live, live_for_real, small};
use bytes::Bytes;
use klamm::disk::Blocking;
use klamm::disk::logs::{Options, Piece};
use klamm::host::Disk;
use klamm_core::effect::{Effect, Lookup, Query};
use klamm_core::ids::{LogId, Offset, Seq, Timestamp, Uuid};
use klamm_sim::disk::{Crash, Parameters, SimDisk, SimDiskHandle};
use std::fs;
use std::path::{Path, PathBuf};
use tokio::task::yield_now;

const NO_ROLL: u64 = u64::MAX;

fn model() -> Model {
    Model::new(LogId { topic: Uuid::METADATA, partition: 0 }, "__cluster_metadata")
}

fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// A life on a real disk.
fn life<T>(path: &Path, options: Options, life: impl AsyncFnOnce(&Store<Blocking>) -> T) -> T {
    live_for_real(async || {
        let disk = Blocking::open(path.to_path_buf(), 2).unwrap();
        let store = Store::start(disk, options).await.unwrap();
        life(&store).await
    })
}

/// A life on a simulated disk.
fn simulated<T>(disk: &klamm_sim::disk::Device, life: impl AsyncFnOnce(&Store<SimDiskHandle>) -> T) -> T {
    live(disk, None, async |handle| life(&Store::start(handle, small()).await.unwrap()).await).unwrap()
}

/// Every file and its bytes.
fn contents(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all.into_iter().map(|p| (p.clone(), fs::read(p).unwrap())).collect()
}

fn refusal(path: &Path) -> String {
    let before = contents(&path.join("__cluster_metadata-0"));
    let error = life(path, Options::new(crc), async |store| match &store.recovered[..] {
        [(_, _, Err(error))] => {
            let lease = store.logs.lease(LogId::METADATA, Offset(0), Offset(10), 100).await;
            assert!(lease.unwrap_err().to_string().contains(error), "a refused log lends nothing");
            error.clone()
        }
        other => panic!("not refused: {other:?}"),
    });
    assert!(contents(&path.join("__cluster_metadata-0")) == before, "a refused log is not touched");
    error
}

fn patch(path: &Path, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = path.join("__cluster_metadata-0").join(file);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

const FIRST: &str = "00000000000000000000.log";

#[test]
fn a_closed_log_is_kafkas_files() {
    let path = directory("store-layout");
    let mut model = model();
    life(&path, small(), async |store| {
        store.logs.change(model.open());
        for i in 0..8 {
            store.append(&mut model, 1 + i % 3, 900, true, 4000).await;
        }
        let folder = path.join("__cluster_metadata-0");
        let active = *model.now().bases.last().unwrap();
        let file = folder.join(format!("{:020}.log", active.0));
        // Zeros are ahead of the batches, after the next one at the latest: the first may still be in the way of a chore.
        let is_filled = |model: &Model| {
            fs::metadata(&file).unwrap().len() > model.now().checkpoint().segments.last().unwrap().bytes
        };
        while !is_filled(&model) {
            store.append(&mut model, 1, 10, true, NO_ROLL).await;
            for _ in 0..1000 {
                yield_now().await;
            }
        }
        store.logs.close().await.unwrap();
    });
    let folder = path.join("__cluster_metadata-0");
    let mut log = Vec::new();
    for base in &model.now().bases {
        let file = |extension: &str| fs::read(folder.join(format!("{:020}.{extension}", base.0))).unwrap();
        let segment = file("log");
        let (index, time) = (file("index"), file("timeindex"));
        assert_eq!((index.len() % 8, time.len() % 12), (0, 0));
        assert!(!time.is_empty(), "at least the segment's largest timestamp");
        log.extend(segment);
    }
    assert_eq!(log, model.now().batches.concat(), "batches back to back, no zeros behind them");
    let metadata = fs::read_to_string(folder.join("partition.metadata")).unwrap();
    assert_eq!(metadata, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n");
    let before = contents(&folder);
    life(&path, small(), async |_| {});
    assert!(contents(&folder) == before, "a log that was closed cleanly is left alone");
}

#[test]
fn batches_of_one_turn_share_one_sync() {
    let disk = device(SimDisk::new(1, Parameters::default()));
    let mut model = model();
    simulated(&disk, async |store| {
        store.logs.change(model.open());
        store.append(&mut model, 1, 10, true, NO_ROLL).await;
        // Marks and zeros, which come with a first batch.
        for _ in 0..1000 {
            yield_now().await;
        }
        let before = disk.disk().counts().syncs;
        for _ in 0..100 {
            store.logs.change(model.append(1, 10, true, NO_ROLL));
        }
        let lease = store.logs.lease(model.log, Offset(50), Offset(60), u32::MAX).await.unwrap();
        assert!(store.bytes(&lease).await == model.now().read(Offset(50), Offset(60), u32::MAX).0, "readable at once");
        assert_eq!(store.ended(model.log), 2, "and not acknowledged");
        while store.ended(model.log) < 102 {
            assert!(disk.disk().counts().syncs <= before + 1);
            yield_now().await;
        }
        store.settle(&mut model).await;
    });
}

#[test]
fn a_batch_for_the_page_cache_is_done_before_change_returns() {
    let disk = device(SimDisk::new(1, Parameters::default()));
    let mut model = model();
    simulated(&disk, async |store| {
        store.logs.change(model.open());
        store.append(&mut model, 1, 10, false, NO_ROLL).await;
        for n in 3..50 {
            store.logs.change(model.append(1, 10, false, NO_ROLL));
            assert_eq!(store.ended(model.log), n);
        }
        store.settle(&mut model).await;
    });
}

#[test]
fn lent_bytes_outlive_whatever_happens_to_the_log() {
    let path = directory("store-lent");
    let mut model = model();
    life(&path, small(), async |store| {
        store.logs.change(model.open());
        for _ in 0..6 {
            store.append(&mut model, 2, 2000, false, 7000).await;
        }
        let lease = store.logs.lease(model.log, Offset(0), Offset(10), u32::MAX).await.unwrap();
        assert!(lease.pieces.iter().any(|piece| matches!(piece, Piece::File { .. })));
        let bytes = model.now().read(Offset(0), Offset(10), u32::MAX).0;
        store.logs.change(model.truncate(Offset(8)));
        store.append(&mut model, 1, 500, false, 7000).await;
        store.logs.change(model.truncate(Offset(2)));
        store.append(&mut model, 3, 5000, true, NO_ROLL).await;
        assert!(store.bytes(&lease).await == bytes, "after truncations");
        store.logs.change(model.trim(Offset(5)));
        store.append(&mut model, 3, 5000, true, 1).await;
        store.logs.change(model.trim(Offset(8)));
        store.settle(&mut model).await;
        assert!(store.bytes(&lease).await == bytes, "after a trim");
        store.logs.change(model.remove());
        store.settle(&mut model).await;
        assert!(store.bytes(&lease).await == bytes, "after the removal");
        assert!(store.logs.lease(model.log, Offset(8), Offset(10), 1).await.is_err());
    });
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn a_lease_takes_from_so_many_segments_and_no_more() {
    let path = directory("store-many-segments");
    let mut model = model();
    life(&path, Options { lease_segments: 3, log_tail_bytes: 0, ..small() }, async |store| {
        store.logs.change(model.open());
        for _ in 0..20 {
            store.append(&mut model, 1, 900, true, 1).await;
        }
        let mut from = Offset(0);
        while from < Offset(20) {
            let lease = store.logs.lease(model.log, from, Offset(20), u32::MAX).await.unwrap();
            let upto = Offset(20.min(from.0 + 3));
            assert!(store.bytes(&lease).await == model.now().read(from, upto, u32::MAX).0, "from {from}");
            from = upto;
        }
        // Who looks something up goes on.
        let found = store.logs.look_up(model.log, Query::Timestamp { at: Timestamp(i64::MAX), upto: Offset(20) }).await;
        assert_eq!(found, Lookup::Record(None));
        let last = store.logs.look_up(model.log, Query::MaxTimestamp { upto: Offset(20) }).await;
        assert!(matches!(last, Lookup::Record(Some((Offset(14), ..)))), "{last:?}");
    });
}

#[test]
fn a_refused_log_is_removed_or_set_aside_when_asked() {
    for aside in [false, true] {
        let (path, model) = written(&format!("store-refused-{aside}"), 3, true);
        patch(&path, FIRST, |bytes| bytes[100] ^= 1);
        let seq = Seq(0);
        life(&path, Options::new(crc), async |store| {
            assert!(matches!(store.recovered[..], [(_, _, Err(_))]));
            store.logs.change(match aside {
                true => Effect::SetAside { log: model.log, seq },
                false => Effect::Remove { log: model.log, seq },
            });
            while store.ended(model.log) < 1 {
                yield_now().await;
            }
            assert_eq!(store.ended.borrow()[&model.log], [(0, None)]);
        });
        let left: Vec<_> = fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
        match aside {
            true => assert_eq!(left, ["__cluster_metadata-0.AAAAAAAAAAAAAAAAAAAAAQ-stray"]),
            false => assert!(left.is_empty(), "{left:?}"),
        }
        life(&path, Options::new(crc), async |store| assert!(store.recovered.is_empty()));
        assert_eq!(fs::read_dir(&path).unwrap().count(), left.len());
    }
}

#[test]
fn a_lease_that_meets_a_truncation_has_the_old_bytes_or_none() {
    let mut empty = 0;
    for seed in 0..200 {
        let read_ns = 0..=2_000_000;
        let disk = device(SimDisk::new(seed, Parameters { read_ns, ..Parameters::default() }));
        let mut model = model();
        simulated(&disk, async |store| {
            store.logs.change(model.open());
            for _ in 0..8 {
                store.append(&mut model, 2, 900, false, 4000).await;
            }
            let old = model.now().read(Offset(1), Offset(16), u32::MAX).0;
            let lease = store.logs.lease(model.log, Offset(1), Offset(16), u32::MAX);
            let lease = tokio::task::spawn_local(lease);
            for _ in 0..seed {
                yield_now().await;
            }
            store.logs.change(model.truncate(Offset(2)));
            let kept = model.now().read(Offset(1), Offset(2), u32::MAX).0;
            for _ in 0..seed % 50 {
                // What is asked for from now on is below the cut, and given while it is made.
                let lease = store.logs.lease(model.log, Offset(1), Offset(2), u32::MAX).await.unwrap();
                assert!(store.bytes(&lease).await == kept, "seed {seed}");
            }
            model.epoch.0 += 1;
            for _ in 0..8 {
                store.append(&mut model, 1, 900, false, 4000).await;
            }
            let lease = lease.await.unwrap().unwrap();
            let bytes = store.bytes(&lease).await;
            assert!(bytes.is_empty() || bytes == old, "seed {seed}: {} of {} bytes", bytes.len(), old.len());
            empty += usize::from(bytes.is_empty());
        });
    }
    assert!((10..190).contains(&empty), "{empty} of 200 met it");
}

/// A trim that took nothing of what was being looked up, or took segments below, once made that lease an empty one: a
/// consumer was told where the log ends, and given nothing.
#[test]
fn a_lease_that_meets_a_trim_below_it_has_its_bytes() {
    for (seed, to) in (0..200).zip([1, 3, 8].into_iter().cycle()) {
        let read_ns = 0..=2_000_000;
        let disk = device(SimDisk::new(seed, Parameters { read_ns, ..Parameters::default() }));
        let mut model = model();
        simulated(&disk, async |store| {
            store.logs.change(model.open());
            for _ in 0..8 {
                store.append(&mut model, 2, 900, false, 2000).await;
            }
            let asked = store.logs.lease(model.log, Offset(8), Offset(16), u32::MAX);
            let asked = tokio::task::spawn_local(asked);
            let gone = tokio::task::spawn_local(store.logs.lease(model.log, Offset(0), Offset(16), u32::MAX));
            for _ in 0..seed {
                yield_now().await;
            }
            let (old, all) = {
                let now = model.now();
                (now.read(Offset(8), Offset(16), u32::MAX).0, now.read(Offset(0), Offset(16), u32::MAX).0)
            };
            store.logs.change(model.trim(Offset(to)));
            let lease = asked.await.unwrap().unwrap();
            assert!(store.bytes(&lease).await == old, "seed {seed}: trimmed to {to}, and asked for what is from 8 on");
            let lease = gone.await.unwrap().unwrap();
            assert!(
                all.starts_with(&store.bytes(&lease).await),
                "seed {seed}: what is trimmed comes from its beginning"
            );
            store.settle(&mut model).await;
        });
    }
}

#[test]
fn a_segment_that_recovery_joined_stands_alone() {
    let disk = device(SimDisk::new(3, Parameters { sync_ns: 900_000_000..=900_000_000, ..Parameters::default() }));
    let mut model = model();
    simulated(&disk, async |store| {
        store.logs.change(model.open());
        store.settle(&mut model).await;
        for _ in 0..3 {
            store.append(&mut model, 2, 900, false, 1500).await;
        }
    });
    // The last roll has not settled: its segment has no state.
    disk.crash(Crash::Kill, 0);
    simulated(&disk, async |store| {
        assert_eq!(store.found(model.log).await.unwrap().0.state.segments.len(), 3);
        model.recovered(model.durable.len(), None);
        store.logs.change(model.trim(Offset(5)));
        store.settle(&mut model).await;
    });
    disk.crash(Crash::PowerLoss, 0);
    simulated(&disk, async |store| {
        let (found, content) = store.found(model.log).await.unwrap();
        assert!(model.now().is(&found, &content), "{found:?}");
    });
}

/// Each lists a few segments, however many there are; all of them are found, after trims and cuts too.
#[test]
fn checkpoints_of_many_segments_are_small() {
    let disk = device(SimDisk::new(5, Parameters::default()));
    let mut model = model();
    let checkpoints = async |store: &Store<SimDiskHandle>| {
        let mut bytes = 0;
        let names = store.disk.list("__cluster_metadata-0").await.unwrap();
        for name in names.iter().filter(|name| name.ends_with(".checkpoint")) {
            let file = store.disk.open(&format!("__cluster_metadata-0/{name}"), false).await.unwrap();
            bytes += store.disk.length(&file).await.unwrap();
        }
        bytes
    };
    simulated(&disk, async |store| {
        store.logs.change(model.open());
        for _ in 0..500 {
            store.append(&mut model, 1, 50, true, 1).await;
        }
        let bytes = checkpoints(store).await;
        assert!(bytes < 500 * 250, "{bytes} bytes: each one lists all that are below");
    });
    for (trim, cut) in [(Offset(77), None), (Offset(256), Some(Offset(490))), (Offset(489), None)] {
        disk.crash(Crash::PowerLoss, 0);
        simulated(&disk, async |store| {
            let (found, content) = store.found(model.log).await.unwrap();
            assert!(model.now().is(&found, &content), "before the trim to {trim}");
            model.recovered(model.durable.len(), Some(&(found, content)));
            store.logs.change(model.trim(trim));
            if let Some(to) = cut {
                store.logs.change(model.truncate(to));
            }
            for _ in 0..5 {
                store.append(&mut model, 1, 50, true, 1).await;
            }
        });
    }
    disk.crash(Crash::PowerLoss, 0);
    simulated(&disk, async |store| {
        let (found, content) = store.found(model.log).await.unwrap();
        assert!(model.now().is(&found, &content), "in the end");
    });
}

#[test]
fn a_lost_checkpoint_that_others_stand_on_is_refused_and_named() {
    let path = directory("store-lost-checkpoint");
    let mut model = model();
    life(&path, small(), async |store| {
        store.logs.change(model.open());
        for _ in 0..6 {
            store.append(&mut model, 1, 50, true, 1).await;
        }
        store.logs.close().await.unwrap();
    });
    // The fifth lists the segment before it, and the others are in the fourth.
    let lost = format!("__cluster_metadata-0/{:020}.checkpoint", 4);
    let kept = fs::read(path.join(&lost)).unwrap();
    fs::remove_file(path.join(&lost)).unwrap();
    assert_eq!(refusal(&path), format!("{lost}: is gone"));
    fs::write(path.join(&lost), kept).unwrap();
    life(&path, small(), async |store| assert!(store.found(model.log).await.is_some()));
}

/// An error of writing back is told to the files that are open then.
#[test]
fn a_file_with_unsynced_bytes_is_not_closed_to_open_others() {
    let path = directory("store-pinned");
    let of = |i: u64| Model::new(LogId { topic: Uuid::from_halves(1, i), partition: 0 }, &format!("t{i}"));
    let mut models: Vec<_> = (1..=6).map(of).collect();
    let open = || {
        let files = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        files.filter(|file| file.starts_with(&path) && file.extension().is_some()).count()
    };
    life(&path, small(), async |store| {
        for model in &mut models {
            store.logs.change(model.open());
            store.append(model, 1, 100, true, NO_ROLL).await;
        }
        store.logs.close().await.unwrap();
    });
    // Two may be open.
    life(&path, small(), async |store| {
        let (last, others) = models.split_last_mut().unwrap();
        for model in [&mut *last].into_iter().chain(&mut *others) {
            model.recovered(model.durable.len(), None);
        }
        for model in &mut *others {
            store.append(model, 1, 100, false, NO_ROLL).await;
        }
        assert_eq!(open(), 5, "one was closed");
        for model in others {
            store.logs.change(model.flush());
            store.settle(model).await;
        }
        store.append(last, 1, 100, true, NO_ROLL).await;
        assert_eq!(open(), 2);
    });
}

/// What is left of a large trim's files is in nobody's way, and goes whatever happens.
#[test]
fn a_trim_has_ended_before_its_files_are_gone() {
    for crash in [None, Some(Crash::Kill), Some(Crash::PowerLoss)] {
        let disk = device(SimDisk::new(5, Parameters { other_ns: 1_000_000..=1_000_000, ..Parameters::default() }));
        let mut model = model();
        let segments = async |store: &Store<SimDiskHandle>| {
            let names = store.disk.list("__cluster_metadata-0").await.unwrap();
            names.iter().filter(|name| name.ends_with(".log")).count()
        };
        simulated(&disk, async |store| {
            store.logs.change(model.open());
            for _ in 0..40 {
                store.append(&mut model, 1, 100, true, 1).await;
            }
            store.logs.change(model.trim(Offset(39)));
            store.settle(&mut model).await;
            assert!(segments(store).await > 30, "it waited for its files");
            store.append(&mut model, 1, 100, true, NO_ROLL).await;
            assert!(segments(store).await > 30, "an append waited for them");
            if crash.is_none() {
                store.append(&mut model, 1, 100, true, 1).await;
                assert_eq!(segments(store).await, 2, "a roll comes after them");
            }
        });
        disk.crash(crash.unwrap_or(Crash::Kill), 0);
        simulated(&disk, async |store| {
            let (found, content) = store.found(model.log).await.unwrap();
            assert!(model.now().is(&found, &content), "{crash:?}: {found:?}");
            assert_eq!(segments(store).await, model.now().checkpoint().segments.len(), "{crash:?}");
        });
    }
}

/// A synced log of `count` batches of 64 KiB in a real folder; closed when `close`.
fn written(name: &str, count: usize, close: bool) -> (PathBuf, Model) {
    let path = directory(name);
    let mut model = model();
    life(&path, Options { mark_every: 1 << 20, ..Options::new(crc) }, async |store| {
        store.logs.change(model.open());
        for _ in 0..count {
            store.logs.change(model.append(1, 64 << 10, true, NO_ROLL));
            if model.durable.len().is_multiple_of(20) {
                store.settle(&mut model).await;
            }
        }
        store.settle(&mut model).await;
        if close {
            store.logs.close().await.unwrap();
        }
    });
    (path, model)
}

#[test]
fn rot_below_the_mark_is_refused_and_named() {
    let (path, model) = written("store-rot", 3, true);
    let second = model.now().batches[0].len();
    patch(&path, FIRST, |bytes| bytes[second + 100] ^= 1);
    let error = refusal(&path);
    assert!(error.contains("ends at 1, but was durable up to 3"), "{error}");
}

#[test]
fn rot_further_back_than_a_group_is_refused_and_named() {
    let (path, model) = written("store-rot-unmarked", 120, true);
    // As if nothing had been marked but that the log is synced throughout: magic, version, checksum, marks.
    let second = model.now().batches[0].len();
    patch(&path, "marks", |bytes| {
        let end = bytes.len();
        let payload = [0, 0, 1, 0, 0, 0];
        bytes.truncate(10);
        bytes.extend(payload);
        let mut summed = bytes[4..6].to_vec();
        summed.extend(payload);
        bytes[6..10].copy_from_slice(&crc32fast::hash(&summed).to_be_bytes());
        assert_ne!(end, 0);
    });
    patch(&path, FIRST, |bytes| bytes[second + 100] ^= 1);
    let error = refusal(&path);
    assert!(error.contains(&format!("bad at position {second}, but good again at ")), "{error}");
}

#[test]
fn a_torn_tail_is_cut_and_counted() {
    let (path, model) = written("store-torn", 3, false);
    let end: usize = model.now().batches.iter().map(Bytes::len).sum();
    patch(&path, FIRST, |bytes| {
        bytes.truncate(end);
        let next = model.now().batches[1][..5000].to_vec();
        bytes.extend(next);
        bytes.extend([0; 9000]);
    });
    life(&path, Options::new(crc), async |store| {
        let (found, content) = store.found(model.log).await.unwrap();
        let whole = klamm_core::log::Found { torn_bytes: 0, ..found.clone() };
        assert!(model.now().is(&whole, &content));
        assert!((4900..=5000).contains(&found.torn_bytes), "{}", found.torn_bytes);
    });
    assert_eq!(fs::metadata(path.join("__cluster_metadata-0").join(FIRST)).unwrap().len(), end as u64);
}

#[test]
fn a_closed_segment_of_another_length_is_refused() {
    let path = directory("store-closed");
    let mut model = model();
    life(&path, small(), async |store| {
        store.logs.change(model.open());
        for _ in 0..3 {
            store.append(&mut model, 1, 900, true, 1000).await;
        }
    });
    patch(&path, FIRST, |bytes| bytes.truncate(bytes.len() - 1));
    assert!(refusal(&path).contains("but was closed with"));
    fs::remove_file(path.join("__cluster_metadata-0").join(FIRST)).unwrap();
    assert!(refusal(&path).contains("is gone"));
}

#[test]
fn a_lost_active_segment_is_refused() {
    let path = directory("store-lost");
    let mut model = model();
    life(&path, small(), async |store| {
        store.logs.change(model.open());
        for _ in 0..3 {
            store.append(&mut model, 1, 900, true, 1000).await;
        }
        store.logs.close().await.unwrap();
    });
    let last = format!("{:020}.log", model.now().bases.last().unwrap().0);
    fs::remove_file(path.join("__cluster_metadata-0").join(&last)).unwrap();
    assert!(refusal(&path).contains(&format!("{last}: is gone")));
}

#[test]
fn folders_of_others_are_left_alone_and_half_made_ones_go() {
    let path = directory("store-folders");
    fs::write(path.join("meta.properties"), "version=1\n").unwrap();
    fs::create_dir(path.join("lost+found")).unwrap();
    fs::create_dir(path.join("other-0")).unwrap();
    for name in ["t-0.AAAAAAAAAAAAAAAAAAAAAQ-new", "t-3.AAAAAAAAAAAAAAAAAAAAAQ-delete"] {
        fs::create_dir(path.join(name)).unwrap();
        fs::write(path.join(name).join(FIRST), "x").unwrap();
    }
    life(&path, small(), async |store| assert!(store.recovered.is_empty()));
    let mut left: Vec<_> = fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["lost+found", "meta.properties", "other-0"]);
}

#[test]
fn each_shard_recovers_its_own_logs_in_the_order_of_their_names() {
    let path = directory("store-shards");
    let mut models: Vec<_> =
        (0..12).map(|i| Model::new(LogId { topic: Uuid::from_halves(5, 5), partition: i }, "many")).collect();
    life(&path, small(), async |store| {
        for model in &mut models {
            store.logs.change(model.open());
            store.append(model, 1, 10, true, NO_ROLL).await;
        }
    });
    let mut all = Vec::new();
    for shard in 0..3 {
        live_for_real(async || {
            let disk = Blocking::open(path.clone(), 2).unwrap();
            let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
            let told = seen.clone();
            let events = std::rc::Rc::new(move |input| told.borrow_mut().push(input));
            let shard = klamm_core::ids::ShardIndex(shard);
            klamm::disk::logs::Logs::recover(disk.clone(), small(), shard, 3, events).await.unwrap();
            let mut folders = Vec::new();
            for input in seen.take() {
                let klamm_core::effect::Input::Recovered { log, name, found } = input else { panic!("{input:?}") };
                assert_eq!((log.owner(3), found.unwrap().state.at), (shard, Offset(1)));
                folders.push(format!("{name}-{}", log.partition));
            }
            assert!(folders.is_sorted());
            all.extend(folders);
            assert!(disk.list("many-0").await.is_ok());
        });
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 12);
}
