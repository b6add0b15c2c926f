//! The values that cross the seam: what a shard is told ([`Input`]) and what it wants done ([`Effect`]).
//!
//! Every effect that changes a log carries a `seq` of that log's FIFO. Changes end in order, each once: by a `Done` with
//! its number or a later one, or by a `Failed` with its number; after a `Failed` or a `Broken` the log takes no further change in this life. A fetch answer leaves as
//! offset [`Range`]s; the host of the owning shard turns them into bytes.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use smallvec::SmallVec;

use crate::ids::{ConnectionId, Correlation, LeaderEpoch, LogId, Offset, Seq, ShardIndex, Ticket, Timestamp, Uuid};
use crate::log::{Ballot, Checkpoint, Found};
use crate::metadata::configs::Configs;
use crate::record::Batch;
use crate::wire::{AdminRequest, DescribeQuorumRequest, MetadataRecord, Request, Response};

/// What is nearly always one, and then needs no room of its own.
pub type Few<T> = SmallVec<[T; 1]>;

/// What a shard is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A log of this shard was found on the disk; what is found is *durable*. Comes before anything else.
    Recovered {
        /// The log.
        log: LogId,
        /// Topic name, as in the name of its folder.
        name: String,
        /// What is there; `Err` when the log is refused (corruption), with the reason.
        found: Result<Box<Found>, String>,
    },
    /// Every log has been reported.
    Started,
    /// A client connected.
    Opened {
        /// The connection.
        conn: ConnectionId,
    },
    /// A whole request arrived.
    Request {
        /// The connection it came over.
        conn: ConnectionId,
        /// The client's correlation id, echoed in the answer.
        correlation: i32,
        /// The request.
        request: Request,
    },
    /// A connection ended; no answer can reach it any more.
    Closed {
        /// The connection.
        conn: ConnectionId,
    },
    /// Another shard of this broker asks or tells.
    Call {
        /// The sender.
        from: ShardIndex,
        /// The metadata offset (exclusive) that the sender acted on: held until this shard's image is there.
        image: Offset,
        /// Names the question; unique per sender.
        correlation: Correlation,
        /// What is asked.
        call: Call,
    },
    /// Another shard answers.
    Answer {
        /// The question's name.
        correlation: Correlation,
        /// What it says.
        answer: Answer,
    },
    /// A change of a log, and every one before it, is done, as durably as it was asked to be.
    Done {
        /// The log.
        log: LogId,
        /// Up to which change.
        seq: Seq,
    },
    /// A change of a log failed: final, the log is offline.
    Failed {
        /// The log.
        log: LogId,
        /// Which change.
        seq: Seq,
        /// The operating system's words.
        error: String,
    },
    /// The files of a log cannot be relied on any more, though no change of it failed: the log is offline. No change of
    /// it is done from now on; those that are not done yet fail.
    Broken {
        /// The log.
        log: LogId,
        /// The operating system's words.
        error: String,
    },
    /// A disk look-up came back.
    Read {
        /// The question's name.
        ticket: Ticket,
        /// What was found.
        found: Lookup,
    },
    /// Committed metadata, from shard 0, in order and without gaps.
    Committed {
        /// The offset after the last record.
        upto: Offset,
        /// The records.
        records: Vec<MetadataRecord>,
    },
    /// `now` reached the deadline.
    Tick,
}

