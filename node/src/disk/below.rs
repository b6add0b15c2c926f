//! The state below a segment: its `.checkpoint`.
//!
//! A log may have very many segments, and each roll writes one of these, so none lists all segments below it. The n-th
//! lists as many of the last ones as the lowest bit of n says (as a Fenwick tree does); those before them are in the
//! checkpoint of the first one listed, and so on. To list N segments takes at most log2 N checkpoints, and all of them
//! together name N/2 log2 N. A trim takes checkpoints away with their segments, and nothing that is left needs them.

use super::at;
use super::logs::Logs;
use super::names::{STATE, path};
use super::small;
use crate::host::Disk;
use klamm_core::ids::Offset;
use klamm_core::log::Checkpoint;
use serde::{Deserialize, Serialize};
use std::io;

/// What such a file says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Below {
    /// So many segments have been begun before this one. Only says how many its checkpoint lists.
    pub(super) number: u64,
    /// The state; in the file with the last segments alone.
    pub(super) state: Checkpoint,
}

impl<D: Disk> Logs<D> {
    /// Writes the state below a new segment, durably; that of the segment before it is there.
    ///
    /// Nothing is read for it: a file that has gone bad meanwhile is no reason to take a log offline that appends.
    pub(super) async fn write_state(&self, folder: &str, below: &Below) -> io::Result<()> {
        let Below { number, state } = below;
        let listed = 1_usize.checked_shl(number.trailing_zeros()).unwrap_or(usize::MAX);
        let Checkpoint { at, log_start_offset, epochs, producers, segments } = state;
        let state = Checkpoint {
            at: *at,
            log_start_offset: *log_start_offset,
            epochs: epochs.clone(),
            producers: producers.clone(),
            segments: segments[segments.len().saturating_sub(listed)..].to_vec(),
        };
        small::write(self.disk(), folder, &format!("{:020}.{STATE}", at.0), &Below { number: *number, state }).await
    }

    /// The state below a segment, with all segments from `first` on.
    ///
    /// # Errors
    /// `InvalidData` when it is damaged, or one of those that it stands on; the disk's own.
    pub(super) async fn read_state(&self, folder: &str, base: Offset, first: Offset) -> io::Result<Below> {
        let gone = |base| {
            let path = path(folder, base, STATE);
            move || io::Error::new(io::ErrorKind::InvalidData, format!("{path}: is gone"))
        };
        let Below { number, mut state } = self.below(folder, base).await?.ok_or_else(gone(base))?;
        while let Some(next) = state.segments.first().map(|s| s.base).filter(|next| *next > first) {
            let mut before = self.below(folder, next).await?.ok_or_else(gone(next))?.state.segments;
            if before.is_empty() {
                break;
            }
            before.append(&mut state.segments);
            state.segments = before;
        }
        Ok(Below { number, state })
    }

    /// What a segment's file says, if it has one.
    async fn below(&self, folder: &str, base: Offset) -> io::Result<Option<Below>> {
        let path = path(folder, base, STATE);
        let below: Option<Below> = small::read(self.disk(), &path).await?;
        let sound = |state: &Checkpoint| {
            state.at == base
                && state.segments.is_sorted_by(|a, b| a.base < b.base)
                && state.segments.last().is_none_or(|last| last.base < base)
        };
        if below.as_ref().is_some_and(|below| !sound(&below.state)) {
            let text = "is another segment's";
            return Err(at(&path)(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        Ok(below)
    }
}
