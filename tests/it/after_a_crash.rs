//! After a crash unrelated jobs start at once, the jobs that ran start again within seconds, and `explain` says why
//! they wait.

use std::collections::BTreeSet;
use std::time::Duration;

use millpond::{Enqueued, Explanation, Millpond, NewJob};

use crate::support::*;

fn long(n: u64, max_attempts: u32) -> NewJob {
    work(n).max_attempts(max_attempts)
}

/// The queue after a crash beside twenty long jobs, and the ids of those jobs.
async fn crashed_beside_twenty(disk: &OnDisk, max_attempts: u32) -> (Millpond, Vec<Enqueued>) {
    let pond = disk.open();
    let (_worker, mut keeper) = gated(&pond, "long", 20);
    let ids = pond.enqueue_many("long", (0..20).map(|n| long(n, max_attempts))).await.unwrap();
    keeper.next(20).await;
    starts_written(&pond, &disk.clock).await;
    (disk.crashed("copy.redb"), ids)
}

/// Waits until this many jobs have run. The clock stands still.
async fn wait_until_ran(log: &Log<u64>, jobs: usize) {
    let all = async {
        while log.len() < jobs {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(SECOND * 20, all).await.is_ok(), "{:?} of {jobs} have run", log.all());
}

#[tokio::test]
async fn a_job_of_another_queue_starts_at_once() {
    let disk = OnDisk::new();
    let (after, _) = crashed_beside_twenty(&disk, 5).await;
    let (_worker, _keeper) = gated(&after, "long", 20);
    let mail = record(&after, "mail", 4);
    after.enqueue_many("mail", (0..10).map(work)).await.unwrap();
    wait_until_ran(&mail, 10).await;
}

#[tokio::test]
async fn an_unrelated_job_starts_within_two_seconds_beside_jobs_on_their_last_attempt() {
    let disk = OnDisk::new();
    let (after, _) = crashed_beside_twenty(&disk, 1).await;
    let (_worker, mut keeper) = gated(&after, "long", 20);
    let mail = record(&after, "mail", 4);
    let id = after.enqueue("mail", work(1)).await.unwrap();
    keeper.next(1).await;
    settled(&after).await;
    assert_eq!(keeper.waiting().len(), 0, "one of them is started alone");
    assert!(matches!(after.explain(id).unwrap(), Explanation::Recovering { wait, .. } if wait <= SECOND * 2));
    disk.clock.advance(SECOND * 2);
    wait_until_ran(&mail, 1).await;
}

#[tokio::test]
async fn jobs_that_ran_at_a_crash_start_again_within_seconds_and_explain_says_why_they_wait() {
    for max_attempts in [1, 5] {
        let disk = OnDisk::new();
        let (after, ids) = crashed_beside_twenty(&disk, max_attempts).await;
        let (_worker, mut keeper) = gated(&after, "long", 20);
        let mut started = BTreeSet::new();
        for tenth in 0..80 {
            settled(&after).await;
            started.extend(keeper.waiting());
            if started.len() == 20 {
                break;
            }
            assert!(tenth < 75, "{} have started", started.len());
            for id in &ids {
                let why = after.explain(*id).unwrap();
                assert!(matches!(why, Explanation::Running | Explanation::Recovering { .. }), "{why:?}");
            }
            disk.clock.advance(Duration::from_millis(100));
        }
    }
}

#[tokio::test]
async fn a_long_job_whose_process_is_killed_repeatedly_does_not_delay_other_jobs() {
    let disk = OnDisk::new();
    // The queues before the last one are not closed before their file is copied, which is what a kill leaves.
    let mut killed = vec![disk.open()];
    let (_worker, mut keeper) = gated(&killed[0], "long", 1);
    killed[0].enqueue("long", long(1, 20)).await.unwrap();
    keeper.next(1).await;
    starts_written(&killed[0], &disk.clock).await;
    let mut path = disk.path();
    for kill in 0..5 {
        let next = disk.dir.path().join(format!("{kill}.redb"));
        std::fs::copy(&path, &next).unwrap();
        path = next;
        let pond = disk.builder().open(&path).unwrap();
        let (_worker, mut keeper) = gated(&pond, "long", 1);
        let mail = record(&pond, "mail", 1);
        pond.enqueue("mail", work(kill)).await.unwrap();
        wait_until_ran(&mail, 1).await;
        while pond.queue("mail").unwrap().counts().unfinished() > 0 {
            tokio::task::yield_now().await;
        }
        // The start of this job is durable before it runs.
        assert_eq!(keeper.next(1).await, [1]);
        killed.push(pond);
    }
}

#[tokio::test]
async fn explain_says_that_a_job_waits_because_of_a_crash() {
    let disk = OnDisk::new();
    let (after, ids) = crashed_beside_twenty(&disk, 5).await;
    let (_worker, _keeper) = gated(&after, "long", 20);
    settled(&after).await;
    let waiting = ids.iter().map(|id| after.explain(*id).unwrap()).find(|why| *why != Explanation::Running).unwrap();
    assert!(matches!(waiting, Explanation::Recovering { .. }), "{waiting:?}");
    assert!(waiting.to_string().starts_with("the process died before"), "{waiting}");
}
