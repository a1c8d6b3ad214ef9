//! Verb: a job's row that cannot be read is moved to the quarantine, and the jobs that it blocked can run.

use bytes::Bytes;

use super::moved::{Moved, Side, WithHandler};
use super::{NewHome, OldHome};
use crate::job::{JobId, QueueId, State, Transition};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::{self, decode_record};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Location, Place};
use crate::storage::rows::unreadable::Unreadable;

impl Batch<'_> {
    /// Moves the rows that a verb could not read to the quarantine. Removing one can make the next one known.
    #[inline]
    pub(in crate::storage) fn put_unreadable_aside(&mut self) -> Result<(), Fault> {
        if self.unreadable.is_empty() { Ok(()) } else { self.put_all_aside() }
    }

    #[cold]
    fn put_all_aside(&mut self) -> Result<(), Fault> {
        while !self.unreadable.is_empty() {
            for unreadable in std::mem::take(&mut self.unreadable) {
                match unreadable {
                    Unreadable::Left { queue, id, place, row } => self.quarantine_row(queue, id, &place, &row)?,
                    Unreadable::InPlace(id) => drop(self.take_unreadable(id)?),
                }
            }
        }
        Ok(())
    }

    /// Moves a job to the quarantine if its row cannot be read. Returns whether it did.
    pub(in crate::storage) fn quarantine_job(&mut self, id: JobId) -> Result<bool, Fault> {
        let was_unreadable = self.take_unreadable(id)?;
        self.put_unreadable_aside()?;
        Ok(was_unreadable)
    }

    fn take_unreadable(&mut self, id: JobId) -> Result<bool, Fault> {
        let Some(Location { queue, place }) = self.locate(id)? else { return Ok(false) };
        let Some(row) = self.row_at(queue, id, &place)? else { return Ok(false) };
        if decode_record(place.table(), id.get(), &row).is_ok() {
            return Ok(false);
        }
        self.touch();
        let state = presumed_state(&place, &row);
        let from = OldHome::Place { place: &place, state, record: None, bytes: row.len() };
        self.leave_home(queue, id, &from, &NewHome::Nowhere)?;
        if let Place::Dead { .. } = place {
            self.pause_held_by(queue, id)?;
        }
        self.quarantine_row(queue, id, &place, &row)?;
        Ok(true)
    }

    /// Moves the row of a job, which was already removed from its table, to the quarantine.
    fn quarantine_row(&mut self, queue: QueueId, id: JobId, place: &Place, row: &Bytes) -> Result<(), Fault> {
        self.quarantine_row_of(place.table(), &(queue, id), row, (Some(queue), Some(id)))?;
        let record = codec::presumed_record(row);
        let state = presumed_state(place, row);
        self.tell_facets(&Moved {
            id,
            queue,
            transition: Transition::Quarantine,
            from: Some(Side { state, bytes: row.len() as u64, record: record.as_ref() }),
            to: None,
            was_indexed: true,
            indexed: None,
            ended: None,
            handler: WithHandler::Was,
        })?;
        // Nobody can tell how it ends.
        self.note_end(queue, id, || None);
        // The tags that its record seems to have can be wrong.
        self.forget_tags_of(id)
    }
}

/// The state in which a job was counted whose record cannot be read.
pub(super) fn presumed_state(place: &Place, row: &Bytes) -> State {
    let borne = || codec::presumed_state(row);
    match place {
        // A job in `ready` is pending whatever its record says.
        Place::Ready { .. } => State::Pending,
        Place::Delayed { .. } => borne().filter(|state| *state == State::Retrying).unwrap_or(State::Scheduled),
        Place::Member(_) => borne().unwrap_or(State::Pending),
        Place::Dead { .. } => State::Dead,
        Place::Finished { state, .. } => *state,
        Place::Blocked => State::Blocked,
    }
}
