//! Several jobs of a group run at a time, where the settings of the queue say so.

use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{
    Batch, CircuitBreaker, Clock, Error, Explanation, GroupPolicy, Handled, Job, JobId, Jobs, Millpond, NewJob,
    Outcome, QueueSettings, Rate, Retry, State, WorkerBuilder,
};

use crate::support::*;

fn settings(jobs: u32) -> QueueSettings {
    QueueSettings::default().group_concurrency(jobs)
}

async fn configure(pond: &Millpond, settings: QueueSettings) {
    pond.queue("q").unwrap().configure(settings).await.unwrap();
}

async fn enqueue(pond: &Millpond, jobs: impl IntoIterator<Item = NewJob>) -> Vec<JobId> {
    pond.enqueue_many("q", jobs).await.unwrap().iter().map(|job| job.id).collect()
}

/// A worker whose jobs wait at a gate. The first run of each job in `failing` then ends with `outcome`.
fn worker(pond: &Millpond, failing: &'static [u64], outcome: fn() -> Handled<Outcome>) -> Keeper {
    let retry = Retry::fixed(SECOND).jitter(0.0);
    worker_with(pond.worker("q").retry(retry), failing, outcome)
}

fn worker_with(builder: WorkerBuilder, failing: &'static [u64], outcome: fn() -> Handled<Outcome>) -> Keeper {
    let ((gate, keeper), failed) = (gate(), Log::new());
    let handler = move |job: Job<Work>| {
        let (gate, failed) = (gate.clone(), failed.clone());
        async move {
            gate.pass(job.n).await;
            if failing.contains(&job.n) && !failed.all().contains(&job.n) {
                failed.push(job.n);
                return outcome();
            }
            Ok(Outcome::done())
        }
    };
    builder.concurrency(10).no_timeout().handle(handler).start().unwrap();
    keeper
}

/// A worker whose jobs wait at a gate. Those in `failing` then fail, which can open the circuits of their groups.
fn worker_with_breaker(pond: &Millpond, breaker: CircuitBreaker, failing: &'static [u64]) -> Keeper {
    let builder = pond.worker("q").group_circuit_breaker(breaker).retry(Retry::none());
    worker_with(builder, failing, || Err("503".into()))
}

#[tokio::test]
async fn as_many_jobs_of_each_group_run_at_a_time_as_the_queue_says() {
    let (_, pond) = memory();
    configure(&pond, settings(2)).await;
    let (_worker, mut keeper) = gated(&pond, "q", 10);
    let ids = enqueue(&pond, [1, 2, 3, 4].map(|n| member("a", n)).into_iter().chain([member("b", 5)])).await;
    assert_eq!(keeper.next(3).await, [1, 2, 5]);
    running(&pond, "q", 3).await;
    assert!(matches!(pond.explain(ids[1]).unwrap(), Explanation::Running));
    assert!(
        matches!(pond.explain(ids[3]).unwrap(), Explanation::GroupBusy { head, ahead: 3, .. } if head == ids[0]),
        "{:?}",
        pond.explain(ids[3])
    );
    keeper.let_go(1);
    assert_eq!(keeper.entered().await, 3);
    keeper.let_go(4);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [4]);
}

#[tokio::test]
async fn with_one_slot_the_jobs_of_a_group_start_in_their_order() {
    let (_, pond) = memory();
    configure(&pond, settings(3)).await;
    enqueue(&pond, (1..=5).map(|n| member("a", n))).await;
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_job_that_waits_for_a_retry_keeps_its_place_where_groups_block() {
    let (clock, pond) = memory();
    configure(&pond, settings(2)).await;
    let mut keeper = worker(&pond, &[1], || Err("not yet".into()));
    enqueue(&pond, (1..=4).map(|n| member("a", n))).await;
    assert_eq!(keeper.next(2).await, [1, 2]);
    keeper.let_go(2);
    assert_eq!(keeper.entered().await, 3);
    running(&pond, "q", 1).await;
    assert_eq!(keeper.waiting(), [0; 0], "job 1 has a place and waits");
    clock.advance(SECOND);
    assert_eq!(keeper.entered().await, 1);
    keeper.let_go(3);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [4]);
}

