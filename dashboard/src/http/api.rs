//! The JSON API, version 1, and its description.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Deserialize;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::live::__path_events;
use super::live::events;
use crate::api::{
    Action, Check, Consumer, DeadSummary, Done, EntryPage, EntryQuery, FlowDetail, FlowPage, GroupPage, Job, JobPage,
    JobQuery, JobRecordPage, Link, Matched, Nodes, OfStream, Ordering, Overview, Paging, Plugin, Problem,
    QuarantinePage, QueueDetail, Schedule, SchedulePage, StreamDetail, StreamPage, TopicDetail, TopicMessage,
    TopicPage,
};
use crate::change;
use crate::safety::Visit;
use crate::site::Site;

#[derive(OpenApi)]
#[openapi(info(
    title = "Millpond",
    description = "Look at a job queue and steer it. Errors are answered as problems (RFC 9457). Changes are posted as actions."
))]
struct Described;

type Answered<T> = Result<Json<T>, Problem>;

/// The parameters of a path, a query or a body. What cannot be read is a problem, as JSON.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
struct Path<T>(T);

/// See [`Path`].
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub(crate) struct Query<T>(pub T);

/// See [`Path`].
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(Problem))]
struct Sent<T>(T);

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::of_rejection(rejection.status(), rejection.body_text())
    }
}

/// The routes of the API.
pub(crate) fn router() -> Router<Arc<Site>> {
    let described = OpenApiRouter::with_openapi(Described::openapi())
        .routes(routes!(revision))
        .routes(routes!(overview))
        .routes(routes!(queue))
        .routes(routes!(groups))
        .routes(routes!(jobs))
        .routes(routes!(records))
        .routes(routes!(count))
        .routes(routes!(job))
        .routes(routes!(dead))
        .routes(routes!(schedules))
        .routes(routes!(schedule))
        .routes(routes!(topics))
        .routes(routes!(topic))
        .routes(routes!(matches))
        .routes(routes!(streams))
        .routes(routes!(stream))
        .routes(routes!(entries))
        .routes(routes!(consumers))
        .routes(routes!(flows))
        .routes(routes!(flow))
        .routes(routes!(dot))
        .routes(routes!(links))
        .routes(routes!(nodes))
        .routes(routes!(plugins))
        .routes(routes!(quarantine))
        .routes(routes!(check))
        .routes(routes!(events))
        .routes(routes!(act));
    let (router, description) = described.split_for_parts();
    router.route("/api/openapi.json", get(async || Json(description)))
}

/// A number that is another one when something has changed.
#[utoipa::path(get, path = "/api/v1/revision", tag = "pond", responses((status = 200, body = u64, content_type = "application/json"), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn revision(State(site): State<Arc<Site>>) -> Answered<u64> {
    site.source.revision().await.map(Json)
}

/// Everything at a glance.
#[utoipa::path(get, path = "/api/v1/overview", tag = "pond", responses((status = 200, body = Overview), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn overview(State(site): State<Arc<Site>>) -> Answered<Overview> {
    site.source.overview().await.map(Json)
}

/// One queue.
#[utoipa::path(
    get, path = "/api/v1/queues/{name}", tag = "queues", params(("name" = String, Path,)),
    responses((status = 200, body = QueueDetail), (status = "default", body = Problem, content_type = "application/problem+json"))
)]
async fn queue(State(site): State<Arc<Site>>, Path(name): Path<String>) -> Answered<QueueDetail> {
    site.source.queue(&name).await.map(Json)
}

/// The groups of a queue that have waiting jobs, are paused or held.
#[utoipa::path(
    get, path = "/api/v1/queues/{name}/groups", tag = "queues", params(("name" = String, Path,), Paging),
    responses((status = 200, body = GroupPage), (status = "default", body = Problem, content_type = "application/problem+json"))
)]
async fn groups(
    State(site): State<Arc<Site>>,
    Path(name): Path<String>,
    Query(page): Query<Paging>,
) -> Answered<GroupPage> {
    site.source.groups(&name, page).await.map(Json)
}

/// The jobs that match.
#[utoipa::path(
    get, path = "/api/v1/jobs", tag = "jobs", params(JobQuery, Ordering, Paging),
    responses((status = 200, body = JobPage), (status = "default", body = Problem, content_type = "application/problem+json"))
)]
async fn jobs(
    State(site): State<Arc<Site>>,
    Query(query): Query<JobQuery>,
    Query(ordering): Query<Ordering>,
    Query(page): Query<Paging>,
) -> Answered<JobPage> {
    let query = query.without_empty();
    let order = ordering.of_state(query.state.as_deref());
    site.source.jobs(query, order, page).await.map(Json)
}

