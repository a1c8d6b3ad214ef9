//! Flows: jobs that wait for jobs, committed at once.

use std::time::Duration;

use bytes::Bytes;
use millpond::{
    CancelOutcome, Context, EnqueueStatus, Error, Event, Explanation, FlowDraft, FlowState, Job, JobFilter, JobId,
    JobPatch, Millpond, NewJob, NodeState, OnFailure, Outcome, Pace, QueueSettings, State,
};

use crate::all_jobs::all_jobs;
use crate::support::*;

/// A worker of the queue `q` whose jobs with a number above 1,000 are dead, until `deaths` have died. It records what has
/// completed.
fn worker(pond: &Millpond, deaths: usize) -> Log<u64> {
    record_with_deaths(pond, 1, deaths, |n| n > 1_000)
}

async fn make(pond: &Millpond, name: &str, describe: impl FnOnce(&FlowDraft)) -> Vec<JobId> {
    pond.flow(name, describe).await.unwrap().jobs
}

fn flow_state(pond: &Millpond, name: &str) -> FlowState {
    pond.flows().get(name).unwrap().state
}

#[tokio::test]
async fn jobs_run_when_those_they_wait_for_have_completed() {
    let (_clock, pond) = memory();
    // A diamond, made in an order in which nothing but the flow keeps the jobs apart.
    let ids = make(&pond, "diamond", |flow| {
        let last = flow.job("q", work(4));
        let (left, right) = (flow.job("q", work(2)), flow.job("q", work(3)));
        let first = flow.job("q", work(1));
        left.clone().after(&first);
        right.clone().after(&first);
        last.after_all([&left, &right]);
    })
    .await;
    let states: Vec<_> = ids.iter().map(|id| state(&pond, *id)).collect();
    assert_eq!(states, [State::Blocked, State::Blocked, State::Blocked, State::Pending]);
    let counts = pond.queue("q").unwrap().counts();
    assert_eq!((counts.blocked, counts.pending, counts.unfinished()), (3, 1, 4));
    let other = pond.enqueue("other", work(9)).await.unwrap().id;
    assert_eq!(pond.job(other).unwrap().flow, None);
    assert!(!serde_json::to_string(&pond.job(other).unwrap()).unwrap().contains("flow"));
    let listed = pond.jobs(&JobFilter::new(), None, 10).unwrap().jobs;
    let of_flow: Vec<_> =
        listed.iter().filter(|job| job.flow.as_deref() == Some("diamond")).map(|job| job.id).collect();
    assert_eq!((listed.len(), of_flow.len()), (5, 4));
    assert_eq!(pond.job(ids[0]).unwrap().flow.as_deref(), Some("diamond"));
    assert_sound(&pond).await;
    let log = worker(&pond, 0);
    drained(&pond).await;
    assert_eq!(log.take(), [1, 2, 3, 4]);
    let flow = pond.flows().get("diamond").unwrap();
    assert_eq!((flow.state, flow.counts.completed, flow.counts.total()), (FlowState::Completed, 4, 4));
    assert_eq!(pond.queue("q").unwrap().counts().blocked, 0);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_flow_is_made_once() {
    let (_clock, pond) = memory();
    let make = || pond.flow("f", |flow| drop(flow.job("q", work(1))));
    assert_eq!(make().await.unwrap().status, EnqueueStatus::Stored);
    let again = make().await.unwrap();
    assert_eq!((again.status, again.jobs.len()), (EnqueueStatus::Duplicate, 0));
    assert_eq!(all_jobs(&pond).len(), 1);
    assert_eq!(pond.flows().count().unwrap(), 1);
}

#[tokio::test]
async fn an_empty_flow_ends_and_calls_back_once() {
    let (_clock, pond) = memory();
    let log = worker(&pond, 0);
    make(&pond, "empty", |flow| {
        flow.on_success("q", work(1));
        flow.on_failure("q", work(2));
        flow.on_end("q", work(3));
    })
    .await;
    drained(&pond).await;
    assert_eq!(log.take(), [1, 3]);
    assert_eq!(flow_state(&pond, "empty"), FlowState::Completed);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn callbacks_run_once_whatever_is_redriven() {
    let (_clock, pond) = memory();
    let log = worker(&pond, 2);
    let ids = make(&pond, "f", |flow| {
        let dies = flow.job("q", work(1_001));
        flow.job("q", work(1)).after(&dies);
        flow.on_success("q", work(10));
        flow.on_failure("q", work(20));
        flow.on_end("q", work(30));
    })
    .await;
    drained(&pond).await;
    assert_eq!(log.take(), [20, 30]);
    assert_eq!(flow_state(&pond, "f"), FlowState::Held);
    // It dies again: nothing is called back a second time.
    assert_eq!(pond.flows().retry("f", Pace::at_once()).await.unwrap(), 1);
    drained(&pond).await;
    assert_eq!((log.take(), flow_state(&pond, "f")), (vec![], FlowState::Held));
    assert_sound(&pond).await;
    pond.dead_letters().redrive(ids[0]).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.take(), [1_001, 1, 10]);
    assert_eq!(flow_state(&pond, "f"), FlowState::Completed);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_dead_job_holds_those_that_wait_for_it_until_it_is_redriven() {
    let (_clock, pond) = memory();
    let log = worker(&pond, 1);
    let ids = make(&pond, "f", |flow| {
        let dies = flow.job("q", work(1_001)).named("charge");
        let held = flow.job("q", work(1)).after(&dies);
        flow.job("q", work(2)).after(&held);
    })
    .await;
    drained(&pond).await;
    assert!(log.take().is_empty());
    let flow = pond.flows().get("f").unwrap();
    assert_eq!((flow.state, flow.counts.blocked, flow.counts.dead), (FlowState::Held, 2, 1));
    let why = pond.explain(ids[1]).unwrap();
    assert!(
        matches!(&why, Explanation::Blocked { flow, waits: 1, failed: 1, held_by: Some(by), .. } if flow == "f" && *by == ids[0]),
        "{why:?}"
    );
    assert!(why.to_string().contains("redrive"), "{why}");
    assert!(matches!(pond.explain(ids[2]).unwrap(), Explanation::Blocked { waits: 1, failed: 0, held_by: None, .. }));
    let queue = pond.queue("q").unwrap();
    queue.pause().await.unwrap();
    pond.dead_letters().redrive(ids[0]).await.unwrap();
    assert!(matches!(pond.explain(ids[1]).unwrap(), Explanation::Blocked { failed: 0, held_by: None, .. }));
    queue.resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(log.take(), [1_001, 1, 2]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_failure_cancels_in_a_cascade_or_is_passed_over_where_the_policy_says_so() {
    let (_clock, pond) = memory();
    let log = worker(&pond, 1);
    let ids = make(&pond, "f", |flow| {
        let dies = flow.job("q", work(1_001)).named("charge");
        let cancelled = flow.job("q", work(1)).after_or(&dies, OnFailure::Cancel);
        let cascade = flow.job("q", work(2)).after(&cancelled).on_failed_dependency(OnFailure::Cancel);
        flow.job("q", work(3)).after_all([&dies, &cascade]).on_failed_dependency(OnFailure::Run);
    })
    .await;
    drained(&pond).await;
    assert_eq!(log.take(), [3]);
    let states: Vec<_> = ids[..3].iter().map(|id| state(&pond, *id)).collect();
    assert_eq!(states, [State::Dead, State::Cancelled, State::Cancelled]);
    let reason = pond.job(ids[1]).unwrap().reason.unwrap();
    assert!(reason.contains("\"charge\"") && reason.contains("died"), "{reason}");
    assert!(pond.job(ids[2]).unwrap().reason.unwrap().contains(&ids[1].to_string()));
    assert_eq!(flow_state(&pond, "f"), FlowState::Failed);
    assert_sound(&pond).await;
    // Those that were told of the failure are not told again when the job completes after all.
    pond.dead_letters().redrive(ids[0]).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.take(), [1_001]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_cancelled_expired_or_deleted_job_has_failed_for_those_that_wait_for_it() {
    let (clock, pond) = memory();
    let policies = [OnFailure::Hold, OnFailure::Cancel, OnFailure::Run];
    let after = |flow: &FlowDraft, first: &millpond::FlowJob| {
        for (n, policy) in (1..).zip(policies) {
            flow.job("q", work(n)).after_or(first, policy);
        }
    };
    for name in ["cancelled", "deleted", "expired"] {
        let ids = make(&pond, name, |flow| after(flow, &flow.job("q", work(9).delay(HOUR).expires_in(HOUR / 2)))).await;
        match name {
            "cancelled" => assert_eq!(pond.cancel(ids[0], "not needed").await.unwrap(), CancelOutcome::Cancelled),
            "deleted" => {
                pond.select(&JobFilter::new().state(State::Scheduled)).delete().await.unwrap();
            }
            _ => {
                clock.advance(HOUR / 2);
                drained(&pond).await;
            }
        }
        let states: Vec<_> = ids[1..].iter().map(|id| state(&pond, *id)).collect();
        assert_eq!(states, [State::Blocked, State::Cancelled, State::Pending], "{name}");
        assert_sound(&pond).await;
    }
}

#[tokio::test]
async fn a_blocked_job_can_be_cancelled_changed_moved_and_run() {
    let (_clock, pond) = memory();
    let log = worker(&pond, 0);
    pond.queue("q").unwrap().pause().await.unwrap();
    let ids = make(&pond, "f", |flow| {
        let first = flow.job("q", work(1));
        (2..6).for_each(|n| drop(flow.job("q", work(n)).after(&first)));
    })
    .await;
    pond.cancel(ids[1], "not needed").await.unwrap();
    pond.update(ids[2], JobPatch::new().payload(work(30))).await.unwrap();
    assert_eq!(state(&pond, ids[2]), State::Blocked);
    assert!(pond.move_to(ids[3], "other").await.unwrap());
    assert_eq!(state(&pond, ids[3]), State::Blocked);
    pond.run_now(ids[4]).await.unwrap();
    assert_eq!(state(&pond, ids[4]), State::Pending);
    assert_sound(&pond).await;
    pond.queue("q").unwrap().resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(log.take(), [1, 5, 30]);
    let job = pond.job(ids[3]).unwrap();
    assert_eq!((job.state, job.queue.as_str()), (State::Pending, "other"));
    let flow = pond.flows().get("f").unwrap();
    assert_eq!((flow.state, flow.counts.completed, flow.counts.cancelled), (FlowState::Running, 3, 1));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_with_a_delay_or_a_group_keeps_it_when_it_is_unblocked() {
    let (clock, pond) = memory();
    let log = worker(&pond, 0);
    let ids = make(&pond, "f", |flow| {
        let first = flow.job("q", work(1));
        flow.job("q", work(2).delay(HOUR)).after(&first);
        flow.job("q", member("g", 3)).after(&first);
        flow.job("q", member("g", 4)).after(&first);
    })
    .await;
    drained(&pond).await;
    assert_eq!(log.take(), [1, 3, 4]);
    assert_eq!(state(&pond, ids[1]), State::Scheduled);
    assert_sound(&pond).await;
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(log.take(), [2]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn results_and_signals_reach_the_jobs_that_wait() {
    let (_clock, pond) = memory();
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .handle(|job: Job<Work>| async move { Outcome::done_json(&(job.n * 2)) })
        .handle_raw("sum", move |_: Job<Bytes>, ctx: Context| {
            let seen = seen.clone();
            async move {
                let left: u64 = ctx.result("left")?.unwrap();
                let by: String = ctx.result("approved")?.unwrap();
                assert_eq!(ctx.result::<u64>("never returned")?, None);
                let missing = ctx.result::<u64>("no such name").unwrap_err().to_string();
                assert!(missing.contains("no such name"), "{missing}");
                let all: u64 = ctx.flow_nodes(None, 2)?.iter().filter_map(|node| node.result_json::<u64>().ok()?).sum();
                seen.push((ctx.flow()?.unwrap(), left, by, all));
                Ok(())
            }
        })
        .handle_raw("nothing", |_: Job<Bytes>| async { Ok(()) })
        .start()
        .unwrap();
    make(&pond, "f", |flow| {
        let (left, right) = (flow.job("q", work(20)).named("left"), flow.job("q", work(1)).named("right"));
        let nothing = flow.job("q", NewJob::json("nothing", &0)).named("never returned");
        let approved = flow.signal("approved");
        flow.job("q", NewJob::json("sum", &0)).after_all([&left, &right, &nothing]).after(&approved);
    })
    .await;
    drained(&pond).await;
    assert!(log.take().is_empty());
    assert!(matches!(pond.signal("f", "wrong", &()).await, Err(Error::NoSuchSignal { .. })));
    assert!(matches!(pond.signal("f", "left", &()).await, Err(Error::NoSuchSignal { .. })), "that is a job");
    assert!(matches!(pond.signal("g", "approved", &()).await, Err(Error::NoSuchFlow { .. })));
    assert!(pond.signal("f", "approved", "ada").await.unwrap());
    assert!(!pond.signal("f", "approved", "bob").await.unwrap(), "the first one counts");
    drained(&pond).await;
    assert_eq!(log.take(), [("f".to_owned(), 40, "ada".to_owned(), 42)]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_signal_that_misses_its_deadline_has_failed() {
    let (clock, pond) = memory();
    let log = worker(&pond, 0);
    make(&pond, "f", |flow| {
        let approved = flow.signal("approved").deadline_in(HOUR);
        flow.job("q", work(1)).after_or(&approved, OnFailure::Cancel);
        flow.job("q", work(2)).after_or(&approved, OnFailure::Run);
    })
    .await;
    drained(&pond).await;
    assert_eq!((log.take(), flow_state(&pond, "f")), (vec![], FlowState::Running));
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!((log.take(), flow_state(&pond, "f")), (vec![2], FlowState::Failed));
    assert!(!pond.signal("f", "approved", &()).await.unwrap(), "it comes too late");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_flow_whose_deadline_passes_is_cancelled() {
    let (clock, pond) = memory();
    let log = worker(&pond, 0);
    let ids = make(&pond, "f", |flow| {
        flow.deadline_in(HOUR);
        let first = flow.job("q", work(1).delay(2 * HOUR));
        flow.job("q", work(2)).after(&first);
        flow.on_end("q", work(3));
    })
    .await;
    drained(&pond).await;
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(log.take(), [3]);
    assert_eq!([state(&pond, ids[0]), state(&pond, ids[1])], [State::Cancelled; 2]);
    assert_eq!(flow_state(&pond, "f"), FlowState::Cancelled);
    assert!(pond.job(ids[0]).unwrap().reason.unwrap().contains("deadline"));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_flow_is_cancelled_with_its_running_jobs() {
    let (_clock, pond) = memory();
    let (_worker, mut keeper) = gated(&pond, "gated", 1);
    let ids = make(&pond, "f", |flow| {
        let first = flow.job("gated", work(1));
        let second = flow.job("gated", work(2)).after(&first);
        flow.job("gated", work(3)).after_or(&second, OnFailure::Run);
    })
    .await;
    assert_eq!(keeper.entered().await, 1);
    let mut events = pond.events();
    assert!(pond.flows().cancel("f", "out of stock").await.unwrap());
    assert!(!pond.flows().cancel("f", "again").await.unwrap());
    assert_eq!([state(&pond, ids[1]), state(&pond, ids[2])], [State::Cancelled; 2]);
    keeper.let_go(1);
    drained(&pond).await;
    assert!(flow_state(&pond, "f").has_ended());
    let settled = |event: &Event| matches!(event, Event::FlowSettled { name, .. } if &**name == "f");
    assert_eq!(heard(&mut events).iter().filter(|event| settled(event)).count(), 1);
    assert!(matches!(pond.flows().cancel("g", "").await, Err(Error::NoSuchFlow { .. })));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_handler_adds_jobs_to_its_own_flow_with_its_completion() {
    let (_clock, pond) = memory();
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .concurrency(1)
        .handle(move |job: Job<Work>, ctx: Context| {
            seen.push(job.n);
            if job.n == 1 {
                let own = job.id();
                ctx.on_complete(move |tx| {
                    tx.add_to_flow("f", |flow| {
                        let merge = flow.existing("merge");
                        for n in 10..13 {
                            merge.clone().after(&flow.job("q", work(n)).after(&flow.running(own)));
                        }
                    })?;
                    Ok(())
                });
            }
            async { Ok(()) }
        })
        .start()
        .unwrap();
    make(&pond, "f", |flow| {
        let split = flow.job("q", work(1));
        let _ = flow.job("q", work(2)).named("merge").after(&split);
    })
    .await;
    drained(&pond).await;
    assert_eq!(log.take(), [1, 10, 11, 12, 2]);
    assert_eq!(pond.flows().get("f").unwrap().counts.completed, 5);
    let late = pond.add_to_flow("f", |flow| drop(flow.job("q", work(99)))).await;
    assert!(matches!(late, Err(Error::FlowEnded { .. })), "{late:?}");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn an_addition_waits_for_jobs_that_have_ended_and_is_checked() {
    let (_clock, pond) = memory();
    let log = worker(&pond, 1);
    make(&pond, "f", |flow| {
        let _ = flow.job("q", work(1)).named("done");
        let _ = flow.job("q", work(1_001)).named("dead");
        let open = flow.signal("open");
        let blocked = flow.job("q", work(2)).named("blocked").after(&open);
        let _ = flow.job("q", work(3)).named("last").after(&blocked);
    })
    .await;
    drained(&pond).await;
    assert_eq!(log.take(), [1]);
    let refused = |result: Result<Vec<JobId>, Error>| match result {
        Err(Error::InvalidFlow { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let circle = pond.add_to_flow("f", |flow| {
        let new = flow.job("q", work(4)).after(&flow.existing("last"));
        flow.existing("blocked").after(&new);
    });
    assert!(refused(circle.await).contains("circle"));
    let unknown = pond.add_to_flow("f", |flow| drop(flow.job("q", work(4)).after(&flow.existing("nobody"))));
    assert!(refused(unknown.await).contains("\"nobody\""));
    let started = pond.add_to_flow("f", |flow| drop(flow.existing("done").after(&flow.job("q", work(4)))));
    assert!(refused(started.await).contains("does not wait"));
    let twice = pond.add_to_flow("f", |flow| drop(flow.job("q", work(4)).named("last")));
    assert!(refused(twice.await).contains("\"last\""));
    assert_eq!(pond.flows().get("f").unwrap().counts.total(), 5, "nothing was added");
    let ids = pond
        .add_to_flow("f", |flow| {
            flow.job("q", work(10)).after(&flow.existing("done"));
            flow.job("q", work(11)).after(&flow.existing("dead"));
            flow.job("q", work(12)).after_or(&flow.existing("dead"), OnFailure::Cancel);
            flow.job("q", work(13)).after_or(&flow.existing("dead"), OnFailure::Run);
        })
        .await
        .unwrap();
    drained(&pond).await;
    assert_eq!(log.take(), [10, 13]);
    assert_eq!([state(&pond, ids[1]), state(&pond, ids[2])], [State::Blocked, State::Cancelled]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn what_cannot_be_a_flow_is_refused_and_stores_nothing() {
    let (_clock, pond) = memory();
    let circle = pond.flow("f", |flow| {
        let (first, second) = (flow.job("q", work(1)), flow.job("q", work(2)));
        first.clone().after(&second);
        second.after(&first);
    });
    assert!(matches!(circle.await, Err(Error::InvalidFlow { .. })));
    let keyed = pond.flow("f", |flow| drop(flow.job("q", work(1).unique_key("k"))));
    assert!(matches!(keyed.await, Err(Error::InvalidConfig { .. })));
    assert!(matches!(pond.flow("", |_| ()).await, Err(Error::InvalidKey { .. })));
    pond.queue("full")
        .unwrap()
        .configure(QueueSettings::default().capacity(millpond::Capacity::jobs(1)))
        .await
        .unwrap();
    let full = pond.flow("f", |flow| {
        let first = flow.job("q", work(1));
        (0..2).for_each(|n| drop(flow.job("full", work(n)).after(&first)));
    });
    assert!(matches!(full.await, Err(Error::QueueFull { .. })));
    assert_eq!((all_jobs(&pond).len(), pond.flows().count().unwrap()), (0, 0));
    let foreign = std::cell::RefCell::new(None);
    make(&pond, "g", |flow| drop(foreign.replace(Some(flow.job("q", work(1)))))).await;
    let other = pond.flow("f", |flow| drop(flow.job("q", work(2)).after(foreign.borrow().as_ref().unwrap())));
    assert!(matches!(other.await, Err(Error::InvalidFlow { .. })));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_flow_of_a_transaction_is_there_only_if_that_is_committed() {
    let (_clock, pond) = memory();
    let failed = pond.transaction(|tx| {
        tx.flow("f", |flow| drop(flow.job("q", work(1))))?;
        Err::<(), _>("no".into())
    });
    assert!(failed.await.is_err());
    assert_eq!((all_jobs(&pond).len(), pond.flows().count().unwrap()), (0, 0));
    pond.transaction(|tx| {
        let made = tx.flow("f", |flow| drop(flow.job("q", work(1)).after(&flow.signal("go"))))?;
        assert_eq!(made.jobs.len(), 1);
        tx.add_to_flow("f", |flow| drop(flow.job("q", work(2))))?;
        assert!(tx.signal("f", "go", &())?);
        assert!(!tx.signal("f", "go", &())?);
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(pond.queue("q").unwrap().counts().pending, 2);
    let mut guard = pond.begin_write().unwrap();
    guard.flow("g", |flow| drop(flow.job("q", work(3)))).unwrap();
    guard.commit().unwrap();
    assert_eq!(pond.flows().get("g").unwrap().counts.active, 1);
    assert!(pond.transaction(|tx| Ok(tx.cancel_flow("g", "no")?)).await.unwrap());
    assert_eq!(flow_state(&pond, "g"), FlowState::Cancelled);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn many_dependents_and_dependencies_are_followed_in_several_commits() {
    let (_clock, pond) = memory();
    let log = worker(&pond, 0);
    make(&pond, "wide", |flow| {
        let first = flow.job("q", work(1));
        let last = flow.job("q", work(3));
        for _ in 0..3_000 {
            last.clone().after(&flow.job("q", work(2)).after(&first));
        }
    })
    .await;
    assert_sound(&pond).await;
    drained(&pond).await;
    let seen = log.take();
    assert_eq!((seen.len(), seen[0], seen[3_001]), (3_002, 1, 3));
    assert_eq!(pond.flows().get("wide").unwrap().counts.completed, 3_002);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_that_dies_and_is_redriven_while_its_many_dependents_are_told_confuses_nothing() {
    let (_clock, pond) = memory();
    let log = worker(&pond, 2);
    let ids = make(&pond, "wide", |flow| {
        let first = flow.job("q", work(1_001));
        for n in 0..2_500 {
            let policy = [OnFailure::Hold, OnFailure::Run][n % 2];
            flow.job("q", work(2)).after_or(&first, policy);
        }
    })
    .await;
    for _ in 0..2 {
        // The redrive can come before all have been told of the death.
        while !pond.dead_letters().redrive(ids[0]).await.unwrap() {
            tokio::task::yield_now().await;
        }
    }
    drained(&pond).await;
    let flow = pond.flows().get("wide").unwrap();
    assert_eq!((flow.state, flow.counts.completed), (FlowState::Completed, 2_501));
    assert_eq!(log.take().len(), 2_501);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_large_flow_is_cancelled_and_removed_in_several_commits() {
    let (_clock, pond) = memory();
    make(&pond, "large", |flow| {
        let open = flow.signal("open");
        (0..2_500).for_each(|n| drop(flow.job("q", work(n)).after(&open)));
        flow.on_success("q", work(0));
    })
    .await;
    assert!(matches!(pond.flows().remove("large").await, Err(Error::FlowRuns { .. })));
    assert!(pond.flows().cancel("large", "no").await.unwrap());
    drained(&pond).await;
    let flow = pond.flows().get("large").unwrap();
    assert_eq!((flow.state, flow.counts.cancelled), (FlowState::Cancelled, 2_501));
    assert_sound(&pond).await;
    assert!(pond.flows().remove("large").await.unwrap());
    drained(&pond).await;
    assert!(matches!(pond.flows().get("large"), Err(Error::NoSuchFlow { .. })));
    assert_eq!(pond.queue("q").unwrap().counts().blocked, 0, "the callback that never ran is gone");
    assert!(!pond.flows().remove("large").await.unwrap());
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_flow_is_kept_for_as_long_as_it_says() {
    let (clock, pond) = memory();
    let _log = worker(&pond, 1);
    make(&pond, "short", |flow| {
        flow.keep(HOUR);
        let _ = flow.job("q", work(1)).named("only");
    })
    .await;
    make(&pond, "default", |flow| drop(flow.job("q", work(1)))).await;
    drained(&pond).await;
    clock.advance(HOUR - Duration::from_millis(1));
    drained(&pond).await;
    assert_eq!(flow_state(&pond, "short"), FlowState::Completed);
    clock.advance(Duration::from_millis(1));
    drained(&pond).await;
    assert!(matches!(pond.flows().get("short"), Err(Error::NoSuchFlow { .. })));
    assert_eq!(flow_state(&pond, "default"), FlowState::Completed);
    clock.advance(7 * 24 * HOUR);
    drained(&pond).await;
    assert_eq!(pond.flows().count().unwrap(), 0);
    // The name can be used again.
    assert_eq!(make(&pond, "short", |flow| drop(flow.job("q", work(1)).named("only"))).await.len(), 1);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_dead_letter_outlives_its_flow_and_can_be_redriven() {
    let (_clock, pond) = memory();
    let log = worker(&pond, 1);
    let ids = make(&pond, "f", |flow| drop(flow.job("q", work(1_001)))).await;
    drained(&pond).await;
    assert!(pond.flows().remove("f").await.unwrap());
    drained(&pond).await;
    assert_sound(&pond).await;
    pond.dead_letters().redrive(ids[0]).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.take(), [1_001]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_flow_goes_on_after_a_kill() {
    let disk = OnDisk::new();
    let pond = disk.open();
    make(&pond, "f", |flow| {
        let first = flow.job("q", work(1));
        (0..40).for_each(|_| drop(flow.job("q", work(2)).after(&first)));
        flow.on_end("q", work(3));
    })
    .await;
    let killed = disk.crashed("killed.redb");
    let log = worker(&killed, 0);
    drained(&killed).await;
    assert_eq!(log.take().len(), 42);
    assert_eq!(flow_state(&killed, "f"), FlowState::Completed);
    assert_sound(&killed).await;
    close(pond).await;
}

#[tokio::test]
async fn blocked_jobs_are_listed_found_and_removed_with_their_queue() {
    let (_clock, pond) = memory();
    make(&pond, "f", |flow| {
        let first = flow.job("first", work(1));
        (0..3).for_each(|n| drop(flow.job("q", work(n).tag("t")).after(&first)));
    })
    .await;
    let blocked = JobFilter::new().state(State::Blocked);
    let page = pond.jobs(&blocked, None, 2).unwrap();
    assert_eq!(page.jobs.len(), 2);
    let rest = pond.jobs(&blocked, page.next, 2).unwrap();
    assert_eq!((rest.jobs.len(), rest.next.is_none()), (1, true));
    let tagged = pond.jobs(&JobFilter::new().tag("t").state(State::Blocked), None, 10).unwrap();
    assert_eq!(tagged.jobs.len(), 3);
    let nodes = pond.flows().nodes("f", None, 100).unwrap();
    assert_eq!(nodes[0].dependents.len(), 3);
    assert!(nodes[1..].iter().all(|node| node.state == NodeState::Blocked && node.waits == 1));
    pond.queue("q").unwrap().obliterate().await.unwrap();
    let flow = pond.flows().get("f").unwrap();
    assert_eq!((flow.counts.cancelled, flow.counts.active), (3, 1));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn verbs_on_many_jobs_reach_blocked_ones() {
    let (_clock, pond) = memory();
    make(&pond, "f", |flow| {
        let first = flow.job("first", work(1));
        (0..6).for_each(|n| drop(flow.job("q", work(n).tag(format!("{}", n % 3))).after(&first)));
    })
    .await;
    let tagged = |tag: &str| pond.select(&JobFilter::new().queue("q").tag(tag));
    assert_eq!(tagged("0").cancel("no").await.unwrap().changed, 2);
    assert_eq!(tagged("1").move_to("other").await.unwrap().changed, 2);
    assert_sound(&pond).await;
    assert_eq!(pond.queue("q").unwrap().drain().await.unwrap(), 2);
    assert_eq!((pond.queue("q").unwrap().counts().blocked, pond.queue("other").unwrap().counts().blocked), (0, 2));
    assert_sound(&pond).await;
}
