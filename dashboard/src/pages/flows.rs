//! All flows.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::problem::shown;
use super::view::{Place, Section, View, badge, moment, number};
use crate::api::{FlowRow, Paging, Problem};
use crate::http::Query;
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn flows(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    page: Result<Query<Paging>, Problem>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Flows, made(&view, page).await)
}

async fn made(view: &View<'_>, page: Result<Query<Paging>, Problem>) -> Result<(String, Markup), Problem> {
    let found = view.site.source.flows(page?.0).await?;
    let next = found.next.as_ref().map(|after| view.link_with(Place::Flows, &[("after", after)]));
    let content = html! {
        div.head { h1 { "Flows" } span.count { (number(found.total)) } }
        div id="flows" data-live {
            @if found.flows.is_empty() {
                p.empty { "No flows." }
            } @else {
                div.scroll {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Flow" }
                                th scope="col" { "State" }
                                th scope="col" { "Progress" }
                                th.number scope="col" { "Blocked" }
                                th.number scope="col" { "Active" }
                                th.number scope="col" { "Completed" }
                                th.number scope="col" { "Dead" }
                                th.number scope="col" { "Cancelled" }
                                th.number scope="col" { "Created" }
                            }
                        }
                        tbody { @for flow in &found.flows { (row(view, flow)) } }
                    }
                }
            }
            @if let Some(next) = next { p.more { a.button href=(next) { "Next page" } } }
        }
    };
    Ok(("Flows".to_owned(), content))
}

fn row(view: &View<'_>, flow: &FlowRow) -> Markup {
    let counts = flow.counts;
    html! {
        tr {
            th scope="row" { a href=(view.link(Place::Flow(&flow.name))) { (flow.name) } }
            td { (flow_badge(&flow.state)) }
            td { (progress(flow)) }
            @for count in [counts.blocked, counts.active, counts.completed, counts.dead, counts.cancelled] {
                td.number { @if count == 0 { span.zero { "0" } } @else { (number(count)) } }
            }
            td.number { (moment(view.now, flow.created_at)) }
        }
    }
}

/// How many jobs and signals have ended, as a bar and in words.
pub fn progress(flow: &FlowRow) -> Markup {
    let (ended, total) = (flow.counts.ended(), flow.counts.total());
    html! {
        span.progress {
            @if total > 0 { progress max=(total) value=(ended) aria-label={ "progress of " (flow.name) } {} " " }
            (number(ended)) " of " (number(total))
        }
    }
}

/// The states of flows and of what is in them, each with the class of its colour.
const COLOURS: [(&str, &str); 8] = [
    ("running", "running"),
    ("active", "running"),
    ("blocked", "blocked"),
    ("held", "paused"),
    ("completed", "completed"),
    ("failed", "dead"),
    ("dead", "dead"),
    ("cancelled", "cancelled"),
];

/// A state with its colour.
pub fn flow_badge(state: &str) -> Markup {
    let colour = COLOURS.iter().find(|(known, _)| *known == state);
    badge(colour.map_or("other", |(_, class)| class), state)
}
