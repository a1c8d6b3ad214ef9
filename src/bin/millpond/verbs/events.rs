//! `millpond events`: what happens, as it happens.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use futures_util::StreamExt;
use millpond::dashboard::api::LiveEvent;
use millpond::printable;

use super::verb;
use crate::Result;
use crate::at::At;
use crate::output;
use crate::shown::shown_json;

/// The time between two connections to a process that ends them now and then.
const CONNECT_AGAIN_AFTER: Duration = Duration::from_millis(250);

pub fn command() -> Command {
    verb("events", "Prints what happens, as it happens, a line each")
        .arg(Arg::new("queue").long("queue").short('q').value_name("QUEUE").help("Only in this queue"))
        .arg(
            Arg::new("event")
                .long("event")
                .value_name("EVENT")
                .action(ArgAction::Append)
                .help("Only such events: dead, completed, paused, …; can be repeated"),
        )
        .arg(
            Arg::new("times")
                .long("times")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("Ends after so many events"),
        )
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let mut left = matches.get_one::<u64>("times").copied().unwrap_or(u64::MAX);
    while left > 0 {
        // It fails where nobody answers: then there is nothing more to tell.
        at.source.revision().await?;
        let mut events = at.source.events();
        while left > 0
            && let Some(event) = events.next().await
        {
            if is_wanted(matches, &event) {
                print(matches, &event)?;
                left -= 1;
            }
        }
        if left > 0 {
            tokio::time::sleep(CONNECT_AGAIN_AFTER).await;
        }
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn is_wanted(matches: &ArgMatches, event: &LiveEvent) -> bool {
    let queue = matches.get_one::<String>("queue");
    let mut kinds = matches.get_many::<String>("event").into_iter().flatten().peekable();
    queue.is_none_or(|queue| event.queue.as_ref() == Some(queue))
        && (kinds.peek().is_none() || kinds.any(|kind| *kind == event.kind))
}

fn print(matches: &ArgMatches, event: &LiveEvent) -> Result<()> {
    if matches.get_flag("json") {
        return output::line(&shown_json(&serde_json::to_string(event)?));
    }
    let LiveEvent { at, kind, queue, job, detail } = event;
    let job = job.as_ref().map(|job| format!("job {job}"));
    let words = [Some(at.to_string()), Some(kind.clone()), queue.clone(), job, Some(detail.clone())];
    let words: Vec<_> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
    output::line(&printable(&words.join("  ")))
}
