//! Jobs that fail for good are kept, and can be listed, edited, redriven and purged.

use std::sync::Arc;

use millpond::{Error, Event, Job, JobFilter, JobId, Millpond, NewJob, Outcome, Pace, Priority, Retry, State};

use crate::support::*;

/// A worker that makes every job a dead letter until the switch is set.
fn dead_lettering(pond: &Millpond, queue: &str) -> Arc<std::sync::atomic::AtomicBool> {
    let healthy = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = healthy.clone();
    pond.worker(queue)
        .retry(Retry::none())
        .handle(move |job: Job<Work>| {
            let healthy = switch.load(std::sync::atomic::Ordering::SeqCst);
            async move { if healthy { Ok(Outcome::Done(None)) } else { Err(format!("error {}", job.n % 2).into()) } }
        })
        .start()
        .unwrap();
    healthy
}

fn turn(switch: &std::sync::atomic::AtomicBool) {
    switch.store(true, std::sync::atomic::Ordering::SeqCst);
}

fn ids(jobs: &[millpond::JobInfo]) -> Vec<u64> {
    jobs.iter().map(|job| job.id.get()).collect()
}

#[tokio::test]
async fn dead_letters_are_listed_and_counted_by_queue_kind_group_error_and_time() {
    let (clock, pond) = memory();
    dead_lettering(&pond, "a");
    dead_lettering(&pond, "b");
    pond.enqueue_many("a", [work(1), member("g", 2), NewJob::json("work", "bad")]).await.unwrap();
    drained(&pond).await;
    let later = millpond::Clock::wall(&clock) + SECOND;
    clock.advance(SECOND);
    pond.enqueue("b", work(4)).await.unwrap();
    drained(&pond).await;
    let dead = pond.dead_letters();
    let list = |filter: JobFilter| {
        let page = dead.list(&filter, None, 10).unwrap();
        assert_eq!(dead.count(&filter).unwrap(), page.jobs.len() as u64);
        assert!(page.jobs.iter().all(|job| job.state == State::Dead));
        let mut ids = ids(&page.jobs);
        ids.sort_unstable();
        ids
    };
    assert_eq!(list(JobFilter::new()), [1, 2, 3, 4]);
    assert_eq!(list(JobFilter::new().queue("a")), [1, 2, 3]);
    assert_eq!(list(JobFilter::new().queue("none")), [0; 0]);
    assert_eq!(list(JobFilter::new().kind("work")), [1, 2, 3, 4]);
    assert_eq!(list(JobFilter::new().kind("none")), [0; 0]);
    assert_eq!(list(JobFilter::new().group("g")), [2]);
    assert_eq!(list(JobFilter::new().error_contains("error 0")), [2, 4]);
    assert_eq!(list(JobFilter::new().error_contains("decoded")), [3]);
    assert_eq!(list(JobFilter::new().since(later)), [4]);
    assert_eq!(list(JobFilter::new().until(later)), [1, 2, 3]);
    assert_eq!(list(JobFilter::new().state(State::Pending)), [1, 2, 3, 4], "the state is ignored");
}

#[tokio::test]
async fn a_redriven_job_has_all_its_attempts_again_and_keeps_its_history() {
    let (_, pond) = memory();
    let switch = dead_lettering(&pond, "q");
    let id = pond.enqueue("q", work(1).priority(Priority::FIRST)).await.unwrap();
    drained(&pond).await;
    pond.queue("q").unwrap().pause().await.unwrap();
    assert!(pond.dead_letters().redrive(id).await.unwrap());
    let info = pond.job(id).unwrap();
    assert_eq!((info.state, info.attempts, info.errors.len()), (State::Pending, 0, 1));
    assert_eq!((info.reason, info.ended_at, info.priority), (None, None, Priority::FIRST));
    turn(&switch);
    pond.queue("q").unwrap().resume().await.unwrap();
    assert_eq!(drained(&pond).await.completed, 1);
    let counts = pond.queue("q").unwrap().counts();
    assert_eq!((counts.dead, counts.dead_total, counts.enqueued_total), (0, 1, 1));
}

