//! A row and a job in one commit, and rows that are written with the end of a job: `cargo run --example transactions`.

use std::time::Duration;

use millpond::testing::drain;
use millpond::{BoxError, Context, Handled, Job, Kind, Millpond};
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

const STOCK: TableDefinition<&str, u64> = TableDefinition::new("stock");
const SHIPPED: TableDefinition<u64, &str> = TableDefinition::new("shipped");

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "ship", queue = "orders")]
struct Ship {
    order: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("it is sold out")]
struct SoldOut;

/// Takes a kettle from the stock and enqueues its shipping: both or neither.
async fn buy(pond: &Millpond, order: u64) -> Result<(), millpond::Error> {
    let bought = pond.transaction(move |tx| {
        let mut stock = tx.open_table(STOCK)?;
        let left = stock.get("kettle")?.map_or(0, |left| left.value());
        stock.insert("kettle", left.checked_sub(1).ok_or(SoldOut)?)?;
        tx.send(Ship { order })?;
        Ok(())
    });
    bought.await
}

async fn ship(job: Job<Ship>, ctx: Context) -> Handled {
    let order = job.order;
    ctx.on_complete(move |tx| Ok(tx.open_table(SHIPPED)?.insert(order, "a kettle").map(drop)?));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let dir = tempfile::tempdir()?;
    let pond = Millpond::open(dir.path().join("shop.redb"))?;
    pond.transaction(|tx| Ok(tx.open_table(STOCK)?.insert("kettle", 1).map(drop)?)).await?;

    buy(&pond, 7).await?;
    let refused = buy(&pond, 8).await.unwrap_err();
    assert!(refused.aborted::<SoldOut>().is_ok());
    assert_eq!(pond.queue("orders")?.counts().pending, 1); // no job for order 8

    pond.worker("orders").handle(ship).start()?;
    drain(&pond).await;
    let shipped = pond.begin_read()?.open_table(SHIPPED)?;
    assert!(shipped.get(7)?.is_some() && shipped.get(8)?.is_none());

    println!("order 7 was shipped, and order 8 left neither a row nor a job");
    pond.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
