//! Operations as plain system calls: what the drivers share. Knows neither threads nor rings.
//!
//! An interrupted call is repeated and a short one carried on, with one exception: `fdatasync` is asked once, whatever
//! it says, for an error that it reported it does not report again.

use super::past::aligned;
use crate::host::{Op, Outcome, in_blocks};
use bytes::Bytes;
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// What the kernel reads ahead unless it is told otherwise.
const READ_AHEAD: usize = 128 << 10;
/// `IOV_MAX`: the slices that one `pwritev` takes.
const MAX_SLICES: usize = 1024;

/// An open file of a real disk.
#[derive(Clone, Debug)]
pub struct File(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    file: fs::File,
    direct: bool,
}

impl File {
    pub(super) fn new(file: fs::File) -> File {
        File(Arc::new(Opened { file, direct: false }))
    }

    /// Whether it is written past the page cache.
    pub(super) fn is_direct(&self) -> bool {
        self.0.direct
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

/// Performs any operation, blocking until it is done.
pub(super) fn perform(root: &Path, op: Op<File>) -> io::Result<Outcome<File>> {
    match op {
        Op::Open { path, create, direct } => return open(&root.join(path), create, direct).map(Outcome::File),
        Op::Read { file, at, len } => {
            let mut reading = Reading::new(file, at, len)?;
            reading.run(ReadWriteFlags::empty())?;
            return Ok(reading.finish());
        }
        Op::Length { file } => return length(&file).map(Outcome::Length),
        Op::List { path } => return list(&root.join(path)).map(Outcome::Names),
        Op::Room => return room(root),
        Op::Write { file, at, data, sync } => {
            write(&file, at, &data)?;
            if sync {
                rustix::fs::fdatasync(&file)?;
            }
        }
        Op::Sync { file } => rustix::fs::fdatasync(&file)?,
        Op::SetLength { file, len } => set_length(&file, len)?,
        Op::Rename { from, to } => fs::rename(root.join(from), root.join(to))?,
        Op::Remove { path } => fs::remove_file(root.join(path))?,
        Op::MakeDir { path } => make_dir(&root.join(path))?,
        Op::RemoveDir { path } => fs::remove_dir(root.join(path))?,
        Op::SyncDir { path } => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::fsync(rustix::fs::open(root.join(path), flags, Mode::empty())?)?;
        }
    }
    Ok(Outcome::Nothing)
}

/// What the file system of a directory holds, and what of it is free for those who are not root (`statvfs`).
fn room(root: &Path) -> io::Result<Outcome<File>> {
    let of = rustix::fs::statvfs(root)?;
    let bytes = |blocks: u64| blocks.saturating_mul(of.f_frsize);
    Ok(Outcome::Room { total: bytes(of.f_blocks), usable: bytes(of.f_bavail) })
}

/// Opens a file; one that cannot be had past the page cache is had through it.
fn open(path: &Path, create: bool, direct: bool) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false);
    if direct {
        let past = options.clone().custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path);
        match past {
            Err(cannot) if cannot.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {}
            opened => return Ok(File(Arc::new(Opened { file: opened?, direct: true }))),
        }
    }
    options.open(path).map(File::new)
}

/// Writes all of `data`, back to back.
pub(super) fn write(file: &File, mut at: u64, data: &[Bytes]) -> io::Result<()> {
    if file.is_direct() {
        return write_past(file, at, data);
    }
    let mut slices: Vec<IoSlice<'_>> = data.iter().filter(|b| !b.is_empty()).map(|b| IoSlice::new(b)).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match rustix::io::pwritev(file, &left[..left.len().min(MAX_SLICES)], at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn set_length(file: &File, len: u64) -> io::Result<()> {
    let before = length(file)?;
    if len > before {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), before, len - before) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    file.0.file.set_len(len)
}

/// The file's length in bytes.
pub(super) fn length(file: &File) -> io::Result<u64> {
    Ok(file.0.file.metadata()?.len())
}

/// Whether the last byte of each window of read-ahead can be had without waiting: the first one was just read by whoever
/// looked the range up, or follows what was sent before. A file system that cannot tell has them.
pub(super) fn is_cached(file: &File, at: u64, len: usize) -> bool {
    let has = |at: u64| {
        let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut [0])], at, ReadWriteFlags::NOWAIT);
        !matches!(read, Err(Errno::AGAIN))
    };
    let end = at + len as u64;
    (at..end).step_by(READ_AHEAD).all(|window| has(end.min(window + READ_AHEAD as u64) - 1))
}

fn make_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result,
    }
}

/// Sorted. A name that is not UTF-8 is nobody's here: it is listed with its bad bytes replaced.
fn list(path: &Path) -> io::Result<Vec<String>> {
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let mut names = fs::read_dir(path)?.map(name).collect::<io::Result<Vec<String>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// Writes whole blocks past the page cache.
fn write_past(file: &File, mut at: u64, data: &[Bytes]) -> io::Result<()> {
    in_blocks(at, data)?;
    let mut buffer = aligned(data.iter().map(Bytes::len).sum());
    let start = buffer.len();
    data.iter().for_each(|bytes| buffer.extend_from_slice(bytes));
    let mut left = &buffer[start..];
    while !left.is_empty() {
        match rustix::io::pwrite(file, left, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                left = &left[written..];
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A read under way: owns its file and its buffer.
pub(super) struct Reading {
    file: File,
    at: u64,
    buffer: Vec<u8>,
    filled: usize,
}

/// Asking for the file's length costs as much as reading so many bytes.
const SHORT_READ: usize = 16 << 10;
/// No file reaches as far; the kernel refuses positions that are no `off_t`.
const FAR: u64 = 1 << 62;

impl Reading {
    /// Its buffer is no longer than what the file holds past `at`, unless it is short anyway.
    pub(super) fn new(file: File, at: u64, len: usize) -> io::Result<Reading> {
        let held = match len {
            ..=SHORT_READ if at <= FAR => len,
            _ => usize::try_from(length(&file)?.saturating_sub(at)).unwrap_or(usize::MAX),
        };
        Ok(Reading { file, at, buffer: vec![0; len.min(held)], filled: 0 })
    }

    /// Reads on to the end of the buffer or of the file; with `NOWAIT` only what is in the page cache.
    pub(super) fn run(&mut self, flags: ReadWriteFlags) -> Result<(), Errno> {
        while let Some((file, at, rest)) = self.rest() {
            match rustix::io::preadv2(file, &mut [IoSliceMut::new(rest)], at, flags) {
                Ok(read) => self.took(read),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// From which file and where to read on, and what is still to be filled; `None` when nothing is.
    pub(super) fn rest(&mut self) -> Option<(BorrowedFd<'_>, u64, &mut [u8])> {
        let rest = &mut self.buffer[self.filled..];
        (!rest.is_empty()).then_some((self.file.as_fd(), self.at + self.filled as u64, rest))
    }

    /// So many bytes came; none at the end of the file.
    pub(super) fn took(&mut self, read: usize) {
        self.filled += read;
        if read == 0 {
            self.buffer.truncate(self.filled);
        }
    }

    /// What was read.
    pub(super) fn finish(mut self) -> Outcome<File> {
        self.buffer.truncate(self.filled);
        Outcome::Bytes(self.buffer.into())
    }
}
