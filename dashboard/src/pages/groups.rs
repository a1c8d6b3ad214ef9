//! The groups of a queue, and what each waits for.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};

use super::problem::shown;
use super::queue_head::{Tab, head};
use super::view::{Place, Section, Style, View, badge, number};
use crate::api::{Action, Group, JobQuery, Paging, Problem};
use crate::http::Query;
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn groups(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
    page: Result<Query<Paging>, Problem>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Overview, made(&view, &name, page).await)
}

async fn made(view: &View<'_>, name: &str, page: Result<Query<Paging>, Problem>) -> Result<(String, Markup), Problem> {
    let detail = view.site.source.queue(name).await?;
    let found = view.site.source.groups(name, page?.0).await?;
    let next = found.next.as_ref().map(|after| view.link_with(Place::Groups(name), &[("after", after)]));
    let content = html! {
        (head(view, &detail, Tab::Groups))
        div id="groups" data-live {
            @if found.groups.is_empty() {
                p.empty { "No group has waiting jobs." }
            } @else {
                div.scroll {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Group" }
                                th.number scope="col" { "Jobs" }
                                th scope="col" { "Next" }
                                th scope="col" { "Why it does not run" }
                                @if view.can_change() { th scope="col" { span.hidden { "Actions" } } }
                            }
                        }
                        tbody { @for group in &found.groups { (row(view, name, group)) } }
                    }
                }
            }
            @if let Some(next) = next { p.more { a.button href=(next) { "Next page" } } }
        }
    };
    Ok((format!("Groups of {name}"), content))
}

fn row(view: &View<'_>, queue: &str, group: &Group) -> Markup {
    let jobs = JobQuery { group: Some(group.name.clone()), ..JobQuery::of_queue(queue) };
    let (queue, name) = (queue.to_owned(), group.name.clone());
    html! {
        tr {
            th scope="row" {
                a href=(view.link_to_jobs(&jobs)) { (group.name) } " "
                @if group.is_paused { (badge("paused", "paused")) }
                @if group.held_by.is_some() { (badge("dead", "held")) }
            }
            td.number { (number(group.jobs)) }
            td { @if let Some(next) = &group.next { a href=(view.link(Place::Job(next))) { (next) } } @else { "–" } }
            td { (group.why) }
            @if view.can_change() {
                td {
                    @if group.is_paused || group.held_by.is_some() {
                        (view.button("Resume", Style::Small, &Action::ResumeGroup { queue, group: name }))
                    } @else {
                        (view.button("Pause", Style::Small, &Action::PauseGroup { queue, group: name }))
                    }
                }
            }
        }
    }
}
