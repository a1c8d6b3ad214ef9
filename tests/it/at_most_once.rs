//! A job that runs at most once is never called again once its handler may have been called, whatever happens.

use std::time::Duration;

use millpond::{Context, Error, FailureKind, Job, JobId, Millpond, NewJob, Outcome, Retry, State, WorkerBuilder};

use crate::support::*;

fn once(n: u64) -> NewJob {
    work(n).at_most_once()
}

/// A worker whose handlers record their job and wait at a gate.
fn at_a_gate(builder: WorkerBuilder) -> (Log<u64>, Keeper) {
    let (gate, keeper) = gate();
    let ran = Log::new();
    let log = ran.clone();
    builder
        .no_timeout()
        .handle(move |job: Job<Work>| {
            let (gate, log) = (gate.clone(), log.clone());
            async move {
                log.push(job.n);
                gate.pass(job.n).await;
                Ok(())
            }
        })
        .start()
        .unwrap();
    (ran, keeper)
}

fn assert_cut_short(pond: &Millpond, id: impl Into<JobId>, how: &str) {
    let id = id.into();
    let info = pond.job(id).unwrap();
    let reason = info.reason.unwrap_or_default();
    assert_eq!((info.state, info.attempts), (State::Dead, 1), "job {id}: {reason}");
    assert_eq!((info.errors.len(), info.errors[0].kind), (1, FailureKind::Crash));
    assert!(reason.starts_with("it runs at most once: ") && reason.contains(how), "{reason}");
}

#[tokio::test]
async fn a_job_that_runs_at_a_crash_becomes_a_dead_letter_whenever_the_crash_is() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (_, mut keeper) = at_a_gate(pond.worker("q").concurrency(2));
    let jobs = [once(1), work(2).max_attempts(1)];
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    let waits = pond.enqueue("q", once(3)).await.unwrap();
    keeper.next(2).await;
    // No time has passed, so the file does not have the start marks of ordinary jobs yet.
    let at_once = disk.crashed("at_once.redb");
    assert_cut_short(&at_once, ids[0], "the process died");
    assert_eq!(at_once.job(ids[1]).unwrap().errors.len(), 0);
    starts_written(&pond, &disk.clock).await;
    let later = disk.crashed("later.redb");
    for (name, pond) in [("at once", at_once), ("later", later)] {
        let ran = record(&pond, "q", 1);
        drained(&pond).await;
        disk.clock.advance(HOUR);
        drained(&pond).await;
        assert_eq!(ran.all(), [2, 3], "{name}: the others run");
        assert_cut_short(&pond, ids[0], "the process died");
        assert!(matches!(pond.job(waits), Err(Error::NoSuchJob { .. })));
    }
}

#[tokio::test]
async fn a_worker_can_run_all_its_jobs_at_most_once() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let worker = pond.worker("q").at_most_once().retry(Retry::fixed(SECOND).max_attempts(9));
    let (_, mut keeper) = at_a_gate(worker.concurrency(3));
    let ids = pond.enqueue_many("q", [work(1), work(2).max_attempts(7), member("g", 3)]).await.unwrap();
    let next = pond.enqueue("q", member("g", 4)).await.unwrap();
    keeper.next(3).await;
    let pond = disk.crashed("copy.redb");
    for id in ids {
        assert_cut_short(&pond, id, "the process died");
    }
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [4], "its group continues");
    assert!(pond.job(next).is_err());
}

#[tokio::test]
async fn the_handler_is_not_called_before_the_start_is_durable() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    let (_, mut keeper) = at_a_gate(pond.worker("q"));
    disk.hold_syncs();
    let held = tokio::spawn(pond.enqueue("q", once(3)));
    let block = |disk: SimDisk| tokio::task::spawn_blocking(move || disk.wait_for_sync());
    block(disk.clone()).await.unwrap();
    disk.release_syncs();
    held.await.unwrap().unwrap();
    keeper.next(1).await;
    let image = disk.after_kill();
    let after = Millpond::builder().open_backend(image).unwrap();
    assert_eq!(after.dead_letters().count(&Default::default()).unwrap(), 1, "the start is in the file");
    keeper.let_go(1);
    drained(&pond).await;
}

#[tokio::test]
async fn a_job_that_runs_at_a_stop_becomes_a_dead_letter_and_a_waiting_one_stays() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (ran, mut keeper) = at_a_gate(pond.worker("q").concurrency(2));
    let ids = pond.enqueue_many("q", [once(1), work(2), once(3)]).await.unwrap();
    keeper.next(2).await;
    pond.shutdown(Duration::ZERO).await.unwrap();
    assert_eq!(ran.len(), 2);
    drop(pond);
    let pond = disk.open();
    assert_cut_short(&pond, ids[0], "the process was stopped");
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [2, 3]);
}

