//! The plugins.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::problem::shown;
use super::view::{Place, Section, Style, View, badge, bytes, number, pairs, seconds};
use crate::api::{Action, Plugin, PluginState, Problem};
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn plugins(State(site): State<Arc<Site>>, Extension(visit): Extension<Visit>) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Plugins, made(&view).await)
}

async fn made(view: &View<'_>) -> Result<(String, Markup), Problem> {
    let plugins = view.site.source.plugins().await?;
    let content = html! {
        h1 { "Plugins" }
        div id="plugins" data-live {
            @if plugins.is_empty() { p.empty { "No worker of this process has a plugin." } }
            div.columns { @for plugin in &plugins { (card(view, plugin)) } }
        }
    };
    Ok(("Plugins".to_owned(), content))
}

fn card(view: &View<'_>, plugin: &Plugin) -> Markup {
    html! {
        article.card {
            div.head {
                h2 { (plugin.name) }
                @match plugin.state {
                    PluginState::Active => (badge("completed", "active")),
                    PluginState::Suspended => (badge("dead", "suspended")),
                }
            }
            (pairs([
                ("queue", Some(html! { a href=(view.link(Place::Queue(&plugin.queue))) { (plugin.queue) } })),
                ("kind", Some(html! { code { (plugin.kind) } })),
                ("version", Some(html! { code.hash title=(plugin.hash) { (plugin.hash.chars().take(12).collect::<String>()) } })),
                ("attempts", Some(html! { (number(plugin.attempts)) })),
                ("broke", Some(html! {
                    (number(plugin.broken)) ", " (number(plugin.traps)) " by a trap, " (number(plugin.broken_in_a_row)) " in a row now"
                })),
                ("suspended", Some(html! { (number(plugin.suspensions)) " times" })),
                ("computed", Some(html! { (seconds(plugin.compute_seconds)) })),
                ("memory, at most", Some(html! { (bytes(plugin.memory_bytes_max)) })),
                ("grants", Some(html! {
                    @if plugin.grants.is_empty() { "none" }
                    ul { @for grant in &plugin.grants { li { (grant) } } }
                })),
            ]))
            details {
                summary { "Limits" }
                dl.facts { @for (name, value) in &plugin.limits { div { dt { (name) } dd { (value) } } } }
            }
            @if plugin.state == PluginState::Suspended {
                @let resume = Action::ResumePlugin { queue: plugin.queue.clone(), kind: plugin.kind.clone() };
                (view.button("Let it run again", Style::Plain, &resume))
            }
        }
    }
}
