//! `idempotent`: a value stands in the log once, and every acknowledgement of it names the same offset, however often its
//! producer sent it. What was sent again without a producer id is left out: it may stand as often. (KIP-98.)

use super::{Partition, violation};
use crate::report::Violation;

/// A value that was acknowledged at one offset is acknowledged at another.
pub(super) fn acknowledged_again(partition: &Partition, value: u64, before: i64, offset: i64) -> Violation {
    violation(
        "idempotent",
        partition,
        format!("value {value} was acknowledged at {before}"),
        format!("and again at {offset}"),
    )
}

/// A value that was acknowledged at one offset is read at another.
pub(super) fn reads_elsewhere(partition: &Partition, value: u64, acked: i64, offset: i64) -> Violation {
    violation(
        "idempotent",
        partition,
        format!("value {value} was acknowledged at {acked}"),
        format!("offset {offset} reads as it"),
    )
}

/// A value stands behind itself.
pub(super) fn stands_twice(partition: &Partition, value: u64, offset: i64) -> Violation {
    violation(
        "idempotent",
        partition,
        format!("value {value} stands before offset {offset}"),
        "and stands there again".into(),
    )
}

#[cfg(test)]
mod tests {
    use crate::history::tests::{at, three};

    #[test]
    fn what_stands_twice_is_found() {
        let property = |log: &[(i64, u64)]| three().finally(&at(), 0, log).unwrap_err().property;
        assert_eq!(property(&[(0, 1), (1, 2), (2, 3), (3, 3)]), "idempotent");
        assert_eq!(property(&[(0, 1), (1, 2), (2, 1)]), "idempotent");
        assert_eq!(three().acked(&at(), 1, 1).unwrap_err().property, "idempotent");
    }
}
