//! `end-never-falls`: what was committed when a question was asked is committed when it is answered. (KIP-207; Jepsen's
//! realtime order.)

use super::{Partition, violation};
use crate::report::Violation;

/// Everything below `floor` was committed when the broker was asked; it says that everything below `end` is.
pub(super) fn committed(partition: &Partition, floor: i64, end: i64) -> Result<(), Violation> {
    if end >= floor {
        return Ok(());
    }
    Err(violation(
        "end-never-falls",
        partition,
        format!("everything below {floor} was committed before a request"),
        format!("its answer says {end}"),
    ))
}

#[cfg(test)]
mod tests {
    use crate::history::tests::{at, three};

    #[test]
    fn an_end_that_falls_is_found() {
        let mut h = three();
        assert_eq!(h.ends(&at(), 0, 3), Ok(()));
        assert_eq!(h.ends(&at(), h.end(&at()), 2).unwrap_err().property, "end-never-falls");
    }
}
