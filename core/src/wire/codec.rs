//! Primitive fields: how one value of Kafka's types is read from a frame and written to one.
//!
//! Reading is strict (lengths, booleans, UTF-8, tags) and has a budget: all that is allocated for a frame, the elements of
//! its arrays and its texts, takes at most [`EXPANSION`] times its bytes, plus [`SLACK`]. Bytes are slices of the frame,
//! never copies. Knows no message. KIP-482 describes the flexible encoding.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Deref;

use super::schema::Type;
use crate::ids::Uuid;
use crate::varint;

/// Memory that decoding may take, per byte of frame.
pub const EXPANSION: usize = 16;
/// Memory that decoding may take on top, so that no small frame is refused.
pub const SLACK: usize = 64 * 1024;

/// Bytes that are not what they should be; says what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// How a field is encoded here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) version: i16,
    pub(crate) flexible: bool,
    pub(crate) nullable: bool,
}

impl Form {
    pub(crate) fn nullable(self, nullable: bool) -> Form {
        Form { nullable, ..self }
    }
}

/// A position in a frame.
pub(crate) struct Reader {
    frame: Bytes,
    at: usize,
    budget: usize,
}

impl Reader {
    pub(crate) fn new(frame: Bytes) -> Reader {
        let budget = frame.len().saturating_mul(EXPANSION).saturating_add(SLACK);
        Reader { frame, at: 0, budget }
    }

    pub(crate) fn rest(&self) -> usize {
        self.frame.len() - self.at
    }

    /// That nothing is left.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.rest() == 0 { Ok(()) } else { Err(Malformed("bytes after the last field")) }
    }

    /// Takes what is about to be allocated from the budget.
    fn charge(&mut self, bytes: Option<usize>) -> Result<(), Malformed> {
        let left = bytes.and_then(|bytes| self.budget.checked_sub(bytes));
        self.budget = left.ok_or(Malformed("more memory than the frame's bytes justify"))?;
        Ok(())
    }

    fn slice(&mut self, len: usize) -> Result<&[u8], Malformed> {
        if len > self.rest() {
            return Err(Malformed("a field ends past the frame"));
        }
        let from = self.at;
        self.at += len;
        Ok(&self.frame[from..self.at])
    }

    fn bytes(&mut self, len: usize) -> Result<Bytes, Malformed> {
        if len > self.rest() {
            return Err(Malformed("a field ends past the frame"));
        }
        let from = self.at;
        self.at += len;
        Ok(self.frame.slice(from..self.at))
    }

    #[inline]
    pub(crate) fn unsigned(&mut self) -> Result<u32, Malformed> {
        // Nearly all take one byte.
        if let Some(byte) = self.frame.get(self.at).filter(|byte| **byte < 0x80) {
            self.at += 1;
            return Ok(u32::from(*byte));
        }
        self.long_unsigned()
    }

    fn long_unsigned(&mut self) -> Result<u32, Malformed> {
        let mut rest = &self.frame[self.at..];
        let value = varint::unsigned(&mut rest).ok_or(Malformed("a varint of more than 32 bits, or cut"))?;
        self.at = self.frame.len() - rest.len();
        Ok(value)
    }

    /// A length; `None` for null. `wide` says whether it takes four bytes or two where it is not a varint.
    #[inline]
    fn length(&mut self, form: Form, wide: bool) -> Result<Option<usize>, Malformed> {
        let len = if form.flexible {
            // One more than it is; 0 for null.
            (self.unsigned()? as usize).checked_sub(1)
        } else {
            match if wide { i32::decode(self, form)? } else { i32::from(i16::decode(self, form)?) } {
                -1 => None,
                len => Some(usize::try_from(len).map_err(|_| Malformed("a length below -1"))?),
            }
        };
        if len.is_none() && !form.nullable {
            return Err(Malformed("null where there must be a value"));
        }
        Ok(len)
    }

    /// The tagged fields that end a flexible structure. `known` reads one, or says that it does not know it.
    pub(crate) fn tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader) -> Result<bool, Malformed>,
    ) -> Result<(), Malformed> {
        let mut least = 0u64;
        for _ in 0..self.unsigned()? {
            let tag = self.unsigned()?;
            if u64::from(tag) < least {
                return Err(Malformed("tags repeated or out of order"));
            }
            least = u64::from(tag) + 1;
            let size = self.unsigned()? as usize;
            if size > self.rest() {
                return Err(Malformed("a tagged field ends past the frame"));
            }
            let (from, to) = (self.at, self.at + size);
            if known(tag, self)? {
                if self.at != to {
                    return Err(Malformed("a tagged field of another size than it says"));
                }
            } else {
                debug_assert_eq!(self.at, from, "an unknown tag was read");
                self.at = to;
            }
        }
        Ok(())
    }
}

