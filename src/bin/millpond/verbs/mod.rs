//! The commands that look at a queue and steer it, a file each.

mod backup;
mod bench;
mod change;
mod compact;
mod dead;
mod enqueue;
mod export;
mod filter;
mod generate;
mod import;
mod job;
mod jobs;
mod pause;
mod queues;
mod record;
mod schedules;
mod stats;
mod top;
mod verify;

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use millpond::dashboard::api::{Action, Done};

use crate::Result;
use crate::at::At;
use crate::output;

/// All of them, in the order in which the help lists them.
pub fn commands() -> Vec<Command> {
    vec![
        stats::command(),
        queues::command(),
        jobs::command(),
        job::command(),
        dead::command(),
        schedules::command(),
        top::command(),
        enqueue::command(),
        change::cancel(),
        change::retry(),
        change::run_now(),
        pause::pause(),
        pause::resume(),
        export::command(),
        import::command(),
        backup::command(),
        verify::command(),
        compact::command(),
        bench::command(),
        generate::completions(),
        generate::man(),
    ]
}

/// Runs the command of this name.
pub async fn run(name: &str, matches: &ArgMatches) -> Result<ExitCode> {
    match name {
        "stats" => stats::run(matches).await,
        "queues" => queues::run(matches).await,
        "jobs" => jobs::run(matches).await,
        "job" => job::run(matches).await,
        "dead" => dead::run(matches).await,
        "schedules" => schedules::run(matches).await,
        "top" => top::run(matches).await,
        "enqueue" => enqueue::run(matches).await,
        "cancel" | "retry" | "run-now" => change::run(name, matches).await,
        "pause" | "resume" => pause::run(name, matches).await,
        "export" => export::run(matches).await,
        "import" => import::run(matches).await,
        "backup" => backup::run(matches).await,
        "verify" => verify::run(matches).await,
        "compact" => compact::run(matches).await,
        "bench" => bench::run(matches).await,
        "completions" => generate::run_completions(matches),
        "man" => generate::run_man(matches),
        _ => unreachable!("clap knows the commands"),
    }
}

/// A command that looks at a queue or steers it.
fn verb(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).args(crate::at::args()).arg(json())
}

fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Prints JSON")
}

/// Makes these changes one after another, and prints what was done. An error ends it.
async fn act(matches: &ArgMatches, at: At, actions: Vec<Action>) -> Result<ExitCode> {
    let mut all = Vec::new();
    let mut refused = None;
    for action in actions {
        match at.source.act(action).await {
            Ok(done) => all.push(done),
            Err(problem) => {
                refused = Some(problem);
                break;
            }
        }
    }
    tell(matches, &all)?;
    at.close().await?;
    match refused {
        Some(problem) => Err(problem.into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn tell(matches: &ArgMatches, all: &[Done]) -> Result<()> {
    if matches.get_flag("json") {
        return match all {
            [one] => output::json(one),
            all => output::json(&all),
        };
    }
    all.iter().try_for_each(|done| output::line(&millpond::printable(&done.message)))
}
