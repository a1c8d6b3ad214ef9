//! How a unique key is held, and what an enqueue does that finds it held: `Unique`.

use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{
    Context, EnqueueStatus, Enqueued, Error, Event, Job, JobId, Millpond, NewJob, Outcome, Retry, State, Unique,
};

use crate::idempotency::{meet, put};
use crate::support::*;

fn with(mode: Unique, n: u64) -> NewJob {
    work(n).unique("key", mode)
}

fn number(pond: &Millpond, id: impl Into<JobId>) -> u64 {
    pond.job(id).unwrap().payload.decode::<Work>().unwrap().n
}

fn status(answer: Enqueued) -> (JobId, EnqueueStatus) {
    (answer.id, answer.status)
}

fn replaced(id: impl Into<JobId>) -> (JobId, EnqueueStatus) {
    (id.into(), EnqueueStatus::Replaced)
}

fn duplicate(id: impl Into<JobId>) -> (JobId, EnqueueStatus) {
    (id.into(), EnqueueStatus::Duplicate)
}

fn holder(pond: &Millpond) -> Option<JobId> {
    pond.queue("q").unwrap().unique_holder("key").unwrap()
}

/// A worker whose handlers wait at a gate, and whose jobs fail in their first `failures` attempts.
fn failing(pond: &Millpond, failures: u32) -> Keeper {
    let (gate, keeper) = gate();
    let handler = move |job: Job<Work>| {
        let gate = gate.clone();
        async move {
            gate.pass(job.n).await;
            Ok(if job.attempt() <= failures { Outcome::retry("again") } else { Outcome::done() })
        }
    };
    let retry = Retry::fixed(HOUR).jitter(0.0).max_attempts(10);
    pond.worker("q").concurrency(4).retry(retry).no_timeout().handle(handler).start().unwrap();
    keeper
}

// --- until started ------------------------------------------------------------------------------

#[tokio::test]
async fn until_started_one_may_wait_while_one_runs() {
    let (_clock, pond) = memory();
    let mode = Unique::until_started();
    let first = put(&pond, with(mode, 1)).await;
    assert_eq!(status(put(&pond, with(mode, 2)).await), duplicate(first));
    assert_eq!(holder(&pond), Some(first.id));
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    assert_eq!(keeper.entered().await, 1);
    assert_eq!(holder(&pond), None);
    let second = put(&pond, with(mode, 3)).await;
    assert!(second.is_stored());
    assert_eq!((status(put(&pond, with(mode, 4)).await), holder(&pond)), (duplicate(second), Some(second.id)));
    keeper.let_go(2);
    drained(&pond).await;
    assert!(put(&pond, with(mode, 5)).await.is_stored());
}

#[tokio::test]
async fn a_job_that_is_retried_regains_its_key_only_if_no_other_job_took_it() {
    let (clock, pond) = memory();
    let mode = Unique::until_started();
    let mut keeper = failing(&pond, 2);
    let first = put(&pond, with(mode, 1)).await;
    assert_eq!(keeper.entered().await, 1);
    keeper.let_go(1);
    running(&pond, "q", 0).await;
    assert_eq!((state(&pond, first), status(put(&pond, with(mode, 2)).await)), (State::Retrying, duplicate(first)));
    clock.advance(HOUR);
    assert_eq!(keeper.entered().await, 1);
    let second = put(&pond, with(mode, 3)).await;
    assert!(second.is_stored());
    assert_eq!(keeper.entered().await, 3);
    keeper.let_go(2);
    running(&pond, "q", 0).await;
    assert_eq!([first, second].map(|job| state(&pond, job)), [State::Retrying; 2]);
    assert_eq!((status(put(&pond, with(mode, 4)).await), holder(&pond)), (duplicate(second), Some(second.id)));
}

// --- replace ------------------------------------------------------------------------------------

