//! Bytes of a log that an answer will carry: looked up while the answer is dispatched, sent when its turn comes.
//!
//! A lease that crosses from another shard waits in a table under the name that the core knows it by.

use crate::disk::logs::{Lease, Piece};
use bytes::Bytes;
use klamm_core::wire::Encoded;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;

/// A lease that is being looked up.
pub(super) type Resolving<F> = Pin<Box<dyn Future<Output = io::Result<Lease<F>>>>>;

/// Leases that other shards handed over and that no answer has carried off yet.
pub(super) struct Leases<F> {
    next: u64,
    held: BTreeMap<u64, io::Result<Lease<F>>>,
}

impl<F> Leases<F> {
    pub(super) fn new() -> Leases<F> {
        Leases { next: 0, held: BTreeMap::new() }
    }

    /// Keeps a lease; gives its name, its bytes and those of its first batch.
    pub(super) fn keep(&mut self, lease: io::Result<Lease<F>>) -> (u64, u32, u32) {
        let name = self.next;
        self.next += 1;
        let (bytes, first) = lease.as_ref().map_or((0, 0), |lease| (lease.bytes, lease.first));
        self.held.insert(name, lease);
        (name, bytes, first)
    }

    /// Takes a lease that was kept.
    pub(super) fn take(&mut self, name: u64) -> io::Result<Lease<F>> {
        self.held.remove(&name).expect("a lease is used once")
    }
}

/// An answer's bytes in the order they leave: what `wire` encoded, with the first `lengths[i]` bytes of range i in its holes.
pub(super) fn compose<F: Clone>(encoded: &Encoded, leases: &[Lease<F>], lengths: &[u32]) -> Vec<Piece<F>> {
    let mut out = Vec::with_capacity(2 * encoded.holes.len() + 1);
    let mut at = 0;
    for hole in &encoded.holes {
        put(&mut out, encoded.bytes.slice(at..hole.at));
        let range = hole.range as usize;
        lend(&mut out, &leases[range].pieces, lengths[range]);
        at = hole.at;
    }
    put(&mut out, encoded.bytes.slice(at..));
    out
}

fn put<F>(out: &mut Vec<Piece<F>>, bytes: Bytes) {
    if !bytes.is_empty() {
        out.push(Piece::Bytes(bytes));
    }
}

/// The first `len` bytes of some pieces.
fn lend<F: Clone>(out: &mut Vec<Piece<F>>, pieces: &[Piece<F>], len: u32) {
    let mut left = len;
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => {
                let give = left.min(u32::try_from(bytes.len()).expect("a piece is shorter than 4 GiB"));
                put(out, bytes.slice(..give as usize));
                left -= give;
            }
            Piece::File { file, at, len } => {
                let give = left.min(*len);
                if give > 0 {
                    out.push(Piece::File { file: file.clone(), at: *at, len: give });
                }
                left -= give;
            }
        }
    }
    assert!(left == 0, "a lease of {len} bytes is {left} short");
}
