//! One line an input, one line an effect: what golden transcripts and traces of runs are made of.

use klamm_core::effect::{Answer, Call, Effect, FetchResult, Input, Lookup, Query, Range};
use klamm_core::ids::{Offset, Timestamp};
use klamm_core::record::Batch;
use klamm_core::wire::{
    AdminRequest, AlterConfigsResourceResponse, CreateTopicsResponse, DeleteTopicsResponse, DescribeClusterResponse,
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeQuorumResponse, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponseTopic, ListConfigResourcesResponse, MetadataRecord, Request, Response, error,
};

/// An input, in one line.
#[must_use]
pub fn input(input: &Input) -> String {
    match input {
        Input::Recovered { log, name, found: Ok(found) } => {
            let ballot =
                found.ballot.map_or(String::new(), |b| format!(" ballot epoch={} for={}", b.epoch, b.voted_for));
            let state = &found.state;
            format!(
                "recovered {name} {log} {}..{} epoch={}{ballot}",
                state.log_start_offset,
                state.at,
                state.last_epoch()
            )
        }
        Input::Recovered { log, name, found: Err(reason) } => format!("recovered {name} {log} refused: {reason}"),
        Input::Started => "started".into(),
        Input::Opened { conn } => format!("opened #{conn}"),
        Input::Request { conn, correlation, request } => {
            format!("request #{conn}/{correlation} {}", self::request(request))
        }
        Input::Closed { conn } => format!("closed #{conn}"),
        Input::Call { from, image, correlation, call } => {
            format!("call from={from} ?{correlation} image={image} {}", self::call(call))
        }
        Input::Answer { correlation, answer } => format!("answer ?{correlation} {}", self::answer(answer)),
        Input::Done { log, seq } => format!("done {log} seq={seq}"),
        Input::Failed { log, seq, error } => format!("failed {log} seq={seq} {error}"),
        Input::Broken { log, error } => format!("broken {log} {error}"),
        Input::Read { ticket, found } => format!("read ticket={ticket} {}", lookup(found)),
        Input::Committed { upto, records } => format!("committed upto={upto} {}", metadata(records)),
        Input::Tick => "tick".into(),
    }
}

/// An effect, in one line.
#[must_use]
pub fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Open { log, seq, name } => format!("open {name} {log} seq={seq}"),
        Effect::Append { log, seq, offset, leader_epoch, batch, sync, roll } => format!(
            "append {log} seq={seq} offset={offset} epoch={leader_epoch} {}{}{}",
            self::batch(batch),
            if *sync { " sync" } else { "" },
            if roll.is_some() { " roll" } else { "" }
        ),
        Effect::Flush { log, seq } => format!("flush {log} seq={seq}"),
        Effect::Truncate { log, seq, to } => format!("truncate {log} seq={seq} to={to}"),
        Effect::Trim { log, seq, to, roll } => {
            format!("trim {log} seq={seq} to={to}{}", if roll.is_some() { " roll" } else { "" })
        }
        Effect::Remove { log, seq } => format!("remove {log} seq={seq}"),
        Effect::SetAside { log, seq } => format!("set-aside {log} seq={seq}"),
        Effect::Persist { log, seq, ballot } => {
            format!("persist {log} seq={seq} ballot epoch={} for={}", ballot.epoch, ballot.voted_for)
        }
        Effect::Read { ticket, log, query } => format!("read ticket={ticket} {log} {}", self::query(query)),
        Effect::Reply { conn, correlation, response, ranges, .. } => {
            format!("reply #{conn}/{correlation} {}{}", self::response(response), list(ranges, range))
        }
        Effect::Quiet { conn, correlation } => format!("quiet #{conn}/{correlation}"),
        Effect::Call { to, image, correlation, call } => {
            format!("call to={to} ?{correlation} image={image} {}", self::call(call))
        }
        Effect::Answer { to, correlation, answer } => format!("answer to={to} ?{correlation} {}", self::answer(answer)),
        Effect::Publish { upto, records } => format!("publish upto={upto} {}", metadata(records)),
        Effect::Release { lease } => format!("release lease={lease}"),
        Effect::Close { conn, reason } => format!("close #{conn}: {reason}"),
        Effect::Ready => "ready".into(),
        Effect::Halt { reason } => format!("HALT: {reason}"),
        Effect::Alarm { log, reason } => format!("ALARM {log}: {reason}"),
    }
}

fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    items.iter().map(|item| format!(" {}", show(item))).collect()
}

fn error(code: i16) -> String {
    if code == error::NONE { "ok".into() } else { error::name(code).to_owned() }
}

fn batch(batch: &Batch) -> String {
    let h = &batch.header;
    let producer = if h.producer_id.0 < 0 {
        String::new()
    } else {
        format!(" producer={}/{} sequence={}", h.producer_id, h.producer_epoch, h.base_sequence)
    };
    let control = if h.is_control() { " control" } else { "" };
    format!("records={}{producer}{control}", h.count)
}

fn range(range: &Range) -> String {
    match range {
        Range::Local { log, from, upto, .. } => format!("[{log} {from}..{upto}]"),
        Range::Leased { lease, bytes, .. } => format!("[lease={lease} bytes={bytes}]"),
    }
}

fn query(query: &Query) -> String {
    match query {
        Query::Batches { from, upto, .. } => format!("batches {from}..{upto}"),
        Query::Timestamp { at, upto } => format!("timestamp>={at} below {upto}"),
        Query::MaxTimestamp { upto } => format!("max-timestamp below {upto}"),
        Query::Room => "room".into(),
    }
}

fn lookup(found: &Lookup) -> String {
    match found {
        Lookup::Batches(bytes) => {
            let headers: Vec<Offset> =
                klamm_core::record::batches(bytes.clone()).flatten().map(|b| b.header.base_offset).collect();
            format!("batches at{}", list(&headers, ToString::to_string))
        }
        Lookup::Record(Some((offset, Timestamp(at), epoch))) => {
            format!("record offset={offset} timestamp={at} epoch={epoch}")
        }
        Lookup::Record(None) => "no record".into(),
        Lookup::Room(room) => format!("room {} of {}", room.usable, room.total),
        Lookup::Failed(reason) => format!("failed: {reason}"),
    }
}

fn request(request: &Request) -> String {
    match request {
        Request::Produce(r) => {
            let parts = r.topic_data.iter().flat_map(|t| t.partition_data.iter().map(move |p| (&t.name, p)));
            let parts: Vec<String> = parts
                .map(|(name, p)| format!("{name}-{} {} bytes", p.index, p.records.as_ref().map_or(0, |b| b.len())))
                .collect();
            format!("produce acks={}{}", r.acks, list(&parts, Clone::clone))
        }
        Request::Fetch(r) => {
            let parts = r.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.topic, p)));
            let parts: Vec<String> =
                parts.map(|(name, p)| format!("{name}-{}@{}", p.partition, p.fetch_offset)).collect();
            let session = match (r.session_id, r.session_epoch) {
                (0, -1) => String::new(),
                (id, epoch) => format!(" session={id}/{epoch}"),
            };
            format!("fetch min={} wait={}ms{session}{}", r.min_bytes, r.max_wait_ms, list(&parts, Clone::clone))
        }
        Request::CreateTopics(r) => admin(&AdminRequest::CreateTopics(r.clone())),
        Request::DeleteTopics(r) => admin(&AdminRequest::DeleteTopics(r.clone())),
        Request::CreatePartitions(r) => admin(&AdminRequest::CreatePartitions(r.clone())),
        Request::AlterConfigs(r) => admin(&AdminRequest::AlterConfigs(r.clone())),
        Request::IncrementalAlterConfigs(r) => admin(&AdminRequest::IncrementalAlterConfigs(r.clone())),
        Request::DescribeConfigs(r) => format!(
            "describe-configs{}",
            list(&r.resources, |r| {
                let keys = r.configuration_keys.as_deref().unwrap_or_default().join(",");
                format!("{}[{keys}]", resource(r.resource_type, &r.resource_name))
            })
        ),
        Request::ListConfigResources(r) => format!("list-config-resources{}", list(&r.resource_types, i8::to_string)),
        Request::DescribeCluster(_) => "describe-cluster".into(),
        Request::DescribeQuorum(_) => "describe-quorum".into(),
        Request::DescribeTopicPartitions(r) => {
            let from =
                r.cursor.0.as_ref().map_or(String::new(), |c| format!(" from {}-{}", c.topic_name, c.partition_index));
            format!("describe-topic-partitions{}{from}", list(&r.topics, |t| t.name.clone()))
        }
        Request::Metadata(r) => match &r.topics {
            None => "metadata all".into(),
            Some(topics) => {
                format!("metadata{}", list(topics, |t| t.name.clone().unwrap_or_else(|| t.topic_id.to_string())))
            }
        },
        Request::ListOffsets(r) => {
            let parts = r.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.name, p)));
            let parts: Vec<String> =
                parts.map(|(name, p)| format!("{name}-{}@{}", p.partition_index, p.timestamp)).collect();
            format!("list-offsets{}", list(&parts, Clone::clone))
        }
        Request::DeleteRecords(r) => {
            let parts = r.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.name, p)));
            let parts: Vec<String> =
                parts.map(|(name, p)| format!("{name}-{}<{}", p.partition_index, p.offset)).collect();
            format!("delete-records{}", list(&parts, Clone::clone))
        }
        Request::OffsetForLeaderEpoch(r) => {
            let parts = r.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.topic, p)));
            let parts: Vec<String> =
                parts.map(|(name, p)| format!("{name}-{} epoch={}", p.partition, p.leader_epoch)).collect();
            format!("epoch-ends{}", list(&parts, Clone::clone))
        }
        Request::DescribeLogDirs(r) => {
            let topics =
                r.topics.iter().flatten().map(|t| format!(" {}{:?}", t.topic, t.partitions)).collect::<String>();
            format!("describe-log-dirs{}", if r.topics.is_none() { " all" } else { &topics })
        }
        Request::DescribeProducers(r) => {
            format!("describe-producers{}", list(&r.topics, |t| format!("{}{:?}", t.name, t.partition_indexes)))
        }
        Request::InitProducerId(_) => "init-producer-id".into(),
        Request::ApiVersions(_) => "api-versions".into(),
        Request::UnsupportedApiVersions => "api-versions of a version to come".into(),
    }
}

