//! Frames made from the message tables and not by the encoder: what a correct peer could send.
//!
//! A frame is canonical (no tagged field at its default, no unknown tag), so decoding and encoding must give it back.
//! Values stay clear of the few that an answer translates for old versions.

use klamm_core::rng::Rng;
use klamm_core::wire::schema::{Field, Type};
use klamm_core::wire::{Api, ApiKey};

/// Elements of an array, at most.
const MOST_ELEMENTS: u64 = 3;

/// A request frame, without the length before it.
#[must_use]
pub fn request(api: &Api, version: i16, rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&(api.key as i16).to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&(rng.draw() as i32).to_be_bytes());
    Generator { version, flexible: false, rng }.maybe(&Type::String, true, false, &mut out);
    let flexible = version >= api.first_flexible;
    if flexible {
        out.push(0);
    }
    Generator { version, flexible, rng }.fields(api.request, false, &mut out);
    out
}

/// A response frame, without the length before it.
#[must_use]
pub fn response(api: &Api, version: i16, rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&(rng.draw() as i32).to_be_bytes());
    let flexible = version >= api.first_flexible;
    if flexible && api.key != ApiKey::ApiVersions {
        out.push(0);
    }
    Generator { version, flexible, rng }.fields(api.response, false, &mut out);
    out
}

/// The value of a metadata record.
#[must_use]
pub fn metadata_record(key: u32, version: i16, fields: &[Field], rng: &mut Rng) -> Vec<u8> {
    let mut out = vec![1];
    uvarint(key, &mut out);
    uvarint(u32::from(version.unsigned_abs()), &mut out);
    Generator { version, flexible: true, rng }.fields(fields, false, &mut out);
    out
}

/// Flips, cuts, doubles or overwrites something, once to four times.
pub fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        match rng.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.draw() as u8),
            2 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            3 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5) as usize],
            _ => {
                let tail = bytes[at..].to_vec();
                bytes.extend_from_slice(&tail[..tail.len().min(64)]);
            }
        }
    }
}

struct Generator<'a> {
    version: i16,
    flexible: bool,
    rng: &'a mut Rng,
}

impl Generator<'_> {
    /// `loud` values differ from every default.
    fn fields(&mut self, fields: &[Field], loud: bool, out: &mut Vec<u8>) {
        let mut tagged: Vec<(u32, &Field)> = Vec::new();
        let version = self.version;
        for field in fields.iter().filter(|field| (field.present)(version)) {
            match field.tag {
                Some(tag) => tagged.push((tag, field)),
                None => self.maybe_field(field, loud, out),
            }
        }
        if !self.flexible {
            return;
        }
        tagged.retain(|_| self.rng.one_in(2));
        tagged.sort_by_key(|(tag, _)| *tag);
        uvarint(tagged.len() as u32, out);
        for (tag, field) in tagged {
            let mut body = Vec::new();
            self.value(&field.ty, true, &mut body);
            uvarint(tag, out);
            uvarint(body.len() as u32, out);
            out.extend_from_slice(&body);
        }
    }

    fn maybe_field(&mut self, field: &Field, loud: bool, out: &mut Vec<u8>) {
        // Version 3 of ApiVersions leaves out features with minimum 0.
        let loud = loud || field.name == "min_version";
        self.maybe(&field.ty, (field.nullable)(self.version), loud, out);
    }

    fn maybe(&mut self, ty: &Type, nullable: bool, loud: bool, out: &mut Vec<u8>) {
        // Null record batches read as none.
        if !nullable || matches!(ty, Type::Records) || !self.rng.one_in(3) {
            return self.value(ty, loud, out);
        }
        match (self.flexible, ty) {
            (true, _) => out.push(0),
            (false, Type::String) => out.extend_from_slice(&(-1i16).to_be_bytes()),
            (false, _) => out.extend_from_slice(&(-1i32).to_be_bytes()),
        }
    }

    fn value(&mut self, ty: &Type, loud: bool, out: &mut Vec<u8>) {
        match ty {
            Type::Bool => out.push(u8::from(loud || self.rng.one_in(2))),
            Type::Int8 => out.extend_from_slice(&(self.number(loud) as i8).to_be_bytes()),
            Type::Int16 => {
                let translated = |n: i16| matches!(n, 73 | 78 | 90);
                let number = Some(self.number(loud) as i16).filter(|n| !translated(*n)).unwrap_or(3);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Type::Uint16 => out.extend_from_slice(&(self.number(loud) as u16).to_be_bytes()),
            Type::Int32 => out.extend_from_slice(&(self.number(loud) as i32).to_be_bytes()),
            Type::Int64 => out.extend_from_slice(&self.number(loud).to_be_bytes()),
            Type::Uuid => out.extend((0..16).map(|_| self.rng.below(255) as u8 + 1)),
            Type::String => {
                let text: String =
                    (0..self.count(loud)).map(|_| ['a', '.', 'é', '😀'][self.rng.below(4) as usize]).collect();
                self.length(text.len(), false, out);
                out.extend_from_slice(text.as_bytes());
            }
            Type::Bytes | Type::Records => {
                let len = self.rng.below(200) as usize;
                self.length(len, true, out);
                out.extend((0..len).map(|_| self.rng.draw() as u8));
            }
            Type::Array(element) => {
                let len = self.count(loud);
                self.length(len, true, out);
                for _ in 0..len {
                    self.value(element, loud, out);
                }
            }
            Type::Optional(inner) => {
                let there = loud || self.rng.one_in(2);
                out.push(if there { 1 } else { 0xff });
                if there {
                    self.value(inner, loud, out);
                }
            }
            Type::Struct(fields) => self.fields(fields, loud, out),
        }
    }

    fn count(&mut self, loud: bool) -> usize {
        (self.rng.below(MOST_ELEMENTS) + u64::from(loud)) as usize
    }

    fn number(&mut self, loud: bool) -> i64 {
        if loud {
            return 1 + self.rng.below(100) as i64;
        }
        match self.rng.below(6) {
            0 => 0,
            1 => -1,
            2 => i64::MIN,
            3 => i64::MAX,
            _ => self.rng.draw() as i64,
        }
    }

    fn length(&self, len: usize, wide: bool, out: &mut Vec<u8>) {
        match (self.flexible, wide) {
            (true, _) => uvarint(len as u32 + 1, out),
            (false, true) => out.extend_from_slice(&(len as i32).to_be_bytes()),
            (false, false) => out.extend_from_slice(&(len as i16).to_be_bytes()),
        }
    }
}

fn uvarint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
