//! The tables as data, for what checks them or makes messages by them. Decoding and encoding do not read it.

use alloc::vec::Vec;

/// The type of a field.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// One byte, 0 or 1.
    Bool,
    /// Signed, one byte.
    Int8,
    /// Signed, two bytes.
    Int16,
    /// Unsigned, two bytes.
    Uint16,
    /// Signed, four bytes.
    Int32,
    /// Signed, eight bytes.
    Int64,
    /// Sixteen bytes.
    Uuid,
    /// UTF-8.
    String,
    /// Any bytes.
    Bytes,
    /// Record batches; on the wire like `Bytes`.
    Records,
    /// Any number of elements.
    Array(&'static Type),
    /// One of these, or null: a byte before it says which.
    Optional(&'static Type),
    /// Fields one after the other.
    Struct(&'static [Field]),
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Kafka's name, in snake case.
    pub name: &'static str,
    /// What it holds.
    pub ty: Type,
    /// Whether a version has it.
    pub present: fn(i16) -> bool,
    /// Whether it may be null in a version.
    pub nullable: fn(i16) -> bool,
    /// Its tag, if it is a tagged field.
    pub tag: Option<u32>,
    /// Its default, written as where it may be null and the version is not flexible.
    pub default: fn() -> Vec<u8>,
}
