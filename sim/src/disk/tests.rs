//! What a crash may and may not do, held against a naive memory of everything a file ever was.

use super::*;
use klamm::host::{Completion, Disk};
use std::rc::Rc;
use tokio::sync::oneshot::error::TryRecvError;

/// A disk on which everything ends at once.
fn instant(seed: u64) -> SimDisk {
    let now = || 0..=0;
    let instant = Parameters { sync_ns: now(), read_ns: now(), other_ns: now(), ..Parameters::default() };
    SimDisk::new(seed, instant)
}

fn submit(disk: &mut SimDisk, op: Op<SimFile>) -> io::Result<Outcome<SimFile>> {
    match disk.submit(disk.life(), 0, op) {
        Submitted::Now(result) => result,
        Submitted::Later(_) => panic!("this disk takes no time"),
    }
}

fn open(disk: &mut SimDisk, path: &str, create: bool) -> io::Result<SimFile> {
    match submit(disk, Op::Open { path: path.to_owned(), create, direct: false })? {
        Outcome::File(file) => Ok(file),
        other => panic!("{other:?}"),
    }
}

fn write(disk: &mut SimDisk, file: &SimFile, at: u64, data: &[u8], sync: bool) {
    let data = vec![Bytes::copy_from_slice(data)];
    submit(disk, Op::Write { file: file.clone(), at, data, sync }).unwrap();
}

fn sync(disk: &mut SimDisk, file: &SimFile) -> io::Result<()> {
    submit(disk, Op::Sync { file: file.clone() }).map(drop)
}

fn sync_dir(disk: &mut SimDisk, path: &str) {
    submit(disk, Op::SyncDir { path: path.to_owned() }).unwrap();
}

fn rename(disk: &mut SimDisk, from: &str, to: &str) {
    submit(disk, Op::Rename { from: from.to_owned(), to: to.to_owned() }).unwrap();
}

fn content(disk: &mut SimDisk, path: &str) -> Option<Vec<u8>> {
    let file = open(disk, path, false).ok()?;
    match submit(disk, Op::Read { file, at: 0, len: usize::MAX }).unwrap() {
        Outcome::Bytes(bytes) => Some(bytes.to_vec()),
        other => panic!("{other:?}"),
    }
}

/// What is in a file after a power loss, for each of many seeds.
fn after_power_losses(disk: &SimDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..200)
        .map(|seed| {
            let mut disk = disk.clone();
            disk.crash(Crash::PowerLoss, seed);
            content(&mut disk, path)
        })
        .collect()
}

#[test]
fn what_is_synced_stays_and_what_is_not_may_go_or_stay() {
    let mut disk = instant(1);
    let file = open(&mut disk, "f", true).unwrap();
    sync_dir(&mut disk, "");
    write(&mut disk, &file, 0, &[1; 512], true);
    assert_eq!(disk.unsynced(), 0);
    assert_eq!(after_power_losses(&disk, "f"), BTreeSet::from([Some(vec![1; 512])]));

    write(&mut disk, &file, 0, &[2; 1024], false);
    let seen = after_power_losses(&disk, "f");
    let both = |a: u8, b: u8| Some([[a; 512], [b; 512]].concat());
    assert!(seen.contains(&Some(vec![1; 512])), "all gone");
    assert!(seen.contains(&both(2, 2)), "all there");
    assert!(seen.contains(&both(1, 2)), "a later sector outlives an earlier one");
    assert!(seen.contains(&both(2, 0)), "the length without the bytes");
    assert!(seen.iter().flatten().all(|bytes| (512..=1024).contains(&bytes.len())));

    // A process that is killed leaves the page cache as it is, and the next one can still sync it.
    disk.crash(Crash::Kill, 1);
    assert_eq!(content(&mut disk, "f"), both(2, 2));
    let file = open(&mut disk, "f", false).unwrap();
    sync(&mut disk, &file).unwrap();
    assert_eq!(after_power_losses(&disk, "f"), BTreeSet::from([both(2, 2)]));
}

#[test]
fn a_truncation_may_come_undone() {
    let mut disk = instant(2);
    let file = open(&mut disk, "f", true).unwrap();
    sync_dir(&mut disk, "");
    write(&mut disk, &file, 0, &[7; 2000], true);
    submit(&mut disk, Op::SetLength { file: file.clone(), len: 1024 }).unwrap();
    let both = BTreeSet::from([Some(vec![7; 2000]), Some(vec![7; 1024])]);
    assert_eq!(after_power_losses(&disk, "f"), both);
    sync(&mut disk, &file).unwrap();
    submit(&mut disk, Op::SetLength { file: file.clone(), len: 1100 }).unwrap();
    sync(&mut disk, &file).unwrap();
    let extended = [vec![7; 1024], vec![0; 76]].concat();
    assert_eq!(after_power_losses(&disk, "f"), BTreeSet::from([Some(extended)]));
}

