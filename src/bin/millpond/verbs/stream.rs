//! `millpond stream`: a stream with its consumers; its entries, and its changes.

mod follow;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use millpond::dashboard::amounts::bytes;
use millpond::dashboard::api::{Action, Entry, EntryQuery, NewEntry, Paging, StreamDetail, StreamSettings, Time};
use serde_json::{Value, json};

use super::{act, consumers, enqueue, text, verb};
use crate::Result;
use crate::ask::{confirm, yes};
use crate::at::At;
use crate::exit::{Exit, Failed};
use crate::output::{self, Fields, Table, age, count, cut, moment, seconds};
use crate::units;

pub fn command() -> Command {
    verb("stream", "Shows a stream with its consumers, or its entries, or changes it")
        .arg(stream())
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .subcommand_value_name("COMMAND")
        .after_help("A stream whose name is that of a command is shown by `millpond stream -- NAME`.")
        .subcommand(tail())
        .subcommand(append())
        .subcommand(configure())
        .subcommand(verb("sweep", "Removes what is beyond the limits now, in place of seconds later").arg(stream()))
        .subcommand(
            verb("remove", "Removes a stream with its entries; it must have no consumers").arg(stream()).arg(yes()),
        )
}

pub fn stream() -> Arg {
    Arg::new("stream").value_name("STREAM").required(true).help("The name of the stream")
}

fn tail() -> Command {
    verb("tail", "Prints entries of a stream, the latest without `--from`")
        .arg(stream())
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("OFFSET")
                .value_parser(From::parse)
                .default_value("latest")
                .help("The entry with this offset and those behind it; `earliest` or `latest`"),
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .short('n')
                .value_name("ENTRIES")
                .value_parser(value_parser!(u64).range(1..=1_000_000))
                .default_value("20")
                .help("The most entries that are printed; with `--follow`, how many of the latest it begins with"),
        )
        .arg(
            Arg::new("follow")
                .long("follow")
                .action(ArgAction::SetTrue)
                .help("Prints entries as they are appended, a line each, until Ctrl-C"),
        )
        .after_help(
            "With `--follow` and `--from OFFSET` all entries from there on are printed. A file that no process has open is \
             held open meanwhile: no other process can append to it.",
        )
}

fn append() -> Command {
    verb("append", "Appends an entry to a stream, which is made if it is not there")
        .arg(stream())
        .arg(Arg::new("kind").value_name("KIND").required(true).help("The kind"))
        .arg(
            Arg::new("payload")
                .value_name("JSON")
                .help("The payload; `-` reads it from the standard input [default: null]"),
        )
        .arg(Arg::new("key").long("key").value_name("KEY").help("The key; the entries of a key are handled in order"))
        .arg(Arg::new("tag").long("tag").value_name("TAG").action(ArgAction::Append).help("A tag; can be repeated"))
        .arg(
            Arg::new("header")
                .long("header")
                .value_name("NAME=VALUE")
                .action(ArgAction::Append)
                .value_parser(enqueue::header)
                .help("A header; can be repeated"),
        )
}

fn configure() -> Command {
    verb("configure", "Says what a stream keeps; what is left out is not limited")
        .arg(stream())
        .arg(
            Arg::new("max-age")
                .long("max-age")
                .value_name("DURATION")
                .value_parser(units::duration)
                .help("How long an entry is kept: 90s, 30m, 12h or 7d"),
        )
        .arg(
            Arg::new("max-bytes")
                .long("max-bytes")
                .value_name("SIZE")
                .value_parser(units::bytes)
                .help("How many bytes all entries have together, at most: 64MiB"),
        )
        .arg(
            Arg::new("max-entries")
                .long("max-entries")
                .value_name("ENTRIES")
                .value_parser(value_parser!(u64))
                .help("How many entries are kept"),
        )
        .arg(
            Arg::new("compact")
                .long("compact")
                .action(ArgAction::SetTrue)
                .help("Of the entries of each key only the latest is kept"),
        )
}

/// Where a listing of entries begins.
#[derive(Clone, Copy, Debug)]
enum From {
    Latest,
    Offset(u64),
}

impl From {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            "earliest" => Ok(Self::Offset(0)),
            text => text.parse().map(Self::Offset).map_err(|_| "write an offset, `earliest` or `latest`".to_owned()),
        }
    }

    /// The offset, with so many of the latest entries.
    async fn offset(self, at: &At, stream: &str, latest: u64) -> Result<u64> {
        match self {
            Self::Offset(offset) => Ok(offset),
            Self::Latest => Ok(at.source.stream(stream).await?.stream.next.saturating_sub(latest)),
        }
    }
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let Some((name, matches)) = matches.subcommand() else { return look(matches).await };
    let stream = text(matches, "stream");
    let action = match name {
        "tail" => return print_entries(matches, &stream).await,
        // Read before the file is opened.
        "append" => Action::Append { stream, entry: entry(matches)? },
        "configure" => Action::ConfigureStream { stream, settings: settings(matches) },
        "sweep" => Action::SweepStream { stream },
        _ => {
            confirm(matches, &format!("remove stream {stream} with its entries"))?;
            Action::RemoveStream { stream }
        }
    };
    act(matches, At::open(matches).await?, vec![action]).await
}

