//! The priority of a job.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Which of a queue's ready jobs go first: 0 before 1 before ... 9. The default is 5.
///
/// The order is strict: while a more urgent job is ready, a less urgent one does not start. A
/// steady stream of urgent jobs therefore starves the rest; give it a queue of its own if that is
/// not wanted, or a worker with [ageing](crate::WorkerBuilder::aging). Within a group, priority does not count: the order there is the order of enqueueing.
///
/// ```
/// use millpond::Priority;
///
/// assert!(Priority::FIRST < Priority::default());
/// assert_eq!(Priority::new(3)?.get(), 3);
/// assert!(Priority::new(10).is_err());
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(u8);

impl Priority {
    /// 0: before everything else.
    pub const FIRST: Self = Self(0);
    /// 9: when nothing else is ready.
    pub const LAST: Self = Self(9);
    /// How many priorities there are.
    pub(crate) const COUNT: u8 = millpond_rules::PRIORITIES;

    /// A priority from 0 (first) to 9 (last).
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] above 9.
    pub fn new(level: u8) -> Result<Self, Error> {
        if level < Self::COUNT {
            Ok(Self(level))
        } else {
            Err(Error::config("priority", format!("{level} is not from 0 (first) to 9 (last)")))
        }
    }

    /// The number, 0 to 9.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// The number, 0 to 9.
impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}
