//! Limits that jobs share: per kind within a worker, and by name across queues, with weights.

use millpond::{CancelOutcome, Error, Explanation, Job, Kind, Millpond, NewJob, Outcome, Worker, WorkerBuilder};
use serde::{Deserialize, Serialize};

use crate::support::*;

/// Jobs of another kind, which share a queue or a limit with [`Work`].
#[derive(Serialize, Deserialize)]
struct Other {
    n: u64,
}

impl Kind for Other {
    const KIND: &'static str = "other";
}

fn other(n: u64) -> NewJob {
    NewJob::new(Other { n })
}

/// A worker for both kinds whose handlers wait at a gate.
fn gated_with(pond: &Millpond, queue: &str, set: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> (Worker, Keeper) {
    let (gate, keeper) = gate();
    let at_gate = gate.clone();
    let of_work = move |job: Job<Work>| {
        let gate = at_gate.clone();
        async move {
            gate.pass(job.n).await;
            Ok(())
        }
    };
    let of_other = move |job: Job<Other>| {
        let gate = gate.clone();
        async move {
            gate.pass(job.n).await;
            Ok(())
        }
    };
    let worker = pond.worker(queue).no_timeout().handle(of_work).handle(of_other);
    (set(worker).start().unwrap(), keeper)
}

fn used(pond: &Millpond) -> u64 {
    pond.limits()[0].used
}

#[tokio::test]
async fn no_more_jobs_of_a_kind_run_than_its_concurrency_and_other_kinds_go_on() {
    let (_, pond) = memory();
    let (worker, mut keeper) = gated_with(&pond, "q", |worker| worker.concurrency(4).concurrency_of("work", 2));
    pond.enqueue_many("q", (0..5).map(work)).await.unwrap();
    let last = pond.enqueue("q", work(5)).await.unwrap();
    pond.enqueue_many("q", (10..12).map(other)).await.unwrap();
    settled(&pond).await;
    assert_eq!(keeper.next(4).await, [0, 1, 10, 11]);
    assert!(
        matches!(pond.explain(last).unwrap(), Explanation::KindBusy { kind, concurrency: 2, .. } if kind == "work"),
        "the kind's limit is the reason, although all slots are taken too"
    );
    keeper.let_go(4);
    assert_eq!(keeper.next(2).await, [2, 3], "in the order of the queue");
    settled(&pond).await;
    assert_eq!((worker.running(), keeper.waiting()), (2, vec![]), "two slots stay free");
    keeper.let_go(4);
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 8);
}

