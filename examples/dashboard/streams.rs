//! The streams of the shop: payments that are booked and reported, and prices of which only the latest are kept.

use std::time::Duration;

use anyhow::Result;
use millpond::{Job, Kind, Millpond, NewJob, Retry, StreamSettings};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "payment")]
struct Payment {
    order: u64,
    amount_cents: u64,
}

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "price")]
struct Price {
    product: u64,
    cents: u64,
}

/// Appends to the streams and starts their consumers. One consumer is paused, so it is behind.
pub async fn make(pond: &Millpond) -> Result<()> {
    let payments = pond.stream("payments")?;
    payments
        .configure(StreamSettings::default().max_age(Duration::from_secs(30 * 24 * 3_600)).max_bytes(1 << 30))
        .await?;
    let ledger = pond.consumer("payments", "ledger").retry(Retry::none()).handle(|payment: Job<Payment>| async move {
        if payment.order % 100 == 42 { Err("the account is closed".into()) } else { Ok(()) }
    });
    ledger.start().await?;
    pond.consumer("payments", "monthly-report").handle(|_: Job<Payment>| async { Ok(()) }).start().await?;
    payments.consumer("monthly-report")?.pause().await?;
    let payment = |order: u64| {
        let amount_cents = 990 + order % 7 * 500;
        NewJob::new(Payment { order, amount_cents }).group(format!("customer-{}", order % 20))
    };
    payments.append_many((1_000..1_200).map(payment)).await?;

    let prices = pond.stream("prices")?;
    prices.configure(StreamSettings::default().compact()).await?;
    let price = |n: u64| NewJob::new(Price { product: n % 12, cents: 990 + n }).group(format!("product-{}", n % 12));
    prices.append_many((0..60).map(price)).await?;
    Ok(())
}
