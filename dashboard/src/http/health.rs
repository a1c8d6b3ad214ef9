//! Health and metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::Problem;
use crate::site::Site;

/// The process answers.
pub(crate) async fn is_live() -> &'static str {
    "live\n"
}

/// Whether the queue can write; if not, the reason.
pub(crate) async fn is_ready(State(site): State<Arc<Site>>) -> Result<Response, Problem> {
    let (status, state) = match site.source.degraded().await? {
        None => (StatusCode::OK, serde_json::json!({ "status": "ready" })),
        Some(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({ "status": "degraded", "reason": reason }))
        }
    };
    Ok((status, Json(state)).into_response())
}

/// The metrics.
pub(crate) async fn metrics(State(site): State<Arc<Site>>) -> Result<Response, Problem> {
    let text = site.source.metrics().await?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
