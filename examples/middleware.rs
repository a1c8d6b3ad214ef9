//! Code that sees every job on its way in, and every attempt: `cargo run --example middleware`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use millpond::testing::{self, ManualClock};
use millpond::{BoxError, Context, Job, Kind, Millpond, Next, Outcome};
use redb::backends::InMemoryBackend;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "invoice", queue = "invoices")]
struct Invoice {
    order: u64,
}

tokio::task_local! {
    /// The customer on whose behalf this task works: an HTTP server would set it for each request.
    static TENANT: &'static str;
}

/// How many attempts of each tenant succeeded and failed.
type Counts = Arc<Mutex<BTreeMap<String, [u32; 2]>>>;

fn open(counts: Counts) -> Result<Millpond, millpond::Error> {
    Millpond::builder()
        .clock(ManualClock::new())
        .on_enqueue(|_queue, job| match TENANT.try_with(|tenant| *tenant) {
            Ok(tenant) => Ok(job.header("tenant", tenant).tag(tenant)),
            Err(_) => Err("a job is enqueued on behalf of a tenant".into()),
        })
        .wrap(move |context: Context, next: Next| {
            let counts = counts.clone();
            async move {
                let tenant = context.header("tenant").unwrap_or_default().to_owned();
                let outcome = next.run().await;
                let failed = !matches!(outcome, Outcome::Done(_));
                counts.lock().unwrap().entry(tenant).or_default()[usize::from(failed)] += 1;
                outcome
            }
        })
        .open_backend(InMemoryBackend::new())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let counts = Counts::default();
    let pond = open(counts.clone())?;
    pond.worker("invoices")
        .handle(|job: Job<Invoice>| async move { if job.order == 13 { Err("no such order".into()) } else { Ok(()) } })
        .start()?;

    // The hook is called within `send`, not when its future is polled.
    TENANT.sync_scope("ada", || pond.send_many((10..14).map(|order| Invoice { order }))).await?;
    TENANT.sync_scope("bob", || pond.send(Invoice { order: 20 })).await?;
    let refused = pond.send(Invoice { order: 30 }).await.unwrap_err();
    println!("{refused}");
    testing::drain(&pond).await;

    let counts = counts.lock().unwrap().clone();
    assert_eq!(counts["ada"], [3, 1]);
    assert_eq!(counts["bob"], [1, 0]);
    println!("attempts that succeeded and failed: {counts:?}");
    Ok(())
}
