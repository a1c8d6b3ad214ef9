//! The statistics: the one service without a weakness.

use std::sync::Arc;

use anyhow::Result;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};

use super::{Ledger, http};
use crate::app::jobs::AnalyticsEvent;

pub async fn start() -> Result<(String, Arc<Ledger>)> {
    let ledger = Arc::new(Ledger::default());
    let book = ledger.clone();
    let take = async move |Json(event): Json<AnalyticsEvent>| {
        let _under_way = book.arrival();
        book.accept(&event.email);
        StatusCode::ACCEPTED
    };
    let url = http::serve(Router::new().route("/events", post(take))).await?;
    Ok((url + "/events", ledger))
}
