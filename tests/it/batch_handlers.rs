//! A batch handler gets many jobs with one call. Everything that holds for a single job holds for each of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millpond::testing::ManualClock;
use millpond::{
    Batch, Builder, CancelOutcome, Capacity, Clock, Data, Enqueued, Error, FailureKind, Handled, Job, Jobs, Keep, Kind,
    Millpond, NewJob, Outcome, QueueSettings, Rate, Retention, Retry, State, Timestamp, Verdicts, WhenFull,
    WorkerBuilder,
};
use redb::backends::InMemoryBackend;
use redb::{ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::support::{
    HOUR, Keeper, Log, OnDisk, Packed, SECOND, Work, assert_sound, close, drained, gate, in_time, member, settled,
    starts_written, state, work,
};

const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");
const WAIT: Duration = Duration::from_millis(50);

/// Nothing here takes longer, unless it waits for something that never happens.
const LIMIT: Duration = Duration::from_secs(30);

/// A queue in memory that keeps completed jobs, so that their states can be read.
fn memory() -> (ManualClock, Millpond) {
    memory_with(|builder| builder)
}

fn memory_with(set: impl FnOnce(Builder) -> Builder) -> (ManualClock, Millpond) {
    crate::support::memory_with(|builder| set(builder.retention(keep_all())))
}

fn keep_all() -> Retention {
    Retention::default().completed(Keep::FOREVER)
}

fn open(disk: &OnDisk) -> Millpond {
    disk.builder().retention(keep_all()).open(disk.path()).unwrap()
}

/// Copies the file as a crash at this moment would leave it, and opens the copy.
fn crashed(disk: &OnDisk) -> Millpond {
    let copy = disk.dir.path().join("crashed.redb");
    std::fs::copy(disk.path(), &copy).unwrap();
    disk.builder().retention(keep_all()).open(copy).unwrap()
}

fn numbers(jobs: &Jobs<Work>) -> Vec<u64> {
    jobs.iter().map(|job| job.n).collect()
}

/// A worker that notes the numbers of the jobs of each of its calls, and completes them.
fn recording(pond: &Millpond, batch: Batch) -> (WorkerBuilder, Log<Vec<u64>>) {
    let log = Log::new();
    let seen = log.clone();
    let handler = move |jobs: Jobs<Work>| {
        seen.push(numbers(&jobs));
        async { Ok(()) }
    };
    (pond.worker("q").handle_batch(batch, handler), log)
}

/// A worker whose calls note their jobs, wait at a gate with the number of their first job, and then complete all jobs.
fn at_a_gate(pond: &Millpond, batch: Batch) -> (WorkerBuilder, Log<Vec<u64>>, Keeper) {
    let (gate, keeper) = gate();
    let log = Log::new();
    let seen = log.clone();
    let handler = move |jobs: Jobs<Work>| {
        let (gate, seen) = (gate.clone(), seen.clone());
        async move {
            seen.push(numbers(&jobs));
            gate.pass(jobs[0].n).await;
            Ok(())
        }
    };
    (pond.worker("q").handle_batch(batch, handler), log, keeper)
}

/// A worker whose handler returns `answer`, called for each job.
fn answering<O: millpond::IntoOutcome + Send + 'static>(
    pond: &Millpond,
    jobs: usize,
    answer: impl Fn(&Job<Work>) -> O + Send + Sync + 'static,
) -> WorkerBuilder {
    pond.worker("q").handle_batch(Batch::up_to(jobs), move |jobs: Jobs<Work>| {
        let outcomes: Vec<O> = jobs.iter().map(&answer).collect();
        async { Ok(outcomes) }
    })
}

/// Lets everything happen that can happen without the clock.
async fn calm(pond: &Millpond) {
    for _ in 0..3 {
        settled(pond).await;
        tokio::task::yield_now().await;
    }
}

async fn all_finished(pond: &Millpond, ids: &[Enqueued]) {
    for id in ids {
        // A job that never ends fails the test here, with its name, instead of holding up the whole run.
        let ended = tokio::time::timeout(LIMIT, pond.finished(*id)).await;
        ended.unwrap_or_else(|_| panic!("job {} does not end", id.id)).unwrap();
    }
}

fn states(pond: &Millpond, ids: &[Enqueued]) -> Vec<State> {
    ids.iter().map(|id| state(pond, *id)).collect()
}

// --- when a batch is handled ---------------------------------------------------------------------

#[tokio::test]
async fn a_full_batch_is_handled_at_once_and_the_rest_after_the_wait_of_its_first_job() {
    let (clock, pond) = memory();
    let (worker, calls) = recording(&pond, Batch::up_to(4).wait(WAIT));
    worker.concurrency(12).start().unwrap();
    let ids = pond.enqueue_many("q", (0..9).map(work)).await.unwrap();
    all_finished(&pond, &ids[..8]).await;
    assert_eq!(calls.all(), [[0, 1, 2, 3], [4, 5, 6, 7]]);
    clock.advance(WAIT / 2);
    let late = pond.enqueue("q", work(9)).await.unwrap();
    calm(&pond).await;
    clock.advance(WAIT / 2 - Duration::from_nanos(1));
    calm(&pond).await;
    assert_eq!((calls.len(), state(&pond, late)), (2, State::Running));
    clock.advance(Duration::from_nanos(1));
    all_finished(&pond, &[ids[8], late]).await;
    assert_eq!(calls.all()[2], [8, 9]);
    assert_sound(&pond).await;
}

