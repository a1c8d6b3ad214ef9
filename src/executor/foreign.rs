//! A handler that is not a Rust function, as the rest of the queue knows it.

use std::any::Any;
use std::time::Duration;

/// A handler that is not a Rust function, such as a plugin: its code can be replaced while its worker runs.
pub(crate) trait ForeignHandler: Any + Send + Sync {
    /// How often the file with its code is checked, if it is watched.
    fn watched_every(&self) -> Option<Duration>;

    /// Checks the file, and loads the code if it has changed. This can take seconds.
    fn check_file(&self);
}
