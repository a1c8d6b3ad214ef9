//! Makes jobs that it never enqueues nor drops: the host has to remember each.

use std::mem::forget;

use millpond_guest::Result;
use millpond_guest::bindings::millpond::jobs::enqueue::NewJob;

#[millpond_guest::handler]
fn leak(handles: Option<u32>) -> Result<u32> {
    let mut made = 0;
    while handles.is_none_or(|wanted| made < wanted) {
        forget(NewJob::new("never", &[0; 1024]));
        made += 1;
    }
    Ok(made)
}
