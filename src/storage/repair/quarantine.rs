//! Rows that cannot be read: set aside with their keys and bytes, so that the others go on.

use bytes::Bytes;
use redb::ReadableTable;

use crate::error::Error;
use crate::job::{Change, JobId, Order, QueueId, State};
use crate::storage::rows::aside::{Aside, Damage};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Location, Place};
use crate::storage::rows::prepared::Prepared;

impl Batch<'_> {
    /// Sets a job's record aside that cannot be read. It has left its table.
    pub(in crate::storage) fn set_aside(
        &mut self,
        queue: QueueId,
        id: JobId,
        place: &Place,
        row: &Bytes,
    ) -> Result<(), Fault> {
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

    pub(in crate::storage) fn quarantine_job(&mut self, id: JobId) -> Result<bool, Fault> {
        let Some(Location { queue, place }) = self.locate(id)? else { return Ok(false) };
        let Some(row) = self.row_at(queue, id, &place)? else { return Ok(false) };
        if decode_record(place.table(), id.get(), &row).is_ok() {
            return Ok(false);
        }
        self.touch();
        match &place {
            Place::Ready { priority } => {
                self.tables.ready()?.remove((queue, *priority, id.get()))?;
                let order = Order { priority: *priority, position: id.get() };
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
}