/// What a shard wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Make the (empty) log exist, durably.
    Open {
        /// The log.
        log: LogId,
        /// Its place in the log's FIFO.
        seq: Seq,
        /// Topic name, for the folder's name.
        name: String,
    },
    /// Append one batch at the end of a log.
    Append {
        /// The log.
        log: LogId,
        /// Its place in the log's FIFO.
        seq: Seq,
        /// Base offset to stamp: the log's end.
        offset: Offset,
        /// Leader epoch to stamp.
        leader_epoch: LeaderEpoch,
        /// The batch, as received.
        batch: Batch,
        /// Done only once the device has it.
        sync: bool,
        /// Start a new segment with this batch; carries the log's state before it, but for its segments.
        roll: Option<Box<Checkpoint>>,
    },
    /// Make everything appended so far durable.
    Flush {
        /// The log.
        log: LogId,
        /// Its place in the log's FIFO.
        seq: Seq,
    },
    /// Drop everything at and above an offset. A barrier: what was appended before is dropped or kept, durably, first.
    Truncate {
        /// The log.
        log: LogId,
        /// Its place in the log's FIFO.
        seq: Seq,
        /// The new log end offset, at a batch boundary.
        to: Offset,
    },
    /// Move a log's start, durably, and drop whole segments below it.
    Trim {
        /// The log.
        log: LogId,
        /// Its place in the log's FIFO.
        seq: Seq,
        /// The new log start offset.
        to: Offset,
        /// Start a new segment first, so that the active one goes, too; carries the log's state, but for its segments.
        roll: Option<Box<Checkpoint>>,
    },
    /// Delete a log with its files.
    Remove {
        /// The log.
        log: LogId,
        /// Its place in the log's FIFO.
        seq: Seq,
    },
    /// Move a log that belongs to no topic out of the way, with its files, where nothing looks for it.
    SetAside {
        /// The log.
        log: LogId,
        /// Its place in the log's FIFO.
        seq: Seq,
    },
    /// Make a ballot of the metadata quorum durable.
    Persist {
        /// The log: the metadata log.
        log: LogId,
        /// Its place in the log's FIFO.
        seq: Seq,
        /// The ballot.
        ballot: Ballot,
    },
    /// Look something up in a log.
    Read {
        /// Names the question.
        ticket: Ticket,
        /// The log.
        log: LogId,
        /// What is looked for.
        query: Query,
    },
    /// Answer a client. Answers of one connection leave in this order.
    Reply {
        /// The connection.
        conn: ConnectionId,
        /// The client's correlation id.
        correlation: i32,
        /// The answer; `Records::Range(i)` in it stands for `ranges[i]`.
        response: Response,
        /// The bytes it carries.
        ranges: Vec<Range>,
        /// A bound on the bytes of all ranges together: they are cut from the back ([`cut`]).
        max_bytes: u32,
    },
    /// A request that wants no answer (acks=0) is over: its admission credit comes back.
    Quiet {
        /// The connection.
        conn: ConnectionId,
        /// The client's correlation id.
        correlation: i32,
    },
    /// Ask or tell another shard of this broker.
    Call {
        /// The shard asked.
        to: ShardIndex,
        /// The metadata offset (exclusive) that this shard acts on.
        image: Offset,
        /// Names the question.
        correlation: Correlation,
        /// What is asked.
        call: Call,
    },
    /// Answer another shard.
    Answer {
        /// The shard that asked.
        to: ShardIndex,
        /// Its question's name.
        correlation: Correlation,
        /// The answer; ranges in it are resolved by this shard's host before they cross.
        answer: Answer,
    },
    /// Committed metadata for the other shards of this broker.
    Publish {
        /// The offset after the last record.
        upto: Offset,
        /// The records.
        records: Vec<MetadataRecord>,
    },
    /// Give back the bytes of a [`Range::Leased`] that nobody wants any more.
    Release {
        /// The name.
        lease: u64,
    },
    /// Close a connection, for a reason worth a log line.
    Close {
        /// The connection.
        conn: ConnectionId,
        /// Why.
        reason: &'static str,
    },
    /// The broker serves from here on (its registration is unfenced in its own image).
    Ready,
    /// The metadata log is lost to this life: the whole broker ends, as Kafka's does. A new life recovers it.
    Halt {
        /// What happened.
        reason: String,
    },
    /// A log went offline: an operator must know.
    Alarm {
        /// The log.
        log: LogId,
        /// What happened.
        reason: String,
    },
}

/// Bytes of one partition in a fetch answer, as offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// In a log of this shard: whole batches from the one that holds `from` to the last that ends below `upto`.
    Local {
        /// The log.
        log: LogId,
        /// The first offset wanted.
        from: Offset,
        /// Served below this offset only (the high watermark, say).
        upto: Offset,
        /// A bound on the bytes; may cut the last batch.
        max_bytes: u32,
    },
    /// Resolved by the owning shard's host: an opaque name in the receiving host's table.
    Leased {
        /// The name.
        lease: u64,
        /// Its length in bytes.
        bytes: u32,
        /// The length of its first batch.
        first: u32,
    },
}

/// How many bytes of each range leave, given their lengths and those of their first batches: `max_bytes` in all, from
/// the front, but the first range that has data always gives its first batch (KIP-74).
#[must_use]
pub fn cut(ranges: &[(u32, u32)], max_bytes: u32) -> Vec<u32> {
    let mut left = max_bytes;
    let mut first_with_data = true;
    ranges
        .iter()
        .map(|&(bytes, first)| {
            let mut give = bytes.min(left);
            if first_with_data && bytes > 0 {
                give = give.max(first.min(bytes));
                first_with_data = false;
            }
            left = left.saturating_sub(give);
            give
        })
        .collect()
}

