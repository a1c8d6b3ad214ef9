//! The jobs and signals of a flow as a table.

use std::collections::HashMap;

use maud::{Markup, html};

use super::drawing::words;
use crate::api::{FlowDetail, FlowNode, OnFailure};
use crate::pages::flows::flow_badge;
use crate::pages::view::{Place, View, badge, moment};

/// How many of those that a job waits for are named.
const NAMED_MAX: usize = 5;

/// How much of a result is in the table, in bytes.
const RESULT_BYTES_MAX: usize = 300;

/// What a job waits for, and what happens if that fails.
type Awaited<'f> = Vec<(&'f FlowNode, OnFailure)>;

/// The table.
pub fn table(view: &View<'_>, flow: &FlowDetail) -> Markup {
    let nodes: HashMap<&str, &FlowNode> = flow.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut awaited: HashMap<&str, Awaited<'_>> = HashMap::new();
    for edge in &flow.edges {
        if let Some(from) = nodes.get(edge.from.as_str()) {
            awaited.entry(&edge.to).or_default().push((from, edge.on_failure));
        }
    }
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "Job or signal" }
                    th scope="col" { "State" }
                    th scope="col" { "Kind" }
                    th scope="col" { "Queue" }
                    th scope="col" { "Waits for" }
                    th scope="col" { "Result" }
                }
            }
            tbody {
                @for node in &flow.nodes { (row(view, node, awaited.get(node.id.as_str()).map_or(&[], Vec::as_slice))) }
            }
        }
    }
}

fn row(view: &View<'_>, node: &FlowNode, awaited: &[(&FlowNode, OnFailure)]) -> Markup {
    html! {
        tr {
            th scope="row" {
                @if node.is_signal() {
                    (node.label())
                } @else {
                    a href=(view.link(Place::Job(&node.id))) { (node.id) @if let Some(name) = &node.name { " " (name) } }
                }
                @if node.is_callback { " " (badge("other", "callback")) }
            }
            td {
                (flow_badge(if node.failed > 0 { "held" } else { &node.state }))
                @if let Some(by) = &node.held_by { " by " a href=(view.link(Place::Job(by))) { (by) } }
            }
            td {
                @match &node.kind { Some(kind) => (kind), None => "signal" }
                @if let Some(deadline) = node.deadline { ", deadline " (moment(view.now, deadline)) }
            }
            td { @match &node.queue { Some(queue) => a href=(view.link(Place::Queue(queue))) { (queue) }, None => "–" } }
            td {
                @for (at, (other, policy)) in awaited.iter().take(NAMED_MAX).enumerate() {
                    @if at > 0 { "; " }
                    (other.label()) (words(*policy))
                }
                @if awaited.len() > NAMED_MAX { "; and " (awaited.len() - NAMED_MAX) " others" }
            }
            td.wide { @if let Some(result) = &node.result { code.preview { (beginning(&result.text)) } } }
        }
    }
}

/// The beginning of a result, which can be long.
pub fn beginning(text: &str) -> &str {
    let end = (0..=RESULT_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// What a node is, in one line.
pub fn about(node: &FlowNode) -> String {
    let name = node.name.as_ref().map(|name| format!("{name}, ")).unwrap_or_default();
    let what = match (&node.kind, &node.queue) {
        (Some(kind), Some(queue)) => format!("job {} of kind {kind} in queue {queue}", node.id),
        _ => "signal".to_owned(),
    };
    let callback = if node.is_callback { ", callback" } else { "" };
    format!("{name}{what}{callback}: {}", state_words(node))
}

/// The state of a node in a few words.
pub fn state_words(node: &FlowNode) -> String {
    match (node.failed, node.waits) {
        (0, _) if node.state == "blocked" && node.is_callback => "waits for the end".to_owned(),
        (0, waits) if node.state == "blocked" => format!("blocked by {waits}"),
        (0, _) => node.state.clone(),
        _ => "blocked, held".to_owned(),
    }
}
