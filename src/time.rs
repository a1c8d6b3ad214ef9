//! The only room that asks the time.
//!
//! Three readings travel together as [`Now`]: the wall clock (what a person means by "at nine"),
//! the engine's own time line (what a back-off means by "in five seconds"), and the monotonic
//! clock (what a rate means by "per second"). Everything below the runtime receives `Now` and
//! never reads a clock.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::sync::Mutex;

/// A point in time: milliseconds since the Unix epoch.
///
/// Arithmetic saturates; a time before the epoch is the epoch.
///
/// ```
/// use millpond::Timestamp;
/// use std::time::Duration;
///
/// let at = Timestamp::from_millis(1_000) + Duration::from_millis(500);
/// assert_eq!(at.as_millis(), 1_500);
/// assert_eq!(at + Duration::MAX, Timestamp::MAX);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);
    /// The last time there is. Nothing scheduled for it ever runs.
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
    /// # use millpond::Timestamp;
    /// # use std::time::Duration;
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

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// Where the engine reads the time. [`SystemClock`] unless a test drives its own.
///
/// Both readings must be cheap: they are taken several times per job. They must not call the queue: it takes them under its
/// locks.
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
    /// The wall clock. It may jump either way.
    fn wall(&self) -> Timestamp;

    /// Time since an arbitrary start. It never goes back.
    fn monotonic(&self) -> Duration;

    /// Registers `wake`, to be called whenever this clock is moved by hand. A clock that moves by
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
    /// A clock whose monotonic reading starts at zero now.
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

/// The three readings that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// What the machine says the time is. Absolute times (`run_at`, expiry) are held against it.
    pub wall: Timestamp,
    /// The engine's time line: never goes back, not even across a restart, and follows the wall
    /// clock forward. Relative times (delays, back-off) are held against it, so that a clock set
    /// back ten years does not turn "in five seconds" into "in ten years".
    pub engine: Timestamp,
    /// The monotonic clock of this process. Rates, timeouts and measured durations use it.
    pub mono: Duration,
}

/// Which of the two time lines a due time lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum TimeLine {
    Wall,
    Engine,
}

/// When something may happen, and by which clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Due {
    pub line: TimeLine,
    pub at: Timestamp,
}

impl Due {
    pub fn wall(at: Timestamp) -> Self {
        Self { line: TimeLine::Wall, at }
    }

    pub fn after(now: Now, delay: Duration) -> Self {
        Self { line: TimeLine::Engine, at: now.engine + delay }
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
        }
    }
}

/// How far the wall clock must be ahead of the engine's time line before the line jumps to it:
/// below this it is drift between the two clocks, above it the machine slept or was set right.
const JUMP: Duration = Duration::from_secs(1);

/// Turns a [`Clock`] into [`Now`]: owns the engine's time line.
pub(crate) struct TimeSource {
    clock: Arc<dyn Clock>,
    anchor: Mutex<Anchor>,
}

struct Anchor {
    engine: Timestamp,
    mono: Duration,
}

impl TimeSource {
    /// A time line that starts no earlier than `floor`, the last time the file has seen.
    pub fn new(clock: Arc<dyn Clock>, floor: Timestamp) -> Self {
        let engine = clock.wall().max(floor);
        let mono = clock.monotonic();
        Self { clock, anchor: Mutex::new(Anchor { engine, mono }) }
    }

    pub fn now(&self) -> Now {
        let wall = self.clock.wall();
        let mut anchor = self.anchor.lock().unwrap_or_else(|e| e.into_inner());
        // Read under the lock: a reading taken before somebody else's must not come after it.
        let mono = self.clock.monotonic();
        let mut engine = Timestamp(anchor.engine.0.saturating_add(mono.saturating_sub(anchor.mono).as_millis() as u64));
        if wall > engine + JUMP {
            engine = wall;
            *anchor = Anchor { engine, mono };
        }
        Now { wall, engine, mono }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;

    #[test]
    fn the_engine_line_follows_the_wall_forward_and_never_back() {
        let clock = ManualClock::new();
        let source = TimeSource::new(Arc::new(clock.clone()), Timestamp::EPOCH);
        let start = source.now();
        clock.advance(Duration::from_secs(5));
        assert_eq!(source.now().engine, start.engine + Duration::from_secs(5));

        clock.set_wall(start.wall - Duration::from_secs(3600));
        assert_eq!(source.now().engine, start.engine + Duration::from_secs(5));

        clock.set_wall(start.wall + Duration::from_secs(3600));
        assert_eq!(source.now().engine, start.wall + Duration::from_secs(3600));
    }

    #[test]
    fn a_restart_with_the_clock_set_back_keeps_the_engine_line() {
        let clock = ManualClock::new();
        let floor = clock.wall() + Duration::from_secs(86_400);
        let source = TimeSource::new(Arc::new(clock.clone()), floor);
        assert_eq!(source.now().engine, floor);
    }

    #[test]
    fn adding_a_delay_rounds_up_and_saturates() {
        let start = Timestamp::from_millis(10);
        assert_eq!(start + Duration::from_nanos(1), Timestamp::from_millis(11));
        assert_eq!(start + Duration::MAX, Timestamp::MAX);
        assert_eq!(start - Duration::MAX, Timestamp::EPOCH);
    }
}
