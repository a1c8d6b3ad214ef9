//! What the hook for dead jobs writes is committed with the dead letter, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use millpond::{
    BoxError, Builder, Capacity, Context, DeadJob, Error, Event, Handled, Job, Millpond, NewJob, Outcome,
    QueueSettings, Retry, State, Transaction, WhenFull,
};
use redb::{ReadableTable, TableDefinition};

use crate::support::on_event::OnEvent;
use crate::support::*;

/// How often the hook has written for a job, by its id.
const DEAD: TableDefinition<u64, u64> = TableDefinition::new("dead");

fn note(tx: &Transaction<'_>, dead: &DeadJob<'_>) -> Result<(), BoxError> {
    let mut table = tx.open_table(DEAD)?;
    let before = table.get(dead.id().get())?.map_or(0, |row| row.value());
    table.insert(dead.id().get(), before + 1)?;
    Ok(())
}

fn noted(pond: &Millpond) -> Vec<(u64, u64)> {
    match pond.begin_read().unwrap().open_table(DEAD) {
        Ok(table) => table.iter().unwrap().map(Result::unwrap).map(|(id, count)| (id.value(), count.value())).collect(),
        Err(_) => Vec::new(),
    }
}

fn noting(builder: Builder) -> Builder {
    builder.on_dead(note)
}

/// What the handler does, by the number of the job.
fn worker(pond: &Millpond) {
    let handler = |job: Job<Work>, ctx: Context| async move {
        match job.n {
            0 => return Ok(Outcome::done()),
            1 => return Handled::Err("no".into()),
            2 => return Ok(Outcome::dead_letter("never")),
            3 => panic!("no"),
            4 => ctx.on_complete(|_| Err("no".into())),
            5 => return Ok(Outcome::cancel("not needed")),
            _ => {}
        }
        Ok(Outcome::done())
    };
    pond.worker("q").concurrency(4).retry(Retry::none()).handle(handler).start().unwrap();
}

#[tokio::test]
async fn every_way_to_die_calls_the_hook_once_and_no_other_end_does() {
    let (clock, pond) = memory_with(noting);
    let mut ids = pond.enqueue_many("q", (0..6).map(work)).await.unwrap();
    let unreadable = pond.enqueue("q", NewJob::json("work", "no number")).await.unwrap();
    let expired = pond.enqueue("q", work(1).expires_in(SECOND)).await.unwrap();
    let cancelled = pond.enqueue("q", work(1)).await.unwrap();
    pond.cancel(cancelled, "not needed").await.unwrap();
    clock.advance(HOUR);
    worker(&pond);
    drained(&pond).await;
    assert_eq!((state(&pond, expired), state(&pond, cancelled)), (State::Cancelled, State::Cancelled));
    assert_eq!(state(&pond, ids[5]), State::Cancelled);
    ids.truncate(5);
    let dead = ids[1..].iter().chain([&unreadable]).map(|id| (id.id.get(), 1)).collect::<Vec<_>>();
    assert_eq!(noted(&pond), dead);
    assert_eq!(pond.queue("q").unwrap().counts().dead, 5);
}

#[tokio::test]
async fn the_hook_sees_the_job_and_why_it_is_dead() {
    let seen = Log::new();
    let log = seen.clone();
    let (clock, pond) = memory_with(|builder| {
        builder.on_dead(move |_, dead| {
            let payload: Work = dead.payload().decode()?;
            let errors: Vec<_> = dead.errors().iter().map(|error| (error.attempt, error.message.clone())).collect();
            let group = dead.group().unwrap_or_default().to_owned();
            let key = dead.unique_key().unwrap_or_default().to_owned();
            let names = (dead.queue().to_owned(), dead.kind().to_owned());
            log.push((names, payload.n, dead.attempts(), dead.reason().to_owned(), errors, group, key));
            Ok(())
        })
    });
    let retry = Retry::fixed(SECOND).jitter(0.0).max_attempts(2);
    let handler = |job: Job<Work>| async move { Err::<(), _>(format!("no {}", job.attempt()).into()) };
    pond.worker("q").retry(retry).handle(handler).start().unwrap();
    pond.enqueue("q", work(7).group("g").unique_key("k")).await.unwrap();
    drained(&pond).await;
    assert_eq!(seen.len(), 0, "an attempt is left");
    clock.advance(SECOND);
    drained(&pond).await;
    let errors = vec![(1, "no 1".to_owned()), (2, "no 2".to_owned())];
    let names = ("q".to_owned(), "work".to_owned());
    assert_eq!(seen.all(), [(names, 7, 2, "no attempts left".to_owned(), errors, "g".to_owned(), "k".to_owned())]);
}

