//! Reads: one short read transaction per page, so that none lives long enough to make the file grow.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use redb::{AccessGuard, ReadTransaction, ReadableTable};
use serde::{Deserialize, Serialize};

use super::catalog::Catalog;
use super::codec::{self, decode_record};
use super::delayed::is_pointer;
use super::fault::Fault;
use super::groups::GroupRow;
use super::place::{KnownQueue, Location, Member, Place};
use super::quarantine::Damage;
use super::ready;
use super::tables::ReadTables;
use super::tables_ext::RowTable;
use super::untrusted::HeadValue;
use crate::job::{BucketKey, BucketState, JobId, Order, QueueId, ReadyJob, Record, Refill, State};
use crate::time::{Due, TimeLine, Timestamp};

/// A job, and where it was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub id: JobId,
    pub queue: QueueId,
    pub place: Place,
    pub record: Record,
    /// Its index entry cannot be read: it was searched for.
    pub unindexed: bool,
}

impl Found {
    /// Its state as far as the file knows; whether a handler has it only the scheduler knows.
    pub fn state(&self) -> State {
        match self.place {
            Place::Ready { .. } => State::Pending,
            _ => self.record.state,
        }
    }

    /// With bytes of its own, to be kept after the scan. A scan reads each record where it lies, so its bytes are slices
    /// of a page of the file with other rows in it: whoever keeps one keeps the page from being used again.
    pub fn kept(mut self) -> Self {
        self.record.own_bytes();
        self
    }
}

/// Where a scan goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScanCursor {
    pub queue: QueueId,
    pub source: u8,
    pub after: Option<CursorKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CursorKey {
    Ready(u8, u64),
    Timed(u64, u64),
    Member(String, u8, u64, u64),
}

/// The tables a queue's jobs lie in, in the order a scan goes through them.
const SOURCES: u8 = 7;

/// One snapshot of the file.
pub(crate) struct Reader {
    txn: ReadTransaction,
}

/// How much one scan looks at: a snapshot of the file must not be held for long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanMost {
    pub rows: usize,
    pub bytes: usize,
}

impl ScanMost {
    /// Everything there is.
    pub const ALL: Self = Self { rows: usize::MAX, bytes: usize::MAX };
}

/// Is given each row with its key, and says whether it wants another one.
type Look<'l> = &'l mut dyn FnMut(CursorKey, Row) -> bool;

/// A row that a scan comes to.
struct Row {
    bytes: usize,
    /// `None` stands for a job that lies somewhere else.
    job: Option<Result<Found, Fault>>,
}

/// A row's bytes where redb holds them.
type Stored = AccessGuard<'static, &'static [u8]>;

struct StoredBytes(Stored);

impl AsRef<[u8]> for StoredBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.value()
    }
}

