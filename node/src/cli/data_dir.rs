//! A data directory: one process holds it at a time, and it knows what it is (`meta.properties`, in Kafka's format).
//!
//! A directory with files in it that does not say what it is, is not taken over.

use super::Failure;
use klamm_core::ids::{BrokerId, Uuid};
use std::fmt::Display;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const LOCK: &str = ".lock";
const META: &str = "meta.properties";
const META_TEMPORARY: &str = "meta.properties.tmp";
/// `meta.properties` is a few lines; a longer file is something else.
const META_MAX_BYTES: u64 = 64 << 10;

/// A data directory that this process holds.
#[derive(Debug)]
pub(super) struct DataDir {
    pub(super) path: PathBuf,
    pub(super) meta: Meta,
    /// Locked as long as it is open.
    _lock: File,
}

/// What a data directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) cluster: String,
    pub(super) node: BrokerId,
    pub(super) directory: Uuid,
}

impl DataDir {
    /// Takes hold of a directory; makes it, and says what it is, if it is not there or empty.
    /// It must be this node's and this cluster's, where those are given.
    pub(super) fn open(path: &Path, node: Option<BrokerId>, cluster: Option<&str>) -> Result<DataDir, Failure> {
        let failed = |error: io::Error| Failure::data_dir(format!("data directory {}: {error}", path.display()));
        if !path.is_dir() {
            fs::create_dir_all(path).map_err(failed)?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            sync(parent).map_err(failed)?;
        }
        // What it is, is said before anything else is put into it.
        if let Some(stranger) = stranger(path).map_err(failed)?
            && !path.join(META).exists()
        {
            return Err(refused(path, format!("it holds {stranger} but no {META}")));
        }
        let lock = File::create(path.join(LOCK)).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                Failure::locked(format!("data directory {} is in use by another process", path.display()))
            }
            TryLockError::Error(error) => failed(error),
        })?;
        let meta = match read(&path.join(META)).map_err(failed)? {
            Some(text) => Meta::parse(&text).map_err(|reason| refused(path, reason))?,
            None => {
                let mut meta = Meta::draw().map_err(failed)?;
                meta.node = node.unwrap_or(meta.node);
                meta.cluster = cluster.map_or(meta.cluster, str::to_owned);
                meta.write(path).map_err(failed)?;
                meta
            }
        };
        if let Some(node) = node.filter(|node| *node != meta.node) {
            return Err(refused(path, format!("it is node {}'s, but node.id={node}", meta.node)));
        }
        if let Some(cluster) = cluster.filter(|cluster| *cluster != meta.cluster) {
            return Err(refused(path, format!("it is of cluster {}, but CLUSTER_ID={cluster}", meta.cluster)));
        }
        Ok(DataDir { path: path.to_owned(), meta, _lock: lock })
    }
}

fn refused(path: &Path, reason: impl Display) -> Failure {
    Failure::configuration(format!("data directory {} is not used: {reason}", path.display()))
}

fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(META_MAX_BYTES).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// A file that a new directory would not have.
fn stranger(path: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if ![LOCK, META, META_TEMPORARY].contains(&name.as_str()) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

impl Meta {
    fn draw() -> io::Result<Meta> {
        Ok(Meta { cluster: random_id()?.to_string(), node: BrokerId(1), directory: random_id()? })
    }

    fn parse(text: &str) -> Result<Meta, String> {
        let value = |key: &str| {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            let mut values = lines.filter(|(k, _)| k.trim() == key).map(|(_, v)| v.trim());
            values.next().ok_or_else(|| format!("its {META} names no {key}"))
        };
        let bad = |key: &str, value: &str| format!("its {META} says {key}={value}, which this version does not know");
        let version = value("version")?;
        if version != "1" {
            return Err(bad("version", version));
        }
        let node = value("node.id")?;
        let directory = value("directory.id")?;
        Ok(Meta {
            cluster: value("cluster.id")?.to_owned(),
            node: BrokerId(node.parse().ok().filter(|id| *id >= 0).ok_or_else(|| bad("node.id", node))?),
            directory: Uuid::parse(directory).ok_or_else(|| bad("directory.id", directory))?,
        })
    }

    /// Replaces `meta.properties`: whole or not at all, and durably.
    fn write(&self, path: &Path) -> io::Result<()> {
        let Meta { cluster, node, directory } = self;
        let text = format!("#\nversion=1\ncluster.id={cluster}\nnode.id={node}\ndirectory.id={directory}\n");
        let mut file = File::create(path.join(META_TEMPORARY))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(path.join(META_TEMPORARY), path.join(META))?;
        sync(path)
    }
}

/// Makes the names in a directory durable.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// An id that no other has; like Kafka's, it does not begin with a dash, so that command lines take it.
pub(super) fn random_id() -> io::Result<Uuid> {
    let mut source = File::open("/dev/urandom")?;
    loop {
        let mut bytes = [0; 16];
        source.read_exact(&mut bytes)?;
        let id = Uuid(bytes);
        if !id.to_string().starts_with('-') {
            return Ok(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("klamm-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_directory_keeps_its_ids_and_belongs_to_one_at_a_time() {
        let path = empty("data-dir");
        let first = DataDir::open(&path.join("deep"), None, None).ok().unwrap();
        assert_eq!(DataDir::open(&path.join("deep"), None, None).unwrap_err().code, 75);
        let meta = first.meta.clone();
        drop(first);
        assert_eq!(DataDir::open(&path.join("deep"), Some(BrokerId(7)), None).unwrap_err().code, 78);
        assert_eq!(DataDir::open(&path.join("deep"), None, Some("other")).unwrap_err().code, 78);
        assert_eq!(DataDir::open(&path.join("deep"), None, None).ok().unwrap().meta, meta);
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let path = empty("stranger");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("letter"), "dear").unwrap();
        assert_eq!(DataDir::open(&path, None, None).unwrap_err().code, 78);
        assert!(!path.join(LOCK).exists(), "and left as it was");
        fs::write(path.join(META), "version=2\ncluster.id=a\nnode.id=1\n").unwrap();
        let failure = DataDir::open(&path, None, None).unwrap_err();
        assert!(failure.code == 78 && failure.message.contains("version=2"), "{}", failure.message);
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn kafkas_own_meta_properties_are_read() {
        let text = "#\n#Sun Nov 22 10:00:00 UTC 2026\ncluster.id=4L6g3nShT-eMCtK--X86sw\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\nnode.id=3\nversion=1\n";
        let meta = Meta::parse(text).unwrap();
        assert_eq!(meta.cluster, "4L6g3nShT-eMCtK--X86sw");
        assert_eq!((meta.node, meta.directory), (BrokerId(3), Uuid::METADATA));
    }
}