#[tokio::test]
async fn redrive_and_purge_are_idempotent() {
    let (_, pond) = memory();
    let switch = dead_lettering(&pond, "q");
    let all = pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    drained(&pond).await;
    turn(&switch);
    let dead = pond.dead_letters();
    assert!(dead.purge(all[0]).await.unwrap());
    assert!(!dead.purge(all[0]).await.unwrap());
    assert!(!dead.redrive(all[0]).await.unwrap());
    assert!(dead.redrive(all[1]).await.unwrap());
    assert!(!dead.redrive(all[1]).await.unwrap());
    assert!(!dead.purge(all[1]).await.unwrap());
    assert!(!dead.purge(JobId::new(99)).await.unwrap());
    assert_eq!(drained(&pond).await.completed, 1);
}

#[tokio::test]
async fn two_redrives_at_once_run_the_job_once() {
    let (_, pond) = memory();
    let switch = dead_lettering(&pond, "q");
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    turn(&switch);
    let dead = pond.dead_letters();
    let both = [tokio::spawn(dead.redrive(id)), tokio::spawn(dead.redrive(id))];
    let mut done = 0;
    for redrive in both {
        done += u64::from(redrive.await.unwrap().unwrap());
    }
    assert_eq!(done, 1);
    assert_eq!(drained(&pond).await.completed, 1);
}

#[tokio::test]
async fn a_filter_selects_the_dead_letters_that_are_redriven() {
    let (_, pond) = memory();
    let switch = dead_lettering(&pond, "q");
    let all = pond.enqueue_many("q", (0..10).map(work)).await.unwrap();
    drained(&pond).await;
    turn(&switch);
    let dead = pond.dead_letters();
    let some = [all[0].id, all[1].id, JobId::new(77)];
    assert_eq!(dead.redrive_some(some, Pace::at_once()).await.unwrap(), 2);
    assert_eq!(dead.redrive_all(&JobFilter::new().error_contains("error 1"), Pace::at_once()).await.unwrap(), 4);
    assert_eq!(dead.redrive_all(&JobFilter::new().queue("none"), Pace::at_once()).await.unwrap(), 0);
    assert_eq!(drained(&pond).await.completed, 6);
    assert_eq!(ids(&dead.list(&JobFilter::new(), None, 10).unwrap().jobs), [3, 5, 7, 9]);
}

#[tokio::test]
async fn a_paced_redrive_spreads_the_jobs_over_time() {
    let (clock, pond) = memory();
    let switch = dead_lettering(&pond, "q");
    pond.enqueue_many("q", (0..10).map(work)).await.unwrap();
    drained(&pond).await;
    turn(&switch);
    assert_eq!(pond.dead_letters().redrive_all(&JobFilter::new(), Pace::per_second(2)).await.unwrap(), 10);
    let mut done = Vec::new();
    for _ in 0..6 {
        done.push(drained(&pond).await.completed);
        clock.advance(SECOND);
    }
    assert_eq!(done, [1, 2, 2, 2, 2, 1]);
}

#[tokio::test]
async fn more_dead_letters_than_one_page_are_redriven_and_purged() {
    let (_, pond) = memory();
    let switch = dead_lettering(&pond, "q");
    pond.enqueue_many("q", (0..1_500).map(work)).await.unwrap();
    drained(&pond).await;
    let dead = pond.dead_letters();
    assert_eq!(dead.count(&JobFilter::new()).unwrap(), 1_500);
    assert_eq!(dead.purge_all(&JobFilter::new().error_contains("error 1")).await.unwrap(), 750);
    turn(&switch);
    assert_eq!(dead.redrive_all(&JobFilter::new(), Pace::at_once()).await.unwrap(), 750);
    assert_eq!(drained(&pond).await.completed, 750);
    assert_eq!(dead.count(&JobFilter::new()).unwrap(), 0);
}

