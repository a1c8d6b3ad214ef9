//! `millpond enqueue`: stores a job.

use std::io::Read;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use millpond::dashboard::api::{Action, NewJob, Time};

use super::{act, verb};
use crate::Result;
use crate::at::At;
use crate::exit::{Exit, Failed};

pub fn command() -> Command {
    let command = verb("enqueue", "Stores a job");
    with_job(command.arg(Arg::new("queue").value_name("QUEUE").required(true).help("The queue")))
}

/// Adds the arguments that say what a job is.
pub fn with_job(command: Command) -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    command
        .arg(Arg::new("kind").value_name("KIND").required(true).help("The kind"))
        .arg(
            Arg::new("payload")
                .value_name("JSON")
                .help("The payload, as JSON; `-` reads it from the standard input [default: null]"),
        )
        .arg(text("priority", "0-9", "0 is the most urgent, 9 the least").value_parser(value_parser!(u8).range(0..=9)))
        .arg(
            text("delay", "TIME", "Runs after this time, as in 500ms, 30s or 2m")
                .value_parser(crate::units::duration)
                .conflicts_with("at"),
        )
        .arg(text("at", "TIME", "Runs at this time: 2026-11-28T16:29").value_parser(value_parser!(Time)))
        .arg(text("group", "GROUP", "Its group"))
        .arg(text("key", "KEY", "Its unique key"))
        .arg(text("idempotency-key", "KEY", "A second call with this key stores nothing"))
        .arg(text("max-attempts", "N", "How many attempts there can be").value_parser(value_parser!(u32).range(1..)))
        .arg(text("tag", "TAG", "A tag; can be repeated").action(ArgAction::Append))
        .arg(text("header", "NAME=VALUE", "A header; can be repeated").action(ArgAction::Append).value_parser(header))
}

pub fn header(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let job = NewJob { queue: super::text(matches, "queue"), ..job(matches)? };
    let at = At::open(matches).await?;
    act(matches, at, vec![Action::Enqueue(job)]).await
}

/// The job, without its queue.
pub fn job(matches: &ArgMatches) -> Result<NewJob> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let many = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned().collect();
    let headers = matches.get_many::<(String, String)>("header").into_iter().flatten().cloned();
    Ok(NewJob {
        queue: String::new(),
        kind: text("kind").unwrap_or_default(),
        payload: serde_json::Value::Null,
        payload_text: payload(text("payload").as_deref())?,
        priority: matches.get_one::<u8>("priority").copied(),
        delay_seconds: matches.get_one::<std::time::Duration>("delay").map(std::time::Duration::as_secs_f64),
        run_at: matches.get_one::<Time>("at").copied(),
        group: text("group"),
        key: text("key"),
        idempotency_key: text("idempotency-key"),
        max_attempts: matches.get_one::<u32>("max-attempts").copied(),
        tags: many("tag"),
        headers: headers.collect(),
        entry: None,
    })
}

/// The payload as it was written: numbers keep their digits.
pub fn payload(given: Option<&str>) -> Result<Option<String>> {
    let read;
    let json = match given {
        None => return Ok(None),
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            read = text;
            &read
        }
        Some(text) => text,
    };
    match serde_json::from_str::<serde::de::IgnoredAny>(json) {
        Ok(_) => Ok(Some(json.to_owned())),
        Err(error) => {
            let help = "write texts with quotation marks: '\"text\"'";
            Err(Failed::new(Exit::Usage, format!("the payload is not JSON: {error}; {help}")).into())
        }
    }
}
