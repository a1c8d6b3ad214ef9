use millpond::{Context, Job, Kind, Millpond, NewJob, Retry, testing, testing::ManualClock};
use serde::{Deserialize, Serialize};
use std::time::Duration;
#[derive(Serialize, Deserialize)]
struct W {
    n: u64,
}
impl Kind for W {
    const KIND: &'static str = "w";
}

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let pond = Millpond::open(dir.path().join("a.redb")).unwrap();
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    pond.worker("q")
        .concurrency(4)
        .handle(move |job: Job<W>, _ctx: Context| {
            let tx = tx.clone();
            async move {
                tx.send(job.n).unwrap();
                Ok(())
            }
        })
        .start()
        .unwrap();
    for n in 0..100 {
        pond.enqueue("q", W { n }).await.unwrap();
    }
    for _ in 0..100 {
        rx.recv().await.unwrap();
    }
    pond.testing().idle().await;
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 100);
    assert_eq!(pond.verify().await.unwrap().problems, Vec::<String>::new());
    pond.shutdown(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_retries() {
    let clock = ManualClock::new();
    let pond = testing::in_memory(&clock).unwrap();
    let log = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let l2 = log.clone();
    pond.worker("q")
        .retry(Retry::fixed(Duration::from_secs(5)).jitter(0.0).max_attempts(2))
        .handle(move |job: Job<W>| {
            let l = l2.clone();
            async move {
                l.lock().unwrap().push((job.group().unwrap().to_string(), job.n, job.attempt()));
                if job.n == 1 {
                    return Err(std::io::Error::other("boom").into());
                }
                Ok(())
            }
        })
        .start()
        .unwrap();
    for n in 0..4 {
        for g in ["a", "b"] {
            pond.enqueue("q", NewJob::new(W { n }).group(g)).await.unwrap();
        }
    }
    let d = testing::drain(&pond).await;
    println!("{d:?} {:?}", log.lock().unwrap());
    assert_eq!(pond.verify().await.unwrap().problems, Vec::<String>::new());
    println!("{:?}", pond.testing().states(&pond));
    clock.advance(Duration::from_secs(5));
    let d = testing::drain(&pond).await;
    println!("{d:?} {:?}", log.lock().unwrap());
    assert_eq!(pond.verify().await.unwrap().problems, Vec::<String>::new());
    println!("{:?}", pond.testing().states(&pond));
    for (id, _) in pond.testing().states(&pond) {
        println!("{:?}", pond.explain(id));
    }
    assert_eq!(pond.queue("q").unwrap().counts().dead, 2);
}
