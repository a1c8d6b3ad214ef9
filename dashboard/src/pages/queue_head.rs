//! What all pages of a queue begin with.

use maud::{Markup, html};

use super::links::link_badge;
use super::view::{Place, Style, View, badge, number, per_second, seconds, spark};
use crate::api::{Action, Queue, QueueDetail};

/// The pages of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    Jobs,
    Groups,
    Limits,
}

/// What is special about a queue.
pub fn badges(queue: &Queue) -> Markup {
    html! {
        @if queue.is_paused { (badge("paused", "paused")) " " }
        @if let Some(circuit) = &queue.circuit { span.badge.dead title=(circuit.state) { "circuit" } " " }
        @if let Some(wait) = queue.rate_limited_for_seconds {
            span.badge.retrying title={ "for another " (seconds(wait)) } { "rate limited" } " "
        }
        @if queue.has_overrides { (badge("scheduled", "overrides")) " " }
        @if !queue.has_worker { (badge("other", "no worker")) }
    }
}

/// The button that pauses a queue, or ends its pause.
pub fn pause_button(view: &View<'_>, queue: &Queue) -> Markup {
    let name = queue.name.clone();
    if queue.is_paused {
        view.button("Resume", Style::Small, &Action::ResumeQueue { queue: name })
    } else {
        view.button("Pause", Style::Small, &Action::PauseQueue { queue: name })
    }
}

/// The name, the state and the pages of a queue.
pub fn head(view: &View<'_>, detail: &QueueDetail, tab: Tab) -> Markup {
    let queue = &detail.queue;
    let tabs = [
        (Tab::Jobs, "Jobs", Place::Queue(&queue.name)),
        (Tab::Groups, "Groups", Place::Groups(&queue.name)),
        (Tab::Limits, "Limits and settings", Place::Limits(&queue.name)),
    ];
    html! {
        div.head id="head" data-live {
            h1 { (queue.name) }
            span { (badges(queue)) }
            @for link in &detail.links {
                a href=(view.link(Place::Links)) title=(link.last_error.as_deref().unwrap_or(&link.engine)) {
                    (link.name) " " (link_badge(link))
                }
            }
            (pause_button(view, queue))
            @if let Some(circuit) = &queue.circuit {
                span { "The circuit is " (circuit.state) "." }
                @let close = Action::CloseCircuit { queue: queue.name.clone(), group: None };
                (view.button("Close the circuit", Style::Small, &close))
            }
        }
        div.glance id="glance" data-live {
            (spark(&queue.history))
            span { "in " b { (per_second(queue.enqueued_per_second)) } }
            span { "out " b { (per_second(queue.completed_per_second)) } }
            span { "oldest ready " b { (queue.oldest_ready_seconds.map_or("–".to_owned(), seconds)) } }
            span { "enqueued " b { (number(queue.counts.enqueued_total)) } }
            span { "failures " b { (number(queue.counts.failures_total)) } }
        }
        nav.tabs aria-label="Pages of the queue" {
            @for (own, name, place) in tabs {
                a href=(view.link(place)) aria-current=[(own == tab).then_some("page")] { (name) }
            }
        }
    }
}
