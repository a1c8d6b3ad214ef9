//! The row of a group, which names its head. A row that cannot be read is made anew from the rows of its members.

use bytes::Bytes;
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::job::{JobId, QueueId};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::{self, decode_record};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::{RowTable, remove_rows_of};
use crate::storage::rows::untrusted::HeadValue;
use crate::time::Due;

/// A group that has members or is paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupRow {
    pub head: Option<Head>,
    pub paused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub id: JobId,
    pub seq: u64,
    pub at: HeadAt,
}

/// Where the head's index entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HeadAt {
    Ready {
        priority: u8,
        position: u64,
    },
    Due(Due),
    /// Nowhere: the group is paused.
    Held,
}

impl Batch<'_> {
    pub(in crate::storage) fn group(&mut self, queue: QueueId, group: &str) -> Result<GroupRow, Fault> {
        match self.tables.groups()?.get_row((queue, group))? {
            Some(row) => match codec::decode(TableName::Groups, u64::from(queue), &row) {
                Ok(row) => Ok(row),
                Err(_) => self.group_anew(queue, group, &row),
            },
            None => Ok(GroupRow::default()),
        }
    }

    pub(in crate::storage) fn put_group(&mut self, queue: QueueId, group: &str, row: GroupRow) -> Result<(), Fault> {
        if row == GroupRow::default() {
            self.tables.groups()?.remove((queue, group))?;
        } else {
            self.tables.groups()?.insert((queue, group), codec::encode(&row).as_slice())?;
        }
        Ok(())
    }

    /// The first member that is not parked: its sequence number, its id, its row.
    pub(in crate::storage) fn first_waiting_member(
        &mut self,
        queue: QueueId,
        group: &str,
    ) -> Result<Option<(u64, JobId, Bytes)>, Fault> {
        let line = (queue, group, 0, 0, 0)..=(queue, group, 0, u64::MAX, u64::MAX);
        let first = self.tables.members()?.range(line)?.next().transpose()?;
        Ok(first.map(|(key, row)| {
            let (.., seq, id) = key.value();
            (seq, JobId::new(id), Bytes::copy_from_slice(row.value()))
        }))
    }

    /// Removes the rows of groups that have no members, at most `rows_max` of them: those of a queue that has no jobs, whose
    /// groups are paused. Returns how many.
    pub(in crate::storage) fn remove_group_rows(&mut self, queue: QueueId, rows_max: usize) -> Result<usize, Fault> {
        self.touch();
        remove_rows_of(self.tables.groups()?, queue, rows_max)
    }

    // --- rebuilt ---

    /// Rebuilds a group's row. A group has a row if it has a head or is paused, and a head that is not held by a pause
    /// has an entry in `heads` or `delayed`. So the row follows from those.
    pub(in crate::storage) fn group_anew(
        &mut self,
        queue: QueueId,
        group: &str,
        damaged: &[u8],
    ) -> Result<GroupRow, Fault> {
        self.quarantine_row_of(TableName::Groups, &(queue, group), damaged, (Some(queue), None))?;
        let head = match self.ready_head(queue, group)? {
            Some(head) => Some(head),
            None => self.due_head(queue, group)?,
        };
        let row = match head {
            Some(head) => GroupRow { head: Some(head), paused: false },
            None => {
                let first = self.first_waiting_member(queue, group)?;
                GroupRow { head: first.map(|(seq, id, _)| Head { id, seq, at: HeadAt::Held }), paused: true }
            }
        };
        self.put_group(queue, group, row)?;
        Ok(row)
    }

    fn ready_head(&mut self, queue: QueueId, group: &str) -> Result<Option<Head>, Fault> {
        for row in self.tables.heads()?.range((queue, 0, 0)..=(queue, u8::MAX, u64::MAX))? {
            let (key, value) = row?;
            let (_, priority, position) = key.value();
            if let Some((id, seq, of)) = HeadValue::decode(value.value())
                && of == group
            {
                return Ok(Some(Head { id: JobId::new(id), seq, at: HeadAt::Ready { priority, position } }));
            }
        }
        Ok(None)
    }

    fn due_head(&mut self, queue: QueueId, group: &str) -> Result<Option<Head>, Fault> {
        let mut dues = Vec::new();
        for row in self.tables.members()?.range((queue, group, 0, 0, 0)..=(queue, group, 0, u64::MAX, u64::MAX))? {
            let (key, value) = row?;
            let (.., seq, id) = key.value();
            let record = decode_record(TableName::Members, id, &Bytes::copy_from_slice(value.value())).ok();
            if let Some(due) = record.and_then(|record| record.due()) {
                dues.push((seq, JobId::new(id), due));
            }
        }
        for (seq, id, due) in dues {
            if self.tables.delayed()?.has((queue, due.line as u8, due.at.as_millis(), id.get()))? {
                return Ok(Some(Head { id, seq, at: HeadAt::Due(due) }));
            }
        }
        Ok(None)
    }
}
