//! Pages of ready jobs in dispatch order, from which dispatch fills its windows.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::job::{JobId, Order, QueueId, ReadyJob, Refill};
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

/// The keys of `ready` or `heads` behind a place.
fn dispatch_range(refill: Refill) -> (Bound<DispatchKey>, Bound<DispatchKey>) {
    let queue = refill.queue;
    let from = match refill.after {
        Some(order) => Bound::Excluded((queue, order.priority, order.position)),
        None => Bound::Included((queue, 0, 0)),
    };
    (from, Bound::Included((queue, u8::MAX, u64::MAX)))
}

impl Reader {
    /// The next rows in dispatch order, for a window.
    pub fn page(&self, refill: Refill) -> Result<WindowPage, Fault> {
        if refill.grouped { self.heads_page(refill) } else { self.ready_page(refill) }
    }

    fn ready_page(&self, refill: Refill) -> Result<WindowPage, Fault> {
        let mut page = PageInProgress::new(refill);
        for row in self.tables().ready_rows()?.range(dispatch_range(refill))? {
            let (key, value) = row?;
            if page.is_full() {
                return Ok(page.end(TableName::Ready, false));
            }
            let (_, _, id) = key.value();
            page.push(id, id, value.value());
        }
        Ok(page.end(TableName::Ready, true))
    }

    fn heads_page(&self, refill: Refill) -> Result<WindowPage, Fault> {
        let members = self.tables().members()?;
        let mut page = PageInProgress::new(refill);
        for row in self.tables().heads()?.range(dispatch_range(refill))? {
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
        Ok(page.end(TableName::Members, true))
    }
}
