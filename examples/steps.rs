//! Steps: a handler that survives the death of the process in its middle, one that undoes what it has done when its job is cancelled,
//! and a loop of questions and tools as agents have it.
//!
//! `cargo run --example steps`. It starts itself a second time, and that process dies behind its first step.

use std::path::Path;
use std::time::Duration;

use millpond::redb::TableDefinition;
use millpond::{BoxError, Context, HasOutput, Job, JobId, Kind, Millpond, Outcome};
use serde::{Deserialize, Serialize};

/// The application's own table: what was shipped.
const SHIPMENTS: TableDefinition<u64, &str> = TableDefinition::new("shipments");

#[derive(Serialize, Deserialize, Kind)]
#[kind(queue = "orders", output = String)]
struct Order {
    number: u64,
}

#[derive(Serialize, Deserialize, Kind)]
#[kind(queue = "agents", output = Vec<String>)]
struct Question {
    text: String,
}

/// What the model says in one round.
#[derive(Serialize, Deserialize)]
enum Answer {
    Use { tool: String, with: String },
    Done(String),
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    if let Some(file) = std::env::args().nth(1) {
        let pond = Millpond::open(Path::new(&file))?;
        // Both jobs are in the file before a handler runs, since the first handler ends the process.
        pond.send(Order { number: 7 }).await?;
        pond.send(Question { text: "what is the weather in the largest town?".into() }).await?;
        work(&pond, true)?;
        return std::future::pending().await;
    }
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("shop.redb");
    let died = std::process::Command::new(std::env::current_exe()?).arg(&file).status()?;
    println!("the first process has died ({died}); a second one goes on");

    let pond = Millpond::open(&file)?;
    work(&pond, false)?;
    let (order, question): (JobId, JobId) = ("1".parse()?, "2".parse()?);
    while pond.steps(order)?.iter().all(|step| step.name != "approved") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("order 7: {}", pond.explain(order)?);
    pond.signal_job(order, "approved", "ada").await?;
    println!("order 7: {:?}", output::<Order>(&pond, order).await?);
    println!("the agent has said: {:?}", output::<Question>(&pond, question).await?);
    cancelled(&pond).await?;
    let shipments = pond.begin_read()?.open_table(SHIPMENTS)?;
    println!("order 7 was {}", shipments.get(7)?.map(|row| row.value().to_owned()).unwrap_or_default());
    pond.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

/// Cancels an order that waits for its approval: its charge is refunded, and then it is cancelled.
async fn cancelled(pond: &Millpond) -> Result<(), BoxError> {
    let id = pond.send(Order { number: 8 }).await?.id;
    while pond.steps(id)?.iter().all(|step| step.name != "approved") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pond.cancel(id, "changed my mind").await?;
    let order = pond.finished(id).await?;
    println!("order 8: {}, because {:?}", order.state, order.reason.unwrap_or_default());
    Ok(())
}

async fn output<K: HasOutput>(pond: &Millpond, id: JobId) -> Result<Option<K::Output>, BoxError> {
    pond.finished(id).await?.output::<K>()
}

fn work(pond: &Millpond, dies: bool) -> Result<(), BoxError> {
    pond.worker("orders")
        .handle(move |job: Job<Order>, ctx: Context| async move {
            let number = job.number;
            let receipt: String = ctx.step("charge", || charge(number)).undo(refund).await?;
            if dies {
                println!("the process dies behind the first step");
                std::process::abort();
            }
            ctx.step_tx("ship", move |tx| {
                tx.open_table(SHIPMENTS)?.insert(number, "packed")?;
                Ok(())
            })
            .await?;
            ctx.sleep("a moment", Duration::from_millis(50)).await?;
            let by: Option<String> = ctx.wait_for("approved", Some(Duration::from_secs(3_600))).await?;
            Outcome::done_as::<Order>(&format!("{receipt}, approved by {}", by.unwrap_or_default()))
        })
        .start()?;
    pond.worker("agents")
        .handle(|job: Job<Question>, ctx: Context| async move {
            let mut known = vec![job.text.clone()];
            // The same names in each round: the second one is `ask#2`, and so on.
            loop {
                let answer: Answer = ctx.step("ask", || ask(&known)).await?;
                match answer {
                    Answer::Use { tool, with } => known.push(ctx.step("tool", || use_tool(&tool, &with)).await?),
                    Answer::Done(answer) => {
                        known.push(answer);
                        return Outcome::done_as::<Question>(&known);
                    }
                }
            }
        })
        .start()?;
    Ok(())
}

async fn charge(order: u64) -> Result<String, BoxError> {
    println!("charges order {order}");
    Ok(format!("receipt {order}"))
}

async fn refund(receipt: String) -> Result<(), BoxError> {
    println!("refunds {receipt}");
    Ok(())
}

/// Stands for the call of a model.
async fn ask(known: &[String]) -> Result<Answer, BoxError> {
    println!("asks the model, which knows {} things", known.len());
    Ok(match known.len() {
        1 => Answer::Use { tool: "largest town".into(), with: "here".into() },
        2 => Answer::Use { tool: "weather".into(), with: known[1].clone() },
        _ => Answer::Done(format!("it is {}", known[2])),
    })
}

async fn use_tool(tool: &str, with: &str) -> Result<String, BoxError> {
    println!("uses the tool {tool:?} with {with:?}");
    Ok(if tool == "weather" { "sunny".into() } else { "Millbrook".into() })
}
