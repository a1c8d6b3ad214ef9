//! An audit log: what happens to accounts is appended to a stream, in the commit of the account's own row. One consumer keeps the
//! balances; a second one is added later, and reads everything from the beginning; then the first one had a bug, and is replayed
//! into a new table.
//!
//! ```text
//! cargo run --example streams
//! ```

use std::time::Duration;

use millpond::testing::{self, ManualClock};
use millpond::{Context, Job, Kind, Millpond, NewJob, Retry, Start, StreamSettings, Worker};
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

/// The number of movements of each account, which the application itself keeps.
const ACCOUNTS: TableDefinition<&str, u64> = TableDefinition::new("accounts");

#[derive(Serialize, Deserialize)]
struct Moved {
    account: String,
    cents: i64,
}

impl Kind for Moved {
    const KIND: &'static str = "moved";
}

/// Moves money: the account's row and the entry are stored together, or not at all.
async fn move_money(pond: &Millpond, account: &'static str, cents: i64) -> Result<u64, millpond::Error> {
    pond.transaction(move |tx| {
        let mut accounts = tx.open_table(ACCOUNTS)?;
        let movements = accounts.get(account)?.map_or(0, |count| count.value());
        accounts.insert(account, movements + 1)?;
        let entry = NewJob::new(Moved { account: account.into(), cents });
        Ok(tx.append("audit", entry.group(account))?)
    })
    .await
}

/// A consumer that adds up what was moved, in a table of its own: a projection of the stream. `read` says what counts.
async fn balances(
    pond: &Millpond,
    name: &'static str,
    read: fn(i64) -> i64,
) -> Result<Worker, Box<dyn std::error::Error>> {
    let worker = pond
        .consumer("audit", name)
        .from(Start::Earliest)
        .retry(Retry::fixed(Duration::from_secs(1)))
        .handle(move |moved: Job<Moved>, ctx: Context| async move {
            let (account, cents) = (moved.account.clone(), read(moved.cents));
            // In the commit that moves the cursor: exactly once, whatever happens in between.
            ctx.on_complete(move |tx| {
                let mut table = tx.open_table(TableDefinition::<&str, i64>::new(name))?;
                let before = table.get(account.as_str())?.map_or(0, |cents| cents.value());
                table.insert(account.as_str(), before + cents)?;
                Ok(())
            });
            Ok(())
        })
        .start()
        .await?;
    Ok(worker)
}

fn balance(pond: &Millpond, table: &str, account: &str) -> Result<i64, Box<dyn std::error::Error>> {
    let table = pond.begin_read()?.open_table(TableDefinition::<&str, i64>::new(table))?;
    Ok(table.get(account)?.map_or(0, |cents| cents.value()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    let pond = testing::in_memory(&clock)?;
    let audit = pond.stream("audit")?;
    audit.configure(StreamSettings::default().max_age(Duration::from_secs(365 * 24 * 3600))).await?;

    // The bug: it forgets that money can leave an account.
    balances(&pond, "balances", i64::abs).await?;
    for _ in 0..10 {
        move_money(&pond, "ada", 100).await?;
        move_money(&pond, "bob", 50).await?;
        move_money(&pond, "ada", -30).await?;
    }
    testing::drain(&pond).await;
    println!("the stream has {} entries; ada has {} cents", audit.info()?.entries, balance(&pond, "balances", "ada")?);
    assert_eq!(balance(&pond, "balances", "ada")?, 1_300);

    // A consumer that is added later reads what was there before it.
    let count = pond
        .consumer("audit", "alerts")
        .handle(|moved: Job<Moved>| async move {
            if moved.cents < 0 {
                let offset = moved.entry().expect("it comes from the stream").offset;
                println!("entry {offset}: {} cents left the account of {}", -moved.cents, moved.account);
            }
            Ok(())
        })
        .start()
        .await?;
    testing::drain(&pond).await;
    assert_eq!(audit.consumer("alerts")?.info()?.behind, 0);
    count.stop().await?;

    // The mended consumer has another name, so it begins with the first entry and writes a new table.
    balances(&pond, "balances_2", |cents| cents).await?;
    testing::drain(&pond).await;
    println!("after the replay ada has {} cents", balance(&pond, "balances_2", "ada")?);
    assert_eq!(balance(&pond, "balances_2", "ada")?, 700);
    assert_eq!(balance(&pond, "balances_2", "bob")?, 500);
    for consumer in audit.consumers()? {
        println!("{}: next {}, {} behind, {} lost", consumer.name, consumer.next, consumer.behind, consumer.lost);
    }

    pond.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
