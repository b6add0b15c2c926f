//! `one-leader-per-epoch`: what two lives of the broker append to a log bears different leader epochs, and epochs never
//! fall along a log's life, even where a crash took what bore the last one. Of both engines. (Raft's election safety;
//! KIP-101.)

use std::collections::BTreeMap;

use klamm_core::ids::{LeaderEpoch, LogId};

use crate::report::Violation;

/// The newest epoch that was appended to each log, and by which life.
#[derive(Clone, Debug, Default)]
pub struct Epochs(BTreeMap<LogId, (LeaderEpoch, u64)>);

impl Epochs {
    /// A life appends.
    ///
    /// # Errors
    /// When another life did so in that epoch, or a later one.
    pub fn appended(&mut self, log: LogId, epoch: LeaderEpoch, life: u64) -> Result<(), Violation> {
        match self.0.insert(log, (epoch, life)) {
            Some((before, other)) if before > epoch || (before == epoch && other != life) => Err(Violation {
                property: "one-leader-per-epoch",
                fact: format!("life {other} appended to {log} in epoch {before}"),
                contradiction: format!("life {life} does so in epoch {epoch}"),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_of_another_life_trips() {
        let log = LogId::METADATA;
        let mut epochs = Epochs::default();
        let mut append = |epoch, life| {
            let appended = epochs.appended(log, LeaderEpoch(epoch), life);
            appended.map_err(|violation| violation.property)
        };
        assert_eq!([append(1, 1), append(1, 1), append(3, 2)], [Ok(()); 3]);
        assert_eq!(append(3, 4), Err("one-leader-per-epoch"), "led twice");
        assert_eq!(append(2, 4), Err("one-leader-per-epoch"), "an epoch falls");
    }
}
