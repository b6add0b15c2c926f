//! A consumer: long polls over several partitions, from the beginning, the end, somewhere or a time; by name or by topic
//! id, all in full or in a fetch session. What it gets is checked at once against what everybody saw before.
//!
//! What it does over one connection is a stint or several: each chooses partitions, and how they are asked for.
//! Properties, beside the history's, those of `workload::reading` and of `workload::session`: `first-batch-given` (the first
//! partition of an answer that has anything gives a whole batch, whatever the limits, unless a trim or retention has taken
//! that: KIP-74), `below-start-is-out-of-range` (below what is known to be a log's start nothing is served),
//! `never-diverges` (a log never says that it branched off before what was read of it, KIP-320 and KIP-595, since nothing
//! that was read is ever cut), `topics-stay` (what is known to exist is served).

use klamm_core::ids::Uuid;
use klamm_core::rng::Rng;
use klamm_core::wire::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, ListOffsetsPartition, ListOffsetsRequest,
    ListOffsetsResponse, ListOffsetsTopic, MetadataResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopic, PartitionData, Response, error, list_offsets,
};

use super::owner::below_start;
use super::reading::read;
use super::session::Session;
use super::{Ask, Cx, Role, everything, floors, is_mortal, odd_answer, odd_error, vanished, wordless};
use crate::history::{History, Moment, Partition};
use crate::report::Violation;

/// A stint is so many turns, at most.
const LONGEST: u64 = 60;

/// How a consumer goes about it.
#[derive(Clone, Debug)]
pub struct Habits {
    /// A fetch may wait so long, milliseconds: one of these.
    pub waits_ms: Vec<i32>,
    /// The longest rest between two turns, and that after an error, nanoseconds.
    pub rest: u64,
    /// Partitions that it asks for before it knows that they exist.
    pub expected: Vec<Partition>,
}

/// Where reading of one partition stands.
#[derive(Debug)]
struct Place {
    at: Partition,
    /// Zero: not known.
    topic: Uuid,
    /// The next offset to ask for.
    next: i64,
    /// The leader epoch of the record before it, or -1.
    epoch: i32,
    /// The newest leader epoch that Metadata told, or -1.
    leader_epoch: i32,
}

/// What is done in one way.
#[derive(Debug)]
struct Stint {
    /// Partitions that are read, by their numbers; one at least.
    reads: Vec<usize>,
    by_id: bool,
    with_epochs: bool,
    /// Questions in flight: an answer that is ready may have to wait for the one before it.
    depth: usize,
    left: u64,
    session: Option<Session>,
    /// An earlier session on the connection, to be ended.
    old_session: i32,
}

/// See the module.
#[derive(Debug)]
pub struct Consumer {
    rng: Rng,
    habits: Habits,
    places: Vec<Place>,
    stint: Option<Stint>,
    /// What Metadata says is known, as far as anybody can tell.
    knows: bool,
    waiting: usize,
    next_at: u64,
    /// It wants another connection.
    leaves: bool,
}

/// What was known of a partition when something was asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Then {
    place: usize,
    /// Its topic was known to exist.
    known: bool,
    /// Where it ended and started, as far as was told.
    end: i64,
    start: i64,
    /// Where it was read, and the leader epoch before that.
    from: i64,
    epoch: i32,
}

/// A question of a consumer.
#[derive(Debug)]
pub enum Asked {
    /// All topics.
    Metadata(Moment),
    /// Records; in a session.
    Fetch(Vec<Then>, bool),
    /// The offsets of a time; whether it goes there.
    List(i64, Vec<Then>, bool),
    /// Where the leader epochs end that were read last.
    Epochs(Vec<Then>),
}

impl Place {
    fn new(at: Partition) -> Place {
        Place { at, topic: Uuid::ZERO, next: 0, epoch: -1, leader_epoch: -1 }
    }

    /// Goes on reading elsewhere.
    fn go_to(&mut self, next: i64) {
        (self.next, self.epoch) = (next, -1);
    }

    fn then(&self, place: usize, history: &History) -> Then {
        let known = history.topic(&self.at.0);
        let known = known.is_some_and(|topic| usize::try_from(self.at.1).is_ok_and(|at| at < topic.partitions));
        let (end, start) = floors(history, &self.at);
        Then { place, known, end, start, from: self.next, epoch: self.epoch }
    }

