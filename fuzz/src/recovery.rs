//! Any damage to a shard's files, its journal among them: recovery refuses a log, or what it reports is there again after a
//! power loss and takes a batch more. Never a panic.
//!
//! The bytes are edits of a sound directory: two logs of several segments, whose last groups are in the journal alone.
//! Checksums can be made to fit again, so that what they cover is met too. A byte left over behind the edits lets the
//! journals go between the first two lives, as a broker does once its shards have recovered.

use bytes::Bytes;
use klamm::disk::logs::{Logs, Options};
use klamm::host::{Disk, Op};
use klamm_core::effect::{Effect, Input};
use klamm_core::ids::{LeaderEpoch, LogId, Now, Offset, Seq, ShardIndex, Timestamp, Uuid};
use klamm_core::log::{Checkpoint, Found, Log, Rolls, Terms};
use klamm_core::record::{Batch, Builder};
use klamm_sim::disk::{Crash, Device, Parameters, SimDisk, SimDiskHandle};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::OnceLock;
use tokio::task::{LocalSet, yield_now};

/// The topics of the logs.
const TOPICS: [(&str, Uuid); 2] = [("__cluster_metadata", Uuid::METADATA), ("t", Uuid([7; 16]))];
/// Edits taken from the input.
const MAX_EDITS: usize = 64;
/// A file grows by no more at once.
const MAX_GROWTH: usize = 5000;
/// Where a volume's headers are, and its records begin.
const HEADERS: [usize; 2] = [0, 4096];
const RECORDS: usize = 8192;
/// Each begins at a multiple.
const BLOCK: usize = 4096;

/// Files by their paths.
type Files = BTreeMap<String, Vec<u8>>;
/// What a start reported of the logs that it did not refuse.
type Logged = BTreeMap<LogId, Found>;

/// Applies the edits, eight bytes each, and recovers.
pub fn recovery(data: &[u8]) {
    static SOUND: OnceLock<Files> = OnceLock::new();
    let mut files = SOUND.get_or_init(sound).clone();
    let edits = data.chunks_exact(8);
    let forget = !edits.remainder().is_empty();
    for edit in edits.take(MAX_EDITS) {
        apply(&mut files, edit);
    }
    let disk = instant();
    live(&disk, async |handle| put(&handle, &files).await);
    disk.crash(Crash::Kill, 0);
    let first = live(&disk, async |handle| {
        let life = Life::start(handle, 1).await?;
        if forget {
            let needed = life.logs.needed_journals(|_| true);
            life.logs.clone().forget_journals(&needed).await.expect("a sound disk");
        }
        Some(life.found)
    });
    let Some(first) = first else { return };
    disk.crash(Crash::PowerLoss, 1);
    let ends = live(&disk, async |handle| {
        let life = Life::start(handle, 2).await.expect("it began before");
        let mut effects = Vec::new();
        let mut ends = BTreeMap::new();
        for (id, found) in &first {
            let again = life.found.get(id).expect("recovered before").clone();
            assert_eq!(needed(&again), needed(found), "what was reported is gone");
            assert_eq!(again.torn_bytes, 0, "a torn tail was left");
            let mut log = Log::recovered(*id, again, Timestamp(0));
            append(&mut log, 2, 1000, &mut effects);
            ends.insert(*id, log.log_end_offset());
        }
        life.make(effects).await;
        ends
    });
    disk.crash(Crash::PowerLoss, 2);
    let third = live(&disk, async |handle| Life::start(handle, 3).await.expect("it began before").found);
    for (id, end) in ends {
        assert_eq!(third.get(&id).expect("recovered before").state.at, end, "an acknowledged batch is gone");
    }
}

/// A segment below the log's start may go at any time.
fn needed(found: &Found) -> Checkpoint {
    let mut state = found.state.clone();
    let below = state.segments.windows(2).take_while(|w| w[1].base <= state.log_start_offset).count();
    state.segments.drain(..below);
    state
}

/// One edit: which file, what, where, with what.
fn apply(files: &mut Files, edit: &[u8]) {
    let &[file, what, a, b, c, d, value, extra] = edit else { return };
    let Some(name) = files.keys().nth(usize::from(file) % files.len().max(1)).cloned() else { return };
    let bytes = files.get_mut(&name).expect("named above");
    let at = usize::from(u16::from_be_bytes([a, b])) % (bytes.len() + 1);
    let other = usize::from(u16::from_be_bytes([c, d]));
    match what % 9 {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|b| *b = value),
        1 => bytes.truncate(at),
        2 => bytes.resize(bytes.len() + other % MAX_GROWTH, value),
        3 => bytes.iter_mut().skip(at).take(other).for_each(|b| *b = value),
        4 => {
            let piece: Vec<u8> = bytes.iter().skip(at).take(other % MAX_GROWTH).copied().collect();
            bytes.extend(piece);
        }
        5 => drop(files.remove(&name)),
        6 => {
            let bytes = files.remove(&name).expect("named above");
            files.insert(moved(&name, value, extra), bytes);
        }
        7 => sum_batches(bytes, at),
        _ => sum_ours(bytes),
    }
}

