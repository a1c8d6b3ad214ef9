//! A dead letter holds its group, where the queue's policy says so.

use std::time::Duration;

use millpond::{
    Event, Explanation, GroupPolicy, Job, JobFilter, JobId, Keep, Millpond, Outcome, QueueSettings, Retention, State,
};

use crate::support::*;

const MINUTE: Duration = Duration::from_secs(60);

fn holding() -> QueueSettings {
    QueueSettings::default().groups(GroupPolicy::Hold)
}

/// A worker whose job number 1 is dead in its first `deaths` runs. It records what has completed.
fn worker(pond: &Millpond, deaths: usize) -> Log<u64> {
    record_with_deaths(pond, 5, deaths, |n| n == 1)
}

/// A group whose first job is a dead letter, with two jobs behind it, and a job of another group. Returns the ids.
async fn held(pond: &Millpond) -> Vec<JobId> {
    pond.queue("q").unwrap().configure(holding()).await.unwrap();
    let jobs = [member("a", 1), member("a", 2), member("a", 3), member("b", 4)];
    let stored = pond.enqueue_many("q", jobs).await.unwrap();
    drained(pond).await;
    stored.iter().map(|job| job.id).collect()
}

/// The same in memory, with a worker whose job number 1 is dead in its first `deaths` runs. The log is of what runs from now on.
async fn held_in_memory(deaths: usize) -> (Millpond, Log<u64>, Vec<JobId>) {
    let (_clock, pond) = memory();
    let log = worker(&pond, deaths);
    let ids = held(&pond).await;
    log.take();
    (pond, log, ids)
}

#[tokio::test]
async fn a_group_waits_for_its_dead_letter_and_says_so() {
    let (_clock, pond) = memory();
    let mut events = pond.events();
    let log = worker(&pond, 1);
    let ids = held(&pond).await;
    assert_eq!(log.take(), [4], "another group goes on");
    assert_eq!(state(&pond, ids[0]), State::Dead);
    for waits in &ids[1..3] {
        let why = pond.explain(*waits).unwrap();
        assert!(matches!(why, Explanation::GroupHeld { by, .. } if by == ids[0]), "{why:?}");
    }
    let text = pond.explain(ids[1]).unwrap().to_string();
    assert!(text.contains(&ids[0].to_string()) && text.contains("redriven or purged"), "{text}");
    let group = pond.queue("q").unwrap().groups(None, 10).unwrap().groups.remove(0);
    assert_eq!((group.name.as_str(), group.jobs, group.paused, group.held_by), ("a", 2, false, Some(ids[0])));
    assert_eq!(group.next, Some(ids[1]));
    assert!(matches!(group.why, Explanation::GroupHeld { .. }), "{:?}", group.why);
    let told = heard(&mut events);
    let is_told =
        |event: &&Event| matches!(event, Event::GroupHeld { group, id, .. } if &**group == "a" && *id == ids[0]);
    assert_eq!(told.iter().filter(is_told).count(), 1, "{told:?}");
    // A new job waits as well.
    let late = pond.enqueue("q", member("a", 5)).await.unwrap();
    drained(&pond).await;
    assert!(matches!(pond.explain(late).unwrap(), Explanation::GroupHeld { .. }));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_redriven_job_comes_back_at_its_old_place() {
    let (pond, log, ids) = held_in_memory(1).await;
    let mut events = pond.events();
    pond.dead_letters().redrive(ids[0]).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), [1, 2, 3]);
    let told = heard(&mut events);
    assert!(told.iter().any(|event| matches!(event, Event::GroupReleased { id, .. } if *id == ids[0])), "{told:?}");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_redriven_job_that_is_dead_again_holds_its_group_again() {
    let (pond, log, ids) = held_in_memory(2).await;
    let dead_letters = pond.dead_letters();
    dead_letters.redrive(ids[0]).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), [0; 0]);
    assert!(matches!(pond.explain(ids[1]).unwrap(), Explanation::GroupHeld { .. }));
    dead_letters.redrive(ids[0]).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), [1, 2, 3]);
}

#[tokio::test]
async fn a_group_goes_on_once_its_dead_letter_is_purged_deleted_moved_or_pruned() {
    for way in 0..4 {
        let (clock, pond) = memory();
        let log = worker(&pond, 1);
        let ids = held(&pond).await;
        log.take();
        let (queue, dead) = (pond.queue("q").unwrap(), JobFilter::new().state(State::Dead));
        match way {
            0 => drop(pond.dead_letters().purge(ids[0]).await.unwrap()),
            1 => drop(pond.select(&dead).delete().await.unwrap()),
            2 => drop(pond.select(&dead).move_to("elsewhere").await.unwrap()),
            _ => {
                let short = Retention::default().dead(Keep::new(MINUTE, 10));
                queue.configure(holding().retention(short)).await.unwrap();
                for _ in 0..12 {
                    clock.advance(MINUTE);
                    settled(&pond).await;
                }
            }
        }
        drained(&pond).await;
        assert_eq!(log.all(), [2, 3], "way {way}");
        assert_sound(&pond).await;
        let groups = queue.groups(None, 10).unwrap().groups;
        assert!(groups.is_empty(), "way {way}: {groups:?}");
    }
}

