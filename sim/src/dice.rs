//! The draws of one run: each by its site and its key, through the run's book of decisions.
//!
//! Every draw has a key of its own, so that adding one moves no other. What it means is in the key (the n-th message of a
//! client's n-th connection), so that leaving out one thing leaves most others as they were.

use std::fmt;
use std::rc::Rc;

use klamm_core::rng::draw;

use crate::decisions::{Book, Turn};

/// Draws of one run.
#[derive(Clone)]
pub struct Dice {
    seed: u64,
    book: Rc<Book>,
}

impl fmt::Debug for Dice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seed)
    }
}

impl Dice {
    /// Those of a seed, by a book.
    #[must_use]
    pub fn new(seed: u64, book: Rc<Book>) -> Dice {
        Dice { seed, book }
    }

    /// Those of a seed; nothing of it is kept.
    #[must_use]
    pub fn blank(seed: u64) -> Dice {
        Dice::new(seed, Rc::new(Book::Blank))
    }

    /// Other draws by the same book: for a part of the run that has sites of its own.
    #[must_use]
    pub(crate) fn apart(&self, part: &str) -> Dice {
        Dice { seed: self.bits(part, 0), book: self.book.clone() }
    }

    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    pub(crate) fn bits(&self, site: &str, key: u64) -> u64 {
        draw(self.seed, site, key)
    }

    /// A number below `n`; 0 when `n` is 0.
    pub(crate) fn below(&self, site: &str, key: u64, n: u64) -> u64 {
        ((u128::from(self.bits(site, key)) * u128::from(n)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&self, site: &str, key: u64, low: u64, high: u64) -> u64 {
        low + self.below(site, key, high - low + 1)
    }

    /// True once in `n` times; never when `n` is 0.
    pub(crate) fn one_in(&self, site: &str, key: u64, n: u64) -> bool {
        n > 0 && self.below(site, key, n) == 0
    }

    /// One of a few.
    pub(crate) fn pick<T: Clone>(&self, site: &str, key: u64, of: &[T]) -> T {
        of[self.below(site, key, of.len() as u64) as usize].clone()
    }

    /// What becomes of something, by default `default`.
    pub(crate) fn fate(&self, site: &str, key: u64, default: u64, drawn: impl FnOnce() -> u64) -> u64 {
        self.book.fate(site, key, default, drawn)
    }

    /// Whether something goes wrong, once in `n` times: by default it does not. Where `n` is 0 it cannot, even if a book has
    /// it that what bears this key did: of a run with less in it keys come later, some of them after the last fault.
    pub(crate) fn mishap(&self, site: &str, key: u64, n: u64) -> bool {
        n > 0 && self.fate(site, key, 0, || u64::from(self.one_in(site, key, n))) == 1
    }

    /// How much more than by default, at most `most`.
    pub(crate) fn more(&self, site: &str, key: u64, most: u64) -> u64 {
        self.fate(site, key, 0, || self.below(site, key, most + 1)).min(most)
    }

    /// A delay around `mean`, with a tail: one in eight is doubled, one in sixteen fourfold, at most 64-fold.
    pub(crate) fn delay(&self, site: &str, key: u64, mean: u64) -> u64 {
        self.fate(site, key, mean, || self.around(site, key, mean))
    }

    /// What [`Dice::delay`] draws.
    pub(crate) fn around(&self, site: &str, key: u64, mean: u64) -> u64 {
        let bits = self.bits(site, key);
        let stretch = (bits.trailing_zeros().saturating_sub(2)).min(6);
        let base = mean / 2 + ((u128::from(bits >> 32) * u128::from(mean)) >> 32) as u64;
        base << stretch
    }

    /// A delay from `low` to `high`.
    pub(crate) fn pause(&self, site: &str, key: u64, low: u64, high: u64) -> u64 {
        self.fate(site, key, u64::midpoint(low, high), || self.between(site, key, low, high))
    }

    /// A client is ready to take a turn: its n-th, or a later one.
    pub(crate) fn turn(&self, client: u64, n: u64, now: u64) -> Turn {
        self.book.turn(client, n, now)
    }

    /// A parameter of the run, from `low` to `high`.
    pub(crate) fn set(&self, name: &str, key: u64, low: u64, high: u64) -> u64 {
        self.book.parameter(&format!("{name} {key}"), self.between(name, key, low, high))
    }

    /// A parameter that is true once in `n` times.
    pub(crate) fn set_one_in(&self, name: &str, key: u64, n: u64) -> bool {
        self.book.parameter(&format!("{name} {key}"), u64::from(self.one_in(name, key, n))) == 1
    }

    /// A parameter that is one of a few.
    pub(crate) fn set_to(&self, name: &str, of: &[u64]) -> u64 {
        self.book.parameter(name, self.pick(name, 0, of))
    }
}
