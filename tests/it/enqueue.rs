//! Enqueueing one job or many, with options, and which calls are refused.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millpond::{Error, Job, JobId, Kind, NewJob, Priority, State, Timestamp};
use serde::{Deserialize, Serialize, Serializer};

use crate::support::*;

#[tokio::test]
async fn the_jobs_of_one_call_get_ids_in_their_order() {
    let (_, pond) = memory();
    let ids = pond.enqueue_many("q", (0..100).map(|n| Work { n })).await.unwrap();
    assert_eq!(ids, (1..=100).map(JobId::new).collect::<Vec<_>>());
    let last: Work = pond.job(ids[99]).unwrap().payload.decode().unwrap();
    assert_eq!(last.n, 99);
}

#[tokio::test]
async fn jobs_for_several_queues_are_written_in_one_commit() {
    let (_, pond) = memory();
    let before = pond.metrics().commits_total;
    pond.enqueue_all([("a", work(1)), ("b", NewJob::new(Packed { text: "x".into() })), ("a", work(2))]).await.unwrap();
    assert_eq!(pond.metrics().commits_total, before + 1);
    assert_eq!(pond.queue("a").unwrap().counts().pending, 2);
    assert_eq!(pond.queue("b").unwrap().counts().pending, 1);
}

#[tokio::test]
async fn one_bad_job_refuses_the_whole_call() {
    let (_, pond) = memory();
    let refused = pond.enqueue_all([("a", work(1)), ("not a name", work(2))]).await;
    assert!(matches!(refused, Err(Error::InvalidName { what: "queue", .. })));
    assert_eq!(pond.queue("a").unwrap().counts().enqueued_total, 0);
}

#[tokio::test]
async fn enqueueing_no_jobs_is_not_an_error() {
    let (_, pond) = memory();
    assert!(pond.enqueue_many("q", Vec::<NewJob>::new()).await.unwrap().is_empty());
}

#[test]
fn a_thread_without_a_runtime_can_wait_for_an_enqueue() {
    let disk = OnDisk::new();
    let pond = disk.open();
    assert_eq!(pond.enqueue("q", work(1)).wait().unwrap(), JobId::new(1));
    assert_eq!(pond.queue("q").unwrap().enqueue(work(2)).wait().unwrap(), JobId::new(2));
    pond.shutdown(SECOND).wait().unwrap();
}

#[tokio::test]
async fn nothing_is_enqueued_until_the_call_is_awaited() {
    let (_, pond) = memory();
    drop(pond.enqueue("q", work(1)));
    assert_eq!(pond.enqueue("q", work(2)).await.unwrap(), JobId::new(1));
}

#[tokio::test]
async fn every_codec_delivers_the_payload_to_the_handler() {
    let (_, pond) = memory();
    let seen = Log::new();
    let (json, postcard, raw, mixed) = (seen.clone(), seen.clone(), seen.clone(), seen.clone());
    pond.worker("q")
        .concurrency(1)
        .handle(move |job: Job<Work>| {
            json.push(format!("json {}", job.n));
            async { Ok(()) }
        })
        .handle(move |job: Job<Packed>| {
            postcard.push(format!("postcard {}", job.text));
            async { Ok(()) }
        })
        .handle_raw("bytes", move |job: Job<Bytes>| {
            raw.push(format!("raw {:?}", &job[..]));
            async { Ok(()) }
        })
        .handle_blocking_raw("text", move |job: Job<Bytes>| {
            mixed.push(format!("text {}", String::from_utf8_lossy(&job)));
            Ok(())
        })
        .start()
        .unwrap();
    pond.enqueue("q", Work { n: 1 }).await.unwrap();
    pond.enqueue("q", NewJob::json("work", &serde_json::json!({"n": 2, "more": true}))).await.unwrap();
    pond.enqueue("q", Packed { text: "three".into() }).await.unwrap();
    pond.enqueue("q", NewJob::raw("bytes", vec![0, 255])).await.unwrap();
    pond.enqueue("q", NewJob::json("text", "five")).await.unwrap();
    drained(&pond).await;
    assert_eq!(seen.all(), ["json 1", "json 2", "postcard three", "raw [0, 255]", "text \"five\""]);
}

#[tokio::test]
async fn options_are_stored_and_shown() {
    let (clock, pond) = memory();
    let job = work(1)
        .delay(HOUR)
        .priority(Priority::FIRST)
        .group("order-7")
        .max_attempts(3)
        .expires_in(HOUR * 2)
        .unique_key("k:1");
    let id = pond.enqueue("q", job).await.unwrap();
    let info = pond.job(id).unwrap();
    assert_eq!(info.state, State::Scheduled);
    assert_eq!(info.priority, Priority::FIRST);
    assert_eq!(info.group.as_deref(), Some("order-7"));
    assert_eq!(info.max_attempts, Some(3));
    assert_eq!(info.unique_key.as_deref(), Some("k:1"));
    let now = millpond::Clock::wall(&clock);
    assert_eq!(info.enqueued_at, now);
    assert_eq!(info.run_at, Some(now + HOUR));
    assert_eq!(info.expires_at, Some(now + HOUR * 2));
}

#[tokio::test]
async fn a_batch_above_the_limits_is_refused_as_a_whole() {
    let (_, pond) = memory();
    let refused = pond.enqueue_many("q", (0..10_001).map(work)).await;
    assert!(matches!(refused, Err(Error::BatchTooLarge { jobs: 10_001, jobs_max: 10_000, .. })), "{refused:?}");
    let big = Bytes::from(vec![0; 1 << 20]);
    let refused = pond.enqueue_many("q", (0..33).map(|_| NewJob::raw("big", big.clone()))).await;
    assert!(matches!(refused, Err(Error::BatchTooLarge { jobs: 32, .. })), "{refused:?}");
    assert_eq!(pond.queue("q").unwrap().counts().enqueued_total, 0);
    assert_eq!(pond.enqueue_many("q", (0..10_000).map(work)).await.unwrap().len(), 10_000);
}