#[tokio::test]
async fn a_waiting_job_gets_the_payload_and_the_options_of_the_new_one_and_keeps_its_id() {
    let (clock, pond) = memory();
    let mode = Unique::until_ended().replace();
    let first = put(&pond, with(mode, 1).delay(HOUR).max_attempts(7)).await;
    let enqueued_at = pond.job(first).unwrap().enqueued_at;
    clock.advance(SECOND);
    let mut events = pond.events();
    let second = put(&pond, NewJob::json("other", &Work { n: 2 }).unique("key", mode).group("g")).await;
    assert_eq!(status(second), replaced(first));
    let job = pond.job(first).unwrap();
    assert_eq!((job.kind.as_str(), job.state, job.group.as_deref()), ("other", State::Pending, Some("g")));
    assert_eq!((job.max_attempts, job.enqueued_at, number(&pond, first)), (None, enqueued_at, 2));
    assert_eq!((job.unique, holder(&pond)), (Some(mode), Some(first.id)));
    settled(&pond).await;
    let told = heard(&mut events).into_iter().find_map(|event| match event {
        Event::Replaced { id, kind, key, .. } => Some((id, kind.to_string(), key.to_string())),
        _ => None,
    });
    assert_eq!(told, Some((first.id, "other".into(), "key".into())));
    let counts = pond.queue("q").unwrap().counts();
    assert_eq!((counts.unfinished(), counts.enqueued_total), (1, 1));
    for (n, job) in [with(mode, 3).group("other"), with(mode, 4), with(mode, 5).delay(HOUR)].into_iter().enumerate() {
        assert_eq!(status(put(&pond, job).await), replaced(first));
        assert_eq!(number(&pond, first), n as u64 + 3);
    }
    assert_eq!(state(&pond, first), State::Scheduled);
}

#[tokio::test]
async fn a_member_of_a_group_that_is_replaced_keeps_its_place() {
    let (_clock, pond) = memory();
    let mode = Unique::until_ended().replace();
    pond.enqueue("q", member("g", 1)).await.unwrap();
    put(&pond, with(mode, 2).group("g")).await;
    pond.enqueue("q", member("g", 3)).await.unwrap();
    put(&pond, with(mode, 4).group("g")).await;
    let ran = record(&pond, "q", 4);
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 4, 3]);
}

#[tokio::test]
async fn a_job_that_runs_is_not_replaced() {
    let (_clock, pond) = memory();
    let mode = Unique::until_ended().replace();
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    let first = put(&pond, with(mode, 1)).await;
    assert_eq!(keeper.entered().await, 1);
    assert_eq!(status(put(&pond, with(mode, 2)).await), duplicate(first));
    assert_eq!(number(&pond, first), 1);
    let mode = Unique::until_started().replace();
    assert_eq!(status(put(&pond, with(mode, 3)).await), duplicate(first), "the holder says how long it holds the key");
    keeper.let_go(1);
    drained(&pond).await;
    assert!(put(&pond, with(mode, 4)).await.is_stored());
    keeper.let_go(1);
}

#[tokio::test]
async fn a_job_that_waits_in_memory_runs_as_what_it_was_replaced_with() {
    let (_clock, pond) = memory();
    let mode = Unique::until_started().replace();
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    put(&pond, work(0)).await;
    assert_eq!(keeper.entered().await, 0);
    let first = put(&pond, with(mode, 1)).await;
    for n in 2..10 {
        assert_eq!(status(put(&pond, with(mode, n)).await), replaced(first));
    }
    keeper.let_go(1);
    assert_eq!(keeper.entered().await, 9);
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [0; 0]);
}