#[test]
fn a_name_needs_its_directory_synced() {
    let mut disk = instant(3);
    submit(&mut disk, Op::MakeDir { path: "d".to_owned() }).unwrap();
    let file = open(&mut disk, "d/f", true).unwrap();
    write(&mut disk, &file, 0, b"data", true);
    sync_dir(&mut disk, "d");
    let either = BTreeSet::from([None, Some(b"data".to_vec())]);
    assert_eq!(after_power_losses(&disk, "d/f"), either, "the directory's own name is not durable yet");
    sync_dir(&mut disk, "");
    assert_eq!(after_power_losses(&disk, "d/f"), BTreeSet::from([Some(b"data".to_vec())]));
    submit(&mut disk, Op::Remove { path: "d/f".to_owned() }).unwrap();
    assert_eq!(after_power_losses(&disk, "d/f"), either, "a removal may come undone");
    sync_dir(&mut disk, "d");
    assert_eq!(after_power_losses(&disk, "d/f"), BTreeSet::from([None]));
}

#[test]
fn a_renamed_file_has_its_old_name_or_its_new_one() {
    let mut disk = instant(4);
    submit(&mut disk, Op::MakeDir { path: "d".to_owned() }).unwrap();
    for (path, data) in [("f", b"old"), ("tmp", b"new")] {
        let file = open(&mut disk, path, true).unwrap();
        write(&mut disk, &file, 0, data, true);
    }
    sync_dir(&mut disk, "");
    rename(&mut disk, "tmp", "f");
    open(&mut disk, "tmp", true).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let mut disk = disk.clone();
        disk.crash(Crash::PowerLoss, seed);
        seen.insert((content(&mut disk, "f"), content(&mut disk, "tmp")));
    }
    let (old, new) = (|| Some(b"old".to_vec()), || Some(b"new".to_vec()));
    assert_eq!(seen, BTreeSet::from([(old(), new()), (new(), None), (new(), Some(Vec::new()))]));

    // Over directories: durable once both are synced, and never without a directory that was made for it.
    submit(&mut disk, Op::MakeDir { path: "e".to_owned() }).unwrap();
    rename(&mut disk, "f", "e/f");
    sync_dir(&mut disk, "e");
    for seed in 0..200 {
        let mut disk = disk.clone();
        disk.crash(Crash::PowerLoss, seed);
        let (here, there) = (content(&mut disk, "f"), content(&mut disk, "e/f"));
        assert!(there == new() || (here.is_some() && there.is_none()), "{here:?} {there:?}");
    }
    assert!(after_power_losses(&disk, "e/f").contains(&None), "the directory that it left is not synced");
    sync_dir(&mut disk, "");
    assert_eq!(after_power_losses(&disk, "e/f"), BTreeSet::from([new()]));
}

#[test]
fn after_a_failed_sync_the_next_one_lies() {
    let mut disk = instant(5);
    let file = open(&mut disk, "f", true).unwrap();
    sync_dir(&mut disk, "");
    write(&mut disk, &file, 0, &[1; 4096], true);
    write(&mut disk, &file, 0, &[2; 4096], false);
    let healthy = disk.parameters.clone();
    disk.set_parameters(Parameters { sync_errors: MILLION, ..healthy.clone() });
    let error = sync(&mut disk, &file).unwrap_err().raw_os_error();
    assert!([Errno::IO, Errno::NOSPC].iter().any(|known| error == Some(known.raw_os_error())), "{error:?}");
    disk.set_parameters(healthy);
    sync(&mut disk, &file).unwrap();
    assert_eq!(content(&mut disk, "f"), Some(vec![2; 4096]), "the page cache has it");
    let lost = after_power_losses(&disk, "f");
    assert_eq!(lost.len(), 1, "what is abandoned never survives: {lost:?}");
    assert!(lost.iter().flatten().any(|bytes| bytes.contains(&1)));
    assert_eq!(disk.counts().sync_errors, Faults { drawn: 1, applied: 1, effective: 1 });
    // Written again, it is dirty again.
    write(&mut disk, &file, 0, &[2; 4096], true);
    assert_eq!(after_power_losses(&disk, "f"), BTreeSet::from([Some(vec![2; 4096])]));
}

