//! Pause, cancel and update: from every state the call is allowed or refused by name, and it is idempotent.

use millpond::{CancelOutcome, Enqueued, Error, Job, JobId, JobPatch, Millpond, Outcome, Priority, Retry, State};

use crate::support::*;

#[tokio::test]
async fn a_pause_is_durable_and_running_jobs_finish() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    settled(&pond).await;
    let queue = pond.queue("q").unwrap();
    assert!(queue.pause().await.unwrap());
    assert!(!queue.pause().await.unwrap(), "it was paused already");
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!((keeper.waiting(), queue.is_paused()), (vec![1], true));
    close(pond).await;

    let pond = disk.open();
    let ran = record(&pond, "q", 1);
    let queue = pond.queue("q").unwrap();
    assert!(queue.is_paused());
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
    assert!(queue.resume().await.unwrap());
    assert!(!queue.resume().await.unwrap());
    drained(&pond).await;
    assert_eq!(ran.all(), [2]);
}

#[tokio::test]
async fn a_queue_can_be_paused_before_it_has_any_job() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.queue("q").unwrap().pause().await.unwrap();
    close(pond).await;
    let pond = disk.open();
    let ran = record(&pond, "q", 1);
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
}

#[tokio::test]
async fn a_job_that_becomes_due_while_its_queue_is_paused_waits() {
    let (clock, pond) = memory();
    let ran = record(&pond, "q", 1);
    pond.enqueue("q", work(1).delay(SECOND)).await.unwrap();
    pond.queue("q").unwrap().pause().await.unwrap();
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
    pond.queue("q").unwrap().resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}

/// One job in each state: the state, and the job's id.
struct EachState {
    pond: Millpond,
    keeper: Keeper,
    jobs: Vec<(State, bool, Enqueued)>,
}

async fn each_state() -> EachState {
    let (_, pond) = memory();
    let (gate, keeper) = gate();
    pond.worker("q")
        .concurrency(20)
        .retry(Retry::fixed(HOUR).jitter(0.0).max_attempts(2))
        .no_timeout()
        .handle(move |job: Job<Work>| {
            let gate = gate.clone();
            async move {
                match job.n {
                    1 => gate.pass(1).await,
                    2 => return Err("again".into()),
                    3 => return Ok(Outcome::done_with("x")),
                    4 => return Ok(Outcome::dead_letter("x")),
                    5 => return Ok(Outcome::cancel("x")),
                    _ => {}
                }
                Ok(Outcome::Done(None))
            }
        })
        .start()
        .unwrap();
    let mut jobs = Vec::new();
    for grouped in [false, true] {
        for (n, state) in [
            (1, State::Running),
            (2, State::Retrying),
            (3, State::Completed),
            (4, State::Dead),
            (5, State::Cancelled),
            (6, State::Scheduled),
        ] {
            let mut job = work(n);
            if grouped {
                job = job.group(format!("g{n}"));
            }
            if n == 6 {
                job = job.delay(HOUR);
            }
            jobs.push((state, grouped, pond.enqueue("q", job).await.unwrap()));
        }
        let mut job = work(7);
        if grouped {
            job = job.group("g7");
        }
        jobs.push((State::Pending, grouped, pond.enqueue("idle", job).await.unwrap()));
    }
    running(&pond, "q", 2).await;
    for (expected, grouped, id) in &jobs {
        assert_eq!(state(&pond, *id), *expected, "{id} {grouped}");
    }
    EachState { pond, keeper, jobs }
}

fn waits(state: State) -> bool {
    matches!(state, State::Pending | State::Scheduled | State::Retrying)
}

#[tokio::test]
async fn cancel_ends_waiting_jobs_and_says_what_it_did_to_others() {
    let EachState { pond, keeper, jobs } = each_state().await;
    for (was, grouped, id) in jobs {
        for again in [false, true] {
            match pond.cancel(id, "enough").await {
                Ok(CancelOutcome::Cancelled) => assert!(waits(was) && !again, "{was:?} {grouped}"),
                Ok(CancelOutcome::Requested) => assert_eq!(was, State::Running, "{grouped}"),
                Ok(CancelOutcome::AlreadyEnded(State::Cancelled)) if waits(was) => assert!(again),
                Ok(CancelOutcome::AlreadyEnded(state)) => assert_eq!(state, was, "{grouped}"),
                other => panic!("{was:?} {other:?}"),
            }
        }
        if waits(was) {
            let info = pond.job(id).unwrap();
            assert_eq!((info.state, info.reason.as_deref()), (State::Cancelled, Some("enough")));
        }
        assert_sound(&pond).await;
    }
    keeper.let_go(2);
    drained(&pond).await;
}

