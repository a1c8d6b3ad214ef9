//! All queues at a glance.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::problem::shown;
use super::queue_head::{badges, pause_button};
use super::view::{Place, Section, Style, View, bytes, hour, moment, number, pairs, per_second, seconds, spark};
use crate::api::{Action, JobQuery, Limit, Overview, Problem, Process, Queue, Storage, Totals};
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn overview(State(site): State<Arc<Site>>, Extension(visit): Extension<Visit>) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Overview, made(&view).await)
}

async fn made(view: &View<'_>) -> Result<(String, Markup), Problem> {
    let overview = view.site.source.overview().await?;
    let content = html! {
        h1.hidden { "Queues" }
        div id="alarms" data-live { (alarms(view, &overview)) }
        div id="tiles" data-live { (tiles(view, &overview)) (hour(&overview.history)) }
        section {
            div.head {
                h2 { "Queues" }
                @if overview.is_paused { (view.button("Resume all", Style::Small, &Action::ResumeAll)) }
                @else { (view.button("Pause all", Style::Small, &Action::PauseAll)) }
            }
            div id="queues" data-live { (queues(view, &overview.queues)) }
        }
        section.columns id="process" data-live {
            (storage(&overview.storage))
            (process(view, &overview))
            @if !overview.limits.is_empty() { (limits(&overview.limits)) }
        }
        (file(view))
    };
    Ok(("Queues".to_owned(), content))
}

/// What needs somebody's attention.
fn alarms(view: &View<'_>, overview: &Overview) -> Markup {
    let dead: u64 = overview.queues.iter().map(|queue| queue.counts.dead).sum();
    html! {
        @if let Some(reason) = &overview.degraded {
            p.note.problem role="alert" { strong { "Degraded. " } (reason) }
        }
        @if overview.is_paused { p.note { strong { "All queues are paused." } } }
        @if dead > 0 {
            p.note.problem { a href=(view.link(Place::Dead)) { (number(dead)) " dead letter" @if dead != 1 { "s" } } }
        }
        @if overview.quarantined > 0 {
            p.note.problem {
                a href=(view.link(Place::Quarantine)) { (number(overview.quarantined)) " rows could not be read" }
            }
        }
    }
}

fn tiles(view: &View<'_>, overview: &Overview) -> Markup {
    let sum = |of: fn(&Queue) -> u64| overview.queues.iter().map(of).sum::<u64>();
    let rate = |of: fn(&Queue) -> f64| overview.queues.iter().map(of).sum::<f64>();
    let oldest = overview.queues.iter().filter_map(|queue| queue.oldest_ready_seconds).reduce(f64::max);
    let of_state = |state: &str| view.link_to_jobs(&JobQuery { state: Some(state.to_owned()), ..JobQuery::default() });
    let tile = |name: &str, value: String, href: Option<String>| {
        html! {
            div.tile {
                span.name { (name) }
                @match href { Some(href) => a.value href=(href) { (value) }, None => span.value { (value) } }
            }
        }
    };
    html! {
        div.tiles {
            (tile("pending", number(sum(|queue| queue.counts.pending)), Some(of_state("pending"))))
            (tile("running", number(sum(|queue| queue.counts.running + queue.counts.ending)), Some(of_state("running"))))
            (tile("scheduled", number(sum(|queue| queue.counts.scheduled)), Some(of_state("scheduled"))))
            (tile("retrying", number(sum(|queue| queue.counts.retrying)), Some(of_state("retrying"))))
            (tile("dead", number(sum(|queue| queue.counts.dead)), Some(view.link(Place::Dead))))
            (tile("in", per_second(rate(|queue| queue.enqueued_per_second)), None))
            (tile("out", per_second(rate(|queue| queue.completed_per_second)), None))
            (tile("oldest ready", oldest.map_or("–".to_owned(), seconds), None))
        }
    }
}

fn queues(view: &View<'_>, queues: &[Queue]) -> Markup {
    html! {
        @if queues.is_empty() {
            p.empty { "No queue yet. The first job that is enqueued makes one." }
        } @else {
            div.scroll {
                table {
                    thead {
                        tr {
                            th scope="col" { "Queue" }
                            th.number scope="col" { "Pending" }
                            th.number scope="col" { "Running" }
                            th.number scope="col" { "Scheduled" }
                            th.number scope="col" { "Retrying" }
                            th.number scope="col" { "Blocked" }
                            th.number scope="col" { "Dead" }
                            th.number scope="col" { "In" }
                            th.number scope="col" { "Out" }
                            th.number scope="col" { "Oldest ready" }
                            th scope="col" { "Last hour" }
                            @if view.can_change() { th scope="col" { span.hidden { "Actions" } } }
                        }
                    }
                    tbody { @for queue in queues { (row(view, queue)) } }
                }
            }
        }
    }
}

