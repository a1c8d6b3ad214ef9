//! The warehouse: records in which sequence the steps of each order arrive, and fails for some of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::Result;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};

use super::http;
use crate::app::jobs::OrderStep;

/// How long the warehouse takes for a step: long enough for two of one order to be seen to overlap.
const HANDLING: Duration = Duration::from_millis(15);

/// It fails the first delivery of this step of every order, so that the steps after it must wait.
const STUMBLES_OVER: u64 = 3;

#[derive(Default)]
pub struct Warehouse {
    orders: Mutex<HashMap<u64, History>>,
}

/// What was received of one order.
#[derive(Clone, Default)]
pub struct History {
    /// The steps' numbers as they were accepted.
    pub accepted: Vec<u64>,
    /// Deliveries that were answered with 503.
    pub failed: u64,
    /// Whether a step arrived while another step of the same order was in progress.
    pub overlapped: bool,
    under_way: u32,
}

impl Warehouse {
    fn orders(&self) -> MutexGuard<'_, HashMap<u64, History>> {
        self.orders.lock().expect("no code panics while it holds the orders")
    }

    pub fn histories(&self) -> Vec<History> {
        self.orders().values().cloned().collect()
    }

    fn begin(&self, order: u64) {
        let mut orders = self.orders();
        let history = orders.entry(order).or_default();
        history.overlapped |= history.under_way > 0;
        history.under_way += 1;
    }

    fn end(&self, step: &OrderStep) -> StatusCode {
        let mut orders = self.orders();
        let history = orders.entry(step.order).or_default();
        history.under_way -= 1;
        if step.number == STUMBLES_OVER && history.failed == 0 {
            history.failed += 1;
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        history.accepted.push(step.number);
        StatusCode::OK
    }
}

pub async fn start() -> Result<(String, Arc<Warehouse>)> {
    let warehouse = Arc::new(Warehouse::default());
    let routes = Router::new().route("/steps", post(take)).with_state(warehouse.clone());
    let url = http::serve(routes).await?;
    Ok((url + "/steps", warehouse))
}

async fn take(State(warehouse): State<Arc<Warehouse>>, Json(step): Json<OrderStep>) -> StatusCode {
    warehouse.begin(step.order);
    tokio::time::sleep(HANDLING).await;
    warehouse.end(&step)
}
