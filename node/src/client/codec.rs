//! Compressed batches, opened whole, never to more than a bound.

use crate::codec::open;
use bytes::Bytes;
use klamm_core::record::{Broken, Codec, HEADER_BYTES, Header, LENGTH_PREFIX_BYTES};
use std::io;

/// The most that one batch is opened to.
const LARGEST: usize = 1 << 30;
/// Bytes opened at once.
const PIECE: usize = 64 << 10;

/// The same batch without compression, as [`klamm_core::record::records`] reads it. Its checksum is the compressed one's.
///
/// # Errors
/// When it is no batch, or its records are not compressed as it says.
pub fn opened(batch: &Bytes) -> io::Result<Bytes> {
    let header = Header::parse(batch).map_err(|corrupt| bad(corrupt.0))?;
    if header.size() != batch.len() {
        return Err(bad("a batch of another length than it says"));
    }
    let codec = header.codec().ok_or_else(|| bad("a codec that Kafka does not have"))?;
    if codec == Codec::None {
        return Ok(batch.clone());
    }
    let body = whole(codec, &batch[HEADER_BYTES..])?;
    let mut out = batch[..HEADER_BYTES].to_vec();
    out.extend_from_slice(&body);
    let length = i32::try_from(out.len() - LENGTH_PREFIX_BYTES).map_err(|_| bad("a batch of more than 2 GiB"))?;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    // The codec's three bits.
    out[22] &= !7;
    Ok(out.into())
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn whole(codec: Codec, body: &[u8]) -> io::Result<Vec<u8>> {
    let broken = |Broken| bad("compressed records that are a broken stream");
    let mut opening = open(codec, body).map_err(broken)?;
    let (mut out, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        match opening.read(&mut piece).map_err(broken)? {
            0 => return Ok(out),
            read => out.extend_from_slice(&piece[..read]),
        }
        if out.len() > LARGEST {
            return Err(bad("a batch that is too large when opened"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crc32c;
    use klamm_core::ids::Timestamp;
    use klamm_core::record::{Builder, records};
    use std::io::Write;

    fn plain() -> Bytes {
        let mut builder = Builder::new();
        (0..100).for_each(|i| builder.push(Timestamp(i), Some(b"key"), Some(&[b'v'; 100])));
        builder.build(crc32c)
    }

    fn with(codec: u8, body: &[u8]) -> Bytes {
        let mut out = plain()[..HEADER_BYTES].to_vec();
        out.extend_from_slice(body);
        let length = i32::try_from(out.len() - LENGTH_PREFIX_BYTES).unwrap();
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[22] |= codec;
        out.into()
    }

    fn packed(body: &[u8]) -> [(u8, Vec<u8>); 5] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(body).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(body).unwrap();
        let block = snap::raw::Encoder::new().compress_vec(body).unwrap();
        let xerial: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
        let framed = [xerial, &[0, 0, 0, 1, 0, 0, 0, 1], &u32::try_from(block.len()).unwrap().to_be_bytes(), &block];
        let zstd = zstd::stream::encode_all(body, 1).unwrap();
        [(1, gzip.finish().unwrap()), (2, framed.concat()), (2, block.clone()), (3, lz4.finish().unwrap()), (4, zstd)]
    }

    #[test]
    fn every_codec_opens_to_the_same_records() {
        let plain = plain();
        assert_eq!(opened(&plain).unwrap(), plain);
        for (codec, body) in packed(&plain[HEADER_BYTES..]) {
            let open = opened(&with(codec, &body)).unwrap();
            assert_eq!(records(&open).map(Result::unwrap).count(), 100, "codec {codec}");
            assert_eq!(open[HEADER_BYTES..], plain[HEADER_BYTES..]);
            for cut in [0, 1, body.len() / 2] {
                let open = opened(&with(codec, &body[..cut]));
                assert!(open.is_err() || open.unwrap().len() < plain.len(), "codec {codec} cut to {cut}");
            }
        }
        assert!(opened(&with(5, b"")).is_err());
        assert!(opened(&with(2, &[0xff, 0xff, 0xff, 0xff, 0x0f])).is_err(), "four gigabytes of five bytes");
    }
}
