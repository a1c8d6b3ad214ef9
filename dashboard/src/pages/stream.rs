//! One stream: what it keeps, its consumers, and some of its entries.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};

use super::flow::beginning;
use super::job::body;
use super::problem::shown;
use super::streams::append;
use super::view::{Place, Section, Style, View, badge, bytes, moment, number, pairs, seconds};
use crate::api::{
    Action, Consumer, Entry, EntryPage, EntryQuery, JobQuery, Problem, Seek, Stream, StreamDetail, StreamSettings,
};
use crate::http::Query;
use crate::safety::Visit;
use crate::site::Site;

/// The page.
pub(crate) async fn stream(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
    query: Result<Query<EntryQuery>, Problem>,
) -> Response {
    let view = View::new(&site, &visit);
    shown(&view, Section::Streams, made(&view, &name, query).await)
}

async fn made(
    view: &View<'_>,
    name: &str,
    query: Result<Query<EntryQuery>, Problem>,
) -> Result<(String, Markup), Problem> {
    let query = query?.0;
    let StreamDetail { stream, consumers } = view.site.source.stream(name).await?;
    let page = view.site.source.entries(name, query).await?;
    let own = || stream.name.clone();
    let content = html! {
        div.head { h1 { (stream.name) } }
        div.row {
            (view.button("Sweep now", Style::Plain, &Action::SweepStream { stream: own() }))
            (view.button("Remove …", Style::Danger, &Action::RemoveStream { stream: own() }))
        }
        section.columns {
            div.card id="facts" data-live { h2 { "Facts" } (facts(view, &stream)) }
            @if view.can_change() { div.card { h2 { "What it keeps" } (settings(view, &stream)) } }
        }
        section id="consumers" data-live { h2 { "Consumers" } (self::consumers(view, &consumers)) }
        @if view.can_change() && !consumers.is_empty() { section { (seek(view, &stream, &consumers)) } }
        section {
            h2 { "Entries" }
            (self::entries(view, &stream, query, &page))
        }
        @if view.can_change() { section { (append(view, own())) } }
    };
    Ok((stream.name.clone(), content))
}

fn facts(view: &View<'_>, stream: &Stream) -> Markup {
    let StreamSettings { max_age_seconds, max_bytes, max_entries, is_compacted } = stream.settings;
    pairs([
        ("entries", Some(html! { (number(stream.entries)) })),
        ("size", Some(html! { (bytes(stream.bytes)) })),
        ("first offset", Some(html! { (number(stream.first)) })),
        ("next offset", Some(html! { (number(stream.next)) })),
        ("keeps for", max_age_seconds.map(|age| html! { (seconds(age)) })),
        ("keeps, at most", max_bytes.map(|most| html! { (bytes(most)) })),
        ("entries, at most", max_entries.map(|most| html! { (number(most)) })),
        ("of each key", is_compacted.then(|| html! { "only the latest entry" })),
        ("made", Some(moment(view.now, stream.created_at))),
    ])
}

/// The form that says what the stream keeps. What is left empty is not limited.
fn settings(view: &View<'_>, stream: &Stream) -> Markup {
    let StreamSettings { max_age_seconds, max_bytes, max_entries, is_compacted } = stream.settings;
    let action = Action::ConfigureStream { stream: stream.name.clone(), settings: stream.settings.clone() };
    let field = |id: &str, label: &str, (min, step): (&str, &str), now: Option<String>| {
        html! {
            div.field {
                label for=(id) { (label) }
                input id=(id) name={ "/settings/" (id) ":nullable_json" } type="number" min=(min) step=(step) value=[now];
            }
        }
    };
    html! {
        p.hint { "A limit that is left empty does not apply." }
        (view.form(&action, html! {
            div.fields {
                (field("max_age_seconds", "Age in seconds, at most", ("0", "any"), max_age_seconds.map(|age| age.to_string())))
                (field("max_bytes", "Bytes, at most", ("1", "1"), max_bytes.map(|most| most.to_string())))
                (field("max_entries", "Entries, at most", ("1", "1"), max_entries.map(|most| most.to_string())))
                div.field {
                    label for="is_compacted" { "Of each key" }
                    select id="is_compacted" name="/settings/is_compacted:json" {
                        option value="false" selected[!is_compacted] { "all entries" }
                        option value="true" selected[is_compacted] { "only the latest entry" }
                    }
                }
            }
            button.button type="submit" { "Set" }
        }))
    }
}

fn consumers(view: &View<'_>, consumers: &[Consumer]) -> Markup {
    html! {
        @if consumers.is_empty() {
            p.empty { "No consumers." }
        } @else {
            div.scroll {
                table {
                    thead {
                        tr {
                            th scope="col" { "Consumer" }
                            th.number scope="col" { "Next" }
                            th.number scope="col" { "Lag" }
                            th.number scope="col" { "Waits since" }
                            th.number scope="col" { "Lost" }
                            th.number scope="col" { "Jobs" }
                            th.number scope="col" { "Dead letters" }
                            @if view.can_change() { th scope="col" { span.hidden { "Actions" } } }
                        }
                    }
                    tbody { @for consumer in consumers { (row(view, consumer)) } }
                }
            }
        }
    }
}

