use std::time::Duration;

use millpond::{Data, Job, Kind, Millpond, Rate, Retry};
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

const USERS: TableDefinition<u64, &str> = TableDefinition::new("users");

/// A kind of job is a type that serde can write and read.
#[derive(Serialize, Deserialize)]
struct Welcome {
    email: String,
}

impl Kind for Welcome {
    const KIND: &'static str = "welcome";
}

/// Stands in for a mail client.
struct Mailer;

impl Mailer {
    async fn send(&self, email: &str) -> std::io::Result<()> {
        println!("welcome, {email}");
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pond = Millpond::open("app.redb")?;

    pond.worker("emails")
        .concurrency(5)
        .rate_limit(Rate::per_minute(600).burst(50))
        .retry(Retry::exponential(Duration::from_secs(2)).max_attempts(5))
        .data(Mailer)
        .handle(|job: Job<Welcome>, mailer: Data<Mailer>| async move {
            mailer.send(&job.email).await?; // an error is retried
            Ok(())
        })
        .start()?;

    // A row and a job in one commit: both are stored, or neither.
    pond.transaction(|tx| {
        tx.open_table(USERS)?.insert(7, "ada@example.org")?;
        tx.enqueue("emails", Welcome { email: "ada@example.org".into() })?;
        Ok(())
    })
    .await?;

    println!("press Ctrl-C to stop");
    tokio::signal::ctrl_c().await?;

    // Running handlers get ten seconds to finish.
    pond.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
