//! A job that has not started by its expiry ends as cancelled, wherever it waits; one that has started never does.

use std::time::Duration;

use millpond::testing::{ManualClock, Unguarded};
use millpond::{
    Capacity, Clock, Error, Event, GroupPolicy, Job, JobFilter, JobId, JobPatch, Keep, Millpond, Outcome, Priority,
    QueueSettings, Retention, Retry, State,
};
use millpond_testkit::SimDisk;

use crate::support::*;

/// A worker that gives the same answer to each job of queue `q`.
fn answering(pond: &Millpond, retry: Retry, answer: impl Fn() -> Outcome + Send + Sync + 'static) -> Log<u64> {
    let log = Log::new();
    let seen = log.clone();
    let handler = move |job: Job<Work>| {
        seen.push(job.n);
        let answer = answer();
        async { Ok(answer) }
    };
    pond.worker("q").concurrency(1).retry(retry).handle(handler).start().unwrap();
    log
}

#[track_caller]
fn expired(pond: &Millpond, id: impl Into<JobId>) {
    let id = id.into();
    let info = pond.job(id).unwrap();
    assert_eq!((info.state, info.reason.as_deref(), info.attempts), (State::Cancelled, Some("expired"), 0), "{id}");
    assert!(info.ended_at.is_some() && info.started_at.is_none(), "{info:?}");
}

// --- which jobs have started ------------------------------------------------------------------

#[tokio::test]
async fn a_retried_job_becomes_a_dead_letter_whatever_its_expiry() {
    let (clock, pond) = memory();
    let retry = Retry::fixed(SECOND * 20).jitter(0.0).max_attempts(3);
    let ran = answering(&pond, retry, || Outcome::retry("it does not work"));
    for group in [None, Some("g")] {
        let job = work(1).expires_in(SECOND * 10);
        let id = pond.enqueue("q", if let Some(group) = group { job.group(group) } else { job }).await.unwrap();
        for _ in 0..4 {
            drained(&pond).await;
            clock.advance(SECOND * 20);
        }
        let info = pond.job(id).unwrap();
        assert_eq!((info.state, info.attempts, ran.take().len()), (State::Dead, 3, 3));
        assert_eq!(info.reason.as_deref(), Some("no attempts left"));
    }
}

#[tokio::test]
async fn a_snoozed_job_has_started_and_does_not_expire() {
    let (clock, pond) = memory();
    let snoozed = std::sync::atomic::AtomicBool::new(false);
    let ran =
        answering(&pond, Retry::default(), move || match snoozed.swap(true, std::sync::atomic::Ordering::SeqCst) {
            false => Outcome::snooze(HOUR),
            true => Outcome::Done(None),
        });
    let id = pond.enqueue("q", work(1).expires_in(SECOND)).await.unwrap();
    drained(&pond).await;
    assert_eq!((state(&pond, id), ran.len()), (State::Scheduled, 1));
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 1]);
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1);
}

#[tokio::test]
async fn a_job_that_ran_when_the_process_died_does_not_expire() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (_worker, mut keeper) = gated(&pond, "q", 2);
    let ids = pond.enqueue_many("q", [work(1), member("g", 2)].map(|job| job.expires_in(SECOND * 5))).await.unwrap();
    keeper.next(2).await;
    starts_written(&pond, &disk.clock).await;
    let after = disk.crashed("copy.redb");
    disk.clock.advance(HOUR);
    drained(&after).await;
    for id in &ids {
        assert_eq!(state(&after, *id), State::Pending);
    }
    let ran = record(&after, "q", 2);
    for _ in 0..3 {
        drained(&after).await;
        disk.clock.advance(SECOND * 10);
    }
    let mut all = ran.all();
    all.sort_unstable();
    assert_eq!(all, [1, 2]);
    keeper.let_go(2);
}

