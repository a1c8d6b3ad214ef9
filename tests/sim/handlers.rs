//! The handlers, whose actions the seed decides, and the timers that wake them by the simulated clock.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use millpond::testing::ManualClock;
use millpond::{BoxError, Clock, Context, DeadJob, Handled, Job, Outcome, RunNumber, Timestamp, Transaction};
use millpond_testkit::{JobSpec, ON_PURPOSE};
use redb::{ReadableTable, TableDefinition};

use crate::flows::FLOW;
use crate::guest_talk::{self, GuestStart};
use crate::plan::{new_job, queue_name, random_job};
use crate::reports;
use crate::unique::UNIQUE;

/// Each row counts how often it was written.
pub const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");

/// Each row counts how often the hook for dead jobs has written for a job, by its id.
pub const DEAD_ROWS: TableDefinition<u64, u64> = TableDefinition::new("dead_rows");

/// The hook for dead jobs. It writes for every job, and then fails for some of them if `fails`.
pub fn on_dead(tx: &Transaction<'_>, dead: &DeadJob<'_>, fails: bool) -> Result<(), BoxError> {
    if dead.queue() == UNIQUE || dead.queue() == FLOW {
        return Ok(());
    }
    let id = dead.id().get();
    count_up(tx, DEAD_ROWS, id)?;
    match id % 8 {
        _ if !hook_fails(id, fails) => Ok(()),
        6 => panic!("{ON_PURPOSE}"),
        _ => Err(ON_PURPOSE.into()),
    }
}

/// Whether the hook for dead jobs fails for this job.
pub fn hook_fails(id: u64, fails: bool) -> bool {
    fails && id % 8 >= 6
}

/// Adds one to a row of the application.
pub fn write_row(tx: &Transaction<'_>, row: u64) -> Result<(), BoxError> {
    count_up(tx, ROWS, row)
}

/// Adds one to a row: a row that was written twice shows it.
fn count_up(tx: &Transaction<'_>, table: TableDefinition<'_, u64, u64>, row: u64) -> Result<(), BoxError> {
    let mut table = tx.open_table(table)?;
    let before = table.get(row)?.map_or(0, |count| count.value());
    table.insert(row, before + 1)?;
    Ok(())
}

/// The row that a run of a job writes in the transaction that completes it.
pub fn row_of(n: u64, run: u32) -> u64 {
    (1 << 40) | (n << 10) | u64::from(run)
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Done,
    DoneWithRow,
    DoneWithJob,
    Result,
    HookErrs,
    HookPanics,
    Fail,
    RetryAfter(u64),
    Snooze(u64),
    RateLimited(u64),
    /// For the whole queue, even if the job has a group.
    RateLimitedQueue(u64),
    Cancel,
    DeadLetter,
    Panic,
    /// Does not end without being stopped.
    Hang,
    /// Kills the process.
    Kill,
    /// A guest has completed its job, with what it wrote and with its follow-up jobs. The number is the mark that it wrote.
    Kept(u64),
    /// A guest broke one of its limits.
    Broke,
}

impl Act {
    pub fn completes(self) -> bool {
        matches!(self, Self::Done | Self::DoneWithRow | Self::DoneWithJob | Self::Result | Self::Kept(_))
    }

    /// Whether its follow-up jobs are stored when it completes.
    pub fn has_follow_ups(self) -> bool {
        matches!(self, Self::DoneWithJob | Self::Kept(_))
    }
}

