//! The journal that a shard's logs share: what is in it, that it goes, and what of it is refused.

use super::model::{End, Model, crc};
use super::world::{Store, device, journaled, live, live_for_real};
use klamm::disk::Blocking;
use klamm::disk::logs::{Logs, Options};
use klamm::host::Disk;
use klamm_core::effect::Input;
use klamm_core::ids::{LogId, Offset, ShardIndex, Uuid};
use klamm_sim::disk::{Crash, Parameters, SimDisk};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tokio::task::yield_now;

const NO_ROLL: u64 = u64::MAX;
const VOLUME: &str = "journal.0000000001.0of1.0";
const OTHER_VOLUME: &str = "journal.0000000001.0of1.1";
/// Where records begin.
const RECORDS: usize = 8192;

fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn life<T>(path: &Path, life: impl AsyncFnOnce(Store<Blocking>) -> T) -> T {
    live_for_real(async || {
        let disk = Blocking::open(path.to_path_buf(), 2).unwrap();
        let roomy = Options { journal_bytes: 600 << 10, owed_bytes: 10_000, ..journaled() };
        life(Store::start(disk, roomy).await.unwrap()).await
    })
}

fn journals(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("journal.")).collect();
    names.sort();
    names
}

/// Where the records of a volume begin, as long as they stand in it one after the other.
fn records(volume: &[u8]) -> Vec<usize> {
    let number =
        |at: usize, len: usize| volume[at..at + len].iter().fold(0, |n: usize, byte| n << 8 | usize::from(*byte));
    let mut all = Vec::new();
    let mut at = RECORDS;
    while volume.get(at..at + 4) == Some(b"klmr") {
        all.push(at);
        at = (at + 32 + number(at + 24, 4) + number(at + 28, 4)).next_multiple_of(4096);
    }
    all
}

/// Three logs without anything in them.
fn three() -> Vec<Model> {
    let model = |i: u64| Model::new(LogId { topic: Uuid::from_halves(1, i), partition: 0 }, &format!("t{i}"));
    (1..=3).map(model).collect()
}

/// Three logs, whose last groups are in the journal alone.
fn owing(path: &Path) -> Vec<Model> {
    let mut models = three();
    life(path, async |store| {
        for model in &mut models {
            store.logs.change(model.open());
            store.append(model, 1, 50, true, NO_ROLL).await;
            store.append(model, 1, 50, true, NO_ROLL).await;
        }
        let mut patience = 1_000_000;
        while !path.join(OTHER_VOLUME).exists() {
            patience -= 1;
            assert!(patience > 0, "no journal is made");
            yield_now().await;
        }
        quiet().await;
        rounds(&store, &mut models, 3).await;
    });
    models
}

/// In each round every log takes a batch, all in one turn.
async fn rounds<D: Disk>(store: &Store<D>, models: &mut [Model], count: usize) {
    for round in 0..count {
        models.iter_mut().for_each(|m| store.logs.change(m.append(2, 100 + round, true, NO_ROLL)));
        for model in &mut *models {
            store.settle(model).await;
        }
        quiet().await;
    }
}

/// A later life: earlier journals go, and there are some more rounds.
async fn go_on(store: &Store<Blocking>, models: &mut [Model], count: usize) {
    for model in &mut *models {
        let found = store.found(model.log).await;
        model.recovered(model.durable.len(), found.as_ref());
    }
    store.logs.clone().forget_journals(&[]).await.unwrap();
    rounds(store, models, count).await;
}

/// Lets everything that can end do so.
async fn quiet() {
    for _ in 0..10_000 {
        yield_now().await;
    }
}

async fn all_there<D: Disk>(store: &Store<D>, models: &mut [Model]) {
    for model in models {
        let (found, most) = (store.found(model.log).await, model.durable.len());
        model.find(found.as_ref(), most, most, End::Kill, "after a kill");
    }
}

#[test]
fn what_was_appended_in_one_turn_shares_a_record_and_comes_back_from_it() {
    let path = directory("journal-shared");
    let mut models = owing(&path);
    let volume = fs::read(path.join(VOLUME)).unwrap();
    let places = records(&volume);
    assert!(places.len() >= 3, "three rounds");
    for place in &places[places.len() - 3..] {
        // The length of its list: three logs of one batch each.
        assert_eq!(volume[place + 24..place + 28], (3u32 * (44 + 16)).to_be_bytes());
    }
    // The groups are in no segment yet: to bring them there is recovery's part.
    let segment = |i: usize| fs::read(path.join(format!("t{i}-0/00000000000000000000.log"))).unwrap();
    for (i, model) in models.iter().enumerate() {
        let paid = segment(i + 1).iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let all: usize = model.now().batches.iter().map(|batch| batch.len()).sum();
        assert!(paid + 3 * 100 < all, "{paid} of {all} bytes were paid");
    }
    life(&path, async |store| {
        all_there(&store, &mut models).await;
        assert!(store.logs.needed_journals(|_| true).is_empty());
        store.logs.clone().forget_journals(&[]).await.unwrap();
    });
    assert!(journals(&path).is_empty());
    life(&path, async |store| all_there(&store, &mut models).await);
}

