//! Configs: what may be set, what is in effect, and where that comes from (KIP-226: topic, broker, cluster, file, default).
//!
//! A value that would have no effect here is refused with a sentence, never accepted and ignored; a setting that is not
//! built takes its default only. Values are kept as they were written. A config whose value takes effect loses its
//! [`Definition::only`] in the table, in the same commit.

mod broker;
mod layers;
mod topic;

pub use broker::{BrokerKey, broker_key, broker_keys};
pub use layers::{Layers, Setting, Source, TimestampType};
use topic::FOREVER_MS;
pub use topic::{FLUSH_NEVER, INTERNAL_SEGMENT_BYTES, topic, topics};

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Values by key; only keys that were set.
pub type Configs = BTreeMap<String, String>;

/// Why a config is refused: a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

/// `ConfigDef.Type`, as DescribeConfigs numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
#[allow(missing_docs, reason = "Kafka's names")]
pub enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Password = 9,
}

/// Which values mean something.
#[derive(Clone, Copy, Debug)]
pub enum Domain {
    /// `true` or `false`.
    Boolean,
    /// A number, both ends included.
    Number(i64, i64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any of these words, with commas between.
    Words(&'static [&'static str]),
    /// Anything.
    Text,
}

/// A broker's key that a topic's falls back to.
#[derive(Clone, Copy, Debug)]
pub struct Synonym {
    /// The key.
    pub key: &'static str,
    /// How many of the topic's units make one of the broker's.
    pub unit: i64,
    /// The broker's default, if the key has one.
    pub default: Option<&'static str>,
}

/// A config.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Its key.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Which values mean something.
    pub domain: Domain,
    /// What holds when nobody set it.
    pub default: &'static str,
    /// The broker's keys that it falls back to, the first one that is set.
    pub synonyms: &'static [Synonym],
    /// The only values that take effect here; `None` for all of the domain.
    pub built: Option<&'static [&'static str]>,
    /// A sentence on what it does.
    pub documentation: &'static str,
}

impl Definition {
    /// Leaves only these values: no other would take effect.
    #[must_use]
    pub const fn only(self, values: &'static [&'static str]) -> Definition {
        Definition { built: Some(values), ..self }
    }

    /// Checks a value.
    ///
    /// # Errors
    /// When it means nothing, or would have no effect.
    pub fn check(&self, value: &str) -> Result<(), ConfigError> {
        let name = self.name;
        let value = value.trim();
        self.domain.check(value).map_err(|why| ConfigError(format!("{name}: {value:?} is not {why}")))?;
        match self.built {
            Some(values) if !values.iter().any(|v| self.domain.same(v, value)) => {
                let values = values.iter().map(|v| format!("{v:?}")).collect::<Vec<_>>().join(" or ");
                Err(ConfigError(format!("{name}={value} would have no effect on this broker: it takes {values} only")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Domain {
    /// Says what a value is not.
    fn check(&self, value: &str) -> Result<(), String> {
        match self {
            Domain::Boolean if boolean(value).is_none() => Err("true or false".to_string()),
            Domain::Number(least, most) => match value.parse::<i64>() {
                Ok(n) if (*least..=*most).contains(&n) => Ok(()),
                Ok(_) => Err(format!("within {least} to {most}")),
                Err(_) => Err("a whole number".to_string()),
            },
            Domain::Word(words) if !words.contains(&value) => Err(format!("one of {}", words.join(", "))),
            Domain::Words(words) if list(value).any(|v| !words.contains(&v)) => {
                Err(format!("a list of {}", words.join(", ")))
            }
            Domain::Boolean | Domain::Word(_) | Domain::Words(_) | Domain::Text => Ok(()),
        }
    }

    /// Whether two values that mean something mean the same.
    fn same(&self, a: &str, b: &str) -> bool {
        match self {
            Domain::Boolean => boolean(a) == boolean(b),
            Domain::Number(..) => a.parse::<i64>() == b.parse::<i64>(),
            Domain::Words(words) => words.iter().all(|word| list(a).any(|v| v == *word) == list(b).any(|v| v == *word)),
            Domain::Word(_) | Domain::Text => a == b,
        }
    }
}

fn boolean(text: &str) -> Option<bool> {
    let is = |word: &str| text.trim().eq_ignore_ascii_case(word);
    if is("true") { Some(true) } else { is("false").then_some(false) }
}

/// The elements of a list config.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|element| !element.is_empty())
}

/// Checks one setting of a topic.
///
/// # Errors
/// For an unknown key, for a value that means nothing or would have no effect, and for none.
pub fn check_topic(key: &str, value: Option<&str>) -> Result<(), ConfigError> {
    let definition = topic(key).ok_or_else(|| ConfigError(format!("{key} is not a topic config")))?;
    let value = value.ok_or_else(|| ConfigError(format!("{key} has no value")))?;
    definition.check(value)
}

/// A broker's value in the topic's units.
fn in_units<'a>(value: &'a str, unit: i64) -> Cow<'a, str> {
    match value.trim().parse::<i64>() {
        Ok(n) if unit != 1 && n >= 0 => n.saturating_mul(unit).to_string().into(),
        // Unlimited, in every unit.
        Ok(_) if unit != 1 => "-1".into(),
        Ok(_) | Err(_) => value.into(),
    }
}

#[cfg(test)]
mod tests;
