//! The wall clock. `SystemTime::now` of the standard library panics in the sandbox.

use std::time::SystemTime;

/// The time.
///
/// ```
/// let age = millpond_guest::clock::now().duration_since(std::time::UNIX_EPOCH)?;
/// assert!(age.as_secs() > 1_700_000_000);
/// # Ok::<(), std::time::SystemTimeError>(())
/// ```
pub fn now() -> SystemTime {
    crate::host::now()
}