#[test]
fn a_clean_close_leaves_no_journal() {
    let path = directory("journal-closed");
    let mut models = owing(&path);
    life(&path, async |store| {
        go_on(&store, &mut models, 3).await;
        store.logs.close().await.unwrap();
    });
    assert!(journals(&path).is_empty());
}

/// Found by `world`, seed 97: a log had died with batches owed to it, the broker was stopped, and the journal went.
#[test]
fn a_clean_close_keeps_the_journal_of_a_log_that_died() {
    let path = directory("journal-dead");
    let mut models = owing(&path);
    let kept = path.with_file_name("journal-dead-kept");
    let _ = fs::remove_dir_all(&kept);
    life(&path, async |store| {
        go_on(&store, &mut models, 5).await;
        // Its next segment cannot be made.
        fs::rename(path.join("t2-0"), &kept).unwrap();
        store.logs.change(models[1].clone().append(1, 10, true, 1));
        quiet().await;
        store.logs.close().await.unwrap();
    });
    fs::rename(&kept, path.join("t2-0")).unwrap();
    life(&path, async |store| all_there(&store, &mut models).await);
}

#[test]
fn another_number_of_shards_finds_its_logs_in_the_journal() {
    let path = directory("journal-shards");
    let models = owing(&path);
    let mut ends = Vec::new();
    for shard in 0..3 {
        live_for_real(async || {
            let disk = Blocking::open(path.clone(), 2).unwrap();
            let seen = Rc::new(RefCell::new(Vec::new()));
            let told = seen.clone();
            let events = Rc::new(move |input| told.borrow_mut().push(input));
            let _ = Logs::recover(disk, journaled(), ShardIndex(shard), 3, events).await.unwrap();
            for input in seen.take() {
                let Input::Recovered { log, found, .. } = input else { panic!("{input:?}") };
                ends.push((log, found.unwrap().state.at));
            }
        });
    }
    ends.sort();
    assert_eq!(ends, models.iter().map(|m| (m.log, m.now().end())).collect::<Vec<_>>());
    assert_eq!(journals(&path).len(), 2, "they go when all shards have recovered");
}

/// Why a store does not start.
fn refusal(path: &Path) -> String {
    live_for_real(async || {
        let disk = Blocking::open(path.to_path_buf(), 2).unwrap();
        Store::start(disk, journaled()).await.err().expect("it starts").to_string()
    })
}

fn patch(path: &Path, at: usize) {
    let mut bytes = fs::read(path.join(VOLUME)).unwrap();
    bytes[at] ^= 1;
    fs::write(path.join(VOLUME), bytes).unwrap();
}

#[test]
fn rot_in_a_journal_is_refused_and_named() {
    let path = directory("journal-rot");
    owing(&path);
    let places = records(&fs::read(path.join(VOLUME)).unwrap());
    // In the data of a record, behind its list of three logs, and in a header.
    let [.., bad, good] = places[..] else { panic!("{places:?}") };
    let data = bad + 32 + 3 * (44 + 16);
    patch(&path, data + 100);
    let error = refusal(&path);
    assert_eq!(error, format!("{VOLUME}: bad at position {bad}, but good again at {good}"));
    patch(&path, data + 100);
    patch(&path, 7);
    assert_eq!(refusal(&path), format!("{VOLUME}: both its headers are damaged"));
}

/// Found by fuzzing: the number of the life to come overflowed.
#[test]
fn a_journal_of_the_last_life_that_there_is_is_refused() {
    let path = directory("journal-last");
    let last = format!("journal.{}.0of1.0", u64::MAX);
    fs::write(path.join(&last), "").unwrap();
    assert_eq!(refusal(&path), format!("{last}: no life can come after this one"));
}

#[test]
fn a_torn_record_is_nobodys() {
    let path = directory("journal-torn");
    let mut models = owing(&path);
    let places = records(&fs::read(path.join(VOLUME)).unwrap());
    patch(&path, places.last().unwrap() + 40);
    life(&path, async |store| {
        for model in &mut models {
            let (found, most) = (store.found(model.log).await, model.durable.len());
            // As if the last group had not been acknowledged: all of its batches are gone, and nothing else.
            assert_eq!(model.find(found.as_ref(), most - 1, most - 1, End::Kill, "torn"), most - 1);
        }
    });
}

