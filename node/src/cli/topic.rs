//! `klamm topic`: what an operator does to topics, on any cluster.

use super::output::{self, Json, Output};
use super::settings::key_value;
use super::{Cluster, Failure};
use crate::client::{Client, Error};
use klamm_core::metadata::TOPIC_RESOURCE;
use klamm_core::wire::{
    CreatableTopic, CreatableTopicConfig, CreatePartitionsRequest, CreatePartitionsTopic, CreateTopicsRequest,
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic, DeleteTopicState, DeleteTopicsRequest,
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResource, IncrementalAlterableConfig, MetadataResponseTopic, Response, error,
};
use std::collections::BTreeMap;
use std::io::IsTerminal;

/// How long the cluster may take to do it.
const TIMEOUT_MS: i32 = 30_000;
/// `AlterConfigOp.OpType`.
const SET: i8 = 0;
/// `AlterConfigOp.OpType`.
const DELETE: i8 = 1;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Create a topic.
    Create(Create),
    /// List topics.
    List(List),
    /// Say how topics are: leaders, replicas, offsets.
    Describe(Describe),
    /// Change the configs of a topic.
    Alter(Alter),
    /// Give a topic more partitions.
    AddPartitions(AddPartitions),
    /// Delete the records of a partition below an offset.
    Trim(Trim),
    /// Delete topics, with all that is in them.
    Delete(Delete),
}

#[derive(clap::Args)]
pub(super) struct Create {
    #[command(flatten)]
    cluster: Cluster,
    /// Its name.
    topic: String,
    /// How many partitions; the broker's `num.partitions` if not given.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many replicas; the broker's `default.replication.factor` if not given.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A config of the topic.
    #[arg(short, long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// That it is there already is no failure.
    #[arg(long)]
    if_not_exists: bool,
}

#[derive(clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    cluster: Cluster,
    /// Internal topics too.
    #[arg(long)]
    internal: bool,
    /// How to print them.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(clap::Args)]
