//! Any damage to a log's files: recovery refuses the log, or what it reports is there again after a power loss and takes
//! a batch more. Never a panic.
//!
//! The bytes are edits of a sound folder; checksums can be made to fit again, so that what they cover is met too.

use bytes::Bytes;
use klamm::disk::logs::{Logs, Options};
use klamm::host::{Disk, Op};
use klamm_core::effect::{Effect, Input};
use klamm_core::ids::{LeaderEpoch, LogId, Now, Offset, Seq, ShardIndex, Timestamp};
use klamm_core::log::{Checkpoint, Found, Log, Rolls, Terms};
use klamm_core::record::{Batch, Builder};
use klamm_sim::disk::{Crash, Device, Parameters, SimDisk, SimDiskHandle};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::OnceLock;
use tokio::task::{LocalSet, yield_now};

const FOLDER: &str = "__cluster_metadata-0";
/// Edits taken from the input.
const MAX_EDITS: usize = 64;
/// A file grows by no more at once.
const MAX_GROWTH: usize = 5000;

type Files = BTreeMap<String, Vec<u8>>;

/// Applies the edits, eight bytes each, and recovers.
pub fn recovery(data: &[u8]) {
    static SOUND: OnceLock<Files> = OnceLock::new();
    let mut files = SOUND.get_or_init(sound).clone();
    for edit in data.chunks_exact(8).take(MAX_EDITS) {
        apply(&mut files, edit);
    }
    let disk = instant();
    live(&disk, async |handle| put(&handle, &files).await);
    disk.crash(Crash::Kill, 0);
    let Some((_, first)) = live(&disk, async |handle| Life::start(handle).await?.found) else { return };
    disk.crash(Crash::PowerLoss, 1);
    let end = live(&disk, async |handle| {
        let life = Life::start(handle).await.expect("it began before");
        let (id, second) = life.found.clone().expect("recovered before");
        assert_eq!(needed(&second), needed(&first), "what was reported is gone");
        assert_eq!(second.torn_bytes, 0, "a torn tail was left");
        let (mut log, mut effects) = (Log::recovered(id, second, Timestamp(0)), Vec::new());
        append(&mut log, 2, &mut effects);
        life.make(effects).await;
        log.log_end_offset()
    });
    disk.crash(Crash::PowerLoss, 2);
    let (_, third) = live(&disk, async |handle| Life::start(handle).await?.found).expect("recovered before");
    assert_eq!(third.state.at, end, "an acknowledged batch is gone");
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
            let moved =
                format!("{:020}.{}", extra, ["log", "checkpoint", "index", "timeindex"][usize::from(value % 4)]);
            let bytes = files.remove(&name).expect("named above");
            files.insert(moved, bytes);
        }
        7 => sum_batch(bytes, at),
        _ => sum_small(bytes),
    }
}