#[tokio::test]
async fn a_payload_at_the_limit_is_accepted_and_a_larger_one_is_refused() {
    let (_, pond) = memory_with(|builder| builder.payload_bytes_max(1_000));
    pond.enqueue("q", NewJob::raw("k", vec![0; 1_000])).await.unwrap();
    let refused = pond.enqueue("q", NewJob::raw("k", vec![0; 1_001])).await;
    assert!(matches!(refused, Err(Error::PayloadTooLarge { len: 1_001, max: 1_000, .. })));
}

#[derive(Deserialize)]
struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("I will not"))
    }
}

impl Kind for Stubborn {
    const KIND: &'static str = "stubborn";
}

#[tokio::test]
async fn a_payload_that_cannot_be_encoded_is_refused_by_its_kind() {
    let (_, pond) = memory();
    match pond.enqueue("q", Stubborn).await {
        Err(Error::Unencodable { kind, source, .. }) => {
            assert_eq!((kind.as_str(), source.to_string().as_str()), ("stubborn", "I will not"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn names_with_other_than_the_allowed_characters_are_refused_everywhere() {
    let (_, pond) = memory();
    let long = "n".repeat(129);
    for bad in ["", "..", "../x", "a b", "a\0b", "tab\t", "<script>", "\u{202e}gnp", "naïve", "a/b", &long] {
        for (what, refused) in [
            ("queue", pond.enqueue(bad, work(1)).await),
            ("kind", pond.enqueue("q", NewJob::json(bad.to_owned(), &1)).await),
        ] {
            assert!(
                matches!(&refused, Err(Error::InvalidName { what: named, .. }) if *named == what),
                "{bad:?} {refused:?}"
            );
        }
        assert!(matches!(pond.queue(bad), Err(Error::InvalidName { .. })), "{bad:?}");
    }
    for good in ["emails", "a.b:c-d_9", "X", &"n".repeat(128)] {
        pond.enqueue(good, NewJob::json(good.to_owned(), &1).group(good)).await.unwrap();
    }
    assert!(pond.enqueue("q", NewJob::json("", &1)).await.unwrap_err().to_string().contains("kind"));
}

#[tokio::test]
async fn a_job_with_the_greatest_delay_never_runs_and_its_time_does_not_wrap() {
    let (clock, pond) = memory();
    let ran = record(&pond, "q", 4);
    pond.enqueue("q", work(1).delay(Duration::MAX)).await.unwrap();
    pond.enqueue("q", work(2).delay(Duration::from_secs(u64::MAX / 2))).await.unwrap();
    clock.advance(HOUR * 24 * 365 * 100);
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
    assert_eq!(pond.queue("q").unwrap().counts().scheduled, 2);
}

#[tokio::test]
async fn a_job_with_a_delay_of_zero_runs_at_once() {
    let (_, pond) = memory();
    let ran = record(&pond, "q", 1);
    pond.enqueue("q", work(1).delay(Duration::ZERO)).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn a_job_for_a_time_in_the_past_or_before_the_epoch_runs_at_once() {
    let (_, pond) = memory();
    let ran = record(&pond, "q", 1);
    for (n, at) in [(1, UNIX_EPOCH), (2, UNIX_EPOCH - HOUR), (3, UNIX_EPOCH + Duration::from_secs(1_000_000_000))] {
        let id = pond.enqueue("q", work(n).run_at(at)).await.unwrap();
        assert!(pond.job(id).is_err() || state(&pond, id) != State::Scheduled);
    }
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 2, 3]);
}

#[tokio::test]
async fn a_job_for_the_year_9999_waits_until_then() {
    let (clock, pond) = memory();
    let ran = record(&pond, "q", 1);
    let at = Duration::from_secs(253_370_764_800);
    let id = pond.enqueue("q", work(1).run_at(SystemTime::UNIX_EPOCH + at)).await.unwrap();
    assert_eq!(pond.job(id).unwrap().run_at, Some(Timestamp::EPOCH + at));
    clock.set_wall(Timestamp::EPOCH + at - Duration::from_millis(1));
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
    clock.set_wall(Timestamp::EPOCH + at);
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn a_delayed_job_starts_when_it_is_due_and_not_a_millisecond_earlier() {
    let (clock, pond) = memory();
    let ran = record(&pond, "q", 1);
    pond.enqueue("q", work(1).delay(Duration::from_millis(1_500))).await.unwrap();
    clock.advance(Duration::from_millis(1_499));
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
    clock.advance(Duration::from_millis(1));
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn a_delayed_job_does_not_delay_other_jobs() {
    let (_, pond) = memory();
    let ran = record(&pond, "q", 1);
    pond.enqueue("q", work(1).delay(HOUR).priority(Priority::FIRST)).await.unwrap();
    pond.enqueue("q", work(2)).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [2]);
}

#[tokio::test]
async fn a_job_that_has_expired_ends_as_cancelled_and_never_starts() {
    let (clock, pond) = memory();
    let id = pond.enqueue("q", work(1).expires_in(SECOND)).await.unwrap();
    let grouped = pond.enqueue("q", member("g", 2).expires_in(SECOND)).await.unwrap();
    pond.enqueue("q", member("g", 3)).await.unwrap();
    clock.advance(SECOND);
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [3]);
    for id in [id, grouped] {
        let info = pond.job(id).unwrap();
        assert_eq!((info.state, info.reason.as_deref(), info.attempts), (State::Cancelled, Some("expired"), 0));
    }
}
