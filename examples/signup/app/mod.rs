//! The application: users sign up and place orders over HTTP, and all slow work runs in jobs.
//!
//! This folder is the model to copy. It does not depend on the tour and its servers: it connects to the services that
//! [`Outside`] names.

#[cfg_attr(not(feature = "wasm"), path = "no_avatars.rs")]
pub mod avatars;
#[cfg_attr(not(feature = "dashboard"), path = "no_dashboard.rs")]
pub mod dashboard;
pub mod jobs;
pub mod mail;
pub mod outside;
pub mod tables;
pub mod workers;

mod error;
mod operations;
mod orders;
mod signup;
mod site;
mod webhooks;

use axum::Router;
use axum::routing::{get, post};
use millpond::Millpond;

pub use outside::Outside;
pub use site::Site;

/// All routes. The handle is the only state: users, orders and jobs are in the same file.
pub fn routes(pond: Millpond) -> Router {
    Router::new()
        .route("/signup", post(signup::signup))
        .route("/orders/{id}/{action}", post(orders::step))
        .route("/status", get(operations::status))
        .route("/dead", get(operations::dead))
        .route("/dead/redrive", post(operations::redrive))
        .with_state(pond)
}
