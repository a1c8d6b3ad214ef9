//! The chat: accepts a limited number of requests per second, and answers 429 to the others.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};

use super::{Ledger, http};
use crate::app::jobs::SlackNote;

/// Requests that are accepted per second, counted from the first one.
pub const TAKEN_PER_SECOND: u32 = 300;

pub async fn start() -> Result<(String, Arc<Ledger>)> {
    let ledger = Arc::new(Ledger::default());
    let allowance = Arc::new(Mutex::new(Allowance { since: Instant::now(), left: TAKEN_PER_SECOND }));
    let book = ledger.clone();
    let take = async move |Json(note): Json<SlackNote>| -> Response {
        let _under_way = book.arrival();
        if !allowance.lock().expect("taking does not panic").take() {
            book.put_off();
            return (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response();
        }
        book.accept(note.text.rsplit(' ').next().unwrap_or_default());
        StatusCode::OK.into_response()
    };
    let url = http::serve(Router::new().route("/hook", post(take))).await?;
    Ok((url + "/hook", ledger))
}

struct Allowance {
    since: Instant,
    left: u32,
}

impl Allowance {
    fn take(&mut self) -> bool {
        if self.since.elapsed() >= Duration::from_secs(1) {
            *self = Self { since: Instant::now(), left: TAKEN_PER_SECOND };
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }
}
