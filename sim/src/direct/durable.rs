//! `durable-before-seen`: on a topic that promises it, what is acknowledged, served or published is on the device.
//!
//! Asks the model disk, never the broker: a high watermark that runs ahead of the device shows here at once, not only
//! when a power loss happens to follow. (DESIGN: "a record is on the device before it is acknowledged".)

use klamm_core::ids::{LogId, Offset};
use klamm_core::wire::ProduceResponse;

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

/// An answer to a produce leaves the broker. `promised`: whether a topic of this name promises anything.
pub(super) fn acknowledged(
    disk: &Disk,
    response: &ProduceResponse,
    promised: impl Fn(&str) -> bool,
) -> Result<(), Violation> {
    for topic in &response.responses {
        for part in topic.partition_responses.iter().filter(|p| p.error_code == 0 && p.base_offset >= 0) {
            let log = match topic.name.as_str() {
                "" => Some(LogId { topic: topic.topic_id, partition: part.index }),
                name => disk.log_of(name, part.index),
            };
            let base = Offset(part.base_offset);
            match log.and_then(|log| Some((log, disk.batch_end(log, base)?))) {
                Some((log, _)) if !promised(disk.topic(log)) => {}
                Some((log, end)) => seen(disk, log, end, "acknowledged")?,
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
