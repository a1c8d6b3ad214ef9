//! What became of a job, for the person at the terminal.

use std::time::Duration;

use millpond::{JobInfo, PluginHandle, State, printable};
use tracing::Level;

use super::run::Ended;
use super::timings::Timings;
use crate::Result;
use crate::shown::shown;
use crate::units::size;

/// Longest text that is shown, in bytes.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// Follow-up jobs and keys that are listed.
const LISTED_MAX: usize = 20;

/// How the attempt ended. Its job may still be there, to be tried again.
pub fn outcome(job: &JobInfo, ended: &Ended) {
    let failed = job.errors.last().map(|error| format!("{:?}: {}", error.kind, error.message));
    let took = ended.took.map_or(String::new(), |took| format!(" in {took:.1?}"));
    match (job.state, failed, &job.reason) {
        (State::Completed, ..) => println!("job {}: completed{took}", job.id),
        (State::Retrying | State::Dead, Some(failed), _) => {
            let delay =
                ended.delay.map_or(String::new(), |delay| format!(" (its queue would try it again in {delay:?})"));
            println!("job {}: failed{delay}\n  {}", job.id, shown(&failed));
        }
        (State::Dead | State::Cancelled, _, Some(reason)) => println!("job {}: given up\n  {}", job.id, shown(reason)),
        (State::Scheduled, ..) => {
            let delay = ended.delay.unwrap_or_default();
            println!("job {}: put off by {delay:?}, without using up an attempt", job.id);
        }
        (state, ..) => println!("job {}: {state:?}", job.id),
    }
    if let Some(result) = &job.result {
        println!("  result: {}", value(result));
    }
}

pub fn log(lines: &[(Level, String)]) {
    for (level, line) in lines {
        println!("  log: {level} {}", shown(&line[..line.floor_char_boundary(TEXT_BYTES_MAX)]));
    }
}

/// Jobs that came out of it.
pub fn follow_ups(jobs: &[JobInfo]) {
    for job in jobs.iter().take(LISTED_MAX) {
        println!("  enqueued: job {} of kind {} into {}: {}", job.id, job.kind, job.queue, value(&job.payload.bytes));
    }
    if jobs.len() > LISTED_MAX {
        println!("  enqueued: {} more", jobs.len() - LISTED_MAX);
    }
}

/// What it keeps now.
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

/// How long attempts took, by the queue's own measure: with an instance for it, without the queue.
pub fn timings(took: Vec<Duration>, reuse: u32) {
    let jobs = took.len();
    let instances =
        if reuse > 1 { format!("instances used up to {reuse} times") } else { "a fresh instance each".into() };
    if let Some(Timings { min, p50, p99 }) = Timings::of(took) {
        println!("{jobs} jobs, {instances}: min {min:.1?}, p50 {p50:.1?}, p99 {p99:.1?}");
    }
}

/// A counter is 8 bytes that are no text.
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

/// What can be shown as it is: these bytes are a stranger's.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| shown(text) == *text)
}
