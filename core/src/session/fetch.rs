//! Fetch sessions (KIP-227): what a connection fetches is remembered, so that a request names only what changed and an
//! answer only what is news.
//!
//! A session belongs to the connection that made it, at most one each, and goes with it: on another connection its id
//! is unknown, and the client begins anew. The sessions of a shard and their partitions are bounded: beyond that a
//! session is refused by answering id 0, and each request stays a full one. A partition is news when it has records, an
//! error, a divergence, or another high watermark or log start than was told last. Partitions that were served move behind
//! the others, so that a limit on an answer's bytes starves none.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::ids::{ConnectionId, Uuid};
use crate::rng::Rng;
use crate::wire::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData, Records, error,
};

/// Sessions of one shard, at most: Kafka's `max.incremental.fetch.session.cache.slots`.
const MAX_SESSIONS: usize = 1000;
/// Partitions in all sessions of one shard, at most.
const MAX_PARTITIONS: usize = 100_000;

/// Ends a session, or is a fetch without one.
const FINAL_EPOCH: i32 = -1;
/// Begins a session.
const INITIAL_EPOCH: i32 = 0;

/// A partition as its client names it: topic name or id, and index.
type Key = (String, Uuid, i32);

/// A partition in a session.
#[derive(Clone, Debug)]
struct Kept {
    asked: FetchPartition,
    /// The high watermark last told; -1 for none, or when the last answer was an error.
    high_watermark: i64,
    /// The log start last told.
    log_start_offset: i64,
    /// Its place in the order of service.
    rank: u64,
}

#[derive(Debug)]
struct Session {
    id: i32,
    /// The epoch that the next request must have.
    epoch: i32,
    topic_ids: bool,
    kept: BTreeMap<Key, Kept>,
    /// Partitions by rank: the order of the next answer.
    order: BTreeMap<u64, Key>,
    next_rank: u64,
}

/// How a fetch stands to its connection's session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InSession {
    /// The session; 0 for none.
    pub id: i32,
    /// The answer leaves out what is no news.
    pub incremental: bool,
}

/// The sessions of a shard's connections.
#[derive(Debug)]
pub struct FetchSessions {
    sessions: BTreeMap<ConnectionId, Session>,
    /// Of all sessions.
    partitions: usize,
    rng: Rng,
}

impl FetchSessions {
    /// No sessions yet; ids are drawn from the seed.
    #[must_use]
    pub fn new(seed: u64) -> FetchSessions {
        FetchSessions { sessions: BTreeMap::new(), partitions: 0, rng: Rng::new(seed) }
    }

    /// Takes in a request: one that continues a session comes to ask for all that the session holds, in its order.
    ///
    /// # Errors
    /// The error code of the whole answer.
    pub fn begin(&mut self, conn: ConnectionId, request: &mut FetchRequest) -> Result<InSession, i16> {
        match request.session_epoch {
            INITIAL_EPOCH => {
                // With the id of an old session, or in place of one that the client forgot.
                self.end(conn);
                Ok(self.create(conn, request))
            }
            FINAL_EPOCH => {
                if request.session_id != 0 && self.id(conn) == Some(request.session_id) {
                    self.end(conn);
                }
                Ok(InSession::default())
            }
            epoch => self.go_on(conn, epoch, request),
        }
    }

    /// A connection is gone, or its session over.
    pub fn end(&mut self, conn: ConnectionId) {
        if let Some(session) = self.sessions.remove(&conn) {
            self.partitions -= session.kept.len();
        }
    }

    fn id(&self, conn: ConnectionId) -> Option<i32> {
        self.sessions.get(&conn).map(|s| s.id)
    }

    fn create(&mut self, conn: ConnectionId, request: &FetchRequest) -> InSession {
        let asked: usize = request.topics.iter().map(|t| t.partitions.len()).sum();
        if self.sessions.len() >= MAX_SESSIONS || self.partitions + asked > MAX_PARTITIONS {
            return InSession::default();
        }
        let id = 1 + self.rng.below(i32::MAX as u64) as i32;
        let mut session = Session {
            id,
            epoch: INITIAL_EPOCH + 1,
            topic_ids: request.topic_ids,
            kept: BTreeMap::new(),
            order: BTreeMap::new(),
            next_rank: 0,
        };
        session.keep(&request.topics);
        self.partitions += session.kept.len();
        self.sessions.insert(conn, session);
        InSession { id, incremental: false }
    }

