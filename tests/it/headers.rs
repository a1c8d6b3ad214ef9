//! Headers: texts that go to the handler beside the payload.

use std::collections::BTreeMap;

use millpond::{Error, Job, NewJob, Retry, State};

use crate::support::*;
use crate::tracing::recorder;

#[tokio::test]
async fn bad_headers_are_refused_with_an_error_that_names_the_limit() {
    let (_, pond) = memory();
    let long = "n".repeat(129);
    for name in ["", long.as_str()] {
        let refused = pond.enqueue("q", work(1).header(name, "v")).await;
        assert!(matches!(refused, Err(Error::InvalidHeader { max: 128, .. })), "{refused:?}");
    }
    let refused = pond.enqueue("q", work(1).header("h", "v".repeat(4_096))).await;
    assert!(matches!(refused, Err(Error::HeadersTooLarge { len: 4_097, max: 4_096, .. })), "{refused:?}");
    pond.enqueue("q", work(1).header("h", "v".repeat(4_095))).await.unwrap();
}

#[tokio::test]
async fn headers_survive_retries_and_a_restart_and_any_text_is_kept() {
    let on_disk = OnDisk::new();
    let pond = on_disk.open();
    let headers = [("tenant", "ada"), ("größe", "L\n\0")];
    let expected: BTreeMap<String, String> = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    let job = work(1).headers(expected.clone()).header("tenant", "bob").header("tenant", "ada");
    let id = pond.enqueue("q", job).await.unwrap();
    let retry = || Retry::fixed(SECOND).jitter(0.0).max_attempts(3);
    pond.worker("q").retry(retry()).handle(|_: Job<Work>| async { Err::<(), _>("busy".into()) }).start().unwrap();
    drained(&pond).await;
    assert_eq!(state(&pond, id), State::Retrying);
    close(pond).await;

    let pond = on_disk.open();
    assert_eq!(pond.job(id).unwrap().headers, expected);
    let seen = Log::new();
    let log = seen.clone();
    let handler = move |job: Job<Work>| {
        assert_eq!(job.header("none"), None);
        log.push((job.attempt(), job.header("tenant").map(str::to_owned), job.headers().clone()));
        async { Ok(()) }
    };
    pond.worker("q").retry(retry()).handle(handler).start().unwrap();
    on_disk.clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(seen.all(), [(2, Some("ada".into()), expected)]);
}

#[tokio::test]
async fn the_first_run_has_the_traceparent_in_its_span_and_later_runs_have_a_link() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    recorder();
    let (clock, pond) = memory();
    let seen = Log::new();
    let log = seen.clone();
    let handler = move |job: Job<Work>| {
        let fields = recorder().fields_here().unwrap();
        let field = |name: &str| fields.get(name).cloned();
        log.push((job.n, job.attempt(), field("traceparent"), field("link")));
        async { Err::<(), _>("busy".into()) }
    };
    pond.worker("q").retry(Retry::fixed(SECOND).jitter(0.0).max_attempts(2)).handle(handler).start().unwrap();
    pond.enqueue("q", work(1).header("traceparent", TRACE)).await.unwrap();
    drained(&pond).await;
    clock.advance(SECOND);
    drained(&pond).await;
    pond.enqueue("q", work(2).header("traceparent", "malformed")).await.unwrap();
    drained(&pond).await;
    let trace = Some(TRACE.to_owned());
    assert_eq!(seen.all(), [(1, 1, trace.clone(), None), (1, 2, None, trace), (2, 1, None, None)]);
}

#[tokio::test]
async fn a_job_shows_its_headers_and_one_without_headers_shows_none() {
    let (_, pond) = memory();
    let plain = pond.enqueue("q", work(1)).await.unwrap();
    let json = serde_json::to_value(pond.job(plain).unwrap()).unwrap();
    assert_eq!((json.get("headers"), json.get("tags")), (None, None));
    let id = pond.enqueue("q", NewJob::raw("k", "x").header("a", "b").tag("t")).await.unwrap();
    let json = serde_json::to_value(pond.job(id).unwrap()).unwrap();
    assert_eq!((&json["headers"], &json["tags"]), (&serde_json::json!({ "a": "b" }), &serde_json::json!(["t"])));
}
