//! Facet: tags: which jobs have a tag. An index of all jobs that have tags, whether they wait or have ended and are kept.
//!
//! The rows of a job are written with the job and removed with it. Their key begins with the tag, so the jobs that have a
//! tag are one range, and those of one queue a part of it. The table is created with the first job that has a tag.

use std::collections::BTreeSet;

use bytes::Bytes;
use redb::ReadableTable;

use super::moved::{Moved, Side};
use super::verifier::Verifier;
use crate::job::{JobId, QueueId, Record};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::{decode_record, record_with_tags};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;

/// A job has its rows as long as the file has its record, in whatever state.
pub(super) fn moved(batch: &mut Batch<'_>, moved: &Moved<'_>) -> Result<(), Fault> {
    let (was, is) = (tags(&moved.from), tags(&moved.to));
    if was == is {
        return Ok(());
    }
    let Moved { queue, id, .. } = *moved;
    for tag in was.iter().filter(|tag| !is.contains(tag)) {
        batch.tables.tags()?.remove((tag.as_str(), queue, id.get()))?;
    }
    for tag in is.iter().filter(|tag| !was.contains(tag)) {
        batch.tables.tags()?.insert((tag.as_str(), queue, id.get()), ())?;
    }
    Ok(())
}

fn tags<'m>(side: &Option<Side<'m>>) -> &'m [String] {
    side.and_then(|side| side.record).map_or(&[], Record::tags)
}

impl Batch<'_> {
    /// Removes all rows of a job whose record cannot be read. This reads the whole table, because nothing else says which
    /// tags it had: damage is rare.
    pub(super) fn forget_tags_of(&mut self, id: JobId) -> Result<(), Fault> {
        if let Some(table) = self.tables.tags_if_used()? {
            table.retain(|(_, _, of), ()| of != id.get())?;
        }
        Ok(())
    }
}

// --- verification ---

/// Checks that the index has each tag of a job that was read.
pub(super) fn check_job(verifier: &mut Verifier<'_>, queue: QueueId, id: u64, record: &Record) -> Result<(), Fault> {
    for tag in record.tags() {
        verifier.work.lookups += 1;
        let is_there = match &verifier.tags {
            Some(table) => table.get((tag.as_str(), queue, id))?.is_some(),
            None => false,
        };
        if is_there {
            verifier.tags_found += 1;
        } else {
            verifier.problem(format!("job {id} has the tag {tag:?}, but the index of tags does not have it"));
        }
    }
    Ok(())
}

/// Checks that each row belongs to a job that has this tag. [`check_job`] has found the rows of all jobs that were read: if
/// these are all rows, nothing is left to be checked.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    let Some(table) = verifier.tags.take() else { return Ok(()) };
    let mut left = 0;
    for row in table.iter()? {
        verifier.work.rows += 1;
        left += 1;
        let key = row?.0;
        let (tag, queue, id) = key.value();
        if !verifier.seen.contains(id) {
            let queue = verifier.name(queue);
            verifier.problem(format!("the index of tags has job {id} of {queue} at {tag:?}, but there is no such job"));
            left -= 1;
        } else if verifier.unread.contains(&JobId::new(id)) {
            left -= 1;
        }
    }
    if left != verifier.tags_found {
        let found = verifier.tags_found;
        verifier.problem(format!("the index of tags has {left} rows of jobs that have {found} of these tags"));
    }
    Ok(())
}

/// Makes the index agree with the records, if it does not. Reads all jobs.
pub(super) fn rebuild(batch: &mut Batch<'_>) -> Result<(), Fault> {
    let mut expected = BTreeSet::new();
    let mut see = |queue: QueueId, id: u64, row: &[u8]| {
        if record_with_tags(row).is_none() {
            return;
        }
        if let Ok(record) = decode_record(TableName::Ready, id, &Bytes::copy_from_slice(row)) {
            expected.extend(record.tags().iter().map(|tag| (tag.clone(), queue, id)));
        }
    };
    batch.see_waiting(&mut see)?;
    for row in batch.tables.dead_letters()?.iter()? {
        let (key, row) = row?;
        let (queue, _, id) = key.value();
        see(queue, id, row.value());
    }
    for row in batch.tables.finished()?.iter()? {
        let (key, row) = row?;
        let (queue, _, _, id) = key.value();
        see(queue, id, row.value());
    }
    let mut wrong = Vec::new();
    if let Some(table) = batch.tables.tags_if_used()? {
        for row in table.iter()? {
            let key = row?.0;
            let (tag, queue, id) = key.value();
            let key = (tag.to_owned(), queue, id);
            if !expected.remove(&key) {
                wrong.push(key);
            }
        }
    }
    for (tag, queue, id) in wrong {
        batch.touch();
        batch.tables.tags()?.remove((tag.as_str(), queue, id))?;
    }
    for (tag, queue, id) in expected {
        batch.touch();
        batch.tables.tags()?.insert((tag.as_str(), queue, id), ())?;
    }
    Ok(())
}
