//! The flows of the shop: an order that is held, an import that fans out, and a refund whose handler waits for a person.

use std::time::Duration;

use anyhow::Result;
use millpond::{BoxError, Context, Handled, Job, Kind, Millpond, OnFailure, Outcome, Retry};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A part of an order or of an import.
#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "part", queue = "fulfilment")]
struct Part {
    of: String,
    part: String,
}

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "refund", queue = "refunds")]
struct Refund {
    order: u64,
    amount_cents: u64,
}

/// Starts the workers and makes the flows.
pub async fn make(pond: &Millpond) -> Result<()> {
    pond.worker("fulfilment").retry(Retry::none()).handle(part).start()?;
    pond.worker("refunds").handle(refund).start()?;
    order(pond, "order-1041", "charge").await?;
    order(pond, "order-1042", "charge a card that has expired").await?;
    import(pond).await?;
    pond.enqueue("refunds", Refund { order: 1_039, amount_cents: 4_990 }).await?;
    Ok(())
}

/// It waits for a customer's approval; if the charge fails, all that follows is held.
async fn order(pond: &Millpond, name: &str, charge: &str) -> Result<()> {
    pond.flow(name, |flow| {
        let part = |part: &str| flow.job("fulfilment", Part { of: name.into(), part: part.into() });
        let charge = part(charge).named("charge");
        let approved = flow.signal("approved");
        let invoice = part("invoice").named("invoice").after(&charge);
        let pack = part("pack").named("pack").after(&charge);
        let gift = part("gift wrap").named("gift wrap").after(&charge).after_or(&approved, OnFailure::Cancel);
        let ship = part("ship").named("ship").after_all([&pack, &invoice]).after_or(&gift, OnFailure::Run);
        let _ = part("thank").named("thank").after_or(&ship, OnFailure::Cancel).after(&charge);
        flow.on_failure("fulfilment", Part { of: name.into(), part: "tell support".into() });
    })
    .await?;
    Ok(())
}

async fn import(pond: &Millpond) -> Result<()> {
    pond.flow("import-products", |flow| {
        let part = |part: String| flow.job("fulfilment", Part { of: "import-products".into(), part });
        let split = part("split".into()).named("split");
        let rows: Vec<_> = (1..=12).map(|chunk| part(format!("rows {chunk}")).after(&split)).collect();
        let _ = part("report".into()).named("report").after_all(&rows).on_failed_dependency(OnFailure::Run);
        flow.on_end("fulfilment", Part { of: "import-products".into(), part: "clean up".into() });
    })
    .await?;
    Ok(())
}

async fn part(job: Job<Part>) -> Handled<Outcome> {
    tokio::time::sleep(Duration::from_millis(100)).await;
    if job.part.contains("expired") {
        return Err(format!("the bank refused {}: the card has expired", job.of).into());
    }
    Outcome::done_json(&json!({ "done": job.part }))
}

async fn refund(job: Job<Refund>, ctx: Context) -> Handled<Outcome> {
    let order = job.order;
    ctx.step("find the payment", || async move { Ok::<_, BoxError>(format!("payment of order {order}")) }).await?;
    ctx.step("check the amount", || async move { Ok::<_, BoxError>(json!({ "cents": job.amount_cents })) }).await?;
    let by: Option<String> = ctx.wait_for("approved", Some(Duration::from_secs(24 * 3_600))).await?;
    Outcome::done_json(&json!({ "approved_by": by }))
}
