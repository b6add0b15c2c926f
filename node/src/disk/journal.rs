//! The bytes of a shard's journal: groups of many logs, written together with one sync, until they are in their segments.
//!
//! A journal is two *volumes*, files whose blocks are reserved before they are used, and used in turns: a sync then never
//! changes a file's length, and from the second turn on nothing but its bytes. They are written in whole blocks, past the
//! page cache, which has no use for them. Each turn begins with a durable header, and each record has its stamp, so
//! what an earlier turn left behind a record is never taken for its successor, nor is what a client sent. A header that is torn leaves the one
//! before it, which is elsewhere in the file. One record is under way at a time: only the last one can be torn.
//!
//! A record is redo, by place: recovery writes its batches again where they stand in their segments. A record counts for
//! a log only as long as that log has not been cut since: each names how often it had been.
//!
//! Layout, big-endian. Volume: two headers, the newer one counts: magic, version u16, turn u64, salt u64, CRC-32C u32
//! of these; the stamp is turn and salt in one;
//! records from [`FIRST`] on. Record: magic,
//! CRC-32C u32 of all up to the data, stamp u64, number u64, length of the list u32, of the data u32; the list (for each log
//! topic id, partition i32, cuts u32, segment's base i64, position u64, count u32, and the first 16 bytes of each batch);
//! the data: the rest of each batch; zeros up to the end of the block.

use super::commit::{Append, GROUP_BYTES};
use super::tail::PREFIX;
use crate::host::BLOCK;
use bytes::Bytes;
use klamm_core::ids::{LogId, Offset, Uuid};
use std::collections::BTreeSet;
use std::mem;

const VOLUME_MAGIC: &[u8; 4] = b"klmj";
const RECORD_MAGIC: [u8; 4] = *b"klmr";
pub(super) const VERSION: u16 = 2;
/// Where a volume's headers stand, in bytes: each has its own block.
pub(super) const HEADERS: [u64; 2] = [0, BLOCK];
/// Where a volume's records begin, in bytes.
pub(super) const FIRST: u64 = 2 * BLOCK;
/// Bytes of a volume's header.
pub(super) const VOLUME_BYTES: usize = 26;
/// Bytes of a record before its list.
pub(super) const RECORD_BYTES: usize = 32;
/// Bytes of a log in the list, before its batches.
const LOG_BYTES: usize = 44;
/// Batches of one record: each is a slice, and `IOV_MAX` is 1024.
pub(super) const MOST_BATCHES: usize = 1000;
/// A volume has so small a part at first of what it may have, but room for a record: who has few logs, or little to do,
/// need not have a large one.
const FIRST_PART: u64 = 8;
/// Each log that is settled after a turn is to have had so many bytes in it, or more: that is a sync each.
const WORTH_A_SYNC: u64 = 256 << 10;
static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// CRC-32C.
pub(super) type Crc = fn(&[u8]) -> u32;

/// A shard's journal.
#[derive(Debug)]
pub(super) enum Journal<F> {
    /// Nobody needed one yet.
    Absent,
    /// Its volumes are being made.
    Making,
    /// It takes records.
    Open(Volumes<F>),
    /// It takes none any more in this life.
    Over,
}

/// The volumes of an open journal.
#[derive(Debug)]
pub(super) struct Volumes<F> {
    /// The one in use comes first.
    files: [Volume<F>; 2],
    salt: u64,
    /// Of the next record.
    number: u64,
}

/// One file of a journal.
#[derive(Debug)]
pub(super) struct Volume<F> {
    file: F,
    turn: u64,
    length: u64,
    /// Where the next record begins.
    at: u64,
    /// Whether its header is durable, and nothing in it is needed any more.
    fresh: bool,
    /// Logs that it has groups of.
    logs: BTreeSet<LogId>,
}

impl<F: Clone> Volume<F> {
    /// One with a durable header and no records.
    pub(super) fn new(file: F, turn: u64, length: u64) -> Volume<F> {
        Volume { file, turn, length, at: FIRST, fresh: true, logs: BTreeSet::new() }
    }
}

/// Where a record goes.
#[derive(Debug)]
pub(super) struct Place<F> {
    pub(super) file: F,
    pub(super) at: u64,
    stamp: u64,
    number: u64,
}

impl<F: Clone> Volumes<F> {
    pub(super) fn new(first: Volume<F>, second: Volume<F>, salt: u64) -> Volumes<F> {
        Volumes { files: [first, second], salt, number: 0 }
    }

