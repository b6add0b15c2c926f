//! `stable-reads`: an offset, once read or acknowledged, never reads as anything else. (Raft's state machine safety;
//! Jepsen's `inconsistent-offsets`.)

use super::{Partition, violation};
use crate::report::Violation;
use std::collections::BTreeMap;

/// An offset reads as a value; `before`: what it read as before.
pub(super) fn read(partition: &Partition, offset: i64, value: u64, before: Option<u64>) -> Result<(), Violation> {
    let Some(before) = before.filter(|before| *before != value) else { return Ok(()) };
    Err(violation(
        "stable-reads",
        partition,
        format!("offset {offset} read as {before}"),
        format!("and later as {value}"),
    ))
}

/// A value is acknowledged at an offset; `read`: what that read as before.
pub(super) fn acknowledged(partition: &Partition, offset: i64, value: u64, read: Option<u64>) -> Result<(), Violation> {
    let Some(read) = read.filter(|read| *read != value) else { return Ok(()) };
    Err(violation(
        "stable-reads",
        partition,
        format!("offset {offset} read as {read}"),
        format!("value {value} is acknowledged there"),
    ))
}

/// `reads`: all that was ever read of a partition; `log`: what the offsets from `start` on read as at the end.
pub(super) fn at_the_end(
    partition: &Partition,
    reads: &BTreeMap<i64, u64>,
    start: i64,
    log: &BTreeMap<i64, u64>,
) -> Result<(), Violation> {
    for (offset, value) in reads.range(start..) {
        if log.get(offset) != Some(value) {
            return Err(violation(
                "stable-reads",
                partition,
                format!("offset {offset} was read as {value}"),
                format!("at the end it reads as {:?}", log.get(offset)),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::history::tests::{at, three};

    #[test]
    fn an_offset_that_reads_otherwise_is_found() {
        let mut h = three();
        h.read(&at(), 2, 3).unwrap();
        assert_eq!(h.clone().finally(&at(), 0, &[(0, 1), (1, 2)]).unwrap_err().property, "stable-reads");
        assert_eq!(h.read(&at(), 2, 1).unwrap_err().property, "stable-reads");
        let mut h = three();
        h.sent(&at(), 8, &[4], crate::history::Sent { bytes: 1, time: 0, stamp: 0 });
        h.read(&at(), 2, 3).unwrap();
        assert_eq!(h.acked(&at(), 4, 2).unwrap_err().property, "stable-reads");
    }
}
