//! The file as the operating system and redb's backend see it: names, locks, identity, blocks. It does
//! not know rows.

pub(super) mod lock;
pub(super) mod new_file;
pub(super) mod open_file;
pub(super) mod opening;
pub(super) mod overlay;
pub(super) mod regular;
pub(super) mod watched;
