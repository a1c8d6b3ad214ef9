//! One job: what it is, why it does not run, what its attempts did, and what can be done.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};

use super::flow::{beginning, sent};
use super::problem::shown;
use super::view::{Place, Section, Style, View, bytes, moment, number, pairs, seconds, state_badge};
use crate::api::{Action, Attempt, Body, Change, EntryQuery, Format, Job, JobQuery, Problem, Progress, Step};
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn job(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Jobs, made(&view, &id).await)
}

async fn made(view: &View<'_>, id: &str) -> Result<(String, Markup), Problem> {
    let job = view.site.source.job(id).await?;
    let content = html! {
        div id="job" data-live {
            div.head {
                h1 { "Job " (job.row.id) }
                (state_badge(&job.row.state))
                @if let Some(progress) = &job.row.progress { (self::progress(progress)) }
            }
            p.why { (sentence(view, &job)) }
            @if let Some(error) = &job.codec_error { p.note.problem { "It cannot be read as it was written: " (error) } }
            div.row { (verbs(view, &job)) }
        }
        section.columns id="details" data-live {
            div.card { h2 { "Facts" } (facts(view, &job)) }
            div.card {
                h2 { "Payload" }
                (body(&job.payload))
                @if let Some(result) = &job.result { h2 { "Result" } (body(result)) }
            }
            @if !job.headers.is_empty() {
                div.card {
                    h2 { "Headers" }
                    dl.facts { @for (name, value) in &job.headers { div { dt { (name) } dd { code { (value) } } } } }
                }
            }
        }
        @if !job.steps.is_empty() { section id="steps" data-live { h2 { "Steps" } (steps(view, &job.steps)) } }
        section id="timeline" data-live { h2 { "Timeline" } (timeline(view, &job)) }
        @if view.can_change() && waits(&job) { section { (signal(view, &job)) } }
        @if view.can_change() && can_be_edited(&job) { section { (edit(view, &job)) } }
    };
    Ok((format!("Job {}", job.row.id), content))
}

/// Why the job does not run, with a link to the job that it waits for.
fn sentence(view: &View<'_>, job: &Job) -> Markup {
    html! {
        (job.why.sentence)
        @if let Some(other) = &job.why.job { " " a href=(view.link(Place::Job(other))) { "Job " (other) } }
    }
}

fn facts(view: &View<'_>, job: &Job) -> Markup {
    let row = &job.row;
    let queue = |query: JobQuery| view.link_to_jobs(&JobQuery { queue: Some(row.queue.clone()), ..query });
    let label = |text: &str, query: JobQuery| html! { a.label href=(queue(query)) { (text) } };
    pairs([
        ("queue", Some(html! { a href=(view.link(Place::Queue(&row.queue))) { (row.queue) } })),
        ("kind", Some(html! { (row.kind) })),
        ("priority", Some(html! { (row.priority) })),
        ("flow", row.flow.as_ref().map(|flow| html! { a href=(view.link(Place::Flow(flow))) { (flow) } })),
        ("group", row.group.as_ref().map(|group| label(group, JobQuery { group: Some(group.clone()), ..JobQuery::default() }))),
        ("unique key", row.key.as_ref().map(|key| html! {
            (label(key, JobQuery { key: Some(key.clone()), ..JobQuery::default() }))
            @if let Some(mode) = &job.unique { " " (mode) }
        })),
        ("idempotency key", job.idempotency_key.as_ref().map(|key| html! { code { (key) } })),
        ("tags", (!row.tags.is_empty()).then(|| html! {
            @for tag in &row.tags { (label(tag, JobQuery { tag: Some(tag.clone()), ..JobQuery::default() })) " " }
        })),
        ("attempts", Some(html! {
            (row.attempts) @if let Some(most) = row.max_attempts { " of " (most) }
            @if job.snoozes > 0 { ", put off " (job.snoozes) " times" }
        })),
        ("enqueued", Some(moment(view.now, row.enqueued_at))),
        ("due", row.run_at.map(|at| moment(view.now, at))),
        ("started", row.started_at.map(|at| moment(view.now, at))),
        ("ended", row.ended_at.map(|at| moment(view.now, at))),
        ("given up", job.expires_at.map(|at| moment(view.now, at))),
        ("undoes its steps", job.undoing.as_ref().map(|state| html! { "and is " (state) " then" })),
        ("reason", job.reason.as_ref().map(|reason| html! { (reason) })),
        ("weight", (job.weight > 1).then(|| html! { (job.weight) })),
        ("schedule", job.scheduled_for.as_ref().map(|run| html! {
            a href=(view.link(Place::Schedule(&run.schedule))) { (run.schedule) } ", " (moment(view.now, run.at))
        })),
        ("entry", job.entry.as_ref().map(|entry| {
            let query = EntryQuery { from: Some(entry.offset), limit: None };
            html! { a href=(view.link_with(Place::Stream(&entry.stream), &query)) { (entry.stream) ", " (number(entry.offset)) } }
        })),
        ("generation", (job.generation > 0).then(|| html! { (job.generation) })),
        ("plugins", (!job.plugins.is_empty()).then(|| html! {
            @for plugin in &job.plugins { a href=(view.link(Place::Plugins)) { code { (plugin) } } " " }
        })),
    ])
}

