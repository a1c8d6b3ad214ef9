//! Any bytes as keys: see `millpond::fuzzing::keys`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millpond::fuzzing::keys(data));
