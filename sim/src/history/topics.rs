//! Which topics exist, by what was acknowledged.
//!
//! Properties: `topics-stay` (a topic whose creation was acknowledged is in every answer to a later question, with its
//! id and its partitions, whichever shard answers, crashes or not, until somebody asks for its deletion),
//! `deleted-stays-deleted` (an id whose deletion was acknowledged is in none: KIP-516), `partitions-never-fall` (KIP-195).
//! What is acknowledged is a committed record of the metadata log (KIP-500).

use std::collections::BTreeMap;

use klamm_core::ids::Uuid;
use klamm_core::wire::{MetadataResponse, MetadataResponseTopic, error};

use super::History;
use crate::report::Violation;

/// When a question was asked, among all that happened to topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// A topic whose creation was acknowledged.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Under which the broker knows it.
    pub name: String,
    /// If it was told.
    pub id: Option<Uuid>,
    /// So many partitions were acknowledged,
    pub partitions: usize,
    /// and so many asked for.
    most: usize,
    /// Since when it had how many.
    counts: Vec<(Moment, usize)>,
    deleting: bool,
    deleted: Option<Moment>,
    /// Somebody asked for a limit on the size of its batches.
    pub limited: bool,
    /// Its records may bear the broker's time.
    pub restamped: bool,
    /// The largest size of a segment that was asked for, bytes.
    pub segment_bytes: u64,
    /// It is to be deleted at some time, and made again.
    pub mortal: bool,
}

/// All that is known of topics, by the name of their life.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics {
    of: BTreeMap<String, Topic>,
    moment: u64,
}

/// The broker's name of the topic that a life is of.
#[must_use]
pub fn name_of(life: &str) -> &str {
    life.split('#').next().unwrap_or(life)
}

impl History {
    /// A topic was created: `life` is its name in this history, `name` the broker's.
    pub fn created(&mut self, life: &str, name: &str, id: Option<Uuid>, partitions: usize) {
        let now = self.topics.tick();
        let topic = Topic {
            name: name.to_owned(),
            id,
            partitions,
            most: partitions,
            counts: vec![(now, partitions)],
            deleting: false,
            deleted: None,
            limited: false,
            restamped: false,
            segment_bytes: 0,
            mortal: life != name,
        };
        self.topics.of.insert(life.to_owned(), topic);
    }

    /// What is known of a topic.
    #[must_use]
    pub fn topic(&self, life: &str) -> Option<&Topic> {
        self.topics.of.get(life)
    }

    /// What is known of a topic, to be changed.
    pub fn topic_mut(&mut self, life: &str) -> Option<&mut Topic> {
        self.topics.of.get_mut(life)
    }

    /// Topics that were created and that nobody asked to delete.
    pub fn alive(&self) -> impl Iterator<Item = (&String, &Topic)> {
        self.topics.of.iter().filter(|(_, topic)| !topic.deleting)
    }

    /// The topic that has an id.
    #[must_use]
    pub fn life(&self, id: Uuid) -> Option<(&String, &Topic)> {
        self.topics.of.iter().find(|(_, topic)| topic.id == Some(id))
    }

    /// Somebody asks for a topic to have so many partitions.
    pub fn growing(&mut self, life: &str, partitions: usize) {
        if let Some(topic) = self.topics.of.get_mut(life) {
            topic.most = topic.most.max(partitions);
        }
    }

    /// It has.
    pub fn grown(&mut self, life: &str, partitions: usize) {
        let now = self.topics.tick();
        if let Some(topic) = self.topics.of.get_mut(life).filter(|topic| topic.partitions < partitions) {
            topic.partitions = partitions;
            topic.counts.push((now, partitions));
        }
    }

    /// The topic that has an id, if its deletion was acknowledged.
    #[must_use]
    pub fn dead(&self, id: Uuid) -> Option<&String> {
        self.life(id).filter(|(_, topic)| topic.deleted.is_some()).map(|(life, _)| life)
    }

    /// Somebody asks for a topic to be deleted.
    pub fn deleting(&mut self, life: &str) {
        if let Some(topic) = self.topics.of.get_mut(life) {
            topic.deleting = true;
        }
    }

    /// It is.
    pub fn deleted(&mut self, life: &str) {
        let now = self.topics.tick();
        if let Some(topic) = self.topics.of.get_mut(life) {
            (topic.deleting, topic.deleted) = (true, Some(now));
        }
    }

