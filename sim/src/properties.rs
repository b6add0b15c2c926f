//! Every property that a run may break, in one sentence: what is said where one is broken, and by `klamm-sim list`.

/// Name and sentence, by name.
pub const PROPERTIES: &[(&str, &str)] = &[
    ("acked-not-lost", "an acknowledged value stands at its acknowledged offset at the end"),
    ("all-answered", "where nothing goes wrong, every request is answered"),
    ("all-or-nothing", "one bad config leaves all of its request undone"),
    ("answers-are-answers", "every answer decodes, and answers the question whose turn it is"),
    ("bad-batches-refused", "a batch with a wrong checksum is never acknowledged"),
    ("below-start-is-out-of-range", "nothing is served below what was told of a log's start"),
    ("committed-is-stored", "after a stop in order the logs hold what was read over the wire, to the record"),
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
    use std::fs;
    use std::path::Path;

    /// What trips each property: a planted bug of `sim/mutants`, or a test that plants a lie (its file under `sim/src`, and
    /// its name). A property that nothing trips is only as good as its reading.
    const TRIPPED: &[(&str, &str)] = &[
        ("acked-not-lost", "history/mod.rs every_property_trips"),
        ("all-answered", "direct/lies.rs answers_that_never_come_are_found"),
        ("all-or-nothing", "direct/lies.rs a_bad_config_that_is_acknowledged_is_found"),
        ("answers-are-answers", "direct/lies.rs an_answer_to_another_question_is_found"),
        ("bad-batches-refused", "direct/lies.rs a_corrupt_batch_that_is_acknowledged_is_found"),
        ("below-start-is-out-of-range", "below-start-served"),
        ("committed-is-stored", "world/recomputed.rs what_was_read_and_is_not_stored_is_found"),
        ("committed-reads", "world/mod.rs a_read_above_the_high_watermark_is_found"),
        ("configs-stay", "direct/lies.rs a_config_that_is_forgotten_is_found"),
        ("deleted-stays-deleted", "stale-name"),
        ("dense-offsets", "history/mod.rs every_property_trips"),
        ("durable-before-seen", "direct/tests.rs done_before_the_sync_is_found"),
        ("end-never-falls", "history/mod.rs every_property_trips"),
        ("first-batch-given", "direct/lies.rs a_fetch_that_gives_nothing_is_found"),
        ("first-since", "history/times.rs the_first_one_and_the_newest_one"),
        ("harm-is-reported", "direct/lies.rs harm_that_is_reported_where_there_is_none_is_found"),
        ("idempotent", "duplicate-at-new-offset"),
        ("in-order", "history/mod.rs every_property_trips"),
        ("kept-as-promised", "history/times.rs the_first_one_and_the_newest_one"),
        ("live-is-replayed", "direct/lies.rs a_shard_that_has_what_its_log_has_not_is_found"),
        ("never-diverges", "direct/lies.rs a_log_that_claims_to_have_branched_off_is_found"),
        ("new-is-empty", "direct/lies.rs a_new_broker_that_knows_a_topic_is_found"),
        ("no-gaps", "direct/lies.rs a_gap_in_a_fetch_is_found"),
        ("no-lease-leak", "direct/lies.rs a_lease_that_nobody_gives_back_is_found"),
        ("no-odd-error", "direct/lies.rs an_error_that_nothing_causes_is_found"),
        ("no-panic", "append-after-failure"),
        ("no-phantom", "history/mod.rs every_property_trips"),
        ("none-left-out", "session-forgets"),
        ("not-cut-silently", "direct/tests.rs a_cut_of_what_was_known_to_be_on_the_device_is_found"),
        ("nothing-left-behind", "direct/lies.rs a_log_of_a_deleted_topic_is_found"),
        ("nothing-refused", "log-start-falls-back"),
        ("one-leader-per-epoch", "epochs.rs an_epoch_of_another_life_trips"),
        ("only-what-was-harmed", "direct/losses.rs a_broker_that_ends_without_a_reason_is_found"),
        ("partitions-never-fall", "history/topics.rs what_was_created_is_there"),
        ("producer-ids-unique", "direct/lies.rs a_producer_id_that_is_given_out_twice_is_found"),
        ("retention-works", "retention-stops"),
        ("sequences-kept", "last-batch-dropped"),
        ("session-kept", "world/mod.rs a_session_that_is_refused_is_found"),
        ("stable-reads", "history/mod.rs every_property_trips"),
        ("start-never-falls", "trim-answered-early"),
        ("stays-up", "world/mod.rs a_broker_that_ends_or_refuses_a_log_on_a_healthy_disk_is_found"),
        ("stuck", "direct/lies.rs work_without_an_end_is_found"),
        ("topics-stay", "history/topics.rs what_was_created_is_there"),
        (
            "trim-holds",
            "history/starts.rs a_trim_without_an_answer_excuses_everything_and_one_that_was_refused_nothing",
        ),
        ("trim-in-range", "direct/lies.rs a_trim_past_the_end_that_is_acknowledged_is_found"),
        ("whole-batches", "workload/reading.rs what_was_sent_reads_back_and_nothing_else_does"),
    ];

    #[test]
    fn each_is_tripped_by_something() {
        let named: Vec<&str> = PROPERTIES.iter().map(|(name, _)| *name).collect();
        assert_eq!(named, TRIPPED.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        let sim = Path::new(env!("CARGO_MANIFEST_DIR"));
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let table = read(&sim.join("../docs/planted-bugs.md"));
        for (property, by) in TRIPPED {
            let told = |line: &str| line.split('|').nth(1).is_some_and(|cell| cell.contains(&format!("`{property}`")));
            assert!(table.lines().any(told), "no table of docs/planted-bugs.md says what {property} is");
            let quoted = format!("\"{property}\"");
            match by.split_once(' ') {
                Some((file, test)) => {
                    let text = read(&sim.join("src").join(file));
                    let (_, body) = text.split_once(&format!("fn {test}()")).unwrap_or_else(|| panic!("no test {by}"));
                    let body = body.split("#[test]").next().unwrap_or_default();
                    assert!(body.contains(&quoted), "{by} says nothing of {property}");
                }
                None => {
                    assert!(sim.join("mutants").join(format!("{by}.patch")).is_file(), "no planted bug {by}");
                    let row = table.lines().find(|line| line.starts_with(&format!("| `{by}` |")));
                    assert!(row.is_some_and(|row| row.contains(&format!("`{property}`"))), "{by} trips {property}?");
                }
            }
        }
    }

    #[test]
    fn they_stand_in_order() {
        assert!(PROPERTIES.windows(2).all(|two| two[0].0 < two[1].0));
        assert!(sentence("no-panic").contains("panics") && sentence("another").contains("nobody"));
    }
}
