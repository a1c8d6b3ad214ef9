//! One flow: its jobs and signals, what waits for what, and what can be done.

mod drawing;
mod layout;
mod nodes;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::flows::{flow_badge, progress};
use super::problem::shown;
use super::view::{Place, Section, Style, View, moment, number, pairs, seconds};
use crate::api::{Action, FlowDetail, FlowNode, FlowRow, Problem};
use crate::safety::Visit;
use crate::site::Site;

pub use nodes::beginning;

/// The page.
pub(crate) async fn flow(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Flows, made(&view, &name).await)
}

async fn made(view: &View<'_>, name: &str) -> Result<(String, Markup), Problem> {
    let flow = view.site.source.flow(name).await?;
    let content = html! {
        div id="head" data-live {
            div.head { h1 { (flow.row.name) } (flow_badge(&flow.row.state)) (progress(&flow.row)) }
            @if let Some(reason) = &flow.row.cancelled { p.note { "It was cancelled: " (reason) } }
            @if flow.row.state == "held" {
                p.note.problem { "Its jobs wait for others that have died or were cancelled: redrive what has died, run a blocked job now, or cancel the flow." }
            }
            div.row { (verbs(view, &flow)) (downloads(view, &flow.row.name)) }
        }
        section.columns id="facts" data-live {
            div.card { h2 { "Jobs and signals" } (counts(&flow.row)) }
            div.card { h2 { "Facts" } (facts(view, &flow.row)) }
        }
        section {
            h2 { "What waits for what" }
            p.hint {
                "A box is a job, a hexagon a signal, a box with round ends a callback. Dotted borders wait, thick ones can run or run, \
                 dashed ones have failed. Dashed lines cancel, and dotted lines let run, if what is before them fails."
            }
            div.scroll.graph id="graph" data-live tabindex="0" role="region" aria-label="Graph" { (drawing::drawing(view, &flow)) }
        }
        section {
            h2 { "Jobs and signals" }
            @if flow.is_partial { p.hint { "The first " (number(flow.nodes.len() as u64)) "." } }
            div.scroll id="nodes" data-live { (nodes::table(view, &flow)) }
        }
        @if view.can_change() { (signals(view, &flow)) }
    };
    Ok((flow.row.name.clone(), content))
}

/// What can be done in the flow's state.
fn verbs(view: &View<'_>, flow: &FlowDetail) -> Markup {
    let name = || flow.row.name.clone();
    let has_ended = matches!(flow.row.state.as_str(), "completed" | "failed" | "cancelled");
    // A signal that has missed its deadline is dead, too, and cannot be redriven.
    let is_dead_job = |node: &FlowNode| node.state == "dead" && !node.is_signal();
    let can_be_redriven = flow.nodes.iter().any(is_dead_job) || (flow.is_partial && flow.row.counts.dead > 0);
    html! {
        @if can_be_redriven { (view.button("Redrive what has died", Style::Plain, &Action::RetryFlow { flow: name() })) }
        @if !has_ended {
            (view.button("Cancel …", Style::Danger, &Action::CancelFlow { flow: name(), reason: String::new() }))
        } @else if flow.row.callbacks_running == 0 {
            (view.button("Remove …", Style::Danger, &Action::RemoveFlow { flow: name() }))
        }
    }
}

fn downloads(view: &View<'_>, name: &str) -> Markup {
    let api = view.link_to_api(Place::Flow(name));
    html! {
        a.button href={ (api) "/dot" } download={ (name) ".dot" } { "DOT" }
        a.button href=(api) download={ (name) ".json" } { "JSON" }
    }
}

fn counts(flow: &FlowRow) -> Markup {
    let counts = flow.counts;
    let states = [
        ("blocked", counts.blocked),
        ("active", counts.active),
        ("completed", counts.completed),
        ("dead", counts.dead),
        ("cancelled", counts.cancelled),
        ("all", counts.total()),
    ];
    pairs(states.map(|(state, count)| (state, Some(html! { (number(count)) }))))
}

fn facts(view: &View<'_>, flow: &FlowRow) -> Markup {
    pairs([
        ("created", Some(moment(view.now, flow.created_at))),
        ("settled", flow.settled_at.map(|at| moment(view.now, at))),
        ("deadline", flow.deadline.map(|at| moment(view.now, at))),
        (
            "callbacks",
            (flow.callbacks_running > 0).then(|| html! { (number(flow.callbacks_running.into())) " have not ended" }),
        ),
        ("kept for", Some(html! { (seconds(flow.keep_seconds)) " after its end" })),
    ])
}

/// The form that sends a signal which has not come.
fn signals(view: &View<'_>, flow: &FlowDetail) -> Markup {
    let awaited = || flow.nodes.iter().filter(|node| node.is_signal() && node.state == "active");
    let names: Vec<_> = awaited().filter_map(|node| node.name.as_deref()).collect();
    let action = Action::SignalFlow {
        flow: flow.row.name.clone(),
        signal: String::new(),
        payload: Value::Null,
        payload_text: None,
    };
    html! {
        @if !names.is_empty() {
            section {
                details {
                    summary { "Send a signal" }
                    (view.form(&action, html! {
                        label for="signal" { "Signal" }
                        select id="signal" name="/signal" { @for name in names { option value=(name) { (name) } } }
                        (sent())
                    }))
                }
            }
        }
    }
}

/// The fields of what is sent with a signal.
pub fn sent() -> Markup {
    html! {
        label for="sent" { "What is sent with it, as JSON" }
        textarea id="sent" name="/payload_text:option" rows="3" spellcheck="false" placeholder="null" {}
        button.button type="submit" { "Send" }
    }
}