fn resource(kind: i8, name: &str) -> String {
    match kind {
        2 => format!("topic:{name}"),
        4 => format!("broker:{name}"),
        _ => format!("{kind}:{name}"),
    }
}

/// Few configs with their values, many by their number.
fn described(result: &DescribeConfigsResult) -> String {
    let config = |c: &DescribeConfigsResourceResult| {
        let synonyms: Vec<String> = c
            .synonyms
            .iter()
            .map(|s| format!("{}:{}={}", s.source, s.name, s.value.as_deref().unwrap_or("null")))
            .collect();
        format!("{}={} from {} ({})", c.name, c.value.as_deref().unwrap_or("null"), c.config_source, synonyms.join(" "))
    };
    let configs = if result.configs.len() > 3 {
        format!(" {} configs", result.configs.len())
    } else {
        list(&result.configs, config)
    };
    format!("{} {}{configs}", resource(result.resource_type, &result.resource_name), error(result.error_code))
}

fn quorum(r: &DescribeQuorumResponse) -> String {
    let parts = r.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.topic_name, p)));
    let parts: Vec<String> = parts
        .map(|(name, p)| {
            let voters = list(&p.current_voters, |v| format!("{}@{}", v.replica_id, v.log_end_offset));
            format!(
                "{name}-{} {} leader={} epoch={} high-watermark={} voters{voters}",
                p.partition_index,
                error(p.error_code),
                p.leader_id,
                p.leader_epoch,
                p.high_watermark
            )
        })
        .collect();
    format!("quorum {}{}", error(r.error_code), list(&parts, Clone::clone))
}

fn topic_partitions(r: &DescribeTopicPartitionsResponse) -> String {
    let topic = |t: &DescribeTopicPartitionsResponseTopic| {
        let indexes: Vec<i32> = t.partitions.iter().map(|p| p.partition_index).collect();
        format!("{} {} {indexes:?}", t.name.clone().unwrap_or_default(), error(t.error_code))
    };
    let next =
        r.next_cursor.0.as_ref().map_or(String::new(), |c| format!(" next {}-{}", c.topic_name, c.partition_index));
    format!("topic-partitions{}{next}", list(&r.topics, topic))
}