/// The jobs that match as they are exported, the oldest first, by queue.
#[utoipa::path(
    get, path = "/api/v1/jobs/records", tag = "jobs", params(JobQuery, Paging),
    responses((status = 200, body = JobRecordPage), (status = "default", body = Problem, content_type = "application/problem+json"))
)]
async fn records(
    State(site): State<Arc<Site>>,
    Query(query): Query<JobQuery>,
    Query(page): Query<Paging>,
) -> Answered<JobRecordPage> {
    site.source.records(query.without_empty(), page).await.map(Json)
}

/// How many jobs match.
#[utoipa::path(
    get, path = "/api/v1/jobs/count", tag = "jobs", params(JobQuery),
    responses((status = 200, body = u64, content_type = "application/json"), (status = "default", body = Problem, content_type = "application/problem+json"))
)]
async fn count(State(site): State<Arc<Site>>, Query(query): Query<JobQuery>) -> Answered<u64> {
    site.source.count(query.without_empty()).await.map(Json)
}

/// One job.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path,)),
    responses((status = 200, body = Job), (status = "default", body = Problem, content_type = "application/problem+json"))
)]
async fn job(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Answered<Job> {
    site.source.job(&id).await.map(Json)
}

#[derive(Deserialize)]
struct OfQueue {
    queue: Option<String>,
}

/// The dead letters by their errors.
#[utoipa::path(
    get, path = "/api/v1/dead", tag = "jobs", params(("queue" = Option<String>, Query,)),
    responses((status = 200, body = DeadSummary), (status = "default", body = Problem, content_type = "application/problem+json"))
)]
async fn dead(State(site): State<Arc<Site>>, Query(of): Query<OfQueue>) -> Answered<DeadSummary> {
    site.source.dead(of.queue.as_deref().filter(|queue| !queue.is_empty())).await.map(Json)
}

/// The schedules.
#[utoipa::path(get, path = "/api/v1/schedules", tag = "schedules", params(Paging), responses((status = 200, body = SchedulePage), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn schedules(State(site): State<Arc<Site>>, Query(page): Query<Paging>) -> Answered<SchedulePage> {
    site.source.schedules(page).await.map(Json)
}

/// One schedule.
#[utoipa::path(
    get, path = "/api/v1/schedules/{name}", tag = "schedules", params(("name" = String, Path,)),
    responses((status = 200, body = Schedule), (status = "default", body = Problem, content_type = "application/problem+json"))
)]
async fn schedule(State(site): State<Arc<Site>>, Path(name): Path<String>) -> Answered<Schedule> {
    site.source.schedule(&name).await.map(Json)
}

/// The topics.
#[utoipa::path(get, path = "/api/v1/topics", tag = "topics", params(Paging), responses((status = 200, body = TopicPage), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn topics(State(site): State<Arc<Site>>, Query(page): Query<Paging>) -> Answered<TopicPage> {
    site.source.topics(page).await.map(Json)
}

/// One topic with some of its bindings.
#[utoipa::path(
    get, path = "/api/v1/topics/{name}", tag = "topics", params(("name" = String, Path,), Paging),
    responses((status = 200, body = TopicDetail), (status = "default", body = Problem, content_type = "application/problem+json"))
)]
async fn topic(
    State(site): State<Arc<Site>>,
    Path(name): Path<String>,
    Query(page): Query<Paging>,
) -> Answered<TopicDetail> {
    site.source.topic(&name, page).await.map(Json)
}

/// Where a message would go. Nothing is published.
#[utoipa::path(
    get, path = "/api/v1/topics/{name}/matches", tag = "topics", params(("name" = String, Path,), TopicMessage),
    responses((status = 200, body = Matched), (status = "default", body = Problem, content_type = "application/problem+json"))
)]
async fn matches(
    State(site): State<Arc<Site>>,
    Path(name): Path<String>,
    Query(message): Query<TopicMessage>,
) -> Answered<Matched> {
    site.source.matches(&name, message).await.map(Json)
}

/// The streams.
#[utoipa::path(get, path = "/api/v1/streams", tag = "streams", params(Paging), responses((status = 200, body = StreamPage), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn streams(State(site): State<Arc<Site>>, Query(page): Query<Paging>) -> Answered<StreamPage> {
    site.source.streams(page).await.map(Json)
}

/// One stream with its consumers.
#[utoipa::path(
    get, path = "/api/v1/streams/{name}", tag = "streams", params(("name" = String, Path,)),
    responses((status = 200, body = StreamDetail), (status = "default", body = Problem, content_type = "application/problem+json"))
)]
async fn stream(State(site): State<Arc<Site>>, Path(name): Path<String>) -> Answered<StreamDetail> {
    site.source.stream(&name).await.map(Json)
}

