//! The list of a queue's groups with what blocks each, and the age of the oldest ready job.

use std::time::Duration;

use millpond::{Explanation, GroupPolicy, Job, NewJob, Priority, QueueSettings, Rate, Retry, State};

use crate::support::*;

#[tokio::test]
async fn each_group_is_listed_with_what_blocks_it() {
    let (_clock, pond) = memory();
    let (gate, mut keeper) = gate();
    let queue = pond.queue("q").unwrap();
    pond.worker("q")
        .concurrency(9)
        .no_timeout()
        .retry(Retry::fixed(HOUR))
        .handle(move |job: Job<Work>| {
            let gate = gate.clone();
            async move {
                match job.n {
                    1 => gate.pass(1).await,
                    _ => return Err("again".into()),
                }
                Ok(())
            }
        })
        .start()
        .unwrap();
    queue.pause_group("paused and empty").await.unwrap();
    queue.pause_group("paused").await.unwrap();
    let held = queue.enqueue(NewJob::new(Work { n: 3 }).group("paused")).await.unwrap();
    let failed = queue.enqueue(NewJob::new(Work { n: 2 }).group("failed")).await.unwrap();
    settled(&pond).await;
    assert_eq!(pond.job(failed).unwrap().state, State::Retrying);
    let running = queue.enqueue(NewJob::new(Work { n: 1 }).group("running")).await.unwrap();
    queue.enqueue(NewJob::new(Work { n: 1 }).group("running")).await.unwrap();
    keeper.entered().await;

    let page = queue.groups(None, 10).unwrap();
    assert_eq!(page.next, None);
    let listed: Vec<_> = page.groups.iter().map(|group| (group.name.as_str(), group.jobs, group.next)).collect();
    let expected = [
        ("failed", 1, Some(failed.id)),
        ("paused", 1, Some(held.id)),
        ("paused and empty", 0, None),
        ("running", 2, Some(running.id)),
    ];
    assert_eq!(listed, expected);
    let why: Vec<_> = page.groups.iter().map(|group| group.why.clone()).collect();
    assert!(matches!(why[0], Explanation::NotDue { .. }), "{why:?}");
    assert_eq!(why[1..], [Explanation::GroupPaused, Explanation::GroupPaused, Explanation::Running]);
    assert!(page.groups[1].paused && page.groups[2].paused && !page.groups[3].paused);
    keeper.let_go(9);
}

#[tokio::test]
async fn a_group_whose_only_job_was_skipped_is_listed() {
    let (_clock, pond) = memory();
    let queue = pond.queue("q").unwrap();
    queue.configure(QueueSettings::default().groups(GroupPolicy::Skip)).await.unwrap();
    let job = queue.enqueue(NewJob::new(Work { n: 1 }).group("a").delay(HOUR)).await.unwrap();
    let page = queue.groups(None, 10).unwrap();
    assert_eq!(page.groups.len(), 1);
    assert_eq!((page.groups[0].next, page.groups[0].oldest), (Some(job.id), Some(job.id)));
    assert!(matches!(page.groups[0].why, Explanation::NotDue { .. }));
}

#[tokio::test]
async fn pages_of_groups_name_each_group_once_and_stay_in_their_queue() {
    let (_clock, pond) = memory();
    for queue in ["a", "b", "c"] {
        let jobs = (0..25).map(|n| NewJob::new(Work { n }).group(format!("{queue}-{:02}", n % 11)));
        pond.enqueue_many(queue, jobs).await.unwrap();
    }
    let queue = pond.queue("b").unwrap();
    let (mut names, mut after, mut jobs) = (Vec::new(), None::<String>, 0);
    loop {
        let page = queue.groups(after.as_deref(), 3).unwrap();
        assert!(page.groups.len() <= 3);
        jobs += page.groups.iter().map(|group| group.jobs).sum::<u64>();
        names.extend(page.groups.into_iter().map(|group| group.name));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(names, (0..11).map(|n| format!("b-{n:02}")).collect::<Vec<_>>());
    assert_eq!(jobs, 25);
    assert_eq!(pond.queue("nothing").unwrap().groups(None, 3).unwrap().groups, []);
}

#[tokio::test]
async fn the_oldest_ready_job_is_neither_running_nor_delayed() {
    let (clock, pond) = memory();
    let (gate, mut keeper) = gate();
    let queue = pond.queue("q").unwrap();
    queue.enqueue(NewJob::new(Work { n: 1 }).priority(Priority::FIRST)).await.unwrap();
    clock.advance(Duration::from_secs(10));
    queue.enqueue(NewJob::new(Work { n: 2 }).priority(Priority::LAST)).await.unwrap();
    queue.enqueue(NewJob::new(Work { n: 3 }).delay(HOUR)).await.unwrap();
    clock.advance(Duration::from_secs(10));
    queue.enqueue(NewJob::new(Work { n: 4 }).group("g")).await.unwrap();
    assert_eq!(queue.oldest_ready_age().unwrap(), Some(Duration::from_secs(20)));

    pond.worker("q")
        .concurrency(1)
        .no_timeout()
        .rate_limit(Rate::per_minute(1).burst(1))
        .handle(move |_: Job<Work>| {
            let gate = gate.clone();
            async move {
                gate.pass(1).await;
                Ok(())
            }
        })
        .start()
        .unwrap();
    keeper.entered().await;
    assert_eq!(queue.oldest_ready_age().unwrap(), Some(Duration::from_secs(10)));
    keeper.let_go(9);
}
