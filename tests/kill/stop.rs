//! An orderly stop is no crash.

use std::time::Duration;

use millpond::{Job, Millpond, NewJob, Outcome, State};

#[test]
fn an_orderly_stop_uses_no_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("queue.redb");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let pond = Millpond::open(&file).unwrap();
        let id = pond.enqueue("q", NewJob::raw("k", "").max_attempts(2)).await.unwrap();
        drop(pond);
        for stop in 0..6 {
            let pond = Millpond::open(&file).unwrap();
            let before = pond.job(id).unwrap();
            assert_eq!((before.state, before.attempts, before.errors.len()), (State::Pending, 0, 0), "stop {stop}");
            let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
            let never_ends = move |job: Job<bytes::Bytes>| {
                started.send(job.attempt()).unwrap();
                std::future::pending::<millpond::Handled<Outcome>>()
            };
            pond.worker("q").handle_raw("k", never_ends).start().unwrap();
            assert_eq!(starts.recv().await, Some(1));
            if stop % 2 == 0 {
                // Long enough for its start to be on the file.
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            if stop < 3 {
                pond.shutdown(Duration::ZERO).await.unwrap();
            }
        }
    });
}
