//! `millpond schedules`: the schedules, or one of them with its next runs.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use millpond::dashboard::api::{Schedule, Time};

use super::{all_pages, verb};
use crate::Result;
use crate::at::At;
use crate::output::{self, Fields, Table, age, count, moment, seconds};

pub fn command() -> Command {
    verb("schedules", "Lists the schedules, or shows one with the times of its next runs")
        .arg(Arg::new("name").value_name("SCHEDULE").help("Only this schedule"))
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let is_json = matches.get_flag("json");
    match matches.get_one::<String>("name") {
        Some(name) => {
            let schedule = at.source.schedule(name).await?;
            match is_json {
                true => output::json(&schedule)?,
                false => show(&schedule)?,
            }
        }
        None => {
            let all = collect(&at).await?;
            match is_json {
                true => output::json(&all)?,
                false => table(&all).print("there are no schedules")?,
            }
        }
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

async fn collect(at: &At) -> Result<Vec<Schedule>> {
    let page = async |page| at.source.schedules(page).await.map(|found| (found.schedules, found.next));
    all_pages(page).await
}

fn table(schedules: &[Schedule]) -> Table {
    let now = Time::now();
    let mut table = Table::new(&["schedule", "when", "queue", "kind", ">runs", "last", "next", "state"]);
    for schedule in schedules {
        let held = schedule.held.as_ref().map(|why| format!("held: {why}"));
        table.row([
            schedule.name.clone(),
            schedule.when.clone(),
            schedule.queue.clone(),
            schedule.kind.clone(),
            count(schedule.runs),
            schedule.last.map(|at| age(at, now)).unwrap_or_default(),
            schedule.next.map(|at| age(at, now)).unwrap_or_default(),
            if schedule.is_paused { "paused".to_owned() } else { held.unwrap_or_default() },
        ]);
    }
    table
}

fn show(schedule: &Schedule) -> Result<()> {
    let now = Time::now();
    let mut fields = Fields::default();
    fields
        .add("schedule", &*schedule.name)
        .add("when", &*schedule.when)
        .add("jobs", format!("kind {}, in queue {}", schedule.kind, schedule.queue))
        .add("state", if schedule.is_paused { "paused" } else { "active" })
        .maybe("held", schedule.held.clone())
        .add("missed runs", schedule.misfire.to_string())
        .add("overlap", schedule.overlap.to_string())
        .add("jitter", seconds(schedule.jitter_seconds))
        .add("runs", count(schedule.runs))
        .maybe("at most", schedule.at_most.map(count))
        .maybe("last run", schedule.last.map(|at| moment(at, now)))
        .maybe("last job", schedule.last_job.clone());
    for at in &schedule.upcoming {
        fields.add("next run", moment(*at, now));
    }
    fields.add("payload", &*schedule.payload.text);
    fields.print()
}
