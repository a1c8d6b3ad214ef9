//! Does nothing, and says so: what a job costs that costs nothing.

use millpond_guest::{Raw, Result};

/// Ignores its payload, which is not even looked at.
#[millpond_guest::handler]
fn noop(_: Raw) -> Result {
    Ok(())
}
