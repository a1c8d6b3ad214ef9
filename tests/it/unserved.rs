//! Jobs that nothing will ever run are logged once, with the name that was probably meant; `explain` names it too.

use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{Explanation, Job, Millpond, NewJob};
use tracing::Level;

use crate::support::*;
use crate::tracing::recorder;

/// The warnings about this queue, each with its most similar name.
fn warned(queue: &str) -> Vec<(String, Option<String>)> {
    let lines = recorder().lines_with("queue", queue).into_iter().filter(|line| line.level == Level::WARN);
    lines.map(|line| (line.fields["message"].clone(), line.fields.get("nearest").cloned())).collect()
}

/// Lets enough time pass that jobs which wait all that time are logged.
async fn let_jobs_wait(clock: &ManualClock, pond: &Millpond) {
    for _ in 0..4 {
        settled(pond).await;
        clock.advance(Duration::from_secs(10));
    }
    settled(pond).await;
}

fn nothing(kind: &'static str) -> NewJob {
    NewJob::json(kind, &())
}

fn worker(pond: &Millpond, queue: &str, kinds: &[&str]) -> millpond::Worker {
    let kinds = kinds.iter();
    let builder =
        kinds.fold(pond.worker(queue), |worker, kind| worker.handle_raw(kind, |_: Job<bytes::Bytes>| async { Ok(()) }));
    builder.start().unwrap()
}

#[tokio::test]
async fn a_kind_without_a_handler_is_logged_once_with_the_most_similar_kind() {
    recorder();
    let (clock, pond) = memory();
    worker(&pond, "unserved-kind", &["welcome", "farewell"]);
    let slips = (0..3).map(|_| nothing("welcom"));
    let id = pond.enqueue_many("unserved-kind", slips).await.unwrap()[0];
    settled(&pond).await;
    clock.advance(Duration::from_secs(10));
    settled(&pond).await;
    assert_eq!(warned("unserved-kind"), [], "it may be given a handler soon");
    let_jobs_wait(&clock, &pond).await;
    let text = "3 jobs of kind `welcom` wait in `unserved-kind`; its worker handles `welcome`";
    assert_eq!(warned("unserved-kind"), [(text.to_owned(), Some("welcome".to_owned()))]);
    let_jobs_wait(&clock, &pond).await;
    assert_eq!(warned("unserved-kind").len(), 1, "once");

    let why = pond.explain(id).unwrap();
    let handled = vec!["farewell".to_owned(), "welcome".to_owned()];
    let Explanation::NoHandler { queue, kind, handled: kinds, nearest, .. } = &why else { panic!("{why:?}") };
    assert_eq!((&**queue, &**kind, kinds, nearest.as_deref()), ("unserved-kind", "welcom", &handled, Some("welcome")));
    let text = r#"the worker of queue "unserved-kind" handles ["farewell", "welcome"], not kind "welcom"; did you mean "welcome"?"#;
    assert_eq!(why.to_string(), text);
}

#[tokio::test]
async fn a_kind_similar_to_no_other_is_logged_with_all_kinds_of_the_worker() {
    recorder();
    let (clock, pond) = memory();
    worker(&pond, "unserved-other", &["welcome", "farewell"]);
    pond.enqueue("unserved-other", nothing("invoice").group("g")).await.unwrap();
    let_jobs_wait(&clock, &pond).await;
    let text = "1 job of kind `invoice` waits in `unserved-other`; its worker handles `farewell`, `welcome`";
    assert_eq!(warned("unserved-other"), [(text.to_owned(), None)]);
}

#[tokio::test]
async fn a_queue_without_a_worker_is_logged_once_with_the_most_similar_served_queue() {
    recorder();
    let (clock, pond) = memory();
    worker(&pond, "unserved-mail", &["welcome"]);
    let id = pond.enqueue("unserved-mial", nothing("welcome")).await.unwrap();
    let_jobs_wait(&clock, &pond).await;
    let_jobs_wait(&clock, &pond).await;
    let text = "1 job waits in queue `unserved-mial`, which has no worker; there is one for queue `unserved-mail`";
    assert_eq!(warned("unserved-mial"), [(text.to_owned(), Some("unserved-mail".to_owned()))]);
    let text = r#"queue "unserved-mial" has no worker; did you mean "unserved-mail"?"#;
    assert_eq!(pond.explain(id).unwrap().to_string(), text);
}

#[tokio::test]
async fn jobs_that_wait_on_purpose_or_get_a_worker_in_time_are_not_logged() {
    recorder();
    let (clock, pond) = memory();
    let paused = pond.queue("unserved-paused").unwrap();
    paused.pause().await.unwrap();
    paused.enqueue(nothing("welcome")).await.unwrap();
    pond.enqueue("unserved-later", nothing("welcome").delay(HOUR)).await.unwrap();
    pond.enqueue("unserved-started", nothing("welcome")).await.unwrap();
    settled(&pond).await;
    clock.advance(Duration::from_secs(10));
    settled(&pond).await;
    worker(&pond, "unserved-started", &["welcome"]);
    let_jobs_wait(&clock, &pond).await;
    for queue in ["unserved-paused", "unserved-later", "unserved-started"] {
        assert_eq!(warned(queue), [], "{queue}");
    }
}

#[tokio::test]
async fn a_misdirected_job_cancelled_in_time_is_not_logged_and_the_next_one_is() {
    recorder();
    let (clock, pond) = memory();
    worker(&pond, "unserved-again", &["welcome"]);
    let slip = pond.enqueue("unserved-again", nothing("welcom")).await.unwrap();
    settled(&pond).await;
    clock.advance(Duration::from_secs(10));
    settled(&pond).await;
    pond.cancel(slip, "a slip").await.unwrap();
    let_jobs_wait(&clock, &pond).await;
    assert_eq!(warned("unserved-again"), []);
    pond.enqueue("unserved-again", nothing("welcom")).await.unwrap();
    let_jobs_wait(&clock, &pond).await;
    assert_eq!(warned("unserved-again").len(), 1);
}
