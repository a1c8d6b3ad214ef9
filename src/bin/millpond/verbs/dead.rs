//! `millpond dead`: the dead letters by their errors; redrive or purge them.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use millpond::dashboard::api::{Action, DeadSummary, JobQuery, Time};

use super::change::{check, ids};
use super::{act, filter, job, verb};
use crate::Result;
use crate::ask::{confirm, yes};
use crate::at::At;
use crate::output::{self, Table, age, count, cut};

pub fn command() -> Command {
    let list = verb("list", "Lists the dead letters by their errors; numbers and ids in them are `#`")
        .arg(Arg::new("queue").long("queue").short('q').value_name("QUEUE").help("In this queue"));
    Command::new("dead")
        .about("The jobs that have failed for good: list, show, redrive, purge")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(list)
        .subcommand(verb("show", "Shows a dead letter").arg(job::id()))
        .subcommand(with_jobs(verb("redrive", "Gives dead letters new attempts")))
        .subcommand(with_jobs(verb("purge", "Removes dead letters for good")).arg(yes()))
}

fn with_jobs(command: Command) -> Command {
    command
        .arg(
            Arg::new("ids")
                .value_name("ID")
                .action(ArgAction::Append)
                .num_args(0..)
                .help("The ids of the dead letters"),
        )
        .args(filter::args().into_iter().filter(|arg| arg.get_id() != "state"))
        .arg(
            Arg::new("error-group")
                .long("error-group")
                .value_name("ERROR")
                .conflicts_with("ids")
                .help("With this error as `dead list` shows it: 'order # was refused'"),
        )
        .arg(Arg::new("all").long("all").action(ArgAction::SetTrue).help("All, if nothing else says which"))
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    match matches.subcommand() {
        Some(("list", matches)) => list(matches).await,
        Some(("show", matches)) => job::run(matches).await,
        Some(("redrive", matches)) => change(matches, true).await,
        Some(("purge", matches)) => change(matches, false).await,
        _ => unreachable!("a subcommand is required"),
    }
}

async fn list(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let summary = at.source.dead(matches.get_one::<String>("queue").map(String::as_str)).await?;
    match matches.get_flag("json") {
        true => output::json(&summary)?,
        false => show(&summary)?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn show(summary: &DeadSummary) -> Result<()> {
    let now = Time::now();
    let mut table = Table::new(&[">dead", "first", "last", "queues", "job", "error"]);
    for group in &summary.groups {
        table.row([
            count(group.count),
            age(group.first_seen, now),
            age(group.last_seen, now),
            group.queues.join(", "),
            group.job.clone(),
            cut(&group.error, 200),
        ]);
    }
    table.print("there are no dead letters")?;
    if summary.is_partial() {
        output::line(&format!("{} of {} dead letters were read", count(summary.read), count(summary.total)))?;
    }
    Ok(())
}

async fn change(matches: &ArgMatches, is_redrive: bool) -> Result<ExitCode> {
    let error_group = matches.get_one::<String>("error-group").cloned();
    let (ids, jobs) = (ids(matches), filter::query(matches));
    if error_group.is_none() {
        check(matches, &ids, &jobs)?;
    }
    let at = At::open(matches).await?;
    let actions = match (ids.is_empty(), is_redrive) {
        (false, true) => ids.into_iter().map(|id| Action::RedriveJob { id }).collect(),
        (true, true) => vec![Action::RedriveJobs { jobs, error_group }],
        (false, false) => {
            confirm(matches, &format!("purge {} dead letters", ids.len()))?;
            ids.into_iter().map(|id| Action::PurgeJob { id }).collect()
        }
        (true, false) => {
            confirm_purge(matches, &at, &jobs, error_group.as_deref()).await?;
            vec![Action::PurgeJobs { jobs, error_group }]
        }
    };
    act(matches, at, actions).await
}

async fn confirm_purge(matches: &ArgMatches, at: &At, jobs: &JobQuery, group: Option<&str>) -> Result<()> {
    if matches.get_flag("yes") {
        return Ok(());
    }
    let dead = JobQuery { state: Some("dead".to_owned()), ..jobs.clone() };
    let what = match group {
        Some(group) => {
            let summary = at.source.dead(jobs.queue.as_deref()).await?;
            let at_least = if summary.is_partial() { "at least " } else { "" };
            format!("purge {at_least}{} dead letters with the error {group:?}", count(summary.count_of(group)))
        }
        None => format!("purge {} {}", count(at.source.count(dead.clone()).await?), filter::words(&dead)),
    };
    confirm(matches, &what)
}