    /// The longest record that there is a place for, in bytes.
    pub(super) fn room(&self) -> u64 {
        let [used, other] = &self.files;
        let fresh = if other.fresh { other.length.saturating_sub(FIRST) } else { 0 };
        fresh.max(used.length.saturating_sub(used.at))
    }

    /// A place for a record of so many bytes; `None` when there is none until the other volume is free.
    pub(super) fn place(&mut self, bytes: u64, logs: impl Iterator<Item = LogId>) -> Option<Place<F>> {
        if bytes > self.room() {
            return None;
        }
        if self.files[0].at + bytes > self.files[0].length {
            self.files.swap(0, 1);
        }
        let volume = &mut self.files[0];
        let stamp = volume.turn ^ self.salt;
        let place = Place { file: volume.file.clone(), at: volume.at, stamp, number: self.number };
        volume.at += bytes;
        volume.fresh = false;
        volume.logs.extend(logs);
        self.number += 1;
        Some(place)
    }

    /// The logs of the volume that is not in use, if they have to be put in their segments before it can be used again.
    /// Asked once for each turn.
    pub(super) fn used_up(&mut self) -> Option<BTreeSet<LogId>> {
        let volume = &mut self.files[1];
        (!volume.fresh && !volume.logs.is_empty()).then(|| mem::take(&mut volume.logs))
    }

    /// The file of the volume that is not in use, its length, and the turn that it is to have next.
    pub(super) fn next_turn(&self) -> (F, u64, u64) {
        (self.files[1].file.clone(), self.files[1].length, self.files[0].turn + 1)
    }

    /// The other volume has so many bytes and a durable header of this turn.
    pub(super) fn turned(&mut self, turn: u64, length: u64) {
        let volume = &mut self.files[1];
        (volume.turn, volume.length, volume.at, volume.fresh) = (turn, length, FIRST, true);
    }
}

/// The bytes of a volume that has groups of so many logs, and may have `most`.
pub(super) fn length(logs: usize, most: u64) -> u64 {
    let first = (most / FIRST_PART).max(FIRST + 2 * BLOCK);
    (logs as u64 * WORTH_A_SYNC).max(first).min(most).next_multiple_of(BLOCK)
}

/// A volume's header, and where it goes: not where that of the volume's last turn is, two turns before.
pub(super) fn header(turn: u64, salt: u64, crc: Crc) -> (u64, Bytes) {
    let mut bytes = Vec::with_capacity(BLOCK as usize);
    bytes.extend(VOLUME_MAGIC);
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend(turn.to_be_bytes());
    bytes.extend(salt.to_be_bytes());
    bytes.extend(crc(&bytes).to_be_bytes());
    bytes.resize(BLOCK as usize, 0);
    (HEADERS[usize::from(turn & 2 != 0)], bytes.into())
}

/// The turn, the stamp and the version in a header; `None` when it is damaged.
pub(super) fn turn_of(bytes: &[u8], crc: Crc) -> Option<(u64, u64, u16)> {
    let mut rest = bytes;
    let (magic, version) = (take::<4>(&mut rest)?, u16::from_be_bytes(take(&mut rest)?));
    let (turn, salt) = (u64::from_be_bytes(take(&mut rest)?), u64::from_be_bytes(take(&mut rest)?));
    let sum = u32::from_be_bytes(take(&mut rest)?);
    (magic == *VOLUME_MAGIC && sum == crc(&bytes[..VOLUME_BYTES - 4])).then_some((turn, turn ^ salt, version))
}

/// One log's part of a record.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) log: LogId,
    pub(super) cuts: u32,
    /// The segment.
    pub(super) base: Offset,
    /// The position in it.
    pub(super) at: u64,
    pub(super) group: &'a [Append],
}

/// The most bytes of batches that one record takes, in volumes that may have so many.
pub(super) fn most(most: u64) -> u64 {
    GROUP_BYTES.min(length(0, most).saturating_sub(FIRST) / 2)
}

/// The bytes of a record of so many logs and batches, and bytes of those.
pub(super) fn size(logs: usize, batches: usize, bytes: u64) -> u64 {
    (upto_data(logs, batches) as u64 + bytes - (batches * PREFIX) as u64).next_multiple_of(BLOCK)
}

fn upto_data(logs: usize, batches: usize) -> usize {
    RECORD_BYTES + logs * LOG_BYTES + batches * PREFIX
}