#[tokio::test]
async fn what_the_hook_writes_is_durable_with_the_dead_letter() {
    let disk = OnDisk::new();
    let alert = |tx: &Transaction<'_>, dead: &DeadJob<'_>| {
        note(tx, dead)?;
        tx.enqueue("alerts", work(dead.id().get()))?;
        Ok(())
    };
    let pond = disk.builder().on_dead(alert).open(disk.path()).unwrap();
    worker(&pond);
    let ids = pond.enqueue_many("q", [0, 1, 2, 3].map(work)).await.unwrap();
    drained(&pond).await;
    let after = disk.crashed("copy.redb");
    let dead: Vec<_> = ids[1..].iter().map(|id| id.id.get()).collect();
    assert_eq!(noted(&after), dead.iter().map(|id| (*id, 1)).collect::<Vec<_>>());
    let alerts = record(&after, "alerts", 1);
    drained(&after).await;
    let mut alerts = alerts.all();
    alerts.sort_unstable();
    assert_eq!(alerts, dead);
}

#[tokio::test]
async fn a_hook_that_fails_writes_nothing_and_the_job_is_dead_all_the_same() {
    let (_, pond) = memory_with(|builder| {
        builder.on_dead(|tx, dead| {
            note(tx, dead)?;
            tx.enqueue("alerts", work(1))?;
            match dead.reason() {
                "fail" => Err("the hook says no".into()),
                "panic" => panic!("the hook panics"),
                _ => Ok(()),
            }
        })
    });
    let reasons = ["fail", "fine", "panic", "fine"];
    let handler = move |job: Job<Work>| async move { Ok(Outcome::dead_letter(reasons[job.n as usize])) };
    pond.worker("q").concurrency(4).handle(handler).start().unwrap();
    let mut events = pond.events();
    let ids = pond.enqueue_many("q", (0..4).map(work)).await.unwrap();
    drained(&pond).await;
    assert!(ids.iter().all(|id| state(&pond, *id) == State::Dead));
    assert_eq!(noted(&pond), [(ids[1].id.get(), 1), (ids[3].id.get(), 1)]);
    assert_eq!(pond.queue("alerts").unwrap().counts().enqueued_total, 2);
    assert_eq!(pond.queue("q").unwrap().counts().dead_total, 4);
    let heard = heard(&mut events);
    let failed: Vec<_> = heard
        .iter()
        .filter_map(|event| match event {
            Event::OnDeadFailed { id, error, .. } => Some((*id, error.as_str())),
            _ => None,
        })
        .collect();
    let panicked = "the closure panicked: the hook panics";
    assert_eq!(failed, [(ids[0].id, "the hook says no"), (ids[2].id, panicked)]);
    assert_eq!(heard.iter().filter(|event| matches!(event, Event::Dead { .. })).count(), 4);
    assert_eq!(pond.metrics().failed_total, 4, "a failure of the hook is no failed attempt");
}

#[tokio::test]
async fn writes_with_a_completion_that_fail_in_the_last_attempt_leave_only_what_the_hook_writes() {
    let (_, pond) = memory_with(noting);
    let handler = |_: Job<Work>, ctx: Context| async move {
        ctx.on_complete(|tx| {
            tx.open_table(DEAD)?.insert(1_000, 1)?;
            Err("no".into())
        });
        Ok(())
    };
    pond.worker("q").retry(Retry::none()).handle(handler).start().unwrap();
    let id = pond.enqueue("q", work(7)).await.unwrap();
    drained(&pond).await;
    assert_eq!((state(&pond, id), noted(&pond)), (State::Dead, vec![(id.id.get(), 1)]));
}

