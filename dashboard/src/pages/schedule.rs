//! One schedule.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};

use super::job::body;
use super::problem::shown;
use super::schedules::{badges, verbs};
use super::view::{Place, Section, Style, View, moment, number, pairs, seconds};
use crate::api::{Action, Format, Problem, Schedule, ScheduleChange};
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn schedule(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Schedules, made(&view, &name).await)
}

async fn made(view: &View<'_>, name: &str) -> Result<(String, Markup), Problem> {
    let schedule = view.site.source.schedule(name).await?;
    let content = html! {
        div.head { h1 { (schedule.name) } (badges(&schedule)) }
        @if let Some(held) = &schedule.held { p.note { "Its next run waits: " (held) } }
        div.row {
            (verbs(view, &schedule))
            (view.button("Remove …", Style::Danger, &Action::RemoveSchedule { name: schedule.name.clone() }))
        }
        section.columns id="schedule" data-live {
            div.card { h2 { "Facts" } (facts(view, &schedule)) }
            div.card {
                h2 { "Next runs" }
                @if schedule.upcoming.is_empty() { p.empty { "None." } }
                ol { @for at in &schedule.upcoming { li { (at) ", " (moment(view.now, *at)) } } }
            }
            div.card { h2 { "Payload" } (body(&schedule.payload)) }
        }
        @if view.can_change() { section { (edit(view, &schedule)) } }
    };
    Ok((schedule.name.clone(), content))
}

fn facts(view: &View<'_>, schedule: &Schedule) -> Markup {
    pairs([
        ("times", Some(html! { code { (schedule.when) } })),
        ("queue", Some(html! { a href=(view.link(Place::Queue(&schedule.queue))) { (schedule.queue) } })),
        ("kind", Some(html! { (schedule.kind) })),
        ("missed runs", Some(html! { (schedule.misfire) })),
        ("overlapping runs", Some(html! { (schedule.overlap) })),
        ("jitter", (schedule.jitter_seconds > 0.0).then(|| html! { (seconds(schedule.jitter_seconds)) })),
        ("begins", schedule.starts_at.map(|at| moment(view.now, at))),
        ("ends", schedule.ends_at.map(|at| moment(view.now, at))),
        (
            "runs",
            Some(html! { (number(schedule.runs)) @if let Some(most) = schedule.at_most { " of " (number(most)) } }),
        ),
        ("last run", schedule.last.map(|at| moment(view.now, at))),
        ("next run", schedule.next.map(|at| moment(view.now, at))),
        ("latest job", schedule.last_job.as_ref().map(|id| html! { a href=(view.link(Place::Job(id))) { (id) } })),
        ("made", Some(moment(view.now, schedule.created_at))),
        ("changed", Some(moment(view.now, schedule.changed_at))),
    ])
}

/// The form that changes the times or the payload.
fn edit(view: &View<'_>, schedule: &Schedule) -> Markup {
    let is_json = schedule.payload.format == Format::Json && !schedule.payload.is_cut && !schedule.payload.is_redacted;
    let action = Action::UpdateSchedule { name: schedule.name.clone(), change: ScheduleChange::default() };
    html! {
        details {
            summary { "Change it" }
            p.hint { "What is left empty stays as it is. The application changes it back if it stores the schedule again." }
            (view.form(&action, html! {
                div.fields {
                    div.field { label for="cron" { "Cron expression" } input id="cron" name="/change/cron:option" placeholder="0 3 * * *"; }
                    div.field { label for="zone" { "Time zone" } input id="zone" name="/change/zone:option" placeholder="Europe/Berlin"; }
                    div.field {
                        label for="every" { "Or every so many seconds" }
                        input id="every" name="/change/every_seconds:json" type="number" min="1" step="any";
                    }
                }
                @if is_json {
                    label for="payload" { "Payload" }
                    (view.was("/change/payload:json", &schedule.payload.text))
                    textarea id="payload" name="/change/payload:json" rows="6" spellcheck="false" { "\n" (schedule.payload.text) }
                }
                button.button type="submit" { "Change" }
            }))
        }
    }
}