    fn go_on(&mut self, conn: ConnectionId, epoch: i32, request: &mut FetchRequest) -> Result<InSession, i16> {
        let session = self.sessions.get_mut(&conn).filter(|s| s.id == request.session_id);
        let session = session.ok_or(error::FETCH_SESSION_ID_NOT_FOUND)?;
        let names_some = !request.topics.is_empty() || !request.forgotten_topics_data.is_empty();
        if names_some && session.topic_ids != request.topic_ids {
            return Err(error::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        if epoch != session.epoch {
            return Err(error::INVALID_FETCH_SESSION_EPOCH);
        }
        let before = session.kept.len();
        for topic in &request.forgotten_topics_data {
            for partition in &topic.partitions {
                session.forget(&(topic.topic.clone(), topic.topic_id, *partition));
            }
        }
        session.keep(&request.topics);
        session.epoch = session.epoch.checked_add(1).unwrap_or(INITIAL_EPOCH + 1);
        let (id, after) = (session.id, session.kept.len());
        (request.topics, request.topic_ids) = (session.topics(), session.topic_ids);
        self.partitions = self.partitions - before + after;
        if self.partitions > MAX_PARTITIONS {
            // It outgrew its place: the client begins anew, and is refused a session.
            self.end(conn);
            return Err(error::FETCH_SESSION_ID_NOT_FOUND);
        }
        if after == 0 {
            self.end(conn);
            return Ok(InSession::default());
        }
        Ok(InSession { id, incremental: true })
    }

    /// Takes note of what is told, and leaves out of it what is no news. `reach` says how many of the answer's ranges
    /// leave for certain, from the front.
    pub fn tell(&mut self, conn: ConnectionId, at: InSession, reach: u32, response: &mut FetchResponse) {
        response.session_id = at.id;
        let Some(session) = self.sessions.get_mut(&conn).filter(|s| s.id == at.id) else { return };
        for topic in &mut response.responses {
            let FetchableTopicResponse { topic: name, topic_id, partitions } = topic;
            partitions.retain(|data| {
                let key = (name.clone(), *topic_id, data.partition_index);
                session.tell(&key, data, reach) || !at.incremental
            });
        }
        if at.incremental {
            response.responses.retain(|t| !t.partitions.is_empty());
        }
    }
}

impl Session {
    /// Adds partitions, or changes what is asked of them.
    fn keep(&mut self, topics: &[FetchTopic]) {
        for topic in topics {
            for asked in &topic.partitions {
                let key = (topic.topic.clone(), topic.topic_id, asked.partition);
                if let Some(kept) = self.kept.get_mut(&key) {
                    kept.asked = asked.clone();
                    continue;
                }
                let rank = self.next_rank;
                self.next_rank += 1;
                self.order.insert(rank, key.clone());
                let kept = Kept { asked: asked.clone(), high_watermark: -1, log_start_offset: -1, rank };
                self.kept.insert(key, kept);
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(kept) = self.kept.remove(key) {
            self.order.remove(&kept.rank);
        }
    }

    /// All of it, as a full request would say it; neighbours of one topic together.
    fn topics(&self) -> Vec<FetchTopic> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for key in self.order.values() {
            let (topic, topic_id, _) = key;
            let asked = self.kept[key].asked.clone();
            match topics.last_mut().filter(|t| t.topic == *topic && t.topic_id == *topic_id) {
                Some(last) => last.partitions.push(asked),
                None => {
                    let (topic, topic_id) = (topic.clone(), *topic_id);
                    topics.push(FetchTopic { topic, topic_id, partitions: alloc::vec![asked] });
                }
            }
        }
        topics
    }

    /// Whether an answer about a partition is news; from here on it is told.
    fn tell(&mut self, key: &Key, data: &PartitionData, reach: u32) -> bool {
        // Forgotten by a later request, while this one waited.
        let Some(kept) = self.kept.get_mut(key) else { return true };
        let (records, served) = match &data.records {
            Records::Range(at) => (true, *at < reach),
            Records::Bytes(bytes) => (!bytes.is_empty(), false),
        };
        let refused = data.error_code != error::NONE;
        let news = records
            || refused
            || data.diverging_epoch.epoch >= 0
            || data.preferred_read_replica >= 0
            || data.high_watermark != kept.high_watermark
            || data.log_start_offset != kept.log_start_offset;
        kept.high_watermark = if refused { -1 } else { data.high_watermark };
        kept.log_start_offset = data.log_start_offset;
        if served {
            self.order.remove(&kept.rank);
            kept.rank = self.next_rank;
            self.order.insert(kept.rank, key.clone());
            self.next_rank += 1;
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ForgottenTopic;

    const ONE: ConnectionId = ConnectionId(1);
    const OTHER: ConnectionId = ConnectionId(2);

    fn topic(name: &str, partitions: &[(i32, i64)]) -> FetchTopic {
        let part = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
            partition: *partition,
            fetch_offset: *fetch_offset,
            ..FetchPartition::default()
        };
        FetchTopic { topic: name.into(), partitions: partitions.iter().map(part).collect(), ..FetchTopic::default() }
    }

    fn request(session_id: i32, session_epoch: i32, topics: &[FetchTopic]) -> FetchRequest {
        FetchRequest { session_id, session_epoch, topics: topics.to_vec(), ..FetchRequest::default() }
    }

    fn asked(request: &FetchRequest) -> Vec<(String, i32, i64)> {
        let parts = request.topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.topic, p)));
        parts.map(|(t, p)| (t.clone(), p.partition, p.fetch_offset)).collect()
    }

    /// An answer: topic, index, high watermark, and whether there is a range.
    fn answer(parts: &[(&str, i32, i64, bool)]) -> FetchResponse {
        let mut response = FetchResponse::default();
        let mut ranges = 0;
        for (name, partition_index, high_watermark, has) in parts {
            let mut data = PartitionData {
                partition_index: *partition_index,
                high_watermark: *high_watermark,
                ..Default::default()
            };
            if *has {
                data.records = Records::Range(ranges);
                ranges += 1;
            }
            let topic = (*name).into();
            response.responses.push(FetchableTopicResponse {
                topic,
                partitions: alloc::vec![data],
                ..Default::default()
            });
        }
        response
    }

    fn told(response: &FetchResponse) -> Vec<(String, i32)> {
        let parts = response.responses.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.topic, p)));
        parts.map(|(t, p)| (t.clone(), p.partition_index)).collect()
    }

    fn made(sessions: &mut FetchSessions, topics: &[FetchTopic]) -> i32 {
        let made = sessions.begin(ONE, &mut request(0, 0, topics)).unwrap();
        assert!(made.id > 0 && !made.incremental);
        made.id
    }

    #[test]
    fn a_request_names_changes_and_an_answer_news() {
        let mut sessions = FetchSessions::new(1);
        let id = made(&mut sessions, &[topic("a", &[(0, 5), (1, 6)])]);
        let mut first = answer(&[("a", 0, 5, false), ("a", 1, 6, false)]);
        sessions.tell(ONE, InSession { id, incremental: false }, 9, &mut first);
        assert_eq!((first.session_id, told(&first).len()), (id, 2), "the first answer names all");

        let mut next = request(id, 1, &[topic("a", &[(1, 7)]), topic("b", &[(0, 0)])]);
        let at = sessions.begin(ONE, &mut next).unwrap();
        assert_eq!(at, InSession { id, incremental: true });
        assert_eq!(asked(&next), [("a".into(), 0, 5), ("a".into(), 1, 7), ("b".into(), 0, 0)]);
        let mut same = answer(&[("a", 0, 5, false), ("a", 1, 8, false), ("b", 0, 0, false)]);
        sessions.tell(ONE, at, 9, &mut same);
        assert_eq!(told(&same), [("a".into(), 1), ("b".into(), 0)], "a high watermark moved, and a new partition");

        let mut forget = request(id, 2, &[]);
        let gone = ForgottenTopic { topic: "a".into(), partitions: alloc::vec![0], ..Default::default() };
        forget.forgotten_topics_data.push(gone);
        sessions.begin(ONE, &mut forget).unwrap();
        assert_eq!(asked(&forget), [("a".into(), 1, 7), ("b".into(), 0, 0)]);
    }

    #[test]
    fn an_error_is_always_news_and_so_is_its_end() {
        let mut sessions = FetchSessions::new(1);
        let id = made(&mut sessions, &[topic("a", &[(0, 5)])]);
        let at = InSession { id, incremental: true };
        for error_code in [error::NONE, error::OFFSET_OUT_OF_RANGE, error::OFFSET_OUT_OF_RANGE, error::NONE] {
            let mut response = answer(&[("a", 0, 5, false)]);
            response.responses[0].partitions[0].error_code = error_code;
            sessions.tell(ONE, at, 9, &mut response);
            assert_eq!(told(&response).len(), 1, "{error_code}");
        }
        let mut response = answer(&[("a", 0, 5, false)]);
        sessions.tell(ONE, at, 9, &mut response);
        assert_eq!(told(&response).len(), 0);
    }

    #[test]
    fn what_was_served_moves_behind_what_was_not_reached() {
        let mut sessions = FetchSessions::new(1);
        let id = made(&mut sessions, &[topic("a", &[(0, 0), (1, 0), (2, 0)])]);
        let mut response = answer(&[("a", 0, 9, true), ("a", 1, 9, true), ("a", 2, 9, true)]);
        sessions.tell(ONE, InSession { id, incremental: false }, 1, &mut response);
        let mut next = request(id, 1, &[]);
        sessions.begin(ONE, &mut next).unwrap();
        assert_eq!(asked(&next).iter().map(|(_, p, _)| *p).collect::<Vec<_>>(), [1, 2, 0]);
    }

    #[test]
    fn what_does_not_belong_to_a_session_is_refused() {
        let mut sessions = FetchSessions::new(1);
        let id = made(&mut sessions, &[topic("a", &[(0, 0)])]);
        let mut begin = |conn, r: &mut FetchRequest| sessions.begin(conn, r);
        assert_eq!(begin(ONE, &mut request(id + 1, 1, &[])), Err(error::FETCH_SESSION_ID_NOT_FOUND));
        assert_eq!(begin(OTHER, &mut request(id, 1, &[])), Err(error::FETCH_SESSION_ID_NOT_FOUND), "another's");
        assert_eq!(begin(ONE, &mut request(id, 2, &[])), Err(error::INVALID_FETCH_SESSION_EPOCH));
        let mut ids = request(id, 1, &[FetchTopic { topic_id: Uuid::METADATA, ..topic("", &[(0, 0)]) }]);
        ids.topic_ids = true;
        assert_eq!(begin(ONE, &mut ids), Err(error::FETCH_SESSION_TOPIC_ID_ERROR));
        assert_eq!(
            begin(ONE, &mut request(id, 1, &[])),
            Ok(InSession { id, incremental: true }),
            "none of it harmed it"
        );
        assert_eq!(begin(ONE, &mut request(id, -1, &[])), Ok(InSession::default()));
        assert_eq!(begin(ONE, &mut request(id, 2, &[])), Err(error::FETCH_SESSION_ID_NOT_FOUND), "closed");
    }

    #[test]
    fn forgetting_the_last_partition_ends_a_session() {
        let mut sessions = FetchSessions::new(1);
        let id = made(&mut sessions, &[topic("a", &[(0, 0)])]);
        let mut last = request(id, 1, &[]);
        let gone = ForgottenTopic { topic: "a".into(), partitions: alloc::vec![0], ..Default::default() };
        last.forgotten_topics_data.push(gone);
        assert_eq!(sessions.begin(ONE, &mut last), Ok(InSession::default()));
        assert_eq!((sessions.sessions.len(), sessions.partitions), (0, 0));
    }

    #[test]
    fn epochs_go_on_at_1_after_the_last() {
        let mut sessions = FetchSessions::new(1);
        let id = made(&mut sessions, &[topic("a", &[(0, 0)])]);
        sessions.sessions.get_mut(&ONE).unwrap().epoch = i32::MAX;
        assert!(sessions.begin(ONE, &mut request(id, i32::MAX, &[])).is_ok());
        assert!(sessions.begin(ONE, &mut request(id, 1, &[])).is_ok());
    }

    #[test]
    fn sessions_and_their_partitions_are_bounded() {
        let mut sessions = FetchSessions::new(1);
        for conn in 0..MAX_SESSIONS as u64 {
            assert!(sessions.begin(ConnectionId(conn), &mut request(0, 0, &[topic("a", &[(0, 0)])])).unwrap().id > 0);
        }
        let full = sessions.begin(ConnectionId(5000), &mut request(0, 0, &[topic("a", &[(0, 0)])]));
        assert_eq!(full, Ok(InSession::default()), "refused, and each request stays a full one");
        let again = sessions.begin(ConnectionId(7), &mut request(0, 0, &[topic("a", &[(0, 0)])])).unwrap();
        assert!(again.id > 0, "a connection has one, and may replace it");
        (0..MAX_SESSIONS as u64).for_each(|conn| sessions.end(ConnectionId(conn)));
        assert_eq!(sessions.partitions, 0);

        let many: Vec<(i32, i64)> = (0..MAX_PARTITIONS as i32).map(|p| (p, 0)).collect();
        let id = made(&mut sessions, &[topic("a", &many)]);
        let mut more = request(id, 1, &[topic("b", &[(0, 0)])]);
        assert_eq!(sessions.begin(ONE, &mut more), Err(error::FETCH_SESSION_ID_NOT_FOUND));
        assert_eq!(sessions.partitions, 0, "it is over");
    }
}
