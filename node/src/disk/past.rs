//! A write past the page cache: whole blocks, from memory that begins where a block does.
//!
//! Bytes that stand in memory as they will in the file's blocks are written from where they are ([`super::tail`] takes care
//! that a log's small batches do); the others are copied. Which is which decides nothing but the time that it takes.

use super::files::File;
use crate::host::{BLOCK, in_blocks};
use bytes::Bytes;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;

/// Fewer whole blocks than this are copied: each piece costs the kernel something, too.
const WORTH_A_PIECE: usize = 16 << 10;
/// `IOV_MAX`: the pieces that one write takes.
const MOST_PIECES: usize = 1024;

/// A write under way: owns its file and the memory that the device takes the bytes from.
pub(super) struct Writing {
    file: File,
    at: u64,
    /// What is written, back to back.
    pieces: Vec<Piece>,
    /// Those before it are.
    next: usize,
    /// What the pieces point to.
    _memory: (Vec<Bytes>, Vec<u8>),
}

/// Whole blocks in memory, an `iovec` to the kernel.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Piece {
    start: *const u8,
    len: usize,
}

impl Writing {
    /// # Errors
    /// `InvalidInput` when it does not begin and end at a multiple of [`BLOCK`].
    pub(super) fn new(file: File, at: u64, data: Vec<Bytes>) -> io::Result<Writing> {
        in_blocks(at, &data)?;
        let runs = runs(&data, at);
        let placed: usize = runs.iter().filter_map(Run::in_place).map(|blocks| blocks.len()).sum();
        let total: usize = runs.iter().map(|run| run.len).sum();
        let mut copied = aligned(total - placed);
        let mut pieces = Vec::with_capacity(2 * runs.iter().filter_map(Run::in_place).count() + 1);
        let mut end = copied.len();
        for run in &runs {
            let blocks = run.in_place().unwrap_or(run.len..run.len);
            copy(&data[run.parts.clone()], 0..blocks.start, &mut copied);
            if !blocks.is_empty() {
                push(&mut pieces, ptr::null(), copied.len() - end);
                end = copied.len();
                push(&mut pieces, run.start.wrapping_add(blocks.start), blocks.len());
            }
            copy(&data[run.parts.clone()], blocks.end..run.len, &mut copied);
        }
        push(&mut pieces, ptr::null(), copied.len() - end);
        // The buffer does not grow any more: from now on it stays where it is.
        let mut start = copied.as_ptr().wrapping_add(first_block(&copied));
        for piece in pieces.iter_mut().filter(|piece| piece.start.is_null()) {
            piece.start = start;
            start = start.wrapping_add(piece.len);
        }
        Ok(Writing { file, at, pieces, next: 0, _memory: (data, copied) })
    }

    /// Where to write on, and what is left, or as much of it as one write takes; `None` when nothing is.
    pub(super) fn rest(&self) -> Option<(BorrowedFd<'_>, u64, &[Piece])> {
        let rest = &self.pieces[self.next..];
        (!rest.is_empty()).then(|| (self.file.as_fd(), self.at, &rest[..rest.len().min(MOST_PIECES)]))
    }

    /// So many bytes were written.
    pub(super) fn took(&mut self, written: usize) {
        self.at += written as u64;
        let mut left = written;
        while let Some(piece) = self.pieces.get_mut(self.next).filter(|_| left > 0) {
            let some = left.min(piece.len);
            (piece.start, piece.len, left) = (piece.start.wrapping_add(some), piece.len - some, left - some);
            self.next += usize::from(piece.len == 0);
        }
    }
}

fn push(pieces: &mut Vec<Piece>, start: *const u8, len: usize) {
    if len > 0 {
        pieces.push(Piece { start, len });
    }
}

/// Parts of what is written that follow one another in memory, too.
struct Run {
    parts: Range<usize>,
    start: *const u8,
    len: usize,
    /// The position in the file.
    at: u64,
}

impl Run {
    /// Its whole blocks, if they stand as in the file, and are worth it.
    fn in_place(&self) -> Option<Range<usize>> {
        let before = usize::try_from(self.at.wrapping_neg() % BLOCK).ok()?;
        let blocks = self.len.checked_sub(before)? / BLOCK as usize * BLOCK as usize;
        let fits = (self.start.addr() as u64).wrapping_sub(self.at).is_multiple_of(BLOCK);
        (fits && blocks >= WORTH_A_PIECE).then(|| before..before + blocks)
    }
}