#[tokio::test]
async fn a_redriven_job_that_dies_again_calls_the_hook_again() {
    let (_, pond) = memory_with(noting);
    worker(&pond);
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    pond.dead_letters().redrive(id).await.unwrap();
    drained(&pond).await;
    assert_eq!((state(&pond, id), noted(&pond)), (State::Dead, vec![(id.id.get(), 2)]));
}

#[tokio::test]
async fn a_job_that_a_crash_ended_calls_the_hook_when_the_file_is_opened() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (handler, mut keeper) = gated_handler();
    pond.worker("q").concurrency(3).handle(handler).start().unwrap();
    let ids = pond.enqueue_many("q", (1..=3).map(|n| work(n).at_most_once())).await.unwrap();
    keeper.next(3).await;
    std::fs::copy(disk.path(), disk.dir.path().join("copy.redb")).unwrap();
    let called = Arc::new(AtomicUsize::new(0));
    let (count, refused) = (called.clone(), ids[1]);
    let hook = move |tx: &Transaction<'_>, dead: &DeadJob<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
        note(tx, dead)?;
        tx.enqueue("alerts", work(dead.id().get()))?;
        if dead.id() == refused { Err("the hook says no".into()) } else { Ok(()) }
    };
    let opened = disk.builder().on_dead(hook).open(disk.dir.path().join("copy.redb")).unwrap();
    assert!(ids.iter().all(|id| state(&opened, *id) == State::Dead));
    assert_eq!(noted(&opened), [(ids[0].id.get(), 1), (ids[2].id.get(), 1)]);
    // The first two, and the other two again without the one that it failed for.
    assert_eq!(called.load(Ordering::Relaxed), 4);
    let alerts = record(&opened, "alerts", 1);
    drained(&opened).await;
    assert_eq!(alerts.all(), [ids[0].id.get(), ids[2].id.get()]);
    assert_eq!(opened.verify().await.unwrap().problems, Vec::<String>::new());
    // Opened once more, nothing is written again.
    close(opened).await;
    let again = disk.builder().on_dead(note).open(disk.dir.path().join("copy.redb")).unwrap();
    assert_eq!(noted(&again), [(ids[0].id.get(), 1), (ids[2].id.get(), 1)]);
}

#[tokio::test]
async fn a_hook_that_fails_for_every_job_of_a_crash_is_called_64_times_and_each_failure_is_logged() {
    const JOBS: u64 = 70;
    let disk = OnDisk::new();
    let pond = disk.open();
    let (_, mut keeper) = {
        let (gate, keeper) = gate();
        let handler = move |job: Job<Work>| {
            let gate = gate.clone();
            async move {
                gate.pass(job.n).await;
                Ok(())
            }
        };
        (pond.worker("q").concurrency(JOBS as usize).handle(handler).start().unwrap(), keeper)
    };
    let ids = pond.enqueue_many("q", (0..JOBS).map(|n| work(n).at_most_once())).await.unwrap();
    keeper.next(JOBS as usize).await;
    let copy = disk.dir.path().join("copy.redb");
    std::fs::copy(disk.path(), &copy).unwrap();
    let (called, logged) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = called.clone();
    let hook = move |tx: &Transaction<'_>, dead: &DeadJob<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
        note(tx, dead)?;
        Err("the hook says no".into())
    };
    let lines = logged.clone();
    let subscriber = OnEvent {
        wants: |metadata: &tracing::Metadata<'_>| *metadata.level() == tracing::Level::ERROR,
        then: move |_: &tracing::Event<'_>| {
            lines.fetch_add(1, Ordering::Relaxed);
        },
    };
    let builder = disk.builder().on_dead(hook);
    let opened = tracing::subscriber::with_default(subscriber, || builder.open(&copy).unwrap());
    assert_eq!((called.load(Ordering::Relaxed), logged.load(Ordering::Relaxed)), (64, JOBS as usize));
    assert!(ids.iter().all(|id| state(&opened, *id) == State::Dead));
    assert_eq!(noted(&opened), []);
}

