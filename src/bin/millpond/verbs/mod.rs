//! The commands that look at a queue and steer it, a file each.

mod action;
mod backup;
mod bench;
mod change;
mod compact;
mod consumer;
mod consumers;
mod dead;
mod enqueue;
mod events;
mod export;
mod filter;
mod flow;
mod flows;
mod generate;
mod import;
mod job;
mod jobs;
mod limits;
mod links;
mod pause;
mod quarantine;
mod queues;
mod record;
mod schedules;
mod stats;
mod stream;
mod streams;
mod top;
mod topics;
mod verify;
mod whole_queue;

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use millpond::dashboard::api::{Action, Done, Paging, Problem};

use crate::Result;
use crate::at::At;
use crate::exit::Exit;
use crate::output;

/// All of them, in the order in which the help lists them.
pub fn commands() -> Vec<Command> {
    vec![
        stats::command(),
        queues::command(),
        jobs::command(),
        job::command(),
        dead::command(),
        flows::command(),
        flow::command(),
        schedules::command(),
        topics::command(),
        streams::command(),
        stream::command(),
        consumers::command(),
        consumer::command(),
        links::command(),
        quarantine::command(),
        top::command(),
        events::command(),
        enqueue::command(),
        change::cancel(),
        change::retry(),
        change::run_now(),
        flow::signal(),
        pause::pause(),
        pause::resume(),
        limits::command(),
        whole_queue::drain(),
        whole_queue::rename(),
        whole_queue::remove(),
        action::command(),
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
        "flows" => flows::run(matches).await,
        "flow" => flow::run(matches).await,
        "signal" => flow::run_signal(matches).await,
        "schedules" => schedules::run(matches).await,
        "topics" => topics::run(matches).await,
        "streams" => streams::run(matches).await,
        "stream" => stream::run(matches).await,
        "consumers" => consumers::run(matches).await,
        "consumer" => consumer::run(matches).await,
        "links" => links::run(matches).await,
        "quarantine" => quarantine::run(matches).await,
        "top" => top::run(matches).await,
        "events" => events::run(matches).await,
        "enqueue" => enqueue::run(matches).await,
        "cancel" | "retry" | "run-now" => change::run(name, matches).await,
        "pause" | "resume" => pause::run(name, matches).await,
        "limits" => limits::run(matches).await,
        "drain" | "rename" | "remove" => whole_queue::run(name, matches).await,
        "act" => action::run(matches).await,
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

/// The value of a text argument; empty if it has none.
fn text(matches: &ArgMatches, name: &str) -> String {
    matches.get_one::<String>(name).cloned().unwrap_or_default()
}

fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Prints JSON")
}

/// All that a list has. `page` returns a page of it, and where the next page begins.
async fn all_pages<T>(
    page: impl AsyncFn(Paging) -> std::result::Result<(Vec<T>, Option<String>), Problem>,
) -> Result<Vec<T>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (some, next) = page(Paging { after, limit: Some(Paging::LIMIT_MAX) }).await?;
        all.extend(some);
        after = next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// Makes these changes one after another, and prints what was done. An error ends it, and so do problems that were found.
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
        None if all.iter().any(|done| !done.problems.is_empty()) => Ok(Exit::Unsound.into()),
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
