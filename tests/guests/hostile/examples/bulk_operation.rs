//! Fills and copies memory for ever, each time as much as one instruction can. Payload: how many MiB.

use std::hint::black_box;

use millpond_guest::Result;

#[millpond_guest::handler]
fn fill(mebibytes: usize) -> Result {
    let mut bytes = vec![0u8; mebibytes * 1024 * 1024];
    let half = bytes.len() / 2;
    let mut n = 0u8;
    loop {
        n = n.wrapping_add(1);
        bytes.fill(black_box(n));
        bytes.copy_within(..half, half);
        black_box(&bytes);
    }
}
