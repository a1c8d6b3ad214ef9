//! The jobs of all queues.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::filters::filters;
use super::job_table::{bulk, state_tabs, table};
use super::problem::shown;
use super::search::{Found, search};
use super::view::{Place, Section, View};
use crate::api::{JobQuery, Paging, Problem};
use crate::http::Query;
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn jobs(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    query: Result<Query<JobQuery>, Problem>,
    page: Result<Query<Paging>, Problem>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Jobs, made(&view, query, page).await)
}

async fn made(
    view: &View<'_>,
    query: Result<Query<JobQuery>, Problem>,
    page: Result<Query<Paging>, Problem>,
) -> Result<(String, Markup), Problem> {
    let (Query(query), Query(page)) = (query?, page?);
    let query = query.without_empty();
    let Found { page, is_quick } = search(&*view.site.source, &query, page).await?;
    let content = html! {
        div.head {
            h1 { "Jobs" }
            form.find method="get" action=(view.link(Place::Jobs)) role="search" {
                label.hidden for="find" { "Payload contains" }
                input id="find" type="search" name="payload" placeholder="Search the payloads" value=[query.payload.as_deref()];
                button.button type="submit" { "Search" }
            }
        }
        (state_tabs(view, &query, None))
        (filters(&query, &view.link(Place::Jobs), true))
        (bulk(view, &query))
        div id="jobs" data-live[is_quick] { (table(view, &query, &page, true)) }
    };
    Ok(("Jobs".to_owned(), content))
}
