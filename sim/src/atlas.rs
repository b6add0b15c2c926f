//! The atlas of a broker's disk: which records stand in which bytes, and so what is lost with them. With one broker
//! nothing else has a copy: what was durable there was durable only there.
//!
//! It reads the files itself, by their published layout, and asks no broker. Before harm is done it says what may be lost
//! by it, and no more than that may then be missing. Below the *mark* of a log (its own word on the disk, and the newest
//! checkpoint's) everything was durable, so damage there must be refused or show itself; above it a bad batch cannot be
//! told from the torn end of a log, and recovery may cut there.

use crate::disk::SimDisk;
use klamm_core::ids::{LogId, Uuid};
use klamm_core::record::{HEADER_BYTES, Header};
use std::collections::BTreeMap;
use std::ops::Range;

/// What is lost with some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: it is made anew, or was left over.
    Nothing,
    /// Records of one log.
    Records(Lost),
    /// A log, which must then be refused.
    Log(LogId),
    /// Which log it is: then that log must be missed, or the broker refuse to start.
    Name(LogId),
    /// The broker itself, which must then refuse to start.
    Broker,
    /// What the broker knows of topics, and nobody could tell: more than any run may lose.
    Everything,
}

/// Records that may be missing from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Whose.
    pub log: LogId,
    /// Their offsets.
    pub offsets: Range<i64>,
    /// They were below the mark: they may not be missing without a word.
    pub marked: bool,
}

/// A batch as it stands in a file.
#[derive(Clone, Debug)]
struct Stands {
    bytes: Range<u64>,
    offsets: Range<i64>,
}

/// One log's folder.
#[derive(Clone, Debug)]
pub struct Folder {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub log: LogId,
    /// Everything below is known to be on the device.
    mark: i64,
    /// By file.
    segments: BTreeMap<String, Vec<Stands>>,
}

/// All logs of a disk.
#[derive(Clone, Debug, Default)]
pub struct Atlas {
    folders: Vec<Folder>,
}

impl Atlas {
    /// Of what reads would see now.
    #[must_use]
    pub fn of(disk: &SimDisk) -> Atlas {
        let files = disk.list_all();
        let metadata = files.iter().filter_map(|(path, _)| path.strip_suffix("/partition.metadata"));
        Atlas { folders: metadata.filter_map(|name| Folder::read(disk, &files, name)).collect() }
    }

    /// What a power loss has left counts for the marks: one that was not durable yet said nothing that a recovery could
    /// know.
    pub fn keep_marks_of(&mut self, left: &Atlas) {
        for folder in &mut self.folders {
            let still = left.folders.iter().find(|other| other.name == folder.name);
            folder.mark = folder.mark.min(still.map_or(0, |still| still.mark));
        }
    }

    /// The folders of logs, in order.
    #[must_use]
    pub fn folders(&self) -> &[Folder] {
        &self.folders
    }

    /// What is lost with some bytes of a file.
    #[must_use]
    pub fn loss(&self, path: &str, bytes: Range<u64>) -> Loss {
        let folder = path.rsplit_once('/');
        let known = folder.and_then(|(name, file)| Some((self.folders.iter().find(|known| known.name == name)?, file)));
        // A folder that is being made, or removed, is about to be another one.
        let Some((folder, file)) = known else { return Loss::Everything };
        let loss = match file.rsplit_once('.').map_or(file, |(_, extension)| extension) {
            "log" => folder.records(path, &bytes),
            // An older checkpoint is the newest again where a roll is lost.
            "checkpoint" | "marks" | "quorum-ballot" => Loss::Log(folder.log),
            "metadata" => Loss::Name(folder.log),
            "index" | "timeindex" => Loss::Nothing,
            // It is about to be another one.
            _ => Loss::Everything,
        };
        match loss {
            Loss::Log(LogId::METADATA) | Loss::Name(LogId::METADATA) => Loss::Broker,
            Loss::Records(Lost { log: LogId::METADATA, marked: true, .. }) => Loss::Broker,
            Loss::Records(Lost { log: LogId::METADATA, .. }) => Loss::Everything,
            loss => loss,
        }
    }
}

