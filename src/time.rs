//! The clocks that the queue reads, and the times that they return.
//!
//! [`Now`] holds four readings of the same moment: the wall clock (for "at nine o'clock"), the engine's own time line
//! (for a back-off, "in five seconds"), the age line (for a retention, "for a day"), and the monotonic clock (for a
//! rate, "per second"). All code below the runtime receives `Now` and never reads a clock.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, Serializer};

use crate::sync::Mutex;

/// A point in time: milliseconds since the Unix epoch.
///
/// Arithmetic saturates; a time before the epoch is the epoch. It converts to and from [`SystemTime`]; the conversion
/// from it rounds up to a millisecond. It displays as a date and time in UTC.
///
/// ```
/// use millpond::Timestamp;
/// use std::time::{Duration, SystemTime};
///
/// let at = Timestamp::from_millis(1_000) + Duration::from_millis(500);
/// assert_eq!(at.as_millis(), 1_500);
/// assert_eq!(at + Duration::MAX, Timestamp::MAX);
/// assert_eq!(at.to_string(), "1970-01-01T00:00:01.500Z");
/// assert_eq!(Timestamp::from(SystemTime::from(at)), at);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);
    /// The last point in time. A job that is scheduled for it never runs.
    pub const MAX: Self = Self(u64::MAX);

    /// The time that is `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let start = Timestamp::from_millis(1_000);
    /// assert_eq!(Timestamp::from_millis(1_500).since(start), Duration::from_millis(500));
    /// assert_eq!(start.since(Timestamp::from_millis(1_500)), Duration::ZERO);
    /// ```
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        // Rounded up, so that a delay never ends early.
        let millis = rhs.as_nanos().div_ceil(1_000_000);
        Self(self.0.saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        let millis = u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(millis))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self::EPOCH + time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
    }
}

/// The same time to the millisecond. On a system whose [`SystemTime`] does not reach that far it is the end of the year
/// 9999.
impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let after_epoch = |since| UNIX_EPOCH.checked_add(since);
        after_epoch(Duration::from_millis(time.0)).or_else(|| after_epoch(YEAR_9999_END)).unwrap_or(UNIX_EPOCH)
    }
}

/// The date and time in UTC, as in RFC 3339, to the millisecond: `2026-11-28T16:29:08.250Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, of_day) = (self.0 / DAY_MILLIS, self.0 % DAY_MILLIS);
        let (year, month, day) = date(days);
        let (second, millis) = (of_day / 1_000, of_day % 1_000);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

const DAY_MILLIS: u64 = 24 * 3_600 * 1_000;

/// 9999-12-31T23:59:59Z: the last second that RFC 3339 can write.
const YEAR_9999_END: Duration = Duration::from_secs(253_402_300_799);

/// Year, month and day in the Gregorian calendar, this many days after 1970-01-01. It counts in eras of 400 years,
/// which all have the same number of days, and in years that begin in March, so that a leap day is the last day of a
/// year.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    let since_year_0 = days + 719_468;
    let (era, of_era) = (since_year_0 / DAYS_PER_ERA, since_year_0 % DAYS_PER_ERA);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// The clock that the queue reads. The default is [`SystemClock`]; tests use
/// [`ManualClock`](crate::testing::ManualClock).
///
/// Both readings must be cheap, because they are taken several times per job. They must not call the queue, because it
/// takes them while it holds locks.
///
/// ```
/// use millpond::{Clock, SystemClock, Timestamp};
/// use std::time::Duration;
///
/// /// The machine's clock, an hour ahead.
/// struct Ahead(SystemClock);
///
/// impl Clock for Ahead {
///     fn wall(&self) -> Timestamp {
///         self.0.wall() + Duration::from_secs(3600)
///     }
///
///     fn monotonic(&self) -> Duration {
///         self.0.monotonic()
///     }
/// }
///
/// let clock = Ahead(SystemClock::new());
/// # let memory = redb::backends::InMemoryBackend::new();
/// let pond = millpond::Millpond::builder().clock(clock).open_backend(memory)?;
/// # Ok::<(), millpond::Error>(())
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The wall clock. It may jump forwards and backwards.
    fn wall(&self) -> Timestamp;

    /// The monotonic clock: the time since an arbitrary start. It never goes back.
    ///
    /// While a file is open, ages are measured with this clock: how long an ended job is kept, how long a unique key is
    /// held, when [`expires_in`](crate::NewJob::expires_in) is over. On Linux and macOS, [`SystemClock`] reads a clock
    /// that stands still while the machine is suspended: a machine that was suspended keeps jobs for longer, and never
    /// for too short a time.
    fn monotonic(&self) -> Duration;

    /// Registers `wake`, which a clock that is moved by hand must call whenever it is moved. A clock that moves by
    /// itself ignores it.
    fn on_move(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        let _ = wake;
    }
}