/// A payload or a result.
pub fn body(body: &Body) -> Markup {
    let format = match body.format {
        Format::Json => "JSON",
        Format::Postcard => "postcard",
        Format::Text => "text",
        Format::Raw => "bytes",
    };
    html! {
        p.hint {
            (format) ", " (bytes(body.bytes))
            @if body.is_cut { ", cut" }
            @if body.is_redacted { ", redacted" }
        }
        pre tabindex="0" { (body.text) }
    }
}

/// A bar, and what the handler says.
pub fn progress(progress: &Progress) -> Markup {
    html! {
        span.progress {
            @if let Some(total) = progress.total {
                progress max=(total) value=(progress.done) aria-label="progress" {}
                " " (number(progress.done)) " of " (number(total))
            } @else {
                (number(progress.done))
            }
            @if !progress.message.is_empty() { " · " (progress.message) }
        }
    }
}

/// The attempts between the enqueue and the end.
fn timeline(view: &View<'_>, job: &Job) -> Markup {
    html! {
        ol.timeline {
            li { div { span.what { "enqueued" } " " (moment(view.now, job.row.enqueued_at)) } }
            @for attempt in &job.timeline { (attempt_of(view, attempt)) }
            @if let Some(at) = job.row.ended_at {
                li class=(job.row.state) {
                    div { span.what { (job.row.state) } " " (moment(view.now, at)) }
                    @if let Some(reason) = &job.reason { div { (reason) } }
                }
            }
        }
    }
}

fn attempt_of(view: &View<'_>, attempt: &Attempt) -> Markup {
    let class = if attempt.failure.is_some() { "failed" } else { "done" };
    html! {
        li class=(class) {
            div {
                span.what { "attempt " (attempt.number) } " " (moment(view.now, attempt.started_at))
                @match attempt.ended_at {
                    Some(ended) => { ", took " (seconds(ended.seconds_since(attempt.started_at))) }
                    None => { ", runs" }
                }
                @if let Some(failure) = &attempt.failure { " · " b { (failure) } }
            }
            @if let Some(error) = &attempt.error { pre.error tabindex="0" { (error) } }
            @if let Some(shown) = &attempt.progress { div { (progress(shown)) } }
            @if !attempt.lines.is_empty() {
                details open[attempt.ended_at.is_none()] {
                    summary { (attempt.lines.len()) " log line" @if attempt.lines.len() != 1 { "s" } @if attempt.dropped_lines > 0 { ", " (attempt.dropped_lines) " dropped" } }
                    pre tabindex="0" { @for line in &attempt.lines { time title=(line.at) { (clock(&line.at.to_string())) } "  " (line.text) "\n" } }
                }
            }
        }
    }
}

/// What the handler has stored before its end.
fn steps(view: &View<'_>, steps: &[Step]) -> Markup {
    let class = |state: &str| match state {
        "done" | "signalled" => "done",
        "undone" => "undone",
        _ => "waits",
    };
    html! {
        ol.timeline {
            @for step in steps {
                li class=(class(&step.state)) {
                    div {
                        span.what { (step.name) } " " (moment(view.now, step.at)) ", " (step.state)
                        @if let Some(until) = step.until { " until " (until) ", " (moment(view.now, until)) }
                        @if let Some(at) = step.undone_at { " " (moment(view.now, at)) }
                    }
                    @if let Some(result) = &step.result {
                        code.preview { (beginning(&result.text)) @if result.is_redacted { " (redacted)" } }
                    }
                }
            }
        }
    }
}

