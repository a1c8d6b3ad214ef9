//! `millpond stats`: everything at a glance.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use millpond::dashboard::api::{Overview, Queue};

use super::verb;
use crate::Result;
use crate::at::At;
use crate::output::{self, Fields, count, moment, seconds};
use crate::units::size;

pub fn command() -> Command {
    verb("stats", "Prints everything at a glance: jobs by state, totals, the file, the process")
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let overview = at.source.overview().await?;
    match matches.get_flag("json") {
        true => output::json(&overview)?,
        false => fields(&overview).print()?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn fields(overview: &Overview) -> Fields {
    let sum = |of: fn(&Queue) -> u64| count(overview.queues.iter().map(of).sum());
    let mut fields = Fields::default();
    fields
        .add("state", state(overview))
        .maybe("file", overview.storage.path.clone())
        .maybe("file size", overview.storage.file_bytes.map(size))
        .maybe("in use", overview.storage.live_bytes.map(size))
        .add("queues", count(overview.queues.len() as u64))
        .add("schedules", count(overview.schedules))
        .add("pending", sum(|queue| queue.counts.pending))
        .add("running", sum(|queue| queue.counts.running))
        .add("scheduled", sum(|queue| queue.counts.scheduled))
        .add("retrying", sum(|queue| queue.counts.retrying))
        .add("blocked", sum(|queue| queue.counts.blocked))
        .add("dead", sum(|queue| queue.counts.dead))
        .add("completed", sum(|queue| queue.counts.completed) + " kept")
        .add("cancelled", sum(|queue| queue.counts.cancelled) + " kept")
        .add("enqueued", sum(|queue| queue.counts.enqueued_total) + " ever")
        .add("quarantine", format!("{} rows", count(overview.quarantined)))
        .add("commits", format!("{} since the file was opened", count(overview.storage.commits)))
        .maybe("last commit", overview.storage.latest_commit_seconds.map(seconds))
        .add("process", overview.process.id.to_string())
        .maybe("opened", overview.process.opened_at.map(|at| moment(at, overview.now)));
    for limit in &overview.limits {
        fields.add("limit", format!("{}: {} of {} units in use", limit.name, limit.used, limit.units));
    }
    fields
}

fn state(overview: &Overview) -> String {
    match (&overview.degraded, overview.is_paused) {
        (Some(reason), _) => format!("degraded: {reason}"),
        (None, true) => "all queues are paused".to_owned(),
        (None, false) => "in order".to_owned(),
    }
}
