//! `millpond drain`, `millpond rename` and `millpond remove`: a queue as a whole.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use millpond::dashboard::api::Action;

use super::{act, text, verb};
use crate::Result;
use crate::ask::{confirm, yes};
use crate::at::At;
use crate::output::count;

pub fn drain() -> Command {
    verb("drain", "Removes all jobs of a queue that wait").arg(queue()).arg(yes())
}

pub fn rename() -> Command {
    verb("rename", "Gives a queue another name; its schedules follow")
        .arg(queue())
        .arg(Arg::new("to").value_name("NAME").required(true).help("The other name"))
}

pub fn remove() -> Command {
    verb("remove", "Removes a queue with all its jobs and schedules").arg(queue()).arg(yes())
}

fn queue() -> Arg {
    Arg::new("queue").value_name("QUEUE").required(true).help("The queue")
}

pub async fn run(name: &str, matches: &ArgMatches) -> Result<ExitCode> {
    let (at, queue) = (At::open(matches).await?, text(matches, "queue"));
    let action = match name {
        "rename" => Action::RenameQueue { queue, to: text(matches, "to") },
        "drain" => {
            let counts = at.source.queue(&queue).await?.queue.counts;
            let waiting = count(counts.pending + counts.scheduled + counts.retrying);
            confirm(matches, &format!("remove all {waiting} waiting jobs of queue {queue}"))?;
            Action::DrainQueue { queue }
        }
        _ => {
            let counts = at.source.queue(&queue).await?.queue.counts;
            let all = count(counts.unfinished() + counts.completed + counts.dead + counts.cancelled);
            confirm(matches, &format!("remove queue {queue} with all its {all} jobs"))?;
            Action::ObliterateQueue { queue }
        }
    };
    act(matches, at, vec![action]).await
}
