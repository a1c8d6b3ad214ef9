//! A full queue that drops its oldest jobs: which ones, that they are counted and told, and that nothing else is lost.

use millpond::{
    Capacity, EnqueueStatus, Error, Event, GroupPolicy, JobId, Keep, Millpond, NewJob, Priority, QueueSettings,
    Retention, State, Unique, WhenFull,
};

use crate::support::*;

async fn dropping(pond: &Millpond, capacity: Capacity) {
    let settings = QueueSettings::default().capacity(capacity).when_full(WhenFull::DropOldest);
    pond.queue("q").unwrap().configure(settings).await.unwrap();
}

/// The numbers of the jobs that the queue has, in the order of their ids.
fn numbers(pond: &Millpond) -> Vec<u64> {
    let mut jobs = millpond::testing::all_enqueued(pond, "q");
    jobs.sort_by_key(|job| job.id);
    jobs.iter().map(|job| job.payload.decode::<Work>().unwrap().n).collect()
}

fn dropped(pond: &Millpond) -> u64 {
    let counts = pond.queue("q").unwrap().counts();
    assert!(counts.dropped_total <= counts.cancelled_total, "{counts:?}");
    assert_eq!(counts.enqueued_total, counts.unfinished() + counts.cancelled_total + counts.completed_total);
    counts.dropped_total
}