#[tokio::test]
async fn a_held_group_can_be_resumed_without_its_dead_letter() {
    let (pond, log, ids) = held_in_memory(1).await;
    let queue = pond.queue("q").unwrap();
    assert!(queue.resume_group("a").await.unwrap());
    drained(&pond).await;
    assert_eq!((log.take(), state(&pond, ids[0])), (vec![2, 3], State::Dead));
    assert!(!queue.resume_group("a").await.unwrap(), "nothing holds it");
    // The dead letter holds nothing any more. It goes to the end of its group.
    pond.queue("q").unwrap().pause().await.unwrap();
    pond.enqueue("q", member("a", 6)).await.unwrap();
    pond.dead_letters().redrive(ids[0]).await.unwrap();
    queue.resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), [6, 1]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_pause_and_a_hold_of_the_same_group_are_told_apart() {
    let (pond, log, ids) = held_in_memory(1).await;
    let queue = pond.queue("q").unwrap();
    assert!(queue.pause_group("a").await.unwrap());
    assert_eq!(pond.explain(ids[1]).unwrap(), Explanation::GroupPaused);
    pond.dead_letters().redrive(ids[0]).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), [0; 0], "it is still paused");
    assert_eq!(pond.explain(ids[0]).unwrap(), Explanation::GroupPaused);
    assert_sound(&pond).await;
    assert!(queue.resume_group("a").await.unwrap());
    drained(&pond).await;
    assert_eq!(log.all(), [1, 2, 3]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn the_end_of_a_pause_does_not_end_a_hold() {
    let (pond, log, ids) = held_in_memory(1).await;
    let queue = pond.queue("q").unwrap();
    assert!(queue.pause_group("a").await.unwrap());
    assert!(queue.resume_group("a").await.unwrap());
    drained(&pond).await;
    assert_eq!(log.all(), [0; 0]);
    assert!(matches!(pond.explain(ids[1]).unwrap(), Explanation::GroupHeld { .. }));
    assert!(queue.resume_group("a").await.unwrap());
    drained(&pond).await;
    assert_eq!(log.all(), [2, 3]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_hold_survives_a_restart_and_a_crash() {
    let disk = OnDisk::new();
    let pond = disk.open();
    worker(&pond, 1);
    let ids = held(&pond).await;
    close(pond).await;
    let pond = disk.open();
    assert!(matches!(pond.explain(ids[1]).unwrap(), Explanation::GroupHeld { .. }));
    pond.queue("q").unwrap().configure(holding()).await.unwrap();
    let pond = disk.crashed("copy");
    let log = worker(&pond, 0);
    drained(&pond).await;
    assert_eq!(log.all(), [0; 0]);
    pond.dead_letters().redrive(ids[0]).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), [1, 2, 3]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_that_waits_for_a_retry_holds_its_group_as_well() {
    let (clock, pond) = memory();
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .retry(millpond::Retry::fixed(SECOND).jitter(0.0).max_attempts(2))
        .handle(move |job: Job<Work>| {
            let fails = job.n == 1;
            if !fails {
                seen.push(job.n);
            }
            async move { if fails { Err("again".into()) } else { Ok(()) } }
        })
        .start()
        .unwrap();
    pond.queue("q").unwrap().configure(holding()).await.unwrap();
    let ids = pond.enqueue_many("q", [member("a", 1), member("a", 2)]).await.unwrap();
    drained(&pond).await;
    assert_eq!(state(&pond, ids[0]), State::Retrying);
    assert!(matches!(pond.explain(ids[1]).unwrap(), Explanation::GroupBusy { .. }));
    clock.advance(SECOND * 2);
    drained(&pond).await;
    assert!(matches!(pond.explain(ids[1]).unwrap(), Explanation::GroupHeld { .. }));
    assert_eq!(log.all(), [0; 0]);
}

#[tokio::test]
async fn a_held_queue_can_be_drained_and_removed() {
    let (_clock, pond) = memory();
    let ids = {
        let worker =
            pond.worker("q").handle(|_: Job<Work>| async { Ok(Outcome::dead_letter("broken")) }).start().unwrap();
        let ids = held(&pond).await;
        worker.stop().await.unwrap();
        ids
    };
    let queue = pond.queue("q").unwrap();
    assert_eq!(queue.drain().await.unwrap(), 2);
    assert_sound(&pond).await;
    let group = queue.groups(None, 10).unwrap().groups.remove(0);
    assert_eq!((group.jobs, group.next, group.held_by), (0, None, Some(ids[0])));
    assert!(matches!(group.why, Explanation::GroupHeld { .. }), "{:?}", group.why);
    assert!(queue.obliterate().await.unwrap().jobs >= 2);
    assert_sound(&pond).await;
}
