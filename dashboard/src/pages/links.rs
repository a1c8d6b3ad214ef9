//! The links of the process.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::problem::shown;
use super::view::{Place, Section, View, badge, moment, number, pairs};
use crate::api::{Link, LinkDirection, Problem};
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn links(State(site): State<Arc<Site>>, Extension(visit): Extension<Visit>) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Links, made(&view).await)
}

async fn made(view: &View<'_>) -> Result<(String, Markup), Problem> {
    let links = view.site.source.links().await?;
    let content = html! {
        h1 { "Links" }
        div id="links" data-live {
            @if links.is_empty() { p.empty { "No link of this process moves jobs to or from other machines." } }
            div.columns { @for link in &links { (card(view, link)) } }
        }
    };
    Ok(("Links".to_owned(), content))
}

/// Whether a link is connected, with its colour.
pub fn link_badge(link: &Link) -> Markup {
    let class = match link.state() {
        "connected" => "completed",
        "down" => "dead",
        _ => "other",
    };
    badge(class, link.state())
}

fn card(view: &View<'_>, link: &Link) -> Markup {
    let (moved, left, position) = match link.direction {
        LinkDirection::Forward => ("sent", "still to be sent", "latest batch"),
        _ => ("received", "still to be received", "position"),
    };
    let seldom = |name, count| (name, (count > 0).then(|| html! { (number(count)) }));
    let at = |time| moment(view.now, time);
    html! {
        article.card {
            div.head { h2 { (link.name) } (link_badge(link)) }
            @if let (Some(since), false) = (link.since, link.is_connected) {
                p.note.problem {
                    (link.engine) " has not answered since " (at(since)) "."
                    @if let Some(error) = &link.last_error { " " (error) }
                }
            }
            (pairs([
                ("queue", Some(html! { a href=(view.link(Place::Queue(&link.queue))) { (link.queue) } })),
                ("direction", Some(direction(link.direction))),
                ("other side", Some(html! { (link.remote) })),
                ("engine", Some(html! { (link.engine) })),
                ("connected", link.since.filter(|_| link.is_connected).map(|since| html! { "since " (at(since)) })),
                (moved, Some(html! {
                    (number(link.jobs))
                    @if let Some(latest) = link.latest_at { ", the latest " (at(latest)) }
                })),
                (left, Some(html! { @match link.lag { Some(jobs) => (number(jobs)), None => "not known" } })),
                (position, link.position.map(|position| html! { (number(position)) })),
                seldom("in doubt", link.in_doubt),
                seldom("held by leases", link.held),
                seldom("leases lost", link.lost_leases),
                seldom("moved again, and known", link.known),
                seldom("the engine went back", link.engine_went_back),
                seldom("this file went back", link.file_went_back),
                seldom("batches lost", link.lost_batches),
                seldom("unreadable", link.unreadable),
                ("latest error", link.last_error.as_ref().map(|error| html! {
                    (error)
                    @if let Some(time) = link.last_error_at { ", " (at(time)) }
                })),
                ("started", Some(at(link.started_at))),
            ]))
        }
    }
}

fn direction(direction: LinkDirection) -> Markup {
    let text = match direction {
        LinkDirection::Forward => "sends the jobs of the queue",
        LinkDirection::Receive => "receives jobs into the queue",
        LinkDirection::Take => "takes shared jobs into the queue",
        LinkDirection::Other => "unknown",
    };
    html! { (text) }
}
