//! Decides when jobs start: runs after every change, and whenever the scheduler has said that something becomes due.
//!
//! It runs on a thread of its own, so that handlers that block the async runtime do not stop it.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use crate::error::Error;
use crate::error::panics::catch;
use crate::job::{AgedRefill, BucketKey, QueueId, Refill};
use crate::scheduler::{Chores, Reservation, Scheduler};
use crate::storage::{Batch, WindowPage};
use crate::sync::MustNotWait;
use crate::writer::upkeep;

/// Longest sleep. A wall clock that was set is noticed within this time.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// The dispatcher's thread.
pub(super) fn run(engine: &Arc<Engine>) {
    while !engine.is_stopping() {
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
    // During a stop, running attempts still have their timeouts.
    while engine.scheduler().running() > 0 && !engine.is_closed() {
        let wait = engine.executor.running.end_overdue(engine.now());
        engine.alarm.sleep(wait.unwrap_or(SLEEP_MAX).min(SLEEP_MAX));
    }
}

/// How long nothing becomes due.
pub(super) struct Sleep {
    pub at_most: Duration,
    /// What becomes due then must not be late.
    is_exact: bool,
}

impl Sleep {
    fn roughly(at_most: Duration) -> Self {
        Self { at_most, is_exact: false }
    }
}

/// Starts what may start, and does everything else that is due. Returns how long nothing becomes due.
pub(super) fn run_once(engine: &Arc<Engine>) -> Option<Sleep> {
    // This may call and drop handlers, which is code of the application. Nothing else starts meanwhile, so that code must not
    // wait for the queue.
    let _must_not_wait = MustNotWait::begin();
    if engine.unwritable().is_some() {
        // Nothing can be written, so the end of an attempt that started now could not be written either.
        let now = engine.now();
        let watched = engine.upkeep().watch(engine, now);
        let watched = (watched < Duration::MAX).then_some(watched);
        let overdue = engine.executor.running.end_overdue(now);
        return [overdue, watched].into_iter().flatten().min().map(Sleep::roughly);
    }
    engine.pump();
    let now = engine.now();
    let chores = {
        let mut scheduler = engine.scheduler();
        // Under the lock, so that the end of an attempt is not written before its start.
        engine.mark_long_running(&mut scheduler, now);
        scheduler.chores(now)
    };
    let Chores { expired, refills, aged, entries, held_up, promote, reserve, forget_circuits, wait, is_exact } = chores;
    for start in expired {
        engine.expire(start);
    }
    // Before the windows: once the pages of these are read, any thread can start their jobs.
    for refill in aged {
        read_aged_page(engine, &refill);
    }
    for refill in refills {
        read_page(engine, refill);
    }
    for refill in entries {
        engine.read_entries(refill);
    }
    for (queue, entries) in held_up {
        engine.make_jobs_of(queue, entries);
    }
    for queue in promote {
        ask_promotion(engine, queue);
    }
    if !reserve.is_empty() {
        ask_reservations(engine, reserve);
    }
    if !forget_circuits.is_empty() {
        engine.forget_circuits(forget_circuits);
    }
    let overdue = engine.executor.running.end_overdue(now);
    let batches = engine.close_due_batches(now);
    let threads = engine.executor.blocking.retry();
    let upkeep = engine.upkeep().run_once(engine, now);
    let others = [overdue, batches, threads, Some(upkeep)].into_iter().flatten().min();
    match wait {
        Some(wait) if others.is_none_or(|others| wait < others) => Some(Sleep { at_most: wait, is_exact }),
        _ => others.map(Sleep::roughly),
    }
}

/// Reads a page of ready jobs from the file into the queue's window.
fn read_page(engine: &Arc<Engine>, refill: Refill) {
    match engine.store.reader().and_then(|reader| Ok(reader.page(refill)?)) {
        Ok(WindowPage { jobs, end, damaged }) => {
            let damaged = engine.without_handed_out(damaged);
            engine.metrics.refilled();
            if damaged.is_empty() {
                engine.scheduler().refilled(refill, jobs, end);
                engine.wake_dispatcher();
            } else {
                // Read the page again once they are in the quarantine: until then no job behind them can be read.
                let reader = engine.clone();
                engine.quarantine(damaged, move || reader.scheduler().request_again(refill));
            }
        }
        Err(error) => page_failed(engine, &error, move |scheduler| scheduler.request_again(refill)),
    }
}

/// Reads a page of jobs that have waited for long.
fn read_aged_page(engine: &Arc<Engine>, refill: &AgedRefill) {
    let of = (refill.queue, refill.worker);
    // The time is read after the snapshot is made, so that all jobs that are in it were there at that time.
    match engine.store.reader().and_then(|reader| Ok(reader.aged_page(refill, engine.now())?)) {
        Ok(page) => {
            engine.scheduler().aged_read(of, page);
            engine.wake_dispatcher();
        }
        Err(error) => page_failed(engine, &error, move |scheduler| scheduler.request_aged_again(of)),
    }
}

/// Requests a page again after it could not be read.
fn page_failed(engine: &Arc<Engine>, error: &Error, request_again: impl FnOnce(&mut Scheduler) + Send + 'static) {
    tracing::error!(%error, "could not read the next jobs");
    tracing::trace!("a page could not be read");
    // After an I/O error the writer cannot write either: an empty step makes it notice, and open the file again.
    let write = |_: &mut Batch<'_>| Ok(());
    engine.internally(write, move |engine, _| {
        request_again(&mut engine.scheduler());
        engine.wake_dispatcher();
    });
}

fn ask_promotion(engine: &Arc<Engine>, queue: QueueId) {
    let write = move |batch: &mut Batch<'_>| upkeep::promote(batch, queue);
    engine.internally_in_bulk(write, move |engine, result| {
        if result.is_err() {
            tracing::trace!("a promotion failed");
            engine.scheduler().read_again(queue);
        }
    });
}

fn ask_reservations(engine: &Arc<Engine>, reservations: Vec<Reservation>) {
    let refused: Vec<BucketKey> = reservations.iter().map(|reservation| reservation.key.clone()).collect();
    let reader = engine.clone();
    let write = move |batch: &mut Batch<'_>| {
        for Reservation { key, tokens } in &reservations {
            let state = reader.scheduler().bucket_to_store(key, reader.now());
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