#[tokio::test]
async fn the_next_job_gets_the_place_of_one_that_waits_where_groups_skip() {
    let (clock, pond) = memory();
    configure(&pond, settings(2).groups(GroupPolicy::Skip)).await;
    let mut keeper = worker(&pond, &[1], || Err("not yet".into()));
    enqueue(&pond, (1..=5).map(|n| member("a", n))).await;
    assert_eq!(keeper.next(2).await, [1, 2]);
    keeper.let_go(2);
    assert_eq!(keeper.next(2).await, [3, 4]);
    clock.advance(SECOND);
    running(&pond, "q", 2).await;
    assert_eq!(keeper.waiting(), [0; 0], "job 1 is due and no place is free");
    keeper.let_go(1);
    assert_eq!(keeper.entered().await, 1, "it comes before job 5");
    keeper.let_go(3);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [5]);
}

#[tokio::test]
async fn no_job_gets_a_place_while_a_dead_letter_holds_the_group() {
    let (_, pond) = memory();
    configure(&pond, settings(2).groups(GroupPolicy::Hold)).await;
    let mut keeper = worker(&pond, &[1], || Ok(Outcome::dead_letter("broken")));
    let ids = enqueue(&pond, (1..=4).map(|n| member("a", n))).await;
    assert_eq!(keeper.next(2).await, [1, 2]);
    keeper.let_go(2);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [0; 0]);
    assert!(matches!(pond.explain(ids[2]).unwrap(), Explanation::GroupHeld { by, .. } if by == ids[0]));
    pond.dead_letters().redrive(ids[0]).await.unwrap();
    assert_eq!(keeper.next(2).await, [1, 3], "the dead letter is back at its place, and one place is free");
    assert_sound(&pond).await;
    keeper.let_go(3);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [4]);
}

#[tokio::test]
async fn a_released_group_has_all_its_places_again() {
    let (_, pond) = memory();
    configure(&pond, settings(2).groups(GroupPolicy::Hold)).await;
    let mut keeper = worker(&pond, &[1, 2], || Ok(Outcome::dead_letter("broken")));
    let ids = enqueue(&pond, (1..=5).map(|n| member("a", n))).await;
    assert_eq!(keeper.next(2).await, [1, 2]);
    keeper.let_go(2);
    drained(&pond).await;
    pond.dead_letters().purge(ids[0]).await.unwrap();
    assert_eq!(keeper.next(2).await, [3, 4], "only the first dead letter has held the group");
    keeper.let_go(3);
    drained(&pond).await;
}

#[tokio::test]
async fn a_higher_number_takes_effect_at_once_and_a_lower_one_takes_no_place_away() {
    let (_, pond) = memory();
    let (_worker, mut keeper) = gated(&pond, "q", 20);
    let groups = ["a", "b"];
    enqueue(&pond, groups.iter().flat_map(|group| (1..=6).map(|n| member(group, n)))).await;
    assert_eq!(keeper.next(2).await, [1, 1]);
    configure(&pond, settings(3)).await;
    assert_eq!(keeper.next(4).await, [2, 2, 3, 3]);
    configure(&pond, settings(1)).await;
    running(&pond, "q", 6).await;
    assert_sound(&pond).await;
    // Job 1 of both groups, and jobs 2 and 3 of group a, as they came to the gate.
    keeper.let_go(4);
    assert_eq!(keeper.entered().await, 4, "no other job of group a runs");
    running(&pond, "q", 3).await;
    keeper.let_go(1);
    running(&pond, "q", 2).await;
    assert_eq!(keeper.waiting(), [0; 0], "a job of group b still runs");
    keeper.let_go(1);
    assert_eq!(keeper.entered().await, 4);
    running(&pond, "q", 2).await;
    keeper.let_go(6);
    drained(&pond).await;
}

