//! The page that says what went wrong.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::view::{Place, Section, View};
use crate::api::Problem;
use crate::safety::Visit;
use crate::site::Site;

/// The page of a problem.
pub(crate) fn problem(site: &Site, visit: &Visit, problem: &Problem) -> Response {
    page(site, visit, problem, Section::None)
}

/// The page for somebody who was not let in.
pub(crate) fn refusal(site: &Site, visit: &Visit, problem: &Problem) -> Response {
    page(site, visit, problem, Section::Outside)
}

fn page(site: &Site, visit: &Visit, problem: &Problem, section: Section) -> Response {
    let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let view = View::new(site, visit);
    let title = status.canonical_reason().unwrap_or("Problem");
    let content = html! {
        section.narrow {
            h1 { (title) }
            p { (problem.detail) }
            @if section != Section::Outside { p { a href=(view.link(Place::Overview)) { "To the queues" } } }
        }
    };
    view.page_with(status, section, title, content)
}

/// The page for a path where nothing is.
pub(crate) async fn not_found(State(site): State<Arc<Site>>, Extension(visit): Extension<Visit>) -> Response {
    let missing = Problem::not_found("There is no such page.");
    if visit.here.starts_with("/api/") {
        return axum::response::IntoResponse::into_response(missing);
    }
    problem(&site, &visit, &missing)
}

/// A page, or the page of the problem that there was.
pub(super) fn shown(view: &View<'_>, section: Section, made: Result<(String, Markup), Problem>) -> Response {
    match made {
        Ok((title, content)) => view.page(section, &title, content),
        Err(found) => problem(view.site, view.visit, &found),
    }
}
