//! `millpond consumers`: the consumers of a stream, or of all streams.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use millpond::dashboard::api::{Consumer, Time};

use super::verb;
use crate::Result;
use crate::at::At;
use crate::output::{self, Table, age, count};

pub fn command() -> Command {
    verb("consumers", "Lists the consumers of all streams, or of one, with their lag")
        .arg(Arg::new("stream").value_name("STREAM").help("Only those of this stream"))
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let all = at.source.consumers(matches.get_one::<String>("stream").map(String::as_str)).await?;
    match matches.get_flag("json") {
        true => output::json(&all)?,
        false => table(&all).print("there are no consumers")?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

pub fn table(consumers: &[Consumer]) -> Table {
    let now = Time::now();
    let names = ["stream", "consumer", ">next", ">lag", "waits since", ">lost", ">jobs", ">dead", "state"];
    let mut table = Table::new(&names);
    for consumer in consumers {
        table.row([
            consumer.stream.clone(),
            consumer.name.clone(),
            consumer.next.to_string(),
            count(consumer.behind),
            consumer.behind_since.map(|at| age(at, now)).unwrap_or_default(),
            count(consumer.lost),
            count(consumer.jobs),
            count(consumer.dead),
            state(consumer).to_owned(),
        ]);
    }
    table
}

pub fn state(consumer: &Consumer) -> &'static str {
    match (consumer.is_paused, consumer.is_running) {
        (true, _) => "paused",
        (false, true) => "running",
        (false, false) => "no worker here",
    }
}
