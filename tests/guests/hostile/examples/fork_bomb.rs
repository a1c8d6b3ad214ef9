//! Enqueues two jobs of its own kind, each of which does the same.

use millpond_guest::enqueue::NewJob;
use millpond_guest::{Result, attempt};

#[millpond_guest::handler]
fn fork() -> Result {
    for _ in 0..2 {
        NewJob::raw(&attempt::kind(), *b"null").enqueue()?;
    }
    Ok(())
}
