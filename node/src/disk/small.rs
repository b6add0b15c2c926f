//! Our own small files: replaced whole, durably, and never believed without their checksum.
//!
//! Layout: magic, version u16, CRC-32 (ISO) u32 of version and payload, payload (postcard); big-endian. A file is replaced
//! by writing a new one, syncing it, renaming it over the old one and syncing the directory: whenever that is cut short
//! either file is there, complete. A newer version is refused, so that an older binary cannot misread it.

use super::at;
use super::names::UNFINISHED;
use crate::host::{Disk, Op};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;

const MAGIC: &[u8; 4] = b"klmm";
const VERSION: u16 = 4;
const PREFIX: usize = 10;

/// Reads one; `None` when there is none.
///
/// # Errors
/// `InvalidData` when it is damaged or newer than this binary; the disk's own.
pub(super) async fn read<D: Disk, T: DeserializeOwned>(disk: &D, path: &str) -> io::Result<Option<T>> {
    let file = match disk.open(path, false).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error)),
    };
    let length = disk.length(&file).await.map_err(at(path))?;
    let bytes = disk.read(&file, 0, usize::try_from(length).unwrap_or(usize::MAX)).await.map_err(at(path))?;
    decode(&bytes).map(Some).map_err(|text| io::Error::new(io::ErrorKind::InvalidData, format!("{path}: {text}")))
}

/// Replaces one, durably.
pub(super) async fn write<D: Disk, T: Serialize>(disk: &D, folder: &str, name: &str, value: &T) -> io::Result<()> {
    let path = format!("{folder}/{name}");
    let new = format!("{path}{UNFINISHED}");
    create(disk, &new, encode(value)).await?;
    disk.perform(Op::Rename { from: new, to: path.clone() }).await.map_err(at(&path))?;
    disk.perform(Op::SyncDir { path: folder.to_owned() }).await.map_err(at(folder))
}

/// Writes a whole file; its bytes are durable, its name is not.
pub(super) async fn create<D: Disk>(disk: &D, path: &str, bytes: Vec<u8>) -> io::Result<()> {
    let file = disk.open(path, true).await.map_err(at(path))?;
    disk.perform(Op::SetLength { file: file.clone(), len: bytes.len() as u64 }).await.map_err(at(path))?;
    disk.perform(Op::Write { file, at: 0, data: vec![Bytes::from(bytes)], sync: true }).await.map_err(at(path))
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::from(MAGIC);
    bytes.extend(VERSION.to_be_bytes());
    let payload = postcard::to_allocvec(value).expect("our own values have a postcard form");
    bytes.extend(checksum(VERSION, &payload).to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let Some((prefix, payload)) = bytes.split_first_chunk::<PREFIX>() else { return Err("cut short".to_owned()) };
    let [m0, m1, m2, m3, v0, v1, c0, c1, c2, c3] = *prefix;
    if [m0, m1, m2, m3] != *MAGIC {
        return Err("not a file of this kind".to_owned());
    }
    let version = u16::from_be_bytes([v0, v1]);
    if u32::from_be_bytes([c0, c1, c2, c3]) != checksum(version, payload) {
        return Err("damaged: wrong checksum".to_owned());
    }
    if version < VERSION {
        return Err(format!("version {version} is one of before the first release, which nothing reads any more"));
    }
    if version > VERSION {
        return Err(format!("version {version} is newer than this binary, which knows {VERSION}"));
    }
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err("bytes left over".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn checksum(version: u16, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&version.to_be_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_core::ids::LeaderEpoch;
    use klamm_core::log::Ballot;

    #[test]
    fn no_damaged_byte_is_believed() {
        let ballot = Ballot { epoch: LeaderEpoch(70_000), voted_for: 3 };
        let bytes = encode(&ballot);
        assert_eq!(decode::<Ballot>(&bytes), Ok(ballot));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert!(decode::<Ballot>(&bad).is_err(), "byte {at}");
            assert!(decode::<Ballot>(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let mut bytes = encode(&Ballot::default());
        let payload = bytes[PREFIX..].to_vec();
        bytes[4..6].copy_from_slice(&(VERSION + 1).to_be_bytes());
        bytes[6..10].copy_from_slice(&checksum(VERSION + 1, &payload).to_be_bytes());
        let error = decode::<Ballot>(&bytes).expect_err("newer");
        assert!(error.contains("is newer"), "{error}");
    }
}
