//! The bytes that wait for the writer, and the bytes that one commit writes, are bounded for every kind of call.

use millpond::{
    Capacity, Commit, Context, Enqueued, Error, Job, JobFilter, JobPatch, Millpond, NewJob, Outcome, QueueSettings,
    Retry, State, WhenFull,
};

use crate::support::*;

const MEGABYTE: usize = 1_000_000;

/// 64 MiB of these are allowed to wait.
const WAIT_MAX: usize = 68;

fn raw(bytes: usize) -> NewJob {
    NewJob::raw("raw", vec![7; bytes])
}

fn on(disk: &SimDisk) -> Millpond {
    Millpond::builder().open_backend(disk.clone()).unwrap()
}

/// Jobs that a handler has made dead letters.
async fn dead(pond: &Millpond, jobs: usize, reason: &str) -> Vec<Enqueued> {
    let reason = reason.to_owned();
    let dies = move |_: Job<bytes::Bytes>| {
        let reason = reason.clone();
        async move { Ok(Outcome::dead_letter(reason)) }
    };
    let worker = pond.worker("q").handle_raw("raw", dies).start().unwrap();
    let ids = pond.enqueue_many("q", (0..jobs).map(|_| raw(1))).await.unwrap();
    drained(pond).await;
    worker.stop();
    ids
}

/// Makes all of these calls while a commit waits for the disk, and returns how many of them are with the writer then.
async fn with_the_writer(pond: &Millpond, disk: &SimDisk, calls: Vec<Commit<()>>) -> usize {
    let (answers, waiting) = in_one_batch_after(pond, disk, calls, || pond.testing().inbox()).await;
    answers.into_iter().for_each(Result::unwrap);
    waiting
}

#[tokio::test]
async fn new_payloads_of_waiting_jobs_count_towards_the_bytes_that_wait_for_the_writer() {
    let disk = SimDisk::new();
    let pond = on(&disk);
    let ids = pond.enqueue_many("q", (0..100).map(|_| raw(1))).await.unwrap();
    let update = |id| pond.update(id, JobPatch::new().payload(raw(MEGABYTE)));
    let waiting = with_the_writer(&pond, &disk, ids.into_iter().map(update).collect()).await;
    assert!((1..=WAIT_MAX).contains(&waiting), "{waiting} MB wait for the writer");
}

#[tokio::test]
async fn new_payloads_of_dead_letters_count_towards_the_bytes_that_wait_for_the_writer() {
    let disk = SimDisk::new();
    let pond = on(&disk);
    let ids = dead(&pond, 100, "no").await;
    let dead = pond.dead_letters();
    let edit = |id| dead.edit(id, raw(MEGABYTE));
    let waiting = with_the_writer(&pond, &disk, ids.into_iter().map(edit).collect()).await;
    assert!((1..=WAIT_MAX).contains(&waiting), "{waiting} MB wait for the writer");
}

/// A queue whose commits write at most 400 kB, or remove 100 kB.
fn small_commits(disk: &SimDisk) -> Millpond {
    Millpond::builder().batch_bytes_max(100_000).open_backend(disk.clone()).unwrap()
}

#[tokio::test]
async fn cancelled_jobs_that_are_kept_count_towards_the_bytes_of_a_commit() {
    let disk = SimDisk::new();
    let pond = small_commits(&disk);
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(pond.enqueue("q", raw(50_000)).await.unwrap());
    }
    let before = pond.metrics().commits_total;
    let cancel = |id| pond.cancel(id, "not needed");
    let answers = in_one_batch(&pond, &disk, ids.into_iter().map(cancel).collect()).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == millpond::CancelOutcome::Cancelled));
    let commits = pond.metrics().commits_total - before;
    assert!(commits > 5, "2 MB were written by {commits} commits, one of them empty");
    assert_eq!(pond.queue("q").unwrap().counts().cancelled, 40);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn edited_dead_letters_count_towards_the_bytes_of_a_commit() {
    let disk = SimDisk::new();
    let pond = small_commits(&disk);
    let ids = dead(&pond, 40, "no").await;
    let before = pond.metrics().commits_total;
    let dead = pond.dead_letters();
    let edit = |id| dead.edit(id, raw(50_000));
    let answers = in_one_batch(&pond, &disk, ids.into_iter().map(edit).collect()).await;
    assert!(answers.iter().all(Result::is_ok));
    let commits = pond.metrics().commits_total - before;
    assert!(commits > 5, "2 MB were written by {commits} commits, one of them empty");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_purge_counts_the_whole_row_and_not_only_its_payload() {
    let disk = SimDisk::new();
    let pond = small_commits(&disk);
    dead(&pond, 100, &"r".repeat(4_000)).await;
    let before = pond.metrics().commits_total;
    assert_eq!(pond.dead_letters().purge_all(&JobFilter::new().queue("q")).await.unwrap(), 100);
    let commits = pond.metrics().commits_total - before;
    assert!(commits >= 4, "400 kB were removed by {commits} commits");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn all_hooks_of_a_completion_share_the_enqueue_limit_of_one_transaction() {
    let (_, pond) = memory();
    let worker = pond.worker("q").retry(Retry::none()).handle(|job: Job<Work>, ctx: Context| async move {
        for _ in 0..2 {
            let jobs = job.n;
            ctx.on_complete(move |tx| {
                for _ in 0..jobs {
                    tx.enqueue("more", raw(MEGABYTE))?;
                }
                Ok(())
            });
        }
        Ok(())
    });
    let _worker = worker.start().unwrap();
    let (within, beyond) = (pond.enqueue("q", work(16)).await.unwrap(), pond.enqueue("q", work(17)).await.unwrap());
    drained(&pond).await;
    assert!(matches!(pond.job(within), Err(Error::NoSuchJob { .. })));
    let refused = pond.job(beyond).unwrap();
    assert_eq!(refused.state, State::Dead);
    assert!(format!("{:?}", refused.errors).contains("34"), "{:?}", refused.errors);
    assert_eq!(pond.queue("more").unwrap().counts().pending, 32);
}

/// The answer of a handler that is not allowed to wait comes from the same commit that it would have waited for.
#[tokio::test]
async fn a_handler_that_is_not_allowed_to_wait_gets_the_result_of_its_commit() {
    let disk = SimDisk::new();
    let pond = on(&disk);
    let full = QueueSettings::default().capacity(Capacity::jobs(2)).when_full(WhenFull::Wait);
    pond.queue("q").unwrap().configure(full).await.unwrap();
    let (gate, mut keeper) = gate();
    let told = Log::new();
    let (tells, own) = (told.clone(), pond.clone());
    let handler = move |job: Job<Work>| {
        let (gate, tells, pond) = (gate.clone(), tells.clone(), own.clone());
        async move {
            gate.pass(job.n).await;
            if job.n == 1 {
                match pond.enqueue("q", work(3)).await {
                    Err(Error::QueueFull { jobs, .. }) => tells.push(jobs),
                    other => panic!("{other:?}"),
                }
            }
            Ok(())
        }
    };
    let _worker = pond.worker("q").concurrency(1).no_timeout().handle(handler).start().unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    assert_eq!(keeper.next(1).await, [1]);

    let first = hold_writer(&pond, &disk).await;
    let second = tokio::spawn(pond.enqueue("q", work(2)));
    while pond.testing().inbox() < 1 {
        tokio::task::yield_now().await;
    }
    keeper.let_go(1);
    while pond.testing().inbox() < 2 {
        tokio::task::yield_now().await;
    }
    disk.release_syncs();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!(told.all(), [2]);
}
