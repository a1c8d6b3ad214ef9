//! The schema version in the file: which builds can read it.

use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::Tables;
use crate::storage::rows::tables_ext::RowTable;

/// The layout that this build writes. Raised by every change to `tables.rs` or to a row.
pub(crate) const SCHEMA_VERSION: u32 = 4;

/// The version of a file that has a payload codec. The layout is the same, but a build that knows no payload codecs must
/// refuse the file: it would pass what it cannot read to handlers. Other files do not get this version, so that older builds
/// can still read them.
pub(in crate::storage) const CODED_VERSION: u32 = 5;

/// The version of a file that has or had a flow, or a step of a handler. A build that knows neither must refuse the file: it would end
/// a job without telling the jobs that wait for it.
pub(in crate::storage) const FLOW_VERSION: u32 = 6;

/// The version of a file that has or had a topic. A build that knows none must refuse the file: it would remove a queue and leave its
/// bindings, which would then lead to the next queue of its number.
pub(in crate::storage) const TOPIC_VERSION: u32 = 7;

/// The version of a file that has or had a stream. A build that knows no streams must refuse the file: it would treat the jobs of
/// consumers as its own, and keep no entry from being removed.
pub(in crate::storage) const STREAM_VERSION: u32 = 8;

/// The version of a file in which a full queue ever was to drop its oldest jobs. A build that does not know that setting must refuse
/// the file: it could not read the queue's row.
pub(in crate::storage) const DROPPING_VERSION: u32 = 9;

/// The newest version that this build reads.
pub(in crate::storage) const KNOWN_VERSION: u32 = DROPPING_VERSION;

pub(in crate::storage) const VERSION_KEY: &str = "schema";

/// Writes the version, unless the file has a newer one.
pub(in crate::storage) fn raise_to(tables: &mut Tables<'_>, version: u32) -> Result<(), Fault> {
    if let Some(row) = tables.meta()?.get_row(VERSION_KEY)?
        && codec::decode::<u32>(TableName::Meta, 0, &row)? >= version
    {
        return Ok(());
    }
    tables.meta()?.insert(VERSION_KEY, codec::encode(&version).as_slice())?;
    Ok(())
}
