//! Lists the jobs of all queues as one list, from the newest one back, a page at a time.

use std::collections::BinaryHeap;
use std::ops::Bound;

use crate::job::{JobId, QueueId};
use crate::storage::read::found::Found;
use crate::storage::read::listing::{CursorKey, Direction, Row, ScanCursor, ScanMost, Source};
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Location, Place};
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;

/// What one row of the index counts as beside the row of its job, in bytes.
const ENTRY_BYTES: usize = 100;

/// A list of jobs that is in the order of their ids.
enum ByIds {
    /// The ready jobs of a queue that have this priority.
    Ready(QueueId, u8),
    /// The jobs of all queues that are not ready.
    Index,
}

/// Merges lists, each of which is sorted, from the highest key back. `read` goes through a list below a key. Returns the key behind
/// which it goes on, `None` at the end.
///
/// A list is read on from its place for as long as its keys are the highest, so a list that is the only one is read in one go.
pub(super) fn merge<K: Ord + Clone, L>(
    lists: &[L],
    after: Option<K>,
    read: impl Fn(&L, Option<&K>, &mut dyn FnMut(K, Row) -> bool) -> Result<(), Fault>,
    left: &mut ScanMost,
    visit: &mut impl FnMut(Result<Found, Fault>) -> bool,
) -> Result<Option<K>, Fault> {
    let mut first = BinaryHeap::new();
    for (number, list) in lists.iter().enumerate() {
        read(list, after.as_ref(), &mut |key, _| {
            first.push((key, number));
            false
        })?;
    }
    let mut latest = after;
    while let Some((_, number)) = first.pop() {
        let others = first.peek().map(|(key, _)| key.clone());
        // What is behind the latest key of all lists is behind it in each of them.
        let from = latest.clone();
        let (mut next, mut is_stopped) = (None, false);
        read(&lists[number], from.as_ref(), &mut |key, row| {
            if others.as_ref().is_some_and(|others| key < *others) {
                next = Some(key);
                return false;
            }
            latest = Some(key);
            is_stopped = !left.goes_on(row, visit);
            !is_stopped
        })?;
        if is_stopped {
            return Ok(latest);
        }
        first.extend(next.map(|key| (key, number)));
    }
    Ok(None)
}

impl Reader {
    /// Goes through the jobs of these queues as one list, from the newest one back. If the `sources` are all there are, the newest
    /// one is that which was enqueued last. Otherwise the sources come one after another, and the jobs of each in the order of
    /// its keys: those that have ended by the times of their ends. Otherwise it is as [`Self::scan`].
    pub fn scan_newest(
        &self,
        queues: &[QueueId],
        sources: &[Source],
        cursor: Option<ScanCursor>,
        most: ScanMost,
        visit: impl FnMut(Result<Found, Fault>) -> bool,
    ) -> Result<Option<ScanCursor>, Fault> {
        match sources == Source::ALL {
            true => self.scan_by_ids(queues, cursor, most, visit),
            false => self.scan_by_sources(queues, sources, cursor, most, visit),
        }
    }

    fn scan_by_sources(
        &self,
        queues: &[QueueId],
        sources: &[Source],
        cursor: Option<ScanCursor>,
        most: ScanMost,
        mut visit: impl FnMut(Result<Found, Fault>) -> bool,
    ) -> Result<Option<ScanCursor>, Fault> {
        let direction = Direction::Backwards;
        let cursor = match cursor {
            Some(ScanCursor::Source(source, after)) => Some((source, after)),
            _ => None,
        };
        let mut left = most;
        for source in direction.ordered(sources) {
            if cursor.as_ref().is_some_and(|(own, _)| direction.is_before(source, *own)) {
                continue;
            }
            let after = cursor.as_ref().filter(|(own, _)| *own == source).map(|(_, after)| after.clone());
            let read = |queue: &QueueId, after: Option<&CursorKey>, visit: &mut dyn FnMut(CursorKey, Row) -> bool| {
                self.source(*queue, source, direction, after, visit)
            };
            if let Some(after) = merge(queues, after, read, &mut left, &mut visit)? {
                return Ok(Some(ScanCursor::Source(source, after)));
            }
        }
        Ok(None)
    }

    fn scan_by_ids(
        &self,
        queues: &[QueueId],
        cursor: Option<ScanCursor>,
        most: ScanMost,
        mut visit: impl FnMut(Result<Found, Fault>) -> bool,
    ) -> Result<Option<ScanCursor>, Fault> {
        let after = match cursor {
            Some(ScanCursor::Job(id)) => Some(id),
            _ => None,
        };
        let mut lists = vec![ByIds::Index];
        for queue in queues {
            self.ready_priorities(*queue, |priority| lists.push(ByIds::Ready(*queue, priority)))?;
        }
        let read = |list: &ByIds, after: Option<&u64>, visit: &mut dyn FnMut(u64, Row) -> bool| match list {
            ByIds::Ready(queue, priority) => self.ready_below((*queue, *priority), after, visit),
            ByIds::Index => self.indexed_below(after, visit),
        };
        let mut left = most;
        Ok(merge(&lists, after, read, &mut left, &mut visit)?.map(ScanCursor::Job))
    }

    /// The priorities that the ready jobs of a queue have.
    fn ready_priorities(&self, queue: QueueId, mut found: impl FnMut(u8)) -> Result<(), Fault> {
        let ready = self.tables().ready_rows()?;
        let mut end = Bound::Included((queue, u8::MAX, u64::MAX));
        while let Some(row) = ready.range((Bound::Included((queue, 0, 0)), end))?.next_back() {
            let key = row?.0;
            let (_, priority, _) = key.value();
            found(priority);
            end = Bound::Excluded((queue, priority, 0));
        }
        Ok(())
    }

    fn ready_below(
        &self,
        (queue, priority): (QueueId, u8),
        after: Option<&u64>,
        visit: &mut dyn FnMut(u64, Row) -> bool,
    ) -> Result<(), Fault> {
        let end =
            after.map_or(Bound::Included((queue, priority, u64::MAX)), |id| Bound::Excluded((queue, priority, *id)));
        let mut rows = self.tables().ready_rows()?.range((Bound::Included((queue, priority, 0)), end))?;
        while let Some(row) = rows.next_back() {
            let (key, stored) = row?;
            let (_, _, id) = key.value();
            if !visit(id, Row::job(id, queue, Place::Ready { priority }, stored)) {
                break;
            }
        }
        Ok(())
    }

    fn indexed_below(&self, after: Option<&u64>, visit: &mut dyn FnMut(u64, Row) -> bool) -> Result<(), Fault> {
        let end = after.map_or(Bound::Unbounded, |id| Bound::Excluded(*id));
        let mut rows = self.tables().index()?.range((Bound::Unbounded, end))?;
        while let Some(row) = rows.next_back() {
            let (key, value) = row?;
            let id = key.value();
            let location = codec::decode::<Location>(TableName::Index, id, value.value());
            let row = match location.and_then(|location| self.load(JobId::new(id), location)) {
                Ok(found) => {
                    let bytes = found.as_ref().map_or(0, |found| found.record.payload.bytes.len()) + ENTRY_BYTES;
                    Row { bytes, job: found.map(Ok) }
                }
                Err(fault @ Fault::Corrupt { .. }) => Row { bytes: ENTRY_BYTES, job: Some(Err(fault)) },
                Err(fault) => return Err(fault),
            };
            if !visit(id, row) {
                break;
            }
        }
        Ok(())
    }
}