impl Row {
    fn job(id: u64, queue: QueueId, place: Place, stored: Stored) -> Self {
        let row = Bytes::from_owner(StoredBytes(stored));
        let bytes = row.len();
        let found = |record| Found { id: JobId::new(id), queue, place: place.clone(), record, unindexed: false };
        Self { bytes, job: Some(decode_record(place.table(), id, &row).map(found)) }
    }
}

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

    fn end(self, table: &'static str, end: bool) -> WindowPage {
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
    pub fn new(txn: ReadTransaction) -> Self {
        Self { txn }
    }

    pub(super) fn tables(&self) -> ReadTables<'_> {
        ReadTables::new(&self.txn)
    }

    /// The next rows in dispatch order, for a window.
    pub fn page(&self, refill: Refill) -> Result<WindowPage, Fault> {
        if refill.grouped { self.heads_page(refill) } else { self.ready_page(refill) }
    }

    fn ready_page(&self, refill: Refill) -> Result<WindowPage, Fault> {
        let mut page = PageInProgress::new(refill);
        for row in self.tables().ready_rows()?.range(dispatch_range(refill))? {
            let (key, value) = row?;
            if page.is_full() {
                return Ok(page.end("ready", false));
            }
            let (_, _, id) = key.value();
            page.push(id, id, value.value());
        }
        Ok(page.end("ready", true))
    }

    fn heads_page(&self, refill: Refill) -> Result<WindowPage, Fault> {
        let members = self.tables().members()?;
        let mut page = PageInProgress::new(refill);
        for row in self.tables().heads()?.range(dispatch_range(refill))? {
            let (key, value) = row?;
            if page.is_full() {
                return Ok(page.end("members", false));
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
        Ok(page.end("members", true))
    }

    /// One job, wherever it lies.
    pub fn find(&self, catalog: &Catalog, id: JobId) -> Result<Option<Found>, Fault> {
        if let Some(row) = self.tables().index()?.get_row(id.get())? {
            return match codec::decode("index", id.get(), &row) {
                Ok(location) => self.load(id, location),
                Err(_) => self.search(catalog, id),
            };
        }
        let (found, _) = ready::find(&self.tables().ready_rows()?, id, catalog.recent.queue_of(id))?;
        if let Some((queue, priority)) = found {
            return self.load(id, Location { queue, place: Place::Ready { priority } });
        }
        self.missing(id)?;
        Ok(None)
    }

    /// In which queue a job is. If nothing else tells it, this searches through all queues that have ready jobs.
    pub fn queue_of(&self, catalog: &Catalog, id: JobId) -> Result<KnownQueue, Fault> {
        if let Some(row) = self.tables().index()?.get_row(id.get())? {
            let location = codec::decode::<Location>("index", id.get(), &row);
            return Ok(location.map_or(KnownQueue::NotSearched, |location| KnownQueue::Found(location.queue)));
        }
        if let Some(queue) = catalog.recent.queue_of(id) {
            return Ok(KnownQueue::Found(queue));
        }
        let (found, _) = ready::find(&self.tables().ready_rows()?, id, None)?;
        Ok(found.map_or(KnownQueue::Nowhere, |(queue, _)| KnownQueue::Found(queue)))
    }

    /// Goes through every job for one whose index entry cannot be read.
    fn search(&self, catalog: &Catalog, id: JobId) -> Result<Option<Found>, Fault> {
        let mut result = None;
        self.scan(&catalog.stored_queues(), &Self::all_sources(), None, ScanMost::ALL, |found| {
            match found {
                Ok(found) if found.id == id => result = Some(Ok(Found { unindexed: true, ..found.kept() })),
                Err(Fault::Corrupt { id: damaged, table, detail }) if damaged == id.get() => {
                    result = Some(Err(Fault::Corrupt { id: damaged, table, detail }));
                }
                _ => {}
            }
            result.is_none()
        })?;
        result.transpose()
    }

    fn load(&self, id: JobId, location: Location) -> Result<Option<Found>, Fault> {
        let Location { queue, place } = location;
        let number = id.get();
        let tables = self.tables();
        let row = match &place {
            Place::Ready { priority } => tables.ready_rows()?.get_row((queue, *priority, number))?,
            Place::Delayed { due } => tables.delayed()?.get_row((queue, due.line as u8, due.at.as_millis(), number))?,
            Place::Member(member) => tables.members()?.get_row(member.key(queue, id))?,
            Place::Dead { at } => tables.dead_letters()?.get_row((queue, at.as_millis(), number))?,
            Place::Finished { state, at } => {
                tables.finished()?.get_row((queue, *state as u8, at.as_millis(), number))?
            }
        };
        let Some(row) = row else { return Ok(None) };
        let record = decode_record(place.table(), number, &row)?;
        Ok(Some(Found { id, queue, place, record, unindexed: false }))
    }

    pub fn group(&self, queue: QueueId, group: &str) -> Result<GroupRow, Fault> {
        match self.tables().groups()?.get_row((queue, group))? {
            Some(row) => codec::decode("groups", u64::from(queue), &row),
            None => Ok(GroupRow::default()),
        }
    }

    /// How many ready jobs, with a group or without, stand before this place, as far as `most` goes. Those that a
    /// handler has stand there still: `taken` knows them.
    pub fn ahead(
        &self,
        queue: QueueId,
        order: Order,
        grouped: bool,
        most: ScanMost,
        taken: impl Fn(JobId) -> bool,
    ) -> Result<u64, Fault> {
        let range = (queue, 0, 0)..(queue, order.priority, order.position);
        let mut count = 0;
        if grouped {
            for row in self.tables().heads()?.range(range)? {
                let head = HeadValue::decode(row?.1.value()).map(|(id, ..)| JobId::new(id));
                count += u64::from(head.is_none_or(|head| !taken(head)));
                if count >= most.rows as u64 {
                    break;
                }
            }
        } else {
            let mut bytes = 0;
            for row in self.tables().ready_rows()?.range(range)? {
                let (key, value) = row?;
                count += u64::from(!taken(JobId::new(key.value().2)));
                bytes += value.value().len();
                if count >= most.rows as u64 || bytes >= most.bytes {
                    break;
                }
            }
        }
        Ok(count)
    }

    /// How many of a group's members stand before this one, as far as `most` goes.
    pub fn ahead_in_group(&self, queue: QueueId, group: &str, seq: u64, most: ScanMost) -> Result<u64, Fault> {
        let range = (queue, group, 0, 0, 0)..(queue, group, 0, seq, 0);
        let (mut count, mut bytes) = (0, 0);
        for row in self.tables().members()?.range(range)?.take(most.rows) {
            count += 1;
            bytes += row?.1.value().len();
            if bytes >= most.bytes {
                break;
            }
        }
        Ok(count)
    }

    /// The jobs that have a mark.
    pub fn marked(&self) -> Result<BTreeSet<JobId>, Fault> {
        let mut marked = BTreeSet::new();
        for row in self.tables().running()?.iter()? {
            marked.insert(JobId::new(row?.0.value()));
        }
        Ok(marked)
    }

    pub fn buckets(&self) -> Result<Vec<(BucketKey, BucketState)>, Fault> {
        let mut buckets = Vec::new();
        for row in self.tables().rates()?.iter()? {
            let (key, row) = row?;
            let (queue, group) = key.value();
            let group = (!group.is_empty()).then(|| Arc::from(group));
            buckets.push((BucketKey { queue, group }, codec::decode("rates", u64::from(queue), row.value())?));
        }
        Ok(buckets)
    }

    /// Goes through the rows of the queue's `source` behind `after`, one at a time, until `look` has had enough.
    fn source(&self, queue: QueueId, source: u8, after: Option<&CursorKey>, look: Look<'_>) -> Result<(), Fault> {
        match source {
            0 => self.scan_ready(queue, after, look),
            1 => self.scan_delayed(queue, TimeLine::Wall, after, look),
            2 => self.scan_delayed(queue, TimeLine::Engine, after, look),
            3 => self.scan_members(queue, after, look),
            4 => self.scan_dead(queue, after, look),
            5 => self.scan_finished(queue, State::Completed, after, look),
            _ => self.scan_finished(queue, State::Cancelled, after, look),
        }
    }

    fn scan_ready(&self, queue: QueueId, after: Option<&CursorKey>, look: Look<'_>) -> Result<(), Fault> {
        let from = match after {
            Some(CursorKey::Ready(priority, id)) => Bound::Excluded((queue, *priority, *id)),
            _ => Bound::Included((queue, 0, 0)),
        };
        let to = Bound::Included((queue, u8::MAX, u64::MAX));
        for row in self.tables().ready_rows()?.range((from, to))? {
            let (key, value) = row?;
            let (_, priority, id) = key.value();
            let row = Row::job(id, queue, Place::Ready { priority }, value);
            if !look(CursorKey::Ready(priority, id), row) {
                break;
            }
        }
        Ok(())
    }

    fn scan_delayed(
        &self,
        queue: QueueId,
        line: TimeLine,
        after: Option<&CursorKey>,
        look: Look<'_>,
    ) -> Result<(), Fault> {
        let line_key = line as u8;
        let from = match after {
            Some(CursorKey::Timed(at, id)) => Bound::Excluded((queue, line_key, *at, *id)),
            _ => Bound::Included((queue, line_key, 0, 0)),
        };
        let to = Bound::Included((queue, line_key, u64::MAX, u64::MAX));
        for row in self.tables().delayed()?.range((from, to))? {
            let (key, value) = row?;
            let (_, _, at, id) = key.value();
            let due = Due { line, at: Timestamp::from_millis(at) };
            // A pointer stands for a group's member, which is found where it lies.
            let row = match is_pointer(value.value()) {
                true => Row { bytes: value.value().len(), job: None },
                false => Row::job(id, queue, Place::Delayed { due }, value),
            };
            if !look(CursorKey::Timed(at, id), row) {
                break;
            }
        }
        Ok(())
    }

    fn scan_members(&self, queue: QueueId, after: Option<&CursorKey>, look: Look<'_>) -> Result<(), Fault> {
        let from = match after {
            Some(CursorKey::Member(group, parked, seq, id)) => {
                Bound::Excluded((queue, group.as_str(), *parked, *seq, *id))
            }
            _ => Bound::Included((queue, "", 0, 0, 0)),
        };
        let to = Bound::Excluded((queue + 1, "", 0, 0, 0));
        for row in self.tables().members()?.range((from, to))? {
            let (key, value) = row?;
            let (_, group, parked, seq, id) = key.value();
            let place = Place::Member(Member { group: group.into(), parked: parked == 1, seq });
            let key = CursorKey::Member(group.to_owned(), parked, seq, id);
            if !look(key, Row::job(id, queue, place, value)) {
                break;
            }
        }
        Ok(())
    }

    fn scan_dead(&self, queue: QueueId, after: Option<&CursorKey>, look: Look<'_>) -> Result<(), Fault> {
        let from = match after {
            Some(CursorKey::Timed(at, id)) => Bound::Excluded((queue, *at, *id)),
            _ => Bound::Included((queue, 0, 0)),
        };
        let to = Bound::Included((queue, u64::MAX, u64::MAX));
        for row in self.tables().dead_letters()?.range((from, to))? {
            let (key, value) = row?;
            let (_, at, id) = key.value();
            let place = Place::Dead { at: Timestamp::from_millis(at) };
            if !look(CursorKey::Timed(at, id), Row::job(id, queue, place, value)) {
                break;
            }
        }
        Ok(())
    }

    fn scan_finished(
        &self,
        queue: QueueId,
        state: State,
        after: Option<&CursorKey>,
        look: Look<'_>,
    ) -> Result<(), Fault> {
        let state_key = state as u8;
        let from = match after {
            Some(CursorKey::Timed(at, id)) => Bound::Excluded((queue, state_key, *at, *id)),
            _ => Bound::Included((queue, state_key, 0, 0)),
        };
        let to = Bound::Included((queue, state_key, u64::MAX, u64::MAX));
        for row in self.tables().finished()?.range((from, to))? {
            let (key, value) = row?;
            let (_, _, at, id) = key.value();
            let place = Place::Finished { state, at: Timestamp::from_millis(at) };
            if !look(CursorKey::Timed(at, id), Row::job(id, queue, place, value)) {
                break;
            }
        }
        Ok(())
    }

    /// Goes through the jobs of `queues` behind `cursor`, looking at no more than `most` and stopping when `visit` has
    /// had enough. Returns where to go on, `None` at the end.
    ///
    /// Only one row is held at a time. The bytes that `visit` is given lie in the file's page: see [`Found::kept`].
    pub fn scan(
        &self,
        queues: &[QueueId],
        sources: &[u8],
        cursor: Option<ScanCursor>,
        most: ScanMost,
        mut visit: impl FnMut(Result<Found, Fault>) -> bool,
    ) -> Result<Option<ScanCursor>, Fault> {
        let mut left = most;
        let start = cursor.as_ref().and_then(|c| queues.iter().position(|&queue| queue == c.queue)).unwrap_or(0);
        for &queue in &queues[start..] {
            for &source in sources {
                let here = cursor.as_ref().filter(|c| c.queue == queue);
                if here.is_some_and(|c| source < c.source) {
                    continue;
                }
                let after = here.filter(|c| c.source == source).and_then(|c| c.after.as_ref());
                let mut stopped = None;
                self.source(queue, source, after, &mut |key, row| {
                    left.rows = left.rows.saturating_sub(1);
                    left.bytes = left.bytes.saturating_sub(row.bytes);
                    let goes_on = row.job.is_none_or(&mut visit) && left.rows > 0 && left.bytes > 0;
                    if !goes_on {
                        stopped = Some(key);
                    }
                    goes_on
                })?;
                if stopped.is_some() {
                    return Ok(Some(ScanCursor { queue, source, after: stopped }));
                }
            }
        }
        Ok(None)
    }

    pub fn all_sources() -> Vec<u8> {
        (0..SOURCES).collect()
    }

    /// The sources in which jobs of this state lie.
    pub fn sources_of(state: State) -> Vec<u8> {
        match state {
            State::Pending | State::Running => vec![0, 3],
            State::Scheduled | State::Retrying => vec![1, 2, 3],
            State::Dead => vec![4],
            State::Completed => vec![5],
            State::Cancelled => vec![6],
            State::Blocked => vec![],
        }
    }
}

impl Reader {
    /// All that cannot be read and can be set aside or made anew.
    pub fn damages(&self, catalog: &Catalog) -> Result<Vec<Damage>, Fault> {
        let mut damages = Vec::new();
        let tables = self.tables();
        for row in tables.index()?.iter()? {
            let (id, row) = row?;
            if codec::decode::<Location>("index", id.value(), row.value()).is_err() {
                damages.push(Damage::Job(JobId::new(id.value())));
            }
        }
        for row in tables.groups()?.iter()? {
            let (key, row) = row?;
            let (queue, group) = key.value();
            if codec::decode::<GroupRow>("groups", u64::from(queue), row.value()).is_err() {
                damages.push(Damage::Group(queue, group.to_owned()));
            }
        }
        let members = tables.members()?;
        for row in tables.heads()?.iter()? {
            let (key, value) = row?;
            let (queue, priority, position) = key.value();
            let leads = match HeadValue::decode(value.value()) {
                Some((id, seq, group)) => members.has((queue, group, 0, seq, id))?,
                None => false,
            };
            if !leads {
                damages.push(Damage::Head(queue, Order { priority, position }));
            }
        }
        self.scan(&catalog.stored_queues(), &Self::all_sources(), None, ScanMost::ALL, |found| {
            if let Err(Fault::Corrupt { id, .. }) = found {
                damages.push(Damage::Job(JobId::new(id)));
            }
            true
        })?;
        Ok(damages)
    }
}
