//! Damage that recovery cannot see, below checkpoints that it trusts: what is whole is still served, what is not never
//! is. Each of these was found by harm to the simulated disk, and each story is of a broker as it was before.

use super::model::{Model, crc};
use super::world::{Store, device, live, small};
use bytes::{Bytes, BytesMut};
use klamm::disk::logs::{Lease, Options, Piece};
use klamm::host::{Disk, Op};
use klamm_core::effect::{Lookup, Query};
use klamm_core::ids::{LogId, Offset, Timestamp, Uuid};
use klamm_sim::disk::{Crash, Device, Harm, Parameters, SimDisk, SimDiskHandle, SimFile};

/// Bytes of a record: five batches are more than an index interval.
const RECORD: usize = 1_000;
/// Batches of a segment.
const BATCHES: i64 = 10;

/// A log of two closed segments of ten batches and an active one, at rest, on a disk with small sectors.
fn at_rest() -> (Device, Model) {
    let disk = device(SimDisk::new(1, Parameters::default()));
    let mut model = Model::new(LogId { topic: Uuid::from_halves(1, 1), partition: 0 }, "t");
    live(&disk, None, async |handle| {
        let store = Store::start(handle, small()).await.unwrap();
        store.logs.change(model.open());
        for _ in 0..2 * BATCHES + 2 {
            store.append(&mut model, 1, RECORD, true, 11_500).await;
        }
        store.logs.close().await.unwrap();
        // An index needs no sync, and what is only in the page cache does not rot.
        for name in store.disk.list("t-0").await.unwrap() {
            let file = store.disk.open(&format!("t-0/{name}"), false).await.unwrap();
            store.disk.perform(Op::Sync { file }).await.unwrap();
        }
    })
    .unwrap();
    disk.crash(Crash::Kill, 0);
    assert_eq!(model.now().bases, [0, BATCHES, 2 * BATCHES].map(Offset).into());
    (disk, model)
}

fn file(base: i64, extension: &str) -> String {
    format!("t-0/{base:020}.{extension}")
}

/// What a store on that disk gives from each offset, one batch at a time; `None` for an error.
fn served(disk: &Device, model: &Model) -> Vec<Option<bool>> {
    live(disk, None, async |handle| {
        let store = Store::start(handle, Options { log_tail_bytes: 0, ..small() }).await.unwrap();
        let end = model.now().end();
        let mut all = Vec::new();
        for from in 0..end.0 {
            let lease = store.logs.lease(model.log, Offset(from), end, 1).await;
            let right = model.now().read(Offset(from), Offset(from + 1), u32::MAX).0;
            all.push(match lease {
                Ok(lease) if lease.bytes > 0 => bytes(&store, &lease).await.map(|bytes| bytes == right),
                Ok(_) | Err(_) => None,
            });
        }
        all
    })
    .unwrap()
}

/// What was lent, if it can be read.
async fn bytes(store: &Store<SimDiskHandle>, lease: &Lease<SimFile>) -> Option<Bytes> {
    let mut all = BytesMut::new();
    for piece in &lease.pieces {
        match piece {
            Piece::Bytes(bytes) => all.extend_from_slice(bytes),
            Piece::File { file, at, len } => {
                all.extend_from_slice(&store.disk.read(file, *at, *len as usize).await.ok()?);
            }
        }
    }
    Some(all.freeze())
}

/// An index entry that named a later offset than its batch has sent readers past the batches before it, and one whose
/// position was no batch's made its segment unreadable for good: index files have no checksum.
#[test]
fn a_rotten_index_misleads_nobody() {
    for at in 0..8 {
        for bits in [1, 4, 0x20] {
            let (disk, model) = at_rest();
            assert!(disk.disk().harm(Harm::Rot { path: file(BATCHES, "index"), at, bits }));
            let served = served(&disk, &model);
            assert!(served.iter().all(|right| *right == Some(true)), "byte {at}, bits {bits}: {served:?}");
        }
    }
}

/// A lease that went on into a segment that could not be read gave nothing, though it began with good batches; and what
/// was read ahead failed with what nobody had asked for.
#[test]
fn what_stands_before_a_bad_sector_is_served() {
    let (disk, model) = at_rest();
    disk.disk().harm(Harm::Unreadable { path: file(BATCHES, "log"), at: 5_200 });
    disk.disk().harm(Harm::Unreadable { path: file(BATCHES, "index"), at: 0 });
    let before: Vec<Option<bool>> = served(&disk, &model);
    let good = |upto: i64| before[..upto as usize].iter().all(|right| *right == Some(true));
    assert!(good(BATCHES + 4), "{before:?}");
    assert!(before[2 * BATCHES as usize..].iter().all(|right| *right == Some(true)), "the next segment: {before:?}");
    live(&disk, None, async |handle| {
        let store = Store::start(handle, small()).await.unwrap();
        let lease = store.logs.lease(model.log, Offset(BATCHES - 1), Offset(2 * BATCHES), u32::MAX).await.unwrap();
        let right = model.now().read(Offset(BATCHES - 1), Offset(BATCHES), u32::MAX).0;
        assert!(lease.bytes as usize >= right.len(), "what the first segment has, at least");
    })
    .unwrap();
}

