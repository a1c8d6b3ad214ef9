//! Handles many jobs with one call: `cargo run --example batches`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millpond::testing::{self, ManualClock};
use millpond::{Batch, BoxError, Data, Handled, Jobs, Kind, Outcome, Verdicts};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "index", queue = "search")]
struct Index {
    document: u64,
}

/// A search engine that takes many documents with one request.
#[derive(Default)]
struct Engine {
    requests: AtomicUsize,
}

impl Engine {
    /// Returns the documents that it refuses.
    fn add(&self, documents: &[u64]) -> Vec<u64> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        documents.iter().filter(|document| **document == 13).copied().collect()
    }
}

async fn index(jobs: Jobs<Index>, engine: Data<Arc<Engine>>) -> Handled<Verdicts> {
    let documents: Vec<u64> = jobs.iter().map(|job| job.document).collect();
    let refused = engine.add(&documents);
    let bad = jobs.iter().filter(|job| refused.contains(&job.document));
    Ok(bad.map(|job| (job.id(), Outcome::dead_letter("the document is not valid"))).collect())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let pond = testing::in_memory(&ManualClock::new())?;
    let engine = Arc::new(Engine::default());
    pond.send_many((0..250).map(|document| Index { document })).await?;
    pond.worker("search")
        .data(engine.clone())
        .handle_batch(Batch::up_to(100).wait(Duration::from_millis(20)), index)
        .start()?;
    testing::drain(&pond).await;

    let counts = pond.queue("search")?.counts();
    assert_eq!((counts.completed_total, counts.dead), (249, 1));
    // Two full batches and the rest.
    let requests = engine.requests.load(Ordering::Relaxed);
    assert_eq!(requests, 3);
    println!("250 documents with {requests} requests, {} of them refused", counts.dead);
    Ok(())
}
