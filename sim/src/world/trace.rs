//! What the shards did: a rolling hash of every step, and the last steps (or all) for people.

use crate::trace;
use klamm_core::effect::{Effect, Input};
use klamm_core::ids::Now;
use klamm_core::rng;
use std::collections::VecDeque;
use std::fmt::Write;

/// Entries kept of a run whose whole trace nobody asked for.
const LAST: usize = 40;

#[derive(Debug)]
enum What {
    Step { shard: u16, input: Input, effects: Vec<Effect> },
    Event(String),
}

#[derive(Debug)]
pub(super) struct Trace {
    digest: u64,
    steps: u64,
    whole: bool,
    entries: VecDeque<(u64, What)>,
    text: String,
}

impl Trace {
    /// `whole`: every entry is kept, not only the last ones.
    pub(super) fn new(whole: bool) -> Trace {
        Trace { digest: 0, steps: 0, whole, entries: VecDeque::new(), text: String::new() }
    }

    /// Hash of all of it.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// A shard took a step, `at` nanoseconds from the start.
    pub(super) fn step(&mut self, at: u64, shard: u16, now: Now, input: &Input, effects: &[Effect]) {
        self.steps += 1;
        self.text.clear();
        // Writing to a String does not fail.
        let _ = write!(self.text, "{at} {shard} {now:?} {input:?} {effects:?}");
        self.digest = rng::mix(self.digest ^ hash(self.text.as_bytes()));
        self.keep(at, What::Step { shard, input: input.clone(), effects: effects.to_vec() });
    }

    /// Something happened to the world.
    pub(super) fn event(&mut self, at: u64, what: String) {
        self.digest = rng::mix(self.digest ^ at ^ hash(what.as_bytes()));
        self.keep(at, What::Event(what));
    }

    fn keep(&mut self, at: u64, what: What) {
        if !self.whole && self.entries.len() == LAST {
            self.entries.pop_front();
        }
        self.entries.push_back((at, what));
    }

    /// A line for each entry kept.
    pub(super) fn lines(&self) -> Vec<String> {
        self.entries.iter().map(|(at, what)| line(*at, what)).collect()
    }
}

fn line(at: u64, what: &What) -> String {
    let us = at / 1_000;
    let moment = format!("{:>3}.{:06}", us / 1_000_000, us % 1_000_000);
    match what {
        What::Event(what) => format!("{moment} -- {what}"),
        What::Step { shard, input, effects } => {
            let mut line = format!("{moment} s{shard} {}", trace::input(input));
            for effect in effects {
                line.push_str(" → ");
                line.push_str(&trace::effect(effect));
            }
            line
        }
    }
}

/// Eight bytes at a time; not for secrets.
fn hash(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    let mut h = bytes.len() as u64;
    for word in words.by_ref() {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        h = (h ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        h ^= h >> 29;
    }
    words.remainder().iter().fold(h, |h, byte| (h ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
