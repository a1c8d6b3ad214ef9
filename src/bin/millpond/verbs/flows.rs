//! `millpond flows`: the flows, the latest first.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use millpond::dashboard::api::{FlowRow, Paging, Time};
use serde_json::json;

use super::verb;
use crate::Result;
use crate::at::At;
use crate::output::{self, Table, age, count};

pub fn command() -> Command {
    verb("flows", "Lists the flows, the latest first").arg(
        Arg::new("limit")
            .long("limit")
            .short('n')
            .value_name("FLOWS")
            .value_parser(value_parser!(u64).range(1..=1_000_000))
            .default_value("50")
            .help("The most flows that are listed"),
    )
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let limit = matches.get_one::<u64>("limit").copied().unwrap_or(50) as usize;
    let (flows, has_more) = collect(&at, limit).await?;
    match matches.get_flag("json") {
        true => output::json(&json!({ "flows": flows, "has_more": has_more }))?,
        false => show(&flows, has_more)?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

/// The latest flows, and whether there are more.
async fn collect(at: &At, limit: usize) -> Result<(Vec<FlowRow>, bool)> {
    let (mut flows, mut after) = (Vec::new(), None);
    loop {
        let entries = (limit - flows.len()).clamp(1, Paging::LIMIT_MAX);
        let page = at.source.flows(Paging { after, limit: Some(entries) }).await?;
        flows.extend(page.flows);
        after = page.next;
        if after.is_none() || flows.len() >= limit {
            return Ok((flows, after.is_some()));
        }
    }
}

fn show(flows: &[FlowRow], has_more: bool) -> Result<()> {
    let now = Time::now();
    let names = ["flow", "state", ">blocked", ">active", ">completed", ">dead", ">cancelled", "created"];
    let mut table = Table::new(&names);
    for flow in flows {
        let counts = flow.counts;
        table.row([
            flow.name.clone(),
            flow.state.clone(),
            count(counts.blocked),
            count(counts.active),
            count(counts.completed),
            count(counts.dead),
            count(counts.cancelled),
            age(flow.created_at, now),
        ]);
    }
    table.print("there are no flows")?;
    if has_more {
        output::line("… and more: raise `--limit`")?;
    }
    Ok(())
}