/// Something that a handler did.
#[derive(Clone, Debug)]
pub enum Note {
    Start {
        n: u64,
        id: u64,
        attempt: u32,
        max: u32,
        /// When it was handed out, on the monotonic clock in nanoseconds, if known.
        taken: Option<u64>,
        /// When its time is over, if it has a limit.
        deadline: Option<u64>,
        run: u32,
        /// The number of the run, if known.
        number: Option<RunNumber>,
        /// The job that it enqueues in the transaction that completes it, if it does.
        child: Option<JobSpec>,
        guest: Option<GuestStart>,
    },
    /// The instance of a guest has been used before.
    Reused {
        n: u64,
        calls: u64,
    },
    /// What a guest read of the kept state: the number of completed jobs, and the last one of its group.
    Read {
        n: u64,
        seen: u64,
        before: u64,
    },
    /// A blocking handler has occupied its thread for so many milliseconds.
    Blocked {
        millis: u64,
    },
    /// A guest has asked for a follow-up job.
    Child {
        n: u64,
        run: u32,
        child: JobSpec,
        accepted: bool,
    },
    /// A guest's attempt has ended without a log line of the guest.
    Unseen {
        id: u64,
    },
    End {
        n: u64,
        run: u32,
        /// `None` if the run was dropped.
        act: Option<Act>,
    },
    Told {
        n: u64,
    },
    /// A handler has seen that an invariant is broken. A panic of it would only fail the attempt.
    Wrong(String),
}

/// What the handlers of a world share.
pub struct Stage {
    pub seed: u64,
    pub notes: Vec<Note>,
    /// From now on every attempt succeeds at once.
    pub calm: bool,
    pub poisons: BTreeSet<u64>,
    /// A job that kills the process has run.
    pub dies: bool,
    pub next_n: u64,
    /// How often each job has been run.
    pub runs: BTreeMap<u64, u32>,
    pub queues: usize,
    pub groups: u8,
    pub tame: bool,
}

/// The wakers by time, and at equal times in the order in which they were added.
type Wakes = BTreeMap<(Duration, u64), Waker>;

/// Timers that fire when the test says so.
pub struct Timers {
    clock: ManualClock,
    wakes: Mutex<(u64, Wakes)>,
}

impl Timers {
    pub fn new(clock: ManualClock) -> Self {
        Self { clock, wakes: Mutex::default() }
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Duration> {
        self.wakes.lock().unwrap().1.keys().next().map(|(at, _)| *at)
    }

    /// Wakes every task that is due, in an order that `rng` chooses.
    pub fn fire(&self, rng: &mut Rng) {
        let now = self.clock.monotonic();
        let mut due: Vec<Waker> = {
            let mut wakes = self.wakes.lock().unwrap();
            let later = wakes.1.split_off(&(now + Duration::from_nanos(1), 0));
            std::mem::replace(&mut wakes.1, later).into_values().collect()
        };
        rng.shuffle(&mut due);
        due.into_iter().for_each(Waker::wake);
    }

    pub fn sleep(self: &Arc<Self>, time: Duration) -> Sleep {
        Sleep { timers: self.clone(), until: self.clock.monotonic() + time, key: None }
    }
}

pub struct Sleep {
    timers: Arc<Timers>,
    until: Duration,
    key: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<()> {
        if self.timers.clock.monotonic() >= self.until {
            return Poll::Ready(());
        }
        let timers = self.timers.clone();
        let mut wakes = timers.wakes.lock().unwrap();
        let until = self.until;
        let key = *self.key.get_or_insert_with(|| {
            wakes.0 += 1;
            (until, wakes.0)
        });
        wakes.1.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.timers.wakes.lock().unwrap().1.remove(&key);
        }
    }
}

/// What one run of a job will do.
pub struct Doing {
    pub run: u32,
    pub wait: Duration,
    pub act: Act,
    heeds: bool,
    pub child: Option<JobSpec>,
}

