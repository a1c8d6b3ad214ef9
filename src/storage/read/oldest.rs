//! Finds the job that has been ready for the longest time.

use bytes::Bytes;

use crate::job::{JobId, Priority, QueueId, Record};
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::untrusted::HeadValue;
use crate::time::Timestamp;

/// How many rows of running jobs this passes over for each priority, at most.
const PASSED_OVER_MAX: usize = 10_000;

impl Reader {
    /// Since when the job waits that has been ready for the longest time. It reads the first jobs of each priority. The
    /// rows of jobs that a handler has are still there: `taken` says which these are.
    pub fn oldest_ready(&self, queue: QueueId, taken: impl Fn(JobId) -> bool) -> Result<Option<Timestamp>, Fault> {
        let mut oldest = None::<Timestamp>;
        for priority in Priority::FIRST.get()..=Priority::LAST.get() {
            let alone = self.first_ready(queue, priority, &taken)?;
            let head = self.first_head(queue, priority, &taken)?;
            oldest = [oldest, alone, head].into_iter().flatten().min();
        }
        Ok(oldest)
    }

    fn first_ready(
        &self,
        queue: QueueId,
        priority: u8,
        taken: &impl Fn(JobId) -> bool,
    ) -> Result<Option<Timestamp>, Fault> {
        let range = (queue, priority, 0)..=(queue, priority, u64::MAX);
        for row in self.tables().ready_rows()?.range(range)?.take(PASSED_OVER_MAX) {
            let (key, row) = row?;
            let id = key.value().2;
            if !taken(JobId::new(id)) {
                let record = decode_record(TableName::Ready, id, &Bytes::copy_from_slice(row.value()))?;
                return Ok(Some(ready_since(&record)));
            }
        }
        Ok(None)
    }

    fn first_head(
        &self,
        queue: QueueId,
        priority: u8,
        taken: &impl Fn(JobId) -> bool,
    ) -> Result<Option<Timestamp>, Fault> {
        let range = (queue, priority, 0)..=(queue, priority, u64::MAX);
        let members = self.tables().members()?;
        for row in self.tables().heads()?.range(range)?.take(PASSED_OVER_MAX) {
            let (_, value) = row?;
            let Some((id, seq, group)) = HeadValue::decode(value.value()) else { continue };
            if taken(JobId::new(id)) {
                continue;
            }
            let Some(row) = members.get_row((queue, group, 0, seq, id))? else { continue };
            return Ok(Some(ready_since(&decode_record(TableName::Members, id, &row)?)));
        }
        Ok(None)
    }
}

/// A job that was due later has been ready since then.
fn ready_since(record: &Record) -> Timestamp {
    record.due().map_or(record.enqueued_at, |due| due.at.max(record.enqueued_at))
}