#[tokio::test]
async fn the_hook_is_dropped_when_the_queue_is_closed_even_if_it_holds_a_handle() {
    struct TellsDrop(Arc<AtomicBool>);
    impl Drop for TellsDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let is_dropped = Arc::new(AtomicBool::new(false));
    let held = TellsDrop(is_dropped.clone());
    let own: Arc<std::sync::OnceLock<Millpond>> = Arc::default();
    let handle = own.clone();
    let (_, pond) = memory_with(|builder| {
        builder.on_dead(move |_, _| {
            let _ = (&held, handle.get());
            Ok(())
        })
    });
    own.set(pond.clone()).unwrap();
    drop(own);
    pond.shutdown(Duration::from_secs(10)).await.unwrap();
    assert!(is_dropped.load(Ordering::SeqCst));
}

/// The failures of the hook that events have told.
fn failures(events: &mut millpond::Events) -> Vec<(u64, String)> {
    let heard = heard(events).into_iter();
    let failed = heard.filter_map(|event| match event {
        Event::OnDeadFailed { id, error, .. } => Some((id.get(), error)),
        _ => None,
    });
    failed.collect()
}

/// Holds the disk's syncs until the handlers of `jobs` jobs have returned and `calls` were made, so that they share a batch.
async fn at_once<T: Send + 'static>(
    pond: &Millpond,
    disk: &SimDisk,
    keeper: &mut Keeper,
    jobs: usize,
    calls: Vec<millpond::Commit<T>>,
) -> Vec<Result<T, Error>> {
    keeper.next(jobs).await;
    let queue = pond.queue("q").unwrap();
    let held = hold_writer(pond, disk).await;
    let calls: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
    keeper.let_go(jobs);
    while queue.counts().running > 0 {
        tokio::task::yield_now().await;
    }
    disk.release_syncs();
    held.await.unwrap().unwrap();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    drained(pond).await;
    answers
}