/// A frame being written.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) out: Vec<u8>,
    /// Lengths of the byte ranges that are left out, and where they belong.
    pub(crate) lengths: Vec<u32>,
    pub(crate) holes: Vec<super::Hole>,
}

impl Writer {
    pub(crate) fn unsigned(&mut self, value: u32) {
        varint::put_unsigned(&mut self.out, value);
    }

    pub(crate) fn length(&mut self, len: Option<usize>, form: Form, wide: bool) {
        const FITS: &str = "lengths that we write fit their field";
        if form.flexible {
            self.unsigned(len.map_or(0, |len| u32::try_from(len + 1).expect(FITS)));
        } else if wide {
            len.map_or(-1, |len| i32::try_from(len).expect(FITS)).encode(self, form);
        } else {
            len.map_or(-1, |len| i16::try_from(len).expect(FITS)).encode(self, form);
        }
    }

    fn null(&mut self, form: Form, wide: bool) {
        // A version without null says "nothing" with emptiness.
        self.length(if form.nullable { None } else { Some(0) }, form, wide);
    }
}

/// The tagged fields of one structure, collected because their count comes first.
#[derive(Default)]
pub(crate) struct Tags {
    count: u32,
    least: u32,
    body: Vec<u8>,
}

impl Tags {
    pub(crate) fn put<T: Field>(&mut self, tag: u32, value: &T, form: Form) {
        assert!(self.least <= tag, "tag {tag} stands behind {} in its table", self.least);
        let mut field = Writer::default();
        value.encode(&mut field, form);
        varint::put_unsigned(&mut self.body, tag);
        varint::put_unsigned(&mut self.body, u32::try_from(field.out.len()).expect("a tagged field is below 4 GiB"));
        self.body.extend_from_slice(&field.out);
        self.count += 1;
        self.least = tag + 1;
    }

    pub(crate) fn end(self, w: &mut Writer) {
        w.unsigned(self.count);
        w.out.extend_from_slice(&self.body);
    }
}

/// A value that can stand in a message.
pub(crate) trait Field: Sized {
    /// Its type, as a table names it.
    const TYPE: Type;
    /// The fewest bytes that it takes in any version.
    const LEAST: usize;
    fn decode(r: &mut Reader, form: Form) -> Result<Self, Malformed>;
    fn encode(&self, w: &mut Writer, form: Form);
    /// Shows every error code that it holds, as the field of this name.
    fn errors(&self, _field: &str, _seen: &mut dyn FnMut(i16)) {}
}

/// A value as it is written where it may be null and the version is not flexible.
pub(crate) fn plain<T: Field>(value: &T) -> Vec<u8> {
    let mut w = Writer::default();
    value.encode(&mut w, Form { version: i16::MAX, flexible: false, nullable: true });
    w.out
}

