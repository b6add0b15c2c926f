//! What the tests of this package share; the tests themselves are in its sibling files.

pub mod source;