fn row(view: &View<'_>, queue: &Queue) -> Markup {
    let Queue { name, counts, .. } = queue;
    let count = |state: &str, count: u64| {
        let jobs = JobQuery { state: Some(state.to_owned()), ..JobQuery::of_queue(name) };
        html! {
            td.number {
                @if count == 0 { span.zero { "0" } } @else { a href=(view.link_to_jobs(&jobs)) { (number(count)) } }
            }
        }
    };
    html! {
        tr {
            th scope="row" { a href=(view.link(Place::Queue(name))) { (name) } " " (badges(queue)) }
            (count("pending", counts.pending))
            (count("running", counts.running + counts.ending))
            (count("scheduled", counts.scheduled))
            (count("retrying", counts.retrying))
            (count("blocked", counts.blocked))
            (count("dead", counts.dead))
            td.number { (per_second(queue.enqueued_per_second)) }
            td.number { (per_second(queue.completed_per_second)) }
            td.number { (queue.oldest_ready_seconds.map_or("–".to_owned(), seconds)) }
            td { (spark(&queue.history)) }
            @if view.can_change() {
                td { (pause_button(view, queue)) }
            }
        }
    }
}

fn storage(storage: &Storage) -> Markup {
    html! {
        div.card {
            h2 { "File" }
            (pairs([
                ("path", storage.path.as_ref().map(|path| html! { code { (path) } })),
                ("size", storage.file_bytes.map(|size| html! { (bytes(size)) })),
                ("in use", storage.live_bytes.map(|size| html! { (bytes(size)) })),
                ("commits", Some(html! { (number(storage.commits)) })),
                ("latest commit", storage.latest_commit_seconds.map(|took| html! { (seconds(took)) })),
                ("longest commit", storage.longest_commit_seconds.map(|took| html! { (seconds(took)) })),
                ("mean commit", mean(storage).map(|took| html! { (seconds(took)) })),
                ("written", storage.written_bytes.map(|written| html! { (bytes(written)) })),
                ("compactions", Some(html! { (number(storage.compactions)) })),
            ]))
        }
    }
}

/// What can be done with the file.
fn file(view: &View<'_>) -> Markup {
    html! {
        @if view.can_change() {
            section {
                details {
                    summary { "The whole file" }
                    p.hint { "A check reads all of it. While it is compacted, reads and writes wait." }
                    div.row {
                        (view.button("Check it", Style::Plain, &Action::Check))
                        (view.button("Give its free space back", Style::Plain, &Action::Compact))
                    }
                    @if view.visit.actor.is_local {
                        (view.form(&Action::Backup { path: String::new() }, html! {
                            label for="backup" { "Copy it to this path, at which nothing is" }
                            div.row {
                                input id="backup" name="/path" required placeholder="/var/backups/jobs.redb" autocomplete="off";
                                button.button type="submit" { "Back up" }
                            }
                        }))
                    }
                }
            }
        }
    }
}

fn mean(storage: &Storage) -> Option<f64> {
    let total = storage.commit_seconds_total?;
    (storage.commits > 0).then(|| total / storage.commits as f64)
}

fn process(view: &View<'_>, overview: &Overview) -> Markup {
    let Process { id, running, max_running, blocking, blocking_max, stuck, opened_at } = overview.process;
    let Totals { started, completed, failed, panics, timeouts, deduplicated, pruned } = overview.totals;
    html! {
        div.card {
            h2 { "Process" }
            (pairs([
                ("number", Some(html! { (id) })),
                ("opened", opened_at.map(|at| moment(view.now, at))),
                ("running", Some(html! { (number(running)) @if let Some(most) = max_running { " of " (number(most)) } })),
                ("blocking threads", (blocking > 0).then(|| html! { (number(blocking)) " of " (number(blocking_max)) })),
                ("attempts", Some(html! { (number(started)) })),
                ("completed", Some(html! { (number(completed)) })),
                ("failed", Some(html! {
                    (number(failed))
                    @if panics + timeouts > 0 { " (" (number(panics)) " panics, " (number(timeouts)) " timeouts)" }
                })),
                ("not stored again", (deduplicated > 0).then(|| html! { (number(deduplicated)) })),
                ("removed after retention", (pruned > 0).then(|| html! { (number(pruned)) })),
                ("stuck handlers", (stuck > 0).then(|| html! { (number(stuck)) })),
            ]))
        }
    }
}

fn limits(limits: &[Limit]) -> Markup {
    html! {
        div.card {
            h2 { "Shared limits" }
            table {
                tbody {
                    @for limit in limits {
                        tr {
                            th scope="row" { (limit.name) }
                            td.number { (number(limit.used)) " of " (number(limit.units)) }
                            td { meter min="0" max=(limit.units) value=(limit.used) aria-label={ "use of " (limit.name) } {} }
                        }
                    }
                }
            }
        }
    }
}