#[tokio::test]
async fn the_oldest_jobs_make_room_and_are_counted_and_told() {
    let disk = OnDisk::new();
    let pond = disk.open();
    dropping(&pond, Capacity::jobs(3)).await;
    let mut events = pond.events();
    let ids = pond.enqueue_many("q", (1..=3).map(work)).await.unwrap();
    pond.enqueue_many("q", [work(4), work(5)]).await.unwrap();
    assert_eq!((numbers(&pond), dropped(&pond)), (vec![3, 4, 5], 2));
    settled(&pond).await;
    let told = heard(&mut events).into_iter().filter_map(|event| match event {
        Event::Cancelled { id, reason, .. } => Some((id, reason)),
        _ => None,
    });
    let reason = || "dropped: the queue was full".to_owned();
    assert_eq!(told.collect::<Vec<_>>(), [(ids[0].id, reason()), (ids[1].id, reason())]);
    // They are not kept, although cancelled jobs are.
    assert!(matches!(pond.job(ids[0]), Err(Error::NoSuchJob { .. })));
    assert_sound(&pond).await;
    close(pond).await;
    let pond = disk.open();
    assert_eq!((numbers(&pond), dropped(&pond)), (vec![3, 4, 5], 2));
    // A queue whose capacity was lowered below what it has gets down to it.
    dropping(&pond, Capacity::jobs(1)).await;
    pond.enqueue("q", work(6)).await.unwrap();
    assert_eq!((numbers(&pond), dropped(&pond)), (vec![6], 5));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn the_bytes_of_a_queue_stay_below_its_capacity() {
    let (_, pond) = memory();
    dropping(&pond, Capacity::UNLIMITED.bytes(10_000)).await;
    for n in 0..200_u32 {
        pond.enqueue("q", NewJob::raw("k", vec![0; 50 + (n as usize * 37) % 900])).await.unwrap();
        let counts = pond.queue("q").unwrap().counts();
        assert!(counts.bytes <= 10_000, "{counts:?}");
    }
    let counts = pond.queue("q").unwrap().counts();
    assert!(counts.bytes > 9_000, "no more is dropped than has to be: {counts:?}");
    assert_eq!(counts.pending + counts.dropped_total, 200);
    let page = pond.jobs(&millpond::JobFilter::new().queue("q"), None, 1_000).unwrap();
    assert!(page.jobs.iter().all(|job| job.id.get() > 200 - counts.pending), "they are the latest ones");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_that_a_handler_has_is_never_dropped() {
    let (_, pond) = memory();
    dropping(&pond, Capacity::jobs(2)).await;
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    pond.enqueue("q", work(1)).await.unwrap();
    keeper.entered().await;
    pond.enqueue_many("q", [work(2)]).await.unwrap();
    pond.enqueue("q", work(3)).await.unwrap();
    assert_eq!((numbers(&pond), dropped(&pond)), (vec![1, 3], 1));
    // With two handlers there is nothing left to drop.
    pond.queue("q").unwrap().configure(QueueSettings::default()).await.unwrap();
    dropping(&pond, Capacity::jobs(1)).await;
    keeper.let_go(1);
    assert_eq!(keeper.entered().await, 3);
    assert!(matches!(pond.enqueue("q", work(4)).await, Err(Error::QueueFull { .. })));
    assert_eq!(dropped(&pond), 1);
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 2);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn jobs_that_cannot_start_now_are_not_dropped() {
    let (_, pond) = memory();
    dropping(&pond, Capacity::jobs(3)).await;
    let later = pond.enqueue("q", work(1).delay(HOUR)).await.unwrap();
    pond.enqueue("q", member("paused", 2)).await.unwrap();
    pond.queue("q").unwrap().pause_group("paused").await.unwrap();
    let oldest = pond.enqueue("q", work(3)).await.unwrap();
    pond.enqueue("q", work(4)).await.unwrap();
    assert_eq!(numbers(&pond), [1, 2, 4]);
    assert!(pond.job(oldest).is_err() && state(&pond, later) == State::Scheduled);
    assert!(matches!(pond.enqueue_many("q", [work(5), work(6)]).await, Err(Error::QueueFull { .. })));
    assert_eq!((numbers(&pond), dropped(&pond)), (vec![1, 2, 4], 1), "a call that is refused drops nothing");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn jobs_of_a_group_are_dropped_from_its_front_and_the_others_keep_their_order() {
    for policy in [GroupPolicy::Block, GroupPolicy::Skip] {
        for concurrency in [1, 3] {
            let (_, pond) = memory();
            let settings = QueueSettings::default().groups(policy).group_concurrency(concurrency);
            let settings = settings.capacity(Capacity::jobs(6)).when_full(WhenFull::DropOldest);
            pond.queue("q").unwrap().configure(settings).await.unwrap();
            for n in 1..=6 {
                let job = if n % 3 == 0 { work(n) } else { member(["a", "b"][n as usize % 2], n) };
                pond.enqueue("q", job.priority(Priority::new((9 - n) as u8).unwrap())).await.unwrap();
            }
            // One call that needs the room of several members of each group.
            pond.enqueue_many("q", (7..=11).map(|n| member("a", n))).await.unwrap();
            assert_eq!((numbers(&pond), dropped(&pond)), ((6..=11).collect(), 5));
            assert_sound(&pond).await;
            let ran = record(&pond, "q", 1);
            drained(&pond).await;
            let of_group: Vec<u64> = ran.all().into_iter().filter(|n| *n > 6).collect();
            assert_eq!(of_group, (7..=11).collect::<Vec<_>>());
            assert_sound(&pond).await;
        }
    }
}

#[tokio::test]
async fn a_job_that_becomes_the_first_of_its_group_in_the_same_call_is_counted_once() {
    let (clock, pond) = memory();
    dropping(&pond, Capacity::jobs(3)).await;
    pond.enqueue_many("q", [member("g", 1), member("g", 2).delay(SECOND), work(3)]).await.unwrap();
    // Behind the first job, the second one is due and still counts as scheduled.
    clock.advance(SECOND * 2);
    settled(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().scheduled, 1);
    pond.enqueue_many("q", [work(4), work(5)]).await.unwrap();
    let counts = pond.queue("q").unwrap().counts();
    assert_eq!((numbers(&pond), dropped(&pond)), (vec![3, 4, 5], 2));
    assert_eq!((counts.pending, counts.scheduled), (3, 0));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_call_that_never_fits_is_refused_and_a_transaction_that_is_undone_drops_nothing() {
    let (_, pond) = memory();
    dropping(&pond, Capacity::jobs(2)).await;
    pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    assert!(matches!(pond.enqueue_many("q", (3..6).map(work)).await, Err(Error::QueueFull { .. })));
    let undone = pond.transaction(|tx| {
        tx.enqueue("q", work(3))?;
        Err::<(), _>("no".into())
    });
    undone.await.unwrap_err();
    assert_eq!((numbers(&pond), dropped(&pond)), (vec![1, 2], 0));
    // Within one transaction, its own jobs make room at last.
    pond.transaction(|tx| {
        for n in 3..6 {
            tx.enqueue("q", work(n))?;
        }
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!((numbers(&pond), dropped(&pond)), (vec![4, 5], 3));
    let mut guard = pond.begin_write().unwrap();
    guard.enqueue("q", work(6)).unwrap();
    guard.commit().unwrap();
    assert_eq!((numbers(&pond), dropped(&pond)), (vec![5, 6], 4));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_dropped_job_frees_its_key_and_one_that_answers_for_a_new_job_stays() {
    let (_, pond) = memory();
    dropping(&pond, Capacity::jobs(2)).await;
    let first = pond.enqueue("q", work(1).unique_key("one")).await.unwrap();
    pond.enqueue("q", work(2)).await.unwrap();
    // The first one answers for a job of the same call that needs room.
    let answers = pond.enqueue_many("q", [work(3).unique_key("one"), work(4)]).await.unwrap();
    assert_eq!((answers[0].id, answers[0].status), (first.id, EnqueueStatus::Duplicate));
    assert_eq!((numbers(&pond), dropped(&pond)), (vec![1, 4], 1));
    pond.enqueue("q", work(5)).await.unwrap();
    let again = pond.enqueue("q", work(6).unique_key("one")).await.unwrap();
    assert_eq!((again.status, numbers(&pond)), (EnqueueStatus::Stored, vec![5, 6]));
    // A job that is replaced needs no room.
    let replaced = pond.enqueue("q", work(7).unique("one", Unique::until_ended().replace())).await.unwrap();
    assert_eq!(numbers(&pond).len(), 2, "{replaced:?}");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_caller_that_waits_for_the_end_of_a_job_learns_that_it_was_dropped() {
    let (_, pond) = memory();
    dropping(&pond, Capacity::jobs(1)).await;
    let first = pond.enqueue("q", work(1)).await.unwrap();
    let waiting = tokio::spawn({
        let pond = pond.clone();
        async move { pond.finished(first).await }
    });
    tokio::task::yield_now().await;
    pond.enqueue("q", work(2)).await.unwrap();
    let ended = waiting.await.unwrap().unwrap();
    assert_eq!((ended.id, ended.state), (JobId::new(1), State::Cancelled));
}

#[tokio::test]
async fn nothing_is_dropped_from_a_queue_that_has_room_and_retention_does_not_matter() {
    let (_, pond) = memory();
    let settings = QueueSettings::default()
        .capacity(Capacity::jobs(1))
        .when_full(WhenFull::DropOldest)
        .retention(Retention::default().cancelled(Keep::FOREVER));
    pond.queue("q").unwrap().configure(settings).await.unwrap();
    for n in 0..50 {
        pond.enqueue("q", work(n)).await.unwrap();
    }
    let counts = pond.queue("q").unwrap().counts();
    assert_eq!((counts.pending, counts.cancelled, counts.dropped_total), (1, 0, 49));
}
