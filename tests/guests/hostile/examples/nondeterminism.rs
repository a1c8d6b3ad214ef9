//! The bits of numbers that are none: which ones they are depends on the processor, unless the host makes them all the same.

use std::hint::black_box;

use millpond_guest::{Raw, Result};

#[millpond_guest::handler]
fn bits(_: Raw) -> Result<[u64; 4]> {
    let zero = black_box(0.0f64);
    let odd = f64::from_bits(black_box(0xfff4_dead_beef_0001));
    let odd32 = f32::from_bits(black_box(0xffa1_2345));
    Ok([
        (zero / zero).to_bits(),
        (odd + 1.0).to_bits(),
        black_box(-1.0f64).sqrt().to_bits(),
        (odd32 * 2.0f32).to_bits().into(),
    ])
}
