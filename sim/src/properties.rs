//! Every property that a run may break, in one sentence: what is said where one is broken, and by `klamm-sim list`.

/// Name and sentence, by name.
pub const PROPERTIES: &[(&str, &str)] = &[
    ("acked-not-lost", "an acknowledged value stands at its acknowledged offset at the end"),
    ("all-answered", "where nothing goes wrong, every request is answered"),
    ("all-or-nothing", "one bad config leaves all of its request undone"),
    ("answers-are-answers", "every answer decodes, and answers the question whose turn it is"),
    ("bad-batches-refused", "a batch with a wrong checksum is never acknowledged"),
    ("below-start-is-out-of-range", "nothing is served below what was told of a log's start"),
    ("committed-reads", "a fetch gives nothing above the high watermark that it names"),
    ("configs-stay", "an acknowledged config is described so from then on"),
    ("deleted-stays-deleted", "an id whose deletion was acknowledged is never seen again, and serves nothing"),
    ("dense-offsets", "offsets follow one another in the log"),
    ("durable-before-seen", "what is acknowledged, served or published of a durable topic is on the device"),
    ("end-never-falls", "what was committed when a request was sent is committed when it is answered"),
    ("first-batch-given", "the first partition of a fetch that has anything gives a whole batch, whatever the limits"),
    ("first-since", "a record found by its time has that time, and what was passed over has a reason to be gone"),
    ("harm-is-reported", "a log that is not served says KAFKA_STORAGE_ERROR, and only one that was harmed does"),
    ("idempotent", "a value stands in the log once, and every acknowledgement of it names the same offset"),
    ("in-order", "one producer's values stand in the order in which they were sent"),
    ("kept-as-promised", "what is gone was trimmed, or was too old or too much, by what clients sent"),
    ("live-is-replayed", "a log's state in the shard is what folding its batches gives"),
    ("never-diverges", "a log never claims to have branched off before what was read of it"),
    ("new-is-empty", "a broker whose files are all gone knows no topic"),
    ("no-gaps", "what one fetch gives begins where it was asked for, and has no gaps"),
    ("no-lease-leak", "with nothing left to happen no lease is held"),
    ("no-odd-error", "no error is answered that nothing in the workload causes"),
    ("no-panic", "nothing of a run panics"),
    ("no-phantom", "nothing is read that was not sent there, nor what was refused"),
    ("none-left-out", "what can be read of a fetch session's partitions is in its answers"),
    ("not-cut-silently", "what was below a log's mark is not missing from a log that is served"),
    ("nothing-left-behind", "a deleted topic leaves no log, and nothing that is set aside"),
    ("nothing-refused", "once the disk is well recovery refuses no log of which nothing was harmed"),
    ("one-leader-per-epoch", "two lives of a broker append in different leader epochs, and epochs never fall"),
    ("only-what-was-harmed", "recovery refuses no log and no broker but those whose files were harmed"),
    ("partitions-never-fall", "an acknowledged topic has its partitions from then on"),
    ("producer-ids-unique", "no producer id is given out twice"),
    ("retention-works", "after quiet time nothing is left that is too old, and not more than is to be kept"),
    ("sequences-kept", "a batch that follows only acknowledged ones of its producer is never out of order"),
    ("session-kept", "on its own connection no fetch session is refused"),
    ("stable-reads", "an offset, once read or acknowledged, never reads as anything else"),
    ("start-never-falls", "what was told of a log's start holds from then on"),
    ("stays-up", "once the disk is well the broker does not end by itself"),
    ("stuck", "after the last fault all that is under way ends, and every partition acknowledges a record"),
    ("topics-stay", "an acknowledged topic is there from then on, with its id"),
    ("trim-holds", "an acknowledged trim reaches what was asked for"),
    ("trim-in-range", "what is committed can be trimmed, and nothing else"),
    ("whole-batches", "what a fetch gives parses, matches its checksums, and holds only bytes that were sent"),
];

/// A property in one sentence.
#[must_use]
pub fn sentence(property: &str) -> &'static str {
    let found = PROPERTIES.binary_search_by(|(name, _)| (*name).cmp(property));
    found.map_or("a promise that nobody wrote down", |at| PROPERTIES[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_stand_in_order() {
        assert!(PROPERTIES.windows(2).all(|two| two[0].0 < two[1].0));
        assert!(sentence("no-panic").contains("panics") && sentence("another").contains("nobody"));
    }
}
