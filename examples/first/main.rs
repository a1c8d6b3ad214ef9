//! The README's first program. A test holds its text against the README's.

include!("program.rs");
