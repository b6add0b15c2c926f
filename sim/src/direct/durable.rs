//! `durable-before-seen`: on a topic that promises it, what is acknowledged, served or published is on the device.
//!
//! Asks the model disk, never the broker: a high watermark that runs ahead of the device shows here at once, not only
//! when a power loss happens to follow. (DESIGN: "a record is on the device before it is acknowledged".)

use klamm_core::ids::{LogId, Offset, Uuid};
use klamm_core::wire::{ProduceResponse, TopicProduceResponse};

use super::disk::Disk;
use crate::report::Violation;

/// Something below `upto` of a log leaves the broker.
pub(super) fn seen(disk: &Disk, log: LogId, upto: Offset, how: &str) -> Result<(), Violation> {
    let durable = disk.durable_offset(log);
    if upto <= durable {
        return Ok(());
    }
    Err(Violation {
        property: "durable-before-seen",
        fact: format!("{}-{} is {how} up to {upto}", disk.topic(log), log.partition),
        contradiction: format!("the device holds it up to {durable}"),
    })
}

/// Whether the topic may have been deleted while the answer was under way.
fn may_be_gone(topic: &TopicProduceResponse) -> bool {
    topic.topic_id != Uuid::ZERO || topic.name.starts_with("mortal-")
}

/// An answer to a produce leaves the broker. `promised`: whether a topic of this name promises anything.
pub(super) fn acknowledged(
    disk: &Disk,
    response: &ProduceResponse,
    promised: impl Fn(&str) -> bool,
) -> Result<(), Violation> {
    for topic in &response.responses {
        for part in topic.partition_responses.iter().filter(|p| p.error_code == 0 && p.base_offset >= 0) {
            let logs: Vec<LogId> = match topic.name.as_str() {
                "" => vec![LogId { topic: topic.topic_id, partition: part.index }],
                name => disk.logs_of(name, part.index).collect(),
            };
            let base = Offset(part.base_offset);
            // Of a name that means another topic now there are logs of both.
            let found = logs.iter().filter_map(|log| Some((*log, disk.batch_end(*log, base)?)));
            match found.max_by_key(|(log, _)| disk.durable_offset(*log)) {
                Some((log, _)) if !promised(disk.topic(log)) => {}
                Some((log, end)) => seen(disk, log, end, "acknowledged")?,
                // Deleted since, with its topic.
                None if logs.iter().all(|log| !disk.has(*log)) && may_be_gone(topic) => {}
                None => {
                    return Err(Violation {
                        property: "durable-before-seen",
                        fact: format!("a batch of {}-{} is acknowledged at {base}", topic.name, part.index),
                        contradiction: "no batch begins there on the disk".into(),
                    });
                }
            }
        }
    }
    Ok(())
}