/// Makes the checksum of the batch at or after a position fit.
fn sum_batch(bytes: &mut [u8], from: usize) {
    let Some(at) = (from..bytes.len()).find(|at| bytes.get(at + 16) == Some(&2) && bytes[*at..].len() > 61) else {
        return;
    };
    let length = i32::from_be_bytes([bytes[at + 8], bytes[at + 9], bytes[at + 10], bytes[at + 11]]);
    let end = usize::try_from(length).map_or(0, |length| at + 12 + length);
    if (at + 61..=bytes.len()).contains(&end) {
        let sum = crc(&bytes[at + 21..end]);
        bytes[at + 17..at + 21].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Makes the checksum of a small file fit.
fn sum_small(bytes: &mut [u8]) {
    if bytes.len() > 10 && bytes.starts_with(b"klmm") {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&bytes[4..6]);
        sum.update(&bytes[10..]);
        bytes[6..10].copy_from_slice(&sum.finalize().to_be_bytes());
    }
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
    let make = Op::MakeDir { path: FOLDER.to_owned() };
    disk.perform(make).await.expect("a sound disk");
    for (name, bytes) in files {
        let file = disk.open(&format!("{FOLDER}/{name}"), true).await.expect("a sound disk");
        let data = vec![Bytes::from(bytes.clone())];
        disk.perform(Op::Write { file, at: 0, data, sync: true }).await.expect("a sound disk");
    }
    for path in [FOLDER, ""] {
        disk.perform(Op::SyncDir { path: path.to_owned() }).await.expect("a sound disk");
    }
}

/// One life: what was found unless it was refused, and how to go on.
struct Life {
    logs: Logs<SimDiskHandle>,
    found: Option<(LogId, Found)>,
    events: Rc<RefCell<Vec<Input>>>,
}

impl Life {
    /// `None` when which log a folder is cannot be read: then the broker does not start.
    async fn start(disk: SimDiskHandle) -> Option<Life> {
        let events: Rc<RefCell<Vec<Input>>> = Rc::default();
        let told = events.clone();
        let options = Options { zero_fill: 4096, mark_every: 1000, ..Options::new(crc) };
        let tell = Rc::new(move |input| told.borrow_mut().push(input));
        let logs = Logs::recover(disk, options, ShardIndex(0), 1, tell).await.ok()?;
        let found = events.take().into_iter().find_map(|input| match input {
            Input::Recovered { log, found: Ok(found), .. } => Some((log, *found)),
            _ => None,
        });
        Some(Life { logs, found, events })
    }

    /// Makes changes of a log, each of which must be done.
    async fn make(&self, effects: Vec<Effect>) {
        let last = effects.iter().filter_map(seq_of).max();
        effects.into_iter().for_each(|effect| self.logs.change(effect));
        let ends = |input: &Input| match input {
            Input::Done { seq, .. } => Some(*seq) >= last,
            _ => true,
        };
        while !self.events.borrow().iter().any(ends) {
            yield_now().await;
        }
        let failed = self.events.take().into_iter().find(|input| !matches!(input, Input::Done { .. }));
        assert!(failed.is_none(), "on a sound disk: {failed:?}");
    }
}

/// The number of a change of a log.
fn seq_of(effect: &Effect) -> Option<Seq> {
    match effect {
        Effect::Open { seq, .. } | Effect::Append { seq, .. } | Effect::Trim { seq, .. } => Some(*seq),
        _ => None,
    }
}

/// Appends as the core does.
fn append(log: &mut Log, count: usize, out: &mut Vec<Effect>) {
    for _ in 0..count {
        let mut builder = Builder::new();
        for i in 0..2 {
            builder.push(Timestamp(1000 + log.log_end_offset().0 + i), None, Some(&[7; 100]));
        }
        let batch = Batch::stored(builder.build(crc), crc).expect("our own batch");
        let leader_epoch = LeaderEpoch(log.state().last_epoch().0.max(0));
        let rolls = Rolls { bytes: 1000, ms: i64::MAX, jitter_ms: 0 };
        log.append(batch, Terms { now: Now::default(), leader_epoch, flush_messages: 1, rolls }, out);
    }
}

/// A folder with several segments, and a trim behind it.
fn sound() -> Files {
    live(&instant(), async |disk| {
        let life = Life::start(disk.clone()).await.expect("an empty directory");
        let mut effects = Vec::new();
        let mut log = Log::create(LogId::METADATA, "__cluster_metadata", &mut effects);
        append(&mut log, 12, &mut effects);
        let asked = effects.len() as u64;
        effects.push(Effect::Trim { log: LogId::METADATA, seq: Seq(asked), to: Offset(7), roll: None });
        life.make(effects).await;
        let mut files = Files::new();
        for name in disk.list(FOLDER).await.expect("a sound disk") {
            let file = disk.open(&format!("{FOLDER}/{name}"), false).await.expect("a sound disk");
            let bytes = disk.read(&file, 0, 1 << 20).await.expect("a sound disk");
            files.insert(name, bytes.to_vec());
        }
        files
    })
}
