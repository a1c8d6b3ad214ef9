//! Rows of `ready` go into their tree and out of it by runs: a bulk of new jobs and a batch of ended ones lie side
//! by side, and a leaf that is made once for all of them costs a fraction of one that is changed for each.

use std::cmp::Ordering;
use std::ops::Bound;

use bytes::Bytes;
use redb::{CursorError, Table};

use super::fault::Fault;
use super::keys::Numbers;
use super::tables::{ReadyKey, Tables};

type Ready<'t> = Table<'t, Numbers<ReadyKey>, &'static [u8]>;

/// Shorter runs go row by row: a run copies the leaf it begins in.
const RUN_MIN: usize = 4;

/// Ids between two rows of one run that are not of it, at most: a removal looks at each.
const GAP_MAX: u64 = 4;

/// New rows, kept until the batch is sealed or looks into the table.
#[derive(Default)]
pub(super) struct Arriving(Vec<(ReadyKey, Bytes)>);

impl Arriving {
    pub fn push(&mut self, key: ReadyKey, row: Bytes) {
        self.0.push((key, row));
    }
}

impl<'t> Tables<'t> {
    /// The ready rows, with those that have just arrived.
    pub fn ready(&mut self) -> Result<&mut Ready<'t>, Fault> {
        self.write_arrivals()?;
        self.ready_rows()
    }

    /// Writes what has arrived.
    pub fn write_arrivals(&mut self) -> Result<(), Fault> {
        if self.arriving.0.is_empty() {
            return Ok(());
        }
        let mut rows = std::mem::take(&mut self.arriving.0);
        if !rows.is_sorted_by_key(|(key, _)| *key) {
            rows.sort_unstable_by_key(|(key, _)| *key);
        }
        let table = self.ready_rows()?;
        for run in rows.chunk_by(|(a, _), (b, _)| (a.0, a.1) == (b.0, b.1)) {
            insert(table, run)?;
        }
        Ok(())
    }

    /// Removes these rows. Says of each whether it was there.
    pub fn remove_ready(&mut self, keys: &[ReadyKey]) -> Result<Vec<bool>, Fault> {
        let table = self.ready()?;
        let mut was_there = vec![false; keys.len()];
        let mut sorted: Vec<(ReadyKey, usize)> = keys.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        for run in sorted.chunk_by(|(a, _), (b, _)| (a.0, a.1) == (b.0, b.1) && b.2 - a.2 <= GAP_MAX) {
            remove(table, run, &mut was_there)?;
        }
        Ok(was_there)
    }
}

/// Inserts rows in the order of their keys.
fn insert(table: &mut Ready<'_>, mut rows: &[(ReadyKey, Bytes)]) -> Result<(), Fault> {
    while rows.len() >= RUN_MIN {
        let mut cursor = table.upper_bound_mut(Bound::Excluded(rows[0].0))?;
        let mut written = 0;
        for (key, row) in rows {
            match cursor.insert_before(key, &**row) {
                Ok(()) => written += 1,
                // A row that is there already lies in between.
                Err(CursorError::UnorderedKey) => break,
                Err(error) => return Err(error.into()),
            }
        }
        cursor.close()?;
        rows = &rows[written..];
        if written < RUN_MIN {
            break;
        }
    }
    for (key, row) in rows {
        table.insert(key, &**row)?;
    }
    Ok(())
}

/// Removes rows that lie close to one another, given in the order of their keys with their places in
/// `was_there`.
fn remove(table: &mut Ready<'_>, run: &[(ReadyKey, usize)], was_there: &mut [bool]) -> Result<(), Fault> {
    if run.len() < RUN_MIN {
        for (key, at) in run {
            was_there[*at] = table.remove(key)?.is_some();
        }
        return Ok(());
    }
    let mut wanted = run.iter().peekable();
    table.retain_in(run[0].0..=run[run.len() - 1].0, |key, _| {
        while let Some((next, at)) = wanted.peek() {
            match next.cmp(&key) {
                Ordering::Less => {}
                Ordering::Equal => was_there[*at] = true,
                Ordering::Greater => return true,
            }
            wanted.next();
            if *next == key {
                return false;
            }
        }
        true
    })?;
    Ok(())
}
