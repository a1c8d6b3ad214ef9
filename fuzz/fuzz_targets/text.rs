//! Any text that a caller can pass: see `millpond::fuzzing::text`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millpond::fuzzing::text(data));
