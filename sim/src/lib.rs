//! The simulator: whole brokers run, broken and replayed from a seed. Two engines (`world`, `direct`), one set of
//! oracles.

pub mod atlas;
pub mod cli;
pub mod client;
pub mod clock;
pub mod decisions;
pub mod dice;
pub mod direct;
pub mod disk;
pub mod epochs;
pub mod harmed;
pub mod history;
pub mod net;
pub mod panics;
pub mod properties;
pub mod report;
pub mod shrink;
pub mod trace;
pub mod workload;
pub mod world;
