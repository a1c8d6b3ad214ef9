//! `millpond links`: the links of the process that has the file open.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use millpond::dashboard::api::{Link, LinkDirection, Time};

use super::verb;
use crate::Result;
use crate::at::At;
use crate::output::{self, Table, age, count};

/// What is said of a file that no process has open.
const NOT_RUNNING: &str = "links are known only to the process that runs them, and no process has this file open";

pub fn command() -> Command {
    verb("links", "Lists the links that move jobs between the queue's process and other machines")
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let all = at.source.links().await?;
    if at.pond.is_some() {
        eprintln!("{NOT_RUNNING}");
    }
    match matches.get_flag("json") {
        true => output::json(&all)?,
        false if at.pond.is_some() => {}
        false => show(&all)?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn show(links: &[Link]) -> Result<()> {
    table(links).print("the process has no links")?;
    for link in links.iter().filter(|link| link.state() == "down") {
        if let Some(error) = &link.last_error {
            output::line(&millpond::printable(&format!("{}: {error}", link.name)))?;
        }
    }
    Ok(())
}

fn table(links: &[Link]) -> Table {
    let now = Time::now();
    let names =
        ["link", "direction", "engine", "state", ">since", ">jobs", ">latest", ">lag", ">in doubt", "what went wrong"];
    let mut table = Table::new(&names);
    for link in links {
        table.row([
            link.name.clone(),
            direction(link.direction).to_owned(),
            link.engine.clone(),
            link.state().to_owned(),
            link.since.map(|at| age(at, now)).unwrap_or_default(),
            count(link.jobs),
            link.latest_at.map(|at| age(at, now)).unwrap_or_default(),
            link.lag.map_or_else(|| "?".to_owned(), count),
            count(link.in_doubt),
            troubles(link),
        ]);
    }
    table
}

fn direction(direction: LinkDirection) -> &'static str {
    match direction {
        LinkDirection::Forward => "forward",
        LinkDirection::Receive => "receive",
        LinkDirection::Take => "take",
        _ => "?",
    }
}

/// What has happened that seldom happens.
fn troubles(link: &Link) -> String {
    let counts = [
        ("engine went back", link.engine_went_back),
        ("file went back", link.file_went_back),
        ("lost batches", link.lost_batches),
        ("lost leases", link.lost_leases),
        ("unreadable", link.unreadable),
    ];
    let some = counts.into_iter().filter(|(_, times)| *times > 0);
    some.map(|(what, times)| format!("{what}: {times}")).collect::<Vec<_>>().join(", ")
}
