//! Opening: recover first, dispatch after.

use std::sync::Arc;

use super::commit_turn;
use super::dispatcher;
use super::engine::{Config, Engine, MARK_AFTER, Parts};
use super::log;
use super::prepare::Preparer;
use super::shutdown::stop_now;
use super::writer_loop::WriterLoop;
use crate::error::Error;
use crate::events::{Event, EventBus};
use crate::executor::Executor;
use crate::job::Retention;
use crate::metrics::Metrics;
use crate::scheduler::{Scheduler, WindowLimits};
use crate::storage::{
    Batch, BatchLimits, Counters, Fault, NotedExpiries, Recovered, Sealed, Store, put_right, recover, verify,
};
use crate::sync::{Tasks, thread};
use crate::time::{Clock, TimeReader, TimeSource};
use crate::writer::{Occupied, Writer, writer_channel};

/// Ready jobs held in memory per queue, for those with and those without a group each.
pub(crate) const WINDOW_JOBS_MAX: usize = 4_096;

/// And their bytes: whichever is reached first.
pub(crate) const WINDOW_BYTES_MAX: usize = 2 << 20;

/// What an engine is opened with.
pub(crate) struct Setup {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub runtime: tokio::runtime::Handle,
    pub bus: EventBus,
    pub config: Config,
    pub running_max: usize,
    pub blocking_threads: usize,
    pub payload_bytes_max: usize,
    pub verify_payloads: bool,
    pub window_jobs_max: usize,
    pub window_bytes_max: usize,
    pub batch_limits: BatchLimits,
    /// Of queues that have none of their own.
    pub retention: Option<Retention>,
    /// If it was given one: then all that is random in it can be had again.
    pub seed: Option<u64>,
}

/// Recovers what a crash left, then starts the threads. Nobody waits for their ends: they stop by themselves once the queue
/// is told to, and whoever waits for that waits for the file to be closed.
pub(crate) fn open(setup: Setup) -> Result<Arc<Engine>, Error> {
    let (engine, writer) = assemble(setup)?;
    let wakeup = writer.wakeup();
    engine.commit_turn.put(writer);
    let (for_writer, for_dispatcher) = (engine.clone(), engine.clone());
    let writer =
        thread::Builder::new().name("millpond-writer".into()).spawn(move || commit_turn::run(&for_writer, &wakeup));
    let dispatcher =
        thread::Builder::new().name("millpond-dispatcher".into()).spawn(move || dispatcher::run(&for_dispatcher));
    let has_writer = writer.is_ok();
    match writer.and(dispatcher) {
        Ok(_) => {
            log::opened(&engine);
            Ok(engine)
        }
        Err(source) => {
            stop_now(&engine);
            if !has_writer {
                engine.commit_turn.close();
            }
            Err(Error::no_thread(source))
        }
    }
}

/// Recovers what a crash left. Nothing happens yet: the writer's loop and the dispatcher's turns are
/// for whoever drives them.
pub(super) fn assemble(setup: Setup) -> Result<(Arc<Engine>, WriterLoop), Error> {
    let Setup { store, clock, runtime, bus, config, running_max, .. } = setup;
    let Setup { blocking_threads, payload_bytes_max, verify_payloads, window_jobs_max, seed, .. } = setup;
    let Setup { window_bytes_max, batch_limits, retention, .. } = setup;
    let store = Arc::new(store);
    let counters = store.load()?;
    if let Some(retention) = retention {
        store.catalog.set_default_retention(retention);
    }
    let time = Arc::new(TimeSource::new(clock.clone(), counters.time));
    let (counters, mut events, mut set_aside) = match config.verify_on_open {
        true => verify_first(&store, counters, &time)?,
        false => (counters, Vec::new(), 0),
    };
    let (recovery, recovered) = recover_and_commit(&store, counters, &time)?;
    let counters = recovery.counters;
    events.extend(recovery.events);
    set_aside += recovery.set_aside;

    let limits = WindowLimits { jobs_max: window_jobs_max, bytes_max: window_bytes_max, mark_after: MARK_AFTER };
    let mut scheduler = Scheduler::new(running_max, limits);
    scheduler.set_threads_max(blocking_threads);
    for queue in store.catalog.stored_queues() {
        scheduler.restore(queue, store.catalog.row(queue).paused);
    }
    let read = time.now();
    for (key, state) in store.reader()?.buckets()? {
        scheduler.restore_bucket(key, state, recovered.crashed, read);
    }
    // As many as could have been running: the next ones to start may be those that were.
    let next_expiry = store.reader()?.next_expiry()?;
    let careful = if recovered.crashed { running_max } else { 0 };
    scheduler.restore_crashed(recovered.trial, careful);

    let prepare = Arc::new(Preparer { store: store.clone(), time: time.clone(), payload_bytes_max, verify_payloads });
    let (to_writer, receiver) = writer_channel();
    let (metrics, occupied) = (Arc::<Metrics>::default(), Occupied::default());
    let writer = Writer::new(store.clone(), prepare.clone(), batch_limits, counters, metrics.clone(), occupied.clone());
    let executor =
        Executor::new(Tasks::on(runtime), blocking_threads, recovered.opening, TimeReader::new(clock.clone()));
    let parts = Parts { store, time, prepare, to_writer, bus, metrics, occupied, executor, scheduler, config, seed };
    let engine = Arc::new(Engine::new(parts));
    engine.expiries.learn(NotedExpiries { next: next_expiry, of_all: true });
    log::recovered(&events);
    engine.bus.publish(events);
    engine.metrics.quarantined(set_aside);
    let weak = Arc::downgrade(&engine);
    clock.on_move(Arc::new(move || {
        if let Some(engine) = weak.upgrade() {
            engine.wake_dispatcher();
        }
    }));

    let writer = WriterLoop::new(engine.clone(), writer, receiver);
    Ok((engine, writer))
}

/// Holds everything against everything else. What can be put right is; the rest is an error.
fn verify_first(store: &Store, counters: Counters, time: &TimeSource) -> Result<(Counters, Vec<Event>, u64), Error> {
    if verify(&store.reader()?)?.is_ok() {
        return Ok((counters, Vec::new(), 0));
    }
    let reader = store.reader()?;
    let (sealed, ()) = commit_alone(store, counters, time, |batch| put_right(batch, &reader))?;
    let problems = verify(&store.reader()?)?.problems;
    match problems.is_empty() {
        true => Ok((sealed.counters, sealed.events, sealed.set_aside)),
        false => Err(Error::Inconsistent { problems }),
    }
}

fn recover_and_commit(store: &Store, counters: Counters, time: &TimeSource) -> Result<(Sealed, Recovered), Error> {
    let (sealed, recovered) = commit_alone(store, counters, time, recover)?;
    if recovered.crashed {
        let (orphans, dead) = (recovered.trial.suspects.len(), recovered.dead);
        tracing::warn!(orphans, dead, "the queue was not closed in order; its running jobs run again");
    }
    Ok((sealed, recovered))
}

/// A commit before there is a writer.
fn commit_alone<T>(
    store: &Store,
    counters: Counters,
    time: &TimeSource,
    write: impl FnOnce(&mut Batch<'_>) -> Result<T, Fault>,
) -> Result<(Sealed, T), Error> {
    let txn = store.begin_write()?;
    let marked = store.reader()?.marked()?;
    let mut batch = Batch::new(&txn, &store.catalog, counters, &marked, time.now(), true);
    let done = write(&mut batch)?;
    let mut sealed = batch.seal()?;
    store.commit(txn)?;
    store.catalog.committed(std::mem::take(&mut sealed.rows), &sealed.kinds);
    Ok((sealed, done))
}
