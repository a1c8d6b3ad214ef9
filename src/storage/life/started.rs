//! Facet: which jobs a handler has, as far as it is durable. Recovery goes by these start marks.

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::moved::Moved;
use crate::job::{JobId, QueueId};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::time::Timestamp;

/// One attempt that has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartMark {
    pub queue: QueueId,
    pub priority: u8,
    /// The head's position; the id for a job without a group.
    pub position: u64,
    pub attempt: u32,
    pub max_attempts: u32,
    pub started_at: Timestamp,
    /// It was suspected of an earlier death and tried alone: nothing ran when it started, and nothing has
    /// started beside it since.
    pub alone: bool,
}

/// The mark goes with the end of the attempt, whatever that is.
#[inline]
pub(super) fn moved(batch: &mut Batch<'_>, moved: &Moved<'_>) -> Result<(), Fault> {
    if moved.was_handed_out { batch.unmark(moved.id) } else { Ok(()) }
}

impl Batch<'_> {
    pub fn mark(&mut self, id: JobId, mark: &StartMark) -> Result<(), Fault> {
        self.touch();
        self.tables.running()?.insert(id.get(), codec::encode(mark).as_slice())?;
        self.marked.push(id);
        Ok(())
    }

    /// Another job starts beside this one, whose mark says that it is alone.
    pub fn no_longer_alone(&mut self, id: JobId) -> Result<(), Fault> {
        if !self.is_marked(id) {
            return Ok(());
        }
        let Some(row) = self.tables.running()?.get_row(id.get())? else { return Ok(()) };
        // One that cannot be read is set aside by the next opening, and nobody is blamed by it.
        let Ok(mark) = codec::decode::<StartMark>(TableName::Running, id.get(), &row) else { return Ok(()) };
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
            self.unmark(id)?;
        }
        Ok(())
    }

    /// All marks. One that cannot be read is set aside: its job is where it was, no attempt used.
    pub fn marks(&mut self) -> Result<Vec<(JobId, StartMark)>, Fault> {
        let (mut marks, mut damaged) = (Vec::new(), Vec::new());
        for row in self.tables.running()?.iter()? {
            let (id, row) = row?;
            let id = JobId::new(id.value());
            match codec::decode(TableName::Running, id.get(), row.value()) {
                Ok(mark) => marks.push((id, mark)),
                Err(_) => damaged.push((id, row.value().to_vec())),
            }
        }
        for (id, row) in damaged {
            self.tables.running()?.remove(id.get())?;
            self.set_row_aside(TableName::Running, &id, &row, (None, Some(id)))?;
        }
        Ok(marks)
    }

    pub fn clear_marks(&mut self) -> Result<(), Fault> {
        self.touch();
        self.tables.running()?.retain(|_, _| false)?;
        Ok(())
    }
}
