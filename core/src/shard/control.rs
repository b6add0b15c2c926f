//! Shard 0's share: the metadata quorum, the controller on top of it, and this broker's own registration.
//!
//! Start: campaign → ballot durable → leader of a new epoch → its leader-change record committed → load → register →
//! every shard's image has the registration → unfenced. Committed records are published to all shards in order; an
//! admin answer leaves when every shard has them.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

use super::{Origin, Shard, Step};
use crate::controller::{Command, Controller, Reply};
use crate::coordinator::{Coordinator, LogEnds, Outcome, Turn};
use crate::effect::{Answer, Effect, Lookup, Query};
use crate::ids::{BrokerEpoch, Instant, LogId, Offset, Seq, ShardIndex, Ticket};
use crate::log::{Ballot, Log};
use crate::machine::{Caller, Cx};
use crate::quorum::{self, Quorum, Standing};
use crate::record::{self, Batch, Builder, ControlType, Crc};
use crate::replica::{Attempt, Replica};
use crate::wire::{
    AdminRequest, DescribeQuorumNode, DescribeQuorumRequest, LeaderChangeMessage, Malformed, MetadataRecord,
    QuorumListener, Voter, error,
};

/// Bytes of the metadata log that a load reads at a time.
const LOAD_BYTES: u32 = 1 << 20;

/// Who waits for the controller.
#[derive(Debug)]
pub(super) enum Asker {
    /// A client's or another broker's request; kept for the names in a refusal.
    Origin(Origin, Option<AdminRequest>),
    /// This broker's own life cycle.
    Own,
}

/// The state of shard 0's share.
#[derive(Debug)]
pub(super) struct Control {
    quorum: Option<Quorum>,
    ballot: Ballot,
    coordinator: Coordinator<Controller>,
    /// Records that the log holds and the shards do not have yet, each with the offset after its batch.
    unpublished: VecDeque<(Offset, Vec<MetadataRecord>)>,
    askers: BTreeMap<Caller, Asker>,
    /// How far each shard's image is.
    images: Vec<Offset>,
    /// Answers that wait for all images.
    settling: VecDeque<(Offset, Origin, Answer)>,
    /// The look-up that loads the machine.
    loading: Option<Ticket>,
    registered: Option<BrokerEpoch>,
    unfencing: bool,
}

impl Control {
    pub(super) fn new(shards: u16, crc: fn(&[u8]) -> u32) -> Control {
        Control {
            quorum: None,
            ballot: Ballot::default(),
            coordinator: Coordinator::new(crc),
            unpublished: VecDeque::new(),
            askers: BTreeMap::new(),
            images: vec![Offset(0); usize::from(shards)],
            settling: VecDeque::new(),
            loading: None,
            registered: None,
            unfencing: false,
        }
    }

    pub(super) fn ballot_recovered(&mut self, ballot: Ballot) {
        self.ballot = ballot;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.coordinator.deadline()
    }

    pub(super) fn loads_by(&self, ticket: Ticket) -> bool {
        self.loading == Some(ticket)
    }

    /// The offset that every shard's image has reached.
    fn all_images_at(&self) -> Offset {
        self.images.iter().copied().min().unwrap_or_default()
    }
}

impl Shard {
    /// Every log was reported: shard 0 campaigns.
    pub(super) fn started(&mut self, step: &mut Step<'_>) {
        let segment_bytes = self.configs(None).segment_bytes();
        let Some(control) = &mut self.control else { return };
        let keeping = crate::replica::Keeping::internal(segment_bytes);
        let replica = self.replicas.entry(LogId::METADATA).or_insert_with(|| {
            Box::new(Replica::new(Log::create(LogId::METADATA, "__cluster_metadata", step.out), keeping))
        });
        if let Some(reason) = replica.log().offline() {
            return step.out.push(Effect::Halt { reason: reason.into() });
        }
        let mut quorum = Quorum::new(self.config.broker, BTreeSet::from([self.config.broker]), control.ballot);
        let ballot = quorum.next_ballot(replica.log().state().last_epoch());
        quorum.campaign(ballot, replica.log_mut().persist(ballot, step.out));
        control.quorum = Some(quorum);
    }

    /// A change of the metadata log is durable.
    pub(super) fn metadata_done(&mut self, seq: Seq, step: &mut Step<'_>) {
        let Some(quorum) = self.control.as_mut().and_then(|c| c.quorum.as_mut()) else { return };
        if quorum.persisted(seq) && quorum.has_won() {
            return self.lead_quorum(step);
        }
        let replica = self.replicas.get_mut(&LogId::METADATA).expect("its change is done");
        quorum.flushed(self.config.broker, replica.log().flushed_offset());
        let Some(committed) = quorum.committed() else { return };
        replica.commit(committed);
        replica.holds();
        self.metadata_committed(step);
    }