impl Atlas {
    /// What is lost where some bytes of a file cannot be read.
    #[must_use]
    pub fn loss_unread(&self, path: &str, bytes: Range<u64>) -> Loss {
        let loss = self.loss(path, bytes);
        let folder = self.folders.iter().find(|known| known.segments.contains_key(path));
        match (loss, folder) {
            (Loss::Nothing, Some(Folder { log: LogId::METADATA, .. })) => Loss::Broker,
            (Loss::Nothing, Some(folder)) => Loss::Log(folder.log),
            (loss, _) => loss,
        }
    }
}

impl Folder {
    fn read(disk: &SimDisk, files: &[(String, u64)], name: &str) -> Option<Folder> {
        let partition = partition(name)?;
        let text = std::str::from_utf8(disk.peek(&format!("{name}/partition.metadata"))?).ok()?;
        let topic = Uuid::parse(text.lines().nth(1)?.strip_prefix("topic_id: ")?)?;
        let inside = || files.iter().filter_map(|(path, _)| Some((path, path.strip_prefix(name)?.strip_prefix('/')?)));
        let base = |file: &str, extension: &str| file.strip_suffix(extension)?.parse::<i64>().ok();
        let checkpoint = inside().filter_map(|(_, file)| base(file, ".checkpoint")).max().unwrap_or_default();
        let marks = disk.peek(&format!("{name}/marks")).and_then(flushed).unwrap_or_default();
        let logs = inside().filter(|(_, file)| base(file, ".log").is_some());
        let segments = logs.map(|(path, _)| (path.clone(), stands(disk.peek(path).unwrap_or_default()))).collect();
        let log = LogId { topic, partition };
        Some(Folder { name: name.to_owned(), log, mark: marks.max(checkpoint), segments })
    }

    /// The files of its segments, in order, and how many bytes of batches each has.
    pub fn files(&self) -> impl DoubleEndedIterator<Item = (&str, u64)> {
        self.segments.iter().map(|(path, all)| (path.as_str(), all.last().map_or(0, |last| last.bytes.end)))
    }

    /// The offset after its last batch.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.segments.values().flatten().map(|batch| batch.offsets.end).max().unwrap_or_default()
    }

    /// All of it.
    #[must_use]
    pub fn whole(&self) -> Lost {
        Lost { log: self.log, offsets: 0..i64::MAX, marked: true }
    }

    fn records(&self, path: &str, bytes: &Range<u64>) -> Loss {
        let Some(all) = self.segments.get(path) else { return Loss::Nothing };
        let mut hit = all.iter().filter(|batch| batch.bytes.start < bytes.end && bytes.start < batch.bytes.end);
        let Some(first) = hit.next() else { return Loss::Nothing };
        let last = hit.next_back().unwrap_or(first);
        let marked = last.offsets.end <= self.mark;
        // Who cannot read a header does not find what stands behind it.
        let header = |batch: &&Stands| {
            let end = batch.bytes.start + HEADER_BYTES as u64;
            batch.bytes.start < bytes.end && bytes.start < end
        };
        let is_active = self.segments.last_key_value().is_some_and(|(active, _)| active == path);
        let lost = match all.iter().any(|batch| header(&batch)) {
            // Nor what comes to stand there.
            true if is_active => i64::MAX,
            true => all.last().map_or(last.offsets.end, |end| end.offsets.end),
            false => last.offsets.end,
        };
        // A batch that is not good is the end of a log, as far as anybody can tell.
        let offsets = first.offsets.start..if marked { lost } else { i64::MAX };
        Loss::Records(Lost { log: self.log, offsets, marked })
    }
}

/// The partition that a folder's name ends with.
fn partition(folder: &str) -> Option<i32> {
    let name = match folder.strip_suffix("-id") {
        Some(marked) => marked.rsplit_once('.')?.0,
        None => folder,
    };
    let (_, digits) = name.rsplit_once('-')?;
    digits.parse().ok()
}

