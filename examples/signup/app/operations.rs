//! Routes for the operator: how many jobs wait, which have failed, and trying those again.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use millpond::{Counts, JobFilter, JobInfo, Millpond, Pace};
use serde::Serialize;

use super::error::ApiError;

/// Most dead letters shown at once.
const DEAD_SHOWN_MAX: usize = 20;

/// Redriven jobs per second: a rate that a service which has just recovered can handle.
const REDRIVEN_PER_SECOND: u32 = 500;

/// `GET /status`: each queue's counts.
pub async fn status(State(pond): State<Millpond>) -> Json<BTreeMap<String, Counts>> {
    let queues = pond.queues();
    Json(queues.into_iter().map(|queue| (queue.name().to_owned(), queue.counts())).collect())
}

#[derive(Serialize)]
pub struct Dead {
    count: u64,
    first: Vec<JobInfo>,
}

/// `GET /dead`: the dead letters, each with its payload and errors.
pub async fn dead(State(pond): State<Millpond>) -> Result<Json<Dead>, ApiError> {
    let letters = pond.dead_letters();
    let everything = JobFilter::new();
    let first = letters.list(&everything, None, DEAD_SHOWN_MAX)?.jobs;
    Ok(Json(Dead { count: letters.count(&everything)?, first }))
}

#[derive(Serialize)]
pub struct Redriven {
    redriven: u64,
}

/// `POST /dead/redrive`: puts all of them back into their queues.
pub async fn redrive(State(pond): State<Millpond>) -> Result<Json<Redriven>, ApiError> {
    let pace = Pace::per_second(REDRIVEN_PER_SECOND);
    let redriven = pond.dead_letters().redrive_all(&JobFilter::new(), pace).await?;
    Ok(Json(Redriven { redriven }))
}
