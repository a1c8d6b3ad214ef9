//! Takes memory until there is no more, and touches all of it. A number as payload: so many MiB and then done.

use std::hint::black_box;

use millpond_guest::Result;

#[millpond_guest::handler]
fn grow(mebibytes: Option<usize>) -> Result<usize> {
    let mut kept = Vec::new();
    while mebibytes.is_none_or(|wanted| kept.len() < wanted) {
        kept.push(black_box(vec![1u8; 1024 * 1024]));
    }
    Ok(kept.len())
}
