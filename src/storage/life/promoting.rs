//! Verb: jobs whose time has come could run from now on.

use std::sync::Arc;

use bytes::Bytes;

use super::moved::{Moved, Side, WithHandler};
use crate::job::{Change, JobId, QueueId, ReadyJob, State, Transition};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Place, is_pointer};
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::unreadable::Unreadable;
use crate::time::{Due, TimeLine};

impl Batch<'_> {
    /// Makes jobs of `queue` that are due ready: one, and more until `jobs_max` are, or as many bytes as one command
    /// may move.
    pub fn promote(&mut self, queue: QueueId, jobs_max: usize) -> Result<(), Fault> {
        let (mut promoted, before) = (0, self.moved_bytes());
        'lines: for line in [TimeLine::Wall, TimeLine::Engine] {
            let mut after = None;
            loop {
                let rows = self.due_rows(queue, line, after, jobs_max - promoted)?;
                let Some((id, due, _)) = rows.last() else { break };
                after = Some((due.at, *id));
                for (id, due, row) in rows {
                    self.promote_one(queue, id, due, row)?;
                    promoted += 1;
                    // The other jobs stay where they are, and are still due.
                    if promoted == jobs_max || self.moved_bytes() - before >= self.limits.moved_at_once {
                        tracing::trace!("a promotion leaves the rest to the next commit");
                        break 'lines;
                    }
                }
            }
        }
        let next_due = [self.first_due(queue, TimeLine::Wall)?, self.first_due(queue, TimeLine::Engine)?];
        self.changes.push(Change::Promoted { queue, next_due });
        Ok(())
    }

    /// Makes the job of this row ready. If its record cannot be read, it is moved to the quarantine.
    fn promote_one(&mut self, queue: QueueId, id: JobId, due: Due, row: Bytes) -> Result<(), Fault> {
        self.touch();
        if is_pointer(&row) {
            match self.promote_member(queue, id, due) {
                Err(Fault::Corrupt { .. }) => self.unreadable.push(Unreadable::InPlace(id)),
                promoted => promoted?,
            }
        } else {
            self.take_delayed(queue, id, due)?;
            match decode_record(TableName::Delayed, id.get(), &row) {
                Ok(record) => {
                    let side = |state| Some(Side { state, bytes: row.len() as u64, record: Some(&record) });
                    self.tell_facets(&Moved {
                        id,
                        queue,
                        transition: Transition::Promote,
                        from: side(record.state),
                        to: side(State::Pending),
                        was_indexed: true,
                        indexed: None,
                        ended: None,
                        handler: WithHandler::No,
                    })?;
                    self.put_ready(queue, Arc::new(ReadyJob::new(id, id.get(), record, row.len())), &row);
                }
                Err(Fault::Corrupt { .. }) => {
                    self.unreadable.push(Unreadable::Left { queue, id, place: Place::Delayed { due }, row });
                }
                Err(fault) => return Err(fault),
            }
        }
        self.put_unreadable_aside()
    }
}
