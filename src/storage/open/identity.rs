//! The identity of the file, and its incarnation. A copy that [`Copying`](super::copy::Copying) has made is marked as one: its first
//! opening raises the incarnation and removes the mark, in one commit.

use std::fmt;

use redb::WriteTransaction;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::Tables;
use crate::storage::rows::tables_ext::RowTable;

/// The key of the row in `meta`. A file whose identity was never asked for has no such row.
const IDENTITY: &str = "identity";

/// Which file this is: [`Millpond::identity`](crate::Millpond::identity).
///
/// As text it is the id in 32 hexadecimal digits, a hyphen, and the incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct FileIdentity {
    /// 128 random bits, which the file keeps for ever. Copies of the file have the same.
    pub id: u128,
    /// Which copy of the file this is, as far as the file knows: 0 at first, and one more after each opening of a backup.
    pub incarnation: u32,
}

impl fmt::Display for FileIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{}", self.id, self.incarnation)
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Row {
    id: u128,
    incarnation: u32,
    /// It is a copy that was not opened yet.
    is_copy: bool,
}

impl Row {
    /// The row, if there is one. One that cannot be read counts as missing: the file then gets another identity.
    fn read(tables: &mut Tables<'_>) -> Result<Option<Self>, Fault> {
        let row = tables.meta()?.get_row(IDENTITY)?;
        let Some(row) = row else { return Ok(None) };
        match codec::decode(TableName::Meta, 4, &row) {
            Ok(row) => Ok(Some(row)),
            Err(fault) => {
                let error = Error::from(fault);
                tracing::error!(%error, "the identity of the file cannot be read: it gets another one when it is needed");
                Ok(None)
            }
        }
    }

    fn write(self, tables: &mut Tables<'_>) -> Result<(), Fault> {
        tables.meta()?.insert(IDENTITY, codec::encode(&self).as_slice())?;
        Ok(())
    }

    fn identity(self) -> FileIdentity {
        FileIdentity { id: self.id, incarnation: self.incarnation }
    }
}

impl Batch<'_> {
    /// The identity of the file. If it has none, it gets the id `new`.
    pub fn identity(&mut self, new: u128) -> Result<FileIdentity, Fault> {
        if let Some(row) = Row::read(&mut self.tables)? {
            return Ok(row.identity());
        }
        let row = Row { id: new, incarnation: 0, is_copy: false };
        self.touch();
        row.write(&mut self.tables)?;
        Ok(row.identity())
    }

    /// Raises the incarnation, if it is still `after`. If the file has no identity, it gets the id `new`.
    pub fn begin_incarnation(&mut self, after: u32, new: u128) -> Result<FileIdentity, Fault> {
        let FileIdentity { id, incarnation } = self.identity(new)?;
        if incarnation != after {
            return Ok(FileIdentity { id, incarnation });
        }
        self.raise(id, incarnation)
    }

    /// If the file is a copy that was not opened before: it is one no more, and has the next incarnation, which is returned.
    pub fn opened_copy(&mut self) -> Result<Option<FileIdentity>, Fault> {
        match Row::read(&mut self.tables)? {
            Some(Row { id, incarnation, is_copy: true }) => self.raise(id, incarnation).map(Some),
            _ => Ok(None),
        }
    }

    fn raise(&mut self, id: u128, incarnation: u32) -> Result<FileIdentity, Fault> {
        let row = Row { id, incarnation: incarnation.saturating_add(1), is_copy: false };
        self.touch();
        row.write(&mut self.tables)?;
        Ok(row.identity())
    }
}

/// Marks a file as a copy. Returns false if it has no identity: then nothing is written, and its first opening has nothing to raise.
pub(super) fn mark_copy(txn: &WriteTransaction) -> Result<bool, Fault> {
    let mut tables = Tables::new(txn);
    let Some(row) = Row::read(&mut tables)? else { return Ok(false) };
    Row { is_copy: true, ..row }.write(&mut tables)?;
    Ok(true)
}
