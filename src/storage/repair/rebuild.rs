//! Puts a damaged file right: moves the rows that cannot be read to the quarantine, and has the rest made anew by the
//! files in `life/`.
//!
//! This reads whole tables on the writer's thread: damage is rare, and an index that stays wrong is worse.

use super::damages::damages;
use crate::storage::life::{buckets, circuits, schedules, topics};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;

/// Moves what cannot be read to the quarantine, and makes anew what follows from the rest. `reader` is a snapshot of
/// the file as it was before this batch.
pub(crate) fn put_right(batch: &mut Batch<'_>, reader: &Reader) -> Result<(), Fault> {
    for damage in damages(reader, batch.catalog())? {
        batch.quarantine(&damage)?;
    }
    batch.rebuild_facets()?;
    buckets::rebuild(batch)?;
    circuits::rebuild(batch)?;
    schedules::rebuild(batch)?;
    topics::rebuild(batch)
}
