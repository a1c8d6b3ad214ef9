//! All schedules.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::problem::shown;
use super::view::{Place, Section, Style, View, badge, moment, number};
use crate::api::{Action, Paging, Problem, Schedule};
use crate::http::Query;
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn schedules(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    page: Result<Query<Paging>, Problem>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Schedules, made(&view, page).await)
}

async fn made(view: &View<'_>, page: Result<Query<Paging>, Problem>) -> Result<(String, Markup), Problem> {
    let found = view.site.source.schedules(page?.0).await?;
    let next = found.next.as_ref().map(|after| view.link_with(Place::Schedules, &[("after", after)]));
    let content = html! {
        div.head { h1 { "Schedules" } span.count { (number(found.total)) } }
        div id="schedules" data-live {
            @if found.schedules.is_empty() {
                p.empty { "No schedules." }
            } @else {
                div.scroll {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Schedule" }
                                th scope="col" { "Times" }
                                th scope="col" { "Job" }
                                th.number scope="col" { "Runs" }
                                th.number scope="col" { "Last" }
                                th.number scope="col" { "Next" }
                                @if view.can_change() { th scope="col" { span.hidden { "Actions" } } }
                            }
                        }
                        tbody { @for schedule in &found.schedules { (row(view, schedule)) } }
                    }
                }
            }
            @if let Some(next) = next { p.more { a.button href=(next) { "Next page" } } }
        }
    };
    Ok(("Schedules".to_owned(), content))
}

fn row(view: &View<'_>, schedule: &Schedule) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(view.link(Place::Schedule(&schedule.name))) { (schedule.name) } " " (badges(schedule)) }
            td { code { (schedule.when) } }
            td { a href=(view.link(Place::Queue(&schedule.queue))) { (schedule.queue) } " " (schedule.kind) }
            td.number { (number(schedule.runs)) }
            td.number { @match schedule.last { Some(at) => (moment(view.now, at)), None => "–" } }
            td.number { @match schedule.next { Some(at) => (moment(view.now, at)), None => "–" } }
            @if view.can_change() { td { div.row { (verbs(view, schedule)) } } }
        }
    }
}

/// What is special about a schedule.
pub fn badges(schedule: &Schedule) -> Markup {
    html! {
        @if schedule.is_paused { (badge("paused", "paused")) }
        @if let Some(held) = &schedule.held { span.badge.retrying title=(held) { "held" } }
    }
}

/// What can be done.
pub fn verbs(view: &View<'_>, schedule: &Schedule) -> Markup {
    let name = || schedule.name.clone();
    html! {
        (view.button("Run now", Style::Small, &Action::RunSchedule { name: name() }))
        @if schedule.is_paused {
            (view.button("Resume", Style::Small, &Action::ResumeSchedule { name: name() }))
        } @else {
            (view.button("Pause", Style::Small, &Action::PauseSchedule { name: name() }))
        }
    }
}
