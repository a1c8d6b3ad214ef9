//! After an I/O error callers get an error at once, and the queue recovers by itself.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use millpond::testing::{ManualClock, Stepper, open_stepped};
use millpond::{Builder, Context, Error, Event, Job, JobFilter, Millpond, NewJob, Outcome, State};
use millpond_testkit::{Fault, SimDisk};
use redb::{ReadableTable, TableDefinition};
use tokio::runtime::Runtime;

use crate::support::{OnDisk, SECOND, Work, close, member, work};

const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");

/// A queue driven step by step on a disk that fails on demand.
pub(crate) struct Rig {
    pub disk: SimDisk,
    clock: ManualClock,
    runtime: Runtime,
    pub pond: Millpond,
    steps: Stepper,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(set: impl FnOnce(Builder) -> Builder) -> Self {
        Self::on(SimDisk::new(), ManualClock::new(), set)
    }

    /// Opens what the disk holds as if the process had died.
    fn reopened(self) -> Self {
        let Self { disk, clock, runtime, pond, steps } = self;
        drop((pond, steps, runtime));
        Self::on(disk, clock, |builder| builder)
    }

    fn on(disk: SimDisk, clock: ManualClock, set: impl FnOnce(Builder) -> Builder) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let builder = set(Millpond::builder().clock(clock.clone()).seed(0).runtime(runtime.handle().clone()));
        let again = disk.clone();
        let (pond, steps) = open_stepped(builder, move || Ok(again.clone())).unwrap();
        Self { disk, clock, runtime, pond, steps }
    }

    /// Lets everything happen that needs no time to pass.
    pub fn settle(&mut self) {
        for _ in 0..16 {
            self.steps.write();
            self.steps.dispatch();
            self.runtime.block_on(async {
                for _ in 0..16 {
                    tokio::task::yield_now().await;
                }
            });
        }
    }

    pub fn wait(&mut self, time: Duration) {
        self.clock.advance(time);
        self.settle();
    }

    /// The disk fails in a handler, and is repaired.
    pub fn fail_and_heal(&mut self) {
        self.settle();
        assert!(self.pond.degraded().is_some(), "the disk has failed");
        self.disk.repair();
        self.wait(5 * SECOND);
        self.wait(60 * SECOND);
    }

    /// Submits a call, and steps the engine until it is answered.
    pub fn call<T>(&mut self, commit: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut commit = pin!(commit);
        let mut task = Task::from_waker(Waker::noop());
        for _ in 0..16 {
            if let Poll::Ready(result) = commit.as_mut().poll(&mut task) {
                return result;
            }
            self.settle();
        }
        panic!("it was not answered");
    }

    /// Workers whose handlers record which job they got, and count it in a row with its completion.
    fn worker(&self, queue: &str) -> Arc<Mutex<Vec<u64>>> {
        let ran: Arc<Mutex<Vec<u64>>> = Arc::default();
        let log = ran.clone();
        let handler = move |job: Job<Work>, ctx: Context| {
            let log = log.clone();
            async move {
                let n = job.n;
                log.lock().unwrap().push(n);
                ctx.on_complete(move |tx| {
                    let mut rows = tx.open_table(ROWS)?;
                    let before = rows.get(n)?.map_or(0, |count| count.value());
                    rows.insert(n, before + 1)?;
                    Ok(())
                });
                Ok(())
            }
        };
        self.pond.worker(queue).handle(handler).start().unwrap();
        ran
    }

    fn rows(&self) -> Vec<(u64, u64)> {
        let read = self.pond.begin_read().unwrap();
        let Ok(table) = read.open_table(ROWS) else { return Vec::new() };
        table.iter().unwrap().map(|row| row.unwrap()).map(|(n, count)| (n.value(), count.value())).collect()
    }

    pub fn assert_sound(&mut self) {
        let verify = self.pond.verify();
        assert_eq!(self.call(verify).unwrap().problems, Vec::<String>::new());
    }
}

