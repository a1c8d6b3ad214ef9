//! Error texts say what the caller can do.

use millpond::{Error, Millpond};
use redb::{Database, MultimapTableDefinition, TableDefinition, TableError};

use crate::support::*;

#[tokio::test]
async fn an_aborted_transaction_says_why_its_closure_failed() {
    let (_, pond) = memory();
    let error = pond.transaction(|_| Err::<(), _>("no such\u{1b} user".into())).await.unwrap_err();
    assert_eq!(error.to_string(), r"the transaction was rolled back, because its closure failed: no such\u{1b} user");
}

#[tokio::test]
async fn the_refusal_of_another_programs_redb_file_says_how_to_share_it() {
    let disk = OnDisk::new();
    drop(Database::create(disk.path()).unwrap());
    let error = Millpond::open(disk.path()).unwrap_err();
    assert!(matches!(error, Error::NotAMillpond { .. }), "{error:?}");
    for way in ["`Builder::adopt`", "`Builder::attach`"] {
        assert!(error.to_string().contains(way), "{error}");
    }
}

#[tokio::test]
async fn the_error_for_a_table_opened_twice_names_the_callers_line() {
    const TABLE: TableDefinition<u64, u64> = TableDefinition::new("t");
    const TAGS: MultimapTableDefinition<u64, u64> = MultimapTableDefinition::new("m");
    let (_, pond) = memory();
    let opened = pond.transaction(|tx| {
        let (_table, _tags) = (tx.open_table(TABLE)?, tx.open_multimap_table(TAGS)?);
        let mut files = Vec::new();
        for error in [tx.open_table(TABLE).err(), tx.open_multimap_table(TAGS).err()] {
            let Some(Error::Table { source, .. }) = error else { panic!("{error:?}") };
            let Some(TableError::TableAlreadyOpen(_, opened_at)) = source.downcast_ref() else { panic!("{source:?}") };
            files.push(opened_at.file());
        }
        Ok(files)
    });
    assert_eq!(opened.await.unwrap(), [file!(), file!()]);
}
