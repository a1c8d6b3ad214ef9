//! The jobs of an order run one after another, also if one of them fails first: `cargo run --example groups`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond::testing::{self, ManualClock};
use millpond::{BoxError, Explanation, Job, Kind, NewJob, Retry};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "step", queue = "orders")]
struct Step {
    order: u64,
    name: String,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let clock = ManualClock::new();
    let pond = testing::in_memory(&clock)?;

    for order in [7, 8] {
        for name in ["charge", "pack", "ship"] {
            let step = Step { order, name: name.into() };
            pond.enqueue("orders", NewJob::new(step).group(format!("order-{order}"))).await?;
        }
    }

    // The first attempt to charge order 7 fails.
    let done = Arc::new(Mutex::new(Vec::new()));
    let doing = done.clone();
    pond.worker("orders")
        .retry(Retry::fixed(Duration::from_secs(60)).jitter(0.0))
        .handle(move |job: Job<Step>| {
            let fails = job.order == 7 && job.name == "charge" && job.attempt() == 1;
            if !fails {
                doing.lock().unwrap().push((job.order, job.name.clone()));
            }
            async move { if fails { Err("the bank is closed".into()) } else { Ok(()) } }
        })
        .start()?;

    let steps_of = |order: u64| {
        let done = done.lock().unwrap().clone();
        done.into_iter().filter(|(of, _)| *of == order).map(|(_, name)| name).collect::<Vec<_>>()
    };
    testing::drain(&pond).await;
    assert!(steps_of(7).is_empty()); // it waits for the retry, and nothing overtakes it
    assert_eq!(steps_of(8), ["charge", "pack", "ship"]);
    let pack = testing::assert_enqueued::<Step>(&pond, "orders", |step| step.name == "pack");
    assert!(matches!(pond.explain(pack.id)?, Explanation::GroupBusy { ahead: 1, .. }));
    println!("pack order 7: {}", pond.explain(pack.id)?);

    clock.advance(Duration::from_secs(60));
    testing::drain(&pond).await;
    assert_eq!(steps_of(7), ["charge", "pack", "ship"]);
    println!("both orders went through their steps in order");
    Ok(())
}