fn config_resources(r: &ListConfigResourcesResponse) -> String {
    format!(
        "config-resources {}{}",
        error(r.error_code),
        list(&r.config_resources, |c| resource(c.resource_type, &c.resource_name))
    )
}

fn cluster(r: &DescribeClusterResponse) -> String {
    format!(
        "cluster {} {} controller={}{}",
        r.cluster_id,
        error(r.error_code),
        r.controller_id,
        list(&r.brokers, |b| format!("{}@{}:{}", b.broker_id, b.host, b.port))
    )
}

fn deleted(r: &DeleteTopicsResponse) -> String {
    format!(
        "deleted{}",
        list(&r.responses, |t| {
            let name = t.name.clone().unwrap_or_else(|| t.topic_id.to_string());
            format!("{name} {}", error(t.error_code))
        })
    )
}

fn created(r: &CreateTopicsResponse) -> String {
    format!("created{}", list(&r.topics, |t| format!("{} {}", t.name, error(t.error_code))))
}

fn altered(responses: &[AlterConfigsResourceResponse]) -> String {
    list(responses, |r| format!("{} {}", resource(r.resource_type, &r.resource_name), error(r.error_code)))
}

fn admin(request: &AdminRequest) -> String {
    let only = |validate_only: bool| if validate_only { " (validate only)" } else { "" };
    match request {
        AdminRequest::CreateTopics(r) => {
            let topics = list(&r.topics, |t| format!("{}*{}", t.name, t.num_partitions));
            format!("create-topics{topics}{}", only(r.validate_only))
        }
        AdminRequest::DeleteTopics(r) => {
            format!("delete-topics{}", list(&r.topics, |t| t.name.clone().unwrap_or_else(|| t.topic_id.to_string())))
        }
        AdminRequest::CreatePartitions(r) => {
            let topics = list(&r.topics, |t| format!("{}*{}", t.name, t.count));
            format!("create-partitions{topics}{}", only(r.validate_only))
        }
        AdminRequest::AlterConfigs(r) => {
            let resources = list(&r.resources, |r| {
                let set = list(&r.configs, |c| format!("{}={}", c.name, c.value.as_deref().unwrap_or("null")));
                format!("{}[{}]", resource(r.resource_type, &r.resource_name), set.trim_start())
            });
            format!("alter-configs{resources}{}", only(r.validate_only))
        }
        AdminRequest::IncrementalAlterConfigs(r) => {
            let resources = list(&r.resources, |r| {
                let set = list(&r.configs, |c| {
                    let op = ["=", " deleted", "+=", "-="].get(c.config_operation as usize).unwrap_or(&"?");
                    format!("{}{op}{}", c.name, c.value.as_deref().unwrap_or_default())
                });
                format!("{}[{}]", resource(r.resource_type, &r.resource_name), set.trim_start())
            });
            format!("incremental-alter-configs{resources}{}", only(r.validate_only))
        }
    }
}