#[tokio::test]
async fn a_named_limit_holds_over_queues_and_counts_weights() {
    let (_, pond) = memory_with(|builder| builder.limit("gpu", 4));
    let (_, mut at_a) = gated_with(&pond, "a", |worker| worker.limit("gpu"));
    let (_, mut at_b) = gated_with(&pond, "b", |worker| worker.limit_of("work", "gpu"));
    pond.enqueue("a", work(1).weight(3)).await.unwrap();
    settled(&pond).await;
    assert_eq!((at_a.entered().await, used(&pond)), (1, 3));
    pond.enqueue("b", work(2)).await.unwrap();
    let waits = pond.enqueue("b", work(3)).await.unwrap();
    pond.enqueue("b", other(4)).await.unwrap();
    settled(&pond).await;
    assert_eq!((at_b.next(2).await, used(&pond)), (vec![2, 4], 4), "the other kind does not use the limit");
    let why = pond.explain(waits).unwrap();
    assert!(matches!(&why, Explanation::LimitReached { limit, units: 4, used: 4, .. } if limit == "gpu"), "{why:?}");
    assert_eq!(why.to_string(), r#"it waits for the limit "gpu", of which 4 of 4 units are in use"#);
    at_a.let_go(1);
    assert_eq!(at_b.entered().await, 3);
    at_b.let_go(3);
    drained(&pond).await;
    assert_eq!(used(&pond), 0);
}

#[tokio::test]
async fn a_heavy_job_is_not_overtaken_by_light_ones() {
    let (_, pond) = memory_with(|builder| builder.limit("gpu", 4));
    let (_, mut at_a) = gated_with(&pond, "a", |worker| worker.limit("gpu").concurrency(8));
    let (_, mut at_b) = gated_with(&pond, "b", |worker| worker.limit("gpu").concurrency(8));
    pond.enqueue_many("a", (0..2).map(work)).await.unwrap();
    settled(&pond).await;
    assert_eq!(at_a.next(2).await, [0, 1]);
    pond.enqueue("a", work(2).weight(4)).await.unwrap();
    settled(&pond).await;
    let behind = pond.enqueue("a", work(3)).await.unwrap();
    let elsewhere = pond.enqueue("b", work(4)).await.unwrap();
    settled(&pond).await;
    for waits in [behind, elsewhere] {
        let why = pond.explain(waits).unwrap();
        assert!(matches!(why, Explanation::LimitReached { units: 4, used: 2, .. }), "{why:?}");
    }
    assert_eq!((at_a.waiting(), at_b.waiting()), (vec![], vec![]), "two units are free, and kept for job 2");
    at_a.let_go(2);
    assert_eq!(at_a.entered().await, 2);
    settled(&pond).await;
    assert_eq!((at_a.waiting(), at_b.waiting(), used(&pond)), (vec![], vec![], 4));
    at_a.let_go(1);
    at_b.let_go(1);
    assert_eq!((at_a.entered().await, at_b.entered().await), (3, 4));
    at_a.let_go(1);
    drained(&pond).await;
}

#[tokio::test]
async fn a_job_that_weighs_more_than_the_limit_runs_alone() {
    let (_, pond) = memory_with(|builder| builder.limit("gpu", 2));
    let (_, mut keeper) = gated_with(&pond, "q", |worker| worker.limit("gpu"));
    let heavy = pond.enqueue("q", work(1).weight(50)).await.unwrap();
    pond.enqueue("q", work(2)).await.unwrap();
    settled(&pond).await;
    assert_eq!((keeper.entered().await, keeper.waiting(), used(&pond)), (1, vec![], 2));
    assert_eq!(pond.job(heavy).unwrap().weight, 50);
    keeper.let_go(2);
    drained(&pond).await;
}

#[tokio::test]
async fn a_queue_whose_turn_it_is_and_that_cannot_run_gives_the_turn_up() {
    let (_, pond) = memory_with(|builder| builder.limit("gpu", 1));
    let (_, mut at_a) = gated_with(&pond, "a", |worker| worker.limit("gpu"));
    let (at_b_worker, mut at_b) = gated_with(&pond, "b", |worker| worker.limit("gpu"));
    let (_, mut at_c) = gated_with(&pond, "c", |worker| worker.limit("gpu"));
    let (_, mut at_d) = gated_with(&pond, "d", |worker| worker.limit("gpu"));
    pond.enqueue("a", work(1)).await.unwrap();
    settled(&pond).await;
    at_a.entered().await;
    pond.enqueue("b", work(2)).await.unwrap();
    settled(&pond).await;
    let cancelled = pond.enqueue("c", work(3)).await.unwrap();
    settled(&pond).await;
    pond.enqueue("d", work(4)).await.unwrap();
    settled(&pond).await;
    at_b_worker.stop();
    assert_eq!(pond.cancel(cancelled, "not needed").await.unwrap(), CancelOutcome::Cancelled);
    at_a.let_go(1);
    assert_eq!(at_d.entered().await, 4, "b has no worker, and c has no job any more");
    pond.queue("a").unwrap().pause().await.unwrap();
    pond.enqueue("a", work(5)).await.unwrap();
    pond.enqueue("c", work(6)).await.unwrap();
    settled(&pond).await;
    at_d.let_go(1);
    assert_eq!(at_c.entered().await, 6, "a is paused");
    at_c.let_go(1);
    drained(&pond).await;
    assert_eq!((at_a.waiting(), at_b.waiting()), (vec![], vec![]));
    pond.queue("a").unwrap().resume().await.unwrap();
    assert_eq!(at_a.entered().await, 5);
    at_a.let_go(1);
    drained(&pond).await;
}

#[tokio::test]
async fn thousands_of_jobs_that_wait_for_a_limit_do_not_hide_others() {
    let (_, pond) = memory_with(|builder| builder.limit("gpu", 1));
    let (_, mut keeper) = gated_with(&pond, "q", |worker| worker.concurrency(3).limit_of("work", "gpu"));
    pond.enqueue_many("q", (0..9_000).map(work)).await.unwrap();
    pond.enqueue("q", other(10_000)).await.unwrap();
    settled(&pond).await;
    assert_eq!(keeper.next(2).await, [0, 10_000]);
    let mut ran = vec![0];
    keeper.let_go(9_001);
    while ran.len() < 9_000 {
        ran.push(keeper.entered().await);
    }
    assert!(ran.is_sorted(), "each starts once, in the order of the queue");
    drained(&pond).await;
}

#[tokio::test]
async fn units_are_free_again_whatever_ends_an_attempt() {
    let (clock, pond) = memory_with(|builder| builder.limit("gpu", 1));
    let handler = |job: Job<Work>| async move {
        match job.n {
            0 => Err("on purpose".into()),
            1 => panic!("on purpose"),
            2 => Ok(Outcome::snooze(SECOND)),
            3 => std::future::pending().await,
            _ => Ok(Outcome::done()),
        }
    };
    let worker = pond.worker("q").limit("gpu").timeout(HOUR).retry(millpond::Retry::none()).handle(handler);
    worker.start().unwrap();
    pond.enqueue_many("q", (0..4).map(work)).await.unwrap();
    running(&pond, "q", 1).await;
    assert_eq!(used(&pond), 1);
    clock.advance(HOUR);
    pond.enqueue("q", work(9)).await.unwrap();
    drained(&pond).await;
    assert_eq!((pond.queue("q").unwrap().counts().completed_total, used(&pond)), (1, 0));
}

#[tokio::test]
async fn a_limit_can_be_changed_while_jobs_run() {
    let (_, pond) = memory_with(|builder| builder.limit("gpu", 1));
    let (_, mut keeper) = gated_with(&pond, "q", |worker| worker.limit("gpu"));
    pond.enqueue_many("q", (0..6).map(work)).await.unwrap();
    settled(&pond).await;
    assert_eq!(keeper.entered().await, 0);
    pond.set_limit("gpu", 3).unwrap();
    assert_eq!(keeper.next(2).await, [1, 2]);
    pond.set_limit("gpu", 1).unwrap();
    let gpu = &pond.limits()[0];
    assert_eq!((&*gpu.name, gpu.units, gpu.used), ("gpu", 1, 3));
    keeper.let_go(2);
    running(&pond, "q", 1).await;
    assert_eq!(keeper.waiting(), [0; 0], "one job runs, as many as may");
    keeper.let_go(4);
    drained(&pond).await;
}

#[tokio::test]
async fn the_weight_of_a_job_survives_a_restart() {
    let file = OnDisk::new();
    let pond = file.open();
    let id = pond.enqueue("q", work(1).weight(3)).await.unwrap();
    close(pond).await;
    let pond = file.builder().limit("gpu", 4).open(file.path()).unwrap();
    let (_, mut keeper) = gated_with(&pond, "q", |worker| worker.limit("gpu"));
    assert_eq!((keeper.entered().await, used(&pond), pond.job(id).unwrap().weight), (1, 3, 3));
    keeper.let_go(1);
    drained(&pond).await;
    close(pond).await;
}

#[tokio::test]
async fn limits_that_make_no_sense_are_refused_by_name() {
    let builder = |limits: &[(&str, u32)]| {
        let builder = millpond::Millpond::builder();
        let builder = limits.iter().fold(builder, |builder, (name, units)| builder.limit(*name, *units));
        builder.open_backend(redb::backends::InMemoryBackend::new()).map(drop)
    };
    assert!(matches!(builder(&[("gpu", 0)]), Err(Error::InvalidConfig { field: "limit", .. })));
    assert!(matches!(builder(&[("gpu", 1), ("gpu", 2)]), Err(Error::InvalidConfig { field: "limit", .. })));
    assert!(builder(&[("no spaces", 1)]).is_err());
    let (_, pond) = memory_with(|builder| builder.limit("gpu", 4));
    let worker = || pond.worker("q").handle(|_: Job<Work>| async { Ok(()) });
    let field_of = |worker: WorkerBuilder| match worker.start() {
        Err(Error::InvalidConfig { field, reason, .. }) => (field, reason),
        other => panic!("{other:?}"),
    };
    let (field, reason) = field_of(worker().limit("cpu"));
    assert_eq!(field, "limit");
    assert_eq!(reason, r#"the open file has no limit "cpu"; it has ["gpu"] (`Builder::limit`)"#);
    assert_eq!(field_of(worker().limit_of("wrok", "gpu")).0, "limit_of");
    assert_eq!(field_of(worker().concurrency_of("wrok", 1)).0, "concurrency_of");
    assert_eq!(field_of(worker().concurrency_of("work", 0)).0, "concurrency_of");
    assert!(matches!(pond.set_limit("gpu", 0), Err(Error::InvalidConfig { field: "limit", .. })));
    assert!(matches!(pond.set_limit("cpu", 1), Err(Error::InvalidConfig { field: "limit", .. })));
    let refused = pond.enqueue("q", work(1).weight(0)).await;
    assert!(matches!(refused, Err(Error::InvalidConfig { field: "weight", .. })));
}
