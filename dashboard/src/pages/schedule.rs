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
use crate::api::{Action, Format, Misfire, Overlap, Problem, Schedule, ScheduleChange, Time};
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

/// The form that changes the schedule. What is not changed in it is not sent.
fn edit(view: &View<'_>, schedule: &Schedule) -> Markup {
    let is_json = schedule.payload.format == Format::Json && !schedule.payload.is_cut && !schedule.payload.is_redacted;
    let action = Action::UpdateSchedule { name: schedule.name.clone(), change: ScheduleChange::default() };
    html! {
        details {
            summary { "Change it" }
            p.hint { "The application changes it back if it stores the schedule again. Other times are given as one of the first two." }
            (view.form(&action, html! {
                div.fields {
                    div.field { label for="cron" { "Cron expression" } input id="cron" name="/change/cron:option" placeholder="0 3 * * *"; }
                    div.field { label for="zone" { "Time zone" } input id="zone" name="/change/zone:option" placeholder="Europe/Berlin"; }
                    div.field {
                        label for="every" { "Or every so many seconds" }
                        input id="every" name="/change/every_seconds:json" type="number" min="0" step="any";
                    }
                    (misfire(view, schedule.misfire))
                    (overlap(view, schedule.overlap))
                    (jitter(view, schedule.jitter_seconds))
                    (bound(view, "starts_at", "Not before (UTC)", schedule.starts_at))
                    (bound(view, "ends_at", "Not after (UTC)", schedule.ends_at))
                    (at_most(view, schedule.at_most))
                }
                @if is_json {
                    label for="payload" { "Payload" }
                    (view.was("/change/payload_text:option", &schedule.payload.text))
                    textarea id="payload" name="/change/payload_text:option" rows="6" spellcheck="false" { "\n" (schedule.payload.text) }
                }
                button.button type="submit" { "Change" }
            }))
        }
    }
}

/// A choice of one of these values, each with its words.
fn choice<'c>(
    view: &View<'_>,
    id: &str,
    label: &str,
    now: &str,
    values: impl IntoIterator<Item = (&'c str, String)>,
) -> Markup {
    let name = format!("/change/{id}:option");
    html! {
        div.field {
            label for=(id) { (label) }
            (view.was(&name, now))
            select id=(id) name=(name) {
                @for (value, words) in values { option value=(value) selected[value == now] { (words) } }
            }
        }
    }
}

fn misfire(view: &View<'_>, misfire: Misfire) -> Markup {
    let (now, at_most) = match misfire {
        Misfire::Skip => ("skip", String::new()),
        Misfire::All { at_most } => ("", at_most.to_string()),
        _ => ("once", String::new()),
    };
    let mut values = vec![("skip", Misfire::Skip.to_string()), ("once", Misfire::Once.to_string())];
    if now.is_empty() {
        values.insert(0, ("", misfire.to_string()));
    }
    let name = "/change/misfire/all/at_most:json";
    html! {
        (choice(view, "misfire", "Missed runs", now, values))
        div.field {
            label for="make_up" { "Or make up so many of them" }
            (view.was(name, &at_most))
            input id="make_up" name=(name) type="number" min="1" max="1000" value=(at_most);
        }
    }
}

fn overlap(view: &View<'_>, overlap: Overlap) -> Markup {
    let now = match overlap {
        Overlap::Allow => "allow",
        Overlap::Queue => "queue",
        _ => "skip",
    };
    let values = [("allow", Overlap::Allow), ("skip", Overlap::Skip), ("queue", Overlap::Queue)];
    choice(view, "overlap", "Overlapping runs", now, values.map(|(value, overlap)| (value, overlap.to_string())))
}

fn jitter(view: &View<'_>, seconds: f64) -> Markup {
    let (name, now) = ("/change/jitter_seconds:json", seconds.to_string());
    html! {
        div.field {
            label for="jitter" { "Jitter in seconds" }
            (view.was(name, &now))
            input id="jitter" name=(name) type="number" min="0" max="86400" step="any" value=(now);
        }
    }
}

/// A time that there need not be: an empty field removes it.
fn bound(view: &View<'_>, id: &str, label: &str, at: Option<Time>) -> Markup {
    let (name, now) = (format!("/change/{id}:nullable"), at.map(|at| at.to_string()).unwrap_or_default());
    html! {
        div.field {
            label for=(id) { (label) }
            (view.was(&name, &now))
            input id=(id) name=(name) placeholder="2026-11-28T16:29" autocomplete="off" value=(now);
        }
    }
}

fn at_most(view: &View<'_>, runs: Option<u64>) -> Markup {
    let (name, now) = ("/change/at_most:nullable_json", runs.map(|runs| runs.to_string()).unwrap_or_default());
    html! {
        div.field {
            label for="at_most" { "Runs, at most" }
            (view.was(name, &now))
            input id="at_most" name=(name) type="number" min="1" value=(now);
        }
    }
}
