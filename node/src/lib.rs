//! Klamm's node: the real host of the core.

pub mod bench;
pub mod cli;
pub mod client;
pub mod codec;
pub mod disk;
pub mod host;
pub mod http;
pub mod meter;
pub mod net;

/// CRC-32C (Castagnoli), the checksum of record batches.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}
