//! Reads: one short read transaction per page, so that none lives long enough to make the file grow.

use std::ops::Bound;

use bytes::Bytes;
use redb::AccessGuard;
use serde::{Deserialize, Serialize};

use crate::job::{JobId, QueueId, State};
use crate::storage::read::find::Found;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Member, Place, is_pointer};
use crate::storage::rows::reader::Reader;
use crate::time::{Due, TimeLine, Timestamp};

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

impl Reader {
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
