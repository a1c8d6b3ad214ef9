//! The CRM: the tour can make it fail, and repair it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};

use super::{Ledger, http};
use crate::app::jobs::CrmContact;

/// How long it takes to answer.
const HANDLING: Duration = Duration::from_millis(3);

#[derive(Default)]
pub struct Crm {
    pub ledger: Arc<Ledger>,
    broken: AtomicBool,
}

impl Crm {
    /// From now on every request is answered with 503.
    pub fn break_down(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    pub fn mend(&self) {
        self.broken.store(false, Ordering::SeqCst);
    }
}

pub async fn start() -> Result<(String, Arc<Crm>)> {
    let crm = Arc::new(Crm::default());
    let routes = Router::new()
        .route("/contacts", post(take))
        .route("/break", post(async |State(crm): State<Arc<Crm>>| crm.break_down()))
        .route("/mend", post(async |State(crm): State<Arc<Crm>>| crm.mend()))
        .with_state(crm.clone());
    let url = http::serve(routes).await?;
    Ok((url + "/contacts", crm))
}

async fn take(State(crm): State<Arc<Crm>>, Json(contact): Json<CrmContact>) -> StatusCode {
    let _under_way = crm.ledger.arrival();
    tokio::time::sleep(HANDLING).await;
    if crm.broken.load(Ordering::SeqCst) {
        crm.ledger.put_off();
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    crm.ledger.accept(&contact.email);
    StatusCode::CREATED
}
