//! Klamm's node: the real host of the core.

pub mod disk;
pub mod host;
