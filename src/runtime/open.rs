//! Opens a queue: first recovers what a crash left, then starts the threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dispatcher;
use super::engine::{Config, Engine, MARK_AFTER, Parts};
use super::flows::FlowNumbers;
use super::log;
use super::maintenance::Chores;
use super::prepare::Preparer;
use super::shutdown::stop_now;
use super::waits::Waits;
use super::withdrawals::Withdrawals;
use super::writer_loop::WriterLoop;
use crate::alarms::Alarm;
use crate::error::Error;
use crate::events::{Event, EventBus};
use crate::executor::Executor;
use crate::job::{Coder, EnqueueHooks, JobId, Retention};
use crate::links::Registry;
use crate::metrics::Metrics;
use crate::scheduler::{Scheduler, WindowLimits, careful_starts};
use crate::storage::{
    Batch, BatchLimits, Counters, NotedExpiries, Recovered, Sealed, Store, put_right, recover, verify,
};
use crate::sync::{Tasks, thread};
use crate::time::{Clock, TimeReader, TimeSource};
use crate::transaction::Prepare;
use crate::writer::{DeadHook, Occupied, Writer, cause_of, log_failed_hook, writer_channel};

/// How often the application's hook may fail for jobs that are dead after a crash, each time with a recovery that is undone and
/// made again. After that the others are dead without it.
const HOOK_FAILURES_MAX: usize = 64;

/// What an engine is opened with.
pub(crate) struct Setup {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub runtime: tokio::runtime::Handle,
    pub bus: Arc<EventBus>,
    pub config: Config,
    pub running_max: usize,
    pub blocking_threads: usize,
    pub payload_bytes_max: usize,
    pub verify_payloads: bool,
    /// What payloads, results and error texts pass on their way into the file.
    pub coder: Coder,
    /// What new jobs pass before they are stored.
    pub enqueue_hooks: EnqueueHooks,
    /// The stream that keeps the events of commits.
    pub events_to: Option<Arc<str>>,
    pub window_jobs_max: usize,
    pub window_bytes_max: usize,
    pub batch_limits: BatchLimits,
    /// The retention of queues that have none of their own.
    pub retention: Option<Retention>,
    /// Called in the commit that makes a job dead.
    pub on_dead: Option<DeadHook>,
    /// The seed, if one was given: then every run makes the same random choices.
    pub seed: Option<u64>,
    pub alarms: Vec<Alarm>,
}

