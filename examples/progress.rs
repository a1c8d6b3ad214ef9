//! An import reports its progress, fails half-way, and its log is there afterwards: `cargo run --example progress`.

use std::time::Duration;

use millpond::testing::{self, ManualClock};
use millpond::{BoxError, Context, Event, Handled, HasQueue, Job, Kind, Retry, State, printable};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Kind)]
#[kind(name = "import", queue = "imports")]
struct Import {
    files: Vec<String>,
}

async fn import(job: Job<Import>, ctx: Context) -> Handled {
    let total = job.files.len() as u64;
    for (done, file) in (0..).zip(&job.files) {
        ctx.progress(done, Some(total), format!("reading {file}"));
        if file == "c.csv" && job.attempt() == 1 {
            return Err(format!("{file} is not there yet").into());
        }
        ctx.log(format!("read {file}"));
    }
    ctx.progress(total, Some(total), "done");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let clock = ManualClock::new();
    let pond = testing::in_memory(&clock)?;
    let minute = Duration::from_secs(60);
    let mut events = pond.events_with_attempts(|_| true);
    pond.worker(Import::QUEUE).retry(Retry::fixed(minute).jitter(0.0)).handle(import).start()?;
    let id = pond.send(Import { files: ["a.csv", "b.csv", "c.csv"].map(str::to_owned).to_vec() }).await?;

    // The first attempt fails, and what it has reported was written with its end.
    testing::drain(&pond).await;
    let job = pond.job(id)?;
    assert_eq!((job.state, job.logs.len()), (State::Retrying, 1));
    assert_eq!(job.progress.as_ref().and_then(|progress| progress.fraction()), Some(2.0 / 3.0));
    for log in &job.logs {
        for line in &log.lines {
            println!("attempt {}, {}: {}", log.attempt, line.at, printable(&line.text));
        }
    }
    let lines: Vec<_> = job.logs[0].lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(lines, ["read a.csv", "read b.csv"]);

    // The second one completes. Plain completed jobs are not kept, but their events were published.
    clock.advance(minute);
    testing::drain(&pond).await;
    let mut told = Vec::new();
    while let Some(Ok(event)) = events.try_next() {
        match event {
            Event::Started { attempt, .. } => told.push(format!("attempt {attempt} started")),
            Event::Progress { progress, .. } => told.push(format!("{} of 3", progress.done)),
            Event::Retrying { error, .. } => told.push(format!("it failed: {error}")),
            Event::Completed { attempt, .. } => told.push(format!("attempt {attempt} completed")),
            _ => {}
        }
    }
    println!("{}", told.join("; "));
    // Reports that come in quick succession become one event, and the last one always does.
    let expected = [
        "attempt 1 started",
        "0 of 3",
        "2 of 3",
        "it failed: c.csv is not there yet",
        "attempt 2 started",
        "0 of 3",
        "3 of 3",
        "attempt 2 completed",
    ];
    assert_eq!(told, expected);
    Ok(())
}
