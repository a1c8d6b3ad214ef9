//! Devices whose link fails for long, whose clock is wrong, or whose file is a copy.

mod clocks;
mod copies;
mod flash;
mod full;
mod large;
mod offline;
mod support;
