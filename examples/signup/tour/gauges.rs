//! The progress of the queues since the gauges were set up, and the wait until the queues are empty.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use millpond::{Counts, Millpond, Queue};

use super::screen::{Row, Screen, grouped};

/// Time between two readings.
pub const TICK: Duration = Duration::from_millis(100);

/// If the work takes longer than this, it will not end.
const DRAIN_MAX: Duration = Duration::from_secs(60);

pub struct Gauges {
    queues: Vec<(&'static str, Queue, Counts)>,
}

impl Gauges {
    /// Sets the gauges of these queues to zero; jobs that wait in them count as work to do.
    pub fn new(pond: &Millpond, names: &[&'static str]) -> Result<Self> {
        let mut queues = Vec::new();
        for &name in names {
            let queue = pond.queue(name)?;
            let base = queue.counts();
            queues.push((name, queue, base));
        }
        Ok(Self { queues })
    }

    pub fn rows(&self) -> Vec<Row> {
        self.queues.iter().map(|(name, queue, base)| row(name, &queue.counts(), base)).collect()
    }

    /// Jobs that are not done yet.
    pub fn waiting(&self) -> u64 {
        self.queues.iter().map(|(_, queue, _)| queue.counts().unfinished()).sum()
    }

    /// Shows the rows until no job waits.
    pub async fn drain(&self, screen: &mut Screen) -> Result<Duration> {
        let begun = Instant::now();
        while self.waiting() > 0 {
            if begun.elapsed() > DRAIN_MAX {
                screen.settle(&self.rows());
                bail!("{} jobs were not done after {DRAIN_MAX:?}", self.waiting());
            }
            screen.show(&self.rows());
            tokio::time::sleep(TICK).await;
        }
        screen.settle(&self.rows());
        Ok(begun.elapsed())
    }
}

fn row(name: &'static str, counts: &Counts, base: &Counts) -> Row {
    let done = counts.completed_total - base.completed_total;
    let failed = counts.dead.saturating_sub(base.dead);
    let states = [(counts.running, "running"), (counts.retrying, "retrying"), (counts.dead, "dead")];
    let note: Vec<String> = states
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| format!("{} {state}", grouped(*count)))
        .collect();
    Row { name, done, failed, total: done + failed + counts.unfinished(), note: note.join(", ") }
}
