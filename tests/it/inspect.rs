//! Reading the queue: counts, jobs page by page, progress, and why a job does not run.

use std::time::Duration;

use millpond::{Context, Cursor, Explanation, Job, JobFilter, JobId, NewJob, Outcome, Rate, Retry, State};

use crate::support::*;

#[tokio::test]
async fn counts_follow_every_state() {
    let (clock, pond) = memory();
    let (gate, mut keeper) = gate();
    pond.worker("q")
        .concurrency(9)
        .no_timeout()
        .retry(Retry::fixed(HOUR))
        .handle(move |job: Job<Work>| {
            let gate = gate.clone();
            async move {
                match job.n {
                    1 => gate.pass(1).await,
                    2 => return Err("again".into()),
                    3 => return Ok(Outcome::dead_letter("x")),
                    4 => return Ok(Outcome::cancel("x")),
                    5 => return Ok(Outcome::done_with("x")),
                    _ => {}
                }
                Ok(Outcome::Done(None))
            }
        })
        .start()
        .unwrap();
    pond.enqueue_many("q", (1..=6).map(work)).await.unwrap();
    pond.enqueue_many("q", [work(7).delay(HOUR), NewJob::raw("unknown", "")]).await.unwrap();
    running(&pond, "q", 1).await;
    let c = pond.queue("q").unwrap().counts();
    assert_eq!((c.pending, c.running, c.scheduled, c.retrying), (1, 1, 1, 1));
    assert_eq!((c.completed, c.dead, c.cancelled), (1, 1, 1));
    assert_eq!((c.enqueued_total, c.completed_total, c.failures_total), (8, 2, 2));
    assert_eq!((c.dead_total, c.cancelled_total, c.unfinished()), (1, 1, 4));
    assert!(c.bytes > 0);
    assert_eq!(keeper.next(1).await, [1]);
    keeper.let_go(1);
    clock.advance(HOUR * 2);
    drained(&pond).await;
    let c = pond.queue("q").unwrap().counts();
    assert_eq!((c.pending, c.running, c.scheduled, c.retrying, c.completed_total), (1, 0, 0, 1, 4));
}

#[tokio::test]
async fn the_bytes_of_an_empty_queue_are_zero_again() {
    let (clock, pond) = memory();
    pond.worker("q")
        .retry(Retry::fixed(SECOND).jitter(0.0).max_attempts(2))
        .handle(|job: Job<Work>| async move { if job.n.is_multiple_of(2) { Ok(()) } else { Err("x".into()) } })
        .start()
        .unwrap();
    pond.enqueue_many("q", (0..10).map(work)).await.unwrap();
    pond.enqueue_many("q", (0..10).map(|n| member("g", n).delay(SECOND))).await.unwrap();
    for _ in 0..20 {
        drained(&pond).await;
        clock.advance(SECOND);
    }
    let counts = pond.queue("q").unwrap().counts();
    assert_eq!((counts.unfinished(), counts.bytes), (0, 0));
}

#[tokio::test]
async fn pages_of_any_size_list_every_job_once() {
    let (_, pond) = memory();
    pond.worker("b")
        .retry(Retry::none())
        .handle(|job: Job<Work>| async move {
            Ok(match job.n % 3 {
                0 => Outcome::done_with("x"),
                1 => Outcome::dead_letter("x"),
                _ => Outcome::cancel("x"),
            })
        })
        .start()
        .unwrap();
    pond.enqueue_many("a", (0..20).map(work)).await.unwrap();
    pond.enqueue_many("a", (0..20).map(|n| work(n).delay(HOUR))).await.unwrap();
    pond.enqueue_many("a", (0..20).map(|n| work(n).run_at(std::time::SystemTime::now() + HOUR * 24 * 365 * 50)))
        .await
        .unwrap();
    pond.enqueue_many("a", (0..20).map(|n| member(&format!("g{}", n % 3), n))).await.unwrap();
    pond.enqueue_many("b", (0..30).map(work)).await.unwrap();
    drained(&pond).await;
    for limit in [1, 2, 7, 64, 1_000] {
        let mut ids = walk(&pond, &JobFilter::new(), limit);
        ids.sort_unstable();
        assert_eq!(ids, (1..=110).map(JobId::new).collect::<Vec<_>>(), "pages of {limit}");
    }
    let count = |filter: JobFilter| walk(&pond, &filter, 7).len();
    assert_eq!(count(JobFilter::new().queue("a")), 80);
    assert_eq!(count(JobFilter::new().queue("none")), 0);
    assert_eq!(count(JobFilter::new().state(State::Pending)), 40);
    assert_eq!(count(JobFilter::new().state(State::Scheduled)), 40);
    assert_eq!(count(JobFilter::new().state(State::Completed)), 10);
    assert_eq!(count(JobFilter::new().state(State::Dead)), 10);
    assert_eq!(count(JobFilter::new().state(State::Cancelled)), 10);
    assert_eq!(count(JobFilter::new().state(State::Running)), 0);
    assert_eq!(count(JobFilter::new().group("g0")), 7);
    assert_eq!(count(JobFilter::new().queue("b").kind("work")), 30);
    assert_eq!(count(JobFilter::new().kind("other")), 0);
}

