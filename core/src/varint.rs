//! Variable-length integers: seven bits a byte, low ones first; signed ones zigzagged.
//!
//! Strict where Kafka wraps: what does not fit its type is refused, as is what ends too early. Knows no message.

use alloc::vec::Vec;

/// Takes an unsigned 32-bit varint off the front of `bytes`.
pub fn unsigned(bytes: &mut &[u8]) -> Option<u32> {
    u32::try_from(take(bytes, 5)?).ok()
}

/// Takes a zigzag 32-bit varint off the front of `bytes`.
pub fn signed(bytes: &mut &[u8]) -> Option<i32> {
    let raw = unsigned(bytes)?;
    Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Takes a zigzag 64-bit varint off the front of `bytes`.
pub fn signed_long(bytes: &mut &[u8]) -> Option<i64> {
    let raw = take(bytes, 10)?;
    Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Appends an unsigned 32-bit varint.
pub fn put_unsigned(out: &mut Vec<u8>, value: u32) {
    put(out, u64::from(value));
}

/// Appends a zigzag 32-bit varint.
pub fn put_signed(out: &mut Vec<u8>, value: i32) {
    put(out, u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()));
}

/// Appends a zigzag 64-bit varint.
pub fn put_signed_long(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn take(bytes: &mut &[u8], most: u32) -> Option<u64> {
    let mut value = 0u64;
    for i in 0..most {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        let shifted = bits << (7 * i);
        if shifted >> (7 * i) != bits {
            return None;
        }
        value |= shifted;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_encodings() {
        for (value, bytes) in [(0, &[0u8][..]), (-1, &[1]), (1, &[2]), (63, &[126]), (-64, &[127]), (64, &[128, 1])] {
            let mut out = Vec::new();
            put_signed(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
        let mut out = Vec::new();
        put_unsigned(&mut out, 300);
        assert_eq!(out, [0xac, 2]);
    }

    #[test]
    fn what_does_not_fit_or_ends_early_is_refused() {
        assert_eq!(unsigned(&mut &[0xff, 0xff, 0xff, 0xff, 0x0f][..]), Some(u32::MAX));
        assert_eq!(unsigned(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None, "a 33rd bit");
        assert_eq!(unsigned(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00][..]), None, "a sixth byte");
        assert_eq!(unsigned(&mut &[0x80][..]), None, "ends early");
        assert_eq!(unsigned(&mut &[][..]), None, "nothing");
        assert_eq!(
            signed_long(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02][..]),
            None,
            "a 65th bit"
        );
        assert_eq!(signed_long(&mut &[0x80; 11][..]), None, "an eleventh byte");
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(a: u32, b: i32, c: i64) {
            let mut out = Vec::new();
            put_unsigned(&mut out, a);
            put_signed(&mut out, b);
            put_signed_long(&mut out, c);
            let mut rest = &out[..];
            prop_assert_eq!((unsigned(&mut rest), signed(&mut rest), signed_long(&mut rest)), (Some(a), Some(b), Some(c)));
            prop_assert!(rest.is_empty());
        }
    }
}
