//! The metadata quorum's votes and commits (KIP-595, Raft): ballots are durable before they count, a leader commits only
//! what a majority of voters flushed, and only in its own epoch (Raft figure 8, kafka-12619).
//!
//! A quorum of one is a majority of {1} and goes through the same steps. Voters are fixed; requests to other voters are
//! not sent yet.

mod describe;

pub use describe::{Standing, describe};

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::ids::{BrokerId, LeaderEpoch, Offset, Seq};
use crate::log::Ballot;

/// What this voter is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    /// Knows no leader.
    Unattached,
    /// Asks for votes; its own counts once the ballot is durable.
    Candidate { granted: BTreeSet<BrokerId>, ballot: Seq },
    /// Won; `start` is the first offset of its epoch.
    Leader { start: Offset, flushed: BTreeMap<BrokerId, Offset> },
}

/// This broker's place in the quorum.
#[derive(Clone, Debug)]
pub struct Quorum {
    me: BrokerId,
    voters: BTreeSet<BrokerId>,
    ballot: Ballot,
    role: Role,
}

impl Quorum {
    /// A voter that restarted with the ballot that its disk held.
    ///
    /// # Panics
    /// When `me` is not among the voters.
    #[must_use]
    pub fn new(me: BrokerId, voters: BTreeSet<BrokerId>, ballot: Ballot) -> Quorum {
        assert!(voters.contains(&me), "{me} is not a voter");
        Quorum { me, voters, ballot, role: Role::Unattached }
    }

    /// The newest epoch seen.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.ballot.epoch
    }

    /// All voters.
    #[must_use]
    pub fn voters(&self) -> Vec<BrokerId> {
        self.voters.iter().copied().collect()
    }

    /// The ballot of a new campaign, above every epoch seen or written; the caller persists it and tells its `seq`.
    #[must_use]
    pub fn next_ballot(&self, last_written: LeaderEpoch) -> Ballot {
        Ballot { epoch: self.ballot.epoch.max(last_written).next(), voted_for: self.me.0 }
    }

    /// Campaigns with a ballot that is being persisted as `seq`.
    ///
    /// # Panics
    /// When the ballot does not exceed the last one.
    pub fn campaign(&mut self, ballot: Ballot, seq: Seq) {
        assert!(ballot.epoch > self.ballot.epoch, "a campaign raises the epoch");
        self.ballot = ballot;
        self.role = Role::Candidate { granted: BTreeSet::new(), ballot: seq };
    }

    /// A change of the metadata log is durable; true when it was this campaign's ballot, so that the own vote counts.
    #[must_use]
    pub fn persisted(&mut self, seq: Seq) -> bool {
        let me = self.me;
        match &mut self.role {
            Role::Candidate { granted, ballot } if *ballot <= seq => granted.insert(me),
            Role::Candidate { .. } | Role::Unattached | Role::Leader { .. } => false,
        }
    }

    /// Whether a majority of voters granted their vote.
    #[must_use]
    pub fn has_won(&self) -> bool {
        match &self.role {
            Role::Candidate { granted, .. } => granted.len() > self.voters.len() / 2,
            Role::Unattached | Role::Leader { .. } => false,
        }
    }

    /// Leads from `start` on, the offset of the epoch's first record.
    pub fn lead(&mut self, start: Offset) {
        assert!(self.has_won(), "leads without a majority");
        self.role = Role::Leader { start, flushed: BTreeMap::new() };
    }

    /// A voter has flushed up to an offset.
    pub fn flushed(&mut self, voter: BrokerId, upto: Offset) {
        if let Role::Leader { flushed, .. } = &mut self.role {
            flushed.insert(voter, upto);
        }
    }

    /// Committed below this offset, if this voter leads and a record of its own epoch is.
    #[must_use]
    pub fn committed(&self) -> Option<Offset> {
        let Role::Leader { start, flushed } = &self.role else { return None };
        let mut offsets: Vec<Offset> =
            self.voters.iter().map(|v| flushed.get(v).copied().unwrap_or(Offset(0))).collect();
        offsets.sort_unstable_by(|a, b| b.cmp(a));
        let held_by_majority = offsets[self.voters.len() / 2];
        (held_by_majority > *start).then_some(held_by_majority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quorum(voters: &[i32]) -> Quorum {
        Quorum::new(BrokerId(1), voters.iter().copied().map(BrokerId).collect(), Ballot::default())
    }

    fn won(voters: &[i32], grants: &[i32]) -> Quorum {
        let mut q = quorum(voters);
        let ballot = q.next_ballot(LeaderEpoch(6));
        assert_eq!(ballot.epoch, LeaderEpoch(7));
        q.campaign(ballot, Seq(3));
        assert!(!q.has_won(), "no vote counts before the ballot is durable");
        assert!(!q.persisted(Seq(2)));
        assert!(q.persisted(Seq(3)));
        if let Role::Candidate { granted, .. } = &mut q.role {
            granted.extend(grants.iter().copied().map(BrokerId));
        }
        q
    }

    #[test]
    fn one_is_a_majority_of_one_and_not_of_two_or_three() {
        assert!(won(&[1], &[]).has_won());
        assert!(!won(&[1, 2], &[]).has_won());
        assert!(!won(&[1, 2, 3], &[]).has_won());
        assert!(won(&[1, 2, 3], &[3]).has_won());
    }

    #[test]
    fn commits_what_a_majority_flushed_in_the_own_epoch_only() {
        let mut q = won(&[1, 2, 3], &[2]);
        q.lead(Offset(10));
        q.flushed(BrokerId(1), Offset(12));
        assert_eq!(q.committed(), None, "one of three");
        q.flushed(BrokerId(2), Offset(10));
        assert_eq!(q.committed(), None, "a majority holds only what earlier epochs wrote (figure 8)");
        q.flushed(BrokerId(2), Offset(11));
        assert_eq!(q.committed(), Some(Offset(11)));
        q.flushed(BrokerId(3), Offset(12));
        assert_eq!(q.committed(), Some(Offset(12)));
    }
}