fn row(view: &View<'_>, consumer: &Consumer) -> Markup {
    let queue = Place::Queue(&consumer.queue);
    let dead = JobQuery { state: Some("dead".to_owned()), ..JobQuery::of_queue(&consumer.queue) };
    html! {
        tr {
            th scope="row" {
                a href=(view.link(queue)) { (consumer.name) } " "
                @if consumer.is_paused { (badge("paused", "paused")) " " }
                @if !consumer.is_running { (badge("other", "no worker")) }
            }
            td.number { (number(consumer.next)) }
            td.number { (number(consumer.behind)) }
            td.number { @match consumer.behind_since { Some(at) => (moment(view.now, at)), None => "–" } }
            td.number { (number(consumer.lost)) }
            td.number { a href=(view.link(queue)) { (number(consumer.jobs)) } }
            td.number { a href=(view.link_to_jobs(&dead)) { (number(consumer.dead)) } }
            @if view.can_change() { td { div.row { (verbs(view, consumer)) } } }
        }
    }
}

/// What can be done with a consumer.
fn verbs(view: &View<'_>, consumer: &Consumer) -> Markup {
    let (stream, name) = (|| consumer.stream.clone(), || consumer.name.clone());
    html! {
        @if consumer.is_paused {
            (view.button("Resume", Style::Small, &Action::ResumeConsumer { stream: stream(), consumer: name() }))
        } @else {
            (view.button("Pause", Style::Small, &Action::PauseConsumer { stream: stream(), consumer: name() }))
        }
        (view.button("Remove …", Style::Small, &Action::RemoveConsumer { stream: stream(), consumer: name() }))
    }
}

/// The form that moves a consumer.
fn seek(view: &View<'_>, stream: &Stream, consumers: &[Consumer]) -> Markup {
    let action = Action::SeekConsumer { stream: stream.name.clone(), consumer: String::new(), to: Seek::Earliest };
    html! {
        details {
            summary { "Move a consumer" }
            p.hint { "Backwards, it handles entries again. Forwards, it passes over entries. An offset or a time takes precedence over the choice." }
            (view.form(&action, html! {
                div.fields {
                    div.field {
                        label for="consumer" { "Consumer" }
                        select id="consumer" name="/consumer" {
                            @for consumer in consumers { option value=(consumer.name) { (consumer.name) } }
                        }
                    }
                    div.field {
                        label for="to" { "To" }
                        select id="to" name="/to" {
                            option value="earliest" { "the first entry" }
                            option value="latest" { "what is appended from now on" }
                        }
                    }
                    div.field {
                        label for="to_offset" { "Or to the offset" }
                        input id="to_offset" name="/to/offset:json" type="number" min="0";
                    }
                    div.field {
                        label for="to_time" { "Or to the first entry from (UTC)" }
                        input id="to_time" name="/to/time:option" placeholder="2026-11-28T16:29" autocomplete="off";
                    }
                }
                button.button type="submit" { "Move" }
            }))
        }
    }
}

/// A page of entries, with the links to the pages beside it.
fn entries(view: &View<'_>, stream: &Stream, query: EntryQuery, page: &EntryPage) -> Markup {
    let at = |from| view.link_with(Place::Stream(&stream.name), &EntryQuery { from: Some(from), ..query });
    let earlier = page.from.saturating_sub(query.entries() as u64).max(stream.first);
    let latest = EntryQuery { from: None, ..query };
    html! {
        form.row method="get" action=(view.link(Place::Stream(&stream.name))) {
            label for="from" { "From the offset" }
            input id="from" name="from" type="number" min="0" value=[query.from];
            button.button type="submit" { "Show" }
            @if query.from.is_some() {
                a.button href=(view.link_with(Place::Stream(&stream.name), &latest)) { "Latest" }
            }
        }
        div id="entries" data-live {
            @if page.entries.is_empty() {
                p.empty { "No entries." }
            } @else {
                div.scroll {
                    table {
                        thead {
                            tr {
                                th.number scope="col" { "Offset" }
                                th scope="col" { "Kind" }
                                th scope="col" { "Key" }
                                th.number scope="col" { "Appended" }
                                th scope="col" { "Payload" }
                            }
                        }
                        tbody { @for entry in &page.entries { (entry_row(view, &at(entry.offset), entry)) } }
                    }
                }
            }
            p.more {
                @if earlier < page.from { a.button href=(at(earlier)) { "Earlier" } " " }
                @if let Some(next) = page.next { a.button href=(at(next)) { "Later" } }
            }
        }
    }
}

fn entry_row(view: &View<'_>, link: &str, entry: &Entry) -> Markup {
    html! {
        tr {
            th.number scope="row" { a href=(link) { (number(entry.offset)) } }
            td { (entry.kind) @for tag in &entry.tags { " " span.label { (tag) } } }
            td { @match &entry.key { Some(key) => code { (key) }, None => "–" } }
            td.number { (moment(view.now, entry.appended_at)) }
            td.wide {
                @if let Some(error) = &entry.codec_error { p.note.problem { "It cannot be read as it was written: " (error) } }
                @for (name, value) in &entry.headers { div { code { (name) "=" (value) } } }
                details {
                    summary { @if entry.payload.text.is_empty() { "empty" } @else { code { (beginning(&entry.payload.text)) } } }
                    (body(&entry.payload))
                }
            }
        }
    }
}