#[tokio::test]
async fn a_hook_that_fails_undoes_nothing_of_what_others_wrote_in_its_batch() {
    const JOBS: usize = 60;
    let disk = SimDisk::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let hook = move |tx: &Transaction<'_>, dead: &DeadJob<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
        note(tx, dead)?;
        tx.enqueue("alerts", work(dead.id().get()))?;
        if dead.payload().decode::<Work>()?.n % 2 == 1 { Err("no".into()) } else { Ok(()) }
    };
    let pond = Millpond::builder().on_dead(hook).open_backend(disk.clone()).unwrap();
    let (gate, mut keeper) = gate();
    let handler = move |job: Job<Work>, ctx: Context| {
        let gate = gate.clone();
        async move {
            gate.pass(job.n).await;
            match job.n % 3 {
                0 => Ok(Outcome::dead_letter("never")),
                // Its writes fail, and then the hook does, if the number is odd.
                1 => {
                    ctx.on_complete(|tx| {
                        tx.open_table(DEAD)?.insert(1_000, 1)?;
                        Err("no".into())
                    });
                    Ok(Outcome::done())
                }
                _ => Err("no".into()),
            }
        }
    };
    pond.worker("q").concurrency(JOBS).no_timeout().retry(Retry::none()).handle(handler).start().unwrap();
    let mut events = pond.events();
    let ids = pond.enqueue_many("q", (0..JOBS as u64).map(work)).await.unwrap();
    let beside = vec![
        pond.transaction(|tx| Ok(tx.open_table(DEAD)?.insert(2_000, 1).map(drop)?)),
        pond.transaction(|tx| {
            tx.open_table(DEAD)?.insert(3_000, 1)?;
            Err("no".into())
        }),
        pond.transaction(|tx| Ok(tx.enqueue("others", work(1)).map(drop)?)),
    ];
    let answers = at_once(&pond, &disk, &mut keeper, JOBS, beside).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert!(ids.iter().all(|id| state(&pond, *id) == State::Dead));
    let told = |odd: usize| ids.iter().skip(odd).step_by(2).map(|id| id.id.get());
    assert_eq!(noted(&pond), told(0).chain([2_000]).map(|id| (id, 1)).collect::<Vec<_>>());
    let mut failed: Vec<u64> = failures(&mut events).into_iter().map(|(id, _)| id).collect();
    failed.sort_unstable();
    assert_eq!(failed, told(1).collect::<Vec<_>>(), "each failure is told once");
    let counts = |queue| pond.queue(queue).unwrap().counts();
    assert_eq!((counts("alerts").pending, counts("others").pending), (JOBS as u64 / 2, 1));
    // Once in the batch that is undone, and once or twice more.
    let calls = calls.load(Ordering::Relaxed);
    assert!(calls <= 3 * JOBS, "the hook was called {calls} times for {JOBS} jobs");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn the_hook_may_use_the_room_that_the_dead_job_leaves_and_fails_where_a_queue_is_full() {
    let (_, pond) = memory_with(|builder| {
        builder.on_dead(|tx, dead| {
            let queue = if dead.queue() == "q" { "full" } else { dead.queue() };
            tx.enqueue(queue, NewJob::raw("other", "again"))?;
            Ok(())
        })
    });
    let full = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(WhenFull::Refuse);
    for queue in ["own", "full"] {
        pond.queue(queue).unwrap().configure(full.clone()).await.unwrap();
    }
    pond.enqueue("full", work(0)).await.unwrap();
    let mut events = pond.events();
    let never = |_: Job<Work>| async { Ok(Outcome::dead_letter("never")) };
    for queue in ["own", "q"] {
        pond.worker(queue).handle(never).start().unwrap();
    }
    let own = pond.enqueue("own", work(1)).await.unwrap();
    let refused = pond.enqueue("q", work(2)).await.unwrap();
    drained(&pond).await;
    assert_eq!((state(&pond, own), state(&pond, refused)), (State::Dead, State::Dead));
    let counts = |queue| pond.queue(queue).unwrap().counts();
    assert_eq!((counts("own").pending, counts("full").pending), (1, 1));
    let failures = failures(&mut events);
    assert!(
        matches!(&failures[..], [(id, error)] if *id == refused.id.get() && error.contains("full")),
        "{failures:?}"
    );
}

#[tokio::test]
async fn a_call_that_waits_for_the_queue_is_refused_in_the_hook() {
    let own: Arc<std::sync::OnceLock<Millpond>> = Arc::default();
    let (handle, seen) = (own.clone(), Log::new());
    let log = seen.clone();
    let (_, pond) = memory_with(|builder| {
        builder.on_dead(move |tx, dead| {
            let pond = handle.get().expect("it is set before a job dies");
            log.push(matches!(pond.begin_write(), Err(Error::WouldDeadlock)));
            note(tx, dead)
        })
    });
    own.set(pond.clone()).unwrap();
    worker(&pond);
    let id = pond.enqueue("q", work(2)).await.unwrap();
    drained(&pond).await;
    assert_eq!((seen.all(), noted(&pond)), (vec![true], vec![(id.id.get(), 1)]));
}

#[tokio::test]
async fn a_dead_job_that_is_not_kept_calls_the_hook_too() {
    let (_, pond) = memory_with(noting);
    let nothing = millpond::Retention::default().dead(millpond::Keep::NOTHING);
    pond.queue("q").unwrap().configure(QueueSettings::default().retention(nothing)).await.unwrap();
    worker(&pond);
    let id = pond.enqueue("q", work(2)).await.unwrap();
    drained(&pond).await;
    assert_eq!((noted(&pond), pond.queue("q").unwrap().counts().dead_total), (vec![(id.id.get(), 1)], 1));
}