#[tokio::test]
async fn update_changes_waiting_jobs_and_is_refused_by_name_for_others() {
    let EachState { pond, keeper, jobs } = each_state().await;
    for (was, grouped, id) in jobs {
        let patch = || JobPatch::new().payload(Work { n: 70 }).priority(Priority::LAST);
        for _ in 0..2 {
            match pond.update(id, patch()).await {
                Ok(()) => {
                    assert!(waits(was), "{was:?} {grouped}");
                    let info = pond.job(id).unwrap();
                    assert_eq!((info.state, info.priority), (was, Priority::LAST), "{grouped}");
                    assert_eq!(info.payload.decode::<Work>().unwrap(), Work { n: 70 });
                }
                Err(Error::NotAllowed { state, .. }) => assert_eq!((state, waits(was)), (was, false)),
                other => panic!("{was:?} {other:?}"),
            }
            assert_sound(&pond).await;
        }
    }
    keeper.let_go(2);
    drained(&pond).await;
}

#[tokio::test]
async fn run_now_starts_jobs_that_are_due_later_and_is_refused_by_name_for_others() {
    let EachState { pond, keeper, jobs } = each_state().await;
    for (was, grouped, id) in jobs {
        match pond.run_now(id).await {
            Ok(()) => assert!(waits(was), "{was:?} {grouped}"),
            Err(Error::NotAllowed { state, .. }) => assert_eq!((state, waits(was)), (was, false)),
            other => panic!("{was:?} {other:?}"),
        }
        running(&pond, "q", 2).await;
        assert_sound(&pond).await;
        match was {
            State::Scheduled => assert!(pond.job(id).is_err(), "it ran and has ended"),
            State::Retrying => assert_eq!(state(&pond, id), State::Dead, "it ran for the second time"),
            _ => assert_eq!(state(&pond, id), was),
        }
    }
    keeper.let_go(2);
    drained(&pond).await;
}

#[tokio::test]
async fn a_call_for_a_missing_job_gets_a_named_error() {
    let (_, pond) = memory();
    for id in [JobId::new(1), JobId::new(u64::MAX)] {
        assert!(matches!(pond.cancel(id, "x").await, Err(Error::NoSuchJob { .. })));
        assert!(matches!(pond.run_now(id).await, Err(Error::NoSuchJob { .. })));
        assert!(matches!(pond.job(id), Err(Error::NoSuchJob { .. })));
        assert!(matches!(pond.explain(id), Err(Error::NoSuchJob { .. })));
    }
}

#[tokio::test]
async fn a_waiting_or_a_delayed_job_can_be_put_off() {
    let (clock, pond) = memory();
    let ran = record(&pond, "q", 1);
    pond.queue("q").unwrap().pause().await.unwrap();
    let ids = pond.enqueue_many("q", [work(1), work(2).delay(SECOND)]).await.unwrap();
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(millpond::Clock::wall(&clock).as_millis()) + HOUR;
    for id in ids {
        pond.update(id, JobPatch::new().run_at(at)).await.unwrap();
        assert_eq!(state(&pond, id), State::Scheduled);
    }
    pond.queue("q").unwrap().resume().await.unwrap();
    clock.advance(HOUR - SECOND);
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 2]);
}

#[tokio::test]
async fn a_changed_priority_changes_the_order() {
    let (_, pond) = memory();
    let ids = pond.enqueue_many("q", (0..4).map(work)).await.unwrap();
    pond.update(ids[2], JobPatch::new().priority(Priority::FIRST)).await.unwrap();
    pond.update(ids[0], JobPatch::new().priority(Priority::LAST)).await.unwrap();
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [2, 1, 3, 0]);
}

#[tokio::test]
async fn a_change_of_kind_is_refused() {
    let (_, pond) = memory();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    let refused = pond.update(id, JobPatch::new().payload(Packed { text: "x".into() })).await;
    assert!(matches!(refused, Err(Error::InvalidConfig { field: "payload", .. })), "{refused:?}");
    assert_eq!(pond.job(id).unwrap().payload.decode::<Work>().unwrap(), Work { n: 1 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_races_a_start_has_one_winner() {
    let (_, pond) = memory();
    let ran = record(&pond, "q", 4);
    let mut cancelled = Vec::new();
    for n in 0..200 {
        let id = pond.enqueue("q", if n % 2 == 0 { work(n) } else { member("g", n) }).await.unwrap();
        match pond.cancel(id, "too late?").await {
            Ok(CancelOutcome::Cancelled) => cancelled.push(n),
            // A job that was handed out and whose handler was not called yet ends without a run.
            Ok(CancelOutcome::Requested) if matches!(pond.finished(id).await, Ok(job) if job.state == State::Cancelled) =>
            {
                cancelled.push(n);
            }
            Ok(CancelOutcome::Requested) | Err(Error::NoSuchJob { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    drained(&pond).await;
    let mut all = ran.all();
    all.extend(&cancelled);
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<_>>(), "each ran or was cancelled, and none did both");
    let counts = pond.queue("q").unwrap().counts();
    assert_eq!(counts.cancelled_total, cancelled.len() as u64);
    assert_eq!(counts.completed_total, 200 - cancelled.len() as u64);
}
