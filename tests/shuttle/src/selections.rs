//! Verbs for many jobs at once, beside enqueues, starts and completions, beside a job that becomes due, and beside each
//! other: each job has one outcome, and the answers of all callers agree with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use millpond::testing::ManualClock;
use millpond::{BulkProgress, Context, Error, Job, JobFilter, JobId, Millpond, Selection, State, Worker};
use millpond_testkit::SimDisk;
use shuttle::sync::Mutex;
use shuttle::thread::JoinHandle;

use crate::support::{Ran, beside, explore, is_sound, job, noting, noting_into, open, until_drained};

/// Shorter than the grace of a cancelled job.
const LATER: Duration = Duration::from_secs(10);

/// Enqueues jobs of a group, one without, and one that is due later.
fn enqueue_four(pond: &Millpond) -> Vec<JobId> {
    let jobs = [job(0).group("g"), job(1).group("g"), job(2), job(3).delay(LATER)];
    pond.enqueue_many("q", jobs).wait().unwrap().into_iter().map(|stored| stored.id).collect()
}

/// What has become of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Became {
    Completed,
    Cancelled,
    Gone,
}

/// What has become of each job: completed jobs are not kept.
fn became(pond: &Millpond, ids: &[JobId], ran: &[u8]) -> Vec<Became> {
    let of = |(n, id): (usize, &JobId)| {
        let times = ran.iter().filter(|&&ran| usize::from(ran) == n).count();
        match (pond.job(*id), times) {
            (Err(Error::NoSuchJob { .. }), 0) => Became::Gone,
            (Err(Error::NoSuchJob { .. }), 1) => Became::Completed,
            (Ok(job), 0) if job.state == State::Cancelled => Became::Cancelled,
            (found, _) => panic!("job {n} has run {times} times: {found:?}"),
        }
    };
    ids.iter().enumerate().map(of).collect()
}

fn count(became: &[Became], what: Became) -> u64 {
    became.iter().filter(|became| **became == what).count() as u64
}

/// A caller of a verb on all jobs of the queue.
fn caller(pond: &Millpond, verb: impl FnOnce(Selection) -> BulkProgress + Send + 'static) -> JoinHandle<BulkProgress> {
    beside(pond, |pond| verb(pond.select(&JobFilter::new().queue("q"))))
}

fn cancel(selection: Selection) -> BulkProgress {
    selection.cancel("all of them").wait().unwrap()
}

fn delete(selection: Selection) -> BulkProgress {
    selection.delete().wait().unwrap()
}

fn enqueue_and_become_due(pond: &Millpond, clock: &ManualClock) -> JoinHandle<JobId> {
    let clock = clock.clone();
    beside(pond, move |pond| {
        let id = pond.enqueue("q", job(4).group("g")).wait().unwrap().id;
        clock.advance(LATER);
        id
    })
}

/// What handlers have noted.
#[derive(Default)]
struct Notes {
    /// The job of each call that has begun, and whether it was told to stop from its start.
    called: Mutex<Vec<(u8, bool)>>,
    returned: Mutex<Vec<u8>>,
}

/// A worker whose handlers note that they were called and that they return.
fn noting_calls(pond: &Millpond) -> (Worker, Arc<Notes>) {
    let notes: Arc<Notes> = Arc::default();
    let log = notes.clone();
    let handler = move |job: Job<Bytes>, context: Context| {
        let log = log.clone();
        async move {
            log.called.lock().unwrap().push((job[0], context.is_cancelled()));
            shuttle::future::yield_now().await;
            log.returned.lock().unwrap().push(job[0]);
            Ok(())
        }
    };
    let worker = pond.worker("q").concurrency(2).no_timeout().handle_raw("work", handler).start().unwrap();
    (worker, notes)
}

