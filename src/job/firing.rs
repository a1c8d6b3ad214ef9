//! The rules of schedules: which times a schedule has, which of its runs are owed now, and what follows.
//!
//! Pure: the time comes in as an argument. That a job is enqueued, and the schedule's row is changed in the same commit,
//! is done in `storage`.

use std::time::Duration;

#[cfg(feature = "cron")]
use super::cron::Cron;
use super::schedule_policy::Misfire;
use super::schedule_row::{Definition, Progress, Recurrence, ScheduleRow};
use crate::time::{Now, TimeLine, Timestamp};

/// A run that is later than this counts as missed.
const MISFIRE_AFTER: Duration = Duration::from_secs(60);

/// If the wall clock was set back by more than this, times that a schedule has had may come again. If it was set back by less,
/// they do not: a time server corrects a clock by minutes at most, and the hours of summer time are not set on this clock.
pub(crate) const SET_BACK_MIN: Duration = Duration::from_secs(3_600);

/// With a jitter that is longer than the time between two runs, this many runs that are due by their time may still wait
/// for their jitter. Those before them are not looked for.
const JITTERED_MAX: usize = 8;

const MILLISECOND: Duration = Duration::from_millis(1);

/// The times of a schedule, without an end, on its line.
#[derive(Debug)]
pub(crate) enum Times {
    #[cfg(feature = "cron")]
    Cron(Box<Cron>),
    /// `anchor`, and all times that follow it at this distance in milliseconds.
    Every { anchor: u64, period: u64 },
}

/// The runs that a schedule owes now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Owed {
    /// Their times, the earliest first.
    pub runs: Vec<Timestamp>,
    /// The first and the last of the times that are left out because they were missed.
    pub missed: Option<(Timestamp, Timestamp)>,
    /// The latest time that has passed.
    pub latest: Timestamp,
}

/// Whether the wall clock was set back so far since `computed_at` that the times of the schedules are computed again.
pub(crate) fn is_set_back(computed_at: Timestamp, now: Now) -> bool {
    computed_at > now.wall + SET_BACK_MIN
}

