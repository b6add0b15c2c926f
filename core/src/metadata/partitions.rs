//! A topic's partitions by index, close together: there may be very many, and each image has them all.
//!
//! Indexes come in order and stay, so that a sorted list costs what a map would, without its half empty nodes.

use alloc::vec::Vec;
use core::ops::Index;

use super::Partition;

/// A full list grows by one part in so many.
const GROWTH: usize = 8;

/// Partitions, by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions(Vec<(i32, Partition)>);

impl Partitions {
    fn find(&self, index: i32) -> Result<usize, usize> {
        // Nearly always they are 0 and up, without gaps.
        match usize::try_from(index).ok().and_then(|at| Some((at, self.0.get(at)?.0))) {
            Some((at, found)) if found == index => Ok(at),
            _ => self.0.binary_search_by_key(&index, |(other, _)| *other),
        }
    }

    /// Puts a partition there, in the place of one that is.
    pub fn insert(&mut self, index: i32, partition: Partition) {
        match self.find(index) {
            Ok(at) => self.0[at].1 = partition,
            Err(at) => {
                if self.0.len() == self.0.capacity() {
                    self.0.reserve_exact(self.0.len() / GROWTH + 1);
                }
                self.0.insert(at, (index, partition));
            }
        }
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, index: i32) -> Option<&Partition> {
        self.find(index).ok().map(|at| &self.0[at].1)
    }

    /// One of them, to be changed.
    pub fn get_mut(&mut self, index: i32) -> Option<&mut Partition> {
        self.find(index).ok().map(|at| &mut self.0[at].1)
    }

    /// Whether there is one of this index.
    #[must_use]
    pub fn contains(&self, index: i32) -> bool {
        self.find(index).is_ok()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &Partition)> {
        self.from(i32::MIN)
    }

    /// Those from an index on, in order.
    pub fn from(&self, index: i32) -> impl Iterator<Item = (i32, &Partition)> {
        let at = self.0.partition_point(|(other, _)| *other < index);
        self.0[at..].iter().map(|(index, partition)| (*index, partition))
    }
}

impl Index<i32> for Partitions {
    type Output = Partition;

    fn index(&self, index: i32) -> &Partition {
        self.get(index).expect("a partition that is there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LeaderEpoch;

    fn partition(epoch: i32) -> Partition {
        Partition {
            replicas: Vec::new().into(),
            isr: Vec::new().into(),
            leader: None,
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: 0,
            directories: Vec::new().into(),
        }
    }

    #[test]
    fn whatever_order_they_come_in() {
        let mut partitions = Partitions::default();
        for index in [0, 5, 1, 3, 7, 5] {
            partitions.insert(index, partition(10 * index));
        }
        assert_eq!(partitions.iter().map(|(index, _)| index).collect::<Vec<_>>(), [0, 1, 3, 5, 7]);
        assert_eq!(partitions.from(4).map(|(index, _)| index).collect::<Vec<_>>(), [5, 7]);
        for index in -2..9 {
            let found = partitions.get(index).map(|p| p.leader_epoch.0);
            assert_eq!(found, [0, 1, 3, 5, 7].contains(&index).then_some(10 * index));
            assert_eq!(
                (found.is_some(), found.is_some()),
                (partitions.contains(index), partitions.get_mut(index).is_some())
            );
        }
        assert_eq!((partitions.len(), partitions[7].leader_epoch), (5, LeaderEpoch(70)));
    }

    #[test]
    fn many_take_little_more_than_their_room() {
        let mut partitions = Partitions::default();
        (0..1_000).for_each(|index| partitions.insert(index, partition(0)));
        assert!(partitions.0.capacity() <= 1_150, "room for {}", partitions.0.capacity());
        let bytes = size_of::<(i32, Partition)>();
        assert!(bytes <= 96, "{bytes} bytes a partition");
    }
}