#[tokio::test]
async fn a_job_does_not_start_while_the_commit_that_replaces_it_is_made() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    let mode = Unique::until_started().replace();
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    pond.enqueue("q", work(0)).await.unwrap();
    assert_eq!(keeper.entered().await, 0);
    let first = pond.enqueue("q", with(mode, 1)).await.unwrap();
    settled(&pond).await;
    disk.hold_syncs();
    let replacing = tokio::spawn(pond.enqueue("q", with(mode, 2)));
    sync_begun(&disk).await;
    // The slot is free, and the job that is being replaced would be next.
    keeper.let_go(1);
    while pond.queue("q").unwrap().counts().running > 0 {
        assert_eq!(keeper.waiting(), [0; 0], "it has started as what it was before");
        tokio::task::yield_now().await;
    }
    disk.release_syncs();
    assert_eq!(status(replacing.await.unwrap().unwrap()), replaced(first));
    assert_eq!(keeper.entered().await, 2);
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [0; 0]);
}

#[tokio::test]
async fn a_retrying_job_that_is_replaced_starts_anew() {
    let (_clock, pond) = memory();
    let mode = Unique::until_ended().replace();
    let mut keeper = failing(&pond, 1);
    let first = put(&pond, with(mode, 1)).await;
    assert_eq!(keeper.entered().await, 1);
    keeper.let_go(1);
    running(&pond, "q", 0).await;
    assert_eq!(state(&pond, first), State::Retrying);
    assert_eq!(status(put(&pond, with(mode, 2)).await), replaced(first));
    assert_eq!(keeper.entered().await, 2);
    assert_eq!((pond.job(first).unwrap().attempts, pond.job(first).unwrap().errors.len()), (1, 0));
    keeper.let_go(9);
}

#[tokio::test]
async fn jobs_are_replaced_in_calls_of_many_transactions_guards_and_completions() {
    let (_clock, pond) = memory();
    let mode = Unique::until_started().replace();
    let many = pond.enqueue_many("q", [with(mode, 1), work(100), with(mode, 2)]).await.unwrap();
    assert_eq!((status(many[2]), number(&pond, many[0])), (replaced(many[0]), 2));
    let in_tx = pond.transaction(move |tx| Ok([tx.enqueue("q", with(mode, 3))?, tx.enqueue("q", with(mode, 4))?]));
    assert_eq!(in_tx.await.unwrap().map(status), [replaced(many[0]); 2]);
    assert_eq!(number(&pond, many[0]), 4);
    for commits in [false, true] {
        let mut guard = pond.begin_write().unwrap();
        assert_eq!(status(guard.enqueue("q", with(mode, 5)).unwrap()), replaced(many[0]));
        let new = guard.enqueue("new", with(mode, 6)).unwrap();
        assert!(new.is_stored());
        assert_eq!(status(guard.enqueue("new", with(mode, 7)).unwrap()), replaced(new));
        let plain = guard.enqueue("new", work(8)).unwrap();
        if commits {
            guard.commit().unwrap();
            assert_eq!([many[0], new, plain].map(|job| number(&pond, job)), [5, 7, 8]);
        } else {
            drop(guard);
            assert_eq!(number(&pond, many[0]), 4);
        }
    }
    assert_sound(&pond).await;
    let handler = move |job: Job<Work>, ctx: Context| async move {
        if job.n < 10 {
            ctx.on_complete(move |tx| Ok(tx.enqueue("q", with(mode, job.n + 10)).map(drop)?));
        }
        Ok(())
    };
    let log: Log<u64> = Log::new();
    let seen = log.clone();
    let noting = move |job: Job<Work>, ctx: Context| {
        seen.push(job.n);
        handler(job, ctx)
    };
    pond.worker("q").concurrency(1).handle(noting).start().unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), [5, 100, 15], "a guard that was dropped has let the job start again");
}

// --- debounce -----------------------------------------------------------------------------------

async fn ran_after(pond: &Millpond, clock: &ManualClock, log: &Log<u64>, time: Duration) -> Vec<u64> {
    clock.advance(time);
    drained(pond).await;
    log.take()
}