#[tokio::test]
async fn a_running_job_does_not_expire() {
    let (clock, pond) = memory();
    let (_worker, mut keeper) = gated(&pond, "q", 2);
    let ids = pond.enqueue_many("q", [work(1), member("g", 2)].map(|job| job.expires_in(SECOND * 5))).await.unwrap();
    keeper.next(2).await;
    starts_written(&pond, &clock).await;
    for _ in 0..3 {
        clock.advance(SECOND * 10);
        pond.enqueue("other", work(1)).await.unwrap();
        settled(&pond).await;
        assert_sound(&pond).await;
        assert!(ids.iter().all(|id| state(&pond, *id) == State::Running));
    }
    keeper.let_go(2);
    assert_eq!(drained(&pond).await.completed, 2);
}

/// The job used no attempt, so it counts as not started.
#[tokio::test]
async fn a_job_that_a_stop_gave_back_can_expire() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (_worker, mut keeper) = gated(&pond, "q", 2);
    let ids = pond.enqueue_many("q", [work(1), member("g", 2)].map(|job| job.expires_in(SECOND * 5))).await.unwrap();
    keeper.next(2).await;
    starts_written(&pond, &disk.clock).await;
    pond.shutdown(Duration::ZERO).await.unwrap();
    let pond = disk.open();
    drained(&pond).await;
    assert!(ids.iter().all(|id| state(&pond, *id) == State::Pending));
    disk.clock.advance(SECOND * 4);
    drained(&pond).await;
    ids.iter().for_each(|id| expired(&pond, *id));
}

#[tokio::test]
async fn a_redriven_job_does_not_expire() {
    let (clock, pond) = memory();
    let ran = answering(&pond, Retry::none(), || Outcome::dead_letter("x"));
    let id = pond.enqueue("q", work(1).expires_in(SECOND)).await.unwrap();
    drained(&pond).await;
    pond.queue("q").unwrap().pause().await.unwrap();
    assert!(pond.dead_letters().redrive(id).await.unwrap());
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!((state(&pond, id), ran.len()), (State::Pending, 1));
}

// --- wherever the job waits -------------------------------------------------------------------

#[tokio::test]
async fn a_job_expires_in_a_queue_without_a_worker() {
    let (clock, pond) = memory();
    let mut events = pond.events();
    let id = pond.enqueue("q", work(1).expires_in(SECOND)).await.unwrap();
    let stays = pond.enqueue("q", work(2).expires_in(HOUR)).await.unwrap();
    clock.advance(SECOND - Duration::from_millis(1));
    drained(&pond).await;
    assert_eq!(state(&pond, id), State::Pending, "not a moment early");
    clock.advance(Duration::from_millis(1));
    drained(&pond).await;
    expired(&pond, id);
    assert_eq!(state(&pond, stays), State::Pending);
    let counts = pond.queue("q").unwrap().counts();
    assert_eq!((counts.pending, counts.cancelled, counts.cancelled_total, counts.failures_total), (1, 1, 1, 0));
    let is_it =
        |event: &Event| matches!(event, Event::Cancelled { id: of, reason, .. } if *of == id && reason == "expired");
    assert_eq!(heard(&mut events).iter().filter(|event| is_it(event)).count(), 1);
}

#[tokio::test]
async fn a_job_expires_in_a_paused_queue_and_in_a_paused_group() {
    let (clock, pond) = memory();
    let queue = pond.queue("q").unwrap();
    let ran = record(&pond, "q", 10);
    queue.pause_group("paused").await.unwrap();
    let in_group =
        pond.enqueue_many("q", (1..4).map(|n| member("paused", n).expires_in(SECOND * n as u32))).await.unwrap();
    let last = pond.enqueue("q", member("paused", 4)).await.unwrap();
    clock.advance(SECOND);
    drained(&pond).await;
    expired(&pond, in_group[0]);
    assert_eq!(state(&pond, in_group[1]), State::Pending);
    queue.pause().await.unwrap();
    let plain = pond.enqueue("q", work(5).expires_in(SECOND)).await.unwrap();
    let head = pond.enqueue("q", member("other", 6).expires_in(SECOND)).await.unwrap();
    clock.advance(SECOND * 2);
    drained(&pond).await;
    for id in [in_group[1], in_group[2], plain, head] {
        expired(&pond, id);
    }
    queue.resume().await.unwrap();
    queue.resume_group("paused").await.unwrap();
    drained(&pond).await;
    assert_eq!((state_or_gone(&pond, last), ran.all()), (None, vec![4]));
}

