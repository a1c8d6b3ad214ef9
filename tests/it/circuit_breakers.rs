//! Circuit breakers: too many failures hold a queue or a group, one probe decides, and that it is held survives a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{
    Batch, Circuit, CircuitBreaker, Context, Error, Event, Explanation, FailureKind, Handled, Job, Jobs, Millpond,
    NewJob, Outcome, Retry, State, Worker, WorkerBuilder,
};
use redb::{ReadableTableMetadata, TableDefinition};
use tracing::Level;

use crate::support::*;
use crate::tracing::recorder;

const ROWS: TableDefinition<(u32, &str), &[u8]> = TableDefinition::new("millpond/circuits");
const OPEN_FOR: Duration = Duration::from_secs(30);
const CLOSED: &str = "closed: 0 of the last 0 attempts failed";
const HALF_OPEN: &str = "half open: the next job is the probe";

fn rows(pond: &Millpond) -> u64 {
    pond.begin_read().unwrap().open_table(ROWS).unwrap().len().unwrap()
}

async fn idle(pond: &Millpond) {
    pond.testing().idle().await;
}

/// Opens at two failures in a row.
fn breaker() -> CircuitBreaker {
    CircuitBreaker::failures(1.0).of(2).open_for(OPEN_FOR)
}

/// What the handlers do from now on.
#[derive(Clone, Default)]
struct Mood(Arc<AtomicU8>);

const COMPLETES: u8 = 0;
const FAILS: u8 = 1;
const SNOOZES: u8 = 2;
const IS_RATE_LIMITED: u8 = 3;
const CANCELS: u8 = 4;
const GIVES_UP: u8 = 5;
const PANICS: u8 = 6;

impl Mood {
    fn set(&self, mood: u8) {
        self.0.store(mood, Ordering::SeqCst);
    }
}

struct Service {
    pond: Millpond,
    clock: ManualClock,
    mood: Mood,
    /// The jobs whose handlers were called.
    called: Log<u64>,
}

impl Service {
    fn on(pond: Millpond, clock: ManualClock) -> Self {
        Self { pond, clock, mood: Mood::default(), called: Log::new() }
    }

    fn memory() -> Self {
        let (clock, pond) = memory();
        Self::on(pond, clock)
    }

