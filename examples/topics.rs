//! An event of an order goes to whoever wants it: the queues of mail and warehouse and the stream of analytics bind themselves to a
//! topic, and the code that stores the order knows none of them.
//!
//! ```text
//! cargo run --example topics
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond::testing::{self, ManualClock};
use millpond::{Binding, Error, Job, Kind, Millpond, NewJob, Published, TopicSettings};
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

const ORDERS: TableDefinition<u64, &str> = TableDefinition::new("orders");

/// What has happened to an order.
#[derive(Serialize, Deserialize)]
struct OrderEvent {
    order: u64,
    what: String,
}

impl Kind for OrderEvent {
    const KIND: &'static str = "order-event";
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pond = testing::in_memory(&ManualClock::new())?;

    // An application makes its bindings at each start. What is there already stays.
    let orders = pond.topic("orders")?;
    orders.bind(Binding::to("mail").key("order.created.*")).await?;
    orders.bind(Binding::to("warehouse").key("order.#").headers_any([("country", "de"), ("country", "at")])).await?;
    orders.bind(Binding::to_stream("analytics")).await?;
    assert!(!orders.bind(Binding::to_stream("analytics")).await?, "it was bound already");

    let seen = Arc::new(Mutex::new(BTreeMap::<String, Vec<String>>::new()));
    let handler = |who: &'static str| {
        let seen = seen.clone();
        move |job: Job<OrderEvent>| {
            println!("{who}: order {} is {}", job.order, job.what);
            seen.lock().unwrap().entry(who.to_owned()).or_default().push(job.what.clone());
            async { Ok(()) }
        }
    };
    for queue in ["mail", "warehouse"] {
        pond.worker(queue).handle(handler(queue)).start()?;
    }
    pond.consumer("analytics", "report").handle(handler("report")).start().await?;

    // The row of the order, the jobs of both queues and the entry of the stream are one commit.
    let created = tell(&pond, 7, "created", "de").await?;
    let queues: Vec<_> = created.jobs.iter().map(|delivery| &*delivery.queue).collect();
    assert_eq!((&queues[..], created.entry_in("analytics")), (&["mail", "warehouse"][..], Some(0)));
    let paid = tell(&pond, 7, "paid", "us").await?;
    assert!(paid.jobs.is_empty() && paid.entry_in("analytics") == Some(1), "only analytics wants it");

    // A message that nobody wants goes to a queue for such messages, or is an error.
    let invoices = pond.topic("invoices")?;
    let published = invoices.publish("invoice.sent", NewJob::json("invoice", &7)).await;
    assert!(matches!(published, Err(Error::NoSuchTopic { .. })), "nothing was ever bound to it");
    invoices.configure(TopicSettings::default().alternate("unrouted")).await?;
    assert!(invoices.publish("invoice.sent", NewJob::json("invoice", &7)).await?.used_alternate);

    testing::drain(&pond).await;
    // The jobs are gone, and the stream keeps what has happened: a consumer that starts now begins with the first event.
    pond.consumer("analytics", "totals").handle(handler("totals")).start().await?;
    testing::drain(&pond).await;
    let seen = seen.lock().unwrap().clone();
    assert_eq!((&seen["report"], &seen["totals"]), (&seen["totals"], &vec!["created".to_owned(), "paid".to_owned()]));
    assert_eq!((&seen["mail"][..], &seen["warehouse"][..]), (&["created".to_owned()][..], &["created".to_owned()][..]));
    assert_eq!(pond.queue("unrouted")?.counts().pending, 1);

    pond.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}

/// Stores what has happened, and tells whoever wants to know.
async fn tell(pond: &Millpond, order: u64, what: &'static str, country: &'static str) -> Result<Published, Error> {
    pond.transaction(move |tx| {
        tx.open_table(ORDERS)?.insert(order, what)?;
        let event = NewJob::new(OrderEvent { order, what: what.into() }).header("country", country);
        Ok(tx.publish("orders", &format!("order.{what}.{country}"), event)?)
    })
    .await
}
