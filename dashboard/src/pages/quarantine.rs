//! Rows that could not be read.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::problem::shown;
use super::view::{Place, Section, Style, View, bytes, number};
use crate::api::{Action, Paging, Problem, QuarantinedRow};
use crate::http::Query;
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn quarantine(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    page: Result<Query<Paging>, Problem>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Quarantine, made(&view, page).await)
}

async fn made(view: &View<'_>, page: Result<Query<Paging>, Problem>) -> Result<(String, Markup), Problem> {
    let found = view.site.source.quarantine(page?.0).await?;
    let next = found.next.as_ref().map(|after| view.link_with(Place::Quarantine, &[("after", after)]));
    let content = html! {
        div.head { h1 { "Quarantine" } span.count { (number(found.total)) } }
        p.hint { "Rows of the file that could not be read. They are kept aside, and the rest of the queue goes on." }
        div id="rows" data-live {
            @if found.rows.is_empty() {
                p.empty { "No rows." }
            } @else {
                div.scroll {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Row" }
                                th scope="col" { "Table" }
                                th scope="col" { "Queue" }
                                th scope="col" { "Job" }
                                th.number scope="col" { "Size" }
                                th scope="col" { "Why" }
                                @if view.can_change() { th scope="col" { span.hidden { "Actions" } } }
                            }
                        }
                        tbody { @for row in &found.rows { (shown_row(view, row)) } }
                    }
                }
            }
            @if let Some(next) = next { p.more { a.button href=(next) { "Next page" } } }
        }
    };
    Ok(("Quarantine".to_owned(), content))
}

fn shown_row(view: &View<'_>, row: &QuarantinedRow) -> Markup {
    html! {
        tr {
            th scope="row" { (row.number) }
            td { (row.table) }
            td { @if let Some(queue) = &row.queue { a href=(view.link(Place::Queue(queue))) { (queue) } } }
            td { @if let Some(job) = &row.job { a href=(view.link(Place::Job(job))) { (job) } } }
            td.number { (bytes(row.bytes)) }
            td.wide { (row.why) }
            @if view.can_change() {
                td {
                    div.row {
                        (view.button("Try again", Style::Small, &Action::RestoreRow { number: row.number }))
                        (view.button("Purge …", Style::Small, &Action::PurgeRow { number: row.number }))
                    }
                }
            }
        }
    }
}