#[test]
fn a_full_disk_is_reported_at_once_and_the_queue_recovers_when_there_is_room() {
    let mut rig = Rig::new();
    let mut events = rig.pond.events();
    let before = rig.pond.enqueue("q", work(1));
    let before = rig.call(before).unwrap();
    assert!(matches!(events.try_next(), Some(Ok(Event::Enqueued { .. }))));

    rig.disk.fail(Fault::FULL);
    let refused = rig.pond.enqueue("q", work(2));
    assert!(matches!(rig.call(refused), Err(Error::StorageFull)), "nothing of it can be stored");
    assert!(matches!(events.try_next(), Some(Ok(Event::Degraded { .. }))));
    let refused = rig.pond.enqueue("q", work(3));
    assert!(matches!(rig.call(refused), Err(Error::Degraded { .. })));
    for _ in 0..20 {
        rig.wait(SECOND);
    }
    let refused = rig.pond.enqueue("q", work(4));
    assert!(matches!(rig.call(refused), Err(Error::Degraded { .. })), "the disk is still full");

    rig.disk.repair();
    rig.wait(5 * SECOND);
    assert_eq!(events.try_next(), Some(Ok(Event::Healed)));
    let after = rig.pond.enqueue("q", work(5));
    let after = rig.call(after).unwrap();
    assert_eq!((after.id.get(), rig.pond.job(before).unwrap().state), (before.id.get() + 1, State::Pending));

    let ran = rig.worker("q");
    rig.settle();
    assert_eq!(*ran.lock().unwrap(), [1, 5]);
    rig.assert_sound();
}

/// A disk that cannot be written can still be read.
#[test]
fn a_queue_can_be_read_while_its_disk_cannot_be_written() {
    for failure in [Fault::FULL, Fault::SYNC] {
        // Nothing is read from memory.
        let mut rig = Rig::with(|builder| builder.cache_bytes(0));
        let mut ids = Vec::new();
        for n in 0..50 {
            let job = rig.pond.enqueue("q", work(n));
            ids.push(rig.call(job).unwrap());
            let row = rig.pond.transaction(move |tx| Ok(tx.open_table(ROWS)?.insert(n, 1).map(drop)?));
            rig.call(row).unwrap();
        }
        rig.disk.fail(failure);
        let refused = rig.pond.enqueue("q", work(99));
        rig.call(refused).unwrap_err();
        for second in 0..30 {
            let rows = rig.rows().len();
            assert_eq!(rows, 50, "{failure:?}, {second} s later");
            for id in &ids {
                assert_eq!(rig.pond.job(*id).unwrap().state, State::Pending);
            }
            assert!(rig.pond.degraded().is_some());
            let refused = rig.pond.enqueue("q", work(99));
            assert!(matches!(rig.call(refused), Err(Error::Degraded { .. })));
            rig.wait(SECOND);
        }
        rig.disk.repair();
        rig.wait(5 * SECOND);
        assert_eq!(rig.pond.degraded(), None);
        let job = rig.pond.enqueue("q", work(100));
        rig.call(job).unwrap();
        rig.assert_sound();
    }
}

#[test]
fn no_job_starts_while_the_disk_cannot_be_written() {
    let mut rig = Rig::new();
    for n in 0..3 {
        let job = rig.pond.enqueue("q", work(n));
        rig.call(job).unwrap();
    }
    rig.disk.fail(Fault::FULL);
    let refused = rig.pond.enqueue("q", work(9));
    rig.call(refused).unwrap_err();
    let ran = rig.worker("q");
    rig.wait(SECOND);
    assert_eq!(ran.lock().unwrap().len(), 0);
    rig.disk.repair();
    rig.wait(5 * SECOND);
    assert_eq!(*ran.lock().unwrap(), [0, 1, 2]);
}

