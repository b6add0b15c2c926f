//! The targets over what fuzzing has kept: the least that reaches as much of the code as all that was tried. One file a
//! target, each input with its length before it (32 bits, big-endian).

use klamm_fuzz::{batch, recovery, wire};

/// The inputs of a file, at least so many.
fn kept(mut file: &[u8], least: usize) -> Vec<&[u8]> {
    let mut inputs = Vec::new();
    while let Some((length, rest)) = file.split_first_chunk() {
        let (input, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        inputs.push(input);
        file = rest;
    }
    assert!(file.is_empty() && inputs.len() >= least, "only {} inputs are kept", inputs.len());
    inputs
}

#[test]
fn kept_frames() {
    kept(include_bytes!("../corpus/wire"), 2_000).into_iter().for_each(wire::wire);
}

#[test]
fn kept_batches() {
    kept(include_bytes!("../corpus/batch"), 100).into_iter().for_each(batch::batch);
}

#[test]
fn kept_directories() {
    kept(include_bytes!("../corpus/recovery"), 500).into_iter().for_each(recovery::recovery);
}
