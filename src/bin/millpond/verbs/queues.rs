//! `millpond queues`: the queues, or one of them with its limits and groups.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use millpond::dashboard::api::{GroupPage, Paging, Queue, QueueDetail, Rate, RateChange, Worker};
use serde_json::json;

use super::verb;
use crate::Result;
use crate::at::At;
use crate::output::{self, Fields, Table, count, seconds};

/// Groups that are shown of one queue.
const GROUPS_SHOWN: usize = 50;

pub fn command() -> Command {
    verb("queues", "Lists the queues, or shows one with its limits and groups")
        .arg(Arg::new("name").value_name("QUEUE").help("Only this queue"))
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let is_json = matches.get_flag("json");
    match matches.get_one::<String>("name") {
        Some(name) => {
            let queue = at.source.queue(name).await?;
            let page = Paging { limit: Some(GROUPS_SHOWN), after: None };
            let groups = at.source.groups(name, page).await?;
            match is_json {
                true => output::json(&json!({ "queue": queue, "groups": groups }))?,
                false => show(&queue, &groups)?,
            }
        }
        None => {
            let queues = at.source.overview().await?.queues;
            match is_json {
                true => output::json(&queues)?,
                false => table(&queues).print("there are no queues: nothing was enqueued yet")?,
            }
        }
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn table(queues: &[Queue]) -> Table {
    let mut table = Table::new(&[
        "queue",
        ">pending",
        ">running",
        ">scheduled",
        ">retrying",
        ">blocked",
        ">dead",
        ">in/s",
        ">out/s",
        ">oldest",
        "state",
    ]);
    for queue in queues {
        let counts = &queue.counts;
        table.row([
            queue.name.clone(),
            count(counts.pending),
            count(counts.running),
            count(counts.scheduled),
            count(counts.retrying),
            count(counts.blocked),
            count(counts.dead),
            format!("{:.1}", queue.enqueued_per_second),
            format!("{:.1}", queue.completed_per_second),
            queue.oldest_ready_seconds.map(seconds).unwrap_or_default(),
            state(queue),
        ]);
    }
    table
}

/// What is special about a queue, in a few words.
pub fn state(queue: &Queue) -> String {
    let circuit = queue.circuit.as_ref().filter(|circuit| !circuit.is_closed).map(|_| "circuit open".to_owned());
    let limited = queue.rate_limited_for_seconds.map(|wait| format!("rate limited for {}", seconds(wait)));
    let words = [
        queue.is_paused.then(|| "paused".to_owned()),
        circuit,
        limited,
        queue.has_overrides.then(|| "overridden".to_owned()),
        (!queue.has_worker).then(|| "no worker here".to_owned()),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn show(detail: &QueueDetail, groups: &GroupPage) -> Result<()> {
    let queue = &detail.queue;
    let mut fields = Fields::default();
    fields.add("queue", &*queue.name).add("state", state(queue));
    for (name, jobs) in [
        ("pending", queue.counts.pending),
        ("running", queue.counts.running),
        ("scheduled", queue.counts.scheduled),
        ("retrying", queue.counts.retrying),
        ("blocked", queue.counts.blocked),
        ("dead", queue.counts.dead),
        ("completed", queue.counts.completed),
        ("cancelled", queue.counts.cancelled),
        ("enqueued ever", queue.counts.enqueued_total),
    ] {
        fields.add(name, count(jobs));
    }
    fields
        .maybe("oldest", queue.oldest_ready_seconds.map(seconds))
        .maybe("circuit", queue.circuit.as_ref().map(|circuit| circuit.state.clone()));
    add_limits(&mut fields, detail);
    if !detail.paused_kinds.is_empty() {
        fields.add("paused kinds", detail.paused_kinds.join(", "));
    }
    fields.print()?;
    if groups.groups.is_empty() {
        return Ok(());
    }
    output::line("")?;
    let mut table = Table::new(&["group", ">jobs", "next", "why it waits"]);
    for group in &groups.groups {
        let next = group.next.clone().unwrap_or_default();
        table.row([group.name.clone(), count(group.jobs), next, group.why.clone()]);
    }
    table.print("")
}

/// The limits of a queue: the code's, those that were set in place of them, and what holds.
pub fn limit_fields(detail: &QueueDetail) -> Fields {
    let mut fields = Fields::default();
    fields.add("queue", &*detail.queue.name);
    add_limits(&mut fields, detail);
    fields
}

fn add_limits(fields: &mut Fields, detail: &QueueDetail) {
    fields
        .maybe("the code's limits", detail.worker.as_ref().map(limits))
        .maybe("what holds", detail.effective.as_ref().map(limits))
        .maybe("concurrency set", detail.overrides.concurrency.map(|jobs| jobs.to_string()))
        .maybe("rate set", detail.overrides.rate.map(change))
        .maybe("group rate set", detail.overrides.group_rate.map(change));
}

fn limits(worker: &Worker) -> String {
    let mut text = format!("concurrency {}", worker.concurrency);
    for (name, limit) in [("rate", worker.rate), ("group rate", worker.group_rate)] {
        if let Some(limit) = limit {
            text.push_str(&format!(", {name} {}", rate(limit)));
        }
    }
    text
}

fn rate(rate: Rate) -> String {
    format!("{} in {}", rate.count, seconds(rate.period_seconds))
}

fn change(change: RateChange) -> String {
    match change {
        RateChange::Unlimited => "unlimited".to_owned(),
        RateChange::Limited(limit) => rate(limit),
    }
}
