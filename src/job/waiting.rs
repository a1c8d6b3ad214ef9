//! How long a ready job has waited, on a time line that is not moved when the wall clock is set.
//!
//! A record says when the job was enqueued and when it was due, but by clocks that can be set. [`Marks`] note again and
//! again what those clocks show and which jobs there are. A job that is there at a mark, and was not at the one before, was
//! enqueued between the two, whatever its record says.

use std::sync::Arc;
use std::time::Duration;

use super::{Aging, JobId, Kinds, Priority, QueueId, ReadyJob, Record};
use crate::time::{Now, TimeLine, Timestamp};

/// How many marks are kept. The oldest are dropped: with four of them in a period of ageing, the others cover more than the
/// nine periods that can make a job more urgent.
const MARKS_MAX: usize = 64;

/// What was known at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub now: Now,
    /// The id of the next job that is enqueued: all jobs with lower ids were there.
    pub next_id: JobId,
}

/// Marks, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks(Vec<Mark>);

impl Marks {
    pub fn add(&mut self, mark: Mark) {
        if self.0.len() >= MARKS_MAX {
            self.0.remove(0);
        }
        self.0.push(mark);
    }

    /// Since when a ready job waits, on the age line: since its enqueue or since it was due, whichever is later. `None` if that
    /// was after the last mark.
    pub fn waits_since(&self, id: JobId, record: &Record) -> Option<Timestamp> {
        let enqueued = self.begun(TimeLine::Wall, record.enqueued_at, |mark| mark.next_id > id)?;
        let Some(due) = record.due() else { return Some(enqueued) };
        let due = self.begun(due.line, due.at, |mark| due.is_due(mark.now))?;
        Some(enqueued.max(due))
    }

    /// When something had begun that `holds` at some mark and at all later ones, and that began at `stamp` by the clock of
    /// `line`. The marks before and after it limit what that clock says.
    fn begun(&self, line: TimeLine, stamp: Timestamp, holds: impl Fn(&Mark) -> bool) -> Option<Timestamp> {
        let first = self.0.iter().position(holds)?;
        let Mark { now, .. } = self.0[first];
        let by_clock = now.age - now.on(line).since(stamp);
        Some(match first.checked_sub(1) {
            Some(before) => by_clock.max(self.0[before].now.age),
            None => by_clock,
        })
    }

    /// Whether it is certain that this job, and all with higher ids, wait for less than `time` now.
    pub fn are_younger_from(&self, id: JobId, age: Timestamp, time: Duration) -> bool {
        match self.0.iter().position(|mark| mark.next_id > id) {
            None => true,
            Some(0) => false,
            Some(first) => age.since(self.0[first - 1].now.age) < time,
        }
    }
}

/// Where the next page of aged rows begins in `ready` and in `heads`, for each priority: at this position. `None` if no row is
/// left there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgedFrom(pub [[Option<u64>; Priority::COUNT as usize]; 2]);

impl AgedFrom {
    /// The start. A job of the most urgent priority cannot become more urgent.
    pub fn start() -> Self {
        let mut all = [Some(0); Priority::COUNT as usize];
        all[usize::from(Priority::FIRST.get())] = None;
        Self([all; 2])
    }

    pub fn is_end(&self) -> bool {
        self.0.iter().flatten().all(Option::is_none)
    }
}

/// A page to be read of rows whose jobs have waited for a period of ageing at least.
#[derive(Clone, Debug)]
pub(crate) struct AgedRefill {
    pub queue: QueueId,
    /// The number of the worker that needs it: a page for an earlier worker is ignored.
    pub worker: u64,
    pub aging: Aging,
    pub marks: Arc<Marks>,
    /// A mark is to be taken, and added before the rows are read.
    pub takes_mark: bool,
    /// Rows of other kinds are left out: they could not start.
    pub kinds: Arc<Kinds>,
    pub from: AgedFrom,
    pub jobs_max: usize,
    pub bytes_max: usize,
}

/// A job that has waited for a period of ageing at least.
#[derive(Clone, Debug)]
pub(crate) struct AgedRow {
    /// Since when it waits, on the age line.
    pub since: Timestamp,
    pub job: Arc<ReadyJob>,
}

