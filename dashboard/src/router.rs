//! The routes.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Router, middleware};

use crate::options::{BODY_BYTES_MAX, Options};
use crate::safety::guard;
use crate::site::Site;
use crate::source::Source;
use crate::{http, pages};

/// The pages and the API of a queue, to be nested where the application likes.
///
/// Unless the options say otherwise, only requests from the same machine are answered. Whether they are is known only where
/// the application is served with `into_make_service_with_connect_info::<SocketAddr>`; all others are refused.
///
/// | Path | What is there |
/// |---|---|
/// | `/` | the pages |
/// | `/api/v1/…` | the API |
/// | `/api/openapi.json` | its description |
/// | `/metrics` | the metrics in the OpenMetrics text format |
/// | `/health/live`, `/health/ready` | whether the process lives, and whether the queue can write |
pub fn router(source: Arc<dyn Source>, options: Options) -> Router {
    routes(Arc::new(Site::new(source, options, None)))
}

/// The routes of a site.
pub(crate) fn routes(site: Arc<Site>) -> Router {
    let pages = Router::new()
        .route("/", get(pages::overview))
        .route("/queues/{name}", get(pages::queue))
        .route("/queues/{name}/groups", get(pages::groups))
        .route("/queues/{name}/limits", get(pages::limits))
        .route("/jobs", get(pages::jobs))
        .route("/jobs/{id}", get(pages::job))
        .route("/dead", get(pages::dead))
        .route("/schedules", get(pages::schedules))
        .route("/schedules/{name}", get(pages::schedule))
        .route("/topics", get(pages::topics))
        .route("/topics/{name}", get(pages::topic))
        .route("/streams", get(pages::streams))
        .route("/streams/{name}", get(pages::stream))
        .route("/flows", get(pages::flows))
        .route("/flows/{name}", get(pages::flow))
        .route("/links", get(pages::links))
        .route("/nodes", get(pages::nodes))
        .route("/plugins", get(pages::plugins))
        .route("/quarantine", get(pages::quarantine))
        .route("/events", get(pages::events))
        .route("/confirm", get(pages::confirm))
        .route("/actions", post(pages::act))
        .route("/login", get(pages::login_form).post(pages::log_in))
        .route("/logout", post(pages::log_out))
        .route("/assets/{name}", get(http::asset))
        .route("/live", get(http::live));
    pages
        .merge(http::api())
        .route("/metrics", get(http::metrics))
        .route("/health/live", get(http::is_live))
        .route("/health/ready", get(http::is_ready))
        .fallback(pages::not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(site.clone(), guard))
        .with_state(site)
}
