//! The dashboard, at `/queues` of the application.

use axum::Router;
use millpond::Millpond;
use millpond::dashboard::{self, Options};

/// Adds the pages and the API of the queue to the application's routes. Only this machine can use them.
pub fn mount(routes: Router, pond: &Millpond) -> Router {
    routes.nest("/queues", dashboard::router(pond, Options::new().title("Signup")))
}
