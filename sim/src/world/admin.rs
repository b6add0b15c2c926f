//! Creates topics, and holds the broker to them: a topic that was acknowledged is there from then on, with its id.

use super::ledger::Ledger;
use super::parameters::{Parameters, pick};
use super::turns::{Turns, pause};
use crate::client::{Connection, Lost};
use crate::report::Violation;
use klamm_core::metadata::configs::INTERNAL_SEGMENT_BYTES;
use klamm_core::rng::Rng;
use klamm_core::wire::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, MetadataRequest, MetadataRequestTopic, MetadataResponse,
    Response, error,
};
use std::rc::Rc;

/// How long an answer may take.
const ANSWER_MS: u64 = 3_000;

/// Creates the topics of the beginning, then more of them, until the work is over.
pub(super) async fn administer(ledger: Rc<Ledger>, parameters: Rc<Parameters>, mut turns: Turns) {
    let mut rng = Rng::new(turns.seed());
    for (number, (partitions, segment_bytes)) in (0..).zip(&parameters.topics) {
        create(&ledger, &format!("topic-{number}"), *partitions, *segment_bytes, &mut rng).await;
    }
    ledger.ready.set(true);
    for number in 0..parameters.later_topics {
        pause(&mut rng, 600).await;
        let Some(mut rng) = turns.next(&ledger).await else { break };
        let (partitions, bytes) = (1 + rng.below(2) as i32, 1_000 + pick(&mut rng, &[0, 700, 9_000]));
        create(&ledger, &format!("later-{number}"), partitions, bytes, &mut rng).await;
    }
    while let Some(mut rng) = turns.next(&ledger).await {
        pause(&mut rng, 400).await;
        let looked = async { look(&mut ledger.wire.dial(rng.draw()).await?, &ledger, &mut rng).await };
        if let Err(lost) = looked.await {
            ledger.lost(&lost);
        }
    }
}

/// Tries until the topic is there.
async fn create(ledger: &Ledger, name: &str, partitions: i32, segment_bytes: u32, rng: &mut Rng) {
    loop {
        let tried = async {
            let mut connection = ledger.wire.dial(rng.draw()).await?;
            try_create(&mut connection, ledger, name, partitions, segment_bytes, rng).await
        };
        match tried.await {
            Ok(true) => return,
            Ok(false) => {}
            Err(lost) => ledger.lost(&lost),
        }
        pause(rng, 100).await;
    }
}

async fn try_create(
    connection: &mut Connection,
    ledger: &Ledger,
    name: &str,
    partitions: i32,
    segment_bytes: u32,
    rng: &mut Rng,
) -> Result<bool, Lost> {
    let config =
        CreatableTopicConfig { name: INTERNAL_SEGMENT_BYTES.to_owned(), value: Some(segment_bytes.to_string()) };
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        configs: vec![config],
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    let version = 2 + rng.below(6) as i16;
    let response = match connection.ask(version, request, ANSWER_MS).await? {
        Response::CreateTopics(response) => response,
        other => return Err(Lost::Nonsense(format!("{:?} to CreateTopics", other.key()))),
    };
    let code = response.topics.first().map_or(error::UNKNOWN_SERVER_ERROR, |topic| topic.error_code);
    if !matches!(code, error::NONE | error::TOPIC_ALREADY_EXISTS) {
        return Ok(false);
    }
    let described = describe(connection, Some(vec![name]), 10 + rng.below(4) as i16).await?;
    let found = described.topics.iter().find(|topic| topic.name.as_deref() == Some(name));
    match found.filter(|topic| topic.error_code == error::NONE) {
        Some(found) => {
            let mut history = ledger.history.borrow_mut();
            history.created(name, name, Some(found.topic_id), partitions as usize);
            if let Some(created) = history.topic_mut(name) {
                created.segment_bytes = u64::from(segment_bytes);
            }
            drop(history);
            if found.partitions.len() != partitions as usize {
                ledger.violated(Violation {
                    property: "partitions-never-fall",
                    fact: format!("{name} was created with {partitions} partitions"),
                    contradiction: format!("Metadata says {found:?}"),
                });
            }
            ledger.count("topics created", 1);
        }
        None => ledger.violated(Violation {
            property: "topics-stay",
            fact: format!("the creation of {name} was answered {}", error::name(code)),
            contradiction: format!("Metadata then says {:?}", described.topics),
        }),
    }
    Ok(true)
}

async fn describe(
    connection: &mut Connection,
    names: Option<Vec<&str>>,
    version: i16,
) -> Result<MetadataResponse, Lost> {
    let topic = |name: &str| MetadataRequestTopic { name: Some(name.to_owned()), ..MetadataRequestTopic::default() };
    let topics = names.map(|names| names.into_iter().map(topic).collect());
    let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..MetadataRequest::default() };
    match connection.ask(version, request, ANSWER_MS).await? {
        Response::Metadata(response) => Ok(response),
        other => Err(Lost::Nonsense(format!("{:?} to Metadata", other.key()))),
    }
}

/// Looks for every acknowledged topic.
pub(super) async fn look(connection: &mut Connection, ledger: &Ledger, rng: &mut Rng) -> Result<(), Lost> {
    let asked = ledger.history.borrow().moment();
    let described = describe(connection, None, 10 + rng.below(4) as i16).await?;
    ledger.check(ledger.history.borrow().listed(asked, &described));
    Ok(())
}
