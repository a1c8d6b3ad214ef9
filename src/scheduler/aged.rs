//! The ready jobs of a queue that count as more urgent than their priority says, because they have waited for long.
//!
//! A window has the rows with the most urgent priorities, so a job that starves is never in it. The rows here are read beside it,
//! a page at a time, by [`AgedRefill`]. They are no home of their own: each is in its window too, or is not accounted for by
//! it, so all of them can be forgotten at any time.
//!
//! A *round* reads the aged rows from the start to the end, the next page once the rows of the last one have been chosen. So rows
//! that cannot start do not hide the rows behind them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::limits::WindowLimits;
use crate::job::{
    AgedFrom, AgedPage, AgedRefill, AgedRow, Aging, IdMap, IdSet, JobId, Kinds, Marks, Priority, QueueId, ReadyJob,
    Record,
};
use crate::time::{Now, Timestamp};

/// A round begins this many times in a period, if there are rows that can have aged.
const ROUNDS_PER_PERIOD: u32 = 4;

/// The shortest time from the start of a round to the start of the next.
const ROUND_MIN: Duration = Duration::from_millis(250);

/// A round begins at most once in this time for each row that the last one has looked at, so that a table with a million rows that
/// cannot start does not occupy the dispatcher.
const ROUND_MIN_PER_ROW: Duration = Duration::from_micros(25);

/// The rows here take at most this part of the jobs that a window may have, and of their bytes.
const JOBS_PART: usize = 16;
const BYTES_PART: usize = 4;

/// Since when a job waits, and what distinguishes it from others of the same time: the longest wait comes first.
type Place = (Timestamp, JobId);

/// The aged rows of a queue. Few of them are in memory.
#[derive(Debug)]
pub(crate) struct AgedRows {
    aging: Aging,
    /// The number of the worker whose rows these are. A page that an earlier worker has requested says nothing of the rows that have
    /// changed since.
    worker: u64,
    marks: Arc<Marks>,
    /// The rows of each priority. A row's own priority never changes here; as which it counts depends on the time.
    levels: [BTreeMap<Place, Arc<ReadyJob>>; Priority::COUNT as usize],
    places: IdMap<(u8, Timestamp)>,
    /// Where the next page of the round begins. `None` once the round has reached the end.
    rest: Option<AgedFrom>,
    /// A page must be requested: the time of the next round has come.
    is_due: bool,
    /// When the next round may begin.
    next_round: Duration,
    /// How many of its rows have started since the round began.
    started: usize,
    /// How many rows the round has looked at.
    seen: usize,
    /// Set while a page is being read: the jobs that have left their rows meanwhile, or have come back to them.
    reading: Option<Reading>,
    /// Of a row here and one of a window that are equally urgent, the one of the window goes first: the job that has started last
    /// was one from here. So jobs that have waited for long do not keep all others waiting.
    window_first: bool,
    jobs_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Reading {
    changed: IdSet,
    /// The page must be ignored, because everything in memory was forgotten meanwhile.
    void: bool,
}

impl AgedRows {
    pub fn new(aging: Aging, worker: u64, limits: WindowLimits) -> Self {
        Self {
            aging,
            worker,
            marks: Arc::default(),
            levels: Default::default(),
            places: IdMap::default(),
            rest: None,
            // What has aged before the worker's start is read with the first pages of the windows.
            is_due: true,
            next_round: Duration::ZERO,
            started: 0,
            seen: 0,
            reading: None,
            window_first: false,
            jobs_max: (limits.jobs_max / JOBS_PART).max(1),
            bytes_max: limits.bytes_max / BYTES_PART,
        }
    }

    // --- rows ---------------------------------------------------------------------------------

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Forgets all rows: they are read again.
    pub fn restart(&mut self) {
        self.clear();
        self.rest = None;
        if let Some(reading) = &mut self.reading {
            reading.void = true;
        }
    }

    fn clear(&mut self) {
        self.levels.iter_mut().for_each(BTreeMap::clear);
        self.places.clear();
    }

    pub fn insert(&mut self, AgedRow { since, job }: AgedRow) {
        self.remove(job.id);
        let priority = job.order.priority;
        self.places.insert(job.id, (priority, since));
        self.levels[usize::from(priority)].insert((since, job.id), job);
    }

    pub fn remove(&mut self, id: JobId) {
        if let Some((priority, since)) = self.places.remove(&id) {
            self.levels[usize::from(priority)].remove(&(since, id));
        }
    }

    /// The job has left its row, or has come back to it: a page that is being read may show what the row was before.
    pub fn changed(&mut self, id: JobId) {
        self.remove(id);
        self.settled(id);
    }

    /// The row of a job that was handed out has left the table.
    pub fn settled(&mut self, id: JobId) {
        if let Some(reading) = &mut self.reading {
            reading.changed.insert(id);
        }
    }

    /// As which priority a job of this one counts that waits since then.
    pub fn counts_as(&self, priority: u8, since: Timestamp, now: Now) -> u8 {
        self.aging.raised(priority, now.age.since(since))
    }

    /// As which priority this job counts, whether or not it is here.
    pub fn priority_of(&self, job: (JobId, &Record), now: Now) -> u8 {
        let (id, record) = job;
        let own = record.priority.get();
        self.marks.waits_since(id, record).map_or(own, |since| self.counts_as(own, since, now))
    }

