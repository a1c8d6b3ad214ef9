//! `millpond pause` and `millpond resume`.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use millpond::dashboard::api::Action;

use super::{act, verb};
use crate::Result;
use crate::at::At;

pub fn pause() -> Command {
    with_what(verb("pause", "Lets no job start: of a queue, a group, a kind, a schedule, or at all"))
}

pub fn resume() -> Command {
    with_what(verb("resume", "Ends a pause; a group that a dead letter holds is released"))
}

fn with_what(command: Command) -> Command {
    let of_queue = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).requires("queue").help(help)
    };
    command
        .arg(Arg::new("queue").value_name("QUEUE").help("The queue"))
        .arg(of_queue("group", "GROUP", "Only this group of the queue").conflicts_with("kind"))
        .arg(of_queue("kind", "KIND", "Only this kind in the queue"))
        .arg(Arg::new("schedule").long("schedule").value_name("NAME").help("The schedule"))
        .arg(Arg::new("all").long("all").action(ArgAction::SetTrue).help("All queues"))
        .group(ArgGroup::new("what").args(["queue", "schedule", "all"]).required(true))
}

pub async fn run(name: &str, matches: &ArgMatches) -> Result<ExitCode> {
    let action = action(name == "pause", matches);
    let at = At::open(matches).await?;
    act(matches, at, vec![action]).await
}

fn action(is_pause: bool, matches: &ArgMatches) -> Action {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    if let Some(name) = text("schedule") {
        return if is_pause { Action::PauseSchedule { name } } else { Action::ResumeSchedule { name } };
    }
    let Some(queue) = text("queue") else { return if is_pause { Action::PauseAll } else { Action::ResumeAll } };
    match (text("group"), text("kind"), is_pause) {
        (Some(group), _, true) => Action::PauseGroup { queue, group },
        (Some(group), _, false) => Action::ResumeGroup { queue, group },
        (_, Some(kind), true) => Action::PauseKind { queue, kind },
        (_, Some(kind), false) => Action::ResumeKind { queue, kind },
        (None, None, true) => Action::PauseQueue { queue },
        (None, None, false) => Action::ResumeQueue { queue },
    }
}
