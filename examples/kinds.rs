//! The name, the queue, the options and the result of a job belong to its type: `cargo run --example kinds`.

use std::time::Duration;

use millpond::testing::{self, ManualClock};
use millpond::{BoxError, HasQueue, Job, Kind, NewJob, Outcome, Priority};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Invoice {
    number: u64,
    cents: u64,
}

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "charge", queue = "billing", max_attempts = 8, timeout = "30s", output = Invoice)]
#[kind(priority = 0, backoff = list("1s", "1m", "1h"))]
struct Charge {
    order: u64,
    cents: u64,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let pond = testing::in_memory(&ManualClock::new())?;

    let id = pond.send(Charge { order: 7, cents: 4_200 }).await?; // names no queue
    let job = pond.job(id)?;
    assert_eq!((job.queue.as_str(), job.kind.as_str(), job.max_attempts), ("billing", "charge", Some(8)));
    assert_eq!(job.priority, Priority::FIRST);

    // A job's own options win.
    let patient = NewJob::new(Charge { order: 8, cents: 100 }).max_attempts(2).delay(Duration::from_secs(60));
    let patient = pond.enqueue(Charge::QUEUE, patient).await?;
    assert_eq!(pond.job(patient)?.max_attempts, Some(2));

    pond.worker(Charge::QUEUE)
        .handle(|job: Job<Charge>| async move {
            Outcome::done_as::<Charge>(&Invoice { number: job.order + 1_000, cents: job.cents })
        })
        .start()?;
    testing::drain(&pond).await;
    let invoice = pond.job(id)?.output::<Charge>()?;
    assert_eq!(invoice, Some(Invoice { number: 1_007, cents: 4_200 }));
    println!("{invoice:?}");
    Ok(())
}
