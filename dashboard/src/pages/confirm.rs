//! The page that asks before an action, and says how many jobs it changes.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::act::is_own_path;
use super::problem::shown;
use super::view::{Place, Section, View, number};
use crate::api::{Action, JobQuery, Problem};
use crate::http::Query;
use crate::safety::Visit;
use crate::site::Site;

#[derive(Deserialize)]
pub(crate) struct Asked {
    action: String,
    #[serde(default)]
    back: String,
}

/// The page.
pub(crate) async fn confirm(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    asked: Result<Query<Asked>, Problem>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::None, ask(&view, asked).await)
}

async fn ask(view: &View<'_>, asked: Result<Query<Asked>, Problem>) -> Result<(String, Markup), Problem> {
    let Query(Asked { action, back }) = asked?;
    let action: Action = serde_json::from_str(&action)
        .map_err(|error| Problem::invalid(format!("The action cannot be read: {error}")))?;
    if !action.is_destructive() && action.jobs().is_none() {
        return Err(Problem::invalid("This action needs no confirmation."));
    }
    view.site.options.permits(&view.visit.actor, &action)?;
    let question = question(view, &action).await?;
    let back = if is_own_path(&back) { back } else { "/".to_owned() };
    // What is removed has no page any more.
    let then = match action {
        Action::RemoveFlow { .. } => Place::Flows.path(),
        Action::RemoveSchedule { .. } => Place::Schedules.path(),
        Action::RemoveTopic { .. } => Place::Topics.path(),
        Action::RemoveStream { .. } => Place::Streams.path(),
        _ => back.clone(),
    };
    let content = html! {
        section.narrow {
            h1 { (question) }
            @if let Some(jobs) = action.jobs() { (which(jobs)) }
            (view.form_back_to(&then, &action, html! {
                @match &action {
                    Action::CancelJob { .. } | Action::CancelJobs { .. } | Action::CancelFlow { .. } => {
                        label for="reason" { "Reason" }
                        input id="reason" name="/reason" value="cancelled by an operator";
                    }
                    Action::MoveJobs { .. } => {
                        label for="queue" { "To the queue" }
                        input id="queue" name="/queue" required;
                    }
                    _ => {}
                }
                div.row {
                    button.button.danger[action.is_destructive()] type="submit" { "Yes" }
                    a.button href=(format!("{}{back}", view.visit.base)) { "No" }
                }
            }))
        }
    };
    Ok(("Are you sure?".to_owned(), content))
}

/// How many jobs an action on many jobs changes.
async fn affected(view: &View<'_>, action: &Action) -> Result<String, Problem> {
    let Some(jobs) = action.jobs() else { return Ok(String::new()) };
    if let Action::RedriveJobs { error_group: Some(group), .. } | Action::PurgeJobs { error_group: Some(group), .. } =
        action
    {
        let dead = view.site.source.dead(jobs.queue.as_deref()).await?;
        let at_least = if dead.is_partial() { "at least " } else { "" };
        return Ok(format!("{at_least}{}", of_jobs(dead.count_of(group))));
    }
    let mut count = 0;
    for state in action.states().iter().filter(|own| jobs.state.as_deref().is_none_or(|state| state == **own)) {
        count += view.site.source.count(JobQuery { state: Some((*state).to_owned()), ..jobs.clone() }).await?;
    }
    Ok(of_jobs(count))
}

fn of_jobs(count: u64) -> String {
    if count == 1 { "1 job".to_owned() } else { format!("{} jobs", number(count)) }
}

/// The question, with the number of jobs.
async fn question(view: &View<'_>, action: &Action) -> Result<String, Problem> {
    let jobs = affected(view, action).await?;
    Ok(match action {
        Action::CancelJob { id, .. } => format!("Cancel job {id}?"),
        Action::DeleteJob { id } => format!("Delete job {id}?"),
        Action::PurgeJob { id } => format!("Remove job {id} for good?"),
        Action::CancelJobs { .. } => format!("Cancel {jobs}?"),
        Action::RunJobsNow { .. } => format!("Run {jobs} now?"),
        Action::MoveJobs { .. } => format!("Move {jobs}?"),
        Action::DeleteJobs { .. } => format!("Delete {jobs}?"),
        Action::RedriveJobs { .. } => format!("Redrive {jobs}?"),
        Action::PurgeJobs { .. } => format!("Remove {jobs} for good?"),
        Action::DrainQueue { queue } => {
            let counts = view.site.source.queue(queue).await?.queue.counts;
            let waiting = counts.pending + counts.scheduled + counts.retrying;
            format!("Remove all {} waiting jobs of the queue {queue} for good?", number(waiting))
        }
        Action::ObliterateQueue { queue } => {
            let counts = view.site.source.queue(queue).await?.queue.counts;
            let all = counts.unfinished() + counts.completed + counts.dead + counts.cancelled;
            format!("Remove the queue {queue} with all its {} jobs?", number(all))
        }
        Action::RemoveSchedule { name } => format!("Remove the schedule {name}?"),
        Action::Unbind { topic, binding } => {
            let recipient = binding.recipient().unwrap_or_default();
            format!("Remove this binding of the {recipient} to the topic {topic}?")
        }
        Action::RemoveTopic { topic } => format!("Remove the topic {topic} with its bindings?"),
        Action::RemoveStream { stream } => {
            let entries = view.site.source.stream(stream).await?.stream.entries;
            format!("Remove the stream {stream} with its {} entries?", number(entries))
        }
        Action::RemoveConsumer { stream, consumer } => {
            let consumers = view.site.source.consumers(Some(stream)).await?;
            let dead = consumers.iter().find(|own| own.name == *consumer).map_or(0, |own| own.dead);
            format!("Remove the consumer {consumer} of the stream {stream} with its {} dead letters?", number(dead))
        }
        Action::CancelFlow { flow, .. } => {
            let counts = view.site.source.flow(flow).await?.row.counts;
            let open = of_jobs(counts.blocked + counts.active);
            format!("Cancel {open} of the flow {flow}?")
        }
        Action::RemoveFlow { flow } => format!("Remove the flow {flow} with the results of its jobs?"),
        Action::PurgeRow { number } => format!("Remove the row {number} for good?"),
        other => format!("Do this: {}?", other.name().replace('_', " ")),
    })
}

/// Which jobs are meant, in words.
fn which(jobs: &JobQuery) -> Markup {
    let filters = [
        ("queue", &jobs.queue),
        ("state", &jobs.state),
        ("kind", &jobs.kind),
        ("group", &jobs.group),
        ("unique key", &jobs.key),
        ("tag", &jobs.tag),
        ("payload contains", &jobs.payload),
        ("value at", &jobs.pointer),
        ("equals", &jobs.equals),
        ("error contains", &jobs.error),
    ];
    html! {
        dl.facts {
            @for (name, value) in filters {
                @if let Some(value) = value { div { dt { (name) } dd { code { (value) } } } }
            }
            @if let Some(since) = jobs.since { div { dt { "since" } dd { (since) } } }
            @if let Some(until) = jobs.until { div { dt { "until" } dd { (until) } } }
        }
    }
}