/// A time between the two; the earlier one if there is none.
fn halfway(early: Timestamp, late: Timestamp) -> Timestamp {
    Timestamp::from_millis(early.as_millis().midpoint(late.as_millis()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Times {
    /// # Errors
    /// Why this build does not know these times.
    fn of(recurs: &Recurrence, anchor: Timestamp) -> Result<Self, String> {
        match recurs {
            #[cfg(feature = "cron")]
            Recurrence::Cron { expression, zone } => {
                let cron = Cron::parse(expression).and_then(|cron| cron.zone(zone));
                cron.map(|cron| Self::Cron(Box::new(cron))).map_err(|error| error.to_string())
            }
            #[cfg(not(feature = "cron"))]
            Recurrence::Cron { expression, .. } => {
                Err(format!("this build cannot read {expression:?}: it was built without the feature `cron`"))
            }
            Recurrence::Every(period) => Ok(Self::Every { anchor: anchor.as_millis(), period: millis(*period).max(1) }),
            Recurrence::Aligned(period) => Ok(Self::Every { anchor: 0, period: millis(*period).max(1) }),
        }
    }

    /// The first time after `time`.
    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            #[cfg(feature = "cron")]
            Self::Cron(cron) => cron.next_after(time),
            Self::Every { anchor, period } => match time.as_millis().checked_sub(*anchor) {
                None => Some(Timestamp::from_millis(*anchor)),
                Some(since) => {
                    let periods = (since / period).checked_add(1)?;
                    Some(Timestamp::from_millis(periods.checked_mul(*period)?.checked_add(*anchor)?))
                }
            },
        }
    }

    /// The latest time up to `until`, if `time` is one of the times, and is not after `until`. The work does not grow with
    /// the number of times in between.
    fn latest(&self, time: Timestamp, until: Timestamp) -> Timestamp {
        let next = |time| self.after(time).filter(|next| *next <= until);
        let Some(mut latest) = next(time) else { return time };
        // No time that counts is after `none_after`.
        let mut none_after = until;
        while none_after > latest {
            let middle = halfway(latest, none_after);
            match next(middle) {
                Some(later) => latest = later,
                None => none_after = middle,
            }
        }
        latest
    }

    /// The last `most` times from `first` to `latest`, which are both among the times.
    fn last(&self, first: Timestamp, latest: Timestamp, most: usize) -> Vec<Timestamp> {
        // Those after `from`, up to one more than are wanted.
        let behind = |from: Timestamp| -> Vec<Timestamp> {
            let next = |time: &Timestamp| self.after(*time).filter(|next| *next <= latest);
            std::iter::successors(next(&from), next).take(most + 1).collect()
        };
        let before = first - MILLISECOND;
        let all = behind(before);
        if all.len() <= most {
            return all;
        }
        // More than wanted follow `early`, and fewer follow `late`.
        let (mut early, mut late) = (before, latest);
        let mut step = Duration::from_secs(1);
        loop {
            let from = latest - step;
            if from <= early {
                break;
            }
            let found = behind(from);
            if found.len() == most {
                return found;
            }
            if found.len() > most {
                early = from;
                break;
            }
            late = from;
            step *= 2;
        }
        while late > early + MILLISECOND {
            let middle = halfway(early, late);
            let found = behind(middle);
            match found.len() {
                len if len == most => return found,
                len if len > most => early = middle,
                _ => late = middle,
            }
        }
        behind(late)
    }
}

impl ScheduleRow {
    /// A new schedule.
    ///
    /// # Errors
    /// Why this build does not know its times.
    pub fn begin(name: &str, definition: Definition, now: Now) -> Result<Self, String> {
        let created_at = now.wall;
        let progress = Progress { created_at, changed_at: created_at, ..Progress::default() };
        let mut row = Self { definition, progress };
        row.progress.after = now.on(row.line());
        row.progress.anchor = row.anchor(row.progress.after, now);
        row.look_ahead(name, now)?;
        Ok(row)
    }

    /// The schedule has another definition from now on. What it owes was enqueued before, unless that is held up.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn change(&mut self, name: &str, definition: Definition, now: Now) -> Result<(), String> {
        let line_was = self.line();
        if line_was == TimeLine::Wall && is_set_back(self.progress.computed_at, now) {
            // Its times were not computed again yet.
            (self.progress.after, self.progress.next, self.progress.held) = (now.wall, None, None);
        }
        let was = std::mem::replace(&mut self.definition, definition);
        self.progress.changed_at = now.wall;
        let (line, plan) = (self.line(), &self.definition.plan);
        if (&was.plan.recurs, was.plan.starts_at) != (&plan.recurs, plan.starts_at) {
            let from = if line == line_was { self.progress.after } else { now.on(line) };
            self.progress.anchor = self.anchor(from, now);
            self.progress.after = if line == line_was { self.bound(now) } else { now.on(line) };
        }
        let line_now = now.on(line_was);
        let is_owed = self.progress.held.is_some() || self.progress.due.is_some_and(|due| due <= line_now);
        let held_up = self.progress.next.filter(|_| is_owed);
        let held_up =
            held_up.map(|next| if line == line_was { next } else { on(line, shown(line_was, next, now), now) });
        match held_up {
            Some(next) => {
                Times::of(&self.definition.plan.recurs, self.progress.anchor)?;
                (self.progress.next, self.progress.due) = (Some(next), Some(now.on(line)));
                Ok(())
            }
            None => self.look_ahead(name, now),
        }
    }

    /// Where intervals are counted from, if the last one began at `from`.
    fn anchor(&self, from: Timestamp, now: Now) -> Timestamp {
        let plan = &self.definition.plan;
        let Recurrence::Every(period) = plan.recurs else { return Timestamp::EPOCH };
        match plan.starts_at {
            Some(start) if start > now.wall => on(TimeLine::Engine, start, now),
            _ => from + period,
        }
    }

    /// Up to when times do not run any more, if they begin anew.
    fn bound(&self, now: Now) -> Timestamp {
        let line = self.line();
        let is_back = line == TimeLine::Wall && is_set_back(self.progress.computed_at, now);
        if is_back { now.on(line) } else { self.progress.after.max(now.on(line)) }
    }

    /// No run follows until it is resumed.
    pub fn pause(&mut self) {
        let progress = &mut self.progress;
        (progress.paused, progress.next, progress.due, progress.held) = (true, None, None, None);
    }

    /// Goes on, without the runs of the time in which it was paused.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn resume(&mut self, name: &str, now: Now) -> Result<(), String> {
        self.progress.paused = false;
        self.progress.after = self.bound(now);
        self.look_ahead(name, now)
    }

    /// The wall clock was set back: computes the next time again, from now on. Returns false if it was computed by a clock
    /// that was not ahead.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn set_back(&mut self, name: &str, now: Now) -> Result<bool, String> {
        if self.line() != TimeLine::Wall || !is_set_back(self.progress.computed_at, now) {
            return Ok(false);
        }
        self.progress.after = now.wall;
        (self.progress.next, self.progress.held) = (None, None);
        self.look_ahead(name, now)?;
        Ok(true)
    }

    /// The times up to `latest` have run, or were left out.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn passed(&mut self, name: &str, latest: Timestamp, now: Now) -> Result<(), String> {
        self.progress.after = self.progress.after.max(latest);
        self.progress.held = None;
        self.look_ahead(name, now)
    }

    /// The run at `next`, which is due, waits for this long. Returns whether it did not wait before.
    pub fn hold(&mut self, next: Option<Timestamp>, reason: String, wait: Duration, now: Now) -> bool {
        let due = now.on(self.line()) + wait;
        let progress = &mut self.progress;
        progress.next = next.or(progress.next);
        progress.due = Some(due);
        let is_new = progress.held.replace(reason).is_none();
        self.computed(now);
        is_new
    }

    /// The run at `next` is to follow in the next commit.
    pub fn put_off(&mut self, next: Timestamp, now: Now) {
        (self.progress.next, self.progress.due) = (Some(next), Some(now.on(self.line())));
    }

    fn look_ahead(&mut self, name: &str, now: Now) -> Result<(), String> {
        let times = self.times()?;
        let plan = &self.definition.plan;
        let is_over = self.progress.paused || self.left() == 0;
        let next = if is_over { None } else { self.next_after(&times, self.progress.after, now) };
        let due = next.map(|next| next + jitter(name, next, plan.jitter));
        let progress = &mut self.progress;
        (progress.next, progress.due) = (next, due);
        self.computed(now);
        Ok(())
    }

    /// Notes when the next time was computed: now, or, if the clock was set back a little before, at the time up to which no
    /// time comes again. So several small steps back count as one.
    fn computed(&mut self, now: Now) {
        let after = match self.line() {
            TimeLine::Wall => self.progress.after,
            _ => Timestamp::EPOCH,
        };
        self.progress.computed_at = now.wall.max(after);
    }

    /// The schedule's times.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn times(&self) -> Result<Times, String> {
        Times::of(&self.definition.plan.recurs, self.progress.anchor)
    }

    /// How many runs may follow.
    fn left(&self) -> u64 {
        self.definition.plan.at_most.map_or(u64::MAX, |most| most.saturating_sub(self.progress.runs))
    }

    /// The first time after `after` that is not before the schedule's start nor after its end.
    fn next_after(&self, times: &Times, after: Timestamp, now: Now) -> Option<Timestamp> {
        let (plan, line) = (&self.definition.plan, self.line());
        let from = match plan.starts_at {
            Some(start) if line == TimeLine::Wall => after.max(start - MILLISECOND),
            _ => after,
        };
        let next = times.after(from)?;
        plan.ends_at.is_none_or(|end| shown(line, next, now) <= end).then_some(next)
    }

    /// The runs that are owed now; nothing if it is not due.
    pub fn owed(&self, name: &str, times: &Times, now: Now) -> Option<Owed> {
        let (plan, progress, line) = (&self.definition.plan, &self.progress, self.line());
        let line_now = now.on(line);
        let first = progress.next?;
        if progress.due? > line_now {
            return None;
        }
        let until = plan.ends_at.map_or(line_now, |end| on(line, end, now).min(line_now));
        let due = |time: Timestamp| time + jitter(name, time, plan.jitter);
        let second = times.after(first.max(progress.after)).filter(|second| *second <= until);
        let mut latest = second.map_or(first, |second| times.latest(second, until));
        for _ in 0..JITTERED_MAX {
            if latest <= first || due(latest) <= line_now {
                break;
            }
            latest = match second {
                Some(second) if second < latest => times.latest(second, latest - MILLISECOND),
                _ => first,
            };
        }
        if due(latest) > line_now {
            latest = first;
        }
        let is_missed = progress.held.is_none() && line_now.since(due(latest)) > MISFIRE_AFTER;
        let mut runs = match plan.misfire {
            Misfire::Skip if is_missed => Vec::new(),
            Misfire::Skip | Misfire::Once => vec![latest],
            Misfire::All { at_most } => {
                let most = usize::try_from(at_most).unwrap_or(usize::MAX);
                let mut runs = match second.filter(|_| latest > first) {
                    Some(second) => times.last(second, latest, most),
                    None => Vec::new(),
                };
                if runs.len() < most {
                    runs.insert(0, first);
                }
                runs
            }
        };
        runs.truncate(usize::try_from(self.left()).unwrap_or(usize::MAX));
        let missed = match runs.first() {
            Some(run) if *run <= first => None,
            Some(run) if second == Some(*run) => Some((first, first)),
            Some(run) => Some((first, second.map_or(first, |second| times.latest(second, *run - MILLISECOND)))),
            None => Some((first, latest)),
        };
        Some(Owed { runs, missed, latest })
    }

    /// The next `most` times by the wall clock; of a paused schedule, those that it would have if it were resumed.
    pub fn coming(&self, times: &Times, now: Now, most: usize) -> Vec<Timestamp> {
        let most = usize::try_from(self.left()).unwrap_or(usize::MAX).min(most);
        let first = match self.progress.paused {
            true => self.next_after(times, self.bound(now), now),
            false => self.progress.next,
        };
        let next = |time: &Timestamp| self.next_after(times, (*time).max(self.progress.after), now);
        std::iter::successors(first, next).take(most).map(|time| shown(self.line(), time, now)).collect()
    }

    /// A time on the schedule's line, by the wall clock.
    pub fn shown(&self, time: Timestamp, now: Now) -> Timestamp {
        shown(self.line(), time, now)
    }
}

