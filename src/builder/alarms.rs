//! The alarms, as they are given when a file is opened.

use super::Builder;
use crate::alarms::Alarm;
use crate::error::Error;

/// Alarms of one open file, at most: each is checked every 10 seconds.
const ALARMS_MAX: usize = 100;

impl Builder {
    /// Adds an alarm: a condition that is told when it begins and when it ends. Default: none. At most 100; opening the file fails
    /// with [`Error::InvalidConfig`] for more.
    ///
    /// ```
    /// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
    /// let pond = Millpond::builder()
    ///     .alarm(Alarm::dead_letters(0))
    ///     .alarm(Alarm::oldest_ready(Duration::from_secs(300)))
    ///     .open_backend(memory)?;
    /// # let _ = pond; Ok(()) });
    /// ```
    pub fn alarm(mut self, alarm: Alarm) -> Self {
        self.alarms.push(alarm);
        self
    }

    pub(super) fn check_alarms(&self) -> Result<(), Error> {
        if self.alarms.len() > ALARMS_MAX {
            let reason = format!("there are {} of them, {ALARMS_MAX} is the most", self.alarms.len());
            return Err(Error::config("alarm", reason));
        }
        self.alarms.iter().try_for_each(Alarm::check)
    }
}