fn response(response: &Response) -> String {
    match response {
        Response::Produce(r) => {
            let parts = r.responses.iter().flat_map(|t| t.partition_responses.iter().map(move |p| (&t.name, p)));
            let parts: Vec<String> = parts
                .map(|(name, p)| {
                    let at = p.log_append_time_ms;
                    let appended = if at < 0 { String::new() } else { format!(" appended-at={at}") };
                    format!("{name}-{} {} offset={}{appended}", p.index, error(p.error_code), p.base_offset)
                })
                .collect();
            format!("produced{}", list(&parts, Clone::clone))
        }
        Response::Fetch(r) => {
            let parts = r.responses.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.topic, p)));
            let parts: Vec<String> = parts
                .map(|(name, p)| {
                    format!("{name}-{} {} high-watermark={}", p.partition_index, error(p.error_code), p.high_watermark)
                })
                .collect();
            let whole = if r.error_code == error::NONE { String::new() } else { format!(" {}", error(r.error_code)) };
            let session = if r.session_id == 0 { String::new() } else { format!(" session={}", r.session_id) };
            format!("fetched{whole}{session}{}", list(&parts, Clone::clone))
        }
        Response::CreateTopics(r) => created(r),
        Response::DeleteTopics(r) => deleted(r),
        Response::AlterConfigs(r) => format!("altered{}", altered(&r.responses)),
        Response::IncrementalAlterConfigs(r) => format!("altered{}", altered(&r.responses)),
        Response::DescribeConfigs(r) => format!("configs{}", list(&r.results, described)),
        Response::ListConfigResources(r) => config_resources(r),
        Response::DescribeCluster(r) => cluster(r),
        Response::DescribeQuorum(r) => quorum(r),
        Response::DescribeTopicPartitions(r) => topic_partitions(r),
        Response::CreatePartitions(r) => {
            format!("partitions{}", list(&r.results, |t| format!("{} {}", t.name, error(t.error_code))))
        }
        Response::Metadata(r) => {
            let topic = |t: &klamm_core::wire::MetadataResponseTopic| {
                let leaders: Vec<i32> = t.partitions.iter().map(|p| p.leader_id).collect();
                format!("{} {} leaders={leaders:?}", t.name.clone().unwrap_or_default(), error(t.error_code))
            };
            format!("metadata brokers={}{}", r.brokers.len(), list(&r.topics, topic))
        }
        Response::ListOffsets(r) => {
            let parts = r.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.name, p)));
            let parts: Vec<String> = parts
                .map(|(name, p)| format!("{name}-{} {} offset={}", p.partition_index, error(p.error_code), p.offset))
                .collect();
            format!("offsets{}", list(&parts, Clone::clone))
        }
        Response::DeleteRecords(r) => {
            let parts = r.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.name, p)));
            let part = |(name, p): (&String, &klamm_core::wire::DeleteRecordsPartitionResult)| {
                format!("{name}-{} {} start={}", p.partition_index, error(p.error_code), p.low_watermark)
            };
            format!("deleted{}", list(&parts.map(part).collect::<Vec<_>>(), Clone::clone))
        }
        Response::OffsetForLeaderEpoch(r) => {
            let parts = r.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.topic, p)));
            let part = |(name, p): (&String, &klamm_core::wire::EpochEnd)| {
                let (epoch, end) = (p.leader_epoch, p.end_offset);
                format!("{name}-{} {} epoch={epoch} end={end}", p.partition, error(p.error_code))
            };
            format!("epoch-ends{}", list(&parts.map(part).collect::<Vec<_>>(), Clone::clone))
        }
        Response::DescribeLogDirs(r) => {
            let topics = r.results.iter().flat_map(|d| &d.topics);
            let parts = topics.flat_map(|t| t.partitions.iter().map(move |p| (&t.name, p)));
            let parts: Vec<String> =
                parts.map(|(name, p)| format!("{name}-{} {} bytes", p.partition_index, p.partition_size)).collect();
            let room = r.results.first().map_or((-1, -1), |dir| (dir.usable_bytes, dir.total_bytes));
            format!("log-dirs room={} of {}{}", room.0, room.1, list(&parts, Clone::clone))
        }
        Response::DescribeProducers(r) => {
            let parts = r.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.name, p)));
            let part = |(name, p): (&String, &klamm_core::wire::DescribeProducersPartition)| {
                let producer = |p: &klamm_core::wire::ProducerState| {
                    format!("({}/{} sequence={})", p.producer_id, p.producer_epoch, p.last_sequence)
                };
                let known = list(&p.active_producers, producer);
                format!("{name}-{} {}{known}", p.partition_index, error(p.error_code))
            };
            format!("producers{}", list(&parts.map(part).collect::<Vec<_>>(), Clone::clone))
        }
        Response::InitProducerId(r) => {
            format!("producer-id {} {}/{}", error(r.error_code), r.producer_id, r.producer_epoch)
        }
        Response::ApiVersions(r) => format!("api-versions {} of {} APIs", error(r.error_code), r.api_keys.len()),
    }
}

