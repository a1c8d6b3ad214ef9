//! The schedules that enqueue in a queue: they are removed with it, and follow it when it gets another name.

use std::ops::Bound;

use memchr::memmem;
use redb::ReadableTable;

use super::decode;
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;

impl Batch<'_> {
    /// Looks at up to `rows_max` schedules after the name `after`. Returns the names of those that enqueue in `queue`, and
    /// the name after which to continue, `None` at the end. A schedule that cannot be read enqueues nowhere.
    pub(in crate::storage::life) fn schedules_of(
        &mut self,
        queue: &str,
        after: &str,
        rows_max: usize,
    ) -> Result<(Vec<String>, Option<String>), Fault> {
        // Most rows need not be decoded: a row has the name of its queue as it is.
        let finder = memmem::Finder::new(queue);
        let (mut found, mut looked_at) = (Vec::new(), 0);
        for row in self.tables.schedules()?.range::<&str>((Bound::Excluded(after), Bound::Unbounded))? {
            let (name, row) = row?;
            looked_at += 1;
            if finder.find(row.value()).is_some()
                && decode(row.value()).is_ok_and(|row| row.definition.job.queue == queue)
            {
                found.push(name.value().to_owned());
            }
            if looked_at == rows_max {
                return Ok((found, Some(name.value().to_owned())));
            }
        }
        Ok((found, None))
    }

    /// Lets a schedule enqueue in another queue from now on. What it owes is enqueued there.
    pub(in crate::storage::life) fn point_schedule_to(&mut self, name: &str, queue: &str) -> Result<(), Fault> {
        let Some(mut row) = self.schedule_row(name)? else { return Ok(()) };
        row.definition.job.queue = queue.to_owned();
        self.put_schedule(name, row.due(), &row)
    }
}