macro_rules! fixed {
    ($($ty:ty: $name:ident),*) => {$(
        impl Field for $ty {
            const TYPE: Type = Type::$name;
            const LEAST: usize = size_of::<$ty>();
            fn decode(r: &mut Reader, _: Form) -> Result<Self, Malformed> {
                let mut raw = [0; size_of::<$ty>()];
                raw.copy_from_slice(r.slice(size_of::<$ty>())?);
                Ok(<$ty>::from_be_bytes(raw))
            }
            fn encode(&self, w: &mut Writer, _: Form) {
                w.out.extend_from_slice(&self.to_be_bytes());
            }
            fn errors(&self, field: &str, seen: &mut dyn FnMut(i16)) {
                if field == "error_code" {
                    seen(*self as i16);
                }
            }
        }
    )*};
}

fixed!(i8: Int8, i16: Int16, u16: Uint16, i32: Int32, i64: Int64);

impl Field for bool {
    const TYPE: Type = Type::Bool;
    const LEAST: usize = 1;
    fn decode(r: &mut Reader, form: Form) -> Result<Self, Malformed> {
        match i8::decode(r, form)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a boolean other than 0 and 1")),
        }
    }
    fn encode(&self, w: &mut Writer, _: Form) {
        w.out.push(u8::from(*self));
    }
}

/// A structure that may be null: a byte before it says whether it is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nullable<T>(pub Option<T>);

impl<T: Field> Field for Nullable<T> {
    const TYPE: Type = Type::Optional(&T::TYPE);
    const LEAST: usize = 1;
    fn decode(r: &mut Reader, form: Form) -> Result<Self, Malformed> {
        match i8::decode(r, form)? {
            -1 => Ok(Nullable(None)),
            1 => T::decode(r, form).map(|value| Nullable(Some(value))),
            _ => Err(Malformed("a structure that is neither there nor null")),
        }
    }
    fn encode(&self, w: &mut Writer, form: Form) {
        match &self.0 {
            Some(value) => {
                1i8.encode(w, form);
                value.encode(w, form);
            }
            None => (-1i8).encode(w, form),
        }
    }
}

impl Field for Uuid {
    const TYPE: Type = Type::Uuid;
    const LEAST: usize = 16;
    fn decode(r: &mut Reader, _: Form) -> Result<Self, Malformed> {
        let mut raw = [0; 16];
        raw.copy_from_slice(r.slice(16)?);
        Ok(Uuid(raw))
    }
    fn encode(&self, w: &mut Writer, _: Form) {
        w.out.extend_from_slice(&self.0);
    }
}

/// A value with its length before it; these are the ones that can be null.
pub(crate) trait Lengthed: Sized {
    const TYPE: Type;
    const WIDE: bool;
    fn len(&self) -> usize;
    fn decode_body(r: &mut Reader, len: usize, form: Form) -> Result<Self, Malformed>;
    fn encode_body(&self, w: &mut Writer, form: Form);
    fn errors_within(&self, _seen: &mut dyn FnMut(i16)) {}
}

impl Lengthed for String {
    const TYPE: Type = Type::String;
    const WIDE: bool = false;
    fn len(&self) -> usize {
        clip(self).len()
    }
    fn decode_body(r: &mut Reader, len: usize, _: Form) -> Result<Self, Malformed> {
        r.charge(Some(text_length(len)?))?;
        let text = core::str::from_utf8(r.slice(len)?).map_err(|_| NOT_TEXT)?;
        Ok(String::from(text))
    }
    fn encode_body(&self, w: &mut Writer, _: Form) {
        w.out.extend_from_slice(clip(self).as_bytes());
    }
}

const LONGEST_STRING: usize = i16::MAX as usize;
const NOT_TEXT: Malformed = Malformed("a string that is not UTF-8");

/// The length of a text, if one can have it.
fn text_length(len: usize) -> Result<usize, Malformed> {
    if len > LONGEST_STRING { Err(Malformed("a string of more than 32767 bytes")) } else { Ok(len) }
}

/// The part of a text that a string field can hold: an answer that quotes a request may outgrow it.
fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_STRING)]
}

