//! The form that narrows a list of jobs.

use maud::{Markup, html};

use crate::api::{JobQuery, Order, Ordering, Time};

/// The form. It keeps the queue, the state and the order.
pub fn filters(query: &JobQuery, ordering: Ordering, address: &str, with_queue: bool) -> Markup {
    let field = |name: &str, label: &str, value: &Option<String>, hint: &str| {
        html! {
            div.field {
                label for=(name) { (label) }
                input id=(name) name=(name) value=(value.as_deref().unwrap_or("")) placeholder=(hint) autocomplete="off";
            }
        }
    };
    let time = |name: &str, label: &str, value: Option<Time>| {
        html! {
            div.field {
                label for=(name) { (label) }
                input id=(name) name=(name) value=[value] placeholder="2026-11-28T16:29" autocomplete="off";
            }
        }
    };
    html! {
        details.filters open[!query.is_plain()] {
            summary { "Filter" }
            form method="get" action=(address) {
                @if let Some(state) = &query.state { input type="hidden" name="state" value=(state); }
                @if let Some(order) = ordering.order { input type="hidden" name="order" value=(word(order)); }
                @if with_queue { (field("queue", "Queue", &query.queue, "")) }
                (field("kind", "Kind", &query.kind, ""))
                (field("tag", "Tag", &query.tag, "tenant:7"))
                (field("key", "Unique key", &query.key, ""))
                (field("group", "Group", &query.group, ""))
                (field("payload", "Payload contains", &query.payload, "text"))
                (field("pointer", "JSON pointer", &query.pointer, "/user/id"))
                (field("equals", "equals", &query.equals, "42"))
                (field("error", "Error contains", &query.error, "text"))
                (time("since", "Since (UTC)", query.since))
                (time("until", "Until (UTC)", query.until))
                div.row {
                    button.button type="submit" { "Filter" }
                    a.button href=(address) { "All" }
                }
            }
        }
    }
}

/// The order as it is part of an address.
fn word(order: Order) -> &'static str {
    match order {
        Order::Oldest => "oldest",
        Order::Newest => "newest",
    }
}
