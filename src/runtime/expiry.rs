//! Has jobs expire: before whatever else a commit writes, so that they hold no room and no key for those who come after,
//! and when their time has come though nobody writes.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use crate::error::Error;
use crate::job::{JobId, Record};
use crate::storage::{Batch, NextExpiry, NotedExpiries};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::time::{Now, TimeLine, Timestamp};
use crate::transaction::Prepare;
use crate::writer::{Command, Refusal, Step, expire_passed};

/// How long to leave it be after it has failed for another reason than the disk, which nobody expects.
const AFTER_A_FAILURE: Duration = Duration::from_secs(30);

/// When the next job expires. Each commit asks, so an answer costs two reads of memory.
pub(super) struct Expiries {
    /// In milliseconds on their lines; the end of time if there is none.
    wall: AtomicU64,
    age: AtomicU64,
    /// Taken to change them.
    changing: Mutex<()>,
    /// The writer was asked to look.
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
                next.add(crate::time::Due { line, at: Timestamp::from_millis(at) });
            }
        }
        next
    }

    /// What a commit says, in the order of commits. True if something expires sooner than was known: then the
    /// dispatcher has to wait for it.
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

    /// What is in memory of it cannot be trusted.
    pub fn look_again(&self) {
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

    fn wait(&self, now: Now) -> Duration {
        let wait = self.next().dues().map(|due| due.wait(now)).min().unwrap_or(Duration::MAX);
        let patience = self.not_before.load(Ordering::SeqCst).saturating_sub(millis(now.mono));
        wait.max(Duration::from_millis(patience))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Engine {
    /// What goes before everything else into a commit at `now`, if something has expired.
    pub(super) fn expire_first(self: &Arc<Self>, now: Now) -> Option<Command> {
        let expire = || Command::Step(Box::new(Expire { engine: self.clone(), withdrawn: Vec::new() }));
        self.expiries.is_due(now).then(expire)
    }

    /// A job that was handed out did not start, and nothing is written of that.
    pub(super) fn expires_again(&self, record: &Record) {
        let mut noted = NotedExpiries::default();
        record.expiry().into_iter().for_each(|due| noted.next.add(due));
        self.expiries.learn(noted);
    }

    /// Has the writer look if something has expired. Returns how long until the next one does.
    pub(super) fn expire_due(self: &Arc<Self>, now: Now) -> Duration {
        if !self.expiries.is_due(now) {
            return self.expiries.wait(now);
        }
        if !self.expiries.asked.swap(true, Ordering::SeqCst) {
            // Whatever is committed, what has expired goes before it.
            self.internally(
                |_: &mut Batch<'_>| Ok(()),
                |engine, _| {
                    engine.expiries.asked.store(false, Ordering::SeqCst);
                    engine.wake_dispatcher();
                },
            );
        }
        Duration::MAX
    }
}

/// Ends what has expired. The dispatcher keeps its hands off it meanwhile.
struct Expire {
    engine: Arc<Engine>,
    withdrawn: Vec<JobId>,
}

impl Step for Expire {
    fn apply(&mut self, batch: &mut Batch<'_>, _: &dyn Prepare) -> Result<(), Refusal> {
        let Self { engine, withdrawn } = self;
        let is_taken = |id| {
            let is_free = engine.scheduler().withdraw(id);
            withdrawn.extend(is_free.then_some(id));
            !is_free
        };
        Ok(expire_passed(batch, is_taken)?)
    }

    fn answer(self: Box<Self>, result: Result<(), Error>) {
        let Self { engine, withdrawn } = *self;
        let any = !withdrawn.is_empty();
        {
            let mut scheduler = engine.scheduler();
            withdrawn.into_iter().for_each(|id| scheduler.reinstate(id));
        }
        // After an error of the disk it is looked again once that is healed.
        let is_expected =
            |error: &Error| error.is_of_storage() || matches!(error, Error::Degraded { .. } | Error::Closed);
        if let Some(error) = result.err().filter(|error| !is_expected(error)) {
            tracing::warn!(%error, "jobs whose expiry has passed could not be ended");
            let again = engine.now().mono.saturating_add(AFTER_A_FAILURE);
            engine.expiries.not_before.store(millis(again), Ordering::SeqCst);
        }
        if any || engine.expiries.is_due(engine.now()) {
            engine.wake_dispatcher();
        }
    }
}
