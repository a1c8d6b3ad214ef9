//! An orderly stop is no crash.

use std::time::Duration;

use millpond::{Capacity, Error, Job, JobFilter, Millpond, NewJob, Outcome, QueueSettings, State, WhenFull};

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

/// Calls from many tasks while it stops: each is answered, what was acknowledged is there, and what
/// was refused is not.
#[test]
fn every_call_is_answered_when_it_stops() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    for round in 0..40u64 {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("queue.redb");
        let (acknowledged, refused) = runtime.block_on(calls_while_it_stops(&file, round));
        let pond = runtime.block_on(async { Millpond::open(&file).unwrap() });
        let there: std::collections::BTreeSet<u64> =
            pond.jobs(&JobFilter::new(), None, 1_000).unwrap().jobs.iter().map(|job| job.id.get()).collect();
        assert_eq!(there, acknowledged, "round {round}, {refused} refused");
        assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
    }
}

async fn calls_while_it_stops(file: &std::path::Path, round: u64) -> (std::collections::BTreeSet<u64>, usize) {
    let pond = Millpond::open(file).unwrap();
    let full = QueueSettings::default().capacity(Capacity::jobs(5)).when_full(WhenFull::Wait);
    pond.queue("full").unwrap().configure(full).await.unwrap();
    let calls: Vec<_> = (0..120u64)
        .map(|n| {
            let pond = pond.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(n * 50)).await;
                let job = || NewJob::raw("k", "");
                match n % 3 {
                    0 => pond.enqueue("full", job()).await,
                    1 => pond.enqueue("q", job()).await,
                    _ => pond.transaction(move |tx| Ok(tx.enqueue("q", job())?)).await,
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_micros(round * 200)).await;
    let stops = [pond.shutdown(Duration::ZERO), pond.shutdown(Duration::from_millis(50))];
    let answers = async {
        for stop in stops {
            stop.await.unwrap();
        }
        let (mut acknowledged, mut refused) = (std::collections::BTreeSet::new(), 0);
        for call in calls {
            match call.await.unwrap() {
                Ok(id) => assert!(acknowledged.insert(id.get())),
                Err(Error::Closed) => refused += 1,
                Err(error) => panic!("round {round}: {error:?}"),
            }
        }
        (acknowledged, refused)
    };
    let answers = tokio::time::timeout(Duration::from_secs(10), answers).await.expect("somebody was never answered");
    assert!(matches!(pond.enqueue("q", NewJob::raw("k", "")).await, Err(Error::Closed)));
    answers
}