#[tokio::test]
async fn a_debounced_job_starts_when_it_was_quiet_but_not_later_than_its_latest_time() {
    let (clock, pond) = memory();
    let mode = Unique::until_started().debounce(SECOND * 10, SECOND * 25);
    let log = record(&pond, "q", 1);
    let first = put(&pond, with(mode, 1)).await;
    assert_eq!(ran_after(&pond, &clock, &log, SECOND * 9).await, [0; 0]);
    assert_eq!(status(put(&pond, with(mode, 2)).await), replaced(first));
    assert_eq!(ran_after(&pond, &clock, &log, SECOND * 9).await, [0; 0]);
    assert_eq!(status(put(&pond, with(mode, 3)).await), replaced(first));
    assert_eq!(ran_after(&pond, &clock, &log, SECOND * 6).await, [0; 0]);
    assert_eq!(ran_after(&pond, &clock, &log, SECOND).await, [3], "25 seconds after the first");
    let next = put(&pond, with(mode, 4)).await;
    assert!(next.is_stored() && next > first);
    assert_eq!(ran_after(&pond, &clock, &log, SECOND * 9).await, [0; 0]);
    assert_eq!(ran_after(&pond, &clock, &log, SECOND).await, [4]);
}

#[tokio::test]
async fn the_latest_time_of_a_debounce_survives_a_restart() {
    let disk = OnDisk::new();
    let mode = Unique::until_started().debounce(SECOND * 10, SECOND * 15);
    let pond = disk.open();
    let first = put(&pond, with(mode, 1)).await;
    disk.clock.advance(SECOND * 9);
    let pond = disk.crashed("crashed.redb");
    assert_eq!(status(put(&pond, with(mode, 2)).await), replaced(first));
    let log = record(&pond, "q", 1);
    assert_eq!(ran_after(&pond, &disk.clock, &log, SECOND * 5).await, [0; 0]);
    assert_eq!(ran_after(&pond, &disk.clock, &log, SECOND).await, [2]);
}

// --- throttle -----------------------------------------------------------------------------------

#[tokio::test]
async fn a_throttled_key_is_held_for_exactly_its_window() {
    for fate in ["waits", "ends", "cancelled", "deleted", "moved"] {
        let (clock, pond) = memory();
        let mode = Unique::throttle(HOUR);
        let first = put(&pond, with(mode, 1)).await;
        meet(&pond, first, fate).await;
        assert_sound(&pond).await;
        clock.advance(HOUR - Duration::from_millis(1));
        for other in [mode, Unique::until_ended(), Unique::until_started().replace()] {
            assert_eq!(status(put(&pond, with(other, 2)).await), duplicate(first), "{fate}");
        }
        assert_eq!(holder(&pond), Some(first.id));
        clock.advance(Duration::from_millis(1));
        assert_eq!(holder(&pond), None);
        assert!(put(&pond, with(mode, 3)).await.is_stored(), "{fate}");
    }
}

// --- keep latest --------------------------------------------------------------------------------

#[tokio::test]
async fn of_keep_latest_one_runs_and_one_is_next_with_the_latest_payload() {
    let (clock, pond) = memory();
    let mode = Unique::keep_latest();
    let mut keeper = failing(&pond, 1);
    let first = put(&pond, with(mode, 1)).await;
    assert_eq!(keeper.entered().await, 1);
    let next = put(&pond, with(mode, 2)).await;
    assert!(next.is_stored());
    assert_eq!(status(put(&pond, with(mode, 3)).await), replaced(next));
    keeper.let_go(1);
    running(&pond, "q", 0).await;
    assert_eq!((state(&pond, first), keeper.waiting()), (State::Retrying, vec![]), "the next one waits for its retry");
    assert_eq!(status(put(&pond, with(mode, 4)).await), replaced(next));
    clock.advance(HOUR);
    assert_eq!(keeper.entered().await, 1);
    assert_eq!(status(put(&pond, with(mode, 5)).await), replaced(next));
    keeper.let_go(1);
    assert_eq!(keeper.entered().await, 5);
    let last = put(&pond, with(mode, 6)).await;
    assert!(last.is_stored(), "the trigger that came while it ran is not lost");
    keeper.let_go(1);
    running(&pond, "q", 0).await;
    clock.advance(HOUR);
    assert_eq!(keeper.entered().await, 5);
    keeper.let_go(1);
    assert_eq!(keeper.entered().await, 6);
    keeper.let_go(9);
    running(&pond, "q", 0).await;
    assert_sound(&pond).await;
}

