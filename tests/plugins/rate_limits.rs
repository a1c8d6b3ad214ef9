//! A plugin says that the snooze which it returns is a rate limit: other jobs of its group or queue wait as well.

use millpond::{Explanation, Grant, JobId, Millpond, NewJob, Plugin, PluginLimits, Retry, State};

use super::built::hostile;
use crate::support::*;

fn granted() -> Plugin {
    hostile("rate_limited").grant(Grant::rate_limit())
}

/// Two jobs of two groups, one after the other: the first does `how`, and the second completes unless it is held back.
async fn two_groups(plugin: Plugin, how: &'static str) -> (Millpond, [JobId; 2]) {
    let (_, pond) = memory();
    let jobs = [NewJob::raw("job", how).group("one"), NewJob::raw("job", "done").group("two")];
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    pond.worker("q").concurrency(1).retry(Retry::fixed(HOUR)).handle_wasm("job", plugin).start().unwrap();
    drained(&pond).await;
    (pond, [ids[0].id, ids[1].id])
}

fn is_limited(pond: &Millpond, id: JobId) -> bool {
    matches!(pond.explain(id).unwrap(), Explanation::RateLimited { wait, .. } if wait == SECOND * 60)
}

#[tokio::test]
async fn a_rate_limit_holds_the_group_of_the_job_and_uses_no_attempt() {
    for how in ["group", "last call"] {
        let (pond, [first, _]) = two_groups(granted(), how).await;
        assert!(is_limited(&pond, first), "{how}: {}", pond.explain(first).unwrap());
        assert_eq!(pond.job(first).unwrap().attempts, 0);
        assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1, "{how}: another group is not held");
    }
}

#[tokio::test]
async fn a_rate_limit_of_the_queue_holds_all_its_groups() {
    let (pond, [first, second]) = two_groups(granted(), "queue").await;
    assert!(is_limited(&pond, first) && is_limited(&pond, second), "{}", pond.explain(second).unwrap());
    assert_eq!((pond.job(first).unwrap().attempts, pond.queue("q").unwrap().counts().completed_total), (0, 0));
}

#[tokio::test]
async fn a_rate_limit_without_a_grant_holds_only_the_job_itself() {
    for how in ["group", "queue"] {
        let (pond, [first, _]) = two_groups(hostile("rate_limited"), how).await;
        let job = pond.job(first).unwrap();
        assert_eq!((job.state, job.snoozes, job.attempts), (State::Scheduled, 1, 0), "{how}");
        assert_eq!(job.logs[0].lines[0].text, "rate limits are not granted, so only this job waits");
        assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1, "{how}");
    }
}

#[tokio::test]
async fn a_rate_limit_lasts_no_longer_than_the_operator_allows() {
    let waits = |pond: &Millpond, id| match pond.explain(id).unwrap() {
        Explanation::RateLimited { wait, .. } => wait,
        other => panic!("{other}"),
    };
    let (pond, [_, second]) = two_groups(granted(), "for ever").await;
    assert_eq!(waits(&pond, second), HOUR);
    let limits = PluginLimits::default().rate_limit_time(SECOND * 7);
    let (pond, [_, second]) = two_groups(granted().limits(limits), "for ever").await;
    assert_eq!(waits(&pond, second), SECOND * 7);
}

#[tokio::test]
async fn a_guest_that_returns_no_snooze_is_not_rate_limited() {
    for (how, completed) in [("done", 2), ("retry", 1)] {
        let (pond, _) = two_groups(granted(), how).await;
        assert_eq!(pond.queue("q").unwrap().counts().completed_total, completed, "{how}");
    }
}

#[tokio::test]
async fn an_instance_that_is_used_again_forgets_the_rate_limit() {
    let (_, pond) = memory();
    let jobs = ["done", "snooze", "done"].map(|how| NewJob::raw("job", how));
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    pond.worker("q").concurrency(1).handle_wasm("job", granted().reuse(10)).start().unwrap();
    drained(&pond).await;
    assert_eq!((pond.job(ids[1]).unwrap().state, pond.job(ids[1]).unwrap().snoozes), (State::Scheduled, 1));
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 2);
}