/// The end of a job is kept until it can be written; the writes of its handler are written once, whether or not the
/// commit that failed has become durable.
#[test]
fn an_end_whose_commit_failed_is_written_once() {
    for failure in [Fault::FULL, Fault::SYNC] {
        let mut rig = Rig::new();
        for n in 0..3 {
            let job = rig.pond.enqueue("q", if n == 0 { work(n) } else { member("g", n) });
            rig.call(job).unwrap();
        }
        let ran = rig.worker("q");
        rig.steps.dispatch();
        rig.runtime.block_on(tokio::task::yield_now());
        rig.disk.fail(failure);
        rig.settle();
        let started = ran.lock().unwrap().len();
        assert!(started >= 2, "{failure:?}: {started}");
        rig.wait(SECOND);
        rig.disk.repair();
        rig.wait(5 * SECOND);
        assert_eq!(*ran.lock().unwrap(), [0, 1, 2], "{failure:?}: each runs once");
        assert_eq!(rig.rows(), [(0, 1), (1, 1), (2, 1)], "{failure:?}: each is counted once");
        rig.assert_sound();
        assert_eq!(rig.pond.queue("q").unwrap().counts().pending, 0);
    }
}

#[test]
fn a_disk_that_fails_under_a_handlers_own_writes_costs_no_attempt() {
    // Without a cache every read of the closure is a read of the disk.
    let mut rig = Rig::with(|builder| builder.cache_bytes(0));
    let row = rig.pond.transaction(|tx| Ok(tx.open_table(ROWS)?.insert(7, 1).map(|_| ())?));
    rig.call(row).unwrap();
    let job = rig.pond.enqueue("q", work(1));
    rig.call(job).unwrap();
    let (disk, attempts) = (rig.disk.clone(), Arc::new(Mutex::new(Vec::new())));
    let seen = attempts.clone();
    let handler = move |job: Job<Work>, ctx: Context| {
        seen.lock().unwrap().push(job.attempt());
        let disk = Mutex::new(Some(disk.clone()));
        ctx.on_complete(move |tx| {
            if let Some(disk) = disk.lock().unwrap().take() {
                disk.fail(Fault::READ);
            }
            let mut rows = tx.open_table(ROWS)?;
            let before = rows.get(7)?.map_or(0, |count| count.value());
            rows.insert(7, before + 1)?;
            Ok(())
        });
        async { Ok(()) }
    };
    rig.pond.worker("q").handle(handler).start().unwrap();
    rig.fail_and_heal();
    assert_eq!((attempts.lock().unwrap().clone(), rig.rows()), (vec![1], vec![(7, 2)]));
    assert_eq!(rig.pond.metrics().failed_total, 0);
}

#[test]
fn a_call_with_an_unknown_outcome_is_written_as_a_whole_or_not_at_all() {
    for failure in [Fault::FULL, Fault::SYNC] {
        let mut rig = Rig::new();
        let first = rig.pond.enqueue("q", work(0));
        rig.call(first).unwrap();
        rig.disk.fail(failure);
        let jobs = rig.pond.transaction(|tx| {
            tx.open_table(ROWS)?.insert(7, 1)?;
            tx.enqueue("q", work(1))?;
            tx.enqueue("q", work(2).delay(SECOND))?;
            Ok(())
        });
        let error = rig.call(jobs).unwrap_err();
        match failure {
            // The commit has not reached the sync, so nothing of it can be stored.
            Fault::FULL => assert!(matches!(error, Error::StorageFull), "{error:?}"),
            _ => assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}"),
        }
        rig.disk.repair();
        rig.wait(5 * SECOND);
        let ran = rig.worker("q");
        rig.wait(5 * SECOND);
        let ran = ran.lock().unwrap().clone();
        match rig.rows().iter().any(|(row, _)| *row == 7) {
            true if failure == Fault::FULL => panic!("the error said that nothing is stored"),
            true => assert_eq!(ran, [0, 1, 2], "{failure:?}"),
            false => assert_eq!(ran, [0], "{failure:?}"),
        }
        rig.assert_sound();
    }
}

