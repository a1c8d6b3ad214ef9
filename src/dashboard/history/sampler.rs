//! The task that takes the samples.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use crate::Millpond;

use super::super::api::History;
use super::super::jobs::time;
use super::super::queues::counts;
use super::{Rates, Recorder};

/// The time between two samples.
const EVERY: Duration = Duration::from_secs(5);

/// Takes samples for as long as it exists. Without a tokio runtime there are none.
pub(in crate::dashboard) struct Sampler {
    histories: Histories,
    task: Option<AbortHandle>,
}

/// What was recorded.
#[derive(Clone, Default)]
pub(in crate::dashboard) struct Histories(Arc<Mutex<Recorder>>);

impl Sampler {
    pub fn start(pond: Millpond) -> Self {
        let histories = Histories::default();
        let task = Handle::try_current().ok().map(|runtime| runtime.spawn(sample(pond, histories.clone())));
        Self { histories, task: task.map(|task| task.abort_handle()) }
    }

    pub fn histories(&self) -> Histories {
        self.histories.clone()
    }
}

impl Histories {
    fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The last hour of all queues.
    pub fn of_all(&self) -> History {
        self.lock().history()
    }

    /// The last hour of a queue.
    pub fn of_queue(&self, name: &str) -> History {
        self.lock().history_of(name)
    }

    /// How fast a queue was in the last minute.
    pub fn rates(&self, name: &str) -> Rates {
        self.lock().rates(name)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn sample(pond: Millpond, histories: Histories) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begun = ticks.tick().await;
    let mut now = begun;
    loop {
        // It reads what is in memory: the counts are those of the latest commit.
        let queues = pond.queues().iter().map(|queue| (queue.name().to_owned(), counts(&queue.counts()))).collect();
        histories.lock().sample(now - begun, time(pond.now()), &queues);
        now = ticks.tick().await;
    }
}
