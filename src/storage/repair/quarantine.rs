//! Moves rows that cannot be read to the quarantine, with their keys and bytes, so that the other jobs can run; and puts
//! jobs back from there.

use redb::ReadableTable;

use crate::error::Error;
use crate::job::{JobId, life};
use crate::storage::life::{Move, NewHome, OldHome};
use crate::storage::rows::aside::{Aside, Damage};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::prepared::Prepared;

impl Batch<'_> {
    /// Checks again whether the row that a reader has met cannot be read. If so, moves it to the quarantine or makes it
    /// anew, and the jobs that it blocked can run.
    pub fn quarantine(&mut self, damage: &Damage) -> Result<(), Fault> {
        match damage {
            Damage::Job(id) => self.quarantine_job(*id).map(drop),
            Damage::Head(queue, order) => {
                self.renew_head(*queue, *order)?;
                self.put_unreadable_aside()
            }
            Damage::Group(queue, group) => {
                self.group(*queue, group)?;
                self.end_hold_of_no_dead_letter(*queue, group)
            }
            Damage::Schedule(name) => self.quarantine_schedule(name),
            Damage::Entry(stream, offset) => self.quarantine_entry(stream, *offset),
        }
    }

    /// Puts a job back whose record can be read after all, at the tail of its group if it has one.
    /// `None` if there is no such number, or it is no job's record.
    pub fn restore_quarantined(&mut self, number: u64) -> Result<Option<JobId>, Error> {
        let row =
            self.tables.quarantine()?.get(number).map_err(Fault::from)?.map(|row| Aside::read(number, row.value()));
        let Some((queue, id, mut record)) = row.map(|row| row.record()).transpose()?.flatten() else { return Ok(None) };
        if self.locate(id)?.is_some() {
            return Err(Error::NotAllowed { action: "restore", id, state: record.state });
        }
        self.purge_quarantined(number)?;
        let (transition, from) = (life::restore(&mut record), OldHome::Nowhere);
        if record.state.is_final() {
            self.apply(Move { id, queue, transition, from, to: NewHome::Ended { record: &record, kept: true } })?;
        } else {
            let seq = self.next_number();
            let job = &mut Prepared::new(queue, record, None);
            self.apply(Move { id, queue, transition, from, to: NewHome::Waiting { job, seq } })?;
        }
        Ok(Some(id))
    }
}