#[test]
fn a_name_whose_sync_failed_may_go_until_the_next() {
    let mut disk = instant(5);
    open(&mut disk, "f", true).unwrap();
    let healthy = disk.parameters.clone();
    disk.set_parameters(Parameters { sync_errors: MILLION, ..healthy.clone() });
    submit(&mut disk, Op::SyncDir { path: String::new() }).unwrap_err();
    disk.set_parameters(healthy);
    assert_eq!(after_power_losses(&disk, "f"), BTreeSet::from([None, Some(Vec::new())]));
    assert_eq!(disk.counts().sync_errors, Faults { drawn: 1, applied: 1, effective: 1 });
    sync_dir(&mut disk, "");
    assert_eq!(after_power_losses(&disk, "f"), BTreeSet::from([Some(Vec::new())]));
}

#[test]
fn a_sync_covers_what_had_ended_when_it_was_submitted() {
    let mut disk = instant(13);
    let file = open(&mut disk, "f", true).unwrap();
    write(&mut disk, &file, 0, &[1; 512], false);
    disk.set_parameters(Parameters { sync_ns: 1..=1, ..disk.parameters.clone() });
    let syncs = [Op::Sync { file: file.clone() }, Op::SyncDir { path: String::new() }];
    for op in syncs {
        assert!(matches!(disk.submit(0, 0, op), Submitted::Later(_)));
    }
    write(&mut disk, &file, 0, &[2; 512], false);
    open(&mut disk, "late", true).unwrap();
    assert!(disk.take_due(1).into_iter().all(|(_, result)| result.is_ok()));
    let synced = BTreeSet::from([Some(vec![1; 512]), Some(vec![2; 512])]);
    assert_eq!(after_power_losses(&disk, "f"), synced);
    assert_eq!(after_power_losses(&disk, "late"), BTreeSet::from([None, Some(Vec::new())]));
}

#[test]
fn a_crash_finds_operations_done_not_done_or_done_in_part() {
    let mut disk = instant(14);
    let file = open(&mut disk, "f", true).unwrap();
    sync_dir(&mut disk, "");
    disk.set_parameters(Parameters { write_ns: 1..=1, other_ns: 1..=1, sync_ns: 1..=1, ..disk.parameters.clone() });
    let data = vec![Bytes::from(vec![1; 3000])];
    let rename = Op::Rename { from: "f".to_owned(), to: "g".to_owned() };
    for op in [Op::Write { file, at: 0, data, sync: true }, rename] {
        assert!(matches!(disk.submit(0, 0, op), Submitted::Later(_)));
    }
    for crash in [Crash::Kill, Crash::PowerLoss] {
        let mut written = BTreeSet::new();
        let mut renamed = BTreeSet::new();
        for seed in 0..100 {
            let mut disk = disk.clone();
            disk.crash(crash, seed);
            disk.set_parameters(instant(0).parameters);
            let (old, new) = (content(&mut disk, "f"), content(&mut disk, "g"));
            renamed.insert((old.is_some(), new.is_some()));
            written.insert(old.or(new).unwrap().len());
        }
        assert_eq!(renamed, BTreeSet::from([(true, false), (false, true)]), "{crash:?}");
        assert!(written.contains(&0) && written.contains(&3000) && written.len() > 10, "{crash:?}: {written:?}");
    }
}

#[test]
fn a_failed_write_leaves_a_part() {
    let mut disk = instant(6);
    let file = open(&mut disk, "f", true).unwrap();
    disk.set_parameters(Parameters { write_errors: MILLION, ..disk.parameters.clone() });
    let data = vec![Bytes::from(vec![1; 1000])];
    let lengths: BTreeSet<usize> = (0..20)
        .map(|_| {
            submit(&mut disk, Op::SetLength { file: file.clone(), len: 0 }).unwrap();
            submit(&mut disk, Op::Write { file: file.clone(), at: 0, data: data.clone(), sync: true }).unwrap_err();
            content(&mut disk, "f").unwrap().len()
        })
        .collect();
    assert!(lengths.len() > 10 && lengths.iter().all(|len| *len <= 1000), "{lengths:?}");
}