#[tokio::test]
async fn a_higher_number_reaches_more_groups_than_one_commit_fills() {
    const GROUPS: u64 = 2_500;
    let (_, pond) = memory();
    let queue = pond.queue("q").unwrap();
    enqueue(&pond, (0..GROUPS * 2).map(|n| member(&format!("group-{:04}", n / 2), n))).await;
    configure(&pond, settings(2)).await;
    assert_sound(&pond).await;
    let names = (0..GROUPS).map(|n| format!("group-{n:04}"));
    let busy = names.filter(|name| {
        let second = pond.jobs(&millpond::JobFilter::new().group(name), None, 2).unwrap().jobs[1].id;
        matches!(pond.explain(second).unwrap(), Explanation::GroupBusy { .. })
    });
    assert_eq!(busy.count(), 0);
    assert_eq!(queue.counts().pending, GROUPS * 2);
}

#[tokio::test]
async fn the_setting_and_the_places_survive_a_restart_and_a_crash() {
    let disk = OnDisk::new();
    let pond = disk.open();
    configure(&pond, settings(2)).await;
    enqueue(&pond, (1..=5).map(|n| member("a", n))).await;
    close(pond).await;

    let pond = disk.open();
    assert_eq!(pond.queue("q").unwrap().settings().group_concurrency, 2);
    let (_worker, mut keeper) = gated(&pond, "q", 10);
    assert_eq!(keeper.next(2).await, [1, 2]);
    starts_written(&pond, &disk.clock).await;
    let pond = disk.crashed("after");
    assert_eq!(pond.queue("q").unwrap().settings().group_concurrency, 2);
    assert_sound(&pond).await;
    let ran = record(&pond, "q", 10);
    drained(&pond).await;
    let mut all = ran.all();
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_pause_stops_all_places_of_its_group_and_those_that_run_finish() {
    let (_, pond) = memory();
    configure(&pond, settings(2)).await;
    let (_worker, mut keeper) = gated(&pond, "q", 10);
    enqueue(&pond, (1..=5).map(|n| member("a", n))).await;
    assert_eq!(keeper.next(2).await, [1, 2]);
    let queue = pond.queue("q").unwrap();
    queue.pause_group("a").await.unwrap();
    assert_sound(&pond).await;
    keeper.let_go(1);
    running(&pond, "q", 1).await;
    assert_eq!(keeper.waiting(), [0; 0]);
    queue.resume_group("a").await.unwrap();
    assert_eq!(keeper.entered().await, 3, "one place is free, and the other job still runs");
    assert_sound(&pond).await;
    queue.pause_group("a").await.unwrap();
    keeper.let_go(2);
    drained(&pond).await;
    queue.resume_group("a").await.unwrap();
    assert_eq!(keeper.next(2).await, [4, 5]);
    keeper.let_go(2);
    drained(&pond).await;
}

#[tokio::test]
async fn a_job_put_off_while_its_group_is_paused_keeps_its_place() {
    let (clock, pond) = memory();
    configure(&pond, settings(2)).await;
    let mut keeper = worker(&pond, &[1], || Err("not yet".into()));
    enqueue(&pond, (1..=4).map(|n| member("a", n))).await;
    assert_eq!(keeper.next(2).await, [1, 2]);
    let queue = pond.queue("q").unwrap();
    queue.pause_group("a").await.unwrap();
    keeper.let_go(2);
    drained(&pond).await;
    queue.resume_group("a").await.unwrap();
    assert_eq!(keeper.entered().await, 3);
    running(&pond, "q", 1).await;
    assert_eq!(keeper.waiting(), [0; 0], "job 1 has the other place and waits");
    clock.advance(SECOND);
    assert_eq!(keeper.entered().await, 1);
    keeper.let_go(3);
    drained(&pond).await;
}

#[tokio::test]
async fn a_rate_is_shared_by_the_places_of_a_group() {
    let (clock, pond) = memory();
    configure(&pond, settings(3)).await;
    let log = Log::new();
    let seen = log.clone();
    let handler = move |job: Job<Work>| {
        seen.push(job.n);
        async { Ok(()) }
    };
    pond.worker("q").group_rate_limit(Rate::per_minute(1)).handle(handler).start().unwrap();
    enqueue(&pond, (1..=4).map(|n| member("a", n)).chain([member("b", 5)])).await;
    drained(&pond).await;
    let mut first = log.take();
    first.sort_unstable();
    assert_eq!(first, [1, 5]);
    for n in 2..=4 {
        clock.advance(Duration::from_secs(60));
        drained(&pond).await;
        assert_eq!(log.take(), [n]);
    }
}

#[tokio::test]
async fn the_probe_of_a_group_is_one_job_and_runs_from_before_do_not_count() {
    let (clock, pond) = memory();
    configure(&pond, settings(3)).await;
    let breaker = CircuitBreaker::failures(1.0).of(2).open_for(SECOND);
    let mut keeper = worker_with_breaker(&pond, breaker, &[1, 2, 3]);
    enqueue(&pond, (1..=3).map(|n| member("a", n))).await;
    assert_eq!(keeper.next(3).await, [1, 2, 3]);
    keeper.let_go(2);
    running(&pond, "q", 1).await;
    let queue = pond.queue("q").unwrap();
    assert_eq!(queue.group_circuit("a").unwrap().to_string(), "open for another 1s");
    enqueue(&pond, (4..=7).map(|n| member("a", n))).await;
    clock.advance(SECOND);
    assert_eq!(keeper.entered().await, 4);
    running(&pond, "q", 2).await;
    assert_eq!(keeper.waiting(), [0; 0], "one job is the probe");
    // A job that began before the circuit was open, and the probe.
    keeper.let_go(2);
    assert_eq!(keeper.next(3).await, [5, 6, 7]);
    assert_eq!(queue.group_circuit("a").unwrap().to_string(), "closed: 0 of the last 0 attempts failed");
    keeper.let_go(3);
    drained(&pond).await;
}

/// A group whose circuit is open, in a queue with these `places`, whose memory has room for so many heads that wait.
async fn with_an_open_circuit(heads: usize, places: u32, open_for: Duration) -> (ManualClock, Millpond, Keeper) {
    let (clock, pond) = memory_with(|builder| builder.window_jobs_max(heads));
    configure(&pond, settings(places)).await;
    let breaker = CircuitBreaker::failures(1.0).of(1).open_for(open_for);
    let mut keeper = worker_with_breaker(&pond, breaker, &[1]);
    enqueue(&pond, [member("a", 1)]).await;
    assert_eq!(keeper.entered().await, 1);
    keeper.let_go(1);
    settled(&pond).await;
    (clock, pond, keeper)
}

/// The same with more heads than fit into memory, and a job of another group, which runs.
async fn more_heads_than_fit(open_for: Duration) -> (ManualClock, Millpond, Keeper) {
    let (clock, pond, mut keeper) = with_an_open_circuit(2, 4, open_for).await;
    enqueue(&pond, (2..=5).map(|n| member("a", n)).chain([member("b", 6)])).await;
    assert_eq!(keeper.entered().await, 6, "another group does not wait");
    (clock, pond, keeper)
}

#[tokio::test]
async fn a_probe_whose_group_has_more_heads_than_fit_into_memory_holds_no_other_group_up() {
    let (clock, pond, mut keeper) = more_heads_than_fit(SECOND).await;
    clock.advance(SECOND);
    assert_eq!(keeper.entered().await, 2);
    enqueue(&pond, [member("c", 7)]).await;
    assert_eq!(keeper.entered().await, 7);
    running(&pond, "q", 3).await;
    assert_eq!(keeper.waiting(), [0; 0], "job 2 is the probe");
    keeper.let_go(3);
    assert_eq!(keeper.next(3).await, [3, 4, 5]);
    keeper.let_go(3);
    drained(&pond).await;
}

#[tokio::test]
async fn all_heads_of_a_group_start_when_its_circuit_is_closed_by_hand_also_those_that_did_not_fit_into_memory() {
    let (_, pond, mut keeper) = more_heads_than_fit(HOUR).await;
    assert!(pond.queue("q").unwrap().close_group_circuit("a").await.unwrap());
    assert_eq!(keeper.next(4).await, [2, 3, 4, 5]);
    keeper.let_go(5);
    drained(&pond).await;
}

/// Heads that did not fit into memory, and of whose group no other head was there at that time.
#[tokio::test]
async fn heads_that_were_passed_over_start_when_their_circuit_is_closed_by_hand() {
    let (_, pond, mut keeper) = with_an_open_circuit(1, 2, HOUR).await;
    enqueue(&pond, [member("a", 2)]).await;
    settled(&pond).await;
    enqueue(&pond, [member("a", 3).priority(millpond::Priority::FIRST)]).await;
    settled(&pond).await;
    pond.queue("q").unwrap().close_group_circuit("a").await.unwrap();
    assert_eq!(keeper.next(2).await, [2, 3]);
    keeper.let_go(2);
    drained(&pond).await;
}

#[tokio::test]
async fn a_call_of_configure_that_was_interrupted_is_completed_by_the_next_one() {
    let (clock, disk) = (ManualClock::new(), SimDisk::new());
    let open = || Millpond::builder().clock(clock.clone()).open_backend(disk.clone()).unwrap();
    let pond = open();
    let ids = enqueue(&pond, [member("a", 1), member("a", 2)]).await;
    disk.hold_syncs();
    let call = tokio::spawn(pond.queue("q").unwrap().configure(settings(2)));
    sync_begun(&disk).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    disk.release_syncs();
    close(pond).await;

    let pond = open();
    assert!(matches!(pond.explain(ids[1]).unwrap(), Explanation::GroupBusy { .. }));
    configure(&pond, settings(2)).await;
    assert!(matches!(pond.explain(ids[1]).unwrap(), Explanation::NoHandler { .. }), "{:?}", pond.explain(ids[1]));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_that_is_changed_keeps_its_place_also_in_a_held_group_and_with_a_lower_number() {
    let (clock, pond) = memory();
    configure(&pond, settings(2).groups(GroupPolicy::Hold)).await;
    let mut keeper = worker(&pond, &[1, 2], || Err("not yet".into()));
    let ids = enqueue(&pond, (1..=3).map(|n| member("a", n))).await;
    assert_eq!(keeper.next(2).await, [1, 2]);
    keeper.let_go(2);
    drained(&pond).await;
    let urgent = || millpond::JobPatch::new().priority(millpond::Priority::FIRST);
    configure(&pond, settings(1).groups(GroupPolicy::Hold)).await;
    pond.update(ids[0], urgent()).await.unwrap();
    clock.advance(SECOND);
    assert_eq!(keeper.next(2).await, [1, 2]);
    keeper.let_go(3);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [3]);

    pond.queue("dead").unwrap().configure(settings(2).groups(GroupPolicy::Hold)).await.unwrap();
    let mut keeper =
        worker_with(pond.worker("dead").retry(Retry::fixed(SECOND).jitter(0.0)), &[4, 5], || Err("not yet".into()));
    let jobs = [member("b", 4).max_attempts(1), member("b", 5), member("b", 6)];
    let ids: Vec<JobId> = pond.enqueue_many("dead", jobs).await.unwrap().iter().map(|job| job.id).collect();
    assert_eq!(keeper.next(2).await, [4, 5]);
    keeper.let_go(2);
    drained(&pond).await;
    assert!(matches!(pond.explain(ids[2]).unwrap(), Explanation::GroupHeld { by, .. } if by == ids[0]));
    pond.update(ids[1], urgent()).await.unwrap();
    clock.advance(SECOND);
    assert_eq!(keeper.entered().await, 5, "it had its place before the group was held");
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [0; 0]);
}

