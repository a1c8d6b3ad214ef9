//! Facet: start marks, which say durably which jobs a handler has. Recovery after a crash reads them.

use redb::ReadableTable;

use super::index;
use super::moved::{Moved, WithHandler};
use super::verifier::Verifier;
use crate::job::JobId;
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Location, Place};
use crate::storage::rows::start_mark::{CancelledMark, StartMark};
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;

/// Writes the mark of a job that was handed out, and removes it when the attempt ends, however that is.
#[inline]
pub(super) fn moved(batch: &mut Batch<'_>, moved: &Moved<'_>) -> Result<(), Fault> {
    match moved.handler {
        WithHandler::No => Ok(()),
        WithHandler::Was => batch.unmark(moved.id),
        WithHandler::Is(mark) => batch.mark(moved.id, mark),
    }
}

impl Batch<'_> {
    fn mark(&mut self, id: JobId, mark: &StartMark) -> Result<(), Fault> {
        match self.cancel_reason(id)? {
            None => self.tables.running()?.insert(id.get(), codec::encode(mark).as_slice())?,
            Some(reason) => self.tables.running()?.insert(id.get(), codec::encode(&(mark, reason)).as_slice())?,
        };
        self.marked.push(id);
        Ok(())
    }

    /// Adds to the mark of a running job why its cancel was requested.
    pub(super) fn mark_cancelled(&mut self, id: JobId, mark: &StartMark, reason: &str) -> Result<(), Fault> {
        self.tables.running()?.insert(id.get(), codec::encode(&(mark, reason)).as_slice())?;
        self.cancels.push((id, reason.into()));
        Ok(())
    }

    /// The mark of a job, if it has one.
    pub(super) fn start_mark(&mut self, id: JobId) -> Result<Option<StartMark>, Fault> {
        if !self.is_marked(id) {
            return Ok(None);
        }
        let Some(row) = self.tables.running()?.get_row(id.get())? else { return Ok(None) };
        // One that cannot be read is replaced.
        Ok(codec::decode(TableName::Running, id.get(), &row).ok())
    }

    /// Why the cancel of a running job was requested, if it was. A job that has no start mark costs no read.
    pub fn cancel_reason(&mut self, id: JobId) -> Result<Option<String>, Fault> {
        if !self.is_marked(id) {
            return Ok(None);
        }
        let Some(row) = self.tables.running()?.get_row(id.get())? else { return Ok(None) };
        Ok(reason_of(id, &row))
    }

    /// Another job starts beside this one, whose mark says that it is alone: from now on it says otherwise.
    pub fn no_longer_alone(&mut self, id: JobId) -> Result<(), Fault> {
        if !self.is_marked(id) {
            return Ok(());
        }
        let Some(row) = self.tables.running()?.get_row(id.get())? else { return Ok(()) };
        // A mark that cannot be read is moved to the quarantine by the next opening, and no job is blamed because of it.
        let Ok(mark) = codec::decode::<StartMark>(TableName::Running, id.get(), &row) else { return Ok(()) };
        self.touch();
        self.mark(id, &StartMark { alone: false, ..mark })
    }

    /// Removes the mark if there is one. A short job has none.
    pub(in crate::storage) fn unmark(&mut self, id: JobId) -> Result<(), Fault> {
        if self.is_marked(id) {
            self.tables.running()?.remove(id.get())?;
            self.unmarked.push(id);
        }
        Ok(())
    }

    /// Removes the marks of jobs that no handler has.
    pub fn unmark_all(&mut self, ids: &[JobId]) -> Result<(), Fault> {
        for &id in ids {
            self.touch();
            // A job whose cancel was requested is cancelled once the engine comes to it: until then a crash must not forget it.
            if self.cancel_reason(id)?.is_none() {
                self.unmark(id)?;
            }
        }
        Ok(())
    }

    /// All marks, each with the reason of a cancel that was requested. One that cannot be read is moved to the quarantine: its job stays where it is, and no attempt is used.
    pub fn marks(&mut self) -> Result<Vec<(JobId, StartMark, Option<String>)>, Fault> {
        let (mut marks, mut damaged) = (Vec::new(), Vec::new());
        for row in self.tables.running()?.iter()? {
            let (id, row) = row?;
            let id = JobId::new(id.value());
            match codec::decode(TableName::Running, id.get(), row.value()) {
                Ok(mark) => marks.push((id, mark, reason_of(id, row.value()))),
                Err(_) => damaged.push((id, row.value().to_vec())),
            }
        }
        for (id, row) in damaged {
            self.tables.running()?.remove(id.get())?;
            self.quarantine_row_of(TableName::Running, &id, &row, (None, Some(id)))?;
        }
        Ok(marks)
    }

    pub fn clear_marks(&mut self) -> Result<(), Fault> {
        self.touch();
        self.tables.running()?.retain(|_, _| false)?;
        Ok(())
    }
}

/// The reason in the row of a mark, if a cancel was requested.
fn reason_of(id: JobId, row: &[u8]) -> Option<String> {
    let (_, reason) = codec::decode::<CancelledMark>(TableName::Running, id.get(), row).ok()?;
    Some(reason)
}

/// Checks that each mark belongs to a job that can be running.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    for row in verifier.tables().running()?.iter()? {
        verifier.work.rows += 1;
        let (id, row) = row?;
        let id = id.value();
        if let Err(fault) = codec::decode::<StartMark>(TableName::Running, id, row.value()) {
            verifier.unreadable(fault);
            continue;
        }
        if !verifier.seen.contains(id) {
            if !verifier.unread.contains(&JobId::new(id)) {
                verifier.problem(format!("job {id} is marked as running, but there is no such job"));
            }
            continue;
        }
        let could_run = match index::look_up(verifier, id)? {
            // The job is ready. An entry that cannot be read is reported with the index.
            Ok(None) | Err(_) => true,
            Ok(Some(Location { place: Place::Member(member), .. })) => !member.parked,
            Ok(Some(_)) => false,
        };
        if !could_run {
            verifier
                .problem(format!("job {id} is marked as running, but it is neither ready nor a member that can run"));
        }
    }
    Ok(())
}

/// Moves the marks that cannot be read to the quarantine.
pub(super) fn rebuild(batch: &mut Batch<'_>) -> Result<(), Fault> {
    batch.marks().map(drop)
}
