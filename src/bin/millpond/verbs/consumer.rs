//! `millpond consumer`: a consumer of a stream; move, pause, resume and remove it.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use millpond::dashboard::api::{Action, Consumer, Problem, Seek, Time};

use super::consumers::state;
use super::stream::stream;
use super::{act, text, verb};
use crate::Result;
use crate::ask::{confirm, yes};
use crate::at::At;
use crate::output::{self, Fields, count, moment};

pub fn command() -> Command {
    let with_name = |command: Command| command.arg(stream()).arg(consumer());
    with_name(verb("consumer", "Shows a consumer of a stream, or changes it"))
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .subcommand_value_name("CHANGE")
        .subcommand_help_heading("Changes")
        .after_help(
            "A consumer of a stream whose name is that of a change is shown by `millpond consumer -- STREAM CONSUMER`.",
        )
        .subcommand(
            with_name(verb(
                "seek",
                "Moves a consumer: backwards it handles entries again, forwards it passes over them",
            ))
            .arg(
                Arg::new("to")
                    .long("to")
                    .value_name("PLACE")
                    .required(true)
                    .value_parser(|text: &str| text.parse::<Seek>())
                    .help("`earliest`, `latest`, an offset, or the first entry from a time on: 2026-11-28T16:29"),
            ),
        )
        .subcommand(with_name(verb("pause", "Lets a consumer handle no entries and jobs")))
        .subcommand(with_name(verb("resume", "Ends the pause of a consumer")))
        .subcommand(
            with_name(verb("remove", "Removes a consumer that does not run, with its queue and its dead letters"))
                .arg(yes()),
        )
}

fn consumer() -> Arg {
    Arg::new("consumer").value_name("CONSUMER").required(true).help("The name of the consumer")
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let Some((change, matches)) = matches.subcommand() else { return look(matches).await };
    let (stream, consumer) = (text(matches, "stream"), text(matches, "consumer"));
    let at = At::open(matches).await?;
    let action = match change {
        "seek" => {
            let to = matches.get_one::<Seek>("to").copied().unwrap_or(Seek::Earliest);
            Action::SeekConsumer { stream, consumer, to }
        }
        "pause" => Action::PauseConsumer { stream, consumer },
        "resume" => Action::ResumeConsumer { stream, consumer },
        _ => {
            let dead = count(find(&at, &stream, &consumer).await?.dead);
            confirm(matches, &format!("remove consumer {consumer} of stream {stream} with its {dead} dead letters"))?;
            Action::RemoveConsumer { stream, consumer }
        }
    };
    act(matches, at, vec![action]).await
}

async fn find(at: &At, stream: &str, name: &str) -> Result<Consumer> {
    let found = at.source.consumers(Some(stream)).await?.into_iter().find(|consumer| consumer.name == name);
    Ok(found.ok_or_else(|| Problem::not_found(format!("stream {stream:?} has no consumer {name:?}")))?)
}

async fn look(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let consumer = find(&at, &text(matches, "stream"), &text(matches, "consumer")).await?;
    match matches.get_flag("json") {
        true => output::json(&consumer)?,
        false => show(&consumer)?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn show(consumer: &Consumer) -> Result<()> {
    let now = Time::now();
    let mut fields = Fields::default();
    fields
        .add("consumer", format!("{}, of stream {}", consumer.name, consumer.stream))
        .add("state", state(consumer))
        .add("next offset", consumer.next.to_string())
        .add("lag", format!("{} entries", count(consumer.behind)))
        .maybe("waits since", consumer.behind_since.map(|at| moment(at, now)))
        .add("lost", format!("{} entries", count(consumer.lost)))
        .add("queue", &*consumer.queue)
        .add("jobs", count(consumer.jobs))
        .add("dead letters", count(consumer.dead))
        .add("started first", moment(consumer.created_at, now));
    fields.print()
}