#[test]
fn a_cancel_of_many_beside_enqueues_starts_and_ends_gives_each_job_one_outcome() {
    static MET: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    explore(|| {
        let clock = ManualClock::new();
        let pond = open(&SimDisk::new(), &clock);
        let mut ids = enqueue_four(&pond);
        let (_worker, notes) = noting_calls(&pond);
        let canceller = caller(&pond, cancel);
        let enqueuer = enqueue_and_become_due(&pond, &clock);
        let done = canceller.join().unwrap();
        let called_before = notes.called.lock().unwrap().len();
        ids.push(enqueuer.join().unwrap());
        until_drained(&pond);

        let (called, returned) = (notes.called.lock().unwrap().clone(), notes.returned.lock().unwrap().clone());
        let became = became(&pond, &ids, &returned);
        let (cancelled, completed) = (count(&became, Became::Cancelled), count(&became, Became::Completed));
        assert_eq!(cancelled + completed, 5, "none is lost: {became:?}");
        // One that runs counts as changed, too, and can complete nevertheless.
        assert!((cancelled..=done.matched).contains(&done.changed), "{done:?}: {became:?}");
        assert!(done.changed <= 5, "{done:?}");
        // The four jobs that were there from the start: a handler that is still called after the answer knows it.
        let knows = |&(n, was_told): &(u8, bool)| n == 4 || was_told;
        assert!(called[called_before..].iter().all(knows), "{called:?}, {called_before} before the answer: {done:?}");
        // The grace is not over.
        assert_eq!(called.len(), returned.len(), "a handler was dropped: {called:?} {returned:?}");
        MET[0].fetch_add(usize::from(cancelled < done.changed), Ordering::Relaxed);
        MET[1].fetch_add(usize::from(became[4] == Became::Cancelled), Ordering::Relaxed);
        is_sound(&pond);
    });
    assert!(MET[0].load(Ordering::Relaxed) > 0, "no cancel was ever requested of a job that completed");
    assert!(MET[1].load(Ordering::Relaxed) > 0, "the enqueue never came first");
}

#[test]
fn a_deletion_of_many_beside_enqueues_starts_and_ends_counts_what_has_not_run() {
    static MET: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    explore(|| {
        let clock = ManualClock::new();
        let pond = open(&SimDisk::new(), &clock);
        let mut ids = enqueue_four(&pond);
        let (_worker, ran) = noting(&pond, "q", 2);
        let deleter = caller(&pond, delete);
        let enqueuer = enqueue_and_become_due(&pond, &clock);
        let done = deleter.join().unwrap();
        ids.push(enqueuer.join().unwrap());
        until_drained(&pond);

        let became = became(&pond, &ids, &ran.so_far());
        assert_eq!(count(&became, Became::Gone), done.changed, "{done:?}: {became:?}");
        assert_eq!(count(&became, Became::Cancelled), 0, "{became:?}");
        assert!(done.changed <= done.matched, "{done:?}");
        MET[0].fetch_add(usize::from(done.changed < done.matched), Ordering::Relaxed);
        MET[1].fetch_add(usize::from(became[4] == Became::Gone), Ordering::Relaxed);
        is_sound(&pond);
    });
    assert!(MET[0].load(Ordering::Relaxed) > 0, "the verb never met a job that a handler had");
    assert!(MET[1].load(Ordering::Relaxed) > 0, "the enqueue never came first");
}

#[test]
fn a_cancel_and_a_deletion_of_many_beside_each_other_and_starts_share_the_jobs() {
    explore(|| {
        let clock = ManualClock::new();
        let pond = open(&SimDisk::new(), &clock);
        let ids = enqueue_four(&pond);
        let ran: Arc<Ran> = Arc::default();
        let callers = [caller(&pond, cancel), caller(&pond, delete)];
        let _worker = noting_into(&pond, "q", 2, &ran);
        let [cancelled, deleted] = callers.map(|caller| caller.join().unwrap());
        clock.advance(LATER);
        until_drained(&pond);

        let became = became(&pond, &ids, &ran.so_far());
        assert_eq!(count(&became, Became::Gone), deleted.changed, "{deleted:?}: {became:?}");
        // A cancelled job can be deleted afterwards.
        assert!(count(&became, Became::Cancelled) <= cancelled.changed, "{cancelled:?}: {became:?}");
        assert_ne!(became[3], Became::Completed, "both verbs have met a job that was not due");
        is_sound(&pond);
    });
}
