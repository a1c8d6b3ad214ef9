//! The real engine on a simulated disk, driven by hand on one thread.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use millpond::testing::{ManualClock, Stepper, open_stepped};
use millpond::{Error, Millpond, Timestamp};
use millpond_testkit::{Fault, SimDisk};
use tokio::runtime::Runtime;

pub const QUEUES: [&str; 4] = ["plain", "grouped", "rated", "narrow"];
pub const GROUPS: [&str; 3] = ["g0", "g1", "g2"];
pub const KIND: &str = "k";
const RUNNING_MAX: usize = 8;

/// After so many turns in which nothing was written there is nothing left to be done.
const QUIET_TURNS: usize = 3;

/// After so many turns it will never be quiet.
const TURNS_MAX: usize = 10_000;

/// How often tasks are given the thread in each turn.
const YIELDS: usize = 8;

pub struct Engine {
    pub pond: Millpond,
    steps: Stepper,
    runtime: Runtime,
    disk: SimDisk,
}

impl Engine {
    pub fn open(disk: &SimDisk, clock: &ManualClock) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let builder = Millpond::builder().clock(clock.clone()).seed(0).max_running(RUNNING_MAX).cache_bytes(1 << 20);
        // What concerns many jobs takes several commits, each of which may be the last.
        let builder = builder.batch_bytes_max(1_000).window_bytes_max(10_000);
        let again = disk.clone();
        let (pond, steps) = open_stepped(builder.runtime(runtime.handle().clone()), move || Ok(again.clone()))?;
        Ok(Self { pond, steps, runtime, disk: disk.clone() })
    }

    /// Until nothing happens by itself any more.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..TURNS_MAX {
            quiet = if self.turn() { 0 } else { quiet + 1 };
            if quiet == QUIET_TURNS {
                return;
            }
        }
        panic!("it is never quiet");
    }

    /// True if something was written.
    fn turn(&mut self) -> bool {
        let wrote = self.steps.write();
        self.runtime.block_on(async {
            for _ in 0..YIELDS {
                tokio::task::yield_now().await;
            }
        });
        self.steps.dispatch();
        wrote
    }

    /// Asks, and has it done.
    pub fn call<T>(&mut self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut answer = pin!(answer);
        for _ in 0..TURNS_MAX {
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return answer;
            }
            self.turn();
        }
        panic!("it is never answered");
    }

    /// Has `ask` done by another thread, which waits for the writer.
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

    /// Closes the file in order.
    pub fn close(mut self) {
        self.steps.begin_stop();
        self.steps.take_back();
        for _ in 0..TURNS_MAX {
            if self.steps.is_closed() {
                return;
            }
            self.turn();
        }
        panic!("it is never closed");
    }

    /// The power goes: nothing reaches the disk any more.
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
