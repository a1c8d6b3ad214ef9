//! What a kind says of all its jobs: its options, its queue, and the type of its results.

use std::time::Duration;

use millpond::{
    Backoff, Error, FailureKind, HasOutput, HasQueue, Job, JobPatch, Kind, KindOptions, NewJob, Outcome, Priority,
    Retry, State,
};
use serde::{Deserialize, Serialize};

use crate::support::*;

/// A kind with every option.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mail {
    n: u64,
}

impl Kind for Mail {
    const KIND: &'static str = "mail";

    fn options() -> KindOptions {
        KindOptions::new()
            .priority(Priority::FIRST)
            .max_attempts(2)
            .backoff(Backoff::Fixed(HOUR))
            .timeout(SECOND * 30)
            .expires_in(HOUR * 5)
    }
}

impl HasQueue for Mail {
    const QUEUE: &'static str = "emails";
}

impl HasOutput for Mail {
    type Output = (u64, String);
}

#[derive(Serialize, Deserialize)]
struct Once;

impl Kind for Once {
    const KIND: &'static str = "once";

    fn options() -> KindOptions {
        KindOptions::new().at_most_once()
    }
}

#[derive(Serialize, Deserialize)]
struct Wrong;

impl Kind for Wrong {
    const KIND: &'static str = "wrong";

    fn options() -> KindOptions {
        KindOptions::new().max_attempts(0)
    }
}

#[tokio::test]
async fn a_job_of_a_kind_has_the_options_of_the_kind_and_an_untyped_job_has_not() {
    let (_, pond) = memory();
    let typed = pond.enqueue("q", Mail { n: 1 }).await.unwrap();
    let untyped = pond.enqueue("q", NewJob::json("mail", &Mail { n: 1 })).await.unwrap();
    let (typed, untyped) = (pond.job(typed).unwrap(), pond.job(untyped).unwrap());
    assert_eq!((typed.priority, typed.max_attempts), (Priority::FIRST, Some(2)));
    assert_eq!(typed.expires_at, Some(typed.enqueued_at + HOUR * 5));
    assert_eq!((untyped.priority, untyped.max_attempts, untyped.expires_at), (Priority::default(), None, None));
}

#[tokio::test]
async fn an_option_of_the_job_wins_over_the_kinds_and_the_kinds_over_the_workers() {
    let (clock, pond) = memory();
    let own = NewJob::new(Mail { n: 1 })
        .priority(Priority::default())
        .max_attempts(1)
        .timeout(SECOND * 5)
        .expires_in(Duration::MAX);
    let own = pond.enqueue("q", own).await.unwrap();
    let of_kind = pond.enqueue("q", Mail { n: 2 }).await.unwrap();
    let job = pond.job(own).unwrap();
    assert_eq!((job.priority, job.max_attempts), (Priority::default(), Some(1)));
    assert!(job.expires_at.is_none_or(|at| at > job.enqueued_at + HOUR * 1_000));

    let times = Log::new();
    let seen = times.clone();
    let handler = move |job: Job<Mail>, ctx: millpond::Context| {
        seen.push((job.n, job.max_attempts(), ctx.time_left()));
        async { Err::<(), _>("no".into()) }
    };
    let retry = Retry::fixed(SECOND).jitter(0.0).max_attempts(9);
    pond.worker("q").concurrency(1).timeout(HOUR).retry(retry).handle(handler).start().unwrap();
    drained(&pond).await;
    assert_eq!(times.take(), [(2, 2, Some(SECOND * 30)), (1, 1, Some(SECOND * 5))]);
    assert_eq!(state(&pond, own), State::Dead);
    clock.advance(HOUR - SECOND);
    drained(&pond).await;
    assert_eq!(state(&pond, of_kind), State::Retrying, "the kind's back-off, not the worker's");
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(state(&pond, of_kind), State::Dead);
}

#[tokio::test]
async fn at_most_once_and_the_number_of_attempts_are_one_option() {
    let (_, pond) = memory();
    let once = pond.enqueue("q", Once).await.unwrap();
    let twice = pond.enqueue("q", NewJob::new(Once).max_attempts(2)).await.unwrap();
    let mail = pond.enqueue("q", NewJob::new(Mail { n: 1 }).at_most_once()).await.unwrap();
    let of = |id| (pond.job(id).unwrap().at_most_once, pond.job(id).unwrap().max_attempts);
    assert_eq!([of(once), of(twice), of(mail)], [(true, Some(1)), (false, Some(2)), (true, Some(1))]);
}

#[tokio::test]
async fn an_option_of_a_kind_that_cannot_work_is_refused_by_name() {
    let (_, pond) = memory();
    let refused = pond.enqueue("q", Wrong).await;
    assert!(matches!(refused, Err(Error::InvalidConfig { field: "max_attempts", .. })), "{refused:?}");
    assert!(pond.enqueue("q", NewJob::new(Wrong).max_attempts(1)).await.is_ok());
}

#[tokio::test]
async fn the_options_of_a_kind_are_no_options_of_a_new_payload() {
    let (_, pond) = memory();
    let waits = pond.enqueue("q", NewJob::new(Mail { n: 1 }).max_attempts(7)).await.unwrap();
    pond.update(waits, JobPatch::new().payload(Mail { n: 2 })).await.unwrap();
    let job = pond.job(waits).unwrap();
    assert_eq!((job.payload.decode::<Mail>().unwrap().n, job.max_attempts), (2, Some(7)));
}

