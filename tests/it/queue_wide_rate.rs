//! A rate-limited answer for a whole queue: one answer holds all of its groups, durably.

use millpond::testing::ManualClock;
use millpond::{Enqueued, Explanation, Job, Millpond, Outcome};

use crate::support::*;

const GROUPS: u64 = 200;

/// A worker whose handler answers that it is rate limited until this time, and records each call.
fn start(pond: &Millpond, clock: &ManualClock, until: millpond::Timestamp) -> Log<u64> {
    let calls = Log::new();
    let (noted, pond_now) = (calls.clone(), clock.clone());
    let handler = move |job: Job<Work>| {
        noted.push(job.n);
        let is_limited = millpond::Clock::wall(&pond_now) < until;
        async move { Ok(if is_limited { Outcome::rate_limited_queue(SECOND * 30) } else { Outcome::Done(None) }) }
    };
    pond.worker("crm").concurrency(1).handle(handler).start().unwrap();
    calls
}

async fn enqueue(pond: &Millpond) -> Vec<Enqueued> {
    let jobs = (0..GROUPS).map(|n| member(&format!("customer-{n}"), n));
    pond.enqueue_many("crm", jobs).await.unwrap()
}

#[tokio::test]
async fn one_rate_limited_answer_holds_all_groups_and_uses_no_attempt() {
    let (clock, pond) = memory();
    let until = pond.now() + SECOND * 30;
    let calls = start(&pond, &clock, until);
    let ids = enqueue(&pond).await;
    drained(&pond).await;
    assert_eq!(calls.take(), [0], "one rate-limited call, not one for each group");
    for id in [ids[0], ids[1], ids[199]] {
        let why = pond.explain(id).unwrap();
        assert!(matches!(why, Explanation::RateLimited { wait, .. } if wait == SECOND * 30), "{why:?}");
        assert_eq!(pond.job(id).unwrap().attempts, 0);
    }
    clock.advance(SECOND * 30);
    drained(&pond).await;
    assert_eq!(calls.take(), (0..GROUPS).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_hold_survives_a_crash() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let until = pond.now() + SECOND * 30;
    let calls = start(&pond, &disk.clock, until);
    enqueue(&pond).await;
    drained(&pond).await;
    assert_eq!(calls.take(), [0]);
    let after = disk.crashed("after.redb");
    let calls = start(&after, &disk.clock, until);
    drained(&after).await;
    assert_eq!(calls.take(), [] as [u64; 0]);
    disk.clock.advance(SECOND * 30);
    drained(&after).await;
    assert_eq!(calls.len() as u64, GROUPS);
}
