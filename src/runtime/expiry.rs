//! Ends jobs whose expiry has passed: before anything else that a commit writes, so that they take no room and no unique key
//! from the jobs that follow, and when their time has come although nothing else is written.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use crate::error::Error;
use crate::job::{JobId, Record};
use crate::storage::{Batch, NotedExpiries};
use crate::time::Now;
use crate::transaction::Prepare;
use crate::writer::{Command, Refusal, Step, expire_passed};

impl Engine {
    /// The command that goes before all others into a commit at `now`, if something has expired.
    pub(super) fn expire_first(self: &Arc<Self>, now: Now) -> Option<Command> {
        let expire = || Command::Step(Box::new(Expire { engine: self.clone(), withdrawn: Vec::new() }));
        self.expiries.is_due(now).then(expire)
    }

    /// Takes note of the expiry of a job that was handed out and did not start. No commit says so, because none is made.
    pub(super) fn expires_again(&self, record: &Record) {
        let mut noted = NotedExpiries::default();
        record.expiry().into_iter().for_each(|due| noted.next.add(due));
        self.expiries.learn(noted);
    }

    /// Has the writer end what has expired. Returns how long until the next job expires.
    pub(super) fn expire_due(self: &Arc<Self>, now: Now) -> Duration {
        if !self.expiries.is_due(now) {
            return self.expiries.wait(now);
        }
        if self.expiries.ask() {
            // Every commit first ends what has expired, so one that writes nothing else is enough.
            self.internally(
                |_: &mut Batch<'_>| Ok(()),
                |engine, _| {
                    engine.expiries.answered();
                    engine.wake_dispatcher();
                },
            );
        }
        Duration::MAX
    }
}

/// Ends jobs whose expiry has passed. They are not started meanwhile.
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
        if let Some(error) = result.err().filter(|error| !error.is_of_the_writer()) {
            tracing::warn!(%error, "jobs whose expiry has passed could not be ended");
            engine.expiries.failed(engine.now());
        }
        if any || engine.expiries.is_due(engine.now()) {
            engine.wake_dispatcher();
        }
    }
}
