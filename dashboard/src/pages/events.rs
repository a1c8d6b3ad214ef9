//! What happens now.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::html;

use super::view::{Section, View};
use crate::safety::Visit;
use crate::site::Site;

/// The page. The script fills the table.
pub(crate) async fn events(State(site): State<Arc<Site>>, Extension(visit): Extension<Visit>) -> Response {
    let view = View::new(&site, &visit);
    let from = format!("{}/api/v1/events", visit.base);
    let content = html! {
        h1 { "Events" }
        p.hint { "What happens while this page is open, the latest first." }
        noscript { p.note { "This page needs a script. " a href=(from) { "The events as they are" } } }
        div.scroll {
            table.events {
                thead {
                    tr {
                        th scope="col" { "Time" } th scope="col" { "Event" } th scope="col" { "Queue" }
                        th scope="col" { "Job" } th scope="col" { "Detail" }
                    }
                }
                tbody data-events=(from) data-jobs=(format!("{}/jobs/", visit.base)) {}
            }
        }
    };
    view.page(Section::Events, "Events", content)
}
