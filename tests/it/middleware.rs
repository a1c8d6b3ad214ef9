//! Middleware around attempts, what a context knows of its job, and arguments of handlers that can fail.

use millpond::{
    Context, Failure, FromContext, Handled, Job, NewJob, Next, NextBlocking, Outcome, Priority, Retry, State,
};

use millpond::testing::drain;

use crate::support::*;

#[tokio::test]
async fn middleware_runs_around_each_attempt_and_the_first_is_the_outermost() {
    let (_clock, pond) = memory();
    let log = Log::new();
    let (outer, inner, handled) = (log.clone(), log.clone(), log.clone());
    pond.worker("q")
        .retry(Retry::none())
        .wrap(move |context: Context, next: Next| {
            let log = outer.clone();
            async move {
                log.push(format!("outer of {} {}", context.kind(), context.attempt()));
                let outcome = next.run().await;
                log.push(format!("outer saw {}", if matches!(outcome, Outcome::Done(_)) { "done" } else { "failed" }));
                outcome
            }
        })
        .handle(move |job: Job<Work>| {
            let log = handled.clone();
            async move {
                log.push(format!("handler of {}", job.n));
                if job.n == 2 { Err("no".into()) } else { Ok(()) }
            }
        })
        .wrap(move |_: Context, next: Next| {
            let log = inner.clone();
            async move {
                log.push("inner".to_owned());
                next.run().await
            }
        })
        .start()
        .unwrap();
    pond.enqueue("q", Work { n: 1 }).await.unwrap();
    drain(&pond).await;
    let failed = pond.enqueue("q", Work { n: 2 }).await.unwrap();
    drain(&pond).await;
    let kind = pond.job(failed).unwrap().kind;
    let of = |n: u64, end: &str| {
        [format!("outer of {kind} 1"), "inner".to_owned(), format!("handler of {n}"), format!("outer saw {end}")]
    };
    assert_eq!(log.all(), [of(1, "done"), of(2, "failed")].concat());
    assert_eq!(pond.job(failed).unwrap().state, State::Dead);
}

#[tokio::test]
async fn middleware_can_replace_the_outcome_and_keep_the_handler_from_running() {
    let (_clock, pond) = memory();
    let ran = Log::new();
    let (log, blocking_log) = (ran.clone(), ran.clone());
    pond.worker("q")
        .wrap(|context: Context, next: Next| async move {
            match context.group() {
                Some("closed") => Outcome::cancel("closed"),
                _ => {
                    next.run().await;
                    Outcome::done_with("replaced")
                }
            }
        })
        .wrap_blocking(|context: &Context, next: NextBlocking<'_>| match context.group() {
            Some("closed") => Outcome::cancel("closed"),
            _ => {
                next.run();
                Outcome::done_with("replaced")
            }
        })
        .handle(move |job: Job<Work>| {
            log.push(job.n);
            async { Ok(()) }
        })
        .handle_blocking(move |_: Job<Packed>| {
            blocking_log.push(100);
            Ok(())
        })
        .start()
        .unwrap();
    let packed = || Packed { text: "x".into() };
    let open = pond.enqueue("q", work(1)).await.unwrap();
    let closed = pond.enqueue("q", work(2).group("closed")).await.unwrap();
    let blocking_open = pond.enqueue("q", NewJob::new(packed())).await.unwrap();
    let blocking_closed = pond.enqueue("q", NewJob::new(packed()).group("closed")).await.unwrap();
    drain(&pond).await;
    for id in [open, blocking_open] {
        assert_eq!(pond.job(id).unwrap().result.as_deref(), Some(&b"replaced"[..]));
    }
    assert_eq!(pond.queue("q").unwrap().counts().cancelled_total, 2);
    // Not even what a handler does before it returns its future.
    let mut ran = ran.all();
    ran.sort_unstable();
    assert_eq!(ran, [1, 100]);
    let _ = (closed, blocking_closed);
}

#[tokio::test]
async fn a_panic_in_middleware_fails_the_attempt_and_frees_its_slot() {
    let (_clock, pond) = memory();
    pond.worker("q")
        .concurrency(1)
        .retry(Retry::none())
        .wrap(|context: Context, next: Next| async move {
            assert_ne!(context.priority(), Priority::LAST, "not the last ones");
            next.run().await
        })
        .handle(|_: Job<Work>| async { Ok(()) })
        .start()
        .unwrap();
    let bad = pond.enqueue("q", work(1).priority(Priority::LAST)).await.unwrap();
    drain(&pond).await;
    let good = pond.enqueue("q", work(2)).await.unwrap();
    drain(&pond).await;
    let bad = pond.job(bad).unwrap();
    assert_eq!(bad.state, State::Dead);
    assert!(bad.errors[0].message.contains("not the last ones"), "{:?}", bad.errors);
    assert!(pond.job(good).is_err(), "it completed, and nothing of it is kept");
}

