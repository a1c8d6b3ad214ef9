//! Lists the jobs of queues, a page at a time, from all tables that have jobs.

use std::ops::Bound;

use bytes::Bytes;
use redb::{AccessGuard, Key, Range};
use serde::{Deserialize, Serialize};

use crate::job::{JobId, QueueId, State};
use crate::storage::read::found::Found;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Member, Place, is_pointer};
use crate::storage::rows::reader::Reader;
use crate::time::{Due, TimeLine, Timestamp};

/// Where a scan goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ScanCursor {
    /// In a queue; the queues come one after another.
    Queue(QueueCursor),
    /// Behind a row of a source, whose rows in all queues are one list.
    Source(Source, CursorKey),
    /// Behind a job; the jobs of all queues and sources are one list.
    Job(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueueCursor {
    pub queue: QueueId,
    pub source: Source,
    pub after: Option<CursorKey>,
}

/// The key of a row without its queue. Two rows of one source never have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum CursorKey {
    Ready(u8, u64),
    Timed(u64, u64),
    Member(String, u8, u64, u64),
    /// In the index of tags, or among the blocked jobs.
    Tagged(u64),
}

/// What a scan reads of a queue, in this order: a table, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Source {
    Ready,
    /// Delayed until a time of the wall clock.
    Delayed,
    /// Delayed until a time of the engine's own line.
    DelayedByEngine,
    Members,
    Dead,
    Completed,
    Cancelled,
    /// The index of tags, which leads to jobs in all the others.
    Tagged,
    /// Wait for other jobs of their flows.
    Blocked,
}

impl Source {
    pub const ALL: &'static [Self] = &[
        Self::Ready,
        Self::Delayed,
        Self::DelayedByEngine,
        Self::Members,
        Self::Dead,
        Self::Completed,
        Self::Cancelled,
        Self::Blocked,
    ];

    /// The sources that have jobs of this state.
    pub fn of(state: State) -> &'static [Self] {
        match state {
            State::Pending | State::Running => &[Self::Ready, Self::Members],
            State::Scheduled | State::Retrying => &[Self::Delayed, Self::DelayedByEngine, Self::Members],
            State::Dead => &[Self::Dead],
            State::Completed => &[Self::Completed],
            State::Cancelled => &[Self::Cancelled],
            State::Blocked => &[Self::Blocked],
        }
    }
}

/// Which way a scan goes through queues, sources and keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Direction {
    #[default]
    Forwards,
    /// The exact reverse of [`Self::Forwards`].
    Backwards,
}

impl Direction {
    /// The keys between `first` and `last` that come behind `after`.
    pub fn behind<K>(self, after: Option<K>, first: Bound<K>, last: Bound<K>) -> (Bound<K>, Bound<K>) {
        match (self, after) {
            (_, None) => (first, last),
            (Self::Forwards, Some(after)) => (Bound::Excluded(after), last),
            (Self::Backwards, Some(after)) => (first, Bound::Excluded(after)),
        }
    }

    pub fn next<T>(self, rows: &mut impl DoubleEndedIterator<Item = T>) -> Option<T> {
        match self {
            Self::Forwards => rows.next(),
            Self::Backwards => rows.next_back(),
        }
    }

    pub fn ordered<T: Copy>(self, all: &[T]) -> Vec<T> {
        let mut all = all.to_vec();
        if self == Self::Backwards {
            all.reverse();
        }
        all
    }

    /// Whether this direction comes to `one` before it comes to `other`.
    pub fn is_before(self, one: Source, other: Source) -> bool {
        match self {
            Self::Forwards => one < other,
            Self::Backwards => one > other,
        }
    }
}

/// Where a scan begins, and which way it goes. The cursor is one of a scan that went the same way.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScanFrom {
    pub cursor: Option<ScanCursor>,
    pub direction: Direction,
}

/// Queues of which a scan makes one list, at most: each page looks up the first row of each.
const MERGED_QUEUES_MAX: usize = 1_000;

impl ScanFrom {
    /// Whether a scan of so many queues makes one list of their jobs, from the newest one back. A list goes on as it has begun.
    pub fn is_merged(&self, queues: usize) -> bool {
        let is_merged = match &self.cursor {
            None => queues <= MERGED_QUEUES_MAX,
            Some(cursor) => !matches!(cursor, ScanCursor::Queue(_)),
        };
        is_merged && self.direction == Direction::Backwards
    }
}

