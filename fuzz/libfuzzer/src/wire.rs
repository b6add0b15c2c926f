//! [`klamm_fuzz::wire`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| klamm_fuzz::wire::wire(data));
