//! The log lines for operators that `docs/logging.md` lists: level, target, text and fields.

use std::time::Duration;

use millpond::{Context, Job, Outcome, Pace, Retry};
use tracing::Level;

use crate::support::*;
use crate::tracing::{Line, recorder};

/// The level and text of each line.
fn levels_and_texts(lines: &[Line]) -> Vec<(Level, &str)> {
    assert!(lines.iter().all(|line| line.target.starts_with("millpond")), "{lines:?}");
    lines.iter().map(|line| (line.level, &*line.fields["message"])).collect()
}

/// The fields of a line that do not name the job.
fn facts(line: &Line) -> Vec<(&str, &str)> {
    let all = line.fields.iter().map(|(name, value)| (&**name, &**value));
    all.filter(|(name, _)| !["id", "queue", "kind", "message"].contains(name)).collect()
}

#[tokio::test]
async fn a_retry_is_logged_as_info_with_delay_and_error_and_a_dead_letter_as_a_warning() {
    let recorder = recorder();
    let (clock, pond) = memory();
    let time = clock.clone();
    pond.worker("log-dead")
        .retry(Retry::fixed(SECOND).jitter(0.0).max_attempts(2))
        .handle(move |_: Job<Work>| {
            time.advance(Duration::from_millis(3));
            async { Err::<(), _>("card\u{1b}expired".into()) }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("log-dead", work(1)).await.unwrap();
    drained(&pond).await;
    clock.advance(SECOND);
    drained(&pond).await;
    let lines = recorder.lines_with("queue", "log-dead");
    assert_eq!(
        levels_and_texts(&lines),
        [(Level::INFO, "worker started"), (Level::INFO, "failed, runs again"), (Level::WARN, "dead")]
    );
    assert_eq!((&*lines[1].fields["id"], &*lines[1].fields["kind"]), (&*id.to_string(), "work"));
    let retried =
        [("attempt", "1"), ("delay", "1s"), ("error", r"card\u{1b}expired"), ("max_attempts", "2"), ("took", "3ms")];
    assert_eq!(facts(&lines[1]), retried);
    let dead = [("attempt", "2"), ("error", r"card\u{1b}expired"), ("reason", "no attempts left"), ("took", "3ms")];
    assert_eq!(facts(&lines[2]), dead);
}

#[tokio::test]
async fn writes_that_fail_with_the_completion_are_logged_as_a_failed_attempt() {
    let recorder = recorder();
    let (_, pond) = memory();
    let handler = |_: Job<Work>, ctx: Context| async move {
        ctx.on_complete(|_| Err("no such order".into()));
        Ok(())
    };
    pond.worker("log-hook").retry(Retry::none()).handle(handler).start().unwrap();
    pond.enqueue("log-hook", work(1)).await.unwrap();
    drained(&pond).await;
    let lines = recorder.lines_with("queue", "log-hook");
    assert_eq!(levels_and_texts(&lines), [(Level::INFO, "worker started"), (Level::WARN, "dead")]);
    assert_eq!(lines[1].fields["error"], "the writes with its completion failed: no such order");
}

#[tokio::test]
async fn a_rate_limited_job_is_logged_as_rate_limited_and_not_as_given_back() {
    let recorder = recorder();
    let (_, pond) = memory();
    let handler = |_: Job<Work>| async { Ok(Outcome::rate_limited(Duration::from_millis(950))) };
    pond.worker("log-rate").handle(handler).start().unwrap();
    pond.enqueue("log-rate", work(1)).await.unwrap();
    drained(&pond).await;
    let lines = recorder.lines_with("queue", "log-rate");
    assert_eq!(levels_and_texts(&lines), [(Level::INFO, "worker started"), (Level::INFO, "rate limited, 950ms")]);
}

#[tokio::test]
async fn a_pause_a_resumption_and_the_start_and_stop_of_a_worker_are_logged() {
    let recorder = recorder();
    let (_, pond) = memory();
    let (_, worker) = record_with_worker(&pond, "log-steer", 3);
    let queue = pond.queue("log-steer").unwrap();
    queue.pause().await.unwrap();
    queue.pause().await.unwrap();
    queue.resume().await.unwrap();
    queue.pause_group("g").await.unwrap();
    queue.resume_group("g").await.unwrap();
    worker.stop();
    let lines = recorder.lines_with("queue", "log-steer");
    let texts = ["worker started", "paused", "resumed", "paused", "resumed", "worker stopped"];
    assert_eq!(levels_and_texts(&lines), texts.map(|text| (Level::INFO, text)));
    assert_eq!(facts(&lines[0]), [("concurrency", "3"), ("kinds", "work")]);
    assert_eq!(facts(&lines[3]), [("group", "g")]);
}

#[tokio::test]
async fn an_open_logs_its_waiting_and_dead_jobs_and_a_shutdown_logs_its_begin_and_end() {
    let recorder = recorder();
    let disk = OnDisk::new();
    let path = disk.path().to_str().unwrap().to_owned();
    let pond = disk.open();
    let dead = |_: Job<Work>| async { Ok(Outcome::dead_letter("no")) };
    let worker = pond.worker("q").handle(dead).start().unwrap();
    pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    drained(&pond).await;
    worker.stop();
    pond.enqueue_many("q", (0..12).map(work)).await.unwrap();
    close(pond).await;
    let pond = disk.open();
    pond.dead_letters().redrive_all(&millpond::JobFilter::new(), Pace::at_once()).await.unwrap();
    close(pond).await;
    let opened = recorder.lines_with("path", &path);
    let texts = ["open: 0 jobs wait, 0 are dead", "open: 12 jobs wait, 3 are dead"];
    assert_eq!(levels_and_texts(&opened), texts.map(|text| (Level::INFO, text)));
    assert_eq!(facts(&opened[1]), [("dead", "3"), ("path", &*path), ("waiting", "12")]);
    // Other tests write these lines too: this test only checks that they are written.
    for text in ["stopping: 0 jobs run", "closed", "dead letters redriven"] {
        assert!(recorder.lines_with("message", text).iter().any(|line| line.level == Level::INFO), "{text}");
    }
}

/// What the queue finds in the file is logged as the result of the crash, not of an attempt.
#[tokio::test]
async fn a_job_that_a_crash_ended_is_logged_when_the_file_is_opened() {
    let recorder = recorder();
    let disk = OnDisk::new();
    let pond = disk.open();
    let (_worker, mut keeper) = gated(&pond, "log-crash", 1);
    pond.enqueue("log-crash", work(1).at_most_once()).await.unwrap();
    keeper.entered().await;
    let after = disk.crashed("after.redb");
    let lines = recorder.lines_with("queue", "log-crash");
    assert_eq!(levels_and_texts(&lines), [(Level::INFO, "worker started"), (Level::WARN, "dead")]);
    let reason = "it runs at most once: the process died while this attempt ran";
    assert_eq!(lines[1].fields["reason"], reason);
    keeper.let_go(1);
    close(after).await;
}

#[tokio::test]
async fn each_outage_of_a_link_is_one_line_and_so_is_its_end() {
    let recorder = recorder();
    let (_, pond) = memory();
    let info = millpond::LinkInfo::new("log-link", millpond::LinkDirection::Forward, "hub", "an engine").unwrap();
    let guard = pond.register_link(info).unwrap();
    let link = guard.handle();
    link.failed("refused\n");
    link.failed("refused again");
    link.update(|state| state.connected = true);
    link.update(|state| state.connected = true);
    let lines = recorder.lines_with("queue", "log-link");
    let expected = [(Level::WARN, "link down"), (Level::INFO, "link connected")];
    assert_eq!(levels_and_texts(&lines), expected);
    assert_eq!(facts(&lines[0]), [("error", r"refused\n"), ("link", "log-link -> hub")]);
}
