//! The homes that jobs are moved from: each job's row is in one of six tables.

use redb::ReadableTable;

use super::moved::Side;
use super::{NewHome, ready};
use crate::job::{JobId, QueueId, ReadyJob, Record, State};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Place, is_pointer};

/// Where a job is taken from.
pub(crate) enum OldHome<'m> {
    /// It is new, or comes from the quarantine.
    Nowhere,
    /// It was handed out. `row_was_there` is known if [`Batch::take_rows_out`] has taken its row already.
    Handler { taken: &'m ReadyJob, row_was_there: Option<bool> },
    /// It waits or has ended there, and counts as being in `state`. Without its record, the facets that depend on the
    /// record do not change.
    Place { place: &'m Place, state: State, record: Option<&'m Record>, bytes: usize },
}

impl<'m> OldHome<'m> {
    /// The job as it was there.
    #[inline]
    pub(super) fn side(&self) -> Option<Side<'m>> {
        match *self {
            Self::Nowhere => None,
            Self::Handler { taken, .. } => {
                Some(Side { state: State::Pending, bytes: u64::from(taken.bytes), record: Some(&taken.record) })
            }
            Self::Place { state, record, bytes, .. } => Some(Side { state, bytes: bytes as u64, record }),
        }
    }

    #[inline]
    pub(super) fn is_indexed(&self) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Handler { taken, .. } => taken.is_grouped(),
            Self::Place { place, .. } => !matches!(place, Place::Ready { .. }),
        }
    }
}

impl Batch<'_> {
    /// Calls `see` with the queue, the id and the row of each job that waits.
    pub(super) fn see_waiting(&mut self, mut see: impl FnMut(QueueId, u64, &[u8])) -> Result<(), Fault> {
        for row in self.tables.ready()?.iter()? {
            let (key, row) = row?;
            let (queue, _, id) = key.value();
            see(queue, id, row.value());
        }
        for row in self.tables.delayed()?.iter()? {
            let (key, row) = row?;
            let (queue, _, _, id) = key.value();
            if !is_pointer(row.value()) {
                see(queue, id, row.value());
            }
        }
        for row in self.tables.members()?.iter()? {
            let (key, row) = row?;
            let (queue, .., id) = key.value();
            see(queue, id, row.value());
        }
        for row in self.tables.blocked()?.iter()? {
            let (key, row) = row?;
            let (queue, id) = key.value();
            see(queue, id, row.value());
        }
        Ok(())
    }

    /// Removes a job from the table that has its row. Returns false if it was not there. `to` is where it goes.
    #[inline(always)]
    pub(super) fn leave_home(
        &mut self,
        queue: QueueId,
        id: JobId,
        from: &OldHome<'_>,
        to: &NewHome<'_>,
    ) -> Result<bool, Fault> {
        match from {
            OldHome::Nowhere => Ok(false),
            OldHome::Handler { row_was_there: Some(was_there), .. } => Ok(*was_there),
            OldHome::Handler { taken, row_was_there: None } => self.leave_handler(queue, id, taken),
            OldHome::Place { place, .. } => self.leave_place(queue, id, place, to),
        }
    }

    fn leave_handler(&mut self, queue: QueueId, id: JobId, taken: &ReadyJob) -> Result<bool, Fault> {
        if !taken.is_grouped() {
            return Ok(self.tables.ready()?.remove(ready::ready_key(queue, taken))?.is_some());
        }
        // The row in `heads` is removed last: a group's row that cannot be read is made anew from it.
        let was_there = self.leave_group(queue, id)?;
        self.tables.heads()?.remove((queue, taken.order.priority, taken.order.position))?;
        Ok(was_there)
    }

    fn leave_place(&mut self, queue: QueueId, id: JobId, place: &Place, to: &NewHome<'_>) -> Result<bool, Fault> {
        match place {
            Place::Ready { priority } => self.take_ready(queue, id, *priority),
            Place::Delayed { due } => self.take_delayed(queue, id, *due),
            Place::Member(member) => {
                let comes_back = to.group() == Some(&member.group);
                Ok(self.leave_waiting(queue, member, id, comes_back)?.is_some())
            }
            Place::Dead { at } => self.take_dead(queue, id, *at),
            Place::Finished { state, at } => self.take_finished(queue, id, *state, *at),
            Place::Blocked => self.take_blocked(queue, id),
        }
    }
}