#[test]
fn a_full_disk_takes_what_fits_and_removal_makes_room() {
    let mut disk = instant(7);
    disk.set_parameters(Parameters { capacity: Some(1500), ..disk.parameters.clone() });
    let first = open(&mut disk, "first", true).unwrap();
    write(&mut disk, &first, 0, &[1; 1000], false);
    let second = open(&mut disk, "second", true).unwrap();
    let data = vec![Bytes::from(vec![2; 1000])];
    let more = Op::Write { file: second.clone(), at: 0, data, sync: false };
    assert_eq!(submit(&mut disk, more.clone()).unwrap_err().raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
    assert_eq!(content(&mut disk, "second"), Some(vec![2; 500]));
    assert_eq!(open(&mut disk, "third", true).unwrap_err().kind(), io::ErrorKind::StorageFull);
    write(&mut disk, &first, 0, &[3; 1000], false);
    submit(&mut disk, Op::Remove { path: "first".to_owned() }).unwrap();
    submit(&mut disk, more).unwrap();
    assert_eq!(disk.counts().full, 2);
}

#[test]
fn a_life_that_ended_does_nothing() {
    let mut disk = SimDisk::new(8, Parameters::default());
    let Submitted::Later(number) = disk.submit(0, 0, Op::Open { path: "f".to_owned(), create: true, direct: false })
    else {
        panic!("opening takes time")
    };
    let at = disk.next_due().unwrap();
    assert!(disk.take_due(at - 1).is_empty());
    let mut ended = disk.take_due(at);
    let (n, Ok(Outcome::File(file))) = ended.remove(0) else { panic!("{ended:?}") };
    assert_eq!(n, number);
    assert!(matches!(disk.submit(0, at, Op::Sync { file: file.clone() }), Submitted::Later(_)));
    disk.crash(Crash::Kill, 0);
    assert_eq!((disk.next_due(), disk.life()), (None, 1), "what was in flight never ends");
    let counts = *disk.counts();
    let write = Op::Write { file: file.clone(), at: 0, data: vec![Bytes::from_static(b"x")], sync: false };
    assert!(matches!(disk.submit(0, at, write.clone()), Submitted::Later(_)));
    assert!(matches!(disk.submit(0, at, Op::Remove { path: "f".to_owned() }), Submitted::Later(_)));
    assert_eq!((disk.next_due(), *disk.counts()), (None, counts));
    // The next life cannot use the file that the last one had open.
    assert!(matches!(disk.submit(1, at, write), Submitted::Now(Err(_))));
}

#[test]
fn what_an_ended_life_waits_for_never_comes() {
    let device = Device::new(SimDisk::new(8, Parameters::default()));
    let disk = device.open(Rc::new(|| 0));
    let make = |n: u8| Op::MakeDir { path: format!("d{n}") };
    let later = |op| match disk.submit(op) {
        Completion::Later(receiver) => receiver,
        Completion::Now(result) => panic!("directories take time: {result:?}"),
    };
    let mut waiting = vec![later(make(0)), later(make(1))];
    device.take_due(device.next_due().unwrap());
    device.crash(Crash::Kill, 0);
    waiting.push(later(make(2)));
    assert_eq!(device.next_due(), None);
    device.take_due(u64::MAX);
    let pending = waiting.iter_mut().filter_map(|waiter| waiter.try_recv().err()).collect::<Vec<_>>();
    assert_eq!(
        pending,
        [TryRecvError::Empty, TryRecvError::Empty],
        "one ended before; the others not even with an error"
    );
    let next = device.open(Rc::new(|| 0));
    assert!(matches!(next.submit(Op::List { path: String::new() }), Completion::Later(_)));
    assert!(device.next_due().is_some());
}

#[test]
fn files_without_a_name_go_when_they_are_closed() {
    let mut disk = instant(9);
    let kept = open(&mut disk, "kept", true).unwrap();
    submit(&mut disk, Op::Remove { path: "kept".to_owned() }).unwrap();
    for n in 0..1000 {
        let path = format!("f{n}");
        let file = open(&mut disk, &path, true).unwrap();
        write(&mut disk, &file, 0, &[1; 100], true);
        submit(&mut disk, Op::Remove { path }).unwrap();
        sync_dir(&mut disk, "");
    }
    assert!(disk.files.len() < 40, "{}", disk.files.len());
    assert!(disk.turns.len() < 1100, "{}", disk.turns.len());
    write(&mut disk, &kept, 0, b"still", true);
    assert_eq!(disk.tree.unsynced(), 0);
}

/// What a file was at each moment since the last sync was submitted that succeeded: after a power loss every sector is
/// as it was at one of them.
#[derive(Default)]
struct History(Vec<Vec<u8>>);

impl History {
    fn allows(&self, bytes: &[u8], sector: usize) -> bool {
        let lengths = || self.0.iter().map(Vec::len);
        let fits = (lengths().min().unwrap()..=lengths().max().unwrap()).contains(&bytes.len());
        let padded = |bytes: &[u8], range: &Range<usize>| -> Vec<u8> {
            range.clone().map(|at| bytes.get(at).copied().unwrap_or(0)).collect()
        };
        fits && (0..bytes.len().div_ceil(sector)).all(|n| {
            let range = n * sector..bytes.len().min((n + 1) * sector);
            self.0.iter().any(|then| padded(then, &range) == bytes[range.clone()])
        })
    }
}

#[test]
fn every_sector_is_as_it_once_was_since_the_last_sync() {
    let mut lost = 0;
    for seed in 0..600 {
        let mut rng = rng::Rng::new(seed);
        let slow =
            Parameters { write_ns: 0..=0, sync_ns: 1..=9, read_ns: 0..=0, other_ns: 0..=0, ..Parameters::default() };
        let mut disk = SimDisk::new(seed, slow);
        let file = open(&mut disk, "f", true).unwrap();
        disk.tree.sync(0, u64::MAX);
        let mut history = History(vec![Vec::new()]);
        // Of each sync in flight: how much of the history it makes past.
        let mut syncs: BTreeMap<u64, usize> = BTreeMap::new();
        let mut past = 0;
        for now in 0..rng.below(60) {
            for (number, result) in disk.take_due(now) {
                result.unwrap();
                past = past.max(syncs.remove(&number).unwrap());
            }
            match rng.below(8) {
                0 | 1 => {
                    let Submitted::Later(number) = disk.submit(0, now, Op::Sync { file: file.clone() }) else {
                        panic!("syncs take time")
                    };
                    syncs.insert(number, history.0.len() - 1);
                    continue;
                }
                2 => {
                    let op = Op::SetLength { file: file.clone(), len: rng.below(5000) };
                    submit(&mut disk, op).unwrap();
                }
                _ => {
                    let data = vec![now as u8 + 1; rng.below(1500) as usize];
                    let at = rng.below(4000);
                    write(&mut disk, &file, at, &data, false);
                }
            }
            history.0.push(content(&mut disk, "f").unwrap());
        }
        history.0.drain(..past);
        disk.crash(Crash::PowerLoss, seed);
        let left = content(&mut disk, "f").unwrap();
        assert!(history.allows(&left, 512), "seed {seed}: {} bytes of {} versions", left.len(), history.0.len());
        lost += u64::from(left != *history.0.last().unwrap());
    }
    assert!(lost > 100, "power losses that lose nothing test nothing: {lost}");
}

#[test]
fn a_recording_is_built_again_at_every_point() {
    let mut disk = SimDisk::recorded(10, Parameters::default());
    let mut now = 0;
    let mut step = |disk: &mut SimDisk, op| {
        let submitted = disk.submit(disk.life(), now, op);
        match submitted {
            Submitted::Now(result) => result.unwrap(),
            Submitted::Later(_) => {
                now = disk.next_due().unwrap();
                disk.take_due(now).remove(0).1.unwrap()
            }
        }
    };
    let Outcome::File(file) = step(&mut disk, Op::Open { path: "f".to_owned(), create: true, direct: false }) else {
        panic!()
    };
    step(&mut disk, Op::SyncDir { path: String::new() });
    let named = disk.recording().unwrap().len();
    for n in 1..4u8 {
        let data = vec![Bytes::from(vec![n; 700])];
        step(&mut disk, Op::Write { file: file.clone(), at: 0, data, sync: n == 2 });
    }
    let recording = disk.recording().unwrap();
    let mut seen = BTreeSet::new();
    for calls in 0..=recording.len() {
        for seed in 0..20 {
            let mut state = recording.state_after(calls, seed);
            state.set_parameters(instant(0).parameters);
            let left = content(&mut state, "f");
            assert!(left.is_some() || calls < named, "a durable name is kept at call {calls}");
            seen.extend(left);
        }
        assert_eq!(recording.replay(calls).counts(), recording.replay(calls).counts());
    }
    assert!([0, 1, 2, 3].iter().all(|n| *n == 0 || seen.contains(&vec![*n; 700])), "every version survives somewhere");
    assert!(seen.contains(&Vec::new()));
    let mut whole = recording.replay(recording.len());
    assert_eq!(whole.counts(), disk.counts());
    whole.set_parameters(instant(0).parameters);
    assert_eq!(content(&mut whole, "f"), Some(vec![3; 700]));
}

#[test]
fn the_same_seed_does_the_same() {
    let run = |seed: u64| {
        let faulty = Parameters { sync_errors: 200_000, write_errors: 200_000, ..Parameters::default() };
        let mut disk = SimDisk::new(seed, faulty);
        let mut story = String::new();
        for now in 0..400u64 {
            let path = format!("f{}", now % 5);
            let op = if now % 3 == 0 { Op::Remove { path } } else { Op::Open { path, create: true, direct: false } };
            story += &format!("{:?}\n", disk.submit(disk.life(), now * 50_000, op));
            for (number, result) in disk.take_due(now * 50_000) {
                if let Ok(Outcome::File(file)) = &result {
                    let data = vec![Bytes::from(vec![now as u8; 600])];
                    let write = Op::Write { file: file.clone(), at: 100, data, sync: now % 2 == 0 };
                    story += &format!("{:?}\n", disk.submit(disk.life(), now * 50_000, write));
                }
                story += &format!("{number} {:?}\n", result.map(drop));
            }
            if now % 100 == 99 {
                disk.crash(if now % 200 == 99 { Crash::Kill } else { Crash::PowerLoss }, now);
                story += &format!("{:?} {}\n", disk.counts(), disk.unsynced());
            }
        }
        (story, *disk.counts())
    };
    let (story, counts) = run(11);
    assert_eq!(story, run(11).0);
    assert_ne!(story, run(12).0);
    assert!(counts.sync_errors.applied > 0 && counts.write_errors.effective > 0, "{counts:?}");
    assert!(counts.kills.effective > 0 && counts.power_losses.effective > 0, "{counts:?}");
}

/// A file of synced sectors, each full of its number, from 1 on.
fn numbered(seed: u64, sectors: u8) -> (SimDisk, SimFile) {
    let mut disk = instant(seed);
    let file = open(&mut disk, "f", true).unwrap();
    sync_dir(&mut disk, "");
    let bytes: Vec<u8> = (1..=sectors).flat_map(|n| [n; 512]).collect();
    write(&mut disk, &file, 0, &bytes, true);
    (disk, file)
}

fn read(disk: &mut SimDisk, file: &SimFile, at: u64, len: usize) -> Result<Bytes, Option<i32>> {
    match submit(disk, Op::Read { file: file.clone(), at, len }) {
        Ok(Outcome::Bytes(bytes)) => Ok(bytes),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.raw_os_error()),
    }
}