    /// Now: what was acknowledged so far must be in the answer to what is asked now.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment(self.topics.moment)
    }

    /// The answer to a question about all topics, asked then.
    ///
    /// # Errors
    /// When it contradicts what was acknowledged before.
    pub fn listed(&self, asked: Moment, response: &MetadataResponse) -> Result<(), Violation> {
        for (life, topic) in &self.topics.of {
            let here = response.topics.iter().find(|found| match topic.id {
                Some(id) => found.topic_id == id,
                None => found.name.as_deref() == Some(&topic.name),
            });
            topic.agrees(life, asked, here)?;
        }
        Ok(())
    }
}

impl Topics {
    fn tick(&mut self) -> Moment {
        self.moment += 1;
        Moment(self.moment)
    }
}

impl Topic {
    fn agrees(&self, life: &str, asked: Moment, found: Option<&MetadataResponseTopic>) -> Result<(), Violation> {
        if self.deleted.is_some_and(|deleted| deleted <= asked) {
            return match found.filter(|_| self.id.is_some()) {
                None => Ok(()),
                Some(found) => Err(Violation {
                    property: "deleted-stays-deleted",
                    fact: format!("the deletion of {life} with id {:?} was acknowledged", self.id),
                    contradiction: format!("a later Metadata answer has {found:?}"),
                }),
            };
        }
        let Some((_, count)) = self.counts.iter().rev().find(|(since, _)| *since <= asked) else { return Ok(()) };
        let Some(found) = found.filter(|found| found.error_code == error::NONE) else {
            return match self.deleting {
                true => Ok(()),
                false => Err(Violation {
                    property: "topics-stay",
                    fact: format!("{life} was created with id {:?} and {count} partitions", self.id),
                    contradiction: format!("a later Metadata answer has {found:?}"),
                }),
            };
        };
        let has = found.partitions.len();
        if has < *count || has > self.most {
            return Err(Violation {
                property: "partitions-never-fall",
                fact: format!("{life} had {count} partitions, and {} were asked for at most", self.most),
                contradiction: format!("it has {has}"),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_core::wire::MetadataResponsePartition;

    const ID: Uuid = Uuid::METADATA;

    fn metadata(partitions: usize) -> MetadataResponse {
        let partitions = vec![MetadataResponsePartition::default(); partitions];
        let topic = MetadataResponseTopic {
            name: Some("t".into()),
            topic_id: ID,
            partitions,
            ..MetadataResponseTopic::default()
        };
        MetadataResponse { topics: vec![topic], ..MetadataResponse::default() }
    }

    fn one() -> History {
        let mut h = History::default();
        h.created("t", "t", Some(ID), 2);
        h
    }

    fn broken(h: &History, asked: Moment, response: &MetadataResponse) -> &'static str {
        h.listed(asked, response).unwrap_err().property
    }

    #[test]
    fn what_was_created_is_there() {
        let mut h = one();
        assert_eq!(h.listed(h.moment(), &metadata(2)), Ok(()));
        assert_eq!(broken(&h, h.moment(), &MetadataResponse::default()), "topics-stay");
        assert_eq!(broken(&h, h.moment(), &metadata(1)), "partitions-never-fall");
        assert_eq!(broken(&h, h.moment(), &metadata(3)), "partitions-never-fall", "nobody asked for more");
        h.growing("t", 3);
        assert_eq!(h.listed(h.moment(), &metadata(3)), Ok(()));
        let before = h.moment();
        h.grown("t", 3);
        assert_eq!(h.listed(before, &metadata(2)), Ok(()), "asked before that was told");
        assert_eq!(broken(&h, h.moment(), &metadata(2)), "partitions-never-fall");
    }

    #[test]
    fn what_was_deleted_is_not() {
        let mut h = one();
        let before = h.moment();
        h.deleting("t");
        assert_eq!(h.listed(before, &metadata(2)), Ok(()));
        assert_eq!(h.listed(before, &MetadataResponse::default()), Ok(()));
        h.deleted("t");
        assert_eq!(h.listed(before, &metadata(2)), Ok(()), "asked before");
        assert_eq!(broken(&h, h.moment(), &metadata(2)), "deleted-stays-deleted");
    }
}