#[tokio::test]
async fn keep_latest_survives_a_crash() {
    let disk = OnDisk::new();
    let mode = Unique::keep_latest();
    let pond = disk.open();
    let (_worker, mut keeper) = gated(&pond, "q", 4);
    put(&pond, with(mode, 1)).await;
    assert_eq!(keeper.entered().await, 1);
    let next = put(&pond, with(mode, 2)).await;
    put(&pond, with(mode, 3)).await;
    starts_written(&pond, &disk.clock).await;
    let crashed = disk.crashed("crashed.redb");
    assert_eq!(status(put(&crashed, with(mode, 4)).await), replaced(next));
    let ran = record(&crashed, "q", 4);
    drained(&crashed).await;
    assert_eq!(ran.all(), [1, 4]);
    keeper.let_go(9);
}

// --- by hand ------------------------------------------------------------------------------------

#[tokio::test]
async fn a_key_is_freed_by_hand_and_its_job_goes_on() {
    for mode in [Unique::until_ended(), Unique::until_started(), Unique::throttle(HOUR), Unique::keep_latest()] {
        let (_clock, pond) = memory();
        let queue = pond.queue("q").unwrap();
        assert!(!queue.release_unique_key("key").await.unwrap());
        let first = put(&pond, with(mode, 1)).await;
        assert_eq!(holder(&pond), Some(first.id));
        assert!(queue.release_unique_key("key").await.unwrap());
        assert_sound(&pond).await;
        assert_eq!(holder(&pond), None);
        assert!(!queue.release_unique_key("key").await.unwrap());
        let second = put(&pond, with(mode, 2)).await;
        assert!(second.is_stored());
        let ran = record(&pond, "q", 1);
        drained(&pond).await;
        assert_eq!(ran.all(), [1, 2]);
        let held = put(&pond, work(3).unique_key("other")).await;
        drained(&pond).await;
        assert_eq!(queue.unique_holder("other").unwrap(), Some(held.id), "it is held for five minutes");
        assert!(queue.release_unique_key("other").await.unwrap());
        assert_sound(&pond).await;
        assert!(put(&pond, work(4).unique_key("other")).await.is_stored());
    }
}

#[tokio::test]
async fn modes_that_cannot_work_are_refused() {
    let (_clock, pond) = memory();
    let zero = Duration::ZERO;
    for job in [
        with(Unique::throttle(zero), 1),
        with(Unique::throttle(HOUR * 24 * 31), 1),
        with(Unique::throttle(HOUR).replace(), 1),
        with(Unique::until_ended().debounce(zero, HOUR), 1),
        with(Unique::until_ended().debounce(HOUR, SECOND), 1),
        with(Unique::until_ended().debounce(SECOND, HOUR), 1).delay(SECOND),
        with(Unique::keep_latest().debounce(SECOND, HOUR), 1),
        with(Unique::keep_latest(), 1).group("g"),
        with(Unique::until_started(), 1).unique_for(HOUR),
        with(Unique::until_ended().replace(), 1).unique_for(HOUR),
    ] {
        let refused = pond.enqueue("q", job).await;
        assert!(matches!(refused, Err(Error::InvalidConfig { .. })), "{refused:?}");
    }
    let forever = Unique::until_started().debounce(SECOND, Duration::MAX);
    assert!(put(&pond, with(forever, 1)).await.is_stored());
}