fn state_or_gone(pond: &Millpond, id: impl Into<JobId>) -> Option<State> {
    pond.job(id).ok().map(|job| job.state)
}

#[tokio::test]
async fn a_job_whose_kind_has_no_handler_expires() {
    let (clock, pond) = memory();
    let ran = record(&pond, "q", 1);
    let id = pond.enqueue("q", millpond::NewJob::raw("unknown", "x").expires_in(SECOND)).await.unwrap();
    let ready = pond.enqueue("q", work(1).delay(HOUR).expires_in(HOUR * 2)).await.unwrap();
    drained(&pond).await;
    clock.advance(SECOND);
    drained(&pond).await;
    expired(&pond, id);
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!((state_or_gone(&pond, ready), ran.all()), (None, vec![1]));
}

#[tokio::test]
async fn a_job_that_is_due_after_its_expiry_expires_while_it_waits() {
    for policy in [GroupPolicy::Block, GroupPolicy::Skip] {
        let (clock, pond) = memory();
        pond.queue("q").unwrap().configure(QueueSettings::default().groups(policy)).await.unwrap();
        let ran = record(&pond, "q", 1);
        let late = |n| work(n).delay(HOUR).expires_in(SECOND);
        let at = std::time::UNIX_EPOCH + Duration::from_millis(clock.wall().as_millis()) + HOUR;
        let jobs = [late(1), late(2).group("g"), late(3).group("g"), work(4).run_at(at).expires_in(SECOND)];
        let ids = pond.enqueue_many("q", jobs).await.unwrap();
        let behind = pond.enqueue("q", member("g", 5)).await.unwrap();
        drained(&pond).await;
        assert!(ids.iter().all(|id| state(&pond, *id) == State::Scheduled));
        clock.advance(SECOND);
        drained(&pond).await;
        ids.iter().for_each(|id| expired(&pond, *id));
        assert_eq!((state_or_gone(&pond, behind), ran.all()), (None, vec![5]), "{policy:?}");
        let counts = pond.queue("q").unwrap().counts();
        assert_eq!((counts.scheduled, counts.bytes), (0, 0));
    }
}

#[tokio::test]
async fn a_member_in_the_middle_of_its_group_expires_before_it_is_the_head() {
    let (clock, pond) = memory();
    let (_worker, mut keeper) = gated(&pond, "q", 10);
    let first = pond.enqueue("q", member("g", 1)).await.unwrap();
    let middle = pond.enqueue("q", member("g", 2).expires_in(SECOND)).await.unwrap();
    pond.enqueue("q", member("g", 3)).await.unwrap();
    assert_eq!(keeper.entered().await, 1);
    clock.advance(SECOND);
    settled(&pond).await;
    expired(&pond, middle);
    assert_eq!(state(&pond, first), State::Running);
    keeper.let_go(2);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [3]);
}

#[tokio::test]
async fn an_expired_job_makes_room_in_a_full_queue_and_frees_its_unique_key() {
    let (clock, pond) = memory();
    let queue = pond.queue("q").unwrap();
    queue.configure(QueueSettings::default().capacity(Capacity::jobs(3))).await.unwrap();
    let keyed = |n| work(n).unique_key("key").unique_for(Duration::ZERO);
    let jobs = [work(1).expires_in(SECOND), keyed(2).expires_in(SECOND), work(3)];
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    assert!(matches!(pond.enqueue("q", work(4)).await, Err(Error::QueueFull { .. })));
    assert_eq!(pond.enqueue("q", keyed(4)).await.unwrap(), ids[1].id);
    clock.advance(SECOND);
    // The next commit ends the job, whichever call makes it.
    let new = pond.enqueue("q", keyed(5)).await.unwrap();
    assert!(new > ids[2]);
    pond.enqueue("q", work(6)).await.unwrap();
    assert!(matches!(pond.enqueue("q", work(7)).await, Err(Error::QueueFull { .. })));
    expired(&pond, ids[0]);
    expired(&pond, ids[1]);
    drained(&pond).await;
}

