//! Jobs that fail for good are kept, reported, repaired and put back: `cargo run --example dead_letters`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millpond::redb::backends::InMemoryBackend;
use millpond::testing::{self, ManualClock};
use millpond::{BoxError, Job, JobFilter, Kind, Millpond, NewJob, Outcome, Pace, Retry, State};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "charge", queue = "billing")]
struct Charge {
    order: u64,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let clock = ManualClock::new();
    // The alert is in the same commit as the dead letter.
    let on_dead = Millpond::builder().clock(clock.clone()).on_dead(|tx, dead| {
        tx.enqueue("alerts", NewJob::json("alert", &format!("{} {}: {}", dead.kind(), dead.id(), dead.reason())))?;
        Ok(())
    });
    let pond = on_dead.open_backend(InMemoryBackend::new())?;

    let is_open = Arc::new(AtomicBool::new(false));
    let bank = is_open.clone();
    pond.worker("billing")
        .retry(Retry::fixed(Duration::from_secs(10)).max_attempts(3))
        .handle(move |job: Job<Charge>| {
            let is_open = bank.load(Ordering::Relaxed);
            async move {
                match job.order {
                    0 => Ok(Outcome::dead_letter("there is no order 0")),
                    _ if is_open => Ok(Outcome::done_with("a receipt")),
                    _ => Err("the bank answers 503".into()),
                }
            }
        })
        .start()?;
    let ids = pond.send_many((0..5).map(|order| Charge { order })).await?;
    for _ in 0..3 {
        testing::drain(&pond).await;
        clock.advance(Duration::from_secs(60));
    }
    let (wrong, late) = (pond.job(ids[0])?, pond.job(ids[1])?);
    assert_eq!((wrong.state, wrong.attempts, late.state, late.attempts), (State::Dead, 1, State::Dead, 3));
    println!("{:?}, {:?}", wrong.reason, late.errors[2].message);
    assert_eq!(testing::all_enqueued(&pond, "alerts").len(), 5);

    // The bank is open again: repair one, and put all back.
    is_open.store(true, Ordering::Relaxed);
    let dead = pond.dead_letters();
    assert_eq!(dead.count(&JobFilter::new().error_contains("503"))?, 4);
    dead.edit(ids[0], Charge { order: 5 }).await?;
    assert_eq!(dead.redrive_all(&JobFilter::new().queue("billing"), Pace::at_once()).await?, 5);
    testing::drain(&pond).await;
    assert_eq!(pond.queue("billing")?.counts().completed, 5);
    println!("all five were charged after the outage");
    Ok(())
}
