//! States and facts as labels.

use maud::{Markup, html};

/// The states by which jobs are listed, in the order of their lives.
pub const STATES: [&str; 8] =
    ["pending", "scheduled", "running", "retrying", "blocked", "completed", "dead", "cancelled"];

/// A state with its colour.
pub fn state_badge(state: &str) -> Markup {
    let known = STATES.iter().find(|known| **known == state);
    badge(known.copied().unwrap_or("other"), state)
}

/// A short text with the colour of its class.
pub fn badge(class: &str, text: &str) -> Markup {
    html! { span class={ "badge " (class) } { (text) } }
}

/// Facts with their names. Facts that are `None` are left out.
pub fn pairs<'n>(facts: impl IntoIterator<Item = (&'n str, Option<Markup>)>) -> Markup {
    html! {
        dl.facts {
            @for (name, fact) in facts {
                @if let Some(fact) = fact { div { dt { (name) } dd { (fact) } } }
            }
        }
    }
}
