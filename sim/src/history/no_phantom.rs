//! `no-phantom`: nothing is read, acknowledged or counted as committed that was not sent there, nor what was refused before
//! it was appended. (Jepsen's G1a, the read of a failed write.)

use super::{Outcome, Partition, violation};
use crate::report::Violation;

/// A value that was refused is acknowledged after all.
pub(super) fn refused_is_acknowledged(partition: &Partition, value: u64, offset: i64) -> Violation {
    violation("no-phantom", partition, format!("value {value} was refused"), format!("and is acknowledged at {offset}"))
}

/// An offset reads as a value; `outcome`: how its send ended, if anybody sent it there.
pub(super) fn read(partition: &Partition, offset: i64, value: u64, outcome: Option<Outcome>) -> Result<(), Violation> {
    let contradiction = match outcome {
        None => "nobody sent that there",
        Some(Outcome::Refused) => "it was refused",
        Some(Outcome::Acked(_) | Outcome::Maybe) => return Ok(()),
    };
    Err(violation("no-phantom", partition, format!("offset {offset} reads as {value}"), contradiction.into()))
}

/// Everything below an offset is committed, of so many values that were sent.
pub(super) fn committed(partition: &Partition, sent: usize, end: i64) -> Result<(), Violation> {
    if usize::try_from(end).is_ok_and(|end| end > sent) {
        return Err(violation(
            "no-phantom",
            partition,
            format!("{sent} values were sent there"),
            format!("everything below {end} is committed"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::history::History;
    use crate::history::tests::{at, three};

    #[test]
    fn what_nobody_sent_and_what_was_refused_is_found() {
        let property = |h: &mut History, log: &[(i64, u64)]| h.finally(&at(), 0, log).unwrap_err().property;
        assert_eq!(property(&mut three(), &[(0, 1), (1, 2), (2, 7)]), "no-phantom");
        let mut h = three();
        h.refused(&at(), 3);
        assert_eq!(property(&mut h, &[(0, 1), (1, 2), (2, 3)]), "no-phantom");
        assert_eq!(h.acked(&at(), 3, 2).unwrap_err().property, "no-phantom");
        assert_eq!(three().ends(&at(), 3, 3), Ok(()));
        assert_eq!(three().ends(&at(), 3, 4).unwrap_err().property, "no-phantom");
    }
}
