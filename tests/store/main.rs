//! The store against a naive model: over the simulated disk with crashes anywhere, and over a real one.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod bytes;
mod crash;
mod damage;
mod faults;
mod groups;
mod journal;
mod model;
mod play;
mod world;
