//! The addresses of the pages.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::View;
use crate::api::{Action, JobQuery};

/// What stays as it is in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b':');

/// A page.
#[derive(Clone, Copy, Debug)]
pub enum Place<'p> {
    Overview,
    Queue(&'p str),
    Groups(&'p str),
    Limits(&'p str),
    Jobs,
    Job(&'p str),
    Dead,
    Schedules,
    Schedule(&'p str),
    Topics,
    Topic(&'p str),
    Streams,
    Stream(&'p str),
    Flows,
    Flow(&'p str),
    Links,
    Nodes,
    Plugins,
    Quarantine,
    Events,
}

impl Place<'_> {
    /// Its path within the dashboard.
    pub fn path(self) -> String {
        let segment = |text| utf8_percent_encode(text, SEGMENT);
        match self {
            Self::Overview => "/".to_owned(),
            Self::Queue(name) => format!("/queues/{}", segment(name)),
            Self::Groups(queue) => format!("/queues/{}/groups", segment(queue)),
            Self::Limits(queue) => format!("/queues/{}/limits", segment(queue)),
            Self::Jobs => "/jobs".to_owned(),
            Self::Job(id) => format!("/jobs/{}", segment(id)),
            Self::Dead => "/dead".to_owned(),
            Self::Schedules => "/schedules".to_owned(),
            Self::Schedule(name) => format!("/schedules/{}", segment(name)),
            Self::Topics => "/topics".to_owned(),
            Self::Topic(name) => format!("/topics/{}", segment(name)),
            Self::Streams => "/streams".to_owned(),
            Self::Stream(name) => format!("/streams/{}", segment(name)),
            Self::Flows => "/flows".to_owned(),
            Self::Flow(name) => format!("/flows/{}", segment(name)),
            Self::Links => "/links".to_owned(),
            Self::Nodes => "/nodes".to_owned(),
            Self::Plugins => "/plugins".to_owned(),
            Self::Quarantine => "/quarantine".to_owned(),
            Self::Events => "/events".to_owned(),
        }
    }
}

/// `queue=mail&state=dead`
pub fn query(parameters: &impl Serialize) -> String {
    serde_urlencoded::to_string(parameters).unwrap_or_default()
}

impl View<'_> {
    /// The address of a page.
    pub fn link(&self, place: Place<'_>) -> String {
        format!("{}{}", self.visit.base, place.path())
    }

    /// The address at which the API has what a page shows.
    pub fn link_to_api(&self, place: Place<'_>) -> String {
        format!("{}/api/v1{}", self.visit.base, place.path())
    }

    /// The address of a page with parameters.
    pub fn link_with(&self, place: Place<'_>, parameters: &impl Serialize) -> String {
        format!("{}?{}", self.link(place), query(parameters))
    }

    /// The address of a list of jobs: the page of their queue, or the page of all jobs.
    pub fn link_to_jobs(&self, jobs: &JobQuery) -> String {
        match &jobs.queue {
            Some(queue) => self.link_with(Place::Queue(queue), &JobQuery { queue: None, ..jobs.clone() }),
            None => self.link_with(Place::Jobs, jobs),
        }
    }

    /// The address of the page that asks before an action.
    pub fn link_to_confirm(&self, action: &Action) -> String {
        #[derive(Serialize)]
        struct Asked<'a> {
            action: String,
            back: &'a str,
        }
        let action = serde_json::to_string(action).unwrap_or_default();
        format!("{}/confirm?{}", self.visit.base, query(&Asked { action, back: &self.visit.here }))
    }
}