/// The batches of a segment, as far as they join.
fn stands(bytes: &[u8]) -> Vec<Stands> {
    let mut all: Vec<Stands> = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..).and_then(|rest| Header::parse(rest).ok()) {
        let end = at + header.size();
        let joins = all.last().is_none_or(|before| before.offsets.end == header.base_offset.0);
        if end > bytes.len() || !joins {
            break;
        }
        let offsets = header.base_offset.0..header.next_offset().0;
        all.push(Stands { bytes: at as u64..end as u64, offsets });
        at = end;
    }
    all
}

/// What the small file `marks` says is on the device: behind ten bytes of magic, version and checksum the log's start
/// and that, each as postcard writes an i64.
fn flushed(marks: &[u8]) -> Option<i64> {
    let mut bytes = marks.get(10..)?.iter();
    let mut number = || {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *bytes.next()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        None
    };
    number()?;
    number()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::batch;
    use crate::disk::{Harm, Parameters, Submitted};
    use bytes::{BufMut, Bytes, BytesMut};
    use klamm::host::{Op, Outcome};
    use klamm_core::ids::Timestamp;

    fn topic() -> Uuid {
        Uuid::from_halves(7, 9)
    }

    fn put(disk: &mut SimDisk, path: &str, bytes: Vec<u8>) {
        let life = disk.life();
        let now = |disk: &mut SimDisk, op| match disk.submit(life, 0, op) {
            Submitted::Now(result) => result.expect("a healthy disk"),
            Submitted::Later(_) => panic!("it takes no time"),
        };
        if let Some((dir, _)) = path.rsplit_once('/') {
            now(disk, Op::MakeDir { path: dir.to_owned() });
        }
        let opened = now(disk, Op::Open { path: path.to_owned(), create: true, direct: false });
        let Outcome::File(file) = opened else { panic!("{opened:?}") };
        now(disk, Op::Write { file, at: 0, data: vec![bytes.into()], sync: true });
    }

    /// So many batches of two records, from an offset on, each of 185 bytes.
    fn segment(from: i64, count: i64) -> Vec<u8> {
        let mut all = BytesMut::new();
        for n in 0..count {
            let bytes: Bytes = batch(&[1, 2], 47, Timestamp(5), None);
            assert_eq!(bytes.len(), 185, "the numbers below");
            all.put_i64(from + 2 * n);
            all.extend_from_slice(&bytes[8..]);
        }
        all.to_vec()
    }

    /// A log of two segments, of which the last is marked up to offset 14.
    fn disk(folder: &str, topic: Uuid) -> SimDisk {
        let none = || 0..=0;
        let instant = Parameters { sync_ns: none(), read_ns: none(), other_ns: none(), ..Parameters::default() };
        let mut disk = SimDisk::new(1, instant);
        put(&mut disk, &format!("{folder}/partition.metadata"), format!("version: 0\ntopic_id: {topic}\n").into());
        put(&mut disk, &format!("{folder}/00000000000000000000.log"), segment(0, 5));
        put(&mut disk, &format!("{folder}/00000000000000000000.index"), vec![1; 16]);
        put(&mut disk, &format!("{folder}/00000000000000000010.log"), [segment(10, 4), vec![0; 300]].concat());
        put(&mut disk, &format!("{folder}/00000000000000000010.checkpoint"), vec![1; 16]);
        put(&mut disk, &format!("{folder}/marks"), [vec![0; 10], vec![0, 28, 1, 0, 0]].concat());
        disk
    }

    #[test]
    fn every_byte_has_its_records() {
        let disk = disk("t-3", topic());
        let atlas = Atlas::of(&disk);
        let log = LogId { topic: topic(), partition: 3 };
        let folder = &atlas.folders()[0];
        assert_eq!((folder.log, folder.mark, folder.end(), atlas.folders().len()), (log, 14, 18, 1));
        let loss = |file: &str, at: u64| atlas.loss(&format!("t-3/{file}"), at..at + 1);
        let records = |offsets, marked| Loss::Records(Lost { log, offsets, marked });
        let (first, second) = ("00000000000000000000.log", "00000000000000000010.log");
        assert_eq!(loss(first, 100), records(0..2, true));
        assert_eq!(loss(first, 185 + 100), records(2..4, true));
        assert_eq!(loss(first, 185 + 60), records(2..10, true), "a header: nothing behind it is found");
        assert_eq!(loss(second, 185 + 100), records(12..14, true), "the last one below the mark");
        assert_eq!(loss(second, 26), records(10..i64::MAX, true), "a header: nor what is appended behind it");
        assert_eq!(loss(second, 2 * 185 + 100), records(14..i64::MAX, false), "the first one above");
        assert_eq!(atlas.loss(&format!("t-3/{second}"), 100..400), records(10..i64::MAX, false), "on both sides of it");
        assert_eq!(loss(second, 4 * 185 + 5), Loss::Nothing, "zeros");
        assert_eq!(loss("00000000000000000000.index", 3), Loss::Nothing);
        assert_eq!(loss("00000000000000000010.checkpoint", 3), Loss::Log(log));
        assert_eq!(loss("marks", 3), Loss::Log(log));
        assert_eq!(loss("partition.metadata", 3), Loss::Name(log));
        assert_eq!(loss("marks.new", 3), Loss::Everything);
        assert_eq!(atlas.loss("elsewhere/marks", 3..4), Loss::Everything);
        assert_eq!(atlas.loss_unread(&format!("t-3/{second}"), 800..801), Loss::Log(log), "who can say what is there?");
        assert_eq!(atlas.loss_unread("t-3/00000000000000000000.index", 3..4), Loss::Nothing);
        assert_eq!(folder.files().map(|(path, _)| path.len()).sum::<usize>(), 2 * "t-3/00000000000000000000.log".len());
    }

    #[test]
    fn the_metadata_log_is_the_broker() {
        let disk = disk("__cluster_metadata-0", Uuid::METADATA);
        let atlas = Atlas::of(&disk);
        let loss = |file: &str, at: u64| atlas.loss(&format!("__cluster_metadata-0/{file}"), at..at + 1);
        assert_eq!(loss("00000000000000000000.log", 100), Loss::Broker);
        assert_eq!(loss("00000000000000000010.log", 2 * 185 + 100), Loss::Everything);
        assert_eq!(loss("marks", 0), Loss::Broker);
    }

    /// World 1400016: a trim had begun a segment, whose checkpoint had no durable name yet, when a write that the disk had
    /// lost was told of. The power went, the checkpoint with it, and the log ended before that write, as it should.
    #[test]
    fn a_mark_that_the_power_took_was_none() {
        let mut disk = disk("t-3", topic());
        let path = "t-3/00000000000000000010.log";
        let marked = |atlas: &Atlas| match atlas.loss(path, 2 * 185 + 100..2 * 185 + 101) {
            Loss::Records(lost) => lost.marked,
            other => panic!("{other:?}"),
        };
        let left = Atlas::of(&disk);
        put(&mut disk, "t-3/00000000000000000018.checkpoint", vec![1; 16]);
        let mut atlas = Atlas::of(&disk);
        assert!(marked(&atlas));
        atlas.keep_marks_of(&left);
        assert!(!marked(&atlas));
        atlas.keep_marks_of(&Atlas::default());
        assert_eq!(atlas.folders()[0].mark, 0, "not even its folder is left");
    }

    #[test]
    fn what_is_rotten_already_ends_what_is_known() {
        let mut disk = disk("t-3.AAAAAAAAAAAAAAAAAAAAAQ-id", topic());
        let path = "t-3.AAAAAAAAAAAAAAAAAAAAAQ-id/00000000000000000000.log".to_owned();
        disk.harm(Harm::Rot { path, at: 185 + 7, bits: 0x40 });
        let atlas = Atlas::of(&disk);
        assert_eq!(atlas.folders()[0].files().map(|(_, bytes)| bytes).collect::<Vec<_>>(), [185, 4 * 185]);
    }
}
