//! Jobs that are taken by leases, in place of a handler.

use std::time::Duration;

use millpond::{
    CancelOutcome, Error, Explanation, InvalidTakenId, JobId, Millpond, NewJob, Outcome, Retry, State, Taken, TakenId,
    Taker,
};

const LONG: Duration = Duration::from_secs(3_600);
const SOON: Duration = Duration::from_secs(60);

fn open(dir: &tempfile::TempDir) -> Millpond {
    Millpond::open(dir.path().join("queue.redb")).unwrap()
}

async fn enqueue(pond: &Millpond, text: &'static str) -> JobId {
    pond.enqueue("mail", NewJob::raw("letter", text)).await.unwrap().id
}

fn taker(pond: &Millpond, lease: Duration) -> Taker {
    let soon = Retry::fixed(Duration::from_millis(10)).max_attempts(3);
    pond.worker("mail").concurrency(2).retry(soon).start_taker(lease).unwrap()
}

async fn take(taker: &Taker, max: usize) -> Vec<Taken> {
    tokio::time::timeout(SOON, taker.take(max)).await.expect("a job can be taken").unwrap()
}

fn texts(taken: &[Taken]) -> Vec<&str> {
    taken.iter().map(|taken| std::str::from_utf8(&taken.job.bytes).unwrap()).collect()
}

#[tokio::test]
async fn a_job_is_taken_and_ended_and_its_end_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let pond = open(&dir);
    let taker = taker(&pond, LONG);
    let id = enqueue(&pond, "a").await;
    let taken = take(&taker, 10).await;
    assert_eq!((texts(&taken), taken[0].id.job(), taker.held()), (vec!["a"], id, 1));
    assert_eq!(pond.job(id).unwrap().state, State::Running);
    assert_eq!(pond.queue("mail").unwrap().counts().running, 1);
    taker.end(taken[0].id, Outcome::done()).await.unwrap();
    // No wait: the call has returned when the end was in the file.
    assert_eq!((pond.queue("mail").unwrap().counts().completed_total, taker.held()), (1, 0));
    let again = taker.end(taken[0].id, Outcome::done()).await;
    assert!(matches!(again, Err(Error::LeaseEnded { ref id, .. }) if *id == taken[0].id.to_string()), "{again:?}");
    assert!(matches!(taker.extend(taken[0].id, LONG), Err(Error::LeaseEnded { .. })));
}

#[tokio::test]
async fn no_job_starts_that_nobody_has_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let pond = open(&dir);
    let taker = taker(&pond, LONG);
    let ids = [enqueue(&pond, "a").await, enqueue(&pond, "b").await, enqueue(&pond, "c").await];
    assert_eq!(pond.explain(ids[0]).unwrap(), Explanation::NotAskedFor);
    let first = take(&taker, 1).await;
    assert_eq!(texts(&first), ["a"]);
    taker.end(first[0].id, Outcome::done()).await.unwrap();
    // The slot that is free now was asked for once.
    assert_eq!(pond.job(ids[1]).unwrap().state, State::Pending);
    assert_eq!(pond.explain(ids[1]).unwrap(), Explanation::NotAskedFor);
    // A caller that gives up asks for nothing any more.
    let last = take(&taker, 2).await;
    assert_eq!(texts(&last), ["b", "c"][..last.len()]);
    for taken in last {
        taker.end(taken.id, Outcome::done()).await.unwrap();
    }
    while pond.queue("mail").unwrap().counts().unfinished() > 0 {
        for taken in take(&taker, 2).await {
            taker.end(taken.id, Outcome::done()).await.unwrap();
        }
    }
    let gives_up = tokio::time::timeout(Duration::from_millis(50), taker.take(2)).await;
    assert!(gives_up.is_err());
    let id = enqueue(&pond, "d").await;
    assert_eq!((pond.job(id).unwrap().state, taker.held()), (State::Pending, 0));
}