#[tokio::test]
async fn a_caller_that_waits_for_room_proceeds_when_a_job_expires() {
    let (clock, pond) = memory();
    let queue = pond.queue("q").unwrap();
    let settings = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(millpond::WhenFull::Wait);
    queue.configure(settings).await.unwrap();
    let id = queue.enqueue(work(1).expires_in(SECOND)).await.unwrap();
    let waits = tokio::spawn(queue.enqueue(work(2)));
    tokio::task::yield_now().await;
    settled(&pond).await;
    assert!(!waits.is_finished());
    clock.advance(SECOND);
    assert!(waits.await.unwrap().unwrap() > id);
    expired(&pond, id);
}

#[tokio::test]
async fn a_unique_key_held_for_longer_than_the_expiry_stays_held() {
    let (clock, pond) = memory();
    let keyed = |n| work(n).unique_key("key").unique_for(HOUR);
    let id = pond.enqueue("q", keyed(1).expires_in(SECOND)).await.unwrap();
    clock.advance(SECOND);
    drained(&pond).await;
    expired(&pond, id);
    assert_eq!(pond.enqueue("q", keyed(2)).await.unwrap(), id.id);
    clock.advance(HOUR);
    assert!(pond.enqueue("q", keyed(3)).await.unwrap() > id);
    drained(&pond).await;
}

#[tokio::test]
async fn a_job_whose_expiry_passes_while_the_file_is_closed_expires_when_it_is_opened() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let at = std::time::UNIX_EPOCH + Duration::from_millis(disk.clock.wall().as_millis()) + HOUR;
    let jobs = [
        work(1).expires_in(HOUR),
        work(2).expires_at(at),
        member("g", 3).expires_in(HOUR),
        work(4).expires_in(HOUR * 3),
    ];
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    close(pond).await;
    disk.clock.advance(HOUR);
    let pond = disk.open();
    drained(&pond).await;
    ids[..3].iter().for_each(|id| expired(&pond, *id));
    assert_eq!(state(&pond, ids[3]), State::Pending);
    let copy = disk.crashed("copy.redb");
    disk.clock.advance(HOUR * 2);
    drained(&copy).await;
    expired(&copy, ids[3]);
}

#[tokio::test]
async fn an_expiry_in_the_past_ends_the_job_at_once() {
    let (clock, pond) = memory();
    let before = std::time::UNIX_EPOCH + Duration::from_millis(clock.wall().as_millis()) - HOUR;
    let ids = pond.enqueue_many("q", [work(1).expires_at(before), work(2).expires_in(Duration::ZERO)]).await.unwrap();
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    ids.iter().for_each(|id| expired(&pond, *id));
    assert_eq!(ran.len(), 0);
}

// --- calls that change the job in the meantime -------------------------------------------------

