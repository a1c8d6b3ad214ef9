//! Prints how a job ended, and what it logged, wrote and enqueued.

use std::time::Duration;

use millpond::{Entry, JobInfo, PluginHandle, State, printable};
use tracing::Level;

use super::ended::Ended;
use super::timings::Timings;
use crate::Result;
use crate::shown::shown;
use crate::units::size;

/// The longest text that is printed, in bytes.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// The most follow-up jobs, and the most keys, that are listed.
const LISTED_MAX: usize = 20;

/// Prints how the attempt ended. If it failed, the job can still have attempts left.
pub fn outcome(job: &JobInfo, ended: &Ended) {
    let failed = job.errors.last().map(|error| format!("{:?}: {}", error.kind, error.message));
    let took = ended.took.map_or(String::new(), |took| format!(" in {took:.1?}"));
    match (job.state, failed, &job.reason) {
        (State::Pending, ..) if ended.rate_limited => {
            let delay = ended.delay.unwrap_or_default();
            println!("job {}: rate limited for {delay:?}, without using up an attempt", job.id);
        }
        (State::Completed, ..) => println!("job {}: completed{took}", job.id),
        (State::Retrying | State::Dead, Some(failed), _) => {
            let delay =
                ended.delay.map_or(String::new(), |delay| format!(" (its queue would try it again in {delay:?})"));
            println!("job {}: failed{delay}\n  {}", job.id, shown(&failed));
        }
        (State::Dead, _, Some(reason)) => println!("job {}: dead letter\n  {}", job.id, shown(reason)),
        (State::Cancelled, _, Some(reason)) => println!("job {}: cancelled\n  {}", job.id, shown(reason)),
        (State::Scheduled, ..) => {
            let how = match &ended.awaits {
                Some(signal) => format!("waits for the signal {signal:?}"),
                None => format!("put off by {:?}", ended.delay.unwrap_or_default()),
            };
            println!("job {}: {how}, without using up an attempt", job.id);
        }
        (state, ..) => println!("job {}: {state:?}", job.id),
    }
    if let Some(result) = &job.result {
        println!("  result: {}", value(result));
    }
}

/// Prints the log lines.
pub fn log(lines: &[(Level, String)]) {
    for (level, line) in lines {
        println!("  log: {level} {}", shown(&line[..line.floor_char_boundary(TEXT_BYTES_MAX)]));
    }
}

/// Prints the follow-up jobs.
pub fn follow_ups(jobs: &[JobInfo]) {
    for job in jobs.iter().take(LISTED_MAX) {
        println!("  enqueued: job {} of kind {} into {}: {}", job.id, job.kind, job.queue, value(&job.payload.bytes));
    }
    if jobs.len() > LISTED_MAX {
        println!("  enqueued: {} more", jobs.len() - LISTED_MAX);
    }
}

/// Prints entries that were appended, or messages that were published, to `name`.
pub fn sent(how: &str, name: &str, entries: &[Entry]) {
    for Entry { kind, key, payload, .. } in entries.iter().take(LISTED_MAX) {
        let key = key.as_deref().map_or(String::new(), |key| format!(" with the key {:?}", printable(key)));
        println!("  {how}: {kind} to {name}{key}: {}", value(&payload.bytes));
    }
    if entries.len() > LISTED_MAX {
        println!("  {how}: {} more to {name}", entries.len() - LISTED_MAX);
    }
}

/// Prints the plugin's state.
pub fn state(plugin: &PluginHandle) -> Result<()> {
    let keys = plugin.state_keys(None)?;
    for key in keys.iter().take(LISTED_MAX) {
        let value = plugin.state(key)?.map_or("nothing".to_owned(), |value| kept(&value));
        println!("  state: {} = {value}", printable(key));
    }
    if keys.len() > LISTED_MAX {
        println!("  state: {} more keys", keys.len() - LISTED_MAX);
    }
    Ok(())
}

/// Prints how long attempts took. The time includes making the instance, and excludes the queue.
pub fn timings(took: Vec<Duration>, reuse: u32) {
    let jobs = took.len();
    let instances =
        if reuse > 1 { format!("instances used up to {reuse} times") } else { "a fresh instance each".into() };
    if let Some(Timings { min, p50, p99 }) = Timings::of(took) {
        println!("{jobs} jobs, {instances}: min {min:.1?}, p50 {p50:.1?}, p99 {p99:.1?}");
    }
}

/// A value of the plugin's state. 8 bytes that are not text are a counter.
fn kept(bytes: &[u8]) -> String {
    match (<[u8; 8]>::try_from(bytes), text(bytes)) {
        (Ok(counter), None) => i64::from_le_bytes(counter).to_string(),
        _ => value(bytes),
    }
}

fn value(bytes: &[u8]) -> String {
    match text(bytes) {
        Some(text) if text.len() <= TEXT_BYTES_MAX => text.to_owned(),
        _ => size(bytes.len() as u64),
    }
}

/// The bytes as text, if they are UTF-8 without control characters. They come from the plugin and are not trusted.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| shown(text) == *text)
}