/// Look-ups by time answered out of batches that had rotted.
#[test]
fn a_look_up_says_nothing_of_a_rotten_batch() {
    let (disk, model) = at_rest();
    disk.disk().harm(Harm::Rot { path: file(0, "log"), at: 300, bits: 2 });
    live(&disk, None, async |handle| {
        let store = Store::start(handle, small()).await.unwrap();
        let query = Query::Timestamp { at: Timestamp(i64::MIN), upto: model.now().end() };
        let found = store.logs.look_up(model.log, query).await;
        assert!(matches!(&found, Lookup::Failed(why) if why.contains("checksum")), "{found:?}");
    })
    .unwrap();
}

/// One bit of the id in `__cluster_metadata-0/partition.metadata`, and the broker began anew as an empty cluster, with
/// every log set aside as a stray.
#[test]
fn the_clusters_own_log_under_another_id_is_refused() {
    for (topic, id) in [("__cluster_metadata", Uuid::from_halves(3, 3)), ("t", Uuid::METADATA)] {
        let disk = device(SimDisk::new(1, Parameters::default()));
        let mut model = Model::new(LogId { topic: id, partition: 0 }, topic);
        let options = Options::new(crc);
        live(&disk, None, async |handle| {
            let store = Store::start(handle, options).await.unwrap();
            store.logs.change(model.open());
            store.append(&mut model, 1, 10, true, u64::MAX).await;
        })
        .unwrap();
        disk.crash(Crash::PowerLoss, 1);
        let started = live(&disk, None, async |handle| Store::start(handle, options).await.map(drop)).unwrap();
        let error = started.unwrap_err().to_string();
        assert!(error.contains(&format!("{topic}-0/partition.metadata: damaged")), "{error}");
    }
}

/// A roll read the checkpoint of the segment before it, only to count: a byte of it that had rotted since took a log
/// offline that had nothing else wrong (world, seed 860,716).
#[test]
fn a_checkpoint_that_rots_meanwhile_stops_no_roll() {
    let (disk, mut model) = at_rest();
    live(&disk, None, async |handle| {
        let store = Store::start(handle, small()).await.unwrap();
        for at in 0..4 {
            assert!(disk.disk().harm(Harm::Rot { path: file(2 * BATCHES, "checkpoint"), at, bits: 1 }));
        }
        for _ in 0..2 * BATCHES {
            store.append(&mut model, 1, RECORD, true, 11_500).await;
        }
        assert!(model.now().bases.len() > 3, "it rolled");
    })
    .unwrap();
}

/// A bad batch above the mark may be the torn end of a log. Behind it may stand what says that it is not: a log whose file
/// cannot be read to its end is refused, and not cut (the model disk of `direct` cut it: seed 109,132).
#[test]
fn a_sector_behind_a_bad_batch_that_cannot_be_read_refuses_the_log() {
    for unreadable in [false, true] {
        let disk = device(SimDisk::new(1, Parameters::default()));
        let mut model = Model::new(LogId { topic: Uuid::from_halves(1, 1), partition: 0 }, "t");
        let options = Options::new(crc);
        live(&disk, None, async |handle| {
            let store = Store::start(handle, options).await.unwrap();
            store.logs.change(model.open());
            for _ in 0..5 {
                store.append(&mut model, 1, RECORD, true, u64::MAX).await;
            }
        })
        .unwrap();
        disk.crash(Crash::PowerLoss, 1);
        disk.disk().harm(Harm::Rot { path: file(0, "log"), at: 1_500, bits: 2 });
        if unreadable {
            disk.disk().harm(Harm::Unreadable { path: file(0, "log"), at: 4_200 });
        }
        live(&disk, None, async |handle| {
            let store = Store::start(handle, options).await.unwrap();
            match &store.recovered[0].2 {
                Ok(found) => assert!(!unreadable && found.state.at == Offset(1), "{found:?}"),
                Err(_) => assert!(unreadable),
            }
        })
        .unwrap();
    }
}
