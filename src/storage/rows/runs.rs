//! Inserts and removes rows by runs. The rows of many new jobs, or of a batch of ended ones, are neighbours: a
//! leaf of the tree that is made once for all of them costs a fraction of a leaf that is changed for each.

use crate::storage::rows::fault::Fault;
use crate::storage::rows::keys::Numbers;
use crate::storage::rows::tables::{ReadyKey, Tables};
use std::ops::Bound;

use bytes::Bytes;
use redb::{CursorError, Key, Table, Value};

type Ready<'t> = Table<'t, Numbers<ReadyKey>, &'static [u8]>;

/// Fewer new rows are inserted one by one: a run of them copies the leaf it begins in, which was slower below 8.
const INSERTED_MIN: usize = 8;

/// The most ids between two rows of a run that are not part of it: a removal reads each of them.
const GAP_MAX: u64 = 4;

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
pub(super) fn insert<T>(table: &mut Table<'_, Numbers<T>, &'static [u8]>, mut rows: &[(T, Bytes)]) -> Result<(), Fault>
where
    T: Copy + 'static,
    Numbers<T>: Key + for<'a> Value<SelfType<'a> = T>,
{
    while rows.len() >= INSERTED_MIN {
        let mut cursor = table.upper_bound_mut(Bound::Excluded(rows[0].0))?;
        let mut written = 0;
        for (key, row) in rows {
            match cursor.insert_before(key, &**row) {
                Ok(()) => written += 1,
                // A row that is in the table already is between them.
                Err(CursorError::UnorderedKey) => break,
                Err(error) => return Err(error.into()),
            }
        }
        cursor.close()?;
        rows = &rows[written..];
        if written < INSERTED_MIN {
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
    if let [(key, at)] = run {
        was_there[*at] = table.remove(key)?.is_some();
        return Ok(());
    }
    let mut wanted = run.iter().peekable();
    table.retain_in(run[0].0..=run[run.len() - 1].0, |key, _| {
        while wanted.next_if(|(next, _)| *next < key).is_some() {}
        match wanted.next_if(|(next, _)| *next == key) {
            Some((_, at)) => was_there[*at] = true,
            None => return true,
        }
        false
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use redb::{Database, ReadableTable, WriteTransaction};

    use super::*;

    fn database() -> Database {
        Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap()
    }

    fn dump(txn: &WriteTransaction) -> BTreeMap<ReadyKey, Vec<u8>> {
        let mut tables = Tables::new(txn);
        let rows = tables.ready().unwrap().iter().unwrap();
        rows.map(|row| row.map(|(key, row)| (key.value(), row.value().to_vec())).unwrap()).collect()
    }

    #[test]
    fn runs_leave_what_rows_one_by_one_leave() {
        let db = database();
        let mut model = BTreeMap::new();
        let mut rng = fastrand::Rng::with_seed(7);
        for round in 0..200 {
            let txn = db.begin_write().unwrap();
            let mut tables = Tables::new(&txn);
            for _ in 0..rng.usize(0..4) {
                // Side by side, among what is there already, over it, and behind it.
                let (queue, priority, first) = (rng.u32(0..2), rng.u8(0..2), rng.u64(0..400));
                for n in 0..rng.u64(0..40) {
                    let (key, row) = ((queue, priority, first + n * rng.u64(1..3)), vec![round; rng.usize(0..300)]);
                    if model.insert(key, row.clone()).is_none() {
                        tables.arriving.push(key, row.into());
                    } else {
                        tables.ready().unwrap().insert(key, &*row).unwrap();
                    }
                }
            }
            let among: Vec<ReadyKey> = model.keys().copied().collect();
            let mut keys: Vec<ReadyKey> =
                (0..rng.u64(0..60)).map(|_| (rng.u32(0..2), rng.u8(0..2), rng.u64(0..400))).collect();
            keys.extend(among.iter().skip(rng.usize(0..200)).take(rng.usize(0..60)));
            keys.sort_unstable();
            keys.dedup();
            rng.shuffle(&mut keys);
            let there: Vec<bool> = keys.iter().map(|key| model.remove(key).is_some()).collect();
            assert_eq!(tables.remove_ready(&keys).unwrap(), there, "round {round}");
            drop(tables);
            assert_eq!(dump(&txn), model, "round {round}");
            txn.commit().unwrap();
        }
    }

    #[test]
    fn a_row_that_has_just_arrived_is_seen_and_overwritten() {
        let db = database();
        let txn = db.begin_write().unwrap();
        let mut tables = Tables::new(&txn);
        for round in [1, 2] {
            for id in 0..20 {
                tables.arriving.push((1, 0, id), Bytes::from(vec![round]));
            }
            assert_eq!(tables.ready().unwrap().get((1, 0, 19)).unwrap().unwrap().value(), [round]);
        }
    }
}
