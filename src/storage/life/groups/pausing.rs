//! A group is paused or resumed.

use std::sync::Arc;

use super::row::{GroupRow, Head, HeadAt};
use crate::job::{Change, JobId, Order, QueueId};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::Member;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::unreadable::Unreadable;
use crate::storage::rows::untrusted::HeadValue;

impl Batch<'_> {
    /// Pauses or resumes a group. Heads that run finish. To resume a group that is not paused ends the hold of a dead
    /// letter. Returns false if the group was in that state already.
    ///
    /// A head of a paused group has no row in `heads`, even while it runs or is about to run: if the
    /// process dies, the next one must not start it. `handed_out` says in which order dispatch has handed
    /// a job out, if it has: at that place the row is put back.
    pub(in crate::storage::life) fn set_paused(
        &mut self,
        queue: QueueId,
        group: &Arc<str>,
        paused: bool,
        handed_out: impl Fn(JobId) -> Option<Order>,
    ) -> Result<bool, Fault> {
        let mut row = self.group(queue, group)?;
        if row.is_paused() == paused && (paused || row.held_by().is_none()) {
            return Ok(false);
        }
        self.touch();
        // So that the queue has a row even if nothing was ever enqueued to it.
        self.queue_mut(queue);
        row = match (paused, row.is_paused()) {
            (true, _) => row.paused(),
            // A dead letter that holds the group as well goes on holding it.
            (false, true) => row.unpaused(),
            (false, false) => {
                if let Some(by) = row.held_by() {
                    self.tell_released(queue, group, by.id);
                }
                row.released()
            }
        };
        if paused {
            if self.catalog().has_consumers() {
                self.changes.push(Change::GroupPaused { queue, group: group.clone() });
            }
            self.pause_heads(queue, &mut row)?;
        } else {
            self.resume_heads(queue, group, &mut row, handed_out)?;
        }
        self.fill(queue, group, row)?;
        Ok(true)
    }

    /// The heads of a group that is not paused any more get their entries.
    fn resume_heads(
        &mut self,
        queue: QueueId,
        group: &Arc<str>,
        row: &mut GroupRow,
        handed_out: impl Fn(JobId) -> Option<Order>,
    ) -> Result<(), Fault> {
        for head in row.heads.clone().into_iter().filter(|head| head.at == HeadAt::Held) {
            if let Some(Order { priority, position }) = handed_out(head.id).filter(|_| !self.has_returned(head.id)) {
                let stands_for = HeadValue::encode(head.id.get(), head.seq, group);
                self.tables.heads()?.insert((queue, priority, position), stands_for.as_slice())?;
                row.put_head(Head { at: HeadAt::Ready { priority, position }, ..head });
                continue;
            }
            let member = Member { group: group.clone(), parked: false, seq: head.seq };
            match self.tables.members()?.get_row(member.key(queue, head.id))? {
                Some(bytes) if decode_record(TableName::Members, head.id.get(), &bytes).is_err() => {
                    self.unreadable.push(Unreadable::InPlace(head.id));
                }
                Some(bytes) => self.make_head(queue, row, &member, head.id, bytes)?,
                None => drop(row.remove_head(head.id)),
            }
        }
        Ok(())
    }
}