    fn worker(&self, set: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Worker {
        let (called, mood) = (self.called.clone(), self.mood.clone());
        let handler = move |job: Job<Work>| {
            called.push(job.n);
            let mood = mood.0.load(Ordering::SeqCst);
            async move {
                match mood {
                    FAILS => Err("503".into()),
                    SNOOZES => Ok(Outcome::snooze(HOUR)),
                    IS_RATE_LIMITED => Ok(Outcome::rate_limited(SECOND)),
                    CANCELS => Ok(Outcome::cancel("not needed")),
                    GIVES_UP => Ok(Outcome::dead_letter("wrong")),
                    PANICS => panic!("a handler"),
                    _ => Ok(Outcome::done()),
                }
            }
        };
        set(self.pond.worker("q").retry(Retry::none()).handle(handler)).start().unwrap()
    }

    /// Lets as many jobs as are needed fail for the circuit to open.
    async fn break_down(&self, mut job: impl FnMut(u64) -> NewJob) {
        self.mood.set(FAILS);
        self.pond.enqueue_many("q", [job(1), job(2)]).await.unwrap();
        idle(&self.pond).await;
        assert_eq!(self.called.take(), [1, 2]);
        self.mood.set(COMPLETES);
    }

    fn circuit(&self) -> String {
        self.pond.queue("q").unwrap().circuit().to_string()
    }

    async fn after(&self, time: Duration) -> Vec<u64> {
        self.clock.advance(time);
        idle(&self.pond).await;
        self.called.take()
    }
}

#[tokio::test]
async fn the_queue_is_held_one_probe_starts_and_its_success_lets_all_start() {
    let service = Service::memory();
    let pond = &service.pond;
    let mut events =
        pond.events_where(|event| matches!(event, Event::CircuitOpened { .. } | Event::CircuitClosed { .. }));
    service.worker(|worker| worker.circuit_breaker(breaker()));
    service.break_down(work).await;
    assert_eq!((service.circuit(), rows(pond)), ("open for another 30s".to_owned(), 1));
    let waiting = pond.enqueue_many("q", (3..6).map(work)).await.unwrap();
    assert_eq!(service.after(OPEN_FOR - SECOND).await, [0; 0]);
    let why = pond.explain(waiting[1].id).unwrap();
    assert!(matches!(why, Explanation::CircuitOpen { wait, .. } if wait == SECOND), "{why:?}");
    assert_eq!(serde_json::to_value(&why).unwrap()["type"], "CircuitOpen");
    let called = service.after(SECOND).await;
    assert_eq!(called[0], 3);
    drained(pond).await;
    assert_eq!((called.len() + service.called.len(), rows(pond)), (3, 0));
    let heard = heard(&mut events);
    assert!(
        matches!(&heard[..], [
            Event::CircuitOpened { queue, group: None, failures: 2, ends: 2, open_for: OPEN_FOR, probe: None, .. },
            Event::CircuitClosed { group: None, probe: Some(probe), .. },
        ] if &**queue == "q" && *probe == waiting[0].id),
        "{heard:?}"
    );
    assert_eq!(serde_json::to_value(&heard[0]).unwrap()["type"], "CircuitOpened");
    assert!(service.circuit().starts_with("closed"));
}

#[tokio::test]
async fn while_the_probe_runs_all_others_wait_and_its_failure_opens_the_circuit_again() {
    let service = Service::memory();
    let pond = &service.pond;
    let worker = service.worker(|worker| worker.circuit_breaker(breaker()));
    service.break_down(work).await;
    worker.stop().await.unwrap();
    let (gate, mut keeper) = gate();
    let handler = move |job: Job<Work>| {
        let gate = gate.clone();
        async move {
            gate.pass(job.n).await;
            Err::<(), _>("still down".into())
        }
    };
    pond.worker("q").retry(Retry::none()).circuit_breaker(breaker()).handle(handler).start().unwrap();
    let ids = pond.enqueue_many("q", [work(3), member("g", 4), work(5)]).await.unwrap();
    service.clock.advance(OPEN_FOR);
    let probe = keeper.entered().await;
    settled(pond).await;
    assert_eq!(keeper.waiting(), [0; 0]);
    let probe_id = ids[probe as usize - 3].id;
    let others = ids.iter().filter(|id| id.id != probe_id);
    for other in others {
        let why = pond.explain(other.id).unwrap();
        assert!(matches!(why, Explanation::CircuitHalfOpen { probe, .. } if probe == probe_id), "{why:?}");
    }
    assert!(matches!(pond.queue("q").unwrap().circuit(), Circuit::HalfOpen { probe: Some(id), .. } if id == probe_id));
    keeper.let_go(1);
    running(pond, "q", 0).await;
    assert_eq!((service.circuit(), rows(pond)), ("open for another 30s".to_owned(), 1));
    service.after(OPEN_FOR - SECOND).await;
    assert_eq!(keeper.waiting(), [0; 0]);
    service.clock.advance(SECOND);
    keeper.entered().await;
    keeper.let_go(1);
    running(pond, "q", 0).await;
    assert_sound(pond).await;
}

#[tokio::test]
async fn a_probe_without_a_verdict_leaves_the_circuit_half_open() {
    for mood in [SNOOZES, IS_RATE_LIMITED, CANCELS, GIVES_UP] {
        let service = Service::memory();
        service.worker(|worker| worker.circuit_breaker(breaker()));
        service.break_down(work).await;
        service.mood.set(mood);
        service.pond.enqueue("q", work(3)).await.unwrap();
        assert_eq!(service.after(OPEN_FOR).await[0], 3);
        assert_eq!((service.circuit(), rows(&service.pond)), (HALF_OPEN.to_owned(), 1), "{mood}");
        service.mood.set(COMPLETES);
        service.pond.enqueue("q", work(4)).await.unwrap();
        let called = service.after(SECOND).await;
        assert!(called.contains(&4), "{called:?} after {mood}");
        drained(&service.pond).await;
        assert_eq!(rows(&service.pond), 0, "{mood}");
    }
}

#[tokio::test]
async fn what_is_no_failed_attempt_does_not_count() {
    let service = Service::memory();
    service.worker(|worker| worker.circuit_breaker(breaker()).concurrency(1));
    for (n, mood) in (0..).zip([SNOOZES, CANCELS, GIVES_UP, IS_RATE_LIMITED]) {
        service.mood.set(mood);
        service.pond.enqueue_many("q", [work(2 * n), work(2 * n + 1)]).await.unwrap();
        service.after(Duration::ZERO).await;
        assert_eq!(service.circuit(), CLOSED, "{mood}");
    }
}

#[tokio::test]
async fn errors_panics_timeouts_and_payloads_that_cannot_be_decoded_count() {
    let service = Service::memory();
    let pond = &service.pond;
    let five = CircuitBreaker::failures(1.0).of(4).open_for(OPEN_FOR);
    service.worker(|worker| {
        worker
            .circuit_breaker(five)
            .timeout(SECOND)
            .concurrency(1)
            .handle_raw("hangs", |_: Job<bytes::Bytes>| async { std::future::pending::<Handled>().await })
    });
    service.mood.set(FAILS);
    let failed = pond.enqueue("q", work(1)).await.unwrap();
    idle(pond).await;
    service.mood.set(PANICS);
    let panicked = pond.enqueue("q", work(2)).await.unwrap();
    idle(pond).await;
    let undecodable = pond.enqueue("q", NewJob::raw("work", &b"no json"[..])).await.unwrap();
    idle(pond).await;
    assert_eq!(service.circuit(), "closed: 3 of the last 3 attempts failed");
    let hung = pond.enqueue("q", NewJob::raw("hangs", &b""[..])).await.unwrap();
    running(pond, "q", 1).await;
    service.clock.advance(SECOND);
    drained(pond).await;
    assert_eq!(service.circuit(), "open for another 30s");
    let kinds = [failed, panicked, undecodable, hung].map(|id| pond.job(id).unwrap().errors[0].kind);
    assert_eq!(kinds, [FailureKind::Error, FailureKind::Panic, FailureKind::Undecodable, FailureKind::Timeout]);
}

#[tokio::test]
async fn a_handler_that_fails_because_its_job_was_cancelled_does_not_count() {
    let (_, pond) = memory();
    let handler = |_: Job<Work>, ctx: Context| async move {
        ctx.cancelled().await;
        Err::<(), _>("cancelled".into())
    };
    let one = CircuitBreaker::failures(1.0).of(1);
    pond.worker("q").circuit_breaker(one).handle(handler).start().unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    running(&pond, "q", 1).await;
    pond.cancel(id, "by hand").await.unwrap();
    drained(&pond).await;
    assert_eq!(state(&pond, id), State::Cancelled);
    assert_eq!(pond.queue("q").unwrap().circuit().to_string(), CLOSED);
}

#[tokio::test]
async fn a_completion_whose_writes_fail_is_a_failure_of_the_probe() {
    let service = Service::memory();
    let pond = &service.pond;
    let worker = service.worker(|worker| worker.circuit_breaker(breaker()));
    service.break_down(work).await;
    worker.stop().await.unwrap();
    let fails = service.mood.clone();
    let handler = move |_: Job<Work>, ctx: Context| {
        let fails = fails.0.load(Ordering::SeqCst) == FAILS;
        async move {
            ctx.on_complete(move |_| if fails { Err("its writes".into()) } else { Ok(()) });
            Ok(())
        }
    };
    pond.worker("q").retry(Retry::none()).circuit_breaker(breaker()).handle(handler).start().unwrap();
    service.mood.set(FAILS);
    pond.enqueue_many("q", [work(3), work(4)]).await.unwrap();
    service.after(OPEN_FOR).await;
    assert_eq!((service.circuit(), pond.queue("q").unwrap().counts().dead), ("open for another 30s".to_owned(), 3));
    service.mood.set(COMPLETES);
    service.after(OPEN_FOR).await;
    drained(pond).await;
    assert!(service.circuit().starts_with("closed: 0"));
}

#[tokio::test]
async fn an_open_circuit_survives_a_crash_and_a_restart_on_the_time_line_of_the_file() {
    let file = OnDisk::new();
    let service = Service::on(file.open(), file.clock.clone());
    service.worker(|worker| worker.circuit_breaker(breaker()).group_circuit_breaker(breaker()));
    service.break_down(|n| member("g", n)).await;
    service.pond.enqueue("q", member("g", 3)).await.unwrap();
    service.after(SECOND * 10).await;
    // A commit, so that the file knows of the time.
    service.pond.enqueue("other", work(0)).await.unwrap();
    let crashed = file.dir.path().join("crashed.redb");
    std::fs::copy(file.path(), &crashed).unwrap();
    let Service { pond, .. } = service;
    close(pond).await;
    // The wall clock is set back by an hour.
    let wall = millpond::Clock::wall(&file.clock);
    file.clock.set_wall(millpond::Timestamp::from_millis(wall.as_millis() - 3_600_000));
    for path in [file.path(), crashed] {
        let service = Service::on(file.builder().open(path).unwrap(), file.clock.clone());
        let queue = service.pond.queue("q").unwrap();
        let (own, of_group) = (queue.circuit(), queue.group_circuit("g").unwrap());
        assert_eq!(own, of_group);
        assert!(matches!(own, Circuit::Open { wait, .. } if wait <= SECOND * 20 && wait > SECOND), "{own}");
        service.worker(|worker| worker.circuit_breaker(breaker()).group_circuit_breaker(breaker()));
        assert_eq!(service.after(SECOND).await, [0; 0]);
        assert_eq!(service.after(SECOND * 20).await, [3]);
        drained(&service.pond).await;
        assert_eq!((service.circuit(), rows(&service.pond)), (CLOSED.to_owned(), 0));
        close(service.pond).await;
    }
}

#[tokio::test]
async fn a_probe_that_dies_with_its_process_leaves_the_circuit_half_open() {
    let file = OnDisk::new();
    let service = Service::on(file.open(), file.clock.clone());
    let worker = service.worker(|worker| worker.circuit_breaker(breaker()));
    service.break_down(work).await;
    worker.stop().await.unwrap();
    let (handler, mut keeper) = gated_handler();
    service.pond.worker("q").circuit_breaker(breaker()).handle(handler).start().unwrap();
    service.pond.enqueue_many("q", [work(3), work(4)]).await.unwrap();
    service.clock.advance(OPEN_FOR);
    assert_eq!(keeper.entered().await, 3);
    starts_written(&service.pond, &file.clock).await;
    let crashed = Service::on(file.crashed("copy.redb"), file.clock.clone());
    assert_eq!(crashed.circuit(), HALF_OPEN);
    crashed.worker(|worker| worker.circuit_breaker(breaker()));
    for _ in 0..5 {
        crashed.clock.advance(SECOND);
        idle(&crashed.pond).await;
    }
    let mut called = crashed.called.take();
    assert_eq!(called[0], 3, "the suspect is the probe");
    called.sort_unstable();
    assert_eq!(called, [3, 4]);
    drained(&crashed.pond).await;
    assert_eq!(rows(&crashed.pond), 0);
    keeper.let_go(9);
    drained(&service.pond).await;
}

#[tokio::test]
async fn a_group_is_held_and_others_go_on() {
    let service = Service::memory();
    let pond = &service.pond;
    service.worker(|worker| worker.group_circuit_breaker(breaker()));
    service.break_down(|n| member("bad", n)).await;
    pond.enqueue_many("q", [member("bad", 3), member("good", 4), work(5)]).await.unwrap();
    let mut called = service.after(Duration::ZERO).await;
    called.sort_unstable();
    assert_eq!(called, [4, 5]);
    let queue = pond.queue("q").unwrap();
    let group = &queue.groups(None, 9).unwrap().groups[0];
    assert!(matches!(group.why, Explanation::CircuitOpen { wait, .. } if wait == OPEN_FOR), "{:?}", group.why);
    assert_eq!(queue.circuit().to_string(), CLOSED, "the queue itself has no breaker");
    assert!(matches!(queue.group_circuit(""), Err(Error::InvalidKey { .. })));
    assert_eq!(service.after(OPEN_FOR).await, [3]);
    drained(pond).await;
    assert_eq!(queue.group_circuit("bad").unwrap().to_string(), CLOSED);
}

#[tokio::test]
async fn an_operator_closes_circuits_by_hand() {
    let service = Service::memory();
    let pond = &service.pond;
    let queue = pond.queue("q").unwrap();
    assert!(!queue.close_circuit().await.unwrap(), "nothing is known of the queue");
    service.worker(|worker| worker.circuit_breaker(breaker()).group_circuit_breaker(breaker()));
    service.break_down(|n| member("g", n)).await;
    pond.enqueue_many("q", [work(3), member("g", 4)]).await.unwrap();
    let mut events = pond.events();
    assert!(queue.close_circuit().await.unwrap());
    assert!(!queue.close_circuit().await.unwrap());
    idle(pond).await;
    assert_eq!(service.called.take(), [3]);
    assert!(queue.close_group_circuit("g").await.unwrap());
    assert!(matches!(queue.close_group_circuit("").await, Err(Error::InvalidKey { .. })));
    idle(pond).await;
    assert_eq!(service.called.take(), [4]);
    let closed = heard(&mut events).into_iter().filter(|event| matches!(event, Event::CircuitClosed { .. }));
    let groups: Vec<_> = closed
        .map(|event| match event {
            Event::CircuitClosed { group, probe: None, .. } => group,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(groups, [None, Some("g".into())]);
    drained(pond).await;
    assert_eq!(rows(pond), 0);
}

#[tokio::test]
async fn a_worker_without_a_breaker_removes_what_an_earlier_one_has_opened() {
    let file = OnDisk::new();
    let service = Service::on(file.open(), file.clock.clone());
    let worker = service.worker(|worker| worker.circuit_breaker(breaker()).group_circuit_breaker(breaker()));
    service.break_down(|n| member("g", n)).await;
    assert_eq!(rows(&service.pond), 2);
    worker.stop().await.unwrap();
    let ids = service.pond.enqueue_many("q", [work(3), member("g", 4)]).await.unwrap();
    assert!(matches!(service.pond.explain(ids[0].id), Ok(Explanation::NoHandler { .. })));
    close(service.pond).await;
    let service = Service::on(file.open(), file.clock.clone());
    assert!(service.circuit().starts_with("open"));
    let worker = service.worker(|worker| worker.group_circuit_breaker(breaker()));
    assert_eq!(service.after(Duration::ZERO).await, [3], "the group is held");
    assert_eq!((service.circuit(), rows(&service.pond)), (CLOSED.to_owned(), 1));
    worker.stop().await.unwrap();
    service.worker(|worker| worker);
    drained(&service.pond).await;
    assert_eq!((service.called.take(), rows(&service.pond)), (vec![4], 0));
}

#[tokio::test]
async fn pauses_and_cancels_of_jobs_that_wait_do_not_disturb_the_probe() {
    let service = Service::memory();
    let pond = &service.pond;
    service.worker(|worker| worker.circuit_breaker(breaker()));
    service.break_down(work).await;
    let ids = pond.enqueue_many("q", [work(3), work(4)]).await.unwrap();
    let queue = pond.queue("q").unwrap();
    queue.pause().await.unwrap();
    assert_eq!(service.after(OPEN_FOR).await, [0; 0]);
    assert_eq!(pond.explain(ids[0].id).unwrap(), Explanation::QueuePaused);
    pond.cancel(ids[0].id, "not needed").await.unwrap();
    queue.resume().await.unwrap();
    drained(pond).await;
    assert_eq!(service.called.take(), [4]);
    assert_eq!(service.circuit(), CLOSED);
}

#[tokio::test]
async fn a_probe_that_is_cancelled_while_it_runs_is_followed_by_another() {
    let service = Service::memory();
    let pond = &service.pond;
    let worker = service.worker(|worker| worker.circuit_breaker(breaker()));
    service.break_down(work).await;
    worker.stop().await.unwrap();
    let called = service.called.clone();
    let handler = move |job: Job<Work>, ctx: Context| {
        called.push(job.n);
        async move {
            if job.n == 3 {
                ctx.cancelled().await;
                return Err("cancelled".into());
            }
            Ok(())
        }
    };
    pond.worker("q").circuit_breaker(breaker()).handle(handler).start().unwrap();
    let ids = pond.enqueue_many("q", [work(3), work(4)]).await.unwrap();
    service.clock.advance(OPEN_FOR);
    running(pond, "q", 1).await;
    pond.cancel(ids[0].id, "by hand").await.unwrap();
    drained(pond).await;
    assert_eq!((service.called.take(), rows(pond)), (vec![3, 4], 0));
}

#[tokio::test]
async fn the_probe_of_a_batch_handler_is_a_batch_of_one() {
    let service = Service::memory();
    let pond = &service.pond;
    let worker = service.worker(|worker| worker.circuit_breaker(breaker()));
    service.break_down(work).await;
    worker.stop().await.unwrap();
    let calls = Log::new();
    let seen = calls.clone();
    let handler = move |jobs: Jobs<Work>| {
        seen.push(jobs.iter().map(|job| job.n).collect::<Vec<_>>());
        async { Ok(()) }
    };
    let batch = Batch::up_to(10).wait(SECOND);
    pond.worker("q").circuit_breaker(breaker()).handle_batch(batch, handler).start().unwrap();
    pond.enqueue_many("q", (3..6).map(work)).await.unwrap();
    service.clock.advance(OPEN_FOR);
    settled(pond).await;
    service.after(SECOND).await;
    assert_eq!(calls.all()[0], [3]);
    service.after(SECOND).await;
    drained(pond).await;
    assert_eq!(calls.all(), [vec![3], vec![4, 5]]);
}

#[tokio::test]
async fn a_circuit_goes_with_its_queue_and_follows_a_new_name() {
    let file = OnDisk::new();
    let service = Service::on(file.open(), file.clock.clone());
    let pond = &service.pond;
    let worker = service.worker(|worker| worker.circuit_breaker(breaker()).group_circuit_breaker(breaker()));
    service.break_down(|n| member("g", n)).await;
    worker.stop().await.unwrap();
    let queue = pond.queue("q").unwrap();
    queue.rename("renamed").await.unwrap();
    let renamed = pond.queue("renamed").unwrap();
    assert!(renamed.circuit().to_string().starts_with("open"));
    assert!(renamed.group_circuit("g").unwrap().to_string().starts_with("open"));
    assert_eq!(service.circuit(), CLOSED);
    renamed.obliterate().await.unwrap();
    assert_eq!(rows(pond), 0);
    // The next queue gets its number.
    service.worker(|worker| worker.circuit_breaker(breaker()).group_circuit_breaker(breaker()));
    pond.enqueue("q", member("g", 9)).await.unwrap();
    drained(pond).await;
    assert_eq!(service.called.take(), [9]);
}

#[tokio::test]
async fn a_group_that_has_no_jobs_any_more_loses_its_row() {
    let service = Service::memory();
    service.worker(|worker| worker.group_circuit_breaker(breaker()));
    service.break_down(|n| member("g", n)).await;
    for _ in 0..24 {
        service.after(HOUR).await;
    }
    assert_eq!(rows(&service.pond), 1);
    service.after(HOUR).await;
    assert_eq!(rows(&service.pond), 0);
    assert_sound(&service.pond).await;
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_when_the_worker_starts() {
    let (_, pond) = memory();
    let worker = || pond.worker("q").handle(|_: Job<Work>| async { Ok(()) });
    let bad = CircuitBreaker::failures(0.0);
    let refused = worker().circuit_breaker(bad).start().map(drop).unwrap_err();
    assert!(matches!(refused, Error::InvalidConfig { field: "circuit_breaker", .. }), "{refused}");
    let refused = worker().group_circuit_breaker(breaker().of(1_001)).start().map(drop).unwrap_err();
    assert!(matches!(refused, Error::InvalidConfig { field: "group_circuit_breaker", .. }), "{refused}");
    worker().circuit_breaker(breaker()).start().unwrap();
    let settings = pond.queue("q").unwrap().worker_settings().unwrap();
    assert_eq!((settings.circuit_breaker, settings.group_circuit_breaker), (Some(breaker()), None));
}

#[tokio::test]
async fn the_opening_is_logged_as_a_warning_and_the_closing_as_info() {
    let recorder = recorder();
    let (clock, pond) = memory();
    let one = CircuitBreaker::failures(1.0).of(1).open_for(SECOND);
    let handler = |job: Job<Work>| async move { if job.n == 1 { Err("503".into()) } else { Ok(()) } };
    pond.worker("log-circuit").retry(Retry::none()).circuit_breaker(one).handle(handler).start().unwrap();
    pond.enqueue("log-circuit", member("g", 1)).await.unwrap();
    idle(&pond).await;
    let probe = pond.enqueue("log-circuit", work(2)).await.unwrap();
    clock.advance(SECOND);
    drained(&pond).await;
    let lines = recorder.lines_with("queue", "log-circuit");
    let line = |text: &str| lines.iter().find(|line| line.fields["message"].starts_with(text)).unwrap();
    let (opened, closed) = (line("circuit opened"), line("circuit closed"));
    assert_eq!((opened.level, closed.level), (Level::WARN, Level::INFO));
    let field = |name: &str| &*opened.fields[name];
    assert_eq!((field("failures"), field("ends"), field("open_for")), ("1", "1", "1s"));
    assert_eq!(&*closed.fields["probe"], &*probe.to_string());
}

/// A handler that is told to stop often returns an error. That says nothing of what the breaker watches.
#[tokio::test]
async fn an_error_that_follows_a_stop_of_the_queue_does_not_count() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    pond.worker("q")
        .circuit_breaker(CircuitBreaker::failures(1.0).of(1))
        .handle(move |_: Job<Work>, ctx: Context| {
            let started = started.clone();
            async move {
                let _ = started.send(());
                ctx.cancelled().await;
                Handled::<()>::Err("stopped half-way".into())
            }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    starts.recv().await.unwrap();
    pond.shutdown(Duration::ZERO).await.unwrap();
    let pond = disk.open();
    assert_eq!(pond.job(id).unwrap().errors.len(), 1, "the attempt has failed");
    let circuit = pond.queue("q").unwrap().circuit();
    assert!(matches!(circuit, Circuit::Closed { .. }), "{circuit:?}");
}
