//! Mail at ten a minute, and a provider that says 429: `cargo run --example rates`. The clock is moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millpond::testing::{self, ManualClock};
use millpond::{BoxError, Error, Explanation, Job, Kind, Outcome, Rate};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "mail", queue = "emails")]
struct Mail {
    to: String,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let clock = ManualClock::new();
    let pond = testing::in_memory(&clock)?;
    let has_too_many = Arc::new(AtomicBool::new(false));
    let asked = has_too_many.clone();
    pond.worker("emails")
        .concurrency(1)
        .rate_limit(Rate::per_minute(10).burst(5))
        .handle(move |_: Job<Mail>| {
            let refused = asked.load(Ordering::Relaxed);
            async move { Ok(if refused { Outcome::rate_limited(Duration::from_secs(300)) } else { Outcome::done() }) }
        })
        .start()?;
    let ids = pond.send_many((0..100).map(|n| Mail { to: format!("{n}@example.org") })).await?;
    let emails = pond.queue("emails")?;
    let sent = || emails.counts().completed_total;

    // The burst at once, then one in six seconds.
    testing::drain(&pond).await;
    assert_eq!(sent(), 5);
    for _ in 0..60 {
        clock.advance(Duration::from_secs(1));
        testing::drain(&pond).await;
    }
    assert_eq!(sent(), 15);
    println!("after a minute, the last mail waits: {}", pond.explain(ids[99])?);

    // The bucket is for other code, too.
    assert!(matches!(emails.rate().take(1).await, Err(Error::RateLimited { .. })));

    // The provider refuses: nothing starts for five minutes, and no attempt is used up.
    has_too_many.store(true, Ordering::Relaxed);
    clock.advance(Duration::from_secs(6));
    testing::drain(&pond).await;
    has_too_many.store(false, Ordering::Relaxed);
    assert_eq!((sent(), pond.job(ids[15])?.attempts), (15, 0));
    assert!(matches!(pond.explain(ids[15])?, Explanation::RateLimited { .. }));
    clock.advance(Duration::from_secs(299));
    testing::drain(&pond).await;
    assert_eq!(sent(), 15);
    clock.advance(Duration::from_secs(1));
    testing::drain(&pond).await;
    assert!(sent() > 15);
    println!("it goes on after the time that the provider has asked for");
    Ok(())
}
