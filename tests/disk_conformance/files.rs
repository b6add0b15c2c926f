//! What every driver does with bytes, lengths, names and errors, and with many operations at once.

use super::{fresh_directory, make_dir, on_a_shard, remove, rename, ring_is_there, simulated, simulated_with, write};
use bytes::{BufMut, Bytes, BytesMut};
use klamm::disk::{Blocking, Uring};
use klamm::host::{BLOCK, Disk, Op, Outcome};
use klamm_sim::disk::Parameters;
use std::io::ErrorKind;

#[test]
fn threads_conform() {
    let directory = fresh_directory("threads");
    on_a_shard(async { conforms(&Blocking::open(directory.clone(), 3).unwrap()).await });
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_ring_conforms() {
    if ring_is_there() {
        let directory = fresh_directory("ring");
        on_a_shard(async { conforms(&Uring::open(directory.clone(), 1).unwrap()).await });
        std::fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn the_simulated_disk_conforms() {
    for seed in 0..4 {
        on_a_shard(async { conforms(&simulated(seed)).await });
    }
}

/// Slow, stalled, with large sectors, and with room for just what it takes: none of that is seen by who waits.
#[test]
fn the_simulated_disk_conforms_however_slow_it_is() {
    let slow = Parameters {
        sector: 4_096,
        write_ns: 0..=900_000,
        sync_ns: 0..=80_000_000,
        stalls: 200_000,
        stall_ns: 1_000_000..=5_000_000_000,
        capacity: Some(64 << 20),
        ..Parameters::default()
    };
    for seed in 0..4 {
        on_a_shard(async { conforms(&simulated_with(seed, slow.clone())).await });
    }
}

async fn conforms<D: Disk>(disk: &D) {
    bytes_come_back(disk).await;
    many_slices_and_a_large_write(disk).await;
    reads_stop_at_the_end(disk).await;
    room_is_told(disk).await;
    lengths_change(disk).await;
    names_change(disk).await;
    removed_files_stay_open(disk).await;
    errors_have_their_kind(disk).await;
    paths_stay_inside(disk).await;
    operations_run_concurrently(disk).await;
    what_was_read_stays(disk).await;
    nobody_need_wait(disk).await;
    names_have_a_length(disk).await;
    files_have_an_end(disk).await;
    whole_blocks_go_past_the_page_cache(disk).await;
    memory_that_stands_as_the_file_goes_past_the_page_cache(disk).await;
}

async fn bytes_come_back<D: Disk>(disk: &D) {
    let file = disk.open("bytes", true).await.unwrap();
    assert_eq!(disk.length(&file).await.unwrap(), 0);
    write(disk, &file, 0, &[b"one ", b"", b"two"], false).await.unwrap();
    write(disk, &file, 4, &[b"2"], true).await.unwrap();
    assert_eq!(disk.read(&file, 0, 7).await.unwrap(), "one 2wo");
    // Nothing written is nothing changed, past the end too.
    write(disk, &file, 99, &[], true).await.unwrap();
    write(disk, &file, 99, &[b"", b""], false).await.unwrap();
    assert_eq!(disk.length(&file).await.unwrap(), 7);
    // A hole reads as zeros.
    write(disk, &file, 9000, &[b"far"], false).await.unwrap();
    let all = disk.read(&file, 0, 10_000).await.unwrap();
    assert_eq!((all.len(), &all[..8], &all[9000..]), (9003, &b"one 2wo\0"[..], &b"far"[..]));
    assert!(all[7..9000].iter().all(|b| *b == 0));
    disk.perform(Op::Sync { file: file.clone() }).await.unwrap();
    // Two opens of one name are one file.
    let again = disk.open("bytes", false).await.unwrap();
    write(disk, &again, 0, &[b"ONE"], false).await.unwrap();
    assert_eq!(disk.read(&file, 0, 3).await.unwrap(), "ONE");
}

async fn many_slices_and_a_large_write<D: Disk>(disk: &D) {
    let file = disk.open("slices", true).await.unwrap();
    let whole: Bytes = (0..5000u32).map(|i| (i * 7 % 251) as u8).collect();
    for (at, sync) in [(3, false), (10_000, true)] {
        let data = (0..2500).map(|i| whole.slice(2 * i..2 * i + 2)).collect();
        disk.perform(Op::Write { file: file.clone(), at, data, sync }).await.unwrap();
        assert_eq!(disk.read(&file, at, 5000).await.unwrap(), whole);
    }
    assert_eq!(disk.length(&file).await.unwrap(), 15_000);

    let large: Bytes = (0..9u32 << 20).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect();
    let data = vec![large.slice(..1), large.slice(1..4 << 20), large.slice(4 << 20..)];
    disk.perform(Op::Write { file: file.clone(), at: 1, data, sync: true }).await.unwrap();
    assert_eq!(disk.length(&file).await.unwrap(), (9 << 20) + 1);
    assert!(disk.read(&file, 1, 9 << 20).await.unwrap() == large);
    // And again from the device, where there is one: synced pages may be dropped.
    if let Some(descriptor) = D::descriptor(&file) {
        rustix::fs::fadvise(descriptor, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    assert!(disk.read(&file, 1, 9 << 20).await.unwrap() == large);
    assert_eq!(disk.read(&file, 9 << 20, 99).await.unwrap(), large[large.len() - 1..]);
}

async fn reads_stop_at_the_end<D: Disk>(disk: &D) {
    let file = disk.open("end", true).await.unwrap();
    assert!(disk.read(&file, 0, 10).await.unwrap().is_empty());
    write(disk, &file, 0, &[b"0123456789"], false).await.unwrap();
    assert_eq!(disk.read(&file, 7, 10).await.unwrap(), "789");
    assert_eq!(disk.read(&file, 7, usize::MAX).await.unwrap(), "789");
    assert!(disk.read(&file, 10, 1).await.unwrap().is_empty());
    assert!(disk.read(&file, u64::MAX, 1).await.unwrap().is_empty());
    assert!(disk.read(&file, 3, 0).await.unwrap().is_empty());
}

/// Whatever way a file is written, every way of reading it gives the same.
async fn whole_blocks_go_past_the_page_cache<D: Disk>(disk: &D) {
    let direct = disk.open_direct("direct", true).await.unwrap();
    let cached = disk.open("direct", false).await.unwrap();
    disk.perform(Op::SetLength { file: direct.clone(), len: 16 * BLOCK }).await.unwrap();
    disk.perform(Op::Sync { file: direct.clone() }).await.unwrap();
    assert!(disk.read(&cached, 0, 5).await.unwrap().iter().all(|b| *b == 0));
    let some: Bytes = (0..3 * BLOCK as u32).map(|i| (i ^ (i >> 8)) as u8).collect();
    for (sync, at) in [(true, 0), (false, 5 * BLOCK), (true, 14 * BLOCK)] {
        // In pieces of any length: only the whole must be blocks.
        let data = vec![some.slice(..1), some.slice(1..5000), some.slice(5000..)];
        disk.perform(Op::Write { file: direct.clone(), at, data, sync }).await.unwrap();
        assert_eq!(disk.read(&cached, at, some.len()).await.unwrap(), some);
    }
    assert_eq!(disk.length(&cached).await.unwrap(), 17 * BLOCK);
    let odd = async |at, len| {
        let data = vec![some.slice(..len)];
        let op = Op::Write { file: direct.clone(), at, data, sync: true };
        disk.perform(op).await.unwrap_err().kind()
    };
    assert_eq!(odd(1, BLOCK as usize).await, ErrorKind::InvalidInput);
    assert_eq!(odd(BLOCK, 1).await, ErrorKind::InvalidInput);
    assert_eq!(odd(512, 512).await, ErrorKind::InvalidInput);
    assert_eq!(disk.read(&cached, BLOCK, 2).await.unwrap(), some.slice(BLOCK as usize..BLOCK as usize + 2));
    let missing = Op::Open { path: "direct-missing".to_owned(), create: false, direct: true };
    assert_eq!(disk.perform(missing).await.unwrap_err().kind(), ErrorKind::NotFound);
    // Through the page cache and past it by turns, over one another and without a sync: the last one counts.
    let (block, part) = (some.slice(..BLOCK as usize), some.slice(5000..5100));
    for (file, at, data) in [(&cached, 50, &part), (&direct, 0, &block), (&cached, 50, &part)] {
        disk.perform(Op::Write { file: file.clone(), at, data: vec![data.clone()], sync: false }).await.unwrap();
        assert_eq!(disk.read(&cached, at, data.len()).await.unwrap(), *data);
    }
    assert_eq!(disk.read(&cached, 0, 50).await.unwrap(), block.slice(..50));
    assert_eq!(disk.read(&cached, 150, 100).await.unwrap(), block.slice(150..250));
}

async fn room_is_told<D: Disk>(disk: &D) {
    let (total, usable) = disk.room().await.unwrap();
    assert!(total > 0 && usable <= total, "{usable} of {total} bytes");
}

async fn lengths_change<D: Disk>(disk: &D) {
    let file = disk.open("length", true).await.unwrap();
    let set = async |len| disk.perform(Op::SetLength { file: file.clone(), len }).await.unwrap();
    write(disk, &file, 0, &[b"0123456789"], true).await.unwrap();
    set(4).await;
    assert_eq!(disk.read(&file, 0, 10).await.unwrap(), "0123");
    set(6).await;
    assert_eq!(disk.read(&file, 0, 10).await.unwrap(), "0123\0\0");
    set(0).await;
    set(5000).await;
    assert_eq!(disk.length(&file).await.unwrap(), 5000);
    assert!(disk.read(&file, 0, 5000).await.unwrap().iter().all(|b| *b == 0));
    disk.perform(Op::Sync { file }).await.unwrap();
}

async fn names_change<D: Disk>(disk: &D) {
    let sync = async |path: &str| disk.perform(Op::SyncDir { path: path.to_owned() }).await.unwrap();
    make_dir(disk, "names").await;
    make_dir(disk, "names").await;
    make_dir(disk, "").await;
    sync("").await;
    for name in ["b", "B", "a-2", "a-10"] {
        let file = disk.open(&format!("names/{name}"), true).await.unwrap();
        write(disk, &file, 0, &[name.as_bytes()], false).await.unwrap();
    }
    make_dir(disk, "names/c").await;
    assert_eq!(disk.list("names").await.unwrap(), ["B", "a-10", "a-2", "b", "c"]);
    assert!(disk.list("").await.unwrap().contains(&"names".to_owned()));

    // A rename replaces, and open files follow it.
    let moved = disk.open("names/b", false).await.unwrap();
    rename(disk, "names/b", "names/a-2").await.unwrap();
    assert_eq!(disk.list("names").await.unwrap(), ["B", "a-10", "a-2", "c"]);
    write(disk, &moved, 1, &[b"!"], false).await.unwrap();
    disk.perform(Op::Sync { file: moved }).await.unwrap();
    let replaced = disk.open("names/a-2", false).await.unwrap();
    assert_eq!(disk.read(&replaced, 0, 9).await.unwrap(), "b!");
    rename(disk, "names/B", "names/B").await.unwrap();
    // A directory moves with what is in it.
    disk.open("names/c/inside", true).await.unwrap();
    rename(disk, "names/c", "names/d").await.unwrap();
    assert_eq!(disk.list("names/d").await.unwrap(), ["inside"]);
    rename(disk, "names/d/inside", "names/outside").await.unwrap();
    disk.perform(Op::RemoveDir { path: "names/d".to_owned() }).await.unwrap();
    remove(disk, "names/B").await.unwrap();
    assert_eq!(disk.list("names").await.unwrap(), ["a-10", "a-2", "outside"]);
    sync("names").await;
}

async fn removed_files_stay_open<D: Disk>(disk: &D) {
    let file = disk.open("removed", true).await.unwrap();
    write(disk, &file, 0, &[b"still here"], false).await.unwrap();
    remove(disk, "removed").await.unwrap();
    disk.perform(Op::SyncDir { path: String::new() }).await.unwrap();
    let other = disk.open("removed", true).await.unwrap();
    write(disk, &file, 10, &[b", and more"], true).await.unwrap();
    assert_eq!(disk.read(&file, 0, 99).await.unwrap(), "still here, and more");
    assert_eq!(disk.length(&other).await.unwrap(), 0);
}

async fn errors_have_their_kind<D: Disk>(disk: &D) {
    let kind = async |op: Op<D::File>| disk.submit(op).await.unwrap_err().kind();
    let path = || "errors/dir".to_owned();
    let file = || "errors/file".to_owned();
    let missing = || "errors/missing".to_owned();
    make_dir(disk, "errors").await;
    make_dir(disk, "errors/dir").await;
    disk.open("errors/dir/inside", true).await.unwrap();
    disk.open("errors/file", true).await.unwrap();

    assert_eq!(kind(Op::Open { path: missing(), create: false, direct: false }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::Open { path: missing() + "/below", create: true, direct: false }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::Open { path: file() + "/below", create: true, direct: false }).await, ErrorKind::NotADirectory);
    assert_eq!(kind(Op::Open { path: path(), create: true, direct: false }).await, ErrorKind::IsADirectory);
    assert_eq!(kind(Op::Remove { path: missing() }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::Remove { path: path() }).await, ErrorKind::IsADirectory);
    assert_eq!(kind(Op::Rename { from: missing(), to: file() }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::Rename { from: file(), to: path() }).await, ErrorKind::IsADirectory);
    assert_eq!(kind(Op::Rename { from: path(), to: file() }).await, ErrorKind::NotADirectory);
    assert_eq!(kind(Op::Rename { from: path(), to: path() + "/below" }).await, ErrorKind::InvalidInput);
    assert_eq!(kind(Op::MakeDir { path: file() }).await, ErrorKind::AlreadyExists);
    assert_eq!(kind(Op::MakeDir { path: missing() + "/below" }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::RemoveDir { path: path() }).await, ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind(Op::RemoveDir { path: file() }).await, ErrorKind::NotADirectory);
    assert_eq!(kind(Op::RemoveDir { path: missing() }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::List { path: missing() }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::List { path: file() }).await, ErrorKind::NotADirectory);
    assert_eq!(kind(Op::SyncDir { path: missing() }).await, ErrorKind::NotFound);
    assert_eq!(kind(Op::SyncDir { path: file() }).await, ErrorKind::NotADirectory);
    assert_eq!(disk.list("errors").await.unwrap(), ["dir", "file"]);
}

async fn paths_stay_inside<D: Disk>(disk: &D) {
    for path in ["/etc/hostname", "..", "../outside", "a/../b", "a//b", "a/", "./a", ".", "a\0b", ""] {
        let path = || path.to_owned();
        let ops = [
            Op::Open { path: path(), create: true, direct: false },
            Op::Remove { path: path() },
            Op::RemoveDir { path: path() },
            Op::Rename { from: path(), to: "inside".to_owned() },
            Op::Rename { from: "inside".to_owned(), to: path() },
        ];
        let also = [Op::MakeDir { path: path() }, Op::List { path: path() }, Op::SyncDir { path: path() }];
        for op in ops.into_iter().chain(also.into_iter().filter(|_| !path().is_empty())) {
            assert_eq!(disk.submit(op).await.unwrap_err().kind(), ErrorKind::InvalidInput, "{:?}", path());
        }
    }
}

async fn operations_run_concurrently<D: Disk>(disk: &D) {
    let file = disk.open("concurrent", true).await.unwrap();
    let piece = |n: u64| Bytes::from(vec![n as u8; 100]);
    let write = |n| Op::Write { file: file.clone(), at: n * 100, data: vec![piece(n)], sync: n % 3 == 0 };
    let mut under_way: Vec<_> = (0..200).map(|n| disk.submit(write(n))).collect();
    under_way.extend((0..200).map(|_| disk.submit(Op::Sync { file: file.clone() })));
    under_way.extend(
        (0..20).map(|n| disk.submit(Op::Open { path: format!("concurrent-{n}"), create: true, direct: false })),
    );
    // Nobody waits for this one, and it is done all the same.
    drop(disk.submit(Op::Open { path: "concurrent-forgotten".to_owned(), create: true, direct: false }));
    for completion in under_way {
        completion.await.unwrap();
    }
    let reads: Vec<_> = (0..200).map(|n| disk.submit(Op::Read { file: file.clone(), at: n * 100, len: 100 })).collect();
    for (n, read) in (0..).zip(reads) {
        assert!(matches!(read.await.unwrap(), Outcome::Bytes(bytes) if bytes == piece(n)), "piece {n}");
    }
    while disk.open("concurrent-forgotten", false).await.is_err() {
        tokio::task::yield_now().await;
    }
}

async fn what_was_read_stays<D: Disk>(disk: &D) {
    let file = disk.open("snapshot", true).await.unwrap();
    write(disk, &file, 0, &[b"before"], true).await.unwrap();
    let before = disk.read(&file, 0, 6).await.unwrap();
    write(disk, &file, 0, &[b"after!"], false).await.unwrap();
    disk.perform(Op::SetLength { file: file.clone(), len: 3 }).await.unwrap();
    assert_eq!((before, disk.read(&file, 0, 6).await.unwrap()), ("before".into(), "aft".into()));
}

/// Whatever it is, it is done though its completion was dropped, and a file lives as long as it takes.
async fn nobody_need_wait<D: Disk>(disk: &D) {
    let file = disk.open("waited", true).await.unwrap();
    make_dir(disk, "unwaited").await;
    drop(disk.submit(Op::MakeDir { path: "unwaited/made".to_owned() }));
    drop(disk.submit(Op::Rename { from: "waited".to_owned(), to: "unwaited/renamed".to_owned() }));
    while disk.list("unwaited").await.unwrap() != ["made", "renamed"] {
        tokio::task::yield_now().await;
    }
    drop(disk.submit(Op::Write { file: file.clone(), at: 0, data: vec!["written".into()], sync: true }));
    drop(disk.submit(Op::Sync { file }));
    let file = disk.open("unwaited/renamed", false).await.unwrap();
    while disk.read(&file, 0, 9).await.unwrap() != "written" {
        tokio::task::yield_now().await;
    }
    drop(disk.submit(Op::SetLength { file: file.clone(), len: 2 }));
    while disk.length(&file).await.unwrap() != 2 {
        tokio::task::yield_now().await;
    }
    drop(disk.submit(Op::Remove { path: "unwaited/renamed".to_owned() }));
    drop(disk.submit(Op::RemoveDir { path: "unwaited/made".to_owned() }));
    while !disk.list("unwaited").await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

/// Topic names are up to 249 bytes long, and the names of their folders longer.
async fn names_have_a_length<D: Disk>(disk: &D) {
    let longest = "é".repeat(127) + "n";
    assert_eq!(longest.len(), 255);
    make_dir(disk, &longest).await;
    disk.open(&format!("{longest}/{longest}"), true).await.unwrap();
    assert_eq!(disk.list(&longest).await.unwrap(), [longest.as_str()]);
    let longer = || longest.clone() + "g";
    for op in [
        Op::Open { path: longer(), create: true, direct: false },
        Op::Open { path: longer() + "/below", create: true, direct: false },
        Op::MakeDir { path: longer() },
        Op::Rename { from: longest.clone(), to: longer() },
        Op::Remove { path: longer() },
    ] {
        assert_eq!(disk.submit(op).await.unwrap_err().kind(), ErrorKind::InvalidFilename);
    }
}

/// No file is that long; asking for it is an error and changes nothing.
async fn files_have_an_end<D: Disk>(disk: &D) {
    let file = disk.open("far", true).await.unwrap();
    write(disk, &file, 0, &[b"near"], true).await.unwrap();
    for at in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1] {
        for sync in [false, true] {
            write(disk, &file, at, &[b"far"], sync).await.unwrap_err();
        }
        assert!(disk.read(&file, at, 10).await.unwrap().is_empty());
    }
    for len in [u64::MAX, 1 << 63] {
        disk.perform(Op::SetLength { file: file.clone(), len }).await.unwrap_err();
    }
    assert_eq!(disk.length(&file).await.unwrap(), 4);
}

/// In parts of any length, with other memory between them: more pieces than one system call takes.
async fn memory_that_stands_as_the_file_goes_past_the_page_cache<D: Disk>(disk: &D) {
    const PIECES: usize = 600;
    let (block, four) = (BLOCK as usize, 4 * BLOCK as usize);
    let mut memory = BytesMut::with_capacity(PIECES * four + block);
    let before = memory.as_ptr().addr().wrapping_neg() % block;
    memory.resize(before, 0);
    drop(memory.split());
    (0..PIECES * four).for_each(|i| memory.put_u8((i ^ (i >> 8) ^ (i >> 16)) as u8));
    let stands = memory.freeze();
    let other: Bytes = (0..=BLOCK as u32).map(|i| (i * 7 % 251) as u8).collect();
    let mut data = Vec::new();
    for (i, from) in (0..PIECES).map(|i| (i, i * four)) {
        // A part over the end of a block, and none.
        data.extend([stands.slice(from..from + 1000 + i), Bytes::new(), stands.slice(from + 1000 + i..from + four)]);
        data.push(other.slice(1..));
    }
    let file = disk.open_direct("aligned", true).await.unwrap();
    disk.perform(Op::Write { file: file.clone(), at: BLOCK, data: data.clone(), sync: true }).await.unwrap();
    let cached = disk.open("aligned", false).await.unwrap();
    let whole = data.concat();
    assert!(disk.read(&cached, BLOCK, whole.len() + 1).await.unwrap() == whole);
}