    /// Won: opens the epoch with a leader-change record (KIP-595).
    fn lead_quorum(&mut self, step: &mut Step<'_>) {
        let Some(quorum) = self.control.as_mut().and_then(|c| c.quorum.as_mut()) else { return };
        let replica = self.replicas.get_mut(&LogId::METADATA).expect("the ballot was persisted in it");
        quorum.lead(replica.log().log_end_offset());
        replica.lead(quorum.epoch(), core::iter::empty());
        let voters = |ids: Vec<crate::ids::BrokerId>| -> Vec<Voter> {
            ids.into_iter().map(|id| Voter { voter_id: id.0, ..Voter::default() }).collect()
        };
        // Kafka 4.3 knows a version 1, with directory ids, but writes and reads a control record only in version 0.
        let message = LeaderChangeMessage {
            version: 0,
            leader_id: self.config.broker.0,
            voters: voters(quorum.voters()),
            granting_voters: voters(quorum.voters()),
        };
        let mut builder = Builder::new().control();
        builder.push(step.now.wall, Some(&ControlType::LeaderChange.key()), Some(&message.encode()));
        let batch = builder.build(self.config.crc);
        self.append_metadata(batch, step);
    }

    /// Appends a batch of this broker's own making.
    fn append_metadata(&mut self, bytes: Bytes, step: &mut Step<'_>) {
        let batch = Batch::stored(bytes, self.config.crc).expect("a batch of our own is a good one");
        let records = metadata_records(batch.bytes()).expect("a batch of our own reads back");
        let replica = self.replicas.get_mut(&LogId::METADATA).expect("the controller has its log");
        match replica.append(batch, step.now, step.out) {
            Attempt::At(appended) => {
                let control = self.control.as_mut().expect("shard 0 has the controller");
                control.unpublished.push_back((appended.next, records));
            }
            Attempt::Refused(code) => panic!("the active controller's log refuses with {}", error::name(code)),
        }
    }

    /// More metadata is committed: load on the first time, then answers and publication.
    fn metadata_committed(&mut self, step: &mut Step<'_>) {
        let replica = &self.replicas[&LogId::METADATA];
        let (start, committed) = (replica.log().log_start_offset(), replica.high_watermark());
        let control = self.control.as_mut().expect("shard 0 has the controller");
        if control.coordinator.is_active() {
            let turn = control.coordinator.committed(committed);
            self.publish(committed, step);
            self.take_turn(turn, step);
        } else if control.loading.is_none() && control.coordinator.wants().is_none() {
            // The load reads the whole log back, the leader-change record included.
            control.unpublished.clear();
            let turn = control.coordinator.lead(start, committed);
            self.take_turn(turn, step);
            self.load_on(step);
        }
    }

    /// Asks for the next piece of what the machine has to load.
    fn load_on(&mut self, step: &mut Step<'_>) {
        let ticket = self.fresh_ticket();
        let control = self.control.as_mut().expect("shard 0 has the controller");
        match control.coordinator.wants() {
            Some((from, upto)) => {
                control.loading = Some(ticket);
                let query = Query::Batches { from, upto, max_bytes: LOAD_BYTES };
                step.out.push(Effect::Read { ticket, log: LogId::METADATA, query });
            }
            None if control.coordinator.is_active() => self.controller_active(step),
            None => {}
        }
    }

    pub(super) fn metadata_loaded(&mut self, found: Lookup, step: &mut Step<'_>) {
        let control = self.control.as_mut().expect("shard 0 has the controller");
        control.loading = None;
        let loaded = match found {
            Lookup::Batches(bytes) => load(control, &bytes, self.config.crc),
            Lookup::Record(_) | Lookup::Room(_) => Err(Malformed("the answer to another question")),
            Lookup::Failed(reason) => return self.metadata_failed(reason, step),
        };
        match loaded {
            Ok(turn) => {
                self.take_turn(turn, step);
                self.load_on(step);
            }
            Err(Malformed(what)) => self.metadata_failed(format!("cannot read {what}"), step),
        }
    }

    /// The machine knows all that is committed: publish it, then register this broker.
    fn controller_active(&mut self, step: &mut Step<'_>) {
        let committed = self.replicas[&LogId::METADATA].high_watermark();
        self.publish(committed, step);
        let command = Command::Register {
            broker: self.config.broker,
            incarnation: self.config.incarnation,
            directory: self.config.directory,
            advertised: self.config.advertised.clone(),
        };
        self.command(Asker::Own, command, step);
    }