pub(super) struct Describe {
    #[command(flatten)]
    cluster: Cluster,
    /// Their names.
    #[arg(required = true)]
    topics: Vec<String>,
    /// How to print them.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(clap::Args)]
pub(super) struct Alter {
    #[command(flatten)]
    cluster: Cluster,
    /// Its name.
    topic: String,
    /// A config, set for the topic.
    #[arg(short, long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// A config, set for the topic no longer.
    #[arg(short, long = "delete-config", value_name = "KEY", required_unless_present = "configs")]
    delete: Vec<String>,
    /// Only ask whether it could be done.
    #[arg(long)]
    validate_only: bool,
}

#[derive(clap::Args)]
pub(super) struct AddPartitions {
    #[command(flatten)]
    cluster: Cluster,
    /// Its name.
    topic: String,
    /// How many partitions it is to have in all.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
}

#[derive(clap::Args)]
pub(super) struct Trim {
    #[command(flatten)]
    cluster: Cluster,
    /// Its name.
    topic: String,
    /// The partition.
    #[arg(short, long)]
    partition: i32,
    /// The first offset that is kept; -1 deletes all that is there.
    #[arg(short, long, allow_hyphen_values = true, value_parser = clap::value_parser!(i64).range(-1..))]
    offset: i64,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

#[derive(clap::Args)]
pub(super) struct Delete {
    #[command(flatten)]
    cluster: Cluster,
    /// Their names.
    #[arg(required = true)]
    topics: Vec<String>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

/// Runs a verb.
pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Create(args) => args.cluster.clone().run(async |client| create(client, args).await),
        Command::List(args) => args.cluster.clone().run(async |client| list(client, &args).await),
        Command::Describe(args) => args.cluster.clone().run(async |client| describe(client, &args).await),
        Command::Alter(args) => args.cluster.clone().run(async |client| alter(client, &args).await),
        Command::AddPartitions(args) => args.cluster.clone().run(async |client| add_partitions(client, &args).await),
        Command::Trim(args) => {
            let Trim { topic, partition, offset, yes, .. } = &args;
            let what = if *offset < 0 { "all records".to_owned() } else { format!("the records below {offset}") };
            confirm(*yes, &format!("Delete {what} of {topic} [{partition}]?"))?;
            args.cluster.clone().run(async |client| trim(client, &args).await)
        }
        Command::Delete(args) => {
            let names = args.topics.join(", ");
            confirm(args.yes, &format!("Delete {names}, with all that is in there?"))?;
            args.cluster.clone().run(async |client| delete(client, &args).await)
        }
    }
}

async fn create(client: &mut Client, args: Create) -> Result<(), Failure> {
    let Create { topic: name, partitions, replication_factor, configs, if_not_exists, .. } = args;
    let config = |(name, value)| CreatableTopicConfig { name, value: Some(value) };
    let topic = CreatableTopic {
        name: name.clone(),
        num_partitions: partitions.unwrap_or(-1),
        replication_factor: replication_factor.unwrap_or(-1),
        configs: configs.into_iter().map(config).collect(),
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    let Response::CreateTopics(answer) = client.ask_controller(request).await? else { return Err(odd()) };
    let result = answer.topics.first().ok_or_else(odd)?;
    if result.error_code == error::TOPIC_ALREADY_EXISTS && if_not_exists {
        eprintln!("{name} is there already");
        return Ok(());
    }
    Error::check(result.error_code, result.error_message.as_deref(), || format!("topic {name}"))?;
    eprintln!("created {name}");
    Ok(())
}

async fn list(client: &mut Client, args: &List) -> Result<(), Failure> {
    let answer = client.metadata(None, false).await?;
    let wanted = |topic: &&MetadataResponseTopic| args.internal || !topic.is_internal;
    let mut topics: Vec<_> = answer.topics.iter().filter(wanted).collect();
    topics.sort_by_key(|topic| &topic.name);
    let replicas = |topic: &MetadataResponseTopic| topic.partitions.iter().map(|p| p.replica_nodes.len()).max();
    let of = |topic: &MetadataResponseTopic| {
        let name = topic.name.clone().unwrap_or_default();
        (name, topic.partitions.len(), replicas(topic).unwrap_or(0))
    };
    match args.output {
        Output::Table => {
            let row = |topic| {
                let (name, partitions, replicas) = of(topic);
                vec![name, partitions.to_string(), replicas.to_string()]
            };
            let rows: Vec<_> = topics.into_iter().map(row).collect();
            output::table(&["TOPIC", "PARTITIONS", "REPLICAS"], &rows)
        }
        Output::Json => {
            let one = |topic| {
                let (name, partitions, replicas) = of(topic);
                let [partitions, replicas] = [partitions, replicas].map(|n| Json::Number(n as i64));
                Json::Object(vec![("topic", Json::Text(name)), ("partitions", partitions), ("replicas", replicas)])
            };
            output::json(&Json::List(topics.into_iter().map(one).collect()))
        }
    }
}

async fn describe(client: &mut Client, args: &Describe) -> Result<(), Failure> {
    let (mut rows, mut settings) = (Vec::new(), Vec::new());
    let mut documents = Vec::new();
    for name in &args.topics {
        let mut topic = client.topic(name, false).await?;
        topic.partitions.sort_by_key(|partition| partition.partition_index);
        let start = client.offsets(&topic, -2).await?;
        let end = client.offsets(&topic, -1).await?;
        let (parts, table) = partitions(name, &topic, &start, &end);
        rows.extend(table);
        let set = configs(client, name).await?;
        let cells = |[key, value, origin]: &[String; 3]| vec![name.clone(), key.clone(), value.clone(), origin.clone()];
        settings.extend(set.iter().map(cells));
        let config = |[key, value, origin]: [String; 3]| {
            let [key, value, origin] = [key, value, origin].map(Json::Text);
            Json::Object(vec![("name", key), ("value", value), ("origin", origin)])
        };
        documents.push(Json::Object(vec![
            ("topic", Json::Text(name.clone())),
            ("topicId", Json::Text(topic.topic_id.to_string())),
            ("partitions", Json::List(parts)),
            ("configs", Json::List(set.into_iter().map(config).collect())),
        ]));
    }
    match args.output {
        Output::Table => {
            output::table(&["TOPIC", "PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END"], &rows)?;
            if settings.is_empty() {
                return Ok(());
            }
            output::print(b"\n")?;
            output::table(&["TOPIC", "CONFIG", "VALUE", "ORIGIN"], &settings)
        }
        Output::Json => output::json(&Json::List(documents)),
    }
}

fn partitions(
    name: &str,
    topic: &MetadataResponseTopic,
    start: &BTreeMap<i32, i64>,
    end: &BTreeMap<i32, i64>,
) -> (Vec<Json>, Vec<Vec<String>>) {
    let ids = |ids: &[i32]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let number = |n: i32| Json::Number(n.into());
    let list = |ids: &[i32]| Json::List(ids.iter().map(|id| number(*id)).collect());
    let mut documents = Vec::new();
    let mut rows = Vec::new();
    for p in &topic.partitions {
        let offset = |of: &BTreeMap<i32, i64>| of.get(&p.partition_index).copied().unwrap_or(-1);
        documents.push(Json::Object(vec![
            ("partition", number(p.partition_index)),
            ("leader", number(p.leader_id)),
            ("leaderEpoch", number(p.leader_epoch)),
            ("replicas", list(&p.replica_nodes)),
            ("isr", list(&p.isr_nodes)),
            ("startOffset", Json::Number(offset(start))),
            ("endOffset", Json::Number(offset(end))),
        ]));
        rows.push(vec![
            name.to_owned(),
            p.partition_index.to_string(),
            p.leader_id.to_string(),
            p.leader_epoch.to_string(),
            ids(&p.replica_nodes),
            ids(&p.isr_nodes),
            offset(start).to_string(),
            offset(end).to_string(),
        ]);
    }
    (documents, rows)
}

/// Key, value and origin of each config of a topic that somebody set.
async fn configs(client: &mut Client, topic: &str) -> Result<Vec<[String; 3]>, Failure> {
    let resource = DescribeConfigsResource {
        resource_type: TOPIC_RESOURCE,
        resource_name: topic.to_owned(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
    let Response::DescribeConfigs(answer) = client.ask_controller(request).await? else { return Err(odd()) };
    let result = answer.results.into_iter().next().ok_or_else(odd)?;
    Error::check(result.error_code, result.error_message.as_deref(), || format!("topic {topic}"))?;
    let set = |config: DescribeConfigsResourceResult| {
        let value = if config.is_sensitive { "(hidden)".to_owned() } else { config.value.unwrap_or_default() };
        Some([config.name, value, origin(config.config_source)?.to_owned()])
    };
    let mut configs: Vec<_> = result.configs.into_iter().filter_map(set).collect();
    configs.sort();
    Ok(configs)
}

/// Who set a config (`ConfigSource`); `None` for a default.
fn origin(source: i8) -> Option<&'static str> {
    match source {
        1 => Some("topic"),
        2 => Some("broker"),
        3 => Some("cluster"),
        4 => Some("file"),
        5 => None,
        _ => Some("other"),
    }
}

async fn alter(client: &mut Client, args: &Alter) -> Result<(), Failure> {
    let Alter { topic: name, configs, delete, validate_only, .. } = args;
    let change = |name: &str, config_operation, value: Option<&str>| IncrementalAlterableConfig {
        name: name.to_owned(),
        config_operation,
        value: value.map(ToOwned::to_owned),
    };
    let set = configs.iter().map(|(key, value)| change(key, SET, Some(value)));
    let configs = set.chain(delete.iter().map(|key| change(key, DELETE, None))).collect();
    let resource =
        IncrementalAlterConfigsResource { resource_type: TOPIC_RESOURCE, resource_name: name.clone(), configs };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: *validate_only };
    let Response::IncrementalAlterConfigs(answer) = client.ask_controller(request).await? else { return Err(odd()) };
    let result = answer.responses.first().ok_or_else(odd)?;
    Error::check(result.error_code, result.error_message.as_deref(), || format!("topic {name}"))?;
    eprintln!("{} {name}", if *validate_only { "could alter" } else { "altered" });
    Ok(())
}

async fn add_partitions(client: &mut Client, args: &AddPartitions) -> Result<(), Failure> {
    let AddPartitions { topic: name, partitions, .. } = args;
    let topic = CreatePartitionsTopic { name: name.clone(), count: *partitions, assignments: None };
    let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS, validate_only: false };
    let Response::CreatePartitions(answer) = client.ask_controller(request).await? else { return Err(odd()) };
    let result = answer.results.first().ok_or_else(odd)?;
    Error::check(result.error_code, result.error_message.as_deref(), || format!("topic {name}"))?;
    eprintln!("{name} has {partitions} partitions");
    Ok(())
}

async fn trim(client: &mut Client, args: &Trim) -> Result<(), Failure> {
    let Trim { topic: name, partition: index, offset, .. } = args;
    let what = || format!("{name} [{index}]");
    let topic = client.topic(name, false).await?;
    let leader = topic.partitions.iter().find(|p| p.partition_index == *index).map(|p| p.leader_id);
    let leader = leader.ok_or_else(|| Failure::not_found(format!("{name} has no partition {index}")))?;
    let partition = DeleteRecordsPartition { partition_index: *index, offset: *offset };
    let topics = vec![DeleteRecordsTopic { name: name.clone(), partitions: vec![partition] }];
    let request = DeleteRecordsRequest { topics, timeout_ms: TIMEOUT_MS };
    let Response::DeleteRecords(answer) = client.broker(leader).await?.ask(request.into()).await? else {
        return Err(odd());
    };
    let result = answer.topics.first().and_then(|topic| topic.partitions.first()).ok_or_else(odd)?;
    Error::check(result.error_code, None, what)?;
    eprintln!("{} begins at {}", what(), result.low_watermark);
    Ok(())
}

async fn delete(client: &mut Client, args: &Delete) -> Result<(), Failure> {
    let named = |name: &String| DeleteTopicState { name: Some(name.clone()), ..DeleteTopicState::default() };
    let topics = args.topics.iter().map(named).collect();
    let request = DeleteTopicsRequest { topics, timeout_ms: TIMEOUT_MS, ..DeleteTopicsRequest::default() };
    let Response::DeleteTopics(answer) = client.ask_controller(request).await? else { return Err(odd()) };
    let mut done = Ok(());
    for name in &args.topics {
        let result = answer.responses.iter().find(|r| r.name.as_ref() == Some(name)).ok_or_else(odd)?;
        match Error::check(result.error_code, result.error_message.as_deref(), || format!("topic {name}")) {
            Ok(()) => eprintln!("deleted {name}"),
            // The first that failed is told in the end.
            Err(error) => done = done.and(Err(error.into())),
        }
    }
    done
}

/// Asks a person whether that is meant.
fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{question} Nobody is there to ask: say --yes")));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Failure::failed(error.to_string()))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was done")),
    }
}

pub(super) fn odd() -> Failure {
    Failure::failed("the broker answered something else")
}