#[tokio::test]
async fn a_job_that_is_changed_or_cancelled_or_run_now_keeps_or_loses_its_expiry() {
    let (clock, pond) = memory();
    let ids = pond.enqueue_many("q", (0..5).map(|n| work(n).delay(HOUR).expires_in(SECOND * 10))).await.unwrap();
    pond.update(ids[0], JobPatch::new().priority(Priority::FIRST)).await.unwrap();
    pond.run_now(ids[1]).await.unwrap();
    pond.cancel(ids[2], "not wanted").await.unwrap();
    assert_sound(&pond).await;
    let (ran, worker) = record_with_worker(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
    worker.stop();
    clock.advance(SECOND * 10);
    drained(&pond).await;
    for id in [ids[0], ids[3], ids[4]] {
        expired(&pond, id);
    }
    assert_eq!(pond.job(ids[2]).unwrap().reason.as_deref(), Some("not wanted"));
}

#[tokio::test]
async fn expired_jobs_are_removed_where_retention_keeps_nothing() {
    let (clock, pond) = memory();
    let retention = Retention::default().cancelled(Keep::NOTHING);
    pond.queue("q").unwrap().configure(QueueSettings::default().retention(retention)).await.unwrap();
    pond.enqueue_many("q", (0..10).map(|n| work(n).expires_in(SECOND))).await.unwrap();
    clock.advance(SECOND);
    drained(&pond).await;
    let counts = pond.queue("q").unwrap().counts();
    assert_eq!((counts.pending, counts.cancelled, counts.cancelled_total), (0, 0, 10));
    assert!(pond.jobs(&JobFilter::new(), None, 10).unwrap().jobs.is_empty());
}

#[tokio::test]
async fn thousands_of_expiries_at_once_take_several_commits_with_other_calls_between_them() {
    let (clock, pond) = memory();
    pond.enqueue_many("q", (0..5_500).map(|n| work(n).expires_in(SECOND))).await.unwrap();
    settled(&pond).await;
    let before = pond.metrics().commits_total;
    clock.advance(SECOND);
    let id = pond.enqueue("other", work(1)).await.unwrap();
    let left = pond.queue("q").unwrap().counts().pending;
    assert!(left >= 3_500, "another caller's job is stored before all have ended: {left}");
    drained(&pond).await;
    let counts = pond.queue("q").unwrap().counts();
    assert_eq!((counts.pending, counts.cancelled_total), (0, 5_500));
    assert!((6..=20).contains(&(pond.metrics().commits_total - before)), "{}", pond.metrics().commits_total - before);
    assert_eq!(state(&pond, id), State::Pending);
}

/// A thousand jobs of a MiB each: a commit removes what fits into a few MiB.
#[tokio::test]
async fn large_jobs_that_expire_at_once_are_removed_in_small_commits() {
    let (clock, pond) = memory();
    for _ in 0..6 {
        let jobs = (0..10).map(|_| millpond::NewJob::raw("large", vec![0; 1 << 20]).expires_in(SECOND));
        pond.enqueue_many("q", jobs).await.unwrap();
    }
    settled(&pond).await;
    let before = pond.metrics().commits_total;
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().cancelled_total, 60);
    assert!(pond.metrics().commits_total - before >= 6, "{}", pond.metrics().commits_total - before);
}

/// A job without an expiry is never checked, and no job is checked again once it has ended.
#[tokio::test]
async fn a_queue_in_which_nothing_expires_makes_no_commits() {
    let (clock, pond) = memory();
    let ran = record(&pond, "q", 10);
    pond.enqueue_many("q", (0..10).map(|n| work(n).expires_in(SECOND * 5))).await.unwrap();
    pond.enqueue_many("idle", (0..10).map(work)).await.unwrap();
    drained(&pond).await;
    let before = pond.metrics().commits_total;
    for _ in 0..10 {
        clock.advance(SECOND);
        drained(&pond).await;
    }
    assert_eq!((pond.metrics().commits_total, ran.len()), (before, 10));
}

fn open(clock: &ManualClock, memory: &SimDisk) -> Millpond {
    Millpond::builder().clock(clock.clone()).seed(0).open_backend(memory.clone()).unwrap()
}

/// A crash between the time at which a job expires and the commit that ends it.
#[tokio::test]
async fn a_crash_before_an_expiry_is_written_does_not_lose_it() {
    let (clock, memory) = (ManualClock::new(), SimDisk::new());
    let pond = open(&clock, &memory);
    let jobs = [work(1), member("g", 2), work(3).delay(HOUR)].map(|job| job.expires_in(SECOND));
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    let image = memory.after_kill();
    clock.advance(SECOND);
    drained(&pond).await;
    drop(pond);
    let pond = open(&clock, &image);
    drained(&pond).await;
    ids.iter().for_each(|id| expired(&pond, *id));
}

// --- the index --------------------------------------------------------------------------------

const EXPIRING: redb::TableDefinition<(u8, u64, u32, u64), ()> = redb::TableDefinition::new("millpond/expiring");

/// The rows of the index.
fn index(pond: &Millpond) -> Vec<(u8, u64, u32, u64)> {
    let table = pond.begin_read().unwrap().open_table(EXPIRING).unwrap();
    table.range::<(u8, u64, u32, u64)>(..).unwrap().map(|row| row.unwrap().0.value()).collect()
}