#[tokio::test]
async fn chosen_dead_letters_are_purged_and_other_jobs_are_left_alone() {
    let (_, pond) = memory();
    dead_lettering(&pond, "q");
    let dead = pond.enqueue_many("q", (0..1_500).map(work)).await.unwrap();
    drained(&pond).await;
    let waiting = pond.enqueue("other", work(0)).await.unwrap();
    let chosen = dead[..1_400].iter().copied().chain([waiting, dead[0]]);
    assert_eq!(pond.dead_letters().purge_some(chosen).await.unwrap(), 1_400);
    assert_eq!(pond.dead_letters().count(&JobFilter::new()).unwrap(), 100);
    assert_eq!(state(&pond, waiting), State::Pending);
    assert_eq!(pond.dead_letters().purge_some(Vec::<JobId>::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_redrive_of_all_ends_even_if_they_fail_again_at_once() {
    let disk = OnDisk::new();
    let pond = millpond::Millpond::builder().open(disk.path()).unwrap();
    dead_lettering(&pond, "q");
    pond.enqueue_many("q", (0..1_200).map(work)).await.unwrap();
    drained(&pond).await;
    let redriven = pond.dead_letters().redrive_all(&JobFilter::new(), Pace::at_once()).await.unwrap();
    assert_eq!(redriven, 1_200);
}

#[tokio::test]
async fn a_redriven_job_runs_with_its_edited_payload() {
    let (_, pond) = memory();
    let seen = Log::new();
    let log = seen.clone();
    pond.worker("q")
        .retry(Retry::none())
        .handle(move |job: Job<Work>| {
            log.push(job.n);
            async move { if job.n == 1 { Err("one is bad".into()) } else { Ok(()) } }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    let dead = pond.dead_letters();
    let wrong = dead.edit(id, Packed { text: "x".into() }).await;
    assert!(matches!(wrong, Err(Error::InvalidConfig { field: "payload", .. })), "{wrong:?}");
    dead.edit(id, Work { n: 2 }).await.unwrap();
    assert_eq!(pond.job(id).unwrap().payload.decode::<Work>().unwrap(), Work { n: 2 });
    dead.edit(id, NewJob::json("work", &serde_json::json!({"n": 3}))).await.unwrap();
    dead.redrive(id).await.unwrap();
    drained(&pond).await;
    assert_eq!(seen.all(), [1, 3]);
    assert!(matches!(dead.edit(id, Work { n: 4 }).await, Err(Error::NoSuchJob { .. })));
    let waiting = pond.enqueue("other", work(1)).await.unwrap();
    assert!(matches!(dead.edit(waiting, Work { n: 4 }).await, Err(Error::NoSuchJob { .. })));
}

#[tokio::test]
async fn the_hook_and_the_event_report_only_the_first_dead_letter() {
    let firsts = Log::new();
    let log = firsts.clone();
    let (_, pond) = memory_with(|builder| builder.on_first_dead_letter(move |event| log.push(event.clone())));
    dead_lettering(&pond, "a");
    dead_lettering(&pond, "b");
    let mut events = pond.events();
    let first = pond.enqueue("a", work(1)).await.unwrap();
    drained(&pond).await;
    pond.enqueue("a", work(3)).await.unwrap();
    drained(&pond).await;
    let other = pond.enqueue("b", work(2)).await.unwrap();
    drained(&pond).await;
    let told: Vec<_> = firsts
        .all()
        .iter()
        .map(|event| match event {
            Event::Dead { id, first: true, reason, error, .. } => (*id, reason.clone(), error.clone().unwrap()),
            other => panic!("{other:?}"),
        })
        .collect();
    let reason = "no attempts left".to_owned();
    assert_eq!(told, [(first.id, reason.clone(), "error 1".into()), (other.id, reason, "error 0".into())]);
    let dead: Vec<bool> = heard(&mut events)
        .iter()
        .filter_map(|event| match event {
            Event::Dead { first, .. } => Some(*first),
            _ => None,
        })
        .collect();
    assert_eq!(dead, [true, false, true]);

    pond.dead_letters().purge_all(&JobFilter::new().queue("a")).await.unwrap();
    pond.enqueue("a", work(5)).await.unwrap();
    drained(&pond).await;
    assert_eq!(firsts.len(), 3, "the table was empty again");
}

#[tokio::test]
async fn a_hook_that_panics_does_not_stop_the_queue() {
    let (_, pond) = memory_with(|builder| builder.on_first_dead_letter(|_| panic!("in the hook")));
    dead_lettering(&pond, "q");
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(state(&pond, id), State::Dead);
    pond.enqueue("other", work(1)).await.unwrap();
    close(pond).await;
}

#[tokio::test]
async fn dead_letters_survive_a_restart() {
    let disk = OnDisk::new();
    let pond = disk.open();
    dead_lettering(&pond, "q");
    let id = pond.enqueue("q", member("g", 1)).await.unwrap();
    drained(&pond).await;
    close(pond).await;
    let pond = disk.open();
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!((ran.len(), state(&pond, id)), (0, State::Dead));
    pond.dead_letters().redrive(id).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}