#[tokio::test]
async fn a_kind_is_sent_to_its_queue_by_every_way_to_enqueue() {
    let (_, pond) = memory();
    let mut ids = vec![pond.send(Mail { n: 1 }).await.unwrap()];
    ids.extend(pond.send_many([Mail { n: 2 }, Mail { n: 3 }]).await.unwrap());
    let in_tx = pond.transaction(|tx| {
        let mut ids = vec![tx.send(Mail { n: 4 })?];
        ids.extend(tx.send_many([Mail { n: 5 }, Mail { n: 6 }])?);
        Ok(ids)
    });
    ids.extend(in_tx.await.unwrap());
    let mut guard = pond.begin_write().unwrap();
    ids.push(guard.send(Mail { n: 7 }).unwrap());
    ids.extend(guard.send_many([Mail { n: 8 }, Mail { n: 9 }]).unwrap());
    guard.commit().unwrap();

    let jobs: Vec<_> = ids.into_iter().map(|id| pond.job(id).unwrap()).collect();
    let numbers: Vec<_> = jobs.iter().map(|job| job.payload.decode::<Mail>().unwrap().n).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(jobs.iter().all(|job| job.queue == "emails" && job.max_attempts == Some(2)));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn the_result_of_a_kind_is_read_as_its_type_and_only_of_that_kind() {
    let (_, pond) = memory();
    let answer = |job: Job<Mail>| async move { Outcome::done_as::<Mail>(&(job.n, "sent".to_owned())) };
    pond.worker("emails").handle(answer).handle(|_: Job<Work>| async { Ok("text") }).start().unwrap();
    let mail = pond.send(Mail { n: 7 }).await.unwrap();
    let other = pond.enqueue("emails", work(7)).await.unwrap();
    let waits = pond.enqueue("idle", Mail { n: 7 }).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.job(mail).unwrap().output::<Mail>().unwrap(), Some((7, "sent".to_owned())));
    assert_eq!(pond.job(waits).unwrap().output::<Mail>().unwrap(), None);
    let refused = pond.job(other).unwrap().output::<Mail>().unwrap_err();
    assert!(refused.to_string().contains("of kind \"work\""), "{refused}");
}

/// A payload that is not read as its kind ends the job without an attempt of the handler, whatever the kind's options.
#[tokio::test]
async fn a_payload_of_another_shape_is_a_dead_letter_whatever_the_options() {
    let (_, pond) = memory();
    pond.worker("q").handle(|_: Job<Mail>| async { Ok(()) }).start().unwrap();
    let id = pond.enqueue("q", NewJob::json("mail", "no number")).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().errors[0].kind, FailureKind::Undecodable);
}

#[cfg(feature = "derive")]
mod derived {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(90);

    mod elsewhere {
        pub use millpond as renamed;
    }

    #[derive(Serialize, Deserialize, Kind)]
    struct PlainHTTPCall {
        _n: u64,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, Kind)]
    #[kind(name = "full:1", queue = "full.queue", codec = "postcard", output = Vec<u8>, crate = elsewhere::renamed)]
    #[kind(priority = 9, max_attempts = 3, timeout = "1m30s", expires_in = "2h")]
    #[kind(backoff = exponential("500ms", "1h"))]
    enum Full {
        One(u64),
    }

    #[derive(Serialize, Deserialize, Kind)]
    #[kind(priority = Priority::LAST, max_attempts = 1 + 1, timeout = LONGEST, backoff = Backoff::List(vec![LONGEST]))]
    struct Expressions;

    #[derive(Serialize, Deserialize, Kind)]
    #[kind(at_most_once, backoff = list("1s", "1d"))]
    struct Listed;

    #[test]
    fn each_setting_of_the_derive_is_what_the_kind_says() {
        assert_eq!((PlainHTTPCall::KIND, PlainHTTPCall::CODEC), ("plain-http-call", millpond::Codec::Json));
        assert_eq!(PlainHTTPCall::options(), KindOptions::new());

        assert_eq!((Full::KIND, Full::QUEUE, Full::CODEC), ("full:1", "full.queue", millpond::Codec::Postcard));
        let backoff = Backoff::Exponential { base: Duration::from_millis(500), cap: HOUR };
        let options = KindOptions::new().priority(Priority::LAST).max_attempts(3).backoff(backoff);
        assert_eq!(Full::options(), options.timeout(LONGEST).expires_in(HOUR * 2));

        let options = KindOptions::new().priority(Priority::LAST).max_attempts(2).timeout(LONGEST);
        assert_eq!(Expressions::options(), options.backoff(Backoff::List(vec![LONGEST])));
        let listed = Backoff::List(vec![SECOND, HOUR * 24]);
        assert_eq!(Listed::options(), KindOptions::new().at_most_once().backoff(listed));
    }

    #[tokio::test]
    async fn a_derived_kind_is_sent_handled_and_answered() {
        let (_, pond) = memory();
        let answer = |job: Job<Full>| async move {
            let Full::One(n) = &*job;
            Outcome::done_as::<Full>(&vec![*n as u8])
        };
        pond.worker(Full::QUEUE).handle(answer).start().unwrap();
        let id = pond.send(Full::One(7)).await.unwrap();
        drained(&pond).await;
        assert_eq!(pond.job(id).unwrap().output::<Full>().unwrap(), Some(vec![7]));
    }
}
