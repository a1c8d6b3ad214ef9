//! A new entry as it is stored, encoded on its caller's thread.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::error::Error;
use crate::job::{KindId, NewEntry, Record};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::{decode_record, encode_entry_into, encode_record};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;

/// An entry ready to be appended: the writer only copies its row.
#[derive(Clone, Debug)]
pub(crate) struct PreparedEntry {
    /// Its row.
    pub bytes: Bytes,
    pub key: Option<Arc<str>>,
    kind: KindId,
    /// The name of its kind, if the file does not have it: it gets its number when the entry is stored.
    new_kind: Option<Arc<str>>,
}

impl PreparedEntry {
    /// The first of `left` entries that are prepared together, and have `chunk` for their rows.
    pub fn first_of(left: usize, chunk: &mut BytesMut, entry: NewEntry, new_kind: Option<Arc<str>>) -> Self {
        let bytes = encode_entry_into(chunk, &entry, left);
        Self { bytes, key: entry.key, kind: entry.kind, new_kind }
    }

    pub fn new(entry: NewEntry, new_kind: Option<Arc<str>>) -> Self {
        Self::first_of(1, &mut BytesMut::new(), entry, new_kind)
    }
}

impl Batch<'_> {
    /// Gives a number to the name of an entry's kind, if the file does not have it. A batch that is undone gives the numbers back,
    /// so it is called again in the next batch.
    ///
    /// # Errors
    /// The file has as many kinds as it may have.
    #[inline]
    pub fn resolve_entry(&mut self, entry: &mut PreparedEntry) -> Result<(), Error> {
        match &entry.new_kind {
            None => Ok(()),
            Some(name) => {
                let kind = self.kind_named(&name.clone())?;
                Ok(set_kind(entry, kind)?)
            }
        }
    }

    /// The entry is stored: its kind is one of the file from now on.
    pub(super) fn has_stored(&mut self, entry: &PreparedEntry) {
        if entry.new_kind.is_some() {
            self.stored_kind(entry.kind);
        }
    }
}

/// Writes an entry's row again, with this kind.
fn set_kind(entry: &mut PreparedEntry, kind: KindId) -> Result<(), Fault> {
    if entry.kind != kind {
        let record = Record { kind, ..decode_record(TableName::Entries, 0, &entry.bytes)? };
        (entry.kind, entry.bytes) = (kind, encode_record(&record));
    }
    Ok(())
}