#[tokio::test]
async fn a_cursor_can_be_stored_as_json() {
    let (_, pond) = memory();
    pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    let page = pond.jobs(&JobFilter::new(), None, 2).unwrap();
    let text = serde_json::to_string(&page.next.unwrap()).unwrap();
    let cursor: Cursor = serde_json::from_str(&text).unwrap();
    let rest = pond.jobs(&JobFilter::new(), Some(cursor), 2).unwrap();
    assert_eq!(rest.jobs.iter().map(|job| job.id.get()).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn a_job_lists_its_history() {
    let (clock, pond) = memory();
    pond.worker("q")
        .retry(Retry::fixed(SECOND).jitter(0.0))
        .handle(|job: Job<Work>| async move {
            match job.attempt() {
                1 => Err("first".into()),
                2 => panic!("second"),
                _ => Ok(Outcome::done_with("the result")),
            }
        })
        .start()
        .unwrap();
    let start = millpond::Clock::wall(&clock);
    let id = pond.enqueue("q", work(1)).await.unwrap();
    for _ in 0..3 {
        drained(&pond).await;
        clock.advance(SECOND);
    }
    let info = pond.job(id).unwrap();
    assert_eq!((info.state, info.attempts, info.result.as_deref()), (State::Completed, 3, Some(&b"the result"[..])));
    let errors: Vec<_> = info.errors.iter().map(|e| (e.attempt, e.started_at.since(start))).collect();
    assert_eq!(errors, [(1, Duration::ZERO), (2, SECOND)]);
    assert_eq!(
        (info.enqueued_at, info.started_at, info.ended_at),
        (start, Some(start + SECOND * 2), Some(start + SECOND * 2))
    );
    let json = serde_json::to_value(&info).unwrap();
    assert_eq!(json["payload"]["value"]["n"], 1);
    assert_eq!(json["errors"][0]["message"], "first");
}

#[tokio::test]
async fn the_progress_and_log_of_a_running_job_are_shown_and_bounded() {
    let (_, pond) = memory();
    let (gate, mut keeper) = gate();
    pond.worker("q")
        .handle(move |job: Job<Work>, ctx: Context| {
            let gate = gate.clone();
            async move {
                (0..10_000).for_each(|n| ctx.log(format!("line {n}")));
                ctx.log("é".repeat(5_000));
                ctx.progress(1, Some(3), "p".repeat(5_000));
                ctx.progress(2, Some(3), "nearly");
                gate.pass(job.n).await;
                Ok(())
            }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    keeper.entered().await;
    let info = pond.job(id).unwrap();
    let progress = info.progress.unwrap();
    assert_eq!((progress.done, progress.total, progress.message.as_str()), (2, Some(3), "nearly"));
    let log = &info.logs[0];
    assert_eq!((info.logs.len(), log.attempt, log.ended_at, log.progress.as_ref()), (1, 1, None, Some(&progress)));
    let (last, lines) = log.lines.split_last().unwrap();
    assert_eq!((lines[0].text.clone(), lines.len() as u64), (format!("line {}", log.dropped), 10_000 - log.dropped));
    let bytes: usize = log.lines.iter().map(|line| line.text.len() + 16).sum();
    assert!((16_000..=16 << 10).contains(&bytes), "{bytes}");
    // Cut at a character, with an ellipsis.
    assert!((1_020..=1_024).contains(&last.text.len()) && last.text.ends_with('…'), "{}", last.text.len());
    assert_eq!((info.state, info.attempts), (State::Running, 1));
    assert!(info.started_at.is_some());
    keeper.let_go(1);
    drained(&pond).await;
}

#[tokio::test]
async fn a_running_job_is_listed_as_running() {
    let (_, pond) = memory();
    let (_worker, mut keeper) = gated(&pond, "q", 2);
    let ids = pond.enqueue_many("q", [work(1), member("g", 2), work(3)]).await.unwrap();
    settled(&pond).await;
    keeper.waiting();
    assert_eq!(walk(&pond, &JobFilter::new().state(State::Running), 10).len(), 2);
    assert_eq!(walk(&pond, &JobFilter::new().state(State::Pending), 10).len(), 1);
    keeper.let_go(3);
    drained(&pond).await;
    assert!(ids.iter().all(|id| pond.job(*id).is_err()));
}

#[tokio::test]
async fn explain_says_why_a_job_does_not_run() {
    let (clock, pond) = memory_with(|builder| builder.max_running(2));
    let why = |id| pond.explain(id).unwrap();
    let (_worker, mut keeper) = gated(&pond, "slots", 1);
    let ids = pond.enqueue_many("slots", (0..3).map(work)).await.unwrap();
    settled(&pond).await;
    keeper.waiting();
    assert_eq!(why(ids[0]), Explanation::Running);
    assert_eq!(why(ids[1]), Explanation::NoFreeSlot);
    assert!(matches!(why(ids[2]), Explanation::Waiting { ahead: 1, .. }));

    let delayed = pond.enqueue("q", work(1).delay(HOUR)).await.unwrap();
    let due = millpond::Clock::wall(&clock) + HOUR;
    assert!(matches!(why(delayed), Explanation::NotDue { at, wait: HOUR, .. } if at == due));
    let idle = pond.enqueue("idle", work(1)).await.unwrap();
    let expected = |why| matches!(why, Explanation::NoHandler { queue, kind, handled, nearest: None, .. } if queue == "idle" && kind == "work" && handled.is_empty());
    assert!(expected(why(idle)));

    let paused = pond.queue("paused").unwrap();
    record(&pond, "paused", 1);
    paused.pause().await.unwrap();
    let id = pond.enqueue("paused", work(1)).await.unwrap();
    assert_eq!(why(id), Explanation::QueuePaused);

    let grouped = pond.queue("grouped").unwrap();
    grouped.pause_group("g").await.unwrap();
    let ids = pond.enqueue_many("grouped", [member("g", 1), member("g", 2)]).await.unwrap();
    assert_eq!(why(ids[0]), Explanation::GroupPaused);
    let busy = why(ids[1]);
    assert!(matches!(busy, Explanation::GroupBusy { head, state: State::Pending, ahead: 1, .. } if head == ids[0]));

    pond.worker("rate").rate_limit(Rate::per_minute(1)).handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    pond.enqueue("rate", work(1)).await.unwrap();
    running(&pond, "rate", 0).await;
    let limited = pond.enqueue("rate", work(2)).await.unwrap();
    settled(&pond).await;
    assert!(matches!(why(limited), Explanation::RateLimited { wait, .. } if wait <= SECOND * 61));

    let (_second, mut other) = gated(&pond, "other", 5);
    let ids = pond.enqueue_many("other", (0..2).map(work)).await.unwrap();
    settled(&pond).await;
    assert_eq!(other.next(1).await, [0]);
    assert!(matches!(why(ids[1]), Explanation::ProcessBudget { max_running: 2, .. }));

    let kept = pond.cancel(delayed, "x").await.and(Ok(delayed)).unwrap();
    assert!(matches!(why(kept), Explanation::Ended { state: State::Cancelled, .. }));
    assert!(why(kept).to_string().contains("ended"));
    keeper.let_go(3);
    other.let_go(2);
    drained(&pond).await;
}

#[tokio::test]
async fn explain_says_that_the_queue_is_shutting_down() {
    let (_, pond) = memory();
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    let ids = pond.enqueue_many("q", (0..2).map(work)).await.unwrap();
    keeper.entered().await;
    let stop = tokio::spawn(pond.shutdown(HOUR));
    while pond.explain(ids[1]).unwrap() != Explanation::ShuttingDown {
        tokio::task::yield_now().await;
    }
    keeper.let_go(1);
    stop.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_page_holds_at_least_one_job_and_at_most_a_thousand() {
    let (_, pond) = memory();
    pond.enqueue_many("q", (0..1_500).map(work)).await.unwrap();
    for (limit, jobs) in [(0, 1), (1, 1), (1_000, 1_000), (usize::MAX, 1_000)] {
        let page = pond.jobs(&JobFilter::new(), None, limit).unwrap();
        assert_eq!((page.jobs.len(), page.next.is_some()), (jobs, true));
    }
}