    /// The topic as a fetch names it.
    fn named(&self, by_id: bool) -> (String, Uuid) {
        if by_id { (String::new(), self.topic) } else { (self.at.0.clone(), Uuid::ZERO) }
    }
}

impl Consumer {
    /// A consumer of all topics that last.
    #[must_use]
    pub fn new(seed: u64, habits: Habits) -> Consumer {
        let places = habits.expected.iter().cloned().map(Place::new).collect();
        let rng = Rng::new(seed);
        Consumer { rng, habits, places, stint: None, knows: false, waiting: 0, next_at: 0, leaves: false }
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.rng.below(of.len() as u64) as usize].clone()
    }

    fn place(&mut self, at: Partition) -> &mut Place {
        let found = self.places.iter().position(|place| place.at == at);
        let found = found.unwrap_or_else(|| {
            self.places.push(Place::new(at));
            self.places.len() - 1
        });
        &mut self.places[found]
    }

    fn described(&mut self, asked: Moment, response: MetadataResponse, cx: &Cx<'_>) -> Result<(), Violation> {
        cx.history.listed(asked, &response)?;
        for topic in response.topics.into_iter().filter(|topic| topic.error_code == error::NONE) {
            let name = topic.name.unwrap_or_default();
            if is_mortal(&name) {
                continue;
            }
            for partition in topic.partitions {
                let place = self.place((name.clone(), partition.partition_index));
                (place.topic, place.leader_epoch) = (topic.topic_id, partition.leader_epoch);
            }
        }
        Ok(())
    }

    /// Chooses what to do next over this connection; nothing, if there is nothing to read.
    fn begin(&mut self, old_session: i32, history: &History) -> Option<Stint> {
        for (at, id) in lasting(history) {
            let place = self.place(at);
            place.topic = if place.topic == Uuid::ZERO { id } else { place.topic };
        }
        let by_id = self.rng.one_in(2);
        let mut reads = Vec::new();
        for place in 0..self.places.len() {
            let nameless = by_id && self.places[place].topic == Uuid::ZERO;
            if !nameless && !self.rng.one_in(4) {
                reads.push(place);
            }
        }
        if reads.is_empty() {
            return None;
        }
        let session = self.rng.one_in(2).then(Session::default);
        let depth = if session.is_some() { 1 } else { 1 + self.rng.below(2) as usize };
        let (with_epochs, left) = (self.rng.one_in(2), 1 + self.rng.below(LONGEST));
        // Who forgets a session leaves it to the broker.
        let old_session = if self.rng.one_in(2) { old_session } else { 0 };
        Some(Stint { reads, by_id, with_epochs, depth, left, session, old_session })
    }

    /// Another partition, or one less.
    fn change(&mut self, stint: &mut Stint) {
        if stint.reads.len() > 1 && self.rng.one_in(2) {
            let gone = self.rng.below(stint.reads.len() as u64) as usize;
            stint.reads.remove(gone);
            return;
        }
        let more = self.rng.below(self.places.len() as u64) as usize;
        let nameless = stint.by_id && self.places[more].topic == Uuid::ZERO;
        if !nameless && !stint.reads.contains(&more) {
            stint.reads.push(more);
        }
    }

    /// What a turn is for; nothing, if it wants another connection.
    fn turn(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        if self.stint.as_ref().is_none_or(|stint| stint.left == 0) && self.waiting == 0 {
            let old = self.stint.take();
            if old.is_some() && self.rng.one_in(2) {
                self.leaves = true;
                return Vec::new();
            }
            let old_session = old.and_then(|stint| stint.session).map_or(0, |session| session.names().0);
            self.stint = if self.knows { self.begin(old_session, cx.history) } else { None };
        }
        let Some(mut stint) = self.stint.take().filter(|_| self.knows) else {
            self.knows = true;
            return vec![(everything().into(), Asked::Metadata(cx.history.moment()))];
        };
        let mut asks = Vec::new();
        stint.left = stint.left.saturating_sub(1);
        if self.rng.one_in(16) {
            self.change(&mut stint);
        }
        // In a session there is one fetch at a time.
        let beside = if stint.session.is_some() { self.rng.one_in(8) } else { false };
        while asks.is_empty() || asks.len() + self.waiting < stint.depth {
            asks.push(match self.rng.below(24) {
                0..3 => self.list(&stint, cx),
                3 => self.epochs(&stint, cx),
                4..6 => self.jump(&mut stint, cx),
                _ => self.fetch(&mut stint, cx),
            });
        }
        if beside {
            asks.push(self.list(&stint, cx));
        }
        self.stint = Some(stint);
        asks
    }

    /// Goes to the beginning, the end, or somewhere in between; there it reads on, or it asks where that is.
    fn jump(&mut self, stint: &mut Stint, cx: &mut Cx<'_>) -> Ask<Asked> {
        let place = self.one(&stint.reads);
        let timestamp = match self.rng.below(5) {
            0 => {
                self.places[place].go_to(0);
                return self.fetch(stint, cx);
            }
            1 | 2 => {
                let end = cx.history.end(&self.places[place].at);
                let next = self.rng.below(end as u64 + 1) as i64;
                self.places[place].go_to(next);
                return self.fetch(stint, cx);
            }
            3 => list_offsets::LATEST,
            _ => self.time(cx),
        };
        self.listing(timestamp, &[place], true, cx)
    }

    /// A time at which there may be a record.
    fn time(&mut self, cx: &Cx<'_>) -> i64 {
        let back = self.one(&[4_000, 30_000]);
        cx.wall - self.rng.below(back) as i64
    }

    fn list(&mut self, stint: &Stint, cx: &mut Cx<'_>) -> Ask<Asked> {
        let timestamp = match self.rng.below(5) {
            0 => list_offsets::LATEST,
            1 => list_offsets::EARLIEST,
            2 => list_offsets::MAX_TIMESTAMP,
            _ => self.time(cx),
        };
        let places = if self.rng.one_in(2) { stint.reads.clone() } else { vec![self.one(&stint.reads)] };
        self.listing(timestamp, &places, false, cx)
    }

    fn listing(&self, timestamp: i64, places: &[usize], goes: bool, cx: &Cx<'_>) -> Ask<Asked> {
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        for Place { at: (name, index), .. } in places.iter().map(|place| &self.places[*place]) {
            let partition =
                ListOffsetsPartition { partition_index: *index, timestamp, ..ListOffsetsPartition::default() };
            match topics.last_mut().filter(|topic| topic.name == *name) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(ListOffsetsTopic { name: name.clone(), partitions: vec![partition] }),
            }
        }
        let request = ListOffsetsRequest { topics, ..ListOffsetsRequest::default() };
        (request.into(), Asked::List(timestamp, self.then(places, cx), goes))
    }

    fn epochs(&self, stint: &Stint, cx: &Cx<'_>) -> Ask<Asked> {
        let mut topics: Vec<OffsetForLeaderTopic> = Vec::new();
        for Place { at: (name, index), epoch, leader_epoch, .. } in stint.reads.iter().map(|at| &self.places[*at]) {
            let current_leader_epoch = if stint.with_epochs { *leader_epoch } else { -1 };
            let partition = OffsetForLeaderPartition { partition: *index, current_leader_epoch, leader_epoch: *epoch };
            match topics.last_mut().filter(|topic| topic.topic == *name) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(OffsetForLeaderTopic { topic: name.clone(), partitions: vec![partition] }),
            }
        }
        let request = OffsetForLeaderEpochRequest { topics, ..OffsetForLeaderEpochRequest::default() };
        (request.into(), Asked::Epochs(self.then(&stint.reads, cx)))
    }

    fn then(&self, places: &[usize], cx: &Cx<'_>) -> Vec<Then> {
        places.iter().map(|place| self.places[*place].then(*place, cx.history)).collect()
    }

    fn fetch(&mut self, stint: &mut Stint, cx: &mut Cx<'_>) -> Ask<Asked> {
        let mut request = FetchRequest {
            max_wait_ms: self.one(&self.habits.waits_ms.clone()),
            min_bytes: self.one(&[0, 1, 1, 1, 400, 5_000, 100_000]),
            max_bytes: self.one(&[1, 900, 50_000, 1 << 20]),
            topic_ids: stint.by_id,
            ..FetchRequest::default()
        };
        let partition_max_bytes = self.one(&[1, 300, 20_000, 1 << 20]);
        // As real consumers do: another one is first each time.
        let shift = self.rng.below(stint.reads.len() as u64) as usize;
        stint.reads.rotate_left(shift);
        request.session_id = std::mem::take(&mut stint.old_session);
        if let Some(session) = &mut stint.session {
            let (id, epoch) = session.names();
            (request.session_id, request.session_epoch) = (id.max(request.session_id), epoch);
            for place in session.forget_all_but(&stint.reads) {
                cx.shared.count("partitions taken out of a session");
                let (topic, topic_id) = self.places[place].named(stint.by_id);
                let partitions = vec![self.places[place].at.1];
                request.forgotten_topics_data.push(ForgottenTopic { topic, topic_id, partitions });
            }
        }
        for number in &stint.reads {
            let place = &self.places[*number];
            let (current_leader_epoch, last_fetched_epoch) =
                if stint.with_epochs { (place.leader_epoch, place.epoch) } else { (-1, -1) };
            let asked = FetchPartition {
                partition: place.at.1,
                fetch_offset: place.next,
                current_leader_epoch,
                last_fetched_epoch,
                partition_max_bytes,
                ..FetchPartition::default()
            };
            if stint.session.as_mut().is_none_or(|session| session.tell(*number, &asked)) {
                add(&mut request, place.named(stint.by_id), asked);
            }
        }
        (request.into(), Asked::Fetch(self.then(&stint.reads, cx), stint.session.is_some()))
    }

    fn took(
        &mut self,
        asked: Vec<Then>,
        in_session: bool,
        answer: &FetchResponse,
        cx: &mut Cx<'_>,
    ) -> Result<(), Violation> {
        let Some(mut stint) = self.stint.take() else { return Ok(()) };
        let taken = self.took_in(&mut stint, asked, in_session, answer, cx);
        self.stint = Some(stint);
        taken
    }

    fn took_in(
        &mut self,
        stint: &mut Stint,
        mut asked: Vec<Then>,
        in_session: bool,
        answer: &FetchResponse,
        cx: &mut Cx<'_>,
    ) -> Result<(), Violation> {
        let mut session = stint.session.as_mut().filter(|_| in_session);
        let only_news = session.as_ref().is_some_and(|session| session.is_under_way());
        match &mut session {
            Some(session) => session.answered(answer)?,
            None if answer.error_code != error::NONE => return Err(odd_error("a fetch", answer.error_code)),
            None => {}
        }
        if only_news {
            cx.shared.count("fetches in a session");
        }
        let mut first = true;
        for topic in &answer.responses {
            for data in &topic.partitions {
                let is_it = |then: &Then| {
                    let place = &self.places[then.place];
                    place.at.1 == data.partition_index
                        && place.named(stint.by_id) == (topic.topic.clone(), topic.topic_id)
                };
                let Some(found) = asked.iter().position(is_it) else {
                    let what = format!("{} {}-{}", topic.topic, topic.topic_id, data.partition_index);
                    return Err(wordless(&what, true));
                };
                let then = asked.swap_remove(found);
                if let Some(session) = &mut session {
                    session.gave(then.place);
                }
                first &= !self.took_one(then, stint.with_epochs, first, data, cx)?;
            }
        }
        for Then { place, from, end, .. } in asked {
            let at = &self.places[place].at;
            match &mut session {
                Some(session) if only_news => session.left_out(place, at, from, end)?,
                Some(_) | None => return Err(wordless(&format!("{}-{}", at.0, at.1), false)),
            }
        }
        Ok(())
    }

    /// What a fetch gave of one partition; tells whether there was anything. `first`: none before it has anything.
    fn took_one(
        &mut self,
        then: Then,
        with_epochs: bool,
        first: bool,
        data: &PartitionData,
        cx: &mut Cx<'_>,
    ) -> Result<bool, Violation> {
        let at = self.places[then.place].at.clone();
        let from = then.from;
        match data.error_code {
            error::NONE if from < then.start => return Err(below_start(&at, from, then.start)),
            error::NONE => {}
            // Then it starts behind that, and may.
            error::OFFSET_OUT_OF_RANGE => {
                cx.shared.count("reads below a start");
                cx.history.starts_behind(&at, from)?;
                if self.places[then.place].next == from {
                    self.places[then.place].go_to(cx.history.start(&at));
                }
                return Ok(false);
            }
            code => return self.refused(then, with_epochs, "a fetch", code, cx).map(|()| false),
        }
        if data.diverging_epoch.epoch >= 0 {
            return Err(diverged(&at, then, format!("it says that it branched off: {:?}", data.diverging_epoch)));
        }
        // Whether it contradicts itself comes before whether it contradicts others.
        let read = read(&at, from, data, cx.crc)?;
        cx.history.ends(&at, then.end, data.high_watermark)?;
        if data.log_start_offset >= 0 {
            cx.history.starts(&at, then.start, data.log_start_offset)?;
        }
        let has = data.high_watermark > from;
        // A trim may take it on its way.
        if has && first && read.values.is_empty() && !cx.history.may_go(&at, from) {
            return Err(Violation {
                property: "first-batch-given",
                fact: format!("{}-{} is read at {from}, and committed up to {}", at.0, at.1, data.high_watermark),
                contradiction: "nothing comes, of this or of any partition before it".into(),
            });
        }
        for (offset, value) in &read.values {
            cx.history.read(&at, *offset, *value)?;
        }
        let place = &mut self.places[then.place];
        if place.next == from && read.next > from {
            (place.next, place.epoch) = (read.next, read.epoch);
        }
        Ok(has)
    }

    /// Something about a partition is refused: there must be a reason.
    fn refused(&mut self, then: Then, with_epochs: bool, what: &str, code: i16, cx: &Cx<'_>) -> Result<(), Violation> {
        match code {
            error::UNKNOWN_TOPIC_OR_PARTITION | error::UNKNOWN_TOPIC_ID if then.known => {
                return Err(vanished(&self.places[then.place].at));
            }
            error::UNKNOWN_TOPIC_OR_PARTITION | error::UNKNOWN_TOPIC_ID => self.knows = false,
            // Asked before a restart was heard of: other metadata is wanted.
            error::FENCED_LEADER_EPOCH if with_epochs => self.knows = false,
            // What came before the metadata said where a log lies is not committed before that is said (KIP-207; clients of
            // older versions know no better word).
            error::KAFKA_STORAGE_ERROR | error::OFFSET_NOT_AVAILABLE | error::LEADER_NOT_AVAILABLE => {}
            code => return Err(odd_error(what, code)),
        }
        self.next_at = cx.now + self.habits.rest;
        Ok(())
    }

    fn listed(
        &mut self,
        time: i64,
        asked: Vec<Then>,
        goes: bool,
        answer: &ListOffsetsResponse,
        cx: &mut Cx<'_>,
    ) -> Result<(), Violation> {
        let mut parts = answer.topics.iter().flat_map(|t| t.partitions.iter().map(move |part| (&t.name, part)));
        for then in asked {
            let at = self.places[then.place].at.clone();
            let part = parts.next().filter(|(name, part)| **name == at.0 && part.partition_index == at.1);
            let Some((_, part)) = part else { return Err(wordless(&format!("{}-{}", at.0, at.1), false)) };
            if part.error_code != error::NONE {
                self.refused(then, false, "a ListOffsets", part.error_code, cx)?;
                continue;
            }
            let found = (part.offset, part.timestamp);
            match time {
                list_offsets::LATEST => cx.history.ends(&at, then.end, part.offset)?,
                list_offsets::EARLIEST => cx.history.starts(&at, then.start, part.offset)?,
                list_offsets::MAX_TIMESTAMP => cx.history.newest(&at, then.end, found)?,
                time => cx.history.first_since(&at, time, then.end, found)?,
            }
            if goes && part.offset >= 0 {
                cx.shared.count(if time == list_offsets::LATEST { "reads from the end" } else { "reads from a time" });
                self.places[then.place].go_to(part.offset);
            }
        }
        Ok(())
    }

    /// The epoch in which something was read ends behind that.
    fn ended(
        &mut self,
        asked: Vec<Then>,
        with_epochs: bool,
        answer: &OffsetForLeaderEpochResponse,
        cx: &mut Cx<'_>,
    ) -> Result<(), Violation> {
        let mut ends = answer.topics.iter().flat_map(|t| t.partitions.iter().map(move |end| (&t.topic, end)));
        for then in asked {
            let at = self.places[then.place].at.clone();
            let end = ends.next().filter(|(name, end)| **name == at.0 && end.partition == at.1);
            let Some((_, end)) = end else { return Err(wordless(&format!("{}-{}", at.0, at.1), false)) };
            if end.error_code != error::NONE {
                self.refused(then, with_epochs, "an OffsetForLeaderEpoch", end.error_code, cx)?;
                continue;
            }
            // Nothing was read yet.
            if then.epoch < 0 {
                continue;
            }
            cx.shared.count("ends of epochs");
            if end.leader_epoch != then.epoch || end.end_offset < then.from {
                let what = format!("epoch {} is said to end at {}", end.leader_epoch, end.end_offset);
                return Err(diverged(&at, then, what));
            }
        }
        Ok(())
    }
}