/// Recovers what a crash left, then starts the threads. The threads are not joined: they end by themselves after a stop, and a
/// caller that waits for the stop waits until the file is closed.
pub(crate) fn open(setup: Setup) -> Result<Arc<Engine>, Error> {
    let (engine, writer) = assemble(setup)?;
    let wakeup = writer.wakeup();
    engine.commit_turn.put(writer);
    let (for_writer, for_dispatcher) = (engine.clone(), engine.clone());
    let writer =
        thread::Builder::new().name("millpond-writer".into()).spawn(move || for_writer.commit_turn.run(&wakeup));
    let dispatcher =
        thread::Builder::new().name("millpond-dispatcher".into()).spawn(move || dispatcher::run(&for_dispatcher));
    let has_writer = writer.is_ok();
    match writer.and(dispatcher) {
        Ok(_) => {
            log::opened(&engine.store);
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

/// Recovers what a crash left, and makes the engine and the writer's loop. The caller runs the loops, on threads or by hand.
pub(super) fn assemble(setup: Setup) -> Result<(Arc<Engine>, WriterLoop), Error> {
    let Setup { store, clock, runtime, bus, config, running_max, .. } = setup;
    let Setup { blocking_threads, payload_bytes_max, verify_payloads, window_jobs_max, seed, .. } = setup;
    let Setup { window_bytes_max, batch_limits, retention, on_dead, coder, enqueue_hooks, events_to, alarms, .. } =
        setup;
    let store = Arc::new(store);
    let counters = store.load()?;
    let new_codec = coder.name_to_store(store.reader()?.payload_codec()?)?.map(str::to_owned);
    if let Some(retention) = retention {
        store.catalog.set_default_retention(retention);
    }
    let time = Arc::new(TimeSource::new(clock.clone(), counters.time));
    let (counters, mut events, mut quarantined_rows) = match config.verify_on_open {
        true => verify_first(&store, counters, &time)?,
        false => (counters, Vec::new(), 0),
    };
    let (withdrawals, waits) = (Withdrawals::default(), Arc::<Waits>::default());
    let prepare = Arc::new(Preparer {
        store: store.clone(),
        time: time.clone(),
        payload_bytes_max,
        verify_payloads,
        coder,
        hooks: enqueue_hooks,
        withdrawals,
        waits: waits.clone(),
        flow_numbers: FlowNumbers::of_opening(counters.next_position),
    });
    let (recovery, recovered) =
        recover_and_commit(&store, counters, &time, on_dead.as_ref(), &*prepare, new_codec.as_deref())?;
    let counters = recovery.counters;
    events.extend(recovery.events);
    quarantined_rows += recovery.quarantined_rows;

    let limits = WindowLimits { jobs_max: window_jobs_max, bytes_max: window_bytes_max, mark_after: MARK_AFTER };
    let mut scheduler = Scheduler::new(running_max, limits);
    scheduler.set_threads_max(blocking_threads);
    for (limit, (_, units)) in (0..).zip(&config.limits) {
        scheduler.set_limit(limit, *units);
    }
    let read = time.now();
    for queue in store.catalog.stored_queues() {
        let row = store.catalog.row(queue);
        scheduler.restore(queue, row.paused, row.steered, read);
    }
    scheduler.pause_all(store.reader()?.are_all_paused()?);
    for (key, state) in store.reader()?.buckets()? {
        scheduler.restore_bucket(key, state, recovered.crashed, read);
    }
    for (key, row) in store.reader()?.circuits()? {
        scheduler.restore_circuit(&key, row, read);
    }
    // After a crash this many jobs start carefully, because the ones that were running may be the next to start.
    let next_expiry = store.reader()?.next_expiry()?;
    let next_schedules = store.reader()?.next_schedules()?;
    let next_of_flows = store.reader()?.next_of_flows()?;
    let careful = if recovered.crashed { careful_starts(running_max) } else { 0 };
    scheduler.restore_crashed(recovered.trial, careful);

    let (to_writer, receiver) = writer_channel();
    let (metrics, occupied) = (Arc::<Metrics>::default(), Occupied::default());
    let reader = TimeReader::new(clock.clone());
    let writer = Writer::new(
        store.clone(),
        prepare.clone(),
        batch_limits,
        counters,
        metrics.clone(),
        occupied.clone(),
        reader.clone(),
    )
    .keep_events_in(events_to);
    let links = Registry::new(reader.clone(), bus.clone());
    let executor = Executor::new(Tasks::on(runtime), blocking_threads, recovered.opening, reader);
    let upkeep = Box::new(Chores::with(alarms));
    let parts = Parts {
        store,
        time,
        prepare: prepare.clone(),
        to_writer,
        bus,
        links,
        metrics,
        occupied,
        executor,
        scheduler,
        waits,
        upkeep,
        config,
        on_dead,
        seed,
    };
    let engine = Arc::new(Engine::new(parts));
    prepare.withdrawals.set_engine(&engine);
    engine.expiries.learn(NotedExpiries { next: next_expiry, of_all: true });
    engine.schedule_times.learn(next_schedules);
    engine.flow_times.learn(next_of_flows);
    log::recovered(&events);
    engine.bus.publish(events);
    engine.metrics.quarantined(quarantined_rows);
    let weak = Arc::downgrade(&engine);
    clock.on_move(Arc::new(move || {
        if let Some(engine) = weak.upgrade() {
            engine.wake_dispatcher();
        }
    }));

    let writer = WriterLoop::new(engine.clone(), writer, receiver);
    Ok((engine, writer))
}

/// Verifies the whole file, and repairs what can be repaired. The rest is an error.
fn verify_first(store: &Store, counters: Counters, time: &TimeSource) -> Result<(Counters, Vec<Event>, u64), Error> {
    if verify(&store.reader()?)?.is_ok() {
        return Ok((counters, Vec::new(), 0));
    }
    let reader = store.reader()?;
    let (sealed, ()) = commit_alone(store, counters, time, |batch| put_right(batch, &reader))?;
    let problems = verify(&store.reader()?)?.problems;
    match problems.is_empty() {
        true => Ok((sealed.counters, sealed.events, sealed.quarantined_rows)),
        false => Err(Error::Inconsistent { problems }),
    }
}

/// Recovers in one commit. The application's hook is called in it for each job that is dead now; if the hook fails,
/// everything is undone and done again without the hook for that job. The same commit stores the name of the payload codec if the
/// file has none, so that nothing is coded in a file that does not say so. A backup that was not opened before gets its incarnation in
/// it, before anything runs.
fn recover_and_commit(
    store: &Store,
    counters: Counters,
    time: &TimeSource,
    hook: Option<&DeadHook>,
    prepare: &dyn Prepare,
    new_codec: Option<&str>,
) -> Result<(Sealed, Recovered), Error> {
    // What the hook said of the jobs for which it has failed.
    let mut failed: BTreeMap<JobId, String> = BTreeMap::new();
    let mut new_incarnation = None;
    let (mut sealed, recovered) = loop {
        let mut failing = None;
        let tried = commit_alone(store, counters, time, |batch| {
            let recovered = recover(batch)?;
            new_incarnation = batch.opened_copy()?;
            if let Some(name) = new_codec {
                batch.set_payload_codec(name)?;
            }
            let hook = hook.filter(|_| failed.len() < HOOK_FAILURES_MAX);
            let dead = recovered.dead.iter().filter(|died| !failed.contains_key(&died.id));
            for (hook, died) in hook.into_iter().flat_map(|hook| dead.clone().map(move |died| (hook, died))) {
                failing = Some(died.id);
                hook.run(batch, prepare, died.id, died.queue, &died.record)?;
            }
            // What fails from here on is not the hook's.
            failing = None;
            Ok::<_, Error>(recovered)
        });
        match (tried, failing) {
            (Err(error), Some(id)) if !error.is_of_storage() => drop(failed.insert(id, cause_of(error))),
            (tried, _) => break tried?,
        }
    };
    if hook.is_some() && failed.len() == HOOK_FAILURES_MAX {
        let cause = format!("not called: it has failed for {HOOK_FAILURES_MAX} jobs of this recovery");
        for died in &recovered.dead {
            failed.entry(died.id).or_insert_with(|| cause.clone());
        }
    }
    failed.iter().for_each(|(id, cause)| log_failed_hook(*id, cause));
    sealed.events.extend(failed.into_iter().map(|(id, error)| Event::OnDeadFailed { id, error }));
    if let Some(identity) = new_incarnation {
        tracing::info!(%identity, "the file is a backup that was not opened before: it has a new incarnation");
    }
    if recovered.crashed {
        let (orphans, dead) = (recovered.trial.suspects.len(), recovered.dead.len());
        tracing::warn!(orphans, dead, "the queue was not closed in order; its running jobs run again");
    }
    Ok((sealed, recovered))
}

/// Makes a commit before there is a writer.
fn commit_alone<T, E: Into<Error>>(
    store: &Store,
    counters: Counters,
    time: &TimeSource,
    write: impl FnOnce(&mut Batch<'_>) -> Result<T, E>,
) -> Result<(Sealed, T), Error> {
    let txn = store.begin_write()?;
    let marked = store.reader()?.marked()?;
    let mut batch = Batch::new(&txn, &store.catalog, counters, &marked, time.now(), true);
    let done = write(&mut batch).map_err(Into::into);
    if let Err(forked) = store.check_process() {
        // A hook has forked, and this is the child: it must not touch the transaction any more.
        std::mem::forget(batch);
        std::mem::forget(txn);
        return Err(forked);
    }
    let done = done?;
    let mut sealed = batch.close()?;
    store.commit(txn)?;
    store.catalog.committed(std::mem::take(&mut sealed.rows), &sealed.kinds, &[]);
    Ok((sealed, done))
}