impl Stage {
    fn start(&mut self, n: u64, job: &Job<Bytes>, ctx: &Context, clock: &ManualClock, timeout: Duration) -> Doing {
        let run = self.runs.entry(n).and_modify(|runs| *runs += 1).or_insert(1);
        let run = *run;
        let mut rng = Rng::with_seed(self.seed ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (u64::from(run) << 48));
        let act = if self.calm {
            Act::Done
        } else if self.poisons.contains(&n) {
            Act::Kill
        } else {
            act(&mut rng, self.tame)
        };
        let wait = if self.calm { 0 } else { [0, 0, 0, 1, 5, 20, 300, 2_000, 7_000, 40_000][rng.usize(..10)] };
        let wait = if act == Act::Kill { [0, 0, 20, 300][rng.usize(..4)] } else { wait };
        let child = (act == Act::DoneWithJob).then(|| {
            let spec = random_job(&mut rng, self.next_n, self.queues, self.groups).made_at(clock.wall().as_millis());
            self.next_n += 1;
            spec
        });
        let taken = guest_talk::when_handed_out(job.id().get());
        assert_eq!(ctx.time_left(), Some(timeout), "an attempt's time begins when its handler is called");
        let deadline = u64::try_from((clock.monotonic() + timeout).as_nanos()).ok();
        let (id, attempt, max, number) = (job.id().get(), job.attempt(), job.max_attempts(), Some(job.run()));
        self.notes.push(Note::Start { n, id, attempt, max, taken, deadline, run, number, child, guest: None });
        Doing { run, wait: Duration::from_millis(wait), act, heeds: rng.bool(), child }
    }
}

fn act(rng: &mut Rng, tame: bool) -> Act {
    let delay = [0, 1, 50, 1_000, 5_000, 60_000][rng.usize(..6)];
    let choice = if tame { rng.u8(..11) } else { rng.u8(..28) };
    match choice {
        0..=5 => Act::Done,
        6..=8 => Act::DoneWithRow,
        9 => Act::DoneWithJob,
        10 => Act::Result,
        11 => Act::HookErrs,
        12 => Act::HookPanics,
        13..=16 => Act::Fail,
        17..=18 => Act::RetryAfter(delay),
        19..=20 => Act::Snooze(delay),
        21 => Act::RateLimited(delay),
        22 => Act::RateLimitedQueue(delay),
        23 => Act::Cancel,
        24 => Act::DeadLetter,
        25 => Act::Panic,
        _ => Act::Hang,
    }
}

/// Notes how a run ended, also if it is dropped.
pub struct Guard {
    pub stage: Arc<Mutex<Stage>>,
    pub n: u64,
    pub run: u32,
    pub act: Option<Act>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (n, run, act) = (self.n, self.run, self.act);
        self.stage.lock().unwrap_or_else(|e| e.into_inner()).notes.push(Note::End { n, run, act });
    }
}

/// What a handler needs of its world.
#[derive(Clone)]
pub struct Scene {
    pub stage: Arc<Mutex<Stage>>,
    pub timers: Arc<Timers>,
    pub clock: ManualClock,
    /// The worker's timeout.
    pub timeout: Duration,
}

/// Reads the job's number and its own timeout: the payload carries it so that the handler knows it.
fn read_payload(payload: &Bytes) -> (u64, u64) {
    let number = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap());
    (number(0), number(8))
}

impl Scene {
    /// A run of a job begins. Returns the number of the job, and what the run does.
    pub fn begin(&self, job: &Job<Bytes>, ctx: &Context) -> (u64, Doing) {
        let (n, own_timeout) = read_payload(job);
        let timeout = if own_timeout == 0 { self.timeout } else { Duration::from_millis(own_timeout) };
        (n, self.stage.lock().unwrap().start(n, job, ctx, &self.clock, timeout))
    }
}

