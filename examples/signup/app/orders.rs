//! `POST /orders/{id}/{action}`: work in sequence, the steps of one order one after another.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use millpond::{Millpond, NewJob};
use redb::ReadableTable;
use serde::Serialize;

use super::error::ApiError;
use super::jobs::{OrderAction, OrderStep, queue};
use super::tables::ORDERS;

#[derive(Serialize)]
pub struct Accepted {
    order: u64,
    step: u64,
}

pub async fn step(
    State(pond): State<Millpond>,
    Path((order, action)): Path<(u64, OrderAction)>,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    let step = pond
        .transaction(move |tx| {
            let mut orders = tx.open_table(ORDERS)?;
            let number = orders.get(order)?.map_or(0, |latest| latest.value()) + 1;
            orders.insert(order, number)?;
            // The group keeps the steps in order: one job of each group runs at a time, and a step that fails delays
            // the steps after it, but not those of other orders.
            let job = NewJob::new(OrderStep { order, number, action }).group(format!("order-{order}"));
            tx.enqueue(queue::ORDERS, job)?;
            Ok(number)
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted { order, step })))
}
