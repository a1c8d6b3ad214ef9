//! Reads of tables that not every file has.

use std::borrow::Borrow;
use std::iter::Flatten;
use std::ops::RangeBounds;
use std::option;

use bytes::Bytes;
use redb::{AccessGuard, Key, ReadOnlyTable, ReadTransaction, TableDefinition, Value};

use crate::storage::rows::fault::Fault;
use crate::storage::rows::tables_ext::RowTable;

/// A table that not every file has, to be read: it is empty if the file does not have it.
pub(crate) struct OnDemand<K: Key + 'static, V: Value + 'static>(Option<ReadOnlyTable<K, V>>);

/// The rows of a range: none if the table is not there.
type Rows<K, V> = Flatten<option::IntoIter<redb::Range<'static, K, V>>>;

impl<K: Key, V: Value> OnDemand<K, V> {
    pub fn open(txn: &ReadTransaction, definition: TableDefinition<'_, K, V>) -> Result<Self, Fault> {
        match txn.open_table(definition) {
            Ok(table) => Ok(Self(Some(table))),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(Self(None)),
            Err(error) => Err(error.into()),
        }
    }

    /// The table itself, if the file has it.
    pub fn into_table(self) -> Option<ReadOnlyTable<K, V>> {
        self.0
    }

    /// The table, if the file has it.
    pub fn table(&self) -> Option<&ReadOnlyTable<K, V>> {
        self.0.as_ref()
    }

    pub fn iter(&self) -> Result<Rows<K, V>, Fault> {
        let rows = self.0.as_ref().map(|table| table.range::<K::SelfType<'_>>(..)).transpose()?;
        Ok(rows.into_iter().flatten())
    }

    pub fn range<'a, KR: Borrow<K::SelfType<'a>> + 'a>(
        &self,
        range: impl RangeBounds<KR> + 'a,
    ) -> Result<Rows<K, V>, Fault> {
        let rows = self.0.as_ref().map(|table| table.range(range)).transpose()?;
        Ok(rows.into_iter().flatten())
    }

    pub fn get<'a>(&self, key: impl Borrow<K::SelfType<'a>>) -> Result<Option<AccessGuard<'static, V>>, Fault> {
        Ok(match &self.0 {
            Some(table) => table.get(key)?,
            None => None,
        })
    }
}

impl<K: Key> OnDemand<K, &'static [u8]> {
    /// A row, with its bytes copied out.
    pub fn get_row<'a>(&self, key: K::SelfType<'a>) -> Result<Option<Bytes>, Fault> {
        self.0.as_ref().map_or(Ok(None), |table| table.get_row(key))
    }
}
