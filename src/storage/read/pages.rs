//! Pages of ready jobs in dispatch order, from which dispatch fills its windows.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::job::{JobId, Order, Priority, QueueId, ReadyJob, Refill};
use crate::storage::rows::aside::Damage;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::untrusted::HeadValue;

/// Ready jobs in dispatch order.
pub(crate) struct WindowPage {
    pub jobs: Vec<Arc<ReadyJob>>,
    /// There are none behind them.
    pub end: bool,
    /// Rows that could not be read.
    pub damaged: Vec<Damage>,
}

/// Collects rows into one allocation, of which each job's payload is a slice.
struct PageInProgress {
    refill: Refill,
    bytes: Vec<u8>,
    /// Id, position, and where the row ends in `bytes`.
    rows: Vec<(u64, u64, usize)>,
    damaged: Vec<Damage>,
}

impl PageInProgress {
    fn new(refill: Refill) -> Self {
        Self { refill, bytes: Vec::new(), rows: Vec::new(), damaged: Vec::new() }
    }

    fn is_full(&self) -> bool {
        let Refill { jobs_max, bytes_max, .. } = self.refill;
        self.rows.len() >= jobs_max || (self.bytes.len() >= bytes_max && !self.rows.is_empty())
    }

    fn push(&mut self, id: u64, position: u64, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.rows.push((id, position, self.bytes.len()));
    }

    fn end(self, table: TableName, end: bool) -> WindowPage {
        let bytes = Bytes::from(self.bytes);
        let mut page = WindowPage { jobs: Vec::with_capacity(self.rows.len()), end, damaged: self.damaged };
        let mut from = 0;
        for (id, position, to) in self.rows {
            let row = bytes.slice(from..to);
            match decode_record(table, id, &row) {
                Ok(record) => page.jobs.push(Arc::new(ReadyJob::new(JobId::new(id), position, record, to - from))),
                Err(_) => page.damaged.push(Damage::Job(JobId::new(id))),
            }
            from = to;
        }
        page
    }
}

type DispatchKey = (QueueId, u8, u64);
type DispatchRange = (Bound<DispatchKey>, Bound<DispatchKey>);

/// The ranges of keys of `ready` or `heads` behind a place: one, or one for each priority if the newest rows come first. Such ranges are
/// read backwards.
fn dispatch_ranges(refill: Refill) -> impl Iterator<Item = DispatchRange> {
    let Refill { queue, after, newest_first, .. } = refill;
    let last = move |priority| Bound::Included((queue, priority, u64::MAX));
    let first = after.map_or(0, |order| order.priority);
    let priorities = first..=if newest_first { Priority::COUNT - 1 } else { first };
    priorities.map(move |priority| {
        let after = after.filter(|order| order.priority == priority).map(|order| (queue, priority, order.position));
        let whole = Bound::Included((queue, priority, 0));
        match newest_first {
            true => (whole, after.map_or(last(priority), Bound::Excluded)),
            false => (after.map_or(whole, Bound::Excluded), last(u8::MAX)),
        }
    })
}

/// The next row of a range, from its end if the newest rows come first.
fn next_of<T>(rows: &mut impl DoubleEndedIterator<Item = T>, newest_first: bool) -> Option<T> {
    if newest_first { rows.next_back() } else { rows.next() }
}

impl Reader {
    /// The next rows in dispatch order, for a window.
    pub fn page(&self, refill: Refill) -> Result<WindowPage, Fault> {
        if refill.grouped { self.heads_page(refill) } else { self.ready_page(refill) }
    }

    fn ready_page(&self, refill: Refill) -> Result<WindowPage, Fault> {
        let mut page = PageInProgress::new(refill);
        let ready = self.tables().ready_rows()?;
        for range in dispatch_ranges(refill) {
            let mut rows = ready.range(range)?;
            while let Some(row) = next_of(&mut rows, refill.newest_first) {
                let (key, value) = row?;
                if page.is_full() {
                    return Ok(page.end(TableName::Ready, false));
                }
                let (_, _, id) = key.value();
                page.push(id, id, value.value());
            }
        }
        Ok(page.end(TableName::Ready, true))
    }

    fn heads_page(&self, refill: Refill) -> Result<WindowPage, Fault> {
        let (heads, members) = (self.tables().heads()?, self.tables().members()?);
        let mut page = PageInProgress::new(refill);
        for range in dispatch_ranges(refill) {
            let mut rows = heads.range(range)?;
            while let Some(row) = next_of(&mut rows, refill.newest_first) {
                let (key, value) = row?;
                if page.is_full() {
                    return Ok(page.end(TableName::Members, false));
                }
                let (_, priority, position) = key.value();
                let member = match HeadValue::decode(value.value()) {
                    Some((id, seq, group)) => members.get((refill.queue, group, 0, seq, id))?.map(|row| (id, row)),
                    None => None,
                };
                match member {
                    Some((id, row)) => page.push(id, position, row.value()),
                    None => page.damaged.push(Damage::Head(refill.queue, Order { priority, position })),
                }
            }
        }
        Ok(page.end(TableName::Members, true))
    }
}
