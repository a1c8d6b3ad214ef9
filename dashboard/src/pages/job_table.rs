//! Jobs as a table, with what can be done to all of them.

use maud::{Markup, html};
use serde::Serialize;

use super::view::{Place, STATES, Style, View, moment, number, state_badge};
use crate::api::{Action, Counts, JobPage, JobQuery, JobRow, Order, Ordering};

/// The states with the numbers of their jobs.
pub fn state_tabs(view: &View<'_>, query: &JobQuery, counts: Option<&Counts>) -> Markup {
    let of = |state: &str| counts.and_then(|counts| counts.in_state(state));
    let link = |state: Option<&str>| view.link_to_jobs(&JobQuery { state: state.map(str::to_owned), ..query.clone() });
    html! {
        nav.tabs.states aria-label="States" {
            a href=(link(None)) aria-current=[query.state.is_none().then_some("page")] { "all" }
            @for state in STATES {
                a href=(link(Some(state))) aria-current=[(query.state.as_deref() == Some(state)).then_some("page")] {
                    (state) @if let Some(count) = of(state) { " " span.count { (number(count)) } }
                }
            }
        }
    }
}

/// What can be done to all jobs that match.
pub fn bulk(view: &View<'_>, query: &JobQuery) -> Markup {
    let jobs = || query.clone();
    let state = query.state.as_deref();
    let is_any_of = |states: &[&str]| state.is_none_or(|state| states.contains(&state));
    html! {
        @if state == Some("dead") {
            (view.button("Redrive all …", Style::Small, &Action::RedriveJobs { jobs: jobs(), error_group: None }))
            (view.button("Purge all …", Style::Small, &Action::PurgeJobs { jobs: jobs(), error_group: None }))
        }
        @if is_any_of(&["scheduled", "retrying"]) {
            (view.button("Run all now …", Style::Small, &Action::RunJobsNow { jobs: jobs() }))
        }
        @if is_any_of(&["pending", "scheduled", "running", "retrying", "blocked"]) {
            (view.button("Cancel all …", Style::Small, &Action::CancelJobs { jobs: jobs(), reason: String::new() }))
        }
        @if is_any_of(&["pending", "scheduled", "retrying", "dead"]) {
            (view.button("Move all …", Style::Small, &Action::MoveJobs { jobs: jobs(), queue: String::new() }))
        }
        @if state != Some("running") {
            (view.button("Delete all …", Style::Small, &Action::DeleteJobs { jobs: jobs() }))
        }
    }
}

/// A list of jobs, as its page is asked for.
pub struct List<'l> {
    pub query: &'l JobQuery,
    pub ordering: Ordering,
    /// Whether its jobs can be of several queues.
    pub with_queue: bool,
}

#[derive(Serialize)]
struct Address<'l> {
    #[serde(flatten)]
    query: &'l JobQuery,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<Order>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'l str>,
}

impl List<'_> {
    /// The address of one of its pages.
    fn link(&self, view: &View<'_>, Ordering { order }: Ordering, after: Option<&str>) -> String {
        match &self.query.queue {
            Some(queue) if !self.with_queue => {
                let query = &JobQuery { queue: None, ..self.query.clone() };
                view.link_with(Place::Queue(queue), &Address { query, order, after })
            }
            _ => view.link_with(Place::Jobs, &Address { query: self.query, order, after }),
        }
    }
}

/// The way to the same list in the other order.
pub fn order_link(view: &View<'_>, list: &List<'_>) -> Markup {
    let other = list.ordering.of_state(list.query.state.as_deref()).reversed();
    let (now, then) = match other {
        Order::Oldest => ("Newest first", "oldest first"),
        Order::Newest => ("Oldest first", "newest first"),
    };
    html! {
        span.order { (now) " · " a href=(list.link(view, Ordering { order: Some(other) }, None)) { (then) } }
    }
}

/// The jobs of a page, and the way to the next one.
pub fn table(view: &View<'_>, list: &List<'_>, page: &JobPage) -> Markup {
    let with_queue = list.with_queue;
    let next = page.next.as_deref().map(|after| list.link(view, list.ordering, Some(after)));
    html! {
        @if page.jobs.is_empty() {
            p.empty {
                @if next.is_some() { "None of the jobs that were looked at match; there are more." } @else { "No jobs." }
            }
        } @else {
            div.scroll {
                table.jobs {
                    thead {
                        tr {
                            th scope="col" { "Job" }
                            th scope="col" { "State" }
                            @if with_queue { th scope="col" { "Queue" } }
                            th scope="col" { "Kind" }
                            th scope="col" { "Payload" }
                            th.number scope="col" { "Attempts" }
                            th.number scope="col" { "When" }
                        }
                    }
                    tbody { @for job in &page.jobs { (row(view, job, with_queue)) } }
                }
            }
        }
        @if let Some(next) = next { p.more { a.button href=(next) { "Next page" } } }
    }
}

fn row(view: &View<'_>, job: &JobRow, with_queue: bool) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(view.link(Place::Job(&job.id))) { (job.id) } }
            td { (state_badge(&job.state)) }
            @if with_queue { td { a href=(view.link(Place::Queue(&job.queue))) { (job.queue) } } }
            td { (job.kind) }
            td.wide {
                code.preview { (job.preview) }
                @if let Some(error) = &job.error { div.error { (error) } }
                @if let Some(progress) = &job.progress { (super::job::progress(progress)) }
                @if job.flow.is_some() || job.group.is_some() || job.key.is_some() || !job.tags.is_empty() { (labels(view, job)) }
            }
            td.number { (job.attempts) @if let Some(most) = job.max_attempts { "/" (most) } }
            td.number { (when(view, job)) }
        }
    }
}

fn labels(view: &View<'_>, job: &JobRow) -> Markup {
    let of = |query: JobQuery| view.link_to_jobs(&JobQuery { queue: Some(job.queue.clone()), ..query });
    html! {
        div.labels {
            @if let Some(flow) = &job.flow { a.label href=(view.link(Place::Flow(flow))) { "flow " (flow) } }
            @if let Some(group) = &job.group {
                a.label href=(of(JobQuery { group: Some(group.clone()), ..JobQuery::default() })) { "group " (group) }
            }
            @if let Some(key) = &job.key {
                a.label href=(of(JobQuery { key: Some(key.clone()), ..JobQuery::default() })) { "key " (key) }
            }
            @for tag in &job.tags {
                a.label href=(of(JobQuery { tag: Some(tag.clone()), ..JobQuery::default() })) { (tag) }
            }
        }
    }
}

/// The time that matters in the job's state.
fn when(view: &View<'_>, job: &JobRow) -> Markup {
    let time = match job.state.as_str() {
        "scheduled" | "retrying" => job.run_at,
        "running" => job.started_at,
        "completed" | "dead" | "cancelled" => job.ended_at,
        _ => None,
    };
    moment(view.now, time.unwrap_or(job.enqueued_at))
}
