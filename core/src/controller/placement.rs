//! Where partitions are placed: round robin, or by hand on brokers that are registered, and what a new one begins with.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::ops::Range;

use super::Refused;
use crate::ids::{BrokerId, Uuid};
use crate::metadata::Image;
use crate::wire::{MetadataRecord, PartitionRecord, error};

/// The most partitions that one request may create.
pub(super) const MAX_PARTITIONS: usize = 10_000;

/// A request wants more than [`MAX_PARTITIONS`].
pub(super) fn too_many() -> Refused {
    (error::POLICY_VIOLATION, format!("A request creates at most {MAX_PARTITIONS} partitions."))
}

/// The replicas of partitions: round robin over the unfenced brokers.
pub(super) fn spread(image: &Image, partitions: Range<usize>, factor: i64) -> Result<Vec<Vec<BrokerId>>, Refused> {
    let brokers: Vec<BrokerId> = image.brokers().filter(|(_, b)| !b.fenced).map(|(id, _)| id).collect();
    let factor = match usize::try_from(factor) {
        Ok(n) if n > 0 && n <= brokers.len() => n,
        _ => {
            let why = format!("Replication factor {factor} with {} brokers registered and unfenced.", brokers.len());
            return Err((error::INVALID_REPLICATION_FACTOR, why));
        }
    };
    Ok(partitions.map(|p| (0..factor).map(|r| brokers[(p + r) % brokers.len()]).collect()).collect())
}

/// The replicas of one partition, by hand: different brokers that are registered, one of them unfenced.
pub(super) fn assigned(image: &Image, broker_ids: &[i32]) -> Result<Vec<BrokerId>, Refused> {
    let bad = |why: &str| Err((error::INVALID_REPLICA_ASSIGNMENT, why.to_string()));
    let brokers: Vec<BrokerId> = broker_ids.iter().copied().map(BrokerId).collect();
    if brokers.is_empty() || brokers.iter().any(|b| image.broker(*b).is_none()) {
        return bad("An assignment names no broker, or one that is not registered.");
    }
    let mut sorted = brokers.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return bad("An assignment names a broker twice.");
    }
    if brokers.iter().all(|b| is_fenced(image, *b)) {
        return bad("An assignment names fenced brokers only.");
    }
    Ok(brokers)
}

fn is_fenced(image: &Image, broker: BrokerId) -> bool {
    image.broker(broker).is_none_or(|b| b.fenced)
}

/// A partition that begins: the unfenced replicas are in sync, the first of them leads.
pub(super) fn partition(image: &Image, topic_id: Uuid, index: i32, replicas: &[BrokerId]) -> MetadataRecord {
    let isr: Vec<i32> = replicas.iter().filter(|b| !is_fenced(image, **b)).map(|b| b.0).collect();
    MetadataRecord::Partition(PartitionRecord {
        partition_id: index,
        topic_id,
        leader: *isr.first().expect("a placement has an unfenced broker"),
        isr,
        replicas: replicas.iter().map(|b| b.0).collect(),
        leader_epoch: 0,
        partition_epoch: 0,
        // Nowhere yet.
        directories: alloc::vec![Uuid::ZERO; replicas.len()],
        ..PartitionRecord::default()
    })
}
