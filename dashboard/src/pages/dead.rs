//! Dead letters by their errors.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::problem::shown;
use super::view::{Place, Section, Style, View, moment, number};
use crate::api::{Action, DeadGroup, JobQuery, Problem};
use crate::http::Query;
use crate::safety::Visit;
use crate::site::Site;

/// The page is kept up to date while fewer dead letters than this have to be read for it.
const LIVE_MAX: u64 = 1_000;

#[derive(Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    queue: String,
}

/// The page.
pub(crate) async fn dead(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    asked: Result<Query<Asked>, Problem>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Dead, made(&view, asked).await)
}

async fn made(view: &View<'_>, asked: Result<Query<Asked>, Problem>) -> Result<(String, Markup), Problem> {
    let Query(Asked { queue }) = asked?;
    let queue = Some(queue).filter(|queue| !queue.is_empty());
    let summary = view.site.source.dead(queue.as_deref()).await?;
    let jobs = JobQuery { queue, state: Some("dead".to_owned()), ..JobQuery::default() };
    let content = html! {
        div.head {
            h1 { "Dead letters" }
            @if let Some(queue) = &jobs.queue { span { "of the queue " a href=(view.link(Place::Queue(queue))) { (queue) } } }
        }
        // So many dead letters are not read every second.
        div id="dead" data-live[summary.read < LIVE_MAX] {
            @if summary.total > 0 {
                div.row {
                    a.button.small href=(view.link_to_jobs(&jobs)) { "List" }
                    (view.button("Redrive all …", Style::Small, &Action::RedriveJobs { jobs: jobs.clone(), error_group: None }))
                    (view.button("Purge all …", Style::Small, &Action::PurgeJobs { jobs: jobs.clone(), error_group: None }))
                }
            }
            @if summary.total == 0 { p.empty { "No dead letters." } }
            @if summary.is_partial() {
                p.hint { "The groups are made of the first " (number(summary.read)) " of " (number(summary.total)) " dead letters." }
            }
            @for group in &summary.groups { (card(view, &jobs, group)) }
        }
    };
    Ok(("Dead letters".to_owned(), content))
}

fn card(view: &View<'_>, jobs: &JobQuery, group: &DeadGroup) -> Markup {
    let error_group = || Some(group.error.clone());
    html! {
        article.card.dead {
            div.head {
                h2 { span.count { (number(group.count)) "×" } " " (group.error) }
            }
            p.hint {
                @for queue in &group.queues { a href=(view.link(Place::Queue(queue))) { (queue) } " " }
                @for kind in &group.kinds { code { (kind) } " " }
                "· first " (moment(view.now, group.first_seen)) " · last " (moment(view.now, group.last_seen))
            }
            details {
                summary { "One of them: job " (group.job) }
                pre.error tabindex="0" { (group.sample) }
                p { a href=(view.link(Place::Job(&group.job))) { "Job " (group.job) } }
            }
            div.row {
                (view.button("Redrive …", Style::Small, &Action::RedriveJobs { jobs: jobs.clone(), error_group: error_group() }))
                (view.button("Purge …", Style::Small, &Action::PurgeJobs { jobs: jobs.clone(), error_group: error_group() }))
            }
        }
    }
}
