//! Recurses without end: `"calls"` uses up the stack of calls, which is the host's, `"frames"` the stack in its own memory.

use std::hint::black_box;

use millpond_guest::Result;

#[millpond_guest::handler]
fn overflow(which: String) -> Result<u64> {
    Ok(if which == "frames" { frames(&[1; 64]) } else { calls(black_box(1)) })
}

// The rotation keeps the compiler from making a loop of it.
#[inline(never)]
fn calls(n: u64) -> u64 {
    if n == 0 { 0 } else { calls(n.wrapping_add(1)).rotate_left(3) ^ n }
}

#[inline(never)]
fn frames(before: &[u64; 64]) -> u64 {
    let here = black_box(before.map(|n| n.wrapping_mul(3) | 1));
    if here[0] == 0 { 0 } else { frames(&here).wrapping_add(here[1]) }
}