/// What an earlier life wrote into the same place, or a client sent, is no record of this one.
#[test]
fn a_record_of_a_foreign_salt_behind_a_torn_one_is_nobodys() {
    let path = directory("journal-foreign");
    let mut models = owing(&path);
    let mut volume = fs::read(path.join(VOLUME)).unwrap();
    let [.., torn, foreign] = records(&volume)[..] else { panic!("two rounds at least") };
    volume[torn + 40] ^= 1;
    // Whole, but for another salt in its stamp.
    volume[foreign + 8] ^= 1;
    let list = foreign + 32 + usize::from(volume[foreign + 27]);
    let sum = crc(&volume[foreign + 8..list]);
    volume[foreign + 4..foreign + 8].copy_from_slice(&sum.to_be_bytes());
    fs::write(path.join(VOLUME), &volume).unwrap();
    life(&path, async |store| {
        for model in &mut models {
            let (found, most) = (store.found(model.log).await, model.durable.len());
            assert_eq!(model.find(found.as_ref(), most - 2, most - 2, End::Kill, "torn"), most - 2);
        }
    });
    // With the right one it was acknowledged, and what is bad before it as well.
    let path = directory("journal-foreign-not");
    owing(&path);
    let [.., torn, foreign] = records(&fs::read(path.join(VOLUME)).unwrap())[..] else { panic!("two rounds") };
    patch(&path, torn + 40);
    let error = refusal(&path);
    assert_eq!(error, format!("{VOLUME}: bad at position {torn}, but good again at {foreign}"));
}

#[test]
fn marks_that_are_older_than_the_journal_are_refused() {
    let path = directory("journal-ahead");
    let mut models = owing(&path);
    life(&path, async |store| {
        go_on(&store, &mut models, 3).await;
        store.logs.change({
            let to = models[1].now().end();
            models[1].truncate(Offset(to.0 - 2))
        });
        store.settle(&mut models[1]).await;
        rounds(&store, &mut models, 3).await;
    });
    let marks = path.join("t2-0/marks");
    let kept = fs::read(&marks).unwrap();
    // As if the truncation had never been.
    fs::remove_file(&marks).unwrap();
    life(&path, async |store| {
        let refused: Vec<_> = store.recovered.iter().filter_map(|(.., found)| found.as_ref().err()).collect();
        assert_eq!(refused, ["t2-0/marks: older than the journal, or gone"]);
        let needed = store.logs.needed_journals(|_| true);
        assert!(!needed.is_empty());
        store.logs.clone().forget_journals(&needed).await.unwrap();
    });
    fs::write(&marks, kept).unwrap();
    life(&path, async |store| all_there(&store, &mut models).await);
}

#[test]
fn a_disk_that_is_full_while_a_volume_is_made_goes_on_without_a_journal() {
    // Room for one volume and a half.
    let parameters = Parameters { capacity: Some(18 << 10), ..Parameters::default() };
    let disk = device(SimDisk::new(1, parameters));
    let mut models = three();
    live(&disk, None, async |handle| {
        let store = Store::start(handle, journaled()).await.unwrap();
        models.iter_mut().for_each(|model| store.logs.change(model.open()));
        rounds(&store, &mut models, 10).await;
        assert!(disk.disk().counts().full > 0, "it was never full");
        let names = store.disk.list("").await.unwrap();
        assert!(!names.iter().any(|name| name.starts_with("journal.")), "{names:?}");
    })
    .unwrap();
    disk.crash(Crash::PowerLoss, 0);
    live(&disk, None, async |handle| {
        all_there(&Store::start(handle, journaled()).await.unwrap(), &mut models).await;
    })
    .unwrap();
}

#[test]
fn a_journal_is_kept_for_a_log_that_was_refused() {
    let path = directory("journal-kept");
    owing(&path);
    fs::write(path.join("t2-0/marks"), "damaged").unwrap();
    life(&path, async |store| {
        assert_eq!(store.recovered.iter().filter(|(.., found)| found.is_err()).count(), 1);
        let needed = store.logs.needed_journals(|_| true);
        assert_eq!(needed, [VOLUME]);
        store.logs.clone().forget_journals(&needed).await.unwrap();
    });
    fs::remove_file(path.join("t2-0/marks")).unwrap();
    life(&path, async |store| assert!(store.recovered.iter().all(|(.., found)| found.is_ok())));
}

#[test]
fn a_journal_is_kept_for_a_log_that_is_missing() {
    let path = directory("journal-missing");
    let mut models = owing(&path);
    let away = path.with_file_name("journal-missing-t2");
    let _ = fs::remove_dir_all(&away);
    fs::rename(path.join("t2-0"), &away).unwrap();
    life(&path, async |store| {
        let placed = |log: LogId| log == models[1].log;
        let needed = store.logs.needed_journals(placed);
        assert_eq!(needed, [VOLUME]);
        assert!(store.logs.needed_journals(|_| false).is_empty(), "its topic was deleted");
        store.logs.clone().forget_journals(&needed).await.unwrap();
    });
    fs::rename(&away, path.join("t2-0")).unwrap();
    life(&path, async |store| all_there(&store, &mut models).await);
}
