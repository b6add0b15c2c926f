//! A consumer's side of a fetch session (KIP-227): what was asked before is remembered by the broker, requests name what
//! changed, answers what is news.
//!
//! Properties: `session-kept` (on its own connection no session is refused), `none-left-out` (a partition that is known to
//! have something to read is in the answers: that is news).

use super::consumer::{Cursor, read};
use super::ledger::Ledger;
use crate::client::{Connection, Lost};
use crate::history::name_of;
use klamm_core::ids::Uuid;
use klamm_core::wire::{FetchRequest, ForgottenTopic, Response, error};
use std::collections::BTreeMap;

/// How long an answer may take beyond what was asked for.
const ANSWER_MS: u64 = 2_000;
/// So many answers in a row may leave a partition out that has something to read.
const PATIENCE: usize = 3;

/// One session, on one connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    id: i32,
    epoch: i32,
    /// What the broker knows: where each partition is to be read.
    told: BTreeMap<(Uuid, i32), (i64, String)>,
    /// How many answers in a row left a partition out that had something to read.
    missed: BTreeMap<(Uuid, i32), usize>,
}

impl Session {
    /// One fetch over all cursors: moves them.
    pub(super) async fn fetch(
        &mut self,
        connection: &mut Connection,
        ledger: &Ledger,
        version: i16,
        mut request: FetchRequest,
        partition_max_bytes: i32,
        cursors: &mut [Cursor],
    ) -> Result<(), Lost> {
        (request.session_id, request.session_epoch) = (self.id, self.epoch);
        self.name_news(&mut request, partition_max_bytes, cursors);
        let floors: Vec<(i64, i64)> = {
            let history = ledger.history.borrow();
            cursors.iter().map(|c| (history.end(&c.at), history.start(&c.at))).collect()
        };
        let ms = ANSWER_MS + u64::try_from(request.max_wait_ms).unwrap_or_default();
        let response = match connection.ask(version, request, ms).await? {
            Response::Fetch(response) => response,
            other => return Err(Lost::Nonsense(format!("{:?} to Fetch", other.key()))),
        };
        if response.error_code != error::NONE || (self.id != 0 && response.session_id != self.id) {
            let at = cursors.first().map(|cursor| cursor.at.clone()).unwrap_or_default();
            let fact = format!("session {} was in its epoch {} on this connection", self.id, self.epoch);
            let name = error::name(response.error_code);
            ledger.broken("session-kept", &at, &fact, format!("{name}, and session {}", response.session_id));
        }
        (self.id, self.epoch) = (response.session_id, self.epoch + 1);
        ledger.count("fetches in a session", u64::from(self.epoch > 1));
        for (cursor, floors) in cursors.iter_mut().zip(floors) {
            // A topic may stand in it more than once: served partitions move behind the others.
            let of_it = response.responses.iter().filter(|t| match t.topic.is_empty() {
                true => t.topic_id == cursor.topic,
                false => t.topic == name_of(&cursor.at.0),
            });
            let part = of_it.flat_map(|t| &t.partitions).find(|p| p.partition_index == cursor.at.1);
            let before = cursor.next;
            let has = before < floors.0;
            if let Some(part) = part {
                read(ledger, cursor, floors, part);
            }
            let missed = self.missed.entry((cursor.topic, cursor.at.1)).or_default();
            *missed = if has && part.is_none() { *missed + 1 } else { 0 };
            if *missed > PATIENCE {
                let fact = format!("it is read at {before}, and everything below {} was committed", floors.0);
                ledger.broken("none-left-out", &cursor.at, &fact, format!("{missed} answers left it out"));
            }
        }
        if self.id == 0 {
            *self = Session::default();
        }
        Ok(())
    }

    /// Names what the broker does not know yet, and what it need not know any more.
    fn name_news(&mut self, request: &mut FetchRequest, partition_max_bytes: i32, cursors: &[Cursor]) {
        let mut gone = self.told.clone();
        for cursor in cursors {
            let key = (cursor.topic, cursor.at.1);
            gone.remove(&key);
            let name = name_of(&cursor.at.0).to_owned();
            if self.told.insert(key, (cursor.next, name)).is_none_or(|(told, _)| told != cursor.next) {
                cursor.ask(request, partition_max_bytes);
            }
        }
        for ((topic_id, partition), (_, topic)) in gone {
            self.told.remove(&(topic_id, partition));
            let forgotten = ForgottenTopic { topic, topic_id, partitions: vec![partition] };
            request.forgotten_topics_data.push(forgotten);
        }
    }
}
