//! Names in a data directory: Kafka's (`topic-partition` folders, files by base offset in 20 digits), and what a folder is
//! called while its log is being born or removed.
//!
//! A log is born under `….<topic id>-new` and renamed into place complete, so a half-made folder is never mistaken for a
//! log; it is removed by renaming it to Kafka's `….<topic id>-delete` first. Where the place is still taken by an older
//! topic of the same name, the folder is called `topic-partition.<topic id>-id`. The name of a live folder always ends
//! with the partition's digits or with `-id`, so no topic name can imitate the others.

use klamm_core::ids::{LogId, Offset, Uuid};
use std::{fmt, io};

/// The longest file name that Linux takes.
const NAME_MAX: usize = 255;

/// Batches.
pub(super) const LOG: &str = "log";
/// Kafka's offset index.
pub(super) const INDEX: &str = "index";
/// Kafka's time index.
pub(super) const TIMEINDEX: &str = "timeindex";
/// The log's state below its segment: our own small file.
pub(super) const STATE: &str = "checkpoint";
/// A file being written, before it is renamed into place.
pub(super) const UNFINISHED: &str = ".new";
/// Kafka's file with the topic id.
pub(super) const METADATA: &str = "partition.metadata";
/// The metadata log's ballot.
pub(super) const BALLOT: &str = "quorum-ballot";
/// The topic whose one log is the cluster's own.
pub(super) const CLUSTER: &str = "__cluster_metadata";
/// Begins the names of a journal's files, in the data directory itself.
const JOURNAL: &str = "journal.";
/// What is known to be durable.
pub(super) const MARKS: &str = "marks";

/// A file of a shard's journal; which logs it has groups of, only its records say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Volume {
    /// Counts the lives of a data directory in which journals were made.
    pub(super) life: u64,
    /// Who wrote it, and of how many.
    pub(super) shard: u16,
    pub(super) shards: u16,
    /// Which one of the journal's.
    pub(super) index: u8,
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Volume { life, shard, shards, index } = self;
        write!(f, "{JOURNAL}{life:010}.{shard}of{shards}.{index}")
    }
}

/// Reads a volume's name.
pub(super) fn volume(name: &str) -> Option<Volume> {
    let mut parts = name.strip_prefix(JOURNAL)?.split('.');
    let life = parts.next()?.parse().ok()?;
    let (shard, shards) = parts.next()?.split_once("of")?;
    let volume =
        Volume { life, shard: shard.parse().ok()?, shards: shards.parse().ok()?, index: parts.next()?.parse().ok()? };
    (volume.to_string() == name).then_some(volume)
}

/// Whether a file is a volume that was not finished being made.
pub(super) fn is_unborn_volume(name: &str) -> bool {
    name.strip_suffix(UNFINISHED).and_then(volume).is_some()
}

/// The path of a segment's file.
pub(super) fn path(folder: &str, base: Offset, extension: &str) -> String {
    format!("{folder}/{:020}.{extension}", base.0)
}

/// The base offset in a segment file's name.
pub(super) fn base(name: &str, extension: &str) -> Option<Offset> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    let legal = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    if legal { digits.parse().ok().map(Offset) } else { None }
}

/// What a folder's name says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Folder {
    /// A log; its topic id is in its `partition.metadata`.
    Live {
        /// Topic name.
        topic: String,
        /// Partition index.
        partition: i32,
    },
    /// A log that is being removed, or was not finished being made: nothing in it counts.
    Dead(LogId),
}

/// Reads a folder's name; `None` for what is no log of ours.
pub(super) fn folder(name: &str) -> Option<Folder> {
    if let Some((rest, id)) = marked(name, "-id") {
        let _: Uuid = id;
        return split(rest).map(|(topic, partition)| Folder::Live { topic: topic.to_owned(), partition });
    }
    for mark in ["-delete", "-new"] {
        if let Some((rest, topic)) = marked(name, mark) {
            return split(rest).map(|(_, partition)| Folder::Dead(LogId { topic, partition }));
        }
    }
    split(name).map(|(topic, partition)| Folder::Live { topic: topic.to_owned(), partition })
}

fn marked<'a>(name: &'a str, mark: &str) -> Option<(&'a str, Uuid)> {
    let (rest, id) = name.strip_suffix(mark)?.rsplit_once('.')?;
    Some((rest, Uuid::parse(id)?))
}

fn split(name: &str) -> Option<(&str, i32)> {
    let (topic, digits) = name.rsplit_once('-')?;
    let partition = digits.parse().ok().filter(|p: &i32| *p >= 0)?;
    (!topic.is_empty() && digits == partition.to_string()).then_some((topic, partition))
}

