//! Lists the jobs that have a tag, a page at a time, from the index of tags.

use std::ops::Bound;

use crate::job::{JobId, QueueId, State};
use crate::storage::read::found::Found;
use crate::storage::read::listing::{CursorKey, ScanCursor, ScanFrom, ScanMost, Source};
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Location, Place};
use crate::storage::rows::reader::Reader;
use crate::storage::rows::ready;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::time::TimeLine;

/// What one row of the index counts as beside the row of its job, in bytes.
const ENTRY_BYTES: usize = 100;

impl Reader {
    /// Goes through the jobs that have this tag, in all queues or in one, as far as they are in these `sources`. They come by
    /// their queues' numbers and their ids. Otherwise it is as [`Self::scan`].
    pub fn scan_tag(
        &self,
        tag: &str,
        queue: Option<QueueId>,
        sources: &[Source],
        from: ScanFrom,
        most: ScanMost,
        mut visit: impl FnMut(Result<Found, Fault>) -> bool,
    ) -> Result<Option<ScanCursor>, Fault> {
        let Some(table) = self.tables().tags()? else { return Ok(None) };
        let ScanFrom { cursor, direction } = from;
        let after = match cursor {
            Some(ScanCursor { queue: own, source: Source::Tagged, after: Some(CursorKey::Tagged(id)) })
                if queue.is_none_or(|queue| queue == own) =>
            {
                Some((tag, own, id))
            }
            _ => None,
        };
        let first = Bound::Included((tag, queue.unwrap_or(0), 0));
        let last = Bound::Included((tag, queue.unwrap_or(u32::MAX), u64::MAX));
        let mut rows = table.range(direction.behind(after, first, last))?;
        let mut left = most;
        while let Some(row) = direction.next(&mut rows) {
            let key = row?.0;
            let (_, queue, id) = key.value();
            let found = self.job_of_queue(queue, JobId::new(id));
            let bytes =
                found.as_ref().ok().and_then(Option::as_ref).map_or(0, |found| found.record.payload.bytes.len());
            left.rows = left.rows.saturating_sub(1);
            left.bytes = left.bytes.saturating_sub(bytes + ENTRY_BYTES);
            let goes_on = match found {
                Ok(Some(found)) => !is_in(&found.place, sources) || visit(Ok(found)),
                // A verification reports the row.
                Ok(None) => true,
                Err(fault @ Fault::Corrupt { .. }) => visit(Err(fault)),
                Err(fault) => return Err(fault),
            };
            if !goes_on || left.rows == 0 || left.bytes == 0 {
                let (source, after) = (Source::Tagged, Some(CursorKey::Tagged(id)));
                return Ok(Some(ScanCursor { queue, source, after }));
            }
        }
        Ok(None)
    }

    /// The job with this id, if it is in this queue.
    fn job_of_queue(&self, queue: QueueId, id: JobId) -> Result<Option<Found>, Fault> {
        if let Some(row) = self.tables().index()?.get_row(id.get())? {
            let location: Location = codec::decode(TableName::Index, id.get(), &row)?;
            return if location.queue == queue { self.load(id, location) } else { Ok(None) };
        }
        let (found, _) = ready::find(&self.tables().ready_rows()?, id, Some(queue))?;
        let Some((queue, priority)) = found else { return Ok(None) };
        self.load(id, Location { queue, place: Place::Ready { priority } })
    }
}

fn is_in(place: &Place, sources: &[Source]) -> bool {
    sources.contains(&match place {
        Place::Ready { .. } => Source::Ready,
        Place::Delayed { due } if due.line == TimeLine::Wall => Source::Delayed,
        Place::Delayed { .. } => Source::DelayedByEngine,
        Place::Member(_) => Source::Members,
        Place::Dead { .. } => Source::Dead,
        Place::Finished { state: State::Completed, .. } => Source::Completed,
        Place::Finished { .. } => Source::Cancelled,
        Place::Blocked => Source::Blocked,
    })
}
