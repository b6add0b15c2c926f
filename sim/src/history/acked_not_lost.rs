//! `acked-not-lost`: an acknowledged value stands at its acknowledged offset at the end, as long as the log does not start
//! behind it. (Jepsen's `lost-write` and `unseen`; KIP-966: what every member of the ISR holds is not lost with the leader.)

use super::{Outcome, Partition, Send, violation};
use crate::report::Violation;
use std::collections::BTreeMap;

/// `log`: what the offsets from `start` on read as at the end.
pub(super) fn at_the_end(
    partition: &Partition,
    sends: &BTreeMap<u64, Send>,
    start: i64,
    log: &BTreeMap<i64, u64>,
) -> Result<(), Violation> {
    for (value, send) in sends {
        if let Outcome::Acked(offset) = send.outcome
            && offset >= start
            && log.get(&offset) != Some(value)
        {
            return Err(violation(
                "acked-not-lost",
                partition,
                format!("value {value} was acknowledged at {offset}"),
                format!("at the end that offset reads as {:?}", log.get(&offset)),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::history::tests::{at, three};

    #[test]
    fn what_was_acknowledged_is_missed() {
        let found = three().finally(&at(), 0, &[(0, 1)]).unwrap_err();
        assert_eq!(found.property, "acked-not-lost");
        assert_eq!(three().finally(&at(), 2, &[(2, 3)]), Ok(()), "a log may start behind it");
    }
}
