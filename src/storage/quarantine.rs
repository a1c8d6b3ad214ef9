//! Rows that cannot be read: set aside with their keys and bytes, so that the others go on.

use bytes::Bytes;
use redb::ReadableTable;
use serde::Serialize;

use super::batch::Batch;
use super::codec::{self, decode_record};
use super::fault::Fault;
use super::place::{Location, Place};
use super::queries::Reader;
use super::tables_ext::RowTable;
use super::untrusted::AsideValue;
use super::waiting::Prepared;
use crate::error::Error;
use crate::events::Event;
use crate::job::{Change, JobId, Order, QueueId, Record, State};

/// What somebody met who only reads: the writer looks at it again and sets it aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// A job's record.
    Job(JobId),
    /// What stands in the dispatch order for a group's head.
    Head(QueueId, Order),
    /// A group's row.
    Group(QueueId, String),
}

/// A row in quarantine.
#[derive(Clone, Debug)]
pub(crate) struct Aside {
    pub number: u64,
    pub table: String,
    pub queue: Option<QueueId>,
    pub group: Option<String>,
    pub id: Option<JobId>,
    pub value: Bytes,
    pub why: String,
}

/// A job's record lies in these; the others are derived, and were made anew.
const OF_JOBS: [&str; 5] = ["ready", "delayed", "members", "dead_letters", "finished"];

impl Aside {
    pub(super) fn read(number: u64, row: &[u8]) -> Self {
        let unknown = Self {
            number,
            table: "quarantine".into(),
            queue: None,
            group: None,
            id: None,
            value: Bytes::copy_from_slice(row),
            why: "its own row in the quarantine is damaged".into(),
        };
        let Some((table, key, value)) = AsideValue::decode(row) else { return unknown };
        let value = Bytes::copy_from_slice(value);
        let why = damage(table, &value);
        let aside = Self { table: table.into(), value, why, ..unknown };
        match table {
            "index" | "running" => Self { id: key_of(key), ..aside },
            "groups" | "rates" => {
                let (queue, group) = key_of::<(QueueId, String)>(key).unzip();
                Self { queue, group: group.filter(|group| !group.is_empty()), ..aside }
            }
            "heads" => Self { queue: key_of::<(QueueId, u8, u64)>(key).map(|(queue, ..)| queue), ..aside },
            _ => {
                let (queue, id) = key_of(key).unzip();
                Self { queue, id, ..aside }
            }
        }
    }

    /// The table it lay in, if it is a job's record.
    fn job_table(&self) -> Option<&'static str> {
        OF_JOBS.into_iter().find(|table| *table == self.table)
    }

    /// The job that it is, if it can be read after all.
    fn record(&self) -> Result<Option<(QueueId, JobId, Record)>, Fault> {
        let table = self.job_table();
        let (Some(table), Some(queue), Some(id)) = (table, self.queue, self.id) else { return Ok(None) };
        Ok(Some((queue, id, decode_record(table, id.get(), &self.value)?)))
    }
}

fn key_of<T: serde::de::DeserializeOwned>(key: &[u8]) -> Option<T> {
    codec::decode("quarantine", 0, key).ok()
}

fn damage(table: &str, value: &Bytes) -> String {
    let found = match table {
        "heads" => return "it leads to no member of a group".into(),
        table if OF_JOBS.contains(&table) => decode_record("quarantine", 0, value).map(drop),
        _ => codec::check(value),
    };
    match found {
        Err(Fault::Corrupt { detail, .. }) => detail,
        _ => "nothing: this build can read it".into(),
    }
}

