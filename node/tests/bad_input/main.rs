//! Bad input to a running broker: what it answers, what that costs it, and that nobody else notices.
//!
//! Each test is an entry of a list: bytes or requests that a client should not send, and the stated answer. While it
//! is sent, a polite client produces and fetches over connections of its own; at the end every record of it is there,
//! none of its rounds took long, and the broker never held more memory than the bytes received justify (counted by the
//! allocator, on the broker's own threads; zstd's decoder, which is C, is not seen by it).

#![allow(unreachable_pub, clippy::unwrap_used, reason = "a test of several files")]

#[path = "../common/mod.rs"]
mod common;

mod admin;
mod batches;
mod disks;
mod fetches;
mod frames;
mod net;
mod rig;

#[global_allocator]
static ALLOCATOR: rig::Counting = rig::Counting;