#[tokio::test]
async fn the_expiry_index_has_only_jobs_with_an_expiry_that_have_not_started_or_ended() {
    let (clock, pond) = memory();
    let late = |n| work(n).expires_in(HOUR);
    pond.enqueue_many("q", (0..100).map(work)).await.unwrap();
    assert_eq!(index(&pond), []);
    let ids = pond.enqueue_many("q", [late(1), late(2).group("g"), late(3).delay(SECOND), late(4)]).await.unwrap();
    assert_eq!(index(&pond).len(), 4);
    pond.cancel(ids[3], "x").await.unwrap();
    assert_eq!(index(&pond).len(), 3);
    let retry = Retry::fixed(HOUR).jitter(0.0).max_attempts(2);
    let ran = answering(&pond, retry, || Outcome::retry("x"));
    drained(&pond).await;
    assert_eq!(index(&pond).len(), 1, "the one that is due later");
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!((index(&pond).len(), ran.len()), (0, 103));
}

/// Rows that lead to no job with this expiry, and jobs without their row.
#[tokio::test]
async fn a_wrong_expiry_index_is_reported_does_no_harm_and_is_repaired_at_open() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let jobs = [work(1), member("g", 2), work(3).delay(HOUR * 2), member("g", 4)].map(|job| job.expires_in(HOUR));
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    let others = pond.enqueue_many("q", [work(5), work(6).expires_in(HOUR * 3)]).await.unwrap();
    let spoil = |lost: usize| {
        move |tx: &millpond::Transaction<'_>| {
            let mut table = tx.unguarded().open_table(EXPIRING)?;
            let rows: Vec<_> = redb::ReadableTable::iter(&table)?.map(|row| row.map(|row| row.0.value())).collect();
            let rows: Result<Vec<_>, _> = rows.into_iter().collect();
            for row in rows?.into_iter().filter(|row| row.1 == HOUR.as_millis() as u64).take(lost) {
                table.remove(row)?;
            }
            // In turn: a job without an expiry, a job with another expiry, a missing job, a job of another queue, a
            // row that cannot be parsed.
            for key in [(2, 5, 0, 5), (2, 5, 0, 6), (2, 5, 0, 77), (2, 5, 9, 1), (0, 5, 0, 1), (9, 5, 0, 1)] {
                table.insert(key, ())?;
            }
            Ok(())
        }
    };
    pond.transaction(spoil(0)).await.unwrap();
    let problems = pond.verify().await.unwrap().problems;
    assert_eq!(problems.len(), 6, "{problems:#?}");
    disk.clock.advance(SECOND);
    settled(&pond).await;
    assert!(ids.iter().chain(&others).all(|id| !state(&pond, *id).is_final()), "nothing expires early");
    pond.transaction(spoil(2)).await.unwrap();
    let problems = pond.verify().await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("is not in the index of expiries")), "{problems:#?}");
    close(pond).await;
    let pond = disk.builder().verify_on_open().open(disk.path()).unwrap();
    assert_sound(&pond).await;
    disk.clock.advance(HOUR);
    drained(&pond).await;
    ids.iter().for_each(|id| expired(&pond, *id));
    assert!(others.iter().all(|id| state(&pond, *id) == State::Pending));
}

/// The record of the job cannot be read: the job is quarantined and does not expire. When it can be read again, it
/// expires.
#[tokio::test]
async fn a_quarantined_job_that_is_restored_expires() {
    for spoil_all in [false, true] {
        let disk = OnDisk::new();
        let pond = disk.open();
        let id = pond.enqueue("q", millpond::NewJob::raw("raw", "some-payload").expires_in(HOUR)).await.unwrap();
        close(pond).await;
        let good = std::fs::read(disk.path()).unwrap();
        let needle = b"some-payload";
        let at = good.windows(needle.len()).rposition(|bytes| bytes == needle).unwrap();
        let mut bad = good.clone();
        bad[at] ^= 1;
        if spoil_all {
            // The header is damaged too: what it says cannot be guessed.
            bad[at - 20..at].fill(0xff);
        }
        std::fs::write(disk.path(), &bad).unwrap();
        let pond = disk.open();
        disk.clock.advance(HOUR);
        drained(&pond).await;
        assert_eq!((pond.quarantined().unwrap(), index(&pond).len()), (1, 0), "{spoil_all}");
        assert!(pond.job(id).is_err());
        close(pond).await;
    }
}