/// The machine's own clocks.
///
/// ```
/// use millpond::{Clock, SystemClock};
///
/// let clock = SystemClock::new();
/// let before = clock.monotonic();
/// assert!(clock.monotonic() >= before);
/// ```
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic reading is zero now.
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        SystemTime::now().into()
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// All readings of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Now {
    /// The wall clock of the machine. Absolute times (`run_at`, `expires_at`) are compared with it.
    pub wall: Timestamp,
    /// The engine's time line. It follows the wall clock forward and never goes back, not even across a restart.
    /// Relative times (delays, back-off) are compared with it, so that a clock that is set back ten years does not turn
    /// "in five seconds" into "in ten years".
    pub engine: Timestamp,
    /// The age line: the time that has passed since the file was made, as far as it is known. It grows with the
    /// monotonic clock and is never moved by a clock that is set. Ages (retention, unique keys, `expires_in`, buckets)
    /// are compared with it, so that nothing becomes 56 years older when a machine that started with the clock at 1970
    /// learns the time.
    pub age: Timestamp,
    /// The latest time that the wall clock has shown, plus the time that has passed since then: the age line has
    /// counted up to this.
    pub counted: Timestamp,
    /// The monotonic clock of this process. Rates, timeouts and measured durations use it.
    pub mono: Duration,
}

/// Which time line a time is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum TimeLine {
    Wall,
    Engine,
    Age,
}

/// When something may happen, and by which clock that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Due {
    pub line: TimeLine,
    pub at: Timestamp,
}

impl Due {
    pub fn wall(at: Timestamp) -> Self {
        Self { line: TimeLine::Wall, at }
    }

    /// Later than any job waits: it is woken by something else.
    pub const NEVER: Self = Self { line: TimeLine::Engine, at: Timestamp(u64::MAX / 2) };

    pub fn after(now: Now, delay: Duration) -> Self {
        Self { line: TimeLine::Engine, at: now.engine + delay }
    }

    /// When this much time has passed, whatever the clocks are set to.
    pub fn once_passed(now: Now, time: Duration) -> Self {
        Self { line: TimeLine::Age, at: now.age + time }
    }

    pub fn is_due(self, now: Now) -> bool {
        self.at <= now.on(self.line)
    }

    pub fn wait(self, now: Now) -> Duration {
        self.at.since(now.on(self.line))
    }
}

impl Now {
    pub fn on(self, line: TimeLine) -> Timestamp {
        match line {
            TimeLine::Wall => self.wall,
            TimeLine::Engine => self.engine,
            TimeLine::Age => self.age,
        }
    }
}

/// How far the wall clock must be from its expected time to count as set. A smaller difference is drift between the two
/// clocks; a larger one means that the clock was set, or that the machine was suspended.
const JUMP: Duration = Duration::from_secs(1);

/// A wall clock that shows an earlier time than this was not set since the machine lost its power: 2020-01-01 00:00
/// UTC, before the first version of this crate.
const CLOCKS_SET_FROM: Timestamp = Timestamp(1_577_836_800_000);

impl Timestamp {
    /// Whether a wall clock that shows this time seems to have been set.
    pub(crate) fn is_of_a_set_clock(self) -> bool {
        self >= CLOCKS_SET_FROM
    }
}

/// The positions of the time lines at a commit, as the file stores them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedTime {
    pub engine: Timestamp,
    pub age: Timestamp,
    pub wall: Timestamp,
    pub counted: Timestamp,
}

impl SavedTime {
    /// What a commit at `now` stores. A line never goes back.
    pub fn and(self, now: Now) -> Self {
        Self {
            engine: self.engine.max(now.engine),
            age: self.age.max(now.age),
            wall: now.wall,
            counted: self.counted.max(now.counted),
        }
    }