impl Batch<'_> {
    /// Puts a row into quarantine that has left its table, or is about to be written anew.
    pub(super) fn set_row_aside(
        &mut self,
        table: &'static str,
        key: &impl Serialize,
        row: &[u8],
        (queue, id): (Option<QueueId>, Option<JobId>),
    ) -> Result<(), Fault> {
        self.touch();
        let number = self.tables.quarantine()?.last()?.map_or(0, |(number, _)| number.value()) + 1;
        let value = AsideValue::encode(table, &codec::encode(key), row);
        self.tables.quarantine()?.insert(number, value.as_slice())?;
        self.set_aside += 1;
        let queue = queue.map(|queue| self.catalog().queue_name(queue));
        self.event(|| Event::RowQuarantined { number, table: table.into(), queue, id });
        Ok(())
    }

    /// Sets a job's record aside that cannot be read. It has left its table.
    pub(super) fn set_aside(&mut self, queue: QueueId, id: JobId, place: &Place, row: &Bytes) -> Result<(), Fault> {
        self.unindex(id)?;
        self.unmark(id)?;
        self.set_row_aside(place.table(), &(queue, id), row, (Some(queue), Some(id)))?;
        let borne = || codec::presumed_state(row);
        let state = match place {
            // A job in `ready` is pending whatever its record says.
            Place::Ready { .. } => State::Pending,
            Place::Delayed { .. } => borne().filter(|state| *state == State::Retrying).unwrap_or(State::Scheduled),
            Place::Member(_) => borne().unwrap_or(State::Pending),
            Place::Dead { .. } => State::Dead,
            Place::Finished { state, .. } => *state,
        };
        let tally = self.tally(queue);
        let count = tally.count_mut(state);
        *count = count.saturating_sub(1);
        if !state.is_final() {
            tally.bytes = tally.bytes.saturating_sub(row.len() as u64);
            if let Some(record) = codec::presumed_record(row) {
                self.end_key(queue, id, &record)?;
                self.unindex_expiry(queue, id, &record)?;
            }
        }
        Ok(())
    }

    /// Sets aside what was met, if it is as bad as it seemed. Whatever it held up goes on.
    pub fn quarantine(&mut self, damage: &Damage) -> Result<(), Fault> {
        match damage {
            Damage::Job(id) => self.quarantine_job(*id).map(drop),
            Damage::Head(queue, order) => self.renew_head(*queue, *order),
            Damage::Group(queue, group) => self.group(*queue, group).map(drop),
        }
    }

    pub(super) fn quarantine_job(&mut self, id: JobId) -> Result<bool, Fault> {
        let Some(Location { queue, place }) = self.locate(id)? else { return Ok(false) };
        let Some(row) = self.row_at(queue, id, &place)? else { return Ok(false) };
        if decode_record(place.table(), id.get(), &row).is_ok() {
            return Ok(false);
        }
        self.touch();
        match &place {
            Place::Ready { priority } => {
                self.tables.ready()?.remove((queue, *priority, id.get()))?;
                let order = Order { priority: *priority, turn: id.get() };
                self.changes.push(Change::Gone { queue, grouped: false, order, id });
            }
            Place::Delayed { due } => {
                self.take_delayed(queue, id, *due)?;
            }
            Place::Member(member) => {
                self.leave_waiting(queue, member, id, false)?;
            }
            Place::Dead { at } => {
                self.tables.dead_letters()?.remove((queue, at.as_millis(), id.get()))?;
            }
            Place::Finished { state, at } => {
                self.tables.finished()?.remove((queue, *state as u8, at.as_millis(), id.get()))?;
            }
        }
        self.set_aside(queue, id, &place, &row)?;
        Ok(true)
    }

    /// Removes a row from quarantine for good.
    pub fn purge_quarantined(&mut self, number: u64) -> Result<bool, Fault> {
        let was = self.tables.quarantine()?.remove(number)?.is_some();
        if was {
            self.touch();
        }
        Ok(was)
    }

    /// Puts a job back whose record can be read after all, at the tail of its group if it has one.
    /// `None` if there is no such number, or it is no job's record.
    pub fn restore_quarantined(&mut self, number: u64) -> Result<Option<JobId>, Error> {
        let row =
            self.tables.quarantine()?.get(number).map_err(Fault::from)?.map(|row| Aside::read(number, row.value()));
        let Some((queue, id, record)) = row.map(|row| row.record()).transpose()?.flatten() else { return Ok(None) };
        if self.locate(id)?.is_some() {
            return Err(Error::NotAllowed { action: "restore", id, state: record.state });
        }
        self.purge_quarantined(number)?;
        if record.state.is_final() {
            self.keep_ended(queue, id, &record)?;
        } else {
            let seq = self.next_number();
            self.regain_key(queue, id, &record)?;
            self.insert_as(id, seq, &mut Prepared::new(queue, record, None))?;
        }
        Ok(Some(id))
    }

    /// The answer for a job that is nowhere.
    pub fn missing(&mut self, id: JobId) -> Error {
        let rows = self.tables.quarantine().and_then(|table| Ok(table.iter()?));
        match rows.and_then(|rows| find_job(rows, id)) {
            Ok(None) => Error::NoSuchJob { id },
            Ok(Some(fault)) | Err(fault) => fault.into(),
        }
    }

    /// A job's row at its place.
    pub(super) fn row_at(&mut self, queue: QueueId, id: JobId, place: &Place) -> Result<Option<Bytes>, Fault> {
        let number = id.get();
        match place {
            Place::Ready { priority } => self.tables.ready()?.get_row((queue, *priority, number)),
            Place::Delayed { due } => {
                self.tables.delayed()?.get_row((queue, due.line as u8, due.at.as_millis(), number))
            }
            Place::Member(member) => self.tables.members()?.get_row(member.key(queue, id)),
            Place::Dead { at } => self.tables.dead_letters()?.get_row((queue, at.as_millis(), number)),
            Place::Finished { state, at } => {
                self.tables.finished()?.get_row((queue, *state as u8, at.as_millis(), number))
            }
        }
    }
}

/// The job's record among rows in quarantine, as the fault that brought it there.
fn find_job(rows: redb::Range<'_, u64, AsideValue>, id: JobId) -> Result<Option<Fault>, Fault> {
    for row in rows {
        let (number, row) = row?;
        // Only the row of this job is copied.
        let key = AsideValue::decode(row.value()).and_then(|(_, key, _)| key_of::<(QueueId, JobId)>(key));
        if key.is_none_or(|(_, of)| of != id) {
            continue;
        }
        let aside = Aside::read(number.value(), row.value());
        if let Some(table) = aside.job_table().filter(|_| aside.id == Some(id)) {
            return Ok(Some(Fault::corrupt(table, id.get(), aside.why)));
        }
    }
    Ok(None)
}

impl Reader {
    /// A job that lies nowhere: is it in quarantine?
    pub(super) fn missing(&self, id: JobId) -> Result<(), Fault> {
        let rows = self.tables().quarantine()?;
        find_job(rows.iter()?, id)?.map_or(Ok(()), Err)
    }

    /// How many rows are in quarantine.
    pub fn quarantined(&self) -> Result<u64, Fault> {
        use redb::ReadableTableMetadata;
        Ok(self.tables().quarantine()?.len()?)
    }

    /// The rows behind number `after`, oldest first.
    pub fn quarantine(&self, after: u64, rows_max: usize, bytes_max: usize) -> Result<Vec<Aside>, Fault> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for row in self.tables().quarantine()?.range(after.saturating_add(1)..)?.take(rows_max) {
            let (number, row) = row?;
            let aside = Aside::read(number.value(), row.value());
            bytes += aside.value.len();
            rows.push(aside);
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(rows)
    }
}
