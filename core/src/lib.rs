//! Klamm's decisions, and nothing else: no I/O, no clock, no randomness of its own, no locks, no `await`.
//!
//! `Shard::step(now, input, &mut effects)` is the one way in and out. The same state, time and input give the same
//! next state and the same effects in the same order; `node` and `sim` are hosts of that function.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod controller;
pub mod coordinator;
pub mod effect;
pub mod ids;
mod line;
pub mod log;
pub mod machine;
pub mod metadata;
pub mod quorum;
pub mod record;
pub mod replica;
pub mod rng;
pub mod session;
pub mod shard;
pub mod table;
pub mod varint;
pub mod wire;