#[test]
fn a_wait_is_answered_though_the_commit_with_the_end_has_failed() {
    for failure in [Fault::FULL, Fault::SYNC] {
        let mut rig = Rig::new();
        let first = rig.pond.enqueue("q", work(1));
        let id = rig.call(first).unwrap();
        let mut wait = Box::pin(rig.pond.finished(id));
        for moment in ["before the step", "after the step"] {
            assert!(wait.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending(), "{moment}");
            rig.settle();
        }
        let disk = rig.disk.clone();
        let handler = move |_: Job<Work>| {
            disk.fail(failure);
            async { Outcome::done_json(&7) }
        };
        rig.pond.worker("q").handle(handler).start().unwrap();
        rig.fail_and_heal();
        let job = rig.call(wait).unwrap();
        assert_eq!((job.state, job.result_json::<u64>().unwrap()), (State::Completed, Some(7)), "{failure:?}");
    }
}

#[test]
fn the_queue_recovers_from_read_errors_too() {
    let mut rig = Rig::new();
    for n in 0..2_000 {
        let bulk = rig.pond.enqueue_many("q", (0..10).map(|m| NewJob::new(Work { n: n * 10 + m })));
        rig.call(bulk).unwrap();
    }
    rig.disk.fail(Fault::READ);
    let ran = rig.worker("q");
    rig.settle();
    rig.wait(SECOND);
    rig.disk.repair();
    for _ in 0..400 {
        rig.wait(5 * SECOND);
    }
    let mut ran = ran.lock().unwrap().clone();
    ran.sort_unstable();
    assert!(ran.into_iter().eq(0..20_000), "each runs once");
    rig.assert_sound();
}

#[test]
fn a_shutdown_of_a_degraded_queue_answers_every_caller() {
    let mut rig = Rig::new();
    let job = rig.pond.enqueue("q", work(1));
    rig.call(job).unwrap();
    rig.disk.fail(Fault::FULL);
    let refused = rig.pond.enqueue("q", work(2));
    rig.call(refused).unwrap_err();
    rig.steps.begin_stop();
    let late = rig.pond.enqueue("q", work(3));
    rig.steps.take_back();
    assert!(matches!(rig.call(late), Err(Error::Degraded { .. } | Error::Closed)));
    rig.settle();
    assert!(rig.steps.is_closed());
    let closed = rig.pond.enqueue("q", work(4));
    assert!(matches!(rig.call(closed), Err(Error::Degraded { .. } | Error::Closed)));
}

/// A start mark that was to be durable before its handler ran, and whose commit had an unknown outcome, does not
/// count as an attempt that the process did not survive.
#[test]
fn a_job_with_a_start_mark_that_never_started_has_no_crash_in_its_history() {
    let mut rig = Rig::new();
    let job = rig.pond.enqueue("q", work(1));
    let id = rig.call(job).unwrap();
    // The queue is not closed in order: the next starts are made durable first.
    let mut rig = rig.reopened();
    let worker = rig.pond.worker("q").handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    rig.steps.dispatch();
    rig.steps.dispatch();
    rig.disk.fail(Fault::SYNC);
    rig.steps.write();
    assert!(rig.pond.degraded().is_some());
    worker.stop();
    rig.disk.repair();
    rig.wait(SECOND);
    assert_eq!(rig.pond.degraded(), None);

    let rig = rig.reopened();
    let job = rig.pond.job(id).unwrap();
    assert_eq!((job.state, job.attempts, job.errors), (State::Pending, 0, Vec::new()));
}

/// The same steps give the same run: the bytes on the disk are the same at the end.
#[test]
fn stepped_runs_with_faults_are_repeatable() {
    let run = || {
        let mut rig = Rig::new();
        let ran = rig.worker("q");
        for n in 0..50 {
            let job =
                rig.pond.enqueue("q", if n % 3 == 0 { member("g", n) } else { work(n).delay(SECOND * (n as u32 % 4)) });
            rig.call(job).unwrap();
            if n % 7 == 0 {
                rig.wait(SECOND);
            }
        }
        rig.wait(5 * SECOND);
        (ran.lock().unwrap().clone(), rig.disk.image().to_bytes())
    };
    let (one, another) = (run(), run());
    assert_eq!(one.0.len(), 50);
    assert!(one == another);
}

