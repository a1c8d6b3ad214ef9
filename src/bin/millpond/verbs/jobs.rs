//! `millpond jobs`: the jobs that match.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use millpond::dashboard::api::{JobQuery, JobRow, Order, Ordering, Paging, Time};
use serde_json::json;

use super::{filter, verb};
use crate::Result;
use crate::at::At;
use crate::output::{self, Progress, Table, age, cut};

pub fn command() -> Command {
    verb("jobs", "Lists the jobs that match, or counts them")
        .args(filter::args())
        .arg(
            Arg::new("limit")
                .long("limit")
                .short('n')
                .value_name("JOBS")
                .value_parser(value_parser!(u64).range(1..=1_000_000))
                .default_value("50")
                .help("The most jobs that are listed"),
        )
        .arg(
            Arg::new("newest")
                .long("newest")
                .action(ArgAction::SetTrue)
                .conflicts_with("oldest")
                .help("Begins with the newest job, as lists of jobs that have ended do"),
        )
        .arg(
            Arg::new("oldest")
                .long("oldest")
                .action(ArgAction::SetTrue)
                .help("Begins with the oldest job, as all other lists do"),
        )
        .arg(Arg::new("count").long("count").action(ArgAction::SetTrue).help("Only prints how many there are"))
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let query = filter::query(matches);
    let is_json = matches.get_flag("json");
    if matches.get_flag("count") {
        let progress = Progress::of("counting", None);
        let count = at.source.count(query).await?;
        drop(progress);
        match is_json {
            true => output::json(&json!({ "count": count }))?,
            false => output::line(&count.to_string())?,
        }
    } else {
        let limit = matches.get_one::<u64>("limit").copied().unwrap_or(50) as usize;
        let (jobs, has_more) = collect(&at, &query, order(matches), limit).await?;
        match is_json {
            true => output::json(&json!({ "jobs": jobs, "has_more": has_more }))?,
            false => show(&jobs, has_more)?,
        }
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn order(matches: &ArgMatches) -> Ordering {
    let asked = [("newest", Order::Newest), ("oldest", Order::Oldest)];
    Ordering { order: asked.into_iter().find(|(name, _)| matches.get_flag(name)).map(|(_, order)| order) }
}

/// The first jobs that match, and whether there can be more.
pub async fn collect(at: &At, query: &JobQuery, ordering: Ordering, limit: usize) -> Result<(Vec<JobRow>, bool)> {
    let order = ordering.of_state(query.state.as_deref());
    let (mut jobs, mut after) = (Vec::new(), None);
    loop {
        let entries = (limit - jobs.len()).clamp(1, Paging::LIMIT_MAX);
        let page = at.source.jobs(query.clone(), order, Paging { after, limit: Some(entries) }).await?;
        jobs.extend(page.jobs);
        after = page.next;
        if after.is_none() || jobs.len() >= limit {
            return Ok((jobs, after.is_some()));
        }
    }
}

fn show(jobs: &[JobRow], has_more: bool) -> Result<()> {
    let now = Time::now();
    let mut table = Table::new(&[">id", "queue", "kind", "state", ">attempts", "enqueued", "due", "what"]);
    for job in jobs {
        let what = job.error.as_ref().unwrap_or(&job.preview);
        table.row([
            job.id.clone(),
            job.queue.clone(),
            job.kind.clone(),
            job.state.clone(),
            job.attempts.to_string(),
            age(job.enqueued_at, now),
            job.run_at.filter(|_| job.ended_at.is_none()).map(|at| age(at, now)).unwrap_or_default(),
            cut(what, 60),
        ]);
    }
    table.print("no job matches")?;
    if has_more {
        output::line("… and more: raise `--limit`, or name a queue, a state or a tag")?;
    }
    Ok(())
}
