//! One file per promise.
mod smoke;
