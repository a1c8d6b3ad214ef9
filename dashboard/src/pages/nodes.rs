//! The nodes of a fleet.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::problem::shown;
use super::view::{Section, View, badge, moment, number};
use crate::api::{Node, NodeLink, NodeQueue, Problem};
use crate::safety::Visit;
use crate::site::Site;

/// The page. The nodes are asked when it is loaded.
pub(crate) async fn nodes(State(site): State<Arc<Site>>, Extension(visit): Extension<Visit>) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Nodes, made(&view).await)
}

async fn made(view: &View<'_>) -> Result<(String, Markup), Problem> {
    let found = view.site.nodes().await?;
    let content = html! {
        h1 { "Nodes" }
        p.hint { "The nodes were asked when this page was loaded." }
        @if let Some(problem) = &found.problem { p.note.problem { "The nodes could not be asked: " (problem) } }
        @if found.ignored > 0 { p.note { (number(found.ignored)) " answers were ignored: no node can have written them, or there were too many." } }
        @if found.nodes.is_empty() { p.empty { "No node has answered." } }
        div.columns { @for node in &found.nodes { (card(view, node)) } }
    };
    Ok(("Nodes".to_owned(), content))
}

fn card(view: &View<'_>, node: &Node) -> Markup {
    let Node { queues, links, .. } = node;
    html! {
        article.card {
            div.head {
                h2 title=(node.file) { (node.name) }
                @if node.is_answering { (badge("completed", "answers")) } @else { (badge("dead", "does not answer")) }
            }
            p { "seen " (moment(view.now, node.seen_at)) ", version " (node.version) }
            @if let Some(reason) = &node.degraded { p.note.problem { "Its queues cannot work: " (reason) } }
            @if !queues.is_empty() { (queue_table(queues)) }
            @if node.more_queues > 0 { p { "and " (number(node.more_queues)) " more queues" } }
            @if !links.is_empty() { ul { @for link in links { (link_line(link)) } } }
            @if node.more_links > 0 { p { "and " (number(node.more_links)) " more links" } }
        }
    }
}

fn queue_table(queues: &[NodeQueue]) -> Markup {
    html! {
        div.scroll {
            table {
                thead {
                    tr {
                        th scope="col" { "Queue" }
                        th.number scope="col" { "Pending" }
                        th.number scope="col" { "Running" }
                        th.number scope="col" { "Later" }
                        th.number scope="col" { "Dead" }
                        th.number scope="col" { "Completed" }
                    }
                }
                tbody {
                    @for queue in queues {
                        tr {
                            th scope="row" { (queue.name) @if queue.is_paused { " " (badge("paused", "paused")) } }
                            td.number { (number(queue.pending)) }
                            td.number { (number(queue.running)) }
                            td.number { (number(later(queue))) }
                            td.number { (number(queue.dead)) }
                            td.number { (number(queue.completed_total)) }
                        }
                    }
                }
            }
        }
    }
}

/// The numbers come from anybody who can answer.
fn later(queue: &NodeQueue) -> u64 {
    queue.scheduled.saturating_add(queue.retrying).saturating_add(queue.blocked)
}

fn link_line(link: &NodeLink) -> Markup {
    html! {
        li {
            (link.name) " "
            @if link.is_connected { (badge("completed", "connected")) } @else { (badge("dead", "down")) }
            @if let Some(lag) = link.lag { ", " (number(lag)) " jobs still to be moved" }
            @if link.went_back > 0 { ", went back " (number(link.went_back)) " times" }
            @if let (false, Some(error)) = (link.is_connected, &link.last_error) { ": " (error) }
        }
    }
}