#[tokio::test]
async fn at_most_as_many_jobs_are_held_as_the_worker_has_slots() {
    let dir = tempfile::tempdir().unwrap();
    let pond = open(&dir);
    let taker = taker(&pond, LONG);
    let mut held = Vec::new();
    for text in ["a", "b", "c"] {
        enqueue(&pond, text).await;
    }
    while held.len() < 2 {
        held.extend(take(&taker, 10).await);
    }
    let third = tokio::spawn({
        let taker = taker.clone();
        async move { taker.take(10).await }
    });
    tokio::task::yield_now().await;
    assert_eq!((taker.held(), pond.queue("mail").unwrap().counts().running), (2, 2));
    taker.end(held[0].id, Outcome::done()).await.unwrap();
    let third = tokio::time::timeout(SOON, third).await.unwrap().unwrap().unwrap();
    assert_eq!((texts(&third), taker.held()), (vec!["c"], 2));
}

#[tokio::test]
async fn a_lease_that_ends_is_a_failed_attempt_and_the_last_one_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let pond = open(&dir);
    let taker = taker(&pond, Duration::from_millis(50));
    let id = enqueue(&pond, "a").await;
    let mut before: Option<TakenId> = None;
    for attempt in 1..=3 {
        let taken = take(&taker, 1).await;
        assert_eq!((taken[0].id.job(), taken[0].job.attempt()), (id, attempt));
        if let Some(before) = before.replace(taken[0].id) {
            assert!(matches!(taker.end(before, Outcome::done()).await, Err(Error::LeaseEnded { .. })));
        }
    }
    let dead = tokio::time::timeout(SOON, pond.finished(id)).await.unwrap().unwrap();
    assert_eq!(dead.state, State::Dead);
    assert!(dead.errors.last().is_some_and(|error| error.message.contains("lease of 50ms")), "{:?}", dead.errors);
    assert_eq!(taker.held(), 0);
}

#[tokio::test]
async fn a_lease_that_is_extended_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let pond = open(&dir);
    let taker = taker(&pond, Duration::from_millis(300));
    enqueue(&pond, "a").await;
    let taken = take(&taker, 1).await;
    taker.extend(taken[0].id, LONG).unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    taker.end(taken[0].id, Outcome::done()).await.unwrap();
    assert_eq!(pond.queue("mail").unwrap().counts().completed_total, 1);
}

#[tokio::test]
async fn what_is_given_back_waits_again_and_uses_up_no_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let pond = open(&dir);
    let taker = taker(&pond, LONG);
    let id = enqueue(&pond, "a").await;
    for _ in 0..5 {
        let taken = take(&taker, 1).await;
        assert_eq!(taken[0].job.attempt(), 1);
        taker.give_back(taken[0].id, Duration::ZERO).await.unwrap();
        assert_ne!(pond.job(id).unwrap().state, State::Running);
    }
}

#[tokio::test]
async fn each_outcome_ends_the_attempt_as_that_of_a_handler() {
    let dir = tempfile::tempdir().unwrap();
    let pond = open(&dir);
    let taker = taker(&pond, LONG);
    let id = enqueue(&pond, "a").await;
    let taken = take(&taker, 1).await;
    taker.end(taken[0].id, Outcome::retry("no answer")).await.unwrap();
    let job = pond.job(id).unwrap();
    assert_eq!((job.errors.len(), &*job.errors[0].message), (1, "no answer"));
    let taken = take(&taker, 1).await;
    taker.end(taken[0].id, Outcome::dead_letter("no such address")).await.unwrap();
    assert_eq!(pond.job(id).unwrap().state, State::Dead);

    let waits = pond.enqueue_and_wait("mail", NewJob::raw("letter", "b"));
    let ends = async {
        let taken = take(&taker, 1).await;
        taker.end(taken[0].id, Outcome::done_json(&7).unwrap()).await.unwrap();
    };
    let (ended, ()) = tokio::join!(waits, ends);
    assert_eq!(ended.unwrap().result_json::<u32>().unwrap(), Some(7));
}

#[tokio::test]
async fn the_jobs_of_a_group_are_taken_one_after_another() {
    let dir = tempfile::tempdir().unwrap();
    let pond = open(&dir);
    let taker = taker(&pond, LONG);
    for text in ["a", "b", "c"] {
        pond.enqueue("mail", NewJob::raw("letter", text).group("ada")).await.unwrap();
    }
    for text in ["a", "b", "c"] {
        let taken = take(&taker, 2).await;
        assert_eq!(texts(&taken), [text]);
        taker.end(taken[0].id, Outcome::done()).await.unwrap();
    }
}

