//! Decides when: looks at the scheduler after every change and whenever it says that something will
//! happen by itself. On a thread of its own, so that handlers which block the async runtime do not
//! stop it.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::maintenance;
use crate::error::Error;
use crate::error::panics::catch;
use crate::job::{BucketKey, QueueId, Refill};
use crate::scheduler::{Chores, Reservation};
use crate::storage::{Batch, WindowPage};
use crate::sync::MustNotWait;
use crate::sync::atomic::Ordering;
use crate::writer::upkeep;

/// Longest sleep: a wall clock that was set is noticed within it.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// The dispatcher's thread.
pub(super) fn run(engine: &Arc<Engine>) {
    while !engine.stopping.load(Ordering::SeqCst) {
        let wait = catch(|| run_once(engine)).unwrap_or_else(|panic| {
            engine.give_up("the dispatcher", &panic);
            None
        });
        engine.moved.notify_waiters();
        match wait {
            Some(Sleep { at_most, is_exact: true }) => engine.alarm.sleep_exactly(at_most.min(SLEEP_MAX)),
            Some(Sleep { at_most, .. }) => engine.alarm.sleep(at_most.min(SLEEP_MAX)),
            None => engine.alarm.sleep(SLEEP_MAX),
        };
    }
    // A stop still needs timeouts to be kept until everything has ended.
    while engine.scheduler().running() > 0 && !engine.is_closed() {
        let wait = engine.executor.running.end_overdue(engine.now());
        engine.alarm.sleep(wait.unwrap_or(SLEEP_MAX).min(SLEEP_MAX));
    }
}

/// How long nothing happens by itself.
pub(super) struct Sleep {
    pub at_most: Duration,
    /// What happens then must happen exactly then.
    is_exact: bool,
}

impl Sleep {
    fn roughly(at_most: Duration) -> Self {
        Self { at_most, is_exact: false }
    }
}

/// One look at everything. Returns how long nothing will happen by itself.
pub(super) fn run_once(engine: &Arc<Engine>) -> Option<Sleep> {
    // Handlers may be started here, and let go of: that runs code of the application, and nothing else starts meanwhile.
    let _must_not_wait = MustNotWait::begin();
    if engine.unwritable().is_some() {
        // Nothing can be written: what starts now could not be acknowledged.
        return engine.executor.running.end_overdue(engine.now()).map(Sleep::roughly);
    }
    engine.pump();
    let now = engine.now();
    let chores = {
        let mut scheduler = engine.scheduler();
        // Under the lock: an attempt that ends meanwhile must not have its end written before its start.
        engine.mark_long_running(&mut scheduler, now);
        scheduler.chores(now)
    };
    let Chores { expired, refills, promote, reserve, wait, is_exact } = chores;
    for start in expired {
        engine.expire(start);
    }
    for refill in refills {
        read_page(engine, refill);
    }
    for queue in promote {
        ask_promotion(engine, queue);
    }
    if !reserve.is_empty() {
        ask_reservations(engine, reserve);
    }
    let overdue = engine.executor.running.end_overdue(now);
    let threads = engine.executor.blocking.retry();
    let upkeep = maintenance::run_once(engine, now);
    let others = [overdue, threads, Some(upkeep)].into_iter().flatten().min();
    match wait {
        Some(wait) if others.is_none_or(|others| wait < others) => Some(Sleep { at_most: wait, is_exact }),
        _ => others.map(Sleep::roughly),
    }
}

/// Fills a window from the table.
fn read_page(engine: &Arc<Engine>, refill: Refill) {
    match engine.store.reader().and_then(|reader| Ok(reader.page(refill)?)) {
        Ok(WindowPage { jobs, end, damaged }) => {
            let damaged = engine.not_flying(damaged);
            if damaged.is_empty() {
                engine.scheduler().refilled(refill, jobs, end);
                engine.wake_dispatcher();
            } else {
                // Read again once they are out of the way: what is behind them would be as good as lost.
                let reader = engine.clone();
                engine.set_aside(damaged, move || reader.scheduler().look_again_later(refill));
            }
        }
        Err(error) => {
            tracing::error!(%error, "could not read the next jobs");
            tracing::trace!("a page could not be read");
            // After an I/O error the writer finds that it cannot write either, and heals.
            let write = |_: &mut Batch<'_>| Ok(());
            engine.internally(write, move |engine, _| {
                engine.scheduler().look_again_later(refill);
                engine.wake_dispatcher();
            });
        }
    }
}

fn ask_promotion(engine: &Arc<Engine>, queue: QueueId) {
    let write = move |batch: &mut Batch<'_>| upkeep::promote(batch, queue);
    engine.internally_in_bulk(write, move |engine, result| {
        if result.is_err() {
            tracing::trace!("a promotion failed");
            engine.scheduler().look_again(queue);
        }
    });
}

fn ask_reservations(engine: &Arc<Engine>, reservations: Vec<Reservation>) {
    let refused: Vec<BucketKey> = reservations.iter().map(|reservation| reservation.key.clone()).collect();
    let looker = engine.clone();
    let write = move |batch: &mut Batch<'_>| {
        for Reservation { key, tokens } in &reservations {
            let state = looker.scheduler().bucket_to_store(key, looker.now());
            upkeep::reserve(batch, key, *tokens, state.as_ref())?;
        }
        Ok(())
    };
    engine.internally(write, move |engine, result: Result<(), Error>| {
        if result.is_err() {
            tracing::trace!("a reservation was refused");
            let mut scheduler = engine.scheduler();
            refused.iter().for_each(|key| scheduler.refuse_reservation(key));
            drop(scheduler);
            engine.wake_dispatcher();
        }
    });
}