/// A deleted file keeps nothing that is written to it: nothing is acknowledged any more, and existing rows can still
/// be read.
#[cfg(unix)]
#[tokio::test]
async fn a_deleted_file_is_noticed_by_the_next_commit_or_while_idle() {
    for idle in [false, true] {
        let disk = OnDisk::new();
        let pond = disk.open();
        let id = pond.enqueue("q", work(1)).await.unwrap();
        let mut events = pond.events();
        std::fs::remove_file(disk.path()).unwrap();
        if idle {
            disk.clock.advance(11 * SECOND);
        } else {
            let refused = pond.enqueue("q", work(2)).await;
            assert!(matches!(&refused, Err(Error::Io { path, .. }) if *path == disk.path()), "{refused:?}");
        }
        let Some(Ok(Event::Degraded { reason, .. })) = events.next().await else { panic!("idle: {idle}") };
        assert!(reason.contains("jobs.redb") && reason.contains("deleted"), "{reason}");
        assert!(matches!(pond.enqueue("q", work(3)).await, Err(Error::Degraded { .. })));
        assert_eq!(pond.job(id).unwrap().state, State::Pending, "it can be read");
        close(pond).await;
    }
}

/// The queue reopens only the file that it had opened, not another file at the same path.
#[cfg(unix)]
#[tokio::test]
async fn another_file_at_the_same_path_is_not_touched() {
    let (disk, other) = (OnDisk::new(), OnDisk::new());
    let theirs = other.open();
    theirs.enqueue("q", work(9)).await.unwrap();
    close(theirs).await;
    let bytes = std::fs::read(other.path()).unwrap();
    let pond = disk.open();
    pond.enqueue("q", work(1)).await.unwrap();
    std::fs::rename(other.path(), disk.path()).unwrap();
    assert!(matches!(pond.enqueue("q", work(2)).await, Err(Error::Io { .. })));
    for _ in 0..5 {
        disk.clock.advance(10 * SECOND);
        let refused = pond.enqueue("q", work(3)).await;
        assert!(matches!(&refused, Err(Error::Degraded { reason, .. }) if reason.contains("replaced")), "{refused:?}");
    }
    close(pond).await;
    assert!(std::fs::read(disk.path()).unwrap() == bytes, "nothing was written to it");
    let pond = disk.open();
    let page = pond.jobs(&JobFilter::new(), None, 10).unwrap();
    assert_eq!(page.jobs[0].payload.decode::<Work>().unwrap().n, 9);
}
#[test]
fn a_call_with_an_unknown_outcome_can_be_repeated_with_a_unique_key() {
    // A failed sync leaves the bytes that were written; a full disk does not.
    for failure in [Fault::SYNC, Fault::FULL] {
        let mut rig = Rig::new();
        let ran = rig.worker("q");
        let keyed = || work(1).unique_key("order-7");
        rig.disk.fail(failure);
        let first = rig.pond.enqueue("q", keyed());
        let first = rig.call(first);
        assert!(matches!(first, Err(Error::OutcomeUnknown { .. } | Error::StorageFull)), "{first:?}");
        rig.disk.repair();
        rig.wait(SECOND);
        let again = rig.pond.enqueue("q", keyed());
        let id = rig.call(again).unwrap();
        rig.settle();
        // The job has run by now, and a third call gets that as its answer.
        let third = rig.pond.enqueue("q", keyed());
        assert_eq!(rig.call(third).unwrap(), id.id);
        rig.settle();
        assert_eq!((ran.lock().unwrap().clone(), rig.rows()), (vec![1], vec![(1, 1)]), "{failure:?}");
        rig.assert_sound();
    }
}

