//! The limits of a queue: what the code says, what an operator has set, what holds.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};

use super::problem::shown;
use super::queue_head::{Tab, head};
use super::view::{Place, Section, Style, View, badge, number, seconds};
use crate::api::{Action, Overrides, Problem, QueueDetail, Rate, RateChange, Worker};
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn limits(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Overview, made(&view, &name).await)
}

async fn made(view: &View<'_>, name: &str) -> Result<(String, Markup), Problem> {
    let detail = view.site.source.queue(name).await?;
    let queue = || name.to_owned();
    let content = html! {
        (head(view, &detail, Tab::Limits))
        section.columns {
            div.card {
                h2 { "Limits" }
                (table(&detail))
                @if view.can_change() {
                    @if detail.overrides != Overrides::default() {
                        @let action = Action::SetOverrides { queue: queue(), overrides: Overrides::default() };
                        (view.button("Back to the code's own", Style::Plain, &action))
                    }
                    div.row {
                        @let own = || detail.overrides.clone();
                        @let overrides = Overrides { rate: Some(RateChange::Unlimited), ..own() };
                        (view.button("No rate", Style::Small, &Action::SetOverrides { queue: queue(), overrides }))
                        @let overrides = Overrides { group_rate: Some(RateChange::Unlimited), ..own() };
                        (view.button("No rate of groups", Style::Small, &Action::SetOverrides { queue: queue(), overrides }))
                    }
                    (form(view, &detail))
                }
            }
            div.card {
                h2 { "Kinds that are paused" }
                @if detail.paused_kinds.is_empty() { p.empty { "None." } }
                @for kind in &detail.paused_kinds {
                    div.row {
                        code { (kind) } (badge("paused", "paused"))
                        (view.button("Resume", Style::Small, &Action::ResumeKind { queue: queue(), kind: kind.clone() }))
                    }
                }
                @if view.can_change() {
                    (view.form(&Action::PauseKind { queue: queue(), kind: String::new() }, html! {
                        label for="kind" { "Pause a kind" }
                        div.row { input id="kind" name="/kind" required; button.button type="submit" { "Pause" } }
                    }))
                }
                h2 { "Settings in the file" }
                pre tabindex="0" { (serde_json::to_string_pretty(&detail.settings).unwrap_or_default()) }
            }
            @if view.can_change() {
                div.card {
                    h2 { "The whole queue" }
                    div.row {
                        (view.button("Fill the rate's bucket", Style::Plain, &Action::ResetRate { queue: queue() }))
                        (view.button("Remove all waiting jobs …", Style::Danger, &Action::DrainQueue { queue: queue() }))
                        (view.button("Remove the queue …", Style::Danger, &Action::ObliterateQueue { queue: queue() }))
                    }
                    (view.form_back_to(&Place::Overview.path(), &Action::RenameQueue { queue: queue(), to: String::new() }, html! {
                        label for="to" { "Give it another name" }
                        div.row { input id="to" name="/to" required; button.button type="submit" { "Rename" } }
                    }))
                    (view.form(&Action::ReleaseKey { queue: queue(), key: String::new() }, html! {
                        label for="release" { "Let a unique key go" }
                        div.row { input id="release" name="/key" required; button.button type="submit" { "Release" } }
                    }))
                }
            }
        }
    };
    Ok((format!("Limits of {name}"), content))
}