#[tokio::test]
async fn a_handler_is_not_called_again_however_it_fails() {
    let (clock, pond) = memory();
    let ran = Log::new();
    let (log, hands) = (ran.clone(), clock.clone());
    pond.worker("q")
        .concurrency(1)
        .timeout(SECOND)
        .retry(Retry::fixed(Duration::ZERO).max_attempts(5))
        .handle(move |job: Job<Work>, ctx: Context| {
            log.push(job.n);
            assert_eq!((job.attempt(), job.max_attempts()), (1, 1));
            let clock = hands.clone();
            async move {
                match job.n {
                    1 => Err("boom".into()),
                    2 => panic!("boom"),
                    3 => Ok(Outcome::retry_after("boom", Duration::ZERO)),
                    4 => {
                        ctx.on_complete(|_| Err("boom".into()));
                        Ok(Outcome::Done(None))
                    }
                    5 => {
                        clock.advance(SECOND);
                        Ok(Outcome::Done(None))
                    }
                    _ => Ok(Outcome::Done(None)),
                }
            }
        })
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", (1..=6).map(once)).await.unwrap();
    assert_eq!((drained(&pond).await.dead, ran.all()), (5, vec![1, 2, 3, 4, 5, 6]));
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(ran.len(), 6);
    for id in &ids[..5] {
        let info = pond.job(*id).unwrap();
        assert_eq!((info.state, info.attempts, info.reason.as_deref()), (State::Dead, 1, Some("no attempts left")));
    }
}

#[tokio::test]
async fn a_job_is_not_run_again_whether_or_not_its_end_is_durable() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    let (_, mut keeper) = at_a_gate(pond.worker("q"));
    let id = pond.enqueue("q", once(1)).await.unwrap();
    keeper.entered().await;
    disk.hold_syncs();
    keeper.let_go(1);
    tokio::task::spawn_blocking({
        let disk = disk.clone();
        move || disk.wait_for_sync()
    })
    .await
    .unwrap();
    // A write that is not synced may or may not be in this image: in both cases the job does not run again.
    let before = disk.after_kill();
    disk.release_syncs();
    drained(&pond).await;
    for image in [before, disk.after_kill()] {
        let after = Millpond::builder().open_backend(image).unwrap();
        let ran = record(&after, "q", 1);
        drained(&after).await;
        assert_eq!(ran.len(), 0);
        assert!(after.job(id).is_err() || state(&after, id) == State::Dead);
    }
}

#[tokio::test]
async fn a_job_runs_again_if_its_handler_asks_for_it_or_an_operator_redrives_it() {
    let (clock, pond) = memory();
    let ran = Log::new();
    let log = ran.clone();
    pond.worker("q")
        .handle(move |_: Job<Work>| {
            log.push(());
            let answer = match log.len() {
                1 => Ok(Outcome::snooze(SECOND)),
                2 => Ok(Outcome::rate_limited(SECOND)),
                3 => Err("boom".into()),
                _ => Ok(Outcome::Done(None)),
            };
            async { answer }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", once(1)).await.unwrap();
    for calls in 1..=3 {
        drained(&pond).await;
        assert_eq!(ran.len(), calls);
        clock.advance(SECOND);
    }
    assert_eq!(state(&pond, id), State::Dead);
    pond.dead_letters().redrive(id).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.len(), 4);
}

#[tokio::test]
async fn a_job_with_earlier_attempts_has_one_more_attempt_under_an_at_most_once_worker() {
    let (clock, pond) = memory();
    let attempts = Log::new();
    let failing = |builder: WorkerBuilder| {
        let log = attempts.clone();
        let handler = move |job: Job<Work>| {
            log.push((job.attempt(), job.max_attempts()));
            async { Err::<(), _>("boom".into()) }
        };
        builder.retry(Retry::fixed(SECOND).jitter(0.0).max_attempts(9)).handle(handler).start().unwrap()
    };
    let often = failing(pond.worker("q"));
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    often.stop();
    failing(pond.worker("q").at_most_once());
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!((attempts.all(), state(&pond, id)), (vec![(1, 9), (2, 2)], State::Dead));
}

#[tokio::test]
async fn at_most_once_is_shown_for_a_job_and_refused_together_with_more_attempts() {
    let (_, pond) = memory();
    let id = pond.enqueue("q", once(1)).await.unwrap();
    let info = pond.job(id).unwrap();
    assert_eq!((info.at_most_once, info.max_attempts), (true, Some(1)));
    let id = pond.enqueue("q", work(1).max_attempts(1)).await.unwrap();
    assert!(!pond.job(id).unwrap().at_most_once);
    pond.enqueue("q", once(1).max_attempts(1)).await.unwrap();
    let refused = pond.enqueue("q", once(1).max_attempts(2)).await;
    assert!(matches!(refused, Err(Error::InvalidConfig { field: "at_most_once", .. })), "{refused:?}");
    let refused = pond.enqueue("q", once(1).max_attempts(0)).await;
    assert!(matches!(refused, Err(Error::InvalidConfig { field: "max_attempts", .. })), "{refused:?}");
}

/// The task that would call the handler waits for its runtime while the queue is stopped: the job is given back
/// uncalled.
#[test]
fn a_handler_is_not_called_after_a_stop_has_given_its_job_back() {
    let disk = OnDisk::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let called = Log::new();
    let id = runtime.block_on(async {
        let pond = disk.open();
        let log = called.clone();
        let handler = move |job: Job<Work>| {
            // This runs before the future that the handler returns is polled.
            log.push(job.n);
            async { Ok(()) }
        };
        pond.worker("q").handle(handler).start().unwrap();
        // This thread is the only one of the runtime, and it does not yield from here on.
        let id = pond.enqueue("q", once(1)).wait().unwrap();
        while pond.metrics().starts_total == 0 {
            std::thread::yield_now();
        }
        pond.shutdown(Duration::ZERO).wait().unwrap();
        drop(pond);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        id
    });
    assert_eq!(called.all(), [0; 0]);
    let info = disk.open().job(id).unwrap();
    assert_eq!((info.state, info.attempts, info.errors.len()), (State::Pending, 0, 0));
}
