//! Oracles that no planted bug trips are tripped by lies: an answer that is changed, or withheld, on its way to a client.

use bytes::Bytes;
use klamm_core::wire::{PartitionData, Records, Response, error};

use super::*;

/// What the first seed breaks in which a lie is found out.
fn found_out(lie: Lie) -> &'static str {
    let reports = (0..60).map(|seed| {
        let mut sim = Sim::new(Params::of(&Dice::new(seed, Rc::new(Book::Blank))), false);
        sim.lie = Some(lie);
        conclude(sim, seed)
    });
    reports.filter_map(|report| report.property()).next().expect("the lie is found out")
}

/// What a fetch gives of partitions that are served.
fn fetched(response: &mut Response) -> impl Iterator<Item = &mut PartitionData> {
    let topics = if let Response::Fetch(fetch) = response { &mut fetch.responses[..] } else { &mut [] };
    topics.iter_mut().flat_map(|topic| &mut topic.partitions).filter(|part| part.error_code == error::NONE)
}

/// Has all offsets of a partition be asked for in vain.
fn list(response: &mut Response, code: i16) {
    if let Response::ListOffsets(list) = response {
        list.topics.iter_mut().flat_map(|topic| &mut topic.partitions).for_each(|part| part.error_code = code);
    }
}

#[test]
fn an_answer_under_another_name_is_found() {
    let lie: Lie = |_, correlation, _| {
        *correlation += 1;
        true
    };
    assert_eq!(found_out(lie), "answers-are-answers");
}

#[test]
fn an_answer_to_another_question_is_found() {
    let lie: Lie = |_, _, response| {
        if matches!(response, Response::IncrementalAlterConfigs(_)) {
            *response = Response::Metadata(klamm_core::wire::MetadataResponse::default());
        }
        true
    };
    assert_eq!(found_out(lie), "answers-are-answers");
}

#[test]
fn answers_that_never_come_are_found() {
    assert_eq!(found_out(|_, _, _| false), "all-answered");
}

#[test]
fn work_without_an_end_is_found() {
    let lie: Lie = |phase, _, response| {
        if phase == Phase::ReadBack {
            list(response, error::KAFKA_STORAGE_ERROR);
        }
        true
    };
    assert_eq!(found_out(lie), "stuck");
}

#[test]
fn a_bad_config_that_is_acknowledged_is_found() {
    let lie: Lie = |_, _, response| {
        if let Response::IncrementalAlterConfigs(altered) = response {
            altered.responses.iter_mut().for_each(|resource| resource.error_code = error::NONE);
        }
        true
    };
    assert_eq!(found_out(lie), "all-or-nothing");
}

#[test]
fn a_config_that_is_forgotten_is_found() {
    let lie: Lie = |_, _, response| {
        if let Response::DescribeConfigs(described) = response {
            described.results.iter_mut().for_each(|resource| resource.configs.clear());
        }
        true
    };
    assert_eq!(found_out(lie), "configs-stay");
}

#[test]
fn a_trim_past_the_end_that_is_acknowledged_is_found() {
    let lie: Lie = |_, _, response| {
        if let Response::DeleteRecords(deleted) = response {
            let parts = deleted.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            let refused = parts.filter(|part| part.error_code == error::OFFSET_OUT_OF_RANGE);
            refused.for_each(|part| part.error_code = error::NONE);
        }
        true
    };
    assert_eq!(found_out(lie), "trim-in-range");
}

#[test]
fn a_corrupt_batch_that_is_acknowledged_is_found() {
    let lie: Lie = |_, _, response| {
        if let Response::Produce(produced) = response {
            let parts = produced.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses);
            for part in parts.filter(|part| part.error_code == error::CORRUPT_MESSAGE) {
                (part.error_code, part.base_offset) = (error::NONE, 0);
            }
        }
        true
    };
    assert_eq!(found_out(lie), "bad-batches-refused");
}

#[test]
fn a_producer_id_that_is_given_out_twice_is_found() {
    let lie: Lie = |_, _, response| {
        if let Response::InitProducerId(given) = response {
            given.producer_id = 7;
        }
        true
    };
    assert_eq!(found_out(lie), "producer-ids-unique");
}

