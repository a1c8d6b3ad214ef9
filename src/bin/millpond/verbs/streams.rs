//! `millpond streams`: the streams.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use millpond::dashboard::amounts::bytes;
use millpond::dashboard::api::{Stream, Time};

use super::{all_pages, verb};
use crate::Result;
use crate::at::At;
use crate::output::{self, Table, age, count};

pub fn command() -> Command {
    verb("streams", "Lists the streams")
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let all = collect(&at).await?;
    match matches.get_flag("json") {
        true => output::json(&all)?,
        false => table(&all).print("there are no streams")?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

async fn collect(at: &At) -> Result<Vec<Stream>> {
    let page = async |page| at.source.streams(page).await.map(|found| (found.streams, found.next));
    all_pages(page).await
}

fn table(streams: &[Stream]) -> Table {
    let now = Time::now();
    let mut table =
        Table::new(&["stream", ">entries", ">size", ">first", ">next", ">consumers", ">largest lag", "made"]);
    for stream in streams {
        table.row([
            stream.name.clone(),
            count(stream.entries),
            bytes(stream.bytes),
            stream.first.to_string(),
            stream.next.to_string(),
            count(stream.consumers),
            stream.behind_max.map(count).unwrap_or_default(),
            age(stream.created_at, now),
        ]);
    }
    table
}
