//! Compacts the file while the queue is idle.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::every::Every;
use crate::error::Error;
use crate::events::Event;
use crate::metrics::Used;
use crate::runtime::engine::Engine;
use crate::storage::{Batch, Compacted};
use crate::sync::{Mutex, MutexGuard, block_on};
use crate::time::Now;

/// How often this checks whether the queue is idle, and how long the queue must have been idle: compacting holds up the
/// calls that come meanwhile.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// A smaller file is left as it is, in bytes: there is little to gain.
const FILE_BYTES_MIN: u64 = 4 << 20;

/// A larger file is left as it is, in bytes: the part of it that is in use, a quarter at most, is moved within about ten
/// seconds on a slow disk.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// The file is compacted if at most one part in this many is in use, because what is moved is written twice.
const USED_PARTS: u64 = 4;

/// Longest wait after a check that found too much in use: each check walks through everything that is in use.
const CHECK_AGAIN_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// How large a file a stop compacts, in bytes for each second that the stop has left.
const STOP_BYTES_PER_SECOND: u64 = 32 << 20;

/// Makes the file small again when it is mostly empty and nothing uses it.
#[derive(Default)]
pub(in crate::runtime) struct Compactor {
    next: Every,
    /// Commits made when this last checked whether the queue is idle.
    commits: u64,
    last_check: Arc<Mutex<LastCheck>>,
}

/// The last check of the file. The dispatcher reads it, and the writer makes it.
struct LastCheck {
    /// Commits made at that time: without another one, a check would find the same.
    commits: Option<u64>,
    /// How long to wait after the next check that finds too much in use.
    patience: Duration,
    /// When the next check may be made, on the monotonic clock.
    not_before: Duration,
}

impl Default for LastCheck {
    fn default() -> Self {
        Self { commits: None, patience: CHECK_EVERY, not_before: Duration::ZERO }
    }
}

impl LastCheck {
    fn is_due(&self, commits: u64, now: Now) -> bool {
        self.commits != Some(commits) && now.mono >= self.not_before
    }

    fn made(&mut self, commits: u64, worthwhile: bool, now: Now) {
        self.commits = Some(commits);
        self.patience = if worthwhile { CHECK_EVERY } else { (self.patience * 2).min(CHECK_AGAIN_AFTER_MAX) };
        self.not_before = now.mono.saturating_add(self.patience);
    }
}

impl Compactor {
    pub fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        if let Some(wait) = self.next.wait(CHECK_EVERY, now) {
            return wait;
        }
        let commits = engine.metrics.commits();
        let quiet = std::mem::replace(&mut self.commits, commits) == commits;
        if engine.config.compaction && quiet && lock(&self.last_check).is_due(commits, now) {
            // The writer checks again whether nothing needs the file: that may have changed by then.
            let (writer, last_check) = (engine.clone(), self.last_check.clone());
            let _ = engine.to_writer.between(move || compact_if_idle(&writer, commits, &last_check));
        }
        CHECK_EVERY
    }
}

/// Called by the writer between two commits.
fn compact_if_idle(engine: &Arc<Engine>, commits: u64, last_check: &Mutex<LastCheck>) {
    let is_idle = engine.to_writer.is_quiet() && engine.scheduler().running() == 0 && engine.unwritable().is_none();
    if !is_idle || engine.metrics.commits() != commits || !is_worth_a_check(engine, FILE_BYTES_MAX) {
        return;
    }
    let compacted = compact(engine);
    let now = engine.now();
    match compacted {
        // A reader has the file: try again the next time.
        Ok(Outcome::Busy) => {}
        Ok(outcome) => lock(last_check).made(commits, matches!(outcome, Outcome::Done), now),
        Err(error) => {
            tracing::warn!(%error, "the file could not be compacted");
            lock(last_check).made(commits, false, now);
            // After an I/O error the writer finds that it cannot write either, and heals.
            engine.internally(|_: &mut Batch<'_>| Ok(()), |_, _| {});
        }
    }
}

/// Compacts the file before it is closed, if the stop has time for it.
pub(in crate::runtime) fn compact_before_close(engine: &Arc<Engine>) {
    let bytes_max = engine.stop.time_left().as_secs().saturating_mul(STOP_BYTES_PER_SECOND).min(FILE_BYTES_MAX);
    if engine.config.compaction
        && is_worth_a_check(engine, bytes_max)
        && let Err(error) = compact(engine)
    {
        tracing::warn!(%error, "the file could not be compacted before it was closed");
    }
}

/// Whether a check can be worth its time, as far as can be known without walking through the file: jobs that wait take up
/// little of it.
fn is_worth_a_check(engine: &Engine, bytes_max: u64) -> bool {
    let Some(file) = engine.store.file_bytes() else { return false };
    if !(FILE_BYTES_MIN..=bytes_max).contains(&file) {
        return false;
    }
    engine.waiting_bytes() <= file / USED_PARTS
}

enum Outcome {
    Done,
    NotWorthwhile,
    Busy,
}

fn compact(engine: &Arc<Engine>) -> Result<Outcome, Error> {
    let file = engine.store.file_bytes().unwrap_or(0);
    let used = engine.store.used_bytes()?;
    engine.metrics.set_used(Used { bytes: used, at: engine.wall_now() });
    if used > file / USED_PARTS {
        return Ok(Outcome::NotWorthwhile);
    }
    Ok(move_pages(engine)?.map_or(Outcome::Busy, |_| Outcome::Done))
}

/// Compacts the file, and tells it. `None` if a read was under way.
fn move_pages(engine: &Engine) -> Result<Option<Compacted>, Error> {
    let compacted = engine.store.compact()?;
    if let Some(Compacted { before, after }) = compacted {
        tracing::info!(before, after, "the file was compacted");
        engine.metrics.compacted();
        engine.bus.publish([Event::Compacted { before, after }]);
        engine.moved.notify_waiters();
    }
    Ok(compacted)
}

/// Compacts the file between two commits because a caller asks for it, however large it is and whatever runs.
pub(in crate::runtime) fn compact_now(engine: &Arc<Engine>) -> Result<Option<Compacted>, Error> {
    let (done, answer) = oneshot::channel();
    let writer = engine.clone();
    engine.to_writer.between(move || {
        let compacted = writer.check_writable().and_then(|()| move_pages(&writer));
        if compacted.is_err() {
            // After an I/O error the writer finds that it cannot write either, and heals.
            writer.internally(|_: &mut Batch<'_>| Ok(()), |_, _| {});
        }
        let _ = done.send(compacted);
    })?;
    block_on(answer).map_err(|_| Error::Closed)?
}

fn lock(last_check: &Mutex<LastCheck>) -> MutexGuard<'_, LastCheck> {
    last_check.lock().unwrap_or_else(|e| e.into_inner())
}
