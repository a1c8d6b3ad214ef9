//! `millpond topics`: the topics and their bindings; bind and unbind queues and streams, see where a message would go, publish one.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use millpond::dashboard::api::{Action, Binding, Time, Topic, TopicMessage};

use super::{act, all_pages, enqueue, text, verb};
use crate::Result;
use crate::ask::{confirm, yes};
use crate::at::At;
use crate::output::{self, Table, age, count};

pub fn command() -> Command {
    Command::new("topics")
        .about("Topics: list, bindings, bind, unbind, configure, match, publish, remove")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(verb("list", "Lists the topics"))
        .subcommand(verb("bindings", "Lists the bindings of a topic").arg(topic()))
        .subcommand(with_binding(verb("bind", "Binds a queue to a topic, or a stream")))
        .subcommand(with_binding(verb("unbind", "Removes a binding: the one that was made with the same arguments")))
        .subcommand(
            verb("configure", "Says what becomes of messages that no binding matches; what is left out is unset")
                .arg(topic())
                .arg(Arg::new("alternate").long("alternate").value_name("QUEUE").help("This queue gets them"))
                .arg(
                    Arg::new("mandatory")
                        .long("mandatory")
                        .action(ArgAction::SetTrue)
                        .help("A message that nobody gets is an error"),
                ),
        )
        .subcommand(
            verb("match", "Shows which queues and streams a message would reach; nothing is published")
                .arg(topic())
                .arg(key())
                .arg(headers("header", "A header of the message; can be repeated")),
        )
        .subcommand(enqueue::with_job(verb("publish", "Publishes a job to a topic").arg(topic()).arg(key())))
        .subcommand(verb("remove", "Removes a topic with its bindings").arg(topic()).arg(yes()))
}

fn topic() -> Arg {
    Arg::new("topic").value_name("TOPIC").required(true).help("The topic")
}

fn key() -> Arg {
    Arg::new("routing-key").value_name("KEY").required(true).help("The routing key: words between dots, or ''")
}

fn headers(name: &'static str, help: &'static str) -> Arg {
    let parser = |text: &str| enqueue::header(text).map(|_| text.to_owned());
    Arg::new(name).long(name).value_name("NAME=VALUE").action(ArgAction::Append).value_parser(parser).help(help)
}

fn with_binding(command: Command) -> Command {
    command
        .arg(topic())
        .arg(Arg::new("queue").value_name("QUEUE").required_unless_present("stream").help("The queue"))
        .arg(Arg::new("stream").long("stream").value_name("NAME").conflicts_with("queue").help("A stream, not a queue"))
        .arg(
            Arg::new("key")
                .long("key")
                .value_name("PATTERN")
                .help("The routing key: `*` is one word, `#` any number, a last `>` one or more [default: every key]"),
        )
        .arg(headers("all", "A header that a message must have; can be repeated"))
        .arg(headers("any", "A header of which a message must have one; can be repeated"))
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    match matches.subcommand() {
        Some(("list", matches)) => list(matches).await,
        Some(("bindings", matches)) => bindings(matches).await,
        Some(("match", matches)) => matching(matches).await,
        Some((name, matches)) => change(name, matches).await,
        None => unreachable!("a subcommand is required"),
    }
}

async fn change(name: &str, matches: &ArgMatches) -> Result<ExitCode> {
    let topic = text(matches, "topic");
    let action = match name {
        "bind" => Action::Bind { topic, binding: binding(matches) },
        "unbind" => Action::Unbind { topic, binding: binding(matches) },
        "configure" => Action::ConfigureTopic {
            topic,
            alternate: matches.get_one::<String>("alternate").cloned(),
            is_mandatory: matches.get_flag("mandatory"),
        },
        "publish" => Action::Publish { topic, key: text(matches, "routing-key"), job: enqueue::job(matches)? },
        "remove" => {
            confirm(matches, &format!("remove the topic {topic} with its bindings"))?;
            Action::RemoveTopic { topic }
        }
        _ => unreachable!("clap knows the commands"),
    };
    act(matches, At::open(matches).await?, vec![action]).await
}

fn binding(matches: &ArgMatches) -> Binding {
    let named = |name: &str| matches.get_one::<String>(name).cloned();
    Binding {
        queue: named("queue"),
        stream: named("stream"),
        key: named("key"),
        headers_all: lines(matches, "all"),
        headers_any: lines(matches, "any"),
    }
}

fn lines(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).into_iter().flatten().cloned().collect()
}

async fn list(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let all = all_pages(async |page| at.source.topics(page).await.map(|found| (found.topics, found.next))).await?;
    match matches.get_flag("json") {
        true => output::json(&all)?,
        false => table(&all).print("there are no topics")?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn table(topics: &[Topic]) -> Table {
    let now = Time::now();
    let mut table = Table::new(&["topic", ">bindings", "alternate", "mandatory", "made"]);
    for topic in topics {
        table.row([
            topic.name.clone(),
            count(topic.bindings),
            topic.alternate.clone().unwrap_or_default(),
            if topic.is_mandatory { "yes".to_owned() } else { String::new() },
            age(topic.created_at, now),
        ]);
    }
    table
}

async fn bindings(matches: &ArgMatches) -> Result<ExitCode> {
    let (at, topic) = (At::open(matches).await?, text(matches, "topic"));
    let page = async |page| at.source.topic(&topic, page).await.map(|found| (found.bindings, found.next));
    let all = all_pages(page).await?;
    let mut table = Table::new(&["to", "key", "all headers", "one of the headers"]);
    for binding in &all {
        let Binding { key, headers_all, headers_any, .. } = binding.clone();
        let to = binding.recipient().unwrap_or_default();
        table.row([to, key.unwrap_or_default(), headers_all.join(" "), headers_any.join(" ")]);
    }
    match matches.get_flag("json") {
        true => output::json(&all)?,
        false => table.print("the topic has no bindings")?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

async fn matching(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let message = TopicMessage { key: text(matches, "routing-key"), headers: lines(matches, "header").join("\n") };
    let matched = at.source.matches(&text(matches, "topic"), message).await?;
    let mut table = Table::new(&["to"]);
    for queue in &matched.queues {
        let alternate = if matched.used_alternate { " (alternate)" } else { "" };
        table.row([format!("queue {queue}{alternate}")]);
    }
    for stream in &matched.streams {
        table.row([format!("stream {stream}")]);
    }
    match matches.get_flag("json") {
        true => output::json(&matched)?,
        false => table.print("nobody gets this message")?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}
