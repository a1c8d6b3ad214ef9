//! How far the attempt has come, for who watches it.

use crate::host;

/// Tells that `done` units are done, of `total` if that is known. Best effort, outside the job's transaction.
///
/// ```
/// for page in 0..3 {
///     millpond_guest::progress::report(page, Some(3), "pages");
/// }
/// ```
pub fn report(done: u64, total: Option<u64>, message: &str) {
    host::progress(done, total, (!message.is_empty()).then_some(message));
}
