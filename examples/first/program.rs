use std::time::Duration;

use millpond::{Job, Kind, Millpond, Rate};
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

const USERS: TableDefinition<u64, &str> = TableDefinition::new("users");

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "welcome", queue = "emails")]
struct Welcome {
    email: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pond = Millpond::open("app.redb")?;

    pond.worker("emails")
        .rate_limit(Rate::per_minute(600).burst(50))
        .handle(|job: Job<Welcome>| async move {
            println!("welcome, {}", job.email); // an error would be retried
            Ok(())
        })
        .start()?;

    // A row and a job in one commit: both are stored, or neither.
    pond.transaction(|tx| {
        tx.open_table(USERS)?.insert(7, "ada@example.org")?;
        tx.send(Welcome { email: "ada@example.org".into() })?;
        Ok(())
    })
    .await?;

    println!("press Ctrl-C to stop");
    tokio::signal::ctrl_c().await?;
    pond.shutdown(Duration::from_secs(10)).await?; // for the handlers that run
    Ok(())
}
