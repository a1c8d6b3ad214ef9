//! Flows: an order that survives the death of the process in its middle, an import of 10,000 rows with a callback, and a person's
//! approval.
//!
//! `cargo run --example flows`. It starts itself a second time, and that process dies while it packs the order.

use std::path::Path;
use std::time::Duration;

use millpond::{BoxError, Context, FlowState, Job, Kind, Millpond, OnFailure, Outcome};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Kind)]
#[kind(queue = "orders")]
struct Charge {
    order: u64,
}

#[derive(Serialize, Deserialize, Kind)]
#[kind(queue = "orders")]
struct Pack {
    order: u64,
}

#[derive(Serialize, Deserialize, Kind)]
#[kind(queue = "orders")]
struct Mail {
    order: u64,
}

#[derive(Serialize, Deserialize, Kind)]
#[kind(queue = "imports")]
struct Split {
    rows: u64,
}

#[derive(Serialize, Deserialize, Kind)]
#[kind(queue = "imports")]
struct Row {
    number: u64,
}

#[derive(Serialize, Deserialize, Kind)]
#[kind(queue = "imports")]
struct Report {
    import: String,
}

/// How many jobs one call adds to a flow at most.
const CHUNK: u64 = 5_000;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    if let Some(file) = std::env::args().nth(1) {
        return die_while_packing(Path::new(&file)).await;
    }
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("shop.redb");
    let died = std::process::Command::new(std::env::current_exe()?).arg(&file).status()?;
    println!("the first process has died ({died}); a second one goes on");

    let pond = Millpond::open(&file)?;
    orders(&pond, false)?;
    imports(&pond)?;
    ended(&pond, "order-7").await?;
    import(&pond).await?;
    approval(&pond).await?;
    pond.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

/// The first process: it makes the order, and dies in the middle of it.
async fn die_while_packing(file: &Path) -> Result<(), BoxError> {
    let pond = Millpond::open(file)?;
    orders(&pond, true)?;
    pond.flow("order-7", |flow| {
        let charge = flow.job("orders", Charge { order: 7 }).named("charge");
        let pack = flow.job("orders", Pack { order: 7 }).after(&charge);
        flow.job("orders", Mail { order: 7 }).after_all([&charge, &pack]);
    })
    .await?;
    std::future::pending().await
}

/// The worker of orders.
fn orders(pond: &Millpond, dies: bool) -> Result<(), BoxError> {
    pond.worker("orders")
        .handle(|job: Job<Charge>| async move {
            println!("charges order {}", job.order);
            Outcome::done_json(&format!("receipt {}", job.order))
        })
        .handle(move |job: Job<Pack>| async move {
            if dies {
                println!("the process dies while it packs order {}", job.order);
                std::process::abort();
            }
            println!("packs order {} in attempt {}", job.order, job.attempt());
            Ok(())
        })
        .handle(|job: Job<Mail>, ctx: Context| async move {
            let receipt: Option<String> = ctx.result("charge")?;
            println!("mails {:?} for order {}", receipt.unwrap_or_default(), job.order);
            Ok(())
        })
        .start()?;
    Ok(())
}

/// The worker of imports.
fn imports(pond: &Millpond) -> Result<(), BoxError> {
    pond.worker("imports")
        .concurrency(100)
        .handle(|job: Job<Split>, ctx: Context| async move {
            let rows = job.rows;
            ctx.on_complete(move |tx| {
                tx.add_to_flow("import", |flow| {
                    (0..rows).for_each(|number| drop(flow.job("imports", Row { number })));
                })?;
                Ok(())
            });
            Ok(())
        })
        .handle(|job: Job<Row>| async move { Outcome::done_json(&(job.number % 10)) })
        .handle(|job: Job<Report>, ctx: Context| async move {
            let (mut rows, mut sum, mut after) = (0, 0, None);
            loop {
                let page = ctx.flow_nodes(after, 1_000)?;
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                for node in &page {
                    let result: Option<u64> = node.result_json()?;
                    rows += u64::from(result.is_some());
                    sum += result.unwrap_or(0);
                }
            }
            println!("{}: {rows} rows, with a sum of {sum}", job.import);
            assert_eq!((rows, sum), (2 * CHUNK, 9 * CHUNK));
            Ok(())
        })
        .start()?;
    Ok(())
}

/// 10,000 rows that two jobs add to the flow, and a report when all are done.
async fn import(pond: &Millpond) -> Result<(), BoxError> {
    pond.flow("import", |flow| {
        (0..2).for_each(|_| drop(flow.job("imports", Split { rows: CHUNK })));
        flow.on_success("imports", Report { import: "import".into() });
    })
    .await?;
    ended(pond, "import").await
}

/// An order that is charged when a person has approved it.
async fn approval(pond: &Millpond) -> Result<(), BoxError> {
    pond.flow("order-8", |flow| {
        let approved = flow.signal("approved").deadline_in(Duration::from_secs(3_600));
        let charge = flow.job("orders", Charge { order: 8 }).named("charge").after_or(&approved, OnFailure::Cancel);
        flow.job("orders", Mail { order: 8 }).after(&charge);
    })
    .await?;
    let charge = pond.flows().node("order-8", "charge")?.ok_or("it has no job of this name")?;
    println!("order 8: {}", pond.explain(charge.id)?);
    pond.signal("order-8", "approved", "ada").await?;
    ended(pond, "order-8").await
}

/// Waits until a flow and its callbacks have ended.
async fn ended(pond: &Millpond, name: &str) -> Result<(), BoxError> {
    loop {
        let flow = pond.flows().get(name)?;
        if flow.state.has_ended() && flow.callbacks_running == 0 {
            println!("{name}: {}, {} jobs", flow.state, flow.counts.total());
            assert_eq!(flow.state, FlowState::Completed);
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