    /// The positions of the lines in a process that opens the file while the wall clock shows `wall`.
    ///
    /// The engine's line advances by as much as the wall clock has advanced since the last commit, even if the line is
    /// ahead of the wall clock. If the clock was set at only one of the two moments, that time is unknown, and the line
    /// does not advance by it.
    ///
    /// The age line must not count any time twice, and none that has not passed. So it advances only from the time up
    /// to which it has counted to a later time of a clock that is set.
    fn gone_on(self, wall: Timestamp) -> Self {
        let is_set = wall.is_of_a_set_clock();
        let down = if is_set == self.wall.is_of_a_set_clock() { wall.since(self.wall) } else { Duration::ZERO };
        let uncounted = is_set && self.counted.is_of_a_set_clock();
        let uncounted = if uncounted { wall.since(self.counted) } else { Duration::ZERO };
        Self {
            engine: (self.engine + down).max(wall),
            age: self.age + uncounted,
            wall,
            counted: self.counted.max(wall),
        }
    }
}

/// Serializes a duration as seconds.
pub(crate) fn in_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// Reads the time for rooms that have no clock. `runtime` makes it from its clock, and `testing` makes it for a handler
/// that runs without a queue.
#[derive(Clone)]
pub(crate) struct TimeReader(Arc<dyn Clock>);

impl TimeReader {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(clock)
    }

    /// The time on the monotonic clock.
    pub fn mono(&self) -> Duration {
        self.0.monotonic()
    }

    /// The time on the wall clock.
    pub fn wall(&self) -> Timestamp {
        self.0.wall()
    }
}

/// Turns the readings of a [`Clock`] into [`Now`]. It owns the time lines.
pub(crate) struct TimeSource {
    clock: Arc<dyn Clock>,
    anchor: Mutex<Anchor>,
}

/// The positions of the lines when the wall clock was last seen to be set, or at the start.
struct Anchor {
    lines: SavedTime,
    mono: Duration,
    /// How often the wall clock was seen to be set.
    jumps: u64,
}

impl TimeSource {
    /// Time lines that continue from the positions in the file.
    pub fn new(clock: Arc<dyn Clock>, saved: SavedTime) -> Self {
        let lines = saved.gone_on(clock.wall());
        let mono = clock.monotonic();
        Self { clock, anchor: Mutex::new(Anchor { lines, mono, jumps: 0 }) }
    }

    /// The time of the wall clock. This takes no lock of the queue.
    pub fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    pub fn now(&self) -> Now {
        let wall = self.clock.wall();
        let mut anchor = self.anchor.lock().unwrap_or_else(|e| e.into_inner());
        // Read under the lock, so that the readings of several threads are processed in the order in which they were
        // taken.
        let mono = self.clock.monotonic();
        let passed = u64::try_from(mono.saturating_sub(anchor.mono).as_millis()).unwrap_or(u64::MAX);
        let on = |from: Timestamp| Timestamp(from.0.saturating_add(passed));
        let SavedTime { mut engine, age, wall: expected, mut counted } = anchor.lines;
        (engine, counted) = (on(engine), on(counted));
        let (age, expected) = (on(age), on(expected));
        if wall > counted {
            counted = wall;
            anchor.lines.counted = Timestamp(wall.0.saturating_sub(passed));
        }
        let jumped = wall.since(expected) > JUMP || expected.since(wall) > JUMP;
        if jumped || wall > engine + JUMP {
            if wall > engine + JUMP {
                engine = wall;
            }
            // At whole milliseconds, so that the lines lose nothing however often the clock is set.
            anchor.mono = anchor.mono.saturating_add(Duration::from_millis(passed)).min(mono);
            anchor.lines = SavedTime { engine, age, wall, counted };
            anchor.jumps += u64::from(jumped);
        }
        Now { wall, engine, age, counted, mono }
    }