fn entry(matches: &ArgMatches) -> Result<NewEntry> {
    let headers = matches.get_many::<(String, String)>("header").into_iter().flatten().cloned();
    Ok(NewEntry {
        kind: text(matches, "kind"),
        key: matches.get_one::<String>("key").cloned(),
        payload: Value::Null,
        payload_text: enqueue::payload(matches.get_one::<String>("payload").map(String::as_str))?,
        tags: matches.get_many::<String>("tag").into_iter().flatten().cloned().collect(),
        headers: headers.collect(),
    })
}

fn settings(matches: &ArgMatches) -> StreamSettings {
    StreamSettings {
        max_age_seconds: matches.get_one::<std::time::Duration>("max-age").map(std::time::Duration::as_secs_f64),
        max_bytes: matches.get_one::<usize>("max-bytes").map(|bytes| *bytes as u64),
        max_entries: matches.get_one::<u64>("max-entries").copied(),
        is_compacted: matches.get_flag("compact"),
    }
}

async fn look(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let found = at.source.stream(&text(matches, "stream")).await?;
    match matches.get_flag("json") {
        true => output::json(&found)?,
        false => show(&found)?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn show(found: &StreamDetail) -> Result<()> {
    let StreamDetail { stream, consumers } = found;
    let StreamSettings { max_age_seconds, max_bytes, max_entries, is_compacted } = stream.settings;
    let mut fields = Fields::default();
    fields
        .add("stream", &*stream.name)
        .add("entries", count(stream.entries))
        .add("size", bytes(stream.bytes))
        .add("first offset", stream.first.to_string())
        .add("next offset", stream.next.to_string())
        .maybe("keeps for", max_age_seconds.map(seconds))
        .maybe("keeps, at most", max_bytes.map(bytes))
        .maybe("entries, at most", max_entries.map(count))
        .maybe("of each key", is_compacted.then_some("only the latest entry"))
        .add("made", moment(stream.created_at, Time::now()));
    fields.print()?;
    output::line("")?;
    consumers::table(consumers).print("it has no consumers")
}

async fn print_entries(matches: &ArgMatches, stream: &str) -> Result<ExitCode> {
    let limit = matches.get_one::<u64>("limit").copied().unwrap_or(20);
    let from = matches.get_one::<From>("from").copied().unwrap_or(From::Latest);
    let follows = matches.get_flag("follow");
    if follows && matches!(from, From::Offset(_)) && matches.value_source("limit") == Some(ValueSource::CommandLine) {
        let help =
            "with `--follow`, `--limit` says how many of the latest entries come first: leave out it or `--from`";
        return Err(Failed::new(Exit::Usage, help).into());
    }
    let at = At::open(matches).await?;
    if follows {
        follow::follow(matches, &at, stream, from, limit).await?;
        at.close().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let from = from.offset(&at, stream, limit).await?;
    let (entries, next) = collect(&at, stream, from, limit as usize).await?;
    match matches.get_flag("json") {
        true => output::json(&json!({ "entries": entries, "next": next }))?,
        false => {
            table(&entries).print("there are no entries")?;
            if let Some(next) = next {
                output::line(&format!("… and more: go on with `--from {next}`"))?;
            }
        }
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

/// The entries from an offset on, and where the next ones begin.
async fn collect(at: &At, stream: &str, from: u64, limit: usize) -> Result<(Vec<Entry>, Option<u64>)> {
    let (mut entries, mut from) = (Vec::new(), from);
    loop {
        let left = (limit - entries.len()).clamp(1, Paging::LIMIT_MAX);
        let page = at.source.entries(stream, EntryQuery { from: Some(from), limit: Some(left) }).await?;
        entries.extend(page.entries);
        match page.next {
            Some(next) if entries.len() < limit => from = next,
            next => return Ok((entries, next)),
        }
    }
}

fn table(entries: &[Entry]) -> Table {
    let now = Time::now();
    let mut table = Table::new(&[">offset", "appended", "kind", "key", "payload"]);
    for entry in entries {
        table.row([
            entry.offset.to_string(),
            age(entry.appended_at, now),
            entry.kind.clone(),
            entry.key.clone().unwrap_or_default(),
            cut(&entry.payload.text, 120),
        ]);
    }
    table
}
