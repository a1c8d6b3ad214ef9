//! A nightly report in the time zone of its readers, and a job every ten minutes. The clock is moved by hand, so that a
//! week takes a moment.
//!
//! ```text
//! cargo run --example schedules
//! ```

use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond::testing::{self, ManualClock};
use millpond::{Cron, Every, Job, Kind, Schedule, Scheduled};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Report {}

impl Kind for Report {
    const KIND: &'static str = "report";
}

#[derive(Serialize, Deserialize)]
struct Refresh {}

impl Kind for Refresh {
    const KIND: &'static str = "refresh";
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new(); // 2026-01-01 00:00 UTC
    let pond = testing::in_memory(&clock)?;

    let reports = Arc::new(Mutex::new(Vec::new()));
    let made = reports.clone();
    pond.worker("reports")
        .handle(move |job: Job<Report>| {
            let run = job.scheduled_for().expect("only the schedule enqueues reports").clone();
            println!("{}: the report of {}", run.schedule, run.at);
            made.lock().unwrap().push(run.at.to_string());
            async { Ok(()) }
        })
        .handle(|_: Job<Refresh>| async { Ok(()) })
        .start()?;

    // An application makes these calls at each start.
    let nightly = || -> Result<Schedule, millpond::Error> {
        let three = Cron::parse("0 3 * * *")?.zone("Europe/Berlin")?;
        Ok(Schedule::new(three, "reports", Report {}))
    };
    pond.schedule("nightly-report", nightly()?).await?;
    let often = Every::new(Duration::from_secs(600)).aligned();
    pond.schedule("refresh", Schedule::new(often, "reports", Refresh {})).await?;
    // The same definition again changes nothing.
    assert_eq!(pond.schedule("nightly-report", nightly()?).await?, Scheduled::Unchanged);

    for _ in 0..7 * 24 * 6 {
        clock.advance(Duration::from_secs(600));
        testing::drain(&pond).await;
    }
    let reports = reports.lock().unwrap().clone();
    assert_eq!(reports.len(), 7);
    assert_eq!(reports[0], "2026-01-01T02:00:00.000Z"); // 03:00 in Berlin
    assert_eq!(pond.schedules().get("refresh")?.runs, 7 * 24 * 6);
    println!("next: {}", pond.schedules().next("nightly-report", 1)?[0]);

    pond.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
