//! `millpond flow`: a flow with its jobs; cancel, retry and remove it, and send a signal to it. `millpond signal`: the same for
//! a job.

use std::collections::HashMap;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use millpond::dashboard::api::{Action, FlowDetail, FlowNode, OnFailure, Time};
use serde_json::Value;

use super::enqueue::payload;
use super::{act, job, text, verb};
use crate::Result;
use crate::ask::{confirm, yes};
use crate::at::At;
use crate::output::{self, Fields, Table, count, cut, moment, seconds};
use crate::shown::shown;

pub fn command() -> Command {
    let reason = Arg::new("reason").long("reason").value_name("TEXT").default_value("").help("Why");
    verb("flow", "Shows a flow with its jobs and signals, or changes it")
        .arg(flow())
        .arg(Arg::new("dot").long("dot").action(ArgAction::SetTrue).help("Prints the graph in the language DOT"))
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .subcommand_value_name("CHANGE")
        .subcommand_help_heading("Changes")
        .after_help("A flow whose name is that of a change is shown by `millpond flow -- NAME`.")
        .subcommand(
            verb("cancel", "Cancels all of a flow that has not ended; handlers that run are asked to stop")
                .arg(flow())
                .arg(reason)
                .arg(yes()),
        )
        .subcommand(verb("retry", "Gives the dead letters of a flow new attempts, at once").arg(flow()))
        .subcommand(
            verb("remove", "Removes a flow that has ended, with the results of its jobs").arg(flow()).arg(yes()),
        )
        .subcommand(verb("signal", "Says that a signal of a flow has come").arg(flow()).args(sent()))
}

/// `millpond signal`.
pub fn signal() -> Command {
    verb("signal", "Says that a signal has come for which the handler of a job waits").arg(job::id()).args(sent())
}

fn flow() -> Arg {
    Arg::new("flow").value_name("FLOW").required(true).help("The name of the flow")
}

fn sent() -> [Arg; 2] {
    [
        Arg::new("signal").value_name("SIGNAL").required(true).help("The name of the signal"),
        Arg::new("payload")
            .value_name("JSON")
            .help("What is sent with it, as JSON; `-` reads it from the standard input [default: null]"),
    ]
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let Some((change, matches)) = matches.subcommand() else { return look(matches).await };
    let name = text(matches, "flow");
    // Read before the file is opened.
    let sent = if change == "signal" { read_sent(matches)? } else { None };
    let at = At::open(matches).await?;
    let action = match change {
        "cancel" => {
            let counts = at.source.flow(&name).await?.row.counts;
            let open = count(counts.blocked + counts.active);
            confirm(matches, &format!("cancel the {open} jobs of flow {name} that have not ended"))?;
            Action::CancelFlow { flow: name, reason: text(matches, "reason") }
        }
        "retry" => Action::RetryFlow { flow: name },
        "remove" => {
            confirm(matches, &format!("remove flow {name} with the results of its jobs"))?;
            Action::RemoveFlow { flow: name }
        }
        _ => {
            Action::SignalFlow { flow: name, signal: text(matches, "signal"), payload: Value::Null, payload_text: sent }
        }
    };
    act(matches, at, vec![action]).await
}

pub async fn run_signal(matches: &ArgMatches) -> Result<ExitCode> {
    let payload_text = read_sent(matches)?;
    let at = At::open(matches).await?;
    let (id, signal) = (text(matches, "id"), text(matches, "signal"));
    act(matches, at, vec![Action::SignalJob { id, signal, payload: Value::Null, payload_text }]).await
}

fn read_sent(matches: &ArgMatches) -> Result<Option<String>> {
    payload(matches.get_one::<String>("payload").map(String::as_str))
}

async fn look(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let flow = at.source.flow(&text(matches, "flow")).await?;
    match (matches.get_flag("dot"), matches.get_flag("json")) {
        (true, _) => output::line(shown(&flow.dot).trim_end())?,
        (false, true) => output::json(&flow)?,
        (false, false) => show(&flow)?,
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn show(flow: &FlowDetail) -> Result<()> {
    let (row, now) = (&flow.row, Time::now());
    let counts = row.counts;
    let mut fields = Fields::default();
    fields
        .add("flow", &*row.name)
        .add("state", &*row.state)
        .maybe("cancelled", row.cancelled.clone())
        .add(
            "jobs",
            format!(
                "{} blocked, {} active, {} completed, {} dead, {} cancelled",
                count(counts.blocked),
                count(counts.active),
                count(counts.completed),
                count(counts.dead),
                count(counts.cancelled)
            ),
        )
        .add("created", moment(row.created_at, now))
        .maybe("settled", row.settled_at.map(|at| moment(at, now)))
        .maybe("deadline", row.deadline.map(|at| moment(at, now)))
        .add("kept for", format!("{} after its end", seconds(row.keep_seconds)));
    fields.print()?;
    output::line("")?;
    table(flow).print("it has no jobs")?;
    if flow.is_partial {
        output::line(&format!("… and more: these are the first {}", count(flow.nodes.len() as u64)))?;
    }
    Ok(())
}

fn table(flow: &FlowDetail) -> Table {
    let labels: HashMap<&str, String> = flow.nodes.iter().map(|node| (node.id.as_str(), node.label())).collect();
    let mut awaited: HashMap<&str, Vec<String>> = HashMap::new();
    for edge in &flow.edges {
        let policy = match edge.on_failure {
            OnFailure::Cancel => " or cancel",
            OnFailure::Run => " or run",
            _ => "",
        };
        let label = labels.get(edge.from.as_str()).unwrap_or(&edge.from);
        awaited.entry(&edge.to).or_default().push(format!("{label}{policy}"));
    }
    let mut table = Table::new(&[">id", "name", "queue", "kind", "state", "waits for", "result"]);
    for node in &flow.nodes {
        let awaited = awaited.get(node.id.as_str()).map(|awaited| awaited.join(", ")).unwrap_or_default();
        table.row([
            node.id.clone(),
            node.name.clone().unwrap_or_default(),
            node.queue.clone().unwrap_or_default(),
            node.kind.clone().unwrap_or_else(|| "signal".to_owned()),
            state(node),
            cut(&awaited, 60),
            node.result.as_ref().map(|result| cut(&result.text, 60)).unwrap_or_default(),
        ]);
    }
    table
}

fn state(node: &FlowNode) -> String {
    let held = node.held_by.as_ref().map(|by| format!(", held by {by}")).unwrap_or_default();
    let callback = if node.is_callback { ", callback" } else { "" };
    format!("{}{held}{callback}", node.state)
}
