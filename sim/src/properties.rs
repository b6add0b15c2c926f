//! Every property that a run may break, in one sentence, with its source and its oracle: what is said where one is broken,
//! and by `klamm-sim list`.

/// A promise that a run may find broken.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Its name, everywhere.
    pub name: &'static str,
    /// What holds, in one sentence.
    pub says: &'static str,
    /// Who says so: a KIP, a paper, a list of anomalies, or what this project promises.
    pub source: &'static str,
    /// The oracle's file, under `sim/src`; its header names the property.
    pub file: &'static str,
}

const fn property(name: &'static str, says: &'static str, source: &'static str, file: &'static str) -> Property {
    Property { name, says, source, file }
}

/// All of them, by name.
pub const PROPERTIES: &[Property] = &[
    property(
        "acked-not-lost",
        "an acknowledged value stands at its acknowledged offset at the end",
        "Jepsen's lost-write; KIP-966",
        "history/acked_not_lost.rs",
    ),
    property(
        "all-answered",
        "where nothing goes wrong, every request is answered",
        "Kafka's protocol guide: each request has its response",
        "direct/client.rs",
    ),
    property("all-or-nothing", "one bad config leaves all of its request undone", "KIP-339", "workload/keeper.rs"),
    property(
        "answers-are-answers",
        "every answer decodes, and answers the question whose turn it is",
        "Kafka's protocol guide: responses in the order of requests",
        "direct/client.rs",
    ),
    property(
        "bad-batches-refused",
        "a batch with a wrong checksum is never acknowledged",
        "Kafka's message format: the batch's CRC-32C",
        "workload/producer.rs",
    ),
    property(
        "below-start-is-out-of-range",
        "nothing is served below what was told of a log's start",
        "KIP-107",
        "workload/consumer.rs",
    ),
    property(
        "committed-is-stored",
        "after a stop in order the logs hold what was read over the wire, to the record",
        "Raft's state machine safety",
        "world/recomputed.rs",
    ),
    property(
        "committed-reads",
        "a fetch gives nothing above the high watermark that it names",
        "KIP-207; Raft's leader completeness",
        "workload/reading.rs",
    ),
    property(
        "configs-stay",
        "an acknowledged config is described so from then on",
        "KIP-339; KIP-500",
        "workload/keeper.rs",
    ),
    property(
        "deleted-stays-deleted",
        "an id whose deletion was acknowledged is never seen again, and serves nothing",
        "KIP-516",
        "history/topics.rs",
    ),
    property(
        "dense-offsets",
        "offsets follow one another in the log",
        "Raft's log matching",
        "history/dense_offsets.rs",
    ),
    property(
        "durable-before-seen",
        "what is acknowledged, served or published of a durable topic is on the device",
        "README, guarantees: a record is on the device before it is acknowledged",
        "direct/durable.rs",
    ),
    property(
        "end-never-falls",
        "what was committed when a request was sent is committed when it is answered",
        "KIP-207",
        "history/end_never_falls.rs",
    ),
    property(
        "first-batch-given",
        "the first partition of a fetch that has anything gives a whole batch, whatever the limits",
        "KIP-74",
        "workload/consumer.rs",
    ),
    property(
        "first-since",
        "a record found by its time has that time, and what was passed over has a reason to be gone",
        "KIP-79; KIP-734",
        "history/times.rs",
    ),
    property(
        "harm-is-reported",
        "a log that is not served says KAFKA_STORAGE_ERROR, and only one that was harmed does",
        "KIP-112",
        "workload/inspector.rs",
    ),
    property(
        "idempotent",
        "a value stands in the log once, and every acknowledgement of it names the same offset",
        "KIP-98",
        "history/idempotent.rs",
    ),
    property(
        "in-order",
        "one producer's values stand in the order in which they were sent",
        "KIP-98; Jepsen's nonmonotonic-send",
        "history/in_order.rs",
    ),
    property(
        "kept-as-promised",
        "what is gone was trimmed, or was too old or too much, by what clients sent",
        "Kafka's retention.ms and retention.bytes; KIP-107",
        "history/starts.rs",
    ),
    property(
        "live-is-replayed",
        "a log's state in the shard is what folding its batches gives",
        "Schneider 1990: a state machine is what its log folds to",
        "direct/replayed.rs",
    ),
    property(
        "never-diverges",
        "a log never claims to have branched off before what was read of it",
        "KIP-320; KIP-595",
        "workload/consumer.rs",
    ),
    property("new-is-empty", "a broker whose files are all gone knows no topic", "KIP-858", "workload/inspector.rs"),
    property(
        "no-gaps",
        "what one fetch gives begins where it was asked for, and has no gaps",
        "Jepsen's poll-skip",
        "workload/reading.rs",
    ),
    property(
        "no-lease-leak",
        "with nothing left to happen no lease is held",
        "docs/ARCHITECTURE.md: leases",
        "direct/mod.rs",
    ),
    property(
        "no-odd-error",
        "no error is answered that nothing in the workload causes",
        "Kafka's protocol guide: error codes",
        "workload/mod.rs",
    ),
    property(
        "no-panic",
        "nothing of a run panics",
        "Miller et al., CACM 1990: whatever comes in, a program that crashes is wrong",
        "panics.rs",
    ),
    property(
        "no-phantom",
        "nothing is read that was not sent there, nor what was refused",
        "Jepsen's G1a",
        "history/no_phantom.rs",
    ),
    property(
        "none-left-out",
        "what can be read of a fetch session's partitions is in its answers",
        "KIP-227",
        "workload/session.rs",
    ),
    property(
        "not-cut-silently",
        "what was below a log's mark is not missing from a log that is served",
        "Alagappan et al., FAST 2018",
        "history/losses.rs",
    ),
    property(
        "nothing-left-behind",
        "a deleted topic leaves no log, and nothing that is set aside",
        "Kafka's delete.topic.enable; KIP-516",
        "world/remains.rs",
    ),
    property(
        "nothing-refused",
        "once the disk is well recovery refuses no log of which nothing was harmed",
        "KIP-112: only what failed goes offline",
        "world/mod.rs",
    ),
    property(
        "one-leader-per-epoch",
        "two lives of a broker append in different leader epochs, and epochs never fall",
        "Raft's election safety; KIP-101",
        "epochs.rs",
    ),
    property(
        "only-what-was-harmed",
        "recovery refuses no log and no broker but those whose files were harmed",
        "KIP-112: only what failed goes offline",
        "world/loss.rs",
    ),
    property(
        "partitions-never-fall",
        "an acknowledged topic has its partitions from then on",
        "KIP-195",
        "history/topics.rs",
    ),
    property("producer-ids-unique", "no producer id is given out twice", "KIP-98; KIP-730", "history/producers.rs"),
    property(
        "retention-works",
        "after quiet time nothing is left that is too old, and not more than is to be kept",
        "Kafka's retention.ms and retention.bytes",
        "workload/settler.rs",
    ),
    property(
        "sequences-kept",
        "a batch that follows only acknowledged ones of its producer is never out of order",
        "KIP-98",
        "workload/producer.rs",
    ),
    property("session-kept", "on its own connection no fetch session is refused", "KIP-227", "workload/session.rs"),
    property(
        "stable-reads",
        "an offset, once read or acknowledged, never reads as anything else",
        "Raft's state machine safety; Jepsen's inconsistent-offsets",
        "history/stable_reads.rs",
    ),
    property("start-never-falls", "what was told of a log's start holds from then on", "KIP-107", "history/starts.rs"),
    property(
        "stays-up",
        "once the disk is well the broker does not end by itself",
        "README, guarantees: a restart brings back what a failing disk took away",
        "world/mod.rs",
    ),
    property(
        "stuck",
        "after the last fault all that is under way ends, and every partition acknowledges a record",
        "Alpern and Schneider 1985: liveness",
        "report.rs",
    ),
    property("topics-stay", "an acknowledged topic is there from then on, with its id", "KIP-500", "history/topics.rs"),
    property("trim-holds", "an acknowledged trim reaches what was asked for", "KIP-107", "history/starts.rs"),
    property("trim-in-range", "what is committed can be trimmed, and nothing else", "KIP-107", "workload/keeper.rs"),
    property(
        "whole-batches",
        "what a fetch gives parses, matches its checksums, and holds only bytes that were sent",
        "Kafka's message format; KIP-98",
        "workload/reading.rs",
    ),
];

