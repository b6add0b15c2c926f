//! `dense-offsets`: offsets follow one another in the log, but for what was declared as lost. (Kafka's log without
//! compaction: the next base offset is the last one and one; Raft's log matching needs one sequence.)

use super::{Partition, violation};
use crate::report::Violation;

/// `log`: all that was read back from `start` on; `lost`: where what may be missing with an offset ends.
pub(super) fn at_the_end(
    partition: &Partition,
    start: i64,
    log: &[(i64, u64)],
    lost: impl Fn(i64) -> Option<i64>,
) -> Result<(), Violation> {
    let mut next = start;
    for (offset, _) in log {
        while next < *offset
            && let Some(end) = lost(next)
        {
            next = end.min(*offset);
        }
        if next != *offset {
            return Err(violation(
                "dense-offsets",
                partition,
                format!("{next} is to come"),
                format!("the next one is {offset}"),
            ));
        }
        next += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::history::tests::{at, three};

    #[test]
    fn a_gap_is_found() {
        let found = three().finally(&at(), 0, &[(0, 1), (2, 3)]).unwrap_err();
        assert_eq!(found.property, "dense-offsets");
    }
}
