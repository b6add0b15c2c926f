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

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_core::wire::Hole;

    const FILE: &[u8] = b"......0123456789";

    fn lease(pieces: Vec<Piece<()>>) -> Lease<()> {
        Lease { pieces, bytes: 12, first: 4 }
    }

    fn flat(pieces: &[Piece<()>]) -> Vec<u8> {
        let bytes = pieces.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => &bytes[..],
            Piece::File { at, len, .. } => &FILE[*at as usize..][..*len as usize],
        });
        bytes.flatten().copied().collect()
    }

    #[test]
    fn ranges_leave_in_their_holes_cut_where_they_were_cut() {
        let encoded = Encoded {
            bytes: Bytes::from_static(b"<>"),
            holes: vec![Hole { at: 1, range: 1 }, Hole { at: 1, range: 0 }, Hole { at: 2, range: 2 }],
        };
        let file = || Piece::File { file: (), at: 6, len: 10 };
        let leases = [
            lease(vec![file(), Piece::Bytes(Bytes::from_static(b"ab"))]),
            lease(vec![Piece::Bytes(Bytes::from_static(b"yz")), file()]),
            lease(vec![file()]),
        ];
        for (lengths, want) in [
            ([12, 12, 10], "<yz01234567890123456789ab>0123456789"),
            ([0, 0, 0], "<>"),
            ([11, 2, 1], "<yz0123456789a>0"),
            ([4, 1, 0], "<y0123>"),
        ] {
            let pieces = compose(&encoded, &leases, &lengths);
            assert_eq!(flat(&pieces), want.as_bytes(), "{lengths:?}");
            let empty = |piece: &Piece<()>| match piece {
                Piece::Bytes(bytes) => bytes.is_empty(),
                Piece::File { len, .. } => *len == 0,
            };
            assert!(!pieces.iter().any(empty), "{lengths:?}: nothing to send would end the connection");
        }
    }
}