/// A property in one sentence.
#[must_use]
pub fn sentence(property: &str) -> &'static str {
    let found = PROPERTIES.binary_search_by(|known| known.name.cmp(property));
    found.map_or("a promise that nobody wrote down", |at| PROPERTIES[at].says)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// What trips each property: a planted bug of `sim/mutants`, or a test that plants a lie (its file under `sim/src`, and
    /// its name). A property that nothing trips is only as good as its reading.
    const TRIPPED: &[(&str, &str)] = &[
        ("acked-not-lost", "history/acked_not_lost.rs what_was_acknowledged_is_missed"),
        ("all-answered", "direct/lies.rs answers_that_never_come_are_found"),
        ("all-or-nothing", "direct/lies.rs a_bad_config_that_is_acknowledged_is_found"),
        ("answers-are-answers", "direct/lies.rs an_answer_to_another_question_is_found"),
        ("bad-batches-refused", "direct/lies.rs a_corrupt_batch_that_is_acknowledged_is_found"),
        ("below-start-is-out-of-range", "below-start-served"),
        ("committed-is-stored", "world/recomputed.rs what_was_read_and_is_not_stored_is_found"),
        ("committed-reads", "world/mod.rs a_read_above_the_high_watermark_is_found"),
        ("configs-stay", "direct/lies.rs a_config_that_is_forgotten_is_found"),
        ("deleted-stays-deleted", "stale-name"),
        ("dense-offsets", "history/dense_offsets.rs a_gap_is_found"),
        ("durable-before-seen", "direct/tests.rs done_before_the_sync_is_found"),
        ("end-never-falls", "history/end_never_falls.rs an_end_that_falls_is_found"),
        ("first-batch-given", "direct/lies.rs a_fetch_that_gives_nothing_is_found"),
        ("first-since", "history/times.rs the_first_one_and_the_newest_one"),
        ("harm-is-reported", "direct/lies.rs harm_that_is_reported_where_there_is_none_is_found"),
        ("idempotent", "duplicate-at-new-offset"),
        ("in-order", "history/in_order.rs what_overtook_is_found"),
        ("kept-as-promised", "history/times.rs the_first_one_and_the_newest_one"),
        ("live-is-replayed", "direct/lies.rs a_shard_that_has_what_its_log_has_not_is_found"),
        ("never-diverges", "direct/lies.rs a_log_that_claims_to_have_branched_off_is_found"),
        ("new-is-empty", "direct/lies.rs a_new_broker_that_knows_a_topic_is_found"),
        ("no-gaps", "direct/lies.rs a_gap_in_a_fetch_is_found"),
        ("no-lease-leak", "direct/lies.rs a_lease_that_nobody_gives_back_is_found"),
        ("no-odd-error", "direct/lies.rs an_error_that_nothing_causes_is_found"),
        ("no-panic", "append-after-failure"),
        ("no-phantom", "history/no_phantom.rs what_nobody_sent_and_what_was_refused_is_found"),
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
        ("stable-reads", "history/stable_reads.rs an_offset_that_reads_otherwise_is_found"),
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
        let named: Vec<&str> = PROPERTIES.iter().map(|property| property.name).collect();
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
    fn each_has_an_oracle_that_names_it_and_a_source() {
        let sim = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for Property { name, source, file, .. } in PROPERTIES {
            let text = fs::read_to_string(sim.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let header: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
            assert!(header.contains(&format!("`{name}`")), "the header of {file} says nothing of {name}");
            assert!(!source.is_empty(), "who says {name}?");
        }
    }

    #[test]
    fn they_stand_in_order() {
        assert!(PROPERTIES.windows(2).all(|two| two[0].name < two[1].name));
        assert!(sentence("no-panic").contains("panics") && sentence("another").contains("nobody"));
    }
}