/// Another name for a file, where it is or in the data directory itself.
fn moved(name: &str, value: u8, extra: u8) -> String {
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    match value % 7 {
        kind @ 0..=3 if !folder.is_empty() => {
            format!("{folder}/{extra:020}.{}", ["log", "checkpoint", "index", "timeindex"][usize::from(kind)])
        }
        4 if !folder.is_empty() => format!("{folder}/{}", ["marks", "partition.metadata"][usize::from(extra % 2)]),
        5 => format!("journal.{}.0of1.{}", u64::MAX, extra % 3),
        _ => {
            let (life, shard, shards, index) = (extra % 4, extra / 4 % 4, extra / 16 % 4, extra / 64);
            format!("journal.{life:010}.{shard}of{shards}.{index}")
        }
    }
}

/// Makes the checksum of the batch at or after a position fit; in a journal's record, those of all of its batches.
fn sum_batches(bytes: &mut [u8], from: usize) {
    if bytes.starts_with(b"klmj") {
        return records(bytes).into_iter().for_each(|at| sum_listed(bytes, at));
    }
    let Some(at) = (from..bytes.len()).find(|at| bytes.get(at + 16) == Some(&2) && bytes[*at..].len() > 61) else {
        return;
    };
    let end = number(bytes, at + 8).map_or(0, |length| at + 12 + length);
    if (at + 61..=bytes.len()).contains(&end) {
        let sum = crc(&bytes[at + 21..end]);
        bytes[at + 17..at + 21].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The same for the batches of a journal's record: their first 16 bytes stand in its list, the rest behind it.
fn sum_listed(bytes: &mut [u8], record: usize) {
    let (mut at, list) = (record + 32, number(bytes, record + 24).unwrap_or_default());
    let mut data = at + list;
    while let Some(count) = number(bytes, at + 40).filter(|_| at + 44 <= record + 32 + list) {
        at += 44;
        for _ in 0..count {
            // The length counts from 12 bytes into the batch; the sum covers all behind itself, 5 bytes into the rest.
            let Some(end) = number(bytes, at + 8).and_then(|length| (data + length).checked_sub(4)) else { return };
            if !(data + 45..=bytes.len()).contains(&end) {
                return;
            }
            let sum = crc(&bytes[data + 5..end]);
            bytes[data + 1..data + 5].copy_from_slice(&sum.to_be_bytes());
            (at, data) = (at + 16, end);
        }
    }
}

/// Makes the checksums of a small file fit, or of a journal's headers and records.
fn sum_ours(bytes: &mut [u8]) {
    if bytes.len() > 10 && bytes.starts_with(b"klmm") {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&bytes[4..6]);
        sum.update(&bytes[10..]);
        bytes[6..10].copy_from_slice(&sum.finalize().to_be_bytes());
    }
    if bytes.len() > RECORDS && bytes.starts_with(b"klmj") {
        for at in HEADERS {
            let sum = crc(&bytes[at..at + 22]);
            bytes[at + 22..at + 26].copy_from_slice(&sum.to_be_bytes());
        }
        for at in records(bytes) {
            let end = at + 32 + number(bytes, at + 24).expect("it has a head");
            if let Some(covered) = bytes.get(at + 8..end) {
                let sum = crc(covered);
                bytes[at + 4..at + 8].copy_from_slice(&sum.to_be_bytes());
            }
        }
    }
}

/// Where the records of a volume begin, as long as they stand in it one after the other.
fn records(bytes: &[u8]) -> Vec<usize> {
    let (mut all, mut at) = (Vec::new(), RECORDS);
    while bytes.get(at..at + 4) == Some(b"klmr")
        && let (Some(list), Some(data)) = (number(bytes, at + 24), number(bytes, at + 28))
    {
        all.push(at);
        at = (at + 32 + list + data).next_multiple_of(BLOCK);
    }
    all
}

/// 32 bits at a position; `None` when they are a negative number.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..)?.first_chunk()?;
    usize::try_from(i32::from_be_bytes(*four)).ok()
}