#[tokio::test]
async fn the_holder_is_told_of_a_cancel() {
    let dir = tempfile::tempdir().unwrap();
    let pond = open(&dir);
    let taker = taker(&pond, LONG);
    let id = enqueue(&pond, "a").await;
    let taken = take(&taker, 1).await;
    assert_eq!(pond.cancel(id, "not needed").await.unwrap(), CancelOutcome::Requested);
    let told = taken[0].job.context();
    tokio::time::timeout(SOON, told.cancelled()).await.unwrap();
    let _ = taker.end(taken[0].id, Outcome::cancel("stopped")).await;
    assert_eq!(tokio::time::timeout(SOON, pond.finished(id)).await.unwrap().unwrap().state, State::Cancelled);
}

#[tokio::test]
async fn a_job_that_was_taken_runs_again_after_a_restart_and_the_old_lease_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let pond = open(&dir);
    let first = taker(&pond, LONG);
    let id = enqueue(&pond, "a").await;
    let before = take(&first, 1).await[0].id;
    pond.shutdown(Duration::ZERO).await.unwrap();
    drop(first);

    let pond = open(&dir);
    let second = taker(&pond, LONG);
    let taken = take(&second, 1).await;
    assert_eq!(taken[0].id.job(), id);
    assert!(matches!(second.end(before, Outcome::done()).await, Err(Error::LeaseEnded { .. })));
    second.end(taken[0].id, Outcome::done()).await.unwrap();
}

#[tokio::test]
async fn a_taker_that_was_stopped_says_so_and_another_one_can_start() {
    let dir = tempfile::tempdir().unwrap();
    let pond = open(&dir);
    let first = taker(&pond, LONG);
    let waits = tokio::spawn({
        let first = first.clone();
        async move { first.take(1).await.map(drop) }
    });
    tokio::task::yield_now().await;
    first.worker().stop().await.unwrap();
    let told = tokio::time::timeout(SOON, waits).await.unwrap().unwrap();
    assert!(matches!(told, Err(Error::WorkerStopped { .. })), "{told:?}");
    enqueue(&pond, "a").await;
    assert_eq!(texts(&take(&taker(&pond, LONG), 1).await), ["a"]);
}

#[tokio::test]
async fn a_taker_that_is_dropped_gives_its_jobs_back() {
    let dir = tempfile::tempdir().unwrap();
    let pond = open(&dir);
    let first = taker(&pond, LONG);
    enqueue(&pond, "a").await;
    assert_eq!(texts(&take(&first, 1).await), ["a"]);
    let worker = first.worker().clone();
    drop(first);
    tokio::time::timeout(SOON, worker.stop()).await.unwrap().unwrap();
    let second = taker(&pond, LONG);
    let taken = take(&second, 1).await;
    assert_eq!((texts(&taken), taken[0].job.attempt()), (vec!["a"], 1));
}

#[tokio::test]
async fn settings_that_are_not_valid_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pond = open(&dir);
    assert!(matches!(pond.worker("mail").start_taker(Duration::ZERO), Err(Error::InvalidConfig { .. })));
    let taker = taker(&pond, LONG);
    assert!(matches!(taker.take(0).await, Err(Error::InvalidConfig { .. })));
    enqueue(&pond, "a").await;
    let taken = take(&taker, 1).await;
    assert!(matches!(taker.extend(taken[0].id, Duration::ZERO), Err(Error::InvalidConfig { .. })));
    assert!(matches!(pond.worker("mail").start_taker(LONG), Err(Error::WorkerExists { .. })));
}

#[tokio::test]
async fn a_lease_is_a_text_and_nonsense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pond = open(&dir);
    let taker = taker(&pond, LONG);
    enqueue(&pond, "a").await;
    let id = take(&taker, 1).await[0].id;
    assert_eq!(id.to_string().parse(), Ok(id));
    for text in [
        "",
        "-",
        "1",
        "1-",
        "-0123456789abcdef",
        "1-0123456789abcde",
        "1-+123456789abcdef",
        "1-0123456789abcdeg",
        "a-0123456789abcdef",
    ] {
        let refused: Result<TakenId, InvalidTakenId> = text.parse();
        assert!(refused.is_err(), "{text:?}");
    }
}
