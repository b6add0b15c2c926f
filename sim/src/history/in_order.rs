//! `in-order`: one producer's values stand in the order in which they were sent. What was sent again without a producer id
//! is left out. (KIP-98: sequences; Jepsen's `nonmonotonic-send`.)

use super::{Partition, Send, idempotent, violation};
use crate::report::Violation;
use std::collections::BTreeMap;

/// `log`: all that was read back, in order.
pub(super) fn at_the_end(
    partition: &Partition,
    sends: &BTreeMap<u64, Send>,
    log: &[(i64, u64)],
) -> Result<(), Violation> {
    let mut last: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for (offset, value) in log {
        let Some(send) = sends.get(value).filter(|send| send.again == 0) else { continue };
        let before = last.insert(send.producer, (send.ordinal, *value));
        if before.is_some_and(|(ordinal, _)| ordinal == send.ordinal) {
            return Err(idempotent::stands_twice(partition, *value, *offset));
        }
        if let Some((_, earlier)) = before.filter(|(ordinal, _)| *ordinal > send.ordinal) {
            return Err(violation(
                "in-order",
                partition,
                format!("value {earlier} stands before offset {offset}"),
                format!("{value} stands there and was sent before it"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::history::tests::{at, sent};

    #[test]
    fn what_overtook_is_found() {
        let found = sent(&[1, 2]).finally(&at(), 0, &[(0, 2), (1, 1)]).unwrap_err();
        assert_eq!(found.property, "in-order");
    }
}
