//! Compacts the file while the queue is idle.

use std::sync::Arc;
use std::time::Duration;

use super::every::Every;
use crate::error::Error;
use crate::events::Event;
use crate::runtime::engine::Engine;
use crate::storage::{Batch, Compacted};
use crate::time::Now;

/// How often it looks whether the queue is idle, and how long it must have been: compacting holds up
/// whoever comes meanwhile.
const EVERY: Duration = Duration::from_secs(60);

/// A smaller file is left as it is, in bytes: there is little to gain.
const FILE_BYTES_MIN: u64 = 4 << 20;

/// A larger file is left as it is, in bytes: what is in use of it, a quarter at most, is moved within about
/// ten seconds on a slow disk.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// At most one part in so many may be in use: what is moved is written twice.
const USED_PARTS: u64 = 4;

/// Longest wait after a look that found too much in use: each look walks through what is.
const LOOK_AGAIN_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// What a stop may compact for each second that it has left, in bytes of the file.
const STOP_BYTES_PER_SECOND: u64 = 32 << 20;

/// Makes the file small again when it is mostly empty and nobody needs it.
pub(in crate::runtime) struct Compactor {
    next: Every,
    /// Commits made when it last looked whether the queue is idle.
    commits: u64,
    /// Commits made when it last looked into the file: without another one it would find the same.
    looked_at: Option<u64>,
    /// How long to wait after the next look that is in vain.
    patience: Duration,
    not_before: Duration,
}

impl Default for Compactor {
    fn default() -> Self {
        Self { next: Every::default(), commits: 0, looked_at: None, patience: EVERY, not_before: Duration::ZERO }
    }
}

impl Compactor {
    pub fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        if let Some(wait) = self.next.wait(EVERY, now) {
            return wait;
        }
        let commits = engine.metrics.commits();
        let quiet = std::mem::replace(&mut self.commits, commits) == commits;
        if engine.config.compaction && quiet && self.looked_at != Some(commits) && now.mono >= self.not_before {
            // The writer looks again whether nobody needs the file: here it may have changed by now.
            let writer = engine.clone();
            let _ = engine.to_writer.between(move || compact_if_idle(&writer, commits));
        }
        EVERY
    }

    fn looked(&mut self, commits: u64, worthwhile: bool, now: Now) {
        self.looked_at = Some(commits);
        self.patience = if worthwhile { EVERY } else { (self.patience * 2).min(LOOK_AGAIN_AFTER_MAX) };
        self.not_before = now.mono.saturating_add(self.patience);
    }
}

/// Called by the writer between two commits.
fn compact_if_idle(engine: &Arc<Engine>, commits: u64) {
    let is_idle = engine.to_writer.is_quiet() && engine.scheduler().running() == 0 && engine.unwritable().is_none();
    if !is_idle || engine.metrics.commits() != commits || !is_worth_a_look(engine, FILE_BYTES_MAX) {
        return;
    }
    let compacted = compact(engine);
    let now = engine.now();
    match compacted {
        // Somebody reads: the next time.
        Ok(Look::Busy) => {}
        Ok(look) => engine.upkeep().compactor.looked(commits, matches!(look, Look::Done), now),
        Err(error) => {
            tracing::warn!(%error, "the file could not be compacted");
            engine.upkeep().compactor.looked(commits, false, now);
            // After an I/O error the writer finds that it cannot write either, and heals.
            engine.internally(|_: &mut Batch<'_>| Ok(()), |_, _| {});
        }
    }
}

/// The last thing before the file is closed, if the stop has time for it.
pub(in crate::runtime) fn compact_before_close(engine: &Arc<Engine>) {
    let bytes_max = engine.left_to_stop().as_secs().saturating_mul(STOP_BYTES_PER_SECOND).min(FILE_BYTES_MAX);
    if engine.config.compaction
        && is_worth_a_look(engine, bytes_max)
        && let Err(error) = compact(engine)
    {
        tracing::warn!(%error, "the file could not be compacted before it was closed");
    }
}

/// As far as can be said without walking through the file: jobs that wait take up little of it.
fn is_worth_a_look(engine: &Engine, bytes_max: u64) -> bool {
    let Some(file) = engine.store.file_bytes() else { return false };
    if !(FILE_BYTES_MIN..=bytes_max).contains(&file) {
        return false;
    }
    let catalog = &engine.store.catalog;
    let waiting: u64 = catalog.stored_queues().into_iter().map(|queue| catalog.row(queue).tally.bytes).sum();
    waiting <= file / USED_PARTS
}

enum Look {
    Done,
    NotWorthwhile,
    Busy,
}

fn compact(engine: &Arc<Engine>) -> Result<Look, Error> {
    let file = engine.store.file_bytes().unwrap_or(0);
    if engine.store.used_bytes()? > file / USED_PARTS {
        return Ok(Look::NotWorthwhile);
    }
    let Some(Compacted { before, after }) = engine.store.compact()? else { return Ok(Look::Busy) };
    tracing::info!(before, after, "the file was compacted");
    engine.metrics.compacted();
    engine.bus.publish([Event::Compacted { before, after }]);
    engine.moved.notify_waiters();
    Ok(Look::Done)
}