/// Some entries of a stream: the latest, or those from an offset on.
#[utoipa::path(
    get, path = "/api/v1/streams/{name}/entries", tag = "streams", params(("name" = String, Path,), EntryQuery),
    responses((status = 200, body = EntryPage), (status = "default", body = Problem, content_type = "application/problem+json"))
)]
async fn entries(
    State(site): State<Arc<Site>>,
    Path(name): Path<String>,
    Query(query): Query<EntryQuery>,
) -> Answered<EntryPage> {
    site.source.entries(&name, query).await.map(Json)
}

/// The consumers of a stream, or of all streams.
#[utoipa::path(
    get, path = "/api/v1/consumers", tag = "streams", params(OfStream),
    responses((status = 200, body = Vec<Consumer>), (status = "default", body = Problem, content_type = "application/problem+json"))
)]
async fn consumers(State(site): State<Arc<Site>>, Query(of): Query<OfStream>) -> Answered<Vec<Consumer>> {
    site.source.consumers(of.stream.as_deref().filter(|stream| !stream.is_empty())).await.map(Json)
}

/// The flows, the latest first.
#[utoipa::path(get, path = "/api/v1/flows", tag = "flows", params(Paging), responses((status = 200, body = FlowPage), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn flows(State(site): State<Arc<Site>>, Query(page): Query<Paging>) -> Answered<FlowPage> {
    site.source.flows(page).await.map(Json)
}

/// One flow with its jobs and signals.
#[utoipa::path(
    get, path = "/api/v1/flows/{name}", tag = "flows", params(("name" = String, Path,)),
    responses((status = 200, body = FlowDetail), (status = "default", body = Problem, content_type = "application/problem+json"))
)]
async fn flow(State(site): State<Arc<Site>>, Path(name): Path<String>) -> Answered<FlowDetail> {
    site.source.flow(&name).await.map(Json)
}

/// One flow as a graph in the language DOT.
#[utoipa::path(
    get, path = "/api/v1/flows/{name}/dot", tag = "flows", params(("name" = String, Path,)),
    responses(
        (status = 200, body = String, content_type = "text/vnd.graphviz"),
        (status = "default", body = Problem, content_type = "application/problem+json")
    )
)]
async fn dot(State(site): State<Arc<Site>>, Path(name): Path<String>) -> Result<impl IntoResponse, Problem> {
    let dot = site.source.flow(&name).await?.dot;
    Ok(([(header::CONTENT_TYPE, "text/vnd.graphviz; charset=utf-8")], dot))
}

/// The links of the process, in the order in which they were started.
#[utoipa::path(get, path = "/api/v1/links", tag = "links", responses((status = 200, body = Vec<Link>), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn links(State(site): State<Arc<Site>>) -> Answered<Vec<Link>> {
    site.source.links().await.map(Json)
}

/// The nodes of the fleet, if the application says how they are asked.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "nodes", responses((status = 200, body = Nodes), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn nodes(State(site): State<Arc<Site>>) -> Answered<Nodes> {
    site.nodes().await.map(Json)
}

/// The plugins.
#[utoipa::path(get, path = "/api/v1/plugins", tag = "plugins", responses((status = 200, body = Vec<Plugin>), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn plugins(State(site): State<Arc<Site>>) -> Answered<Vec<Plugin>> {
    site.source.plugins().await.map(Json)
}

/// The rows that could not be read.
#[utoipa::path(get, path = "/api/v1/quarantine", tag = "pond", params(Paging), responses((status = 200, body = QuarantinePage), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn quarantine(State(site): State<Arc<Site>>, Query(page): Query<Paging>) -> Answered<QuarantinePage> {
    site.source.quarantine(page).await.map(Json)
}

/// Reads the whole file and checks it. One check runs at a time.
#[utoipa::path(post, path = "/api/v1/check", tag = "pond", responses((status = 200, body = Check), (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn check(State(site): State<Arc<Site>>, Extension(visit): Extension<Visit>) -> Answered<Check> {
    change::check(&site, &visit.actor).await.map(Json)
}

/// Makes a change.
#[utoipa::path(
    post, path = "/api/v1/actions", tag = "actions", request_body = Action,
    responses(
        (status = 200, body = Done), (status = "default", body = Problem, content_type = "application/problem+json")
    )
)]
async fn act(
    State(site): State<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    Sent(action): Sent<Action>,
) -> Answered<Done> {
    change::make(&site, &visit.actor, action).await.map(Json)
}
