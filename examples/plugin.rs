//! Runs a plugin on one payload, as a worker of an application does, and says what became of the job.
//!
//! ```text
//! cargo run --release --features wasm --example plugin -- shout.wasm '"hello"'
//! ```

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use millpond::{Keep, Millpond, NewJob, Plugin, QueueSettings, Retention, Retry, State};

const NAME: &str = "plugin";

/// Time between two looks at the job.
const LOOK_EVERY: Duration = Duration::from_millis(1);

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    let file = words.next().context("usage: plugin FILE.wasm [PAYLOAD]")?;
    let payload = words.next().unwrap_or_else(|| "null".to_owned());

    let dir = tempfile::tempdir()?;
    let pond = Millpond::open(dir.path().join("plugin.redb"))?;
    let begun = Instant::now();
    let worker = pond.worker(NAME).retry(Retry::none()).handle_wasm(NAME, Plugin::from_file(&file)?).start()?;
    let plugin = worker.plugin(NAME).context("the worker has just been given it")?;
    println!("{file}, version {}, compiled in {:.1?}", plugin.hash(), begun.elapsed());

    let keep_all = Retention::default().completed(Keep::FOREVER);
    pond.queue(NAME)?.configure(QueueSettings::default().retention(keep_all)).await?;
    let id = pond.enqueue(NAME, NewJob::raw(NAME, payload)).await?;
    let job = loop {
        let job = pond.job(id)?;
        if job.state.is_final() {
            break job;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    println!("job {id}: {:?}", job.state);
    for error in &job.errors {
        println!("  {:?}: {}", error.kind, error.message);
    }
    if let Some(reason) = job.reason.filter(|_| job.errors.is_empty()) {
        println!("  {reason}");
    }
    if let Some(result) = job.result {
        println!("  {}", String::from_utf8_lossy(&result));
    }
    pond.shutdown(Duration::ZERO).await?;
    Ok(if job.state == State::Completed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