pub async fn handle(scene: Scene, job: Job<Bytes>, ctx: Context) -> Handled<Outcome> {
    let (n, Doing { run, wait, act, heeds, child }) = scene.begin(&job, &ctx);
    let mut guard = Guard { stage: scene.stage.clone(), n, run, act: None };
    reports::begin(&ctx, n, run);
    if act == Act::Hang {
        scene.timers.sleep(Duration::from_secs(1 << 40)).await;
    }
    if !wait.is_zero() {
        let mut sleep = pin!(scene.timers.sleep(wait));
        let mut told = pin!(ctx.cancelled());
        let told = poll_fn(|cx| match sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(false),
            Poll::Pending if heeds => told.as_mut().poll(cx).map(|()| true),
            Poll::Pending => Poll::Pending,
        })
        .await;
        if told {
            scene.stage.lock().unwrap().notes.push(Note::Told { n });
        }
    }
    if act == Act::Kill {
        scene.stage.lock().unwrap().dies = true;
        std::future::pending::<()>().await;
    }
    guard.act = Some(act);
    reports::end(&ctx, n, run);
    answer(act, (n, run), child, &ctx, scene.clock.wall())
}

/// A blocking handler: time passes while it occupies its thread, and nothing else happens.
pub fn handle_blocking(scene: &Scene, job: &Job<Bytes>, ctx: &Context) -> Handled<Outcome> {
    let (n, Doing { run, wait, act, child, .. }) = scene.begin(job, ctx);
    let mut guard = Guard { stage: scene.stage.clone(), n, run, act: None };
    reports::begin(ctx, n, run);
    // It cannot be stopped from outside, so it returns at some time.
    let (wait, act) = if act == Act::Hang { (Duration::from_secs(40), Act::Fail) } else { (wait, act) };
    if !wait.is_zero() {
        scene.clock.advance(wait);
        scene.stage.lock().unwrap().notes.push(Note::Blocked { millis: wait.as_millis() as u64 });
    }
    if act == Act::Kill {
        scene.stage.lock().unwrap().dies = true;
        return Err(ON_PURPOSE.into());
    }
    guard.act = Some(act);
    reports::end(ctx, n, run);
    answer(act, (n, run), child, ctx, scene.clock.wall())
}

/// Does what a run does at its end.
pub fn answer(
    act: Act,
    (n, run): (u64, u32),
    child: Option<JobSpec>,
    ctx: &Context,
    wall: Timestamp,
) -> Handled<Outcome> {
    let millis = Duration::from_millis;
    Ok(match act {
        Act::Done => Outcome::Done(None),
        Act::DoneWithRow => {
            ctx.on_complete(move |tx| write_row(tx, row_of(n, run)));
            Outcome::Done(None)
        }
        Act::DoneWithJob => {
            let child = child.expect("it was made at the start");
            ctx.on_complete(move |tx| write_row(tx, row_of(n, run)));
            ctx.on_complete(move |tx| {
                tx.enqueue(&queue_name(child.queue), new_job(&child, wall))?;
                Ok(())
            });
            Outcome::Done(None)
        }
        Act::Result => Outcome::done_with(n.to_string()),
        Act::HookErrs => {
            ctx.on_complete(move |tx| write_row(tx, row_of(n, run)));
            ctx.on_complete(|_| Err(ON_PURPOSE.into()));
            Outcome::Done(None)
        }
        Act::HookPanics => {
            ctx.on_complete(move |tx| write_row(tx, row_of(n, run)));
            ctx.on_complete(|_| panic!("{ON_PURPOSE}"));
            Outcome::Done(None)
        }
        Act::Fail => return Err(ON_PURPOSE.into()),
        Act::RetryAfter(delay) => Outcome::retry_after(ON_PURPOSE, millis(delay)),
        Act::Snooze(delay) => Outcome::snooze(millis(delay)),
        Act::RateLimited(delay) => Outcome::rate_limited(millis(delay)),
        Act::RateLimitedQueue(delay) => Outcome::rate_limited_queue(millis(delay)),
        Act::Cancel => Outcome::cancel(ON_PURPOSE),
        Act::DeadLetter => Outcome::dead_letter(ON_PURPOSE),
        Act::Panic => panic!("{ON_PURPOSE}"),
        Act::Hang | Act::Kill => unreachable!("such a run does not return"),
        Act::Kept(_) | Act::Broke => unreachable!("only a guest ends like this"),
    })
}
