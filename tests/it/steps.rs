//! Steps: what a handler has done before it has ended is durable, and is not done again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond::{
    Context, Error, Explanation, FailureKind, Job, JobFilter, JobId, Millpond, NewJob, Outcome, Retry, State, StepState,
};
use redb::{ReadableTable, TableDefinition};

use crate::support::*;

const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");

fn at_once() -> Retry {
    Retry::fixed(Duration::from_secs(1)).jitter(0.0).max_attempts(5)
}

/// A worker whose job logs each step that it runs, and fails `failures` times before the last one.
fn worker(pond: &Millpond, failures: u64) -> Log<String> {
    let (log, failures) = (Log::new(), Failures::of(failures));
    let seen = log.clone();
    pond.worker("q")
        .retry(at_once())
        .handle(move |job: Job<Work>, ctx: Context| {
            let (log, failures) = (seen.clone(), failures.clone());
            async move {
                for _ in 0..2 {
                    let charged: u64 = ctx
                        .step("charge", || async {
                            log.push("charge".into());
                            Ok::<_, Error>(job.n * 2)
                        })
                        .await?;
                    assert_eq!(charged, job.n * 2);
                }
                failures.next()?;
                ctx.step("mail", || async {
                    log.push("mail".into());
                    Ok::<_, Error>(())
                })
                .await?;
                Ok(())
            }
        })
        .start()
        .unwrap();
    log
}

fn names(pond: &Millpond, id: JobId) -> Vec<String> {
    pond.steps(id).unwrap().into_iter().map(|step| step.name).collect()
}

#[tokio::test]
async fn a_step_runs_once_whatever_fails_behind_it() {
    let (clock, pond) = memory();
    let log = worker(&pond, 2);
    let id = pond.enqueue("q", work(4)).await.unwrap().id;
    for attempt in 1..=2 {
        drained(&pond).await;
        let job = pond.job(id).unwrap();
        assert_eq!((job.state, job.attempts), (State::Retrying, attempt));
        assert_eq!(names(&pond, id), ["charge", "charge#2"]);
        assert_sound(&pond).await;
        clock.advance(Duration::from_secs(1));
    }
    drained(&pond).await;
    assert_eq!(log.take(), ["charge", "charge", "mail"]);
    assert!(matches!(pond.job(id), Err(Error::NoSuchJob { .. })));
    assert!(pond.steps(id).unwrap().is_empty(), "the steps are removed with the job");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn attempts_are_counted_from_the_last_step_if_the_worker_says_so() {
    for from_last_step in [false, true] {
        let (clock, pond) = memory();
        let (calls, second) = (Log::new(), Arc::new(AtomicU64::new(0)));
        let seen = calls.clone();
        let retry = Retry::fixed(SECOND).jitter(0.0).max_attempts(2);
        pond.worker("q")
            .retry(if from_last_step { retry.from_last_step() } else { retry })
            .handle(move |_: Job<Work>, ctx: Context| {
                let (calls, second) = (seen.clone(), second.clone());
                async move {
                    calls.push(ctx.attempt());
                    for name in ["one", "two", "three"] {
                        let call = || async {
                            if second.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) { Err("503") } else { Ok(()) }
                        };
                        ctx.step(name, call).await?;
                    }
                    Ok(())
                }
            })
            .start()
            .unwrap();
        let id = pond.enqueue("q", work(1)).await.unwrap().id;
        for _ in 0..8 {
            drained(&pond).await;
            clock.advance(SECOND);
        }
        if from_last_step {
            assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1);
        } else {
            assert_eq!(state(&pond, id), State::Dead);
        }
        assert_eq!(calls.take(), if from_last_step { &[1, 2, 2, 2][..] } else { &[1, 2] });
        assert_sound(&pond).await;
    }
}

