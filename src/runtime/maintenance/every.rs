//! Says when a chore is due next.

use std::time::Duration;

use crate::time::Now;

/// When a chore is next due. It is first due one whole wait after the first call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Every {
    #[default]
    NotAskedYet,
    /// On the monotonic clock.
    At(Duration),
    /// The clock is at its end, so there is no later time.
    Never,
}

impl Every {
    /// How long until the chore is due. `None` if it is due now: this also sets the next time.
    pub fn wait(&mut self, every: Duration, now: Now) -> Option<Duration> {
        let later = now.mono.checked_add(every).map_or(Self::Never, Self::At);
        match *self {
            Self::At(at) if at <= now.mono => {
                *self = later;
                None
            }
            Self::At(at) => Some(at - now.mono),
            Self::Never => Some(Duration::MAX),
            Self::NotAskedYet => {
                *self = later;
                Some(every)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono: Duration) -> Now {
        Now { mono, ..Now::default() }
    }

    #[test]
    fn it_is_due_once_in_each_wait_and_not_again_at_the_end_of_time() {
        let (minute, second) = (Duration::from_secs(60), Duration::from_secs(1));
        let mut every = Every::default();
        assert_eq!(every.wait(minute, at(second)), Some(minute));
        assert_eq!(every.wait(minute, at(minute)), Some(second));
        assert_eq!(every.wait(minute, at(minute + second)), None);
        assert_eq!(every.wait(minute, at(minute + second)), Some(minute));
        assert_eq!(every.wait(minute, at(Duration::MAX)), None);
        assert_eq!(every.wait(minute, at(Duration::MAX)), Some(Duration::MAX));
    }
}