#[test]
fn rot_stays_until_it_is_written_over() {
    let (mut disk, file) = numbered(20, 3);
    assert!(disk.harm(Harm::Rot { path: "f".to_owned(), at: 600, bits: 0x81 }));
    for crash in [Crash::Kill, Crash::PowerLoss] {
        disk.crash(crash, 1);
        let bytes = content(&mut disk, "f").unwrap();
        let odd: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 1 + (at / 512) as u8).collect();
        assert_eq!((odd, bytes[600]), (vec![600], 2 ^ 0x81), "{crash:?}");
    }
    assert!(read(&mut disk, &file, 0, 1).is_err(), "a file of an ended life");
    let file = open(&mut disk, "f", false).unwrap();
    write(&mut disk, &file, 600, &[9], true);
    assert_eq!(after_power_losses(&disk, "f").first().unwrap().as_ref().unwrap()[600], 9);
    assert!(!disk.harm(Harm::Rot { path: "f".to_owned(), at: 5_000, bits: 1 }), "past the end");
    assert!(!disk.harm(Harm::Rot { path: "g".to_owned(), at: 0, bits: 1 }), "no such file");
}

#[test]
fn rot_under_what_is_not_synced_shows_only_once_that_is_lost() {
    let (mut disk, file) = numbered(21, 1);
    write(&mut disk, &file, 0, &[7; 512], false);
    assert!(disk.harm(Harm::Rot { path: "f".to_owned(), at: 3, bits: 0x10 }));
    assert_eq!(read(&mut disk, &file, 0, 512).unwrap(), vec![7; 512]);
    let mut rotten = vec![1; 512];
    rotten[3] ^= 0x10;
    assert_eq!(after_power_losses(&disk, "f"), BTreeSet::from([Some(vec![7; 512]), Some(rotten)]));
}

