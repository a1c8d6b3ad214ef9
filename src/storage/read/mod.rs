//! Reads: one short read transaction for each page, so that none lives long enough to make the file grow.

mod aged;
pub(super) mod find;
mod flows;
pub(super) mod found;
pub(super) mod groups;
pub(super) mod listing;
mod merged;
mod oldest;
pub(super) mod pages;
pub(super) mod streams;
mod tagged;
mod unchanged;
