//! Kafka's codecs, opened: gzip, snappy (xerial's framing, or none), lz4 frames and zstd, piece by piece.
//!
//! Whoever reads sets the bound on what comes out. What a stream's header claims is believed only as far as a buffer goes:
//! a block of snappy is at most 22 times its length, one of lz4 4 MiB, and zstd's window is touched as far as it is written.

use klamm_core::record::{Broken, Codec, Inflate};
use std::io::{ErrorKind, Read};

const XERIAL: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER: usize = 16;
/// zstd windows up to 128 MiB: what its highest level asks for.
const WINDOW_LOG: u32 = 27;

/// Begins to open what a codec made; uncompressed bytes are what they are.
///
/// # Errors
/// When not even the beginning is the codec's.
pub fn open<'a>(codec: Codec, bytes: &'a [u8]) -> Result<Box<dyn Inflate + 'a>, Broken> {
    Ok(match codec {
        Codec::None => Box::new(Reading(bytes)),
        Codec::Gzip => Box::new(Reading(flate2::read::MultiGzDecoder::new(bytes))),
        Codec::Snappy => Box::new(Snappy::new(bytes)?),
        Codec::Lz4 => Box::new(Reading(lz4_flex::frame::FrameDecoder::new(bytes))),
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(|_| Broken)?;
            decoder.window_log_max(WINDOW_LOG).map_err(|_| Broken)?;
            Box::new(Reading(decoder))
        }
    })
}

struct Reading<R>(R);

impl<R: Read> Inflate for Reading<R> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Broken> {
        loop {
            match self.0.read(into) {
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Broken),
            }
        }
    }
}

/// Blocks, each with its length before it; or one without.
struct Snappy<'a> {
    rest: &'a [u8],
    framed: bool,
    /// The block that is open, and how much of it was read.
    block: Vec<u8>,
    at: usize,
}

impl<'a> Snappy<'a> {
    fn new(bytes: &'a [u8]) -> Result<Snappy<'a>, Broken> {
        let framed = bytes.starts_with(XERIAL);
        let rest = if framed { bytes.get(XERIAL_HEADER..).ok_or(Broken)? } else { bytes };
        Ok(Snappy { rest, framed, block: Vec::new(), at: 0 })
    }

    /// The next block's bytes.
    fn take(&mut self) -> Result<&'a [u8], Broken> {
        if !self.framed {
            return Ok(std::mem::take(&mut self.rest));
        }
        let (length, after) = self.rest.split_first_chunk().ok_or(Broken)?;
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| Broken)?;
        let (block, after) = after.split_at_checked(length).ok_or(Broken)?;
        self.rest = after;
        Ok(block)
    }
}

impl Inflate for Snappy<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Broken> {
        while self.at == self.block.len() {
            if self.rest.is_empty() {
                return Ok(0);
            }
            let block = self.take()?;
            let claimed = snap::raw::decompress_len(block).map_err(|_| Broken)?;
            // Three bytes make at most 64: a longer claim is a lie.
            if claimed > block.len().saturating_mul(22) {
                return Err(Broken);
            }
            self.block.resize(claimed, 0);
            let opened = snap::raw::Decoder::new().decompress(block, &mut self.block).map_err(|_| Broken)?;
            self.block.truncate(opened);
            self.at = 0;
        }
        let step = into.len().min(self.block.len() - self.at);
        into[..step].copy_from_slice(&self.block[self.at..self.at + step]);
        self.at += step;
        Ok(step)
    }
}
