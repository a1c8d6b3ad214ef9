//! Decides when: looks at the scheduler after every change and whenever it says that something will
//! happen by itself. On a thread of its own, so that handlers which block the async runtime do not
//! stop it.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::maintenance;
use crate::error::Error;
use crate::error::panics::catch;
use crate::job::{QueueId, Refill};
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
        let wait = catch(|| turn(engine)).unwrap_or_else(|panic| {
            engine.give_up("the dispatcher", &panic);
            None
        });
        engine.moved.notify_waiters();
        engine.alarm.sleep(wait.unwrap_or(SLEEP_MAX).min(SLEEP_MAX));
    }
    // A stop still needs timeouts to be kept until everything has ended.
    while engine.scheduler().running() > 0 && !engine.is_closed() {
        let wait = engine.executor.runs.end_overdue(engine.now());
        engine.alarm.sleep(wait.unwrap_or(SLEEP_MAX).min(SLEEP_MAX));
    }
}

/// One look at everything. Returns how long nothing will happen by itself.
pub(super) fn turn(engine: &Arc<Engine>) -> Option<Duration> {
    // Handlers may be started here, and let go of: that runs code of the application, and nothing else starts meanwhile.
    let _must_not_wait = MustNotWait::begin();
    if engine.unwritable().is_some() {
        // Nothing can be written: what starts now could not be acknowledged.
        return engine.executor.runs.end_overdue(engine.now());
    }
    engine.pump();
    let now = engine.now();
    let chores = {
        let mut scheduler = engine.scheduler();
        // Under the lock: an attempt that ends meanwhile must not have its end written before its start.
        engine.mark_long_running(&mut scheduler, now);
        scheduler.chores(now)
    };
    let Chores { expired, refills, promote, reserve, wait } = chores;
    for start in expired {
        engine.expire(start);
    }
    for refill in refills {
        read_page(engine, refill);
    }
    for queue in promote {
        ask_promotion(engine, queue);
    }
    for reservation in reserve {
        ask_reservation(engine, reservation);
    }
    let overdue = engine.executor.runs.end_overdue(now);
    let threads = engine.executor.blocking.retry();
    let upkeep = maintenance::turn(engine, now);
    [wait, overdue, threads, Some(upkeep)].into_iter().flatten().min()
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

fn ask_reservation(engine: &Arc<Engine>, reservation: Reservation) {
    let Reservation { key, tokens, state } = reservation;
    let refused = key.clone();
    let write = move |batch: &mut Batch<'_>| upkeep::reserve(batch, &key, tokens, &state);
    engine.internally(write, move |engine, result: Result<(), Error>| {
        if result.is_err() {
            tracing::trace!("a reservation was refused");
            engine.scheduler().refuse_reservation(&refused);
            engine.wake_dispatcher();
        }
    });
}
