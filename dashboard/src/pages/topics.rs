//! All topics.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::problem::shown;
use super::view::{Place, Section, View, badge, moment, number};
use crate::api::{Action, Binding, Paging, Problem, Topic};
use crate::http::Query;
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn topics(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    page: Result<Query<Paging>, Problem>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Topics, made(&view, page).await)
}

async fn made(view: &View<'_>, page: Result<Query<Paging>, Problem>) -> Result<(String, Markup), Problem> {
    let found = view.site.source.topics(page?.0).await?;
    let next = found.next.as_ref().map(|after| view.link_with(Place::Topics, &[("after", after)]));
    let content = html! {
        div.head { h1 { "Topics" } span.count { (number(found.total)) } }
        div id="topics" data-live {
            @if found.topics.is_empty() {
                p.empty { "No topics." }
            } @else {
                div.scroll {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Topic" }
                                th.number scope="col" { "Bindings" }
                                th scope="col" { "What no binding matches" }
                                th.number scope="col" { "Made" }
                            }
                        }
                        tbody { @for topic in &found.topics { (row(view, topic)) } }
                    }
                }
            }
            @if let Some(next) = next { p.more { a.button href=(next) { "Next page" } } }
        }
        @if view.can_change() { section { (bind(view, String::new())) } }
    };
    Ok(("Topics".to_owned(), content))
}

fn row(view: &View<'_>, topic: &Topic) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(view.link(Place::Topic(&topic.name))) { (topic.name) } }
            td.number { (number(topic.bindings)) }
            td { (unmatched(view, topic)) }
            td.number { (moment(view.now, topic.created_at)) }
        }
    }
}

/// What becomes of messages that no binding matches.
pub fn unmatched(view: &View<'_>, topic: &Topic) -> Markup {
    html! {
        @match &topic.alternate {
            Some(queue) => { "goes to " a href=(view.link(Place::Queue(queue))) { (queue) } }
            None if topic.is_mandatory => (badge("retrying", "is an error")),
            None => "reaches nobody",
        }
    }
}

/// The form that adds a binding to this topic, or to one whose name is entered.
pub fn bind(view: &View<'_>, topic: String) -> Markup {
    let is_new = topic.is_empty();
    let action = Action::Bind { topic, binding: Binding::default() };
    html! {
        details open[!is_new] {
            summary { "Bind a queue or a stream" }
            p.hint { "Words of a key are between dots. * stands for one word, # for any number. What is left empty matches all." }
            (view.form(&action, html! {
                div.fields {
                    @if is_new {
                        div.field { label for="topic" { "Topic" } input id="topic" name="/topic" required; }
                    }
                    div.field { label for="queue" { "Queue" } input id="queue" name="/binding/queue:nullable"; }
                    div.field { label for="stream" { "or stream" } input id="stream" name="/binding/stream:nullable"; }
                    div.field { label for="key" { "Routing key" } input id="key" name="/binding/key:nullable" placeholder="order.created.*"; }
                }
                div.fields {
                    (headers("headers_all", "All of these headers"))
                    (headers("headers_any", "One of these headers"))
                }
                button.button type="submit" { "Bind" }
            }))
        }
    }
}

fn headers(name: &str, label: &str) -> Markup {
    html! {
        div.field {
            label for=(name) { (label) }
            textarea id=(name) name={ "/binding/" (name) ":lines" } rows="2" spellcheck="false" placeholder="name=value" {}
        }
    }
}