#[tokio::test]
async fn a_payload_that_cannot_be_decoded_does_not_reach_middleware() {
    let (_clock, pond) = memory();
    let reached = Log::new();
    let (log, blocking) = (reached.clone(), reached.clone());
    pond.worker("q")
        .wrap(move |_: Context, next: Next| {
            log.push(1);
            next.run()
        })
        .wrap_blocking(move |_: &Context, next: NextBlocking<'_>| {
            blocking.push(2);
            next.run()
        })
        .handle(|_: Job<Work>| async { Ok(()) })
        .handle_blocking(|_: Job<Packed>| Ok(()))
        .start()
        .unwrap();
    let kind = NewJob::new(Work { n: 1 }).kind().to_owned();
    let id = pond.enqueue("q", NewJob::raw(kind, "nonsense")).await.unwrap();
    let kind = NewJob::new(Packed { text: String::new() }).kind().to_owned();
    let blocking = pond.enqueue("q", NewJob::raw(kind, &[0xff; 3][..])).await.unwrap();
    drain(&pond).await;
    for id in [id, blocking] {
        let job = pond.job(id).unwrap();
        assert_eq!((job.state, job.errors[0].kind), (State::Dead, millpond::FailureKind::Undecodable));
    }
    assert_eq!(
        reached.all(),
        [2],
        "only the middleware of handlers that block is called before the payload is decoded"
    );
}

/// The number in the name of the job's group.
struct Customer(u64);

impl FromContext for Customer {
    fn from_context(context: &Context) -> Result<Self, Failure> {
        let group = context.group().ok_or("the job has no group")?;
        Ok(Self(group.parse()?))
    }
}

async fn greet(_: Job<Work>, customer: Customer) -> Handled<Outcome> {
    Outcome::done_json(&customer.0)
}

#[tokio::test]
async fn an_argument_that_cannot_be_made_fails_the_attempt() {
    let (_clock, pond) = memory();
    let called = Log::new();
    let log = called.clone();
    pond.worker("q")
        .retry(Retry::none())
        .handle(greet)
        .handle_blocking(move |_: Job<Packed>, _: Customer| {
            log.push(1);
            Ok(())
        })
        .start()
        .unwrap();
    let good = pond.enqueue("q", work(1).group("7")).await.unwrap();
    let bad = pond.enqueue("q", work(2)).await.unwrap();
    let worse = pond.enqueue("q", NewJob::new(Packed { text: "x".into() }).group("seven")).await.unwrap();
    drain(&pond).await;
    assert_eq!(pond.job(good).unwrap().result_json::<u64>().unwrap(), Some(7));
    let bad = pond.job(bad).unwrap();
    assert_eq!((bad.state, bad.errors[0].message.as_str()), (State::Dead, "the job has no group"));
    assert_eq!(pond.job(worse).unwrap().state, State::Dead);
    assert_eq!(called.len(), 0);
}

#[tokio::test]
async fn a_context_knows_the_facts_of_its_job() {
    let (_clock, pond) = memory();
    pond.worker("q")
        .handle(|job: Job<Work>, context: Context| async move {
            assert_eq!((context.job_id(), context.run()), (job.id(), job.run()));
            assert_eq!((context.queue(), context.kind(), context.group()), (job.queue(), job.kind(), job.group()));
            assert_eq!((context.attempt(), context.max_attempts()), (job.attempt(), job.max_attempts()));
            assert_eq!((context.priority(), context.enqueued_at()), (job.priority(), job.enqueued_at()));
            assert_eq!(context.scheduled_for(), job.scheduled_for());
            assert_eq!((context.tags(), context.header("tenant")), (&["red".to_owned()][..], Some("ada")));
            assert_eq!((context.tags(), context.headers()), (job.tags(), job.headers()));
            Ok(())
        })
        .start()
        .unwrap();
    let job = work(1).group("g").priority(Priority::FIRST).tag("red").header("tenant", "ada");
    pond.enqueue("q", job).await.unwrap();
    drain(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1);
}

#[tokio::test]
async fn middleware_of_the_builder_is_outside_of_that_of_each_worker() {
    let log = Log::new();
    let (outer, blocking) = (log.clone(), log.clone());
    let (_clock, pond) = memory_with(|builder| {
        builder
            .wrap(move |context: Context, next: Next| {
                outer.push(format!("around {}", context.queue()));
                next.run()
            })
            .wrap_blocking(move |context: &Context, next: NextBlocking<'_>| {
                blocking.push(format!("around {}", context.queue()));
                next.run()
            })
    });
    let (inner, inner_blocking) = (log.clone(), log.clone());
    pond.worker("async")
        .wrap(move |_: Context, next: Next| {
            inner.push("inside".to_owned());
            next.run()
        })
        .handle(|_: Job<Work>| async { Ok(()) })
        .start()
        .unwrap();
    pond.worker("blocking")
        .wrap_blocking(move |_: &Context, next: NextBlocking<'_>| {
            inner_blocking.push("inside".to_owned());
            next.run()
        })
        .handle_blocking(|_: Job<Work>| Ok(()))
        .start()
        .unwrap();
    pond.enqueue("async", work(1)).await.unwrap();
    drain(&pond).await;
    assert_eq!(log.take(), ["around async", "inside"]);
    pond.enqueue("blocking", work(2)).await.unwrap();
    drain(&pond).await;
    assert_eq!(log.take(), ["around blocking", "inside"]);
    assert_eq!(pond.metrics().completed_total, 2);
}
