//! When the next job expires, in memory.

use std::time::Duration;

use crate::storage::{NextExpiry, NotedExpiries};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::time::{Due, Now, TimeLine, Timestamp};

/// How long to wait after what was due could not be done for another reason than the disk, which nothing explains.
pub(super) const AFTER_A_FAILURE: Duration = Duration::from_secs(30);

/// When the next job expires. Each commit asks this, so an answer costs two reads of memory.
pub(super) struct Expiries {
    /// In milliseconds on the wall clock and on the age line; the end of time if no job expires there.
    wall: AtomicU64,
    age: AtomicU64,
    /// Taken to change them.
    changing: Mutex<()>,
    /// The writer was asked to end what has expired, and has not answered yet.
    asked: AtomicBool,
    /// After a failure: not before this time of the monotonic clock, in milliseconds.
    not_before: AtomicU64,
}

impl Expiries {
    pub fn new() -> Self {
        let never = || AtomicU64::new(u64::MAX);
        let (asked, not_before) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { wall: never(), age: never(), changing: Mutex::new(()), asked, not_before }
    }

    fn next(&self) -> NextExpiry {
        let mut next = NextExpiry::default();
        for (line, at) in [(TimeLine::Wall, &self.wall), (TimeLine::Age, &self.age)] {
            let at = at.load(Ordering::SeqCst);
            if at < u64::MAX {
                next.add(Due { line, at: Timestamp::from_millis(at) });
            }
        }
        next
    }

    /// Takes note of what a commit says; called in the order of commits. Returns true if something expires sooner than was
    /// known: then the dispatcher has to wait for it.
    pub fn learn(&self, noted: NotedExpiries) -> bool {
        if !noted.of_all && noted.next == NextExpiry::default() {
            return false;
        }
        let _changing = self.changing.lock().unwrap_or_else(|e| e.into_inner());
        let next = if noted.of_all { noted.next } else { self.next().and(noted.next) };
        let (mut wall, mut age) = (u64::MAX, u64::MAX);
        for due in next.dues() {
            *(if due.line == TimeLine::Wall { &mut wall } else { &mut age }) = due.at.as_millis();
        }
        let sooner = [self.wall.swap(wall, Ordering::SeqCst) > wall, self.age.swap(age, Ordering::SeqCst) > age];
        sooner.contains(&true)
    }

    /// Forgets what is known, because nothing in memory can be trusted: the next commit reads the file.
    pub fn forget(&self) {
        self.learn(NotedExpiries { next: NextExpiry::UNKNOWN, of_all: false });
    }

    pub fn is_due(&self, now: Now) -> bool {
        let passed = |at: &AtomicU64, line| {
            let at = at.load(Ordering::SeqCst);
            at <= now.on(line).as_millis() && at < u64::MAX
        };
        let due = passed(&self.wall, TimeLine::Wall) || passed(&self.age, TimeLine::Age);
        due && millis(now.mono) >= self.not_before.load(Ordering::SeqCst)
    }

    pub fn wait(&self, now: Now) -> Duration {
        let wait = self.next().dues().map(|due| due.wait(now)).min().unwrap_or(Duration::MAX);
        let patience = self.not_before.load(Ordering::SeqCst).saturating_sub(millis(now.mono));
        wait.max(Duration::from_millis(patience))
    }

    /// Notes that the writer is asked. Returns false if it was asked already and has not answered.
    pub fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::SeqCst)
    }

    /// Notes that the writer has answered.
    pub fn answered(&self) {
        self.asked.store(false, Ordering::SeqCst);
    }

    /// Notes that jobs could not be ended at `now`: they are due again [`AFTER_A_FAILURE`].
    pub fn failed(&self, now: Now) {
        self.not_before.store(millis(now.mono.saturating_add(AFTER_A_FAILURE)), Ordering::SeqCst);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
