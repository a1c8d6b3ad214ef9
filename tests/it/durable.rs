//! When `enqueue` returns `Ok`, the job is on the disk. Ids grow and are never used again.

use millpond::{Error, JobId, Millpond, State};

use crate::support::*;

#[tokio::test]
async fn an_enqueued_job_exists_after_the_file_is_opened_again() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let id = pond.enqueue("q", work(7)).await.unwrap();
    close(pond).await;

    let pond = disk.open();
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.queue.as_str(), job.kind.as_str()), (State::Pending, "q", "work"));
    assert_eq!(job.payload.decode::<Work>().unwrap(), Work { n: 7 });
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [7]);
}

#[tokio::test]
async fn an_acknowledged_job_survives_a_crash() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let id = pond.enqueue("q", work(7)).await.unwrap();
    let after = disk.crashed("copy.redb");
    assert_eq!(state(&after, id), State::Pending);
    assert_sound(&after).await;
}

#[tokio::test]
async fn a_completed_job_does_not_run_again_after_a_crash() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let ran = record(&pond, "q", 1);
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.take(), [1]);

    let after = disk.crashed("copy.redb");
    let ran = record(&after, "q", 1);
    drained(&after).await;
    assert_eq!(ran.all(), [0; 0]);
    assert_eq!(after.queue("q").unwrap().counts().completed_total, 1);
}

#[tokio::test]
async fn a_job_that_ran_at_a_crash_runs_again_and_the_lost_attempt_counts() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    let id = pond.enqueue("q", work(1)).await.unwrap();
    keeper.entered().await;
    starts_written(&pond, &disk.clock).await;

    let after = disk.crashed("copy.redb");
    let job = after.job(id).unwrap();
    assert_eq!((job.state, job.attempts), (State::Pending, 1));
    assert_eq!(job.errors[0].kind, millpond::FailureKind::Crash);
    let ran = record(&after, "q", 1);
    drained(&after).await;
    assert_eq!(ran.all(), [1]);
    keeper.let_go(1);
}

#[tokio::test]
async fn ids_start_at_one_and_grow_across_a_restart() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let first = pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    assert_eq!(first, [JobId::new(1), JobId::new(2)]);
    close(pond).await;
    let pond = disk.open();
    assert_eq!(pond.enqueue("q", work(3)).await.unwrap(), JobId::new(3));
}

#[tokio::test]
async fn an_id_is_not_reused_after_its_job_is_removed() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let _ran = record(&pond, "q", 1);
    let last = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert!(matches!(pond.job(last), Err(Error::NoSuchJob { id, .. }) if id == last));
    close(pond).await;
    let pond = disk.open();
    assert!(pond.enqueue("q", work(2)).await.unwrap() > last);
    let crashed = disk.crashed("copy.redb");
    assert!(crashed.enqueue("q", work(3)).await.unwrap().id > JobId::new(last.id.get() + 1));
}

#[tokio::test]
async fn enqueue_returns_only_after_the_sync() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    let ran = record(&pond, "q", 1);
    settled(&pond).await;
    disk.hold_syncs();
    let answer = tokio::spawn(pond.enqueue("q", work(1)));
    sync_begun(&disk).await;
    assert!(!answer.is_finished(), "it must wait for the disk");
    assert_eq!(ran.len(), 0, "nothing starts before it is durable");
    assert_eq!(pond.queue("q").unwrap().counts().pending, 0);
    disk.release_syncs();
    answer.await.unwrap().unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn settings_names_and_totals_survive_a_restart() {
    use millpond::{Capacity, GroupPolicy, QueueSettings};
    let disk = OnDisk::new();
    let pond = disk.open();
    let settings = QueueSettings::default().capacity(Capacity::jobs(9)).groups(GroupPolicy::Skip);
    pond.queue("b").unwrap().configure(settings.clone()).await.unwrap();
    let _ran = record(&pond, "a", 1);
    pond.enqueue("a", work(1)).await.unwrap();
    drained(&pond).await;
    close(pond).await;

    let pond = disk.open();
    let names: Vec<_> = pond.queues().iter().map(|queue| queue.name().to_owned()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(pond.queue("b").unwrap().settings(), settings);
    let counts = pond.queue("a").unwrap().counts();
    assert_eq!((counts.enqueued_total, counts.completed_total, counts.unfinished()), (1, 1, 0));
}

#[tokio::test]
async fn names_that_were_never_stored_do_not_shift_the_names_in_the_file() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.queue("spoken").unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    pond.queue("spoken-too").unwrap();
    close(pond).await;
    let pond = disk.open();
    pond.queue("fresh").unwrap();
    pond.enqueue("other", work(2)).await.unwrap();
    close(pond).await;
    let pond = disk.open();
    let (q, other) = (record(&pond, "q", 1), record(&pond, "other", 1));
    drained(&pond).await;
    assert_eq!((q.all(), other.all()), (vec![1], vec![2]));
}
