//! How often something took how long, or how much: counted where it happens, read by anyone. One writer each, relaxed:
//! a reader may see a sum without its last addend.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Buckets of a histogram: each twice as wide as the one before, the last one without an end.
pub const BUCKETS: usize = 20;

/// Counts by powers of two of a unit.
#[derive(Debug)]
pub struct Histogram {
    unit: u64,
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

/// What a histogram has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The upper bound (inclusive) of the first bucket; that of each other is twice the one before it.
    pub unit: u64,
    /// By bucket.
    pub buckets: [u64; BUCKETS],
    /// Of everything observed.
    pub sum: u64,
}

impl Histogram {
    /// Whose first bucket goes up to `unit`.
    #[must_use]
    pub const fn new(unit: u64) -> Histogram {
        assert!(unit > 0, "a histogram has a unit");
        Histogram { unit, buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }

    /// Counts one.
    pub fn observe(&self, value: u64) {
        let units = value.div_ceil(self.unit).max(1);
        let bucket = units.next_power_of_two().trailing_zeros() as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let buckets = std::array::from_fn(|i| self.buckets[i].load(Relaxed));
        Counts { unit: self.unit, buckets, sum: self.sum.load(Relaxed) }
    }
}

impl Counts {
    /// How many were observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds what another one of the same unit has counted.
    pub fn add(&mut self, other: &Counts) {
        assert!(self.unit == 0 || self.unit == other.unit, "histograms of {} and {}", self.unit, other.unit);
        self.unit = other.unit;
        self.sum += other.sum;
        self.buckets.iter_mut().zip(other.buckets).for_each(|(mine, its)| *mine += its);
    }

    /// Each bucket's upper bound, and what is in it; the last one has none.
    pub fn bounds(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bound = |i: usize| (i + 1 < BUCKETS).then(|| self.unit << i);
        self.buckets.iter().enumerate().map(move |(i, count)| (bound(i), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_at_or_below_its_bucket() {
        let histogram = Histogram::new(10);
        for value in [0, 1, 10, 11, 20, 21, 40, u64::MAX / 2] {
            histogram.observe(value);
        }
        let counts = histogram.counts();
        assert_eq!(counts.buckets[..3], [3, 2, 2]);
        assert_eq!((counts.buckets[BUCKETS - 1], counts.count()), (1, 8));
        let bounds: Vec<_> = counts.bounds().map(|(bound, _)| bound).collect();
        assert_eq!((bounds[0], bounds[1], bounds[BUCKETS - 1]), (Some(10), Some(20), None));
    }
}
