//! The jobs of a queue.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};

use super::filters::filters;
use super::job_table::{List, bulk, order_link, state_tabs, table};
use super::problem::shown;
use super::queue_head::{Tab, head};
use super::search::{Found, search};
use super::view::{Place, Section, View};
use crate::api::{JobQuery, Ordering, Paging, Problem};
use crate::http::Query;
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn queue(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
    query: Result<Query<JobQuery>, Problem>,
    ordering: Result<Query<Ordering>, Problem>,
    page: Result<Query<Paging>, Problem>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Overview, made(&view, name, query, ordering, page).await)
}

async fn made(
    view: &View<'_>,
    name: String,
    query: Result<Query<JobQuery>, Problem>,
    ordering: Result<Query<Ordering>, Problem>,
    page: Result<Query<Paging>, Problem>,
) -> Result<(String, Markup), Problem> {
    let (Query(query), Query(ordering), Query(page)) = (query?, ordering?, page?);
    let detail = view.site.source.queue(&name).await?;
    let query = JobQuery { queue: Some(name), ..query.without_empty() };
    let Found { page, is_quick } =
        search(&*view.site.source, &query, ordering.of_state(query.state.as_deref()), page).await?;
    let list = List { query: &query, ordering, with_queue: false };
    let content = html! {
        (head(view, &detail, Tab::Jobs))
        div id="states" data-live { (state_tabs(view, &query, Some(&detail.queue.counts))) }
        (filters(&query, ordering, &view.link(Place::Queue(&detail.queue.name)), false))
        div.row.bulk { (bulk(view, &query)) (order_link(view, &list)) }
        div id="jobs" data-live[is_quick] { (table(view, &list, &page)) }
    };
    Ok((detail.queue.name.clone(), content))
}
