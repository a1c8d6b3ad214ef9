//! Lists the jobs that have a tag, a page at a time, from the index of tags.

use std::ops::Bound;

use crate::job::{JobId, QueueId, State};
use crate::storage::read::found::Found;
use crate::storage::read::listing::{CursorKey, QueueCursor, Row, ScanCursor, ScanFrom, ScanMost, Source};
use crate::storage::read::merged::merge;
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
        let Some(table) = self.tables().tags()?.into_table() else { return Ok(None) };
        let ScanFrom { cursor, direction } = from;
        let after = match cursor {
            Some(ScanCursor::Queue(QueueCursor {
                queue: own,
                source: Source::Tagged,
                after: Some(CursorKey::Tagged(id)),
            })) if queue.is_none_or(|queue| queue == own) => Some((tag, own, id)),
            _ => None,
        };
        let first = Bound::Included((tag, queue.unwrap_or(0), 0));
        let last = Bound::Included((tag, queue.unwrap_or(u32::MAX), u64::MAX));
        let mut rows = table.range(direction.behind(after, first, last))?;
        let mut left = most;
        while let Some(row) = direction.next(&mut rows) {
            let key = row?.0;
            let (_, queue, id) = key.value();
            let row = self.tagged(queue, id, sources)?;
            if !left.goes_on(row, &mut visit) {
                let (source, after) = (Source::Tagged, Some(CursorKey::Tagged(id)));
                return Ok(Some(ScanCursor::Queue(QueueCursor { queue, source, after })));
            }
        }
        Ok(None)
    }

    /// Goes through the jobs of all these queues that have this tag, as far as they are in these `sources`, from the one that was
    /// enqueued last back. Otherwise it is as [`Self::scan`].
    pub fn scan_tag_newest(
        &self,
        tag: &str,
        queues: &[QueueId],
        sources: &[Source],
        cursor: Option<ScanCursor>,
        most: ScanMost,
        mut visit: impl FnMut(Result<Found, Fault>) -> bool,
    ) -> Result<Option<ScanCursor>, Fault> {
        let Some(table) = self.tables().tags()?.into_table() else { return Ok(None) };
        let after = match cursor {
            Some(ScanCursor::Job(id)) => Some(id),
            _ => None,
        };
        let read = |&queue: &QueueId, after: Option<&u64>, visit: &mut dyn FnMut(u64, Row) -> bool| {
            let end = after.map_or(Bound::Included((tag, queue, u64::MAX)), |id| Bound::Excluded((tag, queue, *id)));
            let mut rows = table.range((Bound::Included((tag, queue, 0)), end))?;
            while let Some(row) = rows.next_back() {
                let key = row?.0;
                let (_, _, id) = key.value();
                if !visit(id, self.tagged(queue, id, sources)?) {
                    break;
                }
            }
            Ok(())
        };
        let mut left = most;
        Ok(merge(queues, after, read, &mut left, &mut visit)?.map(ScanCursor::Job))
    }

    /// The job to which a row of the index leads, if it is in these `sources`.
    fn tagged(&self, queue: QueueId, id: u64, sources: &[Source]) -> Result<Row, Fault> {
        match self.job_of_queue(queue, JobId::new(id)) {
            Ok(Some(found)) => {
                let bytes = found.record.payload.bytes.len() + ENTRY_BYTES;
                Ok(Row { bytes, job: is_in(&found.place, sources).then_some(Ok(found)) })
            }
            // A verification reports the row.
            Ok(None) => Ok(Row { bytes: ENTRY_BYTES, job: None }),
            Err(fault @ Fault::Corrupt { .. }) => Ok(Row { bytes: ENTRY_BYTES, job: Some(Err(fault)) }),
            Err(fault) => Err(fault),
        }
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