/// A record, in slices.
pub(super) fn record<F>(place: &Place<F>, parts: &[Part<'_>], crc: Crc) -> Vec<Bytes> {
    let batches = || parts.iter().flat_map(|part| part.group);
    let (count, data) =
        batches().fold((0, 0), |(count, data), append| (count + 1, data + append.batch.size() as usize - PREFIX));
    let size = upto_data(parts.len(), count);
    let narrow = |n: usize| u32::try_from(n).expect("a record is bounded").to_be_bytes();
    let mut bytes = Vec::with_capacity(size);
    bytes.extend(RECORD_MAGIC);
    bytes.extend([0; 4]);
    bytes.extend(place.stamp.to_be_bytes());
    bytes.extend(place.number.to_be_bytes());
    bytes.extend(narrow(size - RECORD_BYTES));
    bytes.extend(narrow(data));
    for part in parts {
        bytes.extend(part.log.topic.0);
        bytes.extend(part.log.partition.to_be_bytes());
        bytes.extend(part.cuts.to_be_bytes());
        bytes.extend(part.base.0.to_be_bytes());
        bytes.extend(part.at.to_be_bytes());
        bytes.extend(narrow(part.group.len()));
        part.group.iter().for_each(|append| bytes.extend_from_slice(append.batch.prefix()));
    }
    let sum = crc(&bytes[8..]);
    bytes[4..8].copy_from_slice(&sum.to_be_bytes());
    let end = size + data;
    let zeros = Bytes::from_static(&ZEROS[..end.next_multiple_of(BLOCK as usize) - end]);
    let mut slices = Vec::with_capacity(count + 2);
    slices.push(Bytes::from(bytes));
    parts.iter().for_each(|part| slices.extend(part.group.iter().map(|append| append.batch.rest())));
    slices.push(zeros);
    slices
}

/// What a record's first bytes say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    sum: u32,
    pub(super) stamp: u64,
    pub(super) number: u64,
    list: u32,
    pub(super) data: u32,
}

impl Head {
    /// Reads them; `None` when they are no record's.
    pub(super) fn parse(bytes: &[u8]) -> Option<Head> {
        let mut rest = bytes;
        if take(&mut rest)? != RECORD_MAGIC {
            return None;
        }
        let (sum, stamp) = (u32::from_be_bytes(take(&mut rest)?), u64::from_be_bytes(take(&mut rest)?));
        let (number, list) = (u64::from_be_bytes(take(&mut rest)?), u32::from_be_bytes(take(&mut rest)?));
        Some(Head { sum, stamp, number, list, data: u32::from_be_bytes(take(&mut rest)?) })
    }

    /// Its length up to its data, in bytes.
    pub(super) fn upto_data(&self) -> u64 {
        RECORD_BYTES as u64 + u64::from(self.list)
    }

    /// Up to the end of its data, in bytes.
    pub(super) fn upto_end(&self) -> u64 {
        self.upto_data() + u64::from(self.data)
    }

    /// Its whole length, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.upto_end().next_multiple_of(BLOCK)
    }

    /// Whether all up to the data is as it was written.
    pub(super) fn holds(&self, bytes: &[u8], crc: Crc) -> bool {
        bytes.len() as u64 == self.upto_data() && crc(&bytes[8..]) == self.sum
    }
}

/// One log's part of a record that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) log: LogId,
    pub(super) cuts: u32,
    pub(super) base: Offset,
    pub(super) at: u64,
    /// The first bytes of each batch.
    pub(super) prefixes: Vec<[u8; PREFIX]>,
}

/// Reads a list whose checksum holds; `None` when it is none all the same.
pub(super) fn list(mut rest: &[u8]) -> Option<Vec<Listed>> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        let topic = Uuid(take(&mut rest)?);
        let log = LogId { topic, partition: i32::from_be_bytes(take(&mut rest)?) };
        let (cuts, base) = (u32::from_be_bytes(take(&mut rest)?), Offset(i64::from_be_bytes(take(&mut rest)?)));
        let (at, count) = (u64::from_be_bytes(take(&mut rest)?), u32::from_be_bytes(take(&mut rest)?));
        let bytes = rest.split_off(..PREFIX.checked_mul(usize::try_from(count).ok()?)?)?;
        let (prefixes, _) = bytes.as_chunks::<PREFIX>();
        all.push(Listed { log, cuts, base, at, prefixes: prefixes.to_vec() });
    }
    Some(all)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*first)
}