/// What one shard asks of another, or tells it.
#[derive(Clone, Debug)]
pub enum Call {
    /// Append to partitions of the receiver.
    Produce {
        /// -1, 0 or 1.
        acks: i16,
        /// How long to wait for the commit, milliseconds.
        timeout_ms: i32,
        /// Whether the request's version may carry zstd.
        zstd: bool,
        /// What to append where.
        parts: Few<ProducePart>,
    },
    /// Read from partitions of the receiver.
    Fetch {
        /// Answer once so many bytes are there.
        min_bytes: u32,
        /// Or after so long, milliseconds.
        max_wait_ms: i32,
        /// What to read.
        parts: Few<FetchPart>,
    },
    /// Answer the fetch named by this call's sender and correlation now.
    Settle {
        /// The fetch.
        fetch: Correlation,
    },
    /// Look up offsets.
    ListOffsets {
        /// What to look up where.
        parts: Few<ListPart>,
    },
    /// Move the starts of logs.
    DeleteRecords {
        /// How long to wait until that is durable, milliseconds.
        timeout_ms: i32,
        /// Where to.
        parts: Few<DeletePart>,
    },
    /// Where leader epochs end.
    EpochEnds {
        /// What to look up where.
        parts: Few<EpochPart>,
    },
    /// What is known of logs: their sizes and producers.
    Describe {
        /// Which.
        parts: Few<DescribePart>,
    },
    /// What room there is where the receiver's logs lie.
    Room,
    /// For the controller (shard 0 relays): the request of a client, or an auto-creation.
    Admin(AdminRequest),
    /// For the metadata quorum's leader (shard 0 relays).
    DescribeQuorum(DescribeQuorumRequest),
    /// For the controller: a block of producer ids.
    AllocateProducerIds,
    /// The folders of these logs of the sender are there, durably: for the controller (shard 0 relays).
    Placed {
        /// Which.
        logs: Vec<LogId>,
    },
    /// The sender's metadata image reached an offset.
    ImageAt {
        /// Exclusive.
        upto: Offset,
    },
}

impl From<AdminRequest> for Call {
    fn from(request: AdminRequest) -> Call {
        Call::Admin(request)
    }
}

/// What a shard answers to another.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To `Produce`: one result a part, in order.
    Produce(Few<ProduceResult>),
    /// To `Fetch`: so many bytes are there, the answer is still to come.
    FetchProgress {
        /// Bytes readable now.
        bytes: u32,
    },
    /// To `Fetch`: one result a part, in order.
    Fetch {
        /// The results.
        results: Vec<FetchResult>,
    },
    /// To `ListOffsets`: one result a part, in order.
    ListOffsets(Vec<ListResult>),
    /// To `DeleteRecords`: for each part, in order, where the log starts now, or an error code.
    DeleteRecords(Vec<Result<Offset, i16>>),
    /// To `EpochEnds`: for each part, in order, the epoch and its end, or an error code.
    EpochEnds(Vec<Result<(LeaderEpoch, Offset), i16>>),
    /// To `Describe`: one description a part, in order, or an error code.
    Describe(Vec<Result<Description, i16>>),
    /// To `Room`; `None` where the disk did not say.
    Room(Option<Room>),
    /// To `Admin` and `DescribeQuorum`.
    Admin(Response),
    /// To `AllocateProducerIds`: first id and count, or an error code.
    ProducerIds(Result<(i64, i32), i16>),
}

/// One partition of a produce request.
#[derive(Clone, Debug)]
pub struct ProducePart {
    /// The log.
    pub log: LogId,
    /// What to append, unchecked.
    pub records: Bytes,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceResult {
    /// Kafka's error code.
    pub error: i16,
    /// Base offset given, or -1.
    pub base_offset: Offset,
    /// The time of the append, where records bear that; else -1.
    pub log_append_time: Timestamp,
    /// Log start offset, or -1.
    pub log_start_offset: Offset,
    /// Why it was refused, where there is more to say than the code does.
    pub refused: Option<Box<Refused>>,
}

/// Why a batch was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// For a person.
    pub reason: &'static str,
    /// The records that are to blame, by their index in the batch.
    pub bad_records: Vec<i32>,
}