#[test]
fn a_sector_that_cannot_be_read_is_whole_again_once_it_is_written() {
    let (mut disk, file) = numbered(22, 4);
    assert!(disk.harm(Harm::Unreadable { path: "f".to_owned(), at: 700 }));
    let eio = Err(Some(Errno::IO.raw_os_error()));
    for (at, len) in [(600, 1), (0, 513), (1023, 2), (0, usize::MAX)] {
        assert_eq!(read(&mut disk, &file, at, len), eio, "{len} bytes at {at}");
    }
    assert_eq!(read(&mut disk, &file, 0, 512).unwrap(), vec![1; 512]);
    assert_eq!(read(&mut disk, &file, 1024, 1024).unwrap(), [[3; 512], [4; 512]].concat());
    assert_eq!(read(&mut disk, &file, 700, 0).unwrap(), "");
    disk.crash(Crash::PowerLoss, 1);
    let file = open(&mut disk, "f", false).unwrap();
    assert_eq!(read(&mut disk, &file, 512, 1), eio);
    // To write a part of it the rest must be read.
    let part = Op::Write { file: file.clone(), at: 513, data: vec![Bytes::from_static(b"x")], sync: false };
    assert_eq!(submit(&mut disk, part).unwrap_err().raw_os_error(), Some(Errno::IO.raw_os_error()));
    write(&mut disk, &file, 500, &[9; 600], true);
    assert_eq!(read(&mut disk, &file, 500, 600).unwrap(), vec![9; 600]);
    assert_eq!(disk.counts().unreadable, 6);
    // The page cache has what was not synced yet.
    write(&mut disk, &file, 0, &[9; 100], false);
    assert!(!disk.harm(Harm::Unreadable { path: "f".to_owned(), at: 0 }));
    assert!(disk.harm(Harm::Unreadable { path: "f".to_owned(), at: 1536 }));
    submit(&mut disk, Op::SetLength { file: file.clone(), len: 1024 }).unwrap();
    submit(&mut disk, Op::SetLength { file: file.clone(), len: 2048 }).unwrap();
    assert_eq!(read(&mut disk, &file, 1536, 512).unwrap(), vec![0; 512], "another sector now");
}

