//! The real engine on a simulated disk, on one thread; the test runs its steps.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use millpond::testing::{ManualClock, Stepper, open_stepped};
use millpond::{Error, JobFilter, Millpond, Timestamp};
use millpond_testkit::{Fault, SimDisk};
use tokio::runtime::Runtime;

use crate::topics::COPIES;
use crate::workload::{DEAD, count_up};

pub const QUEUES: [&str; 4] = ["plain", "grouped", "rated", "narrow"];
/// The queue of scheduled jobs. It has no worker, so its jobs never end, and nothing else is in it.
pub const SCHEDULED: &str = "scheduled";
/// Whether the jobs of a queue never end: it has no worker.
pub fn is_kept(queue: &str) -> bool {
    queue == SCHEDULED || COPIES.contains(&queue)
}

/// The queues that are emptied, removed and renamed. They have no worker, and their jobs end in no other way.
pub const DOOMED: [&str; 2] = ["doomed", "renamed"];
pub const GROUPS: [&str; 3] = ["g0", "g1", "g2"];
pub const KIND: &str = "k";
const RUNNING_MAX: usize = 8;

/// After this many rounds without a write there is nothing left to do.
const QUIET_ROUNDS: usize = 3;

/// After this many rounds the engine counts as never quiet.
const ROUNDS_MAX: usize = 10_000;

/// How often the tasks can run in each round.
const YIELDS: usize = 8;

pub struct Engine {
    pub pond: Millpond,
    steps: Stepper,
    runtime: Runtime,
    disk: SimDisk,
}

impl Engine {
    /// The jobs that schedules have enqueued, and the number of runs that the schedules count.
    pub fn scheduled(&self) -> Result<(BTreeSet<u64>, u64), Error> {
        let (mut ids, mut cursor) = (BTreeSet::new(), None);
        loop {
            let page = self.pond.jobs(&JobFilter::new().queue(SCHEDULED), cursor, 1_000)?;
            ids.extend(page.jobs.into_iter().map(|job| job.id.get()));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let schedules = self.pond.schedules().list("", 1_000)?;
        Ok((ids, schedules.iter().map(|schedule| schedule.runs).sum()))
    }

    pub fn open(disk: &SimDisk, clock: &ManualClock) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let builder = Millpond::builder().clock(clock.clone()).seed(0).max_running(RUNNING_MAX).cache_bytes(1 << 20);
        // An operation on many jobs takes several commits, and the power can be cut after each.
        let builder = builder.batch_bytes_max(1_000).window_bytes_max(10_000);
        let builder = builder.on_dead(|tx, dead| count_up(tx, DEAD, dead.id().get()));
        let again = disk.clone();
        let (pond, steps) = open_stepped(builder.runtime(runtime.handle().clone()), move || Ok(again.clone()))?;
        Ok(Self { pond, steps, runtime, disk: disk.clone() })
    }

    /// Runs rounds until the engine does nothing more without a call or the passing of time.
    pub fn run_until_quiet(&mut self) {
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            quiet = if self.run_round() { 0 } else { quiet + 1 };
            if quiet == QUIET_ROUNDS {
                return;
            }
        }
        panic!("it is never quiet");
    }

    /// Runs the writer, the tasks and dispatch once. Returns true if something was written.
    fn run_round(&mut self) -> bool {
        let wrote = self.steps.write();
        self.runtime.block_on(async {
            for _ in 0..YIELDS {
                tokio::task::yield_now().await;
            }
        });
        self.steps.dispatch();
        wrote
    }

    /// Runs rounds until the call is answered.
    pub fn call<T>(&mut self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut answer = pin!(answer);
        for _ in 0..ROUNDS_MAX {
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return answer;
            }
            self.run_round();
        }
        panic!("it is never answered");
    }

    /// Runs `ask` on another thread and the writer on this one.
    pub fn while_writing<T: Send>(&mut self, ask: impl FnOnce(&Millpond) -> T + Send) -> T {
        let (pond, steps) = (&self.pond, &mut self.steps);
        std::thread::scope(|scope| {
            let outside = scope.spawn(|| ask(pond));
            while !outside.is_finished() {
                steps.write();
                std::thread::yield_now();
            }
            outside.join().expect("it does not panic")
        })
    }

    /// Shuts the queue down and closes the file.
    pub fn close(mut self) {
        self.steps.begin_stop();
        self.steps.take_back();
        for _ in 0..ROUNDS_MAX {
            if self.steps.is_closed() {
                return;
            }
            self.run_round();
        }
        panic!("it is never closed");
    }

    /// Cuts the power: nothing reaches the disk any more.
    pub fn cut_off(self) {
        self.disk.fail(Fault::DEAD);
        drop(self);
    }
}

/// A clock that shows this time.
pub fn clock_at(wall: Timestamp) -> ManualClock {
    let clock = ManualClock::new();
    clock.set_wall(wall);
    clock
}
