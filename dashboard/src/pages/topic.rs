//! One topic: its bindings, and where a message would go.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::problem::shown;
use super::topics::{bind, unmatched};
use super::view::{Place, Section, Style, View, moment, number, pairs};
use crate::api::{Action, Binding, Matched, Paging, Problem, Topic, TopicMessage};
use crate::http::Query;
use crate::safety::Visit;
use crate::site::Site;

/// A message that was entered, to see where it would go.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Tried {
    key: Option<String>,
    headers: String,
}

/// The page.
pub(crate) async fn topic(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
    page: Result<Query<Paging>, Problem>,
    tried: Result<Query<Tried>, Problem>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Topics, made(&view, &name, page, tried).await)
}

async fn made(
    view: &View<'_>,
    name: &str,
    page: Result<Query<Paging>, Problem>,
    tried: Result<Query<Tried>, Problem>,
) -> Result<(String, Markup), Problem> {
    let found = view.site.source.topic(name, page?.0).await?;
    let Tried { key, headers } = tried?.0;
    let matched = match &key {
        // A key that is not accepted is no reason to show nothing else.
        Some(key) => {
            Some(view.site.source.matches(name, TopicMessage { key: key.clone(), headers: headers.clone() }).await)
        }
        None => None,
    };
    let next = found.next.as_ref().map(|after| view.link_with(Place::Topic(name), &[("after", after)]));
    let topic = &found.topic;
    let content = html! {
        div.head { h1 { (topic.name) } span.count { (number(topic.bindings)) " bindings" } }
        div.row { (view.button("Remove …", Style::Danger, &Action::RemoveTopic { topic: topic.name.clone() })) }
        section.columns {
            div.card { h2 { "Facts" } (facts(view, topic)) @if view.can_change() { (settings(view, topic)) } }
            div.card { h2 { "Try a message" } (form(view, name, key.as_deref(), &headers)) (answer(view, matched)) }
        }
        div id="bindings" data-live {
            @if found.bindings.is_empty() {
                p.empty { "No bindings." }
            } @else {
                div.scroll {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Queue or stream" }
                                th scope="col" { "Routing key" }
                                th scope="col" { "All headers" }
                                th scope="col" { "One of the headers" }
                                @if view.can_change() { th scope="col" { span.hidden { "Actions" } } }
                            }
                        }
                        tbody { @for binding in &found.bindings { (row(view, name, binding)) } }
                    }
                }
            }
            @if let Some(next) = next { p.more { a.button href=(next) { "Next page" } } }
        }
        @if view.can_change() { section { (bind(view, name.to_owned())) } }
    };
    Ok((topic.name.clone(), content))
}

fn facts(view: &View<'_>, topic: &Topic) -> Markup {
    pairs([
        ("what no binding matches", Some(unmatched(view, topic))),
        ("made", Some(moment(view.now, topic.created_at))),
    ])
}

fn settings(view: &View<'_>, topic: &Topic) -> Markup {
    let action =
        Action::ConfigureTopic { topic: topic.name.clone(), alternate: None, is_mandatory: topic.is_mandatory };
    let other = Action::ConfigureTopic {
        topic: topic.name.clone(),
        alternate: topic.alternate.clone(),
        is_mandatory: !topic.is_mandatory,
    };
    html! {
        (view.form(&action, html! {
            label for="alternate" { "The queue that gets what no binding matches" }
            div.row {
                input id="alternate" name="/alternate:nullable" value=[topic.alternate.as_deref()];
                button.button type="submit" { "Set" }
            }
        }))
        @let label = if topic.is_mandatory { "Let messages reach nobody" } else { "Refuse messages that reach nobody" };
        (view.button(label, Style::Small, &other))
    }
}

/// The form that asks where a message would go. It changes nothing.
fn form(view: &View<'_>, name: &str, key: Option<&str>, headers: &str) -> Markup {
    html! {
        form method="get" action=(view.link(Place::Topic(name))) {
            label for="try-key" { "Routing key" }
            input id="try-key" name="key" value=[key];
            label for="try-headers" { "Headers" }
            textarea id="try-headers" name="headers" rows="2" spellcheck="false" placeholder="name=value" { "\n" (headers) }
            button.button type="submit" { "Show who gets it" }
        }
    }
}

fn answer(view: &View<'_>, matched: Option<Result<Matched, Problem>>) -> Markup {
    html! {
        @match matched {
            None => {}
            Some(Err(problem)) => p.note.problem role="status" { (problem.detail) },
            Some(Ok(Matched { queues, streams, .. })) if queues.is_empty() && streams.is_empty() => {
                p.empty role="status" { "Nobody gets this message." }
            }
            Some(Ok(Matched { queues, streams, used_alternate })) => {
                p role="status" { (if used_alternate { "No binding matches; the alternate queue gets it:" } else { "These get it:" }) }
                ul {
                    @for queue in &queues { li { a href=(view.link(Place::Queue(queue))) { (queue) } } }
                    @for stream in &streams { li { "stream " a href=(view.link(Place::Stream(stream))) { (stream) } } }
                }
            }
        }
    }
}

fn row(view: &View<'_>, topic: &str, binding: &Binding) -> Markup {
    let list = |headers: &[String]| html! { @for header in headers { code { (header) } " " } };
    let action = Action::Unbind { topic: topic.to_owned(), binding: binding.clone() };
    html! {
        tr {
            th scope="row" {
                @if let Some(queue) = &binding.queue { a href=(view.link(Place::Queue(queue))) { (queue) } }
                @if let Some(stream) = &binding.stream { "stream " a href=(view.link(Place::Stream(stream))) { (stream) } }
            }
            td { @match &binding.key { Some(key) => code { (key) }, None => "every key" } }
            td { (list(&binding.headers_all)) }
            td { (list(&binding.headers_any)) }
            @if view.can_change() { td { (view.button("Unbind …", Style::Small, &action)) } }
        }
    }
}
