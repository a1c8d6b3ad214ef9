//! Finds what cannot be read in the whole file, and can be moved to the quarantine or made anew.

use crate::job::JobId;
use crate::storage::life::{groups, index, schedules};
use crate::storage::read::listing::{ScanFrom, ScanMost, Source};
use crate::storage::rows::aside::Damage;
use crate::storage::rows::catalog::Catalog;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;

/// All that cannot be read, in the order in which it is to be put right: where jobs are, then groups, then jobs.
pub(super) fn damages(reader: &Reader, catalog: &Catalog) -> Result<Vec<Damage>, Fault> {
    let mut damages = index::damages(reader)?;
    damages.extend(groups::problems::damages(reader)?);
    damages.extend(schedules::damages(reader)?);
    reader.scan(&catalog.stored_queues(), Source::ALL, ScanFrom::default(), ScanMost::ALL, |found| {
        if let Err(Fault::Corrupt { id, .. }) = found {
            damages.push(Damage::Job(JobId::new(id)));
        }
        true
    })?;
    Ok(damages)
}
