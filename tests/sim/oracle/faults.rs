//! I24: faults are reported and heal, and no error of the disk is reported in a world without faults.

use millpond::Error;

use super::{Check, Oracle};
use crate::paths::took;

impl Oracle {
    /// Whether this error is a legal answer in this world.
    pub fn legal_error(&self, error: &Error) -> Check {
        let of_the_disk = matches!(
            error,
            Error::OutcomeUnknown { .. } | Error::Degraded { .. } | Error::StorageFull | Error::Storage { .. }
        );
        match error {
            _ if of_the_disk && self.harmed => Ok(()),
            Error::QueueFull { .. } | Error::Aborted { .. } | Error::NotAllowed { .. } | Error::NoSuchJob { .. } => {
                Ok(())
            }
            Error::Closed | Error::RateLimited { .. } | Error::NoWorker { .. } | Error::InvalidConfig { .. } => Ok(()),
            other => Err(format!("I24: nothing happened to the disk: {other:?}")),
        }
    }

    /// An event has said that the queue is degraded.
    pub(super) fn degraded(&mut self) -> Check {
        if !self.harmed {
            return Err("I24: the queue is degraded, and nothing happened to the disk".into());
        }
        self.degraded_since = Some(self.mono);
        for job in self.jobs.values_mut() {
            job.taken_by = None;
        }
        Ok(())
    }

    /// An event has said that the queue has healed.
    pub(super) fn healed(&mut self) -> Check {
        took("it healed");
        let since = self.degraded_since.take().ok_or("I24: the queue healed without having been degraded")?;
        if self.mono - since > 60_000_000_000 {
            took("it was degraded for more than a minute");
        }
        self.saw_healed = true;
        Ok(())
    }
}
