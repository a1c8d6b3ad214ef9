//! Schedules: their rows, when each is due, and what a verification finds of them. [`firing`] and [`patching`] have
//! the verbs.
//!
//! A schedule has one row, and while a run is to follow one row that says when it is due. Both are written together.

mod firing;
mod of_queue;
mod patching;

use std::collections::BTreeSet;
use std::ops::Bound;

use redb::{ReadableTable, ReadableTableMetadata};

use super::verifier::Verifier;
use crate::error::Error;
use crate::job::{Coder, Definition, JobTemplate, NewJob, Record, Schedule, ScheduleRow, check_schedule_name};
use crate::storage::rows::aside::Damage;
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::codec::{decode_record, encode_record};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::prepared::Prepared;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::schedule_times::NotedSchedules;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::ScheduleDueKey;
use crate::storage::rows::tables_ext::RowTable;
use crate::text::printable;
use crate::time::{Due, TimeLine, Timestamp};
pub(crate) use firing::FiringRoom;

/// The lines that a schedule can be on.
const LINES: [TimeLine; 2] = [TimeLine::Wall, TimeLine::Engine];

/// The row of `meta` that has a time of the wall clock after which no schedule's next time was computed.
const COMPUTED_AT: &str = "schedules_computed_at";

/// A schedule as a reader has found it.
#[derive(Debug)]
pub(crate) struct StoredSchedule {
    pub name: String,
    pub row: ScheduleRow,
    /// The record of its jobs, without their times.
    pub record: Record,
}

/// Turns a schedule as its caller describes it into a definition. `prepare` encodes the job.
pub(crate) fn define(
    name: &str,
    schedule: Schedule,
    prepare: impl FnOnce(&str, NewJob) -> Result<Prepared, Error>,
) -> Result<Definition, Error> {
    check_schedule_name(name)?;
    let (plan, queue, job, expires_in) = schedule.check()?;
    let kind = job.kind().to_owned();
    let prepared = prepare(&queue, job)?;
    let mut record = Record { kind: 0, enqueued_at: Timestamp::EPOCH, ..prepared.record().clone() };
    // The same job has the same bytes, whether or not something was set in between.
    record.extra = record.extra.filter(|extra| **extra != Default::default());
    Ok(Definition { plan, job: JobTemplate { queue, kind, expires_in, record: encode_record(&record) } })
}

fn decode(row: &[u8]) -> Result<ScheduleRow, Fault> {
    codec::decode(TableName::Schedules, 0, row)
}

/// Whether both definitions mean the same. A payload codec need not make the same bytes of the same payload each time.
fn is_same(one: &Definition, other: &Definition, coder: &Coder) -> bool {
    let named = |job: &JobTemplate| (job.queue.clone(), job.kind.clone(), job.expires_in);
    one == other
        || coder.is_some()
            && one.plan == other.plan
            && named(&one.job) == named(&other.job)
            && is_same_record(&one.job, &other.job, coder).unwrap_or(false)
}

/// `None` if one of them cannot be read.
fn is_same_record(one: &JobTemplate, other: &JobTemplate, coder: &Coder) -> Option<bool> {
    let (one, mut other) = (record(one).ok()?, record(other).ok()?);
    let is_same_payload = coder.payload(&one.payload).ok()? == coder.payload(&other.payload).ok()?;
    other.payload = one.payload.clone();
    Some(is_same_payload && one == other)
}

/// The record of a schedule's jobs, without their times.
fn record(template: &JobTemplate) -> Result<Record, Fault> {
    decode_record(TableName::Schedules, 0, &template.record)
}

/// When the next of all schedules is due.
fn next_of_all(
    due: &impl ReadableTable<ScheduleDueKey, ()>,
    computed_at: Option<Timestamp>,
) -> Result<NotedSchedules, Fault> {
    let mut noted = NotedSchedules { of_all: true, computed_at, ..NotedSchedules::default() };
    for line in LINES {
        // The end of time is no time at which anything is due.
        if let Some(row) = due.range((line as u8, 0, "")..=(line as u8, u64::MAX, ""))?.next() {
            let at = row?.0.value().1;
            noted.add(Due { line, at: Timestamp::from_millis(at) });
        }
    }
    Ok(noted)
}