#[tokio::test]
async fn a_job_that_is_given_back_starts_also_if_its_group_is_paused_and_resumed_in_the_same_commit() {
    let (clock, disk) = (ManualClock::new(), SimDisk::new());
    let pond = Millpond::builder().clock(clock.clone()).open_backend(disk.clone()).unwrap();
    let mut keeper = worker(&pond, &[1], || Ok(Outcome::rate_limited(SECOND)));
    enqueue(&pond, [member("a", 1), member("a", 2)]).await;
    assert_eq!(keeper.entered().await, 1);
    settled(&pond).await;
    let commits = pond.metrics().commits_total;
    let held = hold_writer(&pond, &disk).await;
    let before = pond.testing().inbox();
    keeper.let_go(1);
    while pond.testing().inbox() == before {
        tokio::task::yield_now().await;
    }
    let queue = pond.queue("q").unwrap();
    let paused = tokio::spawn(queue.pause_group("a"));
    tokio::task::yield_now().await;
    let resumed = tokio::spawn(queue.resume_group("a"));
    tokio::task::yield_now().await;
    disk.release_syncs();
    held.await.unwrap().unwrap();
    assert!(paused.await.unwrap().unwrap() && resumed.await.unwrap().unwrap());
    assert_eq!(pond.metrics().commits_total - commits, 2, "one of the job that held the writer, and one of all others");
    clock.advance(SECOND);
    assert_eq!(keeper.entered().await, 1);
    keeper.let_go(2);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [2]);
}