/// A clock that can halt the dispatcher's thread whenever that reads it.
#[derive(Clone, Default)]
struct HaltingClock {
    clock: ManualClock,
    dispatcher: Arc<(Mutex<Halt>, Condvar)>,
}

#[derive(Default)]
struct Halt {
    halts: bool,
    is_halted: bool,
    /// How many readings it may make.
    readings: usize,
}

impl Clock for HaltingClock {
    fn wall(&self) -> Timestamp {
        if std::thread::current().name() == Some("millpond-dispatcher") {
            let (halt, changed) = &*self.dispatcher;
            let mut halt = halt.lock().unwrap();
            halt.is_halted = true;
            changed.notify_all();
            halt = changed.wait_while(halt, |halt| halt.halts && halt.readings == 0).unwrap();
            halt.is_halted = false;
            halt.readings = halt.readings.saturating_sub(1);
        }
        self.clock.wall()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn on_move(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.clock.on_move(wake);
    }
}

impl HaltingClock {
    fn halts(&self, halts: bool) {
        self.dispatcher.0.lock().unwrap().halts = halts;
        self.dispatcher.1.notify_all();
    }

    /// Lets the dispatcher make one reading after another, until it is halted and this is true.
    fn halted_when(&self, is_there: impl Fn() -> bool) {
        let (halt, changed) = &*self.dispatcher;
        loop {
            let waits = |halt: &mut Halt| !halt.is_halted || halt.readings > 0;
            let mut halt = changed.wait_while(halt.lock().unwrap(), waits).unwrap();
            if is_there() {
                return;
            }
            halt.readings = 1;
            changed.notify_all();
        }
    }
}

/// Otherwise the wait of a batch could begin after a test has moved the clock, and never end.
#[tokio::test]
async fn a_queue_is_settled_when_the_jobs_that_were_handed_out_have_joined_their_batches() {
    let clock = HaltingClock::default();
    let builder = Millpond::builder().clock(clock.clone()).retention(keep_all());
    let pond = builder.open_backend(InMemoryBackend::new()).unwrap();
    let (worker, calls) = recording(&pond, Batch::up_to(4).wait(WAIT));
    worker.start().unwrap();
    settled(&pond).await;
    clock.halts(true);
    let ids = [pond.enqueue("q", work(1)).await.unwrap()];
    let queue = pond.queue("q").unwrap();
    clock.halted_when(|| queue.counts().running == 1);
    // The dispatcher has handed the job out, and has not come to its batch.
    let is_settled = tokio::time::timeout(WAIT, settled(&pond)).await.is_ok();
    clock.halts(false);
    assert!(!is_settled);
    settled(&pond).await;
    clock.clock.advance(WAIT);
    all_finished(&pond, &ids).await;
    assert_eq!(calls.all(), [[1]]);
}

#[tokio::test]
async fn a_batch_that_has_all_slots_does_not_wait() {
    let (_, pond) = memory();
    let (worker, calls) = recording(&pond, Batch::up_to(4).wait(WAIT));
    let worker = worker.start().unwrap();
    worker.set_concurrency(3).unwrap();
    let ids = pond.enqueue_many("q", (0..6).map(work)).await.unwrap();
    all_finished(&pond, &ids).await;
    assert_eq!(calls.take(), [[0, 1, 2], [3, 4, 5]]);
    worker.set_concurrency(9).unwrap();
    pond.set_max_running(2).unwrap();
    let ids = pond.enqueue_many("q", (0..4).map(work)).await.unwrap();
    all_finished(&pond, &ids).await;
    assert_eq!(calls.all(), [[0, 1], [2, 3]]);
}

#[tokio::test]
async fn a_batch_without_a_wait_has_what_starts_together() {
    let (_, pond) = memory();
    let ids = pond.enqueue_many("q", (0..5).map(work)).await.unwrap();
    let (worker, calls) = recording(&pond, Batch::up_to(100).wait(Duration::ZERO));
    worker.start().unwrap();
    all_finished(&pond, &ids).await;
    assert_eq!(calls.all(), [[0, 1, 2, 3, 4]]);
}

#[tokio::test]
async fn several_batches_run_at_a_time_if_there_are_slots() {
    let (_, pond) = memory();
    let (worker, calls, mut keeper) = at_a_gate(&pond, Batch::up_to(2).wait(WAIT));
    worker.concurrency(4).start().unwrap();
    let ids = pond.enqueue_many("q", (0..6).map(work)).await.unwrap();
    assert_eq!(keeper.next(2).await, [0, 2]);
    calm(&pond).await;
    assert_eq!((keeper.waiting().len(), pond.queue("q").unwrap().counts().running), (0, 4));
    keeper.let_go(3);
    all_finished(&pond, &ids).await;
    assert_eq!(calls.len(), 3);
}

#[tokio::test]
async fn the_kinds_of_a_worker_have_batches_of_their_own_and_single_jobs_do_not_wait() {
    #[derive(Serialize, Deserialize)]
    struct Other;
    impl Kind for Other {
        const KIND: &'static str = "other";
    }
    let (clock, pond) = memory();
    let (worker, calls) = recording(&pond, Batch::up_to(3).wait(WAIT));
    let others = Log::new();
    let log = others.clone();
    worker
        .handle_batch(Batch::up_to(2).wait(WAIT * 2), move |jobs: Jobs<Other>| {
            log.push(jobs.len());
            async { Ok(()) }
        })
        .handle(|_: Job<Packed>| async { Ok(()) })
        .start()
        .unwrap();
    let single = NewJob::new(Packed { text: String::new() });
    let jobs = [work(1), NewJob::new(Other), work(2), single];
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    all_finished(&pond, &ids[3..]).await;
    calm(&pond).await;
    assert_eq!((calls.len(), others.len()), (0, 0));
    clock.advance(WAIT);
    all_finished(&pond, &ids[..1]).await;
    assert_eq!((calls.all(), others.len()), (vec![vec![1, 2]], 0));
    clock.advance(WAIT);
    all_finished(&pond, &ids[1..2]).await;
    assert_eq!(others.all(), [1]);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_more_jobs() {
    let (_, pond) = memory();
    let (worker, calls) = recording(&pond, Batch::up_to(4).wait(WAIT));
    worker.start().unwrap();
    pond.enqueue_many("q", (0..6).map(work)).await.unwrap();
    assert_eq!(drained(&pond).await.completed, 6);
    // Two batches may be called in any order.
    let mut calls = calls.all();
    calls.sort_unstable();
    assert_eq!(calls, [vec![0, 1, 2, 3], vec![4, 5]]);
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_by_name() {
    let (_, pond) = memory();
    let start = |batch: Batch, slots: Option<usize>| {
        let mut worker = recording(&pond, batch).0;
        if let Some(slots) = slots {
            worker = worker.concurrency(slots);
        }
        match worker.start() {
            Ok(worker) => {
                worker.stop();
                (String::new(), String::new())
            }
            Err(Error::InvalidConfig { field, reason, .. }) => (field.to_owned(), reason),
            Err(other) => panic!("{other:?}"),
        }
    };
    for batch in [Batch::up_to(0), Batch::up_to(Batch::JOBS_MAX + 1), Batch::up_to(1).wait(Batch::WAIT_MAX + WAIT)] {
        assert_eq!(start(batch, None).0, "handle_batch");
    }
    let (field, reason) = start(Batch::up_to(11), Some(10));
    assert_eq!(field, "concurrency");
    assert!(reason.contains("11 slots") && reason.contains("has 10"), "{reason}");
    let limited = recording(&pond, Batch::up_to(6)).0.concurrency_of("work", 5).start();
    assert!(matches!(limited, Err(Error::InvalidConfig { field: "concurrency_of", .. })), "{limited:?}");
    recording(&pond, Batch::up_to(5)).0.concurrency_of("work", 5).start().unwrap().stop();
    for (batch, slots) in [(Batch::up_to(11), Some(11)), (Batch::up_to(Batch::JOBS_MAX).wait(Batch::WAIT_MAX), None)] {
        assert_eq!(start(batch, slots).0, "");
    }
}

// --- what the handler gets, and what it returns -------------------------------------------------

#[tokio::test]
async fn each_job_has_its_own_facts_and_the_handler_gets_the_data() {
    struct Bank(&'static str);
    let (_, pond) = memory();
    let seen = Log::new();
    let log = seen.clone();
    let handler = move |jobs: Jobs<Work>, bank: Data<Bank>| {
        for job in &jobs {
            let ctx = job.context();
            assert_eq!((job.id(), job.run(), job.attempt()), (ctx.job_id(), ctx.run(), ctx.attempt()));
            let header = job.header("tenant").unwrap_or("nobody").to_owned();
            log.push((job.id(), job.attempt(), header, job.tags().to_vec(), bank.0));
        }
        assert_eq!(jobs.data::<Bank>().unwrap().0, bank.0);
        async move { if jobs[0].attempt() == 1 { Err("again".into()) } else { Ok(()) } }
    };
    let refused = pond.worker("q").handle_batch(Batch::up_to(2), handler.clone()).start();
    assert!(matches!(refused, Err(Error::MissingData { data, .. }) if data.contains("Bank")));
    let worker = pond.worker("q").retry(Retry::fixed(Duration::ZERO)).data(Bank("b"));
    worker.handle_batch(Batch::up_to(2), handler).start().unwrap();
    let jobs = [work(1).header("tenant", "acme"), work(2).tag("urgent")];
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    drained(&pond).await;
    let of = |attempt| {
        [
            (ids[0].id, attempt, "acme".to_owned(), vec![], "b"),
            (ids[1].id, attempt, "nobody".into(), vec!["urgent".to_owned()], "b"),
        ]
    };
    assert_eq!(seen.all(), [of(1), of(2)].concat());
}

#[tokio::test]
async fn each_job_has_its_own_outcome() {
    let (clock, pond) = memory();
    let answer = |job: &Job<Work>| match job.n {
        0 => Outcome::done_with("receipt"),
        1 => Outcome::retry_after("busy", HOUR),
        2 => Outcome::dead_letter("no such order"),
        3 => Outcome::snooze(HOUR),
        4 => Outcome::cancel("not needed"),
        _ => Outcome::done(),
    };
    answering(&pond, 6, answer).start().unwrap();
    let ids = pond.enqueue_many("q", (0..6).map(work)).await.unwrap();
    calm(&pond).await;
    all_finished(&pond, &[ids[0], ids[2], ids[4], ids[5]]).await;
    use State::{Cancelled, Completed, Dead, Retrying, Scheduled};
    assert_eq!(states(&pond, &ids), [Completed, Retrying, Dead, Scheduled, Cancelled, Completed]);
    let of = |n: usize| pond.job(ids[n]).unwrap();
    assert_eq!(of(0).result.as_deref(), Some(&b"receipt"[..]));
    assert_eq!((of(1).attempts, &*of(1).errors[0].message), (1, "busy"));
    assert_eq!(of(2).reason.as_deref(), Some("no such order"));
    assert_eq!((of(3).attempts, of(3).snoozes), (0, 1));
    assert_sound(&pond).await;
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(of(1).attempts, 2);
}

#[tokio::test]
async fn verdicts_name_jobs_by_id_and_the_others_are_done() {
    let (_, pond) = memory();
    let handler = |jobs: Jobs<Work>| async move {
        let bad = jobs.iter().filter(|job| job.n == 2).map(|job| (job.id(), Outcome::dead_letter("bad")));
        Ok(bad.collect::<Verdicts>())
    };
    pond.worker("q").handle_batch(Batch::up_to(3), handler).start().unwrap();
    let ids = pond.enqueue_many("q", (1..4).map(work)).await.unwrap();
    all_finished(&pond, &ids).await;
    assert_eq!(states(&pond, &ids), [State::Completed, State::Dead, State::Completed]);
}

type Answer = fn(Jobs<Work>) -> Handled<Vec<Outcome>>;

#[tokio::test]
async fn an_error_a_panic_and_verdicts_that_do_not_fit_fail_all_jobs() {
    let cases: [(&str, FailureKind, Answer); 3] = [
        ("the bank is closed", FailureKind::Error, |_| Err("the bank is closed".into())),
        ("boom", FailureKind::Panic, |_| panic!("boom")),
        ("2 outcomes for 3 jobs", FailureKind::Error, |_| Ok(vec![Outcome::done(), Outcome::done()])),
    ];
    for (message, kind, answer) in cases {
        // The handler panics in its call, or in its future.
        for at_once in [true, false] {
            let (_, pond) = memory();
            let handler = move |jobs: Jobs<Work>| {
                let mut jobs = Some(jobs);
                let early = at_once.then(|| answer(jobs.take().unwrap()));
                async move {
                    tokio::task::yield_now().await;
                    early.unwrap_or_else(|| answer(jobs.take().unwrap()))
                }
            };
            pond.worker("q").retry(Retry::none()).handle_batch(Batch::up_to(3), handler).start().unwrap();
            let ids = pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
            all_finished(&pond, &ids).await;
            for id in ids {
                let job = pond.job(id).unwrap();
                assert_eq!((job.state, job.attempts, job.errors[0].kind), (State::Dead, 1, kind));
                assert!(job.errors[0].message.contains(message), "{}", job.errors[0].message);
            }
            assert_sound(&pond).await;
        }
    }
}

#[tokio::test]
async fn a_job_that_cannot_be_decoded_does_not_spoil_the_others() {
    #[derive(Debug, Serialize)]
    struct Fussy(u64);
    impl<'de> Deserialize<'de> for Fussy {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            match u64::deserialize(from)? {
                13 => panic!("unlucky"),
                n => Ok(Self(n)),
            }
        }
    }
    impl Kind for Fussy {
        const KIND: &'static str = "fussy";
    }
    let (_, pond) = memory();
    let calls = Log::new();
    let log = calls.clone();
    let handler = move |jobs: Jobs<Fussy>| {
        log.push(jobs.iter().map(|job| job.0).collect::<Vec<_>>());
        async { Ok(()) }
    };
    pond.worker("q").retry(Retry::none()).handle_batch(Batch::up_to(4), handler).start().unwrap();
    let jobs =
        [NewJob::new(Fussy(1)), NewJob::json("fussy", &"text"), NewJob::json("fussy", &13), NewJob::new(Fussy(2))];
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    all_finished(&pond, &ids).await;
    assert_eq!(calls.all(), [[1, 2]]);
    assert_eq!(states(&pond, &ids), [State::Completed, State::Dead, State::Dead, State::Completed]);
    let kinds = [1, 2].map(|n: usize| pond.job(ids[n]).unwrap().errors[0].kind);
    assert_eq!(kinds, [FailureKind::Undecodable, FailureKind::Panic]);

    // A batch without any job that can be decoded calls nothing.
    let ids = pond.enqueue_many("q", (0..4).map(|_| NewJob::json("fussy", &"text"))).await.unwrap();
    all_finished(&pond, &ids).await;
    assert_eq!(calls.len(), 1);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn payloads_can_be_taken_as_bytes() {
    let (_, pond) = memory();
    let handler = |jobs: Jobs<Bytes>| async move { Ok(jobs.into_iter().map(Job::into_inner).collect::<Vec<Bytes>>()) };
    pond.worker("q").handle_batch_raw("png", Batch::up_to(2), handler).start().unwrap();
    let ids = pond.enqueue_many("q", [&b"a"[..], b"b"].map(|bytes| NewJob::raw("png", bytes))).await.unwrap();
    all_finished(&pond, &ids).await;
    let results = [0, 1].map(|n: usize| pond.job(ids[n]).unwrap().result.unwrap());
    assert_eq!(results, [&b"a"[..], b"b"]);
}

// --- acknowledging --------------------------------------------------------------------------------

#[tokio::test]
async fn the_jobs_of_a_call_are_acknowledged_with_one_commit() {
    let (_, pond) = memory();
    let (worker, _, mut keeper) = at_a_gate(&pond, Batch::up_to(100).wait(WAIT));
    worker.start().unwrap();
    let ids = pond.enqueue_many("q", (0..100).map(work)).await.unwrap();
    keeper.entered().await;
    let before = pond.metrics().commits_total;
    keeper.let_go(1);
    all_finished(&pond, &ids).await;
    assert_eq!(pond.metrics().commits_total, before + 1);
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 100);
}

#[tokio::test]
async fn each_job_has_completion_writes_of_its_own() {
    let (_, pond) = memory();
    let handler = |jobs: Jobs<Work>| async move {
        for job in &jobs {
            let n = job.n;
            job.context().on_complete(move |tx| {
                tx.open_table(ROWS)?.insert(n, 1)?;
                if n == 1 { Err("no such row".into()) } else { Ok(()) }
            });
        }
        Ok(jobs.iter().map(|job| if job.n == 2 { Outcome::cancel("no") } else { Outcome::done() }).collect::<Vec<_>>())
    };
    pond.worker("q").retry(Retry::none()).handle_batch(Batch::up_to(4), handler).start().unwrap();
    let ids = pond.enqueue_many("q", (0..4).map(work)).await.unwrap();
    all_finished(&pond, &ids).await;
    assert_eq!(states(&pond, &ids), [State::Completed, State::Dead, State::Cancelled, State::Completed]);
    let rows = pond.begin_read().unwrap().open_table(ROWS).unwrap();
    assert_eq!(rows.len().unwrap(), 2);
    assert_eq!([0, 3].map(|n| rows.get(n).unwrap().is_some()), [true; 2]);
    assert_sound(&pond).await;
}

// --- groups, rates, room --------------------------------------------------------------------------

#[tokio::test]
async fn a_batch_has_at_most_one_job_of_a_group_and_each_group_keeps_its_order() {
    let (_, pond) = memory();
    let (worker, calls) = recording(&pond, Batch::up_to(3).wait(WAIT));
    worker.start().unwrap();
    let jobs = (0..9).map(|n| member(["a", "b", "c"][n as usize % 3], n));
    pond.enqueue_many("q", jobs).await.unwrap();
    drained(&pond).await;
    let calls = calls.all();
    let mut seen = [0, 1, 2].map(|group| calls.iter().flatten().filter(move |n| **n % 3 == group).copied());
    for (group, seen) in seen.iter_mut().enumerate() {
        assert!(seen.eq([0, 3, 6].map(|n| n + group as u64)));
    }
    for call in calls {
        let mut groups: Vec<u64> = call.iter().map(|n| n % 3).collect();
        groups.sort_unstable();
        groups.dedup();
        assert_eq!(groups.len(), call.len(), "{call:?}");
    }
}

#[tokio::test]
async fn rates_hold_and_a_rate_limited_job_holds_the_queue() {
    let (clock, pond) = memory();
    let (worker, calls) = recording(&pond, Batch::up_to(5).wait(WAIT));
    let worker = worker.rate_limit(Rate::per_second(2).burst(2)).start().unwrap();
    let ids = pond.enqueue_many("q", (0..4).map(work)).await.unwrap();
    calm(&pond).await;
    clock.advance(WAIT);
    all_finished(&pond, &ids[..2]).await;
    assert_eq!(calls.all(), [[0, 1]]);
    worker.stop().await.unwrap();

    let (_, pond) = memory();
    answering(&pond, 2, |_| Outcome::rate_limited_queue(HOUR)).concurrency(2).start().unwrap();
    let ids = pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    drained(&pond).await;
    let attempts = ids.iter().map(|id| pond.job(*id).unwrap().attempts).sum::<u32>();
    assert_eq!((attempts, pond.metrics().starts_total), (0, 2), "the third does not start");
}

/// A waiting batch holds many slots, and at least half of all slots must be left to handlers that do not wait.
#[tokio::test]
async fn a_batch_that_holds_too_many_slots_does_not_wait_for_room() {
    for (jobs, waits) in [(2, true), (3, false)] {
        let (_, pond) = memory_with(|builder| builder.max_running(4));
        let full = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(WhenFull::Wait);
        pond.queue("full").unwrap().configure(full).await.unwrap();
        let first = pond.enqueue("full", work(0)).await.unwrap();
        let (answers, inner) = (Log::new(), pond.clone());
        let log = answers.clone();
        let handler = move |_: Jobs<Work>| {
            let (pond, log) = (inner.clone(), log.clone());
            async move {
                log.push(matches!(pond.enqueue("full", work(1)).await, Err(Error::QueueFull { .. })));
                Ok(())
            }
        };
        let worker = pond.worker("q").handle_batch(Batch::up_to(jobs), handler).start().unwrap();
        let ids = pond.enqueue_many("q", (0..jobs as u64).map(work)).await.unwrap();
        while pond.testing().called("q") == 0 && answers.len() == 0 {
            calm(&pond).await;
        }
        calm(&pond).await;
        assert_eq!(answers.len(), usize::from(!waits), "{jobs} jobs");
        pond.cancel(first, "to make room").await.unwrap();
        all_finished(&pond, &ids).await;
        assert_eq!(answers.all(), [!waits], "{jobs} jobs");
        worker.stop().await.unwrap();
        close(pond).await;
    }
}

/// The dispatcher's thread may be about to begin attempts at the moment when nothing else can start.
#[tokio::test]
async fn a_drain_does_not_call_a_batch_before_all_its_jobs_have_joined_it() {
    for round in 0..20 {
        let (_, pond) = memory();
        let (worker, calls) = recording(&pond, Batch::up_to(100).wait(WAIT));
        pond.enqueue_many("q", (0..250).map(work)).await.unwrap();
        worker.start().unwrap();
        drained(&pond).await;
        let jobs: Vec<usize> = calls.all().iter().map(Vec::len).collect();
        assert_eq!(jobs, [100, 100, 50], "round {round}");
    }
}

// --- time -----------------------------------------------------------------------------------------

#[tokio::test]
async fn the_time_of_all_attempts_begins_when_the_handler_is_called() {
    let (clock, pond) = memory();
    let (worker, _, mut keeper) = at_a_gate(&pond, Batch::up_to(3).wait(WAIT));
    worker.retry(Retry::none()).timeout(WAIT / 2).start().unwrap();
    let ids = pond.enqueue_many("q", (0..2).map(work)).await.unwrap();
    calm(&pond).await;
    clock.advance(WAIT);
    keeper.entered().await;
    clock.advance(WAIT / 2 - Duration::from_nanos(1));
    keeper.let_go(1);
    all_finished(&pond, &ids).await;
    assert_eq!(states(&pond, &ids), [State::Completed; 2]);

    let ids = pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    keeper.entered().await;
    clock.advance(WAIT / 2);
    all_finished(&pond, &ids).await;
    for id in ids {
        let job = pond.job(id).unwrap();
        assert_eq!((job.state, job.errors[0].kind), (State::Dead, FailureKind::Timeout));
    }
    assert_eq!(pond.queue("q").unwrap().counts().running, 0, "the handler was dropped");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_whose_time_is_over_first_fails_alone_and_keeps_its_slot_until_the_handler_returns() {
    let (clock, pond) = memory();
    let (gate, mut keeper) = gate();
    let told = Log::new();
    let log = told.clone();
    let handler = move |jobs: Jobs<Work>| {
        let (gate, log) = (gate.clone(), log.clone());
        async move {
            gate.pass(0).await;
            log.push(jobs.iter().map(|job| job.context().is_cancelled()).collect::<Vec<_>>());
            Ok(())
        }
    };
    let worker = pond.worker("q").retry(Retry::none()).timeout(HOUR);
    worker.handle_batch(Batch::up_to(3), handler).start().unwrap();
    let jobs = [work(0), work(1).timeout(SECOND), work(2)];
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    keeper.entered().await;
    clock.advance(SECOND);
    calm(&pond).await;
    assert_eq!(states(&pond, &ids), [State::Running; 3]);
    keeper.let_go(1);
    all_finished(&pond, &ids).await;
    assert_eq!(states(&pond, &ids), [State::Completed, State::Dead, State::Completed]);
    assert_eq!(pond.job(ids[1]).unwrap().errors[0].kind, FailureKind::Timeout);
    assert_eq!(told.all(), [[false, true, false]]);
}

/// Counts the futures that exist.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn the_handler_is_dropped_when_the_last_of_its_jobs_was_ended_in_whatever_order() {
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1], [1, 3, 2]] {
        let (clock, pond) = memory();
        let alive = Arc::new(AtomicUsize::new(0));
        let (entered, mut calls) = tokio::sync::mpsc::unbounded_channel();
        let count = alive.clone();
        let handler = move |_: Jobs<Work>| {
            let (alive, entered) = (Alive::new(&count), entered.clone());
            async move {
                let _alive = alive;
                let _ = entered.send(());
                std::future::pending::<Handled>().await
            }
        };
        pond.worker("q").retry(Retry::none()).handle_batch(Batch::up_to(3), handler).start().unwrap();
        let jobs = order.map(|seconds| work(seconds).timeout(SECOND * seconds as u32));
        let ids = pond.enqueue_many("q", jobs).await.unwrap();
        calls.recv().await.unwrap();
        for _ in 0..2 {
            clock.advance(SECOND);
            calm(&pond).await;
            assert_eq!(alive.load(Ordering::SeqCst), 1, "{order:?}");
        }
        clock.advance(SECOND);
        all_finished(&pond, &ids).await;
        assert_eq!((alive.load(Ordering::SeqCst), states(&pond, &ids)), (0, vec![State::Dead; 3]), "{order:?}");
    }
}

// --- cancels --------------------------------------------------------------------------------------

#[tokio::test]
async fn a_job_that_is_cancelled_while_it_waits_leaves_the_batch() {
    let (clock, pond) = memory();
    let (worker, calls) = recording(&pond, Batch::up_to(4).wait(WAIT));
    worker.start().unwrap();
    let ids = pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    calm(&pond).await;
    assert_eq!(pond.cancel(ids[1], "not needed").await.unwrap(), CancelOutcome::Requested);
    all_finished(&pond, &ids[1..2]).await;
    let job = pond.job(ids[1]).unwrap();
    assert_eq!((job.state, job.attempts, job.reason.as_deref()), (State::Cancelled, 0, Some("not needed")));
    // Its slot is free, and another job takes its place.
    let more = pond.enqueue_many("q", [work(3), work(4)]).await.unwrap();
    all_finished(&pond, &[ids[0], ids[2], more[0], more[1]]).await;
    assert_eq!(calls.take(), [[0, 2, 3, 4]]);

    // The last job leaves, and nothing is called.
    let id = pond.enqueue("q", work(5)).await.unwrap();
    calm(&pond).await;
    pond.cancel(id, "not needed").await.unwrap();
    all_finished(&pond, &[id]).await;
    clock.advance(WAIT);
    calm(&pond).await;
    assert_eq!((calls.len(), pond.queue("q").unwrap().counts().running), (0, 0));
    // The next batch waits for its own first job.
    let id = pond.enqueue("q", work(6)).await.unwrap();
    calm(&pond).await;
    clock.advance(WAIT / 2);
    calm(&pond).await;
    assert_eq!(calls.len(), 0);
    clock.advance(WAIT / 2);
    all_finished(&pond, &[id]).await;
    assert_eq!(calls.all(), [[6]]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_the_handler_runs_is_told_and_ends_with_the_call() {
    // What the handler returns of each job, and how the cancelled one ends.
    for (outcome, ends) in
        [(Outcome::done as fn() -> Outcome, State::Completed), (|| Outcome::retry("no"), State::Cancelled)]
    {
        let (_, pond) = memory();
        let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
        let handler = move |jobs: Jobs<Work>| {
            let told = told.clone();
            async move {
                let _ = told.send(false);
                jobs[1].context().cancelled().await;
                let _ = told.send(jobs[0].context().is_cancelled());
                Ok(vec![Outcome::done(), outcome(), Outcome::done()])
            }
        };
        pond.worker("q").handle_batch(Batch::up_to(3), handler).start().unwrap();
        let ids = pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
        tells.recv().await.unwrap();
        assert_eq!(pond.cancel(ids[1], "stop").await.unwrap(), CancelOutcome::Requested);
        assert_eq!(tells.recv().await, Some(false), "only the cancelled job is told");
        all_finished(&pond, &ids).await;
        assert_eq!(states(&pond, &ids), [State::Completed, ends, State::Completed]);
        assert_sound(&pond).await;
    }
}

#[tokio::test]
async fn a_handler_whose_jobs_are_all_cancelled_is_dropped_after_the_grace() {
    let (clock, pond) = memory_with(|builder| builder.cancel_grace(SECOND));
    let (worker, _, mut keeper) = at_a_gate(&pond, Batch::up_to(2));
    worker.start().unwrap();
    let ids = pond.enqueue_many("q", (0..2).map(work)).await.unwrap();
    keeper.entered().await;
    pond.cancel(ids[0], "stop").await.unwrap();
    calm(&pond).await;
    clock.advance(SECOND);
    calm(&pond).await;
    assert_eq!(states(&pond, &ids), [State::Running; 2], "the handler still has both");
    pond.cancel(ids[1], "stop").await.unwrap();
    calm(&pond).await;
    clock.advance(SECOND);
    all_finished(&pond, &ids).await;
    assert_eq!(states(&pond, &ids), [State::Cancelled; 2]);
}

// --- stops ----------------------------------------------------------------------------------------

#[tokio::test]
async fn a_shutdown_gives_back_the_jobs_of_a_forming_batch_and_uses_no_attempt() {
    for once in [false, true] {
        let disk = OnDisk::new();
        let pond = open(&disk);
        let (worker, calls) = recording(&pond, Batch::up_to(4).wait(WAIT));
        worker.start().unwrap();
        let jobs = (0..3).map(|n| if once { work(n).at_most_once() } else { work(n) });
        let ids = pond.enqueue_many("q", jobs).await.unwrap();
        while pond.metrics().starts_total < 3 {
            calm(&pond).await;
        }
        assert_eq!(states(&pond, &ids), [State::Running; 3]);
        // The stop does not wait until its deadline.
        tokio::time::timeout(LIMIT, pond.shutdown(HOUR)).await.expect("it ends").unwrap();
        drop(pond);
        assert_eq!(calls.len(), 0);
        let pond = open(&disk);
        for id in &ids {
            let job = pond.job(*id).unwrap();
            assert_eq!((job.state, job.attempts, job.errors.len()), (State::Pending, 0, 0));
        }
        let (worker, calls) = recording(&pond, Batch::up_to(3));
        worker.start().unwrap();
        drained(&pond).await;
        assert_eq!(calls.all(), [[0, 1, 2]]);
        close(pond).await;
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_a_running_batch_and_then_gives_its_jobs_back() {
    let disk = OnDisk::new();
    let pond = open(&disk);
    let (worker, _, mut keeper) = at_a_gate(&pond, Batch::up_to(2));
    worker.concurrency(2).start().unwrap();
    let ids = pond.enqueue_many("q", (0..4).map(work)).await.unwrap();
    keeper.entered().await;
    let stop = tokio::spawn(pond.shutdown(Duration::from_secs(10)));
    while !pond.testing().is_stopping() {
        tokio::task::yield_now().await;
    }
    keeper.let_go(1);
    stop.await.unwrap().unwrap();
    drop(pond);
    let pond = open(&disk);
    assert_eq!(states(&pond, &ids), [State::Completed, State::Completed, State::Pending, State::Pending]);

    let (worker, _, mut keeper) = at_a_gate(&pond, Batch::up_to(2));
    worker.start().unwrap();
    keeper.entered().await;
    pond.shutdown(Duration::ZERO).await.unwrap();
    drop(pond);
    let pond = open(&disk);
    for id in &ids[2..] {
        let job = pond.job(*id).unwrap();
        assert_eq!((job.state, job.attempts), (State::Pending, 0));
    }
}

#[tokio::test]
async fn a_worker_that_stops_leaves_the_jobs_of_a_forming_batch_to_the_next_one() {
    let (clock, pond) = memory();
    let (worker, calls) = recording(&pond, Batch::up_to(4).wait(WAIT));
    let worker = worker.start().unwrap();
    let ids = pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    calm(&pond).await;
    worker.stop().await.unwrap();
    clock.advance(WAIT);
    calm(&pond).await;
    assert_eq!((calls.len(), states(&pond, &ids)), (0, vec![State::Pending; 3]));
    let (worker, calls) = recording(&pond, Batch::up_to(4).wait(WAIT));
    worker.start().unwrap();
    calm(&pond).await;
    clock.advance(WAIT);
    all_finished(&pond, &ids).await;
    assert_eq!(calls.all(), [[0, 1, 2]]);
    assert_eq!(pond.job(ids[0]).unwrap().attempts, 1);
}

#[test]
fn a_batch_on_a_runtime_that_ends_is_given_back() {
    in_time("a runtime that ends", || {
        let disk = OnDisk::new();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (pond, ids) = runtime.block_on(async {
            let pond = open(&disk);
            let (worker, _, mut keeper) = at_a_gate(&pond, Batch::up_to(2));
            worker.concurrency(3).start().unwrap();
            // Two run, and one waits for others.
            let ids = pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
            keeper.entered().await;
            (pond, ids)
        });
        drop(runtime);
        pond.enqueue("flushed", work(0)).wait().unwrap();
        for id in &ids {
            let info = pond.job(*id).unwrap();
            assert_eq!((info.state, info.attempts, info.errors.len()), (State::Pending, 0, 0));
        }
        assert!(pond.degraded().is_some_and(|reason| reason.contains("runtime")));
        pond.shutdown(Duration::ZERO).wait().unwrap();
    });
}

// --- at most once, crashes ------------------------------------------------------------------------

#[tokio::test]
async fn the_start_of_a_job_that_runs_at_most_once_is_durable_before_its_batch_is_handled() {
    let disk = OnDisk::new();
    let pond = open(&disk);
    let (worker, calls, mut keeper) = at_a_gate(&pond, Batch::up_to(3));
    worker.at_most_once().start().unwrap();
    let ids = pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    keeper.entered().await;
    let crashed = crashed(&disk);
    assert_eq!(states(&crashed, &ids), [State::Dead; 3]);
    assert_sound(&crashed).await;
    keeper.let_go(1);
    all_finished(&pond, &ids).await;
    assert_eq!((calls.len(), states(&pond, &ids)), (1, vec![State::Completed; 3]));
}

#[tokio::test]
async fn a_crash_in_a_batch_is_an_attempt_only_of_jobs_that_were_handled() {
    let disk = OnDisk::new();
    let pond = open(&disk);
    let (worker, _, mut keeper) = at_a_gate(&pond, Batch::up_to(2).wait(HOUR / 60));
    worker.concurrency(3).no_timeout().start().unwrap();
    let ids = pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    keeper.entered().await;
    starts_written(&pond, &disk.clock).await;
    let crashed = crashed(&disk);
    let (worker, calls) = recording(&crashed, Batch::up_to(3).wait(Duration::ZERO));
    worker.start().unwrap();
    for _ in 0..100 {
        disk.clock.advance(Duration::from_millis(100));
        calm(&crashed).await;
    }
    all_finished(&crashed, &ids).await;
    assert_eq!(calls.all().concat().len(), 3);
    let crashes =
        |n: usize| crashed.job(ids[n]).unwrap().errors.iter().filter(|e| e.kind == FailureKind::Crash).count();
    assert_eq!(crashes(2), 0, "it had not started");
    keeper.let_go(1);
}

// --- deadlines -----------------------------------------------------------------------------------

#[test]
fn a_job_that_waits_for_others_does_not_wake_the_dispatcher_once_in_each_of_its_timeouts() {
    let clock = ManualClock::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let builder = Millpond::builder().clock(clock.clone()).runtime(runtime.handle().clone());
    let disk = millpond_testkit::SimDisk::new();
    let (pond, mut steps) = millpond::testing::open_stepped(builder, move || Ok(disk.clone())).unwrap();
    let hang = |_: Jobs<Work>| std::future::pending::<Handled>();
    let _worker = pond.worker("q").handle_batch(Batch::up_to(2).wait(SECOND * 60), hang).start().unwrap();
    let mut enqueue = Box::pin(pond.enqueue("q", work(1).timeout(Duration::from_millis(1))));
    assert!(enqueue.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending());
    // Lets this time pass, and everything happen. Returns for how long the dispatcher sleeps then.
    let mut pass = |time: Duration| {
        clock.advance(time);
        let mut idle_for = None;
        for _ in 0..10 {
            steps.write();
            idle_for = steps.dispatch();
            runtime.block_on(async {
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
            });
        }
        idle_for
    };
    pass(Duration::ZERO);
    // Its start mark is written after a few milliseconds.
    pass(SECOND);
    for _ in 0..3 {
        let idle_for = pass(Duration::from_millis(1));
        assert!(idle_for.is_none_or(|time| time > SECOND / 10), "the dispatcher sleeps for {idle_for:?}");
    }
    // Its time begins with the call, and wakes the dispatcher.
    assert_eq!(pass(SECOND * 60), Some(Duration::from_millis(1)));
    assert_eq!(pond.queue("q").unwrap().counts().running, 1);
    pass(Duration::from_millis(1));
    assert_eq!(pond.queue("q").unwrap().counts().running, 0, "its time was over");
}
