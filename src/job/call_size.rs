//! Limits how many jobs and bytes one call or transaction can enqueue.

use crate::error::Error;

/// The most jobs in one call or transaction: other callers must not wait long for a commit.
pub(crate) const ENQUEUE_JOBS_MAX: usize = 10_000;

/// Bytes in one call or transaction of more than one job, at most: half of what may wait for the writer.
pub(crate) const ENQUEUE_BYTES_MAX: usize = 32 << 20;

/// How many jobs and bytes one call or transaction has so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallSize {
    jobs: usize,
    pub bytes: usize,
}

impl CallSize {
    /// One more job, of so many bytes. After an error it is as before.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`]: the rest of the call need not be checked.
    pub fn add(&mut self, bytes: usize) -> Result<(), Error> {
        let (jobs, bytes) = (self.jobs + 1, self.bytes + bytes);
        if jobs > ENQUEUE_JOBS_MAX || (jobs > 1 && bytes > ENQUEUE_BYTES_MAX) {
            let (jobs_max, bytes_max) = (ENQUEUE_JOBS_MAX, ENQUEUE_BYTES_MAX);
            return Err(Error::BatchTooLarge { jobs, bytes, jobs_max, bytes_max });
        }
        *self = Self { jobs, bytes };
        Ok(())
    }
}
