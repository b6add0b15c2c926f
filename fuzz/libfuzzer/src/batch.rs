//! [`klamm_fuzz::batch`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klamm_fuzz::batch::batch(data));
