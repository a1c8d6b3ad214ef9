//! Version 4 measures ages on a time line of their own, which setting a clock does not move. Before, ended jobs were stored
//! by the wall clock, and unique keys and buckets by the engine's line. The new line begins at the engine's present time,
//! so all of them keep their ages without being rewritten. Jobs that ended under a clock that had not been set are the
//! exception: their age is unknown, so it counts from now.
//!
//! From this version on, fields that few records have are written in sections. Existing records stay as they are until their
//! jobs change: both layouts can be read. Waiting jobs that have an expiry and have not started are in an index of expiries, by
//! the wall clock, as those versions meant it.

use bytes::Bytes;
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{Rows, each_row};
use crate::storage::rows::codec::{self, decode_record};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::is_pointer;
use crate::storage::rows::table_name::TableName;

const META: Rows<&str> = TableDefinition::new("millpond/meta");
const INDEX: Rows<u64> = TableDefinition::new("millpond/index");
const DEAD_LETTERS: Rows<(u32, u64, u64)> = TableDefinition::new("millpond/dead_letters");
const READY: Rows<(u32, u8, u64)> = TableDefinition::new("millpond/ready");
const DELAYED: Rows<(u32, u8, u64, u64)> = TableDefinition::new("millpond/delayed");
const MEMBERS: Rows<(u32, &str, u8, u64, u64)> = TableDefinition::new("millpond/members");
const EXPIRING: TableDefinition<'static, (u8, u64, u32, u64), ()> = TableDefinition::new("millpond/expiring");
const FINISHED: Rows<(u32, u8, u64, u64)> = TableDefinition::new("millpond/finished");

const COUNTERS: &str = "counters";

/// 2020-01-01 00:00 UTC in milliseconds. An earlier time is from a clock that had not been set.
const CLOCKS_SET_FROM: u64 = 1_577_836_800_000;

#[derive(Deserialize)]
struct OldCounters {
    next_id: u64,
    next_turn: u64,
    engine: u64,
    clean: bool,
}

#[derive(Serialize)]
struct Counters {
    next_id: u64,
    next_turn: u64,
    engine: u64,
    age: u64,
    wall: u64,
    counted: u64,
    clean: bool,
}

/// The place of a job, as the index has it. Only the places of ended jobs are written here.
#[derive(Serialize)]
struct Location {
    queue: u32,
    place: Place,
}

#[derive(Serialize)]
#[expect(dead_code, reason = "the numbers of the others count")]
enum Place {
    Ready,
    Delayed,
    Member,
    Dead { at: u64 },
    Finished { state: u8, at: u64 },
}

pub(in crate::storage) fn migrate(txn: &WriteTransaction) -> Result<(), Fault> {
    let now = migrate_counters(txn)?;
    if now >= CLOCKS_SET_FROM {
        keep_dead_letters_from(txn, now)?;
        keep_finished_from(txn, now)?;
    }
    index_expiries(txn)
}

fn index_expiries(txn: &WriteTransaction) -> Result<(), Fault> {
    let mut expiring = txn.open_table(EXPIRING)?;
    // A row that cannot be read stays where it is. It is moved to the quarantine when a verb meets it.
    let mut index = |queue: u32, id: u64, row: &[u8]| -> Result<(), Fault> {
        let Ok(record) = decode_record(TableName::Ready, id, &Bytes::copy_from_slice(row)) else { return Ok(()) };
        let Some(extra) = record.extra.filter(|_| record.attempts == 0) else { return Ok(()) };
        let started = extra.snoozes > 0 || extra.crashes > 0 || !extra.errors.is_empty();
        if let Some(expiry) = extra.expiry.filter(|_| !started) {
            expiring.insert((0, expiry.shown.as_millis(), queue, id), ())?;
        }
        Ok(())
    };
    each_row(txn, READY, |(queue, _, id), row| index(queue, id, row))?;
    each_row(txn, DELAYED, |(queue, _, _, id), row| if is_pointer(row) { Ok(()) } else { index(queue, id, row) })?;
    each_row(txn, MEMBERS, |(queue, _, _, _, id), row| index(queue, id, row))
}

fn keep_dead_letters_from(txn: &WriteTransaction, now: u64) -> Result<(), Fault> {
    let (mut rows, mut index) = (txn.open_table(DEAD_LETTERS)?, txn.open_table(INDEX)?);
    let mut old = Vec::new();
    for row in rows.iter()? {
        let key @ (_, at, _) = row?.0.value();
        old.extend((at < CLOCKS_SET_FROM).then_some(key));
    }
    for (queue, at, id) in old {
        let Some(row) = rows.remove((queue, at, id))?.map(|row| row.value().to_vec()) else { continue };
        rows.insert((queue, now, id), row.as_slice())?;
        let location = Location { queue, place: Place::Dead { at: now } };
        index.insert(id, codec::encode(&location).as_slice())?;
    }
    Ok(())
}

fn keep_finished_from(txn: &WriteTransaction, now: u64) -> Result<(), Fault> {
    let (mut rows, mut index) = (txn.open_table(FINISHED)?, txn.open_table(INDEX)?);
    let mut old = Vec::new();
    for row in rows.iter()? {
        let key @ (_, _, at, _) = row?.0.value();
        old.extend((at < CLOCKS_SET_FROM).then_some(key));
    }
    for (queue, state, at, id) in old {
        let Some(row) = rows.remove((queue, state, at, id))?.map(|row| row.value().to_vec()) else { continue };
        rows.insert((queue, state, now, id), row.as_slice())?;
        let location = Location { queue, place: Place::Finished { state, at: now } };
        index.insert(id, codec::encode(&location).as_slice())?;
    }
    Ok(())
}

/// Returns where the age line begins.
fn migrate_counters(txn: &WriteTransaction) -> Result<u64, Fault> {
    let mut meta = txn.open_table(META)?;
    let old = meta.get(COUNTERS)?.map(|row| codec::decode::<OldCounters>(TableName::Meta, 1, row.value()));
    let old = old.ok_or_else(|| Fault::corrupt(TableName::Meta, 1, "the counters are missing"))??;
    let OldCounters { next_id, next_turn, engine, clean } = old;
    // The engine's line was never behind the wall clock.
    let (age, wall, counted) = (engine, engine, engine);
    let counters = Counters { next_id, next_turn, engine, age, wall, counted, clean };
    meta.insert(COUNTERS, codec::encode(&counters).as_slice())?;
    Ok(age)
}