fn runs(data: &[Bytes], mut at: u64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (i, bytes) in data.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if run.start.wrapping_add(run.len) == bytes.as_ptr() => {
                run.parts.end = i + 1;
                run.len += bytes.len();
            }
            _ => runs.push(Run { parts: i..i + 1, start: bytes.as_ptr(), len: bytes.len(), at }),
        }
        at += bytes.len() as u64;
    }
    runs
}

/// Copies a part of what stands in several.
fn copy(parts: &[Bytes], range: Range<usize>, into: &mut Vec<u8>) {
    let mut at = 0;
    for bytes in parts {
        let within = |position: usize| position.clamp(at, at + bytes.len()) - at;
        into.extend_from_slice(&bytes[within(range.start)..within(range.end)]);
        at += bytes.len();
    }
}

/// An empty buffer for so many bytes, but for what is before the first block in it.
pub(super) fn aligned(bytes: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(bytes + BLOCK as usize);
    let before = first_block(&buffer);
    buffer.resize(before, 0);
    buffer
}

/// Where the first block begins in a buffer.
fn first_block(buffer: &[u8]) -> usize {
    buffer.as_ptr().addr().next_multiple_of(BLOCK as usize) - buffer.as_ptr().addr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    /// Some bytes in parts, which stand in memory as at such a position of a file if `fits`.
    fn parts(sizes: &[usize], at: u64, fits: bool) -> Vec<Bytes> {
        let len: usize = sizes.iter().sum();
        let mut buffer = BytesMut::with_capacity(len + 2 * BLOCK as usize);
        let off = at.wrapping_sub(buffer.as_ptr().addr() as u64) % BLOCK;
        buffer.resize((off + u64::from(!fits)) as usize, 0);
        drop(buffer.split());
        (0..len).for_each(|i| buffer.extend([(i % 251) as u8]));
        let mut all = buffer.freeze();
        sizes.iter().map(|size| all.split_to(*size)).collect()
    }

    /// What is left of a write, and how much of that stands in one of the parts.
    fn left(writing: &Writing, parts: &[Bytes]) -> (Vec<u8>, usize) {
        let (mut bytes, mut placed) = (Vec::new(), 0);
        let Some((_, _, pieces)) = writing.rest() else { return (bytes, 0) };
        for piece in pieces {
            assert!(piece.start.addr().is_multiple_of(BLOCK as usize) && piece.len.is_multiple_of(BLOCK as usize));
            // SAFETY: the write holds what its pieces point to; here the parts of one piece come from one buffer.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(piece.start, piece.len) });
            let of_it = |part: &Bytes| part.as_ptr_range().contains(&piece.start);
            placed += if parts.iter().any(of_it) { piece.len } else { 0 };
        }
        (bytes, placed)
    }

    fn file() -> File {
        let memory = rustix::fs::memfd_create("klamm-test", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
        File::new(memory.into())
    }

    proptest! {
        #[test]
        fn every_byte_is_written_once_and_in_order(
            first in prop::collection::vec(1..3000usize, 0..60),
            second in prop::collection::vec(1..3000usize, 0..60),
            fits: bool,
            block in 0..5u64,
            taken in 0..40usize,
        ) {
            let at = block * BLOCK;
            let len: usize = first.iter().sum();
            let mut data = parts(&first, at, true);
            data.extend(parts(&second, at + len as u64, fits));
            let total: usize = data.iter().map(Bytes::len).sum();
            data.push(vec![0; total.next_multiple_of(BLOCK as usize) - total].into());
            let mut writing = Writing::new(file(), at, data.clone()).unwrap();
            let (bytes, placed) = left(&writing, &data);
            prop_assert_eq!(&bytes, &data.concat());
            let whole = if len < WORTH_A_PIECE { 0 } else { len / BLOCK as usize * BLOCK as usize };
            prop_assert!(placed >= whole, "{} of {}", placed, whole);
            let taken = (taken * BLOCK as usize).min(bytes.len());
            writing.took(taken);
            prop_assert_eq!(&left(&writing, &data).0, &bytes[taken..]);
            prop_assert_eq!(writing.rest().is_none(), taken == bytes.len());
        }
    }

    #[test]
    fn what_is_no_whole_block_is_refused() {
        let refused = Writing::new(file(), 0, vec![Bytes::from_static(b"abc")]).map(drop);
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(Writing::new(file(), 1, vec![vec![0; BLOCK as usize].into()]).is_err());
    }
}
