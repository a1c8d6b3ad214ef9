//! Any bytes as a row of a damaged file: see `millpond::fuzzing::row`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millpond::fuzzing::row(data));
