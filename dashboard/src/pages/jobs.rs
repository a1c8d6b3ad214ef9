//! The jobs of all queues.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::filters::filters;
use super::job_table::{List, bulk, order_link, state_tabs, table};
use super::problem::shown;
use super::search::{Found, search};
use super::view::{Place, Section, View};
use crate::api::{JobQuery, Ordering, Paging, Problem};
use crate::http::Query;
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn jobs(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    query: Result<Query<JobQuery>, Problem>,
    ordering: Result<Query<Ordering>, Problem>,
    page: Result<Query<Paging>, Problem>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Jobs, made(&view, query, ordering, page).await)
}

async fn made(
    view: &View<'_>,
    query: Result<Query<JobQuery>, Problem>,
    ordering: Result<Query<Ordering>, Problem>,
    page: Result<Query<Paging>, Problem>,
) -> Result<(String, Markup), Problem> {
    let (Query(query), Query(ordering), Query(page)) = (query?, ordering?, page?);
    let query = query.without_empty();
    let Found { page, is_quick } =
        search(&*view.site.source, &query, ordering.of_state(query.state.as_deref()), page).await?;
    let list = List { query: &query, ordering, with_queue: true };
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
        (filters(&query, ordering, &view.link(Place::Jobs), true))
        div.row.bulk { (bulk(view, &query)) (order_link(view, &list)) }
        div id="jobs" data-live[is_quick] { (table(view, &list, &page)) }
    };
    Ok(("Jobs".to_owned(), content))
}
