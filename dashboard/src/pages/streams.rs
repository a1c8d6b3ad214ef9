//! All streams.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::problem::shown;
use super::view::{Place, Section, View, bytes, moment, number};
use crate::api::{Action, NewEntry, Paging, Problem, Stream};
use crate::http::Query;
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn streams(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    page: Result<Query<Paging>, Problem>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Streams, made(&view, page).await)
}

async fn made(view: &View<'_>, page: Result<Query<Paging>, Problem>) -> Result<(String, Markup), Problem> {
    let found = view.site.source.streams(page?.0).await?;
    let next = found.next.as_ref().map(|after| view.link_with(Place::Streams, &[("after", after)]));
    let content = html! {
        div.head { h1 { "Streams" } }
        div id="streams" data-live {
            @if found.streams.is_empty() {
                p.empty { "No streams." }
            } @else {
                div.scroll {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Stream" }
                                th.number scope="col" { "Entries" }
                                th.number scope="col" { "Size" }
                                th.number scope="col" { "First" }
                                th.number scope="col" { "Next" }
                                th.number scope="col" { "Consumers" }
                                th.number scope="col" { "Largest lag" }
                                th.number scope="col" { "Made" }
                            }
                        }
                        tbody { @for stream in &found.streams { (row(view, stream)) } }
                    }
                }
            }
            @if let Some(next) = next { p.more { a.button href=(next) { "Next page" } } }
        }
        @if view.can_change() { section { (append(view, String::new())) } }
    };
    Ok(("Streams".to_owned(), content))
}

fn row(view: &View<'_>, stream: &Stream) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(view.link(Place::Stream(&stream.name))) { (stream.name) } }
            td.number { (number(stream.entries)) }
            td.number { (bytes(stream.bytes)) }
            td.number { (number(stream.first)) }
            td.number { (number(stream.next)) }
            td.number { (number(stream.consumers)) }
            td.number { @match stream.behind_max { Some(behind) => (number(behind)), None => "–" } }
            td.number { (moment(view.now, stream.created_at)) }
        }
    }
}

/// The form that appends an entry to this stream, or to one whose name is entered.
pub fn append(view: &View<'_>, stream: String) -> Markup {
    let is_new = stream.is_empty();
    let action = Action::Append { stream, entry: NewEntry::default() };
    html! {
        details {
            summary { "Append an entry" }
            @if is_new { p.hint { "A stream that is not there is made." } }
            (view.form(&action, html! {
                div.fields {
                    @if is_new {
                        div.field { label for="stream" { "Stream" } input id="stream" name="/stream" required; }
                    }
                    div.field { label for="kind" { "Kind" } input id="kind" name="/entry/kind" required; }
                    div.field { label for="key" { "Key" } input id="key" name="/entry/key:option"; }
                }
                label for="payload" { "Payload, as JSON" }
                textarea id="payload" name="/entry/payload_text:option" rows="4" spellcheck="false" {}
                button.button type="submit" { "Append" }
            }))
        }
    }
}