/// A time of the wall clock after which no schedule's next time was computed. If it cannot be read, schedules go on as if
/// the clock had not been set back.
fn computed_at(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Option<Timestamp>, Fault> {
    let row = meta.get(COMPUTED_AT)?;
    Ok(row.and_then(|row| codec::decode(TableName::Meta, 0, row.value()).ok()))
}

impl Batch<'_> {
    /// The schedule of this name. One that cannot be read is moved to the quarantine.
    fn schedule_row(&mut self, name: &str) -> Result<Option<ScheduleRow>, Fault> {
        let Some(row) = self.tables.schedules()?.get_row(name)? else { return Ok(None) };
        match decode(&row) {
            Ok(row) => Ok(Some(row)),
            Err(_) => {
                self.quarantine_schedule(name)?;
                Ok(None)
            }
        }
    }

    /// Moves a schedule whose row cannot be read to the quarantine.
    pub(in crate::storage) fn quarantine_schedule(&mut self, name: &str) -> Result<(), Fault> {
        let Some(row) = self.tables.schedules()?.get_row(name)? else { return Ok(()) };
        if decode(&row).is_ok() {
            return Ok(());
        }
        let name_shown = &*printable(name);
        tracing::error!(schedule = name_shown, "a schedule cannot be read; it is moved to the quarantine");
        self.quarantine_row_of(TableName::Schedules, &name, &row, (None, None))?;
        self.tables.schedules()?.remove(name)?;
        // Only its row could have said when it is due.
        let mut due = Vec::new();
        for row in self.tables.schedule_due()?.iter()? {
            let key = row?.0;
            let (line, at, of) = key.value();
            due.extend((of == name).then_some((line, at)));
        }
        for (line, at) in due {
            self.tables.schedule_due()?.remove((line, at, name))?;
        }
        Ok(())
    }

    /// Stores a schedule that was due at `was_due` until now.
    fn put_schedule(&mut self, name: &str, was_due: Option<Due>, row: &ScheduleRow) -> Result<(), Fault> {
        self.touch();
        let due = row.due();
        if was_due != due {
            self.forget_due(name, was_due)?;
            if let Some(due) = due {
                self.tables.schedule_due()?.insert((due.line as u8, due.at.as_millis(), name), ())?;
            }
        }
        if let Some(due) = due {
            self.schedules.add(due);
        }
        if row.line() == TimeLine::Wall {
            self.computed_now()?;
        }
        let row = codec::encode(row);
        self.moved(row.len());
        self.tables.schedules()?.insert(name, row.as_slice())?;
        Ok(())
    }

    /// Removes a schedule and its due time.
    fn delete_schedule(&mut self, name: &str, was_due: Option<Due>) -> Result<(), Fault> {
        self.touch();
        self.forget_due(name, was_due)?;
        self.tables.schedules()?.remove(name)?;
        Ok(())
    }

    /// Removes the row that says that a schedule is due then.
    fn forget_due(&mut self, name: &str, due: Option<Due>) -> Result<(), Fault> {
        if let Some(due) = due {
            self.touch();
            self.tables.schedule_due()?.remove((due.line as u8, due.at.as_millis(), name))?;
        }
        Ok(())
    }

    fn schedules_len(&mut self) -> Result<u64, Fault> {
        Ok(self.tables.schedules()?.len()?)
    }

    /// Up to `rows_max` schedules that are due now, with when they are due.
    pub fn due_schedules(&mut self, rows_max: usize) -> Result<Vec<(Due, String)>, Fault> {
        let mut due = Vec::new();
        for line in LINES {
            let to = (line as u8, self.now.on(line).as_millis().saturating_add(1), "");
            let rows = self.tables.schedule_due()?.range((line as u8, 0, "")..to)?;
            for row in rows.take(rows_max - due.len()) {
                let key = row?.0;
                let (_, at, name) = key.value();
                due.push((Due { line, at: Timestamp::from_millis(at) }, name.to_owned()));
            }
        }
        Ok(due)
    }

    /// Up to `rows_max` names of schedules after this one.
    fn schedules_after(&mut self, name: &str, rows_max: usize) -> Result<Vec<String>, Fault> {
        let rows = self.tables.schedules()?.range::<&str>((Bound::Excluded(name), Bound::Unbounded))?;
        rows.take(rows_max).map(|row| Ok(row?.0.value().to_owned())).collect()
    }

    /// Notes that all schedules that are due were looked at, except those that are still due.
    pub fn looked_at_schedules(&mut self) -> Result<(), Fault> {
        let computed_at = Some(self.schedules_computed_at()?);
        self.schedules = next_of_all(self.tables.schedule_due()?, computed_at)?;
        Ok(())
    }

    /// A time of the wall clock after which no schedule's next time was computed.
    pub fn schedules_computed_at(&mut self) -> Result<Timestamp, Fault> {
        if let Some(at) = self.schedules.computed_at {
            return Ok(at);
        }
        let at = computed_at(self.tables.meta()?)?.unwrap_or(Timestamp::EPOCH);
        self.schedules.computed_at = Some(at);
        Ok(at)
    }

    /// The next time of a schedule is computed now.
    fn computed_now(&mut self) -> Result<(), Fault> {
        if self.schedules_computed_at()? < self.now.wall {
            self.all_computed_before(self.now.wall)?;
        }
        Ok(())
    }

    /// No next time of a schedule was computed at a later time than this.
    fn all_computed_before(&mut self, at: Timestamp) -> Result<(), Fault> {
        self.touch();
        let row = codec::encode(&at);
        self.tables.meta()?.insert(COMPUTED_AT, row.as_slice())?;
        self.schedules.computed_at = Some(at);
        Ok(())
    }
}

