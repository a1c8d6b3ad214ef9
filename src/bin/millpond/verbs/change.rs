//! `millpond cancel`, `millpond retry` and `millpond run-now`: by ids, or all jobs that match.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use millpond::dashboard::api::{Action, JobQuery};

use super::{act, filter, text, verb};
use crate::Result;
use crate::ask::{confirm, yes};
use crate::at::At;
use crate::exit::{Exit, Failed};
use crate::output::count;

pub fn cancel() -> Command {
    with_jobs(verb("cancel", "Cancels jobs; the handlers of those that run are asked to stop"))
        .arg(Arg::new("reason").long("reason").value_name("TEXT").default_value("").help("Why"))
        .arg(yes())
}

pub fn retry() -> Command {
    with_jobs(verb("retry", "Gives dead letters new attempts, and makes failed jobs due now"))
}

pub fn run_now() -> Command {
    with_jobs(verb("run-now", "Makes jobs due now that are due later, or runs a schedule now"))
        .arg(Arg::new("schedule").long("schedule").value_name("NAME").conflicts_with("ids").help("The schedule"))
}

fn with_jobs(command: Command) -> Command {
    command
        .arg(Arg::new("ids").value_name("ID").action(ArgAction::Append).num_args(0..).help("The ids of the jobs"))
        .args(filter::args())
        .arg(Arg::new("all").long("all").action(ArgAction::SetTrue).help("All jobs, if nothing else says which"))
}

pub async fn run(name: &str, matches: &ArgMatches) -> Result<ExitCode> {
    let query = filter::query(matches);
    let ids = ids(matches);
    let schedule = (name == "run-now").then(|| matches.get_one::<String>("schedule").cloned()).flatten();
    if schedule.is_none() {
        check(matches, &ids, &query)?;
    }
    let at = At::open(matches).await?;
    let actions = match (schedule, name) {
        (Some(name), _) => vec![Action::RunSchedule { name }],
        (None, "cancel") => cancels(matches, &at, ids, query).await?,
        (None, "retry") => retries(&at, ids, query).await?,
        (None, _) if ids.is_empty() => vec![Action::RunJobsNow { jobs: query }],
        (None, _) => ids.into_iter().map(|id| Action::RunJobNow { id }).collect(),
    };
    act(matches, at, actions).await
}

pub fn ids(matches: &ArgMatches) -> Vec<String> {
    matches.get_many::<String>("ids").into_iter().flatten().cloned().collect()
}

/// It must be said which jobs are meant: a command without arguments changes nothing.
pub fn check(matches: &ArgMatches, ids: &[String], query: &JobQuery) -> Result<()> {
    let is_all = matches.get_flag("all");
    let help = match (ids.is_empty(), *query == JobQuery::default()) {
        (true, true) if !is_all => "say which jobs: their ids, arguments such as `--queue`, or `--all`",
        (false, false) => "give ids, or arguments such as `--queue`, not both",
        _ => return Ok(()),
    };
    Err(Failed::new(Exit::Usage, help).into())
}

async fn cancels(matches: &ArgMatches, at: &At, ids: Vec<String>, query: JobQuery) -> Result<Vec<Action>> {
    let reason = text(matches, "reason");
    if !ids.is_empty() {
        let what = if let [id] = &ids[..] { format!("cancel job {id}") } else { format!("cancel {} jobs", ids.len()) };
        confirm(matches, &what)?;
        return Ok(ids.into_iter().map(|id| Action::CancelJob { id, reason: reason.clone() }).collect());
    }
    if !matches.get_flag("yes") {
        let jobs = at.source.count(query.clone()).await?;
        confirm(matches, &format!("cancel those of {} {} that have not ended", count(jobs), filter::words(&query)))?;
    }
    Ok(vec![Action::CancelJobs { jobs: query, reason }])
}

async fn retries(at: &At, ids: Vec<String>, query: JobQuery) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    for id in ids {
        let state = at.source.job(&id).await?.row.state;
        let is_dead = state == "dead";
        actions.push(if is_dead { Action::RedriveJob { id } } else { Action::RunJobNow { id } });
    }
    if !actions.is_empty() {
        return Ok(actions);
    }
    let of_state = |state: &str| JobQuery { state: Some(state.to_owned()), ..query.clone() };
    let redrive = || Action::RedriveJobs { jobs: query.clone(), error_group: None };
    let run_now = || Action::RunJobsNow { jobs: of_state("retrying") };
    match query.state.as_deref() {
        None => Ok(vec![redrive(), run_now()]),
        Some("dead") => Ok(vec![redrive()]),
        Some("retrying") => Ok(vec![run_now()]),
        Some(other) => {
            let text = format!("{other} jobs have not failed: only dead and retrying ones can be retried");
            Err(Failed::new(Exit::Usage, text).into())
        }
    }
}