#[tokio::test]
async fn a_step_that_fails_is_not_stored_and_runs_again() {
    let (clock, pond) = memory();
    let (runs, failures) = (Log::new(), Failures::of(1));
    let seen = runs.clone();
    pond.worker("q")
        .retry(at_once())
        .handle(move |_: Job<Work>, ctx: Context| {
            let (runs, failures) = (seen.clone(), failures.clone());
            async move {
                let run = || async {
                    runs.push(());
                    failures.next()
                };
                ctx.step("fragile", run).await?;
                Ok(())
            }
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    clock.advance(Duration::from_secs(1));
    drained(&pond).await;
    assert_eq!(runs.len(), 2);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_goes_on_behind_its_last_step_after_a_kill() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (log, (gate, mut keeper)) = (Log::new(), gate());
    let seen = log.clone();
    pond.worker("q")
        .handle(move |job: Job<Work>, ctx: Context| {
            let (log, gate) = (seen.clone(), gate.clone());
            async move {
                let step = || async {
                    log.push("before the kill");
                    Ok::<_, Error>(7_u64)
                };
                assert_eq!(ctx.step("first", step).await?, 7);
                gate.pass(job.n).await;
                Ok(())
            }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    keeper.entered().await;
    let killed = disk.crashed("killed.redb");
    assert_sound(&killed).await;
    assert_eq!(names(&killed, id), ["first"]);
    let after = Log::new();
    let seen = after.clone();
    killed
        .worker("q")
        .handle(move |_: Job<Work>, ctx: Context| {
            let log = seen.clone();
            async move {
                let step = || async {
                    log.push("after the kill");
                    Ok::<_, Error>(8_u64)
                };
                log.push(if ctx.step("first", step).await? == 7 { "was stored" } else { "was lost" });
                Ok(())
            }
        })
        .start()
        .unwrap();
    drained(&killed).await;
    assert_eq!(after.take(), ["was stored"]);
    assert_sound(&killed).await;
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!(log.take(), ["before the kill"]);
}

#[tokio::test]
async fn the_rows_of_a_step_are_written_once_with_its_result() {
    let (clock, pond) = memory();
    let failures = Failures::of(2);
    pond.worker("q")
        .retry(at_once())
        .handle(move |job: Job<Work>, ctx: Context| {
            let failures = failures.clone();
            async move {
                let key = job.n;
                let row: u64 = ctx
                    .step_tx("row", move |tx| {
                        let mut rows = tx.open_table(ROWS)?;
                        let was = rows.get(key)?.map_or(0, |was| was.value());
                        rows.insert(key, was + 1)?;
                        tx.enqueue("other", work(key))?;
                        Ok(was + 1)
                    })
                    .await?;
                assert_eq!(row, 1);
                failures.next()?;
                Ok(())
            }
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(5)).await.unwrap();
    for _ in 0..3 {
        drained(&pond).await;
        clock.advance(Duration::from_secs(1));
    }
    let written = pond.begin_read().unwrap().open_table(ROWS).unwrap().get(5).unwrap().unwrap().value();
    assert_eq!((written, pond.queue("other").unwrap().counts().pending), (1, 1));
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_sleeping_job_leaves_memory_and_comes_back_without_using_an_attempt() {
    let (clock, pond) = memory();
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .concurrency(1)
        .handle(move |_: Job<Work>, ctx: Context| {
            let log = seen.clone();
            async move {
                log.push("called");
                ctx.sleep("first", HOUR).await?;
                ctx.sleep("second", HOUR).await?;
                log.push("awake");
                Ok(())
            }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    for calls in 1..=2 {
        drained(&pond).await;
        assert_eq!(log.len(), calls);
        let job = pond.job(id).unwrap();
        assert_eq!((job.state, job.attempts, job.errors.len()), (State::Scheduled, 0, 0));
        assert!(matches!(pond.steps(id).unwrap().last().unwrap().state, StepState::Sleeps { .. }));
        assert_sound(&pond).await;
        clock.advance(HOUR);
    }
    drained(&pond).await;
    assert_eq!(log.take(), ["called", "called", "called", "awake"]);
    assert_sound(&pond).await;
}

/// A worker that waits for the signal `go` and returns what came with it.
fn waits_for_go(pond: &Millpond, timeout: Option<Duration>) {
    pond.worker("q")
        .handle(move |_: Job<Work>, ctx: Context| async move {
            let came: Option<String> = ctx.wait_for("go", timeout).await?;
            Outcome::done_json(&came)
        })
        .start()
        .unwrap();
}

#[tokio::test]
async fn a_signal_wakes_the_job_that_waits_for_it() {
    let (_clock, pond) = memory();
    waits_for_go(&pond, None);
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    drained(&pond).await;
    assert_eq!(state(&pond, id), State::Scheduled);
    let why = pond.explain(id).unwrap();
    assert!(matches!(&why, Explanation::AwaitsSignal { signal, .. } if signal == "go"), "{why:?}");
    assert!(pond.signal_job(id, "other", "x").await.unwrap());
    drained(&pond).await;
    assert_eq!(state(&pond, id), State::Scheduled, "that was another signal");
    pond.queue("q").unwrap().pause().await.unwrap();
    assert!(pond.signal_job(id, "go", "ada").await.unwrap());
    assert!(!pond.signal_job(id, "go", "bob").await.unwrap(), "the first one counts");
    assert_eq!(state(&pond, id), State::Pending);
    assert_sound(&pond).await;
    pond.queue("q").unwrap().resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().result_json::<String>().unwrap().unwrap(), "ada");
    assert_sound(&pond).await;
    assert!(matches!(pond.signal_job(id, "late", "x").await, Err(Error::NoSuchJob { .. })));
}

#[tokio::test]
async fn a_signal_that_comes_before_it_is_awaited_is_kept() {
    let (_clock, pond) = memory();
    for group in [None, Some("g")] {
        let job = group.map_or(work(1), |group| member(group, 1));
        let id = pond.enqueue("q", job).await.unwrap().id;
        assert!(pond.signal_job(id, "go", "early").await.unwrap());
        assert_sound(&pond).await;
    }
    let blocked =
        pond.flow("f", |flow| drop(flow.job("q", work(1)).after(&flow.signal("never")))).await.unwrap().jobs[0];
    assert!(pond.signal_job(blocked, "go", "early").await.unwrap());
    assert_eq!(state(&pond, blocked), State::Blocked);
    assert_sound(&pond).await;
    waits_for_go(&pond, None);
    drained(&pond).await;
    let done = pond.jobs(&JobFilter::new().state(State::Completed), None, 10).unwrap().jobs;
    assert_eq!(done.len(), 2);
    for job in done {
        assert_eq!(job.result_json::<String>().unwrap().unwrap(), "early");
    }
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_signal_for_a_running_job_is_not_lost() {
    let (_clock, pond) = memory();
    let (gate, mut keeper) = gate();
    pond.worker("q")
        .handle(move |job: Job<Work>, ctx: Context| {
            let gate = gate.clone();
            async move {
                // The first job is signalled before it waits, and the second one between its wait and its end.
                if job.n == 1 {
                    gate.pass(job.n).await;
                }
                let came: Result<Option<String>, _> = ctx.wait_for("go", None).await;
                if job.n == 2 && came.is_err() {
                    gate.pass(job.n).await;
                }
                Outcome::done_json(&came?)
            }
        })
        .start()
        .unwrap();
    for n in 1..=2 {
        let id = pond.enqueue("q", work(n)).await.unwrap().id;
        assert_eq!(keeper.entered().await, n);
        assert!(pond.signal_job(id, "go", "ada").await.unwrap());
        keeper.let_go(1);
        drained(&pond).await;
        assert_eq!(pond.job(id).unwrap().result_json::<String>().unwrap().unwrap(), "ada", "job {n}");
        assert_sound(&pond).await;
    }
}

#[tokio::test]
async fn a_wait_ends_at_its_timeout() {
    let (clock, pond) = memory();
    waits_for_go(&pond, Some(HOUR));
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    drained(&pond).await;
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().result_json::<Option<String>>().unwrap(), Some(None));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_step_that_is_something_else_by_now_is_told_by_name_and_kills_the_job() {
    let (clock, pond) = memory();
    let (failures, calls) = (Failures::of(1), Log::new());
    let seen = calls.clone();
    pond.worker("q")
        .retry(at_once())
        .handle(move |_: Job<Work>, ctx: Context| {
            let (failures, calls) = (failures.clone(), seen.clone());
            async move {
                calls.push(());
                if failures.next().is_err() {
                    ctx.step("amount", || async { Ok::<_, Error>("seven".to_owned()) }).await?;
                    return Err("fails".into());
                }
                let _: u64 = ctx.step("amount", || async { Ok::<_, Error>(7) }).await?;
                Ok(())
            }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    drained(&pond).await;
    clock.advance(Duration::from_secs(1));
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, calls.len()), (State::Dead, 2));
    let error = job.errors.last().unwrap();
    assert_eq!(error.kind, FailureKind::Undecodable);
    assert!(error.message.contains("\"amount\""), "{}", error.message);
    assert_eq!(names(&pond, id), ["amount"], "the steps of a dead letter stay");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_redriven_job_goes_on_behind_its_steps() {
    let (_clock, pond) = memory();
    let log = worker(&pond, 1);
    let id = pond.enqueue("q", work(4).max_attempts(1)).await.unwrap().id;
    drained(&pond).await;
    assert_eq!(state(&pond, id), State::Dead);
    assert_sound(&pond).await;
    pond.dead_letters().redrive(id).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.take(), ["charge", "charge", "mail"]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn the_steps_of_a_job_go_with_it_wherever_it_ends() {
    let (clock, pond) = memory();
    let _log = worker(&pond, 100);
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(pond.enqueue("q", work(n)).await.unwrap().id);
    }
    drained(&pond).await;
    assert!(ids.iter().all(|id| names(&pond, *id).len() == 2));
    pond.cancel(ids[0], "no").await.unwrap();
    pond.delete(ids[1]).await.unwrap();
    assert!(pond.move_to(ids[2], "other").await.unwrap());
    assert_sound(&pond).await;
    assert_eq!(names(&pond, ids[2]).len(), 2);
    assert!(names(&pond, ids[1]).is_empty());
    clock.advance(Duration::from_secs(1));
    drained(&pond).await;
    pond.queue("other").unwrap().obliterate().await.unwrap();
    assert!(names(&pond, ids[2]).is_empty());
    assert_sound(&pond).await;
}

#[tokio::test]
async fn too_many_steps_are_refused_by_name() {
    let (_clock, pond) = memory();
    let told = Log::new();
    let seen = told.clone();
    pond.worker("q")
        .retry(Retry::none())
        .handle(move |_: Job<Work>, ctx: Context| {
            let told = seen.clone();
            async move {
                let large = || async { Ok::<_, Error>("x".repeat(600_000)) };
                ctx.step("large", large).await?;
                told.push(ctx.step("large", large).await.unwrap_err().to_string());
                told.push(ctx.step("", large).await.unwrap_err().to_string());
                told.push(ctx.step("a#b", large).await.unwrap_err().to_string());
                for _ in 1..1_000 {
                    ctx.step("small", || async { Ok::<_, Error>(()) }).await?;
                }
                told.push(ctx.step("one more", || async { Ok::<_, Error>(()) }).await.unwrap_err().to_string());
                Ok(())
            }
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    let told = told.take();
    assert_eq!(told.len(), 4);
    assert!(told[0].contains("1048576") && told[3].contains("1000"), "{told:?}");
    assert!(told[2].contains('#'), "{told:?}");
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn handlers_that_block_have_steps_too() {
    let (clock, pond) = memory();
    let (log, failures) = (Log::new(), Failures::of(1));
    let seen = log.clone();
    pond.worker("q")
        .retry(at_once())
        .handle_blocking(move |job: Job<Work>, ctx: Context| {
            let twice: u64 = ctx.step_blocking("twice", || {
                seen.push(job.n);
                Ok::<_, Error>(job.n * 2)
            })?;
            failures.next()?;
            Outcome::done_json(&twice)
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(3)).await.unwrap().id;
    drained(&pond).await;
    clock.advance(Duration::from_secs(1));
    drained(&pond).await;
    assert_eq!(log.take(), [3]);
    assert_eq!(pond.job(id).unwrap().result_json::<u64>().unwrap(), Some(6));
    assert_eq!(names(&pond, id), ["twice"], "a job that is kept keeps its steps");
    assert_sound(&pond).await;
    clock.advance(400 * 24 * HOUR);
    drained(&pond).await;
    assert!(names(&pond, id).is_empty());
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_plain_job_has_no_steps_and_a_test_outside_of_a_queue_has_none_either() {
    let (_clock, pond) = memory();
    let id = pond.enqueue("q", NewJob::json("work", &serde_json::json!({ "n": 1 }))).await.unwrap().id;
    assert!(pond.steps(id).unwrap().is_empty());
    assert!(matches!(pond.signal_job("99".parse::<JobId>().unwrap(), "go", &()).await, Err(Error::NoSuchJob { .. })));
}

#[tokio::test]
async fn a_job_that_takes_the_place_of_another_one_has_none_of_its_steps() {
    let (_clock, pond) = memory();
    let replacing = |n| work(n).unique("key", millpond::Unique::until_ended().replace());
    waits_for_go(&pond, None);
    let id = pond.enqueue("q", replacing(1)).await.unwrap().id;
    drained(&pond).await;
    assert_eq!(names(&pond, id), ["go"]);
    pond.queue("q").unwrap().pause().await.unwrap();
    assert_eq!(pond.enqueue("q", replacing(2)).await.unwrap().id, id);
    assert!(names(&pond, id).is_empty());
    assert_sound(&pond).await;
}
