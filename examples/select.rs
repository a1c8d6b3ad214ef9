//! Finds a customer's jobs, and changes many at once: `cargo run --example select`.

use millpond::testing::{self, ManualClock};
use millpond::{BoxError, JobFilter, JobPatch, Kind, NewJob, Priority, State};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "receipt", queue = "emails")]
struct Receipt {
    customer: u64,
    order: u64,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let pond = testing::in_memory(&ManualClock::new())?;
    let receipts = (0..3_000).map(|order| {
        let customer = order % 10;
        NewJob::new(Receipt { customer, order }).group(format!("customer-{customer}"))
    });
    pond.enqueue_many("emails", receipts).await?;

    // By a field of the payload, page by page.
    let of_customer = JobFilter::new().queue("emails").json_equals("/customer", 7);
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let (filter, cursor) = (of_customer.clone(), next);
        let page = pond.read(move |pond| pond.jobs(&filter, cursor, 100)).await?;
        found.extend(page.jobs);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(found.len(), 300);
    assert_eq!(found[0].payload.decode::<Receipt>()?.order, 7);

    // By the group, all at once.
    let gone = JobFilter::new().queue("emails").group("customer-3");
    let done = pond.select(&gone).cancel("the account was closed").await?;
    assert_eq!((done.matched, done.changed), (300, 300));

    // In chunks, with a report after each.
    let waiting = JobFilter::new().queue("emails").state(State::Pending);
    let last = JobPatch::new().priority(Priority::LAST);
    let report = |progress: &millpond::BulkProgress| println!("{} changed so far", progress.changed);
    assert_eq!(pond.select(&waiting).on_progress(report).update(last).await?.changed, 2_700);
    pond.select(&waiting).move_to("emails-by-hand").await?;

    let counts = pond.queue("emails")?.counts();
    assert_eq!((counts.pending, counts.cancelled), (0, 300));
    assert_eq!(pond.select(&JobFilter::new().queue("emails-by-hand")).count().await?, 2_700);
    println!("300 receipts were cancelled, and 2,700 moved");
    Ok(())
}
