//! [`klamm_fuzz::recovery`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klamm_fuzz::recovery::recovery(data));
