//! Token buckets: which of their rows cannot be read, and what is done about it. Buckets do not depend on jobs.

use super::verifier::Verifier;
use crate::job::{BucketState, QueueId};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::by_group;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::Tables;
use crate::storage::rows::tables_ext::remove_rows_of;

/// Checks that each bucket is that of a queue and can be read.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    let rates = verifier.tables().rates()?;
    verifier.check_rows_by_group::<BucketState>(TableName::Rates, &rates, "bucket")
}

impl Batch<'_> {
    /// Removes buckets of a queue that nobody uses, at most `rows_max` of them. Returns how many.
    pub(super) fn remove_buckets(&mut self, queue: QueueId, rows_max: usize) -> Result<usize, Fault> {
        self.touch();
        remove_rows_of(self.tables.rates()?, queue, rows_max)
    }
}

/// A bucket that cannot be read is replaced by an empty one, which fills from now on: it may slow a queue down, but it
/// never lets more jobs start. A bucket whose queue has no row is removed, because the number will be another queue's.
pub(in crate::storage) fn rebuild(batch: &mut Batch<'_>) -> Result<(), Fault> {
    let empty = BucketState { tokens: 0.0, at: batch.now.age, held_until: None };
    by_group::rebuild(batch, TableName::Rates, Tables::rates, &empty)
}