    /// Hands committed records to every shard, this one included.
    fn publish(&mut self, committed: Offset, step: &mut Step<'_>) {
        let control = self.control.as_mut().expect("shard 0 has the controller");
        let mut upto = None;
        let mut records = Vec::new();
        while let Some((end, batch)) = control.unpublished.pop_front_if(|(end, _)| *end <= committed) {
            upto = Some(end);
            records.extend(batch);
        }
        if let Some(upto) = upto {
            if self.config.shards > 1 {
                step.out.push(Effect::Publish { upto, records: records.clone() });
            }
            self.committed(upto, &records, step);
        }
    }

    /// Asks the controller on someone's behalf.
    pub(super) fn ask_controller(&mut self, origin: Origin, command: Command, step: &mut Step<'_>) {
        assert!(self.control.is_some(), "shard {} is asked for the controller", self.config.shard);
        let asked = match &command {
            Command::Admin(request) => Some(request.clone()),
            Command::Register { .. }
            | Command::Heartbeat { .. }
            | Command::Assign { .. }
            | Command::AllocateProducerIds { .. } => None,
        };
        self.command(Asker::Origin(origin, asked), command, step);
    }

    pub(super) fn command(&mut self, asker: Asker, command: Command, step: &mut Step<'_>) {
        let caller = Caller(self.fresh());
        let log = self.metadata_ends();
        let control = self.control.as_mut().expect("shard 0 has the controller");
        control.askers.insert(caller, asker);
        let cx = &mut Cx {
            now: step.now,
            next_offset: log.end,
            broker: self.config.broker,
            file: &self.config.configs,
            rng: &mut self.rng,
        };
        let turn = control.coordinator.command(cx, caller, command, log);
        self.take_turn(turn, step);
    }

    pub(super) fn expire_controller(&mut self, step: &mut Step<'_>) {
        let log = self.metadata_ends();
        let Some(control) = &mut self.control else { return };
        let cx = &mut Cx {
            now: step.now,
            next_offset: log.end,
            broker: self.config.broker,
            file: &self.config.configs,
            rng: &mut self.rng,
        };
        let turn = control.coordinator.expire(cx, log);
        self.take_turn(turn, step);
    }

    fn metadata_ends(&self) -> LogEnds {
        self.replicas.get(&LogId::METADATA).map_or(LogEnds { end: Offset(0), committed: Offset(0) }, |r| LogEnds {
            end: r.log().log_end_offset(),
            committed: r.high_watermark(),
        })
    }

    /// Does what a turn of the controller wants.
    fn take_turn(&mut self, turn: Turn<Controller>, step: &mut Step<'_>) {
        if let Some(batch) = turn.batch {
            self.append_metadata(batch, step);
        }
        for (caller, outcome) in turn.replies {
            let control = self.control.as_mut().expect("shard 0 has the controller");
            let asker = control.askers.remove(&caller).expect("a caller is answered once");
            match asker {
                Asker::Own => self.own_reply(&outcome, step),
                Asker::Origin(origin, asked) => self.controller_reply(origin, asked, outcome, step),
            }
        }
    }

    /// The controller answered this broker's own registration or heartbeat.
    fn own_reply(&mut self, outcome: &Outcome<Reply>, step: &mut Step<'_>) {
        let control = self.control.as_mut().expect("shard 0 has the controller");
        match outcome {
            Outcome::Reply(Reply::Registered(epoch)) => {
                control.registered = Some(*epoch);
                self.unfence(step);
            }
            Outcome::Reply(Reply::Heartbeat(_) | Reply::Assigned | Reply::Admin(_) | Reply::ProducerIds(_))
            | Outcome::NotCoordinator => {}
        }
    }

    /// Asks to be unfenced once every shard knows of the registration.
    fn unfence(&mut self, step: &mut Step<'_>) {
        let control = self.control.as_mut().expect("shard 0 has the controller");
        let image = control.all_images_at();
        let Some(epoch) = control.registered.filter(|e| image.0 > e.0 && !control.unfencing) else { return };
        control.unfencing = true;
        let broker = self.config.broker;
        self.command(Asker::Own, Command::Heartbeat { broker, epoch, image }, step);
    }

    fn controller_reply(
        &mut self,
        origin: Origin,
        asked: Option<AdminRequest>,
        outcome: Outcome<Reply>,
        step: &mut Step<'_>,
    ) {
        let answer = match outcome {
            Outcome::Reply(Reply::Admin(response)) => Answer::Admin(response),
            Outcome::Reply(Reply::ProducerIds(block)) => Answer::ProducerIds(block),
            Outcome::NotCoordinator => match asked {
                Some(request) => Answer::Admin(request.refuse(error::NOT_CONTROLLER, "There is no controller.")),
                None => Answer::ProducerIds(Err(error::COORDINATOR_LOAD_IN_PROGRESS)),
            },
            Outcome::Reply(Reply::Registered(_) | Reply::Heartbeat(_) | Reply::Assigned) => {
                panic!("another one's answer")
            }
        };
        let committed = self.metadata_ends().committed;
        let control = self.control.as_mut().expect("shard 0 has the controller");
        control.settling.push_back((committed, origin, answer));
        self.settle_admin(step);
    }