#[test]
fn a_log_that_claims_to_have_branched_off_is_found() {
    let lie: Lie = |_, _, response| {
        fetched(response).for_each(|part| part.diverging_epoch.epoch = 0);
        true
    };
    assert_eq!(found_out(lie), "never-diverges");
}

#[test]
fn a_fetch_that_gives_nothing_is_found() {
    let lie: Lie = |_, _, response| {
        fetched(response).for_each(|part| part.records = Records::Bytes(Bytes::new()));
        true
    };
    assert_eq!(found_out(lie), "first-batch-given");
}

#[test]
fn a_gap_in_a_fetch_is_found() {
    let lie: Lie = |_, _, response| {
        for part in fetched(response) {
            if let Records::Bytes(bytes) = &mut part.records
                && !bytes.is_empty()
            {
                // The first batch stands one further than it does.
                let mut moved = bytes.to_vec();
                moved[7] = moved[7].wrapping_add(1);
                *bytes = moved.into();
            }
        }
        true
    };
    assert_eq!(found_out(lie), "no-gaps");
}

#[test]
fn an_error_that_nothing_causes_is_found() {
    let lie: Lie = |_, _, response| {
        list(response, error::INVALID_CONFIG);
        true
    };
    assert_eq!(found_out(lie), "no-odd-error");
}

#[test]
fn harm_that_is_reported_where_there_is_none_is_found() {
    let lie: Lie = |phase, _, response| {
        if phase == Phase::Losses {
            list(response, error::KAFKA_STORAGE_ERROR);
        }
        true
    };
    assert_eq!(found_out(lie), "harm-is-reported");
}

#[test]
fn a_log_that_is_served_and_gives_nothing_is_found() {
    let lie: Lie = |phase, _, response| {
        if phase == Phase::Losses {
            fetched(response).for_each(|part| part.error_code = error::KAFKA_STORAGE_ERROR);
        }
        true
    };
    assert_eq!(found_out(lie), "harm-is-reported");
}

#[test]
fn a_new_broker_that_knows_a_topic_is_found() {
    let lie: Lie = |phase, _, response| {
        if let (Phase::Losses, Response::Metadata(known)) = (phase, response)
            && known.topics.is_empty()
        {
            known.topics.push(klamm_core::wire::MetadataResponseTopic::default());
        }
        true
    };
    assert_eq!(found_out(lie), "new-is-empty");
}

/// A broker that is at work, and has logs.
fn at_work() -> Sim {
    let mut sim = Sim::new(Params::of(&Dice::new(0, Rc::new(Book::Blank))), false);
    let mut until = 0;
    while sim.history.acknowledgements() == 0 || !sim.broker.is_serving() {
        until += SECOND;
        sim.rest_until(until).expect("nothing is broken");
    }
    sim
}

#[test]
fn a_shard_that_has_what_its_log_has_not_is_found() {
    let mut sim = at_work();
    sim.check_at_rest();
    assert_eq!(sim.violation, None);
    let log = sim.broker.disk.logs().next().expect("it has logs");
    sim.broker.disk.lose_folder(log);
    sim.check_at_rest();
    assert_eq!(sim.violation.map(|violation| violation.property), Some("live-is-replayed"));
}

#[test]
fn a_lease_that_nobody_gives_back_is_found() {
    let mut sim = at_work();
    assert_eq!(sim.rest(), Ok(()));
    assert_eq!(sim.broker.leases(), (sim.broker.leases().0, 0));
    sim.broker.leases.insert(u64::MAX, disk::Lent { bytes: Bytes::new(), first: 0, unread: None });
    let Err(Verdict::Unsafe(violation)) = sim.verdict() else { panic!("it is found") };
    assert_eq!(violation.property, "no-lease-leak");
}

#[test]
fn a_log_of_a_deleted_topic_is_found() {
    let mut sim = at_work();
    assert_eq!(sim.rest(), Ok(()));
    let log = sim.broker.disk.logs().find(|log| *log != LogId::METADATA).expect("it has logs");
    sim.history.created("gone#0", "gone", Some(log.topic), 1);
    sim.history.deleted("gone#0");
    let Err(Verdict::Unsafe(violation)) = sim.verdict() else { panic!("it is found") };
    assert_eq!(violation.property, "nothing-left-behind");
}