    /// The row that goes first, and as which priority it counts.
    fn first(&self, now: Now) -> Option<(u8, AgedRow)> {
        let firsts = self.levels.iter().filter_map(BTreeMap::first_key_value);
        let counted =
            firsts.map(|((since, id), job)| (self.counts_as(job.order.priority, *since, now), *since, *id, job));
        let (counts_as, since, _, job) = counted.min_by_key(|(counts_as, since, id, _)| (*counts_as, *since, *id))?;
        Some((counts_as, AgedRow { since, job: job.clone() }))
    }

    /// Removes and returns the first row and as which priority it counts, if it goes before a row of a window of the priority
    /// `window`.
    pub fn pop_before(&mut self, window: Option<u8>, now: Now) -> Option<(u8, AgedRow)> {
        let (counts_as, row) = self.first(now)?;
        if window.is_some_and(|window| window < counts_as || (window == counts_as && self.window_first)) {
            return None;
        }
        self.remove(row.job.id);
        Some((counts_as, row))
    }

    /// How many rows of other priorities than its own go before a job of `priority` that counts as `counts_as` and waits since
    /// `since`, without those that count as well by their own priority.
    pub fn ahead_of(&self, (id, record): (JobId, &Record), now: Now) -> u64 {
        let own = record.priority.get();
        let since = self.marks.waits_since(id, record).unwrap_or(now.age);
        let counts_as = self.counts_as(own, since, now);
        let mut ahead = 0;
        for (priority, rows) in (0..).zip(&self.levels) {
            if priority == own || priority < counts_as {
                continue;
            }
            let goes_first = |(waits, other): &Place| {
                (self.counts_as(priority, *waits, now), *waits, *other) < (counts_as, since, id)
            };
            ahead += rows.keys().take_while(|place| goes_first(place)).count() as u64;
        }
        ahead
    }

    /// A job of the queue has started: `aged` says that its row was one from here.
    pub fn started(&mut self, aged: bool) {
        self.started += usize::from(aged);
        self.window_first = aged;
    }

    // --- pages --------------------------------------------------------------------------------

    /// Whether a new round may begin: the last one has reached the end, or so many rows have started that others can have come
    /// before the rest.
    fn may_begin_round(&self) -> bool {
        self.rest.is_none() || self.started >= self.jobs_max
    }

    /// When a page must be requested, if nothing else happens before.
    pub fn next_timer(&self) -> Option<Duration> {
        let waits = self.reading.is_none() && !self.is_due && (self.may_begin_round() || self.is_empty());
        waits.then_some(self.next_round)
    }

    /// Notes that the time of [`Self::next_timer`] has come. Returns true if it has.
    pub fn wake(&mut self, now: Duration) -> bool {
        let is_time = self.next_timer().is_some_and(|at| at <= now);
        self.is_due |= is_time;
        is_time
    }

    /// The page that must be read now: the first of a new round, or the next of this one once all rows were chosen. `kinds`
    /// returns the kinds of jobs that can start.
    pub fn wants_page(&mut self, queue: QueueId, kinds: impl FnOnce() -> Kinds) -> Option<AgedRefill> {
        let begins = self.is_due && self.may_begin_round();
        let goes_on = self.rest.is_some() && self.is_empty();
        if self.reading.is_some() || !(begins || goes_on) {
            return None;
        }
        self.is_due = false;
        self.reading = Some(Reading::default());
        let from = if begins { AgedFrom::start() } else { self.rest.clone()? };
        Some(AgedRefill {
            queue,
            worker: self.worker,
            aging: self.aging,
            marks: self.marks.clone(),
            takes_mark: begins,
            kinds: Arc::new(kinds()),
            from,
            jobs_max: self.jobs_max,
            bytes_max: self.bytes_max,
        })
    }

    pub fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// The page that this worker has requested could not be read. It is requested again.
    pub fn page_failed(&mut self, worker: u64) {
        if worker == self.worker {
            self.reading = None;
            self.is_due = true;
        }
    }

    /// Notes the page that this worker has requested, and returns its rows that are still as it shows them.
    pub fn page_read(&mut self, page: AgedPage, worker: u64) -> Vec<AgedRow> {
        if worker != self.worker {
            return Vec::new();
        }
        let Some(reading) = self.reading.take() else { return Vec::new() };
        let AgedPage { mut rows, next, mark, seen, now } = page;
        if let Some(mark) = mark {
            // It says nothing of a single row, so it holds even if the page is void.
            Arc::make_mut(&mut self.marks).add(mark);
            (self.started, self.seen) = (0, 0);
            self.next_round = now.mono.saturating_add(self.round());
        }
        if reading.void {
            self.is_due = true;
            return Vec::new();
        }
        if mark.is_some() {
            self.clear();
        }
        self.seen += seen;
        let rests = ROUND_MIN_PER_ROW.saturating_mul(u32::try_from(self.seen).unwrap_or(u32::MAX));
        self.next_round = self.next_round.max(now.mono.saturating_add(rests));
        self.rest = Some(next).filter(|next| !next.is_end());
        rows.retain(|row| !reading.changed.contains(&row.job.id));
        rows
    }

    /// How long a round takes at least.
    fn round(&self) -> Duration {
        (self.aging.period() / ROUNDS_PER_PERIOD).max(ROUND_MIN)
    }
}