/// Whether the handler waits for a signal.
fn waits(job: &Job) -> bool {
    job.row.ended_at.is_none() && job.steps.iter().any(|step| step.state == "waits")
}

/// The form that sends a signal for which the handler waits.
fn signal(view: &View<'_>, job: &Job) -> Markup {
    let awaited = job.steps.iter().filter(|step| step.state == "waits");
    let action = Action::SignalJob {
        id: job.row.id.clone(),
        signal: String::new(),
        payload: serde_json::Value::Null,
        payload_text: None,
    };
    html! {
        details {
            summary { "Send a signal" }
            (view.form(&action, html! {
                label for="signal" { "Signal" }
                select id="signal" name="/signal" { @for step in awaited { option value=(step.name) { (step.name) } } }
                (sent())
            }))
        }
    }
}

/// The time of the day: `16:29:08.250`.
fn clock(time: &str) -> &str {
    time.split_once('T').map_or(time, |(_, clock)| clock.trim_end_matches('Z'))
}

/// What can be done in the job's state.
fn verbs(view: &View<'_>, job: &Job) -> Markup {
    let id = || job.row.id.clone();
    let is = |states: &[&str]| states.contains(&job.row.state.as_str());
    html! {
        @if is(&["dead"]) { (view.button("Redrive", Style::Plain, &Action::RedriveJob { id: id() })) }
        @if is(&["scheduled", "retrying", "blocked"]) { (view.button("Run now", Style::Plain, &Action::RunJobNow { id: id() })) }
        @if is(&["pending", "scheduled", "retrying", "running", "blocked"]) {
            (view.button("Cancel …", Style::Danger, &Action::CancelJob { id: id(), reason: String::new() }))
        }
        @if is(&["dead"]) { (view.button("Purge …", Style::Danger, &Action::PurgeJob { id: id() })) }
        @if !is(&["running", "dead"]) { (view.button("Delete …", Style::Danger, &Action::DeleteJob { id: id() })) }
    }
}

fn can_be_edited(job: &Job) -> bool {
    matches!(job.row.state.as_str(), "pending" | "scheduled" | "retrying" | "blocked" | "dead")
}

/// The forms that change the job. What is not changed in them is not sent.
fn edit(view: &View<'_>, job: &Job) -> Markup {
    let id = || job.row.id.clone();
    let is_json = job.payload.format == Format::Json && !job.payload.is_cut && !job.payload.is_redacted;
    let (priority, tags) = (job.row.priority.to_string(), job.row.tags.join("\n"));
    html! {
        details {
            summary { "Change it" }
            (view.form(&Action::UpdateJob { id: id(), change: Change::default() }, html! {
                @if job.row.state != "dead" {
                    div.fields {
                        div.field {
                            label for="priority" { "Priority, 0 is the most urgent" }
                            (view.was("/change/priority:json", &priority))
                            input id="priority" name="/change/priority:json" type="number" min="0" max="9" value=(priority);
                        }
                        div.field {
                            label for="run_at" { "Due at (UTC)" }
                            input id="run_at" name="/change/run_at:option" placeholder="2026-11-28T16:29";
                        }
                    }
                    label for="tags" { "Tags, one on each line" }
                    (view.was("/change/tags:lines", &tags))
                    textarea id="tags" name="/change/tags:lines" rows="3" spellcheck="false" { "\n" (tags) }
                }
                @if is_json {
                    label for="payload" { "Payload" }
                    (view.was("/change/payload_text:option", &job.payload.text))
                    textarea id="payload" name="/change/payload_text:option" rows="8" spellcheck="false" { "\n" (job.payload.text) }
                }
                button.button type="submit" { "Change" }
            }))
            (view.form(&Action::MoveJob { id: id(), queue: String::new() }, html! {
                label for="queue" { "Move it to the queue" }
                div.row { input id="queue" name="/queue" required; button.button type="submit" { "Move" } }
            }))
        }
    }
}
