//! Two short reads on a table of rows: fetch a row, and check whether a key exists.

use crate::storage::rows::fault::Fault;
use bytes::Bytes;
use redb::{Key, ReadableTable};

/// The two reads that nearly every rule needs, with the row's bytes copied out.
pub(crate) trait RowTable<K: Key + 'static> {
    fn get_row<'a>(&self, key: K::SelfType<'a>) -> Result<Option<Bytes>, Fault>;
    fn has<'a>(&self, key: K::SelfType<'a>) -> Result<bool, Fault>;
}

impl<K: Key + 'static, T: ReadableTable<K, &'static [u8]>> RowTable<K> for T {
    fn get_row<'a>(&self, key: K::SelfType<'a>) -> Result<Option<Bytes>, Fault> {
        Ok(self.get(key)?.map(|row| Bytes::copy_from_slice(row.value())))
    }

    fn has<'a>(&self, key: K::SelfType<'a>) -> Result<bool, Fault> {
        Ok(self.get(key)?.is_some())
    }
}