    /// How often the wall clock was seen to be set since the file was opened.
    pub fn jumps(&self) -> u64 {
        self.anchor.lock().unwrap_or_else(|e| e.into_inner()).jumps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;

    const HOUR: Duration = Duration::from_secs(3_600);
    const YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

    /// What the file stores of a process that opened it, and the process.
    fn open(clock: &ManualClock, saved: SavedTime) -> TimeSource {
        TimeSource::new(Arc::new(clock.clone()), saved)
    }

    fn save(source: &TimeSource) -> SavedTime {
        SavedTime::default().and(source.now())
    }

    #[test]
    fn the_engine_line_follows_the_wall_forward_and_never_back() {
        let clock = ManualClock::new();
        let source = open(&clock, SavedTime::default());
        let start = source.now();
        clock.advance(Duration::from_secs(5));
        assert_eq!(source.now().engine, start.engine + Duration::from_secs(5));

        clock.set_wall(start.wall - HOUR);
        assert_eq!(source.now().engine, start.engine + Duration::from_secs(5));

        clock.set_wall(start.wall + HOUR);
        assert_eq!(source.now().engine, start.wall + HOUR);
    }

    #[test]
    fn the_engine_line_advances_while_the_file_is_closed_even_if_the_clock_is_behind_it() {
        let clock = ManualClock::new();
        let source = open(&clock, SavedTime::default());
        let start = source.now();
        clock.set_wall(start.wall - YEARS);
        let mut saved = save(&source);
        for restart in 1..=4 {
            clock.advance(HOUR);
            let source = open(&clock, saved);
            assert_eq!(source.now().engine, start.engine + HOUR * restart);
            saved = save(&source);
        }
        clock.set_wall(start.wall - YEARS * 2);
        assert_eq!(open(&clock, saved).now().engine, saved.engine, "set back while it was closed");
    }

    #[test]
    fn the_age_line_advances_by_the_time_that_has_passed_whatever_the_clock_is_set_to() {
        let clock = ManualClock::new();
        let start = clock.wall();
        clock.set_wall(Timestamp::EPOCH);
        let mut source = open(&clock, SavedTime::default());
        let (mut passed, mut rng) = (Timestamp::EPOCH, fastrand::Rng::with_seed(3));
        for step in 0..2_000 {
            match rng.u8(..6) {
                0 => clock
                    .set_wall([Timestamp::EPOCH, start, start + YEARS, start - HOUR, Timestamp::MAX][rng.usize(..5)]),
                1 => {
                    let saved = save(&source);
                    source = open(&clock, saved);
                }
                _ => {
                    let time = Duration::from_micros(rng.u64(..100_000_000));
                    clock.advance(time);
                    passed = passed + time;
                }
            }
            let age = source.now().age;
            assert!(age <= passed && age + Duration::from_secs(3) >= passed, "step {step}: {age:?} of {passed:?}");
        }
    }

    #[test]
    fn the_age_line_counts_the_time_that_the_file_is_closed_once() {
        let clock = ManualClock::new();
        let saved = save(&open(&clock, SavedTime::default()));
        let today = clock.wall();
        // The file is closed for an hour, and the clock is right.
        clock.advance(HOUR);
        let source = open(&clock, saved);
        assert_eq!(source.now().age, saved.age + HOUR);
        // Two hours of work with a clock that was set back; the clock is corrected while the file is closed.
        clock.set_wall(today - YEARS);
        clock.advance(HOUR * 2);
        let behind = save(&source);
        clock.set_wall(today + HOUR * 3);
        assert_eq!(open(&clock, behind).now().age, saved.age + HOUR * 3);
        // Or the clock stays set back: it is unknown how long the file was closed, so that time does not count.
        clock.set_wall(behind.wall + HOUR);
        assert_eq!(open(&clock, behind).now().age, behind.age);
    }

    #[test]
    fn a_clock_that_had_not_been_set_does_not_measure_the_time_between() {
        let clock = ManualClock::new();
        let today = clock.wall();
        clock.set_wall(Timestamp::from_millis(5_000));
        let unset = save(&open(&clock, SavedTime::default()));
        clock.set_wall(today);
        let source = open(&clock, unset);
        assert_eq!((source.now().age, source.now().engine), (unset.age, today));
        let set = save(&source);
        clock.set_wall(Timestamp::from_millis(90_000));
        let source = open(&clock, set);
        assert_eq!((source.now().age, source.now().engine), (set.age, set.engine));
        let lost = save(&source);
        clock.set_wall(today + HOUR);
        let source = open(&clock, lost);
        assert_eq!((source.now().age, source.now().engine), (set.age + HOUR, set.engine + HOUR));
    }

    #[test]
    fn a_set_of_the_clock_is_noticed_and_a_drift_is_not() {
        let clock = ManualClock::new();
        let source = open(&clock, SavedTime::default());
        for (by, jumps) in [(900i64, 0), (-1_800, 0), (-200, 1), (1_001, 2), (0, 2), (86_400_000, 3)] {
            clock.set_wall(Timestamp::from_millis(clock.wall().as_millis().saturating_add_signed(by)));
            clock.advance(HOUR);
            source.now();
            assert_eq!(source.jumps(), jumps, "{by}");
        }
    }

    #[test]
    fn adding_a_delay_rounds_up_and_saturates() {
        let start = Timestamp::from_millis(10);
        assert_eq!(start + Duration::from_nanos(1), Timestamp::from_millis(11));
        assert_eq!(start + Duration::MAX, Timestamp::MAX);
        assert_eq!(start - Duration::MAX, Timestamp::EPOCH);
    }
}
