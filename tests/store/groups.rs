//! How many batches a sync covers.

use super::model::Model;
use super::world::{Store, live_for_real, small};
use klamm::disk::Blocking;
use klamm_core::ids::{LogId, Uuid};
use std::fs;
use std::path::Path;
use tokio::task::yield_now;

const NO_ROLL: u64 = u64::MAX;

/// Syncs so far, and the batches that they covered.
fn groups(store: &Store<Blocking>) -> (u64, u64) {
    let counts = store.logs.groups();
    (counts.count(), counts.sum)
}

fn with_a_log(name: &str, life: impl AsyncFnOnce(Store<Blocking>, Model)) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    live_for_real(async || {
        let store = Store::start(Blocking::open(path, 2).unwrap(), small()).await.unwrap();
        let mut model = Model::new(LogId { topic: Uuid::from_halves(1, 1), partition: 0 }, "t1");
        store.logs.change(model.open());
        store.settle(&mut model).await;
        life(store, model).await;
    });
}

async fn at_once(store: &Store<Blocking>, model: &mut Model, batches: usize) {
    (0..batches).for_each(|_| store.logs.change(model.append(1, 10, true, NO_ROLL)));
    store.settle(model).await;
}

/// Whoever was answered comes again, one after the other: the first of them is not synced alone.
#[test]
fn a_sync_waits_for_a_share_of_those_that_come_again() {
    with_a_log("groups-share", async |store, mut model| {
        at_once(&store, &mut model, 32).await;
        let (syncs, batches) = groups(&store);
        for _ in 0..8 {
            store.logs.change(model.append(1, 10, true, NO_ROLL));
            yield_now().await;
        }
        store.settle(&mut model).await;
        assert_eq!(groups(&store), (syncs + 1, batches + 8));
    });
}

/// It waits for what is at hand, and not for what does not come; and then no more either.
#[test]
fn a_sync_does_not_wait_for_those_that_stay_away() {
    with_a_log("groups-alone", async |store, mut model| {
        at_once(&store, &mut model, 32).await;
        let (syncs, batches) = groups(&store);
        at_once(&store, &mut model, 1).await;
        assert_eq!(groups(&store), (syncs + 1, batches + 1), "nobody else came");
        store.logs.change(model.append(1, 10, true, NO_ROLL));
        yield_now().await;
        yield_now().await;
        store.logs.change(model.append(1, 10, true, NO_ROLL));
        store.settle(&mut model).await;
        assert_eq!(groups(&store), (syncs + 3, batches + 3), "each its own sync, as it came");
    });
}
