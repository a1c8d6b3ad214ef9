//! `millpond quarantine`: the rows that could not be read; restore or purge them.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use millpond::dashboard::api::{Action, Paging, QuarantinedRow};

use super::{act, verb};
use crate::Result;
use crate::ask::{confirm, yes};
use crate::at::At;
use crate::exit::{Exit, Failed};
use crate::output::{self, Fields, Table, cut};
use crate::units::size;

pub fn command() -> Command {
    Command::new("quarantine")
        .about("The rows that could not be read: list, show, restore, purge")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(verb("list", "Lists the rows"))
        .subcommand(verb("show", "Shows a row").arg(number()))
        .subcommand(
            verb("restore", "Reads rows again, and puts those back that can be read: jobs that run")
                .alias("lift")
                .arg(numbers()),
        )
        .subcommand(verb("purge", "Removes rows for good").arg(numbers()).arg(yes()))
}

fn number() -> Arg {
    Arg::new("number")
        .value_name("NUMBER")
        .required(true)
        .value_parser(value_parser!(u64))
        .help("The number of the row")
}

fn numbers() -> Arg {
    number().action(ArgAction::Append).num_args(1..).help("The numbers of the rows")
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    match matches.subcommand() {
        Some(("list", matches)) => list(matches).await,
        Some(("show", matches)) => show(matches).await,
        Some(("restore", matches)) => {
            let rows = wanted(matches).map(|number| Action::RestoreRow { number }).collect();
            act(matches, At::open(matches).await?, rows).await
        }
        Some(("purge", matches)) => {
            let rows: Vec<_> = wanted(matches).map(|number| Action::PurgeRow { number }).collect();
            let what = if rows.len() == 1 { "1 row".to_owned() } else { format!("{} rows", rows.len()) };
            let at = At::open(matches).await?;
            confirm(matches, &format!("purge {what} of the quarantine"))?;
            act(matches, at, rows).await
        }
        _ => unreachable!("a subcommand is required"),
    }
}

fn wanted(matches: &ArgMatches) -> impl Iterator<Item = u64> {
    matches.get_many::<u64>("number").into_iter().flatten().copied()
}

async fn list(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = at.source.quarantine(Paging { after, limit: Some(Paging::LIMIT_MAX) }).await?;
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    match matches.get_flag("json") {
        true => output::json(&rows)?,
        false => table(&rows).print("the quarantine is empty")?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[QuarantinedRow]) -> Table {
    let mut table = Table::new(&[">row", "table", "queue", "job", ">size", "why"]);
    for row in rows {
        table.row([
            row.number.to_string(),
            row.table.clone(),
            row.queue.clone().unwrap_or_default(),
            row.job.clone().unwrap_or_default(),
            size(row.bytes),
            cut(&row.why, 100),
        ]);
    }
    table
}

async fn show(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let number = wanted(matches).next().unwrap_or_default();
    let before = Paging { after: Some(number.saturating_sub(1).to_string()), limit: Some(1) };
    let found = at.source.quarantine(before).await?.rows.into_iter().find(|row| row.number == number);
    let missing = || Failed::new(Exit::NotFound, format!("there is no row {number} in the quarantine"));
    let row = found.ok_or_else(missing)?;
    match matches.get_flag("json") {
        true => output::json(&row)?,
        false => Fields::default()
            .add("row", row.number.to_string())
            .add("table", row.table)
            .maybe("queue", row.queue)
            .maybe("job", row.job)
            .add("size", size(row.bytes))
            .add("why", row.why)
            .print()?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}
