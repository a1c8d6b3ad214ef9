//! The frame of every page.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::Place;
use crate::api::Time;
use crate::http::ASSETS;
use crate::options::Access;
use crate::safety::Visit;
use crate::site::{Note, Site};

/// The part of the dashboard that a page belongs to. A new part is a variant here, a file beside the other pages, and a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Overview,
    Jobs,
    Dead,
    Schedules,
    Topics,
    Streams,
    Flows,
    Links,
    /// Only if the options say where the nodes are.
    Nodes,
    Plugins,
    Events,
    Quarantine,
    /// A page that is in no menu.
    None,
    /// A page for somebody who was not let in: it shows nothing of the dashboard.
    Outside,
}

const MENU: [(Section, &str, Place<'static>); 12] = [
    (Section::Overview, "Queues", Place::Overview),
    (Section::Jobs, "Jobs", Place::Jobs),
    (Section::Flows, "Flows", Place::Flows),
    (Section::Dead, "Dead letters", Place::Dead),
    (Section::Schedules, "Schedules", Place::Schedules),
    (Section::Topics, "Topics", Place::Topics),
    (Section::Streams, "Streams", Place::Streams),
    (Section::Links, "Links", Place::Links),
    (Section::Nodes, "Nodes", Place::Nodes),
    (Section::Plugins, "Plugins", Place::Plugins),
    (Section::Events, "Events", Place::Events),
    (Section::Quarantine, "Quarantine", Place::Quarantine),
];

/// A page that is being made, for one request.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub site: &'a Site,
    pub visit: &'a Visit,
    /// Ages are counted from here.
    pub now: Time,
}

impl<'a> View<'a> {
    pub fn new(site: &'a Site, visit: &'a Visit) -> Self {
        Self { site, visit, now: Time::now() }
    }

    /// The page with its frame.
    pub fn page(&self, section: Section, title: &str, content: Markup) -> Response {
        self.page_with(StatusCode::OK, section, title, content)
    }

    /// The page with its frame and another status.
    pub fn page_with(&self, status: StatusCode, section: Section, title: &str, content: Markup) -> Response {
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · " (self.site.options.title) }
                    link rel="icon" type="image/svg+xml" href=(self.asset("icon.svg"));
                    link rel="stylesheet" href=(self.asset("style.css"));
                    script src=(self.asset("live.js")) defer {}
                }
                body data-live-from=(format!("{}/live", self.visit.base)) {
                    a.skip href="#content" { "Skip to the content" }
                    @if section == Section::Outside {
                        main id="content" { (content) }
                    } @else {
                        (self.header(section))
                        main id="content" { (self.note()) (content) }
                    }
                }
            }
        };
        (status, Html(markup.into_string())).into_response()
    }

    fn header(&self, section: Section) -> Markup {
        html! {
            header {
                a.brand href=(self.link(Place::Overview)) { (self.site.options.title) }
                nav aria-label="Pages" {
                    @for (own, name, place) in MENU.into_iter().filter(|(own, ..)| self.has(*own)) {
                        a href=(self.link(place)) aria-current=[(own == section).then_some("page")] { (name) }
                    }
                }
                div.end {
                    @if self.site.options.read_only { span.badge.other { "read-only" } }
                    button.live type="button" hidden aria-pressed="true" title="Live updates" { "Live" }
                    @if let Access::Token(_) = self.site.options.access {
                        form method="post" action=(format!("{}/logout", self.visit.base)) {
                            input type="hidden" name="form" value=(self.site.secrets.form);
                            button.button.small type="submit" { "Log out" }
                        }
                    }
                }
            }
        }
    }

    fn has(&self, section: Section) -> bool {
        section != Section::Nodes || self.site.options.nodes.is_some()
    }

    /// The address of an asset, with a number that changes with its content.
    fn asset(&self, name: &str) -> String {
        let version = ASSETS.iter().find(|asset| asset.name == name).map_or(0, |asset| asset.version);
        format!("{}/assets/{name}?{version:08x}", self.visit.base)
    }

    /// What the action before this page has done.
    fn note(&self) -> Markup {
        let number = self.visit.here.split(['?', '&']).find_map(|pair| pair.strip_prefix("note="));
        let note = number.and_then(|number| number.parse().ok()).and_then(|number| self.site.note(number));
        html! {
            @if let Some(Note { text, is_problem }) = note {
                p class=(if is_problem { "note problem" } else { "note" }) role="status" { (text) }
            }
        }
    }
}