/// A text that stays where it came: a slice of its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Bytes);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        core::str::from_utf8(&self.0).expect("checked when it was read")
    }
}

impl Lengthed for Text {
    const TYPE: Type = Type::String;
    const WIDE: bool = false;
    fn len(&self) -> usize {
        self.0.len()
    }
    fn decode_body(r: &mut Reader, len: usize, _: Form) -> Result<Self, Malformed> {
        let bytes = r.bytes(text_length(len)?)?;
        core::str::from_utf8(&bytes).map_err(|_| NOT_TEXT)?;
        Ok(Text(bytes))
    }
    fn encode_body(&self, w: &mut Writer, _: Form) {
        w.out.extend_from_slice(&self.0);
    }
}

impl Lengthed for Bytes {
    const TYPE: Type = Type::Bytes;
    const WIDE: bool = true;
    fn len(&self) -> usize {
        Bytes::len(self)
    }
    fn decode_body(r: &mut Reader, len: usize, _: Form) -> Result<Self, Malformed> {
        r.bytes(len)
    }
    fn encode_body(&self, w: &mut Writer, _: Form) {
        w.out.extend_from_slice(self);
    }
}

impl<T: Field> Lengthed for Vec<T> {
    const TYPE: Type = Type::Array(&T::TYPE);
    const WIDE: bool = true;
    fn errors_within(&self, seen: &mut dyn FnMut(i16)) {
        self.iter().for_each(|element| element.errors("", seen));
    }
    fn len(&self) -> usize {
        Vec::len(self)
    }
    fn decode_body(r: &mut Reader, len: usize, form: Form) -> Result<Self, Malformed> {
        if len > r.rest() / T::LEAST {
            return Err(Malformed("an array of more elements than the frame can hold"));
        }
        r.charge(len.checked_mul(size_of::<T>()))?;
        let mut elements = Vec::with_capacity(len);
        for _ in 0..len {
            elements.push(T::decode(r, form.nullable(false))?);
        }
        Ok(elements)
    }
    fn encode_body(&self, w: &mut Writer, form: Form) {
        for element in self {
            element.encode(w, form.nullable(false));
        }
    }
}

macro_rules! required {
    ($([$($generics:tt)*] $ty:ty),*) => {$(
        impl<$($generics)*> Field for $ty {
            const TYPE: Type = <$ty as Lengthed>::TYPE;
            const LEAST: usize = 1;
            fn decode(r: &mut Reader, form: Form) -> Result<Self, Malformed> {
                let len = r.length(form.nullable(false), <$ty as Lengthed>::WIDE)?;
                let len = len.ok_or(Malformed("null where there must be a value"))?;
                Self::decode_body(r, len, form)
            }
            fn encode(&self, w: &mut Writer, form: Form) {
                w.length(Some(Lengthed::len(self)), form, <$ty as Lengthed>::WIDE);
                self.encode_body(w, form);
            }
            fn errors(&self, _: &str, seen: &mut dyn FnMut(i16)) {
                self.errors_within(seen);
            }
        }
    )*};
}

required!([] String, [] Bytes, [T: Field] Vec<T>);

impl<T: Lengthed> Field for Option<T> {
    const TYPE: Type = T::TYPE;
    const LEAST: usize = 1;
    fn decode(r: &mut Reader, form: Form) -> Result<Self, Malformed> {
        match r.length(form, T::WIDE)? {
            Some(len) => T::decode_body(r, len, form).map(Some),
            None => Ok(None),
        }
    }
    fn encode(&self, w: &mut Writer, form: Form) {
        match self {
            Some(value) => {
                w.length(Some(value.len()), form, T::WIDE);
                value.encode_body(w, form);
            }
            None => w.null(form, T::WIDE),
        }
    }
    fn errors(&self, _: &str, seen: &mut dyn FnMut(i16)) {
        if let Some(value) = self {
            value.errors_within(seen);
        }
    }
}
