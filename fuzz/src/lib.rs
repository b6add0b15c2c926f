//! Fuzz targets as plain functions: a byte slice in, a panic if a promise breaks.

pub mod batch;
pub mod generate;
pub mod recovery;
pub mod wire;
