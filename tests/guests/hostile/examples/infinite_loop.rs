//! Computes for ever and calls nobody.

use std::hint::black_box;

use millpond_guest::{Raw, Result};

#[millpond_guest::handler]
fn spin(_: Raw) -> Result {
    let mut n = 1u64;
    loop {
        n = black_box(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}