impl Reader {
    /// When the next schedule is due.
    pub fn next_schedules(&self) -> Result<NotedSchedules, Fault> {
        next_of_all(&self.tables().schedule_due()?, computed_at(&self.tables().meta()?)?)
    }

    /// How many schedules there are.
    pub fn schedules_len(&self) -> Result<u64, Fault> {
        Ok(self.tables().schedules()?.len()?)
    }

    /// The schedule of this name.
    pub fn schedule(&self, name: &str) -> Result<Option<StoredSchedule>, Fault> {
        let Some(row) = self.tables().schedules()?.get_row(name)? else { return Ok(None) };
        let row = decode(&row)?;
        let record = record(&row.definition.job)?;
        Ok(Some(StoredSchedule { name: name.to_owned(), row, record }))
    }

    /// Up to `rows_max` schedules after this name, in the order of their names; fewer if they have more than `bytes_max`
    /// bytes. Also returns the names of those that cannot be read.
    pub fn schedules(
        &self,
        after: &str,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<(Vec<StoredSchedule>, Vec<String>), Fault> {
        let (mut found, mut unread, mut bytes) = (Vec::new(), Vec::new(), 0);
        let table = self.tables().schedules()?;
        for row in table.range::<&str>((Bound::Excluded(after), Bound::Unbounded))? {
            let (name, row) = row?;
            bytes += row.value().len();
            let name = name.value().to_owned();
            match decode(row.value()).and_then(|row| Ok((record(&row.definition.job)?, row))) {
                Ok((record, row)) => found.push(StoredSchedule { name, row, record }),
                Err(_) => unread.push(name),
            }
            if found.len() >= rows_max || bytes >= bytes_max {
                break;
            }
        }
        Ok((found, unread))
    }
}

// --- verification ---

/// Compares when schedules are due by their rows with the rows that say when they are due.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    let mut expected = BTreeSet::new();
    let mut unread = BTreeSet::new();
    for row in verifier.tables().schedules()?.iter()? {
        let (name, row) = row?;
        let name = name.value();
        match decode(row.value()).and_then(|row| record(&row.definition.job).map(|_| row)) {
            Ok(row) => expected.extend(row.due().map(|due| (due.line as u8, due.at.as_millis(), name.to_owned()))),
            Err(fault) => {
                unread.insert(name.to_owned());
                verifier.unreadable(fault);
            }
        }
    }
    for row in verifier.tables().schedule_due()?.iter()? {
        let key = row?.0;
        let (line, at, name) = key.value();
        if !expected.remove(&(line, at, name.to_owned())) && !unread.contains(name) {
            verifier.problem(format!("schedule {name:?} is to be due at {at} on line {line}, where it is not"));
        }
    }
    for (line, at, name) in expected {
        verifier.problem(format!("schedule {name:?} is due at {at} on line {line}, and is not to be found there"));
    }
    Ok(())
}

/// The schedules that cannot be read.
pub(in crate::storage) fn damages(reader: &Reader) -> Result<Vec<Damage>, Fault> {
    let mut damages = Vec::new();
    for row in reader.tables().schedules()?.iter()? {
        let (name, row) = row?;
        if decode(row.value()).is_err() {
            damages.push(Damage::Schedule(name.value().to_owned()));
        }
    }
    Ok(damages)
}

/// Makes the rows that say when schedules are due agree with the schedules.
pub(in crate::storage) fn rebuild(batch: &mut Batch<'_>) -> Result<(), Fault> {
    let mut expected = BTreeSet::new();
    for row in batch.tables.schedules()?.iter()? {
        let (name, row) = row?;
        let due = decode(row.value()).ok().and_then(|row| row.due());
        expected.extend(due.map(|due| (due.line as u8, due.at.as_millis(), name.value().to_owned())));
    }
    let mut wrong = Vec::new();
    for row in batch.tables.schedule_due()?.iter()? {
        let key = row?.0;
        let (line, at, name) = key.value();
        let key = (line, at, name.to_owned());
        if !expected.remove(&key) {
            wrong.push(key);
        }
    }
    for (line, at, name) in wrong {
        batch.touch();
        batch.tables.schedule_due()?.remove((line, at, name.as_str()))?;
    }
    for (line, at, name) in expected {
        batch.touch();
        batch.tables.schedule_due()?.insert((line, at, name.as_str()), ())?;
    }
    Ok(())
}
