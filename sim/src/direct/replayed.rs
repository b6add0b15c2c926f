//! `live-is-replayed`: a log's state in the shard equals what folding its batches on the disk gives.
//!
//! Covers epochs, producers, segments and ends: whatever recovery would find is what the shard already believes. Both
//! have [`Checkpoint::fold`] in common, so what must be true of any fold is checked beside it.

use klamm_core::log::Checkpoint;
use klamm_core::shard::Shard;

use super::disk::Disk;
use crate::report::Violation;

/// Compares every log of a shard. Logs that are offline are left out: their shard stopped following them.
pub(super) fn check(shard: &Shard, disk: &Disk) -> Result<(), Violation> {
    for log in shard.replicas().map(|r| r.log()).filter(|log| log.offline().is_none()) {
        let folded = disk.folded(log.id());
        if folded.as_ref() != Some(log.state()) {
            return Err(Violation {
                property: "live-is-replayed",
                fact: format!("the shard has {} as {:?}", log.id(), log.state()),
                contradiction: format!("its batches fold to {folded:?}"),
            });
        }
        if !rises(log.state()) {
            return Err(Violation {
                property: "live-is-replayed",
                fact: format!("segments and epochs of {} rise, and only the last segment is empty", log.id()),
                contradiction: format!("{:?}", log.state()),
            });
        }
    }
    Ok(())
}

fn rises(state: &Checkpoint) -> bool {
    state.segments.windows(2).all(|two| two[0].base < two[1].base && two[0].bytes > 0)
        && state.epochs.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1)
}