/// The file may hold the commit that failed, and memory the one before: the two need not agree.
#[test]
fn a_check_of_the_file_waits_until_its_content_is_known() {
    let mut rig = Rig::new();
    let first = rig.pond.enqueue("q", work(0));
    rig.call(first).unwrap();
    rig.disk.fail(Fault::SYNC);
    let mut enqueue = pin!(rig.pond.enqueue("q", work(1)));
    assert!(enqueue.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
    for _ in 0..2 {
        // The first check is asked for before the disk has failed.
        let verify = rig.pond.verify();
        let verified = rig.call(verify);
        assert!(matches!(verified, Err(Error::Degraded { .. })), "{verified:?}");
    }
    let error = rig.call(enqueue).unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    rig.disk.repair();
    rig.wait(5 * SECOND);
    rig.assert_sound();
}

/// A panic on the writer's thread must leave no caller waiting.
#[tokio::test]
async fn after_a_panic_during_a_commit_every_later_call_is_refused() {
    let (disk, clock) = (SimDisk::new(), ManualClock::new());
    let again = disk.clone();
    let builder = Millpond::builder().clock(clock.clone()).seed(0);
    let pond = builder.open_backend_with(move || Ok(again.clone())).unwrap();
    let kept = pond.enqueue("q", work(1)).await.unwrap();
    let mut events = pond.events();
    disk.fail(Fault::PANIC);
    let unknown = pond.enqueue("q", work(2)).await;
    assert!(matches!(unknown, Err(Error::OutcomeUnknown { .. })), "{unknown:?}");
    disk.repair();
    let Some(Ok(Event::Degraded { reason, .. })) = events.next().await else { panic!("the panic is reported") };
    assert!(reason.contains("a damaged page"), "{reason}");
    for _ in 0..3 {
        clock.advance(10 * SECOND);
        assert!(matches!(pond.enqueue("q", work(3)).await, Err(Error::Degraded { .. })));
        assert!(matches!(pond.begin_write().map(drop), Err(Error::Degraded { .. })));
    }
    pond.testing().idle().await;
    close(pond).await;

    let again = disk.clone();
    let pond = Millpond::builder().clock(clock).seed(0).open_backend_with(move || Ok(again.clone())).unwrap();
    assert_eq!(pond.job(kept).unwrap().state, State::Pending);
    assert_eq!(pond.verify().await.unwrap().problems, Vec::<String>::new());
}

/// Each name means one queue or kind, whether or not the commit that failed has become durable, and whatever number a
/// worker got meanwhile.
#[test]
fn names_whose_commit_failed_keep_their_meaning_after_the_file_is_reopened() {
    for failure in [Fault::FULL, Fault::SYNC] {
        let mut rig = Rig::new();
        let enqueue = |rig: &mut Rig, queue: &str, kind: &str| {
            let job = NewJob::raw(kind.to_owned(), format!("{queue}/{kind}"));
            let enqueued = rig.pond.enqueue(queue, job);
            rig.call(enqueued)
        };
        enqueue(&mut rig, "first", "first-kind").unwrap();
        rig.disk.fail(failure);
        enqueue(&mut rig, "second", "second-kind").unwrap_err();
        let ignore = |_: Job<bytes::Bytes>| async { Ok(()) };
        let worker = rig.pond.worker("third").handle_raw("third-kind", ignore).start().unwrap();
        rig.disk.repair();
        rig.wait(5 * SECOND);
        for (queue, kind) in [("fourth", "fourth-kind"), ("second", "second-kind"), ("third", "other-kind")] {
            enqueue(&mut rig, queue, kind).unwrap();
        }
        let jobs = rig.pond.jobs(&JobFilter::new(), None, 100).unwrap().jobs;
        assert_eq!(jobs.len(), if failure == Fault::SYNC { 5 } else { 4 }, "{failure:?}");
        for job in jobs {
            assert_eq!(job.payload.bytes, format!("{}/{}", job.queue, job.kind), "{failure:?}");
        }
        worker.stop();
        rig.assert_sound();
    }
}
