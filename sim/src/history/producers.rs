//! `producer-ids-unique`: no producer id is given out twice (KIP-98), whichever life or shard of the broker gives it.

use std::collections::BTreeSet;

use super::History;
use crate::report::Violation;

/// Ids that were given out.
#[derive(Clone, Debug, Default)]
pub(super) struct Given(BTreeSet<i64>);

impl History {
    /// A producer id was given out.
    ///
    /// # Errors
    /// When it was before.
    pub fn given(&mut self, id: i64) -> Result<(), Violation> {
        if self.given.0.insert(id) {
            return Ok(());
        }
        Err(Violation {
            property: "producer-ids-unique",
            fact: format!("producer id {id} was given out before"),
            contradiction: "and again".into(),
        })
    }

    /// Whether the partition was acknowledged to exist.
    #[must_use]
    pub fn has(&self, (topic, index): &super::Partition) -> bool {
        let known = self.topic(topic);
        known.is_some_and(|topic| usize::try_from(*index).is_ok_and(|index| index < topic.partitions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_given_twice_trips() {
        let mut history = History::default();
        assert_eq!((history.given(7), history.given(8)), (Ok(()), Ok(())));
        assert_eq!(history.given(7).unwrap_err().property, "producer-ids-unique");
    }
}