/// The folder that a log has unless an older topic of the same name still has it.
pub(super) fn live(topic: &str, log: LogId) -> String {
    format!("{topic}-{}", log.partition)
}

/// The folder that it has then.
///
/// # Errors
/// When the name would be too long.
pub(super) fn live_by_id(topic: &str, log: LogId) -> io::Result<String> {
    let name = format!("{topic}-{}.{}-id", log.partition, log.topic);
    if name.len() <= NAME_MAX {
        return Ok(name);
    }
    let text = format!("{topic}-{}: an older topic of this name is still being removed", log.partition);
    Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
}

/// The folder of a log that is being made.
pub(super) fn unborn(topic: &str, log: LogId) -> String {
    aside(topic, log, "new")
}

/// The folder of a log that is being removed.
pub(super) fn doomed(topic: &str, log: LogId) -> String {
    aside(topic, log, "delete")
}

/// The folder of a log that belongs to no topic: Kafka's name for it, and no log's.
pub(super) fn stray(topic: &str, log: LogId) -> String {
    aside(topic, log, "stray")
}

/// Only the ids in it are read back, so the topic's name is cut where it is too long (as Kafka does).
fn aside(topic: &str, log: LogId, mark: &str) -> String {
    let rest = format!("-{}.{}-{mark}", log.partition, log.topic);
    let mut keep = topic.len().min(NAME_MAX - rest.len());
    while !topic.is_char_boundary(keep) {
        keep -= 1;
    }
    format!("{}{rest}", &topic[..keep])
}

/// The text of `partition.metadata`.
pub(super) fn metadata(topic: Uuid) -> String {
    format!("version: 0\ntopic_id: {topic}\n")
}

/// The topic id in a `partition.metadata`.
pub(super) fn topic_id(metadata: &[u8]) -> Option<Uuid> {
    let text = str::from_utf8(metadata).ok()?;
    let mut lines = text.lines();
    if lines.next()? != "version: 0" {
        return None;
    }
    Uuid::parse(lines.next()?.strip_prefix("topic_id: ")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(partition: i32) -> LogId {
        LogId { topic: Uuid::from_halves(7, u64::MAX), partition }
    }

    #[test]
    fn every_folder_name_reads_back_as_what_it_is() {
        let long = "x".repeat(249);
        for topic in ["t", "a-1", "a.AAAAAAAAAAAAAAAAAAAAAQ-delete", "__cluster_metadata", "ö", long.as_str()] {
            let as_live = || Some(Folder::Live { topic: topic.to_owned(), partition: 12 });
            assert_eq!(folder(&live(topic, log(12))), as_live());
            match live_by_id(topic, log(12)) {
                Ok(name) => assert_eq!(folder(&name), as_live()),
                Err(_) => assert_eq!(topic, long),
            }
            for name in [unborn(topic, log(12)), doomed(topic, log(12))] {
                assert!(name.len() <= NAME_MAX);
                assert_eq!(folder(&name), Some(Folder::Dead(log(12))), "{name}");
            }
            assert_eq!(folder(&stray(topic, log(12))), None);
        }
    }

    #[test]
    fn other_names_are_not_ours() {
        let journal = Volume { life: 12, shard: 0, shards: 3, index: 1 };
        assert_eq!(volume(&journal.to_string()), Some(journal));
        assert!(is_unborn_volume(&format!("{journal}.new")) && !is_unborn_volume("t-0.new"));
        for name in ["journal.1.0of1.0", "journal.0000000001.0of1", "journal.0000000001.0of1.0.0", "journal."] {
            assert_eq!(volume(name), None, "{name}");
        }
        for name in [
            &journal.to_string(),
            "",
            "lost+found",
            "meta.properties",
            "t",
            "t-",
            "-1",
            "t-01",
            "t-+1",
            "t--x",
            "t-99999999999",
        ] {
            assert_eq!(folder(name), None, "{name}");
        }
        assert_eq!(base("00000000000000000042.log", LOG), Some(Offset(42)));
        for name in ["42.log", "0000000000000000004x.log", "99999999999999999999.log", "00000000000000000042.index"] {
            assert_eq!(base(name, LOG), None, "{name}");
        }
    }

    #[test]
    fn partition_metadata_is_kafkas() {
        let text = metadata(Uuid::METADATA);
        assert_eq!(text, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n");
        assert_eq!(topic_id(text.as_bytes()), Some(Uuid::METADATA));
        for text in ["", "version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n", "version: 0\n", "version: 0\ntopic_id: A\n"]
        {
            assert_eq!(topic_id(text.as_bytes()), None);
        }
    }
}
