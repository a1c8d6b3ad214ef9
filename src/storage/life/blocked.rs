//! Home: jobs that wait for other jobs of their flow. What they wait for is in [`flows`](super::flows).

use bytes::Bytes;
use redb::ReadableTable;

use super::facets::check_job;
use super::verifier::Verifier;
use crate::job::{JobId, QueueId};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::Place;

impl Batch<'_> {
    pub(super) fn put_blocked(&mut self, queue: QueueId, id: JobId, record: &Bytes) -> Result<(), Fault> {
        self.moved(record.len());
        self.tables.blocked()?.insert((queue, id.get()), &**record)?;
        Ok(())
    }

    pub(super) fn take_blocked(&mut self, queue: QueueId, id: JobId) -> Result<bool, Fault> {
        Ok(self.tables.blocked()?.remove((queue, id.get()))?.is_some())
    }
}

/// Checks the jobs of this home.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    for row in verifier.tables().blocked()?.iter()? {
        let (key, row) = row?;
        let (queue, id) = key.value();
        check_job(verifier, queue, id, Place::Blocked, row.value())?;
    }
    Ok(())
}