fn call(call: &Call) -> String {
    match call {
        Call::Produce { acks, parts, .. } => {
            format!("produce acks={acks}{}", list(parts, |p| format!("{} {} bytes", p.log, p.records.len())))
        }
        Call::Fetch { min_bytes, max_wait_ms, parts } => {
            format!("fetch min={min_bytes} wait={max_wait_ms}ms{}", list(parts, |p| format!("{}@{}", p.log, p.offset)))
        }
        Call::Settle { fetch } => format!("settle ?{fetch}"),
        Call::ListOffsets { parts } => format!("list-offsets{}", list(parts, |p| format!("{}@{}", p.log, p.timestamp))),
        Call::DeleteRecords { timeout_ms, parts } => {
            format!("delete-records wait={timeout_ms}ms{}", list(parts, |p| format!("{}<{}", p.log, p.to)))
        }
        Call::EpochEnds { parts } => format!("epoch-ends{}", list(parts, |p| format!("{} epoch={}", p.log, p.epoch))),
        Call::Describe { parts } => format!("describe{}", list(parts, |p| p.log.to_string())),
        Call::Admin(request) => admin(request),
        Call::Room => "room".into(),
        Call::DescribeQuorum(_) => "describe-quorum".into(),
        Call::AllocateProducerIds => "allocate-producer-ids".into(),
        Call::Placed { logs } => format!("placed{}", list(logs, ToString::to_string)),
        Call::ImageAt { upto } => format!("image-at {upto}"),
    }
}

fn answer(answer: &Answer) -> String {
    let fetched = |r: &FetchResult| {
        format!("{}{}", error(r.error), r.range.as_ref().map_or(String::new(), |r| format!(" {}", range(r))))
    };
    match answer {
        Answer::Produce(results) => {
            format!("produced{}", list(results, |r| format!("{} offset={}", error(r.error), r.base_offset)))
        }
        Answer::FetchProgress { bytes } => format!("fetch-progress {bytes} bytes"),
        Answer::Fetch { results } => format!("fetched{}", list(results, fetched)),
        Answer::ListOffsets(results) => {
            format!("offsets{}", list(results, |r| format!("{} {}", error(r.error), r.offset)))
        }
        Answer::DeleteRecords(results) => {
            let start = |r: &Result<Offset, i16>| r.map_or_else(error, |start| format!("start={start}"));
            format!("deleted{}", list(results, start))
        }
        Answer::EpochEnds(results) => {
            let end = |r: &Result<(klamm_core::ids::LeaderEpoch, Offset), i16>| {
                r.map_or_else(error, |(epoch, end)| format!("epoch={epoch} end={end}"))
            };
            format!("epoch-ends{}", list(results, end))
        }
        Answer::Describe(results) => {
            let bytes = |r: &Result<klamm_core::effect::Description, i16>| {
                r.as_ref().map_or_else(|code| error(*code), |d| format!("{} bytes", d.bytes))
            };
            format!("described{}", list(results, bytes))
        }
        Answer::Room(room) => format!("room {}", room.map_or(-1, |room| i128::from(room.usable))),
        Answer::Admin(r) => response(r),
        Answer::ProducerIds(Ok((first, count))) => format!("producer-ids {first}+{count}"),
        Answer::ProducerIds(Err(code)) => format!("producer-ids {}", error(*code)),
    }
}

fn metadata(records: &[MetadataRecord]) -> String {
    let record = |r: &MetadataRecord| match r {
        MetadataRecord::RegisterBroker(r) => format!("register(broker={} epoch={})", r.broker_id, r.broker_epoch),
        MetadataRecord::BrokerRegistrationChange(r) => {
            format!("registration(broker={} fenced={})", r.broker_id, r.fenced)
        }
        MetadataRecord::Topic(r) => format!("topic({} {})", r.name, r.topic_id),
        MetadataRecord::RemoveTopic(r) => format!("remove-topic({})", r.topic_id),
        MetadataRecord::Partition(r) => {
            format!("partition({} leader={} epoch={})", r.partition_id, r.leader, r.leader_epoch)
        }
        MetadataRecord::PartitionChange(r) if r.directories.is_some() => format!("placed({})", r.partition_id),
        MetadataRecord::PartitionChange(r) => format!("change({} leader={})", r.partition_id, r.leader),
        MetadataRecord::Config(r) => {
            format!("config({} {}={})", r.resource_name, r.name, r.value.as_deref().unwrap_or("null"))
        }
        MetadataRecord::ProducerIds(r) => format!("producer-ids(next={})", r.next_producer_id),
        MetadataRecord::FeatureLevel(r) => format!("feature({}={})", r.name, r.feature_level),
        MetadataRecord::NoOp(_) => "no-op".into(),
    };
    list(records, record).trim_start().to_owned()
}