/// One partition of a fetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPart {
    /// The log.
    pub log: LogId,
    /// First offset wanted.
    pub offset: Offset,
    /// The leader epoch that the client knows, or -1 (KIP-320).
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch of the last record it has, or -1 (KIP-595).
    pub last_fetched_epoch: LeaderEpoch,
    /// A bound on the bytes of this partition.
    pub max_bytes: u32,
}

/// What can be read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResult {
    /// Kafka's error code.
    pub error: i16,
    /// High watermark, or -1.
    pub high_watermark: Offset,
    /// Last stable offset, or -1.
    pub last_stable_offset: Offset,
    /// Log start offset, or -1.
    pub log_start_offset: Offset,
    /// Where the asker's log diverges: the epoch and its end offset (KIP-595).
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// The bytes.
    pub range: Option<Range>,
}

/// One partition of a delete-records request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletePart {
    /// The log.
    pub log: LogId,
    /// Its new start; -1 for the high watermark.
    pub to: Offset,
}

/// One partition of an offset-for-leader-epoch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochPart {
    /// The log.
    pub log: LogId,
    /// The leader epoch that the client knows, or -1.
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch whose end is asked for.
    pub epoch: LeaderEpoch,
}

/// A log to describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribePart {
    /// The log.
    pub log: LogId,
    /// Whether its producers are wanted; of its leader only.
    pub producers: bool,
}

/// A log, described.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Bytes of its batches.
    pub bytes: u64,
    /// Its producers, if they were asked for.
    pub producers: Vec<crate::wire::ProducerState>,
}

/// One partition of a list-offsets request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPart {
    /// The log.
    pub log: LogId,
    /// The leader epoch that the client knows, or -1.
    pub current_leader_epoch: LeaderEpoch,
    /// Only up to the last stable offset (`read_committed`).
    pub committed_only: bool,
    /// A time in milliseconds, or one of the negative names (-1 latest, -2 earliest, -3 largest timestamp).
    pub timestamp: Timestamp,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListResult {
    /// Kafka's error code.
    pub error: i16,
    /// The record's timestamp, or -1.
    pub timestamp: Timestamp,
    /// Its offset, or -1.
    pub offset: Offset,
    /// Its leader epoch, or -1.
    pub leader_epoch: LeaderEpoch,
}

/// A question to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Whole batches from an offset on, below another; at least one batch if there is one.
    Batches {
        /// The first offset wanted.
        from: Offset,
        /// Exclusive.
        upto: Offset,
        /// A bound on the bytes, but for the first batch.
        max_bytes: u32,
    },
    /// The first record at or after a time, below an offset.
    Timestamp {
        /// The time.
        at: Timestamp,
        /// Exclusive.
        upto: Offset,
    },
    /// The record with the largest timestamp, below an offset.
    MaxTimestamp {
        /// Exclusive.
        upto: Offset,
    },
    /// What room there is where the log lies.
    Room,
}

/// What a device holds in all and could still take, bytes (KIP-827).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// All that it holds.
    pub total: u64,
    /// What is free, and this process may use.
    pub usable: u64,
}

/// The disk's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Whole batches, back to back.
    Batches(Bytes),
    /// A record: its offset, timestamp and leader epoch; `None` when there is none.
    Record(Option<(Offset, Timestamp, LeaderEpoch)>),
    /// To [`Query::Room`].
    Room(Room),
    /// The log could not be read.
    Failed(String),
}

/// What a shard is built with; constant for its life.
#[derive(Clone, Debug)]
pub struct Config {
    /// `node.id`.
    pub broker: crate::ids::BrokerId,
    /// Cluster id, as in `meta.properties`.
    pub cluster_id: String,
    /// This data directory (KIP-858).
    pub directory: Uuid,
    /// This life of the broker, drawn anew at each start (KIP-631).
    pub incarnation: Uuid,
    /// This shard.
    pub shard: ShardIndex,
    /// How many there are.
    pub shards: u16,
    /// Host and port that clients are told.
    pub advertised: (String, u16),
    /// CRC-32C.
    pub crc: fn(&[u8]) -> u32,
    /// Kafka's codecs, opened.
    pub open: crate::record::Open,
    /// Seed of the shard's own draws (topic ids).
    pub seed: u64,
    /// What the operator set for this broker, by Kafka's keys ([`crate::metadata::configs::broker_key`] checks them).
    pub configs: Configs,
    /// The data directory as clients are told it (DescribeLogDirs).
    pub log_dir: String,
}