#[tokio::test]
async fn a_batch_has_as_many_jobs_of_a_group_as_run_at_a_time() {
    let (_, pond) = memory();
    configure(&pond, settings(2)).await;
    enqueue(&pond, (1..=5).map(|n| member("a", n))).await;
    let calls = Log::new();
    let seen = calls.clone();
    let handler = move |jobs: Jobs<Work>| {
        seen.push(jobs.iter().map(|job| job.n).collect::<Vec<_>>());
        async { Ok(()) }
    };
    pond.worker("q").handle_batch(Batch::up_to(10), handler).start().unwrap();
    drained(&pond).await;
    assert_eq!(calls.all(), [vec![1, 2], vec![3, 4], vec![5]]);
}

#[tokio::test]
async fn members_that_are_changed_moved_or_cancelled_leave_a_place_for_the_next() {
    let (clock, pond) = memory();
    configure(&pond, settings(2)).await;
    let ids = enqueue(&pond, (1..=6).map(|n| member("a", n))).await;
    pond.cancel(ids[0], "not needed").await.unwrap();
    pond.update(ids[1], millpond::JobPatch::new().run_at(clock.wall() + HOUR)).await.unwrap();
    pond.move_to(ids[2], "other").await.unwrap();
    assert_sound(&pond).await;
    let (_worker, mut keeper) = gated(&pond, "q", 10);
    assert_eq!(keeper.entered().await, 4);
    running(&pond, "q", 1).await;
    assert_eq!(keeper.waiting(), [0; 0], "job 2 has one of the places and waits");
    keeper.let_go(3);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [5, 6]);
    assert_eq!(state(&pond, ids[1]), State::Scheduled);
}

#[tokio::test]
async fn a_number_that_cannot_work_is_refused() {
    let (_, pond) = memory();
    let queue = pond.queue("q").unwrap();
    for jobs in [0, QueueSettings::GROUP_CONCURRENCY_MAX + 1] {
        let error = queue.configure(settings(jobs)).await.unwrap_err();
        assert!(matches!(&error, Error::InvalidConfig { field: "group_concurrency", .. }), "{error}");
    }
    queue.configure(settings(QueueSettings::GROUP_CONCURRENCY_MAX)).await.unwrap();
}
