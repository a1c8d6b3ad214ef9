//! The README's first program. A test compares its text with the README's.

include!("program.rs");