/// Adds a partition to a request.
fn add(request: &mut FetchRequest, (topic, topic_id): (String, Uuid), asked: FetchPartition) {
    match request.topics.last_mut().filter(|last| last.topic == topic && last.topic_id == topic_id) {
        Some(last) => last.partitions.push(asked),
        None => request.topics.push(FetchTopic { topic, topic_id, partitions: vec![asked] }),
    }
}

fn diverged(at: &Partition, Then { from, epoch, .. }: Then, contradiction: String) -> Violation {
    let fact = format!("{}-{} was read up to {from} in epoch {epoch}", at.0, at.1);
    Violation { property: "never-diverges", fact, contradiction }
}

impl Role for Consumer {
    type Asked = Asked;

    fn reseed(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
    }

    fn ask(&mut self, cx: &mut Cx<'_>) -> Vec<Ask<Asked>> {
        if self.next(cx.working).is_none_or(|at| at > cx.now) {
            return Vec::new();
        }
        let rest = if self.rng.one_in(3) { self.rng.below(self.habits.rest) } else { 0 };
        let asks = self.turn(cx);
        self.next_at = cx.now + if self.stint.is_some() { rest } else { self.habits.rest };
        self.waiting += asks.len();
        asks
    }

    fn answered(&mut self, asked: Asked, response: Response, cx: &mut Cx<'_>) -> Result<(), Violation> {
        self.waiting -= 1;
        let with_epochs = self.stint.as_ref().is_some_and(|stint| stint.with_epochs);
        match (asked, response) {
            (Asked::Metadata(moment), Response::Metadata(r)) => self.described(moment, r, cx),
            (Asked::Fetch(asked, in_session), Response::Fetch(r)) => self.took(asked, in_session, &r, cx),
            (Asked::List(time, asked, goes), Response::ListOffsets(r)) => self.listed(time, asked, goes, &r, cx),
            (Asked::Epochs(asked), Response::OffsetForLeaderEpoch(r)) => self.ended(asked, with_epochs, &r, cx),
            (Asked::Metadata(_) | Asked::Fetch(..) | Asked::List(..) | Asked::Epochs(_), other) => {
                Err(odd_answer(&other))
            }
        }
    }

    fn lost(&mut self, _asked: Vec<Asked>, _cx: &mut Cx<'_>) {
        (self.stint, self.knows, self.waiting, self.leaves) = (None, false, 0, false);
    }

    fn hangs_up(&self) -> bool {
        self.leaves && self.waiting == 0
    }

    fn next(&self, working: bool) -> Option<u64> {
        // A stint ends when all is answered.
        let depth = self.stint.as_ref().filter(|stint| stint.left > 0).map_or(1, |stint| stint.depth);
        (working && !self.leaves && self.waiting < depth).then_some(self.next_at)
    }

    fn owes(&self) -> Option<String> {
        None
    }
}

/// Partitions that nobody will delete, and their topics' ids.
fn lasting(history: &History) -> Vec<(Partition, Uuid)> {
    let alive = history.alive().filter(|(_, topic)| !topic.mortal);
    let partitions = alive.flat_map(|(life, topic)| {
        let id = topic.id.unwrap_or_default();
        (0..topic.partitions as i32).map(move |index| ((life.clone(), index), id))
    });
    partitions.collect()
}
