//! The simulator: whole brokers run, broken and replayed from a seed. Two engines (`world`, `direct`), one set of
//! oracles.

pub mod disk;
pub mod history;
pub mod report;
pub mod trace;