/// A time on this line, by the wall clock.
fn shown(line: TimeLine, time: Timestamp, now: Now) -> Timestamp {
    let line_now = now.on(line);
    if time >= line_now { now.wall + time.since(line_now) } else { now.wall - line_now.since(time) }
}

/// A time of the wall clock, on this line.
fn on(line: TimeLine, time: Timestamp, now: Now) -> Timestamp {
    let line_now = now.on(line);
    if time >= now.wall { line_now + time.since(now.wall) } else { line_now - now.wall.since(time) }
}

/// By how much a run is later than its time: the same whenever this is asked, so that a restart does not change it.
fn jitter(name: &str, time: Timestamp, most: Duration) -> Duration {
    if most.is_zero() {
        return Duration::ZERO;
    }
    // FNV-1a, and a last mix, because close times must not lead to close results.
    let bytes = name.bytes().chain(time.as_millis().to_le_bytes());
    let mut hash =
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 29;
    Duration::from_millis(hash % millis(most).saturating_add(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::schedule_policy::Overlap;
    use crate::job::schedule_row::{JobTemplate, Plan};

    const NEW_YEAR_2026: u64 = 1_767_225_600_000;
    const HOUR: u64 = 3_600_000;
    const YEARS_10: u64 = 10 * 365 * 24 * HOUR;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn now(millis: u64) -> Now {
        Now { wall: at(millis), engine: at(millis), ..Now::default() }
    }

    fn plan(recurs: Recurrence) -> Plan {
        Plan {
            recurs,
            misfire: Misfire::Once,
            overlap: Overlap::Allow,
            jitter: Duration::ZERO,
            starts_at: None,
            ends_at: None,
            at_most: None,
        }
    }

    fn hourly() -> Plan {
        plan(Recurrence::Aligned(Duration::from_millis(HOUR)))
    }

    fn row(plan: Plan, begun: u64) -> ScheduleRow {
        ScheduleRow::begin("s", definition(plan), now(begun)).unwrap()
    }

    fn definition(plan: Plan) -> Definition {
        let job = JobTemplate { queue: "q".into(), kind: "k".into(), expires_in: None, record: Default::default() };
        Definition { plan, job }
    }

    fn owed(row: &ScheduleRow, millis: u64) -> Option<Owed> {
        row.owed("s", &row.times().unwrap(), now(millis))
    }

    fn all_times() -> Vec<Times> {
        let mut all = vec![
            Times::Every { anchor: 0, period: 7_000 },
            Times::Every { anchor: NEW_YEAR_2026 + 333, period: 1 },
            Times::Every { anchor: NEW_YEAR_2026 - 10, period: HOUR },
        ];
        #[cfg(feature = "cron")]
        for expression in
            ["*/20 * * * * *", "0 0 29 2 *", "30 2 * * *", "0,1,2 0 1 1 *", "* * * * * *", "5 */3 * * MON"]
        {
            let cron = Cron::parse(expression).unwrap().zone("Europe/Berlin").unwrap();
            all.push(Times::Cron(Box::new(cron)));
        }
        all
    }

    #[test]
    fn the_latest_time_and_the_last_times_are_those_of_a_walk() {
        let mut rng = fastrand::Rng::with_seed(5);
        for times in all_times() {
            for _ in 0..40 {
                let begin = at(NEW_YEAR_2026 + rng.u64(..YEARS_10));
                let mut walk: Vec<Timestamp> = Vec::new();
                let mut time = begin;
                for _ in 0..rng.usize(1..60) {
                    time = times.after(time).unwrap();
                    walk.push(time);
                }
                let (first, latest) = (walk[0], *walk.last().unwrap());
                let next = times.after(latest).unwrap();
                let until = at(rng.u64(latest.as_millis()..next.as_millis()));
                assert_eq!(times.latest(first, until), latest, "{times:?}");
                for most in [1, 2, 7, 59, 100] {
                    let expected = &walk[walk.len().saturating_sub(most)..];
                    assert_eq!(times.last(first, latest, most), expected, "{times:?}, {most}");
                }
            }
        }
    }

    #[test]
    fn ten_years_of_seconds_are_not_walked_through() {
        for times in all_times() {
            let first = times.after(at(NEW_YEAR_2026)).unwrap();
            let begun = std::time::Instant::now();
            let latest = times.latest(first, at(NEW_YEAR_2026 + YEARS_10));
            assert!(times.after(latest).unwrap() > at(NEW_YEAR_2026 + YEARS_10));
            assert!(!times.last(first, latest, 100).is_empty());
            assert!(begun.elapsed() < Duration::from_secs(5), "{times:?}: {:?}", begun.elapsed());
        }
    }

    #[test]
    fn nothing_is_owed_before_its_time_and_one_run_at_it() {
        let row = row(hourly(), NEW_YEAR_2026 + 1);
        assert_eq!(row.progress.next, Some(at(NEW_YEAR_2026 + HOUR)));
        assert_eq!(owed(&row, NEW_YEAR_2026 + HOUR - 1), None);
        let one = Owed { runs: vec![at(NEW_YEAR_2026 + HOUR)], missed: None, latest: at(NEW_YEAR_2026 + HOUR) };
        assert_eq!(owed(&row, NEW_YEAR_2026 + HOUR), Some(one));
    }

    #[test]
    fn missed_runs_follow_the_policy() {
        let nth = |n: u64| at(NEW_YEAR_2026 + n * HOUR);
        let of = |misfire, late: u64| {
            let row = row(Plan { misfire, ..hourly() }, NEW_YEAR_2026);
            let owed = owed(&row, NEW_YEAR_2026 + 5 * HOUR + late).unwrap();
            assert_eq!(owed.latest, nth(5));
            (owed.runs, owed.missed)
        };
        assert_eq!(of(Misfire::Skip, 60_000), (vec![nth(5)], Some((nth(1), nth(4)))));
        assert_eq!(of(Misfire::Skip, 60_001), (vec![], Some((nth(1), nth(5)))));
        assert_eq!(of(Misfire::Once, 60_001), (vec![nth(5)], Some((nth(1), nth(4)))));
        assert_eq!(of(Misfire::All { at_most: 2 }, 0), (vec![nth(4), nth(5)], Some((nth(1), nth(3)))));
        assert_eq!(of(Misfire::All { at_most: 4 }, 0), ((2..=5).map(nth).collect(), Some((nth(1), nth(1)))));
        assert_eq!(of(Misfire::All { at_most: 1_000 }, 0), ((1..=5).map(nth).collect(), None));
    }

    #[test]
    fn a_run_that_is_held_up_is_not_late() {
        let mut row = row(Plan { misfire: Misfire::Skip, ..hourly() }, NEW_YEAR_2026);
        let time = at(NEW_YEAR_2026 + HOUR);
        assert!(row.hold(Some(time), "full".into(), Duration::from_secs(5), now(NEW_YEAR_2026 + HOUR)));
        assert!(!row.hold(Some(time), "full".into(), Duration::from_secs(5), now(NEW_YEAR_2026 + HOUR + 5_000)));
        assert_eq!(owed(&row, NEW_YEAR_2026 + HOUR + 9_999), None);
        assert_eq!(owed(&row, NEW_YEAR_2026 + HOUR + 600_000).unwrap().runs, [time]);
    }

    #[test]
    fn no_run_is_before_the_start_after_the_end_or_above_the_number() {
        let day = 24 * HOUR;
        let bounded = Plan {
            starts_at: Some(at(NEW_YEAR_2026 + day)),
            ends_at: Some(at(NEW_YEAR_2026 + 2 * day)),
            misfire: Misfire::All { at_most: 1_000 },
            ..hourly()
        };
        for recurs in [hourly().recurs, Recurrence::Every(Duration::from_millis(HOUR))] {
            let row = row(Plan { recurs, ..bounded.clone() }, NEW_YEAR_2026);
            assert_eq!(row.progress.next, Some(at(NEW_YEAR_2026 + day)), "{row:?}");
            let runs = owed(&row, NEW_YEAR_2026 + 9 * day).unwrap().runs;
            assert_eq!((runs.len(), runs[24]), (25, at(NEW_YEAR_2026 + 2 * day)));
        }
        let mut row = row(Plan { at_most: Some(3), ..bounded }, NEW_YEAR_2026);
        assert_eq!(owed(&row, NEW_YEAR_2026 + 9 * day).unwrap().runs.len(), 3);
        row.progress.runs = 3;
        row.passed("s", at(NEW_YEAR_2026 + day), now(NEW_YEAR_2026 + day)).unwrap();
        assert_eq!((row.progress.next, row.progress.due), (None, None));
    }

    #[test]
    fn jitter_moves_a_run_within_its_limit_and_the_same_way_each_time() {
        let jittered = Plan { jitter: Duration::from_millis(HOUR / 2), ..hourly() };
        let mut seen = std::collections::BTreeSet::new();
        let mut row = row(jittered, NEW_YEAR_2026);
        for _ in 0..100 {
            let (next, due) = (row.progress.next.unwrap(), row.progress.due.unwrap());
            assert!(due >= next && due <= next + Duration::from_millis(HOUR / 2));
            assert_eq!(owed(&row, due.as_millis() - 1), None);
            assert_eq!(owed(&row, due.as_millis()).unwrap().runs, [next]);
            seen.insert(due.since(next) / 60_000);
            row.passed("s", next, now(due.as_millis())).unwrap();
        }
        assert!(seen.len() > 20, "{seen:?}");
    }

    #[test]
    fn a_change_of_the_interval_keeps_what_has_run_and_owes_nothing_of_the_past() {
        let every = |millis| plan(Recurrence::Every(Duration::from_millis(millis)));
        let mut row = row(every(HOUR), NEW_YEAR_2026);
        row.passed("s", at(NEW_YEAR_2026 + HOUR), now(NEW_YEAR_2026 + HOUR)).unwrap();
        row.change("s", definition(every(HOUR / 6)), now(NEW_YEAR_2026 + HOUR + HOUR / 4)).unwrap();
        assert_eq!(row.progress.next, Some(at(NEW_YEAR_2026 + HOUR + HOUR / 3)));
        // The same interval with another option does not begin anew.
        let other = Plan { misfire: Misfire::Skip, ..every(HOUR / 6) };
        row.change("s", definition(other), now(NEW_YEAR_2026 + HOUR + HOUR / 4 + 1)).unwrap();
        assert_eq!(row.progress.next, Some(at(NEW_YEAR_2026 + HOUR + HOUR / 3)));
        let mut row = self::row(hourly(), NEW_YEAR_2026);
        row.passed("s", at(NEW_YEAR_2026 + 3 * HOUR), now(NEW_YEAR_2026 + 3 * HOUR)).unwrap();
        let often = plan(Recurrence::Aligned(Duration::from_millis(HOUR / 2)));
        row.change("s", definition(often), now(NEW_YEAR_2026 + 3 * HOUR + 1)).unwrap();
        assert_eq!(row.progress.next, Some(at(NEW_YEAR_2026 + 3 * HOUR + HOUR / 2)));
    }

    #[test]
    fn a_change_after_the_clock_was_set_back_begins_anew_too() {
        let mut row = row(hourly(), NEW_YEAR_2026 + YEARS_10);
        row.change("s", definition(Plan { misfire: Misfire::Skip, ..hourly() }), now(NEW_YEAR_2026)).unwrap();
        assert_eq!(row.progress.next, Some(at(NEW_YEAR_2026 + HOUR)));
    }

    #[test]
    fn a_clock_set_back_by_more_than_an_hour_begins_anew_and_by_less_it_does_not() {
        let mut row = row(hourly(), NEW_YEAR_2026);
        row.passed("s", at(NEW_YEAR_2026 + 9 * HOUR), now(NEW_YEAR_2026 + 9 * HOUR)).unwrap();
        assert_eq!(row.set_back("s", now(NEW_YEAR_2026 + 8 * HOUR)), Ok(false));
        assert_eq!(row.progress.next, Some(at(NEW_YEAR_2026 + 10 * HOUR)));
        assert_eq!(row.set_back("s", now(NEW_YEAR_2026 + 8 * HOUR - 1)), Ok(true));
        assert_eq!(row.progress.next, Some(at(NEW_YEAR_2026 + 8 * HOUR)));
        let mut row = self::row(plan(Recurrence::Every(Duration::from_millis(HOUR))), NEW_YEAR_2026);
        assert_eq!(row.set_back("s", now(1)), Ok(false), "the engine's line does not go back");
    }

    #[test]
    fn small_steps_back_of_the_clock_with_changes_between_them_count_as_one_step() {
        let mut row = row(hourly(), NEW_YEAR_2026 + 3 * HOUR);
        for (n, misfire) in [(1, Misfire::Skip), (2, Misfire::Once)] {
            let wall = NEW_YEAR_2026 + 3 * HOUR - n * (HOUR - 1_000);
            row.change("s", definition(Plan { misfire, ..hourly() }), now(wall)).unwrap();
        }
        assert_eq!(row.progress.next, Some(at(NEW_YEAR_2026 + 2 * HOUR)));
    }
}