/// How much one scan reads at most: a snapshot of the file must not be held for long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanMost {
    pub rows: usize,
    pub bytes: usize,
}

impl ScanMost {
    /// Everything there is.
    pub const ALL: Self = Self { rows: usize::MAX, bytes: usize::MAX };

    /// Counts a row, gives its job to `visit`, and says whether the scan goes on behind it.
    pub(super) fn goes_on(&mut self, row: Row, visit: &mut impl FnMut(Result<Found, Fault>) -> bool) -> bool {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(row.bytes);
        row.job.is_none_or(visit) && self.rows > 0 && self.bytes > 0
    }
}

/// Is given each row with its key, and says whether it wants another one.
type Visit<'l> = &'l mut dyn FnMut(CursorKey, Row) -> bool;

/// A row that a scan comes to.
pub(super) struct Row {
    pub bytes: usize,
    /// `None` if no job of the scan is there.
    pub job: Option<Result<Found, Fault>>,
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
    pub fn job(id: u64, queue: QueueId, place: Place, stored: Stored) -> Self {
        let row = Bytes::from_owner(StoredBytes(stored));
        let bytes = row.len();
        let found = |record| Found { id: JobId::new(id), queue, place: place.clone(), record, unindexed: false };
        Self { bytes, job: Some(decode_record(place.table(), id, &row).map(found)) }
    }
}

impl Reader {
    /// Goes through the rows of one source behind `after`, one at a time, until `visit` has had enough.
    pub(super) fn source(
        &self,
        queue: QueueId,
        source: Source,
        direction: Direction,
        after: Option<&CursorKey>,
        visit: Visit<'_>,
    ) -> Result<(), Fault> {
        match source {
            Source::Ready => {
                let after = match after {
                    Some(CursorKey::Ready(priority, id)) => Some((queue, *priority, *id)),
                    _ => None,
                };
                let (first, last) = (Bound::Included((queue, 0, 0)), Bound::Included((queue, u8::MAX, u64::MAX)));
                let rows = self.tables().ready_rows()?.range(direction.behind(after, first, last))?;
                each(rows, direction, queue, visit, |(_, priority, id)| {
                    (CursorKey::Ready(priority, id), id, Place::Ready { priority })
                })
            }
            Source::Delayed => self.delayed(queue, TimeLine::Wall, direction, after, visit),
            Source::DelayedByEngine => self.delayed(queue, TimeLine::Engine, direction, after, visit),
            Source::Members => {
                let after = match after {
                    Some(CursorKey::Member(group, parked, seq, id)) => {
                        Some((queue, group.as_str(), *parked, *seq, *id))
                    }
                    _ => None,
                };
                let first = Bound::Included((queue, "", 0, 0, 0));
                let last = Bound::Excluded((queue + 1, "", 0, 0, 0));
                let rows = self.tables().members()?.range(direction.behind(after, first, last))?;
                each(rows, direction, queue, visit, |(_, group, parked, seq, id)| {
                    let place = Place::Member(Member { group: group.into(), parked: parked == 1, seq });
                    (CursorKey::Member(group.to_owned(), parked, seq, id), id, place)
                })
            }
            Source::Dead => {
                let after = match after {
                    Some(CursorKey::Timed(at, id)) => Some((queue, *at, *id)),
                    _ => None,
                };
                let (first, last) = (Bound::Included((queue, 0, 0)), Bound::Included((queue, u64::MAX, u64::MAX)));
                let rows = self.tables().dead_letters()?.range(direction.behind(after, first, last))?;
                each(rows, direction, queue, visit, |(_, at, id)| {
                    (CursorKey::Timed(at, id), id, Place::Dead { at: Timestamp::from_millis(at) })
                })
            }
            Source::Completed => self.finished(queue, State::Completed, direction, after, visit),
            Source::Cancelled => self.finished(queue, State::Cancelled, direction, after, visit),
            Source::Blocked => {
                let after = match after {
                    Some(CursorKey::Tagged(id)) => Some((queue, *id)),
                    _ => None,
                };
                let (first, last) = (Bound::Included((queue, 0)), Bound::Included((queue, u64::MAX)));
                let rows = self.tables().blocked()?.range(direction.behind(after, first, last))?;
                each(rows, direction, queue, visit, |(_, id)| (CursorKey::Tagged(id), id, Place::Blocked))
            }
            // `scan_tag` reads the index.
            Source::Tagged => Ok(()),
        }
    }