    /// Answers for the metadata quorum.
    pub(super) fn describe_quorum(&mut self, origin: Origin, request: &DescribeQuorumRequest, step: &mut Step<'_>) {
        let ends = self.metadata_ends();
        let standing = Standing {
            now: step.now.wall,
            directory: self.config.directory,
            high_watermark: ends.committed,
            log_end_offset: ends.end,
        };
        let quorum = self.control.as_ref().and_then(|c| c.quorum.as_ref());
        let mut response = quorum::describe(quorum, request, standing);
        let described = response.topics.iter().flat_map(|t| &t.partitions).any(|p| p.error_code == error::NONE);
        let voters = quorum.filter(|_| described).map(Quorum::voters).unwrap_or_default();
        response.nodes.extend(voters.into_iter().filter_map(|id| {
            let broker = self.image.broker(id)?;
            let listener = QuorumListener { name: "PLAINTEXT".into(), host: broker.host.clone(), port: broker.port };
            Some(DescribeQuorumNode { node_id: id.0, listeners: vec![listener] })
        }));
        self.answer(origin, Answer::Admin(response.into()), step);
    }

    /// A shard's image got further.
    pub(super) fn image_reached(&mut self, shard: ShardIndex, upto: Offset, step: &mut Step<'_>) {
        let Some(control) = &mut self.control else { return };
        let at = &mut control.images[usize::from(shard.0)];
        assert!(upto > *at, "shard {shard}'s image goes back from {at} to {upto}");
        *at = upto;
        self.settle_admin(step);
        self.unfence(step);
    }

    /// Tells shard 0 how far this shard's image is.
    pub(super) fn tell_image(&mut self, step: &mut Step<'_>) {
        let upto = self.image_at;
        if self.control.is_some() {
            return self.image_reached(self.config.shard, upto, step);
        }
        let correlation = self.fresh_question();
        let call = crate::effect::Call::ImageAt { upto };
        step.out.push(Effect::Call { to: ShardIndex(0), image: upto, correlation, call });
    }

    /// Answers what every shard's image has caught up with.
    fn settle_admin(&mut self, step: &mut Step<'_>) {
        loop {
            let Some(control) = &mut self.control else { return };
            let all = control.all_images_at();
            let Some((_, origin, answer)) = control.settling.pop_front_if(|(upto, _, _)| *upto <= all) else { return };
            self.answer(origin, answer, step);
        }
    }

    /// The metadata log is offline: nothing can be decided any more in this life.
    pub(super) fn metadata_failed(&mut self, reason: String, step: &mut Step<'_>) {
        step.out.push(Effect::Halt { reason });
        let Some(control) = &mut self.control else { return };
        let turn = control.coordinator.resign();
        self.take_turn(turn, step);
    }
}

/// Feeds a piece of the log to the machine and queues it for the shards. Recovery does not read what is below a
/// checkpoint: its bytes are believed here only by their checksums, and only if each batch follows the one before it.
fn load(control: &mut Control, bytes: &Bytes, crc: Crc) -> Result<Turn<Controller>, Malformed> {
    let Some((from, upto)) = control.coordinator.wants() else { return Ok(Turn::default()) };
    let mut next = from;
    for batch in record::batches(bytes.clone()) {
        let batch = batch.map_err(|_| Malformed("a batch of the metadata log"))?;
        if !batch.crc_holds(crc) {
            return Err(Malformed("a batch of the metadata log: the checksum does not match"));
        }
        if batch.header.base_offset > next {
            return Err(Malformed("the metadata log: something is missing"));
        }
        next = batch.header.next_offset();
        if batch.header.base_offset >= from && batch.header.base_offset < upto {
            control.unpublished.push_back((batch.header.next_offset(), metadata_records(batch.bytes())?));
        }
    }
    if next == from {
        return Err(Malformed("the metadata log: nothing where there should be more"));
    }
    control.coordinator.loaded(bytes)
}

/// The metadata records of one batch; none of a control batch.
fn metadata_records(batch: &Bytes) -> Result<Vec<MetadataRecord>, Malformed> {
    let header = record::Header::parse(batch).map_err(|_| Malformed("a batch of the metadata log"))?;
    if header.is_control() {
        return Ok(Vec::new());
    }
    let decode = |record: Result<record::Record<'_>, record::Corrupt>| {
        let record = record.map_err(|_| Malformed("a record of the metadata log"))?;
        let value = record.value.ok_or(Malformed("a metadata record without a value"))?;
        MetadataRecord::decode(batch.slice_ref(value))
    };
    record::records(batch).map(decode).collect()
}