#[test]
fn a_lost_write_is_seen_until_the_page_cache_goes() {
    let (mut disk, file) = numbered(23, 3);
    assert!(disk.harm(Harm::LoseWrite { path: "f".to_owned() }));
    assert!(!disk.harm(Harm::LoseWrite { path: "f".to_owned() }), "the next one is lost already");
    write(&mut disk, &file, 512, &[8; 512], true);
    write(&mut disk, &file, 1536, &[4; 512], true);
    assert_eq!(read(&mut disk, &file, 512, 512).unwrap(), vec![8; 512]);
    let hits = disk.take_hits();
    assert_eq!(
        hits.iter().map(|(path, hit)| (path.as_str(), hit.bytes.clone())).collect::<Vec<_>>(),
        [("f", 512..1024)]
    );
    assert!(disk.take_hits().is_empty());
    sync(&mut disk, &file).unwrap();
    let whole: Vec<u8> = (1..=4).flat_map(|n| [n; 512]).collect();
    assert_eq!(after_power_losses(&disk, "f"), BTreeSet::from([Some(whole)]), "only the first sync lied");
}

#[test]
fn a_misdirected_write_spoils_what_it_hits() {
    let (mut disk, file) = numbered(24, 4);
    assert!(disk.harm(Harm::Misdirect { path: "f".to_owned(), to: 1100 }));
    write(&mut disk, &file, 0, &[9; 512], true);
    let bytes: Vec<_> = disk.take_hits().into_iter().map(|(_, hit)| hit.bytes).collect();
    assert_eq!(bytes, [0..512, 1024..1536]);
    assert_eq!(read(&mut disk, &file, 0, 1536).unwrap(), [[9; 512], [2; 512], [3; 512]].concat());
    let spoiled = [[1; 512], [2; 512], [9; 512], [4; 512]].concat();
    assert_eq!(after_power_losses(&disk, "f"), BTreeSet::from([Some(spoiled)]));
    write(&mut disk, &file, 0, &[9; 1536], true);
    let mended = [[9; 1536].as_slice(), &[4; 512]].concat();
    assert_eq!(after_power_losses(&disk, "f"), BTreeSet::from([Some(mended)]));
}