fn crc(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// A disk on which everything ends at once.
fn instant() -> Device {
    let now = || 0..=0;
    let instant = Parameters { sync_ns: now(), read_ns: now(), other_ns: now(), ..Parameters::default() };
    Device::new(SimDisk::new(0, instant))
}

fn live<T>(disk: &Device, life: impl AsyncFnOnce(SimDiskHandle) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    LocalSet::new().block_on(&runtime, life(disk.open(Rc::new(|| 0))))
}

async fn put(disk: &SimDiskHandle, files: &Files) {
    let folders = TOPICS.map(|(topic, _)| format!("{topic}-0"));
    for path in &folders {
        disk.perform(Op::MakeDir { path: path.clone() }).await.expect("a sound disk");
    }
    for (path, bytes) in files {
        let file = disk.open(path, true).await.expect("a sound disk");
        let data = vec![Bytes::from(bytes.clone())];
        disk.perform(Op::Write { file, at: 0, data, sync: true }).await.expect("a sound disk");
    }
    for path in folders.into_iter().chain([String::new()]) {
        disk.perform(Op::SyncDir { path }).await.expect("a sound disk");
    }
}

/// One life: the logs that it did not refuse, and how to go on.
struct Life {
    logs: Logs<SimDiskHandle>,
    found: Logged,
    events: Rc<RefCell<Vec<Input>>>,
}

impl Life {
    /// `None` when a broker does not start: which log a folder is, or a journal, cannot be read.
    async fn start(disk: SimDiskHandle, salt: u64) -> Option<Life> {
        let events: Rc<RefCell<Vec<Input>>> = Rc::default();
        let told = events.clone();
        let options = Options {
            zero_fill: 4096,
            mark_every: 1000,
            journal_bytes: 256 << 10,
            journal_least: 1,
            salt: salt << 40,
            ..Options::new(crc)
        };
        let tell = Rc::new(move |input| told.borrow_mut().push(input));
        let logs = Logs::recover(disk, options, ShardIndex(0), 1, tell).await.ok()?;
        let found = events.take().into_iter().filter_map(|input| match input {
            Input::Recovered { log, found: Ok(found), .. } => Some((log, *found)),
            _ => None,
        });
        Some(Life { logs, found: found.collect(), events })
    }

    /// Makes changes of logs, each of which must be done.
    async fn make(&self, effects: Vec<Effect>) {
        let mut left: BTreeSet<(LogId, Seq)> = effects.iter().filter_map(change_of).collect();
        effects.into_iter().for_each(|effect| self.logs.change(effect));
        while !left.is_empty() {
            for input in self.events.take() {
                match input {
                    // It ends those before it as well.
                    Input::Done { log, seq } => left.retain(|(id, s)| *id != log || *s > seq),
                    other => panic!("on a sound disk: {other:?}"),
                }
            }
            yield_now().await;
        }
    }

    /// Lets everything that can end do so.
    async fn rest() {
        for _ in 0..10_000 {
            yield_now().await;
        }
    }
}

/// Which change of which log it is.
fn change_of(effect: &Effect) -> Option<(LogId, Seq)> {
    match effect {
        Effect::Open { log, seq, .. } | Effect::Append { log, seq, .. } => Some((*log, *seq)),
        Effect::Trim { log, seq, .. } | Effect::Truncate { log, seq, .. } => Some((*log, *seq)),
        _ => None,
    }
}

/// Appends as the core does.
fn append(log: &mut Log, count: usize, roll_bytes: u32, out: &mut Vec<Effect>) {
    for _ in 0..count {
        let mut builder = Builder::new();
        for i in 0..2 {
            builder.push(Timestamp(1000 + log.log_end_offset().0 + i), None, Some(&[7; 100]));
        }
        let batch = Batch::stored(builder.build(crc), crc).expect("our own batch");
        let leader_epoch = LeaderEpoch(log.state().last_epoch().0.max(0));
        let rolls = Rolls { bytes: roll_bytes, ms: i64::MAX, jitter_ms: 0 };
        log.append(batch, Terms { now: Now::default(), leader_epoch, flush_messages: 1, rolls }, out);
    }
}

/// Several segments, a trim behind them, and groups that only the journal has.
fn sound() -> Files {
    live(&instant(), async |disk| {
        let life = Life::start(disk.clone(), 0).await.expect("an empty directory");
        let mut logs = Vec::new();
        for (topic, id) in TOPICS {
            let mut effects = Vec::new();
            let id = LogId { topic: id, partition: 0 };
            let mut log = Log::create(id, topic, &mut effects);
            append(&mut log, 12, 1000, &mut effects);
            log.trim(Offset(7), &mut effects);
            life.make(effects).await;
            logs.push(log);
        }
        // Meanwhile the journal is made.
        Life::rest().await;
        for _ in 0..5 {
            let mut effects = Vec::new();
            logs.iter_mut().for_each(|log| append(log, 1, u32::MAX, &mut effects));
            life.make(effects).await;
            Life::rest().await;
        }
        let mut files = Files::new();
        for folder in TOPICS.map(|(topic, _)| format!("{topic}-0/")).into_iter().chain([String::new()]) {
            for name in disk.list(folder.trim_end_matches('/')).await.expect("a sound disk") {
                // Not the folders themselves.
                let Ok(file) = disk.open(&format!("{folder}{name}"), false).await else { continue };
                let bytes = disk.read(&file, 0, 1 << 20).await.expect("a sound disk");
                files.insert(format!("{folder}{name}"), bytes.to_vec());
            }
        }
        assert!(files.values().any(|bytes| records(bytes).len() > 2), "nothing is in the journal");
        files
    })
}