/// The rows that an [`AgedRefill`] requested: the most urgent ones behind its start, and of equally urgent ones those that
/// have waited longest.
#[derive(Debug)]
pub(crate) struct AgedPage {
    pub rows: Vec<AgedRow>,
    /// Where the next page begins.
    pub next: AgedFrom,
    pub mark: Option<Mark>,
    /// How many rows were looked at; large records count as several.
    pub seen: usize,
    pub now: Now,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Due;

    const YEARS: u64 = 10 * 365 * 24 * 3_600;

    /// A moment: seconds on the age line, and what the wall clock shows.
    fn mark(age: u64, wall: u64, next_id: u64) -> Mark {
        let (age, wall) = (secs(age), secs(wall));
        let now = Now { wall, engine: wall, age, counted: wall, mono: Duration::ZERO };
        Mark { now, next_id: JobId::new(next_id) }
    }

    fn secs(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn marks(marks: &[Mark]) -> Marks {
        let mut all = Marks::default();
        marks.iter().for_each(|mark| all.add(*mark));
        all
    }

    fn since(marks: &Marks, id: u64, enqueued_at: u64, due: Option<Due>) -> Option<Timestamp> {
        let mut record = Record { enqueued_at: secs(enqueued_at), ..Record::plain() };
        if due.is_some() {
            record.extra_mut().due = due;
        }
        marks.waits_since(JobId::new(id), &record)
    }

    const BASE: u64 = 2_000_000_000;

    #[test]
    fn a_job_waits_since_its_enqueue_or_since_it_was_due() {
        let marks = marks(&[mark(100, BASE + 100, 5), mark(110, BASE + 110, 8)]);
        assert_eq!(since(&marks, 1, BASE + 30, None), Some(secs(30)), "it was there before the first mark");
        assert_eq!(since(&marks, 6, BASE + 103, None), Some(secs(103)));
        assert_eq!(since(&marks, 8, BASE + 111, None), None, "it came after the last mark");
        let due = |at| Some(Due::wall(secs(BASE + at)));
        assert_eq!(since(&marks, 1, BASE + 30, due(60)), Some(secs(60)));
        assert_eq!(since(&marks, 1, BASE + 30, due(107)), Some(secs(107)));
        assert_eq!(since(&marks, 6, BASE + 103, due(60)), Some(secs(103)));
    }

    #[test]
    fn a_clock_that_is_set_between_two_marks_moves_a_wait_by_no_more_than_the_time_between_them() {
        // The clock is set forward between the first two marks, and back before the last.
        let marks = marks(&[mark(100, BASE + 100, 5), mark(110, BASE + YEARS + 110, 10), mark(120, BASE + 120, 15)]);
        assert_eq!(since(&marks, 1, BASE + 40, None), Some(secs(40)), "the clock is set later");
        assert_eq!(since(&marks, 6, BASE + 104, None), Some(secs(100)), "the clock was set after its enqueue");
        assert_eq!(since(&marks, 7, BASE + YEARS + 106, None), Some(secs(106)));
        assert_eq!(since(&marks, 12, BASE + YEARS + 115, None), Some(secs(120)), "the clock was set back");
        // Its time has come when the clock was set forward, and has not passed once more.
        let due = Some(Due::wall(secs(BASE + YEARS)));
        assert_eq!(since(&marks, 1, BASE + 40, due), Some(secs(100)));
    }

    #[test]
    fn no_job_waits_for_longer_than_the_file_exists() {
        let marks = marks(&[mark(50, BASE, 5)]);
        assert_eq!(since(&marks, 1, 0, None), Some(Timestamp::EPOCH));
    }

    #[test]
    fn jobs_are_younger_if_they_were_not_there_at_an_old_mark() {
        let marks = marks(&[mark(100, BASE, 5), mark(110, BASE, 8), mark(120, BASE, 12)]);
        let younger = |id| marks.are_younger_from(JobId::new(id), secs(121), Duration::from_secs(15));
        assert_eq!([1, 5, 7, 8, 11, 12].map(younger), [false, false, false, true, true, true]);
    }

    #[test]
    fn the_marks_that_are_kept_are_limited() {
        let mut marks = Marks::default();
        (0..1_000).for_each(|n| marks.add(mark(n, BASE + n, n)));
        assert_eq!(marks.0.len(), MARKS_MAX);
        assert_eq!(since(&marks, 999, BASE, None), None);
        assert!(!marks.are_younger_from(JobId::new(1), secs(1_000), Duration::from_secs(15)));
    }
}
