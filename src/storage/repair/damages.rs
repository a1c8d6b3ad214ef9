//! Finds what cannot be read in the whole file.

use redb::ReadableTable;

use crate::job::{JobId, Order};
use crate::storage::life::groups::GroupRow;
use crate::storage::read::listing::{ScanMost, Source};
use crate::storage::rows::aside::Damage;
use crate::storage::rows::catalog::Catalog;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::Location;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::untrusted::HeadValue;

impl Reader {
    /// All that cannot be read and can be set aside or made anew.
    pub fn damages(&self, catalog: &Catalog) -> Result<Vec<Damage>, Fault> {
        let mut damages = Vec::new();
        let tables = self.tables();
        for row in tables.index()?.iter()? {
            let (id, row) = row?;
            if codec::decode::<Location>(TableName::Index, id.value(), row.value()).is_err() {
                damages.push(Damage::Job(JobId::new(id.value())));
            }
        }
        for row in tables.groups()?.iter()? {
            let (key, row) = row?;
            let (queue, group) = key.value();
            if codec::decode::<GroupRow>(TableName::Groups, u64::from(queue), row.value()).is_err() {
                damages.push(Damage::Group(queue, group.to_owned()));
            }
        }
        let members = tables.members()?;
        for row in tables.heads()?.iter()? {
            let (key, value) = row?;
            let (queue, priority, position) = key.value();
            let leads = match HeadValue::decode(value.value()) {
                Some((id, seq, group)) => members.has((queue, group, 0, seq, id))?,
                None => false,
            };
            if !leads {
                damages.push(Damage::Head(queue, Order { priority, position }));
            }
        }
        self.scan(&catalog.stored_queues(), Source::ALL, None, ScanMost::ALL, |found| {
            if let Err(Fault::Corrupt { id, .. }) = found {
                damages.push(Damage::Job(JobId::new(id)));
            }
            true
        })?;
        Ok(damages)
    }
}
