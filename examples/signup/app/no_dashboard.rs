//! Without the feature `dashboard` there are no pages.

use axum::Router;
use millpond::Millpond;

pub fn mount(routes: Router, _: &Millpond) -> Router {
    routes
}