    fn delayed(
        &self,
        queue: QueueId,
        line: TimeLine,
        direction: Direction,
        after: Option<&CursorKey>,
        visit: Visit<'_>,
    ) -> Result<(), Fault> {
        let rows = self.tables().delayed()?.range(timed(queue, line as u8, direction, after))?;
        each(rows, direction, queue, visit, |(_, _, at, id)| {
            (CursorKey::Timed(at, id), id, Place::Delayed { due: Due { line, at: Timestamp::from_millis(at) } })
        })
    }

    fn finished(
        &self,
        queue: QueueId,
        state: State,
        direction: Direction,
        after: Option<&CursorKey>,
        visit: Visit<'_>,
    ) -> Result<(), Fault> {
        let rows = self.tables().finished()?.range(timed(queue, state as u8, direction, after))?;
        each(rows, direction, queue, visit, |(_, _, at, id)| {
            (CursorKey::Timed(at, id), id, Place::Finished { state, at: Timestamp::from_millis(at) })
        })
    }

    /// Goes through the jobs of `queues` from there on, looking at no more than `most` and stopping when `visit` has
    /// had enough. Returns where to go on, `None` at the end.
    ///
    /// Only one row is held at a time. The bytes that `visit` is given lie in the file's page: see [`Found::kept`].
    pub fn scan(
        &self,
        queues: &[QueueId],
        sources: &[Source],
        from: ScanFrom,
        most: ScanMost,
        mut visit: impl FnMut(Result<Found, Fault>) -> bool,
    ) -> Result<Option<ScanCursor>, Fault> {
        let ScanFrom { cursor, direction } = from;
        let cursor = match cursor {
            Some(ScanCursor::Queue(cursor)) => Some(cursor),
            _ => None,
        };
        let (queues, sources) = (direction.ordered(queues), direction.ordered(sources));
        let mut left = most;
        let start = cursor.as_ref().and_then(|c| queues.iter().position(|&queue| queue == c.queue)).unwrap_or(0);
        for &queue in &queues[start..] {
            for &source in &sources {
                let here = cursor.as_ref().filter(|c| c.queue == queue);
                if here.is_some_and(|c| direction.is_before(source, c.source)) {
                    continue;
                }
                let after = here.filter(|c| c.source == source).and_then(|c| c.after.as_ref());
                let mut stopped = None;
                self.source(queue, source, direction, after, &mut |key, row| {
                    let goes_on = left.goes_on(row, &mut visit);
                    if !goes_on {
                        stopped = Some(key);
                    }
                    goes_on
                })?;
                if stopped.is_some() {
                    return Ok(Some(ScanCursor::Queue(QueueCursor { queue, source, after: stopped })));
                }
            }
        }
        Ok(None)
    }
}

/// The keys of one queue behind `after` that have this time line or this state.
fn timed(
    queue: QueueId,
    second: u8,
    direction: Direction,
    after: Option<&CursorKey>,
) -> (Bound<TimedKey>, Bound<TimedKey>) {
    let after = match after {
        Some(CursorKey::Timed(at, id)) => Some((queue, second, *at, *id)),
        _ => None,
    };
    let (first, last) = ((queue, second, 0, 0), (queue, second, u64::MAX, u64::MAX));
    direction.behind(after, Bound::Included(first), Bound::Included(last))
}

type TimedKey = (QueueId, u8, u64, u64);

/// Visits these rows. `job` says of a key where a cursor would stand, and the id and the place of the job.
fn each<K: Key + 'static>(
    mut rows: Range<'static, K, &'static [u8]>,
    direction: Direction,
    queue: QueueId,
    visit: Visit<'_>,
    job: impl Fn(K::SelfType<'_>) -> (CursorKey, u64, Place),
) -> Result<(), Fault> {
    while let Some(row) = direction.next(&mut rows) {
        let (key, value) = row?;
        let (cursor, id, place) = job(key.value());
        // A pointer stands for a group's member, which is visited where it lies.
        let row = match matches!(place, Place::Delayed { .. }) && is_pointer(value.value()) {
            true => Row { bytes: value.value().len(), job: None },
            false => Row::job(id, queue, place, value),
        };
        if !visit(cursor, row) {
            break;
        }
    }
    Ok(())
}