#[test]
fn what_a_failed_sync_left_in_the_cache_may_leave_it() {
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let (mut disk, file) = numbered(25, 2);
        let healthy = disk.parameters.clone();
        disk.set_parameters(Parameters { sync_errors: MILLION, ..healthy.clone() });
        write(&mut disk, &file, 0, &[8; 512], false);
        sync(&mut disk, &file).unwrap_err();
        disk.set_parameters(healthy);
        write(&mut disk, &file, 512, &[9; 512], false);
        disk.harm(Harm::Evict { seed });
        let now = read(&mut disk, &file, 0, 1024).unwrap();
        assert_eq!(now[512..], [9; 512], "what waits for a sync stays");
        seen.insert(now[0]);
    }
    assert_eq!(seen, BTreeSet::from([1, 8]));
}

#[test]
fn files_go_and_come_back() {
    let (mut disk, file) = numbered(26, 1);
    submit(&mut disk, Op::MakeDir { path: "d".to_owned() }).unwrap();
    for path in ["d/a", "d/b"] {
        let file = open(&mut disk, path, true).unwrap();
        write(&mut disk, &file, 0, path.as_bytes(), true);
    }
    sync_dir(&mut disk, "");
    sync_dir(&mut disk, "d");
    let then = disk.image(1);
    write(&mut disk, &file, 0, &[2; 512], true);
    let life = disk.life();
    assert!(disk.harm(Harm::RemoveTree { path: "d".to_owned() }));
    assert!(disk.life() > life, "whoever uses files is not alive");
    assert_eq!(after_power_losses(&disk, "d/a"), BTreeSet::from([None]), "it is gone for good");
    assert!(!disk.harm(Harm::RemoveTree { path: "d".to_owned() }));
    assert_eq!(disk.list_all(), [("f".to_owned(), 512)]);
    assert_eq!(disk.used(), 512);
    assert_eq!(disk.peek("f").unwrap(), [2; 512]);

    assert!(disk.harm(Harm::Restore(Box::new(then))));
    assert_eq!((disk.used(), disk.peek("f").unwrap()[0], disk.peek("d/b").unwrap()), (518, 1, &b"d/b"[..]));
    assert_eq!(after_power_losses(&disk, "d/a"), BTreeSet::from([Some(b"d/a".to_vec())]));
    let file = open(&mut disk, "d/a", false).unwrap();
    write(&mut disk, &file, 3, b"!", true);

    assert!(disk.harm(Harm::Wipe));
    assert!(!disk.harm(Harm::Wipe), "there was nothing left");
    assert_eq!((disk.used(), disk.unsynced(), content(&mut disk, "f")), (0, 0, None));
    let file = open(&mut disk, "f", true).unwrap();
    write(&mut disk, &file, 0, b"anew", true);
    assert_eq!(content(&mut disk, "f"), Some(b"anew".to_vec()));
}

#[test]
fn a_copy_is_what_a_power_loss_leaves() {
    let (mut disk, file) = numbered(27, 1);
    write(&mut disk, &file, 0, &[2; 512], false);
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let mut copy = instant(0);
        copy.harm(Harm::Restore(Box::new(disk.image(seed))));
        seen.insert(content(&mut copy, "f").unwrap()[0]);
    }
    assert_eq!(seen, BTreeSet::from([1, 2]));
    assert_eq!(read(&mut disk, &file, 0, 1).unwrap(), [2].as_slice(), "whoever is copied goes on");
}

#[test]
fn some_operations_stand_still() {
    let mut disk = instant(28);
    let stalls = Parameters { stalls: MILLION / 2, stall_ns: 1_000_000..=2_000_000, ..disk.parameters.clone() };
    disk.set_parameters(stalls);
    let mut still = 0;
    for now in 0..100 {
        if let Submitted::Later(_) = disk.submit(0, now, Op::List { path: String::new() }) {
            still += 1;
            assert!((now + 1_000_000..=now + 2_000_000).contains(&disk.next_due().unwrap()));
            disk.take_due(u64::MAX);
        }
    }
    assert!((20..80).contains(&still), "{still}");
    assert_eq!(disk.counts().stalls.drawn, still);
}

#[test]
fn harm_is_in_a_recording() {
    let mut disk = SimDisk::recorded(29, instant(0).parameters);
    let file = open(&mut disk, "f", true).unwrap();
    write(&mut disk, &file, 0, &[1; 512], true);
    disk.harm(Harm::Rot { path: "f".to_owned(), at: 0, bits: 2 });
    let again = disk.recording().unwrap().replay(usize::MAX);
    assert_eq!((again.peek("f"), again.counts()), (disk.peek("f"), disk.counts()));
    assert_eq!(disk.peek("f").unwrap()[0], 3);
}