/// The limits side by side.
fn table(detail: &QueueDetail) -> Markup {
    let QueueDetail { worker, overrides, effective, tokens, .. } = detail;
    let of = |worker: &Option<Worker>, limit: fn(&Worker) -> String| worker.as_ref().map_or("–".to_owned(), limit);
    let concurrency = |worker: &Worker| number(worker.concurrency);
    let rate = |worker: &Worker| rate_text(worker.rate);
    let group_rate = |worker: &Worker| rate_text(worker.group_rate);
    let change = |change: Option<RateChange>| match change {
        None => "–".to_owned(),
        Some(RateChange::Unlimited) => "no limit".to_owned(),
        Some(RateChange::Limited(rate)) => rate_text(Some(rate)),
    };
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "Limit" } th scope="col" { "Code" } th scope="col" { "Override" } th scope="col" { "Now" }
                }
            }
            tbody {
                tr {
                    th scope="row" { "concurrency" }
                    td { (of(worker, concurrency)) }
                    td { (overrides.concurrency.map_or("–".to_owned(), |jobs| number(jobs.into()))) }
                    td { b { (of(effective, concurrency)) } }
                }
                tr {
                    th scope="row" { "rate" }
                    td { (of(worker, rate)) }
                    td { (change(overrides.rate)) }
                    td { b { (of(effective, rate)) } @if let Some(tokens) = tokens { " (" (format!("{tokens:.1}")) " tokens)" } }
                }
                tr {
                    th scope="row" { "rate of each group" }
                    td { (of(worker, group_rate)) }
                    td { (change(overrides.group_rate)) }
                    td { b { (of(effective, group_rate)) } }
                }
                @if let Some(breaker) = effective.as_ref().and_then(|worker| worker.circuit_breaker.as_ref()) {
                    tr { th scope="row" { "circuit breaker" } td colspan="3" { (breaker) } }
                }
                @if let Some(breaker) = effective.as_ref().and_then(|worker| worker.group_circuit_breaker.as_ref()) {
                    tr { th scope="row" { "circuit breaker of each group" } td colspan="3" { (breaker) } }
                }
            }
        }
    }
}

fn rate_text(rate: Option<Rate>) -> String {
    match rate {
        None => "no limit".to_owned(),
        Some(Rate { count, period_seconds, burst }) => {
            let burst = burst.map_or(String::new(), |burst| format!(", bursts of {}", number(burst.into())));
            format!("{} per {}{burst}", number(count.into()), seconds(period_seconds))
        }
    }
}

/// The form that sets all three.
fn form(view: &View<'_>, detail: &QueueDetail) -> Markup {
    // What has no field stays: that there is no limit.
    let unlimited = |change: Option<RateChange>| change.filter(|change| *change == RateChange::Unlimited);
    let Overrides { rate: own_rate, group_rate: own_group_rate, .. } = detail.overrides;
    let overrides = Overrides { concurrency: None, rate: unlimited(own_rate), group_rate: unlimited(own_group_rate) };
    let action = Action::SetOverrides { queue: detail.queue.name.clone(), overrides };
    let limited = |change: Option<RateChange>| match change {
        Some(RateChange::Limited(rate)) => Some(rate),
        _ => None,
    };
    let rate = |name: &str, label: &str, change: Option<RateChange>| {
        let rate = limited(change);
        html! {
            div.field {
                label for=(name) { (label) ": jobs" }
                input id=(name) name={ "/overrides/" (name) "/limited/count:json" } type="number" min="1"
                    value=[rate.map(|rate| rate.count)];
            }
            div.field {
                label for={ (name) "_period" } { "in so many seconds" }
                input id={ (name) "_period" } placeholder="1" name={ "/overrides/" (name) "/limited/period_seconds:json" } type="number"
                    min="0.001" step="any" value=[rate.map(|rate| rate.period_seconds)];
            }
            div.field {
                label for={ (name) "_burst" } { "in bursts of" }
                input id={ (name) "_burst" } name={ "/overrides/" (name) "/limited/burst:json" } type="number" min="1"
                    value=[rate.and_then(|rate| rate.burst)];
            }
        }
    };
    view.form(
        &action,
        html! {
            h3 { "Override" }
            p.hint { "What is left empty is as the code says. Overrides are kept in the file." }
            div.fields {
                div.field {
                    label for="concurrency" { "Concurrency" }
                    input id="concurrency" name="/overrides/concurrency:json" type="number" min="1"
                        value=[detail.overrides.concurrency];
                }
                (rate("rate", "Rate", detail.overrides.rate))
                (rate("group_rate", "Rate of each group", detail.overrides.group_rate))
            }
            button.button type="submit" { "Set" }
        },
    )
}
